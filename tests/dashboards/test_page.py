"""The page in a browser: what is chosen, its address, its theme, and work that goes on."""

from __future__ import annotations

import re

import pytest
from dashboard_store import EVENTS, STUDY, rest, running
from playwright.sync_api import expect

from covsvc import api
from covsvc.study import study_of

pytestmark = pytest.mark.browser

FIGURE = """colour => [...Bokeh.documents[0]._all_models.values()].filter(
  each => each.type === "Figure" && each.border_fill_color !== colour).length"""
"""How many figures do not have a colour."""

BAYES = {"study": "tiny", "limit_method": "bayes_jeffreys", "cl": 0.9}


def focus(page, name, press="Tab"):
    """Press a key until what has this name, or is in a widget with this label, has the focus."""
    for _ in range(60):
        page.keyboard.press(press)
        held = page.evaluate(
            """() => { let at = document.activeElement; while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
            return at.getAttribute("aria-label") || at.labels?.[0]?.textContent || at.textContent; }"""
        )
        if held.strip().startswith(name):
            return
    raise AssertionError(f"{name} is not reached by {press}")


def work(study, store):
    """Run a study, and make its maps, as `covsvc run` does."""
    api.run(study_of(study), store, None)
    api.read_maps(store, study["name"])


def test_what_is_chosen_is_shown_and_in_the_address(tab):
    page = tab(study="tiny")
    assert page.url.endswith("/?study=tiny&limit_method=classical&cl=0.9")
    page.get_by_label("limit method").select_option("bayes_jeffreys")
    page.wait_for_url("**/?study=tiny&limit_method=bayes_jeffreys&cl=0.9")
    expect(page.locator("h1")).to_have_text("tiny: bayes_jeffreys at cl = 0.9")
    expect(page.locator("#sentence")).to_contain_text("Lowest coverage")
    page.get_by_label("confidence level").select_option("0.95")
    page.wait_for_url("**&cl=0.95")
    page.get_by_label("cell: true signal").select_option("2.5")
    page.wait_for_url(re.compile(r"&cl=0.95&b=\d&s_true=2.5$"))
    page.go_back()  # choosing a cell is no step
    expect(page.locator("h1")).to_have_text("tiny: bayes_jeffreys at cl = 0.9")
    page.wait_for_url("**/?study=tiny&limit_method=bayes_jeffreys&cl=0.9")
    expect(page.get_by_label("limit method")).to_have_value("bayes_jeffreys")
    commit = page.get_by_label("commit")
    commit.select_option(label=commit.locator("option", has_text="baseline v1").text_content())
    page.wait_for_url("**/?study=tiny&at=v1*&limit_method=bayes_jeffreys&cl=0.9")
    page.get_by_label("study").select_option("events")
    page.wait_for_url("**/?study=events&limit_method=max_gap&cl=0.9")


def test_sentence_says_where_coverage_is_lowest(tab):
    """At b = 0 bayes_jeffreys excludes s_true = 1.5 on no event: it covers with probability 1 - exp(-1.5) = 0.7769."""
    page = tab(**BAYES)
    expect(page.locator("#sentence")).to_contain_text("Lowest coverage on the grid 0.7769 at s_true = 1.5, b = 0")


def test_address_of_every_page_reproduces_the_view(tab):
    asked = "study=tiny&at=first&page={}&limit_method=f%2C+c&cl=0.95&b=3&s_true=4&s_low=1&other=classical&other_at=v1"
    for name in ("compare", "maps"):
        page = tab(asked.format(name).replace("&page=maps", ""))
        assert page.url.rpartition("?")[2] == asked.format(name).replace("&page=maps", "")
        expect(page.get_by_label("cell: true signal")).to_have_value(re.compile("^4"))
        expect(page.get_by_label("cell: background")).to_have_value(re.compile("^3"))
        expect(page.get_by_label("commit", exact=True).first).to_have_value(re.compile("first"))
    for name in ("All methods", "History", "Compare"):
        page.get_by_role("navigation").get_by_role("button", name=name).click()
        expect(page.get_by_role("navigation").locator("[aria-current=page]")).to_have_text(name)
        rest(page)


