"""The work of a worker: limits of all outcomes at one b, exact cells, and blocks of toys."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
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
    grid_of,
)
from covsvc.engine.answers import FAULTS, explanation, limits_of, reason_of
from covsvc.engine.exact import Coverage, chances_of
from covsvc.engine.guard import EXEMPT, NoAnswer, method_of
from covsvc.errors import TaskError
from covsvc.kernels.outcomes import sum_outcomes
from covsvc.study import Column, Row, Study, Task
from covsvc.tally import EXACT, WORST, Counter, ExactTally, Tally, Told

MOST_OUTCOMES = 1_000_000
"""Outcomes of a cell up to which coverage is summed; beyond, toys tell."""

MOST_WEIGHTS = 4_000_000
"""Numbers in the histograms of blocks that are held before they are counted."""

MOST_UNANSWERED = 3
"""Blocks of a cell in a row for which a method may run out of time; then it is not asked for the others of the task."""


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

    def holds(self, counts: Sequence[IntArray]) -> bool:
        """Tell whether all these counts are in the table."""
        return all(
            not len(drawn) or (first <= drawn.min() and drawn.max() < first + number)
            for drawn, first, number in zip(counts, self.first, self.shape, strict=True)
        )

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
    except FAULTS as error:  # an experiment may raise anything: the columns are recorded as failed
        failed = {column.key: reason_of(error) for column in row.columns}
        return Tables(None, failed, time.thread_time() - begun)
    columns, found = [], []
    for column in row.columns:
        view = column.spec.view_of(experiment)
        if column.isolation is None:
            limits = try_limits(method_of(column), views[view], column.cl)
        else:
            limits = _limits_by_blocks(column, enumerable(experiment), view, box, row)
        if isinstance(limits, str):
            failed[column.key] = limits
        else:
            columns.append(column)
            found.append(limits)
    table = Table(row.b, *box, tuple(columns), Told.of(found)) if found else None
    return Tables(table, failed, time.thread_time() - begun)


def run_alone(task: Task) -> Tally:
    """Do a task with limits that are set for it alone."""
    return run_task(task, make_tables(Row(task.source, task.columns, task.b, task.s_true)))


def _limits_by_blocks(
    column: Column, experiment: Enumerable, view: int, box: tuple[tuple[int, ...], tuple[int, ...]], row: Row
) -> Limits | str:
    """Return the limits of a guarded method on every outcome of a box, or why there are none.

    It is asked for as many at once as there are toys in a block, which is what its time and memory are meant for.
    """
    counts, method, size = grid_of(*box), method_of(column), row.source.toys_per_block
    parts = []
    for start in range(0, len(counts[0]), size):
        views = experiment.views([each[start : start + size] for each in counts], row.b)
        limits = try_limits(method, views[view], column.cl)
        if isinstance(limits, str):
            return limits
        parts.append(limits)
    return Limits(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("lower", "upper", "status")))


def tables_of(study: Study, failed: Mapping[tuple[str, float, float], str] | None = None) -> dict[float, Tables]:
    """Return the limits of all columns of a study on every outcome without and with its signals, by b.

    Parameters
    ----------
    study : Study
    failed : dict of (label, cl, b) to str, optional
        Columns that are known to have no limits at a b, which are not asked for them, and why.
    """
    known, reach, found = failed or {}, (0.0, study.s_true[-1]), {}
    for b in study.b:
        without = {column.key: known[*column.key, b] for column in study.columns if (*column.key, b) in known}
        asked = tuple(column for column in study.columns if column.key not in without)
        made = make_tables(Row(study.source, asked, b, study.s_true, reach))
        found[b] = dataclasses.replace(made, failed=made.failed | without)
    return found


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
    those of the columns that are named, or the reasons why there are none; other methods make their own. Limits that
    `tables` hold are not kept one by one: of them everything is known exactly.
    """
    begun = time.thread_time()
    experiment = task.source.experiment.build()
    held, table = tables.only(task.columns) or ([], None)
    kept = task.source.toys_per_block if task.keep and table is None else 0
    counter = Counter(task.columns, task.b, task.s_true, task.start, task.stop, kept)
    known = dict(zip(calibrated_columns, calibrations, strict=True))
    without = tables.failed | {key: each for key, each in known.items() if isinstance(each, str)}
    failed = {index: without[each.key] for index, each in enumerate(task.columns) if each.key in without}
    working = set(range(len(task.columns))) - set(failed)

    def asked(indices: set[int]) -> list[_Asked]:
        return [_Asked.of(index, task.columns[index], experiment, known) for index in sorted(indices)]

    toy_by_toy = asked(working - set(held))
    for cell, s_true in enumerate(task.s_true):
        piled = None if table is None else _Histograms(counter, held, cell, table)
        for each in toy_by_toy:
            each.unanswered = 0
        for block, rng in enumerate(task.source.blocks(s_true, task.b, task.start, task.stop)):
            setting = toy_by_toy
            try:
                counts, views = _draw(experiment, s_true, task, rng, piled is not None, bool(toy_by_toy))
                if counts is not None and table is not None and not table.holds(counts):
                    views, counts = enumerable(experiment).views(counts, task.b), None
                    setting = asked(working)
            except FAULTS as error:  # an experiment may raise anything: its block fails, the others go on
                counts = views = None
                for index in working:
                    counter.fail(index, cell, reason_of(error), block)
            if piled is not None:
                piled.put(counts)
            for each in setting if views else ():
                each.set_limits(views[each.view], counter, cell, block)  # type: ignore[index]
        if piled is not None:
            piled.count()
        for index, reason in failed.items():
            counter.fail(index, cell, reason)
    return counter.tally(time.thread_time() - begun)


