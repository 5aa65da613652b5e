from itertools import pairwise

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from reference import chances, coverage
from reference_likelihood import (
    DIGITS,
    HARD_COUNTS,
    HARD_ON_OFF,
    LEVELS,
    asimov,
    fall,
    is_last_crossing,
    p_value,
    p_values,
    random_counts,
    random_on_off,
)
from scipy import special
from scipy.stats import norm

from covsvc.contracts import Counts, OnOff, Status
from covsvc.methods.profile_likelihood import ProfileLikelihood
from covsvc.methods.q_mu import QMu, QMuTilde

CLSB = [QMu("clsb"), QMuTilde("clsb")]
METHODS = [QMu(), QMuTilde(), *CLSB]
DATA = [*HARD_COUNTS, *random_counts(15), *HARD_ON_OFF, *random_on_off(30)]


def observe(data):
    if len(data) == 2:
        return Counts([data[0]], data[1])
    return OnOff([data[0]], [data[1]], data[2])


def upper(method, data, cl):
    return method.limits(observe(data), cl).upper[0]


# roots of the p-values of Cowan et al., Sections 3.6 and 3.7, with 40 digits
@pytest.mark.parametrize(
    ("method", "data", "cl", "exact"),
    [
        (QMuTilde(), (0, 0.3), 0.95, 2.13607655588),
        (QMuTilde("clsb"), (0, 0.3), 0.95, 1.27316072739),
        (QMuTilde(), (3, 3.0), 0.95, 4.77928636614),
        (QMuTilde(), (3, 3.0), 0.9, 3.8137727781),
        (QMuTilde(), (0, 3.0), 0.95, 2.56631252653),
        (QMu(), (0, 3.0), 0.95, 2.08008817304),
        (QMuTilde(), (2, 6, 2.0), 0.95, 4.14694912127),
        (QMu(), (2, 6, 2.0), 0.95, 4.11232486966),
        (QMuTilde("clsb"), (2, 6, 2.0), 0.95, 2.739936688),
        (QMu("clsb"), (2, 6, 2.0), 0.95, 2.68527625995),
    ],
)
def test_agrees_with_40_digits(method, data, cl, exact):
    assert upper(method, data, cl) == pytest.approx(exact, rel=1e-11)


# fastprof's tutorial, one count n = 0 over b = 0.3: CLs+b 1.27299 at 95 %, interpolated between hypotheses
def test_agrees_with_fastprof():
    assert upper(QMuTilde("clsb"), (0, 0.3), 0.95) == pytest.approx(1.27299, abs=5e-4)


@pytest.mark.parametrize("cl", LEVELS)
@pytest.mark.parametrize("data", DATA)
def test_p_value_passes_its_level_at_the_limit(data, cl):
    alpha = 1 - mpf(cl)
    for method in METHODS:
        limits = method.limits(observe(data), cl)

        def p(s, method=method):
            return p_value(data, s, isinstance(method, QMuTilde), method.procedure)

        if limits.status[0] == Status.OK:
            assert is_last_crossing(data, limits.upper[0], alpha, p)
            beyond = [mpf(float(limits.upper[0])) * factor for factor in (1.1, 2, 10, 1000) if limits.upper[0] > 0]
        else:
            assert limits.status[0] == Status.EMPTY
            assert method.procedure == "clsb"
            beyond = [mpf(10) ** power for power in range(-9, 8, 2)]
        with mpmath.workdps(DIGITS):
            assert all(p(s) <= alpha for s in beyond)


@pytest.mark.parametrize("cl", LEVELS)
def test_p_value_of_q_mu_is_the_unbounded_profile_likelihood(cl):
    n, n_off = np.meshgrid(np.arange(40), np.arange(30))
    for observed in (Counts(n.ravel(), 3.3), OnOff(n.ravel(), n_off.ravel(), 1.7)):
        found, same = (method.limits(observed, cl) for method in (QMu("clsb"), ProfileLikelihood(bounded=False)))
        assert found.upper.tolist() == same.upper.tolist()
        assert found.status.tolist() == same.status.tolist()


# p(0+) = 1 - Phi((b - n) / sqrt b) = 0.0416 for n = 0, b = 3
@pytest.mark.parametrize(("cl", "status"), [(0.9, Status.EMPTY), (0.958, Status.EMPTY), (0.9585, Status.OK)])
def test_no_events_over_three_exclude_every_signal_without_cls(cl, status):
    assert norm.sf(np.sqrt(3)) == pytest.approx(0.0416, abs=5e-5)
    assert QMuTilde("clsb").limits(Counts([0], 3.0), cl).status[0] == status
    assert QMuTilde().limits(Counts([0], 3.0), cl).status[0] == Status.OK


