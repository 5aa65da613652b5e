"""Mistakes that a change of a limit method may bring, and changes that bring none, as edits of a copy of the sources."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

PARTS = (
    "covsvc",
    "dashboards",
    "tests",
    "deploy",
    "docs",
    "benchmarks",
    "pyproject.toml",
    "README.md",
    "CONTRIBUTING.md",
    "do",
)
"""What a copy of the sources holds."""


@dataclass(frozen=True)
class Change:
    """An edit of one module.

    Attributes
    ----------
    name : str
        What it does, in words.
    module : str
        File below the package.
    edits : tuple of (str, str)
        Texts that stand there once, and what takes their place.
    study : str
        Key of `STUDIES`.
    labels : tuple of str
        Limit methods of that study which it concerns.
    tests : tuple of str
        Files below the folder of tests which may notice it.
    """

    name: str
    module: str
    edits: tuple[tuple[str, str], ...]
    study: str
    labels: tuple[str, ...]
    tests: tuple[str, ...] = ()


def copy_of(tree: Path, folder: Path, *changes: Change) -> Path:
    """Copy the sources of `tree` to a new folder, and change them there."""
    for part in filter(Path.exists, (tree / name for name in PARTS)):
        if part.is_dir():
            shutil.copytree(part, folder / part.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(part, folder)
    for change in changes:
        path = folder / "covsvc" / change.module
        text = path.read_text()
        for old, new in change.edits:
            if text.count(old) != 1:
                raise ValueError(f"{change.name}: {change.module} holds this {text.count(old)} times, not once: {old}")
            text = text.replace(old, new)
        path.write_text(text)
    return folder


def run_in(copy: Path, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python with the sources of a copy, to its end."""
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    given = {"cwd": copy, "env": environment, "capture_output": True, "text": True, "check": False} | options
    return subprocess.run([sys.executable, *command], **given)


LEVEL = 0.9
NO_EVENTS = -math.log(1.0 - LEVEL)
"""Limit of an observation without events: the largest signal that leaves it probable enough."""


def _study(
    name: str, experiment: Any, methods: Sequence[Any], s_true: Sequence[float], **others: Any
) -> dict[str, Any]:
    grid = {"cl": [LEVEL], "s_true": sorted(s_true), "b": [0.0], "n_toys": 1000, "toys_per_block": 1000, "seed": 1959}
    return {"name": name, "experiment": experiment, "methods": list(methods), **grid, **others}


