"""Maps made by hand: Poisson counts with known background, summed without covsvc."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import special, stats

from covsvc.interval_tables import Calibrated, IntervalTable

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
    names.append("exact_median_upper")
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
                    found["exact_median_upper"][at] = max(median, 0)
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
        "coverage_best": covered / N_TOYS,
        "coverage_low": low,
        "coverage_high": high,
        "upper_coverage": found["exact_upper_coverage"],
        "sigma_med": found["exact_median_upper"],
        "sigma_med_low": found["exact_median_upper"] * 0.99,
        "sigma_med_high": found["exact_median_upper"] * 1.01,
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


def expected_limits(kinds, cl=(0.9, 0.95), b=(0.0, 1.0, 3.0, 5.5), seen=3):
    """Return the upper limit that is at most as high with probability Phi(N) where there is no signal."""
    n_sigma = np.array([-2, -1, 0, 1, 2])
    shape = (len(kinds), len(cl), len(b))
    expected, asimov, observed = np.zeros((*shape, 5)), np.full((*shape, 5), np.nan), np.zeros(shape)
    for i, kind in enumerate(kinds.values()):
        for j, level in enumerate(cl):
            for k, background in enumerate(b):
                upper = np.maximum(upper_limits(kind, level, background)[1], 0)
                count = stats.poisson.ppf(stats.norm.cdf(n_sigma), background).astype(int)
                expected[i, j, k] = upper[count]
                observed[i, j, k] = upper[seen]
                if kind == "low":
                    asimov[i, j, k] = stats.norm.ppf(level) * np.sqrt(background + 1) + n_sigma * np.sqrt(background)
    dims = ("limit_method", "cl", "b", "n_sigma")
    return xr.Dataset(
        {"expected": (dims, expected), "asimov": (dims, asimov), "observed": (dims[:3], observed)},
        coords={"limit_method": list(kinds), "cl": list(cl), "b": list(b), "n_sigma": n_sigma},
        attrs={"observed_text": f"n = {seen}"},
    )


def limit_scan(labels=("classical",), points=25, **attrs):
    """Return limits on a cross section against a mass, where the background falls and the efficiency rises."""
    mass = np.geomspace(5, 5000, points)
    b, per_event = 40 / mass**0.5, 1e-46 * (1 + (60 / mass) ** 2) * (1 + mass / 60)
    expected, observed = np.zeros((points, len(labels), 5)), np.zeros((points, len(labels)))
    rng = np.random.default_rng(4)
    seen = rng.poisson(b)
    for place in range(len(labels)):
        for point in range(points):
            upper = stats.gamma.ppf(0.9, N + 1 + place) - b[point] * (place == 0)
            count = stats.poisson.ppf(stats.norm.cdf([-2, -1, 0, 1, 2]), b[point]).astype(int)
            expected[point, place] = np.maximum(upper[count], 0) * per_event[point]
            observed[point, place] = max(upper[seen[point]], 0) * per_event[point]
    return xr.Dataset(
        {
            "expected": (("point", "limit_method", "n_sigma"), expected),
            "observed": (("point", "limit_method"), observed),
        },
        coords={"parameter": ("point", mass), "limit_method": list(labels), "n_sigma": [-2, -1, 0, 1, 2]},
        attrs={"parameter_name": "mass (GeV)", "quantity_name": "cross section (cm²)", "cl": 0.9} | attrs,
    )


def null_claims(b=(0.3, 1.0, 3.0, 6.0, 10.0), tau=1.0):
    """Return how often a count is called significant where there is no signal, summed over both counts."""
    thresholds = np.array([1.0, 2.0, 3.0])
    nominal = stats.norm.sf(thresholds)
    n, off = np.arange(60)[:, np.newaxis], np.arange(120)[np.newaxis, :]
    by_sideband, by_whole = stats.poisson.sf(n - 1, off / tau), stats.poisson.sf(n - 1, (n + off) / (1 + tau))
    rates = {"p_sideband": [], "p_whole": []}
    for name, p in (("p_sideband", by_sideband), ("p_whole", by_whole)):
        for least in nominal:
            weight = [stats.poisson.pmf(n, value) * stats.poisson.pmf(off, tau * value) for value in b]
            rates[name].append([float((each * (p < least)).sum()) for each in weight])
    return xr.Dataset(
        {name: (("threshold", "b"), np.array(values)) for name, values in rates.items()}
        | {"nominal": ("threshold", nominal)},
        coords={"threshold": thresholds, "b": list(b)},
        attrs={"tau": tau},
    )


def exact_statistics(s_true=3.0, b=1.0):
    """Return the distributions of three statistics of one count with known background."""
    mean = s_true + b
    n = np.arange(80)
    pmf = stats.poisson.pmf(n, mean)

    def ratio(best):
        return 2 * (mean - best - np.where(n > 0, n * np.log(mean / np.maximum(best, 1e-300)), 0.0))

    t = ratio(n)
    q_mu = np.where(n <= mean, t, 0.0)
    q_mu_tilde = np.where(n <= mean, ratio(np.maximum(n, b)), 0.0)
    q = np.union1d(np.linspace(0, 9, 361), stats.norm.ppf([0.9, 0.95, 0.99]) ** 2)
    q = np.union1d(q, stats.norm.ppf([0.95, 0.975, 0.995]) ** 2)
    # a statistic may be an ulp below the node which is meant to be its value
    survival = [[pmf[found >= value - 1e-9].sum() for value in q] for found in (q_mu, q_mu_tilde, t)]
    sigma2 = s_true**2 / (2 * (s_true - b * np.log1p(s_true / b)))
    turn = s_true**2 / sigma2
    one_sided = stats.norm.sf(np.sqrt(q))
    tilde = np.where(q <= turn, one_sided, stats.norm.sf((q + turn) / (2 * np.sqrt(turn))))
    return xr.Dataset(
        {
            "survival": (("statistic", "q"), np.array(survival)),
            "asymptotic": (("statistic", "q"), np.stack([one_sided, tilde, stats.chi2.sf(q, 1)])),
        },
        coords={"statistic": ["q_mu", "q_mu_tilde", "t"], "q": q},
        attrs={"s_true": s_true, "b": b, "tau": None},
    )


MANY_SIGNALS = tuple(np.linspace(1, 46, 31).tolist())
INTERVAL_METHODS = {"max_gap": 1.6, "optimum_interval": 1.2, "p_max": 1.25, "poisson": 1.3}
"""Of each, what its median limit goes to where the signal is large, in units of it."""


def event_maps(cl=(0.9,), b=(0.0,), s_true=MANY_SIGNALS, options=None):
    """Return maps without exact values, as of events, whose median limits are a hyperbola in s_true."""
    maps = grid_maps(dict.fromkeys(INTERVAL_METHODS, "upper"), cl, b, s_true, exact=False)
    factor = xr.DataArray(list(INTERVAL_METHODS.values()), coords={"limit_method": list(INTERVAL_METHODS)})
    ratio = (factor + 2.3 / maps["s_true"].where(maps["s_true"] > 0)).broadcast_like(maps["coverage"])
    ratio = ratio.transpose(*maps["coverage"].dims)
    for end, by in (("", 1.0), ("_low", 0.99), ("_high", 1.01)):
        maps[f"sigma_med_over_true{end}"] = ratio * by
    experiment = {"name": "spectrum", "options": options or {}}
    maps.attrs["study"] = json.dumps(json.loads(maps.attrs["study"]) | {"experiment": experiment})
    methods = {
        label: {"name": label, "options": {}, "sided": "upper", "promises": "at_least"} for label in INTERVAL_METHODS
    }
    maps.attrs["methods"] = json.dumps(methods)
    return maps


def interval_table_by_hand(cl=0.9, last=60.0, nodes=400):
    """Return a table whose functions rise to their end, with events in whole ranges that exclude as a Poisson count."""
    mu = np.concatenate([[-np.log1p(-cl)], np.linspace(-np.log1p(-cl), last, nodes)[1:]])
    ends = np.array([special.gammaincinv(k + 1, cl) for k in range(200)])
    parts = []
    for highest in (0.99, 0.998):
        value = cl + (highest - cl) * (1 - np.exp(-(mu - mu[0]) / 9))
        thresholds, atom_ends = (np.where(places <= last, places, np.inf) for places in (ends, ends + 0.4))
        thresholds[0] = 0.0
        parts.append(Calibrated(mu, value, np.full(mu.shape, 2e-4), np.ones((len(mu), 1)), thresholds, atom_ends))
    made_by = {"seed": 17, "toys": 3_000_000, "version": "0.4.0"}
    return IntervalTable(cl, parts[0], parts[1], mu, np.ones((len(mu), 1)), made_by)


def texts_of(figure):
    texts = list(figure.texts)
    for axes in figure.axes:
        left, right = axes.get_xlim()
        low, high = axes.get_ylim()
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
        texts += [tick for tick in axes.get_xticklabels() if left <= tick.get_position()[0] <= right]
        texts += [tick for tick in axes.get_yticklabels() if low <= tick.get_position()[1] <= high]
    return [text for text in texts if text.get_visible() and text.get_text()]


def text_clashes(figure):
    """Return the texts that leave the figure and the pairs that overlap, the legend among them."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    named = [(text.get_text(), text.get_window_extent()) for text in texts_of(figure)]
    named += [("legend", legend.get_window_extent()) for legend in figure.legends]
    page = figure.bbox
    outside = [
        name for name, box in named if box.x0 < page.x0 or box.x1 > page.x1 or box.y0 < page.y0 or box.y1 > page.y1
    ]
    return outside + [(a, b) for (a, first), (b, second) in itertools.combinations(named, 2) if first.overlaps(second)]


@pytest.fixture(scope="session")
def clashes():
    return text_clashes


@pytest.fixture(scope="session")
def make_expected():
    return expected_limits


@pytest.fixture(scope="session")
def make_scan():
    return limit_scan


@pytest.fixture(scope="session")
def make_null():
    return null_claims


@pytest.fixture(scope="session")
def make_event_maps():
    return event_maps


@pytest.fixture(scope="session")
def make_table():
    return interval_table_by_hand


@pytest.fixture(scope="session")
def make_statistics():
    return exact_statistics


@pytest.fixture(scope="session")
def make_maps():
    return grid_maps


@pytest.fixture(scope="session")
def make_curves():
    return grid_curves


@pytest.fixture(scope="session")
def make_verdict():
    return judged
