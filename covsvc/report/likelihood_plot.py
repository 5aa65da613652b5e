"""The likelihood of real data as a function of the signal, with the limits of several methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import special

from covsvc.contracts import FloatArray
from covsvc.report.bands import ONE, TWO
from covsvc.report.notation import number
from covsvc.report.panels import BOTTOM, HEAD, NARROW, RIGHT, put_legend
from covsvc.report.picture import write_picture
from covsvc.report.strokes import COLOURS, DASHED, strokes
from covsvc.report.tiles import LINE, title

HEIGHT, ROW = 2.5, 0.36
"""Height of the curves, and of what is told of a method, inches."""
LEFT = 0.66
"""Margin on the left, inches."""
PROFILED, INTEGRATED = "#1f2d3d", "#7a8794"
LEVELS = 3.0
"""The curves are drawn up to so many times the fall z², or to the largest limit if that is lower."""


def draw_likelihood(scan: xr.Dataset, rows: Sequence[Mapping[str, Any]], quantity: str, told: str) -> Figure:
    """Draw -2 ln of the likelihood over its maximum, and below it the limits of each method.

    Parameters
    ----------
    scan : Dataset
        Over signal: ``profiled``, -2 ln lambda, and, if there is one, ``integrated``, the same of the likelihood
        integrated over the background; both may be NaN or infinite. Attribute ``best``, the fitted signal.
    rows : sequence of dict
        Limits of several methods at one confidence level, in units of `quantity`: limit_method, cl, sided, status,
        lower, upper, and, where they are known, expected, those without signal at -2 to 2 sigma.
    quantity : str
        What the signal is, with its unit.
    told : str
        What was observed, in a few words.
    """
    cl = rows[0]["cl"]
    square = max(float(special.ndtri(cl)), 0.0) ** 2
    signal = np.asarray(scan["signal"].to_numpy(), np.float64)
    under = BOTTOM + ROW * len(rows)
    expected = any(_bands(row) is not None for row in rows)
    lines = 2 if expected else 1
    full = HEAD + lines * LINE + HEIGHT + under
    figure = Figure(figsize=(NARROW, full))
    title(figure, f"Likelihood of {_cut(quantity, 44)}", f"limits at {100 * cl:.10g} % confidence level; {told}")
    across = LEFT / NARROW, (NARROW - LEFT - RIGHT) / NARROW
    curves, below = (
        figure.add_axes((across[0], bottom / full, across[1], height / full))
        for bottom, height in ((under, HEIGHT), (BOTTOM, ROW * len(rows)))
    )
    for axes in (curves, below):
        axes.set_xlim(0.0, float(signal[-1]))
        axes.spines[["right", "top"]].set_visible(False)
        axes.tick_params(length=2.5, pad=2, labelbottom=axes is below, bottom=axes is below)
    handles = _draw_curves(curves, scan, signal, square)
    colours = _colours(rows)
    for place, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        handles |= _draw_row(below, place, row, colour)
        if row["status"] == "ok":
            curves.axvline(row["upper"], color=colour, linewidth=1.0, linestyle=(0, (1, 1.6)), zorder=3)
    below.set(ylim=(len(rows), 0), yticks=[])
    below.spines["left"].set_visible(False)
    below.set_xlabel(_cut(quantity, 60), labelpad=2, parse_math=False)
    put_legend(figure, handles, lines)
    return figure


def write_likelihood(scan: xr.Dataset, rows: Sequence[Mapping[str, Any]], path: Path, quantity: str, told: str) -> Path:
    """Write the picture as the suffix of `path` says, the same bytes every time, and return the path.

    Its folder is made where it is missing.

    Raises
    ------
    StudyError
        If the suffix is none of .png, .svg and .pdf.
    """
    return write_picture(path, lambda: draw_likelihood(scan, rows, quantity, told))


def _draw_curves(axes: Axes, scan: xr.Dataset, signal: FloatArray, square: float) -> dict[str, Artist]:
    names = {"profiled": ("background profiled", PROFILED, "-"), "integrated": ("integrated", INTEGRATED, DASHED)}
    if "integrated" not in scan:
        names["profiled"] = ("nuisance parameters profiled", PROFILED, "-")
    top = max(LEVELS * square, 1.0)
    handles: dict[str, Artist] = {}
    highest = 0.0
    for name, (label, colour, dashes) in names.items():
        if name not in scan:
            continue
        fall = np.asarray(scan[name].to_numpy(), np.float64)
        known = np.isfinite(fall)
        if known.any():
            highest = max(highest, float(fall[known].max()))
            line = axes.plot(signal, np.where(known, fall, np.nan), color=colour, linewidth=1.7, linestyle=dashes)[0]
            line.set_zorder(4)
            handles[label] = line
    if not handles:
        axes.text(0.5, 0.5, "no likelihood", ha="center", va="center", transform=axes.transAxes)
    top = min(top, max(1.08 * highest, 1.25 * square, 1e-3))
    axes.set_ylim(0.0, top)
    axes.axhline(square, color="black", linewidth=0.8, linestyle=DASHED, zorder=2)
    axes.annotate(
        f"z² = {number(square, 3)}", (1.0, square), (-2, 4), axes.get_yaxis_transform(), textcoords="offset points",
        ha="right", va="bottom", fontsize=9, zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
    )  # fmt: skip
    best = float(scan.attrs["best"])
    if math.isfinite(best) and handles:
        marker = axes.plot([best], [0.0], "o", color=PROFILED, markersize=5, clip_on=False, zorder=6)[0]
        handles["best fit"] = marker
    axes.set_ylabel("−2 ln (L / L max)", parse_math=False)
    return handles


def _draw_row(axes: Axes, place: int, row: Mapping[str, Any], colour: str) -> dict[str, Artist]:
    """Draw an interval as a bar that ends at its limits, over the bands of the expected limits; and name it."""
    y = place + 0.76
    handles: dict[str, Artist] = {}
    bands = _bands(row)
    if bands is not None:
        for label, low, high, shade in (("±2 sigma", 0, 4, TWO), ("±1 sigma", 1, 3, ONE)):
            handles[label] = axes.fill_betweenx([y - 0.16, y + 0.16], bands[low], bands[high], color=shade, linewidth=0)
        handles["expected"] = axes.vlines(bands[2], y - 0.16, y + 0.16, color="black", linewidth=1.2)
        handles = {name: handles[name] for name in ("expected", "±1 sigma", "±2 sigma")}
    if row["status"] == "ok":
        ends = [row["lower"], row["upper"]]
        axes.plot(ends, [y, y], color=colour, linewidth=1.6, zorder=3, solid_capstyle="butt")
        marked = ends if row["sided"] == "two" else ends[1:]
        axes.plot(marked, [y] * len(marked), "|", color=colour, markersize=7, markeredgewidth=1.5, zorder=3)
        if row["sided"] == "two":
            limit = f" in [{number(row['lower'])}, {number(row['upper'])}]"
        else:
            limit = f" < {number(row['upper'])}"
    else:
        limit = ": no limit" if row["status"] == "unbounded" else f": {row['status']}"
    said = _cut(row["limit_method"], 58 - len(limit)) + limit
    axes.text(
        0.005, y - 0.21, said, color=colour, fontsize=9, va="bottom", transform=axes.get_yaxis_transform(),
        parse_math=False,
    )  # fmt: skip
    return handles


def _bands(row: Mapping[str, Any]) -> list[float] | None:
    """Return the expected limits of a row, None where they are not known or not finite."""
    told = row.get("expected")
    return list(told) if told is not None and all(math.isfinite(each) for each in told) else None


def _colours(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a colour for each method; they return where there are many."""
    labels = [f"{place} {row['limit_method']}" for place, row in enumerate(rows)]
    given = strokes({label: {"name": ""} for label in labels})
    return [given[label].get("color", COLOURS[0]) for label in labels]


def _cut(label: str, room: int) -> str:
    return label if len(label) <= room else label[: room - 1] + "…"
