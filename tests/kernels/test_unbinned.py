import math

import numpy as np
import pytest
from scipy import special

from covsvc.kernels.profile import likelihood_upper
from covsvc.kernels.unbinned import (
    DIVERGENT,
    FOUND,
    GAMMA,
    IMPOSSIBLE,
    KINDS,
    TRUNCATED_GAUSSIAN,
    UNKNOWN,
    fit_at,
    fit_events,
    scan,
    upper_limits,
)
from tests.reference_unbinned import HARD_BACKGROUNDS, HARD_RATIOS, Likelihood, is_fit, is_level, random_ratios

Z = 1.2815515655446004  # 90 %, one-sided


def batch(toys):
    return np.cumsum([0, *map(len, toys)]), np.concatenate([*toys, np.zeros(0)])


def limit(ratios, kind=UNKNOWN, b=0.0, b_error=0.0, z=Z):
    upper, outcome = upper_limits(*batch([ratios]), kind, np.array([float(b)]), np.array([float(b_error)]), z)
    return float(upper[0]), int(outcome[0])


def fit(ratios, kind=UNKNOWN, b=0.0, b_error=0.0, s=math.nan):
    found = fit_at(*batch([ratios]), kind, np.array([float(b)]), np.array([float(b_error)]), np.array([float(s)]))
    return tuple(float(value[0]) for value in found)


def count_limit(n, z):
    """Return the s with s - n - n ln(s / n) = z^2 / 2 above n, the root of Wilks' ratio of a count."""
    return -n * special.lambertw(-math.exp(-1.0 - 0.5 * z * z / n), -1).real


@pytest.mark.parametrize("ratios", [*HARD_RATIOS, *random_ratios(15)])
def test_fit_has_the_largest_likelihood(ratios):
    (s,), (b,), (ok,) = fit_events(*batch([ratios]))
    assert ok
    assert s >= 0
    assert b >= 0
    assert s + b == pytest.approx(len(ratios), rel=1e-15)
    assert is_fit(Likelihood(ratios), s, b)


@pytest.mark.parametrize("background", HARD_BACKGROUNDS)
@pytest.mark.parametrize("ratios", [*HARD_RATIOS, *random_ratios(2)])
def test_limit_is_where_the_profiled_likelihood_has_fallen(ratios, background):
    b, b_error, shape = background
    known = (UNKNOWN if b is None else KINDS.get(shape, GAMMA), b or 0.0, b_error)
    s, profiled, t, outcome = fit(ratios, *known)
    upper, of_limit = limit(ratios, *known)
    assert (outcome, of_limit, t) == (FOUND, FOUND, 0.0)
    likelihood = Likelihood(ratios, b, b_error, shape)
    assert is_fit(likelihood, s, profiled)
    assert is_level(likelihood, s, upper, Z * Z)
    assert fit(ratios, *known, s=upper)[2] == pytest.approx(Z * Z, abs=1e-9)


@pytest.mark.parametrize("z", [1e-9, 0.1, Z, 5.997807])
@pytest.mark.parametrize(
    ("kind", "b", "b_error"),
    [(UNKNOWN, 0, 0), (GAMMA, 0, 0), (GAMMA, 7, 0), (GAMMA, 7, 2), (GAMMA, 1, 1), (TRUNCATED_GAUSSIAN, 1, 2)],
)
def test_no_events_leave_half_of_z_squared(kind, b, b_error, z):
    # L = exp(-s) times something of b alone
    assert limit([], kind, b, b_error, z) == (pytest.approx(0.5 * z * z, rel=1e-12), FOUND)


@pytest.mark.parametrize("z", [0.1, Z, 5.997807])
@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_events_of_equal_densities_are_counts(n, z):
    expected = pytest.approx(count_limit(n, z), rel=1e-11)
    # b = n - s as long as it may: the likelihood is flat up to s = n
    assert limit([1.0] * n, z=z)[0] == expected
    assert limit([math.inf] * n, z=z)[0] == expected
    assert limit([5.0] * n, GAMMA, 0.0, z=z)[0] == expected
    b = 0.5 * n
    assert limit([1.0] * n, GAMMA, b, z=z)[0] + b == expected


@pytest.mark.parametrize(("n", "off", "tau"), [(5, 0, 1.0), (5, 3, 1.0), (0, 3, 2.0), (40, 7, 0.5), (3, 400, 10.0)])
def test_gamma_distribution_is_a_count_off_source(n, off, tau):
    # Pois(off; tau b) is the gamma density of shape off + 1 and rate tau
    upper = limit([1.0] * n, GAMMA, (off + 1) / tau, math.sqrt(off + 1) / tau)[0]
    expected = likelihood_upper(np.array([float(n)]), np.array([float(off)]), tau, Z, True)[0]
    assert upper == pytest.approx(expected, rel=1e-9)


