"""The coverage map in the dashboard of real clusters."""

from __future__ import annotations

import importlib
import json
import logging
import subprocess
import sys
import time
from contextlib import contextmanager

import dask
import numpy as np
import pytest
from dashboard_store import HARMFUL

from covsvc import api
from covsvc.engine.clusters import page as announced
from covsvc.engine.clusters.local import connect
from covsvc.study import study_of

pytestmark = pytest.mark.system

STUDY = {
    "name": "ran",
    "experiment": "counting",
    "methods": ["classical", {"name": "cls", "label": HARMFUL}],
    "cl": [0.9],
    "s_true": [0, 1, 2.5],
    "b": [0, 3],
    "toys_per_block": 500,
    "n_toys": 1000,
    "seed": 1999,
}

NO_PRELOAD = {"distributed.scheduler.preload": []}
"""As it is where no local cluster runs."""

PATIENCE = 20_000
"""Milliseconds that anything on a page may take."""

VALUES = """() => {
    const sources = [...Bokeh.documents[0]._all_models.values()].filter((each) => each.type === "ColumnDataSource");
    return Array.from(sources.find((each) => "value" in each.data).data.value);
}"""
"""What is painted, cell by cell."""

WITHOUT_BOKEH = """
import json
import sys
sys.modules["bokeh"] = None
from covsvc import api
from covsvc.study import study_of
if __name__ == "__main__":
    cube = api.run(study_of(json.loads(sys.argv[1])), sys.argv[2], "local", n_workers=1, tell=print)
    print(int(cube["n_toys"].min()))
"""


def wait_for_values(page, wanted):
    """Wait until these numbers are painted, to the last bit."""
    page.wait_for_function(
        f"wanted => JSON.stringify(({VALUES})()) === JSON.stringify(wanted)", arg=wanted.ravel().tolist()
    )


@pytest.fixture(scope="module")
def client(store):
    """Start a local cluster, as a run does it."""
    with connect(1, {}) as client:
        yield client


@pytest.fixture
def tab(browser):
    """Open addresses; in the end nobody else was asked, and no page found an error."""
    contexts, asked, said = [], [], []

    def open_address(address, **size):
        context = browser.new_context(viewport={"width": 1000, "height": 700} | size)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.goto(address)
        return page

    yield open_address
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith(("http://127.0.0.1:", "data:"))] == []
    assert said == []