def test_address_without_a_study_is_of_the_first(tab):
    assert tab("limit_method=poisson&b=1&s_true=2").url.endswith(
        "/?study=events&limit_method=poisson&cl=0.9&b=1&s_true=2"
    )


def test_what_is_wrong_in_an_address_is_said(tab):
    page = tab("study=no+such&cl=x&page=maps&at=nowhere")
    said = page.locator("#wrong")
    expect(said).to_contain_text("no such")
    expect(said).to_contain_text("cl = x")
    page = tab("study=tiny&limit_method=%3Cb%3Enone%3C%2Fb%3E&b=7&s_true=1&at=nowhere&theme=green")
    said = page.locator("#wrong")
    expect(said).to_contain_text("limit_method = <b>none</b>")
    expect(said).to_contain_text("b = 7")
    expect(said).to_contain_text("at = nowhere")
    expect(said).to_contain_text("theme = green")
    expect(page).to_have_url(re.compile(r"/\?study=tiny&limit_method=classical&cl=0.9&b=\d&s_true=1$"))


def test_theme_follows_the_system_until_one_is_chosen(tab):
    page = tab(study="tiny", scheme="dark")
    page.wait_for_function(f"({FIGURE})('#14161a') === 0")
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"({FIGURE})('#ffffff') === 0")
    page.get_by_role("button", name="Dark").click()
    page.wait_for_function(f"({FIGURE})('#14161a') === 0")
    page.wait_for_url("**&theme=dark")
    page.emulate_media(color_scheme="light")
    page.reload()
    rest(page)
    assert page.evaluate(FIGURE, "#14161a") == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"


def test_everything_is_reached_with_the_keyboard(tab):
    page = tab(**BAYES)
    focus(page, "limit method")
    page.keyboard.press("ArrowDown")
    page.wait_for_url("**limit_method=mine&cl=0.9")
    focus(page, "confidence level")
    page.keyboard.press("ArrowDown")
    page.wait_for_url("**&cl=0.95")
    focus(page, "lowest s_true")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**&s_low=0.5")
    focus(page, "cell: background b")
    page.keyboard.press("ArrowDown")
    page.wait_for_url("**&b=0&s_true=*")
    focus(page, "Whole map")
    page.keyboard.press("Enter")
    page.wait_for_url("**limit_method=mine&cl=0.95")
    with page.expect_download() as download:
        focus(page, "Download coverage as PNG")
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "tiny-mine-cl0.95-coverage.png"
    focus(page, "Dark", "Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**&theme=dark")
    focus(page, "History")
    page.keyboard.press("Space")
    page.wait_for_url("**page=history**")


def test_page_follows_work_that_goes_on(browser, tmp_path):
    """Half of the toys, and then, while the page is open, all: the cell that was chosen stays."""
    store, study = str(tmp_path / "store"), EVENTS | {"name": "live"}
    page = browser.new_context().new_page()
    page.set_default_timeout(15_000)
    with running(store) as address:
        page.goto(f"{address}/?study=live&cl=0.9")
        expect(page.locator("#wrong")).to_contain_text("covsvc run", timeout=15_000)
        assert page.url.endswith("/?study=live&cl=0.9")  # what is asked for is not lost while nothing can be shown
        work(study | {"n_toys": 200}, store)
        page.goto(f"{address}/?study=live&limit_method=poisson&cl=0.9&b=1&s_true=5")
        expect(page.get_by_text("of 200").first).to_be_visible(timeout=60_000)  # a child starts first
        work(study | {"n_toys": 400}, store)
        expect(page.get_by_text("of 400").first).to_be_visible(timeout=60_000)
        assert page.url.endswith("/?study=live&limit_method=poisson&cl=0.9&b=1&s_true=5")
    page.context.close()


def test_studies_differ(tab):
    """Another study begins with its own methods; nothing of the cell before is left."""
    page = tab(study="tiny", limit_method=STUDY["methods"][0], b=3, s_true=6, s_low=1)
    page.get_by_label("study").select_option("events")
    page.wait_for_url("**/?study=events&limit_method=max_gap&cl=0.9")
    assert page.locator("#wrong").text_content() == ""
