"""Limits from likelihoods of events, integrated over the background."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_integration import (
    flat_moments,
    gamma_moments,
    gaussian_moments,
    integral_beyond,
    known_moments,
    mixture_beyond,
    narsky_ratios,
)
from scipy import integrate, optimize, special

from covsvc.contracts import Counts, ModelledEvents, Status, UncertainCounts
from covsvc.methods.bayes import BayesFlat
from covsvc.methods.bayes_uncertain_background import BayesUncertainBackground
from covsvc.methods.likelihood_integration import LikelihoodIntegration

METHOD = LikelihoodIntegration()
LEVELS = [0.5, 0.9, 1 - 1e-9]


def upper(ratios, cl=0.9, **known):
    limits = METHOD.limits(ModelledEvents.of([ratios], **known), cl)
    assert limits.status[0] == Status.OK
    return limits.upper[0]


def log_gamma_prior(b, error):
    return lambda x: ((b / error) ** 2 - 1) * np.log(x) - x * b / error**2


# a posterior far from b = 0, where a power of b that is not whole would spoil the quadrature
EVENT_SETS = {
    "peak and tail": narsky_ratios(3, 2),
    "no signal in sight": narsky_ratios(0, 3),
    "signal alone": [8.0, 5.0, 7.5, 2.0],
    "two of both": [3.0, 0.2, 0.0, 12.0],
    "one": [0.7],
    "many": np.exp(np.random.default_rng(2000).normal(0.0, 2.0, 25)),
}
PRIORS = {
    "unknown": ({}, np.zeros_like, 150.0),
    "gamma": ({"b": 9.0, "b_error": 3.0}, log_gamma_prior(9.0, 3.0), 60.0),
    "truncated_gaussian": (
        {"b": 6.0, "b_error": 2.0, "shape": "truncated_gaussian"},
        lambda x: -(((x - 6.0) / 2.0) ** 2) / 2,
        30.0,
    ),
    "half a gaussian": (
        {"b": 0.0, "b_error": 2.0, "shape": "truncated_gaussian"},
        lambda x: -((x / 2.0) ** 2) / 2,
        30.0,
    ),
}


@pytest.mark.parametrize("cl", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("events", EVENT_SETS)
def test_agrees_with_the_integral_over_signal_and_background(events, prior, cl):
    known, log_prior, most_b = PRIORS[prior]
    found = upper(EVENT_SETS[events], cl, **known)
    assert integral_beyond(found, EVENT_SETS[events], log_prior, most_b) == pytest.approx(1 - cl, rel=1e-8)


# all scales, with events where no background or no signal falls, and too many for sums of products in doubles
EXTREMES = {
    "common": (20, 3.0, 0, 0),
    "wide": (60, 60.0, 3, 20),
    "widest": (30, 250.0, 0, 1),
    "last of the short": (120, 4.0, 2, 0),
    "first of the long": (121, 4.0, 2, 0),
    "long and wide": (200, 150.0, 1, 40),
}


def extreme_ratios(name):
    size, spread, infinite, zero = EXTREMES[name]
    logs = np.clip(np.random.default_rng(1999).normal(0.0, spread, size), -690, 690)
    return np.concatenate([np.exp(logs), np.full(infinite, np.inf), np.zeros(zero)])


@pytest.mark.parametrize("cl", LEVELS)
@pytest.mark.parametrize("name", EXTREMES)
def test_unknown_and_known_backgrounds_agree_with_50_digits(name, cl):
    ratios = extreme_ratios(name)
    n = len(ratios)
    found = upper(ratios, cl)
    assert float(mixture_beyond(found, ratios, flat_moments(n))) == pytest.approx(1 - cl, rel=1e-11)
    for b in (1e-300, 2.3, 1e6):
        found = upper(ratios, cl, b=b)
        assert float(mixture_beyond(found, ratios, known_moments(n, b))) == pytest.approx(1 - cl, rel=1e-11)


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize(("b", "error"), [(5.5, 2.0), (3.0, 30.0), (1e-3, 10.0), (1e-200, 1e-200)])
def test_gamma_distributions_agree_with_50_digits(name, b, error):
    # those wider than their mean have weights that fall and rise again
    ratios = extreme_ratios(name)
    found = upper(ratios, b=b, b_error=error)
    assert float(mixture_beyond(found, ratios, gamma_moments(len(ratios), b, error))) == pytest.approx(0.1, rel=1e-11)


@pytest.mark.parametrize(("b", "error"), [(5.5, 2.0), (0.0, 4.0), (30.0, 0.5)])
def test_gaussian_distributions_agree_with_50_digits(b, error):
    ratios = [*narsky_ratios(3, 1), np.inf, 0.0]
    found = upper(ratios, b=b, b_error=error, shape="truncated_gaussian")
    moments = gaussian_moments(len(ratios), b, error)
    assert float(mixture_beyond(found, ratios, moments)) == pytest.approx(0.1, rel=1e-10)


# n events at 0 and none outside: solved from the integral of Narsky's Eq. 16 to 30 digits. The text of Section 4 has
# them identical to the flat prior's 3.890 and 6.681, which they are not: the background is fitted, not known to be 0
@pytest.mark.parametrize(("n", "exact"), [(1, 3.774), (3, 6.543)])
def test_without_events_outside_the_background_is_still_unknown(n, exact):
    assert upper(narsky_ratios(n, 0)) == pytest.approx(exact, abs=5e-4)


@pytest.mark.parametrize(("b", "exact"), [(1, 2.31), (5, 2.34)])
def test_no_event_in_the_signal_region_gives_about_2_3(b, exact):
    # Narsky, Section 4, has 2.30 for S_i << B_i; the events that are nearest in 2.5 < |x| < 5 add the rest
    assert upper(narsky_ratios(0, b)) == pytest.approx(exact, abs=5e-3)


@pytest.mark.parametrize("known", [{}, {"b": 5.5}, {"b": 5.5, "b_error": 1.0}])
def test_events_far_from_the_signal_leave_2_30(known):
    # Narsky, Section 5 and Table 1: 2.30
    limits = [upper([ratio] * 3, **known) for ratio in (1.0, 1e-3, 1e-6, 1e-300, 0.0)]
    assert np.diff(limits).max() <= 0
    assert limits[2] == pytest.approx(-math.log(0.1), abs=1e-5)
    assert limits[-1] == -np.log1p(-0.9)


@pytest.mark.parametrize("shape", ["gamma", "truncated_gaussian"])
@pytest.mark.parametrize("cl", LEVELS)
def test_no_event_tells_nothing_of_the_background(shape, cl):
    b = np.array([1e-300, 1.0, 1e6])
    for known in ({}, {"b": 0.0}, {"b": b}, {"b": b, "b_error": 1.0, "shape": shape}):
        limits = METHOD.limits(ModelledEvents([0, 0, 0], [], **known), cl)
        assert (limits.upper == -np.log(1 - cl)).all()


@pytest.mark.parametrize("cl", LEVELS)
@pytest.mark.parametrize("n", [1, 7, 100, 121, 1000])
def test_events_that_are_all_alike_are_a_count(n, cl):
    # prod(s r + b) = r^n (s + b/r)^n
    for ratio, b in ((1.0, 0.9 * n), (7.98, 3.0), (1e-3, 2.0), (1e200, 5.0), (1e-200, 1e-200)):
        known = BayesFlat().limits(Counts([n], b / ratio), cl).upper[0]
        assert upper([ratio] * n, cl, b=b) == pytest.approx(known, rel=1e-11)
        gamma = BayesUncertainBackground().limits(UncertainCounts([n], b / ratio, 0.7 * b / ratio), cl).upper[0]
        if ratio == 1.0:  # what is known of b and the count have one scale
            assert upper([ratio] * n, cl, b=b, b_error=0.7 * b) == pytest.approx(gamma, rel=1e-11)


def test_ten_thousand_events_that_are_all_alike_are_a_count():
    known = BayesFlat().limits(Counts([10_000], 9_000.0), 0.9).upper[0]
    assert upper([3.0] * 10_000, b=27_000.0) == pytest.approx(known, rel=1e-11)


@pytest.mark.parametrize("n", [3, 40, 400, 3000])
@pytest.mark.parametrize("cl", [0.5, 0.9, 0.999])
def test_densities_that_are_equal_leave_the_part_of_the_signal_unknown(n, cl):
    # (s + b)^n: u = s / (s + b) is uniform in [0, 1] and independent of s + b, of distribution Gamma(n + 2, 1)
    def beyond(s):
        edge = min(s / (n + 2), 0.5)
        parts = [
            integrate.quad(lambda u: special.gammaincc(n + 2, s / u), *ends, limit=500, epsabs=1e-13, epsrel=1e-12)
            for ends in ((0, edge), (edge, min(1.5 * edge, 1)), (min(1.5 * edge, 1), 1))
        ]
        return sum(value for value, _ in parts)

    exact = optimize.brentq(lambda s: beyond(s) - (1 - cl), 1e-3, 2 * n + 40, xtol=1e-12, rtol=1e-13)
    assert upper([1.0] * n, cl) == pytest.approx(exact, rel=1e-9)


def test_signal_and_background_apart_make_a_count_without_background():
    # prod = s^2 b^3, whatever the ratio of the units
    for known in ({}, {"b": 4.0}, {"b": 4.0, "b_error": 1.0}):
        found = upper([np.inf, np.inf, 0, 0, 0], **known)
        assert found == pytest.approx(special.gammainccinv(3, 0.1), rel=1e-13)


@pytest.mark.parametrize("shape", ["gamma", "truncated_gaussian"])
def test_a_small_error_of_the_background_is_none(shape):
    ratios = narsky_ratios(3, 2)
    known = upper(ratios, b=8.0)
    assert upper(ratios, b=8.0, b_error=1e-7, shape=shape) == pytest.approx(known, rel=1e-12)
    assert upper(ratios, b=8.0, b_error=1e-200, shape=shape) == known
    # the effect is of the second order
    assert upper(ratios, b=8.0, b_error=1e-3, shape=shape) == pytest.approx(known, rel=1e-6)


def test_a_wide_gamma_distribution_of_the_same_shape_as_a_flat_one_is_flat():
    # shape 1 is exp(-b/mean): as the mean grows, flat
    ratios = narsky_ratios(4, 3)
    assert upper(ratios, b=1e6, b_error=1e6) == pytest.approx(upper(ratios), rel=1e-4)


def test_background_that_is_known_to_be_0_makes_all_events_signal():
    assert upper([0.3, 1e-5, 8.0], b=0.0) == pytest.approx(special.gammainccinv(4, 0.1), rel=1e-13)
    observed = ModelledEvents.of([[1.0, 0.0], [1.0], []], b=0.0)
    assert METHOD.limits(observed, 0.9).status.tolist() == [Status.FAILED, Status.OK, Status.OK]
    reasons = METHOD.explain(observed, 0.9)
    assert "known to be 0" in reasons[0]
    assert reasons[1:] == ["", ""]


def test_a_million_events_have_a_limit_or_a_reason():
    few = np.full(1_000_000, 1e-7)
    assert upper(few, b=1e6) == pytest.approx(-math.log(0.1), rel=1e-6)  # (1 + 1e-13 s)^(10^6) is 1
    told = METHOD.explain(ModelledEvents.of([np.ones(1_000_000), [1.0]]), 0.9)
    assert told[0].startswith(
        "1,000,000 events, too many of which may be signal: the sum over how many takes more than"
    )
    assert told[1] == ""


ratio_lists = st.lists(
    st.one_of(st.floats(1e-300, 1e300), st.floats(0, 20), st.just(0.0), st.just(np.inf)), min_size=0, max_size=12
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    toys=st.lists(ratio_lists, min_size=2, max_size=5),
    b=st.one_of(st.none(), st.just(0.0), st.just(1e-300), st.floats(0, 1e6)),
    error=st.one_of(st.just(0.0), st.floats(0, 1e6)),
    shape=st.sampled_from(["gamma", "truncated_gaussian"]),
    cl=st.sampled_from(LEVELS),
)
def test_a_limit_does_not_know_its_neighbours_and_never_raises(toys, b, error, shape, cl):
    if b is None or (shape == "gamma" and b == 0):
        error = 0.0
    known = {"b": b, "b_error": error, "shape": shape}
    together = METHOD.limits(ModelledEvents.of(toys, **known), cl)
    for i, toy in enumerate(toys):
        alone = METHOD.limits(ModelledEvents.of([toy], **known), cl)
        assert alone.upper[0].tobytes() == together.upper[i].tobytes()
        failed = b == 0 and error == 0 and 0.0 in toy
        assert together.status[i] == (Status.FAILED if failed else Status.OK)
        if not failed:
            assert -np.log(1 - cl) * (1 - 1e-12) <= together.upper[i] < np.inf


def test_long_and_short_toys_in_a_batch_do_not_know_each_other():
    rng = np.random.default_rng(7)
    sizes = [119, 0, 300, 5, 121, 120, 1, 700, 3]
    toys = [np.exp(rng.normal(0.0, spread, size)) for spread in (1.0, 40.0, 200.0) for size in sizes]
    toys += [np.append(toy, [np.inf, 0.0]) for toy in toys]
    for known in ({}, {"b": 3.0}, {"b": 3.0, "b_error": 20.0}):
        together = METHOD.limits(ModelledEvents.of(toys, **known), 0.9).upper
        alone = [METHOD.limits(ModelledEvents.of([toy], **known), 0.9).upper[0] for toy in toys]
        assert together.tolist() == alone
        assert METHOD.limits(ModelledEvents.of(toys[::-1], **known), 0.9).upper[::-1].tolist() == alone


@settings(max_examples=60, deadline=None, derandomize=True)
@given(toy=ratio_lists, seed=st.integers(0, 1000))
def test_the_order_of_events_does_not_matter(toy, seed):
    other = np.random.default_rng(seed).permutation(np.array(toy, float))
    assert upper(other) == pytest.approx(upper(toy), rel=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(toy=st.lists(st.floats(0, 20), min_size=1, max_size=30), more=st.floats(0, 20))
def test_an_event_that_is_more_like_signal_never_tightens(toy, more):
    likelier = [toy[0] + more, *toy[1:]]
    assert upper(likelier) >= upper(toy) * (1 - 1e-12)
