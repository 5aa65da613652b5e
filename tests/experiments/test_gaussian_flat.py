"""A Gaussian over a flat background: toys, what the analyst is told, and what is refused."""

from __future__ import annotations

import pickle
from itertools import product

import numpy as np
import pytest
from agreement import check_numbers
from numpy.testing import assert_array_equal
from scipy import stats

import covsvc
from covsvc import registry
from covsvc.contracts import Counts, EventModel, Events, ModelledEvents, OnOff, Sideband, UncertainCounts
from covsvc.errors import ObservationError, StudyError
from covsvc.experiments.gaussian_flat import GaussianFlat
from covsvc.registry import OptionError
from covsvc.study import ExperimentSpec, MethodSpec

SIZE = 20_000
TOLD = [
    {},
    {"shape": "truncated_gaussian"},
    {"b_is": "known"},
    {"b_is": "estimated", "relative_b_error": 0.3},
    {"b_is": "estimated", "relative_b_error": 0.3, "shape": "truncated_gaussian"},
]
every_knowledge = pytest.mark.parametrize("options", TOLD, ids=str)


def draw(s_true, b, size=SIZE, seed=1999, **options):
    return GaussianFlat(**options).toys(s_true, b, size, np.random.default_rng(seed))


# Narsky (2000), Section 4: a unit Gaussian in (-10, 10), the signal region (-2.5, 2.5), sidebands beyond 5
@pytest.mark.parametrize(("s_true", "b"), [(0.0, 2.0), (4.0, 0.0), (6.0, 3.0)])
def test_regions_hold_the_events_that_the_paper_says(s_true, b):
    modelled, events, sideband, on_off, _, counts = draw(s_true, b)
    leak = 2 * stats.norm.sf(2.5)
    assert leak == pytest.approx(1 - 0.98758, abs=5e-6)
    check_numbers(modelled.n, s_true + 4 * b)
    check_numbers(sideband.n, s_true * (1 - leak) + b)
    check_numbers(sideband.n_sb, 2 * b + s_true * 2 * stats.norm.sf(5.0))
    check_numbers(sideband.n_out - sideband.n_sb, b + s_true * leak)
    assert_array_equal(modelled.n, events.n)
    assert_array_equal(sideband.n + sideband.n_out, events.n)
    assert (sideband.zeta, sideband.zeta_sb, on_off.tau) == (0.25, 0.5, 2.0)
    for n in (on_off.n_on, counts.n):
        assert_array_equal(n, sideband.n)
    assert_array_equal(on_off.n_off, sideband.n_sb)


@every_knowledge
def test_the_views_are_of_the_same_events(options):
    modelled, events, sideband, *_ = draw(5.0, 2.0, 500, **options)
    x = stats.norm.ppf(events.u)
    seen = np.abs(x) < 6  # beyond, u is known too badly to tell x
    # S / B of a unit Gaussian over a density of 1/20
    assert modelled.density_ratio[seen] == pytest.approx(20 * stats.norm.pdf(x[seen]), rel=1e-6)
    toy = np.repeat(np.arange(500), events.n)
    assert_array_equal(sideband.n, np.bincount(toy[np.abs(x) < 2.5], minlength=500))


@every_knowledge
def test_what_is_drawn_is_what_an_analyst_could_observe(options):
    for s_true, b in ((0.0, 0.0), (3.0, 1.5), (40.0, 0.1)):
        modelled, events, *_ = draw(s_true, b, 200, **options)
        ModelledEvents(modelled.n, modelled.density_ratio, modelled.model, modelled.b, modelled.b_error, modelled.shape)
        checked = Events(events.n, events.u, events.b, events.v)
        assert_array_equal(checked.u, events.u)
        assert modelled.n.dtype == np.int64
        assert modelled.density_ratio.dtype == events.u.dtype == np.float64


def test_signal_alone_is_uniform_in_u():
    assert stats.kstest(draw(5.0, 0.0)[1].u, "uniform").pvalue > 1e-3


def test_nothing_is_told_of_an_unknown_background_but_by_the_sideband():
    modelled, events, sideband, _, known, counts = draw(3.0, 2.0, 300)
    assert (modelled.b, events.b, events.v) == (None, 0.0, None)
    # Narsky (2000), Eq. 23: b = zeta_sb n_sb
    assert_array_equal(counts.b, sideband.n_sb / 2)
    # a flat prior times b^n exp(-2 b): shape n + 1, rate 2
    assert known.b == pytest.approx(stats.gamma.mean(sideband.n_sb + 1, scale=0.5), rel=1e-14)
    assert known.b_error == pytest.approx(stats.gamma.std(sideband.n_sb + 1, scale=0.5), rel=1e-14)
    gaussian = draw(3.0, 2.0, 300, shape="truncated_gaussian")[4]
    assert_array_equal(gaussian.b, counts.b)
    assert gaussian.b_error == pytest.approx(np.sqrt(np.maximum(sideband.n_sb, 1)) / 2, rel=1e-15)


