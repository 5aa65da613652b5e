"""Toys without background against the same toys drawn and counted one by one, and thresholds against the exact C_n."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from reference_gaps import max_gap_cdf_given
from reference_intervals import largest
from reference_scan import least_window_cdf, maximum_gap_cdf
from scipy import special, stats

from covsvc.kernels import calibration
from covsvc.kernels.gaps import max_gap_quantile
from covsvc.kernels.scan import interval_cdf


def by_hand(rng, events, columns, toys):
    """Return f_0, f_1, ... of toys, from the same exponential spacings as `draw_toys`."""
    found = []
    for _ in range(toys):
        places = np.cumsum(rng.standard_exponential(events + 1))
        u = (places / places[-1])[:-1]
        found.append([largest(u, k) if k < events else 1.0 for k in range(columns)])
    return np.array(found)


@pytest.mark.parametrize(("events", "columns"), [(1, 4), (2, 2), (5, 3), (12, 9), (30, 40)])
def test_largest_intervals_of_a_toy_are_those_of_its_definition(events, columns):
    toys = 30
    drawn = np.empty((toys, columns))
    calibration.draw_toys(np.random.default_rng(2002), events, drawn)
    exact = by_hand(np.random.default_rng(2002), events, columns, toys)
    np.testing.assert_allclose(drawn, exact, rtol=0, atol=1e-15)


@pytest.mark.parametrize("events", [1, 2, 7, 40])
def test_largest_gaps_have_their_distribution(events):
    """Eq. A4."""
    drawn = np.empty((20_000, 1))
    calibration.draw_toys(np.random.default_rng(2002), events, drawn)
    p = []
    for f in np.quantile(drawn, [0.1, 0.5, 0.9]):
        # rounded, so that it is not one of the toys
        x = round(float(f), 3)
        p.append(stats.binomtest(int((drawn < x).sum()), len(drawn), float(max_gap_cdf_given(x, events))).pvalue)
    assert min(p) * len(p) > 1e-3


def made_up(events, columns, rng):
    """Return entries with thresholds that some toys exceed: a parent with one value, its child, and one by itself."""
    usual = by_hand(rng, events, columns, 60)
    thresholds = np.ones((3, 5, columns))
    used = np.array([columns - 1, columns - 2, columns])
    for entry, chances in enumerate(([0.3], np.linspace(0.2, 0.6, 5), np.linspace(0.05, 0.5, 5))):
        for value in range(5):
            chance = chances[min(value, len(chances) - 1)]
            levels = np.quantile(usual[:, : used[entry]], 1 - (1 - chance) / 6, axis=0)
            thresholds[entry, value, : used[entry]] = levels + 0.02 * value
    thresholds[0, 1:] = 1.0
    # the child excludes no more than its parent
    thresholds[1] = np.maximum(thresholds[1], thresholds[0, 0])
    thresholds[1, :, used[1] :] = 1.0
    return thresholds, used


@pytest.mark.parametrize(("first", "blocks", "last"), [(0, 3, (3, 3, 3)), (4, 3, (7, 6, 5)), (2, 2, (9, 9, 1))])
@pytest.mark.parametrize(("events", "columns"), [(6, 5), (12, 9)])
def test_counts_are_those_of_every_toy_by_itself(first, blocks, last, events, columns):
    thresholds, used = made_up(events, columns, np.random.default_rng(1))
    lower = np.array([0, 0, 2])
    centre = np.array([0, 2, 2])
    controls = np.array([[0, 1, -1], [0, 1, 2], [columns - 1, 0, -1]])
    counts = np.zeros((3, 6), np.int64)
    sums, products = np.zeros((3, 3), np.int64), np.zeros((3, 3, 3), np.int64)
    rng = np.random.default_rng(2002)
    calibration.tally_excesses(
        rng, events, first, blocks, thresholds, used, np.array(last), lower, centre, controls, counts, sums, products
    )
    expected = SimpleNamespace(counts=np.zeros_like(counts), sums=np.zeros_like(sums), products=np.zeros_like(products))
    rng = np.random.default_rng(2002)
    for block in range(first, first + blocks):
        for f in by_hand(rng, events, columns, calibration.BLOCK):
            for entry in np.flatnonzero(block < np.array(last)):
                above = (f > thresholds[entry]).any(axis=1)
                expected.counts[entry, above.sum()] += 1
                k = controls[entry]
                hits = np.where(k >= 0, f[k] > thresholds[entry, centre[entry], k], False)
                expected.sums[entry] += hits
                expected.products[entry] += np.tril(np.outer(hits, hits))
    # a parent has one value only, which the rest repeats as 1
    np.testing.assert_array_equal(counts, expected.counts)
    np.testing.assert_array_equal(sums, expected.sums)
    np.testing.assert_array_equal(products, expected.products)
    # all outcomes did come
    assert (counts[np.array(last) > first][:, 0] > 0).all()
    assert counts[1].astype(bool).sum() > 3
    assert sums.sum() > 0


def neighbours(mu, columns, reach):
    """Return `lower_curves` at four mu around this one, and as far apart as they are in a table."""
    at = max(mu, 8.4) * 1.03 ** np.array([-1.5, -0.5, 0.5, 1.5])
    curves = [calibration.lower_curves(each, columns, *reach) for each in at.tolist()]
    return at, np.array([ends for ends, _ in curves]), np.array([logarithms for _, logarithms in curves])


@pytest.mark.parametrize("mu", [3.0, 5.0, 8.01, 12.3, 30.0, 54.0, 110.0])
def test_thresholds_invert_the_exact_distribution(mu):
    columns = 28
    values = 1 - np.geomspace(0.1, 1e-4, 10)
    atoms = special.gammainc(np.arange(columns) + 1.0, mu)
    gaps = np.minimum(max_gap_quantile(values, mu) / mu, 1.0)
    curves = neighbours(mu, columns, (1 - 1.2 * 0.11, 1 - 0.5e-4))
    f = calibration.thresholds_of(mu, values, gaps, atoms, *curves)
    never = atoms[None, :] <= values[:, None]
    np.testing.assert_array_equal(f == 1, never)
    assert not never.all()
    for value, k in zip(*np.nonzero(~never), strict=True):
        # as in C, a thousandth of what 3e6 toys leave uncertain in 1 - CBarMax
        found = float(maximum_gap_cdf(f[value, k] * mu, mu)) if k == 0 and f[value, 0] > 0.2 else None
        found = interval_cdf(k, f[value, k] * mu, mu) if found is None else found
        assert 1 - found == pytest.approx(1 - values[value], rel=1e-4), (value, k)


def test_thresholds_invert_the_exact_distribution_from_a_third_on_to_more_digits():
    mu, columns = 12.0, 12
    values = np.array([0.9, 0.95, 0.99])
    atoms = special.gammainc(np.arange(columns) + 1.0, mu)
    gaps = np.minimum(max_gap_quantile(values, mu) / mu, 1.0)
    f = calibration.thresholds_of(mu, values, gaps, atoms, *neighbours(mu, columns, (0.88, 0.9999)))
    upper = (f >= 1 / 3) & (f < 1)
    assert upper.sum() > 9
    for value, k in zip(*np.nonzero(upper), strict=True):
        assert interval_cdf(k, f[value, k] * mu, mu) == pytest.approx(values[value], rel=0, abs=1e-8)


def test_what_is_known_of_controls_agrees_with_orderings_counted_one_by_one():
    mu, thresholds, columns = 3.0, np.array([0.71, 0.9, 0.97]), np.array([0, 2, 1])
    known = calibration.known_excesses(mu, columns, thresholds)
    exact = [1 - least_window_cdf(n, thresholds[n] * mu, mu) for n in columns.tolist()]
    np.testing.assert_allclose(known, exact, rtol=0, atol=1e-12)


def test_what_is_known_of_controls_agrees_with_toys_of_every_number_of_events():
    """Strata in proportion to Poisson probabilities, as a table is made."""
    mu, columns, toys = 10.0, np.array([0, 1, 3, 6]), 20_000
    thresholds = np.ones(8)
    thresholds[columns] = 0.38, 0.55, 0.75, 0.94
    known = calibration.known_excesses(mu, columns, thresholds)
    assert ((known > 0.005) & (known < 0.5)).all()
    total, variance = np.full(4, math.exp(-mu)), np.zeros(4)
    rng = np.random.default_rng(2002)
    for events in range(1, 40):
        weight = stats.poisson.pmf(events, mu)
        size = math.ceil(toys * weight) + 50
        drawn = np.empty((size, 8))
        calibration.draw_toys(rng, events, drawn)
        share = (drawn[:, columns] > thresholds[columns]).mean(axis=0)
        total += weight * share
        variance += weight**2 * share * (1 - share) / size
    # four comparisons at once
    assert (abs(total - known) / np.sqrt(variance)).max() < 3.7
