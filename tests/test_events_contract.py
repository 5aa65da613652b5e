"""Positions of events as a batch: what is taken, what is refused, and where the events of a toy are."""

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from covsvc.contracts import MOST_EVENTS, Counts, Events
from covsvc.errors import ObservationError


def test_events_are_counts_over_the_known_background():
    events = Events([2, 0, 1], [0.1, 0.7, 0.3], b=2.5, v=[0.0, 0.4, 0.2])
    assert isinstance(events, Counts)
    assert len(events) == 3
    assert events.n.tolist() == [2, 0, 1]
    assert events.b == 2.5
    assert events.b_of_each.tolist() == [2.5, 2.5, 2.5]
    assert (events.u.tolist(), events.v.tolist()) == ([0.1, 0.7, 0.3], [0.0, 0.4, 0.2])
    with pytest.raises(FrozenInstanceError):
        events.u = np.zeros(3)


def test_the_background_is_unknown_unless_told():
    events = Events([1], [0.5])
    assert (events.b, events.v) == (0.0, None)
    assert events.b_of_each.tolist() == [0.0]


def test_events_of_a_toy_begin_where_those_before_it_end():
    assert Events([2, 0, 1], [0.1, 0.7, 0.3]).starts.tolist() == [0, 2, 2, 3]
    assert Events([0, 0], []).starts.tolist() == [0, 0, 0]
    assert Events([], []).starts.tolist() == [0]


@pytest.mark.parametrize(
    ("n", "u"),
    [
        ([], []),
        ([0], []),
        ([0, 0, 0], []),
        ([1], [0.0]),
        ([1], [1]),
        (2, [0, 1]),
        ([2.0], [0.5, 0.5]),
        ([1, 1, 1], [0.9, 0.5, 0.1]),
        ([0, 2, 0, 1, 0], [0.4, 0.6, 0.2]),
        ([2, 2], [0.5, 1.0, 0.0, 0.0]),
        ([4], [0.0, 0.0, 1.0, 1.0]),
    ],
)
def test_every_ascending_row_in_the_range_is_taken(n, u):
    events = Events(n, u)
    assert events.u.tolist() == [float(value) for value in u]
    assert events.u.dtype == np.float64
    assert events.n.dtype == np.int64
    told = Events(n, u, 0.5, u)
    assert_array_equal(told.v, told.u)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n": [-1]}, "n = -1: a count of events is a whole number >= 0"),
        ({"n": [1.5]}, "n = 1.5: a count of events is a whole number >= 0"),
        ({"n": [MOST_EVENTS + 1]}, "n = 1000001: a count of events is a whole number >= 0, at most 1,000,000"),
        ({"n": [[2]]}, "n has 2 dimensions"),
        ({"u": [0.1]}, "u holds 1 positions, but n = 2 events in all"),
        ({"u": [0.1, 0.2, 0.3]}, "u holds 3 positions, but n = 2 events in all"),
        ({"u": [0.1, 1.1]}, "u = 1.1: a cumulative spectrum lies in [0, 1]"),
        ({"u": [-0.1, 0.2]}, "u = -0.1: a cumulative spectrum lies in [0, 1]"),
        ({"u": [0.1, np.nan]}, "u = nan: a cumulative spectrum lies in [0, 1]"),
        ({"u": [0.1, np.inf]}, "u = inf: a cumulative spectrum lies in [0, 1]"),
        ({"u": [0.7, 0.1]}, "u falls from 0.7 to 0.1: the events of a toy ascend"),
        ({"u": ["a", "b"]}, "u: positions of events are a row of numbers in [0, 1], toy after toy"),
        ({"u": [True, True]}, "u: positions of events are a row"),
        ({"u": [[0.1, 0.2]]}, "u: positions of events are a row"),
        ({"u": 0.1}, "u: positions of events are a row"),
        ({"b": -1.0}, "b = -1: an expected background is a number of events >= 0"),
        ({"b": np.nan}, "b = nan: an expected background"),
        ({"b": 2.0 * MOST_EVENTS}, "b = 2e+06: an expected background"),
        ({"b": [1.0]}, "b: the toys of a batch of events share one known background"),
        ({"b": 3.0}, "b = 3: its cdf v at each event is needed"),
        ({"v": [0.1, 0.2]}, "b = 0: v is the cdf of a known background, give b > 0"),
        ({"b": 3.0, "v": [0.1]}, "v holds 1 positions, but n = 2 events in all"),
        ({"b": 3.0, "v": [0.2, 0.1]}, "v falls from 0.2 to 0.1"),
        ({"b": 3.0, "v": [0.2, 1.2]}, "v = 1.2: a cumulative spectrum"),
        ({"b": 3.0, "v": "x"}, "v: positions of events are a row"),
    ],
)
def test_what_no_experiment_can_give_is_refused(given, message):
    right = {"n": [2], "u": [0.1, 0.7]}
    assert len(Events(**right)) == 1
    with pytest.raises(ObservationError) as refused:
        Events(**(right | given))
    assert message in str(refused.value)


