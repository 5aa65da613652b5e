"""Maps of what a change did."""

from __future__ import annotations

import numpy as np
import pytest
import validations
from scipy import stats

from covsvc.report.column import columns
from covsvc.report.difference_map import (
    Difference,
    coverage_cells,
    describe_coverage_difference,
    describe_marks,
    describe_median_ratio,
    difference_of,
    differences,
    draw_coverage_difference,
    draw_median_ratio,
    median_cells,
)

GRID = {"cl": (0.9,), "b": (0.0, 3.0), "s_true": (0.0, 1.0, 2.5, 5.0)}
N = np.arange(80)


def upper_limits(b):
    """Return the classical limits of counts, and those of a prior 1/sqrt(s + b), which are lower."""
    return stats.gamma.ppf(0.9, N + 1) - b, np.maximum(stats.gamma.ppf(0.9, N + 0.5) - b, 0.3)


def paired(make_maps, now="low", before="upper", findings=(), margin=0.005, grid=GRID, exact=True):
    maps, baseline = (make_maps({"one": kind}, **grid, exact=exact) for kind in (now, before))
    (difference,) = differences(maps, baseline, list(findings), margin)
    return difference


def test_coverage_changes_by_the_probability_of_the_counts_that_no_longer_cover(make_maps):
    difference = paired(make_maps)
    for row, b in enumerate(GRID["b"]):
        for cell, s in enumerate(GRID["s_true"]):
            before, now = (stats.poisson.pmf(N[upper >= s], s + b).sum() for upper in upper_limits(b))
            assert difference.coverage[row, cell] == pytest.approx(now - before, abs=1e-12)
    assert difference.source == "exact"


def test_medians_are_divided_where_there_is_no_signal_too(make_maps):
    difference = paired(make_maps)
    for row, b in enumerate(GRID["b"]):
        for cell, s in enumerate(GRID["s_true"]):
            count = int(stats.poisson.median(s + b)) if s + b else 0
            before, now = (max(upper[count], 0.0) for upper in upper_limits(b))
            assert difference.median_ratio[row, cell] == pytest.approx(now / before, rel=1e-9)


def test_toys_stand_in_where_nothing_is_exact(make_maps):
    difference = paired(make_maps, exact=False)
    covered = difference.candidate.values("coverage") - difference.baseline.values("coverage")
    np.testing.assert_array_equal(difference.coverage, covered)
    assert difference.source == "toys"
    assert not difference.marked.any()
    assert np.isfinite(difference.median_ratio).all()


def test_only_what_fell_by_more_than_the_margin_to_below_cl_is_marked(make_maps):
    difference = paired(make_maps)
    now = difference.candidate.values("exact_coverage")
    fell = difference.coverage < -0.005
    assert difference.marked.any()
    np.testing.assert_array_equal(difference.marked, fell & (now < 0.9))
    assert not paired(make_maps, margin=0.4).marked.any()
    assert not paired(make_maps, now="upper", before="low").marked.any()


@pytest.mark.parametrize(("s_true", "cell"), [(0.0, 0), (0.49, 0), (0.51, 1), (2.31, 2), (5.0, 3), (6.0, 3)])
def test_a_finding_between_nodes_marks_the_cell_that_holds_it(make_maps, s_true, cell):
    found = validations.finding(label="one", s_true=s_true, b=3.0)
    others = [
        validations.finding(label="another", s_true=0.0, b=0.0),
        validations.finding(label="one", cl=0.95, s_true=0.0, b=0.0),
        validations.finding("warning", label="one", s_true=0.0, b=0.0),
        validations.finding(label="one", s_true=None, b=None),
    ]
    difference = paired(make_maps, "upper", findings=[found, *others])
    assert np.argwhere(difference.marked).tolist() == [[1, cell]]


def test_columns_and_cells_of_one_side_alone_are_left_out(make_maps):
    wide = GRID | {"s_true": (0.0, 1.0, 2.5, 4.0, 5.0), "b": (0.0, 1.0, 3.0)}
    maps = make_maps({"one": "upper", "new": "two"}, **GRID)
    baseline = make_maps({"gone": "two", "one": "upper"}, **wide)
    (difference,) = differences(maps, baseline, [], 0.005)
    assert difference.candidate.label == "one"
    assert (difference.candidate.s_true == GRID["s_true"]).all()
    assert (difference.coverage == 0).all()
    assert (difference.median_ratio == 1).all()
    apart = make_maps({"one": "upper"}, **GRID | {"b": (7.0,)})
    assert list(differences(maps, apart, [], 0.005)) == []


def test_any_two_columns_are_compared_on_the_cells_that_both_have(make_maps):
    wide = GRID | {"s_true": (0.0, 1.0, 2.5, 4.0, 5.0), "b": (0.0, 1.0, 3.0)}
    (one,), (other,) = (
        list(columns(make_maps({kind: kind}, **grid, exact=True))) for kind, grid in (("low", GRID), ("upper", wide))
    )
    difference = difference_of(one, other, ("low", "upper"), 0.005)
    np.testing.assert_array_equal(difference.coverage, paired(make_maps).coverage)
    np.testing.assert_array_equal(difference.median_ratio, paired(make_maps).median_ratio)
    assert "Map of the coverage of low less that of upper at cl = 0.9. From" in describe_coverage_difference(difference)
    assert "Map of the median limit of low over that of upper at cl = 0.9." in describe_median_ratio(difference)
    (apart,) = columns(make_maps({"upper": "upper"}, **GRID | {"b": (7.0,)}))
    assert difference_of(one, apart, ("low", "upper"), 0.005) is None


