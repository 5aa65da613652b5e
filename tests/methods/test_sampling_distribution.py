"""Limits from sampling distributions, enumerated and from toys."""

from typing import get_type_hints

import numpy as np
import pytest
from pydantic import TypeAdapter
from reference import bayes_upper, mean_upper, random_counts, within
from reference_sampling import count_upper
from scipy import stats

from covsvc.contracts import Counts, OnOff, Status
from covsvc.methods.sampling_distribution import SamplingDistribution

PROCEDURES = pytest.mark.parametrize("procedure", ["cls", "clsb"])
STATISTICS = pytest.mark.parametrize("statistic", ["q_mu", "q_mu_tilde"])


def upper(method, n, b, cl):
    return method.limits(Counts([n], b), cl).upper[0]


# inclusive: flat Bayes in Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 9, and the classical limit, Eq. 12; mid-p
# without events: exp(-s-b)/2 = 1 - cl, and exp(-s) = 1 - cl; 5.068: the same sums with 40 digits
@pytest.mark.parametrize(
    ("procedure", "p_value", "n", "b", "cl", "exact"),
    [
        ("cls", "inclusive", 3, 3.0, 0.95, 5.395),
        ("cls", "mid", 3, 3.0, 0.95, 5.068),
        ("clsb", "mid", 0, 0.0, 0.9, 1.6094),
        ("cls", "mid", 0, 0.0, 0.9, 2.3026),
        ("clsb", "mid", 0, 0.3, 0.95, 2.0026),
        ("cls", "mid", 0, 0.3, 0.95, 2.9957),
        ("cls", "mid", 0, 1e4, 0.95, 2.9957),
        ("clsb", "inclusive", 3, 3.0, 0.9, 3.681),
    ],
)
@STATISTICS
def test_agrees_with_what_is_known_of_one_count(statistic, procedure, p_value, n, b, cl, exact):
    method = SamplingDistribution(statistic=statistic, procedure=procedure, p_value=p_value)
    assert upper(method, n, b, cl) == pytest.approx(exact, abs=5e-4)


@STATISTICS
@pytest.mark.parametrize(("n", "b", "cl"), [*random_counts(12), (690, 700.0, 1 - 1e-9), (0, 1e4, 1 - 1e-9)])
def test_inclusive_p_values_give_the_limits_of_classical_and_of_flat_bayes(statistic, n, b, cl):
    cls = SamplingDistribution(statistic=statistic, p_value="inclusive")
    exact = float(bayes_upper(n, b, cl, 0))
    assert within(upper(cls, n, b, cl), exact, exact + b)
    clsb = SamplingDistribution(statistic=statistic, procedure="clsb", p_value="inclusive").limits(Counts([n], b), cl)
    exact = float(mean_upper(n, 1 - cl)) - b
    if exact < 0:
        assert clsb.status[0] == Status.EMPTY
    else:
        assert within(clsb.upper[0], exact, exact + b)


@PROCEDURES
@pytest.mark.parametrize("cl", [0.5, 0.51, 0.68, 0.9])
def test_is_the_supremum_of_what_the_mid_p_value_does_not_exclude(procedure, cl):
    # from the definition, with the counts beyond s + b, which tie at q = 0, added up as such
    k = np.arange(400)
    for n, b in ((0, 0.2), (1, 0.0), (2, 7.5), (6, 2.0), (12, 11.9), (30, 4.0)):

        def p(s, signal, n=n, b=b):
            chance = stats.poisson.pmf(k, signal + b)
            q, observed = (np.where(events < s + b, s + b - events, 0.0) for events in (k, n))
            return chance @ np.where(q > observed, 1.0, np.where(q == observed, 0.5, 0.0))

        def accepted(s, p=p):
            return p(s, s) > (1 - cl) * (p(s, 0.0) if procedure == "cls" else 1.0)

        limits = SamplingDistribution(procedure=procedure).limits(Counts([n], b), cl)
        end = limits.upper[0]
        assert not any(accepted(s) for s in end + np.linspace(1e-6, 20, 300))
        assert limits.status[0] == Status.EMPTY or all(
            accepted(s) for s in np.linspace(1e-3 * end, end * (1 - 1e-6), 100)
        )


