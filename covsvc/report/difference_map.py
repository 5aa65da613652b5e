"""The maps of how two columns differ, or one before and after a change: in coverage, and in the median limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure

from covsvc.contracts import FloatArray
from covsvc.report.column import TOLERANCE, BoolArray, Column, columns
from covsvc.report.notation import NOTHING, number, place, probability
from covsvc.report.tiles import HOLE, draw_scale, edges, hatch, lay_out, outline, paint

# red is what to look at in both maps: coverage that fell, limits that became weaker
COVERAGE_COLOURS = LinearSegmentedColormap.from_list(
    "fell_same_rose", ["#b2182b", "#e58368", "#ffffff", "#6aacd0", "#2166ac"]
).with_extremes(bad=HOLE)
MEDIAN_COLOURS = COVERAGE_COLOURS.reversed("stronger_same_weaker")

LEAST_CHANGE = 0.01
"""Ends of the scale of the ratio of medians are at least so far from 1."""
MOST_CHANGE = 10.0
"""They are at most this; what is beyond has the colour of the end."""


@dataclass(frozen=True)
class Difference:
    """One limit method at one cl, or two, on the cells that candidate and baseline share.

    Parameters
    ----------
    candidate, baseline : Column
    margin : float
        The deficit of coverage that matters.
    named : ndarray of bool, shape (b, s_true)
        The cells that hold the places of failures, and of what is undecided.
    names : tuple of (str, str), optional
        What the two are called, if they are not a candidate and its baseline.
    """

    candidate: Column
    baseline: Column
    margin: float
    named: BoolArray
    names: tuple[str, str] | None = None

    @property
    def marked(self) -> BoolArray:
        """The named cells, and those whose exact coverage fell by more than the margin to below cl."""
        fell = self._exact_change < -self.margin
        return self.named | (fell & (self.candidate.values("exact_coverage") < self.candidate.cl - TOLERANCE))

    @property
    def coverage(self) -> FloatArray:
        """Coverage of the candidate less that of the baseline: of exact values where both are, else of toys."""
        toys = self.candidate.values("coverage") - self.baseline.values("coverage")
        return np.where(np.isfinite(self._exact_change), self._exact_change, toys)

    @property
    def median_ratio(self) -> FloatArray:
        """Median upper limit of the candidate over that of the baseline; inf where it became unbounded."""
        exact = self.candidate.values("exact_median_upper"), self.baseline.values("exact_median_upper")
        toys = self.candidate.values("sigma_med"), self.baseline.values("sigma_med")
        known = ~np.isnan(exact).any(axis=0)
        now, before = (np.where(known, *each) for each in zip(exact, toys, strict=True))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(now == before, 1.0, now / before)

    @property
    def source(self) -> str:
        """Where the coverage comes from."""
        both = np.isfinite(self._exact_change)
        return "exact" if both.all() else "exact where enumerable, else toys" if both.any() else "toys"

    @property
    def coverage_ticks(self) -> tuple[list[float], list[str]]:
        """What of the scale of the change of coverage is named, from end to end, and how."""
        end = max(2 * self.margin, _largest(np.abs(self.coverage)))
        ticks = [-end, -end / 2, 0.0, end / 2, end]
        return ticks, [signed(tick, 2) for tick in ticks]

    @property
    def median_ticks(self) -> tuple[list[float], list[str]]:
        """What of the scale of the ratio of medians is named, from end to end, and how."""
        with np.errstate(divide="ignore"):
            end = np.exp(_largest(np.abs(np.log(self.median_ratio))))
        end = float(min(max(end, 1 + LEAST_CHANGE), MOST_CHANGE))
        ticks = [1 / end, end**-0.5, 1.0, end**0.5, end]
        return ticks, [f"{tick:.4g}" for tick in ticks]

    @property
    def _exact_change(self) -> FloatArray:
        return self.candidate.values("exact_coverage") - self.baseline.values("exact_coverage")


def differences(
    maps: xr.Dataset, baseline: xr.Dataset, findings: Sequence[Mapping[str, Any]], margin: float
) -> Iterator[Difference]:
    """Pair the columns that candidate and baseline share, on the cells that they share.

    Parameters
    ----------
    maps, baseline : Dataset
        As `covsvc.maps.summarize` gives them.
    findings : sequence of mapping
        Those of the validation on the study.
    margin : float
    """
    shared = {name: np.intersect1d(maps[name], baseline[name]) for name in ("b", "s_true")}
    if not all(nodes.size for nodes in shared.values()):
        return
    known = {(column.label, column.cl): column for column in columns(baseline.sel(shared))}
    for column in columns(maps.sel(shared)):
        if before := known.get((column.label, column.cl)):
            yield Difference(column, before, margin, _named(column, findings))


def difference_of(one: Column, other: Column, names: tuple[str, str], margin: float) -> Difference | None:
    """Pair any two columns on the cells that they share; None where there are none.

    Parameters
    ----------
    one, other : Column
    names : tuple of (str, str)
        What they are called.
    margin : float
    """
    shared = {name: np.intersect1d(getattr(one, name), getattr(other, name)) for name in ("b", "s_true")}
    if not all(nodes.size for nodes in shared.values()):
        return None
    first, second = (
        Column(each.label, each.cl, shared["s_true"], shared["b"], each.maps.sel(shared)) for each in (one, other)
    )
    named = np.zeros((shared["b"].size, shared["s_true"].size), dtype=bool)
    return Difference(first, second, margin, named, names)


def draw_coverage_difference(difference: Difference) -> Figure:
    """Draw how coverage changed: white is no change, red a fall, blue a rise.

    The scale is symmetric and reaches to the largest change, at least to twice the margin.
    """
    column, changes = difference.candidate, difference.coverage
    shown = f"change of coverage at cl = {column.cl:.12g} ({difference.source})"
    figure, axes, scale = lay_out(column, shown, describe_marks(difference))
    ticks, names = difference.coverage_ticks
    norm = Normalize(ticks[0], ticks[-1])
    paint(axes, column, changes, COVERAGE_COLOURS, norm)
    hatch(axes, column, difference.marked)
    outline(axes, column, difference.marked)
    draw_scale(scale, COVERAGE_COLOURS, norm, ticks, names, marked=0.0)
    return figure


def draw_median_ratio(difference: Difference) -> Figure:
    """Draw the median limit over that of the baseline: white is no change, red weaker, blue stronger."""
    column, ratio = difference.candidate, difference.median_ratio
    shown = f"median limit, now / before, at cl = {column.cl:.12g} (above 1 is weaker)"
    unbounded = np.isposinf(ratio)
    note = f"Crossed: unbounded now ({int(unbounded.sum())})." if unbounded.any() else ""
    if holes := int(np.isnan(ratio).sum()):
        note = f"{note} Grey: no value ({holes}).".strip()
    figure, axes, scale = lay_out(column, shown, note or "Every cell has a value.")
    ticks, names = difference.median_ticks
    norm = LogNorm(ticks[0], ticks[-1])
    paint(axes, column, np.clip(ratio, ticks[0], ticks[-1]), MEDIAN_COLOURS, norm)
    hatch(axes, column, unbounded, crossed=True)
    draw_scale(scale, MEDIAN_COLOURS, norm, ticks, names, marked=1.0)
    return figure


def describe_marks(difference: Difference) -> str:
    """Say in words what is outlined and what is grey."""
    marked, holes = int(difference.marked.sum()), int(np.isnan(difference.coverage).sum())
    said = f"Outlined and hatched: failed or undecided ({marked})." if marked else "Nothing failed in a single cell."
    return said + (f" Grey: no value ({holes})." if holes else "")


def describe_coverage_difference(difference: Difference) -> str:
    """Say in a sentence how coverage changed."""
    column, changes = difference.candidate, difference.coverage
    names = difference.names
    of = f"the coverage of {names[0]} less that of {names[1]}" if names else f"the change of coverage of {column.label}"
    said = f"Map of {of} at cl = {column.cl:.12g}."
    if not np.isfinite(changes).any():
        return f"{said} It has no values."
    low, lowest = _extreme(column, changes, np.nanargmin)
    high, highest = _extreme(column, changes, np.nanargmax)
    return f"{said} From {signed(low)} at {lowest} to {signed(high)} at {highest}. The table below holds the numbers."


def describe_median_ratio(difference: Difference) -> str:
    """Say in a sentence how the median limit changed."""
    column, ratio = difference.candidate, difference.median_ratio
    names = difference.names
    of = (
        f"median limit of {names[0]} over that of {names[1]}"
        if names
        else f"median limit, now over before, of {column.label}"
    )
    said = f"Map of the {of} at cl = {column.cl:.12g}."
    if np.isnan(ratio).all():
        return f"{said} It has no values."
    low, lowest = _extreme(column, ratio, np.nanargmin)
    high, highest = _extreme(column, ratio, np.nanargmax)
    return f"{said} From {number(low)} at {lowest} to {number(high)} at {highest}. The table below holds the numbers."


def coverage_cells(difference: Difference) -> list[tuple[str, list[str]]]:
    """Return the map of coverage in words: s_true, and over b the coverage now and its change."""
    now, changes = difference.candidate.coverage, difference.coverage
    cells = [
        [
            f"{probability(value, difference.candidate.cl)} ({signed(change)})"
            for value, change in zip(*row, strict=True)
        ]
        for row in zip(now.tolist(), changes.tolist(), strict=True)
    ]
    return _by_signal(difference, cells)


def median_cells(difference: Difference) -> list[tuple[str, list[str]]]:
    """Return the map of the ratio of medians in words."""
    return _by_signal(difference, [[number(ratio) for ratio in row] for row in difference.median_ratio.tolist()])


def _named(column: Column, findings: Sequence[Mapping[str, Any]]) -> BoolArray:
    """Return the cells that hold the places of failures and of what is undecided; these may lie between nodes."""
    named = np.zeros((len(column.b), len(column.s_true)), dtype=bool)
    ends = edges(column.s_true)
    for finding in findings:
        mine = (finding["limit_method"], finding["cl"]) == (column.label, column.cl)
        if not mine or finding["severity"] not in ("failure", "undecided") or finding["s_true"] is None:
            continue
        cell = int(np.clip(np.searchsorted(ends, finding["s_true"], side="right") - 1, 0, len(column.s_true) - 1))
        named[column.b == finding["b"], cell] = True
    return named


def _extreme(column: Column, values: FloatArray, choose: Any) -> tuple[float, str]:
    row, node = divmod(int(choose(values)), values.shape[1])
    return float(values[row, node]), place(column.s_true[node], column.b[row])


def _largest(values: FloatArray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else 0.0


def signed(change: float, digits: int = 3) -> str:
    """Write a change with its sign."""
    if np.isnan(change):
        return NOTHING
    return f"{change:+.{digits}g}".replace("-", "−") if change else "0"


def _by_signal(difference: Difference, cells: list[list[str]]) -> list[tuple[str, list[str]]]:
    s_true = difference.candidate.s_true.tolist()
    return [(f"{s:g}", list(row)) for s, row in zip(s_true, zip(*cells, strict=True), strict=True)]
