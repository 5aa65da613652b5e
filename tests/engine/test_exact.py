"""Exact coverage: between the nodes of a grid, and against independent sums."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import covsvc
from covsvc.errors import StudyError

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


def test_a_covered_set_with_a_hole_is_searched_inside(monkeypatch):
    from covsvc.contracts import Limits
    from covsvc.engine.exact import find_worst
    from covsvc.experiments.counting import Counting

    # counts 0..2 and 8.. cover everything, 3..7 nothing: coverage dips where they are most probable
    upper = np.where((N < 3) | (N > 7), 50.0, 0.0)
    limits = Limits(np.zeros(200), upper, np.where(upper > 0, 0, 1).astype(np.int8))
    worst = find_worst(Counting(), 0, 0, limits, 0.0, 20.0)
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