@PROCEDURES
@STATISTICS
def test_on_off_tends_to_the_mid_p_limit_of_a_known_background(procedure, statistic):
    # the counts off source fluctuate on: whatever ties at a known background lies above or below, half and half
    for p_value in ("mid", "inclusive"):
        method = SamplingDistribution(statistic=statistic, procedure=procedure, p_value=p_value)
        for n, b in ((4, 3.0), (9, 5.5), (2, 0.7)):
            exact = float(count_upper(n, b, 0.9, 0.5, procedure == "cls"))
            found = method.limits(OnOff([n], [round(b * 1e4)], 1e4), 0.9).upper[0]
            assert found == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("p_value", ["mid", "inclusive"])
@pytest.mark.parametrize(("n_off", "tau"), [(0, 1.0), (7, 2.0), (10_000, 1e-3), (10**12, 1e6)])
def test_on_off_without_events_on_source_does_not_know_the_background(p_value, n_off, tau):
    limits = SamplingDistribution(p_value=p_value).limits(OnOff([0], [n_off], tau), 0.95)
    assert limits.upper[0] == pytest.approx(-np.log(0.05), rel=1e-12)


def test_has_no_error_where_all_outcomes_are_enumerated():
    assert SamplingDistribution().limits(Counts([3], 3.0), 0.9).error is None


@pytest.mark.parametrize(
    "observed", [Counts([0, 5], [9.0, 1.0]), OnOff([0, 5], [40, 1], 2.0)], ids=["counts", "on_off"]
)
@pytest.mark.parametrize("n_toys", [0, 1000])
def test_is_empty_and_says_so_where_p_is_small_without_signal(observed, n_toys):
    method = SamplingDistribution(procedure="clsb", n_toys=n_toys)
    limits = method.limits(observed, 0.9)
    assert limits.status.tolist() == [Status.EMPTY, Status.OK]
    assert limits.upper[0] == 0.0
    empty, found = method.explain(observed, 0.9)
    assert "no signal is left" in empty
    assert found == ""


def test_fails_and_says_so_where_too_many_outcomes_matter():
    observed = OnOff([10_000, 3], [10**10, 5], 1e6)
    assert SamplingDistribution().limits(observed, 0.9).status.tolist() == [Status.FAILED, Status.OK]
    assert "too many to enumerate; give n_toys" in SamplingDistribution().explain(observed, 0.9)[0]
    assert SamplingDistribution(n_toys=1000).limits(observed, 0.9).status.tolist() == [Status.OK, Status.OK]


def test_excludes_nothing_where_cl_b_vanishes():
    method, observed = SamplingDistribution(statistic="q_mu"), OnOff([1], [20_000], 2.0)
    assert method.limits(observed, 0.9).status[0] == Status.UNBOUNDED
    assert "CL_b vanishes" in method.explain(observed, 0.9)[0]


# fastprof documentation, counting_limit: n = 0, b = 0.3, 10000 toys, mid-p
@pytest.mark.parametrize(("procedure", "published", "error"), [("cls", 2.97955, 0.0689), ("clsb", 2.0403, 0.0446)])
def test_toys_agree_with_fastprof(procedure, published, error):
    limits = SamplingDistribution(procedure=procedure, n_toys=10_000).limits(Counts([0], 0.3), 0.95)
    assert limits.error[0] < error
    assert abs(limits.upper[0] - published) < 3 * np.hypot(error, limits.error[0])


@PROCEDURES
@pytest.mark.parametrize("p_value", ["mid", "inclusive"])
def test_toys_agree_with_enumeration_within_their_error(procedure, p_value):
    options = {"procedure": procedure, "p_value": p_value}
    rng = np.random.default_rng(7)
    b = rng.uniform(0.3, 6.0, 20)
    observations = [Counts(rng.poisson(b + 2.0), b), OnOff(rng.poisson(b + 2.0), rng.poisson(2.0 * b), 2.0)]
    chi2, number, pulls = 0.0, 0, []
    for observed in observations:
        exact = SamplingDistribution(**options).limits(observed, 0.9)
        toys = SamplingDistribution(n_toys=4000, **options).limits(observed, 0.9)
        # an end close to 0 is empty in one half of the toys
        both = (exact.status == Status.OK) & (toys.status == Status.OK) & (exact.upper > 0.3)
        assert both.sum() >= 15
        pulls.extend(((toys.upper - exact.upper) / toys.error)[both])
    chi2, number = np.sum(np.square(pulls)), len(pulls)
    # four tests of two numbers each: one false alarm in a thousand
    assert 1e-3 / 16 < stats.chi2.sf(chi2, number) < 1 - 1e-3 / 16
    assert abs(np.sum(pulls)) / np.sqrt(number) < stats.norm.isf(1e-3 / 16)


