"""What each method was worth in the accepted baselines."""

from __future__ import annotations

import asyncio
import itertools
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from html import escape
from typing import Any

import numpy as np
import xarray as xr
from bokeh.events import Tap
from bokeh.layouts import column as stacked
from bokeh.layouts import row as beside
from bokeh.models import (
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    MultiLine,
    Range1d,
    Rect,
    Scatter,
    Segment,
    Text,
)
from bokeh.models.ui.ui_element import UIElement
from bokeh.models.widgets import Button, Div, Select
from bokeh.plotting import figure
from numpy.typing import NDArray

from covsvc import api
from covsvc.contracts import FloatArray
from covsvc.errors import CovsvcError
from covsvc.report.column import TOLERANCE
from covsvc.report.notation import NOTHING, number, place, probability
from covsvc.report.tables import PROMISES
from covsvc.report.trend_plot import QUANTITIES, WORSE, Quantity
from covsvc.selection import nodes_of
from covsvc_dashboards.downloads import picture_buttons
from covsvc_dashboards.held import Held
from covsvc_dashboards.labels import in_lines, plain, shortened
from covsvc_dashboards.shown import Change, Shown, when_free
from covsvc_dashboards.style import WRAPPED, Style
from covsvc_dashboards.twin import Twin, table_twin
from covsvc_dashboards.view import View

SHOWN = dict(zip(("coverage", "median", "speed"), QUANTITIES, strict=True))
"""What is followed, by `covsvc_dashboards.view.QUANTITIES`."""

ROW, LETTERS = 48, 22
"""Height of a row, pixels, and letters of a line of its label."""
LEFT, RIGHT, APART = 64, 108, 70
"""What the first and the last numbers take, and what the name of a baseline does, pixels."""
PART = 0.6
"""Of its height that a row uses for its line."""
NAMED = 4
"""Changes and gaps that the sentence names."""

_OFFERED: list[Any] = [
    ("coverage", "worst coverage"),
    ("median", "median of sigma_Med / sigma_True"),
    ("speed", "toys a second"),
]
_ENDS = ("x0", "y0", "x1", "y1")
_OF_A_POINT = ("x", "y", "label", "baseline", "when", "why", "value", "where", "promises", "changed")
_ROW_IS = "or more where there is more to show. Filled triangles are worse, hollow ones better, by"
_MEANT = {
    "coverage": f"The smallest coverage of the grid; dashed is cl. A row is 0.02 high, {_ROW_IS} 0.005 or more.",
    "median": "The median of sigma_Med/sigma_True over the cells; lower is stronger. "
    f"A row is 5 % high, {_ROW_IS} 1 % or more.",
    "speed": "Toys a second on which limits were set when it was validated; another machine has another speed. "
    f"A row is a factor of 3 high, {_ROW_IS} a factor of 1.5 or more.",
}


