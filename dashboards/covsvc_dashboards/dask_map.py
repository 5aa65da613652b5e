"""What the page in Dask's dashboard holds: a coverage map that fills while the cluster works."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import xarray as xr
from bokeh.document import Document, without_document_lock
from bokeh.layouts import row
from bokeh.models import Column, CustomJS, InlineStyleSheet
from bokeh.models.widgets import Button, Div, Select

from covsvc.errors import CovsvcError
from covsvc.report.coverage_map import describe_marks
from covsvc.report.tables import describe_coverage
from covsvc_dashboards.cell_map import CellMap
from covsvc_dashboards.fitting import fitted, side_of
from covsvc_dashboards.labels import paragraphs
from covsvc_dashboards.live import progress
from covsvc_dashboards.maps_panel import coverage_table
from covsvc_dashboards.paintings import coverage_of, told_of
from covsvc_dashboards.style import WRAPPED, Style
from covsvc_dashboards.twin import Twin
from covsvc_dashboards.view import View, asked_of

if TYPE_CHECKING:
    from covsvc_dashboards.dask_page import Studies

LOG = logging.getLogger("covsvc.dashboard")

LOOK = 2000
"""Milliseconds between two looks at the store."""

NOTHING_RUNS = "No study has run on this cluster since its scheduler was started."
UNREADABLE = (
    "The scheduler cannot read {study} in {store}: {error}. If it is elsewhere for the scheduler, start that with "
    "--preload covsvc_dashboards.dask_page --store FOLDER|URL."
)
OVER = "The scheduler has ended, or cannot be reached. What was computed is in the store; `covsvc dashboard` shows it."


@dataclass(frozen=True)
class _Read:
    """What a look at the store found: studies, and of the one that is shown its maps and how far the work is."""

    studies: Sequence[str] = ()
    study: str = ""
    snapshot: str = ""
    maps: xr.Dataset | None = None
    said: str = NOTHING_RUNS


class DaskMap:
    """The page of one reader.

    Parameters
    ----------
    document : Document
    root : Column
        What it fills.
    studies : Studies
        What the scheduler knows.
    """

    def __init__(self, document: Document, root: Column, studies: Studies) -> None:
        self._document, self._studies = document, studies
        request = getattr(document.session_context, "request", None)
        self._view, self._wrong = asked_of({} if request is None else request.arguments)
        self._found = _Read()
        self._drawn: tuple[str, View | None] = ("", None)
        self._offering = self._ended = False
        # what waits for the store must not keep the document from its reader
        self._look: Any = without_document_lock(cast("Any", self.look))

        style = Style()
        self._said = Div(disable_math=True, sizing_mode="stretch_width", stylesheets=[style.sheet], name="said")
        self._study = self._select("study", style, lambda value: self._change(study=value))
        self._method = self._select("limit method", style, lambda value: self._change(limit_method=value))
        self._cl = self._select("cl", style, lambda value: self._change(cl=float(value)))
        self._whole = Button(label="All cells", stylesheets=[style.sheet])
        self._whole.on_click(lambda: self._change(b=None, s_true=None, s_low=None, s_high=None))
        self._choices = row(
            self._study, self._method, self._cl, self._whole, stylesheets=[InlineStyleSheet(css=WRAPPED)]
        )
        self._map, self._twin = CellMap(self._change, style), Twin("Map of coverage as a table", style)
        self._root = root
        root.children = [self._said]
        # nobody is there to be sent the change
        over = CustomJS(
            args={"said": self._said, "over": paragraphs([OVER])}, code="said.setv({text: over}, {sync: false})"
        )
        document.js_on_event("connection_lost", over)
        document.on_session_destroyed(self._end)
        if hasattr(getattr(document, "config", None), "notify_connection_status"):  # of newer Bokehs
            document.config.notify_connection_status = False

    def begin(self) -> None:
        """Look now, and again and again while somebody reads."""
        self._document.add_next_tick_callback(self._look)
        self._document.add_periodic_callback(self._look, LOOK)

    async def look(self) -> None:
        """Look which studies there are, and whether the one that is shown has moved."""
        found = await self._read()
        if not self._ended:
            self._document.add_next_tick_callback(lambda: self._follow(found))

    def _end(self, _: Any) -> None:
        self._ended = True

    async def _read(self) -> _Read:
        stores: dict[str, str] = {}
        study, store = self._view.study, self._studies.store
        try:
            stores = await self._studies.known()
            study = study if study in stores else next(iter(stores), "")
            if not study:
                return _Read()
            store = stores[study]
            held = self._studies.held(store)
            said = await progress(held, study)
            snapshot, maps = await held.maps(study, "main")
            return _Read([*stores], study, snapshot, maps, said)
        except CovsvcError as error:
            said = UNREADABLE.format(study=study or "the studies", store=store, error=error)
        except Exception as error:  # the scheduler has other work than to fail here
            LOG.exception("the page of covsvc cannot be filled")
            said = f"The map cannot be shown ({type(error).__name__}); the scheduler's log tells why."
        return _Read([*stores], study, said=said)

    def _change(self, **chosen: Any) -> None:
        self._wrong = []
        if "study" in chosen:
            self._view = View(study=chosen["study"])
            self._document.add_next_tick_callback(self._look)
        else:
            self._view = replace(self._view, **chosen)
            self._show()

    def _follow(self, found: _Read) -> None:
        if self._view.study in ("", found.study) or self._view.study not in found.studies:
            self._found = found
            self._show()

    def _show(self) -> None:
        found, wrong = self._found, list(self._wrong)
        self._offer(self._study, found.studies, found.study)
        if found.maps is None:
            self._root.children, self._drawn = [self._said], ("", None)
            self._say([*wrong, found.said])
            return
        view, replaced = fitted(replace(self._view, study=found.study), found.maps)
        column = side_of(view, found.snapshot, found.maps).column
        marks = f"{describe_marks(column)} Snapshot {found.snapshot[:8]}."
        self._say([*wrong, *replaced, describe_coverage(column), marks, found.said])
        if self._drawn == (found.snapshot, view):
            return
        self._drawn = found.snapshot, view
        self._offer(self._method, found.maps["limit_method"].to_numpy().tolist(), view.limit_method)
        self._offer(self._cl, [f"{cl:.12g}" for cl in found.maps["cl"].to_numpy().tolist()], f"{view.cl:.12g}")
        self._whole.disabled = (view.b, view.s_low, view.s_high) == (None, None, None)
        self._map.show(coverage_of(column), told_of(column), view.cell)
        self._twin.show(lambda: coverage_table(column))
        self._root.children = [self._choices, self._said, self._map.figure, self._twin.root]

    def _select(self, title: str, style: Style, choose: Any) -> Select:
        select = Select(title=title, width=220, stylesheets=[style.sheet])

        def chosen(_: str, __: str, value: str) -> None:
            if not self._offering:
                choose(value)

        select.on_change("value", chosen)
        return select

    def _offer(self, select: Select, options: Sequence[str], value: str) -> None:
        self._offering = True
        try:
            select.update(options=list(options), value=value)
        finally:
            self._offering = False

    def _say(self, sentences: Iterable[str]) -> None:
        self._said.text = paragraphs(sentences)
