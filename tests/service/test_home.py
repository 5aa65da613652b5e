"""The page that people see first."""

from __future__ import annotations

import pytest


@pytest.mark.browser
def test_browser_shows_the_page_to_everybody(served):
    """In both schemes and on a telephone: axe finds nothing that keeps readers out, and nobody else is asked."""
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    base, asked, said = str(served.client.base_url), [], []
    with sync_playwright() as started:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = started.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        for scheme, width in (("light", 390), ("dark", 1280)):
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
            tab = context.new_page()
            tab.on("request", lambda request: asked.append(request.url))
            tab.on("pageerror", lambda error: said.append(str(error)))
            tab.goto(base)
            assert tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
            violations = Axe().run(tab).response["violations"]
            assert [(each["id"], each["nodes"][0]["html"]) for each in violations] == []
            context.close()
        browser.close()
    assert all(url.startswith(base) for url in asked)
    assert said == []
