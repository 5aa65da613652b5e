"""Memory and throughput of the driver: how many cells, how many tallies a second, and how large a cluster.

    python benchmarks/scale.py [--cells 1000 100000] [--large 1000] [--seconds 20]

Each figure is of a process of its own. Toys are few, so that it is the driver that works: cells x 1 block of 100 toys.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from covsvc import api
from covsvc.engine.work import make_tables, run_task
from covsvc.store.repository import open_ledger
from covsvc.study import Row, Study, Task, rows, study_of

BUSY = {"methods": ["classical", "bayes_flat", "cls", "feldman_cousins"], "cl": [0.68, 0.9, 0.95, 0.99, 0.995]}
"""Of a tally of usual size: 20 columns."""


def study(n_s_true: int, n_b: int, **changes: Any) -> Study:
    given = {
        "name": "scale",
        "experiment": "counting",
        "methods": "classical",
        "cl": 0.9,
        "s_true": {"start": 0, "stop": 20, "num": n_s_true},
        "b": {"start": 0, "stop": 10, "num": n_b},
        "toys_per_block": 100,
        "n_toys": 100,
        "seed": 1999,
    }
    return study_of(given | changes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="*", default=[1000, 100_000], help="of runs to the end")
    parser.add_argument(
        "--large", type=int, default=1000, help="values of s_true and of b of the run that is broken off"
    )
    parser.add_argument("--seconds", type=float, default=20, help="until it is broken off")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, *numbers = arguments.measure
        print(json.dumps(globals()[f"measure_{name}"](*map(float, numbers))))
        return
    for cells in arguments.cells:
        found = measured("run", cells)
        print(f"{cells:>9,} cells: peak memory of the driver {found['mb']:.0f} MB, {found['seconds']:.1f} s")
    found = measured("ledger")
    print(
        f"ledger: {found['tallies'] / found['seconds']:,.0f} tallies/s of 20 columns and {found['kb']:.0f} kB; "
        f"{found['add'] / found['seconds']:.0%} adding, {found['commit'] / found['seconds']:.0%} committing"
    )
    found = measured("tasks")
    each = found["cpu"] / found["tasks"]
    print(
        f"tasks of one cell, end to end, 2 workers: {found['tasks'] / found['seconds']:,.0f} tasks/s; the driver and "
        f"its scheduler take {1e3 * each:.1f} ms of CPU a task: with tasks of 1 s they would be the limit at "
        f"{1 / each:,.0f} workers"
    )
    with tempfile.TemporaryDirectory() as store:
        side = arguments.large
        found = measured("broken_off", side, arguments.seconds, store=store)
        told = f"{found['first']:.0f} s to the first task, broken off after {found['seconds']:.0f} s"
        print(f"{side**2:>9,} cells, {told}: peak memory of the driver {found['mb']:.0f} MB")
        for what in ("plan", "status"):
            found = measured(what, side, store=store)
            print(f"          {what}: {found['seconds']:.1f} s, {found['mb']:.0f} MB; {found['told']}")


def measured(name: str, *numbers: float, store: str = ".") -> dict[str, Any]:
    """Return what a process of its own measures."""
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", name, *map(str, numbers)]
    told = subprocess.run(command, cwd=store, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


def peak() -> float:
    """Return the peak memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


@contextmanager
def empty_store() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield folder


def measure_run(cells: float) -> dict[str, float]:
    """Run a study to its end on two workers, a hundred cells a task."""
    n_s_true = min(100, math.isqrt(int(cells)))
    given = study(n_s_true, int(cells) // n_s_true)
    with empty_store() as store:
        begun = time.perf_counter()
        api.run(given, store, "local", n_workers=2)
        return {"mb": peak(), "seconds": time.perf_counter() - begun}


def measure_tasks() -> dict[str, float]:
    """Run a study whose tasks are one cell each."""
    given = study(20, 50)
    with empty_store() as store:
        times: list[tuple[float, float]] = []
        tell = lambda _: times.append((time.perf_counter(), time.process_time()))  # noqa: E731
        api.run(given, store, "local", n_workers=2, task_toys=1, progress=tell)
    (begun, cpu_begun), (ended, cpu_ended) = times[0], times[-1]
    return {"tasks": given.cells, "seconds": ended - begun, "cpu": cpu_ended - cpu_begun}


def measure_ledger() -> dict[str, float]:
    """Add the tally of one task again and again, as if of all cells."""
    given = study(40, 25, toys_per_block=1000, n_toys=100_000, **BUSY)
    s_true, b = given.s_true[20], given.b[10]
    task = Task(given.source, given.columns, b, (s_true,), 0, given.n_blocks)
    tally = run_task(task, make_tables(Row(given.source, given.columns, b, (s_true,))))
    size = sum(each.nbytes for each in (tally.counts, tally.status, tally.digest, tally.bins)) / 1e3
    spent = {"add": 0.0, "commit": 0.0}
    with empty_store() as store, open_ledger(store, given, s_tile=1, commit_seconds=math.inf) as ledger:
        ledger.trust_engine()
        begun = time.perf_counter()
        for row in rows(given, ledger.missing, 1):
            for each in row.tasks:
                at = time.perf_counter()
                ledger.add(replace(tally, b=each.b, s_true=each.s_true))
                spent["add"] += time.perf_counter() - at
            at = time.perf_counter()
            ledger.commit()
            spent["commit"] += time.perf_counter() - at
        seconds = time.perf_counter() - begun
    return {"tallies": given.cells, "kb": size, "seconds": seconds, **spent}


def measure_broken_off(side: float, seconds: float) -> dict[str, float]:
    """Begin a large study, and break it off so long after its first task was sent."""
    begun: list[float] = []

    def tell(_: api.Progress) -> None:
        begun.append(time.perf_counter())
        if begun[-1] - begun[0] > seconds:
            raise KeyboardInterrupt

    started = time.perf_counter()
    with suppress(KeyboardInterrupt):
        api.run(study(int(side), int(side)), ".", "local", n_workers=2, progress=tell)
    return {"mb": peak(), "seconds": time.perf_counter() - started, "first": begun[0] - started}


def measure_plan(side: float) -> dict[str, Any]:
    begun = time.perf_counter()
    left = api.remainder(study(int(side), int(side)), ".")
    return {"mb": peak(), "seconds": time.perf_counter() - begun, "told": f"{left.tasks:,} tasks are missing"}


def measure_status(_: float) -> dict[str, Any]:
    begun = time.perf_counter()
    told = api.status(".", "scale")
    blocks = f"{told['blocks_done']:,} of {told['blocks']:,} blocks done"
    return {"mb": peak(), "seconds": time.perf_counter() - begun, "told": blocks}


if __name__ == "__main__":
    main()
