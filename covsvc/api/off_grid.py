"""Points off the grid of a stored study: summed exactly now, or the cells beside them; never interpolated."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from covsvc.api.stored import stored_study
from covsvc.contracts import IntArray
from covsvc.engine.work import box_of, make_tables, sum_exactly
from covsvc.errors import CovsvcError, StudyError
from covsvc.selection import (
    AXES,
    Table,
    computed_table,
    neighbours_of,
    nodes_of,
    nothing_in,
    positions,
    table_of,
    wanted_of,
)
from covsvc.store.repository import compare
from covsvc.study import HIGHEST, Row, Study, rounded
from covsvc.tally import EXACT

MOST_CELLS = 10_000
"""Cells off the grid that are answered at once."""

MOST_LIMITS = 500_000
"""Limits that are set for them at once."""

FEW_EVENTS, FURTHER = 100.0, 2.0
"""Off the grid s_true + b may be this many events, or this much more than on the grid; beyond, limits take long."""

_ONLY_TOYS = "coverage there is known from toys only"

Place = tuple[int, int]
"""Where a column is: positions of its limit method and of cl."""


@dataclass(frozen=True)
class Axis:
    """What is asked for along b or s_true.

    Attributes
    ----------
    known : ndarray of float
        The grid.
    nodes : list of int
        Where it is asked for.
    off : list of float
        Values off the grid.
    """

    name: str
    known: NDArray[np.float64]
    nodes: list[int]
    off: list[float]

    @classmethod
    def of(cls, maps: xr.Dataset, name: str, given: Any, notes: list[str]) -> Axis:
        """Return what is asked for; a note says of a range that it is empty.

        Raises
        ------
        StudyError
            If it is no number, or none that a study can have.
        """
        known, asked = maps[name].to_numpy(), wanted_of(given, name)
        if asked is None:
            return cls(name, known, list(range(len(known))), [])
        if asked.values is None:
            nodes = positions(known, asked, name)
            if not nodes:
                notes.append(nothing_in(asked, known, name))
            return cls(name, known, nodes, [])
        for value in asked.values:
            if not 0 <= value <= HIGHEST:
                raise StudyError(f"{name} = {value:.12g}: expected events lie in [0, {HIGHEST:g}]")
        found = dict(zip(asked.values, nodes_of(known, asked.values), strict=True))
        off = dict.fromkeys(rounded(value) for value, at in found.items() if at is None)
        return cls(name, known, sorted({at for at in found.values() if at is not None}), list(off))

    @property
    def values(self) -> list[float]:
        """Values that are asked for, those on the grid first."""
        return [*self.known[self.nodes].tolist(), *self.off]

    def beside(self, value: float) -> list[int]:
        """Return where a value is, or the nodes on either side of it."""
        (at,) = nodes_of(self.known, [value])
        return neighbours_of(self.known, value) if at is None else [at]

    def __str__(self) -> str:
        return f"{self.name} = {', '.join(f'{value:.12g}' for value in self.off)}" if self.off else ""


@dataclass(frozen=True)
class Part:
    """Rows of an answer, and what puts them in order: limit method, cl, and the b and s_true that were asked for."""

    table: Table
    order: tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class _Points:
    """Signals at one b, and the columns of which nothing can be summed there, and why."""

    b: float
    signals: tuple[float, ...]
    reasons: Mapping[Place, str]


class _Beside(NamedTuple):
    """A cell of the grid, by its positions, beside a point that is asked for."""

    label: int
    level: int
    b_at: int
    s_at: int
    b: float
    s_true: float


def off_grid(
    maps: xr.Dataset, places: Sequence[Place], along_b: Axis, along_s: Axis, notes: list[str]
) -> Iterator[Part]:
    """Yield what there is of the points off the grid; notes say what.

    Raises
    ------
    StudyError
        If it is too much at once.
    """
    told = " and ".join(filter(None, map(str, (along_b, along_s))))
    if not told:
        return
    points = dict.fromkeys(along_b.values, along_s.off) | dict.fromkeys(along_b.off, along_s.values)
    if (cells := len(places) * sum(map(len, points.values()))) > MOST_CELLS:
        raise StudyError(
            f"{told[:100]}: not on the grid, and {cells:,} cells are too many to be answered there, at most "
            f"{MOST_CELLS:,}; ask for fewer limit methods or values, or for a range, which takes what is on the grid"
        )
    study, unable = _summable(maps, places)
    sorted_out = list(_sort_out(maps, places, points, unable, along_b, along_s))
    rows = list(_rows(maps, study, places, sorted_out)) if study is not None else []
    _check_limits(told, rows)
    around = [
        _Beside(place[0], place[1], b_at, s_at, each.b, s_true)
        for each in sorted_out
        for place in each.reasons
        for s_true in each.signals
        for b_at in along_b.beside(each.b)
        for s_at in along_s.beside(s_true)
    ]
    notes += _notes(told, maps["limit_method"].values.tolist(), rows, sorted_out)
    yield from (_summed(maps, row) for row in rows)
    if around:
        yield _neighbours(maps, around, along_b, along_s)


def _summable(maps: xr.Dataset, places: Sequence[Place]) -> tuple[Study | None, dict[Place, str]]:
    """Return the study, if it can be summed here, and the columns that cannot, and why."""
    if np.isnan(maps["exact_coverage"].to_numpy()).all():
        return None, dict.fromkeys(places, _ONLY_TOYS)
    try:
        study, other = _installed(*(maps.attrs[name] for name in ("study", "source", "methods")))
    except CovsvcError:
        return None, dict.fromkeys(places, "what its study needs is not installed here")
    labels = maps["limit_method"].values.tolist()
    told = "the installed code is not that which made the stored values"
    return study, {place: told for place in places if labels[place[0]] in other}


@lru_cache(maxsize=16)
def _installed(study_told: str, source: str, methods: str) -> tuple[Study, frozenset[str]]:
    """Return a stored study as it can be built here, and the labels of its methods of which other code is here."""
    study = stored_study(xr.Dataset(attrs={"study": study_told}))
    stored = {"source": json.loads(source), "methods": json.loads(methods)}
    return study, frozenset(compare(stored, study, study.name, replace=True)[1])


def _sort_out(
    maps: xr.Dataset,
    places: Sequence[Place],
    points: Mapping[float, Sequence[float]],
    unable: Mapping[Place, str],
    along_b: Axis,
    along_s: Axis,
) -> Iterator[_Points]:
    """Yield the points at each b, those that lie far beyond the grid by themselves."""
    exact = np.isfinite(maps.variables["exact_coverage"].transpose(*AXES).to_numpy())
    reach = max(FEW_EVENTS, FURTHER * (along_b.known[-1] + along_s.known[-1]))
    for b, signals in points.items():
        near = tuple(sorted(s_true for s_true in signals if b + s_true <= reach))
        if near:
            around = np.ix_(along_b.beside(b), sorted({at for s_true in near for at in along_s.beside(s_true)}))
            of_toys = {place: _ONLY_TOYS for place in places if not exact[place][around].all()}
            yield _Points(b, near, of_toys | dict(unable))
        if far := tuple(sorted({*signals} - {*near})):
            yield _Points(b, far, dict.fromkeys(places, "it lies far beyond the grid"))


def _rows(maps: xr.Dataset, study: Study, places: Sequence[Place], sorted_out: Sequence[_Points]) -> Iterator[Row]:
    """Yield what is to be summed."""
    labels, levels = maps["limit_method"].values.tolist(), maps["cl"].values.tolist()
    specs = {spec.label: spec for spec in study.methods}
    for each in sorted_out:
        able = [place for place in places if place not in each.reasons]
        columns = tuple(study.column(specs[labels[label]], levels[level]) for label, level in able)
        if columns:
            yield Row(study.source, columns, each.b, each.signals)


def _check_limits(told: str, rows: Sequence[Row]) -> None:
    """Raise StudyError if too many limits would have to be set."""
    limits = 0
    for row in rows:
        box = box_of(row.source.experiment.build(), row)
        limits += len(row.columns) * (MOST_LIMITS if box is None else math.prod(box[1]))
    if limits > MOST_LIMITS:
        raise StudyError(
            f"{told[:100]}: not on the grid, and too many limits would have to be set there, more than "
            f"{MOST_LIMITS:,}; ask for fewer limit methods or values, or for a range, which takes what is on the grid"
        )


def _notes(told: str, labels: Sequence[str], rows: Sequence[Row], sorted_out: Sequence[_Points]) -> Iterator[str]:
    """Yield what was summed, and what was not, and why."""
    beside: dict[str, dict[str, None]] = {}
    for each in sorted_out:
        for place, reason in each.reasons.items():
            beside.setdefault(reason, {})[labels[place[0]]] = None
    if rows:
        summed = dict.fromkeys(column.key[0] for row in rows for column in row.columns)
        whose = f" of {', '.join(summed)}" if beside else ""
        yield f"{told}: not on the grid; the coverage{whose} there is summed exactly now (source: computed)"
    for reason, others in beside.items():
        whose = f" of {', '.join(others)}" if rows or len(beside) > 1 else ""
        yield f"{told}: not on the grid; the cells{whose} beside it are given, nothing is interpolated: {reason}"


def _summed(maps: xr.Dataset, row: Row) -> Part:
    """Return exact values of the cells of a row; those of a method that has no limits there are not known."""
    values = sum_exactly(row, make_tables(row), search=False).values
    known, every_cl = maps["limit_method"].values.tolist(), maps["cl"].values.tolist()
    places = [(known.index(label), every_cl.index(cl)) for label, cl in (column.key for column in row.columns)]
    labels, levels = (np.repeat([place[index] for place in places], len(row.s_true)) for index in (0, 1))
    cells: Table = {
        "limit_method": np.array(known, object)[labels],
        "cl": np.array(every_cl)[levels],
        "b": np.full(len(labels), row.b),
        "s_true": np.tile(row.s_true, len(places)),
    }
    exact = {name: values[..., index].ravel() for index, name in enumerate(EXACT)}
    return Part(computed_table(cells, exact), (labels, levels, cells["b"], cells["s_true"]))


def _neighbours(maps: xr.Dataset, cells: Sequence[_Beside], along_b: Axis, along_s: Axis) -> Part:
    """Return cells that lie beside points."""
    at: list[IntArray] = [np.array(each) for each in zip(*(cell[:4] for cell in cells), strict=True)]
    table = table_of(maps, at)
    told = []
    for cell in cells:
        asked = ((along_b, cell.b), (along_s, cell.s_true))
        told.append(", ".join(f"{axis.name} = {value:.12g}" for axis, value in asked if value in axis.off))
    table["neighbour_of"] = np.array(told, object)
    b, s_true = (np.array([cell[index] for cell in cells]) for index in (4, 5))
    return Part(table, (at[0], at[1], b, s_true))