def test_scales_are_symmetric_and_reach_to_the_largest_change(make_maps):
    difference = paired(make_maps)
    ticks, names = difference.coverage_ticks
    assert ticks[-1] == -ticks[0] == np.abs(difference.coverage).max()
    assert names[2] == "0"
    ends = difference.median_ticks[0]
    largest = np.exp(np.abs(np.log(difference.median_ratio)).max())
    assert ends[-1] == pytest.approx(largest)
    assert ends[0] * ends[-1] == pytest.approx(1)
    same = paired(make_maps, "upper")
    assert (same.coverage_ticks[0][-1], same.median_ticks[0][-1]) == (0.01, 1.01)


def changed(make_maps, **values):
    """Return a difference some of whose values are given; the others are the baseline's."""
    difference = paired(make_maps, "upper")
    maps = difference.candidate.maps.copy(deep=True)
    for name, (row, cell, value) in values.items():
        maps[name][row, cell] = value
    candidate = type(difference.candidate)("one", 0.9, difference.candidate.s_true, difference.candidate.b, maps)
    return Difference(candidate, difference.baseline, 0.005, difference.named)


def test_a_median_that_became_unbounded_is_crossed_and_no_number(make_maps):
    difference = changed(make_maps, exact_median_upper=(0, 1, np.inf))
    assert difference.median_ratio[0, 1] == np.inf
    figure = draw_median_ratio(difference)
    assert "Crossed: unbounded now (1)." in [text.get_text() for text in figure.texts]
    assert "∞" in dict(median_cells(difference))["1"]


def test_unbounded_and_zero_medians_that_stay_are_no_change(make_maps):
    for same in (np.inf, 0.0):
        difference = changed(make_maps, exact_median_upper=(0, 1, same))
        baseline = difference.baseline.maps.copy(deep=True)
        baseline["exact_median_upper"][0, 1] = same
        column = type(difference.baseline)("one", 0.9, difference.baseline.s_true, difference.baseline.b, baseline)
        assert (Difference(difference.candidate, column, 0.005, difference.named).median_ratio == 1).all()


def test_a_cell_without_a_value_is_grey_and_said(make_maps):
    difference = changed(make_maps, exact_coverage=(1, 2, np.nan), coverage=(1, 2, np.nan))
    assert "Grey: no value (1)." in describe_marks(difference)
    assert dict(coverage_cells(difference))["2.5"][1] == "– (–)"


def test_words_say_the_extremes(make_maps):
    difference = paired(make_maps)
    low, high = difference.coverage.min(), difference.coverage.max()
    said = describe_coverage_difference(difference)
    assert f"From −{-low:.3g} at" in said
    assert f"to {high:+.3g} at" in said
    ratio = difference.median_ratio
    assert f"From {ratio.min():.4g} at" in describe_median_ratio(difference)
    column = difference.candidate
    nothing = type(column)("one", 0.9, column.s_true, column.b, column.maps * np.nan)
    empty = Difference(nothing, difference.baseline, 0.005, difference.named)
    assert "It has no values." in describe_coverage_difference(empty)
    assert "It has no values." in describe_median_ratio(empty)
    draw_coverage_difference(empty)
    draw_median_ratio(empty)


def test_tables_say_coverage_and_its_change(make_maps):
    rows = coverage_cells(paired(make_maps, "upper"))
    assert [row for row, _ in rows] == ["0", "1", "2.5", "5"]
    assert rows[0][1][0] == "1.0000 (0)"
    cell = float(stats.poisson.pmf(N[upper_limits(0.0)[0] >= 5.0], 5.0).sum())
    assert rows[3][1][0] == f"{cell:.4f} (0)"


def ends_of(figure):
    return [tick.get_text() for tick in figure.axes[1].get_yticklabels()]


def test_scales_do_not_blow_up_what_is_nothing(make_maps):
    same = paired(make_maps, "upper")
    assert ends_of(draw_coverage_difference(same)) == ["−0.01", "−0.005", "0", "+0.005", "+0.01"]
    assert ends_of(draw_median_ratio(same)) == ["0.9901", "0.995", "1", "1.005", "1.01"]


def test_scales_reach_to_the_largest_change(make_maps):
    difference = paired(make_maps)
    largest = np.abs(difference.coverage).max()
    assert ends_of(draw_coverage_difference(difference))[-1] == f"{largest:+.2g}"
    ratio = difference.median_ratio
    assert ends_of(draw_median_ratio(difference))[0] == f"{min(ratio.min(), 1 / ratio.max()):.4g}"


@pytest.mark.parametrize(
    "grid",
    [GRID, GRID | {"b": (3.0,), "s_true": (2.0,)}, GRID | {"b": tuple(np.linspace(0, 30, 20))}],
    ids=["some", "one cell", "many backgrounds"],
)
def test_no_text_is_cut_or_covered(make_maps, clashes, grid):
    difference = paired(make_maps, findings=[validations.finding(label="one")], grid=grid)
    assert clashes(draw_coverage_difference(difference)) == []
    assert clashes(draw_median_ratio(difference)) == []
