"""serve and token: who is let in, where it listens, what it logs, how it stops."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import xarray as xr
import yaml
from pages import blocks, commands, comparable
from service_store import cached as cached

from covsvc import api
from covsvc.service.serving import addresses_of, is_loopback, listen
from covsvc.service.tokens import Tokens, add_token, remove_token
from covsvc.study import study_of

PAGE = (Path(__file__).parents[1] / "docs" / "service.md").read_text()

CURL = """
import argparse, sys, urllib.error, urllib.request
parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("-s", action="store_true")
parser.add_argument("-H", action="append", default=[])
parser.add_argument("--data", type=str.encode)
asked = parser.parse_args()
headers = dict(each.split(": ", 1) for each in asked.H)
try:
    answer = urllib.request.urlopen(urllib.request.Request(asked.url, asked.data, headers))
except urllib.error.HTTPError as error:
    answer = error
sys.stdout.buffer.write(answer.read())
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory, cached):
    place = tmp_path_factory.mktemp("store")
    told = {"name": "tiny", "experiment": "counting", "methods": ["classical"], "cl": [0.9], "s_true": [0, 2], "b": [3]}
    api.run(study_of(told | {"toys_per_block": 1000, "n_toys": 1000, "seed": 1999}), place)
    api.read_maps(place, "tiny")  # kept, so that no child of a service has to make them
    return place


@contextmanager
def serving(*options):
    """Start a service; yield its process, and what it says of itself."""
    command = [sys.executable, "-m", "covsvc", "serve", "--port", "0", "--json", *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            told = ""
            while not told.endswith("}\n"):
                line = process.stdout.readline()
                assert line, process.stderr.read()
                told += line
            yield process, json.loads(told)
        finally:
            process.kill()


@pytest.mark.system
@pytest.mark.timeout(120)
def test_a_service_with_tokens_from_its_start_to_its_end(store, tmp_path):
    file = tmp_path / "tokens"
    first = add_token(file, "alice")
    with serving("--store", store, "--tokens", file) as (process, told):
        url = told["url"]
        assert (told["store"], told["studies"], told["tokens"]) == (str(store), ["tiny"], str(file))
        assert urlsplit(url).hostname == "127.0.0.1"
        with httpx.Client(base_url=url, timeout=60) as client:
            assert client.get("/healthz").status_code == 200
            assert client.get("/studies").status_code == 401
            found = client.get("/studies?x=in-a-query", headers={"Authorization": "Bearer in-a-header"})
            assert (found.status_code, "server" in found.headers) == (401, False)
            assert client.get(f"/studies/{first}").status_code == 401

            mine = {"Authorization": f"Bearer {first}"}
            assert client.get("/studies/tiny/history", params={"most": "1"}, headers=mine).status_code == 200

            second = add_token(file, "bob")
            yours = {"Authorization": f"Bearer {second}"}
            assert client.get("/studies", headers=yours).status_code == 200
            remove_token(file, "alice")
            assert client.get("/studies", headers=mine).status_code == 401

        options = {"client_kwargs": {"headers": yours}}
        with xr.open_zarr(f"{url}/studies/tiny/zarr", chunks=None, storage_options=options) as remote:
            xr.testing.assert_identical(remote.load(), api.open_cube(store, "tiny").load())

        log = []
        with socket.create_connection(("127.0.0.1", urlsplit(url).port)) as asking:
            head = ["POST /limits HTTP/1.1", "Host: x", f"Authorization: Bearer {second}", "Content-Length: 2"]
            asking.sendall("\r\n".join([*head, "Expect: 100-continue", "", ""]).encode())
            assert asking.recv(1000).startswith(b"HTTP/1.1 100 ")  # it waits for the rest
            process.send_signal(signal.SIGTERM)
            while "Shutting down" not in "".join(log):
                log.append(process.stderr.readline())
                assert log[-1]
            asking.sendall(b"{}")
            assert asking.recv(1000).startswith(b"HTTP/1.1 422 ")
        log.append(process.stderr.read())
        assert process.wait(30) == 0

    assert '"GET /studies/tiny/history HTTP/1.1" 200' in "".join(log)
    assert f"{file}: read again, 1 may read" in "".join(log)
    for secret in (first, second, "in-a-query", "in-a-header"):
        assert secret not in "".join(log)


@pytest.mark.system
@pytest.mark.timeout(120)
def test_the_page_shows_what_a_service_answers_until_ctrl_c(tmp_path, cached, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (study,) = blocks("yaml", PAGE)
    api.run(study_of(yaml.safe_load(study)), tmp_path / "store")
    api.read_maps(tmp_path / "store", "small")
    with serving("--store", tmp_path / "store", "--host", "localhost", "--log-level", "error") as (process, told):
        assert (told["studies"], told["tokens"]) == (["small"], None)
        here = PAGE.replace("http://127.0.0.1:8999", told["url"])
        path = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], str(stand_in(tmp_path))])
        }
        followed = [each for block in blocks("console", here) for each in commands(block)]
        assert len(followed) == 6
        for command, says in followed:
            ended = subprocess.run(
                command, shell=True, capture_output=True, text=True, timeout=60, env=os.environ | path
            )
            assert known(ended.stdout) == known(says), command
        session = {}
        for code, says in zip(blocks("python", here), blocks("text", here), strict=True):
            exec(compile(code, "service.md", "exec"), session)
            assert capsys.readouterr().out.split() == says.split()
        session["cube"].close()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == ""


