"""The distribution of the largest interval against orderings counted one by one, toys and closed forms."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from reference_scan import least_window_cdf, maximum_gap_cdf, toys
from scipy import special, stats

from covsvc.kernels.scan import interval_cdf, interval_cdf_half, interval_cdfs

MEANS = (0.1, 1.0, 2.3, 10.0, 30.0, 54.0, 100.0)


@pytest.mark.parametrize(
    ("n", "x", "mu"),
    [
        (0, 0.7, 1.2),
        (2, 2.0, 3.0),
        (4, 4.0, 6.0),
        (7, 10.0, 20.0),
        (12, 17.0, 20.0),
        (1, 0.5, 1.2),
        (2, 0.9, 2.0),
        (0, 0.22, 0.8),
        (1, 0.3, 1.0),
    ],
)
def test_agrees_with_orderings_counted_one_by_one(n, x, mu):
    assert interval_cdf(n, x, mu) == pytest.approx(least_window_cdf(n, x, mu), rel=0, abs=1e-12)


@pytest.mark.parametrize("mu", MEANS)
def test_of_the_maximum_gap_is_equation_2(mu):
    fractions = (0.07, 0.1, 0.14, 0.2, 0.24, 0.26, 0.3, 0.3334, 0.37, 0.4, 0.43, 0.46, 0.499, 0.5, 0.52, 0.7, 0.95, 1.0)
    with mpmath.workdps(80):
        exact = [float(maximum_gap_cdf(fraction * mu, mu)) for fraction in fractions]
    found = [interval_cdf(0, fraction * mu, mu) for fraction in fractions]
    assert found == pytest.approx(exact, rel=0, abs=1e-13)


@pytest.mark.parametrize("mu", MEANS)
def test_is_at_the_whole_range_the_probability_of_more_events(mu):
    """Yellin, Phys. Rev. D 66 (2002) 032005, App. B: C_n(mu, mu) = P(mu, n + 1)."""
    exact = special.gammainc(np.arange(111) + 1.0, mu)
    np.testing.assert_allclose(interval_cdfs(110, mu, mu), exact, rtol=0, atol=1e-13)


@pytest.mark.parametrize("mu", MEANS)
@pytest.mark.parametrize("windows", [2, 3, 4, 5])
def test_is_continuous_where_one_more_window_fits(mu, windows):
    x = mu / windows
    for n in range(0, 40, 3):
        below, above = interval_cdf(n, x * (1 - 1e-14), mu), interval_cdf(n, x * (1 + 1e-14), mu)
        assert below == pytest.approx(above, rel=0, abs=1e-12)


def test_agrees_with_toys():
    size, fractions = 20_000, np.array([0.06, 0.1, 0.15, 0.19, 0.23, 0.27, 0.31, 0.34, 0.4, 0.46, 0.51, 0.6, 0.8, 1.0])
    chances = []
    for mu, most in ((3.0, 2), (10.0, 5), (30.0, 12), (54.0, 20)):
        largest = toys(mu, most, size, seed=2002)
        for n in range(most + 1):
            for fraction in fractions:
                below = np.count_nonzero(largest[:, n] < fraction * mu)
                exact = interval_cdf(n, fraction * mu, mu)
                chances.append(stats.binomtest(below, size, exact).pvalue)
    assert min(chances) * len(chances) > 0.01


@pytest.mark.parametrize("mu", MEANS)
def test_falls_with_n_and_rises_with_x(mu):
    cdfs = np.array([interval_cdfs(50, x, mu) for x in np.linspace(0.18 * mu, mu, 42)])
    assert (np.diff(cdfs, axis=0) >= -1e-13).all()
    assert (np.diff(cdfs, axis=1) <= 1e-13).all()
    assert ((cdfs >= 0.0) & (cdfs <= 1.0)).all()


@pytest.mark.parametrize("mu", MEANS)
@pytest.mark.parametrize("fraction", [0.2, 0.35, 0.45, 0.5, 0.77, 1.0, 1.1])
def test_is_the_same_for_one_n_and_for_many(mu, fraction):
    one_by_one = [interval_cdf(n, fraction * mu, mu) for n in range(50)]
    np.testing.assert_allclose(interval_cdfs(49, fraction * mu, mu), one_by_one, rtol=0, atol=1e-14)


def test_of_intervals_longer_than_half_the_range_is_also_there_by_itself():
    assert interval_cdf_half(3, 6.0, 10.0) == interval_cdf(3, 6.0, 10.0)


def test_says_where_it_is_certain_or_unknown():
    assert interval_cdf(3, 5.0001, 5.0) == 1.0
    assert interval_cdf(3, 0.0, 5.0) == 0.0
    assert interval_cdf(0, 1e-300, 5.0) == 0.0
    assert interval_cdf(110, 0.1, 100.0) == 0.0
    assert interval_cdf(0, 0.0, 0.0) == 0.0
    assert interval_cdf(0, 1e-300, 0.0) == 1.0
    assert math.isnan(interval_cdf(3, math.nan, 5.0))
