"""Queries: what the maps of a stored study say."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from covsvc.api.building import STORE
from covsvc.api.kept_maps import kept_maps
from covsvc.api.off_grid import Axis, Part, off_grid
from covsvc.api.plain import plain
from covsvc.api.stored import axes_told, part_of, written_at
from covsvc.errors import StoreError, StudyError, UnknownName
from covsvc.files import write
from covsvc.maps import summarize
from covsvc.selection import (
    AXES,
    COLUMNS,
    VERDICTS,
    Table,
    as_rows,
    every,
    labels_of,
    nothing_in,
    positions,
    table_of,
    wanted_of,
)
from covsvc.store.export import write_frame
from covsvc.store.place import place_of
from covsvc.store.repository import open_cube, snapshot_of
from covsvc.worst_cells import worst_cells

COMPARED = ("coverage", "exact_coverage", "sigma_med", "exact_median_upper")
"""Columns that are compared with another commit."""

CHANGES: Mapping[str, tuple[str, str]] = {
    f"{name}{end}": told
    for name in COMPARED
    for end, told in (
        ("_before", (f"{COLUMNS[name][0]}, before", COLUMNS[name][1])),
        ("_change", (f"change of {name}, {'relative' if COLUMNS[name][1] else 'now less before'}", "")),
    )
}
"""Columns of a comparison, with their long names and units."""


@dataclass(frozen=True)
class Answer:
    """What a query found.

    Attributes
    ----------
    study, at : str
        As asked for.
    snapshot, written_at : str
        The commit that was read.
    columns : tuple of str
    rows : list of dict
        By the names of the columns; what is not known is NaN.
    notes : list of str
        Sentences on what a reader must know.
    """

    study: str
    at: str
    snapshot: str
    written_at: str
    columns: tuple[str, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def units(self) -> dict[str, str]:
        """Units of the columns that have any."""
        return {name: unit for name in self.columns if (unit := _described(name)[1])}

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, with the units, for JSON."""
        return {
            "study": self.study,
            "at": self.at,
            "snapshot": self.snapshot,
            "written_at": self.written_at,
            "columns": list(self.columns),
            "units": self.units,
            "rows": self.rows,
            "notes": self.notes,
        }

    def to_dataframe(self) -> Any:
        """Return the rows as a pandas.DataFrame, with all else in its ``attrs``."""
        import pandas as pd  # type: ignore[import-untyped]

        frame = pd.DataFrame(self.rows, columns=list(self.columns))
        told = self.as_dict()
        frame.attrs = {name: told[name] for name in ("study", "at", "snapshot", "written_at", "units", "notes")}
        frame.attrs["long_names"] = {name: _described(name)[0] for name in self.columns}
        return frame


def read_maps(store: str | Path, name: str, at: str = "main") -> xr.Dataset:
    """Return the maps of what the last run of a study asked for, as they were at a commit.

    They are made once a commit: kept in memory, and in the user's cache. Their arrays cannot be written.

    Parameters
    ----------
    store : str or Path
        Folder or URL of the store.
    name : str
        Name of the study.
    at : str
        The commit; see `open_cube`.

    Raises
    ------
    StoreError
        If there is no such store, study or snapshot.
    """
    place = place_of(store)
    where, snapshot = place.study(name), snapshot_of(store, name, at)

    def make() -> xr.Dataset:
        cube = open_cube(store, name, snapshot)
        return summarize(part_of(cube, axes_told(cube)))

    return kept_maps(where, snapshot, make).assign_attrs(store=place.where)


