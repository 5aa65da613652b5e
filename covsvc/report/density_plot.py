"""Real events over the densities of signal and background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from covsvc.contracts import FloatArray
from covsvc.regions import SeenDensities
from covsvc.report.notation import number
from covsvc.report.panels import BOTTOM, HEAD, NARROW, put_legend
from covsvc.report.tiles import LINE, title

HELD = (0.5, 0.9, 0.99)
"""Parts of the signal that the contours hold."""
LISTED = 100
"""Events that are told one by one, those with the largest density ratios."""
SIGNAL, REGION, SIDEBAND = "#1f5fa8", "#c04a00", "#6b6b6b"
LEFT, RIGHT, TALL, FLAT = 0.82, 0.3, 4.2, 2.6
"""Margins on the left and right, and height of a plane and of a line, inches."""


def draw_densities(seen: SeenDensities) -> Figure:
    """Draw real events over the contours of the signal density, or, on a line, over both densities.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Fig. 2: events and signal Monte Carlo in the plane.
    """
    plane = len(seen.axes) == 2
    height, under = (TALL if plane else FLAT), BOTTOM + 0.04
    above = HEAD + 2 * LINE + 0.05
    full = height + above + under
    figure = Figure(figsize=(NARROW, full))
    n = len(seen.density_ratio)
    inside = int(in_region(seen).sum())
    title(figure, "Events over the densities", f"{n:,} events, {inside:,} in the signal region")
    axes = figure.add_axes((LEFT / NARROW, under / full, (NARROW - LEFT - RIGHT) / NARROW, height / full))
    axes.tick_params(length=2.5, pad=2)
    axes.set_xlabel(seen.names[0], labelpad=2, parse_math=False)
    handles = _draw_plane(axes, seen) if plane else _draw_line(axes, seen)
    put_legend(figure, handles, lines=2)
    return figure


def in_region(seen: SeenDensities) -> FloatArray:
    """Tell which events are in the signal region."""
    found = np.ones(len(seen.density_ratio), bool)
    for place, (low, high) in zip(seen.places, seen.region, strict=True):
        found &= (place > low) & (place < high)
    return found


def describe_densities(seen: SeenDensities) -> str:
    """Say how far the events of the signal region look like signal."""
    inside = in_region(seen)
    ratios = seen.density_ratio[inside]
    said = f"{int(inside.sum()):,} of {len(inside):,} events lie in the signal region"
    highest = f"the signal density is at most {number(seen.signal_over_background, 3)} times the background density"
    if not len(ratios):
        return f"{said}; {highest}."
    if ratios.min() == ratios.max():
        return f"{said}, where the densities have the ratio {number(ratios[0], 3)}; {highest}."
    between = f"{number(ratios.min(), 3)} to {number(ratios.max(), 3)}"
    return f"{said}, at ratios of the densities from {between}; {highest}."


def density_cells(seen: SeenDensities) -> list[tuple[str, Sequence[str]]]:
    """Return a row for each of the events with the largest density ratios: places, region and ratio."""
    order = np.argsort(-seen.density_ratio, kind="stable")[:LISTED]
    inside, (left, right) = in_region(seen), seen.sideband
    rows: list[tuple[str, Sequence[str]]] = []
    for place, event in enumerate(order.tolist()):
        first = seen.places[0][event]
        outside = "sideband" if not left < first < right else "neither"
        at = [number(axis[event], 6) for axis in seen.places]
        rows.append(
            (str(place + 1), [*at, "signal" if inside[event] else outside, number(seen.density_ratio[event], 4)])
        )
    return rows


def levels_of(density: FloatArray, held: Sequence[float] = HELD) -> list[float]:
    """Return the densities above which the points of an even grid hold these parts of the whole."""
    falling = np.sort(density.ravel())[::-1]
    reached = np.cumsum(falling)
    return [float(falling[int(np.searchsorted(reached, part * reached[-1]))]) for part in held]


def _draw_plane(axes: Axes, seen: SeenDensities) -> dict[str, Artist]:
    (m, E), (box_m, box_E) = seen.axes, seen.region
    handles: dict[str, Artist] = {}
    handles["signal, drawn"] = axes.plot(
        *seen.drawn,
        "o",
        markersize=3.2,
        markerfacecolor="none",
        markeredgecolor=SIGNAL,
        markeredgewidth=0.5,
        alpha=0.55,
    )[0]
    levels = sorted(set(levels_of(seen.signal)))
    if len(levels) == len(HELD):
        lines = axes.contour(m, E, seen.signal.T, levels=levels, colors=SIGNAL, linewidths=(0.8, 1.1, 1.6), zorder=3)
        told = dict(zip(levels, (f"{100 * part:g} %" for part in reversed(HELD)), strict=True))
        axes.clabel(lines, fmt=told, fontsize=9)
        handles["parts of the signal"] = Line2D([], [], color=SIGNAL, linewidth=1.1)
    axes.add_patch(
        Rectangle(
            (box_m[0], box_E[0]),
            box_m[1] - box_m[0],
            box_E[1] - box_E[0],
            fill=False,
            edgecolor=REGION,
            linewidth=1.4,
            zorder=4,
        )
    )
    handles["signal region"] = Line2D([], [], color=REGION, linewidth=1.4)
    handles["sideband"] = _mark_sideband(axes, seen)
    many = len(seen.density_ratio) > 2000
    handles["events seen"] = axes.plot(
        *seen.places,
        "s",
        color="black",
        markersize=1.5 if many else 4.4,
        markeredgewidth=0,
        zorder=5,
        rasterized=many,
        clip_on=False,
    )[0]
    axes.set(xlim=(m[0], m[-1]), ylim=(E[0], E[-1]))
    axes.set_ylabel(seen.names[1], labelpad=2, parse_math=False)
    return handles


def _draw_line(axes: Axes, seen: SeenDensities) -> dict[str, Artist]:
    (x,), (x_seen,), ((low, high),) = seen.axes, seen.places, seen.region
    handles: dict[str, Artist] = {}
    handles["signal density"] = axes.plot(x, seen.signal, color=SIGNAL, linewidth=1.6, zorder=3)[0]
    handles["background density"] = axes.plot(x, seen.background, color="black", linewidth=1.2, linestyle="--")[0]
    handles["signal region"] = axes.axvspan(low, high, color=REGION, alpha=0.12, linewidth=0)
    handles["sideband"] = _mark_sideband(axes, seen)
    top = 1.06 * float(max(seen.signal.max(), seen.background.max()))
    many = len(x_seen) > 200
    handles["events seen"] = axes.plot(
        x_seen,
        stacked_heights(x_seen, x[-1] - x[0], top),
        "|" if many else "s",
        color="black",
        markersize=7 if many else 4.4,
        markeredgewidth=0.6 if many else 0,
        zorder=5,
        clip_on=False,
        rasterized=len(x_seen) > 2000,
    )[0]
    axes.set(xlim=(x[0], x[-1]), ylim=(0, top))
    axes.set_ylabel("density", labelpad=2)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.spines[["right", "top"]].set_visible(False)
    return handles


def stacked_heights(x: FloatArray, width: float, top: float) -> FloatArray:
    """Return where events on a line are drawn: on the axis, those that would hide another one above it."""
    heights, lanes = np.zeros(len(x)), [-np.inf] * 12
    for i, value in enumerate(x.tolist() if len(x) <= 200 else ()):
        lane = next((lane for lane, last in enumerate(lanes) if value - last >= 0.012 * width), len(lanes) - 1)
        lanes[lane], heights[i] = value, lane
    return (0.03 + 0.05 * heights) * top


def _mark_sideband(axes: Axes, seen: SeenDensities) -> Artist:
    for low, high in ((seen.axes[0][0], seen.sideband[0]), (seen.sideband[1], seen.axes[0][-1])):
        shade = axes.axvspan(low, high, color=SIDEBAND, alpha=0.13, linewidth=0, zorder=0)
    return shade
