"""The maps of one method: its coverage, and how strong its limits are."""

from __future__ import annotations

from html import escape

from bokeh.layouts import column as stacked
from bokeh.models import ColumnDataSource, InlineStyleSheet, Row
from bokeh.models.ui.ui_element import UIElement
from bokeh.models.widgets import Div

from covsvc.report import sigma_map
from covsvc.report.column import Column, columns
from covsvc.report.coverage_map import describe_marks
from covsvc.report.sigma_map import sigma_range
from covsvc.report.tables import coverage_cells, describe_coverage, describe_sigma, sigma_cells
from covsvc.selection import select, with_axes
from covsvc_dashboards.cell_map import CellMap, show_together
from covsvc_dashboards.cell_panel import cell_of
from covsvc_dashboards.downloads import picture_buttons
from covsvc_dashboards.paintings import coverage_of, sigma_of, told_of
from covsvc_dashboards.shown import Change, Shown
from covsvc_dashboards.style import SIDE_BY_SIDE, Style
from covsvc_dashboards.twin import Twin, table_twin

COLOURS = "White is cl, red is below, blue above."
HINT = "Framed: the cell below. Click a cell to look into it; drag over a map to see a range of s_true only."


class MapsPanel:
    """The maps of coverage and of sigma_Med/sigma_True of one method, with their tables.

    Parameters
    ----------
    change : Change
    style : Style

    Attributes
    ----------
    root : UIElement
    coverage, sigma : CellMap
    """

    def __init__(self, change: Change, style: Style) -> None:
        cells = ColumnDataSource()
        self.coverage, self.sigma = (CellMap(change, style, cells, name) for name in ("coverage", "sigma"))
        self._said, self._twins = {}, {}
        parts: list[UIElement] = []
        for each in (self.coverage, self.sigma):
            self._said[each.name] = Div(disable_math=True, sizing_mode="stretch_width", stylesheets=[style.sheet])
            self._twins[each.name] = Twin(f"Map of {each.name} as a table", style)
            parts.append(
                stacked(
                    each.figure,
                    self._said[each.name],
                    picture_buttons(each.figure, each.name, style),
                    self._twins[each.name].root,
                    sizing_mode="stretch_width",
                )
            )
        beside = InlineStyleSheet(css=SIDE_BY_SIDE)
        maps = Row(children=parts, sizing_mode="stretch_width", stylesheets=[style.sheet, beside])
        hint = Div(text=_paragraph(HINT), sizing_mode="stretch_width", stylesheets=[style.sheet])
        self.root = stacked(maps, hint, sizing_mode="stretch_width")
        self._column: Column | None = None
        self._range: tuple[object, tuple[float, float]] = (None, (0.5, 2.0))

    def show(self, shown: Shown) -> None:
        """Show the maps of what is looked at."""
        column, view = shown.side.column, shown.view
        (row, node), _ = cell_of(column, view.b, view.s_true)
        framed = float(column.b[row]), float(column.s_true[node])
        if column is self._column:
            for each in (self.coverage, self.sigma):
                each.mark(framed)
            return
        self._column = column
        paintings = [coverage_of(column), sigma_of(column, *self._sigma_range(shown))]
        show_together([self.coverage, self.sigma], paintings, told_of(column), framed)
        self._said["coverage"].text = _paragraph(describe_coverage(column), COLOURS, describe_marks(column))
        self._said["sigma"].text = _paragraph(describe_sigma(column), sigma_map.describe_marks(column))
        self._twins["coverage"].show(lambda: coverage_table(column))
        self._twins["sigma"].show(lambda: _sigma_table(column))

    def _sigma_range(self, shown: Shown) -> tuple[float, float]:
        """Return the scale of all methods of this cl, which is asked for again only when there are others."""
        view, side = shown.view, shown.side
        asked = (view.study, side.snapshot, side.cl, view.s_low, view.s_high)
        if self._range[0] != asked:
            ratios = side.maps[["exact_sigma_med_over_true", "sigma_med_over_true"]]
            self._range = asked, sigma_range(list(columns(with_axes(select(ratios, cl=[side.cl])))))
        return self._range[1]


def _paragraph(*sentences: str) -> str:
    return f"<p>{escape(' '.join(sentences))}</p>"


def coverage_table(column: Column) -> str:
    """Return the HTML of the table of coverage, in which marks are words."""
    rows = [(s, [cell.replace("*", " below") for cell in cells]) for s, cells in coverage_cells(column)]
    caption = f"Coverage of {column.label} at cl = {column.cl:.12g}; below: significantly below cl"
    return _table(column, caption, rows)


def _sigma_table(column: Column) -> str:
    caption = f"sigma_Med/sigma_True of {column.label} at cl = {column.cl:.12g}; ∞: the median is unbounded"
    return _table(column, caption, sigma_cells(column))


def _table(column: Column, caption: str, rows: list[tuple[str, list[str]]]) -> str:
    heads = [f"b = {b:g}" for b in column.b.tolist()]
    return table_twin(caption, [s for s, _ in rows], heads, [cells for _, cells in rows], corner="s_true")