@pytest.mark.parametrize(
    ("observed", "n_toys"),
    [(Counts([1], 6.0), 20_000), (Counts([0], 3.0), 4000), (OnOff([0], [6], 2.0), 4000)],
    ids=["one_over_six", "none_over_three", "on_off"],
)
def test_toys_agree_with_enumeration_far_below_the_background(observed, n_toys):
    # there CL_b is small, and with it the number of toys that count
    exact = SamplingDistribution().limits(observed, 0.9).upper[0]
    runs = [SamplingDistribution(n_toys=n_toys, seed=seed).limits(observed, 0.9) for seed in range(1, 61)]
    pulls = np.array([(run.upper[0] - exact) / run.error[0] for run in runs])
    # three tests of two numbers each, two sides: one false alarm in a thousand
    assert 1e-3 / 12 < stats.chi2.sf(np.sum(pulls**2), len(pulls)) < 1 - 1e-3 / 12
    assert abs(np.sum(pulls)) / np.sqrt(len(pulls)) < stats.norm.isf(1e-3 / 12)


@pytest.mark.parametrize("observed", [Counts([3], 3.0), OnOff([6], [5], 2.0)], ids=["counts", "on_off"])
@PROCEDURES
def test_stated_error_is_the_spread_over_seeds(observed, procedure):
    hypotheses = (0.0, 2.0, 3.5, 5.0, 6.5, 8.0, 10.0)
    runs = [
        SamplingDistribution(procedure=procedure, n_toys=2000, seed=seed, hypotheses=hypotheses).limits(observed, 0.9)
        for seed in range(1, 31)
    ]
    found, errors = np.array([run.upper[0] for run in runs]), np.array([run.error[0] for run in runs])
    # four tests, two sides: one false alarm in a thousand
    assert 1e-3 / 8 < stats.chi2.sf(np.sum((found - found.mean()) ** 2) / np.mean(errors**2), 29) < 1 - 1e-3 / 8


@PROCEDURES
@pytest.mark.parametrize(
    "observed", [Counts([2, 5, 3, 2], 1.5), OnOff([2, 5, 3, 2], [3, 3, 0, 3], 2.0)], ids=["counts", "on_off"]
)
@pytest.mark.parametrize("hypotheses", [(), (0.0, 2.0, 4.0, 8.0, 16.0)], ids=["chosen", "given"])
def test_toys_depend_on_the_seed_and_the_observation_alone(observed, procedure, hypotheses):
    method = SamplingDistribution(procedure=procedure, n_toys=500, hypotheses=hypotheses)
    together = method.limits(observed, 0.9)
    assert together.upper[0] == together.upper[3]
    for i in range(4):
        one = (
            Counts(observed.n[[i]], 1.5)
            if isinstance(observed, Counts)
            else OnOff(observed.n_on[[i]], observed.n_off[[i]], 2.0)
        )
        alone = method.limits(one, 0.9)
        assert (alone.upper[0], alone.error[0]) == (together.upper[i], together.error[i])
    other = SamplingDistribution(procedure=procedure, n_toys=500, hypotheses=hypotheses, seed=2).limits(observed, 0.9)
    assert (other.upper != together.upper).all()


def test_counts_over_one_background_share_its_toys():
    method = SamplingDistribution(n_toys=500, procedure="clsb", hypotheses=(1.0, 3.0, 5.0, 12.0))
    limits = method.limits(Counts(np.arange(2, 6), 1.0), 0.9).upper
    assert (np.diff(limits) > 0).all()


def test_interpolates_the_logarithm_of_p():
    # without events ln p is a straight line: steps of any width give -ln 0.1 within the error
    limits = SamplingDistribution(n_toys=1_000_000, hypotheses=(0.5, 3.0)).limits(Counts([0], 1.0), 0.9)
    assert abs(limits.upper[0] + np.log(0.1)) < 4 * limits.error[0]
    assert limits.error[0] < 0.01


