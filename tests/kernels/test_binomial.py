"""Binomial tails and intervals, against scipy, mpmath and their own defining equations."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy import optimize, special, stats

from covsvc.kernels.binomial import (
    chance_of_at_least,
    chance_of_at_most,
    clopper_pearson,
    is_in_sequence,
    lower_end,
    sequence_ends,
    upper_end,
)

TAILS = (0.025, 1e-4, 1e-8, 1e-12)
PAIRS = [(0, 10), (3, 10), (9, 10), (10, 10), (899, 1000), (8_850, 10_000), (900_000, 1_000_000), (999_999, 1_000_000)]


def exact_tail(x, n, p, upwards):
    """Return P(N >= x) or P(N <= x) as a regularised incomplete beta function, in 40 digits."""
    with mpmath.workdps(40):
        if upwards:
            return mpmath.betainc(x, n - x + 1, 0, mpmath.mpf(p), regularized=True) if x else mpmath.mpf(1)
        return mpmath.betainc(x + 1, n - x, mpmath.mpf(p), 1, regularized=True) if x < n else mpmath.mpf(1)


@pytest.mark.parametrize("p", [0.5, 0.885, 0.9, 0.95])
@pytest.mark.parametrize(("x", "n"), [pair for pair in PAIRS if pair[1] <= 1000])
def test_tails_agree_with_forty_digits(x, n, p):
    told = [float(chance_of_at_least(x, n, p)), float(chance_of_at_most(x, n, p))]
    assert told == pytest.approx([float(exact_tail(x, n, p, up)) for up in (True, False)], rel=1e-9)


@pytest.mark.parametrize("tail", TAILS)
def test_ends_solve_clopper_and_pearsons_equations(tail):
    x, n = np.array(PAIRS).T
    low, high = lower_end(x, n, tail), upper_end(x, n, tail)
    assert low[0] == 0.0
    assert high[3] == 1.0
    # scipy's tails, which are other functions than the inverse
    assert stats.binom.sf(x[x > 0] - 1, n[x > 0], low[x > 0]) == pytest.approx(np.full(7, tail), rel=1e-6)
    seen = high < 1 - 1e-7  # nearer to 1 the ends are rounded too much to be put in again
    assert stats.binom.cdf(x, n, high)[seen] == pytest.approx(np.full(seen.sum(), tail), rel=1e-6)
    assert high[x < n] == pytest.approx(stats.beta.isf(tail, x + 1, n - x)[x < n], rel=1e-12)
    assert low[1:] == pytest.approx(stats.beta.ppf(tail, x[1:], n[1:] - x[1:] + 1), rel=1e-9)


def test_the_level_is_that_of_both_ends_together():
    x, n = np.array([3, 880]), np.array([10, 1000])
    for level in (0.6827, 0.95, 0.999):
        low, high = clopper_pearson(x, n, level)
        expected = [stats.binomtest(int(a), int(b)).proportion_ci(level, "exact") for a, b in zip(x, n, strict=True)]
        assert low == pytest.approx([each.low for each in expected], rel=1e-9)
        assert high == pytest.approx([each.high for each in expected], rel=1e-9)


def test_a_hundred_thousand_ends_do_not_wait_for_each_other():
    x = np.random.default_rng(1).binomial(100_000, 0.9, 1000)
    n = np.full_like(x, 100_000)
    together = np.array([lower_end(x, n, 1e-9), upper_end(x, n, 1e-9), *sequence_ends(x, n, 1e-6)])
    alone = [lower_end(x[:5], n[:5], 1e-9), upper_end(x[:5], n[:5], 1e-9), *sequence_ends(x[:5], n[:5], 1e-6)]
    assert (together[:, :5] == np.array(alone)).all()


def log_ratio(x, n, p):
    """Return ln of the mean likelihood over Jeffreys' prior, over that at p."""
    with mpmath.workdps(40):
        p = mpmath.mpf(p)
        mean = mpmath.log(mpmath.beta(x + mpmath.mpf(1) / 2, n - x + mpmath.mpf(1) / 2)) - mpmath.log(mpmath.pi)
        return float(mean - (x * mpmath.log(p) if x else 0) - ((n - x) * mpmath.log(1 - p) if n - x else 0))


