"""How strong the limits of different methods are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covsvc.contracts import FloatArray
from covsvc.report.column import Column
from covsvc.report.notation import number, place
from covsvc.report.panels import spans_decades
from covsvc.report.side_by_side import Quantity, Values, compared_rows, draw_side_by_side, finite


def _medians(column: Column) -> Values:
    """Return the ratio and its interval, which has no width where the ratio is exact."""
    value = column.sigma
    exact = np.isfinite(column.values("exact_sigma_med_over_true"))
    ends = (np.where(exact, value, column.values(f"sigma_med_over_true_{end}")) for end in ("low", "high"))
    low, high = (np.where(np.isfinite(value), end, np.nan) for end in ends)
    return value, low, high


MEDIANS = Quantity(
    _medians,
    "median upper limit over the true signal (lower is stronger)",
    "sigma_Med / sigma_True",
    "Band: 95 % interval of the median, where toys tell it.",
)


def draw_medians(columns: Sequence[Column], strokes: Mapping[str, Mapping[str, Any]], background: str = "") -> Figure:
    """Draw sigma_Med/sigma_True of several methods at one confidence level against the true signal.

    Parameters
    ----------
    columns : sequence of Column
        One a method.
    strokes : mapping of str to mapping
        The style of each label's line.
    background : str
        What background there is beside b, in words.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Fig. 3.
    """
    ratios = finite(columns, MEDIANS)
    ratios = ratios[ratios > 0]
    log = spans_decades(ratios)
    low, high = (min(ratios.min(), 1.0), max(ratios.max(), 1.0)) if ratios.size else (0.5, 2.0)
    ends = (low / 1.15, high * 1.15) if log else (low - 0.06 * (high - low + 0.1), high + 0.06 * (high - low + 0.1))

    def finish(axes: Axes) -> dict[str, Artist]:
        axes.axhline(1, color="#8a919b", linewidth=0.9, zorder=1)
        return {}

    unbounded = any(np.isposinf(column.sigma[compared_rows(columns)]).any() for column in columns)
    said = f"{'A line ends where the median is unbounded. ' * unbounded}{background}"
    return draw_side_by_side(columns, MEDIANS, strokes, finish, log, ends, said)


def describe_medians(columns: Sequence[Column]) -> str:
    """Say in words which limits are strongest and weakest at the ends of the grid."""
    column = columns[0]
    said = []
    rows = compared_rows(columns)
    for row in dict.fromkeys((rows[0], rows[-1])):
        ratios: FloatArray = np.stack([each.sigma[row] for each in columns])
        known = np.isfinite(ratios)
        nodes = np.flatnonzero(known.all(axis=0) if known.all(axis=0).any() else known.any(axis=0))
        for node in dict.fromkeys([*nodes[:1], *nodes[-1:]]):
            here = ratios[:, node]
            strong, weak = int(np.nanargmin(here)), int(np.nanargmax(here))
            told = f"{number(here[strong])} ({columns[strong].label})"
            if here[weak] > here[strong]:
                told = f"from {told} to {number(here[weak])} ({columns[weak].label})"
            said.append(f"{told} at {place(column.s_true[node], column.b[row])}")
    told = "; ".join(said) or "there is no value"
    return f"sigma_Med/sigma_True at cl = {column.cl:.12g}: {told}."
