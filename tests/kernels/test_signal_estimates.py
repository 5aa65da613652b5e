import numpy as np
import pytest
from scipy import optimize, stats

from covsvc.kernels.signal_estimates import (
    fill_mixed,
    fill_shares,
    last_crossings,
    nodes,
    poisson_weights,
    repeated,
    signals_at,
)

COUNTS = np.arange(61)


def crossing(h, cl):
    """Return the s at which the mean of h over a Poisson count is cl."""
    return optimize.brentq(lambda s: np.sum(stats.poisson.pmf(COUNTS, s) * h) - cl, 0.0, 30.0, xtol=1e-12)


def test_whole_numbers_and_given_atoms_are_nodes_from_both_sides():
    edge, is_atom = nodes(3.0, np.array([0.0, 0.3, 0.5, 0.5 + 1e-12, 2.0, 7.0]))
    assert (np.diff(edge) > 0).all()
    below, above = edge[:-1][is_atom], edge[1:][is_atom]
    assert (below + above) / 2 == pytest.approx([0.3, 0.5, 1.0, 2.0, 3.0])
    assert above - below == pytest.approx(2e-9 * (1 + above), rel=1e-6)
    assert 0 < edge[0] < 1e-8
    assert np.diff(edge).max() == pytest.approx(1 / 64, rel=1e-6)


def test_repeated_finds_values_that_tie():
    s = np.array([0.0, 1.5, 2.5, 1.5 + 1e-12, 0.0, 3.0, 2.5 + 1e-6, 1.5 - 1e-12])
    assert repeated(s, 0.25) == pytest.approx([0.0, 1.5])
    assert repeated(s, 0.3) == pytest.approx([1.5])
    assert repeated(s, 0.5).size == 0


def test_shares_are_of_toys_strictly_above_and_never_quite_sure():
    s, edge = np.array([2.0, 0.0, 1.0, 0.5]), np.array([0.0, 0.4, 0.5, 1.9, 2.0])
    share, variance = np.empty((2, 5))
    fill_shares(s, edge, 2, share, variance)
    assert share.tolist() == [0.75, 0.75, 0.5, 0.25, 0.0]
    p = (np.array([3, 3, 2, 1]) + 0.5) / 5
    assert variance == pytest.approx([*(p * (1 - p) / 4), 0.0])
    fill_shares(np.full(4, 2.0), edge, 2, share, variance)
    assert share.tolist() == [1.0, 1.0, 1.0, 1.0, 0.0]
    assert (variance[:4] > 0).all()
    fill_shares(np.zeros(4), edge, 0, share, variance)
    assert not share.any()
    assert not variance.any()


@pytest.mark.parametrize("last", [0, 1, 7, 2000])
def test_weights_are_poisson_and_the_last_stands_for_all_beyond(last):
    mean = np.array([0.0, 1e-300, 0.3, 5.0, 900.0])
    weights = poisson_weights(mean, last)
    assert weights.sum(1) == pytest.approx(np.ones(5), rel=1e-12)
    k = np.arange(last)
    assert weights[:, :-1] == pytest.approx(stats.poisson.pmf(k, mean[:, None]), rel=1e-10, abs=1e-300)


def test_mixes_the_rows_of_counts():
    rng = np.random.default_rng(1)
    weights, rows = poisson_weights(np.array([0.0, 0.4, 7.0]), 30), rng.random((31, 5))
    mixed = np.empty((3, 5), np.float32)
    fill_mixed(weights, rows, mixed)
    assert mixed == pytest.approx(weights @ rows, rel=1e-6)


@pytest.mark.parametrize("cl", [0.5, 0.9, 0.999])
def test_crossings_are_those_of_counts(cl):
    """Where shat is the number of signal events, P(shat > k) = P(N > k): half a quantile of chi squared."""
    k = np.arange(8)
    h = (k[:, None] < COUNTS).astype(np.float32)
    signal, error, coverage_error = last_crossings(h, np.zeros_like(h), 30.0, cl)
    assert signal == pytest.approx(stats.chi2.isf(1 - cl, 2 * k + 2) / 2, rel=1e-9)
    assert not error.any()
    assert coverage_error == 0.0


