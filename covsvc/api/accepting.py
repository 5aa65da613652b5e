"""Baselines of stored studies, the candidates that wait beside them, and the acceptance of those."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from covsvc.api.building import STORE
from covsvc.errors import StoreError, StudyError
from covsvc.store import acceptance
from covsvc.store.candidates import Candidate, attributes_at
from covsvc.store.candidates import baselines as baselines_in
from covsvc.store.candidates import candidates as candidates_in
from covsvc.store.history import CANDIDATE, MAIN, candidate_branches
from covsvc.store.place import place_of
from covsvc.store.repository import open_existing, stored_studies
from covsvc.study import Study
from covsvc.study_file import given_studies

Named = Study | str | Path


def accept(
    what: Named | Sequence[Named], store: str | Path = STORE, *, tag: str, reason: str, despite: bool = False
) -> list[dict[str, Any]]:
    """Make candidates what later changes are compared with, and what `run` extends: all of them, or none.

    Cut short at any moment, even killed, the same call ends it.

    Parameters
    ----------
    what : Study, str or Path, or several
        Studies, study files or names of stored studies, of which the newest candidates are meant; or candidates.
    store : str or Path
        Folder or URL of the store.
    tag : str
        Name of the baseline, such as a version: letters, digits, '.', '_' and '-'. The newest of a name is meant by it.
    reason : str
        Why; kept with it.
    despite : bool
        Accept what did not pass, too.

    Returns
    -------
    list of dict
        Of each study the baseline: ``study``, and what `baselines` tells of one.

    Raises
    ------
    StudyError
        If a study file is refused, or nothing is named, or two candidates of a study are.
    StoreError
        If a study has no such candidate, or one that did not pass or was made from an older state of the study; all
        reasons stand in the message. Also if another process works on a study, or it cannot be written.
    """
    given = [what] if isinstance(what, Named) else list(what)
    chosen: dict[str, str | None] = {}
    for name, meant in _named(given, store):
        if name in chosen:
            raise StudyError(f"{name}: is named twice; name each study once, or a candidate of it")
        chosen[name] = _made_from(meant, store) if isinstance(meant, Study) else meant
    if not chosen:
        raise StudyError("nothing to accept: name a study file, a stored study or a candidate")
    made = acceptance.accept(store, chosen, tag=tag, reason=reason, despite=despite)
    return [{"study": study, **asdict(baseline)} for study, baseline in made.items()]


def baselines(what: Named | Sequence[Named] = (), store: str | Path = STORE) -> list[dict[str, Any]]:
    """Return the baselines of stored studies, and the candidates that wait, each newest first.

    Parameters
    ----------
    what : Study, str or Path, or several
        Studies, study files or names of stored studies; all that are stored unless given.
    store : str or Path
        Folder or URL of the store.

    Returns
    -------
    list of dict
        Of each study: ``study``, ``baselines`` with ``tag``, ``name``, ``snapshot``, ``accepted_at``, ``who``,
        ``reason``, ``outcome``, ``sentence``, ``candidate``, ``covsvc``, ``git_revision`` and ``git_changed``, and
        ``candidates`` with ``candidate``, ``state``, ``snapshot``, ``base``, ``written_at``, ``outcome``, ``sentence``,
        ``covsvc``, ``git_revision`` and ``git_changed``. A candidate ``waits`` to be accepted, is ``unvalidated`` as
        long as its validation is not through, ``outdated`` if the study has changed since it was made, or ``half
        accepted`` if that was cut short.

    Raises
    ------
    StudyError
        If a study file is refused.
    StoreError
        If there is no such study.
    """
    given = [what] if isinstance(what, Named) else what
    names = [name for name, _ in _named(given, store)] if given else stored_studies(store)
    found = []
    for name in dict.fromkeys(names):
        repository = open_existing(place_of(store), name)
        held = [asdict(each) for each in baselines_in(repository)]
        waiting = [_told(each) for each in candidates_in(repository)]
        found.append({"study": name, "baselines": held, "candidates": waiting})
    return found


def _told(candidate: Candidate) -> dict[str, Any]:
    told = asdict(candidate)
    written_at = candidate.written_at.isoformat(timespec="seconds")
    return {"candidate": told.pop("branch"), **told, "written_at": written_at, **told.pop("code")}


def _made_from(study: Study, store: str | Path) -> str | None:
    """Return the newest candidate that was made from this very study; None if none waits.

    Raises
    ------
    StoreError
        If those that wait were made from another study of this name.
    """
    place = place_of(store)
    repository = open_existing(place, study.name)
    tip, told = repository.lookup_branch(MAIN), study.model_dump(mode="json")
    waiting = [each for each in candidates_in(repository) if each.base == tip]
    for each in waiting:
        if attributes_at(repository, each.snapshot).get("study") == told:
            return each.branch
    if waiting:
        raise StoreError(
            f"{place.study(study.name)}: no candidate was made from this text of the study; validate it first, or "
            f"name the candidate that is meant: {', '.join(each.branch for each in waiting)}"
        )
    return None


def _named(given: Sequence[Named], store: str | Path) -> Iterator[tuple[str, Study | str | None]]:
    """Yield the name of each study that is meant, and the study or the candidate if that is given."""
    for each in given:
        if studies := given_studies(each):
            yield from ((study.name, study) for study in studies)
        elif str(each).startswith(CANDIDATE):
            yield _study_of(str(each), store), str(each)
        else:
            yield str(each), None


def _study_of(candidate: str, store: str | Path) -> str:
    """Return the study of which a candidate, or one that was accepted, has a name that begins so.

    Raises
    ------
    StoreError
        If there is none, or there are several.
    """
    known, meant = {}, []
    for name in stored_studies(store):
        repository = open_existing(place_of(store), name)
        known[name] = candidate_branches(repository)
        accepted = [str(each.candidate) for each in baselines_in(repository)[:1]]
        if any(branch.startswith(candidate) for branch in known[name] + accepted):
            meant.append(name)
    if len(meant) > 1:
        raise StoreError(f"{candidate!r} begins candidates of {', '.join(meant)}; give more of it")
    if not meant:
        waiting = ", ".join(sorted(chain(*known.values()))) or "none"
        raise StoreError(f"{place_of(store).where}: no candidate {candidate!r}; candidates are: {waiting}")
    return meant[0]