STUDIES = {
    "counts": _study(
        "mutants-counts",
        "counting",
        [
            "classical",
            "poisson",
            "cls",
            "zech",
            "garwood",
            "crow_gardner",
            "feldman_cousins",
            {"name": "feldman_cousins", "options": {"monotone_in_b": True}, "label": "feldman_cousins monotone"},
            "bayes_flat",
            "bayes_jeffreys",
            "bayes_reciprocal",
            "profile_likelihood",
            {"name": "profile_likelihood", "options": {"bounded": False}, "label": "profile_likelihood unbounded"},
            "q_mu",
            {"name": "q_mu", "options": {"procedure": "clsb"}, "label": "q_mu clsb"},
            "q_mu_tilde",
            {"name": "q_mu_tilde", "options": {"procedure": "clsb"}, "label": "q_mu_tilde clsb"},
            "sampling_distribution",
            {"name": "sampling_distribution", "options": {"p_value": "inclusive"}, "label": "sampling inclusive"},
        ],
        [*(0.5 * i for i in range(21)), NO_EVENTS],
        b=[0.0, 0.5, 3.0, 5.5],
    ),
    "low level": _study(
        "mutants-low-level", "counting", ["feldman_cousins"], [0.25 * i for i in range(17)], cl=[0.5, 0.6], b=[3.0, 5.5]
    ),
    "pairs": _study(
        "mutants-pairs",
        {"name": "on_off", "options": {"tau": 2.0}},
        [
            "significance_sideband",
            "significance_independent",
            "bayes_uncertain_background",
            "profile_likelihood",
            "q_mu",
            "q_mu_tilde",
            "sampling_distribution",
        ],
        [float(i) for i in range(11)],
        b=[0.5, 2.0],
    ),
    "events": _study(
        "mutants-events",
        "spectrum",
        ["max_gap", "p_max", "optimum_interval", {"name": "fixed_interval_n", "options": {"n": 2}, "label": "fixed 2"}],
        [1.0, 2.0, 2.5, 3.0, 3.5, 4.3, 5.2, 6.0, 7.5, 10.0, 14.0, 20.0],
        n_toys=40_000,
        toys_per_block=10_000,
        keep="toys",
    ),
    "events over background": _study(
        "mutants-events-over-background",
        {"name": "spectrum", "options": {"known_b": 3.0, "known_edges": [0.0, 0.5]}},
        ["max_gap", "p_max", "optimum_interval"],
        [0.0, 1.0, 3.0, 6.0, 10.0],
        n_toys=20_000,
        toys_per_block=10_000,
        keep="toys",
    ),
    "densities": _study(
        "mutants-densities",
        "gaussian_flat",
        [
            "profile_likelihood",
            "likelihood_integration",
            {
                "name": "mc_likelihood",
                "options": {"n_toys": 1000, "largest_s": 30.0, "largest_b": 50.0},
                "label": "mc_likelihood",
            },
        ],
        [0.0, 2.0, 5.0, 10.0],
        b=[1.0, 3.0],
        n_toys=20_000,
        toys_per_block=10_000,
        keep="toys",
    ),
}
"""Small studies in which the changes below are seen."""


def _mutant(
    name: str, module: str, old: str, new: str, study: str, labels: str, tests: str, *more: tuple[str, str]
) -> Change:
    return Change(name, module, ((old, new), *more), study, tuple(labels.split(", ")), tuple(tests.split()))


