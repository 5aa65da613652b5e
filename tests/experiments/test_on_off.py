"""Counts on and off source: their distribution, their views, and exact sums over all pairs of them."""

from __future__ import annotations

import numpy as np
import pytest
from reference_outcomes import pairs, poisson, summary
from scipy import stats

import covsvc
from covsvc.contracts import Counts, OnOff, Sideband, UncertainCounts
from covsvc.errors import ObservationError, StudyError
from covsvc.experiments.on_off import OnOffCounting

TAUS = (0.001, 0.5, 1.0, 5.0, 1000.0)

# how each method reads a pair
READS = {
    Counts: lambda n_on, n_off, tau: Counts(n_on, n_off / tau),
    OnOff: OnOff,
    UncertainCounts: lambda n_on, n_off, tau: UncertainCounts(n_on, (n_off + 1) / tau, np.sqrt(n_off + 1) / tau),
    Sideband: lambda n_on, n_off, tau: Sideband(n_on, n_off, n_off, 1 / (1 + tau), 1 / tau),
}


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize(("s_true", "b"), [(0.0, 0.0), (3.0, 0.0), (0.0, 0.3), (2.5, 5.0)])
def test_outcomes_have_products_of_poisson_probabilities(s_true, b, tau):
    (_, pair, *_), probability = OnOffCounting(tau).outcomes(s_true, b)
    n_on, n_off, chance = pairs(s_true + b, tau * b)
    exact = dict(zip(zip(n_on.tolist(), n_off.tolist(), strict=True), chance.tolist(), strict=True))
    found = [exact[key] for key in zip(pair.n_on.tolist(), pair.n_off.tolist(), strict=True)]
    # each of the two probabilities is a product of as many ratios as its count lies from the mean
    assert probability == pytest.approx(found, rel=1e-12, abs=1e-300)
    assert probability.sum() == pytest.approx(1.0, abs=1e-13)


def test_outcomes_are_a_lattice_whose_off_count_runs_fastest():
    (_, pair, *_), probability = OnOffCounting(2.0).outcomes(1.0, 0.7)
    on, off = np.unique(pair.n_on), np.unique(pair.n_off)
    assert len(probability) == len(pair) == len(on) * len(off)
    assert pair.n_on.tolist() == np.repeat(on, len(off)).tolist()
    assert pair.n_off.tolist() == np.tile(off, len(on)).tolist()


# the smallest exact binomial p of all pairs that are not rare times their number: by chance below 1e-3 once in 1000
@pytest.mark.parametrize(("s_true", "b", "tau"), [(0.5, 1.0, 0.5), (2.0, 0.7, 3.0), (0.0, 1.3, 1.0)])
def test_toys_are_distributed_as_independent_poisson_counts(s_true, b, tau):
    size = 100_000
    _, pair, *_ = OnOffCounting(tau).toys(s_true, b, size, np.random.default_rng(1999))
    n_on, n_off, chance = pairs(s_true + b, tau * b)
    kept = chance * size > 0.1
    p = [
        stats.binomtest(int(((pair.n_on == on) & (pair.n_off == off)).sum()), size, min(each, 1.0)).pvalue
        for on, off, each in zip(n_on[kept], n_off[kept], chance[kept], strict=True)
    ]
    assert len(p) > 20
    assert min(p) * len(p) > 1e-3


def test_without_background_nothing_is_seen_off_source():
    views = OnOffCounting(1000.0).toys(2.0, 0.0, 1000, np.random.default_rng(1999))
    assert not views[1].n_off.any()
    assert views[1].n_on.any()


