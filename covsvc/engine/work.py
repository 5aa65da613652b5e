"""The work of a worker: limits of all outcomes at one b, exact cells, and blocks of toys."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covsvc.contracts import Counts, Experiment, FloatArray, IntArray, LimitMethod, Limits
from covsvc.engine.exact import find_worst
from covsvc.errors import TaskError
from covsvc.kernels.outcomes import sum_outcomes
from covsvc.registry import view_for
from covsvc.study import Column, ExperimentSpec, Row, Task
from covsvc.tally import EXACT, Counter, ExactTally, Tally, Told

MOST_OUTCOMES = 1_000_000
"""Outcomes of a cell up to which coverage is summed; beyond, toys tell."""


@dataclass(frozen=True)
class Table:
    """The limits of one column on the counts first, first + 1, ..., or the reason why there are none.

    Attributes
    ----------
    view : int
        Which view of the experiment the column reads.
    b : float
        The background that the analyst believes in, expected events.
    """

    view: int
    b: float
    first: int
    told: Told | str

    @classmethod
    def of(cls, column: Column, view: int, b: float, first: int, last: int) -> Table:
        """Set the limits of a column on the counts first..last."""
        return cls(view, b, first, _tell(column.spec.build(), Counts(np.arange(first, last + 1), b), column.cl))

    def reaching(self, column: Column, low: int, high: int) -> Table:
        """Return a table that holds the counts low..high, too."""
        if isinstance(self.told, str):
            return self
        last = self.first + len(self.told.bins) - 1
        if self.first <= low and high <= last:
            return self
        return Table.of(column, self.view, self.b, min(low, self.first), max(high, last))


@dataclass(frozen=True)
class Tables:
    """The limits of every column at one b, made once for the exact cells and all toys there.

    Attributes
    ----------
    of : dict of (label, cl) to Table
        Columns whose view is no count with one background are left out: their limits are set toy by toy.
    """

    experiment: ExperimentSpec
    b: float
    of: dict[tuple[str, float], Table]
    seconds: float


def make_tables(row: Row) -> Tables:
    """Set the limits of all columns on every count that the cells of `row` can give."""
    begun = time.thread_time()
    experiment = row.source.experiment.build()
    tables: dict[tuple[str, float], Table] = {}
    if hasattr(experiment, "outcomes"):
        ends = [experiment.outcomes(s_true, row.b)[0] for s_true in (row.s_true[0], row.s_true[-1])]
        for column in row.columns:
            view = _view(column.spec.build(), experiment)
            low, high = ends[0][view], ends[1][view]
            if isinstance(low, Counts) and isinstance(low.b, float) and _is_run(low.n) and _is_run(high.n):
                tables[column.key] = Table.of(column, view, low.b, int(low.n[0]), int(high.n[-1]))
    return Tables(row.source.experiment, row.b, tables, time.thread_time() - begun)


def sum_exactly(row: Row, tables: Tables, *, search: bool = True) -> ExactTally:
    """Sum coverage and the distribution of the limits over the outcomes of every cell of `row`.

    With `search`, find the smallest coverage for 0 <= s <= max(s_true), too.
    """
    begun = time.thread_time()
    experiment = row.source.experiment.build()
    values = np.full((len(row.columns), len(row.s_true), len(EXACT)), np.nan)
    worst = np.full((len(row.columns), 2), np.nan)
    told = [
        (index, tables.of[column.key])
        for index, column in enumerate(row.columns)
        if column.key in tables.of and isinstance(tables.of[column.key].told, Told)
    ]
    for view in {table.view for _, table in told}:
        chosen = [(index, table) for index, table in told if table.view == view]
        limits = [table.told.limits for _, table in chosen if isinstance(table.told, Told)]
        lower, upper, status, order = stack(limits)
        for cell, s_true in enumerate(row.s_true):
            views, probability = experiment.outcomes(s_true, row.b)  # type: ignore[attr-defined]
            first = int(views[view].n[0]) - chosen[0][1].first
            sums = sum_outcomes(probability, lower, upper, status, order, first, s_true)
            values[[index for index, _ in chosen], cell] = sums
        for (index, table), each in zip(chosen if search else [], limits if search else [], strict=True):
            found = find_worst(experiment, view, table.first, each, row.b, row.s_true[-1])
            worst[index] = found.coverage, found.s_true
    return ExactTally(row.columns, row.b, row.s_true, values, worst, time.thread_time() - begun + tables.seconds)


def run_task(task: Task, tables: Tables) -> Tally:
    """Draw the toys of `task` and tally the limits that each of its columns sets.

    A column whose limits are in `tables` sees histograms of counts; any other sees toy by toy.
    """
    begun = time.thread_time()
    experiment = task.source.experiment.build()
    counter = Counter(task.columns, task.b, task.s_true, task.start, task.stop)
    looked_up = {index: tables.of[each.key] for index, each in enumerate(task.columns) if each.key in tables.of}
    views = {table.view for table in looked_up.values()}
    toy_by_toy = {index: each.spec.build() for index, each in enumerate(task.columns) if index not in looked_up}
    for cell, s_true in enumerate(task.s_true):
        histograms: dict[int, list[IntArray]] = {view: [] for view in views}
        lost: list[tuple[int, str]] = []
        for block, rng in enumerate(task.source.blocks(s_true, task.b, task.start, task.stop)):
            try:
                toys = experiment.toys(s_true, task.b, task.source.toys_per_block, rng)
            except Exception as error:  # an experiment may raise anything: its block fails, the others go on
                lost.append((block, f"{type(error).__name__}: {error}"))
                for drawn in histograms.values():
                    drawn.append(np.zeros(0, np.int64))
                continue
            for view, drawn in histograms.items():
                drawn.append(np.bincount(toys[view].n))
            for index, method in toy_by_toy.items():
                told = _tell(method, toys[_view(method, experiment)], task.columns[index].cl)
                if isinstance(told, str):
                    counter.fail(index, cell, told, block)
                else:
                    counter.add(index, cell, told, np.ones((1, len(told.bins)), np.int64), block)
        counted = {view: _pad(drawn) for view, drawn in histograms.items()}
        for index, table in looked_up.items():
            low, weights = counted[table.view]
            reaching = table.reaching(task.columns[index], low, low + weights.shape[1] - 1)
            if isinstance(reaching.told, str):
                counter.fail(index, cell, reaching.told)
            else:
                counter.add(index, cell, reaching.told, _align(weights, low - reaching.first, len(reaching.told.bins)))
        for index in range(len(task.columns)):
            for block, reason in lost:
                counter.fail(index, cell, reason, block)
    return counter.tally(time.thread_time() - begun)


def stack(limits: list[Limits]) -> tuple[FloatArray, FloatArray, NDArray[np.int8], IntArray]:
    """Return lower ends, upper ends, status and the order of the upper ends, each of shape (column, outcome)."""
    lower = np.array([each.lower for each in limits])
    upper = np.array([each.upper for each in limits])
    status = np.array([each.status for each in limits])
    return lower, upper, status, np.argsort(np.nan_to_num(upper, nan=np.inf, posinf=np.inf), axis=1, kind="stable")


def limits_of(method: LimitMethod, observed: Any, cl: float) -> Limits:
    """Return the limits of `method`, in the shape and the types that the contract says.

    Raises
    ------
    TaskError
        If the method answers anything else.
    """
    limits = method.limits(observed, cl)
    for name, kind in (("lower", np.float64), ("upper", np.float64), ("status", np.int8)):
        part = getattr(limits, name, None)
        if not isinstance(part, np.ndarray) or part.dtype != kind or part.shape != (len(observed),):
            told = f"{part.dtype} of shape {part.shape}" if isinstance(part, np.ndarray) else type(part).__name__
            raise TaskError(f"{name} is {told}; it must be {np.dtype(kind)} of shape ({len(observed)},)")
    return limits


def _tell(method: LimitMethod, observed: Any, cl: float) -> Told | str:
    try:
        return Told.of(limits_of(method, observed, cl))
    except Exception as error:  # a method may raise anything: its blocks are recorded as failed, all others go on
        return f"{type(error).__name__}: {error}"


def _view(method: LimitMethod, experiment: Experiment) -> int:
    view = view_for(method.reads, experiment.gives)
    if view is None:
        raise TaskError(f"{method} reads no view of {experiment}")
    return view


def _is_run(n: IntArray) -> bool:
    return 0 < len(n) <= MOST_OUTCOMES and int(n[-1]) - int(n[0]) == len(n) - 1 and bool((np.diff(n) == 1).all())


def _pad(histograms: list[IntArray]) -> tuple[int, IntArray]:
    """Return the lowest count drawn and the histograms from there on, shape (block, count)."""
    low = min((int(np.flatnonzero(drawn)[0]) for drawn in histograms if len(drawn)), default=0)
    weights = np.zeros((len(histograms), max(max(map(len, histograms)) - low, 0)), np.int64)
    for block, drawn in enumerate(histograms):
        if len(drawn):
            weights[block, : len(drawn) - low] = drawn[low:]
    return low, weights


def _align(weights: IntArray, start: int, size: int) -> IntArray:
    """Return the histograms over a table of `size` counts, theirs beginning at its `start`."""
    aligned = np.zeros((len(weights), size), np.int64)
    aligned[:, start : start + weights.shape[1]] = weights
    return aligned