def test_a_known_background_is_told_everywhere():
    modelled, events, _, _, known, counts = draw(3.0, 2.0, 300, b_is="known")
    assert (modelled.b, modelled.b_error) == (8.0, 0.0)
    assert (known.b, known.b_error, counts.b) == (2.0, 0.0, 2.0)
    assert events.b == 8.0
    # flat: as far along as x itself
    inside = np.abs(events.v - 0.5) < 0.2
    assert events.v[inside] == pytest.approx((stats.norm.ppf(events.u[inside]) + 10) / 20, abs=1e-9)
    assert stats.kstest(draw(0.0, 2.0, b_is="known")[1].v, "uniform").pvalue > 1e-3


def test_an_estimated_background_fluctuates_about_the_truth():
    r, b = 0.25, 3.0
    modelled, events, _, _, known, counts = draw(2.0, b, b_is="estimated", relative_b_error=r)
    # a count off source of expectation 1 / r^2 = 16, each worth r^2 b
    off = counts.b / (r**2 * b)
    assert off == pytest.approx(np.round(off), abs=1e-9)
    check_numbers(np.round(off).astype(int), 16.0)
    assert known.b == pytest.approx((off + 1) * r**2 * b, rel=1e-12)
    assert known.b_error == pytest.approx(np.sqrt(off + 1) * r**2 * b, rel=1e-12)
    assert modelled.b == pytest.approx(4 * known.b, rel=1e-14)
    assert modelled.b_error == pytest.approx(4 * known.b_error, rel=1e-14)
    assert events.b == 0.0
    told = draw(2.0, b, b_is="estimated", relative_b_error=r, shape="truncated_gaussian")[4]
    assert stats.kstest(told.b, stats.truncnorm(-4, np.inf, b, r * b).cdf).pvalue > 1e-3
    assert told.b_error == r * b


def test_nothing_is_promised_of_counts_which_signal_leaks_out_of():
    experiment = GaussianFlat()
    assert set(experiment.plugs_in) == {Sideband, OnOff, UncertainCounts, Counts}
    assert experiment.hides_background
    assert not GaussianFlat(b_is="known").hides_background


@pytest.mark.parametrize(
    ("method", "view"),
    [
        ("classical", Counts),
        ("feldman_cousins", Counts),
        ("bayes_uncertain_background", OnOff),
        ("significance_sideband", Sideband),
        ("max_gap", Events),
        ("likelihood_integration", ModelledEvents),
        ("mc_likelihood", ModelledEvents),
        ("profile_likelihood", ModelledEvents),
    ],
)
def test_each_method_reads_what_it_is_made_for(method, view):
    reads = registry.find("methods", method).reads
    assert GaussianFlat.gives[registry.view_for(reads, GaussianFlat.gives)] is view


def test_a_method_that_promises_coverage_of_counts_promises_none_here():
    experiment = ExperimentSpec(name="gaussian_flat").build()
    assert MethodSpec(name="classical").promise_on(experiment) == "nothing"
    assert MethodSpec(name="max_gap").promise_on(experiment) == "at_least"
    assert MethodSpec(name="profile_likelihood").promise_on(experiment) == "asymptotic"


def test_a_wrong_option_is_refused_by_its_name():
    with pytest.raises(OptionError) as refused:
        registry.experiment("gaussian_flat", {"sideband_start": 11.0})
    assert refused.value.option == "sideband_start"
    with pytest.raises(StudyError, match="b_is"):
        registry.experiment("gaussian_flat", {"b_is": "guessed"})


def test_exact_coverage_of_events_is_refused():
    with pytest.raises(StudyError):
        covsvc.exact_coverage("classical", "gaussian_flat", s_true=1, b=1, cl=0.9)


