"""Candidates, which are branches of a study, and baselines, which are tags on what was accepted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import icechunk
import zarr

from covsvc.errors import StoreError
from covsvc.store.history import CANDIDATE, MAIN, SHORT, baseline_tags, candidate_branches, resolve
from covsvc.store.place import Place
from covsvc.store.reason import reason_of

VALIDATION, ACCEPTED = "validation", "accepted"
"""Attributes of a cube: the verdict on it, and who accepted it when and why."""


@dataclass(frozen=True)
class Baseline:
    """A state of a study to compare with.

    Attributes
    ----------
    tag : str, or None
        Its name and the time at which it was accepted; None of what was never accepted.
    name : str
        What people call it.
    snapshot : str
    accepted_at, who, reason : str, or None
        When it was accepted, by whom, and why.
    outcome, sentence : str, or None
        What its validation came to.
    candidate : str, or None
        The branch that it was.
    covsvc, git_revision : str, or None
        The version and the revision of the code that made it.
    git_changed : bool, or None
        Whether that code differed from the revision.
    """

    tag: str | None
    name: str
    snapshot: str
    accepted_at: str | None = None
    who: str | None = None
    reason: str | None = None
    outcome: str | None = None
    sentence: str | None = None
    candidate: str | None = None
    covsvc: str | None = None
    git_revision: str | None = None
    git_changed: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what a verdict tells of it."""
        names = ("tag", "name", "snapshot", "accepted_at", "who", "reason", "outcome")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Candidate:
    """A state of a study that waits to be accepted.

    Attributes
    ----------
    branch : str
    state : str
        ``"waits"`` to be accepted; ``"unvalidated"`` as long as there is no verdict; ``"outdated"`` if main has changed
        since it was made; ``"half accepted"`` if that was cut short.
    snapshot, base : str
        What it is at, and what of main it was made from.
    written_at : datetime
    outcome, sentence : str, or None
        The verdict; None as long as there is none.
    code : dict
        ``covsvc``, ``git_revision`` and ``git_changed`` of the code that made it, where that is known.
    """

    branch: str
    state: str
    snapshot: str
    base: str
    written_at: datetime
    outcome: str | None
    sentence: str | None
    code: Mapping[str, Any]


def start_candidate(repository: icechunk.Repository, identity: str, base: str | None = None) -> str:
    """Make the branch of a candidate unless there is one already, and return its name.

    Parameters
    ----------
    repository : icechunk.Repository
    identity : str
        Ten hexadecimal digits.
    base : str, optional
        The snapshot that it starts from, which has to be where main is.

    Raises
    ------
    StoreError
        If main is elsewhere, or the branch is made from something else.
    """
    branch, tip = f"{CANDIDATE}{identity}", str(repository.lookup_branch(MAIN))
    if base not in (None, tip):
        raise StoreError(f"{branch}: main was at {base[:SHORT]} and is at {tip[:SHORT]} now; validate again")
    if branch not in repository.list_branches():
        try:
            repository.create_branch(branch, tip)
        except icechunk.IcechunkError as error:
            raise StoreError(f"{branch}: cannot be made: {reason_of(error)}") from None
    elif (made_from := base_of(repository, branch)) != tip:
        raise StoreError(
            f"{branch}: was made from {made_from[:SHORT]}, but main is at {tip[:SHORT]}; `covsvc gc` drops it"
        )
    return branch


def base_of(repository: icechunk.Repository, branch: str) -> str:
    """Return the snapshot of main that a candidate was made from."""
    tip = next(iter(repository.ancestry(branch=branch)))
    return str(tip.metadata["base"]) if tip.metadata.get("candidate") == branch else str(tip.id)


def candidates(repository: icechunk.Repository) -> list[Candidate]:
    """Return the candidates, newest first."""
    main = str(repository.lookup_branch(MAIN))
    accepted = attributes_at(repository, main).get(ACCEPTED, {}).get("candidate")
    found = [_candidate_of(repository, branch, main, accepted) for branch in candidate_branches(repository)]
    return sorted(found, key=lambda each: (each.written_at, each.branch), reverse=True)


def _candidate_of(repository: icechunk.Repository, branch: str, main: str, accepted: str | None) -> Candidate:
    tip, base = next(iter(repository.ancestry(branch=branch))), base_of(repository, branch)
    # until its first commit a candidate has the verdict on what it was made from
    told = {} if tip.id == base else attributes_at(repository, tip.id).get(VALIDATION, {})
    mine = next((each for each in told.get("studies", []) if each.get("candidate") == branch), told)
    code = {name: (told or tip.metadata).get(name) for name in ("covsvc", "git_revision", "git_changed")}
    outcome, sentence = mine.get("outcome"), mine.get("sentence")
    state = "waits" if outcome else "unvalidated"
    if base != main:
        state = "half accepted" if branch == accepted else "outdated"
    return Candidate(branch, state, tip.id, base, tip.written_at, outcome, sentence, code)


def baselines(repository: icechunk.Repository) -> list[Baseline]:
    """Return the baselines, newest first."""
    return list(_baselines(repository))


def _baselines(repository: icechunk.Repository) -> Iterator[Baseline]:
    for name, tag, time in baseline_tags(repository):
        snapshot = str(repository.lookup_tag(tag))
        told = next(iter(repository.ancestry(snapshot_id=snapshot))).metadata
        record = told.get(ACCEPTED, told)
        known = {each: record[each] for each in Baseline.__dataclass_fields__ if each in record}
        yield Baseline(**known | {"tag": tag, "name": name, "snapshot": snapshot, "accepted_at": time.isoformat()})


def baseline_of(repository: icechunk.Repository, against: str | None, where: str) -> Baseline | None:
    """Return the baseline that is meant; None if none is named and there is none.

    Parameters
    ----------
    repository : icechunk.Repository
    against : str, or None
        The name of a baseline, of which the newest is meant, its tag, or what else names a commit; None: the newest of
        all baselines.
    where : str
        What people call the place of the study.

    Raises
    ------
    StoreError
        If it names no commit, or several.
    """
    if against is None:
        return next(_baselines(repository), None)
    snapshot = resolve(repository, against, where)
    known = baselines(repository)
    meant = [each for each in known if against in (each.tag, each.name)]
    for each in meant or [each for each in known if each.snapshot == snapshot]:
        return each
    told = next(iter(repository.ancestry(snapshot_id=snapshot))).metadata
    code = {name: told.get(name) for name in ("covsvc", "git_revision", "git_changed")}
    return Baseline(None, against, snapshot, **code)


def finish_acceptance(repository: icechunk.Repository, place: Place) -> None:
    """Set the tag of the candidate that main has come to, and drop its branch, where that is left to do.

    The lock of the study is held.
    """
    waiting = candidate_branches(repository)
    told = attributes_at(repository, repository.lookup_branch(MAIN)).get(ACCEPTED, {}) if waiting else {}
    branch = told.get("candidate")
    if branch not in waiting:
        return
    if told["tag"] not in repository.list_tags():
        repository.create_tag(told["tag"], repository.lookup_branch(branch))
    place.settle()  # or a loss of power might leave neither branch nor tag
    repository.delete_branch(branch)
    place.settle()


def attributes_at(repository: icechunk.Repository, snapshot: str) -> dict[str, Any]:
    """Return the attributes of the cube of a snapshot; none if it holds no cube."""
    try:
        return dict(zarr.open_group(repository.readonly_session(snapshot_id=snapshot).store, mode="r").attrs)
    except FileNotFoundError:
        return {}
