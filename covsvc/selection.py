"""Selection of what maps and cubes hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from covsvc.contracts import IntArray
from covsvc.errors import StudyError, UnknownName
from covsvc.tally import ROUNDING, WORST

AXES = ("limit_method", "cl", "b", "s_true")
"""Dimensions of a cell of a column."""

SAME = 1e-9
"""Numbers that differ by less than this part are the same: 0.1 + 0.2 is 0.3."""

VERDICTS = ("under", "ok", "over", "unknown")
"""What is known of the coverage in a cell."""

COLUMNS: Mapping[str, tuple[str, str]] = {
    "limit_method": ("limit method", ""),
    "cl": ("confidence level", ""),
    "b": ("background", "events"),
    "s_true": ("true signal", "events"),
    "verdict": (
        "under: below cl, exactly or significantly; over: misses at most half as often as 1 - cl allows; ok; unknown",
        "",
    ),
    "coverage": ("fraction of toys whose interval covers s_true", ""),
    "coverage_low": ("lower end of the interval of coverage", ""),
    "coverage_high": ("upper end of the interval of coverage", ""),
    "exact_coverage": ("exact probability that the interval covers", ""),
    "n_toys": ("toys", ""),
    "n_covered": ("toys whose interval covers s_true", ""),
    "sigma_med": ("median upper limit", "events"),
    "sigma_med_low": ("lower end of the 95 % interval of the median upper limit", "events"),
    "sigma_med_high": ("upper end of the 95 % interval of the median upper limit", "events"),
    "sigma_med_over_true": ("median upper limit over the true signal", ""),
    "sigma_med_over_true_low": ("lower end of the 95 % interval of sigma_Med/sigma_True", ""),
    "sigma_med_over_true_high": ("upper end of the 95 % interval of sigma_Med/sigma_True", ""),
    "exact_median_upper": ("exact median upper limit", "events"),
    "exact_sigma_med_over_true": ("exact median upper limit over the true signal", ""),
    "p_empty": ("fraction of toys with an empty confidence set, the exact one where there are no toys", ""),
    "p_unbounded": ("fraction of toys without an upper limit, the exact one where there are no toys", ""),
    "p_failed": ("fraction of toys whose limit failed, the exact one where there are no toys", ""),
    "source": ("exact: exact values are stored; toys; computed: summed exactly now, off the grid", ""),
    "neighbour_of": ("what was asked for, is not on the grid, and has this cell beside it", ""),
}
"""Columns of a row, with their long names and units."""

Table = dict[str, NDArray[Any]]
"""Columns of rows, by name."""


@dataclass(frozen=True)
class Wanted:
    """Values that are wanted, or all in a closed range.

    Attributes
    ----------
    values : tuple of float, or None
        None: all from `low` to `high`.
    low, high : float
        May be infinite.
    """

    values: tuple[float, ...] | None = None
    low: float = -math.inf
    high: float = math.inf

    def holds(self, known: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which of the known values lie in the range."""
        low = self.low - SAME * abs(self.low) if math.isfinite(self.low) else self.low
        high = self.high + SAME * abs(self.high) if math.isfinite(self.high) else self.high
        return np.asarray((known >= low) & (known <= high))

    def __str__(self) -> str:
        if self.values is not None:
            return ", ".join(f"{value:.12g}" for value in self.values)
        return ":".join(f"{end:.12g}" if math.isfinite(end) else "" for end in (self.low, self.high))


def wanted(text: str, name: str) -> Wanted:
    """Return the values that a text wants: ``2.5``, ``1,2,3``, ``0:5``, ``:5`` or ``0:``.

    Parameters
    ----------
    text : str
    name : str
        Of the axis, for messages.

    Raises
    ------
    StudyError
        If it holds anything else.
    """
    low, colon, high = text.partition(":")
    if not colon:
        return Wanted(tuple(dict.fromkeys(_number(each, text, name) for each in text.split(","))))
    ends = [
        _number(end, text, name) if end.strip() else infinite for end, infinite in ((low, -math.inf), (high, math.inf))
    ]
    return _range(ends[0], ends[1], name)


def wanted_of(given: Any, name: str) -> Wanted | None:
    """Return what a number, a sequence of numbers, a slice, a text or a `Wanted` wants of an axis; None wants all.

    Raises
    ------
    StudyError
        If it is no such thing.
    """
    if given is None or isinstance(given, Wanted):
        return given
    if isinstance(given, str):
        return wanted(given, name)
    if isinstance(given, slice):
        if given.step is not None:
            raise StudyError(f"{name} = {given!r}: a range has two ends and no step; it takes all values inside")
        ends = [
            infinite if end is None else _number(end, given, name)
            for end, infinite in ((given.start, -math.inf), (given.stop, math.inf))
        ]
        return _range(ends[0], ends[1], name)
    values = given if _is_many(given) else [given]
    return Wanted(tuple(dict.fromkeys(_number(each, given, name) for each in values)))


