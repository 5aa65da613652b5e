"""What the page says of a cell."""

from __future__ import annotations

import asyncio
import json
import re
import shlex

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models.widgets import CheckboxGroup
from dashboard_store import HARMFUL
from playwright.sync_api import expect
from scipy import stats

from covsvc import api
from covsvc.report.column import columns
from covsvc.selection import select, with_axes
from covsvc_dashboards.cell_panel import CellPanel, cell_of, cell_table
from covsvc_dashboards.distributions import DistributionsFigure, describe_distributions, distribution_table
from covsvc_dashboards.held import Held
from covsvc_dashboards.shown import Shown, Side
from covsvc_dashboards.slices import Slices, looks_of
from covsvc_dashboards.style import Style
from covsvc_dashboards.view import View

CELL = {"study": "tiny", "limit_method": "bayes_jeffreys", "cl": 0.9, "b": 0, "s_true": 1.5}
"""Where bayes_jeffreys covers with probability 1 - exp(-1.5)."""


@pytest.fixture
def maps(store):
    return api.read_maps(store, "tiny")


def column_of(maps, label, cl=0.9):
    return next(columns(with_axes(select(maps, limit_method=[label], cl=[cl]))))


def cells_in(html):
    """Return the rows of a table by their heads, as text."""
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html)
    return {head: re.findall(r"<td>(.*?)</td>", cells) for head, cells in rows}


# the table


def test_all_methods_are_told_as_the_cube_has_them(store, maps):
    shown = Shown(store, View(**CELL), Side(maps, maps.attrs["snapshot"], "bayes_jeffreys", 0.9))
    rows = cells_in(cell_table(shown, 0.0, 1.5))
    cube = api.open_cube(store, "tiny").sel(cl=0.9, b=0.0, s_true=1.5)
    assert list(rows) == ["classical", "&lt;img src=x onerror=alert(1)&gt;", "f, c", "bayes_jeffreys", "mine"]
    for label in ("classical", "bayes_jeffreys", "f, c"):
        there = cube.sel(limit_method=label)
        assert rows[label][1] == f"{there['n_covered'].item():,} of {there['n_toys'].item():,}"
    assert rows["bayes_jeffreys"][0] == "under"
    assert rows["bayes_jeffreys"][3] == f"{1.0 - np.exp(-1.5):.4f}"
    covered = int(cube.sel(limit_method="bayes_jeffreys")["n_covered"])
    interval = stats.binomtest(covered, 2000).proportion_ci(0.95, "exact")
    assert rows["bayes_jeffreys"][2] == f"{covered / 2000:.4f} ({interval.low:.4f} to {interval.high:.4f})"
    assert rows["classical"][5] == f"{stats.gamma.ppf(0.9, 2):.4g}"


def test_without_a_cell_the_one_that_covers_least_is_taken(maps):
    column = column_of(maps, "bayes_jeffreys")
    assert cell_of(column, None, None) == ((0, 2), False)
    assert cell_of(column, 3.0, 6.0) == ((2, 5), True)
    assert cell_of(column, 3.0, 5.5) == ((0, 2), False)


# distributions


def told(**changes):
    """Return the distribution of a method, with changes."""
    none = dict.fromkeys(("p_zero", "p_below", "p_above", "p_empty", "p_unbounded", "p_failed"), 0.0)
    known = {"limit_method": "one", "b": 3.0, "s_true": 2.0, "n_toys": 10, "edges": [1.0, 2.0, 4.0], "note": ""}
    medians = {"sigma_med": 2.5, "sigma_med_low": 2.0, "sigma_med_high": 3.0}
    return none | known | medians | {"shares": [0.25, 0.75]} | changes


def test_limits_stand_where_they_are_and_are_red_below_the_true_signal():
    drawn = DistributionsFigure(Style())
    drawn.show([told(), told(limit_method="other", shares=[0.0, 1.0])], "one")
    bars = drawn.bars.data
    assert bars["left"] == pytest.approx(np.log10([1.0, 2.0, 2.0]))
    assert bars["right"] == pytest.approx(np.log10([2.0, 4.0, 4.0]))
    assert bars["colour"] == ["#b2182b", "#2166ac", "#2166ac"]
    assert bars["method"] == ["one", "one", "other"]
    assert bars["share"] == ["0.2500 of 10", "0.7500 of 10", "1.0000 of 10"]
    low, high, other = (bottom - top for bottom, top in zip(bars["bottom"], bars["top"], strict=True))
    assert low / high == pytest.approx(1 / 3)
    assert high == pytest.approx(other)


