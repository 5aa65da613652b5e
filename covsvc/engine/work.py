"""The work of a worker: limits of all outcomes at one b, exact cells, and blocks of toys."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from covsvc.contracts import (
    Calibration,
    Enumerable,
    Experiment,
    IntArray,
    LimitMethod,
    Limits,
    Status,
    calibrated,
    grid_of,
)
from covsvc.engine.exact import Coverage, chances_of
from covsvc.errors import TaskError
from covsvc.kernels.outcomes import sum_outcomes
from covsvc.study import Column, Row, Study, Task
from covsvc.tally import EXACT, WORST, Counter, ExactTally, Tally, Told

MOST_OUTCOMES = 1_000_000
"""Outcomes of a cell up to which coverage is summed; beyond, toys tell."""

MOST_WEIGHTS = 4_000_000
"""Numbers in the histograms of blocks that are held before they are counted."""


@dataclass(frozen=True)
class Table:
    """The limits of some columns on every combination of the counts that toys at one b consist of.

    Attributes
    ----------
    first, shape : tuple of int
        Smallest value and number of values of each count; combinations lie in C order.
    told : Told
        Shape (column, outcome).
    """

    b: float
    first: tuple[int, ...]
    shape: tuple[int, ...]
    columns: tuple[Column, ...]
    told: Told

    def limits(self, row: int = 0) -> Limits:
        """Return the limits of one column, shape (outcome,)."""
        limits = self.told.limits
        return Limits(limits.lower[row], limits.upper[row], limits.status[row])

    def reaching(self, low: Sequence[int], high: Sequence[int], experiment: Enumerable) -> Table:
        """Return a table that holds the counts low..high, too."""
        if all(a <= b for a, b in zip(self.first, low, strict=True)) and all(
            a + size > b for a, size, b in zip(self.first, self.shape, high, strict=True)
        ):
            return self
        last = [max(a + size - 1, b) for a, size, b in zip(self.first, self.shape, high, strict=True)]
        first = tuple(min(a, b) for a, b in zip(self.first, low, strict=True))
        shape = tuple(b - a + 1 for a, b in zip(first, last, strict=True))
        views = experiment.views(grid_of(first, shape), self.b)
        limits = [
            limits_of(column.spec.build(), views[column.spec.view_of(experiment)], column.cl) for column in self.columns
        ]
        return Table(self.b, first, shape, self.columns, Told.of(limits))

    def only(self, columns: tuple[Column, ...]) -> tuple[list[int], Table] | None:
        """Return those of `columns` that the table holds, by index, and a table of them; None if it holds none."""
        rows = {column.key: row for row, column in enumerate(self.columns)}
        held = [index for index, column in enumerate(columns) if column.key in rows]
        if not held:
            return None
        told = self.told.take([rows[columns[index].key] for index in held])
        return held, Table(self.b, self.first, self.shape, tuple(columns[index] for index in held), told)


@dataclass(frozen=True)
class Tables:
    """The limits of the columns at one b, made once for the exact cells and all toys there.

    Attributes
    ----------
    table : Table, or None
        None where the outcomes cannot be enumerated: limits are set toy by toy.
    failed : dict of (label, cl) to str
        Columns that have no limits, and why.
    """

    table: Table | None
    failed: dict[tuple[str, float], str]
    seconds: float

    def only(self, columns: tuple[Column, ...]) -> tuple[list[int], Table] | None:
        """Return those of `columns` whose limits are known, by index, and a table of them."""
        return self.table.only(columns) if self.table else None


def make_tables(row: Row) -> Tables:
    """Set the limits of all columns on every outcome that the cells of `row` can have."""
    begun = time.thread_time()
    experiment = row.source.experiment.build()
    box = box_of(experiment, row)
    failed: dict[tuple[str, float], str] = {}
    if box is None:
        return Tables(None, failed, 0.0)
    try:
        views = experiment.views(grid_of(*box), row.b)  # type: ignore[attr-defined]
    except Exception as error:  # an experiment may raise anything: the columns are recorded as failed
        failed = {column.key: f"{type(error).__name__}: {error}" for column in row.columns}
        return Tables(None, failed, time.thread_time() - begun)
    columns, found = [], []
    for column in row.columns:
        limits = try_limits(column.spec.build(), views[column.spec.view_of(experiment)], column.cl)
        if isinstance(limits, str):
            failed[column.key] = limits
        else:
            columns.append(column)
            found.append(limits)
    table = Table(row.b, *box, tuple(columns), Told.of(found)) if found else None
    return Tables(table, failed, time.thread_time() - begun)


def tables_of(study: Study) -> dict[float, Tables]:
    """Return the limits of all columns of a study on every outcome without and with its signals, by b."""
    reach = 0.0, study.s_true[-1]
    return {b: make_tables(Row(study.source, study.columns, b, study.s_true, reach)) for b in study.b}


def sum_exactly(row: Row, tables: Tables, *, search: bool = True) -> ExactTally:
    """Sum coverage and the distribution of the limits over the outcomes of every cell of `row`.

    With `search`, find the smallest coverage over the reach of `row`, too.
    """
    begun = time.thread_time()
    values = np.full((len(row.columns), len(row.s_true), len(EXACT)), np.nan)
    worst = np.full((len(row.columns), len(WORST)), np.nan)
    low, high = _ends_of(row)
    worst[:, 2:] = low, high
    found = tables.only(row.columns)
    if found is not None:
        held, table = found
        experiment = enumerable(row.source.experiment.build())
        limits, order = table.told.limits, order_of(table.told.limits)
        for cell, s_true in enumerate(row.s_true):
            first, chances, others = chances_of(experiment, s_true, row.b)
            stacked = limits.lower, limits.upper, limits.status, order
            values[held, cell] = sum_outcomes(chances, others, *stacked, first - table.first[0], s_true)
        for column, index in enumerate(held if search else ()):
            least = Coverage(experiment, table.first[0], table.limits(column), row.b).worst(low, high)
            worst[index, :2] = least.coverage, least.s_true
    return ExactTally(row.columns, row.b, row.s_true, values, worst, time.thread_time() - begun + tables.seconds)


def run_task(
    task: Task,
    tables: Tables,
    calibrated_columns: Sequence[tuple[str, float]] = (),
    calibrations: Sequence[Calibration | str] = (),
) -> Tally:
    """Draw the toys of `task` and tally the limits that each of its columns sets.

    A column whose limits are in `tables` sees histograms of outcomes; any other sees toy by toy. `calibrations` are
    those of the columns that are named, or the reasons why there are none; other methods make their own.
    """
    begun = time.thread_time()
    experiment = task.source.experiment.build()
    counter = Counter(task.columns, task.b, task.s_true, task.start, task.stop)
    held, table = tables.only(task.columns) or ([], None)
    known = dict(zip(calibrated_columns, calibrations, strict=True))
    without = tables.failed | {key: each for key, each in known.items() if isinstance(each, str)}
    failed = {index: without[each.key] for index, each in enumerate(task.columns) if each.key in without}
    toy_by_toy = [
        (index, each.spec.view_of(experiment), _built(each, known), each.cl)
        for index, each in enumerate(task.columns)
        if index not in held and index not in failed
    ]
    for cell, s_true in enumerate(task.s_true):
        piled = None if table is None else _Histograms(counter, held, cell, table, enumerable(experiment))
        for block, rng in enumerate(task.source.blocks(s_true, task.b, task.start, task.stop)):
            try:
                counts, views = _draw(experiment, s_true, task, rng, piled is not None, bool(toy_by_toy))
            except Exception as error:  # an experiment may raise anything: its block fails, the others go on
                counts = views = None
                for index in set(range(len(task.columns))) - set(failed):
                    counter.fail(index, cell, f"{type(error).__name__}: {error}", block)
            if piled is not None:
                piled.put(counts)
            for index, view, method, cl in toy_by_toy if views else ():
                limits = try_limits(method, views[view], cl)  # type: ignore[index]
                if isinstance(limits, str):
                    counter.fail(index, cell, limits, block)
                else:
                    counter.add([index], cell, Told.of([limits]), np.ones((1, len(limits)), np.int64), block)
                    if (limits.status == Status.FAILED).any() and not counter.is_explained(index, cell):
                        counter.explain(index, cell, why_failed(method, views[view], cl, limits))  # type: ignore[index]
        if piled is not None:
            piled.count()
            table = piled.table
        for index, reason in failed.items():
            counter.fail(index, cell, reason)
    return counter.tally(time.thread_time() - begun)


def _built(column: Column, known: Mapping[tuple[str, float], Calibration | str]) -> LimitMethod:
    held = known.get(column.key)
    return calibrated(column.spec.build(), held) if isinstance(held, Calibration) else column.spec.build()


def why_failed(method: LimitMethod, observed: Any, cl: float, limits: Limits) -> str:
    """Return why the first of the failed limits failed, as far as the method can tell."""
    first = int(np.argmax(limits.status == Status.FAILED))
    explain: Callable[..., list[str]] | None = getattr(method, "explain", None)
    try:
        told = explain(observed, cl)[first] if explain else ""
    except Exception as error:  # a method may raise anything
        told = f"{type(error).__name__}: {error}"
    return told or "the method is not defined for these data"


def order_of(limits: Limits) -> IntArray:
    """Return the order of the upper ends, shape (column, outcome); unbounded and failed ones are last."""
    return np.argsort(np.nan_to_num(limits.upper, nan=np.inf, posinf=np.inf), axis=1, kind="stable")


def enumerable(experiment: Experiment) -> Enumerable:
    """Return an experiment of which it is known that its outcomes can be enumerated."""
    return cast("Enumerable", experiment)


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


def some_outcomes(
    experiment: Enumerable, box: tuple[tuple[int, ...], tuple[int, ...]], b: float, most: int
) -> tuple[Any, ...]:
    """Return the views of at most so many outcomes of a box, evenly spread.

    Raises
    ------
    ObservationError
        If one of them is beyond what an observation can hold.
    """
    first, shape = box
    number = math.prod(shape)
    chosen = np.unravel_index(np.linspace(0, number - 1, min(number, most)).astype(np.int64), shape)
    return experiment.views([start + counts for start, counts in zip(first, chosen, strict=True)], b)


def try_limits(method: LimitMethod, observed: Any, cl: float) -> Limits | str:
    """Return the limits of `method`, or why it has none."""
    try:
        return limits_of(method, observed, cl)
    except Exception as error:  # a method may raise anything: its blocks are recorded as failed, all others go on
        return f"{type(error).__name__}: {error}"


def _ends_of(row: Row) -> tuple[float, float]:
    return row.reach or (row.s_true[0], row.s_true[-1])


def box_of(experiment: Experiment, row: Row) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the smallest value and the number of values of each count; None where there are too many outcomes."""
    if not isinstance(experiment, Enumerable):
        return None
    ends = [experiment.counts(s_true, row.b) for s_true in _ends_of(row)]
    if ends[0] is None or ends[1] is None:
        return None
    first = tuple(min(low.first, high.first) for low, high in zip(*ends, strict=True))
    last = [max(run.first + len(run.probability) for run in both) for both in zip(*ends, strict=True)]
    shape = tuple(b - a for a, b in zip(first, last, strict=True))
    return (first, shape) if math.prod(shape) <= MOST_OUTCOMES else None


