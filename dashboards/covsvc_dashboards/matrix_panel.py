"""The maps of all methods at one confidence level, beside each other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from typing import Any

import numpy as np
from bokeh.events import Tap
from bokeh.layouts import column as stacked
from bokeh.layouts import row as beside
from bokeh.models import (
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    Image,
    LinearColorMapper,
    LogColorMapper,
    Range1d,
    Rect,
    Segment,
    Text,
)
from bokeh.models.annotations import ColorBar
from bokeh.models.ui.ui_element import UIElement
from bokeh.models.widgets import Button, Div, Select
from bokeh.plotting import figure

from covsvc.contracts import FloatArray
from covsvc.report.column import Column, columns
from covsvc.report.notation import NOTHING, number, place, probability
from covsvc.report.sigma_map import sigma_range
from covsvc.report.tables import summary
from covsvc.report.tiles import HOLE, borders
from covsvc.selection import select, with_axes
from covsvc.tally import RATES
from covsvc_dashboards.colours import COVERAGE, SIGMA
from covsvc_dashboards.downloads import picture_buttons
from covsvc_dashboards.labels import in_lines, shortened
from covsvc_dashboards.paintings import Painting, coverage_of, sigma_of
from covsvc_dashboards.shown import Change, Shown
from covsvc_dashboards.style import WRAPPED, Style
from covsvc_dashboards.twin import Twin, table_twin
from covsvc_dashboards.view import View

NARROWEST, WIDEST, MOST_ACROSS = 165, 300, 6
"""Widths that a tile may have, pixels, and how many stand in a row."""
WIDTH = 1100
"""Of the figure before its page tells how wide it is, pixels."""
LINE, UNDER, AIR, EDGE = 15, 36, 16, 4
"""A line of the label over a map, the two lines under it, the space to the next tile, and that over all, pixels."""
FLATTEST, STEEPEST, ROW = 60, 0.72, 22
"""Height of a map, pixels: so much at least, and at most this part of its width, or so much a row of cells."""
LETTER = 6.3
"""Width of a letter, pixels, about."""
NAMED = 3
"""Methods that the sentence names."""

_SHOWN: list[Any] = [("coverage", "coverage"), ("median", "sigma_Med / sigma_True")]
_ORDERS: list[Any] = [("study", "as in the study"), ("worst", "worst coverage first")]
_OF_A_LINE, _OF_A_FRAME = ("x0", "y0", "x1", "y1"), ("x", "y", "wide", "high")
_OF_A_TILE = (
    *("image", "s_true", "b", "label", "head", "first", "second"),
    *("left", "bottom", *_OF_A_FRAME, "over", "under", "below"),
)
_TOLD = {
    "kind": "kind",
    "promise": "promises",
    "under": "cells significantly below cl",
    "below": "share of cells below cl",
    "worst": "worst coverage",
    "where": "where it is worst",
    "sigma": "median of sigma_Med / sigma_True",
} | {status: f"{status} at most" for status in RATES}


@dataclass(frozen=True)
class Methods:
    """All methods at one confidence level.

    Attributes
    ----------
    columns : list of Column
        In the order of the study.
    told : mapping of str to mapping
        What the study says of each method, by label.
    """

    columns: list[Column]
    told: Mapping[str, Mapping[str, Any]]

    @cached_property
    def significant(self) -> dict[str, int]:
        """How many cells of each are significantly below cl."""
        return {each.label: int((each.under & each.known).sum()) for each in self.columns}

    @cached_property
    def worst(self) -> dict[str, float]:
        """The worst coverage of each; infinite where none is known."""
        return {each.label: math.inf if each.worst is None else each.worst.value for each in self.columns}

    @cached_property
    def sigma_ends(self) -> tuple[float, float]:
        """Ends of the one scale of sigma_Med/sigma_True."""
        return sigma_range(self.columns)

    def ordered(self, order: str) -> list[Column]:
        """Return the columns as in the study, or what is significantly below cl first, and the lowest first."""
        if order != "worst":
            return self.columns
        return sorted(self.columns, key=lambda each: (not self.significant[each.label], self.worst[each.label]))


class MatrixPanel:
    """The maps of all methods as tiles of one figure; a click on one opens its maps.

    Parameters
    ----------
    change : Change
    style : Style
    """

    root: UIElement

    def __init__(self, change: Change, style: Style) -> None:
        self._change = change
        self._made_of: tuple[Any, ...] = ()
        self._methods = Methods([], {})
        self._painted: tuple[Any, ...] = ()
        self._view = View()
        self._width, self._across = WIDTH, 1
        self._wide = self._tall = self._head = 0.0
        sheets: list[Any] = [style.sheet]
        self._quantity = Select(title="shown", options=_SHOWN, width=190, stylesheets=sheets)
        self._quantity.on_change("value", lambda _, __, new: self._choose(quantity=new))
        self._order = Select(title="order", options=_ORDERS, width=180, stylesheets=sheets)
        self._order.on_change("value", lambda _, __, new: self._choose(order=new))
        self._open = Button(label="Open its maps", stylesheets=sheets, align="end")
        self._open.on_click(lambda: change(page="maps"))
        self._said = Div(disable_math=True, sizing_mode="stretch_width", stylesheets=sheets)
        self._twin = Twin("all methods as a table", style)

        self._tiles, self._rims, self._frame = (
            ColumnDataSource({name: [] for name in names}) for names in (_OF_A_TILE, _OF_A_LINE, _OF_A_FRAME)
        )
        self.figure = self._figure(style)
        self.root = stacked(
            beside(self._quantity, self._order, self._open, stylesheets=[WRAPPED], sizing_mode="stretch_width"),
            self._said,
            self.figure,
            picture_buttons(self.figure, "all methods", style),
            self._twin.root,
            sizing_mode="stretch_width",
            visible=False,
        )

    def show(self, shown: Shown) -> None:
        """Show the methods of what is looked at, at its confidence level."""
        view, side = shown.view, shown.side
        made_of = id(side.maps), side.snapshot, view.study, view.cl, view.s_low, view.s_high
        if made_of != self._made_of:
            maps = with_axes(select(side.maps, cl=[side.cl]))
            self._methods = Methods(list(columns(maps)), json.loads(side.maps.attrs.get("methods", "{}")))
            self._made_of = made_of
        self._view = view
        quantity = _quantity(view)
        self._quantity.value, self._order.value = quantity, view.order
        self._open.label = f"Open the maps of {shortened(view.limit_method, 40)}"
        self._said.text = f"<p>{escape(_sentence(self._methods, quantity))}</p>"
        self._twin.show(self._table)
        painted = (*made_of, quantity, view.order)
        if painted != self._painted:
            self._painted = painted
            self._paint()
        self._mark()
        self.root.visible = True

    def _figure(self, style: Style) -> Any:
        # all places are in pixels, so that letters have room: the ranges follow the size of the frame
        drawn = figure(
            x_range=Range1d(start=0, end=1000),
            y_range=Range1d(start=0, end=300),
            frame_height=300,
            sizing_mode="stretch_width",
            toolbar_location=None,
            tools="",
            x_axis_label=" ",
            y_axis_label=" ",
        )
        drawn.grid.visible = False
        drawn.outline_line_color = None
        for axis in drawn.axis:
            axis.update(ticker=FixedTicker(ticks=[]), axis_line_color=None)
        self._linear = LinearColorMapper(palette=list(COVERAGE), nan_color=HOLE)
        self._log = LogColorMapper(palette=list(SIGMA), nan_color=HOLE)
        self._ticker = FixedTicker()
        self._bar = ColorBar(
            color_mapper=self._linear, ticker=self._ticker, width=250, height=10, padding=4, orientation="horizontal"
        )
        drawn.add_layout(self._bar, "above")
        self._images = drawn.add_glyph(
            self._tiles, Image(image="image", x="left", y="bottom", dw="wide", dh="high", color_mapper=self._linear)
        )
        edge = Rect(x="x", y="y", width="wide", height="high", fill_color=None)
        drawn.add_glyph(self._tiles, edge)
        self._rim = Segment(line_color="black", line_cap="square")
        drawn.add_glyph(self._rims, self._rim)
        frame = Rect(x="x", y="y", width="wide", height="high", fill_color=None, line_width=2.5)
        drawn.add_glyph(self._frame, frame)
        head = Text(x="left", y="over", text="head", text_baseline="bottom", text_font_style="bold")
        under = [
            Text(x="left", y=y, text=text, text_baseline="middle")
            for text, y in (("first", "under"), ("second", "below"))
        ]
        written = [head, *under]
        for each in written:
            each.text_font_size = "12px"
            drawn.add_glyph(self._tiles, each)
        self._hover = HoverTool(renderers=[self._images])
        drawn.add_tools(self._hover)
        drawn.on_event(Tap, self._tapped)
        drawn.on_change("inner_width", lambda _, __, width: self._fit(width))
        style.paint(drawn)

        def paint() -> None:
            colours = style.colours
            drawn.outline_line_color = None
            drawn.axis.axis_line_color = None
            frame.line_color, edge.line_color = colours.accent, colours.line
            for each in written:
                each.text_color = colours.ink

        style.follow(paint)
        return drawn

    def _choose(self, **chosen: str) -> None:
        if any(getattr(self._view, name) != value for name, value in chosen.items()):
            self._change(**chosen)

    def _tapped(self, event: Any) -> None:
        """Open the maps of the tile that was clicked."""
        if event.x is None or event.y is None:
            return
        across, down = int(event.x // self._wide), int((self.figure.y_range.end - EDGE - event.y) // self._tall)
        every = self._methods.ordered(self._view.order)
        at = down * self._across + across
        if 0 <= across < self._across and down >= 0 and at < len(every):
            self._change(limit_method=every[at].label, page="maps")

    def _fit(self, width: int | None) -> None:
        """Lay the tiles out anew for another width; a page that is not seen has none."""
        if width and width > NARROWEST and width != self._width:
            self._width = width
            if self._methods.columns:
                self._paint()
                self._mark()

    def _paint(self) -> None:
        """Draw the tiles."""
        every = self._methods.ordered(self._view.order)
        paintings = [self._painting(each) for each in every]
        rows, nodes = paintings[0].values.shape
        left, bottom, wide, high = self._lay_out(every, rows)
        room = int(wide / LETTER)
        lines = [_lines(each, self._methods, _quantity(self._view)) for each in every]
        s_true, b = np.meshgrid(every[0].s_true, every[0].b)
        self._tiles.data = {
            "image": [each.values for each in paintings],
            "s_true": [s_true] * len(every),
            "b": [b] * len(every),
            "label": [each.label for each in every],
            "head": [in_lines(each.label, room) for each in every],
            "first": [shortened(first, room) for first, _ in lines],
            "second": [shortened(second, room) for _, second in lines],
            "left": left,
            "bottom": bottom,
            "x": left + wide / 2,
            "y": bottom + high / 2,
            "wide": np.full(len(every), wide),
            "high": np.full(len(every), high),
            "over": bottom + high + 2,
            "under": bottom - 11,
            "below": bottom - 26,
        }
        rims = [_rims(each) for each in paintings]
        scales = np.array([wide / nodes, high / rows] * 2)
        ends = [rim * scales + np.array([x, y, x, y]) for rim, x, y in zip(rims, left, bottom, strict=True)]
        self._rims.data = dict(zip(_OF_A_LINE, np.concatenate(ends).T, strict=True))
        self._rim.line_width = float(np.clip(scales.min() / 5, 0.6, 2.0))  # lines do not hide small cells
        self._scale(paintings[0])
        first = every[0]
        self.figure.xaxis.axis_label = f"true signal s_true (events): {_ends(first.s_true)} in each map"
        self.figure.yaxis.axis_label = f"background b (events): {_ends(first.b)}"

    def _painting(self, column: Column) -> Painting:
        if _quantity(self._view) == "median":
            return sigma_of(column, *self._methods.sigma_ends)
        return coverage_of(column)

    def _scale(self, painting: Painting) -> None:
        """Give images, bar and hover the scale of what is shown."""
        scale = painting.scale
        mapper = self._log if scale.log else self._linear
        mapper.update(low=scale.low, high=scale.high)
        self._images.glyph.color_mapper = mapper
        self._ticker.ticks = list(scale.ticks)
        name = "sigma_Med / sigma_True" if scale.log else "coverage"
        title = f"{name} at cl = {painting.column.cl:.12g}"
        self._bar.update(color_mapper=mapper, major_label_overrides=dict(scale.ticks), title=title)
        self._hover.tooltips = [
            ("limit method", "@label"),
            ("cell", "s_true = @s_true{0.[00000]}, b = @b{0.[00000]}"),
            (name, "@image{0.[000000]}"),
        ]

    def _lay_out(self, every: Sequence[Column], rows: int) -> tuple[FloatArray, FloatArray, float, float]:
        """Return the lower left corner of each map, and the size of all, for the width that there is."""
        width, count = float(self._width), len(every)
        self._across = int(min(max(width // NARROWEST, 1), MOST_ACROSS, count))
        self._wide = min(width / self._across, WIDEST)
        wide = self._wide - AIR
        high = float(max(min(STEEPEST * wide, ROW * rows), FLATTEST))
        self._head = 5 + LINE * (2 if any(len(each.label) > int(wide / LETTER) for each in every) else 1)
        self._tall = self._head + high + UNDER + AIR
        full = math.ceil(count / self._across) * self._tall + EDGE
        self.figure.x_range.update(start=0, end=width)
        self.figure.y_range.update(start=0, end=full)
        self.figure.frame_height = int(full)
        down, across = np.divmod(np.arange(count), self._across)
        return across * self._wide + AIR / 2, full - EDGE - down * self._tall - self._head - high, wide, high

    def _mark(self) -> None:
        """Put a frame around the method that is chosen."""
        tiles = self._tiles.data
        at = [place for place, label in enumerate(tiles["label"]) if label == self._view.limit_method]
        self._frame.data = {
            "x": [tiles["x"][each] for each in at],
            "y": [tiles["y"][each] + (self._head - UNDER) / 2 for each in at],
            "wide": [tiles["wide"][each] + AIR - 4 for each in at],
            "high": [tiles["high"][each] + self._head + UNDER + 2 for each in at],
        }

    def _table(self) -> str:
        every = self._methods.ordered(self._view.order)
        found = summary(every, self._methods.told)
        cells = [
            [row[name] + (" below" if name == "worst" and row["low"] else "") for name in _TOLD]
            + [f"{int(column.values('n_toys').sum()):,}"]
            for row, column in zip(found, every, strict=True)
        ]
        caption = f"All methods at cl = {self._view.cl:.12g}: coverage, median limit, and rates of what is no limit"
        rows = [each.label for each in every]
        return table_twin(caption, rows, [*_TOLD.values(), "toys"], cells, "limit method")


def _quantity(view: View) -> str:
    """Return what is shown of each method; a speed has no map."""
    return view.quantity if view.quantity in dict(_SHOWN) else "coverage"


def _rims(painting: Painting) -> FloatArray:
    """Return the lines around the cells that are outlined: x0, y0, x1, y1 in cells, which are all of one size here."""
    if painting.outlined is None:
        return np.empty((0, 4))
    even = replace(painting.column, s_true=np.arange(0.5, painting.values.shape[1]))
    return np.array(borders(even, painting.outlined), np.float64).reshape(-1, 4)


def _lines(column: Column, methods: Methods, quantity: str) -> tuple[str, str]:
    """Return what stands under the map of a method."""
    known, worst = int(column.known.sum()), column.worst
    if quantity == "median":
        finite = column.sigma[np.isfinite(column.sigma)]
        ends = f"{number(finite.min(), 3)} to {number(finite.max(), 3)}" if finite.size else ""
        return f"median {number(column.median_sigma, 3)}", ends
    if worst is None:
        return "no values", ""
    lowest = f"worst {probability(worst.value, column.cl)} at ({number(worst.s_true)}, {number(worst.b)})"
    return f"{methods.significant[column.label]} of {known} cells below", lowest


def _sentence(methods: Methods, quantity: str) -> str:
    """Say which methods stand out."""
    every = methods.columns
    cl = number(every[0].cl, 12)
    if quantity == "median":
        return _medians(methods)
    under = [each for each in methods.ordered("worst") if methods.significant[each.label]]
    if not under:
        return f"No method has a cell that is significantly below cl = {cl}: none of {len(every)}. {_HOW}"
    named = [
        f"{each.label} in {methods.significant[each.label]} of {int(each.known.sum())} cells{_lowest(each)}"
        for each in under[:NAMED]
    ]
    more = [f"and {len(under) - NAMED} more"] if len(under) > NAMED else []
    said = "; ".join([*named, *more])
    return (
        f"{len(under)} of {len(every)} methods {'has' if len(under) == 1 else 'have'} cells that are significantly "
        f"below cl = {cl}, which black lines surround: {said}. {_HOW}"
    )


_HOW = (
    "Under each map stand how many cells are significantly below cl, and the worst coverage with its (s_true, b). "
    "A click on a map opens it."
)


def _lowest(column: Column) -> str:
    worst = column.worst
    return f" (lowest {probability(worst.value, column.cl)} at {place(worst.s_true, worst.b)})" if worst else ""


def _medians(methods: Methods) -> str:
    known = [each for each in methods.columns if np.isfinite(each.median_sigma)]
    said = "The ratio of the median upper limit to the true signal, on one scale."
    if known:
        low, high = (choose(known, key=lambda each: each.median_sigma) for choose in (min, max))
        said += (
            f" Its median over the cells goes from {number(low.median_sigma, 3)} ({low.label}) to "
            f"{number(high.median_sigma, 3)} ({high.label}); lower is stronger."
        )
    sides = {str(methods.told.get(each.label, {}).get("sided")) for each in methods.columns}
    if len(sides) > 1:
        said += " Ends of two-sided intervals are not comparable with upper limits at equal cl."
    return f"{said} Under each map stand its median and its ends. A click on a map opens it."


def _ends(values: FloatArray) -> str:
    ends: Sequence[float] = [float(values[0]), float(values[-1])]
    return " to ".join(dict.fromkeys(f"{each:.4g}" for each in ends)) or NOTHING
