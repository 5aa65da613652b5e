"""Speed of the dashboard as its readers see it: in a real Chromium, until all is drawn.

    python benchmarks/dashboard_views.py STORE STUDY [--pictures FOLDER]

Says the median time of the first view, and of later changes: another method, another level, a cell, the other pages.
With --pictures draws those of the documentation, too. Needs playwright, and Chromium at /usr/bin/chromium.
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import sync_playwright

from covsvc import api

DRAWN = """told => window.Bokeh?.documents.length > 0 && Bokeh.documents.every(each => each.is_idle)
  && location.search.includes(told) && document.getElementById("heading").textContent.length > 7
  && !document.getElementById("progress").textContent.startsWith("Reading")
  && new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("study")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=Path, help="folder for the pictures of the documentation")
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "covsvc", "dashboard", "--store", arguments.store, "--port", "0"]
    server = subprocess.Popen([*command, "--log-level", "warning"], stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        base = next(iter(server.stdout or ())).split()[0].rstrip(":")
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            look(browser, base, arguments)
            if arguments.pictures:
                draw(browser, base, arguments)
            browser.close()
    finally:
        server.terminate()
        server.wait(30)


def look(browser: Any, base: str, arguments: argparse.Namespace) -> None:
    maps = api.read_maps(arguments.store, arguments.study)
    labels, levels = maps["limit_method"].values.tolist(), maps["cl"].values.tolist()
    b, s_true = (float(maps[name].values[maps.sizes[name] // 2]) for name in ("b", "s_true"))
    took: dict[str, list[float]] = defaultdict(list)
    for number in range(arguments.rounds):
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        address = f"{base}/?{urlencode({'study': arguments.study, 'limit_method': labels[0], 'cl': levels[0]})}"

        def time_of(what: str, do: Callable[[], Any], told: str, page: Any = page) -> None:
            begun = time.perf_counter()
            do()
            page.wait_for_function(DRAWN, arg=told)
            took[what].append(time.perf_counter() - begun)

        label, level = labels[1 + number % (len(labels) - 1)], levels[-1]
        time_of("first view", lambda page=page, address=address: page.goto(address), labels[0])
        time_of("another method", choice(page, "limit method", label), urlencode({"limit_method": label}))
        time_of("another level", choice(page, "confidence level (cl)", f"{level:.12g}"), f"cl={level:g}")
        time_of("a cell", choice(page, "cell: background b", f"{b:.12g}"), f"b={b:.12g}")
        time_of("another cell", choice(page, "cell: true signal s_true", f"{s_true:.12g}"), f"s_true={s_true:.12g}")
        for name, told in (("All methods", "methods"), ("Compare", "compare"), ("History", "history"), ("Maps", "")):
            press = page.get_by_role("button", name=name, exact=True).click
            time_of(f"page {name}, round {1 + (number > 0)}", press, f"page={told}" if told else "")
        page.context.close()
    for what, seconds in took.items():
        print(f"{what:28} {statistics.median(seconds):.2f} s (longest {max(seconds):.2f} s)", flush=True)


def choice(page: Any, name: str, value: str) -> Callable[[], Any]:
    """Return what chooses a value of a select."""
    return lambda: page.get_by_label(name, exact=True).select_option(label=value)


def draw(browser: Any, base: str, arguments: argparse.Namespace) -> None:
    views = {
        "maps": (750, {"limit_method": "bayes_jeffreys", "cl": 0.9}),
        "compare": (1200, {"page": "compare", "limit_method": "bayes_jeffreys", "cl": 0.9, "other": "classical"}),
        "methods": (1100, {"page": "methods", "cl": 0.9}),
    }
    for name, (height, view) in views.items():
        page = browser.new_context(viewport={"width": 1280, "height": height}).new_page()
        page.goto(f"{base}/?{urlencode({'study': arguments.study, **view})}")
        page.wait_for_function(DRAWN, arg="")
        page.wait_for_timeout(1000)
        drawn = Image.open(io.BytesIO(page.screenshot()))
        drawn.convert("RGB").save(arguments.pictures / f"dashboard-{name}.png", optimize=True)
        page.context.close()


if __name__ == "__main__":
    main()