def test_the_views_of_a_pair():
    sideband, pair, known, plugged_in = OnOffCounting(4.0).views((np.array([3, 0]), np.array([8, 0])), 99.0)
    assert (pair.n_on.tolist(), pair.n_off.tolist(), pair.tau) == ([3, 0], [8, 0], 4.0)
    # Narsky (2000), Section 3.2: zeta is the background of the signal region over that of the whole, 1/(1 + 4)
    assert (sideband.n.tolist(), sideband.n_out.tolist(), sideband.n_sb.tolist()) == ([3, 0], [8, 0], [8, 0])
    assert (sideband.zeta, sideband.zeta_sb) == (0.2, 0.25)
    assert plugged_in.b.tolist() == [2.0, 0.0]
    # a flat prior times b^n_off exp(-tau b) is the gamma distribution of shape n_off + 1 and rate tau
    assert known.shape == "gamma"
    assert known.b == pytest.approx([stats.gamma.mean(9, scale=0.25), stats.gamma.mean(1, scale=0.25)], rel=1e-15)
    assert known.b_error == pytest.approx([stats.gamma.std(9, scale=0.25), stats.gamma.std(1, scale=0.25)], rel=1e-14)


def test_the_gaussian_view_of_a_pair_has_the_square_root_of_the_off_count_for_error():
    known = OnOffCounting(4.0, shape="truncated_gaussian").views((np.array([3, 0]), np.array([9, 0])), 99.0)[2]
    assert known.shape == "truncated_gaussian"
    assert known.b.tolist() == [2.25, 0.0]
    assert known.b_error.tolist() == [0.75, 0.25]  # no off event: as for one


METHODS = [
    ("classical", {}, Counts),
    ("cls", {}, Counts),
    ("bayes_reciprocal", {}, Counts),  # fails for n_on = n_off = 0
    ("feldman_cousins", {}, Counts),
    ("profile_likelihood", {}, OnOff),
    ("profile_likelihood", {"bounded": False}, OnOff),
    ("q_mu_tilde", {}, OnOff),
    ("bayes_uncertain_background", {}, OnOff),
    ("significance_sideband", {}, Sideband),  # unbounded or empty for some
]


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize(("name", "options", "view"), METHODS)
def test_exact_coverage_is_the_double_sum_over_all_pairs(name, options, view, tau):
    signals = [0.0, 0.4, 3.1]
    for b in (0.0, 0.3) if tau == 1000 else (0.0, 0.3, 4.7):
        found = covsvc.exact_coverage(
            name, "on_off", s_true=signals, b=b, cl=0.9, method=options, experiment={"tau": tau}
        )
        for index, s in enumerate(signals):
            n_on, n_off, chance = pairs(s + b, tau * b)
            limits = covsvc.limits(name, READS[view](n_on, n_off, tau), 0.9, **options)
            expected = summary(limits, chance, s)
            told = [float(found[each].values[0, index]) for each in found]
            assert told[:2] == pytest.approx(expected[:2], abs=1e-12)
            assert told[2] == pytest.approx(expected[2], rel=1e-12)
            # 1e-15 beyond the ends of each count is left out, where limits may be large
            assert told[3] == pytest.approx(expected[3], rel=1e-11, nan_ok=True)
            assert told[4:] == pytest.approx(expected[4:], abs=1e-12)


def test_exact_coverage_holds_where_the_off_count_is_in_the_thousands():
    b, tau = 5.0, 1000.0
    found = covsvc.exact_coverage("cls", "on_off", s_true=[2.0], b=b, cl=0.95, experiment={"tau": tau})
    n_on, n_off, chance = pairs(2.0 + b, tau * b)
    limits = covsvc.limits("cls", Counts(n_on, n_off / tau), 0.95)
    assert [float(found[each].item()) for each in found] == pytest.approx(summary(limits, chance, 2.0), abs=1e-12)


