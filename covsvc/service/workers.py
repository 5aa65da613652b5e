"""Child processes for what may take long, or much memory."""

from __future__ import annotations

import logging
import multiprocessing
import queue
import resource
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, ParamSpec, TypeVar

from covsvc.errors import CovsvcError

LOG = logging.getLogger("covsvc.service")

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Workers:
    """So many child processes, each of which does one job at a time; what is too long or too large ends its child.

    They start when they are first needed, and end with the process that holds them, however that ends.

    Parameters
    ----------
    number : int
        Children, and so jobs at a time; who comes later waits.
    seconds : float
        Time that a job may take.
    memory : int
        Bytes that a child may hold.
    """

    def __init__(self, number: int = 1, seconds: float = 30.0, memory: int = 4 * 2**30) -> None:
        self._seconds = seconds
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._all = [_Worker(memory) for _ in range(number)]
        for worker in self._all:
            self._idle.put(worker)

    def run(self, job: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
        """Do a job in a child, and return what it returns.

        Raises
        ------
        CovsvcError
            If the job raises one.
        TimeoutError, MemoryError
            If it takes more than it may.
        ChildProcessError
            If it raises anything else, or its child breaks off; the log of the service tells why.
        """
        worker = self._idle.get()
        try:
            done, answer = worker.ask(self._seconds, job, arguments, options)
        finally:
            self._idle.put(worker)
        if not done:
            raise answer
        found: _T = answer
        return found

    def close(self) -> None:
        """End all children, whatever they do."""
        for worker in self._all:
            worker.end()


class _Worker:
    """A child process, started again when it has ended."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def ask(self, seconds: float, job: Any, arguments: Any, options: Any) -> tuple[bool, Any]:
        """Return True and what a job returns, or False and what it raises."""
        pipe = self._connected()
        try:
            pipe.send((seconds, job, arguments, options))
            answer: tuple[bool, Any] = pipe.recv()
        except (EOFError, OSError):
            code = self._wait()
            if code == -signal.SIGALRM:
                return False, TimeoutError(f"{seconds:g} s")
            return False, ChildProcessError(f"a child ended with {code}")
        return answer

    def end(self) -> None:
        """Kill the child, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._wait()

    def _connected(self) -> Connection:
        if self._process is None or self._pipe is None or not self._process.is_alive():
            context = multiprocessing.get_context("spawn")  # threads of the service do not survive a fork
            pipe, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, self._memory), name="covsvc-worker", daemon=True)
            process.start()
            theirs.close()
            self._process, self._pipe = process, pipe
        return self._pipe

    def _wait(self) -> int | None:
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        if process is None or pipe is None:
            return None
        process.join()
        pipe.close()
        return process.exitcode


def _work(pipe: Connection, memory: int) -> None:
    """Do jobs until nobody is left to ask for them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all: the service ends its children
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    while True:
        try:
            seconds, job, arguments, options = pipe.recv()
        except (EOFError, OSError):
            return
        signal.setitimer(signal.ITIMER_REAL, seconds)  # kills, even where compiled code is at work
        answer = _answer(job, arguments, options)
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            pipe.send(answer)
        except OSError:
            return


def _answer(job: Any, arguments: Any, options: Any) -> tuple[bool, Any]:
    try:
        return True, job(*arguments, **options)
    except (CovsvcError, MemoryError) as error:
        return False, _bare(error)
    except Exception as error:
        LOG.exception("%s failed", job.__name__)
        return False, ChildProcessError(f"{type(error).__name__}: {error}")


def _bare(error: Exception) -> Exception:
    """Return an error that every process can read: subclasses of plug-ins may take more than a message."""
    known = next(kind for kind in type(error).__mro__ if kind.__module__ in ("covsvc.errors", "builtins"))
    bare: Exception = known(str(error))
    return bare
