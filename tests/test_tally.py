"""Tallies: bins, digests, and sums."""

from __future__ import annotations

import numpy as np
import pytest

from covsvc.contracts import Limits, Status, one_sided, two_sided
from covsvc.tally import N_BINS, bin_bounds, bin_by, bin_of, codes_of, covers_by, digest_of, status_by


def test_every_limit_lies_in_its_bin():
    upper = np.concatenate([10 ** np.random.default_rng(1).uniform(-6, 7, 10_000), [1e-3, 1.005e-3, 1e6, 1e7]])
    low, high = bin_bounds()
    bins = bin_of(one_sided(upper))
    assert ((low[bins] <= upper) & (upper < high[bins])).all()
    assert low.shape == high.shape == (N_BINS,)


def test_bins_are_half_a_percent_wide_from_a_thousandth_to_a_million():
    low, high = bin_bounds()
    inner = slice(2, -2)
    assert high[inner] / low[inner] == pytest.approx(1.005, rel=1e-12)
    assert (low[2], bin_of(one_sided(np.array([1e6])))[0] < N_BINS - 1) == (1e-3, True)


def test_empty_counts_as_zero_unbounded_as_infinite_failed_is_left_out():
    limits = one_sided(np.array([-1.0, 0.0, np.inf, np.nan, 5e-4]))
    assert bin_of(limits).tolist() == [0, 0, N_BINS - 1, -1, 1]


def test_a_digest_sees_every_bit_of_ends_and_status():
    upper = np.array([1.0, np.nextafter(1.0, 2), 2.0, 0.0, 0.0])
    limits = Limits(np.zeros(5), upper, np.array([0, 0, 0, 0, 1], np.int8))
    assert len(set(digest_of(limits).tolist())) == 5
    swapped = Limits(np.array([1.0]), np.array([2.0]), np.zeros(1, np.int8))
    assert digest_of(swapped) != digest_of(Limits(np.array([2.0]), np.array([1.0]), np.zeros(1, np.int8)))


def test_a_code_tells_the_bin_whether_the_interval_covers_and_the_status():
    lower = np.array([0.0, 0.0, 1.5, 0.0, 2.0, 0.0, 0.0, 0.0])
    upper = np.array([1.0, 0.99, 3.0, np.inf, np.inf, -1.0, np.nan, 0.0])
    codes = codes_of(two_sided(lower, upper), 1.0)
    assert codes.dtype == np.int16
    assert covers_by(codes).tolist() == [True, False, False, True, False, False, False, False]
    ok, empty, unbounded, failed = Status.OK, Status.EMPTY, Status.UNBOUNDED, Status.FAILED
    assert status_by(codes).tolist() == [ok, ok, ok, unbounded, unbounded, empty, failed, ok]
    # bins 2.. begin at 1e-3; 1.005 to the powers of 1385, 1382 and 1605 is 999.990, 985.139 and 2995.912
    assert bin_by(codes).tolist() == [1387, 1384, 1607, N_BINS - 1, N_BINS - 1, 0, -1, 0]


def test_codes_of_all_limits_are_read_as_what_they_were_made_of():
    rng = np.random.default_rng(7)
    upper = 10 ** rng.uniform(-5, 6.5, 20_000)
    upper[rng.random(20_000) < 0.2] = rng.choice([-1.0, 0.0, np.inf, np.nan])
    limits = two_sided(np.minimum(upper, rng.uniform(0, 5, 20_000)), upper)
    codes = codes_of(limits, 2.0)
    assert np.array_equal(bin_by(codes), bin_of(limits))
    assert np.array_equal(status_by(codes), limits.status)
    assert np.array_equal(covers_by(codes), limits.cover(2.0))
    square = codes.reshape(200, 100)
    assert np.array_equal(bin_by(square), bin_by(codes).reshape(200, 100))


def test_what_is_not_kept_is_neither_of_a_bin_nor_covering_nor_of_a_status():
    codes = np.array([-2], np.int16)
    assert (bin_by(codes)[0], covers_by(codes)[0], status_by(codes)[0]) == (-1, False, -1)
