"""Largest intervals and crossings of boundaries, against every interval at every place where something may change."""

import numpy as np
import pytest
import reference_intervals as reference
from numpy.testing import assert_array_equal

from covsvc.kernels.intervals import MOST_INSIDE, Boundary, deciding_intervals, largest_gaps, largest_intervals


def joined(toys):
    """Return n and u of toys that are given one by one."""
    return np.array([len(toy) for toy in toys], np.int64), np.concatenate([*toys, np.zeros(0)]).astype(float)


def drawn(rng, most, size):
    return [np.sort(rng.random(rng.integers(0, most + 1))) for _ in range(size)]


def wiggly(rng, nodes, columns):
    """Return a boundary that falls on the whole, and rises as often as not."""
    mu = np.sort(rng.uniform(1, 12, nodes))
    g = (np.arange(columns) + rng.uniform(2, 4)) / mu[:, None] * rng.uniform(0.7, 1.3, (nodes, columns))
    return mu, np.clip(g, 0, 1)


def crossing(boundary, toys, last=True):
    n, u = joined(toys)
    return boundary.crossing(n, largest_intervals(n, u), last)


def crossing_over(boundary, toys, b, others, last=True):
    n, u = joined(toys)
    return boundary.crossing_over(n, u, b, joined(others)[1], last)


@pytest.mark.parametrize("most", [3, 12, 30])
def test_largest_intervals_are_the_largest_of_all(most):
    toys = [*drawn(np.random.default_rng(most), most, 30), [], [0.0], [1.0], [0.0, 1.0], [0.25] * 3, [0.0, 0.0, 1.0]]
    n, u = joined(toys)
    exact = [reference.largest(toy, k) for toy in toys for k in range(len(toy))]
    assert_array_equal(largest_intervals(n, u), exact)
    assert_array_equal(largest_gaps(n, u), [reference.largest(toy, 0) for toy in toys])


def test_largest_intervals_of_very_many_events_end_where_they_should():
    u = np.sort(np.random.default_rng(5).random(100_000))
    n = np.array([0, len(u), 0, 1])
    f = largest_intervals(n, np.append(u, 0.5))
    ends = np.concatenate([[0.0], u, [1.0]])
    for k in (0, 1, 77, MOST_INSIDE - 1):
        assert f[k] == (ends[k + 1 :] - ends[: len(ends) - k - 1]).max()
    assert np.isnan(f[MOST_INSIDE:-1]).all()
    assert f[-1] == 0.5
    assert largest_gaps(n, np.append(u, 0.5)).tolist() == [1.0, f[0], 1.0, 0.5]


def test_events_may_be_of_any_stride_and_may_not_be_written():
    u = np.arange(1, 12)[::2] / 12
    u.flags.writeable = False
    n = np.array([2, 4])
    assert_array_equal(largest_intervals(n, u), largest_intervals(n, u.copy()))
    assert largest_gaps(n, u) == pytest.approx([9 / 12, 5 / 12])


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_crossings_of_boundaries_that_rise_and_fall_agree_with_the_definition(seed, last):
    rng = np.random.default_rng([1999, seed])
    mu, g = wiggly(rng, rng.integers(2, 14), rng.integers(1, 13))
    first = int(rng.integers(0, 3)) * (seed % 3 == 0)
    toys = [*drawn(rng, 9, 8), [], [0.5, 0.5], [0.0], [0.0, 0.5, 1.0, 1.0]]
    found = crossing(Boundary(mu, g, first), toys, last).signal
    exact = [reference.limit(mu, g, toy, first=first, last=last) for toy in toys]
    assert found == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_crossings_over_a_known_background_agree_with_the_definition(seed, last):
    rng = np.random.default_rng([2002, seed])
    mu, g = wiggly(rng, rng.integers(2, 12), rng.integers(1, 9))
    first = int(rng.integers(0, 3)) * (seed % 3 == 0)
    toys = [*drawn(rng, 7, 5), [], [0.5, 0.5], [0.0], [0.0, 0.5, 1.0, 1.0]]
    for b in (0.6, 2.0, 6.0, 13.0):
        others = [np.sort(rng.random(len(toy))) if seed % 2 else np.array(toy) ** 2 for toy in toys]
        found = crossing_over(Boundary(mu, g, first), toys, b, others, last).signal
        exact = [
            reference.limit(mu, g, toy, first=first, b=b, v=other, last=last)
            for toy, other in zip(toys, others, strict=True)
        ]
        # a root of a quadratic, near one where it only touches 0
        assert found == pytest.approx(exact, rel=1e-7)


