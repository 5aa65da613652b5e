"""Coverage and median limits along the row and the column of the grid that cross in a cell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from bokeh.layouts import column as stacked
from bokeh.models import (
    ColumnDataSource,
    HoverTool,
    InlineStyleSheet,
    Line,
    LogTicker,
    PrintfTickFormatter,
    Range1d,
    Row,
    Scatter,
    Segment,
)
from bokeh.models.annotations import BoxAnnotation, Legend, LegendItem, Span, Title
from bokeh.models.renderers import GlyphRenderer
from bokeh.plotting import figure

from covsvc.contracts import FloatArray
from covsvc.report.column import BoolArray, Column
from covsvc.report.notation import NOTHING, number, probability, with_ends
from covsvc.report.strokes import strokes
from covsvc_dashboards.downloads import picture_buttons
from covsvc_dashboards.labels import shortened
from covsvc_dashboards.style import SIDE_BY_SIDE, Style
from covsvc_dashboards.twin import Twin, table_twin

AXES = {"s_true": "true signal s_true (events)", "b": "background b (events)"}
QUANTITIES = {"coverage": "coverage", "sigma_med_over_true": "median limit over true signal"}
EXACT = {"coverage": "exact_coverage", "sigma_med_over_true": "exact_sigma_med_over_true"}
MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "hex", "star", "circle_x")
LIGHTER = 0.45
"""So much white is in the colours of the report on dark paper."""
MOST_LETTERS = 24
"""Of a label in a legend."""

_POINTS = ("method", "marker", "low", "high", "said", "colour")

Curve = tuple[list[float], list[float]]
"""s_true and exact coverage, in which a jump stands twice."""


@dataclass(frozen=True)
class Look:
    """How a method is drawn: its colour in the light, and its marker."""

    colour: str
    marker: str


def looks_of(maps: xr.Dataset) -> dict[str, Look]:
    """Return how the methods of maps are drawn, in the colours of the report."""
    told = json.loads(maps.attrs.get("methods", "{}"))
    styles = strokes({label: told.get(label, {}) for label in maps["limit_method"].to_numpy().tolist()})
    return {label: Look(each["color"], MARKERS[at % len(MARKERS)]) for at, (label, each) in enumerate(styles.items())}


class Slices:
    """Four figures: coverage and sigma_Med/sigma_True, each against s_true and against b.

    Parameters
    ----------
    style : Style

    Attributes
    ----------
    root : UIElement
    figures : dict of Slice
        By quantity and axis.
    """

    def __init__(self, style: Style) -> None:
        self.figures = {(what, along): Slice(what, along, style) for what in QUANTITIES for along in AXES}
        self.root = Row(
            children=[each.root for each in self.figures.values()],
            sizing_mode="stretch_width",
            stylesheets=[InlineStyleSheet(css=SIDE_BY_SIDE)],
        )

    def show(self, methods: Sequence[Column], looks: Mapping[str, Look], cell: tuple[int, int]) -> None:
        """Show methods in the slices through a cell.

        Parameters
        ----------
        methods : sequence of Column
            The first is the one that is looked at.
        looks : mapping of str to Look
        cell : tuple of int
            Its place along b and along s_true.
        """
        for each in self.figures.values():
            each.show(methods, looks, cell)

    def draw_curve(self, curve: Curve | None) -> None:
        """Draw the exact coverage of the first method between the nodes, or nothing."""
        self.figures["coverage", "s_true"].draw_curve(curve)


class Slice:
    """One quantity of several methods along one axis of the grid.

    Parameters
    ----------
    quantity : str
        One of `QUANTITIES`.
    along : str
        One of `AXES`.
    style : Style

    Attributes
    ----------
    root : UIElement
    figure : figure
    toys, exact, curve : ColumnDataSource
        Points with their intervals, marks, and the line between the nodes.
    """

    def __init__(self, quantity: str, along: str, style: Style) -> None:
        self._quantity, self._along, self._style = quantity, along, style
        self._is_coverage = quantity == "coverage"
        self._colours: dict[str, str] = {}
        self._cl = self._lowest = 1.0
        self.figure = figure(
            x_range=Range1d(start=0, end=1),
            y_range=Range1d(start=0.5, end=1),
            y_axis_type="linear" if self._is_coverage else "log",
            sizing_mode="stretch_width",
            height=330,
            toolbar_location=None,
            tools="",
            x_axis_label=AXES[along],
            y_axis_label=QUANTITIES[quantity],
        )
        if not self._is_coverage:
            self.figure.yaxis.ticker = LogTicker(mantissas=[1, 1.2, 1.5, 2, 3, 5, 7])
            self.figure.yaxis.formatter = PrintfTickFormatter(format="%.3g")
        self._draw()
        self._twin = Twin(f"{_capital(self._name)} as a table", style)
        buttons = picture_buttons(self.figure, self._name, style)
        self.root = stacked(self.figure, buttons, self._twin.root, sizing_mode="stretch_width")
        style.paint(self.figure)
        style.follow(self._paint)

    def show(self, methods: Sequence[Column], looks: Mapping[str, Look], cell: tuple[int, int]) -> None:
        """Show methods along the axis, through a cell; the curve is taken away."""
        first, (row, node) = methods[0], cell
        if self._along == "s_true":
            x, place, fixed = first.s_true, node, f"b = {first.b[row]:.6g}"
        else:
            x, place, fixed = first.b, row, f"s_true = {first.s_true[node]:.6g}"
        what = (
            f"Coverage at cl = {first.cl:.12g}"
            if self._is_coverage
            else "Median limit over true signal (lower is stronger)"
        )
        self._title.text = f"{what}, {fixed}"
        self._colours = {each.label: looks[each.label].colour for each in methods}
        names = [*(f"{self._quantity}{end}" for end in ("", "_low", "_high")), EXACT[self._quantity]]
        told = {each.label: [self._of(each.values(name), cell) for name in names] for each in methods}
        self._cl = first.cl
        self._level.location = first.cl if self._is_coverage else 1.0
        self._under.top = first.cl
        self._at.location = float(x[place])
        self.draw_curve(None)
        markers = {label: looks[label].marker for label in told}
        self._key.data = _joined(
            {
                "x": [np.nan],
                "y": [np.nan],
                "short": [shortened(label, MOST_LETTERS)],
                "method": [label],
                "marker": [markers[label]],
            }
            for label in told
        )
        self.toys.data = _joined(
            self._points(label, x, toys, low, high) | {"marker": [markers[label]] * int(self._drawn(toys).sum())}
            for label, (toys, low, high, _) in told.items()
        )
        self.exact.data = _joined(self._points(label, x, exact) for label, (_, _, _, exact) in told.items())
        width = float(x[-1] - x[0]) or 1.0
        self.figure.x_range.update(start=float(x[0]) - 0.04 * width, end=float(x[-1]) + 0.04 * width)
        self._fit([each for values in told.values() for each in values])
        self._legend.visible = True
        self._under.visible = self._is_coverage
        self._paint()
        self._twin.show(lambda: self._table(x, told, f"{what}, {fixed}"))

    def draw_curve(self, curve: Curve | None) -> None:
        """Draw the exact coverage of the first method between the nodes, or nothing."""
        s, coverage = curve or ([], [])
        self.curve.data = {"x": s, "y": coverage}
        if coverage:
            self._fit([np.array(coverage)], lower=self._lowest)

    @property
    def _name(self) -> str:
        return f"{QUANTITIES[self._quantity]} against {self._along}"

    def _draw(self) -> None:
        self.toys, self.exact, self._key, self.curve = (
            ColumnDataSource({name: [] for name in (*names, "x", "y")})
            for names in (_POINTS, ("method", "said", "colour"), ("method", "short", "marker", "colour"), ())
        )
        self._line = Line(x="x", y="y", line_width=1.2)
        self.figure.add_glyph(self.curve, self._line)
        look: dict[str, Any] = {"marker": "marker", "size": 7, "fill_color": "colour", "line_color": "colour"}
        key: GlyphRenderer[Any] = self.figure.add_glyph(self._key, Scatter(x="x", y="y", **look))
        self.figure.add_glyph(
            self.toys,
            Segment(x0="x", x1="x", y0="low", y1="high", line_color="colour", line_width=2, line_alpha=0.6),
        )
        points = self.figure.add_glyph(self.toys, Scatter(x="x", y="y", **look))
        marks = self.figure.add_glyph(
            self.exact, Scatter(x="x", y="y", marker="dash", size=16, line_width=2, line_color="colour")
        )
        told = [("method", "@method"), (self._along, "@x{0.[00000]}"), (QUANTITIES[self._quantity], "@said")]
        self.figure.add_tools(HoverTool(renderers=[points, marks], tooltips=told))
        self._legend = Legend(
            items=[LegendItem(label={"field": "short"}, renderers=[key])],
            orientation="horizontal",
            ncols=2,
            location="left",
            margin=0,
            visible=False,
            label_text_font_size="12px",
        )
        self._title = Title(text_font_size="13px")
        for above in (self._legend, self._title):
            self.figure.add_layout(above, "above")
        self._level = Span(dimension="width", line_dash=[5, 3])
        self._at = Span(dimension="height", line_dash=[2, 3], line_width=1.5)
        self._under = BoxAnnotation(fill_alpha=0.5, line_color=None, level="underlay", visible=False)
        for each in (self._level, self._at, self._under):
            self.figure.add_layout(each)

    def _paint(self) -> None:
        colours, dark = self._style.colours, self._style.dark
        self._level.line_color, self._at.line_color, self._under.fill_color = colours.ink, colours.accent, colours.grid
        shades = {label: _lighter(each) if dark else each for label, each in self._colours.items()}
        self._line.line_color = next(iter(shades.values()), colours.ink)
        for source in (self._key, self.toys, self.exact):
            source.data = dict(source.data) | {"colour": [shades[label] for label in source.data["method"]]}

    def _of(self, values: FloatArray, cell: tuple[int, int]) -> FloatArray:
        """Return what of a map lies along the axis, through a cell."""
        return values[cell[0]] if self._along == "s_true" else values[:, cell[1]]

    def _drawn(self, values: FloatArray) -> BoolArray:
        """Tell which values have a place on the axis."""
        return np.isfinite(values) & (self._is_coverage | (values > 0))

    def _points(
        self,
        label: str,
        x: FloatArray,
        values: FloatArray,
        low: FloatArray | None = None,
        high: FloatArray | None = None,
    ) -> dict[str, list[Any]]:
        known = self._drawn(values)
        at, y = x[known].tolist(), values[known].tolist()
        points = {"x": at, "y": y, "method": [label] * len(y)}
        if low is None or high is None:
            return points | {"said": [f"{self._number(each)}, exact" for each in y]}
        ends = low[known].tolist(), high[known].tolist()
        told = [self._between(*each) for each in zip(y, *ends, strict=True)]
        return points | {"low": ends[0], "high": ends[1], "said": told}

    def _fit(self, values: Sequence[FloatArray], lower: float = 1.0) -> None:
        """Choose the ends of the vertical axis, as the report does."""
        every = np.concatenate([each[self._drawn(each)] for each in values])
        lowest, highest = (min(every.min(), 1.0), max(every.max(), 1.0)) if every.size else (0.5, 2.0)
        if self._is_coverage:
            lowest = min(float(lowest), self._cl)
            self._lowest = min(lower, max(lowest - 0.12 * (1 - lowest), -0.02))
            self.figure.y_range.update(start=self._lowest, end=1 + 0.06 * (1 - self._lowest))
        else:
            self.figure.y_range.update(start=float(lowest) / 1.15, end=float(highest) * 1.15)

    def _number(self, value: float) -> str:
        return probability(value, self._cl) if self._is_coverage else number(value)

    def _between(self, value: float, low: float, high: float) -> str:
        said = self._number(value)
        return said if np.isnan(value) else with_ends(said, self._number(low), self._number(high))

    def _table(self, x: FloatArray, told: Mapping[str, Sequence[FloatArray]], caption: str) -> str:
        def cell(toys: float, low: float, high: float, exact: float) -> str:
            said = [self._between(toys, low, high), f"{self._number(exact)} exact"]
            known = [not np.isnan(toys), not np.isnan(exact)]
            return "; ".join(each for each, is_known in zip(said, known, strict=True) if is_known) or NOTHING

        columns = [
            [cell(*each) for each in zip(*map(np.ndarray.tolist, values), strict=True)] for values in told.values()
        ]
        rows = [f"{each:g}" for each in x.tolist()]
        return table_twin(caption, rows, list(told), list(zip(*columns, strict=True)), corner=self._along)


def _joined(parts: Any) -> dict[str, list[Any]]:
    """Return the rows of several tables with the same columns, one after the other."""
    tables = list(parts)
    return {name: [value for table in tables for value in table[name]] for name in tables[0]} | {
        "colour": [""] * sum(len(table["method"]) for table in tables)
    }


def _lighter(colour: str) -> str:
    shades = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(shade + LIGHTER * (255 - shade)):02x}" for shade in shades)


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]