def query(
    study: str,
    store: str | Path = STORE,
    *,
    at: str = "main",
    limit_method: str | Sequence[str] | None = None,
    cl: Any = None,
    b: Any = None,
    s_true: Any = None,
    verdict: str | Sequence[str] | None = None,
    sort: str | Sequence[str] = (),
    columns: str | Sequence[str] | None = None,
    most: int | None = None,
    against: str | None = None,
    against_method: str | None = None,
) -> Answer:
    """Return what is stored of some cells: coverage, median limits and rates, a row a cell and column.

    Nothing is interpolated. Where b or s_true are values off the grid, coverage is summed exactly now, if the stored
    values of the method were summed and the code that is installed is the one which made them (source is
    ``"computed"``); else the cells beside the point are given (neighbour_of says of what). Ranges take what is on the
    grid.

    Parameters
    ----------
    study : str
        Name of the study.
    store : str or Path
        Folder or URL of the store.
    at : str
        The commit; see `open_cube`.
    limit_method : str or sequence of str, optional
        Labels; all unless given.
    cl, b, s_true : float, sequence of float, slice, str or Wanted, optional
        Values or a closed range; as a text ``"2.5"``, ``"1,2"``, ``"0:5"`` or ``":5"``. All unless given.
    verdict : str or sequence of str, optional
        Only cells of this: under, ok, over, unknown.
    sort : str or sequence of str
        Columns to sort by; ``"-b"`` descends. What is not known comes last.
    columns : str or sequence of str, optional
        Columns of the answer; all unless given.
    most : int, optional
        So many rows at most.
    against : str, optional
        Another commit: adds coverage, exact_coverage, sigma_med and exact_median_upper as they were there
        (``_before``) and their change (``_change``; of medians the relative one).
    against_method : str, optional
        Label of another method: what it has is compared with instead, in the same commit unless another is named.

    Raises
    ------
    StudyError
        If a label, a value or a name is none.
    StoreError
        If there is no such store, study or snapshot.

    Examples
    --------
    >>> import covsvc
    >>> found = covsvc.query("cleo", limit_method="cls", b=3.0, s_true="0:5", sort="exact_coverage")  # doctest: +SKIP
    >>> found.to_dataframe()  # doctest: +SKIP
    """
    maps = read_maps(store, study, at)
    notes: list[str] = []
    rows = sorted(labels_of(maps["limit_method"].values.tolist(), limit_method))
    asked = wanted_of(cl, "cl")
    levels = list(range(maps.sizes["cl"])) if asked is None else sorted(positions(maps["cl"].to_numpy(), asked, "cl"))
    if asked is not None and asked.values is None and not levels:
        notes.append(nothing_in(asked, maps["cl"].to_numpy(), "cl"))
    along_b, along_s = Axis.of(maps, "b", b, notes), Axis.of(maps, "s_true", s_true, notes)
    compared = against is not None or against_method is not None
    allowed = {**COLUMNS, **CHANGES} if compared else COLUMNS
    shown = _names(columns, allowed) or tuple(allowed)
    keys = [(name.removeprefix("-"), name.startswith("-")) for name in _split(sort)]
    _names([name for name, _ in keys], allowed)
    verdicts = _verdicts(verdict)
    if most is not None and most < 1:
        raise StudyError(f"most = {most}: at least one row")

    kinds = np.array(rows, np.intp), np.array(levels, np.intp)
    on_grid = every(*kinds, np.array(along_b.nodes, np.intp), np.array(along_s.nodes, np.intp))
    stored = table_of(maps, on_grid)
    parts = [Part(stored, (on_grid[0], on_grid[1], stored["b"], stored["s_true"]))]
    parts += off_grid(maps, list(itertools.product(rows, levels)), along_b, along_s, notes)
    table = _joined(parts)
    if compared:
        before = maps if against is None else read_maps(store, study, against)
        table |= _changes(table, before, against_method)
        of = "" if against_method is None else f"{against_method} of "
        notes.append(f"compared with {of}{before.attrs['snapshot']}, written at {written_at(before)}")
    if verdicts:
        table = _take(table, np.flatnonzero(np.isin(table["verdict"].astype(str), verdicts)))
        if not len(table["verdict"]):
            notes.append(f"no cell is {' or '.join(verdicts)}")
    for name, descends in reversed(keys):
        table = _take(table, np.argsort(_ranks(table[name], descends=descends), kind="stable"))
    if most is not None and len(table["cl"]) > most:
        notes.append(f"the first {most:,} of {len(table['cl']):,} rows")
        table = _take(table, np.arange(most))
    told = as_rows({name: table[name] for name in shown})
    return Answer(study, at, maps.attrs["snapshot"], written_at(maps), shown, told, notes)


