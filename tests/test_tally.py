"""Tallies: bins, digests, and sums."""

from __future__ import annotations

import numpy as np
import pytest

from covsvc.contracts import Limits, one_sided
from covsvc.tally import N_BINS, bin_bounds, bin_of, digest_of


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
