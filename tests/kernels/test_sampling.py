"""Enumerated sampling distributions against brute force and forty digits."""

import math

import numpy as np
import pytest
from reference import HARD_COUNTS, random_counts, within
from reference_sampling import count_upper, on_off_p_values, on_off_statistic, on_off_upper

from covsvc.kernels.sampling import (
    mid_upper,
    p_values_on_off,
    reach_on_off,
    statistic_on_off,
    upper_on_off,
    weights_count,
    weights_on_off,
)


def random_pairs(size, seed=1999):
    """Return n_on, n_off, tau over two orders of magnitude."""
    rng = np.random.default_rng(seed)
    for _ in range(size):
        tau, b = float(rng.choice([0.05, 0.3, 1.0, 2.0, 7.3, 30.0])), 10 ** rng.uniform(-1, 1.5)
        yield int(rng.poisson(b * rng.uniform(0.5, 1.5))), int(rng.poisson(tau * b)), tau


@pytest.mark.parametrize("cls", [True, False], ids=["cls", "clsb"])
@pytest.mark.parametrize(("n", "b", "cl"), [*HARD_COUNTS, *random_counts(20)])
def test_mid_p_limits_agree_with_40_digits(n, b, cl, cls):
    exact = count_upper(n, b, cl, 0.5, cls)
    found = mid_upper(np.array([n]), np.array([b]), 1 - cl, cls)[0]
    if exact is None:
        assert found < 0
    else:
        assert within(found, float(exact), float(exact) + b)


@pytest.mark.parametrize("tilde", [True, False], ids=["q_mu_tilde", "q_mu"])
@pytest.mark.parametrize("w", [0.5, 1.0], ids=["mid", "inclusive"])
def test_p_values_agree_with_all_outcomes_added_up(tilde, w):
    rng = np.random.default_rng(5)
    for n_on, n_off, tau in random_pairs(60):
        s = max(n_on - n_off / tau, 0.0) + float(10 ** rng.uniform(-1, 1.3))
        exact = on_off_p_values(n_on, n_off, tau, s, tilde, w)
        assert p_values_on_off(n_on, n_off, tau, s, tilde, w) == pytest.approx(exact, rel=1e-9), (n_on, n_off, tau, s)


# the counts off source that matter with and without signal are far apart, or there is next to none
@pytest.mark.parametrize(
    ("n_on", "n_off", "tau", "s"),
    [
        (300, 2, 1.0, 320.0),
        (120, 0, 2.0, 130.0),
        (5, 0, 1e-3, 12.0),
        (40, 3, 1e3, 55.0),
        (0, 0, 1.0, 2.0),
        (2, 300, 40.0, 4),
    ],
)
@pytest.mark.parametrize("tilde", [True, False], ids=["q_mu_tilde", "q_mu"])
def test_p_values_agree_with_all_outcomes_added_up_at_the_edges(n_on, n_off, tau, s, tilde):
    exact = on_off_p_values(n_on, n_off, tau, s, tilde, 0.5)
    assert p_values_on_off(n_on, n_off, tau, s, tilde, 0.5) == pytest.approx(exact, rel=1e-8)


@pytest.mark.parametrize("w", [0.5, 1.0])
def test_p_values_without_events_on_source_are_those_of_no_event(w):
    for s, n_off in ((0.0, 8), (0.0, 0), (1.5, 8)):
        b = n_off / 3
        p, cl_b = p_values_on_off(0, n_off, 2.0, s, True, w)
        assert p == pytest.approx(w * math.exp(-s - b), rel=1e-12)
        assert cl_b == pytest.approx(w * math.exp(-b), rel=1e-12)


def test_statistic_at_zero_signal_orders_as_at_a_small_one():
    pairs = list(random_pairs(40))
    for n_on, n_off, tau in pairs:
        small = on_off_statistic(n_on, n_off, tau, 1e-5, True) / 1e-5
        assert statistic_on_off(n_on, n_off, tau, 0.0, True) == pytest.approx(max(small, 0.0), abs=2e-3)


def test_more_events_than_can_be_enumerated_have_no_p_value():
    assert np.isnan(p_values_on_off(10_000, 10**12, 1e6, 1e5, True, 0.5)).all()
    assert np.isnan(upper_on_off(np.array([10_000]), np.array([10**10]), 1e6, True, 0.5, 0.1, True)).all()


