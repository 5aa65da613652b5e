"""The trend figure: what its lines, numbers and marks say, and that all of it can be read."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from covsvc.report.picture import drawing
from covsvc.report.trend_plot import BETTER, QUANTITIES, WORSE, draw_trend, write_trend

DIMS = ("baseline", "limit_method", "cl")
LONG = (
    "bayes_uncertain_background",
    "sampling_distribution(procedure=clsb, p_value=inclusive)",
    "sampling_distribution(statistic=t_mu_tilde, nuisances=nominal, procedure=clsb, n_toys=2000, p_value=mid)",
    "a_name_of_one_hundred_letters" * 4,
    "$x_1$ and 100 %",
)
COVERAGE, RATIO, SPEED = QUANTITIES


def trend_of(count=4, labels=("classical", "cls"), cl=(0.9,), **values):
    """Return a trend in which nothing changes but what `values` say of the first method."""
    shape = (count, len(labels), len(cl))
    found = {"worst_coverage": 0.91, "median_ratio": 2.0, "toys_per_second": 1e5}
    arrays = {name: np.full(shape, value) for name, value in found.items()}
    for name, given in values.items():
        arrays[name][:, 0, :] = np.array(given)[:, None]
    return xr.Dataset(
        {name: (DIMS, array) for name, array in arrays.items()},
        coords={
            "limit_method": list(labels),
            "cl": list(cl),
            "name": ("baseline", [f"v1.{at}" for at in range(count)]),
            "accepted_at": ("baseline", [f"2026-11-{1 + at % 28:02d}T10:00:00+00:00" for at in range(count)]),
            "same_study": ("baseline", np.ones(count, bool)),
        },
        attrs={"study": "nightly"},
    )


def marks_of(figure):
    """Return place among the baselines, marker, and whether it is worse, of each mark, from left to right."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() in ("^", "v")]
    for line in lines:
        assert line.get_markerfacecolor() == (WORSE if line.get_color() == WORSE else "white")
        assert line.get_color() in (WORSE, BETTER)
    return [
        (line.get_marker(), line.get_color() == WORSE) for line in sorted(lines, key=lambda line: line.get_xdata()[0])
    ]


def texts(figure):
    return [text.get_text() for text in figure.texts]


@pytest.mark.parametrize(
    ("quantity", "values", "changes"),
    [
        (COVERAGE, [0.91, 0.9051, 0.91, 0.905, 0.90], [(3, -1), (4, -1)]),
        (COVERAGE, [0.9, 0.92, np.nan, 0.9], [(1, 1), (3, -1)]),
        (RATIO, [2.0, 2.019, 2.04, 2.0], [(2, 1), (3, -1)]),
        (RATIO, [2.0, np.inf, 2.0, 1.9], [(3, -1)]),
        (SPEED, [1000, 1400, 900, 1350], [(2, -1), (3, 1)]),
        (SPEED, [np.nan, np.nan], []),
    ],
)
def test_a_change_is_one_of_a_size_that_matters(quantity, values, changes):
    same = np.ones(len(values), bool)
    assert quantity.changes(np.array(values), same) == changes


def test_coverage_and_medians_of_other_grids_are_not_compared_and_speeds_are():
    same = np.array([True, False])
    assert COVERAGE.changes(np.array([0.9, 0.8]), same) == []
    assert RATIO.changes(np.array([2.0, 3.0]), same) == []
    assert SPEED.changes(np.array([100.0, 10.0]), same) == [(1, -1)]


def test_less_coverage_weaker_limits_and_less_speed_are_worse():
    worse = trend_of(2, worst_coverage=[0.91, 0.90], median_ratio=[2.0, 2.1], toys_per_second=[1e5, 1e4])
    assert marks_of(draw_trend(worse, 0.9)) == [("v", True), ("^", True), ("v", True)]
    better = trend_of(2, worst_coverage=[0.90, 0.91], median_ratio=[2.1, 2.0], toys_per_second=[1e4, 1e5])
    assert marks_of(draw_trend(better, 0.9)) == [("^", False), ("v", False), ("^", False)]
    assert marks_of(draw_trend(trend_of(), 0.9)) == []


def test_the_note_names_the_baselines_of_the_marks():
    note = texts(draw_trend(trend_of(worst_coverage=[0.91, 0.91, 0.90, 0.90]), 0.9))[-1].replace("\n", " ")
    assert "They stand at v1.2 (2026-11-03)." in note
    assert "From v1.0 (2026-11-01) on the left to v1.3 (2026-11-04) on the right." in note
    assert "Dotted" not in note
    note = texts(draw_trend(trend_of(), 0.9))[-1]
    assert "triangles" not in note