@dataclass(frozen=True)
class Rows:
    """One quantity of all methods at one confidence level over the baselines.

    Attributes
    ----------
    found : Dataset
        From `covsvc.api.trend`, at this cl.
    quantity : Quantity
    cl : float
    """

    found: xr.Dataset
    quantity: Quantity
    cl: float

    def told(self, name: str) -> list[str]:
        """Return what is told of each baseline."""
        return [str(each) for each in self.found[name].values.tolist()]

    @cached_property
    def same_study(self) -> NDArray[np.bool_]:
        """Whether each baseline can be compared with the one before."""
        same = np.asarray(self.found["same_study"].values, bool)
        return same if self.quantity.depends_on_study else np.ones_like(same)

    @cached_property
    def labels(self) -> list[str]:
        """The methods of which anything is known."""
        known = sum(np.isfinite(self.found[each.name].values).any(axis=0) for each in QUANTITIES)
        return [str(label) for label in self.found["limit_method"].values[np.asarray(known) > 0].tolist()]

    def values(self, label: str, name: str = "") -> FloatArray:
        """Return a quantity of a method in each baseline, that of the rows unless it is named."""
        at = self.found["limit_method"].values.tolist().index(label)
        return np.asarray(self.found[name or self.quantity.name].values[:, at], np.float64)

    def changes(self, label: str) -> list[tuple[int, bool, bool]]:
        """Return in which baselines a method changed by what matters, whether it rose, and whether that is worse."""
        found = self.quantity.changes(self.values(label), self.same_study)
        return [(at, way > 0, way == self.quantity.worse) for at, way in found]

    def heights(self, label: str) -> tuple[FloatArray, float]:
        """Return how far over the middle of its row each point of a method lies, and cl, which may be outside."""
        known = self.quantity.scaled(self.values(label))
        if np.isnan(known).all():
            return known, np.nan
        low, high = float(np.nanmin(known)), float(np.nanmax(known))
        scale = PART / max(high - low, self.quantity.height)
        middle = (low + high) / 2
        return (known - middle) * scale, (self.cl - middle) * scale if self.quantity is SHOWN["coverage"] else np.nan

    def text(self, value: float) -> str:
        """Write a value, with whether it is below cl."""
        if self.quantity is SHOWN["speed"]:
            return f"{float(f'{value:.3g}'):,.0f}" if np.isfinite(value) else NOTHING
        if self.quantity is SHOWN["median"]:
            return number(value)
        return probability(value, self.cl) + (" below" if value < self.cl - TOLERANCE else "")

    def where(self, label: str, at: int) -> str:
        """Say where the worst coverage is; nothing of other quantities."""
        if self.quantity is not SHOWN["coverage"]:
            return ""
        return place(self.values(label, "worst_s_true")[at], self.values(label, "worst_b")[at])

    def promises(self, label: str, *, short: bool = False) -> str:
        """Say what a method promises; short: as a line of its own."""
        told = str(self.found["promises"].values[self.found["limit_method"].values.tolist().index(label)])
        words = PROMISES.get(told, NOTHING)
        return f"promises {words}" if short and told in PROMISES else words


