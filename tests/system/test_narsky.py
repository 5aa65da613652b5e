"""The studies of events with densities, as a user runs them: counts and likelihoods on the same toys."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import covsvc
from covsvc import Counts

pytestmark = [pytest.mark.heavy, pytest.mark.system, pytest.mark.timeout(1800)]

STUDIES = Path(__file__).parents[2] / "deploy" / "studies"


def carry_out(name, folder):
    """Run a study with its report; return what was printed, its cube and its folder."""
    command = [sys.executable, "-m", "covsvc", "run", str(STUDIES / f"{name}.yaml"), "--workers", "2"]
    ended = subprocess.run(
        [*command, "--report", "report"], cwd=folder, capture_output=True, text=True, timeout=1700, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, covsvc.open_cube(folder / "coverage-cubes", name).load(), folder


@pytest.fixture(scope="module")
def narsky(tmp_path_factory):
    return carry_out("narsky-toy", tmp_path_factory.mktemp("narsky"))


@pytest.fixture(scope="module")
def cleo(tmp_path_factory):
    return carry_out("cleo-likelihood", tmp_path_factory.mktemp("cleo"))


def printed(told, method):
    """Return the upper end that the table of limits holds."""
    (line,) = (line for line in told.splitlines() if line.split()[:1] == [method] and "0.90" in line)
    return float(line.replace("]", "").partition("+-")[0].split()[-1])


def in_the_box():
    """Return the part of the signal of the study of CLEO in its signal region, of that within the range."""
    plane = stats.multivariate_normal([0, 0], [[400, 500], [500, 2500]])
    across, down = stats.norm(0, 20), stats.gamma(2, scale=1.5 * 50)
    found = []
    for m, low, high in ((60, -300, 100), (200, -500, 300)):
        core = plane.cdf([m, high], lower_limit=[-m, low], rng=np.random.default_rng(1))
        found.append(0.7 * core + 0.3 * (across.cdf(m) - across.cdf(-m)) * down.cdf(-low))
    return found[0] / found[1]


def check_plugged_in(cube, in_region, per_sideband):
    """Hold toys to sums over all pairs of counts: the smallest exact p times their number."""
    p = []
    for b in cube["b"].values.tolist():
        off = np.arange(int(stats.poisson.isf(1e-13, b / per_sideband)) + 2) if b else np.arange(1)
        for s in cube["s_true"].values.tolist():
            n = np.arange(int(stats.poisson.isf(1e-13, in_region * s + b)) + 2) if s + b else np.arange(1)
            at_n, at_off = (each.ravel() for each in np.meshgrid(n, off, indexing="ij"))
            chance = np.outer(stats.poisson.pmf(n, in_region * s + b), stats.poisson.pmf(off, b / per_sideband)).ravel()
            for method in ("classical", "bayes_flat"):
                limits = covsvc.limits(method, Counts(at_n, at_off * per_sideband), 0.9)
                exact = float(chance[limits.cover(s)].sum())
                at = cube.sel(limit_method=method, cl=0.9, b=b, s_true=s)
                p.append(stats.binomtest(int(at["n_covered"]), int(at["n_toys"]), min(exact, 1.0)).pvalue)
    assert len(p) == 300
    assert min(p) * len(p) > 1e-3


def test_counting_methods_on_the_toy_model_cover_as_sums_over_counts_say(narsky):
    # Narsky (2000), Section 4: |x| < 2.5 holds 0.98758 of the signal, the sidebands twice the background
    check_plugged_in(narsky[1], 1 - 2 * stats.norm.sf(2.5), 0.5)


def test_counting_methods_on_mass_and_energy_cover_as_sums_over_counts_say(cleo):
    check_plugged_in(cleo[1], in_the_box(), 0.25)


def test_no_limit_fails_but_where_there_is_no_posterior(narsky, cleo):
    for (_, cube, _), in_region, per_sideband in (
        (narsky, 1 - 2 * stats.norm.sf(2.5), 0.5),
        (cleo, in_the_box(), 0.25),
    ):
        failed = cube["n_failed"].sel(cl=0.9).sum(["b", "s_true"])
        assert {str(each.limit_method.item()) for each in failed if each} == {"bayes_reciprocal"}
        there = cube.sel(limit_method="bayes_reciprocal", cl=0.9)
        b, s = np.meshgrid(cube["b"], cube["s_true"], indexing="ij")
        chances = np.exp(-(in_region * s + b + b / per_sideband)).ravel()
        counts = zip(
            there["n_failed"].values.ravel().tolist(), there["n_toys"].values.ravel().tolist(), chances, strict=True
        )
        p = [stats.binomtest(n, toys, chance).pvalue for n, toys, chance in counts]
        assert min(p) * len(p) > 1e-3


def test_the_asymptotic_likelihood_limit_fails_where_it_is_known_to(narsky):
    # b = 0, s = 1: no event has the limit z^2 / 2 = 0.82 (Wilks), and so has one with a ratio r of the densities of
    # 0.82 / (1 - r) if r < 1, below 1 where r = 20 phi(x) < 0.1788; two or more events nearly always have more
    z2 = stats.norm.isf(0.1) ** 2
    far = 2 * stats.norm.sf(np.sqrt(-2 * np.log((1 - z2 / 2) * np.sqrt(2 * np.pi) / 20)))
    missed = np.exp(-1) * (1 + far + far**2 / 2)
    at = narsky[1].sel(limit_method="profile_likelihood", cl=0.9, b=0, s_true=1)
    assert stats.binomtest(int(at["n_covered"]), int(at["n_toys"]), 1 - missed).pvalue > 1e-3


# I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Table 1; Feldman-Cousins there is "about 2.5"
@pytest.mark.parametrize(
    ("method", "upper"),
    [
        ("bayes_flat", 3.57),
        ("bayes_jeffreys", 3.30),
        ("bayes_reciprocal", 3.06),
        ("classical", 1.18),
        ("feldman_cousins", 2.45),
    ],
)
def test_limits_from_counts_are_those_of_the_table(cleo, method, upper):
    assert printed(cleo[0], method) == pytest.approx(upper, abs=5e-3)


def test_events_far_from_the_peak_have_nearly_the_limit_of_none(cleo):
    # Table 1: 2.30 = ln 10, where no event can be signal; the ratios of the densities here are up to 0.07
    assert np.log(10) < printed(cleo[0], "likelihood_integration") < 1.07 * np.log(10)


def test_the_order_of_the_limits_is_that_of_figure_1(narsky):
    # Section 4, n = 3 and b = 2: integration is the most conservative, priors are ordered, significance is below classical
    limit = {name: printed(narsky[0], name) for name in narsky[1]["limit_method"].values.tolist()}
    assert limit["bayes_reciprocal"] < limit["bayes_jeffreys"] < limit["bayes_flat"] < limit["likelihood_integration"]
    assert limit["significance_sideband"] < limit["classical"] < limit["likelihood_integration"]


def test_reports_show_the_events_over_their_densities(narsky, cleo):
    for _, _, folder in (narsky, cleo):
        page = (folder / "report" / "index.html").read_text()
        assert 'id="densities"' in page
        assert {"densities.png", "densities.svg"} <= {path.name for path in (folder / "report" / "figures").iterdir()}
