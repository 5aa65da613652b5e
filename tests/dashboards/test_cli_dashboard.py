"""dashboard: where it listens, whom it lets in, what it says and logs, how it stops."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from covsvc.service.tokens import add_token


@contextmanager
def serving(*options, **more):
    """Start a dashboard; yield its process, and what it says of itself."""
    command = [sys.executable, "-m", "covsvc", "dashboard", "--port", "0", *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more) as process:
        try:
            told = process.stdout.readline()
            while told.startswith("{") and not told.endswith("}\n"):
                line = process.stdout.readline()
                assert line, process.stderr.read()
                told += line
            yield process, told
        finally:
            process.kill()


@pytest.mark.system
@pytest.mark.timeout(120)
def test_a_dashboard_with_tokens_from_its_start_to_its_end(store, tmp_path):
    token = add_token(tmp_path / "tokens", "alice")
    with serving("--store", store, "--tokens", tmp_path / "tokens", "--json") as (process, said):
        told = json.loads(said)
        assert told["store"] == store
        assert told["studies"] == ["events", "tiny"]
        assert told["tokens"] == str(tmp_path / "tokens")
        assert urlsplit(told["url"]).hostname == "127.0.0.1"
        with httpx.Client(base_url=told["url"], timeout=60) as client:
            assert client.get("/healthz").json() == {"status": "ok"}
            assert client.get("/?study=in-a-query").status_code == 302
            assert client.get(f"/{token}", headers={"Authorization": "Bearer in-a-header"}).status_code == 401
            page = client.get("/?study=tiny", headers={"Authorization": f"Bearer {token}"})
            assert page.status_code == 200
        process.send_signal(signal.SIGTERM)
        out, log = process.communicate(timeout=30)
        assert (process.returncode, out) == (0, "")
    assert '"GET /healthz HTTP/1.1" 200' in log
    assert '"GET /TOKEN HTTP/1.1" 401' in log
    assert "stopped by SIGTERM" in log
    for secret in (token, "in-a-query", "in-a-header", "Traceback"):
        assert secret not in log


@pytest.mark.system
@pytest.mark.timeout(120)
def test_a_dashboard_opens_in_the_browser_and_ends_with_ctrl_c(tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/part && mv {tmp_path}/part {tmp_path}/opened\n')
    browser.chmod(0o755)
    options = "--store", tmp_path / "empty", "--host", "localhost", "--log-level", "error", "--open"
    with serving(*options, env={"BROWSER": f"{browser} %s", "HOME": str(tmp_path)}) as (process, said):
        url = said.split(": ")[0]
        assert said == f"{url}: {tmp_path / 'empty'}, which holds no study yet\n"
        deadline = time.monotonic() + 30
        while not (tmp_path / "opened").exists():
            assert time.monotonic() < deadline, "no browser was opened"
            time.sleep(0.05)
        assert (tmp_path / "opened").read_text() == url
        assert httpx.get(url, timeout=60).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 130


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_others_than_this_machine_need_tokens(covsvc, tmp_path, host):
    code, out, err = covsvc("dashboard", "--host", host)
    assert (code, out) == (2, "")
    assert "others than this machine could read all cubes, since there is no --tokens FILE" in err


def test_where_it_cannot_listen_it_says_so(covsvc):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = covsvc("dashboard", "--port", port)
    assert (code, out) == (2, "")
    assert err == f"covsvc: 127.0.0.1, port {port}: Address already in use; choose another with --port\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--store", "ftp://bucket/prefix"), "no store is known at such URLs"),
        (("--tokens", "nowhere"), "`covsvc token add NAME --tokens nowhere` makes one"),
        (("--proxy", "my-proxy"), "'my-proxy' does not appear to be an IPv4 or IPv6 network"),
        (("--most-readers", "0"), "Invalid value for '--most-readers'"),
    ],
)
def test_wrong_options_are_told_before_it_listens(covsvc, options, said):
    code, out, err = covsvc("dashboard", *options)
    assert (code, out) == (2, "")
    assert said in err


def test_a_package_that_is_missing_is_named_with_the_cure(covsvc, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    code, out, err = covsvc("dashboard")
    assert (code, out) == (2, "")
    assert 'bokeh: not installed, dashboard needs it: pip install "covsvc[dashboard]"' in err
