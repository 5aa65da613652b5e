"""How far the work on a study is, told to all readers alike."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from weakref import WeakKeyDictionary

from covsvc.api.progressing import progress_of
from covsvc.errors import CovsvcError
from covsvc_dashboards.held import Held

FRESH = 1.5
"""Seconds for which nobody looks again."""

_told: WeakKeyDictionary[Held, dict[str, tuple[float, asyncio.Task[str]]]] = WeakKeyDictionary()


async def progress(held: Held, study: str) -> str:
    """Return a sentence on the work on a study, empty if it is done and nobody works on it."""
    now, told = time.monotonic(), _told.setdefault(held, {})
    looked, task = told.get(study, (0.0, None))
    if task is None or (task.done() and now - looked > FRESH):
        task = asyncio.create_task(_look(held, study))
        told[study] = now, task
    return await asyncio.shield(task)


async def _look(held: Held, study: str) -> str:
    try:
        return sentence_of(await held.in_thread(progress_of, held.store, study))
    except CovsvcError as error:
        return f"How far the work is cannot be told: {str(error).splitlines()[0]}"  # of several, the first


def sentence_of(told: dict[str, Any]) -> str:
    """Say how far the work is, as `progress_of` tells it."""
    if told["complete"] and not told["driver"]:
        return ""
    blocks = f"{told['blocks_done']:,} of {'at most ' if told['at_most'] else ''}{told['blocks']:,} blocks"
    said = [blocks if told["snapshot"] else "nothing is committed yet"]
    if told["blocks_failed"]:
        said.append(f"{told['blocks_failed']:,} failed")
    if not told["driver"]:
        return f"Not complete: {', '.join(said)}; nobody works on it."
    if told["toys_per_second"]:
        said.append(f"{_short(told['toys_per_second'])} toys/s")
    if told["seconds_left"]:
        said.append(f"about {_duration(told['seconds_left'])} left")
    return f"Being run: {', '.join(said)}."


def _short(number: float) -> str:
    for size, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{name}"
    return f"{number:.3g}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
