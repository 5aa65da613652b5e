"""Time of queries of a large cube: 20 limit methods at 2 cl on 40 x 40 cells, unless a store is given.

    python benchmarks/query.py                              makes the cube in a temporary folder, in a minute or two
    python benchmarks/query.py --store coverage --study big

Cold is the first query of a process that has imported covsvc.api, warm any further one; maps is what a commit costs
once, at the end of its run. Of wall times the median is told, with the fastest and the slowest; of CPU the median.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from covsvc import api
from covsvc.study import study_of

POINT = {"limit_method": "cls", "cl": 0.9, "b": 2.5, "s_true": 2.5}

COLD = """
import time
from covsvc import api
wall, cpu = time.perf_counter(), time.process_time()
api.query({study!r}, {store!r}, **{point!r})
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", help="of a study that holds cls at cl 0.9, b 2.5 and s_true 2.5")
    parser.add_argument("--study", default="big")
    parser.add_argument("--repeat", type=int, default=200, help="queries a figure")
    parser.add_argument("--processes", type=int, default=5, help="processes a figure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = str(Path(scratch) / "cache")
        store = arguments.store or str(Path(scratch) / "store")
        if arguments.store is None:
            api.run(large_study(), store)
        print(f"maps of a commit, once: {shown([timed(lambda: api.read_maps(store, arguments.study))])}")
        questions: Mapping[str, Mapping[str, object]] = {
            "point": POINT,
            "s_true = 0:5 of one column": POINT | {"s_true": "0:5"},
            "point against another commit": POINT | {"against": "main"},
            "point off the grid": POINT | {"s_true": 2.6},
            "ten lowest that are under": {"verdict": "under", "sort": "exact_coverage", "most": 10},
        }
        for name, asked in questions.items():
            many = arguments.repeat if asked.keys() >= POINT.keys() else 10
            api.query(arguments.study, store, **asked)
            times = [timed(lambda asked=asked: api.query(arguments.study, store, **asked)) for _ in range(many)]
            print(f"warm, {name}: {shown(times)}")
        script = COLD.format(study=arguments.study, store=store, point=POINT)
        cold, whole = [], []
        for _ in range(arguments.processes):
            begun = time.perf_counter()
            told = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout  # noqa: S603
            whole.append((time.perf_counter() - begun, float("nan")))
            wall, cpu = map(float, told.split())
            cold.append((wall, cpu))
        print(f"cold, point: {shown(cold)}")
        print(f"a whole process, from its start to the answer: {shown(whole)}")


def large_study() -> object:
    methods = ["classical", "bayes_flat", "bayes_jeffreys", "zech", "cls", "poisson", "garwood", "feldman_cousins"]
    methods += ["crow_gardner", "profile_likelihood"]
    again = [{"name": name, "label": f"{name}_again"} for name in methods]
    grid = {"s_true": {"start": 0, "stop": 19.5, "num": 40}, "b": {"start": 0, "stop": 9.75, "num": 40}}
    told = {"name": "big", "experiment": "counting", "methods": methods + again, "cl": [0.9, 0.95], **grid}
    return study_of(told | {"n_toys": 10000, "seed": 1999})


def timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def shown(times: list[tuple[float, float]]) -> str:
    walls, cpus = ([each[index] * 1e3 for each in times] for index in (0, 1))
    told = f"{statistics.median(walls):.1f} ms ({min(walls):.1f} to {max(walls):.1f})"
    return told + (f", CPU {statistics.median(cpus):.1f} ms" if cpus[0] == cpus[0] else "")


if __name__ == "__main__":
    main()
