"""Exact coverage: between the nodes of a grid, and against independent sums."""

from __future__ import annotations

import numpy as np
import pytest
from reference_outcomes import covered, pairs, poisson
from scipy import stats

import covsvc
from covsvc.contracts import Counts, Limits, OnOff
from covsvc.engine import exact
from covsvc.engine.exact import Coverage
from covsvc.errors import StudyError
from covsvc.experiments.counting import Counting
from covsvc.experiments.on_off import OnOffCounting

N = np.arange(200)


def brute_force(limits, s, b):
    """Return coverage at each s, summed over scipy's Poisson probabilities."""
    probability = stats.poisson.pmf(N[:, None], s + b)
    covered = (limits.status != 1)[:, None] & (limits.lower[:, None] <= s) & (limits.upper[:, None] >= s)
    return (probability * covered).sum(axis=0)


@pytest.mark.parametrize("name", ["classical", "bayes_jeffreys", "garwood", "feldman_cousins", "crow_gardner"])
@pytest.mark.parametrize("b", [0.0, 0.7, 3.0, 5.5])
def test_the_worst_case_is_below_a_dense_scan_and_reached_by_it(name, b):
    limits = covsvc.limits(name, covsvc.Counts(N, b), 0.9)
    worst = covsvc.worst_coverage(name, "counting", b=b, cl=0.9, s_max=12.0)
    ends = np.concatenate([limits.lower, limits.upper])
    near = np.concatenate([np.linspace(0, 12, 20001), *((ends + step) for step in (-1e-9, 1e-9))])
    scan = brute_force(limits, near[(near >= 0) & (near <= 12)], b)
    assert worst.coverage == pytest.approx(scan.min(), abs=1e-8)
    step = {"above": 1e-9, "below": -1e-9, "at": 0.0}[worst.side]
    assert brute_force(limits, np.array([worst.s_true + step]), b)[0] == pytest.approx(worst.coverage, abs=1e-8)


def test_a_covered_set_with_a_hole_is_searched_inside():
    # counts 0..2 and 8.. cover everything, 3..7 nothing: coverage dips where they are most probable
    upper = np.where((N < 3) | (N > 7), 50.0, 0.0)
    limits = Limits(np.zeros(200), upper, np.where(upper > 0, 0, 1).astype(np.int8))
    worst = Coverage(Counting(), 0, limits, 0.0).worst(0.0, 20.0)
    s = np.linspace(0, 20, 200001)
    scan = brute_force(limits, s, 0.0)
    assert worst.coverage == pytest.approx(scan.min(), abs=1e-9)
    assert worst.s_true == pytest.approx(s[scan.argmin()], abs=1e-3)


def test_the_minimum_of_flat_bayes_at_b_3_lies_just_above_the_limit_of_nine_events():
    # another program, on a grid of 0.01 in 0 < s < 12: 0.9002 at 11.21; its limit of nine events is 11.2085
    worst = covsvc.worst_coverage("bayes_flat", "counting", b=3.0, cl=0.90, s_max=12.0)
    assert (worst.s_true, worst.side) == (pytest.approx(11.2085, abs=5e-5), "above")
    at_node = covsvc.exact_coverage("bayes_flat", "counting", s_true=[11.21], b=[3.0], cl=0.90)
    assert at_node.coverage.item() == pytest.approx(0.9002, abs=5e-5)
    assert 0.90 <= worst.coverage < at_node.coverage.item()


def test_the_same_gives_coverage_at_s_2_and_5_as_measured_elsewhere():
    found = covsvc.exact_coverage("bayes_flat", "counting", s_true=[5, 2], b=[3], cl=0.90)
    assert found.coverage.values[0] == pytest.approx([0.9576, 1.0], abs=5e-5)
    found = covsvc.exact_coverage("classical", "counting", s_true=[2, 5], b=[3], cl=0.90)
    assert found.coverage.values[0] == pytest.approx([0.9596, 0.9004], abs=5e-5)


def test_an_empty_set_misses_s_0():
    # Narsky's classical limit at b = 3: n = 0 is empty, P(N >= 1; 3) = 1 - exp(-3) = 0.9502
    found = covsvc.exact_coverage("classical", "counting", s_true=[0.0], b=[3.0], cl=0.90)
    assert found.coverage.item() == pytest.approx(1 - np.exp(-3), abs=1e-14)
    assert found.p_empty.item() == pytest.approx(np.exp(-3), abs=1e-14)


