import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_uncertain import (
    gamma_pmf,
    gaussian_pmf,
    negative_binomial_weights,
    posterior_beyond,
    posterior_beyond_by_quadrature,
)

from covsvc.contracts import Counts, OnOff, Status, UncertainCounts
from covsvc.methods.bayes import BayesFlat
from covsvc.methods.bayes_uncertain_background import BayesUncertainBackground

METHOD = BayesUncertainBackground()
LEVELS = [0.5, 0.9, 0.95, 1 - 1e-9]


def upper(observed, cl=0.9, method=METHOD):
    limits = method.limits(observed, cl)
    assert (limits.status == Status.OK).all()
    return limits.upper


@pytest.mark.parametrize("cl", LEVELS)
@pytest.mark.parametrize(("shape", "pmf"), [("gamma", gamma_pmf), ("truncated_gaussian", gaussian_pmf)])
@pytest.mark.parametrize(
    ("n", "b", "error"),
    [(3, 5.5, 1.0), (3, 5.5, 5.5e-8), (3, 5.5, 5500.0), (1, 0.01, 3.0), (12, 4.0, 2.0), (5, 30.0, 15.0), (8, 1.0, 1.0)],
)
def test_leaves_the_posterior_tail_outside_with_40_digits(n, b, error, shape, pmf, cl):
    weights = [pmf(j, b, error) for j in range(n + 1)]
    found = upper(UncertainCounts([n], b, error, shape), cl)[0]
    assert float(posterior_beyond(found, n, weights)) == pytest.approx(1 - cl, rel=1e-11)


# far from and close to the background, huge counts, all scales: n_on, n_off, tau
ON_OFF = [
    (1, 0, 1e6),
    (3, 15, 3.0),
    (3, 0, 1e-4),
    (7, 10**12, 1e-4),
    (5, 2100, 3.0),
    (40, 3, 0.1),
    (300, 310, 1.0),
    (5000, 49_000_000, 1e4),
    (10_000, 9_000, 1.0),
    (10_000, 100, 0.01),
]


@pytest.mark.parametrize(("prior", "more"), [("flat", 1.0), ("jeffreys", 0.5)])
@pytest.mark.parametrize("cl", [0.9, 1 - 1e-9])
@pytest.mark.parametrize(("n_on", "n_off", "tau"), ON_OFF)
def test_counts_off_source_give_a_negative_binomial_mixture(n_on, n_off, tau, cl, prior, more):
    found = upper(OnOff([n_on], [n_off], tau), cl, BayesUncertainBackground(prior))[0]
    weights = negative_binomial_weights(n_on, n_off + more, tau)
    assert float(posterior_beyond(found, n_on, weights)) == pytest.approx(1 - cl, rel=1e-10)


@pytest.mark.parametrize("cl", [0.9, 0.999])
@pytest.mark.parametrize(
    ("n", "b", "error"), [(3, 5.5, 2.0), (100, 90.0, 10.0), (1000, 1000.0, 300.0), (10_000, 1e4, 100.0)]
)
def test_agrees_with_the_integral_over_the_background(n, b, error, cl):
    found = upper(UncertainCounts([n], b, error, "truncated_gaussian"), cl)[0]
    assert posterior_beyond_by_quadrature(found, n, b, error) == pytest.approx(1 - cl, rel=1e-9)


@pytest.mark.parametrize("shape", ["gamma", "truncated_gaussian"])
@pytest.mark.parametrize("cl", LEVELS)
def test_no_events_do_not_know_the_background(shape, cl):
    b = np.array([1e-300, 0.3, 5.5, 700.0, 1e6])
    errors = np.array([0.0, 1e-9, 1.0, 70.0, 1e6])
    found = upper(UncertainCounts(np.zeros(25, int), np.repeat(b, 5), np.tile(errors, 5), shape), cl)
    assert (found == -np.log(1 - cl)).all()
    assert (upper(OnOff([0, 0, 0], [0, 5, 10**12], 0.5), cl) == -np.log(1 - cl)).all()


@pytest.mark.parametrize("shape", ["gamma", "truncated_gaussian"])
def test_without_error_the_background_is_known(shape):
    n, b = np.arange(40), np.linspace(0, 30, 40)
    known = BayesFlat().limits(Counts(n, b), 0.9).upper
    assert (upper(UncertainCounts(n, b, 0.0, shape)) == known).all()
    assert upper(UncertainCounts(n, b, 1e-7 * b, shape)) == pytest.approx(known, rel=1e-10)
    assert (upper(UncertainCounts(n, b, 1e-300 * b, shape)) == known).all()


def test_many_counts_off_source_make_the_background_known():
    # shape n_off + 1 and rate tau: mean 5.5, standard deviation 2.3e-3; its effect is of the second order
    known = BayesFlat().limits(Counts([3], 5.5), 0.9).upper
    assert upper(OnOff([3], [5_499_999], 1e6)) == pytest.approx(known, abs=1e-5)


def test_the_distributions_differ_when_wide():
    # a Gaussian at 1 of width 1 cut off below 0 has the mean 1.288 and leaves less room to a signal
    wide, narrow = (UncertainCounts([3], 1.0, 1.0, shape) for shape in ("gamma", "truncated_gaussian"))
    assert upper(narrow)[0] < upper(wide)[0]


@pytest.mark.parametrize("shape", ["gamma", "truncated_gaussian"])
def test_every_observation_has_a_limit(shape):
    b = [1e-300, 1e-12, 1.0, 700.0, 1e4, 1e6]
    grid = [(n, x, e) for n in (1, 5, 1000, 10**6) for x in b for e in (0.0, 1e-300, 1e-8, 1.0, 1e3, 1e6)]
    n, b, error = map(np.array, zip(*grid, strict=True))
    for cl in (0.5, 1 - 1e-9):
        found = upper(UncertainCounts(n, b, error, shape), cl)
        assert (found >= -np.log(1 - cl) * (1 - 1e-9)).all()
        assert np.isfinite(found).all()


def test_every_count_on_and_off_source_has_a_limit():
    grid = [(n, k) for n in (0, 1, 30, 10**6) for k in (0, 1, 1000, 10**12)]
    n, k = map(np.array, zip(*grid, strict=True))
    for tau in (1e-4, 0.3, 1.0, 1e6):
        for method in (METHOD, BayesUncertainBackground("jeffreys")):
            assert np.isfinite(upper(OnOff(n, k, tau), 1 - 1e-9, method)).all()


@settings(derandomize=True, max_examples=30, deadline=None)
@given(
    n=st.lists(st.integers(0, 300), min_size=2, max_size=6),
    b=st.floats(0.01, 200),
    error=st.floats(0, 100),
    shape=st.sampled_from(["gamma", "truncated_gaussian"]),
)
def test_a_limit_does_not_know_its_neighbours_and_rises_with_the_count(n, b, error, shape):
    together = upper(UncertainCounts(n, b, error, shape))
    alone = [upper(UncertainCounts([one], b, error, shape))[0] for one in n]
    assert together.tolist() == alone
    order = np.argsort(n, kind="stable")
    assert (np.diff(together[order]) >= -1e-9 * together.max()).all()


def test_refuses_an_unknown_prior():
    with pytest.raises(ValueError, match="'flat' or 'jeffreys'"):
        BayesUncertainBackground("reciprocal")
