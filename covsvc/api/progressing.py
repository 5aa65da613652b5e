"""How far the work on a stored study is."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from covsvc.api.running import missing_in
from covsvc.api.stored import part_of, stored_study, toys_in, written_at
from covsvc.errors import StoreError
from covsvc.store.history import Commit, commits, newest
from covsvc.store.place import place_of
from covsvc.store.repository import driver_of, open_cube, open_existing
from covsvc.tally import DONE, FAILED

RECENT = 60.0
"""Seconds of work, about, of which the toys per second are told."""

_READ = ("block_status", "exact_status", "n_covered", "n_failed", "n_toys", "worst_s_min", "worst_s_max")


@dataclass(frozen=True)
class _Done:
    """What a commit holds of a study: parts of the work, which are blocks and rows of exact values, and toys."""

    parts: int
    parts_done: int
    blocks: int
    blocks_done: int
    blocks_failed: int
    toys: int
    toys_left: int
    at_most: bool
    toys_per_second: float | None
    written_at: str


def progress_of(store: str | Path, name: str) -> dict[str, Any]:
    """Say how far the work on a study is, by its newest commit; a driver commits every ten seconds or so.

    Parameters
    ----------
    store : str or Path
        Folder or URL of the store.
    name : str
        Name of the study.

    Returns
    -------
    dict
        ``study``; ``complete``; ``fraction``, of the blocks and rows of exact values that the study asks for, or, of a
        budget, of the cells in columns that need no more toys; ``blocks``, ``blocks_done``, ``blocks_failed``;
        ``at_most``, whether a budget decides how many of these blocks are drawn; ``toys``; ``toys_per_second`` of the
        last minute of work, None where it is not known; ``seconds_left``, None where nobody works, or a budget decides;
        ``driver``, who works on it, empty if nobody does; ``snapshot`` and ``written_at`` of the commit, empty before
        the first.

    Raises
    ------
    StoreError
        If there is no such study, and nobody is about to begin it.
    """
    place, driver = place_of(store), driver_of(store, name)
    try:
        snapshot = newest(open_existing(place, name))
    except StoreError:
        if not driver:
            raise
        snapshot = ""
    if not snapshot and not driver:
        open_cube(store, name)  # says why there is nothing
    done = _done_at(place.where, name, snapshot) if snapshot else _NOTHING
    complete = bool(snapshot) and done.parts_done == done.parts
    rate = done.toys_per_second
    return {
        "study": name,
        "complete": complete,
        "fraction": 1.0 if complete else done.parts_done / done.parts,
        "blocks": done.blocks,
        "blocks_done": done.blocks_done,
        "blocks_failed": done.blocks_failed,
        "toys": done.toys,
        "toys_per_second": rate,
        "at_most": done.at_most,
        "seconds_left": 0.0 if complete else done.toys_left / rate if driver and rate and not done.at_most else None,
        "driver": driver,
        "snapshot": snapshot,
        "written_at": done.written_at,
    }


_NOTHING = _Done(1, 0, 0, 0, 0, 0, 0, False, None, "")
"""Of a driver that has not committed anything yet."""


@lru_cache(maxsize=64)
def _done_at(store: str, name: str, snapshot: str) -> _Done:
    """Return what a commit holds of a study; it is asked for again and again, and commits do not change."""
    cube = open_cube(store, name, snapshot)
    study = stored_study(cube)
    here = part_of(cube[list(_READ)], study.axes).load().assign_attrs(cube.attrs)
    status = here["block_status"].to_numpy()[..., : study.n_blocks]
    missing = missing_in(here, study)
    blocks = len(study.columns) * study.cells * study.n_blocks
    parts, todo, toys_left = len(study.b), 0, 0
    for b in study.b:
        wanted, reach = missing(b)
        toys_left += int(wanted.any(axis=0).sum()) * study.toys_per_block
        asked = np.asarray(wanted.any(axis=-1)) if study.budget else wanted
        parts, todo = parts + asked.size, todo + int(asked.sum()) + (reach is not None)
    return _Done(
        parts,
        parts - todo,
        blocks,
        int((status == DONE).sum()),
        int((status == FAILED).sum()),
        toys_in(here),
        toys_left,
        study.budget is not None,
        _toys_per_second(commits(open_existing(place_of(store), name)), snapshot),
        written_at(cube),
    )


def _toys_per_second(known: list[Commit], snapshot: str) -> float | None:
    """Return the speed of the driver that wrote a snapshot, over its last commits until then."""
    newest = next((each for each in known if each.snapshot == snapshot), None)
    if newest is None:
        return None
    since = (each.told for each in known if each.written_at <= newest.written_at)
    of_driver = itertools.takewhile(lambda told: _driver(told) == _driver(newest.told), since)
    toys, seconds = 0, 0.0
    for told in of_driver:
        spent = told.get("commit", {})
        toys, seconds = toys + spent.get("toys", 0), seconds + spent.get("wall_seconds", 0.0)
        if seconds >= RECENT:
            break
    return toys / seconds if toys and seconds else None


def _driver(told: dict[str, Any]) -> tuple[Any, Any]:
    return told.get("host"), told.get("pid")