def write_answer(answer: Answer, out: str | Path, form: str) -> Path:
    """Write an answer to a file, replacing what is there.

    Parameters
    ----------
    answer : Answer
    out : str or Path
    form : str
        ``"csv"``, ``"parquet"`` or ``"json"``.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    StoreError
        If it cannot be written, or a library is missing.
    """
    path = Path(out)
    if path.exists() and not path.is_file():
        raise StoreError(f"{path}: is there and no file, so that it is not replaced; choose another name")
    if form != "json":
        write_frame(answer.to_dataframe(), path, form, overwrite=True)
        return path
    try:
        write(path.resolve(), (json.dumps(plain(answer.as_dict()), indent=2, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}; choose another place") from None
    return path


def worst(
    study: str,
    store: str | Path = STORE,
    *,
    at: str = "main",
    limit_method: str | Sequence[str] | None = None,
    cl: Any = None,
    most: int | None = None,
) -> dict[str, Any]:
    """Return the worst cell of each column of a stored study, the largest deficit first; see `worst_cells`.

    Parameters
    ----------
    study : str
        Name of the study.
    store : str or Path
        Folder or URL of the store.
    at : str
        The commit; see `open_cube`.
    limit_method : str or sequence of str, optional
        Labels; all unless given.
    cl : float, sequence of float, slice, str or Wanted, optional
    most : int, optional
        So many cells at most.

    Returns
    -------
    dict
        study, at, snapshot, written_at, and the cells; their adjusted p values are corrected for all of the study.

    Raises
    ------
    StudyError
        If a label or a value is none.
    StoreError
        If there is no such store, study or snapshot.
    """
    maps = read_maps(store, study, at)
    known, asked = maps["limit_method"].values.tolist(), wanted_of(cl, "cl")
    if most is not None and most < 1:
        raise StudyError(f"most = {most}: at least one cell")
    labels = {known[row] for row in labels_of(known, limit_method)}
    every_cl = maps["cl"].to_numpy()
    levels = set(every_cl[positions(every_cl, asked, "cl")].tolist() if asked else every_cl.tolist())
    cells = [asdict(each) for each in worst_cells(maps) if each.limit_method in labels and each.cl in levels]
    return {
        "study": study,
        "at": at,
        "snapshot": maps.attrs["snapshot"],
        "written_at": written_at(maps),
        "cells": cells[:most],
    }


def _joined(parts: Sequence[Part]) -> Table:
    if len(parts) == 1:
        return parts[0].table
    table = {name: np.concatenate([part.table[name] for part in parts]) for name in COLUMNS}
    keys = [np.concatenate([part.order[index] for part in parts]) for index in range(4)]
    return _take(table, np.lexsort((table["s_true"], table["b"], *reversed(keys))))


def _take(table: Table, rows: NDArray[np.intp]) -> Table:
    return {name: values[rows] for name, values in table.items()}


def _changes(table: Table, before: xr.Dataset, limit_method: str | None) -> Table:
    """Return what the cells of a table were in other maps, perhaps of one method there, and how that has changed."""
    where = []
    if limit_method is not None:
        (row,) = labels_of(before["limit_method"].values.tolist(), limit_method)
        where.append(np.full(len(table["cl"]), row, np.intp))
    for name in AXES[len(where) :]:
        places = {value: at for at, value in enumerate(before[name].values.tolist())}
        where.append(np.array([places.get(value, -1) for value in table[name].tolist()], np.intp))
    found = np.all([at >= 0 for at in where], axis=0)
    held = table_of(before, [at[found] for at in where])
    changes: Table = {}
    for name in COMPARED:
        then, now = np.full(len(found), np.nan), table[name]
        then[found] = held[name]
        with np.errstate(invalid="ignore", divide="ignore"):
            change = now / then - 1.0 if COLUMNS[name][1] else now - then
        changes[f"{name}_before"], changes[f"{name}_change"] = then, np.where(now == then, 0.0, change)
    return changes


def _ranks(values: NDArray[Any], *, descends: bool) -> NDArray[np.int64]:
    """Return numbers that sort as the values do; NaN is last in any case."""
    if values.dtype == object:
        values = values.astype(str)
    unknown = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    ranks = np.unique(values, return_inverse=True)[1].astype(np.int64)
    return np.where(unknown, len(values), -ranks if descends else ranks)


def _split(names: str | Sequence[str]) -> list[str]:
    return [each.strip() for each in names.split(",") if names] if isinstance(names, str) else list(names)


def _names(given: str | Sequence[str] | None, known: Mapping[str, Any]) -> tuple[str, ...]:
    """Return names of columns that are known.

    Raises
    ------
    UnknownName
        If one is not.
    """
    names = tuple(dict.fromkeys(_split(given))) if given is not None else ()
    for name in names:
        if name not in known:
            raise UnknownName.of("column", name, known)
    return names


def _verdicts(given: str | Sequence[str] | None) -> list[str]:
    names = _split(given) if given is not None else []
    for name in names:
        if name not in VERDICTS:
            raise UnknownName.of("verdict", name, VERDICTS)
    return names


def _described(name: str) -> tuple[str, str]:
    return COLUMNS[name] if name in COLUMNS else CHANGES[name]
