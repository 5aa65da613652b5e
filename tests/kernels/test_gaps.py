import mpmath
import numpy as np
import pytest
import reference_gaps as reference
from scipy import special, stats

from covsvc.kernels.gaps import (
    max_gap_cdf,
    max_gap_cdf_given,
    max_gap_limit,
    max_gap_limit_over_background,
    max_gap_quantile,
    widest_gaps,
)

LEVELS = [0.5, 0.68, 0.9, 0.95, 0.99, 0.99999, 1 - 1e-9]


def points(size, seed):
    """Yield x, mu: half at random mu / x, half at random x, up to 600 gaps."""
    rng = np.random.default_rng(seed)
    for i in range(size):
        mu = 10 ** rng.uniform(-3, 3)
        x = mu / 10 ** rng.uniform(0, 2.7) if i % 2 else min(mu, max(rng.uniform(0.01, 20), mu / 600))
        yield float(x), float(mu)


def test_is_equation_2_in_300_digits():
    x, mu = np.array(list(points(400, 1))).T
    exact = np.array([float(reference.max_gap_cdf(*point)) for point in zip(x, mu, strict=True)])
    assert np.abs(max_gap_cdf(x, mu) - exact).max() < 2e-14
    assert (exact < 1e-13).sum() > 20
    assert ((exact > 0.01) & (exact < 0.99)).sum() > 100


@pytest.mark.parametrize("mu", [30.0, 1e3, 1e5])
def test_is_equation_2_where_limits_are_set_from_many_events(mu):
    for missed in (1e-9, 0.1, 0.5, 1.2):
        x = np.log(mu / missed)
        x += np.log(x) if missed < 0.5 else 0.0
        assert float(max_gap_cdf(x, mu)) == pytest.approx(float(reference.max_gap_cdf(x, mu)), abs=2e-14)


# at x = 1 the two real roots of the exponential part meet
@pytest.mark.parametrize("x", [0.7, 1 - 1e-3, 1 - 1e-6, 1 - 1e-9, 1.0, 1 + 1e-12, 1 + 1e-7, 1 + 1e-5, 1.2])
@pytest.mark.parametrize("gaps", [8.0, 9.5, 11.99, 12.0, 12.5, 17.0])
def test_is_equation_2_around_the_double_root(x, gaps):
    assert float(max_gap_cdf(x, gaps * x)) == pytest.approx(float(reference.max_gap_cdf(x, gaps * x)), abs=2e-14)


def test_has_the_closed_form_where_only_one_gap_can_be_so_large():
    mu = np.array([0.01, 1.0, 5.0, 30.0])
    for share in (0.5, 0.75, 1.0):
        x = share * mu
        np.testing.assert_allclose(max_gap_cdf(x, mu), 1 - np.exp(-x) * (1 + mu - x), atol=2e-15)


def test_no_gap_is_below_0_and_all_are_within_the_range():
    assert max_gap_cdf([-1.0, 0.0, 3.0, 3.0, 0.0, 1e-9], [3.0, 3.0, 3.0, 2.999999, 0.0, 1e3]) == pytest.approx(
        [0, 0, -np.expm1(-3.0), 1, 0, 0], abs=1e-16
    )
    assert np.isnan(max_gap_cdf([np.nan, 1.0], [3.0, np.nan])).all()
    assert max_gap_cdf(np.ones((2, 1)), np.ones(3)).shape == (2, 3)


def test_falls_with_mu_and_rises_with_the_gap():
    mu = np.linspace(0.01, 60, 3000)
    for x in (0.3, 1.0, 2.5, 6.0):
        assert (np.diff(max_gap_cdf(x, mu)) <= 1e-15).all()
        assert (np.diff(max_gap_cdf(mu, 10 * x)) >= -1e-15).all()


