"""A distribution whose limit method misbehaves in the way that it is told."""

from __future__ import annotations

from pathlib import Path

import distribution

SOURCE = '''
import ctypes
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
import numpy as np
from covsvc.contracts import Counts, Limits, one_sided

HELD = []

@dataclass(frozen=True)
class Misbehaving:
    """Set the limit n - b + 1, and misbehave from a background on."""
    reads = (Counts,)
    sided = "upper"
    promises = "nothing"
    way: str = "good"
    from_b: float = 0.0
    def limits(self, observed, cl):
        upper = np.maximum(observed.n - observed.b, 0.0) + 1.0
        lower, status = np.zeros_like(upper), np.zeros(upper.shape, np.int8)
        if observed.b >= self.from_b:
            match self.way:
                case "raise": raise ZeroDivisionError("no such luck")
                case "unspeakable": raise Unspeakable()
                case "segfault": ctypes.string_at(0)
                case "kill": os.kill(os.getpid(), signal.SIGSEGV)
                case "abort": os.abort()
                case "loop":
                    while True: pass
                case "sleep in C": ctypes.PyDLL(None).sleep(1000)  # and holds the lock of the interpreter
                case "memory": np.ones(10**10)
                case "leak": HELD.append(np.ones(15 * 10**6))
                case "shape": upper = upper[:1]
                case "type": upper = upper.tolist()
                case "nan": upper[-1] = np.nan
                case "upside down": lower[1] = upper[1] + 1.0
                case "status": status[-1] = 7
                case "write": observed.n[:] = 0
                case "print":
                    print("hello " * 100_000, flush=True)
                    os.write(1, b"bytes" * 100_000)
                    os.write(2, b"hello")
                    sys.stdin.read()
                case "exit": sys.exit(3)
                case "_exit": os._exit(4)
                case "thread": threading.Thread(target=time.sleep, args=(1000,)).start()
                case "late": threading.Timer(0.2, os.abort).start()
                case "close": os.closerange(3, 100); time.sleep(1000)
                case "child": os.system("sleep 1000 &"); os.abort()
                case "fork": os.fork()  # and both come back
                case "daemon":
                    if not os.fork():
                        os.setsid()
                        time.sleep(1000)
                case "words": raise ValueError("a" + chr(10) + chr(0xD800) + chr(27) + "[31m " + "b" * 10**7)
        return Limits(lower, upper, status)

    def explain(self, observed, cl):
        if self.way == "explain":
            os.abort()
        return [""] * len(observed)

@dataclass(frozen=True)
class Crashing(Misbehaving):
    """Crash unless told otherwise."""
    way: str = "segfault"

class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("cannot be told")

@dataclass(frozen=True)
class Failing(Misbehaving):
    """Fail, and take the process along when asked why."""
    def limits(self, observed, cl):
        return one_sided(np.full(len(observed), np.nan))

@dataclass(frozen=True)
class Drawn:
    """Counts whose sample space is not told."""
    gives = (Counts,)
    way: str = "good"
    def toys(self, s_true, b, size, rng):
        match self.way:
            case "none": return None
            case "two": return (Counts(np.ones(size, int), b),) * 2
            case "other": return ("Counts",)
            case "short": size = size - 1
            case "exit": sys.exit(3)
        return (Counts(rng.poisson(s_true + b, size), b),)
    def observe(self, data):
        return (Counts(data["n"], data["b"]),)
    def background(self, data, *, no_signal=False):
        return data["b"]
'''

ENTRY_POINTS = """
[covsvc.methods]
misbehaving = misbehaving_plugin:Misbehaving
failing = misbehaving_plugin:Failing
crashing = misbehaving_plugin:Crashing

[covsvc.experiments]
untold = misbehaving_plugin:Drawn
"""

REASONS = {
    "raise": "ZeroDivisionError: no such luck",
    "unspeakable": "Unspeakable",
    "segfault": "killed by SIGSEGV",
    "kill": "killed by SIGSEGV",
    "abort": "killed by SIGABRT",
    "loop": "no answer after 2 s (isolate.seconds); "
    "the toys of a block that ran out of time are exempt from the promise of equal bits",
    "sleep in C": "no answer after 2 s (isolate.seconds); "
    "the toys of a block that ran out of time are exempt from the promise of equal bits",
    "memory": "needs more than 300 MB (isolate.memory_mb)",
    "shape": "TaskError: upper is float64 of shape (1,); it must be float64 of shape ({n},)",
    "type": "TaskError: upper is list; it must be float64 of shape ({n},)",
    "nan": "TaskError: [0, nan] is no interval, in 1 of {n} observations, the first of them {last}: "
    "say FAILED where there is no limit",
    "upside down": "TaskError: [2, 1] is no interval, in 1 of {n} observations, the first of them 1: "
    "the lower end comes first",
    "status": "TaskError: status is 7; known are 0 OK, 1 EMPTY, 2 UNBOUNDED, 3 FAILED",
    "write": "wrote into the toys: assignment destination is read-only",
    "exit": "SystemExit: 3",
    "_exit": "ended its process with exit code 4",
}
"""Why there are no limits; `n` and `last` are of the observations of a call."""

HARMLESS = ("good", "print", "thread")
"""What changes nothing."""

ISOLATE = {"seconds": 2, "memory_mb": 300}


def install(site: Path) -> None:
    """Put the distribution into a folder."""
    distribution.install(site, "misbehaving", ENTRY_POINTS, misbehaving_plugin=SOURCE)