MUTANTS = (
    _mutant(
        "n off by one",
        "kernels/poisson.py",
        "special.gammainccinv(np.asarray(n) + 1.0, tail)",
        "special.gammainccinv(np.maximum(np.asarray(n) * 1.0, 1.0), tail)",
        "counts",
        "classical, poisson, garwood",
        "methods/test_classical.py methods/test_poisson.py methods/test_garwood.py kernels/test_poisson.py",
    ),
    _mutant(
        "b dropped",
        "methods/classical.py",
        "mean_upper(observed.n, 1.0 - cl) - observed.b",
        "mean_upper(observed.n, 1.0 - cl)",
        "counts",
        "classical",
        "methods/test_classical.py",
    ),
    _mutant(
        "b 2 % too large",
        "methods/classical.py",
        "- observed.b",
        "- 1.02 * observed.b",
        "counts",
        "classical",
        "methods/test_classical.py",
    ),
    _mutant(
        "b 2 % too small",
        "methods/zech.py",
        "observed.n + 1.0, observed.b, cl",
        "observed.n + 1.0, 0.98 * observed.b, cl",
        "counts",
        "zech",
        "methods/test_identities.py",
    ),
    _mutant(
        "clipped instead of empty",
        "methods/classical.py",
        "one_sided(mean_upper(observed.n, 1.0 - cl) - observed.b)",
        "one_sided((mean_upper(observed.n, 1.0 - cl) - observed.b).clip(0.0))",
        "counts",
        "classical",
        "methods/test_classical.py",
    ),
    _mutant(
        "alpha / 2 for alpha",
        "methods/poisson.py",
        "mean_upper(n, 1.0 - cl)",
        "mean_upper(n, 0.5 * (1.0 - cl))",
        "counts",
        "poisson",
        "methods/test_poisson.py",
    ),
    _mutant(
        "alpha for alpha / 2",
        "methods/garwood.py",
        "tail = 0.5 * (1.0 - cl)",
        "tail = 1.0 - cl",
        "counts",
        "garwood",
        "methods/test_garwood.py",
    ),
    _mutant(
        "lower end from n + 1",
        "methods/garwood.py",
        "mean_lower(observed.n, tail)",
        "mean_lower(observed.n + 1, tail)",
        "counts",
        "garwood",
        "methods/test_garwood.py",
    ),
    _mutant(
        "CLb left out",
        "methods/cls.py",
        "one_sided(truncated_upper(observed.n + 1.0, observed.b, cl))",
        "one_sided(truncated_upper(observed.n + 1.0, 0.0, cl) - observed.b)",
        "counts",
        "cls",
        "methods/test_cls.py",
    ),
    _mutant(
        "CLb of fewer than n",
        "kernels/poisson.py",
        "q = special.gammaincc(a, b)",
        "q = special.gammaincc(np.where(a > 1.0, a - 1.0, a), b)",
        "counts",
        "cls, zech, bayes_flat, bayes_jeffreys, bayes_reciprocal, sampling inclusive",
        "methods/test_cls.py methods/test_bayes.py kernels/test_poisson.py",
    ),
    _mutant(
        "prior exponent 1/2 for 0",
        "methods/bayes.py",
        "truncated_upper(observed.n + 1.0, observed.b, cl)",
        "truncated_upper(observed.n + 0.5, observed.b, cl)",
        "counts",
        "bayes_flat",
        "methods/test_bayes.py",
    ),
    _mutant(
        "prior exponent of the wrong sign",
        "methods/bayes.py",
        "(1.0 - self.prior_exponent)",
        "(1.0 + self.prior_exponent)",
        "counts",
        "bayes_jeffreys, bayes_reciprocal",
        "methods/test_bayes.py",
    ),
    _mutant(
        ">= for > in a belt",
        "kernels/belts.py",
        "if outside(n + 1, K, right) > alpha:\n            return right",
        "if outside(n + 1, K, right) >= alpha:\n            return right",
        "counts",
        "feldman_cousins, feldman_cousins monotone",
        "methods/test_feldman_cousins.py",
    ),
    _mutant(
        "belt without the count that completes it",
        "kernels/belts.py",
        "if outside(n + 1, K, right) > alpha:\n            return right\n"
        "        if outside(n + 1, K, left) > alpha:\n            return _root(n + 1, K, alpha, left, right, True)",
        "if outside(n, K, right) > alpha:\n            return right\n"
        "        if outside(n, K, left) > alpha:\n            return _root(n, K, alpha, left, right, True)",
        "counts",
        "feldman_cousins, feldman_cousins monotone",
        "methods/test_feldman_cousins.py",
    ),
    _mutant(
        "Feldman-Cousins on a grid of 0.05",
        "methods/feldman_cousins.py",
        "two_sided(lower, upper)",
        "two_sided(-0.05 * (-lower // 0.05), 0.05 * (upper // 0.05))",
        "counts",
        "feldman_cousins, feldman_cousins monotone",
        "methods/test_feldman_cousins.py",
    ),
    _mutant(
        "order of ties at s = 0",
        "kernels/belts.py",
        "K = int(b)\n",
        "K = n\n",
        "low level",
        "feldman_cousins",
        "methods/test_feldman_cousins.py",
    ),
    _mutant(
        "rise with b not followed",
        "kernels/belts.py",
        "while beyond < 40:",
        "while beyond < 0:",
        "counts",
        "feldman_cousins monotone",
        "methods/test_feldman_cousins.py",
    ),
    _mutant(
        "root left after two steps",
        "kernels/belts.py",
        "nu = 0.5 * (left + right)\n    for _ in range(200):",
        "nu = 0.5 * (left + right)\n    for _ in range(2):",
        "counts",
        "feldman_cousins, feldman_cousins monotone, crow_gardner",
        "methods/test_feldman_cousins.py methods/test_crow_gardner.py",
    ),
    _mutant(
        "last count of a run outside of it",
        "kernels/poisson.py",
        "k = hi + 1\n    term = pmf(k, nu)",
        "k = hi\n    term = pmf(k, nu)",
        "counts",
        "feldman_cousins, feldman_cousins monotone, crow_gardner",
        "methods/test_feldman_cousins.py methods/test_crow_gardner.py kernels/test_poisson.py",
    ),
    _mutant(
        "b rounded down to a whole number",
        "methods/crow_gardner.py",
        "two_sided(lower - observed.b, upper - observed.b)",
        "two_sided(lower - observed.b // 1.0, upper - observed.b // 1.0)",
        "counts",
        "crow_gardner",
        "methods/test_crow_gardner.py",
    ),
    _mutant(
        "longer runs not looked at",
        "kernels/belts.py",
        "while not rising_root(n + 1, n + length, alpha) <= best:",
        "while length <= first:",
        "counts",
        "crow_gardner",
        "methods/test_crow_gardner.py",
    ),
    _mutant(
        "2.71 for 1.64 as critical value",
        "methods/profile_likelihood.py",
        "special.ndtri(1.0 - cl)",
        "special.ndtri(0.5 * (1.0 - cl))",
        "counts",
        "profile_likelihood, profile_likelihood unbounded",
        "methods/test_profile_likelihood.py",
    ),
    _mutant(
        "0.71 for 1.64 as critical value",
        "methods/q_mu.py",
        "special.ndtri(tail)",
        "special.ndtri(2.0 * tail)",
        "counts",
        "q_mu clsb, q_mu_tilde clsb",
        "methods/test_q_mu.py",
    ),
    _mutant(
        "profile without the bound",
        "methods/profile_likelihood.py",
        "likelihood_upper(n.astype(np.float64), off, tau, z, self.bounded)",
        "likelihood_upper(n.astype(np.float64), off, tau, z, False)",
        "counts",
        "profile_likelihood",
        "methods/test_profile_likelihood.py",
    ),
    _mutant(
        "q_mu_tilde treated as q_mu below zero",
        "kernels/profile.py",
        "if tilde and _signal(n, off, tau) < 0.0:  # just there q > q_A",
        "if tilde and n < 0.0:",
        "counts",
        "q_mu_tilde, q_mu_tilde clsb",
        "methods/test_q_mu.py",
    ),
    _mutant(
        "mid-p in the numerator only",
        "kernels/sampling.py",
        "return -log_alpha if cls else -math.log(2.0 * alpha) - b",
        "return -math.log(2.0 * alpha) - (0.0 if cls else b)",
        "counts",
        "sampling_distribution",
        "methods/test_sampling_distribution.py kernels/test_sampling.py",
        ("at_zero = _mid_sum(n, b)", "at_zero = _mid_sum(n, b) + 1.0"),
        (
            "wanted = alpha * (1.0 - _mid_above(n, b)) if cls else alpha",
            "wanted = alpha * (1.0 - _mid_above(n, b) + 0.5 * pmf(n, b)) if cls else alpha",
        ),
    ),
    _mutant(
        "end point outside of the interval",
        "kernels/outcomes.py",
        "if upper[c, i] >= s_true:",
        "if upper[c, i] > s_true:",
        "counts",
        "cls, zech, bayes_flat, classical, poisson",
        "kernels/test_outcomes.py",
    ),
    _mutant(
        "significance of a whole number, rounded down",
        "kernels/significance.py",
        "k = math.ceil(mu / zeta - n) if whole else math.ceil(mu / zeta)",
        "k = math.floor(mu / zeta - n) if whole else math.floor(mu / zeta)",
        "pairs",
        "significance_sideband, significance_independent",
        "methods/test_significance.py kernels/test_significance.py",
    ),
    _mutant(
        "share of the sideband for that of the whole",
        "methods/significance.py",
        "b, observed.zeta, True, cl",
        "b, observed.zeta_sb, True, cl",
        "pairs",
        "significance_sideband",
        "methods/test_significance.py",
    ),
    _mutant(
        "off count off by one",
        "methods/bayes_uncertain_background.py",
        '(1.0 if self.prior == "flat" else 0.5)',
        '(0.0 if self.prior == "flat" else 0.5)',
        "pairs",
        "bayes_uncertain_background",
        "methods/test_bayes_uncertain_background.py",
    ),
    _mutant(
        "estimated background taken as known",
        "methods/profile_likelihood.py",
        "n, off, tau = observed.n_on, observed.n_off.astype(np.float64), observed.tau",
        "n, off, tau = observed.n_on, observed.n_off / observed.tau, math.inf",
        "pairs",
        "profile_likelihood",
        "methods/test_profile_likelihood.py",
    ),
    _mutant(
        "Asimov set from the off count alone",
        "kernels/profile.py",
        "return off if tau == math.inf else (n + off) / (1.0 + tau)",
        "return off if tau == math.inf else max(off, 0.5) / tau",
        "pairs",
        "q_mu, q_mu_tilde",
        "methods/test_q_mu.py",
    ),
    _mutant(
        "mid-p in the numerator only, on and off",
        "kernels/sampling.py",
        "cl_b += row_0 * (below_0 - (1.0 - w) * tied_0)",
        "cl_b += row_0 * below_0",
        "pairs",
        "sampling_distribution",
        "methods/test_sampling_distribution.py kernels/test_sampling.py",
    ),
    _mutant(
        "ties told apart by rounding",
        "kernels/sampling.py",
        "TIE = 1e-9\n",
        "TIE = 0.0\n",
        "pairs",
        "sampling_distribution",
        "methods/test_sampling_distribution.py kernels/test_sampling.py",
    ),
    _mutant(
        "gap at the upper end forgotten",
        "kernels/intervals.py",
        "gaps[toy] = max(largest, 1.0 - before)",
        "gaps[toy] = largest if largest > 0.0 else 1.0",
        "events",
        "max_gap",
        "methods/test_max_gap.py kernels/test_intervals.py",
    ),
    _mutant(
        "straight lines for polynomials",
        "kernels/gaps.py",
        "_DEGREE = 9 ",
        "_DEGREE = 1 ",
        "events",
        "max_gap",
        "methods/test_max_gap.py kernels/test_gaps.py",
    ),
    _mutant(
        "one term of a series for all",
        "kernels/gaps.py",
        "_FEW_GAPS = 12.0",
        "_FEW_GAPS = 1.5",
        "events",
        "max_gap",
        "methods/test_max_gap.py kernels/test_gaps.py",
    ),
    _mutant(
        "first crossing for last",
        "methods/p_max.py",
        'last=self.crossing == "last"',
        "last=False",
        "events",
        "p_max",
        "methods/test_interval_coverage.py methods/test_yellin_paper.py",
    ),
    _mutant(
        "nodes of a table shifted by 0.5 %",
        "interval_tables.py",
        "return Boundary(self.mu, self.g)",
        "return Boundary(0.995 * self.mu, self.g)",
        "events",
        "p_max, optimum_interval",
        "test_interval_tables.py methods/test_optimum_interval.py methods/test_interval_coverage.py",
    ),
    _mutant(
        "nodes of a table shifted by 2 %",
        "interval_tables.py",
        "return Boundary(self.mu, self.g)",
        "return Boundary(0.98 * self.mu, self.g)",
        "events",
        "p_max, optimum_interval",
        "test_interval_tables.py methods/test_optimum_interval.py methods/test_interval_coverage.py",
    ),
    _mutant(
        "interpolated across the end of an atom",
        "interval_tables.py",
        "return Boundary(self.mu, self.g)",
        "return Boundary(self.mu[::8], self.g[::8])",
        "events",
        "p_max, optimum_interval",
        "test_interval_tables.py methods/test_interval_coverage.py",
    ),
    _mutant(
        "strict at the end of an atom",
        "interval_tables.py",
        "mu[:, None] <= atom_ends",
        "mu[:, None] < atom_ends",
        "events",
        "p_max",
        "test_interval_tables.py methods/test_interval_coverage.py",
    ),
    _mutant(
        "another method's table",
        "methods/optimum_interval.py",
        "return interval_table(cl).c_max.boundary",
        "return interval_table(cl).p_max.boundary",
        "events",
        "optimum_interval",
        "methods/test_optimum_interval.py methods/test_yellin_paper.py",
    ),
    _mutant(
        "one event less in the interval",
        "methods/fixed_interval_n.py",
        "interval_table(cl).fixed(self.n)",
        "interval_table(cl).fixed(max(self.n - 1, 0))",
        "events",
        "fixed 2",
        "methods/test_interval_coverage.py methods/test_yellin_paper.py test_interval_tables.py",
    ),
    _mutant(
        "last interval of a toy forgotten",
        "kernels/intervals.py",
        "for k in range(min(events - i, f.size)):",
        "for k in range(min(events - i - 1, f.size)):",
        "events",
        "p_max, optimum_interval, fixed 2",
        "kernels/test_intervals.py",
    ),
    _mutant(
        "search that stops too early",
        "kernels/intervals.py",
        "while high - low > 1:\n        middle = (low + high) // 2\n        if _excludes(",
        "while high - low > 4:\n        middle = (low + high) // 2\n        if _excludes(",
        "events",
        "p_max, optimum_interval, fixed 2",
        "kernels/test_intervals.py",
    ),
    _mutant(
        "seed reused between blocks",
        "study.py",
        "bits.advance(block * _JUMP)",
        "bits.advance(0)",
        "events",
        "max_gap, p_max, optimum_interval, fixed 2",
        "test_study.py",
    ),
    _mutant(
        "spectrum of the signal for the background's",
        "kernels/gaps.py",
        "x = s * du + b * dv\n        mu",
        "x = (s + b) * du\n        mu",
        "events over background",
        "max_gap",
        "methods/test_max_gap.py kernels/test_gaps.py",
    ),
    _mutant(
        "b of the interval methods 2 % too large",
        "interval_tables.py",
        "boundary.crossing_over(observed.n, observed.u, float(observed.b), observed.v, last)",
        "boundary.crossing_over(observed.n, observed.u, 1.02 * float(observed.b), observed.v, last)",
        "events over background",
        "p_max, optimum_interval",
        "methods/test_optimum_interval.py test_interval_tables.py",
    ),
    _mutant(
        "2.71 for 1.64 as critical value, events",
        "methods/profile_likelihood.py",
        "special.ndtri(1.0 - cl)",
        "special.ndtri(0.5 * (1.0 - cl))",
        "densities",
        "profile_likelihood",
        "methods/test_profile_likelihood_events.py",
    ),
    _mutant(
        "prior of the background proportional to it",
        "kernels/symmetric.py",
        "moments[i] = lo + i + 1.0",
        "moments[i] = lo + i + 2.0",
        "densities",
        "likelihood_integration",
        "methods/test_likelihood_integration.py",
    ),
    _mutant(
        "atom of the fitted signal on its wrong side",
        "kernels/signal_estimates.py",
        "if is_atom[node]:\n            y = 1.0",
        "if is_atom[node]:\n            y = 0.0",
        "densities",
        "mc_likelihood",
        "methods/test_mc_likelihood.py kernels/test_signal_estimates.py",
    ),
    _mutant(
        "seed reused between numbers of events",
        "methods/mc_likelihood.py",
        "rng = self._rng(0, n)",
        "rng = self._rng(0, 0)",
        "densities",
        "mc_likelihood",
        "methods/test_mc_likelihood.py",
    ),
)
"""Realistic mistakes."""


