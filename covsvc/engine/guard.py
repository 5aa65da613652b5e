"""The guard: limit methods that work in a process of their own, so that none takes another down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from covsvc import registry
from covsvc.contracts import Calibration, LimitMethod, calibrated
from covsvc.engine.answers import MethodFailed
from covsvc.engine.guarded import ANSWER, OUT_OF_MEMORY, pack, read, unpack, write
from covsvc.study import Column, Isolation

_START = 60.0
"""Seconds in which a process has to be ready."""

_GOODBYE = 1.0
"""Seconds in which a process ends that does not answer any more."""

_ASKED = ("limits", "explain", "calibrate", "intervals", "asimov")
"""What a limit method works out; all else about it is known beforehand."""

EXEMPT = "the toys of a block that ran out of time are exempt from the promise of equal bits"


class NoAnswer(MethodFailed):
    """A limit method ran out of time."""


def method_of(column: Column, calibration: Calibration | None = None) -> LimitMethod:
    """Return the limit method of a column, with its calibration if there is one, guarded if the column says so."""
    method = column.spec.build()
    if column.isolation is not None:
        return cast("LimitMethod", _Guarded(column, method, calibration))
    return method if calibration is None else calibrated(method, calibration)


@dataclass(frozen=True)
class _Guarded:
    """Stands for a limit method that works elsewhere."""

    column: Column
    method: LimitMethod
    calibration: Calibration | None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # whoever copies looks for these before there is a method
        known = getattr(self.method, name)
        return partial(_ask, self.column, name, self.calibration) if name in _ASKED else known


class _Worker:
    """A process that answers for the methods of one package. It ends with the thread that started it."""

    def __init__(self, memory_mb: int, path: str) -> None:
        self._memory_mb = memory_mb
        self.path = path
        command = [sys.executable, "-P", "-m", "covsvc.engine.guarded", str(os.getpid()), str(memory_mb)]
        # of a group of its own: Ctrl-C is for the driver, and what a method starts ends with it
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            process_group=0,
        )
        self._end = weakref.finalize(self, _stop, self._process)
        self.is_fresh = True
        with _Deadline(_START, self._process) as deadline:
            try:
                read(self._pipes[1])
            except EOFError:
                told = f"took more than {_START:g} s" if deadline.passed else self._how_it_ended()
                raise MethodFailed(f"its process could not be started: {told}") from None

    @property
    def is_alive(self) -> bool:
        """Whether it was not ended yet."""
        return self._end.alive

    @property
    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        return cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)

    def ask(self, request: list[Any], seconds: float) -> list[bytes]:
        """Return what comes back.

        Raises
        ------
        NoAnswer
            If nothing comes back in time.
        MethodFailed
            If the process ends.
        """
        self.is_fresh = False
        requests, answers = self._pipes
        with _Deadline(seconds, self._process) as deadline:
            try:
                write(requests, request)
                return read(answers)
            except (EOFError, OSError):
                told = self._how_it_ended()
        if deadline.passed:
            raise NoAnswer(f"no answer after {seconds:g} s (isolate.seconds); {EXEMPT}")
        raise MethodFailed(told)

    def _how_it_ended(self) -> str:
        until = time.monotonic() + _GOODBYE  # it may have closed no more than the pipes
        while not _has_ended(self._process) and time.monotonic() < until:
            time.sleep(0.01)
        self._end()
        code = self._process.returncode
        if code == OUT_OF_MEMORY:
            return f"needs more than {self._memory_mb} MB (isolate.memory_mb)"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended its process with exit code {code}"


class _Deadline:
    """Kills a process when time is up, so that whoever reads from it reads its end."""

    def __init__(self, seconds: float, process: subprocess.Popen[bytes]) -> None:
        self._timer = threading.Timer(seconds, self._kill)
        self._timer.daemon = True
        self._process = process
        self.passed = False

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _kill(self) -> None:
        self.passed = True
        _kill(self._process)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process that was not waited for has ended; its number stays its own, and that of its group."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:  # nobody else can have its number before it is waited for
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _stop(process: subprocess.Popen[bytes]) -> None:
    _kill(process)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):  # what was not sent yet
                pipe.close()


class _Here(threading.local):
    """The processes of this thread: none waits for the answer to another's request."""

    def __init__(self) -> None:
        self.workers: dict[tuple[str, int, str], _Worker] = {}

    def worker(self, package: str, memory_mb: int, code: str) -> _Worker:
        """Return the process of a package, with the covsvc of a folder if one is named, started if there is none."""
        if code and not (Path(code) / "covsvc").is_dir():
            raise MethodFailed(f"{code}: holds no covsvc here")
        at = package, memory_mb, code
        path = os.pathsep.join(each or os.curdir for each in (*filter(None, [code]), *sys.path))
        if at not in self.workers or not self.workers[at].is_alive or self.workers[at].path != path:
            self.workers[at] = _Worker(memory_mb, path)
        return self.workers[at]


_here = _Here()


_given_up: ContextVar[dict[tuple[str, float], str] | None] = ContextVar("given_up", default=None)


@contextmanager
def giving_up(known: Mapping[tuple[str, float], str]) -> Iterator[None]:
    """Ask no guarded column again of which the process ended, or that ran out of time; nor those that are known to.

    Parameters
    ----------
    known : dict of (label, cl) to str
        Columns that fail, and why.
    """
    before = _given_up.set(dict(known))
    try:
        yield
    finally:
        _given_up.reset(before)


def _ask(column: Column, what: str, calibration: Calibration | None, *arguments: Any) -> Any:
    """Return what the method of a column says.

    A process that ends, or is short of memory, may do so by what earlier work left there: a fresh one is asked then.
    """
    isolation, given_up = cast("Isolation", column.isolation), _given_up.get()
    if given_up is not None and column.key in given_up:
        raise MethodFailed(f"not asked again: {given_up[column.key]}")
    request = pack((column.spec.name, column.spec.options, what, calibration, arguments))
    while True:
        worker = _here.worker(registry.package_of("methods", column.spec.name), isolation.memory_mb, column.code)
        was_fresh = worker.is_fresh
        try:
            kind, answer = unpack(worker.ask(request, isolation.seconds), bytearray)
        except MethodFailed as error:
            if was_fresh or isinstance(error, NoAnswer):
                if given_up is not None:
                    given_up[column.key] = str(error)
                raise
        else:
            if kind == ANSWER:
                return answer
            raise MethodFailed(answer)
