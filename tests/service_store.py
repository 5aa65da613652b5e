"""A store with a study of two commits, and services that answer on it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import uvicorn

from covsvc import api
from covsvc.service import make_app
from covsvc.service.serving import Impatient
from covsvc.study import study_of

STUDY = {
    "name": "tiny",
    "experiment": "counting",
    "methods": ["classical", "cls", {"name": "feldman_cousins", "label": "f, c"}],
    "cl": [0.90, 0.95],
    "s_true": [0, 1, 2.5, 6],
    "b": [0, 3],
    "toys_per_block": 500,
    "n_toys": 1000,
    "seed": 1999,
}


@contextmanager
def running(app):
    """Serve an application on loopback, on a thread; yield a client."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=Impatient, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "the server ended"
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://localhost:{port}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """Keep what is cached in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def stored(tmp_path_factory, cached):
    """Compute a study in two commits: half of the toys, with the tag ``first``, and all."""
    store = str(tmp_path_factory.mktemp("service") / "store")
    api.run(study_of(STUDY), store, None)
    api.set_tag("tiny", "first", store)
    api.run(study_of(STUDY | {"n_toys": 2000}), store, None)
    for at in ("first", "main"):
        api.read_maps(store, "tiny", at)  # as `covsvc run` does it: no child has to make them
    return store


@pytest.fixture(scope="module")
def served(stored):
    """Serve the store without tokens."""
    app = make_app(stored)
    with running(app) as client:
        yield SimpleNamespace(client=client, store=stored, path=Path(stored), app=app)
