"""Maps made by hand: Poisson counts with known background, summed without covsvc."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from scipy import stats

N = np.arange(80)
N_TOYS = 10_000
S_TRUE = tuple(np.linspace(0, 12, 25).tolist())


def upper_limits(kind, cl, b):
    """Return the limits [lower, upper] of every count; upper < 0 is empty."""
    if kind == "two":
        lower = np.where(N > 0, stats.gamma.ppf((1 - cl) / 2, np.maximum(N, 1)), 0.0) - b
        return np.maximum(lower, 0.0), stats.gamma.ppf((1 + cl) / 2, N + 1) - b
    if kind == "low":
        return np.zeros(N.shape), np.maximum(stats.gamma.ppf(cl, N + 0.5) - b, 0.3)
    return np.zeros(N.shape), stats.gamma.ppf(cl, N + 1) - b


def covering(kind, cl, b, s):
    lower, upper = upper_limits(kind, cl, b)
    return float(stats.poisson.pmf(N[(lower <= s) & (upper >= s)], s + b).sum())


def grid_maps(kinds, cl=(0.9, 0.95), b=(0.0, 1.0, 3.0, 5.5), s_true=S_TRUE, exact=True):
    rng = np.random.default_rng(1)
    shape = (len(kinds), len(cl), len(b), len(s_true))
    names = ["exact_coverage", "exact_upper_coverage", "exact_sigma_med_over_true", "exact_mean_upper"]
    names += [f"exact_p_{status}" for status in ("empty", "unbounded", "failed")]
    found = {name: np.zeros(shape) for name in names}
    worst = {name: np.full(shape[:3], np.nan) for name in ("worst_coverage", "worst_s_true")}
    for i, kind in enumerate(kinds.values()):
        for j, level in enumerate(cl):
            for k, background in enumerate(b):
                upper = upper_limits(kind, level, background)[1]
                fine = upper[(upper >= 0) & (upper <= max(s_true))] * (1 + 1e-12)
                fine = np.union1d(fine, s_true)
                curve = [covering(kind, level, background, s) for s in fine]
                worst["worst_coverage"][i, j, k] = min(curve)
                worst["worst_s_true"][i, j, k] = fine[int(np.argmin(curve))]
                for cell, s in enumerate(s_true):
                    at = (i, j, k, cell)
                    pmf = stats.poisson.pmf(N, s + background)
                    found["exact_coverage"][at] = covering(kind, level, background, s)
                    found["exact_upper_coverage"][at] = pmf[upper >= s].sum()
                    found["exact_p_empty"][at] = pmf[upper < 0].sum()
                    median = upper[np.searchsorted(pmf.cumsum(), 0.5)]
                    found["exact_sigma_med_over_true"][at] = max(median, 0) / s if s else np.nan
                    found["exact_mean_upper"][at] = (pmf * np.maximum(upper, 0)).sum()
    covered = rng.binomial(N_TOYS, np.clip(found["exact_coverage"], 0, 1))
    low = np.where(covered > 0, stats.beta.ppf(0.025, np.maximum(covered, 1), N_TOYS - covered + 1), 0.0)
    high = np.where(covered < N_TOYS, stats.beta.ppf(0.975, covered + 1, np.maximum(N_TOYS - covered, 1)), 1.0)
    dims = ("limit_method", "cl", "b", "s_true")
    levels = np.array(cl)[:, np.newaxis, np.newaxis]
    variables = {
        "n_toys": np.full(shape, N_TOYS),
        "n_covered": covered,
        "coverage": covered / N_TOYS,
        "coverage_low": low,
        "coverage_high": high,
        "upper_coverage": found["exact_upper_coverage"],
        "sigma_med_over_true": found["exact_sigma_med_over_true"],
        "sigma_med_over_true_low": found["exact_sigma_med_over_true"] * 0.99,
        "sigma_med_over_true_high": found["exact_sigma_med_over_true"] * 1.01,
        "p_empty": rng.binomial(N_TOYS, found["exact_p_empty"].clip(0, 1)) / N_TOYS,
        "p_unbounded": np.zeros(shape),
        "p_failed": np.zeros(shape),
        "under_significant": found["exact_coverage"] < levels - 1e-9,
    }
    if not exact:
        found = {name: np.full(shape, np.nan) for name in found}
        worst = {name: np.full(shape[:3], np.nan) for name in worst}
    maps = xr.Dataset(
        {name: (dims, values) for name, values in {**variables, **found}.items()}
        | {name: (dims[:3], values) for name, values in worst.items()},
        coords={"limit_method": list(kinds), "cl": list(cl), "b": list(b), "s_true": list(s_true)},
    )
    maps.attrs["study"] = json.dumps({"name": "by-hand", "seed": 1999, "n_toys": N_TOYS, "experiment": "counting"})
    maps.attrs["methods"] = json.dumps(
        {
            label: {
                "name": kind,
                "options": {"monotone_in_b": True} if "=" in label else {},
                "sided": "two" if kind == "two" else "upper",
                "promises": "nothing" if kind == "low" else "at_least",
                "fingerprint": "3f9a5c0d77",
            }
            for label, kind in kinds.items()
        }
    )
    maps.attrs["provenance"] = json.dumps(
        {"covsvc": "0.1.0", "created": "2026-11-21T20:40:00Z", "snapshot": "ZX81ABC", "toys/s": 2424517}
    )
    return maps


def grid_curves(maps, kinds, points=400):
    """Return the saw-tooth: both sides of each jump, padded with NaN."""
    shape = (*maps["worst_coverage"].shape, points)
    s_values, coverage = np.full(shape, np.nan), np.full(shape, np.nan)
    for i, label in enumerate(maps["limit_method"].to_numpy().tolist()):
        for j, cl in enumerate(maps["cl"].to_numpy().tolist()):
            for k, b in enumerate(maps["b"].to_numpy().tolist()):
                jumps = np.concatenate(upper_limits(kinds[label], cl, b))
                top = float(maps["s_true"].max())
                jumps = np.unique(jumps[(jumps > 0) & (jumps < top)])
                s = np.sort(np.concatenate([np.linspace(0, top, 60), jumps * (1 - 1e-12), jumps * (1 + 1e-12)]))
                s_values[i, j, k, : len(s)] = s
                coverage[i, j, k, : len(s)] = [covering(kinds[label], cl, b, value) for value in s]
    dims = ("limit_method", "cl", "b", "point")
    coords = {name: maps[name] for name in dims[:3]}
    return xr.Dataset({"s": (dims, s_values), "coverage": (dims, coverage)}, coords=coords)


def judged(maps, outcome="failed"):
    methods = json.loads(maps.attrs["methods"])
    findings = []
    for label in maps["limit_method"].to_numpy().tolist():
        for cl in maps["cl"].to_numpy().tolist():
            promises = methods[label]["promises"]
            rows = maps["worst_coverage"].sel(limit_method=label, cl=cl).to_numpy()
            worst = float(np.nanmin(rows)) if np.isfinite(rows).any() else float("nan")
            finding = "reported" if promises == "nothing" else "broken" if worst < cl - 1e-9 else "kept"
            findings.append(
                {
                    "limit_method": label,
                    "cl": cl,
                    "outcome": finding,
                    "promises": promises,
                    "sided": methods[label]["sided"],
                    "worst_coverage": worst,
                    "s_true": 2.303,
                    "b": 3.0,
                    "sentence": f"{label} covers {worst:.4f} at worst and promises {promises} at cl = {cl}.",
                }
            )
    return {
        "outcome": outcome,
        "sentence": "2 of 6 promises are broken: the worst coverage is 0.6321.",
        "smallest_deficit": 0.0157,
        "smallest_deficit_sentence": "With 10000 toys in each of 600 cells, a deficit of 0.016 would have been shown.",
        "findings": findings,
    }


@pytest.fixture(scope="session")
def make_maps():
    return grid_maps


@pytest.fixture(scope="session")
def make_curves():
    return grid_curves


@pytest.fixture(scope="session")
def make_verdict():
    return judged
