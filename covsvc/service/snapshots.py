"""Commits whose maps are at hand."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import xarray as xr

from covsvc.errors import CovsvcError
from covsvc.service.lanes import Busy, Lane
from covsvc.service.metrics import Metrics

LOG = logging.getLogger("covsvc.service")

FRESH = 1.0
"""Seconds for which nobody looks again whether main has moved."""

PATIENCE = 1.0
"""Seconds that a request waits for new maps, if nobody has looked for a long time."""

LONG = 10.0
"""Seconds without a look after which a request waits."""

MOST_HELD = 256 * 2**20
"""Bytes of maps that are kept."""


@dataclass
class _Main:
    """What main of a study is answered from, when it was looked at, and what is prepared."""

    snapshot: str = ""
    looked: float = 0.0
    rests_until: float = 0.0
    work: asyncio.Task[None] | None = None


class Snapshots:
    """The maps of commits, and which commit main of each study is answered from.

    Main is answered from the newest commit whose maps are ready; those of a newer one are made beside that, and then
    it is all of the answer at once.

    Parameters
    ----------
    look : callable
        Takes the name of a study and what names a commit; returns the id of its snapshot.
    prepare : callable
        Takes the name of a study and the id of a snapshot; returns its maps, however long it takes.
    looking, making : Lane
        Where they block.
    """

    def __init__(
        self,
        look: Callable[[str, str], str],
        prepare: Callable[[str, str], xr.Dataset],
        looking: Lane,
        making: Lane,
        metrics: Metrics,
    ) -> None:
        self._look, self._prepare, self._metrics = look, prepare, metrics
        self._looking, self._for_maps = looking, making
        self._mains: dict[str, _Main] = {}
        self._held: OrderedDict[tuple[str, str], xr.Dataset] = OrderedDict()
        self._making: dict[tuple[str, str], asyncio.Task[xr.Dataset]] = {}

    async def at(self, name: str, at: str) -> str:
        """Return the id of the snapshot that answers.

        Raises
        ------
        StoreError
            If `at` names none.
        """
        if at != "main":
            return await self._looking.run(None, self._look, name, at)
        main = self._mains.setdefault(name, _Main())
        age = time.monotonic() - main.looked
        if main.snapshot and age < FRESH:
            return main.snapshot
        if main.work is None or main.work.done():
            main.work = asyncio.create_task(self._renew(name, main))
        if not main.snapshot:
            await asyncio.shield(main.work)  # a request that is given up does not end it for the others
        elif age > LONG:
            await asyncio.wait({main.work}, timeout=PATIENCE)
        return main.snapshot

    async def maps(self, name: str, snapshot: str) -> xr.Dataset:
        """Return the maps of a snapshot, made once however many ask for them."""
        key = name, snapshot
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        if key not in self._making:
            self._making[key] = asyncio.create_task(self._make(name, snapshot))
            self._making[key].add_done_callback(lambda task: self._end(key, task))
        return await asyncio.shield(self._making[key])

    def forget(self, name: str) -> None:
        """Forget a study that is gone."""
        self._mains.pop(name, None)

    def _end(self, key: tuple[str, str], task: asyncio.Task[xr.Dataset]) -> None:
        del self._making[key]
        if not task.cancelled():
            task.exception()  # whoever waits gets it; nobody may be left who does

    async def _make(self, name: str, snapshot: str) -> xr.Dataset:
        begun = time.monotonic()
        maps = await self._for_maps.run(None, self._prepare, name, snapshot)
        self._metrics.prepared(time.monotonic() - begun)
        self._held[name, snapshot] = maps
        while len(self._held) > 1 and sum(each.nbytes for each in self._held.values()) > MOST_HELD:
            self._held.popitem(last=False)
        return maps

    async def _renew(self, name: str, main: _Main) -> None:
        """Look where main stands, and let it be answered from there once the maps are ready."""
        try:
            snapshot = await self._looking.run(None, self._look, name, "main")
            main.looked = begun = time.monotonic()
            if snapshot == main.snapshot or (main.snapshot and begun < main.rests_until):
                return
            await self.maps(name, snapshot)
            if main.snapshot:
                # a driver commits every ten seconds: as long a rest as the work took leaves room for the answers
                main.rests_until = 2 * time.monotonic() - begun
            main.snapshot = snapshot
            self._metrics.answers_from(name)
        except (CovsvcError, ChildProcessError, TimeoutError, MemoryError, Busy) as error:
            if not main.snapshot:
                raise
            main.looked = time.monotonic()
            LOG.warning("%s: answered from %s still: %s: %s", name, main.snapshot, type(error).__name__, error)