def test_a_narrow_error_is_none():
    ratios = [0.1, 3.0, 2.0, 0.01]
    known = limit(ratios, GAMMA, 2.0)[0]
    for kind in KINDS.values():
        for error in (1e-4, 1e-7, 1e-9, 3e-10, 1e-10, 1e-13, 1e-300):
            assert limit(ratios, kind, 2.0, error)[0] == pytest.approx(known, abs=max(error**2, 1e-12))


def test_a_wide_error_tells_nothing_of_the_background():
    ratios = [0.1, 3.0, 2.0, 0.01]
    assert limit(ratios, TRUNCATED_GAUSSIAN, 2.0, 1e5)[0] == pytest.approx(limit(ratios)[0], rel=1e-8)


@pytest.mark.parametrize("kind", [GAMMA, TRUNCATED_GAUSSIAN])
def test_event_without_signal_and_background_is_impossible(kind):
    assert limit([2.0, 0.0], kind) == (pytest.approx(math.nan, nan_ok=True), IMPOSSIBLE)
    assert fit([2.0, 0.0], kind, s=1.0)[3] == IMPOSSIBLE


def test_gamma_distribution_wider_than_its_mean_diverges():
    assert limit([2.0], GAMMA, 1.0, 1.0)[1] == FOUND
    assert limit([2.0], GAMMA, 1.0, 1.0000001) == (pytest.approx(math.nan, nan_ok=True), DIVERGENT)
    assert limit([2.0], GAMMA, 1e-300, 1e6)[1] == DIVERGENT


def test_scan_is_the_profiled_likelihood():
    ratios = [0.3, 4.0, 1.5, 0.0, 7.0]
    s_hat = fit(ratios)[0]
    upper = limit(ratios)[0]
    s = np.array([0.0, 0.5 * s_hat, s_hat, upper, 2.0 * upper, 1e6])
    t, b, outcome = scan(np.array(ratios), UNKNOWN, 0.0, 0.0, s)
    assert outcome == FOUND
    best = Likelihood(ratios).largest(s_hat)
    assert t == pytest.approx([float(2 * (best - Likelihood(ratios).largest(value))) for value in s], abs=1e-11)
    assert b == pytest.approx([float(Likelihood(ratios).background(value)) for value in s], rel=1e-6)


def test_without_signal_nothing_explains_an_event_that_is_signal():
    t, _, outcome = scan(np.array([math.inf, 0.5]), UNKNOWN, 0.0, 0.0, np.array([0.0, 1.0]))
    assert (t[0], outcome) == (math.inf, FOUND)
    # s r + b with r = 1e200: -2 [1 + ln(s r) - 1 - ln b] at s = b = 1
    t, _, _ = scan(np.array([1e200]), GAMMA, 1.0, 0.0, np.array([0.0]))
    assert t[0] == pytest.approx(2.0 * (200 * math.log(10) - 1.0), rel=1e-12)


def test_scan_of_an_impossible_event_is_failed():
    t, b, outcome = scan(np.array([0.0]), GAMMA, 0.0, 0.0, np.array([0.0, 1.0]))
    assert np.isnan(t).all()
    assert np.isnan(b).all()
    assert outcome == IMPOSSIBLE


@pytest.mark.parametrize("kind", [UNKNOWN, GAMMA, TRUNCATED_GAUSSIAN])
def test_toys_do_not_depend_on_their_batch(kind):
    rng = np.random.default_rng(5)
    toys = [10 ** rng.uniform(-3, 1, rng.poisson(9)) for _ in range(60)]
    starts, ratio = batch(toys)
    b, b_error = rng.uniform(3, 9, 60), rng.uniform(0, 3, 60) * rng.integers(0, 2, 60)
    before = ratio.copy()
    all_fits = fit_events(starts, ratio)
    upper, _ = upper_limits(starts, ratio, kind, b, b_error, Z)
    found = fit_at(starts, ratio, kind, b, b_error, np.full(60, 4.0))
    assert np.array_equal(ratio, before)
    for i, toy in enumerate(toys):
        assert limit(toy, kind, b[i], b_error[i])[0] == upper[i]
        assert [each[0] for each in fit_events(*batch([toy]))] == [each[i] for each in all_fits]
        assert fit(toy, kind, b[i], b_error[i], 4.0) == tuple(float(each[i]) for each in found)


@pytest.mark.parametrize("z", [1e-9, Z])
@pytest.mark.parametrize(("kind", "b", "b_error"), [(UNKNOWN, 0, 0), (GAMMA, 1e6, 1e3), (TRUNCATED_GAUSSIAN, 1e-3, 1)])
def test_a_million_events_converge(kind, b, b_error, z):
    rng = np.random.default_rng(7)
    for ratio in (10 ** rng.uniform(-300, 300, 10**6), np.r_[1e300, np.zeros(999_999)]):
        upper, outcome = limit(ratio, kind, b, b_error, z)
        _, _, t, _ = fit(ratio, kind, b, b_error, upper)
        assert outcome == FOUND
        assert t == pytest.approx(z * z, abs=1e-9)