def test_an_off_region_without_end_is_a_known_background():
    on_off = covsvc.exact_coverage("cls", "on_off", s_true=[0.5, 3.3], b=[2.0], cl=0.9, experiment={"tau": 1e4})
    known = covsvc.exact_coverage("cls", "counting", s_true=[0.5, 3.3], b=[2.0], cl=0.9)
    # b = n_off/tau is known to 0.014, which moves the limits by less; those of 0, 1, 2 events at b = 2 are 2.30, 2.99, 3.88
    assert on_off.mean_upper.values == pytest.approx(known.mean_upper.values, rel=1e-4)
    assert on_off.upper_coverage.values == pytest.approx(known.upper_coverage.values, abs=1e-9)


def test_no_event_on_source_has_a_limit_that_does_not_depend_on_tau():
    # n_on = 0: -ln 0.1 whatever is known of b; s = 0.3 < 2.30 is covered by all other counts, too
    for tau in TAUS:
        found = covsvc.exact_coverage(
            "bayes_uncertain_background", "on_off", s_true=[0.3], b=0.0, cl=0.9, experiment={"tau": tau}
        )
        assert found.coverage.item() == pytest.approx(1.0, abs=1e-14)
        assert found.median_upper.item() == pytest.approx(np.log(10), rel=1e-12)


def test_real_data_are_pairs_or_regions_of_a_sideband():
    pair = OnOffCounting(2.0).observe({"n_on": 3, "n_off": 11})
    assert [len(view) for view in pair] == [1, 1, 1, 1]
    assert pair[3].b.tolist() == [5.5]
    # Narsky (2000), Section 3.2: the background of the sideband, not of all the outside, fixes b
    regions = OnOffCounting(2.0).observe({"n": 3, "n_out": 15, "n_sb": 11, "zeta": 0.25})
    assert (regions[0].n_out.tolist(), regions[0].n_sb.tolist()) == ([15], [11])
    assert (regions[0].zeta, regions[0].zeta_sb) == (0.25, 0.5)
    assert (regions[1].n_off.tolist(), regions[3].b.tolist()) == ([11], [5.5])


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"n_on": 3},
        {"n_on": 3, "n_off": 2, "b": 1.0},
        {"n_on": -1, "n_off": 2},
        {"n_on": 3, "n_off": 2.5},
        {"n": 3, "n_out": 5, "n_sb": 6, "zeta": 0.5},
        {"n": 3, "n_out": 5, "n_sb": 4, "zeta": 1.0},
        {"n": 3, "n_out": 5, "n_sb": 4},
    ],
)
def test_impossible_data_are_refused(data):
    with pytest.raises(ObservationError):
        OnOffCounting(2.0).observe(data)


def test_the_background_of_real_data_is_that_of_the_largest_likelihood():
    # ln L = n_on ln(s+b) - (s+b) + n_off ln(tau b) - tau b is largest at b = n_off/tau, or at s = 0 at the mean of both
    experiment = OnOffCounting(3.0)
    assert experiment.background({"n_on": 7, "n_off": 6}) == 2.0
    assert experiment.background({"n_on": 7, "n_off": 6}, no_signal=True) == 13 / 4
    assert experiment.background({"n": 7, "n_out": 9, "n_sb": 6, "zeta": 0.1}) == 2.0


@pytest.mark.parametrize("tau", [0.0, -1.0, 0.9e-4, 1.1e6, float("nan"), float("inf")])
def test_a_tau_out_of_range_is_refused(tau):
    with pytest.raises(StudyError, match="tau = "):
        covsvc.exact_coverage("cls", "on_off", s_true=1, b=1, cl=0.9, experiment={"tau": tau})


def test_probabilities_far_from_the_mean_are_those_of_more_digits():
    (on, p_on), (off, p_off) = poisson(107.0), poisson(1000.0)
    runs = OnOffCounting(10.0).counts(7.0, 100.0)
    for run, counts, exact in zip(runs, (on, off), (p_on, p_off), strict=True):
        inside = (counts >= run.first) & (counts < run.first + len(run.probability))
        assert run.probability == pytest.approx(exact[inside], rel=1e-12)
    assert [run.mean for run in runs] == [107.0, 1000.0]