def test_median_and_mean_of_the_limit_follow_from_its_distribution():
    # b = 0, s = 1: P(N <= 0) = 0.37, P(N <= 1) = 0.74, so the median limit is that of one event, 3.8897 (PDG)
    found = covsvc.exact_coverage("classical", "counting", s_true=[1.0], b=[0.0], cl=0.90)
    assert found.median_upper.item() == pytest.approx(3.889720, abs=1e-6)
    mean = (stats.poisson.pmf(N, 1.0) * stats.gamma.ppf(0.9, N + 1)).sum()
    assert found.mean_upper.item() == pytest.approx(mean, rel=1e-12)


def test_the_mean_is_undefined_where_a_limit_fails():
    found = covsvc.exact_coverage("bayes_reciprocal", "counting", s_true=[1.0], b=[0.0], cl=0.90)
    assert np.isnan(found.mean_upper.item())
    assert found.p_failed.item() == pytest.approx(np.exp(-1), abs=1e-14)
    # the limits of 1 and 2 events are 2.30 and 3.89, those of the flat prior for 0 and 1: only n <= 1 misses s = 3
    at_3 = covsvc.exact_coverage("bayes_reciprocal", "counting", s_true=[3.0], b=[0.0], cl=0.90).coverage.item()
    assert at_3 == pytest.approx(1 - np.exp(-3) * (1 + 3), abs=1e-12)


def test_values_out_of_range_are_refused():
    with pytest.raises(StudyError, match="s_true = -1: expected events"):
        covsvc.exact_coverage("cls", "counting", s_true=[-1], b=[1], cl=0.9)
    with pytest.raises(StudyError, match=r"cl = 1\.5"):
        covsvc.exact_coverage("cls", "counting", s_true=[1], b=[1], cl=1.5)
    with pytest.raises(StudyError, match="the grid is empty"):
        covsvc.exact_coverage("cls", "counting", s_true=[], b=[1], cl=0.9)


def test_an_experiment_without_outcomes_is_refused(plugins):
    with pytest.raises(StudyError, match="cannot be enumerated"):
        covsvc.worst_coverage("cls", "drawn", b=1, cl=0.9, s_max=3)


def test_the_trace_jumps_where_the_limits_lie():
    from covsvc.api import draw_curves, load_study

    grid = {"cl": 0.9, "s_true": [0, 6], "b": 1}
    study = load_study(
        {"name": "x", "experiment": "counting", "methods": "classical", "n_toys": 1e4, "seed": 1, **grid}
    )
    curve = draw_curves(study).squeeze()
    s, coverage = curve.s.values, curve.coverage.values
    twice = s[1:][np.diff(s) == 0]
    upper = stats.gamma.ppf(0.9, N + 1) - 1.0
    assert twice == pytest.approx(upper[(upper > 0) & (upper < 6)], rel=1e-12)
    limits = covsvc.limits("classical", covsvc.Counts(N, 1.0), 0.9)
    alone = np.flatnonzero(np.concatenate([[True], np.diff(s) > 0]) & np.concatenate([np.diff(s) > 0, [True]]))
    assert coverage[alone] == pytest.approx(brute_force(limits, s[alone], 1.0), abs=1e-12)


# two counts: the first from `first`, each with the probabilities `p_off` of the second


