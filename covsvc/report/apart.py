"""Processes that do parts of a long report at the same time.

They are started as programs of their own, and not by multiprocessing, which would begin the program of whoever asks for
a report once more.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from queue import SimpleQueue
from typing import Any

FEWEST = 4
"""Parts for each process, at least: it takes as long to start as one or two parts to draw."""

MOST = 8
"""Processes, at most."""

_ENDED = EOFError, OSError, pickle.UnpicklingError


def do_parts(work: Callable[..., Any], parts: Sequence[tuple[Any, ...]], n_cores: int | None = None) -> Iterator[Any]:
    """Yield what `work` makes of each of the `parts`, in their order; in several processes where that is faster.

    Parameters
    ----------
    work : callable
        A function of a module.
    parts : sequence of tuple
        What it is called with, one after the other.
    n_cores : int, optional
        Cores of this machine.
    """
    count = min(n_cores or os.cpu_count() or 1, len(parts) // FEWEST, MOST)
    if count < 2:
        yield from (work(*part) for part in parts)
        return
    free: SimpleQueue[_Process] = SimpleQueue()
    leaving = threading.Event()

    def do(part: tuple[Any, ...]) -> Any:
        process = free.get()
        try:
            done, found = process.ask(work, part)
        except _ENDED:
            if leaving.is_set():
                raise CancelledError from None
            return work(*part)  # it was killed: nothing is lost but time
        finally:
            free.put(process)
        if not done:
            raise found
        return found

    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(count))
        for _ in range(count):
            process = _Process()
            stack.callback(process.end)
            free.put(process)
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        stack.callback(leaving.set)
        yield from threads.map(do, parts)


class _Process:
    """A process that does one part after the other, until it is told no more."""

    def __init__(self) -> None:
        # of a group of its own: Ctrl-C is for the one that waits
        command = [sys.executable, "-P", "-c", f"from {__name__} import answer; answer()"]
        path = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            process_group=0,
        )

    def ask(self, work: Callable[..., Any], part: tuple[Any, ...]) -> tuple[bool, Any]:
        """Return whether a part was done, and what came of it: an exception if it was not."""
        told, heard = self._process.stdin, self._process.stdout
        assert told is not None and heard is not None  # noqa: S101, PT018 - they are pipes
        pickle.dump((work, part), told)
        told.flush()
        done, found = pickle.load(heard)  # noqa: S301 - from our own process
        return done, found

    def end(self) -> None:
        """Kill it; between two parts nothing is lost."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


def answer() -> None:
    """Do what the process that started this one asks for, until it is silent."""
    heard, told = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    while True:
        try:
            work, part = pickle.load(heard)  # noqa: S301 - from the process that started this one
        except EOFError:
            return
        try:
            found = True, work(*part)
        except Exception as error:
            found = False, error
        pickle.dump(found, told)
        told.flush()
