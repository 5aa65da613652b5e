"""The past of stored studies: what was committed, the tags on it, and making room."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from covsvc.api.building import STORE
from covsvc.store import history as past
from covsvc.store.growth import free
from covsvc.store.place import place_of
from covsvc.store.repository import open_existing


def history(name: str, store: str | Path = STORE) -> list[dict[str, Any]]:
    """Return the commits of a study, newest first.

    Parameters
    ----------
    name : str
        Name of the study.
    store : str or Path
        Folder or URL of the store.

    Returns
    -------
    list of dict
        ``snapshot``, its shortest unambiguous beginning ``short``, ``written_at``, ``tags``, and what the commit tells:
        ``what`` was done, what ``commit``, ``driver`` and ``all`` commits together spent (``toys``, ``blocks``,
        ``cpu_seconds``, ``wall_seconds``, ``toys_per_second``), ``workers``, ``covsvc``, ``git_revision``,
        ``git_changed``, ``engine``, ``environment``, ``packages``, ``host``, ``user``, ``pid``.

    Raises
    ------
    StoreError
        If there is no such study.
    """
    known = past.commits(open_existing(place_of(store), name))
    short = past.short_ids(known)
    return [
        {
            "snapshot": each.snapshot,
            "short": short[each.snapshot],
            "written_at": each.written_at.isoformat(timespec="seconds"),
            "tags": list(each.tags),
            **each.told,
        }
        for each in known
    ]


def tags(name: str, store: str | Path = STORE) -> dict[str, str]:
    """Return the tags of a study, and the ids of their snapshots.

    Raises
    ------
    StoreError
        If there is no such study.
    """
    repository = open_existing(place_of(store), name)
    return {tag: str(repository.lookup_tag(tag)) for tag in sorted(repository.list_tags())}


def set_tag(name: str, tag: str, store: str | Path = STORE, *, at: str = past.MAIN) -> str:
    """Set a tag on a commit of a study, which keeps it for good; return the id of its snapshot.

    Parameters
    ----------
    name : str
        Name of the study.
    tag : str
        Letters, digits, '.', '_' and '-'; it does not move, and its name is not used twice.
    store : str or Path
        Folder or URL of the store.
    at : str
        The commit; see `open_cube`.

    Raises
    ------
    StoreError
        If the tag cannot be set; if it is to stand at an old commit, also if another process writes to the study.
    """
    place = place_of(store)
    repository = open_existing(place, name)
    where = place.study(name)
    snapshot = past.resolve(repository, at, where)
    if snapshot == repository.lookup_branch(past.MAIN):
        past.set_tag(repository, tag, snapshot, where)
    else:
        with place.lock(name):  # an old commit might expire just now
            past.set_tag(repository, tag, past.resolve(repository, snapshot, where), where)
    return snapshot


def delete_tag(name: str, tag: str, store: str | Path = STORE) -> None:
    """Delete a tag of a study; its name is not used again.

    Raises
    ------
    StoreError
        If there is none of that name.
    """
    place = place_of(store)
    past.delete_tag(open_existing(place, name), tag, place.study(name))


def gc(
    name: str,
    store: str | Path = STORE,
    *,
    older_than: timedelta = timedelta(days=30),
    keep: int = 10,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Forget old commits of a study, and delete what only they refer to.

    What main and the tags stand at stays, and so do the newest commits. Candidates are dropped that are old, or were
    made from another state than main is in.

    Parameters
    ----------
    name : str
        Name of the study.
    store : str or Path
        Folder or URL of the store.
    older_than : timedelta
        Commits younger than this stay.
    keep : int
        So many of the newest commits stay, at least 1.
    dry_run : bool
        Delete nothing.

    Returns
    -------
    dict
        ``expired`` and ``kept`` commits, ``dropped`` candidates, ``files`` and ``bytes`` that were deleted. Of a dry
        run the last two count only what nothing refers to already.

    Raises
    ------
    StoreError
        If a driver works on the study, or it cannot be written.
    """
    freed = free(store, name, older_than, keep, rehearse=dry_run)
    return {
        "study": name,
        "dry_run": dry_run,
        "expired": [each.snapshot for each in freed.expired],
        "kept": freed.kept,
        "dropped": list(freed.dropped),
        "files": freed.files,
        "bytes": freed.size,
    }