@dataclass
class _Asked:
    """A column whose limits are set toy by toy.

    Attributes
    ----------
    index : int
        Of the column.
    view : int
        Which it reads.
    unanswered : int
        Blocks in a row for which it ran out of time.
    """

    index: int
    view: int
    method: LimitMethod
    cl: float
    unanswered: int = 0

    @classmethod
    def of(
        cls, index: int, column: Column, experiment: Experiment, known: Mapping[tuple[str, float], Calibration | str]
    ) -> _Asked:
        """Return the column with its calibration, where there is one."""
        held = known.get(column.key)
        method = method_of(column, held if isinstance(held, Calibration) else None)
        return cls(index, column.spec.view_of(experiment), method, column.cl)

    def set_limits(self, observed: Any, counter: Counter, cell: int, block: int) -> None:
        """Count the limits on a block, or why there are none."""
        if self.unanswered == MOST_UNANSWERED:
            told = f"not asked, after no answer for {MOST_UNANSWERED} blocks in a row; {EXEMPT}"
            counter.fail(self.index, cell, told, block)
            return
        try:
            limits = limits_of(self.method, observed, self.cl)
        except FAULTS as error:  # a method may raise anything
            self.unanswered = self.unanswered + 1 if isinstance(error, NoAnswer) else 0
            counter.fail(self.index, cell, reason_of(error), block)
            return
        self.unanswered = 0
        counter.add([self.index], cell, Told.of([limits]), np.ones((1, len(limits)), np.int64), block)
        counter.keep(self.index, cell, limits, block)
        if (limits.status == Status.FAILED).any() and not counter.is_explained(self.index, cell):
            counter.explain(self.index, cell, why_failed(self.method, observed, self.cl, limits))


def why_failed(method: LimitMethod, observed: Any, cl: float, limits: Limits) -> str:
    """Return why the first of the failed limits failed, as far as the method can tell."""
    first = int(np.argmax(limits.status == Status.FAILED))
    return explanation(method, observed, cl, first) or "the method is not defined for these data"


def order_of(limits: Limits) -> IntArray:
    """Return the order of the upper ends, shape (column, outcome); unbounded and failed ones are last."""
    return np.argsort(np.nan_to_num(limits.upper, nan=np.inf, posinf=np.inf), axis=1, kind="stable")


def enumerable(experiment: Experiment) -> Enumerable:
    """Return an experiment of which it is known that its outcomes can be enumerated."""
    return cast("Enumerable", experiment)


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
    except FAULTS as error:  # a method may raise anything: its blocks are recorded as failed, all others go on
        return reason_of(error)


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
        return None, _held_to(experiment, experiment.toys(s_true, task.b, size, rng), size) if as_views else None
    counts = enumerable(experiment).draw(s_true, task.b, size, rng)
    return counts, enumerable(experiment).views(counts, task.b) if as_views else None


def _held_to(experiment: Experiment, views: Any, size: int) -> tuple[Any, ...]:
    """Return the views of a block of toys, if they are what the experiment says.

    Raises
    ------
    TaskError
        If not.
    """
    gives = ", ".join(each.__name__ for each in experiment.gives)
    told = ", ".join(type(each).__name__ for each in views) if isinstance(views, tuple) else type(views).__name__
    if not isinstance(views, tuple) or len(views) != len(experiment.gives):
        raise TaskError(f"the toys are {told}; they must be a tuple of {gives}")
    for view, kind in zip(views, cast("tuple[type[Any], ...]", experiment.gives), strict=True):
        if not isinstance(view, kind):
            raise TaskError(f"the toys are {told}; they must be a tuple of {gives}")
        if len(view) != size:
            raise TaskError(f"{len(view)} toys were drawn, not {size}")
    return views


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

    def __init__(self, counter: Counter, held: list[int], cell: int, table: Table) -> None:
        self._counter, self._held, self._cell, self._table = counter, held, cell, table
        self._drawn: list[IntArray] = []
        self._next = 0

    def put(self, counts: tuple[IntArray, ...] | None) -> None:
        """Add what the next block drew; None if it is lost, or its limits are not looked up."""
        size = math.prod(self._table.shape)
        self._drawn.append(np.zeros(size, np.int64) if counts is None else self._histogram(counts, size))
        if len(self._drawn) * size > MOST_WEIGHTS:
            self.count()

    def count(self) -> None:
        """Count the limits of what was put."""
        if not self._drawn:
            return
        weights, told = np.array(self._drawn), self._table.told
        drawn = np.flatnonzero(weights.any(axis=0))
        if 2 * len(drawn) < weights.shape[1]:
            weights, told = weights[:, drawn], told.at(drawn)
        self._counter.add(self._held, self._cell, told, weights, self._next)
        self._next += len(self._drawn)
        self._drawn = []

    def _histogram(self, counts: tuple[IntArray, ...], size: int) -> IntArray:
        outcome: IntArray = np.zeros(1, np.int64)
        for drawn, first, number in zip(counts, self._table.first, self._table.shape, strict=True):
            outcome = outcome * number + (drawn - first)
        return np.bincount(outcome, minlength=size)
