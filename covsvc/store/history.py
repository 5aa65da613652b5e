"""The history of a study: its commits, the tags on them, and finding one by what people call it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import icechunk

from covsvc.errors import StoreError
from covsvc.store.reason import reason_of

MAIN = "main"
"""The branch of what is valid."""

CANDIDATE = "candidate."
"""What the names of branches begin with that wait to be accepted."""

SHORT = 6
"""Letters of a short snapshot id, at least."""

_SHORTEST, _LENGTH = 4, 20
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BASELINE = re.compile(rf"({_TAG.pattern})@(\d{{8}}T\d{{6}}Z)")


@dataclass(frozen=True)
class Commit:
    """A snapshot, when it was written, what it tells of itself, and the tags on it."""

    snapshot: str
    written_at: datetime
    told: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


def commits(repository: icechunk.Repository) -> list[Commit]:
    """Return the commits that main and the tags have in their past, newest first.

    Raises
    ------
    StoreError
        If one cannot be read.
    """
    tags: dict[str, list[str]] = {}
    for tag in sorted(repository.list_tags()):
        tags.setdefault(repository.lookup_tag(tag), []).append(tag)
    found: dict[str, Commit] = {}
    # a tagged snapshot is no longer in the past of main when the snapshots around it have expired
    for start in chain([repository.lookup_branch(MAIN)], tags):
        try:
            for each in repository.ancestry(snapshot_id=start):
                if each.id in found:
                    break
                if each.parent_id is not None:  # the first one, which holds nothing, was made with the repository
                    held = tuple(tags.get(each.id, ()))
                    found[each.id] = Commit(each.id, each.written_at, dict(each.metadata), held)
        except icechunk.IcechunkError as error:
            told = f"a commit before {start[:SHORT]} cannot be read: {reason_of(error)}"
            raise StoreError(f"{told}. If `covsvc gc` works on the study just now, ask again") from None
    return sorted(found.values(), key=lambda commit: commit.written_at, reverse=True)


def newest(repository: icechunk.Repository) -> str:
    """Return the id of the newest snapshot of main, empty before the first commit.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    snapshot = str(repository.lookup_branch(MAIN))
    try:
        parent = next(iter(repository.ancestry(snapshot_id=snapshot))).parent_id
    except icechunk.IcechunkError as error:
        raise StoreError(f"the newest commit, {snapshot[:SHORT]}, cannot be read: {reason_of(error)}") from None
    return snapshot if parent is not None else ""


def short_ids(known: Iterable[Commit]) -> dict[str, str]:
    """Return the shortest unambiguous beginning of each snapshot id, six letters at least."""
    ids = sorted(each.snapshot for each in known)
    length = SHORT
    while length < _LENGTH and len({each[:length] for each in ids}) < len(ids):
        length += 1
    return {each: each[:length] for each in ids}


def resolve(repository: icechunk.Repository, at: str, where: str) -> str:
    """Return the id of the snapshot that `at` names.

    Parameters
    ----------
    repository : icechunk.Repository
    at : str
        ``"main"``, a tag, the name of a baseline, of which the newest is meant, a candidate or an unambiguous beginning
        of one, a snapshot id or an unambiguous beginning of one (four letters or more), or a time such as
        ``"2026-11-21"`` or ``"2026-11-21T10:30"`` (UTC unless it names its offset): the last commit until then.
    where : str
        What people call the place of the study.

    Raises
    ------
    StoreError
        If it names none, or several.
    """
    if at == MAIN:
        return str(repository.lookup_branch(MAIN))
    if at in repository.list_tags():
        return str(repository.lookup_tag(at))
    if at.startswith(CANDIDATE):
        return str(repository.lookup_branch(candidate_named(repository, at, where)))
    if tag := next((tag for name, tag, _ in baseline_tags(repository) if name == at), None):
        return str(repository.lookup_tag(tag))
    if _holds(repository, at.upper()):
        return at.upper()
    known = commits(repository)
    if (time := time_of(at)) is not None:
        # as it is shown: to the second, if the time given has no more digits
        end = time if time.microsecond else time.replace(microsecond=999_999)
        until = [each for each in known if each.written_at <= end]
        if not until:
            raise StoreError(f"{where}: no commit until {at}; {_oldest(known)}")
        return until[0].snapshot
    meant = [each.snapshot for each in known if len(at) >= _SHORTEST and each.snapshot.startswith(at.upper())]
    if len(meant) > 1:
        raise StoreError(f"{where}: {at!r} begins {len(meant)} snapshots, {', '.join(sorted(meant))}; give more of it")
    if not meant:
        raise StoreError(f"{where}: no snapshot {at!r}, no tag and no time; {_nearest(known)}")
    return meant[0]


