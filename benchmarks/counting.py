"""Speed of a counting study, as ratios of paired and interleaved runs in one process.

    python benchmarks/counting.py

Times are CPU seconds of the thread. The sweep is the whole work of a task: drawing the toys, ten methods at two
confidence levels, tallies and digests; bare is rng.poisson and bincount on the same toys.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from covsvc import api
from covsvc.engine.exact import Coverage, chances_of
from covsvc.engine.warm_up import run_kernels
from covsvc.engine.work import enumerable, make_tables, order_of, run_task, sum_exactly
from covsvc.kernels.outcomes import sum_outcomes
from covsvc.study import Row, Study, Task

STUDY = Path(__file__).parent.parent / "deploy" / "studies" / "cleo-tau-mu-gamma.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15, help="pairs of runs a figure")
    arguments = parser.parse_args()
    study = api.load_study(STUDY)
    run_kernels(study)
    for toys in (1_000_000, 100_000):
        for b, s_true in ((0.0, 3.0), (3.0, 3.0), (6.5, 12.0)):
            compare_sweep(study, b, s_true, toys, arguments.pairs)
    time_exact(study, arguments.pairs)


def compare_sweep(study: Study, b: float, s_true: float, toys: int, pairs: int) -> None:
    row = Row(study.source, study.columns, b, study.s_true)
    tables = make_tables(row)
    task = Task(study.source, study.columns, b, (s_true,), 0, toys // study.toys_per_block)

    def sweep() -> None:
        run_task(task, tables)

    def bare() -> None:
        for rng in study.source.blocks(s_true, b, task.start, task.stop):
            np.bincount(rng.poisson(s_true + b, study.toys_per_block))

    ratios, sweeps = [], []
    for pair in range(pairs + 1):
        first, second = (sweep, bare) if pair % 2 else (bare, sweep)
        seconds = {first: cpu(first), second: cpu(second)}
        if pair:  # the first pair warms up
            ratios.append(seconds[sweep] / seconds[bare])
            sweeps.append(seconds[sweep])
    print(
        f"sweep / bare, {toys:>9,} toys, s = {s_true:>2g}, b = {b:<3g}: median {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f}); {statistics.median(sweeps) / toys * 1e9:.0f} ns a toy"
    )


def time_exact(study: Study, pairs: int) -> None:
    for cl in ((0.90,), study.cl):
        time_row(study.model_copy(update={"cl": cl}), 5.5, pairs)


def time_row(study: Study, b: float, pairs: int) -> None:
    row = Row(study.source, study.columns, b, study.s_true, (study.s_true[0], study.s_true[-1]))
    tables = make_tables(row)
    table = tables.table
    limits = table.told.limits
    stacked = limits.lower, limits.upper, limits.status, order_of(limits)
    experiment = study.experiment.build()

    def sum_cells() -> None:
        for s_true in row.s_true:
            first, chances, others = chances_of(enumerable(experiment), s_true, b)
            sum_outcomes(chances, others, *stacked, first - table.first[0], s_true)

    def search() -> None:
        for column in range(len(row.columns)):
            Coverage(enumerable(experiment), table.first[0], table.limits(column), b).worst(0.0, row.s_true[-1])

    def median(work: Callable[[], object]) -> float:
        return statistics.median(cpu(work) for _ in range(pairs))

    columns, cells = len(row.columns), len(row.s_true)
    print(
        f"exact, {columns} columns, b = {b:g}: cell {median(sum_cells) / cells * 1e6:.1f} us; a column: limits "
        f"{median(lambda: make_tables(row)) / columns * 1e3:.2f} ms, worst {median(search) / columns * 1e3:.2f} ms; "
        f"row of {cells} cells with the search {median(lambda: sum_exactly(row, tables)) * 1e3:.1f} ms"
    )


def cpu(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


if __name__ == "__main__":
    main()
