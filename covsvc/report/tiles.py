"""A grid of cells painted over true signal and background."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import PcolorImage
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from covsvc.contracts import FloatArray
from covsvc.report.column import BoolArray, Column

HOLE = "#c9ccd1"
WIDTH = 5.0
"""Of a figure that is printed one column wide, which is 8.6 cm, inches: 9 points become 6."""
RIGHT, BOTTOM, TOP = 1.06, 0.52, 0.56
"""Margins around the cells and their notes, inches; the one on the left follows from its labels."""
LINE = 0.18
"""What a line of text takes, inches."""
MOST_LABELS = 16

Segments = list[tuple[tuple[Any, Any], tuple[Any, Any]]]


def edges(nodes: FloatArray) -> FloatArray:
    """Return the edges of the cells around `nodes`: the mid-points, and as far outside at both ends.

    Parameters
    ----------
    nodes : ndarray of float, shape (node,)
        Ascending.
    """
    if len(nodes) == 1:
        return np.array([nodes[0] - 0.5, nodes[0] + 0.5])
    middle = (nodes[:-1] + nodes[1:]) / 2
    first, last = 2 * nodes[0] - middle[0], 2 * nodes[-1] - middle[-1]
    return np.concatenate([[first], middle, [last]])


def lay_out(column: Column, shown: str, note: str) -> tuple[Figure, Axes, Axes]:
    """Return a figure with axes for the cells of `column` and for the colour scale.

    Parameters
    ----------
    column : Column
        Gives the axes and the first line of the title.
    shown : str
        What is shown: the second line of the title.
    note : str
        What the marks mean, in words, below the axes.
    """
    rows = len(column.b)
    inside = min(max(0.27 * rows, 0.95), 4.5)
    low = inside < 1.6
    notes = textwrap.wrap(note, int(WIDTH * 13.6))
    bottom = BOTTOM + LINE * len(notes)
    height = bottom + inside + TOP
    step = -(-rows // MOST_LABELS)
    labels = [f"{b:.4g}" for b in column.b[::step]]
    left = 0.38 + 0.08 * max(map(len, labels)) + (0.14 if low else 0)
    width = WIDTH - left - RIGHT
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((left / WIDTH, bottom / height, width / WIDTH, inside / height))
    scale = figure.add_axes(((left + width + 0.12) / WIDTH, bottom / height, 0.13 / WIDTH, inside / height))
    title(figure, column.label, shown)
    figure.text(0.08 / WIDTH, 0.08 / height, "\n".join(notes), fontsize=9, parse_math=False)

    x = edges(column.s_true)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(0, rows)
    axes.set_xlabel("true signal s_true (events)", labelpad=2)
    axes.set_ylabel("background b\n(events)" if low else "background b (events)")
    axes.set_yticks(np.arange(rows)[::step] + 0.5, labels)
    if len(column.s_true) == 1:
        axes.set_xticks(column.s_true, [f"{s:g}" for s in column.s_true])
    axes.tick_params(length=2.5, pad=2)
    return figure, axes, scale


def title(figure: Figure, label: str, shown: str) -> None:
    """Write the method's label in bold over what is `shown`."""
    width, height = figure.get_size_inches()
    room = int(width * 11)
    label = label if len(label) <= room else label[: room - 1] + "…"
    figure.text(0.08 / width, 1 - 0.08 / height, label, va="top", fontsize=10, fontweight="bold", parse_math=False)
    figure.text(0.08 / width, 1 - 0.29 / height, shown, va="top", fontsize=9, parse_math=False)


def paint(axes: Axes, column: Column, values: FloatArray, colours: Colormap, norm: Normalize) -> None:
    """Paint one cell a value; grey where there is none.

    An image of exact cells: four hundred rectangles a map would make the page ten times as large, with hairlines.
    """
    cells = PcolorImage(
        axes,
        edges(column.s_true),
        np.arange(len(column.b) + 1.0),
        np.ma.masked_invalid(values),
        cmap=colours,
        norm=norm,
    )
    axes.add_image(cells)
    ends = edges(column.s_true)[[0, -1]].tolist()
    between: Segments = [((ends[0], row), (ends[1], row)) for row in range(1, len(column.b))]
    _draw(axes, between, color="white", linewidth=min(0.7, 10 / len(column.b)))


def outline(axes: Axes, column: Column, marked: BoolArray) -> None:
    """Draw a black line around the `marked` cells."""
    _draw(
        axes,
        borders(column, marked),
        color="black",
        linewidth=1.3,
        capstyle="projecting",
        zorder=4,
        clip_on=False,
    )


def borders(column: Column, marked: BoolArray) -> Segments:
    """Return the lines around the `marked` cells."""
    x = edges(column.s_true)
    beside = np.pad(marked, ((0, 0), (1, 1)))
    above = np.pad(marked, ((1, 1), (0, 0)))
    upright = [((x[i], row), (x[i], row + 1)) for row, i in np.argwhere(beside[:, :-1] != beside[:, 1:]).tolist()]
    level = [((x[i], row), (x[i + 1], row)) for row, i in np.argwhere(above[:-1] != above[1:]).tolist()]
    return _joined(upright) + _joined(level)


def _joined(lines: Segments) -> Segments:
    """Return lines of one direction with those joined that go on from each other."""
    joined: Segments = []
    ends: dict[tuple[Any, Any], int] = {}
    for start, end in lines:
        if (place := ends.pop(start, None)) is None:
            place = len(joined)
            joined.append((start, end))
        joined[place] = (joined[place][0], end)
        ends[end] = place
    return joined


def hatch(axes: Axes, column: Column, marked: BoolArray, crossed: bool = False) -> None:
    """Draw a light diagonal through each of the `marked` cells, or a white cross."""
    colour, alpha = ("white", 0.85) if crossed else ("black", 0.55)
    _draw(axes, diagonals(column, marked, crossed), color=colour, linewidth=0.55, alpha=alpha, zorder=3)


def diagonals(column: Column, marked: BoolArray, crossed: bool = False) -> Segments:
    """Return a line through each of the `marked` cells, or two."""
    x = edges(column.s_true)
    cells = np.argwhere(marked).tolist()
    lines: Segments = [((x[i], row), (x[i + 1], row + 1)) for row, i in cells]
    return lines + [((x[i], row + 1), (x[i + 1], row)) for row, i in cells] if crossed else lines


def draw_scale(
    axes: Axes, colours: Colormap, norm: Normalize, ticks: Sequence[float], names: Sequence[str], marked: float
) -> None:
    """Draw the colour scale from bottom to top, with a black line across it at `marked`."""
    shades = PcolorImage(axes, [0.0, 1.0], np.linspace(0, 1, 257), np.linspace(0, 1, 256)[:, np.newaxis], cmap=colours)
    axes.add_image(shades)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks([float(norm(tick)) for tick in ticks], names)
    axes.tick_params(length=2.5, pad=2)
    if norm.vmin is not None and norm.vmax is not None and norm.vmin <= marked <= norm.vmax:
        axes.axhline(float(norm(marked)), color="black", linewidth=1.2)


def _draw(axes: Axes, lines: Segments, **style: Any) -> None:
    """Draw all lines as one path: one artist, and a small file."""
    if lines:
        codes = [Path.MOVETO, Path.LINETO] * len(lines)
        path = Path(np.array(lines, dtype=np.float64).reshape(-1, 2), codes)
        axes.add_patch(PathPatch(path, fill=False, **style))
