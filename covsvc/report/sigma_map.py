"""The map of sigma_Med/sigma_True over true signal and background."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from covsvc.report.column import Column
from covsvc.report.tiles import HOLE, draw_scale, hatch, lay_out, paint

COLOURS = matplotlib.colormaps["cividis_r"].with_extremes(bad=HOLE)
WIDEST = 1000.0
"""Largest ratio of the ends of the scale: what lies outside has the colour of the end."""


def sigma_range(columns: Sequence[Column]) -> tuple[float, float]:
    """Return one scale for all `columns`, so that their colours can be compared."""
    ratios = np.concatenate([column.sigma.ravel() for column in columns]) if columns else np.empty(0)
    ratios = ratios[np.isfinite(ratios) & (ratios > 0)]
    if not ratios.size:
        return 0.5, 2.0
    low, high = float(ratios.min()), float(ratios.max())
    # the strongest limits are what is compared: where the scale is too wide, the weak end is cut
    low, high = max(low, min(0.1, high / 10)), high
    high = min(high, low * WIDEST)
    return (low, high) if high > 1.2 * low else (low / 1.2, low * 1.2)


def draw_sigma(column: Column, low: float, high: float) -> Figure:
    """Draw the median upper limit over the true signal; light is strong, and [`low`, `high`] is the scale.

    Not defined at s_true = 0 (grey, hatched); crossed where the median limit is unbounded.
    """
    sigma = column.sigma
    shown = f"sigma_Med / sigma_True at cl = {column.cl:.12g} (lower is stronger)"
    figure, axes, scale = lay_out(column, shown, describe_marks(column))
    norm = LogNorm(low, high)
    paint(axes, column, np.clip(sigma, low, high), COLOURS, norm)
    undefined = np.zeros(sigma.shape, dtype=bool)
    undefined[:, column.s_true == 0] = True
    hatch(axes, column, undefined)
    hatch(axes, column, np.isposinf(sigma), crossed=True)
    ticks = scale_ticks(low, high)
    draw_scale(scale, COLOURS, norm, ticks, [f"{tick:g}" for tick in ticks], marked=1.0)
    return figure


def scale_ticks(low: float, high: float) -> list[float]:
    """Return round numbers in [`low`, `high`], at most seven."""
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    for mantissas in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [
            float(f"{mantissa}e{power}")
            for power in range(first, last + 1)
            for mantissa in mantissas
            if low <= mantissa * 10.0**power <= high
        ]
        if len(ticks) <= 7:
            return ticks or [low, high]
    return ticks


def describe_marks(column: Column) -> str:
    """Say in words what is hatched, crossed and grey."""
    sigma = column.sigma
    at_zero = bool((column.s_true == 0).any())
    unbounded = int(np.isposinf(sigma).sum())
    holes = int(np.isnan(sigma[:, column.s_true != 0]).sum())
    said = ["Hatched: not defined at s_true = 0."] if at_zero else []
    said += [f"Crossed: unbounded ({unbounded})."] if unbounded else []
    said += [f"Grey: no value ({holes})."] if holes else []
    return " ".join(said) or "Every cell has a value."
