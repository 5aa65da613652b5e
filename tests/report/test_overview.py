"""What a page says of all methods at once: their common cells, their small maps, and what could be seen."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from matplotlib.image import imread

from covsvc.report.column import columns
from covsvc.report.common_cells import compare_common
from covsvc.report.glance import glance
from covsvc.report.seen import sight_sentences
from covsvc.report.toys_drawn import drawn_sentences

GRID = {"cl": (0.9,), "b": (0.0, 3.0), "s_true": (0.0, 1.0, 2.0, 5.0)}
KINDS = {"classical": "upper", "low": "low"}


@pytest.fixture(scope="module")
def maps(make_maps):
    return make_maps(KINDS, **GRID)


def picture_of(data):
    return imread(io.BytesIO(base64.b64decode(data)), format="png")


def test_methods_are_compared_on_the_cells_that_all_have(maps):
    hole = (maps["limit_method"] == "classical") & (maps["s_true"] == 1.0) & (maps["b"] == 3.0)
    names = ("coverage", "exact_coverage")
    cut = maps.assign({name: maps[name].where(~hole) for name in names}).assign_attrs(maps.attrs)
    common = compare_common(list(columns(cut)), {"low": {"sided": "two"}})
    assert (common.cells, common.strong, common.every) == (7, 5, 8)
    row = common.rows[1]
    kept = ~(hole.any("limit_method")) & (maps["s_true"] >= 0)
    coverage = maps["exact_coverage"].sel(limit_method="low", cl=0.9).where(kept).values.ravel()
    coverage = np.sort(coverage[np.isfinite(coverage)])
    assert len(coverage) == 7
    assert (row["lowest"], row["middle"], row["highest"]) == tuple(f"{coverage[i]:.4f}" for i in (0, 3, 6))
    assert row["low"] == "low"
    assert row["two"] == "two-sided"
    ratio = maps["exact_sigma_med_over_true"].sel(limit_method="low", cl=0.9).where(kept & (maps["s_true"] > 0))
    assert row["sigma"] == f"{float(ratio.median()):.3g}"


def test_a_method_without_values_is_not_compared(maps):
    empty = maps.where(maps["limit_method"] != "low").assign_attrs(maps.attrs)
    empty = empty.assign(under_significant=maps["under_significant"])
    assert compare_common(list(columns(empty)), {}) is None


def test_a_method_that_is_never_bounded_leaves_the_others_their_medians(maps):
    never = maps.assign(
        exact_sigma_med_over_true=maps["exact_sigma_med_over_true"].where(maps["limit_method"] != "low", np.inf)
    ).assign_attrs(maps.attrs)
    common = compare_common(list(columns(never)), {})
    assert common.strong == 6
    assert common.rows[0]["sigma"] != "–"
    assert common.rows[1]["sigma"] == "–"


def test_small_maps_are_the_maps_upside_up(maps):
    shown = glance(list(columns(maps)), 1.0, 10.0)
    assert [each["label"] for each in shown] == ["classical", "low"]
    pixels = picture_of(shown[0]["coverage"])[..., :3]
    down, across = pixels.shape[0] // 2, pixels.shape[1] // 4
    covered = maps["exact_coverage"].sel(limit_method="classical", cl=0.9)
    for row, b in enumerate((3.0, 0.0)):
        for column, s in enumerate(GRID["s_true"]):
            middle = pixels[row * down + down // 2, column * across + across // 2]
            over = float(covered.sel(b=b, s_true=s)) - 0.9
            assert middle[2] - middle[0] == pytest.approx(0, abs=0.01) if over < 1e-3 else middle[2] > middle[0] + 0.01


def test_cells_below_cl_have_a_black_rim(maps):
    shown = glance(list(columns(maps)), 1.0, 10.0)
    black = [(picture_of(each["coverage"])[..., :3].sum(axis=-1) == 0).any() for each in shown]
    under = maps["under_significant"].sel(cl=0.9).any(["b", "s_true"]).values.tolist()
    assert black == under == [False, True]
    below = int((maps["exact_coverage"].sel(limit_method="low", cl=0.9) < 0.9 - 1e-9).sum())
    assert shown[1]["said"].endswith(f"of 8 cells below cl, {below} significantly")


def test_small_maps_without_values_are_grey_and_say_so(maps):
    empty = (maps * np.nan).assign(under_significant=maps["under_significant"] & False).assign_attrs(maps.attrs)
    shown = glance(list(columns(empty)), 1.0, 10.0)
    assert shown[0]["said"] == "classical at cl = 0.9: no values"
    pixels = picture_of(shown[0]["coverage"])[..., :3]
    assert np.ptp(pixels.reshape(-1, 3), axis=0).max() == 0


def test_exact_columns_hide_no_deficit_and_toys_do(maps, make_maps):
    methods = {"classical": {"promises": "at_least"}, "low": {"promises": "nothing"}}
    exact = " ".join(sight_sentences(list(columns(maps)), methods, "Toys tell."))
    assert "All 2 columns are exact" in exact
    assert "known from toys" not in exact
    assert "Toys tell." in exact
    assert "1 of 2 columns promise at least cl and were judged" in exact
    assert "s_true = 0 to 5 and b = 0 to 3" in exact
    toys = make_maps({"classical": "upper"}, **GRID | {"b": (3.0,)}, exact=False)
    said = " ".join(sight_sentences(list(columns(toys)), methods, ""))
    assert "The only column is known from toys" in said
    assert "b = 3, or" in said
    nodes = maps.assign(worst_coverage=maps["worst_coverage"] * np.nan).assign_attrs(maps.attrs)
    assert "exact at the nodes of the grid only" in " ".join(sight_sentences(list(columns(nodes)), methods, ""))


def test_toys_of_a_given_number_are_told(maps):
    said = " ".join(drawn_sentences(maps))
    assert "80,000 toys were drawn in 8 cells, 10,000 in each." in said
    assert "All 2 columns set their limits on the same toys." in said
    width = (maps["coverage_high"] - maps["coverage_low"]).values / 2
    assert f"at most {width.max():.2g})" in said
    assert "processor time" not in said


def test_missing_toys_are_told(maps):
    undrawn = (maps["b"] == 3.0) & (maps["s_true"] > 1.0)
    failed = (maps["limit_method"] == "low") & (maps["b"] == 0.0) & (maps["s_true"] == 0.0)
    toys = maps["n_toys"].where(~undrawn, 0).where(~failed, 5_000).astype(int)
    told = {"toys": 90_000, "wall_seconds": 2.0, "cpu_seconds": 3.25}
    cut = maps.assign(n_toys=toys).assign_attrs(maps.attrs | {"provenance": json.dumps(told)})
    said = " ".join(drawn_sentences(cut))
    assert "60,000 toys were drawn in 6 cells" in said
    assert "2 of 8 cells have none yet" in said
    assert "In 1 test (a cell in a column) the column has limits on fewer of them." in said
    assert "drew 90,000 toys in 2 s, with 3.25 s of processor time" in said


def test_no_toys_are_no_failure(maps):
    assert drawn_sentences(maps.assign(n_toys=maps["n_toys"] * 0)) == [
        "No toys were drawn: what this page shows of coverage was summed over all outcomes."
    ]
