"""Sorted Poisson processes against NumPy's own exponentials, and piecewise linear distributions."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats

from covsvc.kernels.spacings import cumulative, draw_events, shares

EDGES, EXPECTED = (0.0, 0.2, 0.25, 0.7, 1.0), (1.5, 4.0, 0.0, 0.8)


def draw(edges, expected, size, seed=1999, **more):
    return draw_events(edges, expected, size, np.random.default_rng(seed), **more)


def one_by_one(edges, expected, size, rng):
    """Draw the same exponentials with NumPy, one at a time, and put each where so many events are expected below."""
    ends = np.concatenate([[0.0], np.cumsum(expected)])
    # where nothing is expected an inverse has a step, which no event falls on
    kept = np.concatenate([[True], np.diff(ends) > 0])
    n, u = [], []
    for _ in range(size):
        reached = [rng.standard_exponential()]
        while reached[-1] < ends[-1]:
            reached.append(reached[-1] + rng.standard_exponential())
        n.append(len(reached) - 1)
        for below in reached[:-1]:
            piece = np.searchsorted(ends[kept], below, side="right") - 1
            at = np.flatnonzero(kept)[piece + 1]
            share = (below - ends[at - 1]) / (ends[at] - ends[at - 1])
            u.append(edges[at - 1] + share * (edges[at] - edges[at - 1]))
    return n, u


@pytest.mark.parametrize(
    ("edges", "expected"),
    [((0.0, 1.0), (3.0,)), ((0.0, 1.0), (54.0,)), (EDGES, EXPECTED), ((0.5, 0.75, 1.0), (0.0, 2.0))],
)
def test_events_are_where_so_many_exponentials_of_numpy_reach(edges, expected):
    rng = np.random.default_rng(1999)
    n, u = draw_events(edges, expected, 200, rng)
    other = np.random.default_rng(1999)
    expected_n, expected_u = one_by_one(edges, expected, 200, other)
    assert n.tolist() == expected_n
    assert u == pytest.approx(expected_u, rel=1e-12)
    assert rng.bit_generator.state == other.bit_generator.state


@pytest.mark.parametrize("room", [0, 1, 100, 10_000])
def test_how_much_memory_is_taken_does_not_change_the_events(room):
    rng, other = np.random.default_rng(1999), np.random.default_rng(1999)
    n, u = draw_events(EDGES, EXPECTED, 300, rng)
    again = draw_events(EDGES, EXPECTED, 300, other, room)
    assert_array_equal(again[0], n)
    assert_array_equal(again[1], u)
    assert len(u) == n.sum() > 100
    assert rng.bit_generator.state == other.bit_generator.state


def test_events_ascend_within_a_toy_and_lie_where_some_are_expected():
    n, u = draw(EDGES, EXPECTED, 20_000)
    falls = np.flatnonzero(np.diff(u) < 0) + 1
    assert set(falls.tolist()) <= set(np.cumsum(n).tolist())
    assert not ((u > 0.25) & (u < 0.7)).any()
    assert u.min() >= 0
    assert u.max() <= 1


# by chance below 1e-3 once in 1000: the smallest exact p of the numbers of events that are not rare, times their number
@pytest.mark.parametrize("mu", [0.3, 3.0, 10.0, 54.0])
def test_numbers_of_events_have_a_poisson_distribution(mu):
    size = 100_000
    n, _ = draw((0.0, 1.0), (mu,), size)
    counts = np.arange(n.max() + 1)
    chances = stats.poisson.pmf(counts, mu)
    kept = chances * size > 0.1
    p = [
        stats.binomtest(int((n == count).sum()), size, chance).pvalue
        for count, chance in zip(counts[kept], chances[kept], strict=True)
    ]
    assert len(p) > 4
    assert min(p) * len(p) > 1e-3


@pytest.mark.parametrize("count", [1, 3, 12])
def test_events_are_uniform_given_their_number(count):
    n, u = draw((0.0, 1.0), (5.0,), 200_000)
    starts = np.cumsum(n) - n
    chosen = starts[n == count][:, None] + np.arange(count)
    assert len(chosen) > 500
    assert stats.kstest(u[chosen].ravel(), "uniform").pvalue > 1e-3
    # the lowest and the highest of so many, too: (1 - x)^count of all toys have none below x
    assert stats.kstest(u[chosen[:, 0]], stats.beta(1, count).cdf).pvalue > 1e-3
    assert stats.kstest(u[chosen[:, -1]], stats.beta(count, 1).cdf).pvalue > 1e-3


def test_pieces_hold_independent_poisson_numbers():
    size = 100_000
    n, u = draw((0.0, 0.3, 1.0), (1.2, 0.7), size)
    below = np.bincount(np.repeat(np.arange(size), n)[u < 0.3], minlength=size)
    low, high = np.meshgrid(np.arange(7), np.arange(6))
    chances = stats.poisson.pmf(low, 1.2) * stats.poisson.pmf(high, 0.7)
    kept = chances * size > 0.1
    p = [
        stats.binomtest(int(((below == i) & (n - below == j)).sum()), size, chance).pvalue
        for i, j, chance in zip(low[kept], high[kept], chances[kept], strict=True)
    ]
    assert len(p) > 20
    assert min(p) * len(p) > 1e-3


def test_nothing_expected_nothing_drawn():
    for expected in ((0.0,), (5e-324,), (1e-300,)):
        n, u = draw((0.0, 1.0), expected, 1000)
        assert n.tolist() == [0] * 1000
        assert len(u) == 0
    n, u = draw((0.0, 1.0), (3.0,), 0)
    assert len(n) == len(u) == 0
    n, u = draw((0.0, 0.5, 1.0), (1e-310, 3.0), 1000)
    assert not np.isnan(u).any()
    assert u.min() >= 0.5


def test_a_hundred_thousand_events_ascend_to_the_end():
    n, u = draw((0.0, 1.0), (1e5,), 3)
    assert (np.abs(n - 1e5) < 5 * np.sqrt(1e5)).all()
    first = u[: n[0]]
    assert (np.diff(first) >= 0).all()
    assert first[-1] > 1 - 1e-3


def test_shares_add_up_to_one_exactly():
    assert shares([1.0, 3.0]).tolist() == [0.0, 0.25, 1.0]
    for weights in ([0.1] * 7, [1 / 3, 1e-9, 5.7], [0.0, 2.0, 0.0]):
        assert shares(weights)[-1] == 1.0


def test_a_distribution_is_linear_between_its_edges_and_flat_outside():
    edges, up_to = np.array([0.2, 0.5, 0.6, 0.9]), np.array([0.0, 0.7, 0.7, 1.0])
    u = np.random.default_rng(1999).uniform(size=5000)
    assert cumulative(u, edges, up_to) == pytest.approx(np.interp(u, edges, up_to), abs=1e-15)
    assert cumulative(np.array([0.0, 0.2, 0.35, 0.5, 0.55, 0.9, 1.0]), edges, up_to).tolist() == pytest.approx(
        [0.0, 0.0, 0.35, 0.7, 0.7, 1.0, 1.0], rel=1e-15
    )


def test_a_distribution_never_falls_by_a_rounding_error():
    rng = np.random.default_rng(1999)
    for _ in range(200):
        edges = np.sort(rng.uniform(size=5))
        up_to = shares(rng.uniform(size=4))
        # the numbers next to each edge, where slopes that are rounded overshoot
        near = [np.nextafter(edges, side) for side in (0.0, 1.0)]
        v = cumulative(np.sort(np.concatenate([*near, edges, rng.uniform(size=20)])), edges, up_to)
        assert (np.diff(v) >= 0).all()
        assert v.min() >= 0
        assert v.max() <= 1
        assert_array_equal(cumulative(edges, edges, up_to), up_to)
