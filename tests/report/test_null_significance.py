"""Significance claimed where there is no signal."""

from __future__ import annotations

import numpy as np
import pytest

from covsvc.report.null_significance import draw_null, null_cells, null_sentences
from covsvc.report.picture import drawing


@pytest.fixture(scope="module")
def null(make_null):
    return make_null()


def test_there_is_a_panel_for_each_threshold(null):
    figure = draw_null(null)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        "above 1 sigma, nominal 0.159",
        "above 2 sigma, nominal 0.0228",
        "above 3 sigma, nominal 0.00135",
    ]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_xlabel() == "background b (events)"


@pytest.mark.parametrize("row", [0, 1, 2])
def test_lines_hold_the_rates_over_nominal(null, row):
    sideband, whole, nominal = draw_null(null).axes[row].lines
    for line, name in ((sideband, "p_sideband"), (whole, "p_whole")):
        np.testing.assert_array_equal(line.get_xdata(), null["b"])
        np.testing.assert_allclose(line.get_ydata(), null[name][row] / null["nominal"][row], rtol=1e-15)
    assert set(nominal.get_ydata()) == {1.0}


def test_words_say_the_highest_rates(null):
    words = [text.get_text() for text in draw_null(null).axes[2].texts]
    highest = float((null["p_sideband"][2] / null["nominal"][2]).max())
    assert words == [f"up to {highest:.3g} × nominal", "below 0.01 × nominal"]


def test_one_event_and_an_empty_sideband_are_a_claim_by_the_sideband_alone(null):
    # Narsky, Section 3.1: sigma is infinite by Eq. 23 and 0.27 by Eq. 25, so at b = 0.3 and tau = 1 each of three
    # sigma is claimed by Eq. 23 at least with P(n >= 1) P(n_sb = 0) = (1 - exp(-0.3)) exp(-0.3)
    drawn = draw_null(null).axes[2].lines[0].get_ydata()[0] * null["nominal"][2].item()
    assert drawn >= (1 - np.exp(-0.3)) * np.exp(-0.3)


def test_sentences_say_where_it_is_worst(null):
    ratio = null["p_sideband"] / null["nominal"]
    first, second = null_sentences(null)
    assert f"above 3 sigma is claimed without any signal up to {ratio.max().item():.3g} times" in first
    assert f"({null['p_sideband'][2].max().item():.3g} instead of 0.00135, at b = 1)" in first
    assert f"at most {(null['p_whole'] / null['nominal']).max().item():.3g} times" in second


def test_table_holds_the_rates(null):
    heads, rows = null_cells(null)
    assert [head["threshold"] for head in heads] == ["> 1 sigma"] * 2 + ["> 2 sigma"] * 2 + ["> 3 sigma"] * 2
    assert [head["formula"] for head in heads[:2]] == ["sideband", "whole region"]
    assert [row[0] for row in rows] == ["0.3", "1", "3", "6", "10"]
    assert rows[2][1][4] == f"{null['p_sideband'][2, 2].item():.3g}"
    assert rows[4][1][1] == f"{null['p_whole'][0, 4].item():.3g}"


def test_order_of_backgrounds_and_dimensions_does_not_matter(null):
    turned = null.isel(b=[4, 2, 0, 1, 3]).transpose("b", "threshold")
    assert null_cells(turned) == null_cells(null)
    assert null_sentences(turned) == null_sentences(null)
    np.testing.assert_array_equal(draw_null(turned).axes[0].lines[0].get_xdata(), null["b"])


def test_no_background_and_one_background_are_drawn(make_null):
    at_zero = make_null(b=(0.0, 1.0))
    assert draw_null(at_zero).axes[0].get_xscale() == "linear"
    assert at_zero["p_sideband"][0, 0] == 0
    figure = draw_null(at_zero.isel(b=[0]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["below 0.01 × nominal"] * 2


def test_missing_rates_are_dashes(null):
    nothing = null.assign(p_whole=null["p_whole"] * np.nan)
    assert "at most – times" in null_sentences(nothing)[1]
    assert draw_null(nothing).axes[0].texts[1].get_text() == "up to – × nominal"


@pytest.mark.parametrize("b", [(0.0, 1.0), (0.01, 1.0, 100.0), (3.0,)], ids=str)
def test_nothing_is_cut_off_or_overlaps(make_null, clashes, b):
    with drawing():
        assert clashes(draw_null(make_null(b=b))) == []
