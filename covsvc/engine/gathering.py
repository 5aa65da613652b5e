"""Gathering of what a Dask cluster computes: submissions in, ended futures out."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary

from covsvc.engine import answers
from covsvc.engine.refusals import refusals_of
from covsvc.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client, Future, as_completed

_WINDOW = 3
"""Tasks a worker has in hand or waiting, so that it never idles and the driver's memory stays flat."""

LOOK, SILENCE, ALONE = 5.0, 30.0, 600.0
"""Seconds between two questions to the scheduler; in which it has to answer; in which it has to find a worker."""

_GOODBYE = 5.0
"""Seconds in which a scheduler takes back what it was asked for."""

What = TypeVar("What")

_PATIENCE: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
"""Seconds in which a client's scheduler has to find a worker, where that is known to be another time than `ALONE`."""


def be_patient(client: Client, seconds: float) -> None:
    """Give the scheduler of a client so much time to find a worker: one that a queue starts comes when it comes."""
    _PATIENCE[client] = seconds


def patience_of(client: Client, unless_told: float | None = None) -> float:
    """Return the seconds in which the scheduler of a client has to find a worker.

    Parameters
    ----------
    client : distributed.Client
    unless_told : float, optional
        Where nobody said how long; `ALONE` unless given.
    """
    return _PATIENCE.get(client, ALONE if unless_told is None else unless_told)


def gather(
    submissions: Iterator[tuple[Future, What]],
    client: Client,
    what_stays: str,
    again: Callable[[What], Future] | None = None,
) -> Iterator[tuple[What, Future, Any]]:
    """Yield what was submitted with its future, finished or failed, and the result, in the order of their ends.

    Parameters
    ----------
    submissions : iterator of (Future, object)
        Read as far as workers need it; each is submitted when it is read.
    client : distributed.Client
    what_stays : str
        What becomes of the work that is done if the cluster is lost, and the cure.
    again : callable, optional
        Submits once more what had a worker die each time. It is asked for that at the end, when each has a worker for
        itself: until then whatever was waiting on the same worker is suspected, too.

    Raises
    ------
    ClusterError
        If the cluster is lost: its scheduler is gone or does not answer, or has no worker for long.
    """
    suspected: list[What] = []
    for what, future, result in _gather(submissions, client, what_stays, _WINDOW):
        if again is not None and future.status == "error" and _died(future.exception()):
            suspected.append(what)
        else:
            yield what, future, result
    if again is not None and suspected:
        yield from _gather(((again(what), what) for what in suspected), client, what_stays, 1)


def ask(client: Client, question: Callable[[], Any], what_stays: str) -> Any:
    """Return what a method of a client answers; wait as long as its scheduler is there.

    Parameters
    ----------
    client : distributed.Client
    question : callable
        Calls the method; what it waits for is waited for here.
    what_stays : str
        As `gather` takes it.

    Raises
    ------
    ClusterError
        If the cluster, or a worker that has to answer, is lost meanwhile.
    TimeoutError
        If the question has a time limit, which is over.
    """

    async def answer() -> Any:
        if client.scheduler is None:
            raise OSError("its connection was closed")
        return await question()

    asked = asyncio.run_coroutine_threadsafe(answer(), client.loop.asyncio_loop)
    watch = _Watch(client, what_stays, alone=math.inf)
    while not wait([asked], timeout=0.1).done:
        watch.look()
    try:
        return asked.result()
    except TimeoutError:
        raise
    except OSError as error:  # of Dask's connections, too
        raise ClusterError(f"the cluster, or a worker of it, was lost ({error}); {what_stays}") from None


def reason_of(error: BaseException | None) -> str:
    """Say why a task failed."""
    if not _died(error):
        return answers.reason_of(error)
    limit = error.last_worker.memory_limit  # type: ignore[union-attr]
    allowed = f"the {limit / 1e6:,.0f} MB that a worker may have" if limit else "there is"
    return f"every worker that tried it died: it crashes, or takes more memory than {allowed}"


