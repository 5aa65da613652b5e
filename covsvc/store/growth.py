"""The growth of a store: old snapshots expire, and what nothing refers to any longer is deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import icechunk

from covsvc.errors import StoreError
from covsvc.store.history import MAIN, Commit, commits
from covsvc.store.place import place_of
from covsvc.store.reason import reason_of
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
    files, size : int
        Files deleted, and their bytes; of a rehearsal only those that nothing refers to already.
    """

    expired: tuple[Commit, ...]
    kept: int
    files: int
    size: int


def free(store: str | Path, name: str, older_than: timedelta, keep: int, *, rehearse: bool = False) -> Freed:
    """Let the commits of a study expire that are old, and delete what only they refer to.

    What main and the tags stand at always stays, and so do the newest `keep` commits. Files that a killed driver left
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
        known = commits(repository)
        tip = repository.lookup_branch(MAIN)
        now = datetime.now(UTC)
        until = _limit(known, tip, now - min(older_than, now - _LONG_AGO), keep)
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
        return Freed(expired, len(known) - len(expired), files, freed.bytes_deleted)


def _limit(known: Sequence[Commit], tip: str, older_than: datetime, keep: int) -> datetime:
    """Return the time before which commits expire."""
    stays = [each.written_at for number, each in enumerate(known) if number < max(1, keep) or each.snapshot == tip]
    return min([older_than, *stays])
