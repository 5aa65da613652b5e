"""The real study, as a user runs it: on a local cluster, from the command line, with its report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from agreement import hold_toys_to_exact_values

import covsvc

pytestmark = [pytest.mark.heavy, pytest.mark.system]

STUDY = Path(__file__).parents[2] / "deploy" / "studies" / "cleo-tau-mu-gamma.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cleo")


@pytest.fixture(scope="module")
def told(folder):
    """Run the study, and return what it printed."""
    command = [sys.executable, "-m", "covsvc", "run", str(STUDY), "--workers", "2", "--report", "report"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def cube(told, folder):
    return covsvc.open_cube(folder / "coverage-cubes", "cleo-tau-mu-gamma").load()


# I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Table 1; Feldman-Cousins there is "about 2.5"
@pytest.mark.parametrize(
    ("method", "upper"),
    [
        ("bayes_flat", 3.57),
        ("bayes_jeffreys", 3.30),
        ("bayes_reciprocal", 3.06),
        ("classical", 1.18),
        ("feldman_cousins", 2.45),
    ],
)
def test_the_table_holds_narskys_limits_at_90_percent(told, method, upper):
    (line,) = (line for line in told.stdout.splitlines() if line.split()[:2] == [method, "0.90"])
    limit = float(line.split("<" if "<" in line else ",")[1].strip(" ]").split()[0].rstrip("]"))
    assert limit == pytest.approx(upper, abs=5e-3)


def test_toys_agree_with_exact_coverage_in_all_cells(cube, record_property):
    """Hold 7840 counts to their exact probabilities: the smallest exact p times the number of distinct ones."""
    assert (cube["n_toys"] == 1_000_000).all()
    product, said = hold_toys_to_exact_values(cube)
    record_property("comparisons", said)
    assert product >= 1e-3, said


def test_the_median_of_the_toys_agrees_with_the_exact_one(cube):
    maps = covsvc.summarize(cube)
    exact, low, high = maps["exact_median_upper"], maps["sigma_med_low"], maps["sigma_med_high"]
    # 95 % intervals, widened to bins; a discrete median lies outside only where its probability is within noise of 1/2
    inside = ((exact >= low) & (exact <= high)).mean().item()
    assert inside >= 0.95


def test_what_promises_coverage_keeps_it_and_the_priors_do_not(told, cube):
    assert "cleo-tau-mu-gamma: passed. All 16 columns that promise coverage keep it; 4 do not promise it" in told.stdout
    worst = covsvc.summarize(cube)["worst_coverage"].min("b")
    promising = [name for name in worst["limit_method"].values if not name.startswith(("bayes_j", "bayes_r"))]
    assert (worst.sel(limit_method=promising) >= worst["cl"] - 1e-9).all()
    # no posterior without events and background: nothing is covered at s = b = 0
    assert (worst.sel(limit_method="bayes_reciprocal") == 0).all()


def test_a_live_line_told_how_far_it_was(told):
    lines = [line for line in told.stderr.splitlines() if "toys/s" in line]
    assert lines[0].startswith("0/392 cells")
    assert lines[-1].startswith("392/392 cells  392,000,000 toys")


def test_the_report_and_its_pictures_are_there(told, folder):
    page = folder / "report" / "index.html"
    assert told.stdout.rstrip().endswith("report/index.html")
    assert "<h1" in page.read_text()
    figures = {path.name for path in (page.parent / "figures").iterdir()}
    for kind in ("coverage", "sigma"):
        assert {f"{kind}-feldman_cousins-0.95.{form}" for form in ("png", "svg")} <= figures


def test_run_again_it_does_nothing_and_says_so(told, folder):
    command = [sys.executable, "-m", "covsvc", "run", str(STUDY), "--json"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    assert "complete already, nothing to compute" in ended.stderr
    assert json.loads(ended.stdout)[0]["computed"] == {"toys": 0, "exact_rows": 0}


@pytest.mark.browser
def test_the_report_opens_in_a_browser_without_network(told, folder):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_context(offline=True).new_page()
        asked, wrong = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        drawn = 0
        for file in [folder / "report" / "index.html", *sorted((folder / "report").glob("method-*.html"))]:
            page.goto(file.as_uri())
            assert page.locator("h1").is_visible()
            drawn += page.locator("svg").count()
        assert drawn >= 40
        browser.close()
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert not wrong