@pytest.mark.parametrize(
    ("hypotheses", "says"),
    [
        ((0.0, 2.0), ["above the largest hypothesis 2", "> 0.1; add larger ones"]),
        ((12.0, 14.0), ["below the smallest hypothesis 12", "<= 0.1; add smaller ones, 0 is the smallest possible"]),
        ((2.0, 60.0), ["none of the 1,000 toys of the hypothesis 60", "add hypotheses below it, or raise n_toys"]),
    ],
)
@pytest.mark.parametrize("observed", [Counts([3], 1.0), OnOff([3], [2], 2.0)], ids=["counts", "on_off"])
@PROCEDURES
def test_fails_and_says_which_hypotheses_are_missing(observed, hypotheses, says, procedure):
    method = SamplingDistribution(n_toys=1000, hypotheses=hypotheses, procedure=procedure)
    limits = method.limits(observed, 0.9)
    assert limits.status[0] == Status.FAILED
    assert np.isnan([limits.upper[0], limits.error[0]]).all()
    assert all(part in method.explain(observed, 0.9)[0] for part in says)


def test_fails_and_says_so_where_no_toy_of_the_background_is_as_extreme():
    method = SamplingDistribution(n_toys=200)
    observed = Counts([0], 30.0)
    assert method.limits(observed, 0.9).status[0] == Status.FAILED
    assert "none of the 200 toys without signal" in method.explain(observed, 0.9)[0]


@pytest.mark.parametrize("n_toys", [0, 100])
@STATISTICS
@PROCEDURES
@pytest.mark.parametrize("cl", [0.5, 0.9, 1 - 1e-9])
def test_every_observation_has_a_limit_or_a_reason(n_toys, statistic, procedure, cl):
    method = SamplingDistribution(n_toys=n_toys, statistic=statistic, procedure=procedure)
    counts = Counts([0, 0, 0, 1, 3, 10_000, 9_000, 1_000_000], [0.0, 1e-300, 1e4, 1e-300, 0.3, 1e4, 1e4, 1e6])
    pairs = [OnOff([0, 0, 5, 5, 10_000], [0, 9, 0, 4, 10_000], tau) for tau in (1e-4, 1e-3, 1.0, 1e3, 1e6)]
    for observed in (counts, *pairs):
        limits, reasons = method.limits(observed, cl), method.explain(observed, cl)
        for end, status, reason in zip(limits.upper, limits.status, reasons, strict=True):
            assert (status == Status.OK) == (reason == "")
            assert status != Status.OK or 0.0 <= end < np.inf


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"n_toys": -1}, "n_toys"),
        ({"n_toys": 99}, "n_toys"),
        ({"n_toys": 10**8}, "n_toys"),
        ({"seed": 7}, "seed"),
        ({"seed": -7, "n_toys": 100}, "seed"),
        ({"hypotheses": (1.0, 2.0)}, "hypotheses"),
        ({"hypotheses": (1.0,), "n_toys": 100}, "hypotheses"),
        ({"hypotheses": (2.0, 1.0), "n_toys": 100}, "hypotheses"),
        ({"hypotheses": (1.0, 1.0), "n_toys": 100}, "hypotheses"),
        ({"hypotheses": (-1.0, 1.0), "n_toys": 100}, "hypotheses"),
        ({"hypotheses": (1.0, float("nan")), "n_toys": 100}, "hypotheses"),
        ({"statistic": "q0"}, "statistic"),
        ({"procedure": "CLs"}, "procedure"),
        ({"p_value": "half"}, "p_value"),
    ],
)
def test_refuses_options_that_make_no_sense_together(options, named):
    with pytest.raises(ValueError, match=f"^{named}"):
        SamplingDistribution(**options)


@pytest.mark.parametrize("given", [[0, 1.5, 3], (0.0, 1.5, 3.0)], ids=["list", "tuple"])
def test_hypotheses_of_a_study_file_are_kept_as_a_tuple(given):
    hypotheses = TypeAdapter(get_type_hints(SamplingDistribution)["hypotheses"]).validate_python(given, strict=True)
    method = SamplingDistribution(n_toys=100, hypotheses=hypotheses)
    assert method.hypotheses == (0.0, 1.5, 3.0)
    assert hash(method) == hash(SamplingDistribution(n_toys=100, hypotheses=(0.0, 1.5, 3.0)))