# 16 counts of random points; width: exact binomial, the smallest p of all times their number
def test_is_the_share_of_random_points_with_smaller_gaps():
    rng = np.random.default_rng(2002)
    size, p = 20_000, []
    for mu in (1.5, 4.0, 12.0, 40.0):
        gaps = mu * reference.largest_gaps(rng, rng.poisson(mu, size))
        for cl in (0.2, 0.5, 0.9, 0.99):
            x = mu if cl < -np.expm1(-mu) < 0.9 else min(np.quantile(gaps[: size // 2], cl), mu)
            below = int((gaps[size // 2 :] < x).sum())
            p.append(stats.binomtest(below, size // 2, float(max_gap_cdf(x, mu))).pvalue)
    assert min(p) * len(p) > 1e-3


def test_given_the_number_of_events_is_equation_a4_in_300_digits():
    rng = np.random.default_rng(3)
    worst = 0.0
    for i in range(300):
        n = int(rng.integers(0, 60) if i % 2 else 10 ** rng.uniform(1.2, 2.5))
        x = rng.uniform(1 / (n + 1), 1) if i % 4 == 0 else np.log((n + 1) * 10 ** rng.uniform(-1.6, 2)) / (n + 1)
        x = min(max(x, 1.001 / (n + 1)), 1.0)
        worst = max(worst, abs(float(max_gap_cdf_given(x, n)) - float(reference.max_gap_cdf_given(x, n))))
    assert worst < 2e-13


# (1 - k x)^n C(n+1, k) with 70 digits; the terms of k > 150 are below 1e-60
@pytest.mark.parametrize("n", [3000, 1_000_000])
@pytest.mark.parametrize("expected", [0.01, 3.9, 4.1, 12.0])
def test_given_very_many_events_is_equation_a4(n, expected):
    x = float(np.log((n + 1) / expected) / n)
    with mpmath.workdps(70):
        exact = mpmath.fsum(
            (-1) ** k * mpmath.binomial(n + 1, k) * (1 - k * mpmath.mpf(x)) ** n for k in range(min(150, int(1 / x)))
        )
    assert float(max_gap_cdf_given(x, n)) == pytest.approx(float(exact), abs=2e-13)


def test_given_few_events_is_elementary():
    x = np.linspace(0.0, 1.2, 13)
    np.testing.assert_array_equal(max_gap_cdf_given(x, 0), x > 1.0)
    np.testing.assert_allclose(max_gap_cdf_given(x, 1), np.clip(2 * x - 1, 0, 1), atol=1e-15)
    # the gap which all others make up has at least the mean size
    assert not max_gap_cdf_given(1 / np.arange(1.0, 100), np.arange(99)).any()


@pytest.mark.parametrize("mu", [0.7, 5.0, 40.0, 200.0])
def test_averaged_over_a_poisson_number_of_events_is_equation_2(mu):
    n = np.arange(int(mu + 12 * np.sqrt(mu) + 40))
    chance = np.exp(special.xlogy(n, mu) - mu - special.gammaln(n + 1.0))
    x = mu * np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.6, 0.99])
    averaged = (max_gap_cdf_given(x[:, None] / mu, n) * chance).sum(1)
    np.testing.assert_allclose(averaged, max_gap_cdf(x, mu), atol=1e-12)


@pytest.mark.parametrize("cl", [0.01, 0.3, *LEVELS])
def test_quantile_has_its_probability(cl):
    mu = np.array([1.0, 1.0001, 1.9, 2.1, 4.0, 16.0, 100.0, 999.0]) * -np.log(1 - cl)
    found = max_gap_quantile(cl, mu)
    missed = [float(1 - reference.max_gap_cdf(*point)) for point in zip(found, np.maximum(mu, found), strict=True)]
    np.testing.assert_allclose(missed, 1 - cl, rtol=2e-13)


def test_quantile_is_infinite_where_no_gap_is_large_enough():
    found = max_gap_quantile(0.9, [0.0, 1.0, 2.3025, 2.3026, np.nan])
    assert np.isinf(found).tolist() == [True, True, True, False, False]
    assert np.isnan(found[4])


# Yellin, Table II, n = 1: 5.156, where P(mu, 2) = 1 - exp(-x_0(.9, mu))
def test_quantile_gives_the_first_threshold_of_table_2():
    mu = np.array([5.1555, 5.1565])
    excess = special.gammainc(2, mu) + np.expm1(-max_gap_quantile(0.9, mu))
    assert excess[0] < 0 < excess[1]


@pytest.mark.parametrize("cl", LEVELS)
def test_limit_is_where_equation_2_is_cl(cl):
    rng = np.random.default_rng(5)
    kinks = 1 / np.array([2.0, 3.0, 5.0, 12.0, 16.0, 17.0])
    f = np.concatenate([kinks, kinks * (1 + 1e-9), kinks * (1 - 1e-9), [0.999, 1 - 1e-12], rng.uniform(0.05, 1, 12)])
    f = np.concatenate([f, 10 ** rng.uniform(-4, -1, 8)])
    exact = np.array([float(reference.max_gap_limit(value, cl)) for value in f])
    np.testing.assert_allclose(max_gap_limit(f, cl), exact, rtol=2e-13)


def test_limit_from_very_many_events_misses_by_the_rest():
    f = np.array([1e-5, 1e-6, 9.9e-7, 4.7e-7, 1e-7])
    for cl in LEVELS:
        mu = max_gap_limit(f, cl)
        missed = [float(1 - reference.max_gap_cdf(*point)) for point in zip(mu * f, mu, strict=True)]
        np.testing.assert_allclose(missed, 1 - cl, rtol=2e-12)


@pytest.mark.parametrize("cl", LEVELS)
def test_limit_without_events_is_that_of_poisson(cl):
    assert max_gap_limit(np.ones(2), cl) == pytest.approx([-np.log(1 - cl)] * 2, rel=1e-15)


@pytest.mark.parametrize("cl", LEVELS)
def test_limit_of_one_event_in_the_middle_has_a_closed_form(cl):
    half = max_gap_limit(np.array([0.5]), cl)[0] / 2
    assert (1 + half) * np.exp(-half) == pytest.approx(1 - cl, rel=1e-12)


def test_limit_falls_with_the_gap_and_knows_no_neighbours():
    f = np.sort(1 / np.random.default_rng(7).uniform(1, 40, 5000))
    limits = max_gap_limit(f, 0.9)
    assert (np.diff(limits) < 0).all()
    assert (max_gap_limit(f[::-3], 0.9) == limits[::-3]).all()
    assert max_gap_limit(f[17:18], 0.9)[0] == limits[17]


# what the limit over a known background rests on
@pytest.mark.parametrize("cl", LEVELS)
def test_boundary_of_exclusion_is_concave(cl):
    f = 1 / np.concatenate([np.linspace(1, 20, 4001), np.geomspace(20.01, 1e6, 2000)])
    mu = max_gap_limit(f, cl)
    slopes = np.diff(mu * f) / np.diff(mu)
    assert (np.diff(slopes) < 0).all()


def shapes(rng, n):
    """Return u, v of n events with the spectrum of the background falling, level or rising."""
    u = np.sort(rng.random(n))
    return u, u ** rng.choice([0.2, 1.0, 4.0, 30.0])


@pytest.mark.parametrize("cl", [0.5, 0.9, 0.999])
def test_limit_over_a_background_is_the_largest_signal_not_excluded(cl):
    rng = np.random.default_rng(11)
    empty = disconnected = 0
    for _ in range(120):
        b = float(rng.choice([0.01, 1.0, 2.0, 5.0, 20.0]))
        n = int(rng.poisson(b * rng.choice([0.3, 1.0, 2.0])))
        u, v = shapes(rng, n)
        limit = max_gap_limit_over_background(np.array([n]), u, v, b, cl)[0]
        if limit > 0:
            x = reference.largest_gap_over_background(limit, u, v, b)
            missed = 1 - reference.max_gap_cdf(min(x, limit + b), limit + b)
            assert float(missed) == pytest.approx(1 - cl, rel=1e-10)
        empty += limit < 0
        disconnected += limit > 0 and reference.excluded_over_background(0.0, u, v, b, cl)
        beyond = np.geomspace(max(limit, 1e-3) * (1 + 1e-9), 3 * max(limit, 0.0) + 30, 25)
        if limit < 0:
            beyond[0] = 0.0
        assert all(reference.excluded_over_background(float(s), u, v, b, cl) for s in beyond)
    assert empty > 0 or cl > 0.99
    assert disconnected > 0 or cl > 0.5


def test_background_with_the_shape_of_the_signal_is_subtracted():
    rng = np.random.default_rng(13)
    n = rng.poisson(6, 300)
    u = np.concatenate([np.sort(rng.random(k)) for k in n])
    f = np.array([np.diff([0, *part, 1]).max() for part in np.split(u, np.cumsum(n)[:-1])])
    plain = max_gap_limit(f, 0.9) - 7.0
    assert ((plain < 0) == (max_gap_limit_over_background(n, u, u, 7.0, 0.9) < 0)).all()
    found = max_gap_limit_over_background(n, u, u, 7.0, 0.9)[plain > 0]
    np.testing.assert_allclose(found, plain[plain > 0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("b", [1e-300, 1.0, 2.3025850929940455, 2.4, 1e6])
def test_without_events_the_background_is_subtracted(b):
    none = np.zeros(0)
    found = max_gap_limit_over_background(np.array([0]), none, none, b, 0.9)[0]
    assert found == pytest.approx(np.log(10) - b, abs=1e-14) if b < 2.4 else found == -1


def test_widest_gap_is_the_first_of_equals():
    n = np.array([0, 1, 3, 2])
    u = np.array([0.5, 0.0, 0.2, 1.0, 0.0, 1.0])
    left, size = widest_gaps(n, u, u, np.ones(4), 0.0)
    assert left.tolist() == [-1, -1, 1, 0]
    assert size.tolist() == [1.0, 0.5, 0.8, 1.0]
