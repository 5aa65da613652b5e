"""A page of Dask's dashboard: the coverage map of what runs on the cluster. To be preloaded by a scheduler."""

from __future__ import annotations

import asyncio
import importlib
import logging
from pathlib import Path
from typing import Any

import click

LOG = logging.getLogger("covsvc.dashboard")

PATH = "/individual-covsvc-coverage"
"""Where the page is; what is individual stands in Dask's menu, and in JupyterLab's."""

_NAME = "covsvc-coverage"
_FOLDER = Path(__file__).parent


@click.command()
@click.option(
    "--store", metavar="FOLDER|URL", default="", help="Where the scheduler finds the cubes, if not where drivers do."
)
def dask_setup(scheduler: Any, store: str) -> None:
    """Show the coverage maps of the studies that run on the cluster, in Dask's dashboard."""
    _studies_of(scheduler).store = store
    shown = any(PATH in getattr(each, "app_paths", ()) for each in scheduler.http_application.applications)
    if shown:
        scheduler.set_metadata(["covsvc-page"], PATH)
    else:
        LOG.warning("Dask's dashboard has no page of covsvc: it needs bokeh, and a scheduler with a dashboard")


def dask_teardown(scheduler: Any) -> None:
    """End what the page has started."""
    studies = scheduler.extensions.pop(_NAME, None)
    if studies is not None:
        studies.close()


class Studies:
    """What a scheduler is told of studies, and what is held of their stores.

    Parameters
    ----------
    scheduler : distributed.Scheduler

    Attributes
    ----------
    store : str
        Folder or URL that is read instead of what drivers tell.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._held: dict[str, Any] = {}
        self.store = ""

    async def known(self) -> dict[str, str]:
        """Return the store of each study: those that drivers told of, the newest first, and all others of `store`."""
        told = self._scheduler.get_metadata(["covsvc-studies"], {})
        newest = sorted(told, key=lambda study: told[study]["since"], reverse=True)
        stores = {study: self.store or told[study]["store"] for study in newest}
        others = await self.held(self.store).names() if self.store else []
        return stores | {study: self.store for study in others if study not in stores}

    def held(self, store: str) -> Any:
        """Return what is held of a store, a `covsvc_dashboards.held.Held`."""
        if store not in self._held:
            self._held[store] = importlib.import_module("covsvc_dashboards.held").Held(store)
        return self._held[store]

    def close(self) -> None:
        """End all children."""
        for held in self._held.values():
            held.close()


def show(scheduler: Any, extra: Any, document: Any) -> None:  # noqa: ARG001 - as Dask calls it
    """Fill a document for a reader; what goes wrong is said there, and the scheduler goes on."""
    from bokeh.models import Column
    from bokeh.models.widgets import Div
    from jinja2 import Template

    said = Div(text="<p>The page is being prepared ...</p>", name="said")
    root = Column(children=[said], sizing_mode="stretch_width", name="page")
    document.title = "covsvc: coverage on this cluster"
    # Dask does not hand out files of others: the style sheet stands within the page
    document.template = Template((_FOLDER / "dask_template.html").read_text(encoding="utf-8"), autoescape=True)
    document.template_variables["css"] = (_FOLDER / "own" / "page.css").read_text(encoding="utf-8")
    document.add_root(root)

    async def begin() -> None:
        try:
            # what it imports takes seconds, in which the scheduler has other work
            page = await asyncio.to_thread(importlib.import_module, "covsvc_dashboards.dask_map")
            page.DaskMap(document, root, _studies_of(scheduler)).begin()
        except Exception as error:
            LOG.exception("the page of covsvc cannot be shown")
            said.text = f"<p>The page cannot be shown ({type(error).__name__}); the scheduler's log tells why.</p>"

    document.add_next_tick_callback(begin)


def _studies_of(scheduler: Any) -> Studies:
    found: Studies = scheduler.extensions.setdefault(_NAME, Studies(scheduler))
    return found


def _register() -> None:
    """Add the page to Dask's, from which a scheduler makes its dashboard after it has imported this."""
    try:
        from distributed.dashboard.scheduler import applications

        applications[PATH] = show
    except Exception as error:  # no bokeh, or a Dask that does it in another way: no page, but a scheduler
        LOG.debug("no page in Dask's dashboard: %s: %s", type(error).__name__, error)


_register()
