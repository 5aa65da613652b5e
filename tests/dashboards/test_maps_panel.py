"""Tests of the maps of one method."""

from __future__ import annotations

import itertools
import math
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from dashboard_store import HARMFUL
from matplotlib.image import imread

from covsvc import api

pytest.importorskip("bokeh")

from covsvc_dashboards.maps_panel import MapsPanel
from covsvc_dashboards.shown import Shown, Side
from covsvc_dashboards.style import Style
from covsvc_dashboards.twin import table_twin
from covsvc_dashboards.view import View

JEFFREYS = {"study": "tiny", "limit_method": "bayes_jeffreys", "cl": 0.9}
EDGES = [-0.5, 0.5, 1.25, 2.0, 3.25, 5.0, 7.0]
"""Half way between the true signals 0, 1, 1.5, 2.5, 4 and 6 of the study."""

PLACE = """([figure, s, row]) => {
    const plot = Bokeh.index.find_one_by_id(figure)
    const {left, top} = plot.canvas_view.el.getBoundingClientRect()
    return [left + plot.frame.x_scale.compute(s), top + plot.frame.y_scale.compute(row)]
}"""
"""Where a place of a figure is in the window."""


@pytest.fixture
def panel():
    return MapsPanel(lambda **_: None, Style())


def shown(store, label="bayes_jeffreys", cl=0.9, study="tiny", **view):
    maps = api.read_maps(store, study)
    view = View(study=study, limit_method=label, cl=cl, **view)
    return Shown(store, view, Side(maps, "", label, cl))


def drawn(figure, colour):
    """Return the lines of a colour and a width, as sets of unit lengths: from edge to edge of the cells."""
    (glyphs,) = [
        each for each in figure.renderers if (getattr(each.glyph, "line_color", ""), each.glyph.line_width) == colour
    ]
    lines = zip(*(np.asarray(glyphs.data_source.data[name]).tolist() for name in ("x0", "y0", "x1", "y1")), strict=True)
    found = set()
    for x0, y0, x1, y1 in lines:
        if x0 == x1:
            found |= {(x0, y, x0, y + 1) for y in np.arange(y0, y1).tolist()}
        else:
            ends = [x for x in EDGES if x0 <= x <= x1]
            found |= {(low, y0, high, y1) for low, high in itertools.pairwise(ends)}
    return found


def around(marked):
    """Return the sides of marked cells that are not between two of them."""
    sides = {}
    for row, node in np.argwhere(marked).tolist():
        left, right = EDGES[node : node + 2]
        for side in (
            (left, row, right, row),
            (left, row + 1, right, row + 1),
            (left, row, left, row + 1),
            (right, row, right, row + 1),
        ):
            sides[side] = sides.get(side, 0) + 1
    return {side for side, times in sides.items() if times == 1}


def test_the_maps_hold_the_numbers_of_the_cube_bit_for_bit(panel, store, cube):
    for label in cube["limit_method"].to_numpy().tolist():
        for cl in (0.9, 0.95):
            panel.show(shown(store, label, cl))
            cells, here = panel.coverage.cells.data, cube.sel(limit_method=label, cl=cl).transpose("b", "s_true", ...)
            exact = here["exact_coverage"].to_numpy()
            toys = here["n_covered"].to_numpy() / here["n_toys"].to_numpy()
            expected = np.where(np.isnan(exact), toys, exact).ravel()
            assert cells["coverage"].tobytes() == expected.tobytes()
            s, b = (each.ravel() for each in np.meshgrid(here["s_true"].to_numpy(), here["b"].to_numpy()))
            assert (cells["s_true"] == s).all()
            assert (cells["b"] == b).all()
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.where(s == 0, np.nan, here["exact_median_upper"].to_numpy().ravel() / s)
            assert cells["sigma"].tobytes() == ratio.tobytes()


def test_cells_reach_half_way_to_their_neighbours_and_rows_are_of_one_height(panel, store):
    panel.show(shown(store))
    cells = panel.coverage.cells.data
    assert cells["left"].tolist() == EDGES[:-1] * 3
    assert cells["right"].tolist() == EDGES[1:] * 3
    assert cells["bottom"].tolist() == [row for row in (0, 1, 2) for _ in range(6)]
    assert panel.sigma.cells is panel.coverage.cells
    figure = panel.coverage.figure
    assert (figure.x_range.start, figure.x_range.end) == (-0.5, 7.0)
    assert figure.yaxis.major_label_overrides == {0.5: "0", 1.5: "1", 2.5: "3"}


def test_the_outline_goes_around_the_cells_that_are_significantly_below(panel, store):
    under = (
        api.read_maps(store, "tiny")["under_significant"]
        .sel(limit_method="bayes_jeffreys", cl=0.9)
        .transpose("b", "s_true")
    )
    assert under.sel(b=0, s_true=1.5)
    panel.show(shown(store))
    outlined = drawn(panel.coverage.figure, ("black", 2.0))
    assert outlined == around(under.to_numpy())
    hatched = drawn(panel.coverage.figure, ("black", 0.9))
    assert {(x, y) for x, y, _, _ in hatched} == {(EDGES[node], row) for row, node in np.argwhere(under.to_numpy())}
    panel.show(shown(store, "classical"))  # which covers: the lines of what was shown before are gone
    assert drawn(panel.coverage.figure, ("black", 2.0)) == set()


def test_the_ratio_is_hatched_where_it_is_not_defined(panel, store):
    panel.show(shown(store))
    assert drawn(panel.sigma.figure, ("black", 0.9)) == {(-0.5, row, 0.5, row + 1) for row in (0, 1, 2)}