def test_positions_may_fall_from_one_toy_to_the_next_only():
    assert len(Events([2, 0, 2, 0], [0.5, 0.9, 0.1, 0.2])) == 4
    for n, u in (([0, 2, 0], [0.9, 0.1]), ([1, 2], [0.5, 0.4, 0.3]), ([2, 1, 0], [0.5, 0.4, 0.3])):
        with pytest.raises(ObservationError, match="the events of a toy ascend"):
            Events(n, u)


def test_toys_are_given_one_by_one_in_any_order():
    events = Events.of([[0.7, 0.1], [], [0.3], (0.2, 0.9, 0.2)])
    assert events.n.tolist() == [2, 0, 1, 3]
    assert events.u.tolist() == [0.1, 0.7, 0.3, 0.2, 0.2, 0.9]
    assert (events.b, events.v) == (0.0, None)
    assert len(Events.of([])) == 0
    assert Events.of([[]]).n.tolist() == [0]
    assert_array_equal(Events.of([np.array([0.4, 0.3])]).u, [0.3, 0.4])


def test_the_distribution_of_a_known_background_keeps_to_its_events():
    events = Events.of([[0.7, 0.1], [], [0.3]], b=2.0, v=[[0.9, 0.0], [], [0.5]])
    assert events.u.tolist() == [0.1, 0.7, 0.3]
    assert events.v.tolist() == [0.0, 0.9, 0.5]
    assert events.b == 2.0
    assert Events.of([[]], b=2.0, v=[[]]).v.tolist() == []


def test_toys_one_by_one_are_held_to_the_same():
    with pytest.raises(ObservationError, match=r"u = 1\.2"):
        Events.of([[0.1], [1.2]])
    with pytest.raises(ObservationError, match="u = nan"):
        Events.of([[0.1, np.nan, 0.2]])
    with pytest.raises(ObservationError, match="its cdf v at each event is needed"):
        Events.of([[0.1]], b=1.0)
    with pytest.raises(ObservationError, match="v: give the cdf of the known background at each event"):
        Events.of([[0.1, 0.2]], b=1.0, v=[[0.1]])


def test_events_that_are_drawn_are_taken_as_they_are():
    n, u, v = np.array([1, 2]), np.array([0.5, 0.1, 0.2]), np.array([0.6, 0.0, 0.3])
    events = Events.drawn(n, u, 2.0, v)
    assert events.n is n
    assert events.u is u
    assert events.v is v
    assert (events.b, len(events)) == (2.0, 2)
    assert events.starts.tolist() == [0, 1, 3]
    assert (Events.drawn(n, u).b, Events.drawn(n, u).v) == (0.0, None)
    assert vars(events).keys() == vars(Events(n, u, 2.0, v)).keys()


def test_largest_intervals_stand_where_the_events_of_their_toy_do():
    # by hand: between the events 0.1, 0.7 and the ends lie 0.1, 0.6, 0.3; with one event inside 0.7, 0.9
    events = Events([2, 0, 1], [0.1, 0.7, 0.3])
    assert events.largest_intervals == pytest.approx([0.6, 0.9, 0.7])
    assert events.largest_intervals is events.largest_intervals
    assert len(Events([0, 0], []).largest_intervals) == 0
    assert Events.of([[0.5, 0.5, 0.5]]).largest_intervals.tolist() == [0.5, 0.5, 0.5]
    assert Events.of([[0.0, 1.0]]).largest_intervals.tolist() == [1.0, 1.0]


def test_largest_intervals_of_real_size_are_those_of_the_definition():
    rng = np.random.default_rng(1999)
    toys = [np.sort(rng.uniform(size=size)) for size in (0, 1, 5, 23, 200)]
    events = Events.of(toys)
    for start, toy in zip(events.starts.tolist(), toys, strict=False):
        ends = np.concatenate([[0.0], toy, [1.0]])
        expected = [max(ends[k + 1 :] - ends[: -k - 1]) for k in range(min(len(toy), 160))]
        assert events.largest_intervals[start : start + len(expected)].tolist() == expected
        assert np.isnan(events.largest_intervals[start + len(expected) : start + len(toy)]).all()


def test_events_travel():
    events = Events([2, 0, 1], [0.1, 0.7, 0.3], b=2.5, v=[0.0, 0.4, 0.2])
    copy = pickle.loads(pickle.dumps(events))
    assert copy.largest_intervals.tolist() == events.largest_intervals.tolist()
    assert (copy.b, copy.v.tolist(), copy.n.tolist()) == (2.5, [0.0, 0.4, 0.2], [2, 0, 1])


@pytest.mark.parametrize("toys", [[0.1, 0.2], [[[0.1, 0.2]]], [["a"]], [[None]]])
def test_toys_one_by_one_are_rows(toys):
    with pytest.raises(ObservationError, match="give a row of positions for each toy"):
        Events.of(toys)


def test_what_was_checked_stays_as_it_is():
    u = np.array([0.1, 0.2])
    events = Events([2], u)
    u[0] = 0.9
    assert events.u.tolist() == [0.1, 0.2]
