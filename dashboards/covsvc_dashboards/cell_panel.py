"""What a cell consists of: all methods there, how their limits are distributed, and slices through it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache, partial
from html import escape
from typing import Any

from bokeh.layouts import column as stacked
from bokeh.models import InlineStyleSheet
from bokeh.models.ui.ui_element import UIElement
from bokeh.models.widgets import CheckboxGroup, Div

from covsvc import api
from covsvc.commands import replay_command
from covsvc.errors import CovsvcError
from covsvc.report.column import Column, columns
from covsvc.report.notation import NOTHING, number, place, probability, rate, with_ends
from covsvc.selection import nodes_of, select, with_axes
from covsvc_dashboards.distributions import DistributionsFigure, describe_distributions, distribution_table
from covsvc_dashboards.downloads import picture_buttons
from covsvc_dashboards.held import Held
from covsvc_dashboards.paintings import VERDICTS
from covsvc_dashboards.shown import Change, Shown, when_free
from covsvc_dashboards.slices import Curve, Slices, looks_of
from covsvc_dashboards.style import Style
from covsvc_dashboards.twin import Twin, table_twin

SETTLED = 0.5
"""Seconds for which a cell is looked at before the curve between its nodes is computed."""

WRAPPED = ":host .bk-input-group { display: flex; flex-flow: row wrap; gap: .2rem 1rem; }"

_Cell = tuple[str, str, float, float, float]
"""Study, snapshot, b, s_true and cl."""

_distributions = lru_cache(64)(api.limit_distributions)
"""Snapshots do not change, and neighbours are looked at again and again."""


class CellPanel:
    """The cell that is chosen, or else the one where coverage is lowest.

    Parameters
    ----------
    change : Change
    style : Style
    held : Held

    Attributes
    ----------
    root : UIElement
    distributions : DistributionsFigure
    slices : Slices
    """

    root: UIElement

    def __init__(self, change: Change, style: Style, held: Held) -> None:
        self._change, self._held = change, held
        self._shown: Shown | None = None
        self._asked: tuple[_Cell, str] | None = None
        self._told: tuple[_Cell, list[dict[str, Any]]] | None = None
        self._curve: tuple[tuple[_Cell, str], Curve | None] | None = None
        self._work: asyncio.Task[None] | None = None

        self._heading, self._table, self._replay, self._said, self._above = (
            Div(disable_math=True, sizing_mode="stretch_width", stylesheets=[style.sheet]) for _ in range(5)
        )
        self._above.text = _ABOVE
        self.distributions = DistributionsFigure(style)
        twin = Twin("Upper limits as a table", style)
        self._twin = twin
        self._pictures = stacked(
            self.distributions.figure,
            picture_buttons(self.distributions.figure, "limits", style),
            twin.root,
            sizing_mode="stretch_width",
            visible=False,
        )
        self._methods = CheckboxGroup(
            sizing_mode="stretch_width", stylesheets=[style.sheet, InlineStyleSheet(css=WRAPPED)]
        )
        self._methods.on_change("active", self._choose_methods)
        self._between = CheckboxGroup(  # Bokeh does not label a single Checkbox
            labels=["Exact coverage between the nodes, too (computed now)"],
            active=[],
            sizing_mode="stretch_width",
            stylesheets=[style.sheet],
        )
        self._between.on_change("active", lambda _, __, ___: self._start())
        self.slices = Slices(style)
        self.root = stacked(
            self._heading,
            self._table,
            self._replay,
            self._said,
            self._pictures,
            self._above,
            self._methods,
            self._between,
            self.slices.root,
            sizing_mode="stretch_width",
        )

    def show(self, shown: Shown) -> None:
        """Show the cell of a view: what the maps hold of it now, and what has to be read when that is done."""
        self._shown = shown
        column, view = shown.side.column, shown.view
        (row, node), is_chosen = cell_of(column, view.b, view.s_true)
        b, s_true = float(column.b[row]), float(column.s_true[node])
        self._heading.text = _heading(column, b, s_true, is_chosen)
        self._table.text = cell_table(shown, b, s_true)
        self._replay.text = _replay(shown, b, s_true)
        self._asked = (view.study, shown.side.snapshot, b, s_true, shown.side.cl), column.label
        self._show_slices()
        if self._told is not None and self._told[0] == self._asked[0]:
            self._show_distributions(self._told[1], column.label)
        self._between.visible = bool(column.exact[row].any()) and len(column.s_true) > 1
        self._start()

    def _start(self) -> None:
        """Read what is not known yet, and give up on what was asked for before."""
        if self._work is not None:
            self._work.cancel()
        if self._asked is not None:
            self._work = asyncio.create_task(self._read(*self._asked))
            self._draw_curve()

    def _draw_curve(self) -> None:
        known = self._between.active and self._curve is not None and self._curve[0] == self._asked
        self.slices.draw_curve(self._curve[1] if known and self._curve is not None else None)

    def _choose_methods(self, _: str, __: object, active: Sequence[int]) -> None:
        if self._shown is None:
            return
        labels, own = self._methods.labels, self._shown.view.limit_method
        chosen, also = {str(labels[at]) for at in active}, {*self._shown.view.slices} - {own}
        if chosen != also | {own}:
            self._change(slices=tuple(label for label in labels if label in chosen - {own}))

    def _show_slices(self) -> None:
        if self._shown is None or self._asked is None:
            return
        side, view = self._shown.side, self._shown.view
        labels = side.maps["limit_method"].to_numpy().tolist()
        drawn = [label for label in view.slices if label != side.label]
        self._methods.labels = labels
        self._methods.active = [at for at, label in enumerate(labels) if label in {*drawn, side.label}]
        others = columns(with_axes(select(side.maps, limit_method=drawn, cl=[side.cl])))
        cell, _ = cell_of(side.column, view.b, view.s_true)
        self.slices.show([side.column, *others], looks_of(side.maps), cell)
        self._draw_curve()

    async def _read(self, cell: _Cell, label: str) -> None:
        """Read what the maps do not hold, beside the event loop; whoever chose another cell gives up on it."""
        study, snapshot, b, s_true, cl = cell
        asked = cell, label
        read, compute = self._held.in_thread, self._held.in_child
        try:
            if self._told is None or self._told[0] != cell:
                told = await read(_distributions, study, self._held.store, b=b, s_true=s_true, cl=cl, at=snapshot)
                self._later(asked, partial(self._tell_distributions, asked, told))
            is_wanted = self._between.active and self._between.visible
            if is_wanted and (self._curve is None or self._curve[0] != asked):
                await asyncio.sleep(SETTLED)
                curve = await compute(
                    api.coverage_curve, study, self._held.store, limit_method=label, b=b, cl=cl, at=snapshot
                )
                self._later(asked, partial(self._tell_curve, asked, curve))
        except CovsvcError as error:
            self._later(asked, partial(self._fail, str(error)))

    def _later(self, asked: tuple[_Cell, str], do: Any) -> None:
        """Do something when the document can be changed, unless something else is looked at by then."""

        def change() -> None:
            if self._asked == asked:
                do()

        when_free(self.root, change)

    def _tell_distributions(self, asked: tuple[_Cell, str], told: list[dict[str, Any]]) -> None:
        self._told = asked[0], told
        self._show_distributions(told, asked[1])

    def _tell_curve(self, asked: tuple[_Cell, str], curve: Curve | None) -> None:
        self._curve = asked, curve
        self._draw_curve()

    def _fail(self, reason: str) -> None:
        if self._told is None or self._asked is None or self._told[0] != self._asked[0]:
            self._pictures.visible = False
            self._said.text = f"<p>How the limits are distributed cannot be read: {escape(reason)}.</p>"

    def _show_distributions(self, told: list[dict[str, Any]], label: str) -> None:
        self.distributions.show(told, label)
        self._said.text = f"<h3>Upper limits of the toys</h3><p>{escape(describe_distributions(told))}</p>"
        self._pictures.visible = any(each["n_toys"] for each in told)
        self._twin.show(lambda: distribution_table(told))


def cell_of(column: Column, b: float | None, s_true: float | None) -> tuple[tuple[int, int], bool]:
    """Return where a cell is along b and s_true, and True; where coverage is lowest, and False, if none is chosen."""
    if b is not None and s_true is not None:
        row, node = nodes_of(column.b, [b])[0], nodes_of(column.s_true, [s_true])[0]
        if row is not None and node is not None:
            return (row, node), True
    return column.lowest or (0, 0), False


def cell_table(shown: Shown, b: float, s_true: float) -> str:
    """Return what is known of a cell, a row a method, as HTML."""
    cl = shown.side.cl
    rows = api.rows_of(select(shown.side.maps, cl=cl, b=b, s_true=s_true))
    heads = [
        "verdict", "covered", "coverage of toys", "exact coverage", "median limit of toys", "exact median limit",
        "over the signal, of toys", "over the signal, exactly", "empty", "unbounded", "failed",
    ]  # fmt: skip
    cells = [
        [
            VERDICTS[row["verdict"]].partition(":")[0],
            f"{row['n_covered']:,} of {row['n_toys']:,}" if row["n_toys"] else NOTHING,
            with_ends(*(probability(row[f"coverage{end}"], cl) for end in _ENDS)),
            probability(row["exact_coverage"], cl),
            with_ends(*(number(row[f"sigma_med{end}"]) for end in _ENDS)),
            number(row["exact_median_upper"]),
            with_ends(*(number(row[f"sigma_med_over_true{end}"]) for end in _ENDS)),
            number(row["exact_sigma_med_over_true"]),
            *(rate(row[f"p_{status}"]) for status in ("empty", "unbounded", "failed")),
        ]
        for row in rows
    ]
    words = "; ".join(each for each in VERDICTS.values() if ":" in each)
    caption = f"All methods at {place(s_true, b)} and cl = {cl:.12g}; 95 % intervals in brackets. Verdicts: {words}."
    return table_twin(caption, [row["limit_method"] for row in rows], heads, cells, corner="limit method")


_ENDS = ("", "_low", "_high")
_ABOVE = (
    "<h3>Slices through the cell</h3>"
    "<p>Points with lines: toys with their 95 % intervals. Short strokes: exact values at the grid. "
    "Dashed: cl, below which it is grey, or a median limit as large as the true signal (sigma_Med/sigma_True = 1). "
    "Dotted: the cell.</p>"
    "<p>Methods in the slices:</p>"
)


def _heading(column: Column, b: float, s_true: float, is_chosen: bool) -> str:
    said = (
        ""
        if is_chosen
        else f"<p>No cell is chosen: this is where the coverage of {escape(column.label)} is lowest on the grid. "
        "Click a cell of the map, or choose b and s_true above.</p>"
    )
    return f"<h2>Cell at {escape(place(s_true, b))}</h2>{said}"


def _replay(shown: Shown, b: float, s_true: float) -> str:
    """Return the command that shows toys which the method missed here, with a button that copies it."""
    side = shown.side
    command = replay_command(
        shown.view.study,
        s_true,
        b,
        limit_method=side.label,
        cl=side.cl,
        store=shown.store,
        at=side.snapshot,
    )
    return (
        f"<p>Toys that {escape(side.label)} missed here, with their data and limits: <code>{escape(command)}</code> "
        f'<button type="button" data-copy="{escape(command)}">Copy the command</button> '
        '<span role="status"></span></p>'
    )
