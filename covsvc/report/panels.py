"""A figure of panels of one size, with a legend over them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from covsvc.contracts import FloatArray
from covsvc.report.tiles import LINE, WIDTH, title

WIDE, NARROW = 8.8, WIDTH
"""Width of a figure of several panels, which is printed across both columns, and of one, inches."""
LEFT, RIGHT, BOTTOM, GAP = 0.66, 0.16, 0.46, 0.18
"""Margins around the panels, and between two, inches."""
HEAD = 0.52
"""What the title takes, inches."""
ACROSS = 3
PLAIN = StrMethodFormatter("{x:.6g}")
"""Writes 0 and 2.5, not 0.0: short names stand beside each other."""
DECADES = 1.5
"""An axis whose values span more than this is logarithmic."""


def lay_out(
    label: str,
    shown: str,
    names: Sequence[str],
    height: float,
    legend_lines: int = 1,
    note: str = "",
    aside: float = 0.0,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel for each of the `names`, which stand over them.

    Parameters
    ----------
    label, shown : str
        The two lines of the title.
    names : sequence of str
        Broken in two lines where they are long and have options.
    height : float
        Of a panel, inches.
    legend_lines : int
        The lines to keep free for `put_legend`.
    note : str
        What the marks mean, in words, below the panels.
    aside : float
        More room on the left, inches.
    """
    count = len(names)
    across = 2 if count in (2, 4) else min(count, ACROSS)
    down = -(-count // across)
    width = WIDE if across > 1 else NARROW
    margin = LEFT + aside
    panel = (width - margin - RIGHT - (across - 1) * GAP) / across
    heads = [_wrap(name, int(panel * 12.5)) for name in names]
    over = 0.05 + LINE * max(head.count("\n") + 1 for head in heads)
    notes = textwrap.wrap(note, int(width * 12.5))
    under = BOTTOM + LINE * len(notes)
    top = HEAD + legend_lines * LINE + over
    between = over + GAP
    figure = Figure(figsize=(width, top + under + down * height + (down - 1) * between))
    full = figure.get_figheight()
    title(figure, label, shown)
    if notes:
        figure.text(0.08 / width, 0.07 / full, "\n".join(notes), va="bottom", fontsize=9, parse_math=False)
    every = []
    for place, head in enumerate(heads):
        line, step = divmod(place, across)
        left, bottom = margin + step * (panel + GAP), full - top - height - line * (height + between)
        axes = figure.add_axes((left / width, bottom / full, panel / width, height / full))
        axes.set_title(head, fontsize=9.5, pad=4, parse_math=False)
        # a panel with nothing under it has its own numbers
        axes.tick_params(length=2.5, pad=2, labelbottom=place + across >= count, labelleft=step == 0, which="both")
        axes.tick_params(length=1.5, which="minor")
        every.append(axes)
    return figure, every


def name_axes(every: Sequence[Axes], x: str, y: str) -> None:
    """Write the name of the x axis below the lowest panels, and that of the y axis beside the first ones."""
    first = min(axes.get_position().x0 for axes in every)
    for axes in every:
        at = axes.get_position()
        if all(other.get_position().y0 >= at.y0 for other in every if other.get_position().x0 == at.x0):
            axes.set_xlabel(x, labelpad=2, parse_math=False)
        if at.x0 == first:
            axes.set_ylabel(y, parse_math=False)


def legend_lines(names: Sequence[str], wide: bool) -> int:
    """Return how many lines `put_legend` needs for these names, in a figure of several panels or of one."""
    room = 13 * (WIDE if wide else NARROW)
    for lines in range(1, len(names) + 1):
        columns = [names[first : first + lines] for first in range(0, len(names), lines)]
        if sum(8 + max(map(len, column)) for column in columns) <= room:
            return lines
    return max(len(names), 1)


def put_legend(figure: Figure, handles: Mapping[str, Artist], lines: int = 1, handlelength: float = 2.0) -> None:
    """Write the legend in so many lines between the title and the panels."""
    width, height = figure.get_size_inches()
    if handles:
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="upper left",
            bbox_to_anchor=(0.08 / width, 1 - (HEAD - 0.02) / height),
            borderpad=0,
            ncols=-(-len(handles) // lines),
            frameon=False,
            fontsize=9,
            borderaxespad=0,
            handlelength=handlelength,
            handletextpad=0.5,
            columnspacing=1.4,
            labelspacing=0.25,
        )


def scale(axes: Axes, nodes: FloatArray, y: tuple[float, float], log_x: bool, log_y: bool) -> None:
    """Set the ends of the axes, with the `nodes` of x inside, and their scales; short powers of ten are written out."""
    x = _around(nodes, log_x)
    axes.set(xscale="log" if log_x else "linear", yscale="log" if log_y else "linear", xlim=x, ylim=y)
    for axis, (low, high), log in ((axes.xaxis, x, log_x), (axes.yaxis, y, log_y)):
        if (low if log else high) >= 1e-3 and high < 1e5:
            axis.set_major_formatter(PLAIN)
    if nodes.min() == nodes.max():
        axes.set_xticks(nodes[:1], [f"{nodes[0]:.4g}"])
        axes.set_xticks([], minor=True)


def spans_decades(values: FloatArray) -> bool:
    """Tell whether the positive ones of `values` span so much that their axis should be logarithmic."""
    known = values[np.isfinite(values) & (values > 0)]
    return bool(known.size) and bool(known.max() > known.min() * 10**DECADES)


def _around(nodes: FloatArray, log: bool) -> tuple[float, float]:
    low, high = float(nodes.min()), float(nodes.max())
    if log:
        air = (high / low) ** 0.05 if high > low else 1.5
        return low / air, high * air
    air = 0.03 * (high - low) or 0.5 * abs(high) or 0.5
    return low - air, high + air


def _wrap(name: str, room: int) -> str:
    """Break a long `name` before its options, and cut what is still too long."""
    stem, options, rest = name.partition("(")
    lines = [stem, options + rest] if options and len(name) > room else [name]
    return "\n".join(line if len(line) <= room else line[: room - 1] + "…" for line in lines)
