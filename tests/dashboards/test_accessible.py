"""The dashboard for everybody: in both schemes, on a telephone, with a screen reader, without a mouse."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from dashboard_store import HARMFUL, rest
from playwright.sync_api import expect

from covsvc_dashboards.view import PAGES

pytestmark = pytest.mark.browser

TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def violations(page):
    """Return what keeps readers out, by the rules of axe, and where."""
    found = Axe().run(page).response["violations"]
    return [(each["id"], node["target"], node["html"][:200]) for each in found for node in each["nodes"]]


@pytest.mark.parametrize("shown", PAGES)
def test_nothing_keeps_readers_out(tab, shown):
    page = tab(study="tiny", page=shown, limit_method=HARMFUL, cl=0.9, b=0, s_true=1.5)
    twins = page.get_by_label(re.compile("as a table$"))
    twins.first.wait_for()
    assert violations(page) == []
    tables = page.locator("table caption:visible")
    open_already = tables.count()
    for number in range(twins.count()):
        twins.nth(number).check()
    expect(tables).to_have_count(open_already + twins.count())
    page.emulate_media(color_scheme="dark")
    page.get_by_role("button", name="Light").wait_for()
    page.set_viewport_size({"width": 390, "height": 800})
    rest(page)
    assert violations(page) == []
    assert page.evaluate(TOO_WIDE) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_never_white_in_the_dark(tab, scheme):
    """Whatever is seen first has the colours of the theme that the reader chose, and not of the system."""
    page = tab(study="tiny", theme="dark", scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = [int(each) for each in paper.removeprefix("rgb(").removesuffix(")").split(",")]
    assert max(light) < 64
    assert page.locator("h1").inner_text()