def stand_in(folder):
    """Return a folder with a `curl` for machines without one, which can do what the page asks of it."""
    program = folder / "stand-in" / "curl"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{CURL}")
    program.chmod(0o755)
    return program.parent


def known(told):
    """Return what is printed without what is drawn."""
    return comparable(re.sub(r"covsvc_[\w-]{43}", "TOKEN", told))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_others_than_this_machine_need_tokens(covsvc, tmp_path, host):
    code, out, err = covsvc("serve", "--host", host)
    assert (code, out) == (2, "")
    assert "others than this machine could read all cubes, since there is no --tokens FILE" in err
    (tmp_path / "tokens").write_text("# nobody yet\n")
    code, out, err = covsvc("serve", "--host", host, "--tokens", "tokens")
    assert (code, out) == (2, "")
    assert "tokens holds no token; make one with `covsvc token add NAME --tokens FILE`" in err


@pytest.mark.parametrize(
    ("address", "stays_here"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.7", False),
        ("::ffff:192.0.2.7", False),
    ],
)
def test_what_reaches_this_machine_only_is_known(address, stays_here):
    assert is_loopback(addresses_of(address)) is stays_here


def test_a_host_with_one_address_elsewhere_is_elsewhere():
    assert not is_loopback(["127.0.0.1", "192.0.2.7"])


def test_a_proxy_is_an_address(covsvc):
    code, out, err = covsvc("serve", "--proxy", "10.0.0.0/8", "--proxy", "my-proxy")
    assert (code, out) == (2, "")
    assert "'my-proxy' does not appear to be an IPv4 or IPv6 network" in err


def test_answers_are_sent_at_once():
    """Or, on a connection that is kept, their second packet waits until the first is acknowledged, after 40 ms."""
    with listen(["127.0.0.1"], 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_where_it_cannot_listen_it_says_so(covsvc, store):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = covsvc("serve", "--store", store, "--port", port)
    assert (code, out) == (2, "")
    assert err == f"covsvc: 127.0.0.1, port {port}: Address already in use; choose another with --port\n"
    code, _, err = covsvc("serve", "--host", "nowhere.invalid")
    assert code == 2
    assert err.startswith("covsvc: --host nowhere.invalid: ")


def test_a_wrong_store_or_file_of_tokens_is_told_before_it_listens(covsvc, tmp_path):
    code, out, err = covsvc("serve", "--store", "ftp://bucket/prefix")
    assert (code, out) == (2, "")
    assert "no store is known at such URLs" in err
    (tmp_path / "tokens").write_text("alice\n")
    code, out, err = covsvc("serve", "--tokens", "tokens")
    assert (code, out) == (2, "")
    assert err == "covsvc: tokens:1: is not NAME sha256:HEX with one blank and 64 digits; remove or mend it\n"


def test_tokens_are_added_listed_and_removed(covsvc, tmp_path, monkeypatch):
    monkeypatch.setenv("COVSVC_TOKENS", str(tmp_path / "tokens"))
    code, token, err = covsvc("token", "add", "alice")
    assert (code, len(token.split())) == (0, 1)
    assert token.strip() not in err
    code, out, _ = covsvc("token", "add", "bob", "--json")
    assert (code, json.loads(out).keys()) == (0, {"name", "token"})
    assert covsvc("token", "list") == (0, "alice\nbob\n", "")
    assert covsvc("token", "remove", "alice")[0] == 0
    assert json.loads(covsvc("token", "list", "--json")[1]) == ["bob"]
    assert json.loads(covsvc("token", "remove", "bob", "--json")[1]) == {"name": "bob", "removed": True}
    assert Tokens(tmp_path / "tokens").owner(token.strip()) is None


def test_a_name_that_has_a_token_and_one_that_has_none_are_refused(covsvc):
    covsvc("token", "add", "alice", "--tokens", "tokens")
    code, out, err = covsvc("token", "add", "alice", "--tokens", "tokens")
    assert (code, out) == (2, "")
    assert err == "covsvc: tokens: alice has a token; take it away first with `covsvc token remove alice`\n"
    assert covsvc("token", "remove", "eve", "--tokens", "tokens")[0] == 2
    assert covsvc("token", "list")[0] == 2