def nodes_of(known: NDArray[np.float64], values: Sequence[float]) -> list[int | None]:
    """Return where each value is among those of an axis, None where it is not."""
    found: list[int | None] = []
    for value in values:
        at = int(np.argmin(np.abs(known - value))) if len(known) else 0
        found.append(at if len(known) and math.isclose(known[at], value, rel_tol=SAME, abs_tol=1e-12) else None)
    return found


def neighbours_of(known: NDArray[np.float64], value: float) -> list[int]:
    """Return where the nodes on either side of a value are, one of them if it lies outside; `known` is sorted."""
    after = int(np.searchsorted(known, value))
    return [at for at in (after - 1, after) if 0 <= at < len(known)]


def nearest_to(known: NDArray[np.float64], value: float) -> str:
    """Name the known values on either side of one."""
    return " and ".join(f"{known[at]:.12g}" for at in neighbours_of(known, value)) or "none"


def nothing_in(asked: Wanted, known: NDArray[np.float64], name: str) -> str:
    """Say that nothing lies in a range, and what is nearest."""
    near = sorted({*neighbours_of(known, asked.low), *neighbours_of(known, asked.high)})
    told = " and ".join(f"{known[at]:.12g}" for at in near)
    return f"{name} = {asked}: nothing on the grid lies there; the nearest are {told}"


def labels_of(known: Sequence[str], given: str | Sequence[str] | None) -> list[int]:
    """Return where the labels of limit methods are among the known ones; None gives all.

    Raises
    ------
    UnknownName
        If one is not known.
    """
    if given is None:
        return list(range(len(known)))
    found = {}
    for label in [given] if isinstance(given, str) else given:
        if label not in known:
            raise UnknownName.of("limit method of the study", str(label), known)
        found[known.index(label)] = label
    return list(found)


def select(
    maps: xr.Dataset,
    *,
    limit_method: str | Sequence[str] | None = None,
    cl: Any = None,
    b: Any = None,
    s_true: Any = None,
) -> xr.Dataset:
    """Return a part of maps or of a cube.

    A single label or number drops its dimension, as in xarray; ranges are closed, and may be empty.

    Parameters
    ----------
    maps : xarray.Dataset
        As `summarize` or `open_cube` gives it.
    limit_method : str or sequence of str, optional
        Labels.
    cl, b, s_true : float, sequence of float, slice, str or Wanted, optional
        Values, of which 0.1 + 0.2 is 0.3, or a range; as a text ``"2.5"``, ``"1,2"``, ``"0:5"`` or ``":5"``.

    Raises
    ------
    StudyError
        If a label or a value is not there; the message names the nearest.
    """
    indexers: dict[str, int | list[int]] = {}
    if limit_method is not None:
        rows = labels_of(np.atleast_1d(maps["limit_method"].to_numpy()).tolist(), limit_method)
        indexers["limit_method"] = rows[0] if isinstance(limit_method, str) else rows
    for name, given in (("cl", cl), ("b", b), ("s_true", s_true)):
        if (asked := wanted_of(given, name)) is None:
            continue
        at = positions(np.atleast_1d(maps[name].to_numpy()), asked, name)
        is_single = not isinstance(given, slice | Wanted) and not _is_many(given)
        indexers[name] = at[0] if is_single else at
    for name in indexers.keys() - maps.dims:  # of which a single value was taken before
        if indexers.pop(name) == []:
            raise StudyError(f"{name}: only {maps[name].item()} is left here, which is not what is asked for")
    return maps.isel(indexers)


def with_axes(part: xr.Dataset) -> xr.Dataset:
    """Return a part of maps or of a cube with all of `AXES`, in their order; a single value is an axis of one."""
    single = [name for name in AXES if name not in part.dims]
    whole = part.expand_dims(single)
    if "s_true" in single:
        whole = whole.assign({name: whole[name].isel(s_true=0, drop=True) for name in WORST if name in whole})
    return whole.transpose(*AXES, ...)


def positions(known: NDArray[np.float64], asked: Wanted, name: str) -> list[int]:
    """Return where the values that are wanted of an axis are.

    Raises
    ------
    StudyError
        If a single value is not there.
    """
    if asked.values is None:
        return np.flatnonzero(asked.holds(known)).tolist()
    found = []
    for value, at in zip(asked.values, nodes_of(known, asked.values), strict=True):
        if at is None:
            told = (
                f"there are {', '.join(f'{each:.12g}' for each in known) or 'none'}"
                if len(known) <= 5
                else f"the nearest are {nearest_to(np.sort(known), value)}"
            )
            raise StudyError(f"{name} = {value:.12g}: not on the grid; {told}")
        found.append(at)
    return list(dict.fromkeys(found))


def cell_verdict(maps: xr.Dataset) -> xr.DataArray:
    """Return what is known of coverage in each cell.

    ``under``: below cl, exactly so or significantly (under_significant of the maps). ``over``: limits are known to miss
    at most half as often as 1 - cl allows, that is exact coverage, or else coverage_low, is at least cl + (1 - cl)/2.
    ``unknown``: no toys and no exact value. ``ok``: the rest.
    """
    exact = maps["exact_coverage"]
    verdict = exact.copy(
        data=_verdicts(
            *(
                maps[name].broadcast_like(exact).transpose(*exact.dims).to_numpy()
                for name in ("cl", "exact_coverage", "coverage_low", "n_toys", "under_significant")
            )
        )
    )
    verdict.attrs = {"long_name": COLUMNS["verdict"][0]}
    return verdict.rename("verdict")