def test_the_cell_chosen_is_framed_in_both_maps_or_else_the_one_that_is_covered_least(panel, store):
    def frames():
        return [
            {name: list(values) for name, values in each.data_source.data.items()}
            for chart in (panel.coverage, panel.sigma)
            for each in chart.figure.renderers
            if each.glyph.line_width == 2.5
        ]

    panel.show(shown(store, b=3.0, s_true=2.5))
    assert frames() == [{"left": [2.0], "right": [3.25], "bottom": [2], "top": [3]}] * 2
    panel.show(shown(store))
    assert frames() == [{"left": [1.25], "right": [2.0], "bottom": [0], "top": [1]}] * 2


def test_what_is_told_of_a_cell_is_what_was_counted_in_it(panel, store, cube):
    panel.show(shown(store, "max_gap", study="events"))
    cells = panel.coverage.cells.data
    here = api.open_cube(store, "events").sel(limit_method="max_gap", cl=0.9, b=1, s_true=5)
    k, n = int(here["n_covered"]), int(here["n_toys"])
    assert cells["covered"][3] == f"{k} of {n} toys"
    assert cells["coverage of toys (95 %)"][3].startswith(f"{k / n:.4f} (")
    assert "exact coverage" not in cells, "of which none is known"


def test_text_of_a_study_is_never_taken_for_html():
    table = table_twin(HARMFUL, [HARMFUL], [HARMFUL], [[HARMFUL]], corner=HARMFUL)
    assert "<img" not in table
    assert table.count("&lt;img") == 6


def figure_of(page, what):
    return page.locator(f'button[data-what="{what}"][data-format="png"]').get_attribute("data-figure")


def place_of(page, what, s, row):
    return page.evaluate(PLACE, [figure_of(page, what), s, row])


def asked_by(page):
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


@pytest.mark.browser
def test_a_reader_hovers_over_a_cell_chooses_it_brushes_a_range_and_opens_the_table(tab, cube):
    page = tab(**JEFFREYS)
    page.mouse.move(*place_of(page, "coverage", 1.6, 0.4))
    here = cube.sel(limit_method="bayes_jeffreys", cl=0.9, b=0, s_true=1.5)
    said = page.locator(".bk-Tooltip table")
    said.wait_for()
    said = said.inner_text()
    assert f"{int(here['n_covered'])} of {int(here['n_toys'])} toys" in said
    assert f"{1 - math.exp(-1.5):.4f}" in said, "where no event is seen the limit misses"
    assert "under: significantly below cl" in said

    page.mouse.click(*place_of(page, "coverage", 2.6, 1.5))
    page.wait_for_function("location.search.includes('s_true=2.5')")
    assert asked_by(page)["b"] == "1"

    page.mouse.move(*place_of(page, "sigma", 0.9, 0.5))
    page.mouse.down()
    page.mouse.move(*place_of(page, "sigma", 2.0, 1.5))
    page.mouse.move(*place_of(page, "sigma", 4.2, 2.5))
    page.mouse.up()
    page.wait_for_function("location.search.includes('s_high=4')")
    assert asked_by(page)["s_low"] == "1"
    ends = "id => { const {start, end} = Bokeh.documents[0].get_model_by_id(id).x_range; return [start, end] }"
    for what in ("coverage", "sigma"):
        page.wait_for_function(f"id => ({ends})(id).join() === '0.75,4.75'", arg=figure_of(page, what))

    page.get_by_label("Map of coverage as a table").focus()
    page.keyboard.press("Space")
    table = page.get_by_role("table", name="Coverage of bayes_jeffreys")
    table.wait_for()
    assert table.get_by_role("columnheader").all_inner_texts() == ["s_true", "b = 0", "b = 1", "b = 3"]
    assert table.get_by_role("rowheader").all_inner_texts() == ["1", "1.5", "2.5", "4"]
    assert table.get_by_role("cell").nth(3).inner_text() == f"{1 - math.exp(-1.5):.4f} below"
    page.mouse.click(*place_of(page, "coverage", 4, 0.5))
    page.wait_for_function("location.search.includes('s_true=4')")
    assert table.is_visible(), "which follows, and stays open"


@pytest.mark.browser
def test_the_pixels_of_a_picture_have_the_colour_of_the_rule(tab, cube):
    page = tab(**JEFFREYS)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download coverage as PNG").click()
    picture = imread(download.value.path(), format="png")
    window = page.evaluate(
        "id => Bokeh.index.find_one_by_id(id).canvas_view.el.getBoundingClientRect()", figure_of(page, "coverage")
    )
    scale = picture.shape[1] / window["width"]
    (x0, y0), (x1, y1) = (place_of(page, "coverage", end, end) for end in (0, 1))
    stops = np.array([[0xB2, 0x18, 0x2B], [0xE5, 0x83, 0x68], [255] * 3, [0x6A, 0xAC, 0xD0], [0x21, 0x66, 0xAC]])
    for row, b in enumerate(cube["b"].to_numpy().tolist()):
        for node, s_true in enumerate(cube["s_true"].to_numpy().tolist()):
            value = float(cube["exact_coverage"].sel(limit_method="bayes_jeffreys", cl=0.9, b=b, s_true=s_true))
            place = np.clip((value - 0.8) / 0.2, 0, 1) * 4
            expected = [np.interp(place, range(5), channel) for channel in stops.T]
            s = EDGES[node] + 0.25 * (EDGES[node + 1] - EDGES[node])
            x, y = x0 + s * (x1 - x0), y0 + (row + 0.75) * (y1 - y0)  # beside the hatch
            pixel = picture[int((y - window["y"]) * scale), int((x - window["x"]) * scale), :3] * 255
            assert pixel == pytest.approx(expected, abs=2.5), (b, s_true, value)