def brute_force_of_pairs(limits, first, p_off, s, mean_on):
    """Return coverage at each s: sums over n_off for each n_on, then over n_on; shape of s."""
    values = len(limits) // len(p_off)
    n_on = first + np.arange(values)
    found = []
    for some in np.array_split(s, len(s) // 500 + 1):
        inside = np.stack([covered(limits, each) for each in some])
        weight = inside.reshape(len(some), values, -1) @ p_off
        found.append((weight * stats.poisson.pmf(n_on, mean_on(some)[:, None])).sum(axis=1))
    return np.concatenate(found)


def around(limits, s_max, between):
    """Return points on both sides of each end, between each end and the next, and evenly spread."""
    ends = np.unique(np.concatenate([limits.lower, limits.upper, [0.0, s_max]]))
    ends = ends[(ends >= 0) & (ends <= s_max)]
    inner = (ends[:-1, None] + np.diff(ends)[:, None] * np.linspace(0, 1, between + 2)[1:-1]).ravel()
    points = np.concatenate([inner, ends - 1e-9, ends + 1e-9, [0.0, s_max], np.linspace(0, s_max, 501)])
    return points[(points >= 0) & (points <= s_max)]


STEP = {"above": 1e-9, "below": -1e-9, "at": 0.0}


@pytest.mark.parametrize("tau", [0.5, 5.0])
@pytest.mark.parametrize("b", [0.0, 0.8, 3.0])
@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("classical", Counts),
        ("cls", Counts),
        ("feldman_cousins", Counts),
        ("profile_likelihood", OnOff),
        ("q_mu_tilde", OnOff),
        ("bayes_uncertain_background", OnOff),
    ],
)
def test_the_worst_case_on_and_off_source_is_below_a_dense_scan_and_reached_by_it(name, view, b, tau):
    s_max = 7.0
    off, p_off = poisson(tau * b)
    n_on, n_off = (each.ravel() for each in np.meshgrid(np.arange(50), off, indexing="ij"))
    observed = OnOff(n_on, n_off, tau) if view is OnOff else Counts(n_on, n_off / tau)
    limits = covsvc.limits(name, observed, 0.9)
    worst = covsvc.worst_coverage(name, "on_off", b=b, cl=0.9, s_max=s_max, experiment={"tau": tau})

    def scan(s):
        return brute_force_of_pairs(limits, 0, p_off, s, lambda signal: signal + b)

    assert worst.coverage == pytest.approx(scan(around(limits, s_max, 3)).min(), abs=1e-8)
    assert scan(np.array([worst.s_true + STEP[worst.side]]))[0] == pytest.approx(worst.coverage, abs=1e-8)


def lattice(experiment, b, s_max):
    """Return the smallest n_on that matters, the number of its values, and the probabilities of n_off."""
    (low, off), (high, _) = experiment.counts(0.0, b), experiment.counts(s_max, b)
    return low.first, high.first + len(high.probability) - low.first, off.probability


def random_limits(rng, kind, size):
    """Return limits that no method sets, of all four statuses."""
    if kind == "few":  # long pieces, and what is covered has holes
        lower, upper = rng.choice([0.0, 1.5, 4.0], size), rng.choice([5.0, 9.0], size)
    elif kind == "shared":  # many outcomes share each end; one's upper end is the lower end of another
        lower = rng.integers(0, 40, size) / 8
        upper = lower + rng.integers(0, 40, size) / 8
    else:
        lower, width = rng.uniform(0, 6, size), rng.exponential(3.0, size)
        upper = lower + width
    status = rng.choice(4, size, p=[0.7, 0.1, 0.1, 0.1]).astype(np.int8)
    lower[status == 1] = upper[status == 1] = 0.0
    upper[status == 2] = np.inf
    lower[status == 3] = upper[status == 3] = np.nan
    return Limits(lower, upper, status)


