"""The page of Dask's dashboard that shows the maps of what runs on a cluster."""

from __future__ import annotations

import importlib.util
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from covsvc.engine.gathering import ask

PAGE = "covsvc_dashboards.dask_page"
"""What a scheduler preloads to have the page."""


def with_page() -> dict[str, Any]:
    """Return the configuration that gives the page to a scheduler of this process; none, if the page cannot be made."""
    import dask

    before = dask.config.get("distributed.scheduler.preload", default=[])
    if PAGE in before or dask.config.get("distributed.scheduler.preload-argv", default=[]):
        return {}  # is there; or there are arguments, which are meant for what is preloaded already
    if importlib.util.find_spec("bokeh") is None:
        return {}
    try:
        importlib.import_module(PAGE)
    except Exception:  # whatever is missing or broken there: a scheduler that imports it would not start
        return {}
    return {"distributed.scheduler.preload": [*([before] if isinstance(before, str) else before), PAGE]}


def show_run(client: Any, store: str, study: str) -> str:
    """Tell the scheduler which study of which store is at work; return where its page shows it, "" if it has none.

    Nothing depends on it: a cluster that is lost here is found lost by who computes.

    Parameters
    ----------
    client : distributed.Client, or None
    store : str
        Folder or URL.
    study : str
    """
    if client is None:
        return ""
    with suppress(Exception):
        told = {"store": store if "://" in store else str(Path(store).resolve()), "since": time.time()}
        ask(client, lambda: client.set_metadata(["covsvc-studies", study], told), "")
        path = ask(client, lambda: client.get_metadata(["covsvc-page"], ""), "")
        return urljoin(client.dashboard_link, path) if path else ""
    return ""