def _draw(
    experiment: Experiment, s_true: float, task: Task, rng: np.random.Generator, as_counts: bool, as_views: bool
) -> tuple[tuple[IntArray, ...] | None, tuple[Any, ...] | None]:
    """Return the counts and the views of the toys of a block, those that are wanted."""
    size = task.source.toys_per_block
    if not as_counts:
        return None, experiment.toys(s_true, task.b, size, rng) if as_views else None
    counts = enumerable(experiment).draw(s_true, task.b, size, rng)
    return counts, enumerable(experiment).views(counts, task.b) if as_views else None


class _Histograms:
    """How often each block drew each outcome of a table, counted when there are enough of them.

    Parameters
    ----------
    counter : Counter
    held : list of int
        Indices of the table's columns.
    cell : int
        Index of s_true.
    """

    def __init__(self, counter: Counter, held: list[int], cell: int, table: Table, experiment: Enumerable) -> None:
        self._counter, self._held, self._cell, self._experiment = counter, held, cell, experiment
        self.table = table
        self._drawn: list[IntArray] = []
        self._next = 0

    def put(self, counts: tuple[IntArray, ...] | None) -> None:
        """Add what the next block drew; None if it is lost."""
        if counts is not None and len(counts[0]):
            low, high = [int(each.min()) for each in counts], [int(each.max()) for each in counts]
            larger = self.table.reaching(low, high, self._experiment)
            if larger is not self.table:
                self.count()
                self.table = larger
        size = math.prod(self.table.shape)
        self._drawn.append(np.zeros(size, np.int64) if counts is None else self._histogram(counts, size))
        if len(self._drawn) * size > MOST_WEIGHTS:
            self.count()

    def count(self) -> None:
        """Count the limits of what was put."""
        if not self._drawn:
            return
        weights, told = np.array(self._drawn), self.table.told
        drawn = np.flatnonzero(weights.any(axis=0))
        if 2 * len(drawn) < weights.shape[1]:
            weights, told = weights[:, drawn], told.at(drawn)
        self._counter.add(self._held, self._cell, told, weights, self._next)
        self._next += len(self._drawn)
        self._drawn = []

    def _histogram(self, counts: tuple[IntArray, ...], size: int) -> IntArray:
        outcome: IntArray = np.zeros(1, np.int64)
        for drawn, first, number in zip(counts, self.table.first, self.table.shape, strict=True):
            outcome = outcome * number + (drawn - first)
        return np.bincount(outcome, minlength=size)