@pytest.mark.parametrize("error", [0.05, 1e-6, 1e-12])
@pytest.mark.parametrize(("x", "n"), [(3, 10), (9, 10), (899, 1000), (8_850, 10_000), (900_000, 1_000_000)])
def test_the_ends_of_the_sequence_solve_its_defining_equation(x, n, error):
    low, high = (float(end) for end in sequence_ends(x, n, error))
    assert low < x / n < high
    for end in (low, high):
        rounded = 2e-16 * (x / end + (n - x) / (1 - end))  # the end itself is a floating-point number
        assert log_ratio(x, n, end) == pytest.approx(-math.log(error), abs=1e-5 + rounded)
    inside = [low + 0.01 * (x / n - low), x / n, high - 0.01 * (high - x / n)]
    assert is_in_sequence(x, n, np.array(inside), error).all()
    assert not is_in_sequence(x, n, np.array([0.99 * low, high + 0.01 * (1 - high)]), error).any()


def test_the_sequence_is_closed_where_all_or_none_succeed():
    low, high = sequence_ends([0, 7], [7, 7], 0.01)
    assert (low[0], high[1]) == (0.0, 1.0)
    # of n successes in n the other end solves B(n + 1/2, 1/2) / pi = p^n / error
    p = (0.01 * special.beta(7.5, 0.5) / math.pi) ** (1 / 7)
    assert (low[1], high[0]) == (pytest.approx(p), pytest.approx(1 - p))


def test_without_toys_nothing_is_known():
    for ends in (clopper_pearson([0], [0]), sequence_ends([0], [0], 0.01)):
        assert np.isnan(ends).all()


def test_the_sequence_holds_at_all_numbers_of_toys_at_once():
    # Ville: P(the mean likelihood ever is 1/error times that of the truth) <= error; looked at 300 times up to 3000
    # toys in 2000 runs. Accepted if as many are expected with a probability of 1e-3 or more
    error, p, runs = 0.05, 0.9, 2000
    n = np.arange(10, 3001, 10)
    x = np.random.default_rng(1999).binomial(10, p, (runs, n.size)).cumsum(axis=1)
    left = (~is_in_sequence(x, n, p, error)).any(axis=1).sum()
    assert stats.binom.sf(left - 1, runs, error) >= 1e-3
    # what is not made for it: one interval of 95 % at each of these looks leaves p in far more runs
    low, high = clopper_pearson(x, n)
    naive = ((low > p) | (high < p)).any(axis=1).sum()
    assert stats.binom.sf(naive - 1, runs, error) < 1e-12


def test_the_sequence_is_wider_than_one_interval_and_no_wider_than_it_must_be():
    # for large n its half-width is sqrt(p (1 - p) (2 ln(1/error) + ln(n pi / 2)) / n): Stirling's formula
    n, p, error = 1_000_000, 0.9, 1e-4
    low, high = sequence_ends(900_000, n, error)
    half = math.sqrt(p * (1 - p) * (2 * math.log(1 / error) + math.log(n * math.pi / 2)) / n)
    assert float(high - low) == pytest.approx(2 * half, rel=1e-3)
    fixed = clopper_pearson(900_000, n, 1 - error)
    assert low < fixed[0]
    assert fixed[1] < high


def test_the_root_is_that_of_another_search():
    x, n, error = 8_850, 10_000, 1e-6

    def beyond(p):
        return log_ratio(x, n, p) + math.log(error)

    expected = optimize.brentq(beyond, 0.8, 0.885), optimize.brentq(beyond, 0.885, 0.95)
    assert [float(end) for end in sequence_ends(x, n, error)] == pytest.approx(expected, rel=1e-10)