def test_limits_that_are_no_numbers_have_places_beside_the_axis():
    drawn = DistributionsFigure(Style(dark=True))
    odd = {"p_empty": 0.2, "p_zero": 0.1, "p_unbounded": 0.3, "p_failed": 0.15, "shares": [0.0, 0.25]}
    drawn.show([told(**odd), told(n_toys=0, edges=[], shares=[], note="no toys", sigma_med=np.nan)], "one")
    bars = drawn.bars.data
    by_limit = dict(zip(bars["limit"], zip(bars["left"], bars["right"], bars["colour"], strict=True), strict=True))
    empty, zero, none, failed = (
        by_limit[name] for name in ("empty: no signal is left", "0", "none: unbounded", "failed")
    )
    assert empty[1] < zero[0] < zero[1] < np.log10(1.0)
    assert np.log10(4.0) < none[0] < none[1] < failed[0]
    assert [each[2] for each in (empty, zero, none, failed)] == ["#e58368", "#e58368", "#6aacd0", "#808894"]
    assert bars["share"][-1] == "0.1500 of 10"
    names = drawn.figure.xaxis[0].major_label_overrides
    assert {"empty", "0", "none", "failed", "2"} <= set(names.values())
    rows = cells_in(distribution_table([told(**odd), told(n_toys=0, edges=[], shares=[], note="no toys")]))
    assert rows["one"][0] == "no toys"


def test_a_true_signal_of_zero_is_missed_by_empty_sets_alone():
    assert "which no upper limit misses unless it is empty" in describe_distributions([told(s_true=0.0)])
    drawn = DistributionsFigure(Style())
    drawn.show([told(s_true=0.0, p_zero=0.5, p_empty=0.25, shares=[0.25, 0.0])], "one")
    colours = dict(zip(drawn.bars.data["limit"], drawn.bars.data["colour"], strict=True))
    assert colours == {"0": "#2166ac", "empty: no signal is left": "#b2182b", "1 to 2 events": "#2166ac"}


def test_the_table_of_limits_tells_what_the_figure_shows(store):
    distributions = api.limit_distributions("tiny", store, b=0, s_true=1.5, cl=0.9)
    rows = cells_in(distribution_table(distributions))
    covered = api.open_cube(store, "tiny").sel(cl=0.9, b=0.0, s_true=1.5, limit_method="bayes_jeffreys")
    assert rows["bayes_jeffreys"][6] == f"{1 - covered['n_upper_covered'].item() / 2000:.4f}"
    assert rows["classical"][6] == "0"
    low, high = map(float, rows["classical"][3].split("–"))
    assert low <= stats.gamma.ppf(0.9, 2) <= high


# slices


def test_slices_hold_the_maps_along_both_axes(maps):
    slices, both = Slices(Style()), [column_of(maps, label) for label in ("bayes_jeffreys", "f, c")]
    slices.show(both, looks_of(maps), (0, 2))
    for (quantity, along), each in slices.figures.items():
        at = {"b": 0.0} if along == "s_true" else {"s_true": 1.5}
        there = maps.sel(limit_method=["bayes_jeffreys", "f, c"], cl=0.9, **at)
        for source, name in ((each.toys, quantity), (each.exact, f"exact_{quantity}")):
            values = there[name].transpose("limit_method", along).to_numpy().ravel()
            assert source.data["y"] == values[np.isfinite(values)].tolist()
        assert (
            each.toys.data["low"]
            == there[f"{quantity}_low"].to_numpy().ravel()[np.isfinite(there[quantity].to_numpy().ravel())].tolist()
        )
    exact = slices.figures["coverage", "s_true"].exact.data
    assert exact["y"][2] == pytest.approx(1.0 - np.exp(-1.5), abs=1e-12)
    assert exact["x"][:6] == [0.0, 1.0, 1.5, 2.5, 4.0, 6.0]


def test_the_axis_of_coverage_reaches_down_to_the_curve(maps):
    slices = Slices(Style())
    slices.show([column_of(maps, "bayes_jeffreys")], looks_of(maps), (0, 2))
    drawn = slices.figures["coverage", "s_true"]
    assert drawn.figure.y_range.start < 1.0 - np.exp(-1.5)
    slices.draw_curve(([0.0, 1.0, 1.0, 2.0], [1.0, 1.0, 0.5, 0.8]))
    assert drawn.curve.data == {"x": [0.0, 1.0, 1.0, 2.0], "y": [1.0, 1.0, 0.5, 0.8]}
    assert drawn.figure.y_range.start < 0.5
    slices.show([column_of(maps, "classical")], looks_of(maps), (0, 2))
    assert drawn.curve.data == {"x": [], "y": []}
    assert drawn.figure.y_range.start > 0.5


def test_all_methods_can_be_told_apart_in_the_dark(maps):
    style = Style(dark=True)
    slices = Slices(style)
    slices.show([column_of(maps, label) for label in maps["limit_method"].to_numpy()], looks_of(maps), (0, 0))
    dark = slices.figures["coverage", "b"].toys.data
    assert len(set(zip(dark["colour"], dark["marker"], strict=True))) == 5
    style.change(dark=False)
    light = slices.figures["coverage", "b"].toys.data
    assert all(each < other for each, other in zip(light["colour"], dark["colour"], strict=True))


