"""What maps of cells show: values, colours, marks and words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from covsvc.contracts import FloatArray
from covsvc.report.column import BoolArray, Column
from covsvc.report.coverage_map import scale_ticks as coverage_ticks
from covsvc.report.coverage_map import source
from covsvc.report.notation import NOTHING, number, probability, rate, with_ends
from covsvc.report.sigma_map import scale_ticks as sigma_ticks
from covsvc.selection import cell_verdict
from covsvc.tally import RATES
from covsvc_dashboards.colours import COVERAGE, SIGMA

VERDICTS = {
    "under": "under: significantly below cl",
    "ok": "ok",
    "over": "over: misses at most half as often as cl allows",
    "unknown": "unknown: no value",
}
"""What is known of a cell, in words."""

Told = Mapping[str, Sequence[str]]
"""What is told of each cell under the pointer, by what it is; the cells run over b, and fastest over s_true."""


@dataclass(frozen=True)
class Scale:
    """A scale of colours.

    Attributes
    ----------
    palette : sequence of str
        From low to high.
    low, high : float
        What lies outside has the colour of the end.
    ticks : mapping of float to str
        Names of values.
    log : bool
    """

    palette: Sequence[str]
    low: float
    high: float
    ticks: Mapping[float, str]
    log: bool = False


@dataclass(frozen=True)
class Painting:
    """What a map shows.

    Attributes
    ----------
    column : Column
        Gives the axes, and the first line of the title.
    shown : str
        What is shown: the other lines of the title.
    values : ndarray of float, shape (b, s_true)
        Grey where there is none.
    scale : Scale
    outlined, hatched, crossed : ndarray of bool, shape (b, s_true), optional
        Cells with a black line around them, with a light diagonal, with a white cross.
    """

    column: Column
    shown: str
    values: FloatArray
    scale: Scale
    outlined: BoolArray | None = None
    hatched: BoolArray | None = None
    crossed: BoolArray | None = None


def coverage_of(column: Column) -> Painting:
    """Return the map of coverage, as the report draws it."""
    ticks, names = coverage_ticks(column.cl)
    scale = Scale(COVERAGE, ticks[0], ticks[-1], dict(zip(ticks, names, strict=True)))
    under = column.under & column.known
    shown = f"coverage at cl = {column.cl:.12g}\n({source(column)})"
    return Painting(column, shown, column.coverage, scale, outlined=under, hatched=under)


def sigma_of(column: Column, low: float, high: float) -> Painting:
    """Return the map of sigma_Med/sigma_True, as the report draws it, on the scale from `low` to `high`."""
    sigma = column.sigma
    scale = Scale(SIGMA, low, high, {tick: f"{tick:g}" for tick in sigma_ticks(low, high)}, log=True)
    undefined = np.broadcast_to(column.s_true == 0, sigma.shape)
    shown = f"median upper limit / true signal at cl = {column.cl:.12g}\n(sigma_Med/sigma_True: lower is stronger)"
    return Painting(column, shown, sigma, scale, hatched=undefined, crossed=np.isposinf(sigma))


def verdicts_of(column: Column) -> list[str]:
    """Return the verdict on each cell, in words."""
    return [VERDICTS[each] for each in cell_verdict(column.maps).to_numpy().ravel().tolist()]


def counts_of(column: Column) -> list[str]:
    """Return how many toys of each cell were covered."""
    counts = zip(*(column.values(name).ravel().tolist() for name in ("n_covered", "n_toys")), strict=True)
    return [f"{k:.0f} of {n:.0f} toys" if n else NOTHING for k, n in counts]


def told_of(column: Column) -> dict[str, list[str]]:
    """Return what is known of each cell, in words; what is known of none is left out."""

    def words(write: Callable[[Any], str], name: str) -> list[str]:
        return [write(value) for value in column.values(name).ravel().tolist()]

    def intervals(write: Callable[[Any], str], name: str) -> list[str]:
        return list(map(with_ends, *(words(write, each) for each in (name, f"{name}_low", f"{name}_high"))))

    def covered(value: Any) -> str:
        return probability(value, column.cl)

    rates = [
        map(rate, np.where(np.isfinite(exact), exact, column.values(f"p_{status}")).ravel().tolist())
        for status in RATES
        for exact in (column.values(f"exact_p_{status}"),)
    ]
    told = {
        "verdict": verdicts_of(column),
        "covered": counts_of(column),
        "coverage of toys (95 %)": intervals(covered, "coverage"),
        "exact coverage": words(covered, "exact_coverage"),
        "median limit of toys (95 %)": intervals(number, "sigma_med"),
        "exact median limit": words(number, "exact_median_upper"),
        "sigma_Med/sigma_True (95 %)": intervals(number, "sigma_med_over_true"),
        "exact sigma_Med/sigma_True": words(number, "exact_sigma_med_over_true"),
        "rates of " + ", ".join(RATES): [", ".join(each) for each in zip(*rates, strict=True)],
    }
    return {name: cells for name, cells in told.items() if any(cell != NOTHING for cell in cells)}
