"""Reports over HTTP: drawn once a commit, by a process of their own, and no path leads elsewhere."""

from __future__ import annotations

import time

import pytest
from service_store import STUDY, running

from covsvc import api
from covsvc.service import make_app
from covsvc.service.answers import code
from covsvc.study import study_of

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = str(tmp_path_factory.mktemp("reports") / "store")
    api.run(study_of(STUDY | {"methods": ["classical"], "cl": [0.9], "s_true": [0, 2.5], "b": [3]}), place)
    return place


def test_a_report_is_drawn_once_and_leads_nowhere_else(tmp_path, store, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("covsvc.service.routes.PATIENCE", 0.0)
    snapshot = api.read_maps(store, "tiny").attrs["snapshot"]  # kept: no child has to make them
    (tmp_path / "secret").write_text("secret")
    with running(make_app(store)) as client:
        lead = client.get("/report/tiny")
        assert (lead.status_code, lead.headers["location"]) == (307, f"tiny/{snapshot}/index.html")
        lead = client.get("/report/tiny/summary.md")
        assert (lead.status_code, lead.headers["location"]) == (307, f"{snapshot}/summary.md")
        page = client.get(f"/report/tiny/{snapshot}/index.html")
        assert (page.status_code, page.headers["refresh"]) == (202, "5")
        assert "is being drawn" in page.text
        deadline = time.monotonic() + 120
        while page.status_code == 202:
            assert time.monotonic() < deadline
            time.sleep(0.2)
            page = client.get("/report/tiny", follow_redirects=True)
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        folder = tmp_path / "cache" / "covsvc" / "reports" / f"tiny-{snapshot}-{code()}"
        drawn = folder.stat().st_ino
        assert page.text == (folder / "index.html").read_text()
        at = f"/report/tiny/{snapshot}"
        assert client.get(f"{at}/tables/cells.csv").text.startswith("limit_method,cl,b,s_true")
        assert client.get(f"{at}/index.html", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
        assert client.get(f"{at}/").content == page.content
        for path in ("..%2f..%2f..%2f..%2fsecret", "tables", "tables/..%2findex.html", "%2e", "index.html%00", "*"):
            assert client.get(f"{at}/{path}").status_code == 404, path
        assert folder.stat().st_ino == drawn
    assert [each.name for each in folder.parent.iterdir()] == [folder.name]


def test_a_place_that_cannot_be_written_is_said(tmp_path, store, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with running(make_app(store)) as client:
        response = client.get("/report/tiny", follow_redirects=True)
        assert response.status_code == 503
        assert "has no place" in response.json()["error"]
        assert client.get("/studies/tiny/coverage?most=1").status_code == 200
