"""Sums over an enumerated sample space, against sums of fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from covsvc.kernels.outcomes import EMPTY, FAILED, OK, UNBOUNDED, sum_outcomes

ENDS = {EMPTY: (0.0, 0.0), UNBOUNDED: (None, math.inf), FAILED: (math.nan, math.nan)}


def random_limits(rng, columns, table):
    """Return limits of all four statuses, whose ends are eighths, so that many are equal."""
    lower = rng.integers(0, 40, (columns, table)) / 8
    upper = lower + rng.integers(0, 40, (columns, table)) / 8
    status = rng.choice([OK, EMPTY, UNBOUNDED, FAILED], (columns, table), p=[0.7, 0.1, 0.1, 0.1]).astype(np.int8)
    status[0] = OK
    status[1, rng.random(table) < 0.5] = EMPTY
    for state, (low, high) in ENDS.items():
        at = status == state
        lower[at] = lower[at] if low is None else low
        upper[at] = high
    return lower, upper, status


def ordered(rng, upper, status):
    """Return an order of the upper ends in which equal ones follow each other by chance."""
    key = np.where(status == OK, upper, np.where(status == EMPTY, 0.0, np.inf))
    return np.array([np.lexsort((rng.random(key.shape[1]), row)) for row in key])


def brute_force(probability, lower, upper, status, s_true):
    """Return what the docstring says, for one column and the cell's outcomes, in exact fractions."""
    outcomes = list(zip(probability, lower.tolist(), upper.tolist(), status.tolist(), strict=True))

    def chance(of):
        return float(sum((p for p, *limit in outcomes if of(*limit)), Fraction(0)))

    ends = sorted((0.0 if state == EMPTY else high if state == OK else math.inf, p) for p, _, high, state in outcomes)
    median = next(end for i, (end, _) in enumerate(ends) if sum(p for _, p in ends[: i + 1]) >= Fraction(1, 2))
    undefined = any(p > 0 and state in (UNBOUNDED, FAILED) for p, *_, state in outcomes)
    mean = sum((p * Fraction(high) for p, _, high, state in outcomes if state == OK), Fraction(0))
    return [
        chance(lambda low, high, state: state in (OK, UNBOUNDED) and low <= s_true <= high),
        chance(lambda low, high, state: state in (OK, UNBOUNDED) and s_true <= high),
        median,
        math.nan if undefined else float(mean),
        chance(lambda low, high, state: state == EMPTY),
        chance(lambda low, high, state: state == UNBOUNDED),
        chance(lambda low, high, state: state == FAILED),
    ]


@pytest.mark.parametrize("seed", range(40))
def test_sums_equal_those_of_fractions_bit_by_bit(seed):
    rng = np.random.default_rng(seed)
    columns, table = 5, 60
    lower, upper, status = random_limits(rng, columns, table)
    first, size = int(rng.integers(0, 20)), int(rng.integers(1, 40))
    # probabilities in 1/1024, limits in 1/8: sums of doubles are exact, and half of the probability is met exactly
    parts = rng.multinomial(1024, rng.dirichlet(np.ones(size))).tolist()
    probability = [Fraction(part, 1024) for part in parts]
    here = slice(first, first + size)
    for s_true in (0.0, 2.5, float(upper[0, first]), float(lower[0, first])):
        found = sum_outcomes(np.array(parts) / 1024, lower, upper, status, ordered(rng, upper, status), first, s_true)
        expected = [
            brute_force(probability, lower[c, here], upper[c, here], status[c, here], s_true) for c in range(columns)
        ]
        np.testing.assert_array_equal(found, expected)


def one_column(probability, upper, status, s_true=1.0):
    upper, status = np.array([upper]), np.array([status], np.int8)
    lower = np.where(status == FAILED, np.nan, 0.0)
    order = ordered(np.random.default_rng(0), upper, status)
    return sum_outcomes(np.array(probability), lower, upper, status, order, 0, s_true)[0]


def test_the_median_is_the_smallest_end_with_half_of_the_probability_at_or_below():
    assert one_column([0.25, 0.25, 0.5], [3.0, 1.0, 2.0], [OK] * 3)[2] == 2.0
    assert one_column([0.25, 0.25, 0.5], [1.0, 1.0, 2.0], [OK] * 3)[2] == 1.0  # tied, and exactly one half
    assert one_column([0.25, 0.25, 0.5], [5.0, 5.0, 5.0], [OK] * 3)[2] == 5.0


def test_empty_limits_count_as_zero_unbounded_and_failed_ones_as_infinity():
    assert one_column([0.5, 0.5], [0.0, 2.0], [EMPTY, OK])[2:4].tolist() == [0.0, 1.0]
    assert one_column([0.75, 0.25], [math.inf, 2.0], [UNBOUNDED, OK])[2] == math.inf
    assert one_column([0.75, 0.25], [math.nan, 2.0], [FAILED, OK])[2] == math.inf
    assert one_column([0.25, 0.25, 0.5], [math.nan, math.inf, 2.0], [FAILED, UNBOUNDED, OK])[2] == 2.0


def test_the_mean_is_undefined_where_a_limit_may_be_unbounded_or_fail():
    assert np.isnan(one_column([0.125, 0.875], [math.inf, 2.0], [UNBOUNDED, OK])[3])
    assert np.isnan(one_column([0.125, 0.875], [math.nan, 2.0], [FAILED, OK])[3])
    assert one_column([0.0, 1.0], [math.nan, 2.0], [FAILED, OK])[3] == 2.0


def test_an_interval_is_closed_and_an_empty_one_covers_nothing():
    upper = np.array([[0.0, 0.0, 1.0]])
    lower, status = np.array([[0.0, 0.0, 1.0]]), np.array([[EMPTY, OK, OK]], np.int8)
    order = np.array([[0, 1, 2]])
    at = [sum_outcomes(np.array([0.5, 0.25, 0.25]), lower, upper, status, order, 0, s)[0] for s in (0.0, 1.0)]
    assert [found[:2].tolist() for found in at] == [[0.25, 0.5], [0.25, 0.25]]


def test_the_classical_limit_at_b_3_and_no_signal_covers_as_counted_by_hand():
    # with the empty set as a miss 0.9502 = 1 - exp(-3): n = 0 alone has no limit, its 2.3026 lies below b
    n = np.arange(60)
    upper = stats.gamma.ppf(0.9, n + 1) - 3.0
    status = np.where(upper < 0, EMPTY, OK).astype(np.int8)[None]
    upper = np.maximum(upper, 0.0)[None]
    order = np.argsort(upper, axis=1, kind="stable")
    found = sum_outcomes(stats.poisson.pmf(n, 3.0), np.zeros_like(upper), upper, status, order, 0, 0.0)[0]
    assert (found[0], found[4]) == (pytest.approx(1 - math.exp(-3), abs=1e-14), pytest.approx(math.exp(-3), abs=1e-14))
    assert found[2] == upper[0, 3]  # the median of a Poisson variable of mean 3 is 3
