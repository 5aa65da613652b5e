import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import HARD_COUNTS, bayes_upper, coverage, log_upper_gamma, random_counts, within

from covsvc.contracts import Counts, Status
from covsvc.methods.bayes import BayesFlat, BayesJeffreys, BayesReciprocal

FAMILY = [(BayesFlat(), 0), (BayesJeffreys(), 0.5), (BayesReciprocal(), 1)]
LEVELS = st.floats(0.5, 0.99999)


def upper(method, n, b, cl):
    return method.limits(Counts([n], b), cl).upper[0]


# Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Table 1 (tau -> mu gamma) and Section 2.2
@pytest.mark.parametrize(
    ("method", "n", "b", "published"),
    [
        (BayesFlat(), 3, 5.5, 3.57),
        (BayesJeffreys(), 3, 5.5, 3.30),
        (BayesReciprocal(), 3, 5.5, 3.06),
        (BayesFlat(), 3, 6.5, 3.39),
    ],
)
def test_agrees_with_narsky_at_90_percent(method, n, b, published):
    assert upper(method, n, b, 0.9) == pytest.approx(published, abs=5e-3)


# Gamma(1/2, s) = 0.1 Gamma(1/2, 0) and E1(s+b) = 0.1 E1(b), solved to 40 digits
@pytest.mark.parametrize(
    ("method", "b", "exact"),
    [(BayesJeffreys(), 0.0, 1.352772), (BayesReciprocal(), 3.0, 1.89126), (BayesReciprocal(), 5.5, 2.02389)],
)
def test_solves_the_edge_of_no_events_at_90_percent(method, b, exact):
    assert upper(method, 0, b, 0.9) == pytest.approx(exact, abs=5e-6)


def test_fails_where_the_posterior_is_improper():
    limits = BayesReciprocal().limits(Counts([0, 1, 0], [0.0, 0.0, 1.0]), 0.9)
    assert limits.status.tolist() == [Status.FAILED, Status.OK, Status.OK]
    assert np.isnan([limits.lower[0], limits.upper[0]]).all()


@pytest.mark.parametrize(("method", "m"), FAMILY)
@pytest.mark.parametrize(("n", "b", "cl"), [*HARD_COUNTS, *random_counts(20)])
def test_agrees_with_40_digits(method, m, n, b, cl):
    exact = bayes_upper(n, b, cl, m)
    if exact is None:
        assert method.limits(Counts([n], b), cl).status[0] == Status.FAILED
    else:
        assert within(upper(method, n, b, cl), float(exact), float(exact) + b)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(n=st.integers(1, 3000), b=st.floats(0, 2000), cl=LEVELS)
def test_reciprocal_prior_is_worth_one_event_of_the_flat_one(n, b, cl):
    assert within(upper(BayesReciprocal(), n, b, cl), upper(BayesFlat(), n - 1, b, cl), b)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(b=st.floats(0, 1e4), cl=LEVELS)
def test_flat_limit_of_no_events_does_not_know_the_background(b, cl):
    assert within(upper(BayesFlat(), 0, b, cl), -np.log(1 - cl), b)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(n=st.integers(0, 50), b=st.floats(0, 60), cl=LEVELS, m=st.floats(0, 0.999))
def test_any_exponent_between_0_and_1_leaves_the_posterior_tail_outside(n, b, cl, m):
    s = upper(BayesJeffreys(prior_exponent=m), n, b, cl)
    with mpmath.workdps(40):
        a = n + 1 - mpmath.mpf(m)
        tail = mpmath.exp(log_upper_gamma(a, mpmath.mpf(s) + mpmath.mpf(b)) - log_upper_gamma(a, b))
    assert float(tail) == pytest.approx(1 - cl, rel=1e-9)


def test_a_steeper_prior_gives_a_tighter_limit():
    observed = Counts(np.arange(1, 40), 5.5)
    flat, jeffreys, reciprocal = (method.limits(observed, 0.9).upper for method, _ in FAMILY)
    assert (reciprocal < jeffreys).all()
    assert (jeffreys < flat).all()


@pytest.mark.parametrize("b", [0.0, 0.3, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("cl", [0.68, 0.9, 0.95])
def test_flat_prior_covers_at_least(b, cl):
    covers = coverage(BayesFlat().limits(Counts(np.arange(120), b), cl), b, np.linspace(0.003, 15, 400))
    assert np.nanmin(covers) >= cl - 1e-12


# s = 0.5: P(N >= 1), since UL(1) = -ln 0.1 holds it; s = 3: P(N >= 2)
@pytest.mark.parametrize(("s", "covers"), [(0.5, 1 - np.exp(-0.5)), (3.0, 1 - 4 * np.exp(-3))])
def test_reciprocal_prior_undercovers_without_background(s, covers):
    limits = BayesReciprocal().limits(Counts(np.arange(60), 0.0), 0.9)
    assert coverage(limits, 0.0, [s]) == pytest.approx(covers, rel=1e-12)
