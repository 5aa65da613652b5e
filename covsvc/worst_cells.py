"""The cells in which limits cover least, each with the command that shows what missed there."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass

import numpy as np
import xarray as xr

from covsvc.commands import replay_command
from covsvc.contracts import FloatArray
from covsvc.kernels.binomial import chance_of_at_most

_READ = ("exact_coverage", "coverage", "coverage_low", "coverage_high", "n_toys", "n_covered")


@dataclass(frozen=True)
class WorstCell:
    """The cell in which toys of a column were covered least.

    Attributes
    ----------
    coverage, coverage_low, coverage_high : float
        n_covered / n_toys, and its interval.
    exact_coverage : float
        NaN where only toys tell.
    deficit : float
        cl less the exact coverage, or less that of the toys where it is not known; negative above cl.
    p, p_adjusted : float
        Chance of so few covered toys if coverage were cl, and with Holm's correction for all cells of all columns that
        are known from toys; NaN where coverage is exact, and where the number of toys depends on what they told.
    command : str
        Shows the toys that were missed.
    """

    limit_method: str
    cl: float
    s_true: float
    b: float
    n_toys: int
    n_covered: int
    coverage: float
    coverage_low: float
    coverage_high: float
    exact_coverage: float
    deficit: float
    p: float
    p_adjusted: float
    command: str


def worst_cells(maps: xr.Dataset) -> list[WorstCell]:
    """Return the worst cell of each column that has toys, the largest deficit first.

    Parameters
    ----------
    maps : xarray.Dataset
        As `summarize` gives it.
    """
    study = json.loads(maps.attrs["study"])
    maps = maps[list(_READ)].transpose("limit_method", "cl", "b", "s_true")
    exact, n_toys = maps["exact_coverage"].values, maps["n_toys"].values
    lowest = np.where(n_toys > 0, np.where(np.isfinite(exact), exact, maps["coverage"].values), np.nan)
    p, adjusted = _chances(maps, isinstance(study.get("n_toys"), int))
    maps = maps.assign(lowest=(maps["n_toys"].dims, lowest), p=(maps["n_toys"].dims, p))
    maps = maps.assign(p_adjusted=(maps["n_toys"].dims, adjusted))
    found = []
    for label, cl in itertools.product(maps["limit_method"].values.tolist(), maps["cl"].values.tolist()):
        column = maps.sel(limit_method=label, cl=cl)
        if column["lowest"].notnull().any():
            cell = column.isel(column["lowest"].argmin(...))
            s_true, b = float(cell["s_true"]), float(cell["b"])
            command = replay_command(
                study["name"],
                s_true,
                b,
                limit_method=label,
                cl=cl,
                store=maps.attrs.get("store", ""),
                at=maps.attrs.get("snapshot", ""),
            )
            found.append(
                WorstCell(
                    limit_method=label,
                    cl=cl,
                    s_true=s_true,
                    b=b,
                    n_toys=int(cell["n_toys"]),
                    n_covered=int(cell["n_covered"]),
                    coverage=float(cell["coverage"]),
                    coverage_low=float(cell["coverage_low"]),
                    coverage_high=float(cell["coverage_high"]),
                    exact_coverage=float(cell["exact_coverage"]),
                    deficit=cl - float(cell["lowest"]),
                    p=float(cell["p"]),
                    p_adjusted=float(cell["p_adjusted"]),
                    command=command,
                )
            )
    return sorted(found, key=lambda cell: cell.deficit, reverse=True)


def _chances(maps: xr.Dataset, fixed: bool) -> tuple[FloatArray, FloatArray]:
    """Return the p value of each cell that is known from a fixed number of toys, and with Holm's correction."""
    n_toys = maps["n_toys"].values
    tested = np.isnan(maps["exact_coverage"].values) & (n_toys > 0) & fixed
    p, adjusted = np.full(n_toys.shape, np.nan), np.full(n_toys.shape, np.nan)
    cl = np.broadcast_to(maps["cl"].values[:, None, None], n_toys.shape)
    p[tested] = chance_of_at_most(maps["n_covered"].values[tested], n_toys[tested], cl[tested])
    order = np.argsort(p[tested], kind="stable")
    stepped = np.minimum(np.maximum.accumulate(p[tested][order] * np.arange(len(order), 0, -1)), 1.0)
    adjusted[tested] = stepped[np.argsort(order, kind="stable")]
    return p, adjusted
