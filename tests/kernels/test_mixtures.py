"""Mixtures of Poisson probabilities against forty digits of mpmath."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_uncertain import gamma_pmf, gaussian_pmf
from scipy import stats

from covsvc.kernels.mixtures import mixed_pmf, mixed_pmf_plus_signal, mixed_support
from covsvc.kernels.poisson import pmf_run

SHAPES = [("gamma", gamma_pmf), ("truncated_gaussian", gaussian_pmf)]
BACKGROUNDS = [
    (5.5, 1.0),
    (5.5, 5.5e-8),
    (5.5, 5500.0),
    (0.01, 3.0),
    (1.0, 1.0),
    (40.0, 0.5),
    (300.0, 30.0),
    (1e4, 1.0),
    (1e4, 1e4),
    (1e4, 1e-4),
]
UNCERTAIN = {
    "b": st.floats(0.01, 300),
    "relative_error": st.just(0.0) | st.floats(1e-7, 2),
    "shape": st.sampled_from(["gamma", "truncated_gaussian"]),
}


def relative(found, exact):
    return abs(float(mpmath.mpf(float(found)) / exact - 1))


@pytest.mark.parametrize(("shape", "exact"), SHAPES)
@pytest.mark.parametrize(("b", "error"), BACKGROUNDS)
def test_probabilities_agree_with_40_digits(b, error, shape, exact):
    reach = int(3 * np.sqrt(b + min(error, b) ** 2)) + 3
    lo, hi = max(int(b) - reach, 0), int(b) + reach
    found = mixed_pmf(lo, hi, b, error, shape)
    assert max(relative(found[j - lo], exact(j, b, error)) for j in (lo, (lo + int(b)) // 2, int(b), hi)) < 1e-12


# P(J = 0) = exp(sigma^2/2) erfc(sigma/sqrt 2) for a half-Gaussian of the mean
@pytest.mark.parametrize("sigma", [1e-200, 1e-9, 0.3, 2.0, 5.0])
def test_a_gaussian_may_be_centred_at_0(sigma):
    exact = mpmath.exp(mpmath.mpf(sigma) ** 2 / 2) * mpmath.erfc(sigma / mpmath.sqrt(2))
    assert relative(mixed_pmf(0, 3, 0.0, sigma, "truncated_gaussian")[0], exact) < 1e-12


@pytest.mark.parametrize("shape", ["gamma", "truncated_gaussian"])
@pytest.mark.parametrize("b", [0.0, 1e-300, 0.3, 700.0])
def test_without_error_the_background_is_known(b, shape):
    assert (mixed_pmf(0, 30, b, 0.0, shape) == pmf_run(0, 30, b)).all()


@pytest.mark.parametrize(("b", "error"), [(1e-300, 1e-290), (1e-300, 1e6), (1e-9, 1e6)])
def test_a_gamma_distribution_of_tiny_shape_is_almost_surely_0(b, error):
    assert mixed_pmf(0, 3, b, error, "gamma") == pytest.approx([1, 0, 0, 0], abs=1e-12)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(**UNCERTAIN, s=st.floats(0, 50), tail=st.sampled_from([1e-3, 1e-9, 1e-15]))
def test_the_support_leaves_out_less_than_the_tail_at_each_end(b, relative_error, shape, s, tail):
    error = b * relative_error
    lo, hi = mixed_support(s, b, error, shape, tail)
    far = mixed_support(s, b, error, shape, 1e-19)[1]
    chance = mixed_pmf_plus_signal(0, far, s, b, error, shape)
    assert chance.sum() == pytest.approx(1, abs=1e-13)
    assert chance[:lo].sum() < tail
    assert chance[hi + 1 :].sum() < tail


@pytest.mark.parametrize("shape", ["gamma", "truncated_gaussian"])
def test_the_support_of_a_background_alone_is_no_wider_than_needed(shape):
    lo, hi = mixed_support(0.0, 40.0, 5.0, shape, 1e-6)
    chance = mixed_pmf(0, 300, 40.0, 5.0, shape)
    # half the tail is left for the signal
    assert chance[: lo + 2].sum() > 0.5e-6
    assert chance[hi - 1 :].sum() > 0.5e-6


@pytest.mark.parametrize("shape", ["gamma", "truncated_gaussian"])
@pytest.mark.parametrize("b", [5.0, 47.0, 100.0, 333.0])
def test_the_ends_of_the_support_do_not_fall_as_the_signal_rises(b, shape):
    ends = [mixed_support(s, b, 0.1 * b, shape, 1e-15) for s in (0.0, 1e-3, 0.1, 1.0, 5.0, 20.0)]
    assert (np.diff(ends, axis=0) >= 0).all()


@settings(derandomize=True, max_examples=40, deadline=None)
@given(**UNCERTAIN, s=st.floats(0, 50))
def test_a_signal_adds_its_mean_and_variance(b, relative_error, shape, s):
    error = b * relative_error
    hi = mixed_support(s, b, error, shape, 1e-19)[1]
    n = np.arange(hi + 1)
    chance = mixed_pmf_plus_signal(0, hi, s, b, error, shape)
    if shape == "gamma" or not error:
        mean, variance = b, error**2
    else:
        mean, variance = stats.truncnorm.stats(-b / error, np.inf, b, error)
    assert chance @ n == pytest.approx(s + mean, rel=1e-11)
    assert chance @ (n - s - mean) ** 2 == pytest.approx(s + mean + variance, rel=1e-9)


@pytest.mark.parametrize("shape", ["gamma", "truncated_gaussian"])
def test_a_signal_over_a_known_background_is_poisson(shape):
    n = np.arange(60)
    assert mixed_pmf_plus_signal(0, 59, 7.0, 5.5, 0.0, shape) == pytest.approx(stats.poisson.pmf(n, 12.5), abs=1e-15)


def test_many_probabilities_are_the_same_by_transform():
    # 1e6 + 1e6 expected events: each sum has more terms than are added up one by one
    found = mixed_pmf_plus_signal(1_999_000, 2_001_000, 1e6, 1e6, 0.0, "gamma")
    with mpmath.workdps(40):
        for n in (1_999_000, 2_000_000, 2_001_000):
            exact = mpmath.exp(n * mpmath.log(2e6) - mpmath.mpf(2e6) - mpmath.loggamma(n + 1))
            assert found[n - 1_999_000] == pytest.approx(float(exact), abs=1e-14)


def test_a_part_of_the_counts_has_the_same_probabilities():
    whole = mixed_pmf_plus_signal(0, 100, 3.0, 8.0, 4.0, "truncated_gaussian")
    part = mixed_pmf_plus_signal(17, 23, 3.0, 8.0, 4.0, "truncated_gaussian")
    assert part == pytest.approx(whole[17:24], abs=1e-15)
