"""One count: its distribution with a background that is known, or known with an error, and what is told of it."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from reference_outcomes import pairs, summary
from scipy import integrate, special, stats

import covsvc
from covsvc.contracts import Counts, UncertainCounts
from covsvc.errors import ObservationError
from covsvc.experiments.counting import Counting


@pytest.mark.parametrize(
    ("s_true", "b"), [(0.0, 1e-300), (1e-12, 0.0), (0.5, 0.0), (3.0, 5.5), (0.0, 700.0), (50.0, 1e4), (9e4, 1e4)]
)
def test_outcomes_have_poisson_probabilities(s_true, b):
    (_, counts), probability = Counting().outcomes(s_true, b)
    with mpmath.workdps(30):
        mean = mpmath.mpf(s_true) + mpmath.mpf(b)
        some = range(0, len(counts), max(1, len(counts) // 200))
        exact = [
            float(mpmath.exp(-mean + int(counts.n[i]) * mpmath.log(mean) - mpmath.loggamma(int(counts.n[i]) + 1)))
            for i in some
        ]
    assert probability[:: some.step] == pytest.approx(exact, rel=1e-12, abs=1e-300)
    assert probability.sum() == pytest.approx(1, abs=1e-12)


def test_nothing_expected_means_nothing_observed():
    (_, counts), probability = Counting().outcomes(0.0, 0.0)
    assert probability[counts.n == 0] == pytest.approx([1.0])
    assert probability[counts.n > 0].sum() == 0
    _, toys = Counting().toys(0.0, 0.0, 100, np.random.default_rng(1999))
    assert (toys.n == 0).all()


def test_outcomes_are_all_different():
    (_, counts), _ = Counting().outcomes(3.0, 5.5)
    assert len(set(counts.n.tolist())) == len(counts)


# the smallest exact binomial p of all outcomes times their number: by chance below 1e-3 once in 1000
@pytest.mark.parametrize(("s_true", "b"), [(0.5, 0.0), (3.0, 5.5), (10.0, 30.0)])
def test_toys_are_distributed_as_the_outcomes(s_true, b):
    size = 100_000
    _, toys = Counting().toys(s_true, b, size, np.random.default_rng(1999))
    (_, counts), probability = Counting().outcomes(s_true, b)
    seen = np.bincount(toys.n, minlength=counts.n.max() + 1)
    assert seen.sum() == seen[counts.n].sum()
    p = [stats.binomtest(int(seen[n]), size, chance).pvalue for n, chance in zip(counts.n, probability, strict=True)]
    assert min(p) * len(p) > 1e-3


@pytest.mark.parametrize("assumed_over_true", [1.0, 0.8, 1.2])
def test_the_analyst_assumes_a_background_that_may_be_wrong(assumed_over_true):
    experiment = Counting(assumed_over_true=assumed_over_true)
    _, toys = experiment.toys(3.0, 5.5, 10, np.random.default_rng(1999))
    (_, counts), probability = experiment.outcomes(3.0, 5.5)
    assert np.unique(toys.b) == pytest.approx([assumed_over_true * 5.5], rel=1e-15)
    assert np.unique(counts.b) == pytest.approx([assumed_over_true * 5.5], rel=1e-15)
    # the truth stays where it was
    assert np.array_equal(toys.n, Counting().toys(3.0, 5.5, 10, np.random.default_rng(1999))[1].n)
    assert np.array_equal(probability, Counting().outcomes(3.0, 5.5)[1])


@pytest.mark.parametrize("assumed_over_true", [1.0, 1.2])
def test_real_data_are_taken_as_the_analyst_gives_them(assumed_over_true):
    _, counts = Counting(assumed_over_true=assumed_over_true).observe({"n": 3, "b": 5.5})
    assert isinstance(counts, Counts)
    assert counts.n.tolist() == [3]
    assert np.unique(counts.b).tolist() == [5.5]


@pytest.mark.parametrize("data", [{"n": -1, "b": 5.5}, {"n": 3, "b": -1.0}, {"n": 2.5, "b": 1.0}])
def test_impossible_data_are_refused(data):
    with pytest.raises(ObservationError):
        Counting().observe(data)


# backgrounds with an error


def background_counts(shape, b, r, most):
    """Return P(J = j) for j = 0..most, J ~ Pois(B), B of mean b (gamma), or a Gaussian at b (cut off), of width r b."""
    j = np.arange(most + 1)
    if shape == "gamma":
        # a Poisson count whose mean is gamma distributed is a negative binomial one, 1/r^2 successes
        return stats.nbinom.pmf(j, 1 / r**2, 1 / (1 + r**2 * b))
    norm = special.ndtr(1 / r)
    highest = b * (1 + 12 * r)

    def integrand(x, k):
        return np.exp(special.xlogy(k, x) - x - special.gammaln(k + 1) - 0.5 * ((x / b - 1) / r) ** 2)

    scale = norm * r * b * np.sqrt(2 * np.pi)
    return (
        np.array(
            [
                integrate.quad(integrand, 0, highest, args=(k,), points=[b], epsabs=1e-13, epsrel=1e-11, limit=200)[0]
                for k in j.tolist()
            ]
        )
        / scale
    )


def with_signal(shape, s, b, r, most):
    signal = stats.poisson.pmf(np.arange(most + 1), s)
    return np.convolve(signal, background_counts(shape, b, r, most))[: most + 1]


BACKGROUNDS = [(0.0, 3.0, 0.3), (2.5, 3.0, 0.3), (4.0, 0.4, 1.0), (0.0, 20.0, 0.1), (1.0, 5.0, 0.001)]


@pytest.mark.parametrize("shape", ["gamma", "truncated_gaussian"])
@pytest.mark.parametrize(("s_true", "b", "r"), BACKGROUNDS)
def test_a_background_drawn_from_what_is_known_of_it_makes_mixed_counts(s_true, b, r, shape):
    experiment = Counting(relative_b_error=r, shape=shape, fluctuates="b")
    (known, counts), probability = experiment.outcomes(s_true, b)
    expected = with_signal(shape, s_true, b, r, 90)
    assert counts.n.tolist() == list(range(counts.n[0], counts.n[0] + len(counts)))
    inside = counts.n <= 90
    assert probability[inside] == pytest.approx(expected[counts.n[inside]], rel=1e-7, abs=1e-12)
    assert probability.sum() == pytest.approx(1, abs=1e-13)
    # every analyst is told the same
    assert (known.b, known.b_error, known.shape) == (b, r * b, shape)
    assert counts.b == b


@pytest.mark.parametrize("shape", ["gamma", "truncated_gaussian"])
@pytest.mark.parametrize(("s_true", "b", "r"), BACKGROUNDS)
def test_toys_with_backgrounds_of_their_own_are_distributed_so(s_true, b, r, shape):
    size = 50_000
    experiment = Counting(relative_b_error=r, shape=shape, fluctuates="b")
    known, toys = experiment.toys(s_true, b, size, np.random.default_rng(1999))
    expected = with_signal(shape, s_true, b, r, 90)
    seen = np.bincount(toys.n, minlength=91)
    kept = np.flatnonzero(expected * size > 0.1)
    p = [stats.binomtest(int(seen[n]), size, min(expected[n], 1.0)).pvalue for n in kept]
    assert min(p) * len(p) > 1e-3
    assert (known.b, known.b_error, toys.b) == (b, r * b, b)


@pytest.mark.parametrize(("s_true", "b", "r"), BACKGROUNDS[:4])
def test_a_gamma_estimate_rests_on_an_off_count(s_true, b, r):
    experiment = Counting(relative_b_error=r)
    (known, counts), probability = experiment.outcomes(s_true, b)
    # the off count of expectation 1/r^2 measures tau b, tau = 1/(r^2 b); its posterior under a flat prior is what is told
    n_off = np.rint(np.asarray(known.b) / (r**2 * b) - 1)
    chance = stats.poisson.pmf(counts.n, s_true + b) * stats.poisson.pmf(n_off, 1 / r**2)
    assert probability == pytest.approx(chance, rel=1e-10, abs=1e-300)
    assert known.b == pytest.approx(stats.gamma.mean(n_off + 1, scale=r**2 * b), rel=1e-12)
    assert known.b_error == pytest.approx(stats.gamma.std(n_off + 1, scale=r**2 * b), rel=1e-12)
    assert counts.b == pytest.approx(n_off * r**2 * b, rel=1e-12, abs=1e-15)
    assert known.shape == "gamma"


@pytest.mark.parametrize(("s_true", "b", "r"), [(0.0, 3.0, 0.3), (4.0, 0.4, 1.0)])
def test_toys_with_a_gamma_estimate_are_distributed_as_independent_poisson_counts(s_true, b, r):
    size = 50_000
    known, toys = Counting(relative_b_error=r).toys(s_true, b, size, np.random.default_rng(1999))
    n_off = np.rint(toys.b / (r**2 * b)).astype(int)
    assert known.b == pytest.approx((n_off + 1) * r**2 * b, rel=1e-12)
    n, off, chance = pairs(s_true + b, 1 / r**2)
    kept = chance * size > 0.1
    seen = {}
    for pair in zip(toys.n.tolist(), n_off.tolist(), strict=True):
        seen[pair] = seen.get(pair, 0) + 1
    p = [
        stats.binomtest(seen.get((int(one), int(other)), 0), size, float(each)).pvalue
        for one, other, each in zip(n[kept], off[kept], chance[kept], strict=True)
    ]
    assert min(p) * len(p) > 1e-3


@pytest.mark.parametrize(("b", "r"), [(3.0, 0.3), (0.4, 1.0), (20.0, 0.001)])
def test_a_gaussian_estimate_is_drawn_above_zero_and_has_no_enumeration(b, r):
    experiment = Counting(relative_b_error=r, shape="truncated_gaussian")
    known, toys = experiment.toys(1.0, b, 20_000, np.random.default_rng(1999))
    assert stats.kstest(known.b, stats.truncnorm(-1 / r, np.inf, b, r * b).cdf).pvalue > 1e-3
    assert (known.b > 0).all()
    assert known.b_error == r * b
    assert np.array_equal(known.b, toys.b)
    seen = np.bincount(toys.n)
    p = [stats.binomtest(int(seen[n]), 20_000, stats.poisson.pmf(n, 1.0 + b)).pvalue for n in range(len(seen))]
    assert min(p) * len(p) > 1e-3
    # n and the estimate of its background know nothing of each other
    assert stats.pearsonr(toys.n, known.b).pvalue > 1e-3
    assert experiment.counts(1.0, b) is None


def test_what_is_assumed_wrongly_scales_estimates_and_their_errors():
    right, wrong = (Counting(scale, 0.5).toys(1.0, 3.0, 50, np.random.default_rng(1999)) for scale in (1.0, 1.2))
    assert np.array_equal(right[0].n, wrong[0].n)
    assert wrong[0].b == pytest.approx(1.2 * right[0].b, rel=1e-15)
    assert wrong[0].b_error == pytest.approx(1.2 * right[0].b_error, rel=1e-15)
    assert wrong[1].b == pytest.approx(1.2 * right[1].b, rel=1e-15)


@pytest.mark.parametrize("shape", ["gamma", "truncated_gaussian"])
@pytest.mark.parametrize("fluctuates", ["estimate", "b"])
def test_no_background_has_no_error(shape, fluctuates):
    experiment = Counting(relative_b_error=0.5, shape=shape, fluctuates=fluctuates)
    known, toys = experiment.toys(2.0, 0.0, 100, np.random.default_rng(1999))
    assert np.unique(known.b).tolist() == np.unique(known.b_error).tolist() == np.unique(toys.b).tolist() == [0.0]


EXACT = [
    ("bayes_uncertain_background", "gamma", "estimate"),
    ("bayes_uncertain_background", "gamma", "b"),
    ("bayes_uncertain_background", "truncated_gaussian", "b"),
    ("cls", "gamma", "estimate"),
    ("feldman_cousins", "truncated_gaussian", "b"),
]


@pytest.mark.parametrize(("name", "shape", "fluctuates"), EXACT)
@pytest.mark.parametrize(("b", "r"), [(2.0, 0.4), (0.7, 1.0)])
def test_exact_coverage_is_the_sum_over_all_outcomes(name, shape, fluctuates, b, r):
    signals = [0.0, 0.9, 4.2]
    options = {"relative_b_error": r, "shape": shape, "fluctuates": fluctuates}
    found = covsvc.exact_coverage(name, "counting", s_true=signals, b=b, cl=0.9, experiment=options)
    for index, s in enumerate(signals):
        if fluctuates == "b":
            n, chance = np.arange(91), with_signal(shape, s, b, r, 90)
            mean, error, plugged_in = b, r * b, b
        else:
            n, n_off, chance = pairs(s + b, 1 / r**2)
            per_event = r**2 * b
            mean, error, plugged_in = (n_off + 1) * per_event, np.sqrt(n_off + 1) * per_event, n_off * per_event
        known = UncertainCounts(n, mean, error, shape)
        limits = covsvc.limits(name, known if name == "bayes_uncertain_background" else Counts(n, plugged_in), 0.9)
        expected = summary(limits, chance, s)
        assert [float(found[each].values[0, index]) for each in found] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_real_data_with_an_error_of_their_own():
    known, counts = Counting(relative_b_error=0.2).observe({"n": 3, "b": 5.0})
    assert (known.b, known.b_error, known.shape, counts.b) == (5.0, 1.0, "gamma", 5.0)
    given, _ = Counting(shape="truncated_gaussian").observe({"n": 3, "b": 5.0, "b_error": 0.7})
    assert (given.b, given.b_error, given.shape) == (5.0, 0.7, "truncated_gaussian")
    assert Counting(assumed_over_true=0.5).background({"n": 3, "b": 5.0}) == 10.0
    assert np.isnan(Counting(assumed_over_true=0.0).background({"n": 3, "b": 5.0}))


def test_only_an_estimated_background_is_passed_off_as_known():
    assert Counting().plugs_in == ()
    assert Counting(relative_b_error=0.1).plugs_in == (Counts,)


@pytest.mark.parametrize(
    "options",
    [
        {"relative_b_error": -0.1},
        {"relative_b_error": 1.1},
        {"relative_b_error": 1e-4},
        {"relative_b_error": float("nan")},
        {"fluctuates": "b"},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=r"relative_b_error"):
        Counting(**options)


@pytest.mark.parametrize("data", [{"n": 3}, {"n": 3, "b": 1, "b_err": 1}, {"n": 3, "b": 1.0, "b_error": -1.0}])
def test_incomplete_data_are_refused(data):
    with pytest.raises(ObservationError):
        Counting().observe(data)
