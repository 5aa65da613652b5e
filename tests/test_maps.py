"""Maps: coverage, medians and flags, against scipy and toys drawn again with numpy."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import xarray as xr
from scipy import special, stats

from covsvc import api
from covsvc.contracts import one_sided
from covsvc.kernels.binomial import clopper_pearson
from covsvc.maps import CELLS, summarize
from covsvc.tally import EXACT, N_BINS, bin_of

STEP = 1.005  # upper over lower edge of a bin


# coverage and its interval


@pytest.mark.parametrize("n", [1, 2, 10, 1000, 10**6])
def test_the_interval_of_coverage_is_scipys_exact_one(n):
    x = np.unique(np.concatenate([[0, 1, n - 1, n], np.linspace(0, n, 12).astype(int)]))
    low, high = clopper_pearson(x, np.full_like(x, n))
    expected = [stats.binomtest(int(each), n).proportion_ci(0.95, method="exact") for each in x]
    # scipy searches its ends to an absolute 2e-12
    assert low == pytest.approx([each.low for each in expected], rel=1e-9, abs=2e-12)
    assert high == pytest.approx([each.high for each in expected], rel=1e-9)


def test_the_interval_at_its_ends_is_the_closed_form():
    # all or none of n: the bound p solves p^n = 0.025; one of n: (1 - p)^n = 0.975
    n = 40
    low, high = clopper_pearson(np.array([0, 1, n - 1, n]), np.full(4, n))
    assert (low[0], high[3]) == (0.0, 1.0)
    assert [high[0], 1 - low[3]] == pytest.approx([-math.expm1(math.log(0.025) / n)] * 2, rel=1e-12)
    assert [low[1], 1 - high[2]] == pytest.approx([-math.expm1(math.log(0.975) / n)] * 2, rel=1e-12)


def test_without_toys_the_interval_is_unknown():
    assert np.isnan(clopper_pearson(np.array([0]), np.array([0]))).all()


# cubes of toys which are drawn again here


def upper_ends(n, b):
    """Return the upper ends of three methods by their closed forms, negative where the set is empty."""
    return {
        "classical": lambda cl: special.gammainccinv(n + 1, 1 - cl) - b,
        "bayes_flat": lambda cl: special.gammainccinv(n + 1, (1 - cl) * special.gammaincc(n + 1, b)) - b,
        "garwood": lambda cl: special.gammainccinv(n + 1, (1 - cl) / 2) - b,
    }


@pytest.fixture
def closed(small_study):
    return small_study(methods=["classical", "bayes_flat", "garwood"])


@pytest.fixture
def maps(closed, tmp_path):
    return summarize(api.run(closed, tmp_path))


def toys(study, s_true, b):
    """Return the counts of a cell, from numpy alone."""
    blocks = study.source.blocks(s_true, b, 0, study.n_blocks)
    return np.concatenate([rng.poisson(s_true + b, study.toys_per_block) for rng in blocks])


def drawn_again(study):
    """Yield the place and the upper ends, in order, of every column of every cell."""
    for b in study.b:
        for s_true in study.s_true:
            n = toys(study, s_true, b)
            for name, limit in upper_ends(n, b).items():
                for cl in study.cl:
                    place = {"limit_method": name, "cl": cl, "b": b, "s_true": s_true}
                    yield place, limit(cl)


def test_coverage_and_rates_are_those_of_the_toys(closed, maps):
    for place, upper in drawn_again(closed):
        cell = maps.sel(place)
        assert cell["n_toys"] == upper.size == 5000
        assert cell["upper_coverage"] == np.mean((upper >= 0) & (upper >= place["s_true"]))
        assert cell["p_empty"] == np.mean(upper < 0)
        assert (cell["p_unbounded"], cell["p_failed"]) == (0, 0)
        if place["limit_method"] != "garwood":
            assert cell["coverage"] == cell["upper_coverage"]
        interval = stats.binomtest(int(cell["n_covered"]), 5000).proportion_ci(0.95, method="exact")
        assert (float(cell["coverage_low"]), float(cell["coverage_high"])) == pytest.approx(interval, rel=1e-9)


def test_the_median_is_that_of_the_toys_to_half_a_bin(closed, maps):
    half = math.sqrt(STEP) * (1 + 1e-9)
    for place, upper in drawn_again(closed):
        ends = np.sort(np.maximum(upper, 0.0))
        median = ends[(ends.size + 1) // 2 - 1]  # the smallest end with half of the toys at or below
        cell = maps.sel(place)
        assert cell["sigma_med_low"] <= median <= cell["sigma_med_high"]
        assert median / half <= cell["sigma_med"] <= median * half


def test_the_interval_of_the_median_lies_at_binomial_ranks_and_ends_at_edges_of_bins(closed, maps):
    n = closed.n_toys
    ranks = int(stats.binom.ppf(0.025, n, 0.5)), int(stats.binom.isf(0.025, n, 0.5)) + 1
    for place, upper in drawn_again(closed):
        first, last = np.sort(np.maximum(upper, 0.0))[[ranks[0] - 1, ranks[1] - 1]]
        low, high = (float(maps[f"sigma_med{end}"].sel(place)) for end in ("_low", "_high"))
        if first == 0:
            assert low == 0
        else:
            assert first / STEP * (1 - 1e-12) < low <= first
        assert (high == last == 0) or last < high <= last * STEP * (1 + 1e-12)
        for edge in (low, high):
            step = math.log(edge / 1e-3) / math.log(STEP) if edge else 0.0
            assert step == pytest.approx(round(step), abs=1e-6)


def test_the_exact_median_lies_in_the_interval_of_the_toys(closed, maps):
    # an interval misses with 5 % at most; the columns of a cell rise with the same n and share its toys, so cells are
    # what is independent: of 12, five or more miss with probability 1.8e-4
    exact = maps["exact_median_upper"]
    missed = (exact < maps["sigma_med_low"]) | (exact > maps["sigma_med_high"])
    for name, cl in ((name, cl) for name in upper_ends(0, 0) for cl in closed.cl):
        for b in closed.b:
            for s_true in closed.s_true:
                n = stats.poisson.median(s_true + b)  # the ends rise with n, so the median end is that of the median n
                end = max(float(upper_ends(n, b)[name](cl)), 0.0)
                at = {"limit_method": name, "cl": cl, "b": b, "s_true": s_true}
                assert float(exact.sel(at)) == pytest.approx(end, rel=1e-9, abs=1e-9)
    cells = int(missed.any(("limit_method", "cl")).sum())
    assert stats.binom.sf(cells - 1, 12, 0.05) >= 1e-3, cells


def test_the_ratio_to_the_true_signal_is_masked_where_there_is_none(closed, maps):
    for end in ("", "_low", "_high"):
        ratio = maps[f"sigma_med_over_true{end}"]
        assert np.isnan(ratio.sel(s_true=0)).all()
        expected = maps[f"sigma_med{end}"] / maps["s_true"]
        assert ratio.sel(s_true=[1, 2.5, 6]).equals(expected.sel(s_true=[1, 2.5, 6]).transpose(*CELLS))
    assert np.isnan(maps["exact_sigma_med_over_true"].sel(s_true=0)).all()
    assert np.isfinite(maps["exact_sigma_med_over_true"].sel(s_true=[1, 2.5, 6])).all()


def test_maps_say_what_they_are_made_of(closed, maps):
    told = json.loads(maps.attrs["provenance"])
    assert (told["seed"], told["toys_per_block"], told["numpy"]) == (1999, 1000, np.__version__)
    assert told["snapshot"] == maps.attrs["snapshot"]
    assert maps["sigma_med"].attrs == {"long_name": "median upper limit", "units": "events"}
    assert "units" not in maps["sigma_med_over_true"].attrs


# cubes made by hand


def cube_of(cells, *, cl=0.9, failed_blocks=0, toys_per_block=10, exact_coverage=None):
    """Return a cube of one method with one upper end a toy in each cell.

    `cells` maps s_true to upper ends: negative is empty, inf unbounded, NaN failed; no end at all is a hole.
    """
    s_true = np.array(list(cells), float)
    ends = [np.asarray(upper, float) for upper in cells.values()]
    bins = np.zeros((len(ends), N_BINS), np.int64)
    for row, upper in zip(bins, ends, strict=True):
        told = bin_of(one_sided(upper))
        np.add.at(row, told[told >= 0], 1)
    counts = {
        "n_toys": [upper.size for upper in ends],
        "n_covered": [np.sum((upper >= 0) & (upper >= s)) for s, upper in zip(s_true, ends, strict=True)],
        "n_empty": [np.sum(upper < 0) for upper in ends],
        "n_unbounded": [np.sum(upper == np.inf) for upper in ends],
        "n_failed": [np.isnan(upper).sum() for upper in ends],
    }
    counts["n_upper_covered"] = counts["n_covered"]
    status = np.zeros((len(ends), 20), np.int8)
    for row, upper in zip(status, ends, strict=True):
        row[: math.ceil(upper.size / toys_per_block)] = 1
    status[:, 20 - failed_blocks :] = 2
    unknown = np.full((1, 1, 1, len(ends)), np.nan)
    cube = xr.Dataset(
        {name: (CELLS, np.array(values, np.int64)[None, None, None]) for name, values in counts.items()}
        | {name: (CELLS, unknown.copy()) for name in EXACT}
        | dict.fromkeys(("worst_coverage", "worst_s_true", "worst_s_min", "worst_s_max"), (CELLS[:3], unknown[..., 0]))
        | {
            "limit_counts": ((*CELLS, "limit_bin"), bins[None, None, None]),
            "block_status": ((*CELLS, "block"), status[None, None, None]),
        },
        coords={"limit_method": ["by_hand"], "cl": [cl], "b": [0.0], "s_true": s_true},
        attrs={"source": json.dumps({"seed": 1, "toys_per_block": toys_per_block})},
    )
    if exact_coverage is not None:
        cube["exact_coverage"][0, 0, 0] = exact_coverage
    return cube


def map_of(*upper, **options):
    """Return the map of one cell at s_true = 1."""
    return summarize(cube_of({1.0: upper}, **options)).squeeze()


@pytest.mark.parametrize(
    ("upper", "median"),
    [
        ([-1, -1, 2], 0.0),
        ([0.0, -1, 2], 0.0),
        ([np.inf, 2, np.inf], np.inf),
        ([np.nan, 2, np.nan], np.inf),
        ([np.nan, np.inf, 2, 2, 2], 2.0),
        ([-1, 3, np.nan], 3.0),
        ([-1, -1, np.inf, np.nan], 0.0),
        ([np.nan, np.nan], np.inf),
        ([1, 2, 4, 8], 2.0),  # the smallest u with P(UL <= u) >= 1/2
    ],
)
def test_in_a_median_empty_counts_as_zero_unbounded_and_failed_as_infinity(upper, median):
    found = float(map_of(*upper)["sigma_med"])
    assert found == median or found == pytest.approx(median, rel=math.sqrt(STEP) - 1 + 1e-9)


def test_a_median_below_the_first_edge_is_the_middle_of_its_bin():
    cell = map_of(*[1e-4] * 9)
    assert (float(cell["sigma_med"]), float(cell["sigma_med_low"]), float(cell["sigma_med_high"])) == (5e-4, 0.0, 1e-3)


def test_an_interval_of_few_toys_reaches_to_where_there_is_no_toy():
    # of five toys none or all lie below the median with 1/32 each, more than the 2.5 % a side: no end is known
    cell = map_of(1, 2, 3, 4, 5)
    assert stats.binom.ppf(0.025, 5, 0.5) == 0
    assert (float(cell["sigma_med_low"]), float(cell["sigma_med_high"])) == (0.0, np.inf)
    # of six 1/64: the ends are the smallest and the largest
    cell = map_of(1, 2, 3, 4, 5, 6)
    assert 1 / STEP < float(cell["sigma_med_low"]) <= 1 < 6 < float(cell["sigma_med_high"]) <= 6 * STEP


def test_toys_of_failed_blocks_are_toys_whose_limit_failed():
    cell = map_of(*[2.0] * 30, *[0.5] * 10, failed_blocks=6)
    assert (int(cell["n_toys"]), int(cell["n_covered"])) == (100, 30)
    assert (float(cell["coverage"]), float(cell["p_failed"]), float(cell["upper_coverage"])) == (0.3, 0.6, 0.3)
    assert float(cell["sigma_med"]) == np.inf
    interval = stats.binomtest(30, 100).proportion_ci(0.95, method="exact")
    assert float(cell["coverage_high"]) == pytest.approx(interval.high, rel=1e-9)
    added = map_of(*[2.0] * 30, *[np.nan] * 10, failed_blocks=6)
    assert float(added["p_failed"]) == 0.7


def test_a_hole_is_unknown_and_never_zero():
    maps = summarize(cube_of({0.0: [1.0] * 10, 1.0: [], 2.0: [3.0] * 10}))
    hole = maps.sel(s_true=1.0).squeeze()
    unknown = [
        *("coverage", "coverage_low", "coverage_high", "upper_coverage", "p_empty", "p_unbounded", "p_failed"),
        *(f"sigma_med{ratio}{end}" for ratio in ("", "_over_true") for end in ("", "_low", "_high")),
    ]
    assert {name: float(hole[name]) for name in unknown} == pytest.approx(dict.fromkeys(unknown, np.nan), nan_ok=True)
    assert (int(hole["n_toys"]), bool(hole["under_significant"])) == (0, False)
    assert np.isfinite(maps["coverage"].sel(s_true=[0.0, 2.0])).all()


def test_exact_coverage_is_under_when_it_is_more_than_1e_9_below():
    maps = summarize(cube_of({0.0: [], 1.0: [], 2.0: [], 3.0: []}, exact_coverage=[0.9, 0.9 - 1e-10, 0.9 - 2e-9, 0.95]))
    assert maps["under_significant"].values.ravel().tolist() == [False, False, True, False]


def test_where_coverage_is_exact_toys_do_not_flag():
    maps = summarize(cube_of({1.0: [0.5] * 100}, exact_coverage=[0.9]))
    assert (float(maps["coverage"].squeeze()), bool(maps["under_significant"].squeeze())) == (0.0, False)


def counted(covered, n, cl=0.9):
    """Return a cube in which of n toys a cell so many are covered."""
    cells = {1.0 + i: np.r_[np.full(x, 1e3), np.zeros(n - x)] for i, x in enumerate(covered)}
    return cube_of(cells, cl=cl, toys_per_block=n)


def benjamini_hochberg(p, rate):
    """Return what is rejected: the k smallest, k the largest with p_(k) <= k rate/m (JRSS B 57 (1995) 289, Eq. 1)."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    k = max((i + 1 for i in range(len(p)) if p[order[i]] <= (i + 1) * rate / len(p)), default=0)
    return [i in order[:k] for i in range(len(p))]


