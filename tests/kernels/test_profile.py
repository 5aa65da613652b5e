import mpmath
import numpy as np
import pytest
from mpmath import mpf
from reference_likelihood import (
    DIGITS,
    HARD_COUNTS,
    HARD_ON_OFF,
    background_at,
    fall,
    random_counts,
    random_on_off,
    shat,
    statistic,
)

from covsvc.kernels.profile import profiled_background, q_count, q_on_off, statistics_on_off, tail_ratio


def hypotheses(data, size=12, seed=11):
    """Return signals close above shat, of the order of it and far above, some below."""
    rng = np.random.default_rng([seed, data[0]])
    best = max(float(shat(data)), 0.0)
    for i in range(size):
        yield float(best * (1 + 10 ** rng.uniform(-15, 1)) + 10 ** rng.uniform(-12, 6) * (i % 3 > 0)) or 1e-12
    yield 0.9 * best
    yield best


@pytest.mark.parametrize("tilde", [False, True])
@pytest.mark.parametrize("data", [*HARD_COUNTS, *random_counts(40)])
@mpmath.workdps(DIGITS)
def test_statistic_of_a_count_is_right_in_all_digits(data, tilde):
    for s in hypotheses(data):
        exact = statistic(data, mpf(s), tilde)
        assert abs(q_count(*data, s, tilde) - exact) <= 1e-13 * exact


@pytest.mark.parametrize("tilde", [False, True])
@pytest.mark.parametrize("data", [*HARD_ON_OFF, *random_on_off(60)])
@mpmath.workdps(DIGITS)
def test_statistic_of_on_and_off_counts_is_right_in_all_digits(data, tilde):
    for s in hypotheses(data):
        exact = statistic(data, mpf(s), tilde)
        assert abs(q_on_off(*data, s, tilde) - exact) <= 1e-12 * exact + 1e-35


@pytest.mark.parametrize("data", [*HARD_ON_OFF, *random_on_off(60)])
@mpmath.workdps(DIGITS)
def test_profiled_background_has_the_largest_likelihood(data):
    n_on, n_off, tau = data
    for s in [0.0, *hypotheses(data)]:
        b = profiled_background(n_on, n_off, tau, s)
        assert abs(b - background_at(data, mpf(s))) <= 1e-12 * b
        if b > 0:
            # the derivative of the logarithm of the likelihood changes sign around it
            below, above = (
                n_on / (s + x) - 1 + n_off / x - mpf(tau) for x in (b * (1 - mpf("1e-9")), b * (1 + mpf("1e-9")))
            )
            assert above <= 0 <= below


# n_off = 0: n_on / (1 + tau) - s where that is above 0; s = 0: (n_on + n_off) / (1 + tau)
@pytest.mark.parametrize(
    ("n_on", "n_off", "tau", "s", "b"),
    [(10, 0, 4.0, 1.5, 0.5), (10, 0, 4.0, 3.0, 0.0), (3, 5, 1.0, 0.0, 4.0), (0, 0, 2.0, 0.0, 0.0)],
)
def test_profiled_background_in_closed_form(n_on, n_off, tau, s, b):
    assert profiled_background(n_on, n_off, tau, s) == b


def test_statistic_is_zero_up_to_the_fitted_signal():
    assert q_count(7, 3.0, 4.0, False) == q_count(7, 3.0, 3.9, True) == 0.0
    assert q_on_off(7, 6, 2.0, 4.0, False) == q_on_off(7, 6, 2.0, 3.9, True) == 0.0


# no events: 2 (s + b) and 2 s; nothing off source and n_on > s (1 + tau): there is nothing to explain
def test_statistics_without_events_are_linear():
    assert q_count(0, 3.0, 2.0, False) == 10.0
    assert q_count(0, 3.0, 2.0, True) == 4.0
    assert q_on_off(0, 0, 5.0, 2.0, False) == q_on_off(0, 0, 5.0, 2.0, True) == 4.0


@pytest.mark.parametrize("tilde", [False, True])
def test_asimov_counts_need_not_be_whole(tilde):
    with mpmath.workdps(DIGITS):
        exact = fall((mpf("2.5"), mpf(5), mpf(2)), mpf(3))
    assert q_on_off(2.5, 5.0, 2.0, 3.0, tilde) == pytest.approx(float(exact), rel=1e-14)
    with mpmath.workdps(DIGITS):
        exact = fall((mpf("2.5"), mpf("2.5")), mpf(3))
    assert q_count(2.5, 2.5, 3.0, tilde) == pytest.approx(float(exact), rel=1e-14)


@pytest.mark.parametrize("tilde", [False, True])
def test_off_counts_without_end_are_a_known_background(tilde):
    for n in (0, 2, 3, 6):
        assert q_on_off(n, 3 * 10**12, 1e12, 5.0, tilde) == pytest.approx(q_count(n, 3.0, 5.0, tilde), rel=1e-10)


def test_statistics_over_arrays_are_those_of_each_pair():
    n_on, n_off = (part.ravel() for part in np.meshgrid(np.arange(20), np.arange(15)))
    n_on.flags.writeable = n_off.flags.writeable = False
    for tilde in (False, True):
        expected = [q_on_off(on, off, 0.7, 2.5, tilde) for on, off in zip(n_on.tolist(), n_off.tolist(), strict=True)]
        assert statistics_on_off(n_on, n_off, 0.7, 2.5, tilde).tolist() == expected


@pytest.mark.parametrize(
    ("x", "step"),
    [
        (x, step)
        for x in (-40.0, -8.0, -1.0, -1e-9, 0.0, 1e-9, 0.7, 5.0, 9.9999, 10.0, 30.0, 1e3, 1e6)
        for step in (1e-9, 1e-3, 1.0, 5.0, 10.0, 40.0, 1e3)
        if x + step >= 0
    ],
)
@mpmath.workdps(DIGITS)
def test_ratio_of_normal_tails_does_not_underflow(x, step):
    step = float(mpf(x + step) - mpf(x))
    tails = [mpmath.erfc((mpf(x) + part) / mpmath.sqrt(2)) / 2 for part in (0, mpf(step))]
    density = [mpmath.npdf(mpf(x) + part) for part in (0, mpf(step))]
    found = tail_ratio(x, step)
    exact = mpmath.log(tails[1] / tails[0])
    # it is compared with logarithms below -ln 2
    assert abs(found[0] - exact) <= 4e-14 * max(abs(exact), 1)
    assert found[1] == pytest.approx(float(density[0] / tails[0]), rel=4e-14, abs=1e-300)
    assert found[2] == pytest.approx(float(density[1] / tails[1]), rel=4e-14)
