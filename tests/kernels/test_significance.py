"""Kernels of significance at the edges of double precision."""

import mpmath
import numpy as np
import pytest

from covsvc.kernels.poisson import mean_upper
from covsvc.kernels.significance import _step_down, _step_up, significance_upper

EVENTS = [(1, 0.25), (1, 800.0), (2, 1e-3), (15, 15.75), (60, 15.75), (60, 1e-9), (300, 1000.0), (10_000, 9_000.0)]


@mpmath.workdps(60)
def log_fewer(n, mu):
    """Return ln P(N < n; mu)."""
    return mpmath.log(mpmath.gammainc(n, mu, mpmath.inf, regularized=True))


@mpmath.workdps(60)
def log_as_many(n, mu):
    """Return ln P(N >= n; mu)."""
    return mpmath.log(mpmath.gammainc(n, 0, mu, regularized=True))


@pytest.mark.parametrize(("n", "mu"), EVENTS)
def test_the_next_mean_has_the_same_probability(n, mu):
    after = mpmath.mpf(mu) + mpmath.mpf(float(_step_up(n, mu, 1.0)))
    log = log_fewer if mu > n else log_as_many
    assert float(log(n + 1, after) - log(n, mu)) == pytest.approx(0, abs=1e-11)


@pytest.mark.parametrize(("n", "mu"), [(n, mu) for n, mu in EVENTS if n > 1])
def test_the_mean_before_has_the_same_probability(n, mu):
    before = mpmath.mpf(mu) - mpmath.mpf(float(_step_down(n, mu, 1.0)))
    log = log_fewer if mu > n else log_as_many
    assert float(log(n - 1, before) - log(n, mu)) == pytest.approx(0, abs=1e-11 * max(1.0, mu / float(before)))


@pytest.mark.parametrize("whole", [True, False])
def test_fails_rather_than_hangs_where_too_many_counts_matter(whole):
    # one event outside of a millionth of the signal region: its fluctuations reach ten million events
    n, k, b = np.array([10**6]), np.array([1]), np.array([1e6])
    alpha = 1e-9
    found = significance_upper(n, k, b, 1 / (1 + 1e-6) if whole else 1e6, whole, alpha, mean_upper(n, alpha))
    assert np.isnan(found).all()