REFACTORINGS = (
    _mutant(
        "comments and docstrings",
        "methods/classical.py",
        '"""Return the limits of each count, expected signal events."""\n',
        '"""Return the limits of all counts at once."""\n        # the closed form\n',
        "counts",
        "classical",
        "",
    ),
    _mutant(
        "a value named",
        "methods/classical.py",
        "return one_sided(mean_upper(observed.n, 1.0 - cl) - observed.b)",
        "tail = 1.0 - cl\n        return one_sided(mean_upper(observed.n, tail) - observed.b)",
        "counts",
        "classical",
        "",
    ),
    _mutant(
        "a variable renamed",
        "kernels/belts.py",
        "log = math.log(2.0 / alpha)\n    return max(float(n), b) + log"
        " + math.sqrt(log * log + 2.0 * max(float(n), b) * log)",
        "reach = math.log(2.0 / alpha)\n    return max(float(n), b) + reach"
        " + math.sqrt(reach * reach + 2.0 * max(float(n), b) * reach)",
        "counts",
        "feldman_cousins, feldman_cousins monotone",
        "",
    ),
    _mutant(
        "a function renamed",
        "kernels/gaps.py",
        "def _other_root(x: float)",
        "def _second_root(x: float)",
        "events",
        "max_gap",
        "",
        ("d = _other_root(x)", "d = _second_root(x)"),
    ),
    _mutant(
        "a function moved",
        "methods/q_mu.py",
        "\n\ndef _quantile(tail: float) -> float:\n    return max(-float(special.ndtri(tail)), 0.0)\n",
        "",
        "counts",
        "q_mu, q_mu clsb, q_mu_tilde, q_mu_tilde clsb",
        "",
        (
            "@dataclass(frozen=True)\nclass QMu:",
            "def _quantile(tail: float) -> float:\n    return max(-float(special.ndtri(tail)), 0.0)\n\n\n"
            "@dataclass(frozen=True)\nclass QMu:",
        ),
    ),
    _mutant(
        "a choice taken out of a loop",
        "kernels/profile.py",
        "    for i in range(n.size):\n        upper[i] = _level(n[i], off[i], tau, _BOUNDED if bounded else _UNBOUNDED, z)",
        "    kind = _BOUNDED if bounded else _UNBOUNDED\n    for i in range(n.size):\n"
        "        upper[i] = _level(n[i], off[i], tau, kind, z)",
        "counts",
        "profile_likelihood, profile_likelihood unbounded",
        "",
    ),
    _mutant(
        "set for all toys, not for distinct counts",
        "methods/poisson.py",
        "n, index = np.unique(observed.n, return_inverse=True)\n        return one_sided(mean_upper(n, 1.0 - cl)[index])",
        "return one_sided(np.asarray(mean_upper(observed.n, 1.0 - cl)))",
        "counts",
        "poisson",
        "",
    ),
    _mutant(
        "a loop written as an expression",
        "kernels/intervals.py",
        "        before = 0.0\n        for i in range(start, start + n[toy]):\n"
        "            largest = max(largest, u[i] - before)\n            before = u[i]\n"
        "        gaps[toy] = max(largest, 1.0 - before)\n",
        "        inside = u[start : start + n[toy]]\n        if inside.size > 1:\n"
        "            largest = np.diff(inside).max()\n"
        "        gaps[toy] = max(inside[0], largest, 1.0 - inside[-1]) if inside.size else 1.0\n",
        "events",
        "max_gap",
        "",
    ),
    _mutant(
        "a function that nothing calls",
        "kernels/poisson.py",
        "_TINY = 1e-280",
        'def odds(p: float) -> float:\n    """Return p over its complement."""\n    return p / (1.0 - p)\n\n\n'
        "_TINY = 1e-280",
        "counts",
        "feldman_cousins, crow_gardner, classical",
        "",
    ),
)
"""Changes of the text that leave every limit as it is."""
