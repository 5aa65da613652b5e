"""The contracts of covsvc, and what is known of the method and the experiment."""

import numpy as np
import pytest
from scipy import integrate, special, stats
from stranger.experiments import FluctuatingEfficiency
from stranger.limits import PowerPrior

import covsvc
from covsvc import Counts
from covsvc.testing import ExperimentContract, MethodContract


class TestPowerPrior(MethodContract):
    method = PowerPrior()
    more = {"many events": [Counts(10_000, 9_000.0), Counts(100_000, 3.0), Counts(5, 1e5)]}


class TestPowerPriorFlat(MethodContract):
    method = PowerPrior(m=0.0)


class TestFluctuatingEfficiency(ExperimentContract):
    experiment = FluctuatingEfficiency(relative_error=0.2)
    data = {"n": 3, "b": 1.5}


@pytest.mark.parametrize("cl", [0.68, 0.9, 0.95])
def test_limits_without_background_or_events_are_those_of_a_gamma_distribution(cl):
    n = np.arange(30)
    # without background, s ~ Gamma(n + 1/2); without events, s ~ Gamma(1/2): the square of half a Gaussian
    assert PowerPrior().limits(Counts(n, 0.0), cl).upper == pytest.approx(special.gammaincinv(n + 0.5, cl), rel=1e-10)
    assert PowerPrior().limits(Counts([0, 0], [1.0, 80.0]), cl).upper == pytest.approx(
        special.erfinv(cl) ** 2, rel=1e-10
    )


@pytest.mark.parametrize(("n", "b"), [(1, 0.5), (3, 5.5), (12, 4.0), (40, 60.0)])
def test_the_posterior_below_a_limit_is_cl_by_quadrature(n, b):
    upper = PowerPrior().limits(Counts(n, b), 0.9).upper.item()

    def posterior(t):  # in t = sqrt(s), where the prior is flat
        return np.exp(n * np.log((t * t + b) / (n + b)) - t * t)

    below = integrate.quad(posterior, 0, np.sqrt(upper), epsabs=0, epsrel=1e-11)[0]
    above = integrate.quad(posterior, np.sqrt(upper), np.sqrt(upper) + 30, epsabs=0, epsrel=1e-11)[0]
    assert below / (below + above) == pytest.approx(0.9, abs=1e-9)


def test_a_flat_prior_has_the_limits_of_bayes_flat():
    seen = Counts([0, 1, 3, 10, 100], [0.0, 2.5, 5.5, 3.0, 90.0])
    assert PowerPrior(m=0.0).limits(seen, 0.9).upper == pytest.approx(
        covsvc.limits("bayes_flat", seen, cl=0.9).upper, rel=1e-9
    )


def test_counts_without_background_are_negative_binomial():
    toys, shape = 20_000, 1 / 0.3**2
    n = FluctuatingEfficiency(relative_error=0.3).toys(8.0, 0.0, toys, np.random.default_rng(1999))[0].n
    at = np.arange(60)
    below = np.searchsorted(np.sort(n), at, side="right") / toys
    distance = np.abs(below - stats.nbinom.cdf(at, shape, shape / (shape + 8.0))).max()
    assert distance < np.sqrt(np.log(2 / 1e-4) / (2 * toys))  # Massart's bound: missed once in 10,000 seeds at most
