from itertools import pairwise

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from reference import coverage
from reference_likelihood import (
    DIGITS,
    HARD_COUNTS,
    HARD_ON_OFF,
    LEVELS,
    fall,
    is_last_crossing,
    random_counts,
    random_on_off,
    shat,
    statistic,
)
from scipy.stats import norm

from covsvc.contracts import Counts, OnOff, Status
from covsvc.methods.profile_likelihood import ProfileLikelihood

METHODS = [ProfileLikelihood(), ProfileLikelihood(bounded=False)]


def observe(data):
    if len(data) == 2:
        return Counts([data[0]], data[1])
    return OnOff([data[0]], [data[1]], data[2])


def upper(method, n, b, cl):
    return method.limits(Counts([n], b), cl).upper[0]


@mpmath.workdps(DIGITS)
def quantile(cl):
    return mpmath.sqrt(2) * mpmath.erfinv(2 * mpf(cl) - 1)


@pytest.mark.parametrize("cl", LEVELS)
@pytest.mark.parametrize("data", [*HARD_COUNTS, *random_counts(15), *HARD_ON_OFF, *random_on_off(30)])
def test_likelihood_has_fallen_by_the_squared_quantile(data, cl):
    height = quantile(cl) ** 2
    for method in METHODS:
        limits = method.limits(observe(data), cl)
        with mpmath.workdps(DIGITS):
            empty = not method.bounded and shat(data) < 0 and fall(data, mpf(0)) > height
        assert limits.status[0] == (Status.EMPTY if empty else Status.OK)
        if not empty:
            # it falls: where the statistic is larger, s is larger
            assert is_last_crossing(
                data, limits.upper[0], -height, lambda s, tilde=method.bounded: -statistic(data, s, tilde)
            )


# t(s) = 2 (s + b) unbounded and 2 s bounded; z^2 = 1.6424 at 90 %
@pytest.mark.parametrize("cl", [0.68, 0.9, 0.95, 0.999])
def test_limit_of_no_events_in_closed_form(cl):
    z = norm.isf(1 - cl)
    for b in (0.0, 1e-300, 0.01):
        assert upper(ProfileLikelihood(bounded=False), 0, b, cl) == pytest.approx(z * z / 2 - b, rel=1e-12)
        assert upper(ProfileLikelihood(), 0, b, cl) == pytest.approx(z * z / 2, rel=1e-12)
    assert ProfileLikelihood().limits(OnOff([0, 0], [0, 40], 3.0), cl).upper == pytest.approx(z * z / 2, rel=1e-12)


# z^2 / 2 at 90 % one-sided: 1.2815516^2 / 2
def test_no_events_at_90_percent():
    assert upper(ProfileLikelihood(), 0, 3.0, 0.9) == pytest.approx(0.8212, abs=5e-5)
    assert ProfileLikelihood(bounded=False).limits(Counts([0], 3.0), 0.9).status[0] == Status.EMPTY


# nothing off source and n_on = 1: b is fitted as 0 above s = 1 / (1 + tau), so t(s) = 2 (s - 1 - ln s), as for b = 0
def test_nothing_off_source_is_no_background():
    for n in (1, 2, 7, 1000):
        with_off = ProfileLikelihood().limits(OnOff([n], [0], 0.3), 0.95).upper[0]
        assert with_off == pytest.approx(upper(ProfileLikelihood(), n, 0.0, 0.95), rel=1e-12)


# nu - 9 - 9 ln(nu / 9) = 1/2 at nu = 12.342190: the fall of one half that one standard deviation stands for
def test_half_a_unit_of_log_likelihood():
    assert upper(ProfileLikelihood(), 9, 0.0, norm.cdf(1.0)) == pytest.approx(12.342190, abs=5e-7)


def test_half_confidence_is_the_fitted_signal():
    observed = Counts([0, 2, 3, 9], 3.0)
    bounded, unbounded = (method.limits(observed, 0.5) for method in METHODS)
    assert bounded.upper.tolist() == [0.0, 0.0, 0.0, 6.0]
    assert unbounded.upper.tolist() == [0.0, 0.0, 0.0, 6.0]
    assert unbounded.status.tolist() == [Status.EMPTY, Status.EMPTY, Status.OK, Status.OK]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cl", [0.6, 0.9, 0.999])
def test_off_counts_without_end_are_a_known_background(method, cl):
    n, b = np.arange(30), 7
    on_off = method.limits(OnOff(n, np.full(30, b * 10**6), 1e6), cl)
    known = method.limits(Counts(n, b), cl)
    assert (on_off.status == known.status).all()
    # the variance of b is b / tau
    assert on_off.upper == pytest.approx(known.upper, rel=1e-5, abs=1e-4)


# s just above 0.8212 is covered unless n = 0: 1 - exp(-0.8212); at 3 unless n <= 1, its limit 2.86: 1 - 4 exp(-3)
@pytest.mark.parametrize(("s", "covers"), [(0.8213, 0.5601), (3.0, 0.8009)])
def test_undercovers_without_background(s, covers):
    limits = ProfileLikelihood().limits(Counts(np.arange(60), 0.0), 0.9)
    assert coverage(limits, 0.0, [s]) == pytest.approx(covers, abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_higher_confidence_and_more_events_never_tighten(method):
    n_on, n_off = (part.ravel() for part in np.meshgrid(np.arange(60), np.arange(40), indexing="ij"))
    at = [method.limits(OnOff(n_on, n_off, 1.5), cl).upper for cl in LEVELS]
    for lower, higher in pairwise(at):
        assert (lower <= higher).all()
    assert (np.diff(at[3].reshape(60, 40), axis=0) >= 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_reads_what_cannot_be_written_and_leaves_it(method):
    n, b = np.arange(12)[::-2], np.linspace(0, 9, 6)
    n.flags.writeable = b.flags.writeable = False
    for observed in (Counts(n, b), OnOff(n, n, 2.0)):
        together = method.limits(observed, 0.9).upper
        alone = [
            method.limits(Counts([k], bg) if isinstance(observed, Counts) else OnOff([k], [k], 2.0), 0.9).upper[0]
            for k, bg in zip(n.tolist(), b.tolist(), strict=True)
        ]
        assert together.tolist() == alone
    assert len(method.limits(Counts([], 0.0), 0.9)) == len(method.limits(OnOff([], [], 1.0), 0.9)) == 0


def test_explains_empty_intervals():
    method = ProfileLikelihood(bounded=False)
    words = method.explain(Counts([0, 5], [5.0, 3.0]), 0.9)
    assert words == ["n = 0 is so far below b = 5 that no signal >= 0 is left at this cl", ""]
    words = method.explain(OnOff([4, 0], [8, 30], 2.0), 0.9)
    assert words == ["", "n_on = 0 is so far below n_off / tau = 15 that no signal >= 0 is left at this cl"]