@pytest.mark.parametrize("kind", ["few", "shared", "different"])
@pytest.mark.parametrize("seed", range(6))
def test_the_worst_case_of_limits_without_any_order_is_that_of_a_scan_of_all_pieces(seed, kind):
    rng = np.random.default_rng(seed)
    b, s_max, tau = float(rng.choice([0.0, 0.4, 2.0, 12.0])), 8.0, 1.5
    first, values, p_off = lattice(OnOffCounting(tau), b, s_max)
    limits = random_limits(rng, kind, values * len(p_off))
    coverage = Coverage(OnOffCounting(tau), first, limits, b)
    worst = coverage.worst(0.0, s_max)

    def scan(s):
        return brute_force_of_pairs(limits, first, p_off, s, lambda signal: signal + b)

    points = around(limits, s_max, 40 if kind == "few" else 4)
    assert worst.coverage <= scan(points).min() + 1e-8
    assert scan(np.array([worst.s_true + STEP[worst.side]]))[0] == pytest.approx(worst.coverage, abs=1e-8)
    # and at each end: it is closed, so that coverage there is at least that on both sides
    ends = np.unique(limits.upper[limits.status == 0])
    for s in ends[ends < s_max][:: max(1, len(ends) // 20)].tolist():
        here, below, above = coverage.at(s), coverage.below(s), coverage.above(s)
        assert here == pytest.approx(scan(np.array([s]))[0], abs=1e-12)
        assert max(below, above) <= here + 1e-14
        others = np.concatenate([limits.lower, limits.upper])
        if np.nanmin(np.abs(others[others != s] - s)) > 1e-7:
            assert [below, above] == pytest.approx(scan(np.array([s - 1e-8, s + 1e-8])), abs=3e-8)


def test_an_interior_minimum_between_two_jumps_is_found():
    # n_on <= 1 and n_on >= 6 cover, whatever n_off is; those between cover for n_off = 0 only: no end in 0 < s < 9
    experiment, b, s_max = OnOffCounting(2.0), 0.5, 9.0
    first, values, p_off = lattice(experiment, b, s_max)
    n_on = np.repeat(first + np.arange(values), len(p_off))
    n_off = np.tile(np.arange(len(p_off)), values)
    holds = (n_on <= 1) | (n_on >= 6) | (n_off == 0)
    limits = Limits(np.zeros(len(n_on)), np.where(holds, 99.0, 0.0), np.where(holds, 0, 1).astype(np.int8))
    worst = Coverage(experiment, first, limits, b).worst(0.0, s_max)
    s = np.linspace(0, s_max, 90001)
    # P(N_off = 0) = exp(-1): the rest of n_on = 2..5 is missed
    mean = s + b
    scan = 1 - (1 - np.exp(-1)) * (stats.poisson.cdf(5, mean) - stats.poisson.cdf(1, mean))
    assert worst.coverage == pytest.approx(scan.min(), abs=1e-9)
    assert worst.s_true == pytest.approx(s[scan.argmin()], abs=1e-3)
    assert worst.side == "at"


def test_an_interior_minimum_far_from_all_jumps_is_found_although_a_jump_is_low():
    # 3..7 never cover, odd counts above cover up to s = 20: coverage is 1 at s = 0, 0.2 inside, and 0.5 above 20
    upper = np.select([(N > 2) & (N < 8), (N > 7) & (N % 2 == 1)], [0.0, 20.0], 50.0)
    limits = Limits(np.zeros(200), upper, np.where(upper > 0, 0, 1).astype(np.int8))
    coverage = Coverage(Counting(), 0, limits, 0.0)
    worst = coverage.worst(0.0, 21.0)
    s = np.linspace(0, 21, 21001)
    scan = brute_force(limits, s, 0.0)
    assert coverage.above(20.0) == pytest.approx(0.5, abs=0.01)
    assert worst.coverage == pytest.approx(scan.min(), abs=1e-7)
    assert worst.coverage < 0.26
    assert worst.s_true == pytest.approx(s[scan.argmin()], abs=2e-3)


def test_the_worst_case_does_not_depend_on_how_many_jumps_are_followed_at_once(monkeypatch):
    rng = np.random.default_rng(7)
    b, s_max = 30.0, 10.0
    experiment = OnOffCounting(2.0)
    first, values, p_off = lattice(experiment, b, s_max)
    limits = random_limits(rng, "different", values * len(p_off))
    coverage = Coverage(experiment, first, limits, b)
    found = []
    for batch in (4096, 10**9, 700):
        monkeypatch.setattr(exact, "_BATCH", batch)
        steps = list(coverage.follow(0.0, s_max))
        assert max(len(step[0]) for step in steps) <= batch
        found.append([np.concatenate([step[part] for step in steps]) for part in range(4)])
    assert len(found[0][0]) > 4096
    for other in found[1:]:
        assert np.array_equal(found[0][0], other[0])
        assert found[0][1] == pytest.approx(other[1], abs=1e-12)
        assert found[0][2] == pytest.approx(other[2], abs=1e-12)
    some = np.linspace(0, len(found[0][0]) - 1, 60).astype(int)
    jumps = found[0][0][some]
    covered_below = brute_force_of_pairs(limits, first, p_off, jumps - 1e-12, lambda s: s + b)
    assert found[0][1][some] == pytest.approx(covered_below, abs=1e-11)


def test_nothing_and_everything_cover_everywhere():
    experiment, b = OnOffCounting(1.0), 1.0
    first, values, p_off = lattice(experiment, b, 5.0)
    size = values * len(p_off)
    for status, upper, coverage in ((1, 0.0, 0.0), (3, np.nan, 0.0), (2, np.inf, 1.0)):
        lower = np.full(size, np.nan if status == 3 else 0.0)
        limits = Limits(lower, np.full(size, upper), np.full(size, status, np.int8))
        worst = Coverage(experiment, first, limits, b).worst(0.0, 5.0)
        assert worst.coverage == pytest.approx(coverage, abs=1e-13)


def test_the_worst_case_at_one_signal_is_the_coverage_there():
    worst = covsvc.worst_coverage("cls", "on_off", b=1.0, cl=0.9, s_min=2.0, s_max=2.0, experiment={"tau": 2.0})
    there = covsvc.exact_coverage("cls", "on_off", s_true=[2.0], b=1.0, cl=0.9, experiment={"tau": 2.0})
    assert (worst.s_true, worst.side) == (2.0, "at")
    assert worst.coverage == pytest.approx(there.coverage.item(), abs=1e-14)


def test_limits_that_are_not_known_so_far_in_s_are_refused():
    experiment = OnOffCounting(1.0)
    first, values, p_off = lattice(experiment, 1.0, 2.0)
    limits = random_limits(np.random.default_rng(1), "different", values * len(p_off))
    with pytest.raises(ValueError, match="do not reach so far in s"):
        Coverage(experiment, first, limits, 1.0).at(9.0)


@pytest.mark.parametrize("name", ["cls", "feldman_cousins"])
def test_the_worst_case_with_a_background_of_its_own_in_each_experiment_is_that_of_a_scan(name):
    # b ~ Gamma of mean 2 and standard deviation 0.8: n is a negative binomial count plus a Poisson count of mean s
    b, r, s_max = 2.0, 0.4, 6.0
    n = np.arange(80)
    limits = covsvc.limits(name, Counts(n, b), 0.9)
    options = {"relative_b_error": r, "fluctuates": "b"}
    worst = covsvc.worst_coverage(name, "counting", b=b, cl=0.9, s_max=s_max, experiment=options)
    background = stats.nbinom.pmf(n, 1 / r**2, 1 / (1 + r**2 * b))

    def scan(s):
        chance = np.array([np.convolve(stats.poisson.pmf(n, each), background)[: len(n)] for each in s])
        return (chance * np.array([covered(limits, each) for each in s])).sum(axis=1)

    assert worst.coverage == pytest.approx(scan(around(limits, s_max, 20)).min(), abs=1e-8)
    assert scan(np.array([worst.s_true + STEP[worst.side]]))[0] == pytest.approx(worst.coverage, abs=1e-8)


def test_the_trace_of_two_counts_is_coverage_at_each_of_its_points():
    b, tau, s_max = 0.6, 1.0, 3.0
    experiment = OnOffCounting(tau)
    first, values, p_off = lattice(experiment, b, s_max)
    n_on = np.repeat(first + np.arange(values), len(p_off))
    n_off = np.tile(np.arange(len(p_off)), values)
    limits = covsvc.limits("cls", Counts(n_on, n_off / tau), 0.9)
    s, coverage = Coverage(experiment, first, limits, b).trace(0.0, s_max)
    assert (np.diff(s) >= 0).all()
    ends = np.unique(limits.upper[limits.status == 0])
    inside = ends[(ends > 0) & (ends < s_max)]
    twice = s[1:][np.diff(s) == 0]
    assert set(inside) <= set(twice)
    alone = ~np.isin(s, twice)
    scan = brute_force_of_pairs(limits, first, p_off, s[alone], lambda signal: signal + b)
    assert coverage[alone] == pytest.approx(scan, abs=1e-12)


def test_a_trace_of_too_many_jumps_keeps_the_lowest_and_the_highest_points():
    experiment, b, s_max = OnOffCounting(3.0), 20.0, 10.0
    first, values, p_off = lattice(experiment, b, s_max)
    limits = random_limits(np.random.default_rng(3), "different", values * len(p_off))
    coverage = Coverage(experiment, first, limits, b)
    s, heights = coverage.trace(0.0, s_max)
    assert len(s) <= 2 * 400
    assert (np.diff(s) >= 0).all()
    jumps = np.concatenate([np.stack(step[:3]) for step in coverage.follow(0.0, s_max)], axis=1)
    assert heights.min() <= jumps[1:].min()
    assert heights.max() >= jumps[1:].max()
    assert (s[0], s[-1]) == (pytest.approx(0.0, abs=s_max / 400), pytest.approx(s_max, abs=s_max / 400))


def test_the_same_cell_in_another_grid_has_the_same_bits():
    def cells(signals, b):
        found = covsvc.exact_coverage("cls", "on_off", s_true=signals, b=b, cl=0.9, experiment={"tau": 2.0})
        return {
            (float(at), float(s)): [float(found[name].sel(b=at, s_true=s)) for name in found]
            for at in b
            for s in signals
        }

    wide, narrow = cells([0.0, 1.5, 3.0, 40.0], [0.0, 0.7, 2.0]), cells([1.5, 2.0], [0.7, 5.0])
    assert wide[0.7, 1.5] == narrow[0.7, 1.5]
    assert wide[2.0, 0.0] == cells([0.0], [2.0])[2.0, 0.0]


def test_pairs_of_the_reference_add_up_to_one():
    assert pairs(7.3, 1200.0)[2].sum() == pytest.approx(1.0, abs=1e-13)
