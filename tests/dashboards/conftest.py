"""What tests of the dashboard share: a store, a server, a browser, and tabs that tell what went wrong in them."""

from __future__ import annotations

import logging
from urllib.parse import urlencode

import pytest
from dashboard_store import fill, rest, running

from covsvc import api

PATIENCE = 15_000
"""Milliseconds that anything on a page may take."""


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Make a store, once for all modules, which only read it; and where its maps are cached."""
    store, cache = (str(tmp_path_factory.mktemp(name)) for name in ("dashboards", "cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", cache)
        fill(store)
    return store, cache


@pytest.fixture(scope="module")
def store(made):
    """Return the folder of the store; what is cached of it lies beside."""
    store, cache = made
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", cache)
        yield store


@pytest.fixture(scope="module")
def cube(store):
    """Return the cube that maps are compared with."""
    return api.open_cube(store, "tiny").load()


@pytest.fixture(scope="module")
def server(store):
    """Serve the store without tokens; return the address."""
    with running(store) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    """Start a Chromium; until its module ends nothing else may run an event loop on the thread of the tests."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as started:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        found = started.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        yield found
        found.close()


@pytest.fixture
def tab(server, browser, caplog):
    """Open views: ``tab(page="maps", cl=0.9)``, with ``scheme`` and ``width`` of the reader's; return the page, drawn.

    In the end it holds that nobody was asked but the server, and that neither it nor the page found an error.
    """
    contexts, asked, said = [], [], []

    def hear(message):
        if message.type == "error":
            said.append(message.text)

    def open_view(address="", *, scheme="light", width=1280, height=900, at=server, **view):
        context = browser.new_context(
            color_scheme=scheme,
            viewport={"width": width, "height": height},
            accept_downloads=True,
            bypass_csp=True,  # playwright waits by evaluating text, which the page forbids; test_server does without
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", hear)
        answer = page.goto(f"{at}/?{address or urlencode(view)}")
        assert answer.ok, answer.text()
        rest(page)
        return page

    yield open_view
    for context in contexts:
        context.close()
    ours = tuple(f"{scheme}://127.0.0.1:{server.rsplit(':', 1)[1]}/" for scheme in ("http", "ws", "blob:http"))
    assert [url for url in asked if not url.startswith((*ours, "data:"))] == []
    assert said == []
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []
