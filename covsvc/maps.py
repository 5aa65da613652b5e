"""Maps: what the counts of a cube mean."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from covsvc.budget import OK, UNDER, Drawn, Rule
from covsvc.contracts import FloatArray
from covsvc.kernels.binomial import clopper_pearson
from covsvc.tally import EXACT, FAILED, ROUNDING, WORST, bin_bounds

CELLS = ("limit_method", "cl", "b", "s_true")

INTERVAL = 0.95
"""Confidence level of the intervals on coverage and on the median limit."""

_LONG_NAMES = {
    "n_toys": "toys",
    "n_covered": "toys whose interval covers s_true",
    "coverage": "fraction of toys whose interval covers s_true",
    "coverage_best": "fraction of toys whose interval covers s_true, or whose limit failed and might have covered",
    "coverage_low": "lower end of the 95 % Clopper-Pearson interval of coverage",
    "coverage_high": "upper end of the 95 % Clopper-Pearson interval of coverage",
    "upper_coverage": "fraction of toys whose upper end covers s_true",
    "sigma_med": "median upper limit",
    "sigma_med_low": "lower end of the 95 % interval of the median upper limit",
    "sigma_med_high": "upper end of the 95 % interval of the median upper limit",
    "sigma_med_over_true": "median upper limit over the true signal",
    "sigma_med_over_true_low": "lower end of the 95 % interval of sigma_Med/sigma_True",
    "sigma_med_over_true_high": "upper end of the 95 % interval of sigma_Med/sigma_True",
    "exact_sigma_med_over_true": "exact median upper limit over the true signal",
    "p_empty": "fraction of toys with an empty confidence set",
    "p_unbounded": "fraction of toys without an upper limit",
    "p_failed": "fraction of toys whose limit failed",
    "under_significant": "coverage is significantly below cl",
}
_OF_A_BUDGET = {
    "coverage_low": "lower end of the interval of coverage by which the budget decides",
    "coverage_high": "upper end of the interval of coverage by which the budget decides; failed limits might cover",
    "resolved": "what the budget knows of coverage: 0 no toys, 1 above cl - margin, 2 below cl, 3 neither",
    "under_significant": "coverage is below cl, by the rule of the budget",
}
_STOPPED = "; adaptive: biased, since the number of toys depends on it"
"""Said of the shares of toys that cover where a budget stops when they have told enough."""


def summarize(cube: xr.Dataset) -> xr.Dataset:
    """Return the maps of a cube: coverage, sigma_Med/sigma_True and rates, with their intervals.

    Toys of failed blocks count as toys whose limit failed. The ratio is masked at s_true = 0.

    Of a study with a budget of toys, coverage_low and coverage_high are the ends by which the budget decides (see
    `covsvc.budget.Rule`, which the attribute ``adaptive`` holds as JSON), `resolved` is the decision (of coverage that
    is known exactly, that of the exact value), and under_significant tells where it is that coverage is below cl.

    Parameters
    ----------
    cube : xarray.Dataset
        As `open_cube` gives it.

    Returns
    -------
    xarray.Dataset
        Over (limit_method, cl, b, s_true): n_toys, n_covered, coverage (failed limits count as misses), coverage_best
        (as hits), coverage_low, coverage_high, upper_coverage, sigma_med, sigma_med_over_true with _low and _high,
        p_empty, p_unbounded, p_failed, under_significant, resolved (of a budget), and the exact columns; over
        (limit_method, cl, b): worst_coverage, worst_s_true, worst_s_min, worst_s_max.
    """
    maps = xr.Dataset(coords=cube[list(CELLS)].coords, attrs=dict(cube.attrs))
    in_failed = (cube["block_status"] == FAILED).sum("block").transpose(*CELLS) * _toys_per_block(cube)
    n_toys = cube["n_toys"].transpose(*CELLS) + in_failed
    maps["n_toys"], maps["n_covered"] = n_toys, cube["n_covered"].transpose(*CELLS)
    number = n_toys.where(n_toys > 0)
    maps["coverage"] = maps["n_covered"] / number
    maps["coverage_best"] = (maps["n_covered"] + cube["n_failed"].transpose(*CELLS) + in_failed) / number
    rule = Rule.of(json.loads(cube.attrs.get("study", "{}")))
    drawn = drawn_of(cube)
    low, high = rule.intervals(drawn) if rule else clopper_pearson(drawn.n_covered, drawn.n_toys, INTERVAL)
    maps["coverage_low"], maps["coverage_high"] = (CELLS, low), (CELLS, high)
    maps["upper_coverage"] = cube["n_upper_covered"].transpose(*CELLS) / number
    maps["p_empty"] = cube["n_empty"].transpose(*CELLS) / number
    maps["p_unbounded"] = cube["n_unbounded"].transpose(*CELLS) / number
    maps["p_failed"] = (cube["n_failed"].transpose(*CELLS) + in_failed) / number
    for name, values in zip(
        ("sigma_med", "sigma_med_low", "sigma_med_high"), _medians(cube, n_toys.values), strict=True
    ):
        maps[name] = CELLS, values
    s_true = maps["s_true"].where(maps["s_true"] > 0)
    for end in ("", "_low", "_high"):
        maps[f"sigma_med_over_true{end}"] = maps[f"sigma_med{end}"] / s_true
    for name in (*EXACT, *WORST):
        maps[name] = cube[name].load()
    maps["exact_sigma_med_over_true"] = maps["exact_median_upper"] / s_true
    long_names = dict(_LONG_NAMES)
    if rule:
        maps["resolved"] = CELLS, resolved(cube, rule)
        maps["under_significant"] = maps["resolved"] == UNDER
        maps.attrs["adaptive"] = json.dumps(asdict(rule))
        long_names |= _OF_A_BUDGET
        for name in ("n_covered", "coverage", "coverage_best", "upper_coverage"):
            long_names[name] += _STOPPED
    else:
        maps["under_significant"] = CELLS, _under(maps)
    for name, long_name in long_names.items():
        maps[name].attrs = {"long_name": long_name} | (
            {"units": "events"} if name.startswith("sigma_med") and "over" not in name else {}
        )
    maps.attrs["provenance"] = json.dumps(_provenance(cube))
    return maps


def drawn_of(cube: xr.Dataset) -> Drawn:
    """Return what was drawn in the cells of a cube, over `CELLS`."""
    names = ("block_status", "n_covered", "n_failed", "exact_coverage")
    status, covered, failed, exact = (cube[name].transpose(*CELLS, ...).to_numpy() for name in names)
    return Drawn(status, covered, failed, ~np.isnan(exact), _toys_per_block(cube))


def resolved(cube: xr.Dataset, rule: Rule) -> NDArray[np.int8]:
    """Return what is known of coverage, over `CELLS`: by the exact value where there is one, else by the toys."""
    cl = cube["cl"].to_numpy()[:, None, None]
    states, exact = rule.states(drawn_of(cube), cl), cube["exact_coverage"].transpose(*CELLS).to_numpy()
    return np.where(np.isnan(exact), states, np.where(exact < cl - ROUNDING, UNDER, OK)).astype(np.int8)


def _medians(cube: xr.Dataset, n_toys: NDArray[np.int64]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the median upper limit and the ends of its interval, widened outward to bin edges.

    Order statistics at ranks binom.ppf(d/2, N, 1/2) and binom.isf(d/2, N, 1/2) + 1; failed toys count as +inf.
    """
    lower, upper = bin_bounds()
    middle = np.where(np.isfinite(upper), np.sqrt(lower * upper), lower)
    middle[1] = 0.5 * upper[1]  # (0, 1e-3) has no geometric middle
    shape = n_toys.shape
    found = np.full((3, *shape), np.nan)
    for at in range(shape[2]):
        held = cube["limit_counts"].isel(b=at).transpose("limit_method", "cl", "s_true", "limit_bin").values
        n = n_toys[:, :, at]
        filled = np.flatnonzero(held.any(axis=(0, 1, 2)))
        below = np.cumsum(held[..., filled], axis=-1)
        ranks = ((n + 1) // 2, _binomial(stats.binom.ppf, n), _binomial(stats.binom.isf, n) + 1)
        for index, (rank, edge) in enumerate(zip(ranks, (middle, lower, upper), strict=True)):
            with np.errstate(invalid="ignore"):
                bins = (below < rank[..., None]).sum(axis=-1)
            values = np.append(edge[filled], np.inf)[bins]
            values = np.where(np.isfinite(rank) & (rank < 1), 0.0, values)
            found[index][:, :, at] = np.where(n > 0, values, np.nan)
    return found[0], found[1], found[2]


def _binomial(quantile: Any, n: NDArray[np.int64]) -> FloatArray:
    numbers, place = np.unique(n, return_inverse=True)  # most cells have the same number of toys
    return np.asarray(quantile(0.5 * (1.0 - INTERVAL), numbers, 0.5), np.float64)[place.reshape(n.shape)]


def _under(maps: xr.Dataset) -> NDArray[np.bool_]:
    """Tell where coverage is below cl: exactly so, or significantly after Benjamini and Hochberg."""
    cl = maps["cl"].values[:, None, None]
    exact = maps["exact_coverage"].values
    under = exact < cl - ROUNDING
    by_toys = np.isnan(exact) & (maps["n_toys"].values > 0)
    if by_toys.any():
        x, n = maps["n_covered"].values[by_toys], maps["n_toys"].values[by_toys]
        p = np.asarray(stats.binom.cdf(x, n, np.broadcast_to(cl, exact.shape)[by_toys]))
        under[by_toys] = stats.false_discovery_control(p) < 0.05
    return under


def _toys_per_block(cube: xr.Dataset) -> int:
    return int(json.loads(cube.attrs["source"])["toys_per_block"])


def _provenance(cube: xr.Dataset) -> dict[str, Any]:
    commit = json.loads(cube.attrs.get("commit", "{}"))
    parts = {name: dict(sorted(commit.pop(name, {}).items())) for name in ("commit", "driver", "all", "packages")}
    source = json.loads(cube.attrs["source"])
    return {
        "snapshot": cube.attrs.get("snapshot", ""),
        **dict(sorted(commit.items())),
        **parts["all"],
        "seed": source["seed"],
        "toys_per_block": source["toys_per_block"],
        **parts["packages"],
        **json.loads(cube.attrs.get("environment", "{}")),
        "engine": cube.attrs.get("engine", ""),
    }