# at b = 0 and n = 0 q = q_A = 2 s: 1 - Phi(sqrt(2 s)) = (1 - cl) / 2, and 1 - cl without the division
def test_nothing_seen_and_nothing_expected():
    for cl in LEVELS:
        for method in (QMu(), QMuTilde()):
            expected = norm.isf((1 - cl) / 2) ** 2 / 2
            for data in ((0, 0.0), (0, 1e-300), (0, 0, 0.7)):
                assert upper(method, data, cl) == pytest.approx(expected, rel=1e-12)
        for method in CLSB:
            assert upper(method, (0, 0, 0.7), cl) == pytest.approx(max(norm.isf(1 - cl), 0) ** 2 / 2, rel=1e-7)


# of a normal shat: shat + sigma Phi^-1(1 - alpha Phi(shat / sigma)); the variance of shat is b, or b + b / tau
@pytest.mark.parametrize("pull", [-3.0, -1.0, 0.0, 1.0, 3.0])
def test_many_events_have_the_limits_of_a_normal_distribution(pull):
    sigma = 900.0
    limit = sigma * (pull + norm.isf(0.05 * norm.cdf(pull)))
    for data in ((int(sigma**2 + pull * sigma), sigma**2), (int(sigma**2 / 2 + pull * sigma), int(sigma**2 / 2), 1.0)):
        for method in (QMu(), QMuTilde()):
            assert upper(method, data, 0.95) == pytest.approx(limit, rel=5e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cl", [0.6, 0.9, 0.999])
def test_off_counts_without_end_are_a_known_background(method, cl):
    n, b = np.arange(30), 7
    on_off = method.limits(OnOff(n, np.full(30, b * 10**6), 1e6), cl)
    known = method.limits(Counts(n, b), cl)
    assert (on_off.status == known.status).all()
    # the variance of b is b / tau
    assert on_off.upper == pytest.approx(known.upper, rel=1e-5, abs=1e-4)


# y, 1 - Phi(y) the p-value, falls from 3.16 at s = 0+ (10.0 at tau = 0.01) to 2.37 (2.78) before it rises: at 99.9 %,
# y = 3.09, small signals are excluded and larger ones are not
@pytest.mark.parametrize("tau", [0.1, 0.01])
def test_the_largest_signal_is_taken_where_the_p_value_rises_first(tau):
    data, alpha = (0, 1, tau), 1 - mpf(0.999)
    limit = upper(QMuTilde("clsb"), data, 0.999)
    with mpmath.workdps(DIGITS):
        kept = [s for s in np.geomspace(1e-6, 1e3, 500) if p_value(data, mpf(s), True, "clsb") > alpha]
    assert min(kept) > 1e-2
    assert max(kept) < limit < max(kept) * 1.05
    assert QMuTilde("clsb").limits(observe(data), 0.9).status[0] == Status.EMPTY


def test_half_confidence_is_the_fitted_signal_without_cls():
    for method in CLSB:
        limits = method.limits(Counts([0, 2, 3, 9], 3.0), 0.5)
        assert limits.upper.tolist() == [0.0, 0.0, 0.0, 6.0]
        assert limits.status.tolist() == [Status.EMPTY, Status.EMPTY, Status.OK, Status.OK]


def test_tails_that_underflow_have_a_ratio():
    # p-values of 1e-2000 and below
    data, cl = (0, 10**12, 1e6), 0.95
    with mpmath.workdps(DIGITS):
        of_both, of_background = p_values(data, mpf(float(upper(QMuTilde(), data, cl))), True)
        assert of_background < mpf(10) ** -2000
        assert float(of_both / of_background) == pytest.approx(1 - cl, rel=1e-9)


# minimum over 0 < s < 12 at b = 3, 90 %, where every count has its CLs worked out anew at each s
@pytest.mark.parametrize("method", [QMu(), QMuTilde()])
def test_covers_0_861_at_worst_over_three(method):
    n = np.arange(80)
    limits = method.limits(Counts(n, 3.0), 0.9)
    s = limits.upper[limits.upper < 12] + 2e-6
    covers = coverage(limits, 3.0, s)
    directly = [chances(n, [x + 3.0])[0] @ not_excluded(n, 3.0, x, isinstance(method, QMuTilde)) for x in s]
    assert covers == pytest.approx(directly, rel=1e-12)
    assert covers.min() == pytest.approx(0.861, abs=5e-4)
    assert s[covers.argmin()] == pytest.approx(9.26, abs=0.01)
    assert (coverage(limits, 3.0, [2.0, 5.0]) >= 0.9).all()


def not_excluded(n, b, s, tilde):
    """Tell which counts have CLs > 0.1, with scipy's normal distribution."""
    q = np.where(n - b >= s, 0.0, 2 * (s + b - n + special.xlogy(n, n / (s + b))))
    root = np.sqrt(2 * (s - b * np.log1p(s / b)))
    x = np.sqrt(q) - root
    if tilde:
        x = np.where(n < b, (b - n) * np.log1p(s / b) / root, x)
    return norm.sf(x + root) > 0.1 * norm.sf(x)


# roots of [1 - Phi(sqrt q_A - N)] / Phi(N) = 0.05 and sqrt q_A = 1.645 + N at b = 0.3 and 3, with 40 digits
@pytest.mark.parametrize(
    ("procedure", "b", "expected"),
    [
        ("cls", 0.3, [0.99089596, 1.54117753, 2.60148841, 4.55389482, 7.66689095]),
        ("cls", 3.0, [2.20765564, 3.15074863, 4.77928637, 7.46786072, 11.3860511]),
        ("clsb", 0.3, [0.0, 0.503462519, 1.9583545, 4.31779221, 7.62466483]),
        ("clsb", 3.0, [0.0, 1.25962371, 3.81377278, 7.15597513, 11.3346894]),
    ],
)
@pytest.mark.parametrize("kind", [QMu, QMuTilde])
def test_expected_limits_and_bands_of_the_asimov_set(kind, procedure, b, expected):
    found = [kind(procedure).asimov(Counts([0, 9], b), 0.95, n_sigma).tolist() for n_sigma in (-2, -1, 0, 1, 2)]
    assert [first for first, _ in found] == pytest.approx(expected, rel=5e-8)
    assert [second for _, second in found] == [first for first, _ in found]


@pytest.mark.parametrize("n_sigma", [-8.0, -1.0, 0.0, 2.0, 8.0])
@pytest.mark.parametrize("cl", LEVELS)
@pytest.mark.parametrize("data", DATA[::3])
@mpmath.workdps(DIGITS)
def test_expected_limits_solve_their_equation(data, cl, n_sigma):
    alpha = 1 - mpf(cl)
    (found,) = QMuTilde().asimov(observe(data), cl, n_sigma)
    root = mpmath.sqrt(fall(asimov(data), mpf(float(found))))
    assert mpmath.ncdf(n_sigma - root) / mpmath.ncdf(n_sigma) == pytest.approx(float(alpha), rel=1e-9)
    (found,) = QMuTilde("clsb").asimov(observe(data), cl, n_sigma)
    root = mpmath.sqrt(fall(asimov(data), mpf(float(found))))
    assert float(root) == pytest.approx(max(norm.isf(1 - cl) + n_sigma, 0), rel=1e-9, abs=1e-12)


# the median is the limit from the Asimov set itself
@pytest.mark.parametrize("procedure", ["cls", "clsb"])
def test_median_is_the_limit_of_just_the_background(procedure):
    counts, on_off = Counts([3, 40], [3.0, 40.0]), OnOff([3, 40], [6, 80], 2.0)
    for observed in (counts, on_off):
        limits = QMuTilde(procedure).limits(observed, 0.95)
        assert QMuTilde(procedure).asimov(observed, 0.95, 0.0) == pytest.approx(limits.upper, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_higher_confidence_and_more_events_never_tighten(method):
    n_on, n_off = (part.ravel() for part in np.meshgrid(np.arange(60), np.arange(40), indexing="ij"))
    at = [method.limits(OnOff(n_on, n_off, 1.5), cl).upper for cl in LEVELS]
    for lower, higher in pairwise(at):
        assert (lower <= higher).all()
    assert (np.diff(at[3].reshape(60, 40), axis=0) >= 0).all()


@pytest.mark.parametrize("kind", [QMu, QMuTilde])
def test_cls_never_tightens(kind):
    n_on, n_off = (part.ravel() for part in np.meshgrid(np.arange(60), np.arange(40)))
    for cl in LEVELS:
        for observed in (OnOff(n_on, n_off, 0.3), Counts(n_on, 7.7)):
            with_cls, without = (kind(procedure).limits(observed, cl).upper for procedure in ("cls", "clsb"))
            assert (with_cls >= without * (1 - 1e-14)).all()


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
    for nothing in (Counts([], 0.0), OnOff([], [], 1.0)):
        assert len(method.limits(nothing, 0.9)) == len(method.asimov(nothing, 0.9, 1.0)) == 0


def test_explains_empty_intervals():
    for method in CLSB:
        words = method.explain(Counts([0, 5], [5.0, 3.0]), 0.9)
        assert words == ["n = 0 is so far below b = 5 that no signal >= 0 is left at this cl", ""]
        words = method.explain(OnOff([4, 0], [8, 30], 2.0), 0.9)
        assert words == ["", "n_on = 0 is so far below n_off / tau = 15 that no signal >= 0 is left at this cl"]
    assert QMuTilde().explain(Counts([0, 5], [5.0, 3.0]), 0.9) == ["", ""]


def test_refuses_another_procedure():
    with pytest.raises(ValueError, match="procedure = 'bayes': must be cls or clsb"):
        QMu("bayes")
