"""The growth of a store: old snapshots expire, and what nothing refers to any longer is deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import icechunk

from covsvc.errors import StoreError
from covsvc.store.candidates import candidates, finish_acceptance
from covsvc.store.history import MAIN, Commit, commits
from covsvc.store.place import place_of
from covsvc.store.reason import reason_of, unwritable
from covsvc.store.repository import open_existing

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""Before any commit."""


@dataclass(frozen=True)
class Freed:
    """What was freed, or would be.

    Attributes
    ----------
    expired : tuple of Commit
        Snapshots that can be read no longer.
    kept : int
        Commits that are left.
    dropped : tuple of str
        Candidates that wait no longer.
    files, size : int
        Files deleted, and their bytes; of a rehearsal only those that nothing refers to already.
    """

    expired: tuple[Commit, ...]
    kept: int
    dropped: tuple[str, ...]
    files: int
    size: int


def free(store: str | Path, name: str, older_than: timedelta, keep: int, *, rehearse: bool = False) -> Freed:
    """Let the commits of a study expire that are old, and delete what only they refer to.

    What main and the tags stand at always stays, and so do the newest `keep` commits. Candidates are dropped that are
    old, or were made from another state than main is in. Files that a killed driver left
    are deleted, too. Killed at any moment, what stays can be read; what is left to delete the next call deletes.

    Parameters
    ----------
    store : str or Path
        Folder or URL of the store.
    name : str
        Name of the study.
    older_than : timedelta
        Commits younger than this stay.
    keep : int
        So many of the newest commits stay, at least 1.
    rehearse : bool
        Delete nothing.

    Raises
    ------
    StoreError
        If a driver works on the study, or it cannot be written.
    """
    place = place_of(store)
    open_existing(place, name)  # before a lock is made for what does not exist
    with place.lock(name) as still_held:
        repository = open_existing(place, name)
        now = datetime.now(UTC)
        long_ago = now - min(older_than, now - _LONG_AGO)
        try:
            if not rehearse:
                still_held()
                finish_acceptance(repository, place)
            dropped = _drop(repository, long_ago, rehearse=rehearse)
        except (icechunk.IcechunkError, OSError) as error:
            raise unwritable(place.study(name), error) from error
        known = commits(repository)
        tip = repository.lookup_branch(MAIN)
        until = _limit(known, tip, long_ago, keep)
        expired = tuple(each for each in known if each.written_at < until and not each.tags and each.snapshot != tip)
        try:
            if expired and not rehearse:
                still_held()
                repository.expire_snapshots(until)
                repository = open_existing(place, name)  # this one remembers how the snapshots were
            still_held()
            # nobody writes while the lock is held: all that nothing refers to is garbage, however young
            freed = repository.garbage_collect(datetime.now(UTC), dry_run=rehearse)
            if not rehearse:
                place.settle()
        except (icechunk.IcechunkError, OSError) as error:
            told = f"garbage cannot be collected: {reason_of(error)}; see `covsvc doctor`"
            raise StoreError(f"{place.study(name)}: {told}") from error
        if left := getattr(freed, "objects_failed_to_delete", 0):  # Icechunk 2 tells, and goes on
            told = f"{left:,} files that nothing refers to could not be deleted; the same command tries again"
            raise StoreError(f"{place.study(name)}: {told}")
        files = (
            freed.chunks_deleted
            + freed.manifests_deleted
            + freed.snapshots_deleted
            + freed.attributes_deleted
            + freed.transaction_logs_deleted
        )
        return Freed(expired, len(known) - len(expired), dropped, files, freed.bytes_deleted)


def _drop(repository: icechunk.Repository, older_than: datetime, *, rehearse: bool) -> tuple[str, ...]:
    """Drop the candidates that are old or can be accepted no longer, and return their names."""
    waiting = candidates(repository)
    dropped = tuple(
        each.branch
        for each in waiting
        if each.state == "outdated" or (each.state != "half accepted" and each.written_at < older_than)
    )
    for branch in () if rehearse else dropped:
        repository.delete_branch(branch)
    return dropped


def _limit(known: Sequence[Commit], tip: str, older_than: datetime, keep: int) -> datetime:
    """Return the time before which commits expire."""
    stays = [each.written_at for number, each in enumerate(known) if number < max(1, keep) or each.snapshot == tip]
    return min([older_than, *stays])
