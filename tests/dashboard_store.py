"""A store for dashboards, and a dashboard that serves it: a study with a tag and two baselines, and one of events."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

from covsvc import api
from covsvc.api.running import fill as fill_ledger
from covsvc.api.running import trust
from covsvc.store.repository import open_ledger
from covsvc.study import Study, study_of

AT_REST = """() => window.Bokeh?.documents.length > 0 && Bokeh.documents.every(each => each.is_idle)
  && (document.getElementById("csv").search || document.getElementById("wrong").textContent)
  && !document.getElementById("progress").textContent.startsWith("Reading")"""
"""Whether something is shown, and all of it is drawn."""

HARMFUL = "<img src=x onerror=alert(1)>"
"""Label of a method that shows whether labels are taken for HTML."""

STUDY = {
    "name": "tiny",
    "experiment": "counting",
    "methods": [
        "classical",
        {"name": "cls", "label": HARMFUL},
        {"name": "feldman_cousins", "label": "f, c"},
        "bayes_jeffreys",
        {"name": "bayes_jeffreys", "options": {"prior_exponent": 0.25}, "label": "mine"},
    ],
    "cl": [0.90, 0.95],
    "s_true": [0, 1, 1.5, 2.5, 4, 6],
    "b": [0, 1, 3],
    "toys_per_block": 500,
    "n_toys": 2000,
    "seed": 1999,
}
"""At b = 0 and cl 0.9 the limit of bayes_jeffreys on no event is 1.353: with s_true = 1.5 it covers where there is an
event, with probability 1 - exp(-1.5) = 0.777."""

BEFORE = STUDY | {"methods": [*STUDY["methods"][:4], {"name": "zech", "label": "mine"}]}
"""What ``mine`` was in the first baseline: a method that covers."""

EVENTS = {
    "name": "events",
    "experiment": "spectrum",
    "methods": ["max_gap", "poisson"],
    "cl": [0.90],
    "s_true": [2, 5],
    "b": [0, 1],
    "toys_per_block": 200,
    "n_toys": 400,
    "seed": 2002,
}
"""Whose coverage is known from toys alone; never accepted."""


def fill(store: str) -> None:
    """Compute the studies: of ``tiny`` a quarter of the toys, tagged ``first``, the baselines ``v1`` and ``v2``."""
    api.run(study_of(BEFORE | {"n_toys": 500}), store, None)
    api.set_tag("tiny", "first", store)
    accept(study_of(BEFORE), store, "v1", 1_000_000.0)
    accept(study_of(STUDY), store, "v2", 2_000_000.0)
    api.run(study_of(EVENTS), store, None)
    for name, at in (("tiny", "first"), ("tiny", "v1"), ("tiny", "main"), ("events", "main")):
        api.read_maps(store, name, at)  # as `covsvc run` does it: no child has to make them


def accept(study: Study, store: str, tag: str, speed: float) -> None:
    """Compute a study in a candidate whose columns set so many limits a second, and make it a baseline."""
    candidate = f"candidate.{hashlib.sha256(tag.encode()).hexdigest()[:10]}"
    columns = [
        {"limit_method": each.label, "cl": cl, "toys_per_second": speed} for each in study.methods for cl in study.cl
    ]
    told = {"study": study.name, "candidate": candidate, "outcome": "passed", "sentence": "", "columns": columns}
    with open_ledger(store, study, replace=True, branch=candidate) as ledger:
        trust(ledger, study, replace=True)
        fill_ledger(study, ledger, store, nullcontext)
        ledger.tell("validation", {"schema": 1, "outcome": "passed", "studies": [told]})
    api.accept(study.name, store, tag=tag, reason=f"reason of {tag}")


@contextmanager
def running(store, **options):
    """Serve the dashboard of a store on loopback, on a thread; yield its address."""
    from covsvc_dashboards.server import make_server

    started, told = threading.Event(), SimpleNamespace(server=None)

    async def serve():
        told.loop, told.asked = asyncio.get_running_loop(), asyncio.Event()
        told.server = make_server(store, **options)
        told.server.start()
        started.set()
        await told.asked.wait()
        told.server.stop()
        await told.server.ended()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(30), "the server does not start"
        yield told.server.url
    finally:
        if started.is_set():
            told.loop.call_soon_threadsafe(told.asked.set)
        thread.join(20)
    assert not thread.is_alive()


def rest(page):
    """Wait until all of a page is drawn."""
    page.wait_for_function(AT_REST)