def test_the_model_has_the_densities_of_the_toys():
    model = GaussianFlat().model(3.0)
    assert isinstance(model, EventModel)
    rng = np.random.default_rng(1999)
    signal, background = model.signal_ratios(50_000, rng), model.background_ratios(50_000, rng)
    # r = 20 phi(x): of signal P(r > t) = P(|x| < x_t), of background x_t / 10
    x_t = np.sqrt(np.maximum(-2 * np.log(np.concatenate([signal, background]) * np.sqrt(2 * np.pi) / 20), 0))
    assert stats.kstest(x_t[:50_000], "halfnorm").pvalue > 1e-3
    assert stats.kstest(x_t[50_000:], stats.uniform(0, 10).cdf).pvalue > 1e-3
    # the mean of S / B over background is 1, whatever the densities
    assert abs(background.mean() - 1) < 5 * background.std() / np.sqrt(len(background))
    drawn = draw(0.0, 5.0)[0].density_ratio
    assert stats.ks_2samp(drawn, background).pvalue > 1e-3


def test_the_key_of_the_model_changes_with_its_densities_only():
    base = GaussianFlat().model(1.0).key
    same = [{"signal_region": 2.0}, {"sideband_start": 6.0}, {"b_is": "known"}, {"shape": "truncated_gaussian"}]
    other = [{"half_width": 11.0}, {"signal_mean": 0.1}, {"signal_width": 1.1}]
    assert {GaussianFlat(**options).model(b).key for options, b in product([{}, *same], (0.0, 1.0, 5.0))} == {base}
    assert len({base, *(GaussianFlat(**options).model(1.0).key for options in other)}) == 4
    assert GaussianFlat(half_width=10).model(0.0).key == base


def test_models_and_toys_travel():
    drawn = draw(2.0, 1.0, 5)
    assert pickle.loads(pickle.dumps(drawn[0].model)) == drawn[0].model
    assert hash(drawn[0].model) == hash(GaussianFlat().model(7.0))


# Narsky (2000), Section 4: n events at 0, b in the intermediate region, 2 b in the sidebands
OBSERVED = {"x": [0.0, 0.0, 0.0, 3.3, -4.0, 6.0, -7.0, 8.0, -9.0]}


def test_real_data_are_the_places_of_events():
    modelled, events, sideband, on_off, known, counts = GaussianFlat().observe(OBSERVED)
    assert (modelled.n.tolist(), events.n.tolist()) == ([9], [9])
    assert modelled.density_ratio.max() == pytest.approx(20 / np.sqrt(2 * np.pi), rel=1e-14)
    assert (sideband.n.tolist(), sideband.n_out.tolist(), sideband.n_sb.tolist()) == ([3], [6], [4])
    assert (on_off.n_on.tolist(), on_off.n_off.tolist()) == ([3], [4])
    assert (counts.n.tolist(), counts.b.tolist(), known.b.tolist()) == ([3], [2.0], [2.5])
    # as if these were counts of the region: table of the Bayesian limit with a flat prior
    assert_array_equal(
        covsvc.limits("bayes_flat", counts, 0.9).upper, covsvc.limits("bayes_flat", Counts(3, 2.0), 0.9).upper
    )


def test_the_order_of_real_events_does_not_matter():
    there = GaussianFlat().observe(OBSERVED)
    back = GaussianFlat().observe({"x": OBSERVED["x"][::-1]})
    assert pickle.dumps(there) == pickle.dumps(back)


def test_no_event_at_all_can_be_observed():
    views = GaussianFlat().observe({"x": []})
    assert [len(view) for view in views] == [1] * 6
    assert views[0].n.tolist() == [0]


@pytest.mark.parametrize("options", TOLD[2:], ids=str)
def test_real_data_tell_a_background_that_is_known_beforehand(options):
    experiment = GaussianFlat(**options)
    modelled, events, _, _, known, counts = experiment.observe(OBSERVED | {"b": 1.5})
    error = 0.0 if options["b_is"] == "known" else 0.45
    assert (modelled.b, modelled.b_error) == (6.0, pytest.approx(4 * error))
    assert (known.b, known.b_error, counts.b) == (1.5, pytest.approx(error), 1.5)
    assert events.b == (6.0 if options["b_is"] == "known" else 0.0)
    assert experiment.background(OBSERVED | {"b": 1.5}) == 1.5
    if options["b_is"] == "estimated":
        assert experiment.observe(OBSERVED | {"b": 1.5, "b_error": 1.0})[0].b_error == 4.0


def test_the_best_background_of_real_data_is_that_of_the_sidebands():
    assert GaussianFlat().background(OBSERVED) == 2.0
    # Narsky (2000), Eq. 25: without signal all events are background
    assert GaussianFlat().background(OBSERVED, no_signal=True) == 9 / 4


