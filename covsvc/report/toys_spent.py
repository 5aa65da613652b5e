"""The map of the toys that a budget spent, and of what they resolved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from covsvc.budget import NO_TOYS, OK, UNDECIDED, UNDER, Rule
from covsvc.contracts import FloatArray
from covsvc.report.column import BoolArray, Column
from covsvc.report.notation import NOTHING, number, percent
from covsvc.report.tiles import HOLE, draw_scale, hatch, lay_out, outline, paint

# a dark end on which a black outline shows and a white cross, too
COLOURS = LinearSegmentedColormap.from_list("few_many", ["#f3f6fa", "#b4cde2", "#6d9dc6", "#3a70a8"]).with_extremes(
    bad=HOLE
)
TICK = 0.17
"""Between the names of two numbers of toys, inches."""


@dataclass(frozen=True)
class Spent:
    """What a budget spent in the cells of a grid, which all columns share.

    Attributes
    ----------
    toys : ndarray of int, shape (b, s_true)
    states : ndarray of int8, shape (column, b, s_true)
        What is known of coverage: NO_TOYS, OK, UNDER or UNDECIDED.
    """

    rule: Rule
    names: tuple[tuple[str, float], ...]
    s_true: FloatArray
    b: FloatArray
    toys: NDArray[np.int64]
    states: NDArray[np.int8]

    @property
    def below(self) -> BoolArray:
        """Cells in which a column is below cl."""
        return np.asarray((self.states == UNDER).any(axis=0))

    @property
    def undecided(self) -> BoolArray:
        """Cells in which a column is undecided."""
        return np.asarray((self.states == UNDECIDED).any(axis=0))

    @property
    def shared(self) -> int:
        """Toys of all cells."""
        return int(self.toys.sum())

    @property
    def most(self) -> int:
        """What the largest number of toys in every cell would have been."""
        return self.toys.size * self.rule.looks[-1]


def spent_of(maps: xr.Dataset) -> Spent | None:
    """Return what was spent; None where the number of toys was given."""
    if "adaptive" not in maps.attrs:
        return None
    rule = json.loads(maps.attrs["adaptive"])
    maps = maps.sortby(["b", "s_true"]).transpose("limit_method", "cl", "b", "s_true")
    s_true, b = (np.asarray(maps[axis].to_numpy(), np.float64) for axis in ("s_true", "b"))
    names = [
        (str(label), float(cl)) for label in maps["limit_method"].to_numpy().tolist() for cl in maps["cl"].to_numpy()
    ]
    states = maps["resolved"].to_numpy().reshape(len(names), len(b), len(s_true))
    toys = maps["n_toys"].to_numpy().max(axis=(0, 1))
    return Spent(Rule(**rule | {"looks": tuple(rule["looks"])}), tuple(names), s_true, b, toys, states)


def draw_spent(spent: Spent) -> Figure:
    """Draw the toys of each cell: the darker, the more; outlined and hatched where coverage is below cl."""
    grid = Column("Toys spent", np.nan, spent.s_true, spent.b, xr.Dataset())
    columns = f"{len(spent.names)} column{'s' * (len(spent.names) != 1)}"
    figure, axes, scale = lay_out(grid, f"toys of a cell, the same for all {columns}", describe_marks(spent))
    low, high = spent.rule.looks[0], max(spent.rule.looks[-1], int(spent.toys.max(initial=0)))
    norm = LogNorm(low if low < high else high / 2, high)
    paint(axes, grid, np.where(spent.toys > 0, spent.toys, np.nan), COLOURS, norm)
    hatch(axes, grid, spent.below)
    hatch(axes, grid, spent.undecided, crossed=True)
    outline(axes, grid, spent.below)
    room = TICK / (figure.get_size_inches()[1] * scale.get_position().height)
    ticks = [high]
    for look in reversed(spent.rule.looks):
        if norm(ticks[-1]) - norm(look) >= room:
            ticks.append(look)
    ticks[1:] = [*ticks[1:-1], spent.rule.looks[0]] if len(ticks) > 1 else []
    draw_scale(scale, COLOURS, norm, ticks, [f"{tick:,}" for tick in ticks], marked=np.inf)
    return figure


def describe_marks(spent: Spent) -> str:
    """Say in words what is outlined and what is crossed."""
    below, undecided = int(spent.below.sum()), int(spent.undecided.sum())
    said = f"Outlined and hatched: {below} of {spent.toys.size} cells, a column below cl."
    return said + (f" White cross: {undecided}, a column undecided." if undecided else " None is undecided.")


def spent_sentences(spent: Spent) -> list[str]:
    """Say what was spent, what was saved, and by which rule."""
    rule, saved = spent.rule, spent.most - spent.shared
    counts = [int((spent.states == state).sum()) for state in (OK, UNDER, UNDECIDED, NO_TOYS)]
    return [
        f"{spent.shared:,} toys were drawn in {spent.toys.size:,} cells"
        + (
            f", {percent(spent.shared, spent.most)} of the {spent.most:,} that {rule.looks[-1]:,} in every cell would "
            f"have been: {percent(saved, spent.most)} were saved."
            if saved > 0
            else "."
        ),
        f"Of {spent.states.size:,} tests (a cell in a column) {counts[0]:,} are above cl − {number(rule.margin)}, "
        f"{counts[1]:,} below cl, {counts[2]:,} undecided"
        + (f", and {counts[3]:,} have no toys yet." if counts[3] else "."),
        f"The toys of a cell were doubled until this was known of all columns. Each end of an interval is that of "
        f"Clopper and Pearson at {number(rule.error)} / ({len(rule.looks)} looks × {rule.tests:,} tests): the "
        f"probability that any cell is wrongly called below cl is at most {number(rule.error)}, and no larger is that "
        "of a wrong call of above. Fractions of toys are biased where their number depends on what they told: the "
        "intervals are not.",
    ]


def look_cells(spent: Spent) -> list[tuple[str, list[str]]]:
    """Return a row a number of toys: cells that have so many, and those of them with a column below and undecided."""
    rows = []
    for toys in np.unique(spent.toys).tolist():
        here = spent.toys == toys
        counts = [int(here.sum()), int((here & spent.below).sum()), int((here & spent.undecided).sum())]
        rows.append((f"{toys:,}", [f"{count:,}" for count in counts]))
    return rows


def column_cells(spent: Spent) -> Iterator[tuple[str, float, list[str]]]:
    """Yield, for each column, its label, cl, and in how many cells it is above, below and undecided."""
    for (label, cl), states in zip(spent.names, spent.states, strict=True):
        yield label, cl, [f"{int((states == state).sum()):,}" for state in (OK, UNDER, UNDECIDED)]


def spent_cells(spent: Spent) -> list[tuple[str, list[str]]]:
    """Return the map in words: s_true and its toys over b, with ``*`` below cl and ``?`` undecided."""
    cells = np.char.add(
        np.array([[f"{toys:,}" if toys else NOTHING for toys in row] for row in spent.toys.tolist()]),
        np.char.add(np.where(spent.below, "*", ""), np.where(spent.undecided, "?", "")),
    )
    return [(f"{s:g}", cells[:, node].tolist()) for node, s in enumerate(spent.s_true.tolist())]
