"""Coverage against true signal at several backgrounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from covsvc.contracts import FloatArray
from covsvc.report.column import Column
from covsvc.report.panels import HEAD, NARROW, PLAIN, RIGHT, WIDE, put_legend
from covsvc.report.tiles import LINE, title

PANELS = 4
LEFT, BOTTOM, TOP = 0.66, 0.46, HEAD + LINE + 0.3
"""Margins around the panels, inches."""
HEIGHT, GAP = 1.75, 0.18
"""Of a panel, and between two, inches."""

TOYS, EXACT = "#1f5fa8", "#c04a00"


def slice_rows(column: Column) -> list[int]:
    """Choose the rows of b that are shown: those with values, evenly from the first to the last."""
    rows = np.flatnonzero(column.known.any(axis=1))
    if not rows.size:
        return [0]
    chosen = np.linspace(0, len(rows) - 1, min(PANELS, len(rows))).round().astype(int)
    return [int(row) for row in rows[chosen]]


def draw_slices(columns: Sequence[Column], curves: xr.Dataset | None) -> Figure:
    """Draw one method: a row of panels a confidence level, a panel a background.

    Toys are points with bars, their 95 % Clopper-Pearson interval. The exact coverage is a line where `curves` has its
    saw-tooth, else a tick at each node: a line through the nodes would hide the jumps between them.

    Parameters
    ----------
    columns : sequence of Column
        The method's columns, one a confidence level.
    curves : Dataset or None
        ``s`` and ``coverage`` over (limit_method, cl, b, point), padded with NaN.
    """
    rows = slice_rows(columns[0])
    height = TOP + BOTTOM + len(columns) * HEIGHT + (len(columns) - 1) * GAP
    width = WIDE if len(rows) > 1 else NARROW
    figure = Figure(figsize=(width, height))
    title(figure, columns[0].label, "coverage against true signal")
    panel = (width - LEFT - RIGHT - (len(rows) - 1) * GAP) / len(rows)
    handles: dict[str, Artist] = {}
    for line, column in enumerate(columns):
        bottom = height - TOP - HEIGHT - line * (HEIGHT + GAP)
        lines = [curve(curves, column, row) for row in rows]
        low = _lowest(column, rows, lines)
        for place, row in enumerate(rows):
            left = LEFT + place * (panel + GAP)
            axes = figure.add_axes((left / width, bottom / height, panel / width, HEIGHT / height))
            _frame(axes, column, low, first=place == 0, last=line == len(columns) - 1)
            if line == 0:
                axes.set_title(f"b = {column.b[row]:.4g}", fontsize=9.5, pad=4)
            handles |= _fill(axes, column, row, lines[place])
    put_legend(figure, handles)
    return figure


def curve(curves: xr.Dataset | None, column: Column, row: int) -> tuple[FloatArray, FloatArray] | None:
    """Return s and exact coverage along the saw-tooth of a row, or None where `curves` has none."""
    if curves is None:
        return None
    place = {"limit_method": column.label, "cl": column.cl, "b": float(column.b[row])}
    if any(value not in curves[axis].to_numpy() for axis, value in place.items()):
        return None
    line = curves[["s", "coverage"]].sel(place)
    s, coverage = (np.asarray(line[name].to_numpy(), dtype=np.float64) for name in ("s", "coverage"))
    known = np.isfinite(s) & np.isfinite(coverage)
    return (s[known], coverage[known]) if known.any() else None


def _lowest(column: Column, rows: list[int], lines: Sequence[tuple[FloatArray, FloatArray] | None]) -> float:
    shown = [column.coverage[rows].ravel(), column.values("coverage_low")[rows].ravel()]
    shown += [line[1] for line in lines if line is not None]
    values = np.concatenate(shown)
    lowest = min(float(np.nanmin(values)) if np.isfinite(values).any() else column.cl, column.cl)
    return max(lowest - 0.12 * (1 - lowest), -0.02)


def _frame(axes: Axes, column: Column, low: float, first: bool, last: bool) -> None:
    s, cl = column.s_true, column.cl
    width = (s[-1] - s[0]) or 1.0
    axes.set_xlim(s[0] - 0.03 * width, s[-1] + 0.03 * width)
    axes.set_ylim(low, 1 + 0.06 * (1 - low))
    axes.xaxis.set_major_formatter(PLAIN)
    axes.axhspan(low - 1, cl, color="#f0f1f3", linewidth=0, zorder=0)
    axes.tick_params(length=2.5, pad=2, labelbottom=last, labelleft=first)
    if last:
        axes.set_xlabel("s_true (events)", labelpad=2)
    if first:
        axes.set_ylabel(f"coverage, cl = {cl:.12g}")


def _fill(axes: Axes, column: Column, row: int, line: tuple[FloatArray, FloatArray] | None) -> dict[str, Artist]:
    s = column.s_true
    span = (s[-1] - s[0]) or 1.0
    handles: dict[str, Artist] = {}
    handles["cl (grey: below)"] = axes.axhline(column.cl, color="black", linewidth=0.9, dashes=(5, 3), zorder=2)
    exact = column.values("exact_coverage")[row]
    toys, low, high = (column.values(name)[row] for name in ("coverage", "coverage_low", "coverage_high"))
    # one broken line for all ticks, all bars and all points: fifty elements each would be most of the page
    if line is not None:
        handles["exact"] = axes.plot(*line, color=EXACT, linewidth=1.0, zorder=3)[0]
    elif np.isfinite(exact).any():
        ticks = _broken(s - 0.012 * span, s + 0.012 * span, exact, exact)
        handles["exact, at the grid"] = axes.plot(*ticks, color=EXACT, linewidth=1.5, solid_capstyle="butt", zorder=3)[
            0
        ]
    if np.isfinite(toys).any():
        axes.plot(*_broken(s, s, low, high), color=TOYS, linewidth=1.6, alpha=0.4, zorder=4, solid_capstyle="butt")
        points = _broken(s - 0.001 * span, s + 0.001 * span, toys, toys)
        axes.plot(*points, color=TOYS, linewidth=2.9, zorder=5, solid_capstyle="round", snap=False)
        interval = "interval of the budget" if column.is_adaptive else "95 % interval"
        handles[f"toys with {interval}"] = Line2D([], [], color=TOYS, marker="o", markersize=2.9, linestyle="none")
    if len(handles) == 1:
        axes.text(0.5, 0.5, "no values", ha="center", va="center", transform=axes.transAxes)
    return handles


def _broken(first: FloatArray, last: FloatArray, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the lines from (first, low) to (last, high) as one line with gaps."""
    gap = np.full(first.shape, np.nan)
    return np.stack([first, last, gap], axis=1).ravel(), np.stack([low, high, gap], axis=1).ravel()