def test_carries_the_variance_of_each_count_through():
    h = (COUNTS / (COUNTS + np.array([[0.5], [1.0]]))).astype(np.float32)
    variance = np.full(h.shape, 1e-4, np.float32)
    signal, error, coverage_error = last_crossings(h, variance, 30.0, 0.8)
    scatter = []
    for row, s, found in zip(h, signal, error, strict=True):
        chance = stats.poisson.pmf(COUNTS, s)
        assert s == pytest.approx(crossing(row.astype(float), 0.8), rel=1e-6)
        slope = (crossing(row.astype(float), 0.8 + 1e-4) - crossing(row.astype(float), 0.8 - 1e-4)) / 2e-4
        scatter.append(np.sqrt(np.sum(chance**2 * 1e-4)))
        assert found == pytest.approx(scatter[-1] * slope, rel=1e-3)
    assert coverage_error == pytest.approx(max(scatter), rel=1e-3)


def test_takes_the_last_of_several_crossings():
    h = np.where((COUNTS == 0) | (COUNTS > 9), 1.0, 0.2).astype(np.float32)  # P falls and rises again
    assert np.sum(stats.poisson.pmf(COUNTS, 0.05) * h) > 0.6
    signal, _, _ = last_crossings(h[None, :], np.zeros((1, 61), np.float32), 30.0, 0.6)
    assert np.sum(stats.poisson.pmf(COUNTS, signal[0]) * h) == pytest.approx(0.6, abs=1e-6)
    assert np.sum(stats.poisson.pmf(COUNTS, 1.01 * signal[0]) * h) > 0.6


def test_is_infinite_beyond_the_top_and_negative_where_no_signal_is_too_much():
    above, certain, likely = COUNTS > 40, np.ones(61), 0.6 + 0.4 * (COUNTS > 0)
    h = np.array([certain, likely, above]).astype(np.float32)
    signal, _, _ = last_crossings(h, np.zeros_like(h), 30.0, 0.5)
    assert signal[2] == np.inf
    assert signal[1] == pytest.approx(-0.25, rel=1e-5)  # 0.6 + 0.4 s
    assert signal[0] == -1.0


def table(function, largest, step, rows):
    edge, is_atom = nodes(largest, np.zeros(0))
    b = (step * np.arange(rows)) ** 2
    signal = function(edge, b[:, None]) + np.cumsum(np.append(0.0, is_atom))  # a jump at each atom
    return edge, is_atom, step, signal, np.tile(1.0 + b[:, None], edge.size)


def test_looks_up_lines_in_s_and_cubics_in_the_root_of_b_and_jumps_at_atoms():
    given = table(lambda s, b: 2.0 * s + 0.3 * b + s * b, 3.0, 0.5, 8)
    s = np.array([0.0, 0.2, 0.999, 1.0, 1.0 - 1e-11, 1.5, 2.0, 2.75])
    b = np.array([0.0, 1e-300, 0.01, 0.0, 0.3, 1.7, 5.9, 6.25])
    signal, error = signals_at(s, b, *given)
    jumps = np.floor(s + 1e-9)
    assert signal == pytest.approx(2.0 * s + 0.3 * b + s * b + jumps, abs=1e-7)
    assert error == pytest.approx(1.0 + b, abs=0.07)


def test_outside_of_the_table_is_infinite_and_nan_stays():
    edge, is_atom, step, signal, error = table(lambda s, b: s + b, 2.0, 0.5, 6)
    signal[:, -1] = np.inf
    s, b = np.array([2.1, 1.0, np.nan, 1.0, 2.0]), np.array([0.0, 2.3, 0.0, np.nan, 0.0])
    found, errors = signals_at(s, b, edge, is_atom, step, signal, error)
    assert np.isinf(found).tolist() == [True, True, False, False, True]
    assert np.isnan(found).tolist() == [False, False, True, True, False]
    assert (np.isinf(errors) == np.isinf(found)).all()
