"""Methods that are the same by another name, over all counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import covsvc

counts = st.integers(0, 60)
backgrounds = st.one_of(st.just(0.0), st.floats(1e-6, 60.0))
levels = st.floats(0.5, 0.999)
many = settings(max_examples=300, deadline=None, derandomize=True)


def upper(name, n, b, cl, **options):
    limits = covsvc.limits(name, covsvc.Counts([n], b), cl, **options)
    return np.where(limits.status == 1, -1.0, limits.upper)[0]


def same(one, other, scale=0.0):
    """Tell whether limits agree to 1e-9 of themselves, and of the mean that they are a difference of."""
    return one == pytest.approx(other, rel=1e-9, abs=1e-9 + 1e-12 * scale)


@many
@given(n=counts, b=backgrounds, cl=levels)
def test_zech_and_cls_are_the_flat_prior(n, b, cl):
    flat = upper("bayes_flat", n, b, cl)
    assert same(upper("zech", n, b, cl), flat)
    assert same(upper("cls", n, b, cl), flat)


@many
@given(n=counts.filter(bool), b=backgrounds, cl=levels)
def test_the_reciprocal_prior_is_the_flat_one_with_one_event_less(n, b, cl):
    # Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Section 4
    assert same(upper("bayes_reciprocal", n, b, cl), upper("bayes_flat", n - 1, b, cl), n + b)


@many
@given(n=counts, b=backgrounds, cl=levels, statistic=st.sampled_from(["q_mu", "q_mu_tilde"]))
def test_the_exact_distribution_of_q_gives_the_classical_limit_and_cls(n, b, cl, statistic):
    inclusive = {"p_value": "inclusive", "statistic": statistic}
    exact = upper("sampling_distribution", n, b, cl, procedure="clsb", **inclusive)
    assert same(exact, upper("classical", n, b, cl), n + b)
    assert same(
        upper("sampling_distribution", n, b, cl, procedure="cls", **inclusive), upper("bayes_flat", n, b, cl), n + b
    )


@many
@given(n=counts, b=backgrounds, cl=levels)
def test_asymptotic_q_mu_is_the_unbounded_profile_likelihood(n, b, cl):
    assert same(upper("q_mu", n, b, cl, procedure="clsb"), upper("profile_likelihood", n, b, cl, bounded=False), n + b)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(n=st.integers(0, 30), events=st.integers(1, 30), cl=st.floats(0.6, 0.99))
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("profile_likelihood", {}),
        ("profile_likelihood", {"bounded": False}),
        ("q_mu", {}),
        ("q_mu", {"procedure": "clsb"}),
        ("q_mu_tilde", {}),
        ("q_mu_tilde", {"procedure": "clsb"}),
    ],
)
def test_a_background_measured_well_is_a_known_one(name, options, n, events, cl):
    tau = 1e6
    found = covsvc.limits(name, covsvc.OnOff([n], [events * 10**6], tau), cl, **options)
    known = covsvc.limits(name, covsvc.Counts([n], float(events)), cl, **options)
    assert found.status.tolist() == known.status.tolist()
    # the error of the background, sqrt(b/tau), enters in second order: b/tau of the information
    assert found.upper == pytest.approx(known.upper, abs=1e-3)


def test_the_flat_prior_over_a_background_measured_well_is_the_one_over_a_known_background():
    found = covsvc.limits("bayes_uncertain_background", covsvc.OnOff([3], [5_500_000], 1e6), 0.9)
    assert found.upper == pytest.approx(covsvc.limits("bayes_flat", covsvc.Counts([3], 5.5), 0.9).upper, abs=1e-5)


# published: PDG-like CLs of n = b = 3; 1.6094 = -ln 0.2 and 2.0026 = -ln 0.1 - 0.3 in closed form
@pytest.mark.parametrize(
    ("n", "b", "cl", "options", "limit"),
    [
        (3, 3.0, 0.95, {"p_value": "inclusive"}, 5.395),
        (3, 3.0, 0.95, {}, 5.068),
        (0, 0.0, 0.90, {"procedure": "clsb"}, -np.log(0.2)),
        (0, 0.0, 0.90, {}, -np.log(0.1)),
        (0, 0.3, 0.95, {}, -np.log(0.05)),
        (0, 0.3, 0.95, {"procedure": "clsb"}, -np.log(0.1) - 0.3),
    ],
)
def test_sampling_distributions_of_a_count(n, b, cl, options, limit):
    assert upper("sampling_distribution", n, b, cl, **options) == pytest.approx(limit, abs=5e-4)


@pytest.mark.parametrize(("procedure", "limit"), [("cls", 2.13608), ("clsb", 1.27316)])
def test_asymptotic_limits_of_no_event_over_0_3(procedure, limit):
    # fastprof's documentation has 2.13606 and 1.27299, interpolated between its hypotheses
    assert upper("q_mu_tilde", 0, 0.3, 0.95, procedure=procedure) == pytest.approx(limit, abs=5e-6)
