"""The commit that answers: never a mixture, never waited for twice, soon the newest."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
import xarray as xr

from covsvc.errors import StoreError
from covsvc.service.lanes import Lane
from covsvc.service.metrics import Metrics
from covsvc.service.snapshots import Snapshots


class History:
    """A study whose main moves, and whose maps take as long as is wanted."""

    def __init__(self):
        self.main, self.made, self.free, self.broken = "A", [], threading.Event(), False
        self.free.set()

    def look(self, name, at):
        if self.broken:
            raise StoreError(f"{name}: out of reach")
        return self.main if at == "main" else at

    def prepare(self, name, snapshot):
        assert self.free.wait(20)
        self.made.append(snapshot)
        return xr.Dataset(attrs={"snapshot": snapshot})

    def snapshots(self):
        return Snapshots(self.look, self.prepare, Lane(2, 20), Lane(2, 20), Metrics())


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr("covsvc.service.snapshots.FRESH", 0.0)


async def until(happened):
    async with asyncio.timeout(20):
        while not await happened():
            await asyncio.sleep(0.01)


def test_main_is_answered_from_the_commit_before_until_the_maps_of_a_newer_one_are_ready():
    async def main():
        history = History()
        held = history.snapshots()
        assert await held.at("s", "main") == "A"
        history.main = "B"
        history.free.clear()
        for _ in range(5):
            assert await held.at("s", "main") == "A"
            await asyncio.sleep(0.01)
        history.free.set()

        async def is_new():
            return await held.at("s", "main") == "B"

        await until(is_new)
        assert (await held.maps("s", "B")).attrs["snapshot"] == "B"
        assert history.made == ["A", "B"]

    asyncio.run(main())


def test_maps_are_made_once_however_many_ask_and_leave():
    async def main():
        history = History()
        held = history.snapshots()
        history.free.clear()
        tasks = [asyncio.create_task(held.maps("s", "old")) for _ in range(10)]
        await asyncio.sleep(0.05)
        tasks[0].cancel()
        history.free.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert {each.attrs["snapshot"] for each in found[1:]} == {"old"}
        assert history.made == ["old"]

    asyncio.run(main())


def test_a_store_out_of_reach_leaves_the_last_answer_and_the_first_one_says_so():
    async def main():
        history = History()
        held = history.snapshots()
        history.broken = True
        with pytest.raises(StoreError, match="out of reach"):
            await held.at("s", "main")
        history.broken = False
        assert await held.at("s", "main") == "A"
        history.broken = True
        assert await held.at("s", "main") == "A"
        await asyncio.sleep(0.05)
        assert await held.at("s", "main") == "A"

    asyncio.run(main())


def test_who_comes_after_a_long_time_waits_for_new_maps_but_not_for_long(monkeypatch):
    async def main():
        monkeypatch.setattr("covsvc.service.snapshots.LONG", 0.0)
        monkeypatch.setattr("covsvc.service.snapshots.PATIENCE", 0.2)
        history = History()
        held = history.snapshots()
        assert await held.at("s", "main") == "A"
        history.main = "B"
        await asyncio.sleep(0.05)
        assert await held.at("s", "main") == "B"
        history.main = "C"
        history.free.clear()
        begun = time.monotonic()
        await asyncio.sleep(0.05)
        assert await held.at("s", "main") == "B"
        assert time.monotonic() - begun < 10
        history.free.set()

        async def is_new():
            return await held.at("s", "main") == "C"

        await until(is_new)

    asyncio.run(main())
