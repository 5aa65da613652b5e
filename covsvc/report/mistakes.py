"""How often the limits of different methods are below the true signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covsvc.contracts import FloatArray
from covsvc.report.column import Column
from covsvc.report.notation import number, place
from covsvc.report.side_by_side import Quantity, Values, compared_rows, draw_side_by_side, finite


def _mistakes(column: Column) -> Values:
    return tuple(1 - values for values in _coverage(column))  # type: ignore[return-value]


def _coverage(column: Column) -> Values:
    """Return the coverage and its interval, which has no width where the coverage is exact."""
    value = column.coverage
    high, low = (np.where(column.exact, value, column.values(f"coverage_{end}")) for end in ("high", "low"))
    return value, high, low


MISTAKES = Quantity(
    _mistakes,
    "fraction of toys whose interval misses the true signal",
    "fraction of mistakes",
    "Band: 95 % Clopper-Pearson interval, where toys tell it.",
)
MOST = 4
"""Times as many mistakes as 1 - cl are shown: one method that never covers would press the others flat."""


def draw_mistakes(columns: Sequence[Column], strokes: Mapping[str, Mapping[str, Any]], background: str = "") -> Figure:
    """Draw 1 - coverage of several methods at one confidence level against the true signal.

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
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Fig. 4.
    """
    nominal = 1 - columns[0].cl
    highest = float(max(finite(columns, MISTAKES), default=nominal))
    top = 1.12 * max(min(highest, MOST * nominal), nominal)

    def finish(axes: Axes) -> dict[str, Artist]:
        axes.axhspan(nominal, top, color="#f0f1f3", linewidth=0, zorder=0)
        line = axes.axhline(nominal, color="#5a626d", linewidth=0.9, zorder=2)
        return {"1 − cl (grey: too many)": line}

    by_budget = replace(MISTAKES, note="Band: interval of the budget of toys (adaptive).")
    quantity = by_budget if columns[0].is_adaptive else MISTAKES
    if highest > top:
        background = f"Lines that leave a panel go up to {highest:.3g}. {background}"
    return draw_side_by_side(columns, quantity, strokes, finish, False, (-0.03 * top, top), background)


def describe_mistakes(columns: Sequence[Column]) -> str:
    """Say in words how many mistakes each method makes at most."""
    column, rows = columns[0], compared_rows(columns)
    said = []
    for each in columns:
        mistakes: FloatArray = _mistakes(each)[0][rows]
        if np.isfinite(mistakes).any():
            row, node = divmod(int(np.nanargmax(mistakes)), mistakes.shape[1])
            where = place(each.s_true[node], each.b[rows[row]])
            said.append(f"{each.label} {number(mistakes[row, node], 3)} ({where})")
    told = "; ".join(said) or "there is no value"
    return f"Fraction of mistakes at cl = {column.cl:.12g}, at most: {told}."
