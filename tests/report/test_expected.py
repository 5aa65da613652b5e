"""Observed and expected limits against background."""

from __future__ import annotations

import numpy as np
import pytest

from covsvc.report.bands import ONE, TWO, describe_arrows, joined
from covsvc.report.expected import describe_expected, draw_expected
from covsvc.report.picture import drawing
from covsvc.report.tables import expected_cells

B = (0.0, 1.0, 3.0, 5.5, 8.0)


@pytest.fixture
def limits(make_expected):
    return make_expected({"classical": "upper", "low": "low"}, b=B)


def corners(band):
    return np.unique(band.get_paths()[0].vertices, axis=0)


def test_there_is_a_panel_for_each_confidence_level(limits):
    figure = draw_expected(limits, "low")
    assert [axes.get_title() for axes in figure.axes] == ["cl = 0.9", "cl = 0.95"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert {axes.get_xlabel() for axes in figure.axes} == {"background b (events)"}
    assert figure.axes[0].get_ylabel() == "upper limit of s (events)"


@pytest.mark.parametrize("place", [0, 1])
def test_lines_and_bands_hold_the_limits(limits, place):
    here = limits.sel(limit_method="low").isel(cl=place)
    axes = draw_expected(limits, "low").axes[place]
    median, asimov, observed = axes.lines
    assert median.get_linestyle() == "--"
    assert observed.get_linestyle() == "-"
    for line, values in (
        (median, here["expected"].sel(n_sigma=0)),
        (asimov, here["asimov"].sel(n_sigma=0)),
        (observed, here["observed"]),
    ):
        np.testing.assert_array_equal(line.get_xdata(), B)
        np.testing.assert_array_equal(line.get_ydata(), values)
    for band, n_sigma in zip(axes.collections, (1, 2), strict=True):
        for end in (-n_sigma, n_sigma):
            drawn = {tuple(corner) for corner in corners(band)}
            assert set(zip(B, here["expected"].sel(n_sigma=end).to_numpy().tolist(), strict=True)) <= drawn


def test_colours_of_the_bands_differ_in_lightness():
    def lightness(colour):
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2

    # WCAG contrast: black lines on both, and one band on the other where no colour is seen
    assert (lightness(ONE) + 0.05) / 0.05 > 7
    assert (lightness(TWO) + 0.05) / (lightness(ONE) + 0.05) > 1.5


def test_infinite_limits_are_gaps_with_an_arrow_at_the_top(limits):
    limits["expected"][0, 0, 1, 4] = np.inf
    limits["expected"][0, 0, 3, 2:] = np.inf
    limits["observed"][0, 0, 4] = np.inf
    axes = draw_expected(limits, "classical").axes[0]
    median = axes.lines[0].get_ydata()
    assert np.isnan(median[3])
    assert np.isfinite(median[[0, 1, 2]]).all()
    arrows = [line for line in axes.lines if line.get_marker() == "^"]
    assert [line.get_xdata().tolist() for line in arrows] == [[5.5], [1.0], [8.0]]
    assert all(line.get_transform() == axes.get_xaxis_transform() for line in arrows)
    assert all(0.85 < line.get_ydata()[0] < 1 for line in arrows)
    assert np.isfinite(axes.get_ylim()).all()
    one, two = axes.collections
    assert {1.0, 5.5}.isdisjoint(two.get_paths()[0].vertices[:, 0])
    assert 1.0 in one.get_paths()[0].vertices[:, 0]
    assert describe_arrows(limits) == "Arrow up: unbounded (black: median, yellow: +2 sigma, filled: observed)."


def test_without_an_infinite_limit_there_is_no_arrow(limits):
    assert describe_arrows(limits) == ""
    assert not any(line.get_marker() == "^" for axes in draw_expected(limits, "low").axes for line in axes.lines)


def test_a_lone_node_is_a_bar():
    x = np.arange(5.0)
    bar = x - 0.1, x + 0.1
    there, values = joined(x, bar, np.array([7.0, np.nan, 8.0, np.inf, 9.0]))
    np.testing.assert_array_equal(there, [-0.1, 0.1, 1, 1.9, 2.1, 3, 3.9, 4.1])
    np.testing.assert_array_equal(values, [7, 7, np.nan, 8, 8, np.nan, 9, 9])


def test_one_background_is_drawn(limits):
    figure = draw_expected(limits.isel(b=[2], cl=[0]), "classical")
    (axes,) = figure.axes
    left, right = axes.lines[0].get_xdata()
    assert left < 3 < right
    assert (
        axes.lines[0].get_ydata() == limits["expected"].sel(limit_method="classical", b=3, n_sigma=0)[0].item()
    ).all()


def test_legend_names_what_is_drawn(limits):
    names = [text.get_text() for text in draw_expected(limits, "low").legends[0].get_texts()]
    assert names == ["Median expected", "±1 sigma", "±2 sigma", "Asimov median", "Observed, n = 3"]
    bare = limits.drop_vars(["asimov", "observed"])
    assert len(draw_expected(bare, "low").legends[0].get_texts()) == 3


def test_observed_text_may_be_a_coordinate(limits):
    named = limits.drop_attrs().assign_coords(observed_text="n = 3 of 2002")
    assert draw_expected(named, "low").legends[0].get_texts()[-1].get_text() == "Observed, n = 3 of 2002"


def test_method_without_limits_says_so(limits):
    nothing = limits.drop_vars(["asimov", "observed"]) * np.nan
    assert [text.get_text() for text in draw_expected(nothing, "low").axes[0].texts] == ["no values"]


def test_unsorted_backgrounds_are_sorted(limits):
    line = draw_expected(limits.isel(b=[3, 0, 4, 1, 2]), "classical").axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), B)


