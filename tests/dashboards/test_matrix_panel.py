"""Tests of the maps of all methods beside each other."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from dashboard_store import HARMFUL, rest
from scipy import stats

from covsvc import api

pytest.importorskip("bokeh")

from covsvc_dashboards.labels import in_lines, shortened
from covsvc_dashboards.matrix_panel import AIR, NARROWEST, MatrixPanel
from covsvc_dashboards.shown import Shown, Side
from covsvc_dashboards.style import Style
from covsvc_dashboards.view import View

LABELS = ["classical", HARMFUL, "f, c", "bayes_jeffreys", "mine"]
PLACE = """([figure, x, y]) => {
    const plot = Bokeh.index.find_one_by_id(figure)
    const {left, top} = plot.canvas_view.el.getBoundingClientRect()
    return [left + plot.frame.x_scale.compute(x), top + plot.frame.y_scale.compute(y)]
}"""
TILES = """id => {
    const tiles = Bokeh.documents[0].get_model_by_id(id).renderers.map(each => each.data_source)
        .find(each => "head" in each.data)
    return Object.fromEntries(["label", "x", "y", "left", "wide", "first", "second"].map(
        name => [name, Array.from(tiles.data[name])]))
}"""


@pytest.fixture
def panel():
    return MatrixPanel(lambda **_: None, Style())


def shown(store, cl=0.9, study="tiny", **view):
    maps = api.read_maps(store, study)
    label = str(maps["limit_method"].values[0])
    return Shown(store, View(study=study, limit_method=label, cl=cl, **view), Side(maps, "", label, cl))


def source_of(panel, column):
    """Return the data of the glyphs that have a column."""
    return next(each.data_source.data for each in panel.figure.renderers if column in each.data_source.data)


def exact_or_toys(here):
    """Return the coverage of a method over (b, s_true)."""
    exact = here["exact_coverage"].transpose("b", "s_true").to_numpy()
    toys = (here["n_covered"] / here["n_toys"]).transpose("b", "s_true").to_numpy()
    return np.where(np.isnan(exact), toys, exact)


def test_every_tile_holds_the_coverage_of_its_method_bit_for_bit(panel, store, cube):
    for cl in (0.9, 0.95):
        panel.show(shown(store, cl))
        tiles = source_of(panel, "image")
        assert tiles["label"] == LABELS
        for label, image in zip(LABELS, tiles["image"], strict=True):
            assert image.tobytes() == exact_or_toys(cube.sel(limit_method=label, cl=cl)).tobytes()


def test_lines_go_around_the_cells_that_are_significantly_below_cl(panel, store):
    panel.show(shown(store))
    tiles, lines = source_of(panel, "image"), source_of(panel, "x0")
    ends = np.stack([lines[name] for name in ("x0", "y0", "x1", "y1")], axis=-1)
    under = api.read_maps(store, "tiny")["under_significant"].sel(cl=0.9).transpose("limit_method", "b", "s_true")
    assert under.sel(limit_method="bayes_jeffreys", b=0, s_true=1.5)
    used = 0
    for at, label in enumerate(LABELS):
        left, bottom, wide, high = (tiles[name][at] for name in ("left", "bottom", "wide", "high"))
        inside = (ends[:, 0] > left - 1) & (ends[:, 2] < left + wide + 1)
        inside &= (ends[:, 1] > bottom - 1) & (ends[:, 3] < bottom + high + 1)
        used += inside.sum()
        cells = (ends[inside] - [left, bottom, left, bottom]) / np.array([wide / 6, high / 3] * 2)
        expected = {}
        for row, node in np.argwhere(under.sel(limit_method=label).values).tolist():
            for side in ((0, 0, 1, 0), (0, 1, 1, 1), (0, 0, 0, 1), (1, 0, 1, 1)):
                line = node + side[0], row + side[1], node + side[2], row + side[3]
                expected[line] = expected.get(line, 0) + 1
        length = sum(abs(x1 - x0) + abs(y1 - y0) for x0, y0, x1, y1 in cells.tolist())
        assert length == pytest.approx(sum(times == 1 for times in expected.values()))
    assert used == len(ends)


def test_it_says_how_many_cells_are_below_and_where_the_worst_coverage_is(panel, store, cube):
    panel.show(shown(store))
    tiles = source_of(panel, "image")
    under = api.read_maps(store, "tiny")["under_significant"].sel(cl=0.9).sum(("b", "s_true"))
    assert tiles["first"] == [f"{int(under.sel(limit_method=label))} of 18 cells below" for label in LABELS]
    # with no event at b = 0 the posterior is a gamma distribution; just above its limit only n > 0 covers
    limit = stats.gamma.ppf(0.9, 0.5)
    worst = f"{stats.poisson.sf(0, limit):.4f}"
    assert tiles["second"][3] == f"worst {worst} at ({limit:.4g}, 0)"


def test_methods_stand_as_in_the_study_or_the_worst_first(panel, store, cube):
    panel.show(shown(store, order="worst"))
    under = api.read_maps(store, "tiny")["under_significant"].sel(cl=0.9).sum(("b", "s_true"))
    worst = cube["worst_coverage"].sel(cl=0.9).min("b")
    keys = {label: (under.sel(limit_method=label) == 0, float(worst.sel(limit_method=label))) for label in LABELS}
    found = source_of(panel, "image")["label"]
    assert found[0] == "bayes_jeffreys"
    assert [keys[label] for label in found] == sorted(keys.values())
    panel.show(shown(store))
    assert source_of(panel, "image")["label"] == LABELS


def test_median_limits_share_one_scale_and_are_grey_where_there_is_no_signal(panel, store, cube):
    panel.show(shown(store, quantity="median"))
    tiles = source_of(panel, "image")
    s_true = cube["s_true"].to_numpy()
    for label, image in zip(LABELS, tiles["image"], strict=True):
        medians = cube["exact_median_upper"].sel(limit_method=label, cl=0.9).transpose("b", "s_true").to_numpy()
        assert np.isnan(image[:, 0]).all()
        np.testing.assert_array_equal(image[:, 1:], medians[:, 1:] / s_true[1:])
    mapper = next(each.glyph.color_mapper for each in panel.figure.renderers if "image" in each.data_source.data)
    every = np.array(tiles["image"])
    assert mapper.low == np.nanmin(every)
    assert mapper.high == np.nanmax(every)


def test_tiles_fit_beside_each_other_whatever_the_width(panel, store):
    panel.show(shown(store))
    for width, across in ((1100, 5), (340, 2), (NARROWEST + 1, 1)):
        panel.figure.trigger("inner_width", None, width)
        tiles = source_of(panel, "image")
        assert len(set(np.round(tiles["left"]).tolist())) == across
        assert (tiles["left"] >= 0).all()
        assert (tiles["left"] + tiles["wide"] <= width).all()
        assert (tiles["bottom"] > 0).all()
        steps = np.diff(np.unique(np.round(tiles["left"])))
        assert (steps >= tiles["wide"][0] + AIR - 1).all()


def test_what_differs_between_long_labels_is_not_cut_off():
    long = [f"sampling_distribution(procedure=clsb, p_value={each})" for each in ("inclusive", "mid")]
    assert in_lines(long[0], 24) == "sampling_distribution\n(procedure=c…=inclusive)"
    assert in_lines(long[0], 24) != in_lines(long[1], 24)
    assert shortened("classical", 9) == "classical"
    assert shortened("classical", 8) == "clas…cal"


@pytest.mark.browser
def test_a_reader_finds_the_outlier_and_opens_its_maps_by_mouse_and_by_keyboard(tab, cube):
    page = tab(study="tiny", page="methods", cl=0.9, limit_method=HARMFUL)
    said = page.get_by_text("significantly below cl = 0.9, which black lines surround")
    said.wait_for()
    figure = page.locator('button[data-what="all methods"][data-format="png"]').get_attribute("data-figure")
    tiles = page.evaluate(TILES, figure)
    assert tiles["label"] == LABELS

    page.mouse.move(*page.evaluate(PLACE, [figure, tiles["left"][1] + 0.3 * tiles["wide"][1], tiles["y"][1]]))
    tooltip = page.locator(".bk-Tooltip").filter(has_text="s_true").first
    tooltip.wait_for()
    told = tooltip.evaluate("each => each.shadowRoot.textContent")
    value = float(exact_or_toys(cube.sel(limit_method=HARMFUL, cl=0.9))[1, 1])
    assert HARMFUL in told
    assert "s_true = 1, b = 1" in told
    assert f"{value:.6f}".rstrip("0") in told

    page.get_by_label("order", exact=True).focus()
    page.keyboard.press("w")  # worst coverage first
    page.wait_for_function("location.search.includes('order=worst')")
    page.wait_for_function(f"id => ({TILES})(id).label[0] == 'bayes_jeffreys'", arg=figure)
    page.get_by_label("all methods as a table").focus()
    page.keyboard.press("Space")
    row = page.get_by_role("row").filter(has_text="bayes_jeffreys")
    row.wait_for()
    assert "0.7415 below" in row.inner_text()
    assert page.locator("table img").count() == 0

    page.get_by_label("limit method", exact=True).focus()
    page.keyboard.press("f")
    page.wait_for_function("location.search.includes('limit_method=f%2C')")
    page.get_by_role("button", name="Open the maps of f, c").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("!location.search.includes('page=methods')")
    assert parse_qs(urlsplit(page.url).query)["limit_method"] == ["f, c"]

    page.go_back()
    said.wait_for()
    rest(page)
    tiles = page.evaluate(TILES, figure)
    page.evaluate("scrollTo(0, 0)")
    page.mouse.click(*page.evaluate(PLACE, [figure, tiles["x"][0], tiles["y"][0]]))
    page.wait_for_function("!location.search.includes('page=methods')")
    assert parse_qs(urlsplit(page.url).query)["limit_method"] == ["bayes_jeffreys"]
