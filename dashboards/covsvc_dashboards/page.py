"""The page: controls, panels, and the one way in which what is shown changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import xarray as xr
from bokeh.core.properties import Any as AnyValue
from bokeh.core.properties import Bool, Dict, String
from bokeh.document import Document
from bokeh.model import DataModel
from bokeh.models import Column, Spacer
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from covsvc.errors import CovsvcError, UnknownName
from covsvc.report.coverage_map import describe_lowest, describe_marks
from covsvc.selection import nodes_of
from covsvc_dashboards.cell_panel import CellPanel
from covsvc_dashboards.compare_panel import ComparePanel
from covsvc_dashboards.controls import Controls
from covsvc_dashboards.fitting import fitted, label_in, side_of
from covsvc_dashboards.held import Held
from covsvc_dashboards.history_panel import HistoryPanel
from covsvc_dashboards.live import progress
from covsvc_dashboards.maps_panel import MapsPanel
from covsvc_dashboards.matrix_panel import MatrixPanel
from covsvc_dashboards.shown import Panel, Shown, Side, picture_stem
from covsvc_dashboards.style import Style
from covsvc_dashboards.view import View, asked_of

LOG = logging.getLogger("covsvc.dashboard")

NAMES = {"maps": "Maps", "compare": "Compare", "methods": "All methods", "history": "History"}
"""What readers see of `covsvc_dashboards.view.PAGES`."""

THEMES = ("", "light", "dark")

LEAVES = frozenset({"study", "at", "page", "limit_method", "cl", "other", "other_at"})
"""What changes the view so much that the back button leads to the one before."""

EVERY = 2000
"""Milliseconds between two looks at a run that goes on."""

TEMPLATE = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
).get_template("template.html")


class Browser(DataModel):
    """What the script of the page and the server tell each other."""

    address = String(default="", help="Query that reproduces the view.")
    leaves = Bool(default=False, help="Whether the back button leads to the view before.")
    page = String(default="")
    theme = String(default="")
    title = String(default="")
    heading = String(default="")
    sentence = String(default="")
    progress = String(default="")
    wrong = String(default="")
    stem = String(default="", help="How names of pictures begin.")
    wanted = Dict(String, AnyValue, default={}, help="What the reader asks for outside of Bokeh's widgets.")
    system_is_dark = Bool(default=False)


def build(doc: Document, held: Held, asked: View, wrong: Sequence[str]) -> None:
    """Make the page of a reader.

    Parameters
    ----------
    doc : Document
    held : Held
    asked : View
        What the address asks for.
    wrong : sequence of str
        What of it could not be read.
    """
    told = list(wrong)
    if asked.theme not in THEMES:
        told.append(f"theme = {asked.theme[:40]}: there are light and dark")
        asked = replace(asked, theme="")
    page = _Page(doc, held, asked)
    page.go(asked, wrong=told)


class _Page:
    def __init__(self, doc: Document, held: Held, asked: View) -> None:
        self._doc, self._held, self._view = doc, held, asked
        request = getattr(doc.session_context, "request", None)
        system_is_dark = request is not None and request.cookies.get("system") == "dark"
        self._style = Style(dark=asked.theme == "dark" or (not asked.theme and system_is_dark))
        self._controls = Controls(self.change, self._style)
        self._panels: dict[str, list[Panel]] = {}
        self._pages: dict[str, Column] = {}
        self._layout = Column(name="panels", children=[Spacer(height=1)], sizing_mode="stretch_width")
        self._browser: Any = Browser(
            name="browser",
            theme=asked.theme,
            page=asked.page,
            heading="covsvc",
            title="covsvc",
            system_is_dark=system_is_dark,
        )
        self._browser.on_change("wanted", self._want)
        self._browser.on_change("system_is_dark", lambda _, __, ___: self._paint())
        self._names: list[str] = []
        self._commits: tuple[tuple[str, str], list[tuple[str, str]]] = (("", ""), [])
        self._maps: dict[tuple[str, str], tuple[str, xr.Dataset]] = {}
        self._shown: Shown | None = None
        self._sides: dict[tuple[Any, ...], Side] = {}
        self._failed = self._leaves = False
        self._work: asyncio.Task[None] | None = None
        self._look: asyncio.Task[None] | None = None
        self._on(asked.page)  # while the maps are read
        doc.template = TEMPLATE
        doc.template_variables.update(theme=asked.theme, pages=NAMES.items())
        doc.title = "covsvc"
        for root in (self._controls.root, self._layout, self._browser):
            doc.add_root(root)
        doc.add_periodic_callback(self._poll, EVERY)
        doc.on_session_destroyed(self._end)

    def change(self, **chosen: Any) -> None:
        """Change the view."""
        self.go(
            replace(self._view, **chosen),
            leaves=any(chosen[name] != getattr(self._view, name) for name in LEAVES & set(chosen)),
        )

    def go(self, view: View, *, leaves: bool = False, wrong: Sequence[str] = ()) -> None:
        """Show a view, now if its maps are at hand."""
        self._view = view
        if self._work is not None:
            self._work.cancel()
            self._work = None
        if self._needed(view) <= self._maps.keys():
            self._show(view, leaves=leaves, wrong=wrong)
        else:
            if not self._failed:
                self._browser.progress = "Reading …"
            self._work = asyncio.create_task(self._fetch(view, leaves, list(wrong)))

    @staticmethod
    def _needed(view: View) -> set[tuple[str, str]]:
        """Return the studies and commits whose maps a view needs."""
        needed = {(view.study, view.at)}
        if view.page == "compare" and view.other_at:
            needed.add((view.study, view.other_at))
        return needed

    async def _fetch(self, view: View, leaves: bool, wrong: list[str]) -> None:
        try:
            self._names = await self._held.names()
            if not self._names:
                self._later(
                    self._fail,
                    "no study yet",
                    f"There is no study in {self._held.store} yet: covsvc run STUDY.yaml --store {self._held.store}",
                )
                return
            if not view.study:
                view = replace(view, study=self._names[0])
            elif view.study not in self._names:
                wrong.append(str(UnknownName.of("study", view.study[:60], self._names)))
                view = View(study=self._names[0], page=view.page, theme=view.theme)
            view = await self._read(view, wrong)
        except CovsvcError as error:
            self._later(self._fail, view.study or "covsvc", str(error))
        else:
            self._later(self._show, view, leaves=leaves, wrong=wrong)

    async def _read(self, view: View, wrong: list[str]) -> View:
        """Read the maps that a view needs; return it with commits that are there."""
        maps: dict[tuple[str, str], tuple[str, xr.Dataset]] = {}
        try:
            maps[view.study, view.at] = await self._held.maps(view.study, view.at)
        except CovsvcError as error:
            if view.at == "main":
                raise
            wrong.append(f"at = {view.at[:60]}: {error}; main is shown")
            view = replace(view, at="main")
            maps[view.study, "main"] = await self._held.maps(view.study, "main")
        if view.page == "compare" and view.other_at:
            try:
                maps[view.study, view.other_at] = await self._held.maps(view.study, view.other_at)
            except CovsvcError as error:
                wrong.append(f"other_at = {view.other_at[:60]}: {error}; the same commit is shown")
                view = replace(view, other_at="")
        key = view.study, await self._held.newest(view.study)
        if self._commits[0] != key:
            self._commits = key, await self._held.commits(view.study)
        self._maps = maps
        return view

    def _show(self, view: View, *, leaves: bool, wrong: Sequence[str] = ()) -> None:
        """Show a view whose maps are at hand; a mistake of ours does not leave the page as if it were reading."""
        try:
            self._show_fitted(view, leaves, wrong)
        except Exception:
            LOG.exception("%s: this view cannot be shown", view.address())
            self._fail(view.study, "This cannot be shown: the server has made a mistake, which its log tells.")
            self._failed = False  # what is wrong with it will be wrong again

    def _show_fitted(self, view: View, leaves: bool, wrong: Sequence[str]) -> None:
        snapshot, maps = self._maps[view.study, view.at]
        view, replaced = fitted(view, maps)
        other = None
        if view.page == "compare":
            labels = maps["limit_method"].to_numpy().tolist()
            other_snapshot, other_maps = self._maps[view.study, view.other_at or view.at]
            if nodes_of(other_maps["cl"].to_numpy(), [view.cl or 0.0]) == [None]:
                replaced.append(f"cl = {view.cl:.12g}: not at commit {view.other_at[:60]}; the same commit is shown")
                view, other_snapshot, other_maps = replace(view, other_at=""), snapshot, maps
            there = other_maps["limit_method"].to_numpy().tolist()
            if not view.other:
                rest = [label for label in labels if label != view.limit_method and label in there]
                alike = view.other_at or not rest
                view = replace(view, other=view.limit_method if alike else rest[0])
            view = replace(view, other=label_in(there, view.other, replaced, "other"))
            other = self._side(view, other_snapshot, other_maps, view.other)
        shown = Shown(self._held.store, view, self._side(view, snapshot, maps, view.limit_method), other)
        self._view, self._shown, self._failed = view, shown, False
        self._leaves |= leaves
        self._controls.show(shown, self._names, self._commits[1], maps["s_true"].to_numpy())
        for name, root in self._pages.items():
            root.visible = name == view.page
        first, *rest = self._on(view.page)
        self._show_panels(shown, [first])
        heading = _heading(shown)
        self._browser.update(
            title=heading,
            heading=heading,
            sentence=_sentence(shown),
            wrong=". ".join([*wrong, *replaced]),
            progress="",
            page=view.page,
            theme=view.theme,
            stem=picture_stem(view),
        )
        self._paint()
        if rest:  # when what is seen first is on its way
            self._doc.add_next_tick_callback(partial(self._finish, shown, rest))
        else:
            self._finish(shown, [])

    def _finish(self, shown: Shown, panels: Sequence[Panel]) -> None:
        """Show the panels that are left, unless something else is shown by now, and let the address follow."""
        if shown is self._shown:
            self._show_panels(shown, panels)
            self._browser.leaves = self._leaves
            self._browser.address = shown.view.address()
            self._leaves = False

    def _show_panels(self, shown: Shown, panels: Sequence[Panel]) -> None:
        page = self._pages[shown.view.page]
        # a figure without data is not worth drawing
        new = [each.root for each in panels if each.root not in page.children]
        with _frozen(self._doc) if new else nullcontext():
            for panel in panels:
                panel.show(shown)
            if new:
                page.children = [*page.children, *new]
            if page not in self._layout.children:
                self._layout.children = [*self._layout.children, page]

    def _side(self, view: View, snapshot: str, maps: xr.Dataset, label: str) -> Side:
        """Return a side of a view: the one that panels know already, if it is the same."""
        told = view.study, snapshot, label, view.cl, view.s_low, view.s_high
        if told not in self._sides:
            self._sides = dict([*self._sides.items()][-1:]) | {told: side_of(view, snapshot, maps, label)}
        return self._sides[told]

    def _fail(self, heading: str, sentence: str) -> None:
        self._failed = True
        self._controls.root.visible = False
        for root in self._pages.values():
            root.visible = False
        self._browser.update(heading=heading, title=heading, sentence="", wrong=sentence, progress="")

    def _on(self, page: str) -> list[Panel]:
        """Return the panels of a page, made when it is seen first."""
        if page not in self._panels:
            self._panels[page] = self._panels_of(page)
            self._pages[page] = Column(sizing_mode="stretch_width", margin=0)
        return self._panels[page]

    def _panels_of(self, page: str) -> list[Panel]:
        common = self.change, self._style
        match page:
            case "compare":
                return [ComparePanel(*common, self._held)]
            case "methods":
                return [MatrixPanel(*common)]
            case "history":
                return [HistoryPanel(*common, self._held)]
        return [MapsPanel(*common), CellPanel(*common, self._held)]

    def _paint(self) -> None:
        theme = self._view.theme
        self._style.change(dark=theme == "dark" or (not theme and self._browser.system_is_dark))

    def _want(self, _: str, __: Any, wanted: dict[str, Any]) -> None:
        match wanted:
            case {"page": str(page)} if page in NAMES:
                self.change(page=page)
            case {"theme": "light" | "dark" as theme}:
                self.change(theme=theme)
            case {"address": str(address)}:
                told = parse_qs(address.removeprefix("?"))
                view, wrong = asked_of({name: [each.encode() for each in values] for name, values in told.items()})
                self.go(view, wrong=wrong)

    def _poll(self) -> None:
        if self._failed and self._work is None:  # the first study may be there by now, or the store may answer again
            self.go(self._view)
            return
        watched = self._shown is not None and self._view.at == "main"
        if watched and self._work is None and (self._look is None or self._look.done()):
            self._look = asyncio.create_task(self._watch(self._view.study))

    async def _watch(self, study: str) -> None:
        """Look how far the work is, and follow when there is a new commit."""
        try:
            said = await progress(self._held, study)
            newest, names = await self._held.newest(study), await self._held.names()
            maps = self._maps
            if maps.get((study, "main"), ("",))[0] != newest:
                maps = {**maps, (study, "main"): await self._held.maps(study, "main")}
        except CovsvcError as error:
            said, maps, names = str(error), self._maps, self._names
        self._later(self._follow, study, said, maps, names)

    def _follow(
        self, study: str, said: str, maps: dict[tuple[str, str], tuple[str, xr.Dataset]], names: list[str]
    ) -> None:
        if (study, "main") != (self._view.study, self._view.at) or self._work is not None:
            return
        if names != self._names:
            self._names = names
            self._controls.offer_studies(names, study)
        if maps is not self._maps:
            self._maps = {**self._maps, (study, "main"): maps[study, "main"]}
            self._show(self._view, leaves=False)
        if self._browser.progress != said:
            self._browser.progress = said

    def _later(self, do: Any, *arguments: Any, **options: Any) -> None:
        """Do something when the document can be changed."""

        def change() -> None:
            do(*arguments, **options)

        self._work = None
        self._doc.add_next_tick_callback(change)

    def _end(self, _: Any) -> None:
        for task in (self._work, self._look):
            if task is not None:
                task.cancel()


@contextmanager
def _frozen(doc: Document) -> Iterator[None]:
    """Let Bokeh look once at the end, and not at each change, which models a document has: it takes tens of ms."""
    doc.models._push_freeze()  # `freeze` stays frozen for ever after an exception
    try:
        yield
    finally:
        doc.models._pop_freeze()


def _heading(shown: Shown) -> str:
    """Name what is shown."""
    view, cl = shown.view, f"at cl = {shown.view.cl:g}"
    match view.page:
        case "methods":
            return f"{view.study}: all methods {cl}"
        case "history":
            return f"{view.study}: history"
        case "compare" if shown.other is not None and shown.other.label != view.limit_method:
            return f"{view.study}: {view.limit_method} and {shown.other.label} {cl}"
        case "compare":
            return f"{view.study}: {view.limit_method} {cl}, at two commits"
    return f"{view.study}: {view.limit_method} {cl}"


def _sentence(shown: Shown) -> str:
    """Say what is most worth knowing of the maps that are shown."""
    read = f"Read from snapshot {shown.side.snapshot[:8]}."
    if shown.view.page != "maps":
        return read
    column = shown.side.column
    return " ".join(filter(None, [describe_marks(column), describe_lowest(column), read]))