def _died(error: BaseException | None) -> bool:
    from distributed import KilledWorker

    return isinstance(error, KilledWorker)


def _gather(
    submissions: Iterator[tuple[Future, What]], client: Client, what_stays: str, window: int
) -> Iterator[tuple[What, Future, Any]]:
    """Do as `gather` does, with `window` tasks a thread, and nothing done again."""
    from distributed import as_completed

    done = as_completed(with_results=True, raise_errors=False, loop=client.loop)
    waiting: dict[Any, What] = {}
    watch = _Watch(client, what_stays)
    try:
        while True:
            while len(waiting) < max(2, window * watch.threads) and (submitted := next(submissions, None)) is not None:
                future, what = submitted
                waiting[future.key] = what
                done.add(future)
            if not waiting:
                return
            for future, result in _ended(done, watch):
                if future.status == "lost" and client.status == "running":
                    # its worker died before the result was fetched: the scheduler has it computed again
                    done.add(future)
                elif future.status in ("cancelled", "lost"):
                    raise ClusterError(f"the cluster was lost; {what_stays}")
                else:
                    yield waiting.pop(future.key), future, result
    finally:
        # nothing where all is done: Ctrl-C is lost while a generator is left that nobody asks any more
        futures = list(done.futures)
        if futures and client.status == "running" and watch.answers:  # interrupted, the client may be gone by now
            with suppress(TimeoutError):
                client.sync(lambda: client.cancel(futures, asynchronous=True, force=True), callback_timeout=_GOODBYE)


def _ended(done: as_completed, watch: _Watch) -> list[tuple[Future, Any]]:
    """Wait for what ends next, no longer than the scheduler answers."""
    batch: list[tuple[Future, Any]] = []
    while not batch:
        watch.look()
        with done.thread_condition:
            done.thread_condition.wait_for(done.has_ready, timeout=0.1)
        batch = done.next_batch(block=False)
    return batch


class _Watch:
    """Asks a scheduler now and then how many threads it has for us: it may be gone without any other sign.

    Attributes
    ----------
    threads : int
        Of all workers, when it answered last.
    answers : bool
        Whether it is known to answer.
    """

    def __init__(self, client: Client, what_stays: str, alone: float | None = None) -> None:
        self._client, self._what_stays = client, what_stays
        self._patience = patience_of(client) if alone is None else alone
        self._refusals = refusals_of(client)
        self._looked = time.monotonic()
        self._alone = 0.0
        self.answers = True
        self.threads = 0
        self._ask()
        while not self._asked.done():
            self.look()
            time.sleep(0.01)

    def look(self) -> None:
        """Raise ClusterError if the cluster is lost."""
        self._refusals.say()
        now = time.monotonic()
        # who looks seldom was busy, or suspended, and so was its connection: that is no silence of the scheduler
        passed = min(now - self._looked, 1.0)
        self._looked = now
        self._since += passed
        self._alone += passed
        if self._asked.done():
            try:
                self.threads = sum(self._asked.result().values())
            except OSError:  # of Dask's connection, too
                self._give_up("the cluster was lost")
            if self.threads:
                self._alone = 0.0
            elif self._alone > self._patience:
                last = f"; the last that came was refused, {self._refusals.last}" if self._refusals.last else ""
                self._give_up(f"the scheduler has had no worker for {self._patience:.0f} s{last}")
            if self._since > LOOK:
                self._ask()
        elif self._since > SILENCE:
            self._asked.cancel()
            self._give_up(f"the scheduler has not answered for {SILENCE:.0f} s")

    def _ask(self) -> None:
        if self._client.scheduler is None:
            self._give_up("the connection to the cluster was closed")
        self._asked = asyncio.run_coroutine_threadsafe(self._client.scheduler.ncores(), self._client.loop.asyncio_loop)
        self._since = 0.0

    def _give_up(self, why: str) -> NoReturn:
        self.answers = False
        raise ClusterError(f"{why}; {self._what_stays}")
