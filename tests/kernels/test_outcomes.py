"""Sums over an enumerated sample space, against sums of fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from covsvc.kernels.outcomes import EMPTY, FAILED, OK, UNBOUNDED, quantiles, sawtooth, sum_outcomes

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
        found = sum_outcomes(
            np.array(parts) / 1024, np.ones(1), lower, upper, status, ordered(rng, upper, status), first, s_true
        )
        expected = [
            brute_force(probability, lower[c, here], upper[c, here], status[c, here], s_true) for c in range(columns)
        ]
        np.testing.assert_array_equal(found, expected)


def one_column(probability, upper, status, s_true=1.0):
    upper, status = np.array([upper]), np.array([status], np.int8)
    lower = np.where(status == FAILED, np.nan, 0.0)
    order = ordered(np.random.default_rng(0), upper, status)
    return sum_outcomes(np.array(probability), np.ones(1), lower, upper, status, order, 0, s_true)[0]


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
    at = [
        sum_outcomes(np.array([0.5, 0.25, 0.25]), np.ones(1), lower, upper, status, order, 0, s)[0] for s in (0.0, 1.0)
    ]
    assert [found[:2].tolist() for found in at] == [[0.25, 0.5], [0.25, 0.25]]


def test_the_classical_limit_at_b_3_and_no_signal_covers_as_counted_by_hand():
    # with the empty set as a miss 0.9502 = 1 - exp(-3): n = 0 alone has no limit, its 2.3026 lies below b
    n = np.arange(60)
    upper = stats.gamma.ppf(0.9, n + 1) - 3.0
    status = np.where(upper < 0, EMPTY, OK).astype(np.int8)[None]
    upper = np.maximum(upper, 0.0)[None]
    order = np.argsort(upper, axis=1, kind="stable")
    found = sum_outcomes(stats.poisson.pmf(n, 3.0), np.ones(1), np.zeros_like(upper), upper, status, order, 0, 0.0)[0]
    assert (found[0], found[4]) == (pytest.approx(1 - math.exp(-3), abs=1e-14), pytest.approx(math.exp(-3), abs=1e-14))
    assert found[2] == upper[0, 3]  # the median of a Poisson variable of mean 3 is 3


def parts_of_32(rng, size):
    """Return probabilities in 1/32: products of two are exact doubles."""
    return rng.multinomial(32, rng.dirichlet(np.ones(size)))


@pytest.mark.parametrize("seed", range(20))
def test_sums_over_two_counts_equal_those_of_fractions_bit_by_bit(seed):
    rng = np.random.default_rng(seed)
    columns, values, width = 4, 16, int(rng.integers(2, 6))
    lower, upper, status = random_limits(rng, columns, values * width)
    first, size = int(rng.integers(0, 5)), int(rng.integers(1, 12))
    on, off = parts_of_32(rng, size), parts_of_32(rng, width)
    probability = [Fraction(int(one * other), 1024) for one in on for other in off]
    here = slice(first * width, (first + size) * width)
    for s_true in (0.0, 2.5, float(upper[0, here.start])):
        order = ordered(rng, upper, status)
        found = sum_outcomes(on / 32, off / 32, lower, upper, status, order, first, s_true)
        expected = [
            brute_force(probability, lower[c, here], upper[c, here], status[c, here], s_true) for c in range(columns)
        ]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("seed", range(20))
def test_quantiles_are_the_smallest_ends_with_so_much_probability_at_or_below(seed):
    rng = np.random.default_rng(seed)
    values, width = 12, int(rng.integers(1, 5))
    _, upper, status = random_limits(rng, 2, values * width)
    ends = np.where(status[1] == OK, upper[1], np.where(status[1] == EMPTY, 0.0, np.inf))
    first, size = int(rng.integers(0, 4)), int(rng.integers(1, 8))
    on, off = parts_of_32(rng, size), parts_of_32(rng, width)
    probability = [Fraction(int(one * other), 1024) for one in on for other in off]
    # 1/1024 is the smallest probability; all of them are met exactly
    levels = np.array([1, 64, 512, 513, 900, 1024]) / 1024
    there = sorted(zip(ends[first * width : (first + size) * width].tolist(), probability, strict=True))
    expected = [
        next(end for i, (end, _) in enumerate(there) if sum(p for _, p in there[: i + 1]) >= Fraction(level))
        for level in levels.tolist()
    ]
    found = quantiles(on / 32, off / 32, ends, ordered(rng, ends[None], status[1:])[0], first, levels)
    assert found.tolist() == expected


def test_a_level_that_is_never_reached_has_no_finite_quantile():
    # what an enumeration leaves out lies at the end
    found = quantiles(
        np.array([0.5, 0.25]), np.ones(1), np.array([1.0, 2.0]), np.array([0, 1]), 0, np.array([0.6, 0.9])
    )
    assert found.tolist() == [2.0, np.inf]


def humped(weight):
    """Tell whether the weights nowhere rise after they fell."""
    steps = [b - a for a, b in pairwise(weight) if b != a]
    return not any(one < 0 < other for one, other in pairwise(steps))


@pytest.mark.parametrize("seed", range(20))
def test_the_sawtooth_equals_sums_made_anew_at_each_jump(seed):
    rng = np.random.default_rng(seed)
    values, jumps, changes = 9, 12, 30
    first = rng.integers(0, 4, jumps)
    lengths = rng.integers(1, 6, jumps)
    runs = [parts_of_32(rng, length) / 32 for length in lengths]
    weight = rng.integers(0, 33, values) / 32
    place = np.sort(rng.integers(0, jumps, changes))
    count, change = rng.integers(0, values, changes), rng.integers(-8, 9, changes) / 32
    expected = []
    now = weight.copy()
    for jump in range(jumps):
        here = slice(first[jump], first[jump] + lengths[jump])
        below = runs[jump] @ now[here]
        for each in np.flatnonzero(place == jump):
            now[count[each]] += change[each]
        expected.append((below, runs[jump] @ now[here], humped(now.tolist())))
    offset = np.concatenate([[0], np.cumsum(lengths)])
    found = sawtooth(first, offset, np.concatenate(runs), weight.copy(), place, count, change)
    for part, values_of_part in zip(found, zip(*expected, strict=True), strict=True):
        assert part.tolist() == list(values_of_part)


def test_weights_that_rise_and_fall_are_a_hump_and_rounding_is_no_step():
    def is_hump(*weight):
        weight = np.array(weight)
        none = np.zeros(0, np.int64)
        first, offset = np.zeros(1, np.int64), np.array([0, 1])
        return bool(sawtooth(first, offset, np.ones(1), weight, none, none, np.zeros(0))[2][0])

    assert is_hump(0.0, 0.5, 1.0, 1.0, 0.2, 0.0)
    assert is_hump(1.0, 1.0, 0.5)
    assert is_hump(0.0, 0.0)
    assert not is_hump(1.0, 0.5, 0.5, 1.0)
    assert not is_hump(0.0, 1.0, 0.0, 1e-6)
    assert is_hump(1.0, 1.0 - 1e-15, 1.0)