def test_table_holds_the_limits(limits):
    here = limits.sel(limit_method="classical", cl=0.9)
    heads, rows = expected_cells(here)
    assert heads == ["−2 sigma", "−1 sigma", "Median", "+1 sigma", "+2 sigma", "Observed"]
    # b = 3: the count is at most 0, 1, 3, 5, 7 with probability Phi(N); 90 % limits of the Particle Data Group's table
    # of Poisson upper limits: 2.30, 3.89, 6.68, 9.27, 11.77
    assert rows[2][0] == "3"
    assert [float(cell) for cell in rows[2][1]] == pytest.approx([0, 0.89, 3.68, 6.27, 8.77, 3.68], abs=6e-3)


def test_infinity_is_written_in_the_table(limits):
    limits["expected"][0, 0, 2, 4] = np.inf
    assert expected_cells(limits.sel(limit_method="classical", cl=0.9))[1][2][1][4] == "∞"


def test_description_says_the_medians(limits):
    said = describe_expected(limits, "classical")
    assert "at cl = 0.9 the median is 2.303 events at b = 0" in said


def test_limits_are_not_changed(limits):
    before = limits.copy(deep=True)
    draw_expected(limits, "low")
    assert limits.identical(before)


@pytest.mark.parametrize("cl", [(0.9,), (0.9, 0.95), (0.6827, 0.9, 0.95), (0.68, 0.9, 0.95, 0.99, 0.999)])
@pytest.mark.parametrize("unbounded", [False, True])
def test_nothing_is_cut_off_or_overlaps(make_expected, clashes, cl, unbounded):
    limits = make_expected({"feldman_cousins(monotone_in_b=True)": "low"}, cl=cl, b=(0.0, 1.0, 3.0))
    if unbounded:
        limits["expected"][:, :, 0, 4] = limits["expected"][:, :, 1, 3:] = limits["expected"][:, :, 2, 2:] = np.inf
        limits["observed"][:, :, 2] = np.inf
    with drawing():
        assert clashes(draw_expected(limits, "feldman_cousins(monotone_in_b=True)")) == []
