"""What one method at one confidence level comes to."""

from __future__ import annotations

import numpy as np
import pytest

from covsvc.report.column import columns
from covsvc.report.coverage_map import describe_lowest


def column_of(maps):
    return next(iter(columns(maps)))


@pytest.fixture
def maps(make_maps):
    return make_maps({"classical": "upper"}, cl=(0.9,), b=(0.0, 3.0), s_true=(0.0, 1.0, 2.0))


def test_exact_coverage_is_painted_where_it_is_known(maps):
    exact = maps["exact_coverage"].where(maps["b"] > 0)
    column = column_of(maps.assign(exact_coverage=exact))
    np.testing.assert_array_equal(column.coverage[0], maps["coverage"].to_numpy()[0, 0, 0])
    np.testing.assert_array_equal(column.coverage[1], maps["exact_coverage"].to_numpy()[0, 0, 1])
    assert column.exact.tolist() == [[False] * 3, [True] * 3]


def test_worst_coverage_is_the_searched_one(maps):
    searched = maps["worst_coverage"].copy(data=[[[0.91, 0.85]]])
    worst = column_of(maps.assign(worst_coverage=searched)).worst
    assert (worst.value, worst.b, worst.source) == (0.85, 3.0, "exact")


def test_worst_coverage_from_toys_says_so(make_maps):
    maps = make_maps({"classical": "upper"}, cl=(0.9,), b=(0.0, 3.0), s_true=(1.0, 2.0), exact=False)
    maps["coverage"][0, 0, 1, 0] = 0.5
    worst = column_of(maps).worst
    assert (worst.value, worst.s_true, worst.b, worst.source) == (0.5, 1.0, 3.0, "toys at the grid")


def test_lowest_coverage_of_the_grid_is_told_and_what_is_lower_between_its_values(make_maps):
    maps = make_maps({"classical": "upper"}, cl=(0.9,), b=(0.0, 3.0), s_true=(0.0, 1.0, 2.0), exact=False)
    maps["coverage"][0, 0, 1, 2] = 0.5
    column = column_of(maps)
    assert column.lowest == (1, 2)
    assert describe_lowest(column) == "Lowest coverage 0.5000 at s_true = 2, b = 3."
    lower = column_of(maps.assign(worst_coverage=maps["worst_coverage"].copy(data=[[[0.91, 0.25]]])))
    assert describe_lowest(lower).startswith("Lowest coverage on the grid 0.5000 at s_true = 2, b = 3; between its ")
    unknown = column_of(maps.assign({name: maps[name] * np.nan for name in ("coverage", "exact_coverage")}))
    assert (unknown.lowest, describe_lowest(unknown)) == (None, "")


def test_unsorted_axes_are_sorted(make_maps):
    maps = make_maps({"classical": "upper"}, cl=(0.9,), b=(3.0, 0.0), s_true=(2.0, 0.0, 1.0))
    column = column_of(maps)
    assert column.b.tolist() == [0.0, 3.0]
    assert column.s_true.tolist() == [0.0, 1.0, 2.0]
    assert column.coverage[1, 2] == maps["exact_coverage"].sel(b=3.0, s_true=2.0).item()


def test_median_ratio_leaves_out_zero_signal_and_infinity(maps):
    ratio = maps["exact_sigma_med_over_true"].copy(data=[[[[9.0, 2.0, np.inf], [9.0, 3.0, np.nan]]]])
    assert column_of(maps.assign(exact_sigma_med_over_true=ratio)).median_sigma == 2.5


def test_rate_is_the_highest_and_says_where(maps):
    rate = column_of(maps).rate("empty")
    assert (rate.value, rate.s_true, rate.b) == (pytest.approx(float(np.exp(-3))), 0.0, 3.0)


def test_agreement_counts_cells_with_both(maps):
    low = maps["coverage_low"].copy(data=[[[[0.0, 0.0, 0.0], [0.0, 2.0, np.nan]]]])
    assert column_of(maps.assign(coverage_low=low, coverage_high=low * 0 + 1)).agreement() == (4, 5)
