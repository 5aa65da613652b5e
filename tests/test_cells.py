"""What a single cell of a stored study consists of."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from distribution import install
from scipy import stats

from covsvc import api, registry
from covsvc.api.cells import MOST_BINS, limit_distributions, quantile
from covsvc.errors import StoreError, StudyError
from covsvc.store.repository import open_ledger
from covsvc.study import study_of

ODD = '''
from dataclasses import dataclass
import numpy as np
from covsvc.contracts import Counts, one_sided

UPPER = np.array([0.0, 0.0005, 2e6, np.inf, -1.0, np.nan])

@dataclass(frozen=True)
class Odd:
    """Set a limit of another kind for each of the counts 0 to 5, and 2 n from there."""
    reads = (Counts,)
    sided = "upper"
    promises = "nothing"
    def limits(self, observed, cl):
        n = observed.n
        return one_sided(np.where(n < 6, UPPER[np.minimum(n, 5)], 2.0 * n))
'''
TOYS = 4000


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Store a study of 4000 toys a cell, with a method whose limits are of all kinds and one that always fails."""
    folder = tmp_path_factory.mktemp("site")
    points = "[covsvc.methods]\nodd = odd_plugin:Odd\n"
    install(folder, "odd", points, odd_plugin=ODD)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        registry.installed.cache_clear()
        place = str(tmp_path_factory.mktemp("store"))
        told = {
            "name": "counts",
            "experiment": "counting",
            "methods": ["classical", {"name": "odd", "label": "odd, <b>"}],
            "cl": [0.9, 0.95],
            "s_true": [0, 2.5],
            "b": [1, 3],
            "toys_per_block": 1000,
            "seed": 1999,
        }
        api.run(study_of(told | {"n_toys": 1000}), place, None)
        api.set_tag("counts", "quarter", place)
        api.run(study_of(told | {"n_toys": TOYS}), place, None)
        yield place
        registry.installed.cache_clear()
        sys.modules.pop("odd_plugin", None)


def agree(counts, p, n):
    """Tell whether multinomial counts agree with their probabilities: the smallest exact p times their number."""
    worst = min(stats.binomtest(int(count), n, each).pvalue for count, each in zip(counts, p, strict=True))
    return worst * len(p) > 0.01


def test_limits_of_counts_have_the_shares_of_poisson(store):
    """The classical limit of n counts is the 90 % quantile of the gamma distribution of shape n + 1, less b."""
    classical, _ = limit_distributions("counts", store, b=3, s_true=2.5, cl=0.9)
    n = np.arange(40)
    upper, p = stats.gamma.ppf(0.9, n + 1) - 3.0, stats.poisson.pmf(n, 5.5)
    edges, counts = np.array(classical["edges"]), np.rint(np.array(classical["shares"]) * TOYS)
    assert classical["n_toys"] == TOYS
    assert counts == pytest.approx(np.array(classical["shares"]) * TOYS, abs=1e-6)
    assert len(edges) == len(counts) + 1 <= MOST_BINS + 1
    assert counts.sum() + TOYS * classical["p_empty"] == TOYS
    own = np.searchsorted(edges, upper, side="right") - 1
    in_bins = np.bincount(own[(own >= 0) & (own < len(counts))], p[(own >= 0) & (own < len(counts))], len(counts))
    assert (counts[in_bins == 0] == 0).all()
    assert agree([*counts[in_bins > 0], TOYS * classical["p_empty"]], [*in_bins[in_bins > 0], p[upper < 0].sum()], TOYS)


def test_the_bins_are_those_of_the_cube_and_one_of_them_begins_at_the_true_signal(store):
    both = limit_distributions("counts", store, b=3, s_true=2.5, cl=0.9)
    cube = api.open_cube(store, "counts").sel(cl=0.9, b=3.0, s_true=2.5)
    fine = 1e-3 * 1.005 ** np.arange(4156)
    for told in both:
        edges = np.array(told["edges"])
        assert told["edges"] == both[0]["edges"]
        assert np.isin(edges, fine).all()
        nearest = edges[edges <= 2.5][-1]
        assert nearest * 1.005 > 2.5
        held = cube["limit_counts"].sel(limit_method=told["limit_method"]).to_numpy()
        summed = [held[2:-2][(fine[:-1] >= low) & (fine[:-1] < high)].sum() for low, high in itertools.pairwise(edges)]
        assert np.rint(np.array(told["shares"]) * TOYS).tolist() == summed
        assert sum(summed) == held[2:-2].sum()


