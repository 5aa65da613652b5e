"""Parts of work that a process may do apart."""

from __future__ import annotations

import os
import signal
import time


def place(number: int) -> tuple[int, int]:
    """Return a number, and the process that did this."""
    return number, os.getpid()


def only_in(process: int, number: int) -> int:
    """Return a number in one process, and kill any other."""
    if os.getpid() != process:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse(number: int) -> None:
    raise ValueError(f"no {number}")


def print_and_wait(number: int) -> int:
    print("what is printed is no answer")  # noqa: T201
    time.sleep(0.01)
    return number
