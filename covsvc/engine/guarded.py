"""The process in which guarded limit methods work: requests in, answers out."""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from covsvc import registry
from covsvc.contracts import Limits, calibrated
from covsvc.engine.answers import limits_of, reason_of

ANSWER, RAISED = 0, 1
"""What comes back: an answer, or why there is none."""

OUT_OF_MEMORY = 112
"""Exit code where memory was short: what a process is worth then nobody knows."""

_PR_SET_PDEATHSIG = 1


def pack(told: Any) -> list[Any]:
    """Return an object as bytes, its arrays apart and as they lie in memory."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(told, protocol=5, buffer_callback=buffers.append)
    return [head, *(buffer.raw() for buffer in buffers)]


def unpack(parts: Sequence[bytes], kind: type = bytes) -> Any:
    """Return what was packed; its arrays are read-only if `kind` is bytes, and can be written to if it is bytearray."""
    head, *buffers = parts
    return pickle.loads(head, buffers=map(kind, buffers))  # noqa: S301 - the other end is ours


def write(pipe: IO[bytes], parts: Sequence[Any]) -> None:
    """Write what was packed."""
    sizes = np.array([len(parts), *map(len, parts)], np.int64)
    for part in (sizes.tobytes(), *parts):
        pipe.write(part)
    pipe.flush()


def read(pipe: IO[bytes]) -> list[bytes]:
    """Read what was written.

    Raises
    ------
    EOFError
        If the other end is closed.
    """
    (number,) = np.frombuffer(_read(pipe, 8), np.int64).tolist()
    return [_read(pipe, size) for size in np.frombuffer(_read(pipe, 8 * number), np.int64).tolist()]


def _read(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def main(parent: int, memory_mb: int) -> None:
    """Answer until the other end is closed or the parent is gone."""
    # what a method prints must not get among the answers
    requests, answers = (os.fdopen(os.dup(end), mode) for end, mode in ((0, "rb"), (1, "wb")))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    us = os.getpid()
    # who forks shares the pipes: they would stay open when this process is gone
    os.register_at_fork(after_in_child=partial(_leave, requests.fileno(), answers.fileno()))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = mapped + memory_mb * 1_000_000
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    nothing = os.open(os.devnull, os.O_RDWR)
    for end in range(3):
        os.dup2(nothing, end)
    write(answers, pack("ready"))
    try:
        while os.getppid() == parent:
            answer = _answer(read(requests))
            if os.getpid() != us:
                os._exit(0)  # a method forked and came back twice
            write(answers, answer)
    except EOFError:
        os._exit(0)  # a method may have left threads
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def _leave(*pipes: int) -> None:
    """Let go of the pipes in a process that was forked, which ends with its parent."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for pipe in pipes:
        os.dup2(nothing, pipe, inheritable=False)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _answer(request: list[bytes]) -> list[Any]:
    """Return what comes back, packed.

    Raises
    ------
    MemoryError
        If memory is short.
    """
    try:
        name, options, what, calibration, arguments = unpack(request)
        method = registry.method(name, options)
        if calibration is not None:
            method = calibrated(method, calibration)
        if what != "limits":
            return pack((ANSWER, getattr(method, what)(*arguments)))
        limits = limits_of(method, *arguments)
        return pack((ANSWER, Limits(limits.lower, limits.upper, limits.status, getattr(limits, "error", None))))
    except MemoryError:
        raise
    except BaseException as error:  # a method may raise anything
        wrote = isinstance(error, ValueError) and "read-only" in str(error)
        return pack((RAISED, f"wrote into the toys: {error}" if wrote else reason_of(error)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
