"""A map of cells over true signal and background."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from bokeh.events import SelectionGeometry, Tap
from bokeh.models import (
    BasicTicker,
    BoxSelectTool,
    ColorMapper,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    LogColorMapper,
    Quad,
    Range1d,
    Segment,
)
from bokeh.models.annotations import ColorBar, Title
from bokeh.plotting import figure

from covsvc.contracts import FloatArray
from covsvc.report.column import Column
from covsvc.report.tiles import HOLE, MOST_LABELS, Segments, borders, diagonals, edges
from covsvc.selection import nodes_of
from covsvc_dashboards.labels import plain
from covsvc_dashboards.paintings import Painting, Told
from covsvc_dashboards.shown import Change
from covsvc_dashboards.style import Style

ROW = 24
"""Height of a row of cells, pixels, where there are few."""
LEAST, MOST = 110, 460
"""Heights that all rows together may have, pixels."""
AROUND = 118
"""What titles and the axis below take, pixels."""
CHOSEN = "#ffd400"
EDGES = ("left", "right", "bottom", "top")
"""Columns that say where cells are."""


class CellMap:
    """A map of one value a cell, with the figure made once.

    A click chooses a cell; dragging chooses a range of s_true. A black and yellow frame is around the cell chosen.

    Parameters
    ----------
    change : Change
        Is told ``b`` and ``s_true``, or ``s_low`` and ``s_high``.
    style : Style
    cells : ColumnDataSource, optional
        What it shares with the maps beside it, which show the same cells: what is told of them is sent once.
    name : str
        Column of `cells` that holds its values.

    Attributes
    ----------
    figure : figure
        What to lay out.
    """

    def __init__(
        self, change: Change, style: Style, cells: ColumnDataSource | None = None, name: str = "value"
    ) -> None:
        self._change = change
        self.name = name
        self.cells = ColumnDataSource() if cells is None else cells
        self.cells.data = {each: [] for each in (*EDGES, name)} | dict(self.cells.data)
        self._column: Column | None = None
        self.figure = figure(
            x_range=Range1d(start=0, end=1),
            y_range=Range1d(start=0, end=1),
            sizing_mode="stretch_width",
            height=LEAST + AROUND,
            toolbar_location=None,
            tools="",
            x_axis_label="true signal s_true (events)",
            y_axis_label="background b (events)",
            min_border_left=70,
        )
        self.figure.grid.visible = False
        self._numbers, self._single = BasicTicker(), FixedTicker()
        self._rows = FixedTicker()
        self.figure.yaxis.ticker = self._rows
        self._shown = Title(text_font_size="12px", text_font_style="normal", standoff=4)
        self._label = Title(text_font_size="13px", standoff=0)
        self.figure.add_layout(self._shown, "above")
        self.figure.add_layout(self._label, "above")

        self._linear = LinearColorMapper(palette=[HOLE], nan_color=HOLE)
        self._log = LogColorMapper(palette=[HOLE], nan_color=HOLE)
        self._named = FixedTicker()
        self._bar = ColorBar(color_mapper=self._linear, ticker=self._named, width=12, padding=6, major_tick_in=12)
        self.figure.add_layout(self._bar, "right")

        # a line of the cell's own colour leaves no gap between it and the next
        self._quads = self.figure.add_glyph(
            self.cells, Quad(left="left", right="right", bottom="bottom", top="top", line_width=1)
        )
        self._between = self._draw_lines("white", 0.7)
        self._hatched = self._draw_lines("black", 0.9, 0.55)
        self._crossed = self._draw_lines("white", 0.9, 0.85)
        self._outlined = self._draw_lines("black", 2.0)
        self._chosen = ColumnDataSource({each: [] for each in EDGES})
        for colour, width in (("black", 5), (CHOSEN, 2.5)):
            self.figure.quad(source=self._chosen, fill_color=None, line_color=colour, line_width=width)

        self._hover = HoverTool(renderers=[self._quads], point_policy="follow_mouse")
        brush = BoxSelectTool(dimensions="width", renderers=[])
        self.figure.add_tools(self._hover, brush)
        self.figure.toolbar.active_drag = brush
        self.figure.on_event(Tap, self._tapped)
        self.figure.on_event(SelectionGeometry, self._brushed)
        style.paint(self.figure)

    def show(self, painting: Painting, told: Told, chosen: tuple[float, float] | None = None) -> None:
        """Show a painting, with what is told of its cells, and the b and s_true of the cell chosen."""
        show_together([self], [painting], told, chosen)

    def mark(self, chosen: tuple[float, float] | None) -> None:
        """Show which cell is chosen, by its b and s_true."""
        if self._column is not None:
            self._chosen.data = _frame_of(self._column, chosen)

    def paint(self, painting: Painting, hover: str, chosen: tuple[float, float] | None) -> None:
        """Show all of a painting but the cells themselves."""
        self._hover.tooltips = hover
        column, scale = painting.column, painting.scale
        self._column = column
        rows = len(column.b)
        ends = edges(column.s_true)[[0, -1]].tolist()
        self.figure.update(height=int(min(max(ROW * rows, LEAST), MOST)) + AROUND)
        self.figure.x_range.update(start=ends[0], end=ends[1])
        self.figure.y_range.update(start=0, end=rows)
        self._label.text = plain(column.label)
        self._shown.text = plain(painting.shown)

        step = -(-rows // MOST_LABELS)
        at = (np.arange(rows)[::step] + 0.5).tolist()
        self._rows.ticks = at
        self.figure.yaxis.major_label_overrides = {
            place: f"{b:.4g}" for place, b in zip(at, column.b[::step].tolist(), strict=True)
        }
        single = len(column.s_true) == 1
        self._single.ticks = column.s_true.tolist() if single else []
        self.figure.xaxis.ticker = self._single if single else self._numbers

        mapper = self._log if scale.log else self._linear
        mapper.update(palette=list(scale.palette), low=scale.low, high=scale.high)
        self._quads.glyph.update(fill_color=_coloured(self.name, mapper), line_color=_coloured(self.name, mapper))
        self._named.ticks = list(scale.ticks)
        self._bar.update(color_mapper=mapper, major_label_overrides=dict(scale.ticks))

        between: Segments = [((ends[0], row), (ends[1], row)) for row in range(1, rows)]
        nothing = np.zeros((rows, len(column.s_true)), dtype=bool)
        for source, lines in (
            (self._between, between),
            (self._hatched, diagonals(column, nothing if painting.hatched is None else painting.hatched)),
            (self._crossed, diagonals(column, nothing if painting.crossed is None else painting.crossed, crossed=True)),
            (self._outlined, borders(column, nothing if painting.outlined is None else painting.outlined)),
        ):
            source.data = _ends_of(lines)
        self.mark(chosen)

    def _draw_lines(self, colour: str, width: float, alpha: float = 1.0) -> ColumnDataSource:
        source = ColumnDataSource(_ends_of([]))
        self.figure.add_glyph(source, Segment(line_color=colour, line_width=width, line_alpha=alpha))
        return source

    def _tapped(self, event: Any) -> None:
        if (column := self._column) is None or event.x is None or event.y is None:
            return
        row, node = int(np.floor(event.y)), _cell_at(column.s_true, event.x)
        if 0 <= row < len(column.b) and node is not None:
            self._change(b=float(column.b[row]), s_true=float(column.s_true[node]))

    def _brushed(self, event: Any) -> None:
        if (column := self._column) is None or not event.final:
            return
        low, high = sorted((event.geometry["x0"], event.geometry["x1"]))
        inside = column.s_true[(column.s_true >= low) & (column.s_true <= high)]
        if not inside.size:  # a stroke within one cell
            node = _cell_at(column.s_true, (low + high) / 2)
            inside = column.s_true[[] if node is None else [node]]
        if inside.size:
            self._change(s_low=float(inside[0]), s_high=float(inside[-1]))


def show_together(
    maps: Sequence[CellMap], paintings: Sequence[Painting], told: Told, chosen: tuple[float, float] | None = None
) -> None:
    """Show paintings of the same cells on maps that share them.

    Parameters
    ----------
    maps : sequence of CellMap
    paintings : sequence of Painting
        One a map, on one grid.
    told : mapping of str to sequence of str
        What is told of each cell.
    chosen : tuple of float, optional
        b and s_true of the cell chosen.
    """
    column = paintings[0].column
    values = {each.name: painting.values for each, painting in zip(maps, paintings, strict=True)}
    hover = _hover(told)
    maps[0].cells.data = _cells_of(column) | {name: each.ravel() for name, each in values.items()} | dict(told)
    for each, painting in zip(maps, paintings, strict=True):
        each.paint(painting, hover, chosen)


def _hover(told: Told) -> str:
    """Return the HTML of what is seen beside the pointer; Bokeh puts the cell's texts in, and escapes them."""
    rows = "".join(f"<tr><td>{escape(name)}&ensp;<td>@{{{name}}}" for name in told)
    return (
        '<div style="margin:-5px;padding:6px 8px;background:var(--paper,#fff);color:var(--ink,#1a1a1a)">'
        f"<b>s_true = @s_true{{0.[000000]}}, b = @b{{0.[000000]}}</b><table>{rows}</table></div>"
    )