def test_toys_flag_cells_by_benjamini_and_hochberg_at_5_percent():
    covered = [900, 881, 878, 876, 872, 920, 850, 893, 886, 883, 884, 882]
    p = stats.binom.cdf(covered, 1000, 0.9).tolist()
    expected = benjamini_hochberg(p, 0.05)
    assert 0 < sum(expected) < sum(each < 0.05 for each in p)  # the correction matters
    assert sum(expected) > sum(each < 0.05 / len(p) for each in p)  # and it is not Bonferroni's
    assert summarize(counted(covered, 1000))["under_significant"].values.ravel().tolist() == expected


@pytest.mark.parametrize("cl", [0.5, 0.68, 0.9, 0.95, 0.99])
def test_coverage_at_nominal_is_not_flagged(cl):
    assert not summarize(counted([round(1000 * cl)] * 12, 1000, cl))["under_significant"].any()


def test_methods_that_cover_are_flagged_as_seldom_as_promised():
    # false discoveries at 5 %, where all is nominal, mean a flag anywhere in 5 % of the maps: 60 maps, width 1e-3
    rng = np.random.default_rng(1999)
    flagged = sum(
        bool(summarize(counted(rng.binomial(1000, 0.9, 12), 1000))["under_significant"].any()) for _ in range(60)
    )
    assert stats.binom.sf(flagged - 1, 60, 0.05) >= 1e-3, flagged


def test_toys_of_an_experiment_without_outcomes_are_flagged_cell_by_cell(plugins, small_study, tmp_path):
    study = small_study(experiment="drawn", methods=["too_low", "classical"], cl=0.9)
    maps = summarize(api.run(study, tmp_path / "store"))
    assert np.isnan(maps["exact_coverage"]).all()
    p = stats.binom.cdf(maps["n_covered"].values.ravel(), 5000, 0.9).tolist()
    assert maps["under_significant"].values.ravel().tolist() == benjamini_hochberg(p, 0.05)
    # n - b >= s_true has probability below 0.63 for s_true >= 1, whatever b
    assert maps["under_significant"].sel(limit_method="too_low", s_true=[1, 2.5, 6]).all()
    assert not maps["under_significant"].sel(limit_method="classical").any()
