"""Tests of what methods were worth in the accepted baselines."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import xarray as xr
from dashboard_store import HARMFUL
from playwright.sync_api import expect
from scipy import stats

from covsvc import api

pytest.importorskip("bokeh")

from covsvc_dashboards.history_panel import PART, SHOWN, Rows, baselines_table, history_table, sentence

BELOW = stats.poisson.sf(0, stats.gamma.ppf(0.9, 0.75))
"""Worst coverage of ``mine`` in v2: with no event its posterior is a gamma distribution of shape 3/4, and just above its
limit only n > 0 covers."""
SOURCES = """id => Object.fromEntries(["baseline", "marker", "xs"].map(name => [name,
    Bokeh.documents[0].get_model_by_id(id).renderers.map(each => each.data_source).filter(each => name in each.data)
        .map(each => Object.fromEntries(Object.entries(each.data).map(([key, data]) => [key, Array.from(data)])))]))"""
PLACE = """([figure, x, y]) => {
    const plot = Bokeh.index.find_one_by_id(figure)
    const {left, top} = plot.canvas_view.el.getBoundingClientRect()
    return [left + plot.frame.x_scale.compute(x), top + plot.frame.y_scale.compute(y)]
}"""


def rows_of(quantity="coverage", same=(True, True, True, True), **values):
    """Return four baselines in which nothing changes but what is told of the first method."""
    found = {"worst_coverage": 0.91, "median_ratio": 2.0, "toys_per_second": 1e5, "worst_s_true": 2.0, "worst_b": 1.0}
    arrays = {name: np.full((4, 2), value) for name, value in found.items()}
    for name, given in values.items():
        arrays[name][:, 0] = given
    told = {
        "name": [f"v{at}" for at in range(4)],
        "tag": [f"v{at}@2026110{at + 1}T100000Z" for at in range(4)],
        "accepted_at": [f"2026-11-0{at + 1}T10:00:00+00:00" for at in range(4)],
        "same_study": list(same),
        **{name: ["-"] * 4 for name in ("who", "reason", "outcome", "snapshot")},
    }
    dataset = xr.Dataset(
        {name: (("baseline", "limit_method"), array) for name, array in arrays.items()},
        {name: ("baseline", each) for name, each in told.items()}
        | {"limit_method": ["first", "second"], "promises": ("limit_method", ["at_least", "nothing"])},
    )
    return Rows(dataset, SHOWN[quantity], 0.9)


def test_a_fall_of_coverage_is_worse_and_a_rise_is_better():
    rows = rows_of(worst_coverage=[0.91, 0.89, 0.893, 0.9])
    assert rows.changes("first") == [(1, False, True), (3, True, False)]
    assert rows.changes("second") == []
    assert "Became worse: first at v1 (now 0.8900 below)." in sentence(rows, "coverage")


def test_of_medians_a_rise_is_worse():
    rows = rows_of("median", median_ratio=[2.0, 2.0, 2.1, 2.0])
    assert rows.changes("first") == [(2, True, True), (3, False, False)]


def test_a_gap_is_told_and_the_baseline_after_it_is_compared_with_the_one_before():
    rows = rows_of(worst_coverage=[0.91, np.nan, 0.89, 0.89])
    assert rows.changes("first") == [(2, False, True)]
    said = sentence(rows, "coverage")
    assert "Not known, and a gap in the line: first in v1." in said
    assert np.isnan(rows.heights("first")[0]).tolist() == [False, True, False, False]


def test_other_studies_are_not_compared_except_in_speed():
    given = {"same": (True, True, False, True), "worst_coverage": [0.95, 0.95, 0.91, 0.91]}
    rows = rows_of(**given)
    assert rows.changes("first") == []
    assert "Dotted: from here on the grid or the toys are others." in sentence(rows, "coverage")
    assert "v2 (another grid or other toys)" in history_table(rows)
    speeds = rows_of("speed", toys_per_second=[1e6, 1e6, 1e5, 1e5], **given)
    assert speeds.changes("first") == [(2, False, True)]
    assert "Dotted" not in sentence(speeds, "speed")


def test_a_row_is_as_high_as_its_values_or_as_what_matters():
    over, cl = rows_of(worst_coverage=[0.95, 0.85, 0.9, 0.9]).heights("first")
    np.testing.assert_allclose(over, [PART / 2, -PART / 2, 0, 0], atol=1e-12)
    assert cl == pytest.approx(0, abs=1e-12)
    over, cl = rows_of(worst_coverage=[0.901, 0.9, 0.9, 0.9]).heights("first")
    assert over[0] - over[1] == pytest.approx(PART * 0.001 / 0.02)


def test_tables_say_what_the_marks_say_and_who_accepted_what():
    text = history_table(rows_of(worst_coverage=[0.91, 0.89, 0.89, 0.9]))
    assert "<td>0.8900 below, worse</td><td>0.8900 below</td><td>0.9000, better</td>" in text
    assert "<td>at least cl</td>" in text
    assert "2026-11-04 10:00:00" in baselines_table(rows_of())


def test_the_rows_are_those_of_the_baselines(store):
    rows = Rows(api.trend("tiny", store).sel(cl=0.9), SHOWN["coverage"], 0.9)
    assert rows.labels == ["classical", HARMFUL, "f, c", "bayes_jeffreys", "mine"]
    assert rows.values("mine")[1] == pytest.approx(BELOW, abs=1e-9)
    assert rows.changes("mine") == [(1, False, True)]
    assert rows.text(rows.values("mine")[1]) == f"{BELOW:.4f} below"
    assert "<img" not in history_table(rows)


@pytest.mark.browser
def test_a_reader_sees_what_became_worse_and_opens_the_baseline_before(tab, store):
    page = tab(study="tiny", page="history", cl=0.9, limit_method="mine")
    page.get_by_text(f"Became worse: mine at v2 (now {BELOW:.4f} below)").wait_for()
    figure = page.locator('button[data-what="history"][data-format="png"]').get_attribute("data-figure")
    page.wait_for_function(f"figure => ({SOURCES})(figure).marker.some(each => each.x.length)", arg=figure)
    held = page.evaluate(SOURCES, figure)
    (points,) = held["baseline"]
    assert points["baseline"] == ["v1", "v2"] * 5
    marks = [mark for each in held["marker"] for mark in zip(each["x"], each["marker"], strict=True)]
    assert marks == [(1, "inverted_triangle")]

    page.mouse.move(*page.evaluate(PLACE, [figure, 1, points["y"][3]]))
    tooltip = page.locator(".bk-Tooltip").filter(has_text="reason of v2").first
    tooltip.wait_for()
    assert HARMFUL in tooltip.evaluate("each => each.shadowRoot.textContent")
    for name in ("history as a table", "baselines: when, by whom and why"):
        page.get_by_label(name).focus()
        page.keyboard.press("Space")
    row = page.get_by_role("table", name="worst coverage").get_by_role("row").filter(has_text="mine")
    row.wait_for()
    assert f"{BELOW:.4f} below, worse" in row.inner_text()
    expect(page.get_by_role("table", name="Accepted baselines").get_by_role("row")).to_have_count(3)

    assert page.get_by_label("confidence level (cl)").is_visible()
    page.get_by_label("shown", exact=True).focus()
    page.keyboard.press("t")  # toys a second
    page.wait_for_function("location.search.includes('quantity=speed')")
    page.get_by_text("another machine has another speed").wait_for()
    up = "figure => (" + SOURCES + ")(figure).marker.some(each => each.marker.includes('triangle'))"
    page.wait_for_function(up, arg=figure)
    (faster, *_) = [each for each in page.evaluate(SOURCES, figure)["marker"] if each["x"]]
    assert faster["marker"] == ["triangle"] * 5, "v2 was told to be twice as fast"

    (points,) = page.evaluate(SOURCES, figure)["baseline"]
    page.evaluate("scrollTo(0, 0)")
    page.mouse.click(*page.evaluate(PLACE, [figure, 0, points["y"][-2]]))
    page.wait_for_function("!location.search.includes('page=history')")
    found = parse_qs(urlsplit(page.url).query)
    tag = api.trend("tiny", store)["tag"].values[0]
    assert (found["limit_method"], found["at"]) == (["mine"], [tag])


@pytest.mark.browser
def test_a_study_that_was_never_accepted_says_how_to(tab, store):
    page = tab(study="events", page="history")
    page.get_by_text(f"covsvc accept events --store {store} --tag v1").wait_for()
    page.get_by_role("button", name="Open the maps of").wait_for(state="hidden")
