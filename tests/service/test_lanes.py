"""Threads for what blocks: how many work, how many wait, and who is sent away."""

from __future__ import annotations

import threading

import anyio
import pytest

from covsvc.service.lanes import Busy, Gone, Lane


class Client:
    """A client that is there or not."""

    def __init__(self, gone=False):
        self.gone = gone

    async def is_disconnected(self):
        return self.gone


def test_the_event_loop_goes_on_and_no_more_work_than_there_are_threads():
    async def main():
        lane, free, now, most = Lane(2, 10), threading.Event(), [0], [0]

        def work():
            now[0] += 1
            most[0] = max(most[0], now[0])
            assert free.wait(20)
            now[0] -= 1
            return 42

        found = []

        async def ask():
            found.append(await lane.run(None, work))

        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(ask)
            with anyio.fail_after(20):
                while most[0] < 2:
                    await anyio.sleep(0.01)
            free.set()
        assert (found, most) == ([42] * 6, [2])

    anyio.run(main)


def test_who_comes_when_too_many_wait_is_sent_away_and_who_left_gets_nothing():
    async def main():
        lane, free, done = Lane(1, 2), threading.Event(), []

        def work(name):
            assert free.wait(20)
            done.append(name)

        async def leave():
            with pytest.raises(Gone):
                await lane.run(Client(gone=True), work, "gone")

        async with anyio.create_task_group() as group:
            group.start_soon(lane.run, None, work, "first")
            await anyio.sleep(0.05)
            group.start_soon(leave)
            group.start_soon(lane.run, Client(), work, "second")
            await anyio.sleep(0.05)
            with pytest.raises(Busy):
                await lane.run(None, work, "third")
            free.set()
        assert done == ["first", "second"]
        await lane.run(None, work, "fourth")
        assert done[-1] == "fourth"

    anyio.run(main)


def test_work_that_was_given_up_counts_until_it_ends():
    async def main():
        lane, free = Lane(1, 0), threading.Event()
        with anyio.move_on_after(0.05) as given_up:
            async with anyio.create_task_group() as group:
                group.start_soon(lane.run, None, free.wait, 20)
                await anyio.sleep(0.02)
                with pytest.raises(Busy):
                    await lane.run(None, free.is_set)
                threading.Timer(0.2, free.set).start()
        assert given_up.cancelled_caught
        assert free.is_set()  # the thread was waited for: it cannot be stopped
        assert await lane.run(None, free.is_set)

    anyio.run(main)