@pytest.mark.parametrize("last", [True, False])
def test_boundaries_as_tables_have_them_agree_with_the_definition(last):
    mu, g = reference.poisson_like(0.9, 10, 40.0, 0.06)
    rng = np.random.default_rng(30)
    toys = [np.sort(rng.random(rng.poisson(8))) for _ in range(20)]
    boundary = Boundary(mu, g)
    exact = [reference.limit(mu, g, toy, last=last) for toy in toys]
    assert crossing(boundary, toys, last).signal == pytest.approx(exact, rel=1e-12)
    exact = [reference.limit(mu, g, toy, b=3.0, v=toy**3, last=last) for toy in toys]
    assert crossing_over(boundary, toys, 3.0, [toy**3 for toy in toys], last).signal == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_a_background_of_the_shape_of_the_signal_is_subtracted(seed, last):
    rng = np.random.default_rng(seed)
    boundary = Boundary(*wiggly(rng, 12, 6))
    toys = drawn(rng, 8, 40)
    plain = crossing(boundary, toys, last).signal
    for b in (0.0, 0.5, 3.0):
        found = crossing_over(boundary, toys, b, toys, last).signal
        if last:
            assert found == pytest.approx(np.where(plain >= b, plain - b, -1.0), rel=1e-9, abs=1e-9)
        else:
            inside = plain > b
            assert found[inside] == pytest.approx(plain[inside] - b, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("last", [True, False])
def test_an_interval_on_the_boundary_does_not_exclude(last):
    mu, g = np.array([1.0, 2.0, 3.0, 4.0]), np.array([[1.0], [0.5], [0.5], [0.25]])
    boundary = Boundary(mu, g)
    at, above = crossing(boundary, [[0.5], [np.nextafter(0.5, 1)]], last).signal
    assert at == 3.0
    assert above == pytest.approx(2.0, rel=1e-14)
    assert crossing_over(boundary, [[0.5]], 0.5, [[0.5]], last).signal[0] == pytest.approx(2.5, rel=1e-14)


@pytest.mark.parametrize("last", [True, False])
def test_where_the_boundary_is_the_whole_range_nothing_is_excluded(last):
    boundary = Boundary(np.array([1.0, 2.0, 3.0, 4.0]), np.array([[1.0, 1.0], [1.0, 1.0], [0.9, 1.0], [0.8, 0.9]]))
    none, one, full, two = crossing(boundary, [[], [0.5], [1.0], [0.0, 1.0]], last).signal
    assert none == full == 2.0
    assert one == 3.0
    assert two == 2.0
    over = crossing_over(boundary, [[], [0.5], [1.0], [0.0, 1.0]], 0.5, [[], [0.5], [1.0], [0.0, 1.0]], last).signal
    assert over.tolist() == [1.5, 2.5, 1.5, 1.5]


def test_columns_that_a_toy_does_not_reach_exclude_by_the_whole_range():
    mu = np.array([1.0, 2.0, 3.0])
    boundary = Boundary(mu, np.array([[1.0, 1.0], [1.0, 0.9], [1.0, 0.8]]))
    assert crossing(boundary, [[], [0.5], [0.2, 0.5, 0.6]]).signal.tolist() == [1.0, 1.0, np.inf]
    beyond = Boundary(mu, np.array([[1.0], [0.9], [0.8]]), first=3)
    found = crossing(beyond, [[], [0.5], [0.4, 0.5, 0.6], [0.1, 0.2, 0.3, 0.4], [0.1, 0.3, 0.5, 0.7, 0.95]])
    # the last: f = 0.85, and 0.85 mu = 1.8 + 0.6 (mu - 2)
    assert found.signal == pytest.approx([1.0, 1.0, 1.0, 2.0, 2.4])


@pytest.mark.parametrize("last", [True, False])
def test_limits_stay_between_the_ends_of_the_boundary(last):
    boundary = Boundary(np.array([2.0, 3.0]), np.array([[0.5], [0.4]]))
    found = crossing(boundary, [[], [0.7], [0.4, 0.7], [0.3, 0.6]], last)
    assert found.signal == pytest.approx([2.0, 2.0, np.inf, np.inf])
    assert found.inside.tolist() == [0, 0, -1, -1]
    over = crossing_over(boundary, [[], [0.7], [0.4, 0.7], [0.3, 0.6]], 2.5, [[], [0.7], [0.4, 0.7], [0.3, 0.6]], last)
    assert over.signal.tolist() == [-1.0, -1.0, np.inf, np.inf]
    assert over.inside.tolist() == [0, 0, -1, -1]
    assert crossing_over(boundary, [[], [0.7]], 3.5, [[], [0.7]], last).signal.tolist() == [np.inf, np.inf]


def test_the_crossings_differ_where_a_larger_expectation_is_allowed_again():
    boundary = Boundary(np.array([1.0, 2.0, 3.0, 4.0]), np.array([[1.0], [0.4], [0.6], [0.2]]))
    # 0.5 mu = 1 - 0.2 (mu - 1), and 0.5 mu = 1.8 - (mu - 3)
    assert crossing(boundary, [[0.5]], last=False).signal == pytest.approx([1.2 / 0.7])
    assert crossing(boundary, [[0.5]], last=True).signal == pytest.approx([3.2])


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("b", [0.0, 1.5])
def test_the_deciding_interval_excludes_what_is_just_above(b, last):
    rng = np.random.default_rng(8)
    mu, g = wiggly(rng, 12, 6)
    toys = [*drawn(rng, 10, 60), [], [0.0, 1.0]]
    others = [np.array(toy, float) ** 2 for toy in toys]
    n, u = joined(toys)
    v = joined(others)[1]
    boundary = Boundary(mu, g)
    found = boundary.crossing_over(n, u, b, v, last) if b else crossing(boundary, toys, last)
    left, right = deciding_intervals(found, n, u, b, v if b else None)
    decided = 0
    for toy, other, signal, k, i, j in zip(toys, others, *found, left, right, strict=True):
        if signal == np.inf:
            assert (k, i, j) == (-1, -1, -1)
            continue
        decided += 1
        ends, known = np.array([0.0, *toy, 1.0]), np.array([0.0, *other, 1.0])
        s = signal * (1 + 1e-9) if signal >= 0 else 0.0
        part = (s * (ends[j + 1] - ends[i + 1]) + b * (known[j + 1] - known[i + 1])) / (s + b)
        inside = j - i - 1
        assert inside == k
        columns = g[:, inside:] if inside == len(toy) else g[:, inside : inside + 1]
        assert any((s + b) * part > np.interp(s + b, mu, mu * column) for column in columns.T)
    assert decided > 30


@pytest.mark.parametrize("last", [True, False])
def test_crossings_know_no_neighbours_and_leave_the_events_alone(last):
    rng = np.random.default_rng(3)
    boundary = Boundary(*wiggly(rng, 30, 10))
    toys = drawn(rng, 12, 80)
    others = [toy**2 for toy in toys]
    before = [toy.copy() for toy in toys]
    plain, over = crossing(boundary, toys, last), crossing_over(boundary, toys, 1.0, others, last)
    for i in range(0, 80, 7):
        assert crossing(boundary, toys[i : i + 1], last).signal[0] == plain.signal[i]
        assert crossing_over(boundary, toys[i : i + 1], 1.0, others[i : i + 1], last).signal[0] == over.signal[i]
    assert_array_equal(crossing(boundary, toys[::-1], last).signal[::-1], plain.signal)
    for toy, copy in zip(toys, before, strict=True):
        assert_array_equal(toy, copy)


@pytest.mark.parametrize("last", [True, False])
def test_very_many_events_and_none_have_crossings(last):
    boundary = Boundary(*reference.poisson_like(0.9, 93, 120.0))
    u = np.sort(np.random.default_rng(5).random(100_000))
    toys = [u, np.full(100_000, 0.25), [], np.linspace(0, 1, 500)]
    found = crossing(boundary, toys, last)
    assert found.signal[0] == found.signal[3] == np.inf
    # coincident events are one end of an empty interval: 3/4 of all
    assert found.signal[1] == pytest.approx(crossing(boundary, [[0.25, 0.25] * 60], last).signal[0])
    over = crossing_over(boundary, toys, 2.0, toys, last)
    assert over.signal + 2.0 == pytest.approx(found.signal)
    nothing = boundary.crossing(np.zeros(0, np.int64), np.zeros(0), last)
    assert len(nothing.signal) == len(nothing.inside) == 0


@pytest.mark.parametrize(
    ("mu", "g", "first"),
    [
        ([1.0], [[1.0]], 0),
        ([2.0, 1.0], [[1.0], [1.0]], 0),
        ([0.0, 1.0], [[1.0], [1.0]], 0),
        ([1.0, np.inf], [[1.0], [1.0]], 0),
        ([1.0, np.nan], [[1.0], [1.0]], 0),
        ([1.0, 2.0], [[1.0], [1.1]], 0),
        ([1.0, 2.0], [[1.0], [np.nan]], 0),
        ([1.0, 2.0], [[1.0]], 0),
        ([1.0, 2.0], [[1.0], [1.0]], MOST_INSIDE),
        ([1.0, 2.0], [[1.0], [1.0]], -1),
    ],
)
def test_boundaries_that_are_none_are_refused(mu, g, first):
    with pytest.raises(ValueError, match=r"mu|g:|first"):
        Boundary(np.array(mu), np.array(g), first)
