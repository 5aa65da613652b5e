"""Events along a spectrum: their distribution, what the analyst is told, and counts of them."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import check_numbers
from numpy.testing import assert_array_equal
from scipy import stats

import covsvc
from covsvc import registry
from covsvc.contracts import MOST_EVENTS, Events
from covsvc.engine.work import make_tables, run_task
from covsvc.errors import ObservationError, StudyError
from covsvc.experiments.spectrum import Spectrum
from covsvc.study import ExperimentSpec, rows
from covsvc.tally import DONE

SIZE = 50_000


def draw(s_true, b, size=SIZE, seed=1999, **options):
    (events,) = Spectrum(**options).toys(s_true, b, size, np.random.default_rng(seed))
    return events


@pytest.mark.parametrize(
    ("s_true", "b", "options", "mu"),
    [
        (3.0, 0.0, {}, 3.0),
        (0.0, 2.0, {}, 2.0),
        (3.0, 2.0, {}, 5.0),
        (3.0, 0.0, {"background_per_signal": 1.0}, 6.0),
        (2.0, 1.0, {"background_per_signal": 0.5, "known_b": 1.5}, 5.5),
        (0.0, 0.0, {"known_b": 0.7}, 0.7),
    ],
)
def test_events_are_those_of_signal_and_all_backgrounds(s_true, b, options, mu):
    events = draw(s_true, b, **options)
    check_numbers(events.n, mu)
    assert len(events.u) == events.n.sum()
    assert events.b == options.get("known_b", 0.0)


@pytest.mark.parametrize("s_true", [0.5, 10.0])
def test_signal_is_uniform(s_true):
    assert stats.kstest(draw(s_true, 0.0).u, "uniform").pvalue > 1e-3


def test_background_is_uniform_in_each_of_its_pieces_and_nowhere_else():
    events = draw(0.0, 4.0, background_edges=(0.1, 0.3, 0.4, 0.9), background_weights=(3.0, 0.0, 1.0))
    u = events.u
    first, second = u[u < 0.3], u[u > 0.4]
    assert len(first) + len(second) == len(u)
    assert u.min() >= 0.1
    assert u.max() <= 0.9
    assert stats.binomtest(len(first), len(u), 0.75).pvalue > 1e-3
    assert stats.kstest(first, stats.uniform(0.1, 0.2).cdf).pvalue > 1e-3
    assert stats.kstest(second, stats.uniform(0.4, 0.5).cdf).pvalue > 1e-3


def test_in_test_b_background_is_twice_the_signal_and_below_one_half_only():
    # Yellin (2002), Section IV: half the signal is in the low part, where the background is twice the signal
    events = draw(10.0, 0.0, background_per_signal=1.0)
    toy = np.repeat(np.arange(SIZE), events.n)
    low = np.bincount(toy[events.u < 0.5], minlength=SIZE)
    check_numbers(low, 15.0)
    check_numbers(events.n - low, 5.0)
    assert_array_equal(draw(10.0, 10.0).u, events.u)


def test_background_of_the_shape_of_signal_is_signal():
    events = draw(3.0, 2.0, background_edges=(0.0, 1.0))
    assert_array_equal(events.n, draw(5.0, 0.0).n)
    assert events.u == pytest.approx(draw(5.0, 0.0).u, rel=1e-12)


def test_all_kinds_together_have_the_mixed_distribution():
    events = draw(
        2.0, 1.0, background_edges=(0.5, 1.0), known_b=3.0, known_edges=(0.0, 0.25, 1.0), known_weights=(3.0, 1.0)
    )

    def mixed(u):
        return (2 * u + np.clip(2 * u - 1, 0, 1) + 3 * np.interp(u, [0, 0.25, 1], [0, 0.75, 1])) / 6

    assert stats.kstest(events.u, mixed).pvalue > 1e-3


def test_the_known_background_is_uniform_in_its_own_distribution():
    shape = {"known_edges": (0.1, 0.3, 0.8), "known_weights": (0.9, 0.1)}
    events = draw(0.0, 0.0, known_b=4.0, **shape)
    assert stats.kstest(events.v, "uniform").pvalue > 1e-3
    # with signal, v is told of every event
    events = draw(3.0, 1.0, known_b=4.0, **shape)
    assert events.v == pytest.approx(np.interp(events.u, [0.1, 0.3, 0.8], [0.0, 0.9, 1.0]), abs=1e-15)


def test_what_is_drawn_is_what_an_analyst_could_observe():
    for options in ({}, {"known_b": 2.0, "known_edges": (0.0, 0.3, 0.6), "known_weights": (0.2, 0.8)}):
        drawn = draw(3.0, 1.5, 1000, **options)
        checked = Events(drawn.n, drawn.u, drawn.b, drawn.v)
        assert_array_equal(checked.u, drawn.u)
        assert drawn.n.dtype == np.int64
        assert drawn.u.dtype == np.float64


def test_nothing_expected_nothing_observed():
    events = draw(0.0, 0.0, 100)
    assert events.n.tolist() == [0] * 100
    assert len(events.u) == 0
    assert events.v is None
    assert len(draw(0.0, 0.0, 100, background_per_signal=5.0).u) == 0


@pytest.mark.parametrize(
    ("options", "mu"),
    [({}, 4.0), ({"background_per_signal": 0.5}, 5.5), ({"known_b": 2.0}, 6.0)],
)
def test_counting_methods_read_the_number_of_events(options, mu):
    events = draw(3.0, 1.0, **options)
    # all events are taken for signal: covered where F(n; s) >= 0.1, exactly what Poisson probabilities say
    upper = covsvc.limits("poisson", events, 0.9).upper
    enough = stats.poisson.cdf(np.arange(60), 3.0) >= 0.1
    exact = stats.poisson.pmf(np.arange(60), mu)[enough].sum()
    assert stats.binomtest(int((upper >= 3.0).sum()), SIZE, exact).pvalue > 1e-3
    known = covsvc.limits("classical", events, 0.9)
    assert_array_equal(
        known.upper, covsvc.limits("classical", covsvc.Counts(events.n, options.get("known_b", 0.0)), 0.9).upper
    )


def test_a_file_gives_lists_and_the_toys_are_known_by_what_they_say():
    told = {"background_edges": [0, 0.25, 1], "background_weights": [1, 3]}
    experiment = registry.experiment("spectrum", told)
    assert experiment == Spectrum(background_edges=(0.0, 0.25, 1.0), background_weights=(1.0, 3.0))
    assert hash(experiment) == hash(Spectrum(background_edges=(0.0, 0.25, 1.0), background_weights=(1.0, 3.0)))
    spec = ExperimentSpec(name="spectrum", options=told)
    assert ExperimentSpec.model_validate_json(spec.model_dump_json()).build() == experiment
    default = ExperimentSpec(name="spectrum", options={"background_edges": [0, 0.5], "known_b": 0})
    assert default.options == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"background_per_signal": -1.0}, "background_per_signal = -1.0: must be a number in"),
        ({"background_per_signal": float("nan")}, "background_per_signal = nan"),
        ({"background_per_signal": float("inf")}, "background_per_signal = inf"),
        ({"known_b": -1}, "known_b = -1.0: must be a number in"),
        ({"known_b": 2.0 * MOST_EVENTS}, "known_b = 2000000.0"),
        ({"background_edges": [0.2]}, "background_edges = (0.2,): must be two or more numbers in [0, 1], ascending"),
        ({"background_edges": [0, 1.5]}, "background_edges = (0.0, 1.5): must be two or more"),
        ({"background_edges": [-0.1, 0.5]}, "background_edges = (-0.1, 0.5): must be two or more"),
        ({"background_edges": [0.5, 0.2]}, "background_edges = (0.5, 0.2): must be two or more"),
        ({"background_edges": [0, float("nan")]}, "background_edges = (0.0, nan): must be two or more"),
        ({"background_edges": [0.5, 0.5]}, "background_edges = (0.5, 0.5): a piece has a width above 0"),
        ({"background_edges": [0, 0.2, 1]}, "background_weights = (1.0,): 1 weights for the 2 pieces"),
        ({"background_weights": [-1.0]}, "background_weights = (-1.0,): must be finite numbers >= 0, not all"),
        ({"background_weights": [0]}, "background_weights = (0.0,): must be finite numbers >= 0, not all"),
        ({"background_weights": [float("nan")]}, "background_weights = (nan,): must be finite"),
        ({"background_weights": "1"}, "background_weights = '1'"),
        ({"known_edges": [0, 0.5]}, "known_edges = (0.0, 0.5): needs a known_b above 0"),
        ({"known_weights": [2]}, "known_weights = (2.0,): needs a known_b above 0"),
        ({"known_b": 1, "known_edges": [0, 2]}, "known_edges = (0.0, 2.0): must be two or more"),
        ({"known_b": 1, "known_weights": [0]}, "known_weights = (0.0,): must be finite numbers"),
    ],
)
def test_options_that_make_no_spectrum_are_refused(options, message):
    with pytest.raises(registry.OptionError) as refused:
        registry.experiment("spectrum", options)
    assert message in str(refused.value)
    assert refused.value.option in options


def test_toys_with_more_events_than_can_be_observed_are_refused():
    rng = np.random.default_rng(1999)
    with pytest.raises(ObservationError, match=r"up to 1,007,9.. may come, more than 1,000,000; take a smaller s_true"):
        Spectrum().toys(1e6, 0.0, 1, rng)
    with pytest.raises(ObservationError, match=r"take toys_per_block = 250$"):
        Spectrum().toys(0.0, 1e5, 1000, rng)
    (large,) = Spectrum().toys(5e4, 5e4, 2, rng)
    assert (np.abs(large.n - 1e5) < 5 * np.sqrt(1e5)).all()


def test_real_data_are_positions_in_any_order():
    (events,) = Spectrum().observe({"u": [0.7, 0.1, 0.3]})
    assert (events.n.tolist(), events.u.tolist(), events.b, events.v) == ([3], [0.1, 0.3, 0.7], 0.0, None)
    (events,) = Spectrum().observe({"u": [0.7, 0.1, 0.3, 0.3], "b": 3.0, "v": [0.9, 0.0, 0.5, 0.4]})
    assert (events.u.tolist(), events.b, events.v.tolist()) == ([0.1, 0.3, 0.3, 0.7], 3.0, [0.0, 0.4, 0.5, 0.9])
    (events,) = Spectrum().observe({"u": []})
    assert (events.n.tolist(), events.u.tolist()) == ([0], [])
    assert Spectrum().observe({"u": 0.3})[0].n.tolist() == [1]
    assert Spectrum().observe({"u": [0, 1, 1]})[0].u.tolist() == [0.0, 1.0, 1.0]


def test_the_known_background_of_the_options_is_that_of_real_data_unless_they_say_more():
    experiment = Spectrum(known_b=2.0, known_edges=(0.5, 1.0))
    (events,) = experiment.observe({"u": [0.75, 0.1]})
    assert (events.b, events.v.tolist()) == (2.0, [0.0, 0.5])
    (events,) = experiment.observe({"u": [0.75, 0.1], "b": 1.0, "v": [0.75, 0.1]})
    assert (events.b, events.v.tolist()) == (1.0, [0.1, 0.75])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "is given by u, or by u, b and v if some of the background is known, not by nothing"),
        ({"n": 3, "b": 1.0}, "not by n, b"),
        ({"u": [0.1], "b": 1.0}, "not by u, b"),
        ({"u": [0.1], "b": 1.0, "v": [0.1, 0.2]}, "v holds 2 positions, but u 1: give both of each event"),
        ({"u": [0.1], "b": 0.0, "v": [0.1]}, "b = 0: v is the cdf of a known background, give b > 0"),
        ({"u": [0.1], "b": -1.0, "v": [0.1]}, "b = -1: an expected background"),
        ({"u": [0.1], "b": [1.0], "v": [0.1]}, "share one known background"),
        ({"u": [0.1, 0.2], "b": 1.0, "v": [0.2, 0.1]}, "v falls from 0.2 to 0.1"),
        ({"u": [1.2]}, "u = 1.2: a cumulative spectrum lies in [0, 1]"),
        ({"u": [0.3, float("nan")]}, "u = nan: a cumulative spectrum lies in [0, 1]"),
        ({"u": ["a"]}, "u = ['a']: the positions of events are a row of numbers in [0, 1]"),
        ({"u": [True]}, "u = [True]"),
        ({"u": [[0.1], [0.2, 0.3]]}, "u = [[0.1], [0.2, 0.3]]"),
        ({"u": [0.1], "b": 1.0, "v": "x"}, "v = 'x'"),
    ],
)
def test_impossible_data_are_refused(data, message):
    with pytest.raises(ObservationError) as refused:
        Spectrum().observe(data)
    assert message in str(refused.value)


def test_nothing_tells_the_unknown_background():
    assert Spectrum(known_b=2.0).background({"u": [0.1, 0.2]}) == 0.0
    assert Spectrum().background({"u": [0.1, 0.2]}, no_signal=True) == 0.0


def test_a_study_puts_the_toys_through_counting_methods(small_study):
    study = small_study(
        experiment={"name": "spectrum", "options": {"background_per_signal": 1}},
        methods=["poisson", "classical"],
        b=[0],
    )
    (row,) = rows(study, lambda _: (np.ones((4, 4, 5), bool), None), 1e9)
    tables = make_tables(row)
    assert tables.table is None
    (task,) = row.tasks
    tally = run_task(task, tables)
    assert (tally.status == DONE).all()
    assert (tally.counts[0] == tally.counts[2])[:, :2].all()  # both take all events for signal where none is known
    for cell, s_true in enumerate(study.s_true):
        enough = stats.poisson.cdf(np.arange(80), s_true) >= 0.1
        exact = stats.poisson.pmf(np.arange(80), 2 * s_true)[enough].sum()
        n_toys, n_covered = tally.counts[0, cell, :2].tolist()
        assert n_toys == 5000
        assert stats.binomtest(n_covered, n_toys, min(exact, 1.0)).pvalue > 1e-3


def test_exact_coverage_of_events_is_refused():
    with pytest.raises(StudyError):
        covsvc.exact_coverage("poisson", "spectrum", s_true=1, b=0, cl=0.9)