def test_the_newest_numbers_stand_there_and_the_oldest_where_they_were_others():
    figure = draw_trend(
        trend_of(worst_coverage=[0.9137, 0.91, 0.91, 0.8899], toys_per_second=[1e5, 1e5, 1e5, 2.14e6]), 0.9
    )
    said = texts(figure)
    assert said[0] == "nightly"
    assert said[1] == "limit methods in 4 accepted baselines, cl = 0.9"
    first = said.index("classical")
    assert said[first : said.index("cls")] == ["classical", "0.9137", "0.8899", "2.00", "100k", "2.1M"]
    assert said[said.index("cls") + 1 : -1] == ["0.9100", "2.00", "100k"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.89999, "< cl"), (0.9, "0.9000"), (0.90001, "> cl"), (0.5, "0.5000"), (np.nan, "–")],
)
def test_a_coverage_below_cl_does_not_read_as_cl(value, text):
    assert COVERAGE.told(value, 0.9) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.33, "0.33"), (7.2, "7.2"), (950, "950"), (1000, "1k"), (12_345, "12k"), (999_999, "1M"), (2.5e7, "25M")],
)
def test_speeds_are_short(value, text):
    assert SPEED.told(value, 0.9) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.00"), (12.345, "12.3"), (999.4, "999"), (999.7, "1k"), (0.5, "0.500"), (1e-4, "0.0001"), (np.inf, "∞")],
)
def test_ratios_have_three_digits(value, text):
    assert RATIO.told(value, 0.9) == text


def test_the_line_breaks_where_nothing_is_known_and_where_the_grid_changes():
    trend = trend_of(5, ("classical",), worst_coverage=[0.91, np.nan, 0.91, 0.95, 0.95])
    trend["same_study"][3] = False
    figure = draw_trend(trend, 0.9)
    solid = [line for line in figure.axes[0].lines if line.get_linestyle() == "-" and line.get_marker() == "None"]
    # coverage before and after, ratio before and after, speed in one
    assert [len(line.get_xdata()) for line in solid] == [3, 2, 3, 2, 5]
    assert np.isnan(solid[0].get_ydata()).tolist() == [False, True, False]
    (dots,) = [line for line in figure.axes[0].lines if line.get_marker() == "o"][:1]
    # the last, and the two beside the gap, which no line joins
    assert sorted(dots.get_xdata()) == [solid[each].get_xdata()[at] for each, at in ((0, 0), (0, 2), (1, 1))]
    assert [line.get_linestyle() for line in figure.axes[0].lines].count(":") == 2
    assert marks_of(figure) == []
    assert "Dotted: from here on the grid or the toys are others." in texts(figure)[-1].replace("\n", " ")


def test_a_method_that_is_gone_ends_with_a_dash_and_one_of_which_nothing_is_known_has_no_row():
    trend = trend_of(3, ("gone", "never"), **{each.name: [1.0, 1.0, np.nan] for each in QUANTITIES})
    for quantity in QUANTITIES:
        trend[quantity.name][:, 1] = np.nan
    said = texts(draw_trend(trend, 0.9))
    assert "never" not in said
    assert said[said.index("gone") + 1 : -1].count("–") == 3


def test_cl_is_drawn_where_it_is_near():
    def dashed(value):
        lines = draw_trend(trend_of(1, ("a",), worst_coverage=[value]), 0.9).axes[0].lines
        return sum(line.get_linestyle() == "--" for line in lines)

    assert [dashed(value) for value in (0.905, 0.895, 0.95, 0.6)] == [1, 1, 0, 0]


@pytest.mark.parametrize("count", [1, 2, 8, 60])
@pytest.mark.parametrize("methods", [1, 23])
def test_no_text_is_cut_off_or_overlaps(clashes, count, methods):
    labels = (*LONG, *(f"method_{at}(option={at})" for at in range(30)))[:methods]
    rng = np.random.default_rng(1)
    changing = {
        "worst_coverage": 0.89999 + 0.05 * rng.random(count),
        "median_ratio": 1000 * rng.random(count),
        "toys_per_second": 1e8 * rng.random(count),
    }
    trend = trend_of(count, labels, **changing)
    trend["name"][-1] = "a-long-name-of-a-baseline"
    trend["same_study"][count // 2] = False
    with drawing():
        assert clashes(draw_trend(trend, 0.9)) == []


def test_a_figure_a_confidence_level_is_written_the_same_bytes_every_time(tmp_path):
    trend = trend_of(cl=(0.9, 0.95))
    paths = write_trend(trend, tmp_path / "new" / "trend")
    assert [path.name for path in paths] == [
        "nightly-0.9.png",
        "nightly-0.9.svg",
        "nightly-0.95.png",
        "nightly-0.95.svg",
    ]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert paths[1].read_bytes().startswith(b"<?xml")
    once = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_trend(trend, tmp_path / "new" / "trend")] == once


def test_without_baselines_nothing_is_drawn(tmp_path):
    assert write_trend(trend_of(4).isel(baseline=[]), tmp_path / "trend") == []
    assert not (tmp_path / "trend").exists()