def _cells_of(column: Column) -> dict[str, Any]:
    """Return where each cell is, and of which s_true and b."""
    x, rows, nodes = edges(column.s_true), len(column.b), len(column.s_true)
    row = np.repeat(np.arange(rows, dtype=np.float64), nodes)
    return {
        "left": np.tile(x[:-1], rows),
        "right": np.tile(x[1:], rows),
        "bottom": row,
        "top": row + 1,
        "s_true": np.tile(column.s_true, rows),
        "b": np.repeat(column.b, nodes),
    }


def _cell_at(nodes: FloatArray, value: float) -> int | None:
    """Return the cell around one of the `nodes` that a value lies in."""
    place = int(np.searchsorted(edges(nodes), value, side="right")) - 1
    return place if 0 <= place < len(nodes) else None


def _frame_of(column: Column, chosen: tuple[float, float] | None) -> dict[str, list[float]]:
    """Return the edges of the cell chosen, if it is here."""
    nothing: dict[str, list[float]] = {each: [] for each in EDGES}
    if chosen is None:
        return nothing
    row, node = nodes_of(column.b, chosen[:1])[0], nodes_of(column.s_true, chosen[1:])[0]
    if row is None or node is None:
        return nothing
    x = edges(column.s_true).tolist()
    return dict(zip(EDGES, ([x[node]], [x[node + 1]], [row], [row + 1]), strict=True))


def _ends_of(lines: Segments) -> dict[str, FloatArray]:
    ends = np.array(lines, dtype=np.float64).reshape(-1, 4).T
    return dict(zip(("x0", "y0", "x1", "y1"), ends, strict=True))


def _coloured(name: str, mapper: ColorMapper) -> dict[str, Any]:
    return {"field": name, "transform": mapper}