def rows_of(maps: xr.Dataset) -> list[dict[str, Any]]:
    """Return the cells of maps as rows with the names of `COLUMNS`, in the order of the maps.

    Parameters
    ----------
    maps : xarray.Dataset
        As `summarize` gives it, or a part of it.
    """
    return as_rows(table_of(maps))


def as_rows(table: Table) -> list[dict[str, Any]]:
    """Return the rows of a table."""
    columns = [values.tolist() for values in table.values()]
    return [dict(zip(table, values, strict=True)) for values in zip(*columns, strict=True)]


def table_of(maps: xr.Dataset, at: Sequence[IntArray] | None = None) -> Table:
    """Return cells of maps as the columns of `COLUMNS`, one value a cell.

    Parameters
    ----------
    maps : xarray.Dataset
    at : sequence of ndarray of int, shape (cell,), optional
        Where the cells are on each of `AXES`; all cells unless given.
    """
    shape = tuple(maps.sizes.get(name, 1) for name in AXES)
    places = tuple(every(*map(np.arange, shape)) if at is None else at)

    def cells(name: str) -> NDArray[Any]:
        variable = maps.variables[name]
        held = variable.transpose(*(each for each in AXES if each in variable.dims)).to_numpy()
        return np.asarray(held.reshape(shape)[places])

    table: Table = {}
    for name, place in zip(AXES, places, strict=True):
        table[name] = np.atleast_1d(maps[name].to_numpy())[place]
    table["limit_method"] = table["limit_method"].astype(object)
    n_toys, exact = cells("n_toys"), cells("exact_coverage")
    for name in COLUMNS:
        if name == "verdict":
            low, under = cells("coverage_low"), cells("under_significant")
            table[name] = _verdicts(table["cl"], exact, low, n_toys, under).astype(object)
        elif name == "source":
            table[name] = np.where(np.isnan(exact), np.where(n_toys > 0, "toys", ""), "exact").astype(object)
        elif name == "neighbour_of":
            table[name] = np.full(n_toys.shape, "", object)
        elif name.startswith("p_"):
            table[name] = np.where(n_toys > 0, cells(name), cells(f"exact_{name}"))
        elif name not in AXES:
            table[name] = cells(name)
    return table


def every(*along: IntArray) -> list[IntArray]:
    """Return all combinations of positions along some axes, the last running fastest."""
    return [each.ravel() for each in np.meshgrid(*along, indexing="ij")]


def computed_table(cells: Table, exact: Table) -> Table:
    """Return cells of which only exact values are known, computed now, as the columns of `COLUMNS`.

    Parameters
    ----------
    cells : dict of ndarray, shape (cell,)
        By the names of `AXES`.
    exact : dict of ndarray of float, shape (cell,)
        By the names of `covsvc.tally.EXACT`.
    """
    nothing = np.full(len(cells["cl"]), np.nan)
    no_toys, coverage = np.zeros(len(nothing), np.int64), exact["exact_coverage"]
    positive = np.where(cells["s_true"] > 0, cells["s_true"], np.nan)
    known: Table = {
        **cells,
        **exact,
        "verdict": _verdicts(cells["cl"], coverage, nothing, no_toys, coverage < cells["cl"] - ROUNDING).astype(object),
        "n_toys": no_toys,
        "n_covered": no_toys,
        "exact_sigma_med_over_true": exact["exact_median_upper"] / positive,
        "source": np.where(np.isnan(coverage), "", "computed").astype(object),
        "neighbour_of": np.full(len(nothing), "", object),
    }
    return {name: exact[f"exact_{name}"] if name.startswith("p_") else known.get(name, nothing) for name in COLUMNS}


def _verdicts(
    cl: NDArray[np.float64],
    exact: NDArray[np.float64],
    low: NDArray[np.float64],
    n_toys: NDArray[np.int64],
    under: NDArray[np.bool_],
) -> NDArray[np.str_]:
    is_exact = np.isfinite(exact)
    over = np.where(is_exact, exact, low) >= cl + 0.5 * (1.0 - cl) - ROUNDING
    return np.select([~is_exact & (n_toys == 0), under, over], ["unknown", "under", "over"], "ok").astype("U7")


def _range(low: float, high: float, name: str) -> Wanted:
    if low > high:
        raise StudyError(f"{name} = {low:.12g}:{high:.12g}: the range is reversed; write {high:.12g}:{low:.12g}")
    return Wanted(None, low, high)


def _is_many(given: Any) -> bool:
    return isinstance(given, Iterable) and getattr(given, "ndim", 1) > 0  # arrays can be iterable and a single number


def _number(given: Any, whole: Any, name: str) -> float:
    try:
        value = float(given)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        told = whole if isinstance(whole, str) else repr(whole)
        raise StudyError(f"{name} = {told[:40]}: give a number (2.5), numbers (1,2,3) or a range (0:5, :5, 0:)")
    return value