def test_the_curve_between_the_nodes_is_computed_when_it_is_asked_for(store, maps):
    """The limit of no count is 1.353: just above it coverage is 1 - exp(-1.353) = 0.7415."""

    async def ask():
        held, document = Held(store), Document()
        try:
            panel = CellPanel(lambda **_: None, Style(), held)
            document.add_root(panel.root)
            panel.show(Shown(store, View(**CELL), Side(maps, maps.attrs["snapshot"], "bayes_jeffreys", 0.9)))
            (asked,) = (
                each
                for each in panel.root.select({"type": CheckboxGroup})
                if each.labels and each.labels[0].startswith("Exact")
            )
            assert not asked.active
            held.in_child = held.in_thread  # a child would import all of covsvc again
            asked.active = [0]
            drawn = panel.slices.figures["coverage", "s_true"].curve
            for _ in range(150):
                await asyncio.sleep(0.1)
                for each in document.session_callbacks:
                    document.remove_next_tick_callback(each)
                    each.callback()
                if drawn.data["y"]:
                    return drawn.data["y"]
        finally:
            held.close()

    assert min(asyncio.run(ask())) == pytest.approx(1.0 - np.exp(-0.5 * stats.chi2.ppf(0.9, 1)), abs=1e-9)


# in the browser

MODEL = """name => {
  const found = Bokeh.documents[0]._all_models;
  const source = [...found.values()].find(each => each.type === "ColumnDataSource" && name in each.data);
  return Object.fromEntries(Object.entries(source.data).map(([key, values]) => [key, [...values]]));
}"""


@pytest.mark.browser
def test_browser_shows_the_limits_of_the_cell_that_is_clicked(tab, store):
    page = tab(**CELL)
    page.get_by_role("heading", name="Cell at s_true = 1.5, b = 0").wait_for()
    page.get_by_text("Each row holds the upper limits").wait_for()
    table = page.locator("table", has_text="All methods at s_true = 1.5, b = 0")
    expect(table.locator("tbody tr")).to_have_count(5)
    assert table.get_by_role("row", name="bayes_jeffreys").locator("td").nth(3).inner_text() == "0.7769"
    bars = page.evaluate(MODEL, "limit")
    of_jeffreys = [at for at, label in enumerate(bars["method"]) if label == "bayes_jeffreys"]
    upper = 0.5 * stats.chi2.ppf(0.9, 1)
    first = of_jeffreys[0]
    assert bars["left"][first] <= np.log10(upper) <= bars["right"][first]
    cube = api.open_cube(store, "tiny").sel(cl=0.9, b=0.0, s_true=1.5, limit_method="bayes_jeffreys")
    missed = 2000 - cube["n_covered"].item()
    assert bars["share"][first] == f"{missed / 2000:.4f} of 2,000"

    page.get_by_label("cell: b").select_option("3")
    page.get_by_role("heading", name="Cell at s_true = 1.5, b = 3").wait_for()
    page.wait_for_function(f"name => !({MODEL})(name).limit.includes({json.dumps(bars['limit'][first])})", arg="limit")
    assert set(page.evaluate(MODEL, "limit")["method"]) == {"classical", HARMFUL, "f, c", "bayes_jeffreys", "mine"}


@pytest.mark.browser
def test_browser_copies_the_command_with_the_keyboard_alone(tab, covsvc):
    page = tab(**{**CELL, "b": "", "s_true": ""})
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_text("No cell is chosen: this is where the coverage of bayes_jeffreys is lowest").wait_for()
    page.get_by_role("heading", name="Cell at s_true = 1.5, b = 0").wait_for()
    button = page.get_by_role("button", name="Copy the command")
    button.focus()
    page.keyboard.press("Enter")
    page.get_by_text("copied", exact=True).wait_for()
    command = shlex.split(page.evaluate("navigator.clipboard.readText()"))
    assert command[:3] == ["covsvc", "replay", "tiny"]
    code, out, _ = covsvc(*command[1:], "--json")
    assert code == 0
    assert {toy["data"][-1]["n"] for toy in json.loads(out)["toys"]} == {0}


@pytest.mark.browser
def test_browser_adds_a_method_to_the_slices_with_the_keyboard_alone(tab):
    page = tab(**CELL)
    box = page.get_by_role("checkbox", name="f, c")
    box.focus()
    page.keyboard.press("Space")
    page.wait_for_function(f"name => ({MODEL})(name).short.length === 2", arg="short")
    page.wait_for_url("**slices=f%2C+c**")
    own = page.get_by_role("checkbox", name="bayes_jeffreys")
    own.focus()
    page.keyboard.press("Space")
    expect(own).to_be_checked()
    table = page.get_by_role("checkbox", name="Coverage against s_true as a table")
    table.focus()
    page.keyboard.press("Space")
    shown = page.locator("table", has_text="Coverage at cl = 0.9, b = 0")
    expect(shown.locator("thead th")).to_have_text(["s_true", "bayes_jeffreys", "f, c"])
    assert "0.7769 exact" in shown.get_by_role("row", name="1.5").locator("td").first.inner_text()
