"""Fresh toys of some cells, whose limits two versions of a method set."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from covsvc.engine.calibrating import Calibrations, ColumnKey
from covsvc.engine.execute import execute
from covsvc.study import BLOCKS_PER_TILE, Column, Isolation, MethodSpec, Row, Task, ToySource
from covsvc.tally import COUNTS, INDICATORS, NOT_DRAWN, Tally, indicators_by

if TYPE_CHECKING:
    from distributed import Client

Cell = tuple[float, float]
"""b and s_true."""

_OLDER = " (older)"


def as_older(column: Column, spec: MethodSpec, code: str = "") -> Column:
    """Return a column with the options that it had, and with the code in a folder if one is named."""
    isolation = (column.isolation or Isolation()) if code else column.isolation
    return dataclasses.replace(column, spec=spec, isolation=isolation, code=code)


def beside(column: Column) -> Column:
    """Return a column under a name that stands beside its own."""
    spec = column.spec
    renamed = MethodSpec(name=spec.name, options=spec.options, view=spec.view, label=spec.label + _OLDER)
    return dataclasses.replace(column, spec=renamed)


def fresh_rows(
    source: ToySource,
    columns: Mapping[Cell, Sequence[Column]],
    older: Mapping[ColumnKey, Column],
    blocks: int,
    task_toys: float,
) -> list[Row]:
    """Return what is to be drawn: so many blocks in each cell, the same for columns and for their older versions."""
    run = max(1, min(int(task_toys // source.toys_per_block), BLOCKS_PER_TILE))
    rows = []
    for b, cells in groupby(sorted(columns), key=lambda cell: cell[0]):
        tasks: list[Task] = []
        everything: dict[ColumnKey, Column] = {}
        for cell in cells:
            asked = columns[cell]
            both = (*asked, *(beside(older[each.key]) for each in asked if each.key in older))
            everything |= {each.key: each for each in both}
            tasks += [
                Task(source, both, b, (cell[1],), start, min(start + run, blocks), keep=True)
                for start in range(0, blocks, run)
            ]
        s_true = tuple(sorted({task.s_true[0] for task in tasks}))
        rows.append(Row(source, tuple(everything.values()), b, s_true, None, tuple(tasks)))
    return rows


def count_fresh(
    rows: Sequence[Row], client: Client | None, calibrations: Calibrations
) -> Iterator[tuple[Cell, dict[ColumnKey, Counter[str]]]]:
    """Draw, and yield what each column told in a cell when all of its toys are drawn.

    Yields
    ------
    cell : tuple of float
        b and s_true.
    counts : dict
        By label and cl: toys ``n``, and those of them by each of `INDICATORS`; of columns with an older version, too,
        toys ``n_both`` on which both set limits, and those that each of `INDICATORS` ``gained_`` or ``lost_`` since.
    """
    left = Counter((task.b, task.s_true[0]) for row in rows for task in row.tasks)
    counted: dict[Cell, dict[ColumnKey, Counter[str]]] = {}
    for tally in execute(rows, client, calibrations):
        if isinstance(tally, Tally):
            cell = tally.b, tally.s_true[0]
            held = counted.setdefault(cell, {})
            for key, counts in _counts(tally).items():
                held.setdefault(key, Counter()).update(counts)
            left[cell] -= 1
            if not left[cell]:
                yield cell, counted.pop(cell)


def _counts(tally: Tally) -> dict[ColumnKey, Counter[str]]:
    """Return what some blocks of one cell tell of each column."""
    at = {column.key: index for index, column in enumerate(tally.columns)}
    found = {}
    for (label, cl), index in at.items():
        if not label.endswith(_OLDER):
            drawn = dict(zip(COUNTS, tally.counts[index, 0].tolist(), strict=True))
            found[label, cl] = Counter({"n": drawn["n_toys"]} | {name: drawn[f"n_{name}"] for name in INDICATORS})
            if (label + _OLDER, cl) in at:
                found[label, cl].update(_paired(tally.codes, index, at[label + _OLDER, cl]))
    return found


def _paired(codes: Any, now: int, older: int) -> dict[str, int]:
    both = (codes[now, 0] != NOT_DRAWN) & (codes[older, 0] != NOT_DRAWN)
    counts = {"n_both": int(both.sum())}
    has, had = (indicators_by(codes[row, 0]) for row in (now, older))
    for name in INDICATORS:
        counts[f"gained_{name}"] = int((has[name] & ~had[name] & both).sum())
        counts[f"lost_{name}"] = int((had[name] & ~has[name] & both).sum())
    return counts
