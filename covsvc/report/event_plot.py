"""Events along a spectrum, with the intervals that decide the limits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from covsvc.contracts import FloatArray
from covsvc.event_file import SeenEvents, Spectrum, Table
from covsvc.report.notation import number
from covsvc.report.panels import BOTTOM, HEAD, NARROW, RIGHT, put_legend, spans_decades
from covsvc.report.picture import write_picture
from covsvc.report.strokes import COLOURS, PAPER
from covsvc.report.tiles import LINE, title

HEIGHT, STRIP, ROW = 2.1, 0.46, 0.34
"""Height of the spectrum, of the strip of events, and of what is told of an interval, inches."""
LEFT = 0.82
"""Margin on the left, inches: densities have long numbers."""
LEGEND_LINES = 2
DOT, LANES = 4.2, 7
"""Diameter of an event, points, and how many are stacked; more events are strokes."""
STROKE = 0.2
"""Strokes closer than this are one, points."""
SIGNAL, KNOWN = "#5b6b7f", "#c9ccd1"


def draw_events(seen: SeenEvents, rows: Sequence[Mapping[str, Any]], quantity: str) -> Figure:
    """Draw the spectrum at its limit, the events below it, and below them the intervals that decided the limits.

    Parameters
    ----------
    seen : SeenEvents
    rows : sequence of dict
        Limits of several methods at one confidence level: limit_method, cl, status, upper, scaled, and interval, as
        `limits_on_events` gives them. The spectrum is drawn at the limit of the optimum interval method, where it is
        among them and has one.
    quantity : str
        What is limited, with its unit.
    """
    first = _first(rows)
    bars = [row for row in rows if row["interval"] is not None]
    colours = _colours(bars)
    marked = next((colour for row, colour in zip(bars, colours, strict=True) if row is first), "")
    under = BOTTOM + ROW * len(bars)
    full = HEAD + LEGEND_LINES * LINE + HEIGHT + STRIP + under
    figure = Figure(figsize=(NARROW, full))
    title(figure, *_said(seen, rows, first, quantity))
    across = LEFT / NARROW, (NARROW - LEFT - RIGHT) / NARROW
    spectrum, strip, told = (
        figure.add_axes((across[0], bottom / full, across[1], max(height, 1e-3) / full))
        for bottom, height in ((under + STRIP, HEIGHT), (under, STRIP), (BOTTOM, ROW * len(bars)))
    )
    low, high = seen.spectrum.low, seen.spectrum.high
    log = low > 0 and spans_decades(np.array([low, high]))
    air = (high / low) ** 0.02 if log else 0.02 * (high - low)
    for axes in (spectrum, strip, told):
        axes.set(xscale="log" if log else "linear", xlim=(low / air, high * air) if log else (low - air, high + air))
        axes.tick_params(length=2.5, pad=2, labelbottom=axes is told, bottom=axes is told, which="both")
        if log and low >= 1e-3 and high < 1e5:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
    handles = _draw_spectrum(spectrum, seen, first, marked, log)
    _draw_strip(strip, seen.positions)
    for place, (row, colour) in enumerate(zip(bars, colours, strict=True)):
        _draw_interval(told, place, row, colour, seen)
    told.set(ylim=(max(len(bars), 1e-3), 0), yticks=[])
    told.spines[["left", "right", "top"]].set_visible(False)
    told.set_xlabel(seen.name, labelpad=2, parse_math=False)
    put_legend(figure, handles, LEGEND_LINES)
    return figure


def write_events(seen: SeenEvents, rows: Sequence[Mapping[str, Any]], path: Path, quantity: str) -> Path:
    """Write the picture of real events as the suffix of `path` says, the same bytes every time, and return the path.

    Its folder is made where it is missing.

    Raises
    ------
    StudyError
        If the suffix is none of .png, .svg and .pdf.
    """
    return write_picture(path, lambda: draw_events(seen, rows, quantity))


def _first(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the limit that the spectrum is drawn at: of the optimum interval, else of an interval, else any."""
    bounded = [row for row in rows if row["status"] == "ok" and row["upper"] > 0]
    order = sorted(
        bounded, key=lambda row: (not row["limit_method"].startswith("optimum_interval"), row["interval"] is None)
    )
    return order[0] if order else None


def _said(
    seen: SeenEvents, rows: Sequence[Mapping[str, Any]], first: Mapping[str, Any] | None, quantity: str
) -> tuple[str, str]:
    """Return the two lines of the title."""
    n = len(seen.positions)
    level = f"{100 * rows[0]['cl']:.10g} % confidence level"
    if first is None:
        empty = any(row["status"] == "empty" for row in rows)
        none = f"{quantity}: even 0 is excluded" if empty else f"No limit on {quantity}"
        return none, f"{level}, {n:,} seen; the spectrum is that of one signal event"
    found = f"{level}: {number(first['upper'])} signal events, {n:,} seen"
    below = f" < {number(first['scaled'])}"
    return _cut(quantity, 54 - len(below)) + below, f"{_cut(first['limit_method'], 66 - len(found))}, {found}"


def _draw_spectrum(
    axes: Axes, seen: SeenEvents, first: Mapping[str, Any] | None, colour: str, log: bool
) -> dict[str, Artist]:
    x = _places(seen.spectrum, log)
    scale = first["scaled"] if first is not None else 1.0 / seen.spectrum.total
    below = seen.background.density(x) if seen.background is not None else np.zeros(x.shape)
    whole = below + scale * seen.spectrum.density(x)
    handles: dict[str, Artist] = {}
    name = "signal at the limit" if first is not None else "signal"
    axes.fill_between(x, below, whole, color=SIGNAL, alpha=0.16, linewidth=0, zorder=2)
    handles[name] = axes.plot(x, whole, color=SIGNAL, linewidth=1.5, zorder=4)[0]
    if seen.background is not None:
        handles["known background"] = axes.fill_between(x, 0, below, color=KNOWN, linewidth=0, zorder=2)
    if first is not None and first["interval"] is not None:
        low, high = first["interval"]["low"], first["interval"]["high"]
        inside = np.unique(np.concatenate([[low], x[(x > low) & (x < high)], [high]]))
        heights = [np.interp(inside, x, line) for line in (below, whole)]
        shade = axes.fill_between(inside, *heights, color=colour, alpha=0.45, linewidth=0, zorder=3)
        handles["the interval that decides"] = shade
    axes.set_ylim(0, 1.06 * float(whole.max()))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    unit = re.search(r"[(\[]([^()\[\]]+)[)\]]\s*$", seen.name)
    axes.set_ylabel(f"events per {unit[1] if unit else 'unit of ' + seen.name}", parse_math=False)
    axes.spines[["right", "top"]].set_visible(False)
    return handles


def _draw_strip(axes: Axes, positions: FloatArray) -> None:
    """Draw each event as a dot, stacked where they are close; as strokes where they are too many for that."""
    axes.set(ylim=(0, 1), yticks=[])
    axes.set_ylabel("seen", rotation=0, ha="right", va="center", labelpad=4)
    axes.spines[["left", "right", "top"]].set_visible(False)
    if not len(positions):
        axes.text(0.5, 0.45, "no event", ha="center", va="center", fontsize=9, transform=axes.transAxes)
        return
    to_points = 72.0 / axes.figure.dpi
    x = axes.transData.transform(np.stack([positions, np.zeros(len(positions))], axis=1))[:, 0] * to_points
    lanes = stacked(x, DOT)
    if lanes.max() < LANES:
        y = (lanes + 0.6) * DOT / (72 * STRIP)
        axes.plot(positions, y, "o", color="black", markersize=DOT - 0.4, markeredgewidth=0, clip_on=False, zorder=3)
    else:
        # a million strokes take half a minute: those that would lie upon each other are one, as dark as they
        _, there, count = np.unique(np.round(x / STROKE), return_index=True, return_counts=True)
        dark = 1.0 - (1.0 - np.clip(60 / len(positions), 0.25, 1.0)) ** count
        colours = np.stack([*np.zeros((3, len(dark))), dark], axis=1)
        axes.vlines(positions[there], 0.05, 0.85, color=colours, linewidth=0.7, zorder=3)


def stacked(x: FloatArray, apart: float) -> FloatArray:
    """Return the lane of each of the ascending `x`: the lowest whose last one is so far `apart`."""
    ends: list[float] = []
    lanes = []
    for value in x.tolist():
        lane = next((lane for lane, end in enumerate(ends) if value - end >= apart), len(ends))
        if lane == len(ends):
            ends.append(value)
        ends[lane] = value
        lanes.append(lane)
        if lane >= LANES:
            break
    return np.array(lanes)


def _draw_interval(axes: Axes, place: int, row: Mapping[str, Any], colour: str, seen: SeenEvents) -> None:
    """Draw the interval as a bar with ends, and say over it what is in it."""
    found = row["interval"]
    y = place + 0.78
    axes.plot([found["low"], found["high"]], [y, y], color=colour, linewidth=1.6, zorder=3, solid_capstyle="butt")
    axes.plot([found["low"], found["high"]], [y, y], "|", color=colour, markersize=6, markeredgewidth=1.4, zorder=3)
    known = f" + {number(found['background'], 3)}" if seen.background is not None else ""
    limit = f" < {number(row['upper'])} events" if row["status"] == "ok" else f", {row['status']}"
    said = f"{limit}: {found['events']:,} seen, {number(found['expected'], 3)}{known} expected"
    said = _cut(row["limit_method"], 67 - len(said)) + said
    left = (0.08 - LEFT) / (NARROW - LEFT - RIGHT)
    axes.text(left, y - 0.24, said, color=colour, fontsize=9, transform=axes.get_yaxis_transform(), parse_math=False)


def _places(spectrum: Spectrum, log: bool) -> FloatArray:
    """Return where the spectrum is drawn: closely, and at the rows of a table."""
    even = (np.geomspace if log else np.linspace)(spectrum.low, spectrum.high, 401)
    even[0], even[-1] = spectrum.low, spectrum.high
    return np.union1d(even, spectrum.nodes) if isinstance(spectrum, Table) else even


def _colours(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a colour for each method, its own where it has one that is not taken."""
    taken: list[str] = []
    for row in rows:
        own = [colour for name, (colour, _) in PAPER.items() if name == row["limit_method"].partition("(")[0]]
        taken.append(next((each for each in [*own, *COLOURS] if each not in taken), COLOURS[-1]))
    return taken


def _cut(label: str, room: int) -> str:
    return label if len(label) <= room else label[: room - 1] + "…"
