"""What the statistics of the interval methods have to exceed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from covsvc.contracts import FloatArray
from covsvc.interval_tables import Calibrated, IntervalTable
from covsvc.report.notation import NOTHING, number
from covsvc.report.panels import lay_out, name_axes, put_legend
from covsvc.report.sigma_map import scale_ticks

HEIGHT = 2.7
"""Of a panel, inches."""
CURVE, THRESHOLD, ATOM_END = "#0a5fb0", "#c04a00", "#5a626d"
TOLD = (*np.arange(1, 10, 0.5), *range(10, 20, 2), *range(20, 50, 5), *range(50, 500, 10))
"""Near which signals the table of words has a node."""


@dataclass(frozen=True)
class Statistic:
    """One of the two statistics of an `IntervalTable`.

    Parameters
    ----------
    field : str
        Its name there.
    method : str
        The limit method that it belongs to.
    name : str
        Of what it has to exceed.
    means : str
        What it is the largest of.
    """

    field: Literal["c_max", "p_max"]
    method: str
    name: str
    means: str

    def of(self, table: IntervalTable) -> Calibrated:
        """Return its part of a table."""
        return table.c_max if self.field == "c_max" else table.p_max


STATISTICS = (
    Statistic("c_max", "optimum_interval", "CBarMax", "the largest C_k(x, mu)"),
    Statistic("p_max", "p_max", "pBarMax", "the largest Poisson probability P(x, k + 1)"),
)
"""Figs. 2 and 5 of S. Yellin, Phys. Rev. D 66 (2002) 032005."""


def draw_thresholds(table: IntervalTable, statistic: Statistic) -> Figure:
    """Draw what the statistic has to exceed against the expected events.

    Ticks below the curve are the thresholds, from which on intervals with one more event count, and the ends of the
    atoms, from which on that many events in the whole range exclude.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Figs. 2 and 5.
    """
    part = statistic.of(table)
    shown = f"what {statistic.means} has to exceed"
    label, level = f"{statistic.name}, where {statistic.method} excludes", f"cl = {table.cl:.12g}"
    first, last = float(part.mu[0]) * 0.9, float(part.mu[-1]) * 1.04
    low, high = float(np.nanmin(part.value)), float(np.nanmax(part.value))
    room = (high - low) or 0.05
    decimals = 1 - float(np.floor(np.log10(room)))
    figure, (axes,) = lay_out(label, shown, [level], HEIGHT, aside=0.09 * max(decimals - 3, 0))
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    axes.set(xscale="log", xlim=(first, last), ylim=(low - 0.2 * room, high + 0.06 * room))
    ticks = scale_ticks(first, last)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    handles: dict[str, Artist] = {
        statistic.name: axes.plot(part.mu, part.value, color=CURVE, linewidth=1.4, zorder=3)[0],
        "threshold t_k": _mark(axes, _thresholds(part), THRESHOLD, 0.065),
        "atom end e_k": _mark(axes, part.atom_ends, ATOM_END, 0.0),
    }
    name_axes([axes], "expected events mu", statistic.name)
    put_legend(figure, handles)
    return figure


def describe_thresholds(table: IntervalTable, statistic: Statistic) -> str:
    """Say in words how the function begins and ends."""
    part = statistic.of(table)
    count = int(np.isfinite(part.thresholds).sum())
    return (
        f"{statistic.name} at cl = {table.cl:.12g} goes from {number(part.value[0])} at mu = {number(part.mu[0])} to "
        f"{number(part.value[-1])} at mu = {number(part.mu[-1])}, where intervals with up to {count - 1} events count. "
        f"The toys leave a standard error of the coverage of at most {number(np.nanmax(part.error), 2)}."
    )


def made_by(table: IntervalTable) -> str:
    """Say what a table was made from."""
    said = {"toys": "{:,} toys", "seed": "seed {}", "version": "covsvc {}"}
    known = [text.format(table.made_by[key]) for key, text in said.items() if key in table.made_by]
    return ", ".join(known) or NOTHING


def value_cells(part: Calibrated) -> list[tuple[str, list[str]]]:
    """Return mu and the value at the nodes nearest to round numbers."""
    nodes = {int(np.abs(part.mu - mu).argmin()) for mu in TOLD if part.mu[0] < mu < part.mu[-1]}
    nodes |= {0, len(part.mu) - 1}
    return [(number(part.mu[node], 6), [f"{part.value[node]:.4f}"]) for node in sorted(nodes)]


def threshold_cells(table: IntervalTable, statistics: Sequence[Statistic]) -> list[tuple[str, list[str]]]:
    """Return the thresholds and atom ends: k, and two numbers for each of the `statistics`."""
    parts = [values for each in statistics for values in (_thresholds(each.of(table)), each.of(table).atom_ends)]
    rows = max((int(np.isfinite(values).sum()) for values in parts), default=0)
    return [(str(k), [_at(values, k) for values in parts]) for k in range(rows)]


def _thresholds(part: Calibrated) -> FloatArray:
    """Return the thresholds, none below the smallest mu that can be excluded at all, as the paper prints them."""
    return np.asarray(np.maximum(part.thresholds, part.mu[0]), dtype=np.float64)


def _at(values: FloatArray, k: int) -> str:
    return f"{values[k]:.4f}" if k < len(values) and np.isfinite(values[k]) else NOTHING


def _mark(axes: Axes, places: FloatArray, colour: str, bottom: float) -> Artist:
    """Draw a short upright line at each of the places, and return one for the legend."""
    first, last = axes.get_xlim()
    places = places[(places >= first) & (places <= last)]
    ends = np.broadcast_to(np.array([bottom, bottom + 0.06, np.nan]), (len(places), 3))
    axes.plot(
        np.repeat(places, 3), ends.ravel(), color=colour, linewidth=0.8, transform=axes.get_xaxis_transform(), zorder=2
    )
    return Line2D([], [], color=colour, marker="|", markersize=8, linestyle="none")