@pytest.mark.parametrize("cls", [True, False], ids=["cls", "clsb"])
@pytest.mark.parametrize("tilde", [True, False], ids=["q_mu_tilde", "q_mu"])
@pytest.mark.parametrize(
    ("n_on", "n_off", "tau", "cl", "w"),
    [
        (3, 5, 2.0, 0.9, 0.5),
        (0, 3, 1.0, 0.95, 0.5),
        (7, 2, 0.5, 0.9, 1.0),
        (2, 7, 3.0, 0.68, 1.0),
        (1, 0, 1.0, 0.95, 0.5),
    ],
)
def test_limits_agree_with_a_scan_of_all_outcomes(n_on, n_off, tau, cl, w, tilde, cls):
    found = upper_on_off(np.array([n_on]), np.array([n_off]), tau, tilde, w, 1 - cl, cls)[0]
    exact = on_off_upper(n_on, n_off, tau, cl, tilde, w, cls, step=0.05)
    if np.isnan(exact):
        assert found < 0
    else:
        assert found == pytest.approx(exact, rel=1e-8)


# p of (24, 12) at tau = 0.3, inclusive: 0.01 is crossed at 9.47 and, after outcomes have changed places, at 9.62 again
@pytest.mark.parametrize(
    ("n_on", "n_off", "tau", "w", "cls", "alpha"),
    [(24, 12, 0.3, 1.0, False, 0.01), (16, 1, 0.3, 1.0, True, 0.1), (8, 1, 0.05, 1.0, False, 0.05)],
)
def test_the_last_of_several_crossings_is_found(n_on, n_off, tau, w, cls, alpha):
    found = upper_on_off(np.array([n_on]), np.array([n_off]), tau, True, w, alpha, cls)[0]
    shat = max(n_on - n_off / tau, 0.0)

    def accepted(s):
        p, cl_b = on_off_p_values(n_on, n_off, tau, s, True, w)
        return p > alpha * (cl_b if cls else 1.0)

    assert accepted(found - 1e-6)
    grid = np.linspace(found + 1e-6, found + 0.3 * (found - shat), 150)
    assert not any(accepted(s) for s in grid)
    below = [accepted(s) for s in np.linspace(shat + 0.7 * (found - shat), found - 1e-6, 150)]
    assert 0 < sum(below) < len(below), "crossed once only"


def test_a_limit_does_not_depend_on_its_neighbours():
    n_on, n_off = (np.array(counts) for counts in zip(*((n, m) for n, m, _ in random_pairs(30)), strict=True))
    together = upper_on_off(n_on, n_off, 2.0, True, 0.5, 0.1, True)
    alone = [upper_on_off(n_on[[i]], n_off[[i]], 2.0, True, 0.5, 0.1, True)[0] for i in range(30)]
    assert together.tolist() == alone


@pytest.mark.parametrize("q", [0.5, 4.6, 41.4])
def test_reach_is_where_the_statistic_has_risen_to_q(q):
    for n_on, n_off, tau in random_pairs(30):
        s = reach_on_off(n_on, n_off, tau, q)
        assert s > n_on - n_off / tau
        assert float(on_off_statistic(n_on, n_off, tau, s, True)) == pytest.approx(q, rel=0.2)


@pytest.mark.parametrize("tilde", [True, False], ids=["q_mu_tilde", "q_mu"])
def test_weights_of_toys_are_1_beyond_the_observation_and_w_beside_it(tilde):
    rng = np.random.default_rng(2)
    on, off = rng.poisson(8.0, 500), rng.poisson(9.0, 500)
    q, observed = (on_off_statistic(n_on, n_off, 2.0, 6.0, tilde) for n_on, n_off in ((on, off), (5, 8)))
    expected = np.where(np.abs(q - observed) < 1e-8, 0.25, q > observed)
    assert weights_on_off(on, off, 5, 8, 2.0, 6.0, tilde, 0.25).tolist() == expected.tolist()


@pytest.mark.parametrize("tilde", [True, False], ids=["q_mu_tilde", "q_mu"])
@pytest.mark.parametrize("s", [0.0, 1e-3, 4.0])
def test_fewer_events_weigh_as_more_extreme(tilde, s):
    toys = np.arange(12)
    expected = np.where(toys == 2, 0.5, toys < 2)
    assert weights_count(toys, 2, 3.0, s, tilde, 0.5).tolist() == expected.tolist()


def test_all_counts_beyond_the_hypothesis_tie():
    toys = np.arange(12)
    assert weights_count(toys, 9, 3.0, 2.5, True, 0.5).tolist() == np.where(toys >= 5.5, 0.5, 1.0).tolist()
