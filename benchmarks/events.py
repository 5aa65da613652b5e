"""Speed of limits on events with an unknown background, as ratios of paired and interleaved runs in one process.

    python benchmarks/events.py

Times are CPU seconds of the thread, of blocks of 10,000 toys. The sweep is drawing the toys and setting the limits of
the optimum interval, pMax, the maximum gap and Poisson on them; bare is drawing the same toys. The share of a method
is what setting its limits takes alone, the largest intervals between events apart, which methods share.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from covsvc import registry
from covsvc.contracts import Events

METHODS = ("optimum_interval", "p_max", "max_gap", "poisson")
SIGNALS = (3.0, 10.0, 30.0, 54.0)
BLOCK = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=31, help="pairs of runs a figure")
    parser.add_argument("--cl", type=float, default=0.90)
    arguments = parser.parse_args()
    methods = {name: registry.method(name) for name in METHODS}
    for name, options in (
        ("no background", {}),
        ("unknown background", {"background_per_signal": 1.0}),
        ("known background", {"known_b": 3.0, "known_edges": [0, 0.3, 1], "known_weights": [2, 1]}),
    ):
        print(name)
        experiment = registry.experiment("spectrum", options)
        for s_true in SIGNALS:
            compare(experiment, s_true, methods, arguments.cl, arguments.pairs)


def compare(experiment: Any, s_true: float, methods: dict[str, Any], cl: float, pairs: int) -> None:
    def draw(seed: int) -> Events:
        (events,) = experiment.toys(s_true, 0.0, BLOCK, np.random.default_rng(seed))
        return events

    def sweep(seed: int) -> None:
        events = draw(seed)
        for method in methods.values():
            method.limits(events, cl)

    ratios: list[float] = []
    bares: list[float] = []
    sweeps: list[float] = []
    shares: dict[str, list[float]] = {name: [] for name in ("largest intervals", *methods)}
    for pair in range(pairs + 1):
        first, second = (sweep, draw) if pair % 2 else (draw, sweep)
        seconds = {work: cpu(lambda work=work, pair=pair: work(pair)) for work in (first, second)}
        events = draw(pair)
        parts = {"largest intervals": cpu(lambda events=events: events.largest_intervals)}
        for name, method in methods.items():
            parts[name] = cpu(lambda method=method, events=events: method.limits(events, cl))
        if pair:  # the first pair warms up
            ratios.append(seconds[sweep] / seconds[draw])
            bares.append(seconds[draw])
            sweeps.append(seconds[sweep])
            for name, part in parts.items():
                shares[name].append(part)
    told = ", ".join(f"{name} {ns(seconds):.0f}" for name, seconds in shares.items())
    print(
        f"  s = {s_true:>2g}: sweep / bare, median {statistics.median(ratios):.2f} ({min(ratios):.2f} to "
        f"{max(ratios):.2f}); ns a toy: bare {ns(bares):.0f}, sweep {ns(sweeps):.0f}: {told}"
    )


def ns(seconds: list[float]) -> float:
    return statistics.median(seconds) / BLOCK * 1e9


def cpu(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


if __name__ == "__main__":
    main()