def test_the_regions_are_options():
    _, _, sideband, on_off, *_ = GaussianFlat(half_width=8, signal_region=2, sideband_start=4).observe(
        {"x": [1.9, -2.1, 4.1, -7.9]}
    )
    assert (sideband.n.tolist(), sideband.n_out.tolist(), sideband.n_sb.tolist()) == ([1], [3], [2])
    assert (sideband.zeta, sideband.zeta_sb, on_off.tau) == (0.25, 0.5, 2.0)


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        ({}, {}, "with an unknown background is given by x, not by nothing"),
        ({}, {"x": [1.0], "b": 2.0}, "is given by x, not by x, b"),
        ({}, {"x": [1.0, 10.5]}, "x = 10.5: outside of the range of the fit, [-10, 10]"),
        ({"half_width": 6}, {"x": [-6.5]}, "x = -6.5: outside of the range of the fit, [-6, 6]"),
        ({}, {"x": [float("nan")]}, "x = nan: outside"),
        ({}, {"x": "0.1"}, "x = '0.1': the places of events are a row of numbers"),
        ({}, {"x": [True]}, "x = [True]: the places"),
        ({}, {"x": [[0.1], [0.2]]}, "x = [[0.1], [0.2]]: the places"),
        ({}, {"x": np.zeros(1_000_001)}, "x holds 1,000,001 places: at most 1,000,000"),
        ({"b_is": "known"}, {"x": [1.0]}, "background is known is given by x and by b"),
        ({"b_is": "known"}, {"x": [1.0], "b": 1.0, "b_error": 0.1}, "not by x, b, b_error"),
        ({"b_is": "known"}, {"x": [1.0], "b": -1.0}, "b = -1: an expected background"),
        ({"b_is": "known"}, {"x": [1.0], "b": 4e5}, "b = 400000: makes 1.6e+06 events in the whole range"),
        (TOLD[3], {"x": [1.0], "b": 1.0, "b_error": -0.1}, "b_error = -0.1: an expected background"),
        (TOLD[3], {"x": [1.0], "b": 0.0, "b_error": 0.1}, "no gamma distribution of mean 0"),
    ],
)  # fmt: skip
def test_impossible_data_are_refused(options, data, message):
    with pytest.raises(ObservationError) as refused:
        GaussianFlat(**options).observe(data)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"half_width": 0.0}, "half_width = 0.0"),
        ({"half_width": float("inf")}, "half_width = inf"),
        ({"signal_mean": 10.5}, "signal_mean = 10.5: must lie within the range, +-10"),
        ({"signal_width": 0.0}, "signal_width = 0.0: must lie in [1e-05, 10]"),
        ({"signal_width": 11.0}, "signal_width = 11.0"),
        ({"signal_width": float("nan")}, "signal_width = nan"),
        ({"signal_region": 0.0}, "signal_region = 0.0 and sideband_start = 5.0"),
        ({"signal_region": 6.0}, "signal_region = 6.0 and sideband_start = 5.0: must be above 0, ascending"),
        ({"sideband_start": 10.0}, "sideband_start = 10.0: must be above 0, ascending, and below half_width = 10"),
        ({"signal_region": 9e-6}, "signal_region = 9e-06 and sideband_start = 5.0: the signal region holds 9e-07 of"),
        ({"sideband_start": 10 - 1e-5}, "the sideband has 4e-06 times the background of the signal region"),
        ({"b_is": "estimated"}, "relative_b_error = 0.0: must lie in [0.001, 1] where b_is = estimated"),
        ({"b_is": "estimated", "relative_b_error": 1.5}, "relative_b_error = 1.5"),
        ({"relative_b_error": 0.1}, "relative_b_error = 0.1: needs b_is = estimated"),
        ({"b_is": "known", "shape": "truncated_gaussian"}, "shape = truncated_gaussian: a known background has none"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError) as refused:
        GaussianFlat(**options)
    assert message in str(refused.value)


def test_too_many_events_are_refused_before_they_are_drawn():
    with pytest.raises(ObservationError, match=r"1e\+06 expected events in the whole range"):
        draw(0.0, 250_000.0, 1)
    with pytest.raises(ObservationError, match="take toys_per_block = 6250"):
        draw(0.0, 1000.0, 10_000)


def test_extreme_options_draw_toys():
    for options in (
        {"signal_mean": 10.0, "signal_width": 10.0},
        {"signal_width": 1e-5},
        {"half_width": 1e-6, "signal_width": 1e-7, "signal_region": 2.5e-7, "sideband_start": 5e-7},
    ):
        modelled, events, *_ = draw(3.0, 2.0, 500, **options)
        ModelledEvents(modelled.n, modelled.density_ratio)
        Events(events.n, events.u)
    assert draw(3.0, 1e-300, 100)[0].n.sum() > 0
