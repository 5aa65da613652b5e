"""Threads for what would hold up the event loop, and how many may wait for one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread
from starlette.requests import Request

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Busy(Exception):
    """More wait than may."""


class Gone(Exception):
    """The client left before its turn came."""


class Lane:
    """So many threads, and so many who may wait for one; who comes later is sent away at once.

    Work that was begun is finished, whether its client waits for it or not: a thread cannot be stopped, and counts as
    long as it runs.

    Parameters
    ----------
    threads, waiting : int
    """

    def __init__(self, threads: int, waiting: int) -> None:
        self._limiter = anyio.CapacityLimiter(threads)
        self._most = threads + waiting
        self._inside = 0

    async def run(
        self, request: Request | None, work: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs
    ) -> _T:
        """Do blocking work in a thread when its turn comes, unless its client has left by then.

        Raises
        ------
        Busy
            If as many wait as may.
        Gone
            If the client has left.
        """
        if self._inside >= self._most:
            raise Busy
        waits = self._limiter.available_tokens == 0
        self._inside += 1
        try:
            async with self._limiter:
                if waits and request is not None and await request.is_disconnected():
                    raise Gone
                # one that is free: that of the lane is held already
                free = anyio.CapacityLimiter(1)
                return await anyio.to_thread.run_sync(partial(work, *arguments, **options), limiter=free)
        finally:
            self._inside -= 1
