"""All methods of a study in the same axes, against true signal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from covsvc.contracts import FloatArray
from covsvc.report.column import BoolArray, Column
from covsvc.report.notation import number
from covsvc.report.panels import lay_out, legend_lines, name_axes, put_legend, scale, spans_decades
from covsvc.report.sigma_map import scale_ticks
from covsvc.report.slices import slice_rows

HEIGHT = 2.9
"""Of a panel, inches."""
MOST_MARKED = 15
"""So many nodes have a marker each; more make a line."""

Values = tuple[FloatArray, FloatArray, FloatArray]
"""Values and the ends of their 95 % intervals, each of shape (b, s_true)."""


@dataclass(frozen=True)
class Quantity:
    """What is compared.

    Parameters
    ----------
    of : callable
        Returns the `Values` of a column.
    shown : str
        What it is: the second line of the title, before the confidence level.
    axis : str
        Name of the y axis.
    note : str
        What the bands and marks mean.
    """

    of: Callable[[Column], Values]
    shown: str
    axis: str
    note: str


def compared_rows(columns: Sequence[Column]) -> list[int]:
    """Return the rows of b that are shown, the same for all `columns`."""
    known = [column for column in columns if column.known.any()]
    return slice_rows((known or list(columns))[0])


def background_of(study: Mapping[str, Any]) -> str:
    """Say what the unknown background is where it grows with the signal."""
    experiment = study.get("experiment")
    options = experiment.get("options", {}) if isinstance(experiment, Mapping) else {}
    ratio = options.get("background_per_signal", 0)
    return f"Unknown background: b + {ratio:g} × s_true." if ratio else ""


def draw_side_by_side(
    columns: Sequence[Column],
    quantity: Quantity,
    strokes: Mapping[str, Mapping[str, Any]],
    finish: Callable[[Axes], dict[str, Artist]],
    log_y: bool,
    ends: tuple[float, float],
    background: str,
) -> Figure:
    """Draw a line with its band for each method: a panel a background.

    Parameters
    ----------
    columns : sequence of Column
        One a method, at one confidence level.
    quantity : Quantity
    strokes : mapping of str to mapping
        The style of each label's line.
    finish : callable
        Draws what belongs behind the lines of a panel and returns what the legend says of it.
    log_y : bool
    ends : tuple of float
        Of the y axis.
    background : str
        What there is beside b, in words.
    """
    rows = compared_rows(columns)
    s, log_x = _nodes(columns)
    names = [f"b = {columns[0].b[row]:.4g}" for row in rows]
    every = [_cut(column.label) for column in columns]
    figure, panels = lay_out(
        "Methods side by side",
        f"{quantity.shown}, cl = {columns[0].cl:.12g}",
        names,
        HEIGHT,
        lines := legend_lines([*every, "m" * 24], len(rows) > 1),
        f"{quantity.note} {background}".strip(),
    )
    handles: dict[str, Artist] = {}
    for axes, row in zip(panels, rows, strict=True):
        scale(axes, s, ends, log_x, log_y)
        if log_x:
            ticks = scale_ticks(float(s[0]), float(s[-1]))
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.xaxis.set_minor_formatter(NullFormatter())
        behind = finish(axes)
        for column, label in zip(columns, every, strict=True):
            value, low, high = (values[row] for values in quantity.of(column))
            line = _draw(axes, column.s_true, value, low, high, strokes[column.label], log_y)
            handles.setdefault(label, line)
        handles |= behind
        if not any(np.isfinite(quantity.of(column)[0][row]).any() for column in columns):
            axes.text(0.5, 0.5, "no values", ha="center", va="center", transform=axes.transAxes)
    name_axes(panels, "true signal s_true (events)", quantity.axis)
    put_legend(figure, handles, lines, handlelength=2.9)
    return figure


def finite(columns: Sequence[Column], quantity: Quantity) -> FloatArray:
    """Return all finite values and ends that are shown of `columns`, in a row."""
    rows = compared_rows(columns)
    every = np.concatenate([values[rows].ravel() for column in columns for values in quantity.of(column)])
    return np.asarray(every[np.isfinite(every)])


def compared_cells(columns: Sequence[Column], row: int, quantity: Quantity) -> list[tuple[str, list[str]]]:
    """Return a table of a row of b: s_true, and each method's value with its interval."""
    said = []
    for column in columns:
        value, low, high = (values[row].tolist() for values in quantity.of(column))
        said.append([_cell(*each) for each in zip(value, low, high, strict=True)])
    s_true = [f"{s:g}" for s in columns[0].s_true.tolist()]
    return [(s, list(row)) for s, row in zip(s_true, zip(*said, strict=True), strict=True)]


def _cell(value: float, low: float, high: float) -> str:
    if np.isnan(value) or low == high or np.isnan([low, high]).any():
        return number(value)
    return f"{number(value)} ({number(low)}–{number(high)})"


def _nodes(columns: Sequence[Column]) -> tuple[FloatArray, bool]:
    """Return the values of s_true that are shown, and whether their axis is logarithmic."""
    s = columns[0].s_true
    positive = s[s > 0]
    # as the grid was laid: where its nodes are equidistant a logarithm would crowd them
    if not spans_decades(s) or np.median(positive) > 0.25 * positive.max():
        return s, False
    return positive, True


def _draw(
    axes: Axes, s: FloatArray, value: FloatArray, low: FloatArray, high: FloatArray, style: Mapping[str, Any], log: bool
) -> Artist:
    known: BoolArray = np.isfinite(value) & ((value > 0) | (not log))
    band = known & (low < high)
    if band.any():
        axes.fill_between(s, low, high, where=band.tolist(), color=style["color"], alpha=0.18, linewidth=0, zorder=3)
    marker = "o" if len(s) <= MOST_MARKED else ""
    return axes.plot(s, np.where(known, value, np.nan), marker=marker, markersize=3, zorder=4, **style)[0]


def _cut(label: str) -> str:
    return label if len(label) <= 40 else label[:39] + "…"