class HistoryPanel:
    """A line a method over the accepted baselines; a click on a point opens the maps of that baseline.

    Parameters
    ----------
    change : Change
    style : Style
    held : Held
    """

    root: UIElement

    def __init__(self, change: Change, style: Style, held: Held) -> None:
        self._change, self._held = change, held
        self._view, self._cl = View(), np.nan
        self._asked: tuple[str, str] = ("", "")
        self._trend: tuple[str, xr.Dataset] | None = None
        self._rows: Rows | None = None
        self._task: asyncio.Task[None] | None = None
        self._width = 900
        sheets: list[Any] = [style.sheet]
        self._quantity = Select(title="shown", options=_OFFERED, width=260, stylesheets=sheets)
        self._quantity.on_change("value", lambda _, __, new: self._choose(new))
        self._open = Button(label="Open its maps", stylesheets=sheets, align="end")
        self._open.on_click(lambda: change(page="maps"))
        self._said = Div(disable_math=True, sizing_mode="stretch_width", stylesheets=sheets)
        self._twins = Twin("history as a table", style), Twin("baselines: when, by whom and why", style)
        self._points, self._lines, self._levels, self._others, self._texts, self._frame = (
            ColumnDataSource({name: [] for name in names})
            for names in (_OF_A_POINT, ("xs", "ys"), _ENDS, _ENDS, ("x", "y", "text"), ("x", "y", "wide"))
        )
        self._firsts, self._worse, self._better = (
            ColumnDataSource({name: [] for name in ("x", "y", each)}) for each in ("text", "marker", "marker")
        )
        self.figure = self._figure(style)
        self._choices = beside(
            self._quantity, self._open, stylesheets=[WRAPPED], sizing_mode="stretch_width", visible=False
        )
        self._drawn = stacked(
            self.figure,
            picture_buttons(self.figure, "history", style),
            *(each.root for each in self._twins),
            sizing_mode="stretch_width",
            visible=False,
        )
        self.root = stacked(self._choices, self._said, self._drawn, sizing_mode="stretch_width")

    def show(self, shown: Shown) -> None:
        """Show the history of the study; its baselines are read when they may have changed."""
        view = self._view = shown.view
        self._cl = shown.side.cl
        self._quantity.value = view.quantity
        self._open.label = f"Open the maps of {shortened(view.limit_method, 40)}"
        asked = view.study, shown.side.snapshot
        if asked != self._asked:
            self._asked = asked
            if self._task is not None:
                self._task.cancel()
            self._task = asyncio.get_running_loop().create_task(self._read(*asked))
        if self._trend is None or self._trend[0] != view.study:
            self._say("Reading the baselines …")
        else:
            self._draw(self._trend[1])

    async def _read(self, study: str, snapshot: str) -> None:
        try:
            found = await self._held.in_child(api.trend, study, self._held.store)
        except CovsvcError as error:
            self._later(snapshot, partial(self._say, str(error)))
        else:
            self._later(snapshot, partial(self._take, study, found))

    def _later(self, snapshot: str, do: Callable[[], None]) -> None:
        """Do something when the document can be changed, unless something else is asked for by then."""

        def change() -> None:
            if self._asked[1] == snapshot:
                do()

        when_free(self.root, change)

    def _take(self, study: str, found: xr.Dataset) -> None:
        self._trend = study, found
        self._draw(found)

    def _say(self, *sentences: str) -> None:
        """Say something where nothing can be drawn."""
        self._rows = None
        self._drawn.visible = self._choices.visible = False
        self._said.text = "".join(f"<p>{escape(each)}</p>" for each in sentences)

    def _choose(self, quantity: str) -> None:
        if quantity != self._view.quantity:
            self._change(quantity=quantity)

    def _draw(self, found: xr.Dataset) -> None:
        view, cl = self._view, self._cl
        if not found.sizes["baseline"]:
            study = shlex.quote(view.study)
            self._say(
                f"{view.study}: no baseline was accepted yet. `covsvc validate` computes it anew "
                "and makes a candidate of it; then accept that:",
                f"covsvc accept {study} --store {shlex.quote(self._held.store)} --tag v1 --reason 'first baseline'",
            )
            return
        (at,) = nodes_of(found["cl"].to_numpy(), [cl])
        if at is None:
            known = ", ".join(f"{cl:.12g}" for cl in found["cl"].values.tolist())
            self._say(f"No baseline of {view.study} has cl = {cl:.12g}; there are {known}.")
            return
        here = found.isel(cl=at).transpose("baseline", "limit_method")
        self._rows = Rows(here, SHOWN[view.quantity], cl)
        self._said.text = f"<p>{escape(sentence(self._rows, view.quantity))}</p>"
        self._twins[0].show(partial(history_table, self._rows))
        self._twins[1].show(partial(baselines_table, self._rows))
        self._paint(self._rows)
        self._drawn.visible = self._choices.visible = True

    def _figure(self, style: Style) -> Any:
        drawn = figure(
            x_range=Range1d(start=0, end=1),
            y_range=Range1d(start=0, end=1),
            frame_height=ROW,
            sizing_mode="stretch_width",
            toolbar_location=None,
            tools="",
            x_axis_label="accepted baseline, oldest first",
            y_axis_label="limit method",
        )
        self._columns, self._names = FixedTicker(), FixedTicker()
        drawn.xaxis.ticker, drawn.yaxis.ticker = self._columns, self._names
        drawn.ygrid.visible = False
        drawn.yaxis.major_tick_line_color = None
        frame = Rect(x="x", y="y", width="wide", height=0.96, fill_color=None, line_width=2)
        drawn.add_glyph(self._frame, frame)
        level = Segment(line_dash="dashed", line_width=1)
        other = Segment(line_dash="dotted", line_width=2)
        drawn.add_glyph(self._levels, level)
        drawn.add_glyph(self._others, other)
        line = MultiLine(line_width=1.6)
        drawn.add_glyph(self._lines, line)
        points = Scatter(size=6)
        rendered = drawn.add_glyph(self._points, points)
        drawn.add_glyph(self._worse, Scatter(marker="marker", size=12, fill_color=WORSE, line_color=WORSE))
        better = Scatter(marker="marker", size=12, line_width=2)
        drawn.add_glyph(self._better, better)
        first = Text(x_offset=-9, text_align="right", text_baseline="middle", text_font_size="12px")
        last = Text(x_offset=9, text_align="left", text_baseline="middle", text_font_size="12px")
        drawn.add_glyph(self._firsts, first)
        drawn.add_glyph(self._texts, last)
        self._hover = HoverTool(renderers=[rendered])
        drawn.add_tools(self._hover)
        drawn.on_event(Tap, self._tapped)
        drawn.on_change("inner_width", lambda _, __, width: self._fit(width))
        style.paint(drawn)

        def paint() -> None:
            colours = style.colours
            drawn.yaxis.major_tick_line_color = None
            for each in (line, points):
                each.line_color = colours.ink
            points.fill_color = last.text_color = colours.ink
            first.text_color = level.line_color = other.line_color = colours.muted
            better.fill_color = colours.paper
            better.line_color = frame.line_color = colours.accent

        style.follow(paint)
        return drawn

    def _fit(self, width: int | None) -> None:
        """Leave room for the numbers, whatever the width; a page that is not seen has none."""
        if width and width > LEFT + RIGHT and width != self._width:
            self._width = width
            if self._rows is not None:
                self._paint(self._rows)

    def _tapped(self, event: Any) -> None:
        """Open the maps of the point that was clicked, or choose the method of the row."""
        rows = self._rows
        if rows is None or event.x is None or event.y is None:
            return
        down, at = int(len(rows.labels) - event.y), round(event.x)
        if not 0 <= down < len(rows.labels):
            return
        label = rows.labels[down]
        if 0 <= at < len(rows.same_study) and np.isfinite(rows.values(label)[at]):
            self._change(limit_method=label, at=rows.told("tag")[at], page="maps")

    def _paint(self, rows: Rows) -> None:
        labels, number_of = rows.labels, len(rows.same_study)
        per_step = max(self._width - LEFT - RIGHT, 40) / max(number_of - 1, 1)
        start, end = -LEFT / per_step, number_of - 1 + RIGHT / per_step
        self.figure.x_range.update(start=start, end=end)
        self.figure.y_range.update(start=0, end=len(labels))
        self.figure.frame_height = ROW * len(labels)
        middles = {label: len(labels) - at - 0.5 for at, label in enumerate(labels)}
        self._names.ticks = list(middles.values())
        self.figure.yaxis.major_label_overrides = {
            middle: plain(f"{in_lines(label, LETTERS)}\n{rows.promises(label, short=True)}")
            for label, middle in middles.items()
        }
        skipped = max(int(np.ceil(APART / per_step)), 1)
        shown = range(number_of)[::-1][::skipped]  # the newest has its name
        self._columns.ticks = list(shown)
        names = rows.told("name")
        self.figure.xaxis.major_label_overrides = {at: plain(shortened(names[at], 10)) for at in shown}
        self._paint_rows(rows, middles)
        breaks = np.flatnonzero(~rows.same_study) - 0.5
        self._others.data = dict(zip(_ENDS, (breaks, 0 * breaks, breaks, 0 * breaks + len(labels)), strict=True))
        marked = [middles[label] for label in labels if label == self._view.limit_method]
        wide = [end - start] * len(marked)
        self._frame.data = {"x": [(start + end) / 2] * len(marked), "y": marked, "wide": wide}
        self._hover.tooltips = [
            ("limit method", "@label"),
            ("baseline", "@baseline, @when"),
            ("reason", "@why"),
            (rows.quantity.head, "@value"),
            *([("at", "@where")] if rows.quantity is SHOWN["coverage"] else []),
            ("promises", "@promises"),
            ("change", "@changed"),
        ]

    def _paint_rows(self, rows: Rows, middles: dict[str, float]) -> None:
        names, times, reasons = (rows.told(name) for name in ("name", "accepted_at", "reason"))
        points: dict[str, list[Any]] = {name: [] for name in _OF_A_POINT}
        pieces: list[tuple[Any, Any]] = []
        levels: list[tuple[float, float, float, float]] = []
        texts: tuple[list[Any], list[Any]] = ([], [])
        marks: tuple[list[Any], list[Any]] = ([], [])
        breaks = [0, *np.flatnonzero(~rows.same_study).tolist(), len(rows.same_study)]
        for label, middle in middles.items():
            values, (over, cl_at) = rows.values(label), rows.heights(label)
            changed = {at: (rose, worse) for at, rose, worse in rows.changes(label)}
            y = middle + over
            known = np.flatnonzero(np.isfinite(y)).tolist()
            pieces += [(np.arange(a, b), y[a:b]) for a, b in itertools.pairwise(breaks)]
            if abs(cl_at) < 0.5:
                levels.append((0, middle + cl_at, len(values) - 1, middle + cl_at))
            for at in known:
                word = (
                    f"{'worse' if changed[at][1] else 'better'} than before" if at in changed else "none that matters"
                )
                told = (at, y[at], label, names[at], times[at][:10], reasons[at], rows.text(values[at]))
                rest = (rows.where(label, at), rows.promises(label), word if at else "the first baseline")
                for name, each in zip(_OF_A_POINT, (*told, *rest), strict=True):
                    points[name].append(each)
            for at, (rose, worse) in changed.items():
                marks[not worse].append((at, y[at], "triangle" if rose else "inverted_triangle"))
            if known:
                first, last = (rows.text(values[at]) for at in (known[0], known[-1]))
                texts[1].append((known[-1], y[known[-1]], last))
                if first != last:
                    texts[0].append((known[0], y[known[0]], first.removesuffix(" below")))
        self._points.data = points
        self._lines.data = {"xs": [x for x, _ in pieces], "ys": [y for _, y in pieces]}
        self._levels.data = _by_name(_ENDS, levels)
        for source, each in zip((self._firsts, self._texts), texts, strict=True):
            source.data = _by_name(("x", "y", "text"), each)
        for source, each in zip((self._worse, self._better), marks, strict=True):
            source.data = _by_name(("x", "y", "marker"), each)