def test_limits_that_are_no_numbers_between_the_edges_are_told_apart(store):
    """Of the counts 0 to 5: a limit of 0, one below 0.001, one above 10^6, none, an empty set, a failure."""
    _, odd = limit_distributions("counts", store, b=1, s_true=2.5, cl=0.9)
    assert odd["limit_method"] == "odd, <b>"
    names = ("p_zero", "p_below", "p_above", "p_unbounded", "p_empty", "p_failed")
    counts = [odd[name] * TOYS for name in names]
    assert counts == pytest.approx(np.rint(counts), abs=1e-6)
    assert sum(odd["shares"]) + sum(odd[name] for name in names) == pytest.approx(1.0, abs=1e-12)
    p = stats.poisson.pmf(np.arange(6), 3.5)
    assert agree([*np.rint(counts), round(sum(odd["shares"]) * TOYS)], [*p, 1.0 - p.sum()], TOYS)


def test_medians_are_those_of_the_maps(store):
    maps = api.maps_of(api.open_cube(store, "counts")).sel(cl=0.95, b=3.0, s_true=2.5)
    for told in limit_distributions("counts", store, b=3, s_true=2.5, cl=0.95):
        there = maps.sel(limit_method=told["limit_method"])
        for name in ("n_toys", "sigma_med", "sigma_med_low", "sigma_med_high", "exact_median_upper", "p_failed"):
            assert told[name] == there[name].item() or (np.isnan(told[name]) and np.isnan(there[name].item()))
        low, high = quantile(told, 0.5)
        assert low <= told["sigma_med"] <= high


def test_quantiles_lie_between_the_edges_that_hold_them(store):
    """At b = 1 and s_true = 2.5 counts are those of Poisson at 3.5: 0 to 4 have a share of 0.73, 5 fails, counts as inf."""
    classical, odd = limit_distributions("counts", store, b=1, s_true=2.5, cl=0.9)
    for share in (0.05, 0.5, 0.95):
        low, high = quantile(classical, share)
        assert low <= stats.gamma.ppf(0.9, stats.poisson.ppf(share, 3.5) + 1) - 1.0 < high
    cumulated = np.cumsum([odd["p_zero"] + odd["p_empty"], odd["p_below"]])
    assert quantile(odd, cumulated[0]) == (0.0, 0.0)
    assert quantile(odd, cumulated[1]) == (0.0, 0.001)
    low, high = quantile(odd, cumulated[1] + 1 / TOYS)
    assert low <= 12.0 < high
    assert quantile(odd, 1.0) == (np.inf, np.inf)


def test_an_earlier_commit_is_read(store):
    first, _ = limit_distributions("counts", store, b=3, s_true=2.5, cl=0.9, at="quarter")
    assert first["n_toys"] == 1000
    assert first["snapshot"] == api.open_cube(store, "counts", "quarter").attrs["snapshot"] != ""


def test_without_toys_nothing_is_invented(tmp_path, small_study):
    with open_ledger(tmp_path, small_study(methods=["classical"])) as ledger:  # as a run begins
        ledger.trust_engine()
    (told,) = limit_distributions("small", tmp_path, b=3, s_true=2.5, cl=0.9)
    assert (told["note"], told["n_toys"], told["edges"], told["shares"]) == ("no toys", 0, [], [])
    assert all(np.isnan(told[name]) for name in ("p_zero", "p_below", "p_above", "p_empty", "p_failed", "sigma_med"))
    assert np.isnan(quantile(told, 0.5)).all()


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"b": 2}, StudyError, "b = 2: not on the grid; there are 1, 3"),
        ({"s_true": 7}, StudyError, "s_true = 7: not on the grid"),
        ({"cl": 0.5}, StudyError, "cl = 0.5: not on the grid"),
        ({"at": "nothing"}, StoreError, "nothing"),
    ],
)
def test_what_is_not_there_is_refused(store, changed, error, message):
    with pytest.raises(error, match=message):
        limit_distributions("counts", store, **{"b": 1, "s_true": 0, "cl": 0.9} | changed)


def test_the_curve_between_the_nodes_is_exact(store):
    """The limit of no count is -ln 0.1 - b: just above it coverage is the probability of one count at least."""
    s_true, coverage = api.coverage_curve("counts", store, limit_method="classical", b=1, cl=0.9)
    first = np.log(10.0) - 1.0
    above = [each for at, each in zip(s_true, coverage, strict=True) if at == pytest.approx(first, abs=1e-9)]
    assert min(above) == pytest.approx(1.0 - np.exp(-np.log(10.0)), abs=1e-12)
    assert (s_true[0], s_true[-1]) == (0.0, 2.5)
    upper, n = stats.gamma.ppf(0.9, np.arange(80) + 1) - 1.0, np.arange(80)
    for at, each in zip(s_true, coverage, strict=True):
        if np.abs(upper - at).min() > 1e-6:
            assert each == pytest.approx(stats.poisson.pmf(n, at + 1.0)[upper >= at].sum(), abs=1e-9)


def test_there_is_no_curve_where_nothing_is_enumerable(plugins, tmp_path, small_study):
    api.run(small_study(experiment="drawn", methods=["classical"], n_toys=1000, s_true=[0, 1], b=[0]), tmp_path, None)
    assert api.coverage_curve("small", tmp_path, limit_method="classical", b=0, cl=0.9) is None