def candidate_branches(repository: icechunk.Repository) -> list[str]:
    """Return the branches of the candidates, in alphabetical order."""
    return sorted(str(branch) for branch in repository.list_branches() if branch.startswith(CANDIDATE))


def candidate_named(repository: icechunk.Repository, beginning: str, where: str) -> str:
    """Return the branch of the candidate that a beginning names.

    Raises
    ------
    StoreError
        If it names none, or several.
    """
    known = candidate_branches(repository)
    meant = [branch for branch in known if branch.startswith(beginning)]
    if len(meant) > 1:
        raise StoreError(f"{where}: {beginning!r} begins {len(meant)} candidates, {', '.join(meant)}; give more of it")
    if not meant:
        raise StoreError(f"{where}: no candidate {beginning!r}; candidates are: {', '.join(known) or 'none'}")
    return meant[0]


def baseline_tags(repository: icechunk.Repository) -> list[tuple[str, str, datetime]]:
    """Return name, tag and time of each baseline, newest first."""
    told = [each for tag in repository.list_tags() if (each := _BASELINE.fullmatch(tag))]
    found = [(each[1], each[0], datetime.strptime(each[2], "%Y%m%dT%H%M%S%z")) for each in told]
    return sorted(found, key=lambda each: (each[2], each[0]), reverse=True)


def time_of(at: str) -> datetime | None:
    """Return the time that a text names, in UTC unless it names its offset; None if it names none."""
    if "-" not in at:  # ids of snapshots may be all digits
        return None
    try:
        time = datetime.fromisoformat(at)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def check_name(repository: icechunk.Repository, tag: str, where: str) -> None:
    """Raise StoreError if a name is none for a tag, means something else already, or is that of a tag."""
    if not _TAG.fullmatch(tag) or len(tag) > 100:
        hint = "; those with '@' are set when a baseline is accepted" if "@" in tag else ""
        raise StoreError(f"{tag!r}: a tag is letters, digits, '.', '_' and '-', a letter or a digit first{hint}")
    if tag == MAIN or time_of(tag) is not None:
        raise StoreError(f"{tag!r}: names {'the newest commit' if tag == MAIN else 'a time'}; choose another tag")
    if tag.startswith(CANDIDATE):
        raise StoreError(f"{tag!r}: names a candidate; choose another tag")
    meant = [each.snapshot for each in commits(repository) if each.snapshot.startswith(tag.upper())]
    if meant and len(tag) >= _SHORTEST:
        raise StoreError(f"{tag!r}: names the snapshot {meant[0]}; choose another tag")
    if tag in repository.list_tags():
        held = repository.lookup_tag(tag)
        raise StoreError(f"{where}: tag {tag!r} stands at {held[:SHORT]} and does not move; choose another name")


def set_tag(repository: icechunk.Repository, tag: str, snapshot: str, where: str) -> None:
    """Set a tag, which stays where it is.

    Raises
    ------
    StoreError
        If the name is none for a tag, or was given before.
    """
    check_name(repository, tag, where)
    if tag in [name for name, *_ in baseline_tags(repository)]:
        raise StoreError(f"{where}: {tag!r} is the name of a baseline; choose another tag")
    try:
        repository.create_tag(tag, snapshot_id=snapshot)
    except icechunk.IcechunkError as error:
        if "tag already exists" not in str(error):
            raise StoreError(f"{where}: tag {tag!r} cannot be set: {reason_of(error)}") from None
        raise StoreError(
            f"{where}: {tag!r} was a tag that is deleted, and names are not used twice; choose another"
        ) from None


def delete_tag(repository: icechunk.Repository, tag: str, where: str) -> None:
    """Delete a tag; its snapshot stays as long as any other.

    Raises
    ------
    StoreError
        If there is none of that name.
    """
    tags = sorted(repository.list_tags())
    if tag not in tags:
        raise StoreError(f"{where}: no tag {tag!r}; tags are: {', '.join(tags) or 'none'}")
    repository.delete_tag(tag)


def _holds(repository: icechunk.Repository, snapshot: str) -> bool:
    if len(snapshot) != _LENGTH:
        return False
    try:
        repository.lookup_snapshot(snapshot)
    except (icechunk.IcechunkError, ValueError):
        return False
    return True


def _oldest(known: list[Commit]) -> str:
    return f"the oldest is {known[-1].written_at:%Y-%m-%dT%H:%M:%S}" if known else "nothing is stored yet"


def _nearest(known: list[Commit]) -> str:
    tags = sorted(tag for each in known for tag in each.tags)
    told = f"tags are: {', '.join(tags[-5:]) or 'none'}"
    short = short_ids(known)
    newest = ", ".join(f"{short[each.snapshot]} ({each.written_at:%Y-%m-%d %H:%M:%S})" for each in known[:3])
    return f"{told}; the newest snapshots: {newest or 'none'}; `covsvc history` lists all"
