"""The work of a worker: limits of all outcomes at one b, exact cells, and blocks of toys."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from covsvc.contracts import Counts, Experiment, IntArray, LimitMethod, Limits
from covsvc.engine.exact import find_worst
from covsvc.errors import TaskError
from covsvc.kernels.outcomes import sum_outcomes
from covsvc.registry import view_for
from covsvc.study import Column, Row, Task
from covsvc.tally import EXACT, WORST, Counter, ExactTally, Tally, Told

MOST_OUTCOMES = 1_000_000
"""Outcomes of a cell up to which coverage is summed; beyond, toys tell."""


@dataclass(frozen=True)
class Table:
    """The limits of some columns on the counts first, first + 1, ...

    Attributes
    ----------
    view : int
        Which view of the experiment the columns read.
    b : float
        The background that the analyst believes in, expected events.
    told : Told
        Shape (column, count).
    """

    view: int
    b: float
    first: int
    columns: tuple[Column, ...]
    told: Told

    @property
    def last(self) -> int:
        """The largest count."""
        return self.first + len(self.told.bins[0]) - 1

    def limits(self, row: int = 0) -> Limits:
        """Return the limits of one column, shape (count,)."""
        limits = self.told.limits
        return Limits(limits.lower[row], limits.upper[row], limits.status[row])

    def reaching(self, low: int, high: int) -> Table:
        """Return a table that holds the counts low..high, too."""
        if self.first <= low and high <= self.last:
            return self
        first, last = min(low, self.first), max(high, self.last)
        counts = Counts(np.arange(first, last + 1), self.b)
        told = Told.of([limits_of(column.spec.build(), counts, column.cl) for column in self.columns])
        return Table(self.view, self.b, first, self.columns, told)

    def only(self, columns: tuple[Column, ...]) -> tuple[list[int], Table] | None:
        """Return those of `columns` that the table holds, by index, and a table of them; None if it holds none."""
        rows = {column.key: row for row, column in enumerate(self.columns)}
        held = [index for index, column in enumerate(columns) if column.key in rows]
        if not held:
            return None
        told = self.told.take([rows[columns[index].key] for index in held])
        return held, Table(self.view, self.b, self.first, tuple(columns[index] for index in held), told)


@dataclass(frozen=True)
class Tables:
    """The limits of the columns at one b, made once for the exact cells and all toys there.

    Columns that read no count with one background are in neither part: their limits are set toy by toy.

    Attributes
    ----------
    of : tuple of Table
        One a view and background.
    failed : dict of (label, cl) to str
        Columns that have no limits, and why.
    """

    of: tuple[Table, ...]
    failed: dict[tuple[str, float], str]
    seconds: float

    def find(self, column: Column) -> Table | None:
        """Return the table of one column, None if there is none."""
        return next((found[1] for table in self.of if (found := table.only((column,)))), None)


def make_tables(row: Row) -> Tables:
    """Set the limits of all columns on every count that the cells of `row` can give."""
    begun = time.thread_time()
    experiment = row.source.experiment.build()
    failed: dict[tuple[str, float], str] = {}
    held: dict[int, tuple[Counts, list[Column], list[Limits]]] = {}
    if hasattr(experiment, "outcomes"):
        ends = [experiment.outcomes(s_true, row.b)[0] for s_true in _ends_of(row)]
        for column in row.columns:
            method = column.spec.build()
            view = _view(method, experiment)
            low, high = ends[0][view], ends[1][view]
            if isinstance(low, Counts) and isinstance(low.b, float) and _is_run(low.n) and _is_run(high.n):
                counts = Counts(np.arange(low.n[0], high.n[-1] + 1), low.b)
                limits = _try(method, counts, column.cl)
                if isinstance(limits, str):
                    failed[column.key] = limits
                else:
                    _, columns, found = held.setdefault(view, (counts, [], []))
                    columns.append(column)
                    found.append(limits)
    tables = tuple(
        Table(view, float(counts.b), int(counts.n[0]), tuple(columns), Told.of(found))
        for view, (counts, columns, found) in held.items()
    )
    return Tables(tables, failed, time.thread_time() - begun)


def sum_exactly(row: Row, tables: Tables, *, search: bool = True) -> ExactTally:
    """Sum coverage and the distribution of the limits over the outcomes of every cell of `row`.

    With `search`, find the smallest coverage over the reach of `row`, too.
    """
    begun = time.thread_time()
    experiment = row.source.experiment.build()
    values = np.full((len(row.columns), len(row.s_true), len(EXACT)), np.nan)
    worst = np.full((len(row.columns), len(WORST)), np.nan)
    low, high = _ends_of(row)
    worst[:, 2:] = low, high
    for whole in tables.of:
        found = whole.only(row.columns)
        if found is None:
            continue
        held, table = found
        limits = table.told.limits
        order = order_of(limits)
        for cell, s_true in enumerate(row.s_true):
            views, probability = experiment.outcomes(s_true, row.b)  # type: ignore[attr-defined]
            first = int(views[table.view].n[0]) - table.first
            sums = sum_outcomes(probability, limits.lower, limits.upper, limits.status, order, first, s_true)
            values[held, cell] = sums
        for column, index in enumerate(held if search else ()):
            least = find_worst(experiment, table.view, table.first, table.limits(column), row.b, high, low)
            worst[index, :2] = least.coverage, least.s_true
    return ExactTally(row.columns, row.b, row.s_true, values, worst, time.thread_time() - begun + tables.seconds)


def run_task(task: Task, tables: Tables) -> Tally:
    """Draw the toys of `task` and tally the limits that each of its columns sets.

    A column whose limits are in `tables` sees histograms of counts; any other sees toy by toy.
    """
    begun = time.thread_time()
    experiment = task.source.experiment.build()
    counter = Counter(task.columns, task.b, task.s_true, task.start, task.stop)
    looked_up = [found for table in tables.of if (found := table.only(task.columns))]
    known = {index for held, _ in looked_up for index in held}
    failed = {index: tables.failed[each.key] for index, each in enumerate(task.columns) if each.key in tables.failed}
    toy_by_toy = [
        (index, each.spec.build(), each.cl)
        for index, each in enumerate(task.columns)
        if index not in known and index not in failed
    ]
    for cell, s_true in enumerate(task.s_true):
        histograms: dict[int, list[IntArray]] = {table.view: [] for _, table in looked_up}
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
            for index, method, cl in toy_by_toy:
                limits = _try(method, toys[_view(method, experiment)], cl)
                if isinstance(limits, str):
                    counter.fail(index, cell, limits, block)
                else:
                    counter.add([index], cell, Told.of([limits]), np.ones((1, len(limits)), np.int64), block)
        for held, table in looked_up:
            low, weights = _pad(histograms[table.view])
            reaching = table.reaching(low, low + weights.shape[1] - 1)
            aligned = _align(weights, low - reaching.first, reaching.told.bins.shape[1])
            counter.add(held, cell, reaching.told, aligned)
        for index, reason in failed.items():
            counter.fail(index, cell, reason)
        for index in set(range(len(task.columns))) - set(failed):
            for block, reason in lost:
                counter.fail(index, cell, reason, block)
    return counter.tally(time.thread_time() - begun)


def order_of(limits: Limits) -> IntArray:
    """Return the order of the upper ends, shape (column, outcome); unbounded and failed ones are last."""
    return np.argsort(np.nan_to_num(limits.upper, nan=np.inf, posinf=np.inf), axis=1, kind="stable")


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


def _try(method: LimitMethod, observed: Any, cl: float) -> Limits | str:
    try:
        return limits_of(method, observed, cl)
    except Exception as error:  # a method may raise anything: its blocks are recorded as failed, all others go on
        return f"{type(error).__name__}: {error}"


def _ends_of(row: Row) -> tuple[float, float]:
    return row.reach or (row.s_true[0], row.s_true[-1])


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
