"""The server of the dashboard: who is let in, what it sends, how much it takes, how pages end and come back."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import socket
import struct
import time
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from dashboard_store import AT_REST, running
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from covsvc.service.tokens import add_token, remove_token
from covsvc_dashboards import login
from covsvc_dashboards import server as server_module
from covsvc_dashboards.login import Readers

get = partial(httpx.get, timeout=60)

HTML = {"Accept": "text/html"}
SCRIPT = "/own/page.js"
PATHS = (
    "/",
    "/healthz",
    "/own/page.js",
    "/static/js/bokeh.min.js",
    "/table.csv?cl=x",
    "/nothing",
    "/ws",
    "/favicon.ico",
)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """Return a file with the tokens of Alice and Bob, and those."""
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    return path, add_token(path, "alice"), add_token(path, "bob")


@pytest.fixture(scope="module")
def closed(store, tokens):
    """Serve the store to those who have a token, behind a proxy on this machine; return the address."""
    with running(store, tokens=tokens[0], proxies=["127.0.0.1"]) as address:
        yield address


@pytest.fixture
def guest(closed):
    with httpx.Client(base_url=closed, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def session(server):
    """Return what a page connects with."""
    return session_of(get(server))


def sign_in(client, token, view="", **headers):
    """Send the form of the sign-in page."""
    form = client.get("/login", params={"view": view} if view else {}).text
    (xsrf,) = re.findall(r'name="_xsrf" value="([^"]+)"', form)
    return client.post("/login", data={"_xsrf": xsrf, "view": view, "token": token}, headers=headers)


def session_of(page):
    """Return the session token that a page connects with."""
    return re.search(r'"token":"([^"]+)"', page.text)[1]


@contextmanager
def connected(address, session, **headers):
    """Ask for a websocket; yield the connection and the status."""
    place = urlsplit(address)
    told = {
        "Host": place.netloc,
        "Origin": address,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Protocol": f"bokeh, {session}",
    }
    lines = ["GET /ws HTTP/1.1", *(f"{name}: {value}" for name, value in (told | headers).items()), "", ""]
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall("\r\n".join(lines).encode())
        with connection.makefile("rb") as answer:
            status = int(answer.readline().split()[1])
            while answer.readline().strip():
                pass
            yield connection, answer, status


def end_of(answer):
    """Return the code with which the server ends a websocket, whatever it says before."""
    while True:
        kind, size = answer.read(2)
        if size >= 126:
            size = int.from_bytes(answer.read(2 if size == 126 else 8))
        told = answer.read(size)
        if kind & 15 == 8:
            return struct.unpack("!H", told[:2])[0] if told else None


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_keeps_browsers_from_more_than_it_is_for(server, path):
    told = get(f"{server}{path}").headers
    assert told["X-Content-Type-Options"] == "nosniff"
    assert told["Referrer-Policy"] == "no-referrer"
    assert told["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Server" not in told
    assert "Access-Control-Allow-Origin" not in told
    policy = dict(each.split(" ", 1) for each in told["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in policy.get("script-src", "")
    assert "http" not in told["Content-Security-Policy"]


def test_scripts_of_a_page_are_those_of_the_server(server):
    pages = [get(server) for _ in range(2)]
    nonces = [re.search(r"'nonce-([^']+)'", page.headers["Content-Security-Policy"])[1] for page in pages]
    assert nonces[0] != nonces[1]
    for page, nonce in zip(pages, nonces, strict=True):
        assert page.text.count("<script") == page.text.count(f'<script nonce="{nonce}"') > 3
        assert all(not each.startswith(("http", "//")) for each in re.findall(r'(?:src|href)="([^"]+)"', page.text))


@pytest.mark.parametrize(
    "path",
    [
        "/metadata",
        "/autoload.js",
        "/static/extensions/x",
        "/static/js/%00",
        "/static/js/../../x",
        "/own/../server.py",
        "/own/none",
    ],
)
def test_what_the_page_does_not_need_is_not_there(server, path):
    place = urlsplit(server)
    with socket.create_connection((place.hostname, place.port)) as asking:  # httpx would shorten the path
        asking.sendall(f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n\r\n".encode())
        told = b"".join(iter(lambda: asking.recv(65536), b""))
    assert re.match(rb"HTTP/1.1 40[34] ", told)
    assert b"/ is the dashboard" in told or b"This cannot be had" in told


def test_without_tokens_other_names_of_this_machine_are_refused(server):
    for host in ("evil.example", "localhost.evil.example", ""):
        answer = get(server, headers={"Host": host})
        assert answer.status_code == 421
        assert "answers at localhost only; start it with --tokens" in answer.text
        assert get(f"{server}/healthz", headers={"Host": host}).json() == {"status": "ok"}


def test_pages_of_other_hosts_cannot_connect(server, session):
    for origin in ("http://evil.example", "http://localhost:1", "null", server + ".evil.example"):
        with connected(server, session, Origin=origin) as (_, _, status):
            assert status == 403
    with connected(server, session) as (_, _, status):
        assert status == 101


def test_a_session_that_the_server_did_not_give_is_refused(server, session, caplog):
    head, _, _ = session.rpartition(".")
    made_up = base64.urlsafe_b64encode(json.dumps({"session_id": "mine", "session_expiry": 2**40}).encode()).decode()
    for session in (f"{head}.{'A' * 43}", made_up.rstrip("="), "x", "a.b", "bnVsbA"):
        with connected(server, session) as (_, answer, status):
            assert status == 101
            assert end_of(answer) is None
    assert "Traceback" not in caplog.text
    for name in ("bokeh-session-id", "bokeh-token"):
        assert get(server, params={name: "mine"}).status_code == 403
        assert get(server, headers={name: session}).status_code == 403


def test_a_page_that_is_closed_while_it_is_drawn_is_not_logged(server, caplog):
    for _ in range(3):
        session = session_of(get(server, params={"study": "tiny"}))
        with connected(server, session) as (connection, answer, status):
            assert (status, answer.read(1) != b"") == (101, True)
            connection.sendall(b"\x88\x80" + bytes(4))
        time.sleep(1)
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_too_large_messages_and_addresses_are_refused(server, session):
    assert get(server, params={"study": "x" * 8200}).status_code == 414
    with connected(server, session) as (connection, answer, _):
        size = 2**20 + 1
        connection.sendall(b"\x82\xff" + size.to_bytes(8) + bytes(4))
        assert end_of(answer) == 1009


def test_so_many_pages_may_be_open_and_those_nobody_looks_at_are_forgotten(store, monkeypatch):
    monkeypatch.setattr(server_module, "UNUSED", 1000)
    with running(store, most_readers=2) as address:
        with connected(address, session_of(get(address))), connected(address, session_of(get(address))):
            time.sleep(2)
            refused = get(address, headers=HTML)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
            assert "2 pages are open, as many as may be; try again in a minute." in refused.text
        deadline = time.monotonic() + 20
        while get(address).status_code == 503:
            assert time.monotonic() < deadline, "pages are not forgotten"
            time.sleep(0.2)


def test_wrong_questions_for_a_table_are_told_in_a_sentence(server):
    for query, said in [
        ("cl=x", "cl = x: is no number, and not taken"),
        ("study=nope", "nope: unknown study"),
        ("study=tiny&at=nope", "tiny: no snapshot 'nope'"),
        ("", "name a study"),
    ]:
        answer = get(f"{server}/table.csv?{query}")
        assert (answer.status_code, said in answer.text) == (422, True), answer.text


def test_a_table_is_a_file_with_a_name_of_its_own(server):
    answer = get(f"{server}/table.csv", params={"study": "tiny", "cl": 0.9})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="tiny-maps.csv"'
    assert answer.text.startswith("limit_method,cl,b,s_true,")


def test_nobody_reads_without_a_token(guest):
    assert guest.get("/healthz").status_code == 200
    for path in ("/table.csv?study=tiny", "/static/js/bokeh.min.js", "/own/page.js", "/ws", "/nothing"):
        answer = guest.get(path)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), path
        assert "sign in at /login" in answer.text
    answer = guest.get("/", params={"study": "tiny", "cl": 0.9}, headers=HTML)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login?view=study%3Dtiny%26cl%3D0.9")
    assert guest.post("/", headers=HTML).status_code == 401


def test_a_token_opens_the_view_that_was_asked_for_and_a_cookie_keeps_it(guest, tokens):
    answer = sign_in(guest, tokens[1], "study=tiny&cl=0.9")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/?study=tiny&cl=0.9")
    (cookie,) = [each for each in answer.headers.get_list("Set-Cookie") if tokens[1] in each]
    parts = {each.strip().lower() for each in cookie.split(";")[1:]}
    assert parts == {"httponly", "samesite=strict", "path=/"}  # it ends with the browser
    page = guest.get("/", params={"study": "tiny"}, headers=HTML)
    assert page.status_code == 200
    assert "alice: sign out" in page.text
    middle = session_of(page).split(".")[0]
    assert tokens[1] not in page.text
    assert tokens[1] not in base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)).decode("latin-1")


def test_behind_tls_the_cookie_is_for_tls_only(guest, tokens):
    answer = sign_in(guest, tokens[1], **{"X-Forwarded-Proto": "https"})
    assert "; Secure" in next(each for each in answer.headers.get_list("Set-Cookie") if tokens[1] in each)


def test_a_token_may_be_in_a_header(closed, tokens):
    with httpx.Client(base_url=closed, timeout=60, headers={"Authorization": f"Bearer {tokens[2]}"}) as bob:
        assert bob.get(SCRIPT).status_code == 200
        bob.headers["Authorization"] = "Bearer wrong"
        assert bob.get(SCRIPT).status_code == 401


@pytest.mark.parametrize("view", ["//evil.example", "https://evil.example", "\r\nX: y", "a=1#//evil.example"])
def test_signing_in_leads_nowhere_else(guest, tokens, view):
    answer = sign_in(guest, tokens[1], view)
    place = answer.headers["Location"]
    assert place == "/" or place.startswith("/?")
    assert "X" not in answer.headers


def test_forms_of_other_pages_are_refused(guest, tokens):
    assert guest.post("/login", data={"token": tokens[1]}).status_code == 403
    sign_in(guest, tokens[1])
    assert guest.post("/logout").status_code == 403
    assert guest.get(SCRIPT).status_code == 200


def test_wrong_tokens_are_refused_and_slowed(closed, tokens, monkeypatch):
    def from_address(number):
        return {"X-Forwarded-For": f"192.0.2.{number}"}

    with httpx.Client(base_url=closed, timeout=60, headers=from_address(7)) as eve:
        for number in range(login.MOST_WRONG - 1):
            answer = sign_in(eve, f"guess {number}")
            assert (answer.status_code, "This token is not known" in answer.text) == (403, True)
        for _ in range(3):  # a page whose token was taken away asks again and again: that is one guess
            assert eve.get(SCRIPT, headers={"Authorization": "Bearer stale"}).status_code in (401, 429)
        assert sign_in(eve, "guess").status_code == 429
        refused = eve.get(SCRIPT, headers={"Authorization": "Bearer guess"})
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
        assert sign_in(eve, add_token(tokens[0], "carol")).status_code == 429  # also one that is right
        with httpx.Client(base_url=closed, timeout=60, headers=from_address(7)) as alice:
            assert sign_in(alice, tokens[1]).status_code == 303  # but not one that was right before
        monkeypatch.setattr(login, "FORGIVEN", 0.0)
        assert sign_in(eve, "guess again").status_code == 403
    with httpx.Client(base_url=closed, timeout=60, headers=from_address(8)) as other:
        assert sign_in(other, "guess").status_code == 403


def test_a_token_that_is_taken_away_ends_its_pages_within_seconds(closed, tokens, caplog):
    token = add_token(tokens[0], "dave")
    mine = {"Authorization": f"Bearer {token}"}
    with connected(closed, session_of(get(closed, headers=mine)), **mine) as (_, answer, status):
        assert status == 101
        remove_token(tokens[0], "dave")
        begun = time.monotonic()
        assert end_of(answer) == 4401
        assert time.monotonic() - begun < 30  # two seconds, where there is room
        assert get(f"{closed}{SCRIPT}", headers=mine).status_code == 401
    with connected(closed, "any", **mine) as (_, _, status):
        assert status == 401
    assert token not in caplog.text


def test_signing_out_ends_pages_and_takes_the_cookie_back(guest, tokens, closed):
    sign_in(guest, tokens[2])
    cookie = "; ".join(f"{name}={value}" for name, value in guest.cookies.items())
    with connected(closed, session_of(guest.get("/")), Cookie=cookie) as (_, answer, status):
        assert status == 101
        (xsrf,) = re.findall(r'name="_xsrf" value="([^"]+)"', guest.get("/logout").text)
        assert guest.post("/logout", data={"_xsrf": xsrf}).headers["Location"] == "/login"
        assert end_of(answer) == 4401
    assert guest.get("/", headers=HTML).status_code == 302


def test_tokens_are_not_logged(guest, tokens, caplog):
    sign_in(guest, tokens[1])
    guest.get(SCRIPT)
    guest.get(SCRIPT, params={"token": "covsvc_" + "x" * 43})
    told = [record for record in caplog.records if record.name == server_module.REQUESTS.name]
    assert len(told) >= 3
    assert tokens[1] not in caplog.text


@pytest.mark.parametrize(
    ("came_from", "headers", "address", "host", "secure"),
    [
        ("192.0.2.9", {"X-Forwarded-For": "198.51.100.1", "X-Forwarded-Proto": "https"}, "192.0.2.9", "here", False),
        ("10.0.0.7", {}, "10.0.0.7", "here", False),
        ("10.0.0.7", {"X-Forwarded-For": "1.2.3.4, 198.51.100.1"}, "198.51.100.1", "here", False),
        ("10.0.0.7", {"X-Forwarded-For": "198.51.100.1, 10.0.0.8"}, "198.51.100.1", "here", False),
        ("10.0.0.7", {"X-Forwarded-Host": "There:8443", "X-Forwarded-Proto": "https"}, "10.0.0.7", "there:8443", True),
        ("192.0.2.9", {"X-Forwarded-Host": "there"}, "192.0.2.9", "here", False),
    ],
)
def test_only_proxies_that_are_named_are_believed(came_from, headers, address, host, secure):
    line, told = RequestStartLine("GET", "/", "HTTP/1.1"), HTTPHeaders({"Host": "here"} | headers)
    request = HTTPServerRequest(start_line=line, headers=told)
    request.remote_ip = came_from
    client = Readers(None, ["10.0.0.0/24"]).client(request)
    assert (client.address, client.host, client.secure) == (address, host, secure)


def wait_for(page, expression):
    """Wait in a page that lets nobody evaluate text."""
    deadline = time.monotonic() + 30
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        time.sleep(0.05)


@pytest.mark.browser
def test_readers_sign_in_and_out_with_the_keyboard_and_links_from_elsewhere_open(closed, server, tokens, browser):
    with browser.new_context(color_scheme="dark", viewport={"width": 390, "height": 700}) as context:
        context.set_default_timeout(30_000)
        page = context.new_page()
        said = []
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{closed}/?study=tiny&cl=0.95")
        assert urlsplit(page.url).path == "/login"
        assert Axe().run(page).response["violations"] == []
        page.emulate_media(color_scheme="light")
        assert Axe().run(page).response["violations"] == []
        assert page.evaluate("document.activeElement.id") == "token"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        page.get_by_role("alert").wait_for()
        assert "This token is not known" in page.get_by_role("alert").inner_text()
        said.clear()  # of the answer 403
        page.get_by_label("Token").focus()
        page.keyboard.type(tokens[1])
        page.keyboard.press("Enter")
        page.wait_for_url("**/?study=tiny*")
        wait_for(page, AT_REST)
        assert "cl=0.95" in page.url
        assert "covsvc" not in page.evaluate("document.cookie")

        # to browsers 127.0.0.1 and localhost are different sites
        elsewhere = server.replace("127.0.0.1", "localhost")
        page.goto(f"{elsewhere}/healthz")
        page.evaluate(
            f"const link = document.createElement('a'); link.href = '{closed}/?study=tiny&cl=0.9'; link.click()"
        )
        page.wait_for_url(f"{closed}/?study=tiny&cl=0.9*")
        page.get_by_role("link", name="alice: sign out").click()
        page.wait_for_url("**/logout")
        assert Axe().run(page).response["violations"] == []
        page.get_by_role("button", name="Sign out").press("Enter")
        page.wait_for_url("**/login")
        assert said == []


@pytest.mark.browser
def test_pages_stand_their_own_policy_and_come_back_when_the_server_does(store, browser):
    with browser.new_context() as context:
        context.set_default_timeout(30_000)
        page = context.new_page()
        said = []
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        with running(store) as address:
            for name in ("maps", "compare", "methods", "history"):
                page.goto(f"{address}/?study=tiny&cl=0.95&page={name}")
                wait_for(page, AT_REST)
            before = page.evaluate("document.getElementById('heading').textContent")
            assert "tiny" in before
            assert said == []
        lost = page.locator("#lost", has_text="The connection with the server is lost")
        lost.wait_for()
        with running(store, port=urlsplit(address).port):
            lost.wait_for(state="detached")
            wait_for(page, AT_REST)
            wait_for(page, "document.getElementById('heading').textContent.includes('tiny')")
            assert page.evaluate("document.getElementById('heading').textContent") == before
            assert "page=history" in page.url
