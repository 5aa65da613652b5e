"""How the upper limits of all methods are distributed in one cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, Quad, Range1d, Segment, Text
from bokeh.models.annotations import Title
from bokeh.plotting import figure

from covsvc.api import quantile
from covsvc.report.notation import NOTHING, number, place, rate
from covsvc_dashboards.labels import shortened
from covsvc_dashboards.style import Style
from covsvc_dashboards.twin import table_twin

ROW, AROUND = 46, 80
"""Height of what is drawn of a method, and of all around, pixels."""
LOW, HIGH = 0.97, 0.44
"""Where bars stand, and up to where they may reach, from the top of what is drawn of a method."""
MOST_LETTERS = 24
"""Of a label."""
MOST_TICKS = 10

BELOW = {"p_empty": "empty", "p_zero": "0", "p_below": "<.001"}
ABOVE = {"p_above": ">10⁶", "p_unbounded": "none", "p_failed": "failed"}
"""Limits that are no numbers on the axis, and what they are called there."""
IN_WORDS = {
    "p_empty": "empty: no signal is left",
    "p_zero": "0",
    "p_below": "above 0, below 0.001",
    "p_above": "above 10⁶",
    "p_unbounded": "none: unbounded",
    "p_failed": "failed",
}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

MISS, COVER, NEITHER = ("#b2182b", "#e58368"), ("#2166ac", "#6aacd0"), ("#767b84", "#808894")
"""Colours of limits below s_true, of those above it and of those that failed: in the light and in the dark."""

Distribution = Mapping[str, Any]


class DistributionsFigure:
    """A row of bars for each method, above one axis.

    Parameters
    ----------
    style : Style

    Attributes
    ----------
    figure : figure
    bars : ColumnDataSource
    """

    def __init__(self, style: Style) -> None:
        self.figure = figure(
            x_range=Range1d(start=0, end=1),
            y_range=Range1d(start=1, end=0),
            sizing_mode="stretch_width",
            height=AROUND + ROW,
            toolbar_location=None,
            tools="",
            x_axis_label="upper limit (events)",
        )
        self.figure.yaxis.visible = False
        self.figure.ygrid.visible = False
        self._ticks = FixedTicker(ticks=[])
        self.figure.xaxis.ticker = self._ticks
        self._title = Title(text_font_size="13px")
        self.figure.add_layout(self._title, "above")
        self.bars = ColumnDataSource({name: [] for name in ("left", "right", "top", "bottom", "colour")})
        self._strips = ColumnDataSource({"left": [], "right": [], "top": [], "bottom": []})
        self._true = ColumnDataSource({"x": [], "y0": [], "y1": []})
        self._medians = ColumnDataSource({"x": [], "y0": [], "y1": []})
        self._labels = ColumnDataSource({"x": [], "y": [], "label": []})
        self._kinds: list[int] = []
        self._strip = Quad(left="left", right="right", top="top", bottom="bottom", line_color=None, fill_alpha=0.45)
        self.figure.add_glyph(self._strips, self._strip)
        quads = self.figure.add_glyph(
            self.bars,
            Quad(left="left", right="right", top="top", bottom="bottom", fill_color="colour", line_color="colour"),
        )
        self._dashes = Segment(x0="x", x1="x", y0="y0", y1="y1", line_dash=[5, 3], line_width=1.5)
        self._median = Segment(x0="x", x1="x", y0="y0", y1="y1", line_width=2.5)
        self._text = Text(x="x", y="y", text="label", text_font_size="12px", text_baseline="top")
        for source, glyph in (
            (self._true, self._dashes),
            (self._medians, self._median),
            (self._labels, self._text),
        ):
            self.figure.add_glyph(source, glyph)
        told = [("method", "@method"), ("limit", "@limit"), ("share of toys", "@share")]
        self.figure.add_tools(HoverTool(renderers=[quads], tooltips=told, point_policy="follow_mouse"))
        style.paint(self.figure)
        self._style = style
        style.follow(self._paint)

    def show(self, told: Sequence[Distribution], chosen: str) -> None:
        """Show distributions as `covsvc.api.limit_distributions` gives them, with one label in bold."""
        first = told[0]
        s_true = first["s_true"]
        edges: list[float] = next((each["edges"] for each in told if each["edges"]), [])
        self._title.text = f"Upper limits in the cell {place(s_true, first['b'])}"
        low, high = (math.log10(edges[0]), math.log10(edges[-1])) if edges else (0.0, 1.0)
        width = high - low
        zones: dict[str, float] = {}
        for names, end, step in ((list(BELOW)[::-1], low, -1), (list(ABOVE), high, 1)):
            there = [name for name in names if any(each[name] > 0 for each in told)]
            zones |= {name: end + step * width * (0.02 + 0.12 * (at + 0.5)) for at, name in enumerate(there)}
        ends = [low, high, *(at + step * 0.07 * width for at in zones.values() for step in (-1, 1))]
        start, end = min(ends) - 0.01 * width, max(ends) + 0.01 * width
        self.figure.x_range.update(start=start, end=end)
        self.figure.y_range.update(start=len(told))
        self.figure.height = AROUND + ROW * len(told)
        ticks = [(tick, f"{tick:g}") for tick in _ticks(edges)]
        if len(ticks) < 2:  # few bins: their ends
            ticks = [(end, number(end)) for end in (*edges[:1], *edges[-1:])]
        named = {math.log10(tick): name for tick, name in ticks}
        named |= {at: (BELOW | ABOVE)[name] for name, at in zones.items()}
        self._ticks.ticks = list(named)
        self.figure.xaxis.major_label_overrides = dict(named.items())
        rows = [bar for row, each in enumerate(told) for bar in _bars(each, row, zones, 0.05 * width)]
        self._kinds = [bar.pop("kind") for bar in rows]
        columns = ("left", "right", "top", "bottom", "method", "limit", "share")
        self.bars.data = {name: [bar[name] for bar in rows] for name in columns} | {"colour": self._colours()}
        many = range(len(told))
        self._strips.data = {
            "left": [start for _ in many[::2]],
            "right": [end for _ in many[::2]],
            "bottom": [row + 1 for row in many[::2]],
            "top": list(many[::2]),
        }
        true = [math.log10(s_true)] * len(told) if s_true > 0 and edges else []
        self._true.data = {
            "x": true,
            "y0": [row + 1 for row in many if true],
            "y1": [row + HIGH for row in many if true],
        }
        known = [(row, each["sigma_med"]) for row, each in enumerate(told) if 1e-3 <= each["sigma_med"] < math.inf]
        self._medians.data = {
            "x": [math.log10(median) for _, median in known],
            "y0": [row + LOW for row, _ in known],
            "y1": [row + HIGH for row, _ in known],
        }
        self._labels.data = {
            "x": [start for _ in many],
            "y": [row + 0.06 for row in many],
            "label": [_said(each, chosen) for each in told],
        }

    def _paint(self) -> None:
        colours = self._style.colours
        self._strip.fill_color = colours.grid
        self._median.line_color = self._dashes.line_color = self._text.text_color = colours.ink
        self.bars.data = dict(self.bars.data) | {"colour": self._colours()}

    def _colours(self) -> list[str]:
        return [(MISS, COVER, NEITHER)[kind][self._style.dark] for kind in self._kinds]


def describe_distributions(told: Sequence[Distribution]) -> str:
    """Say how to read the figure."""
    s_true, toys = told[0]["s_true"], max(each["n_toys"] for each in told)
    if not toys:
        return "No toys were drawn in this cell: nothing is known of how its limits are distributed."
    told_apart = (
        f"The dashed line is the true signal, s_true = {number(s_true)}: limits below it (red) miss it."
        if s_true > 0
        else "The true signal is 0, which no upper limit misses unless it is empty (red)."
    )
    return (
        f"Each row holds the upper limits that one method sets on the toys of this cell, {toys:,} at most. "
        f"{told_apart} The thick line is the median. The tallest bar of each row has the same height."
    )


def distribution_table(told: Sequence[Distribution]) -> str:
    """Return the twin of the figure."""
    heads = ["toys", *(f"{100 * share:g} % are below" for share in QUANTILES), "below s_true", *IN_WORDS.values()]
    cells = [
        [
            f"{each['n_toys']:,}" if each["n_toys"] else each["note"],
            *(_between(*quantile(each, share)) for share in QUANTILES),
            rate(_missing(each)),
            *(rate(each[name]) for name in IN_WORDS),
        ]
        for each in told
    ]
    where = place(told[0]["s_true"], told[0]["b"])
    caption = f"Upper limits in the cell {where}: events, and shares of the toys"
    return table_twin(caption, [each["limit_method"] for each in told], heads, cells, corner="limit method")


def _bars(told: Distribution, row: int, zones: Mapping[str, float], half: float) -> list[dict[str, Any]]:
    """Return where the bars of a method are, and what they say."""
    s_true, edges = told["s_true"], told["edges"]
    found = [
        (
            math.log10(low),
            math.log10(high),
            share,
            0 if high <= s_true else 1,
            f"{number(low)} to {number(high)} events",
        )
        for low, high, share in zip(edges[:-1], edges[1:], told["shares"], strict=True)
    ]
    missing = {"p_empty": 0, "p_zero": int(s_true == 0), "p_below": int(s_true < 1e-3), "p_failed": 2}
    found += [
        (at - half, at + half, told[name], missing.get(name, 1), IN_WORDS[name])
        for name, at in zones.items()
        if told["n_toys"]
    ]
    highest = max((share for _, _, share, _, _ in found), default=1.0) or 1.0
    return [
        {
            "left": left,
            "right": right,
            "bottom": row + LOW,
            "top": row + LOW - (LOW - HIGH) * share / highest,
            "kind": kind,
            "method": told["limit_method"],
            "limit": limit,
            "share": f"{rate(share)} of {told['n_toys']:,}",
        }
        for left, right, share, kind, limit in found
        if share > 0
    ]


def _missing(told: Distribution) -> float:
    """Return the share of the toys whose limit is below s_true, to within a bin of half a percent."""
    if told["s_true"] == 0 or not told["n_toys"]:
        return told["p_empty"] if told["n_toys"] else math.nan
    inside = sum(share for share, high in zip(told["shares"], told["edges"][1:], strict=True) if high <= told["s_true"])
    return float(inside + told["p_empty"] + told["p_zero"] + told["p_below"] * (told["s_true"] >= 1e-3))


def _said(told: Distribution, chosen: str) -> str:
    label = shortened(told["limit_method"], MOST_LETTERS)
    mark = "▸ " if told["limit_method"] == chosen else ""
    if told["note"]:
        return f"{mark}{label}: {told['note']}"
    median, low, high = (number(told[f"sigma_med{end}"]) for end in ("", "_low", "_high"))
    return f"{mark}{label}: median {median} ({low}–{high})"


def _between(low: float, high: float) -> str:
    if math.isnan(low):
        return NOTHING
    return number(low) if low == high else f"{number(low)}–{number(high)}"


def _ticks(edges: Sequence[float]) -> list[float]:
    """Return round numbers between the ends of a logarithmic axis, not too many."""
    if not edges:
        return []
    first, last = (math.floor(math.log10(each)) for each in (edges[0], edges[-1]))
    decades = range(first, last + 1)
    for mantissas in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 3), (1,)):
        every = [mantissa * 10.0**decade for decade in decades for mantissa in mantissas]
        inside = [tick for tick in every if edges[0] <= tick <= edges[-1]]
        if len(inside) <= MOST_TICKS:
            return inside
    return inside[:: -(-len(inside) // MOST_TICKS)]