@contextmanager
def scheduler(*options, folder):
    """Run `dask scheduler` with the page, without workers; yield its process and the address of its dashboard."""
    told = folder / "scheduler.json"
    command = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0"]
    command += ["--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(told)]
    command += ["--preload", "covsvc_dashboards.dask_page", *options]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while not (told.exists() and told.read_text().endswith("}")):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the scheduler does not start"
            time.sleep(0.02)
        yield process, f"http://127.0.0.1:{json.loads(told.read_text())['services']['dashboard']}"
    finally:
        process.terminate()
        process.wait(20)


def page_of(client):
    return client.dashboard_link.replace("/status", "/individual-covsvc-coverage")


@pytest.mark.browser
def test_map_fills_while_studies_run(client, tab, tmp_path):
    store, told = tmp_path / "store", []
    page = tab(page_of(client))
    page.get_by_text("No study has run on this cluster since").wait_for()

    api.run(study_of(STUDY), store, client, tell=told.append)
    assert told == [f"ran: the map while it is made: {page_of(client)}"]
    page.get_by_text("None of 6 cells is significantly below cl.").wait_for()

    cube = api.run(study_of(STUDY | {"s_true": [0, 1, 2.5, 6]}), store, client)
    page.get_by_text(f"None of 8 cells is significantly below cl. Snapshot {cube.attrs['snapshot'][:8]}.").wait_for()
    exact = cube["exact_coverage"].transpose("limit_method", "cl", "b", "s_true").to_numpy()
    wait_for_values(page, exact[0, 0])

    page.get_by_label("limit method").select_option(HARMFUL)
    page.get_by_text(f"Map of the coverage of {HARMFUL}").wait_for()
    wait_for_values(page, exact[1, 0])
    tab(page_of(client)).get_by_text("Map of the coverage of classical").wait_for()  # the next reader


@pytest.mark.browser
def test_scheduler_with_a_store_shows_its_studies_until_it_ends(store, browser, tmp_path):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.set_default_timeout(PATIENCE)
    with scheduler("--store", store, folder=tmp_path) as (process, address):
        page.goto(f"{address}/individual-plots.json")
        assert json.loads(page.inner_text("body"))["Individual Covsvc Coverage"] == "/individual-covsvc-coverage"
        page.goto(f"{address}/individual-covsvc-coverage?study=tiny&limit_method=bayes_jeffreys&cl=0.8")
        # at b = 0 its limit on no event is 1.353: it covers 1.5 where there is an event
        page.get_by_text(f"From {1 - np.exp(-1.5):.4f} at s_true = 1.5, b = 0").wait_for()
        page.get_by_text("cl = 0.8: not on the grid").wait_for()
        page.get_by_label("Map of coverage as a table").check()
        page.get_by_role("cell", name=f"{1 - np.exp(-1.5):.4f} below").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.get_by_label("study").select_option("events")
        page.get_by_text("Map of the coverage of max_gap").wait_for()
        process.terminate()
        page.get_by_text("The scheduler has ended, or cannot be reached.").wait_for()
    page.close()


@pytest.mark.browser
def test_store_that_the_scheduler_cannot_read_is_told_with_the_cure(client, tab):
    assert announced.show_run(client, "/nowhere/store", "lost") == page_of(client)
    said = tab(f"{page_of(client)}?study=lost").get_by_text("The scheduler cannot read lost in /nowhere/store:")
    said.wait_for()
    assert "--preload covsvc_dashboards.dask_page --store FOLDER|URL" in said.inner_text()


@pytest.mark.browser
def test_page_that_fails_leaves_the_cluster_as_it_is(client, tab, monkeypatch, caplog):
    content = importlib.import_module("covsvc_dashboards.dask_map")
    monkeypatch.setattr(content, "DaskMap", lambda *_: 1 // 0)
    tab(page_of(client)).get_by_text("The page cannot be shown (ZeroDivisionError)").wait_for()
    assert client.submit(sum, (1, 2)).result(20) == 3
    assert "the page of covsvc cannot be shown" in caplog.text


def test_run_without_bokeh_has_no_page(tmp_path):
    (tmp_path / "driver.py").write_text(WITHOUT_BOKEH)
    command = [sys.executable, str(tmp_path / "driver.py"), json.dumps(STUDY), str(tmp_path / "store")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert (ended.stdout, ended.stderr) == ("1000\n", "")


def test_page_that_cannot_be_imported_is_not_asked_for(tmp_path, monkeypatch):
    (tmp_path / "no_page.py").write_text("raise RuntimeError('no such luck')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with dask.config.set(NO_PRELOAD):
        assert announced.with_page() == {"distributed.scheduler.preload": [announced.PAGE]}
        for missing in ("no_page", "nowhere.at_all"):
            monkeypatch.setattr(announced, "PAGE", missing)
            assert announced.with_page() == {}


def test_what_a_site_preloads_stays():
    with dask.config.set({"distributed.scheduler.preload": "theirs"}):
        assert announced.with_page() == {"distributed.scheduler.preload": ["theirs", announced.PAGE]}
        with dask.config.set(announced.with_page()):
            assert announced.with_page() == {}
        with dask.config.set({"distributed.scheduler.preload-argv": [["--verbose"]]}):
            assert announced.with_page() == {}


def test_dask_that_keeps_its_pages_elsewhere_has_none_of_ours(monkeypatch, caplog):
    from distributed.dashboard import scheduler as pages

    monkeypatch.delattr(pages, "applications")
    monkeypatch.delitem(sys.modules, announced.PAGE)
    with caplog.at_level(logging.DEBUG, "covsvc.dashboard"):
        importlib.import_module(announced.PAGE)
    assert "no page in Dask's dashboard: ImportError" in caplog.text
