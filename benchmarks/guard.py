"""Cost of the guard, as paired and interleaved runs of the same limits here and in a process of their own.

    python benchmarks/guard.py

Times are wall seconds of one call: a block of 10,000 toys whose limits are set toy by toy, and a table of all outcomes.
The difference is what is sent, what comes back, and the clock that watches. Methods that are not guarded are called
directly: the time that it takes to find out is told, too.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from covsvc import registry
from covsvc.contracts import Counts
from covsvc.engine.answers import limits_of
from covsvc.engine.guard import method_of
from covsvc.study import Column, Isolation, MethodSpec

BLOCK = 10_000
CL = 0.90


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=31, help="pairs of runs a figure")
    pairs = parser.parse_args().pairs
    rng = np.random.default_rng(1)
    compare("table of 100 counts", "classical", Counts(np.arange(100), 3.0), pairs)
    compare("10,000 counts", "classical", Counts(rng.poisson(6.0, BLOCK), 3.0), pairs)
    for s_true in (3.0, 30.0):
        (events,) = registry.experiment("spectrum").toys(s_true, 0.0, BLOCK, rng)
        compare(f"10,000 toys of {s_true:g} events", "max_gap", events, pairs)
    column = Column(MethodSpec(name="classical"), CL)
    found = wall(lambda: [method_of(column) for _ in range(1000)])
    plain = wall(lambda: [column.spec.build() for _ in range(1000)])
    print(f"not guarded: {found * 1e3:.1f} us to get the method of a column, {plain * 1e3:.1f} us to build it")


def compare(what: str, name: str, observed: Any, pairs: int) -> None:
    spec = MethodSpec(name=name)
    here, elsewhere = (method_of(Column(spec, CL, isolation)) for isolation in (None, Isolation(methods="all")))
    begun = time.perf_counter()
    limits_of(elsewhere, observed, CL)
    first = time.perf_counter() - begun
    times: dict[str, list[float]] = {"here": [], "elsewhere": []}
    for pair in range(pairs + 1):
        works = {"here": here, "elsewhere": elsewhere}
        for where in sorted(works, reverse=bool(pair % 2)):
            seconds = wall(lambda method=works[where]: limits_of(method, observed, CL))
            if pair:  # the first pair warms up
                times[where].append(seconds)
    costs = [there - direct for direct, there in zip(times["here"], times["elsewhere"], strict=True)]
    print(
        f"{what}, {name}: direct {ms(times['here'])} ms, guarded {ms(times['elsewhere'])} ms, the guard costs "
        f"{ms(costs)} ms (median of {pairs}; {min(costs) * 1e3:.2f} to {max(costs) * 1e3:.2f}); "
        f"first call {first:.1f} s"
    )


def ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e3:.2f}"


def wall(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