def _by_name(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {name: [row[at] for row in rows] for at, name in enumerate(names)}


def sentence(rows: Rows, quantity: str) -> str:
    """Say what became worse, what is not known, and what lines and marks mean."""
    names, times = rows.told("name"), rows.told("accepted_at")
    ends = [f"{name} ({time[:10]})" for name, time in zip(names, times, strict=True)]
    span = f"from {ends[0]} to {ends[-1]}" if len(ends) > 1 else f"{ends[0]} alone"
    worse = [
        f"{label} at {names[at]} (now {rows.text(rows.values(label)[at])})"
        for label in rows.labels
        for at, _, is_worse in rows.changes(label)
        if is_worse
    ]
    gaps = [
        f"{label} in {names[at]}"
        for label in rows.labels
        for at in np.flatnonzero(np.isnan(rows.values(label))).tolist()
    ]
    said = [f"Accepted baselines: {len(names)}, {span}, at cl = {number(rows.cl, 12)}."]
    if len(names) > 1:
        said.append(f"Became worse: {_some(worse)}." if worse else "No method became worse.")
    said.append(_MEANT[quantity])
    if gaps:
        said.append(f"Not known, and a gap in the line: {_some(gaps)}.")
    if not rows.same_study.all():
        said.append("Dotted: from here on the grid or the toys are others.")
    return " ".join([*said, "A click on a point opens the maps of that baseline."])


def _some(every: Sequence[str]) -> str:
    more = [f"and {len(every) - NAMED} more"] if len(every) > NAMED else []
    return "; ".join([*every[:NAMED], *more])


def history_table(rows: Rows) -> str:
    """Return the HTML of a table of what each method was worth, with what the marks say."""
    cells = []
    for label in rows.labels:
        changed = {at: "worse" if worse else "better" for at, _, worse in rows.changes(label)}
        texts = [rows.text(value) for value in rows.values(label).tolist()]
        told = [f"{text}, {changed[at]}" if at in changed else text for at, text in enumerate(texts)]
        cells.append(
            [rows.promises(label), *told, rows.where(label, -1) if np.isfinite(rows.values(label)[-1]) else ""]
        )
    heads = [
        name if same else f"{name} (another grid or other toys)"
        for name, same in zip(rows.told("name"), rows.same_study, strict=True)
    ]
    caption = f"{rows.quantity.head} at cl = {number(rows.cl, 12)} in each accepted baseline"
    is_coverage = rows.quantity is SHOWN["coverage"]
    last = ["where it is worst in the newest"] if is_coverage else []
    cells = cells if is_coverage else [line[:-1] for line in cells]
    return table_twin(caption, rows.labels, ["promises", *heads, *last], cells, "limit method")


def baselines_table(rows: Rows) -> str:
    """Return the HTML of a table of the baselines: when, by whom and why."""
    told = {"accepted_at": "accepted", "who": "by", "reason": "why", "outcome": "validation", "snapshot": "snapshot"}
    lines = [
        [time[:19].replace("T", " "), *rest] for time, *rest in zip(*(rows.told(name) for name in told), strict=True)
    ]
    return table_twin("Accepted baselines, times in UTC", rows.told("name"), list(told.values()), lines, "baseline")
