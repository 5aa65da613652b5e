import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_uncertain import significance_upper
from scipy import optimize, special

from covsvc.contracts import Counts, OnOff, Sideband, Status
from covsvc.methods.classical import Classical
from covsvc.methods.significance import SignificanceIndependent, SignificanceSideband

SIDEBAND, INDEPENDENT = SignificanceSideband(), SignificanceIndependent()
METHODS = [SIDEBAND, INDEPENDENT]


def limit(method, observed, cl=0.9):
    limits = method.limits(observed, cl)
    return limits.upper[0], limits.status[0]


def mid_p_upper(n, b, cl):
    """Return s with P(N < n; s+b) + P(N = n; s+b)/2 = 1 - cl."""
    tail = lambda nu: (special.gammaincc(n, nu) + special.gammaincc(n + 1, nu)) / 2 - (1 - cl)  # noqa: E731
    return optimize.brentq(tail, 0, 100, xtol=1e-14) - b


@pytest.mark.parametrize(("n", "b"), [(3, 5.5), (8, 3.0), (1, 0.5)])
def test_a_tiny_signal_region_tends_to_the_mid_p_limit(n, b):
    outside = round(b * 1e6)  # its fluctuations are those of b by a thousandth; the tie in n is broken either way
    found = limit(SIDEBAND, Sideband([n], [outside], [outside], 1e-6 / (1 + 1e-6), 1e-6))[0]
    assert found == pytest.approx(mid_p_upper(n, b, 0.9), abs=2e-3)
    assert mid_p_upper(3, 5.5, 0.9) == pytest.approx(0.601, abs=5e-4)


# Narsky's geometry of Section 4: sidebands 2b, outside 3b; at n = 8 it is 0.028 above the classical limit, though the
# paper, which plots n <= 6, finds it always below
def test_many_events_can_give_a_limit_above_the_classical_one():
    found = limit(SIDEBAND, Sideband([8], [9], [6], 0.25, 0.5))[0]
    classical = special.gammainccinv(9, 0.1) - 3
    assert found == pytest.approx(significance_upper(8, 9, 3.0, 0.25, True, 0.9), abs=1e-10)
    assert found - classical == pytest.approx(0.028, abs=5e-4)


# Table 1 of the paper has 1.03 for CLEO's n = 3, b = 5.5, of a sideband that it does not print
def test_fifteen_events_outside_would_give_the_limit_of_cleo():
    found = limit(SIDEBAND, Sideband([3], [15], [11], 5.5 / 20.5, 0.5))[0]
    assert found == pytest.approx(significance_upper(3, 15, 5.5, 5.5 / 20.5, True, 0.9), abs=1e-10)
    assert found == pytest.approx(1.03, abs=5e-3)


@pytest.mark.parametrize("cl", [0.5, 0.9, 1 - 1e-9])
@pytest.mark.parametrize("zeta", [0.05, 0.25, 0.5, 0.9])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 50), (3, 15), (12, 4), (40, 30), (60, 3), (60, 1)])
def test_agrees_with_the_sum_over_both_counts(n, k, zeta, cl):
    tau = 1 / zeta - 1
    for method, scale, whole in ((SIDEBAND, 1 / (1 + tau), True), (INDEPENDENT, 1 / tau, False)):
        found, status = limit(method, OnOff([n], [k], tau), cl)
        exact = significance_upper(n, k, k / tau, scale, whole, cl, most_n=1500 if zeta > 0.5 else 500)
        if exact < 0:
            assert (found, status) == (0.0, Status.EMPTY)
        else:
            assert found == pytest.approx(exact, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cl", [0.5, 0.9, 1 - 1e-9])
def test_no_event_on_source_gives_the_classical_limit(method, cl):
    k = np.array([0, 1, 2, 3, 100, 10**12])
    found = method.limits(OnOff(np.zeros_like(k), k, 3.0), cl)
    classical = Classical().limits(Counts(np.zeros_like(k), np.minimum(k / 3.0, 1e6)), cl)
    assert found.upper.tolist() == classical.upper.tolist()
    assert found.status.tolist() == classical.status.tolist()


def test_no_event_outside_gives_the_classical_limit():
    n = np.array([0, 1, 5, 300, 10**6])
    found = SIDEBAND.limits(Sideband(n, 0 * n, 0 * n, 0.25, 0.5), 0.95)
    assert found.upper.tolist() == Classical().limits(Counts(n, 0.0), 0.95).upper.tolist()


def test_an_empty_independent_sample_leaves_the_signal_unbounded():
    observed = OnOff([0, 1, 10**6], [0, 0, 0], 2.0)
    limits = INDEPENDENT.limits(observed, 0.9)
    assert limits.status.tolist() == [Status.OK, Status.UNBOUNDED, Status.UNBOUNDED]
    assert limits.upper[1:].tolist() == [np.inf, np.inf]
    words = INDEPENDENT.explain(observed, 0.9)
    assert words[0] == ""
    assert words[1].startswith("no event in the independent sample")


def test_is_empty_where_even_no_signal_is_excluded():
    observed = OnOff([1, 5], [90, 5], 3.0)
    for method in METHODS:
        limits = method.limits(observed, 0.9)
        assert limits.status.tolist() == [Status.EMPTY, Status.OK]
        assert limits.upper[0] == 0
        words = method.explain(observed, 0.9)
        assert "even without signal" in words[0]
        assert words[1] == ""


@pytest.mark.parametrize("tau", [1e-4, 1.0, 1e6])
@pytest.mark.parametrize("method", METHODS)
def test_every_observation_has_an_answer_soon(method, tau):
    n, k = (values.ravel() for values in np.meshgrid([0, 1, 1000, 10**6], [0, 1, 1000, 10**12]))
    limits = method.limits(OnOff(n, k, tau), 1 - 1e-9)
    assert (limits.status != Status.FAILED).all()
    assert (np.isfinite(limits.upper) | (limits.status == Status.UNBOUNDED)).all()


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    n=st.lists(st.integers(0, 200), min_size=2, max_size=5),
    k=st.integers(0, 300),
    tau=st.floats(0.05, 50),
    cl=st.floats(0.5, 0.9999),
    method=st.sampled_from(METHODS),
)
def test_a_limit_does_not_know_its_neighbours_and_rises_with_the_count(n, k, tau, cl, method):
    together = method.limits(OnOff(n, [k] * len(n), tau), cl).upper
    alone = [limit(method, OnOff([one], [k], tau), cl)[0] for one in n]
    assert together.tolist() == alone
    ordered = together[np.argsort(n, kind="stable")]
    finite = ordered[np.isfinite(ordered)]
    assert (np.diff(finite) >= -1e-9 * (1 + k / tau + max(n))).all()


@pytest.mark.parametrize("method", METHODS)
def test_higher_confidence_never_tightens(method):
    n, k = (values.ravel() for values in np.meshgrid(np.arange(20), np.arange(20)))
    limits = [method.limits(OnOff(n, k, 2.0), cl).upper for cl in (0.5, 0.9, 0.95, 0.999)]
    assert all((low <= high).all() for low, high in itertools.pairwise(limits))


def test_counts_on_and_off_source_are_a_sideband_that_is_all_the_rest():
    n, k, tau = np.arange(12), np.arange(12)[::-1].copy(), 3.0
    sideband = SIDEBAND.limits(Sideband(n, k, k, 0.25, 1 / 3), 0.9).upper
    assert SIDEBAND.limits(OnOff(n, k, tau), 0.9).upper == pytest.approx(sideband, rel=1e-12)
