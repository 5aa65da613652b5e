"""Widgets that choose what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import InlineStyleSheet, Row
from bokeh.models.ui.ui_element import UIElement
from bokeh.models.widgets import Button, RangeSlider, Select

from covsvc_dashboards.shown import Change, Shown
from covsvc_dashboards.style import WRAPPED, Style

NONE = ("", "none")


class Controls:
    """The controls of a page: study, commit, method, cl, range of s_true and cell.

    Attributes
    ----------
    root : UIElement
    """

    root: UIElement

    def __init__(self, change: Change, style: Style) -> None:
        self._change, self._style, self._told = change, style, False
        self._study = self._select("study", 150, self._choose_study)
        self._at = self._select("commit", 230, lambda value: change(at=value))
        self._method = self._select("limit method", 180, lambda value: change(limit_method=value))
        self._cl = self._select("confidence level (cl)", 170, lambda value: change(cl=float(value)))
        self._b = self._select("cell: background b", 150, lambda value: self._choose_cell(b=value))
        self._s_true = self._select("cell: true signal s_true", 175, lambda value: self._choose_cell(s_true=value))
        self._range = RangeSlider(
            title="range of s_true (events)",
            name="range",
            start=0,
            end=1,
            value=(0, 1),
            step=0.01,
            width=240,
            stylesheets=[style.sheet],
        )
        self._range.on_change("value_throttled", self._choose_range)
        self._reset = Button(label="Whole map, no cell", width=150, stylesheets=[style.sheet])
        self._reset.on_click(lambda: change(b=None, s_true=None, s_low=None, s_high=None))
        self.root = Row(
            children=[
                self._study,
                self._at,
                self._method,
                self._cl,
                self._range,
                Row(children=[self._b, self._s_true, self._reset], stylesheets=[InlineStyleSheet(css=WRAPPED)]),
            ],
            stylesheets=[InlineStyleSheet(css=WRAPPED)],
            name="controls",
            visible=False,
            sizing_mode="stretch_width",
        )

    def show(self, shown: Shown, names: Sequence[str], commits: Sequence[tuple[str, str]], s_true: Any) -> None:
        """Show what is chosen.

        Parameters
        ----------
        shown : Shown
        names : sequence of str
            Of the studies.
        commits : sequence of (str, str)
            What names each, and what people read.
        s_true : ndarray of float
            All true signals of the grid.
        """
        view, column = shown.view, shown.side.column
        self._told = True
        try:
            self._offer(self._study, _named(names), view.study)
            known = list(commits)
            if view.at not in dict(known):
                known.append((view.at, view.at[:20]))
            self._offer(self._at, known, view.at)
            labels = [(label, label) for label in shown.side.maps["limit_method"].to_numpy().tolist()]
            self._offer(self._method, labels, view.limit_method)
            self._offer(self._cl, _numbers(shown.side.maps["cl"].to_numpy()), _number(view.cl))
            self._offer(self._b, [NONE, *_numbers(column.b)], _number(view.b))
            self._offer(self._s_true, [NONE, *_numbers(column.s_true)], _number(view.s_true))
            self._show_range(np.sort(s_true), view.s_low, view.s_high)
            self._reset.disabled = (view.b, view.s_low, view.s_high) == (None, None, None)
            for widget in (self._b, self._s_true):
                widget.visible = view.page in ("maps", "compare")
            self._at.visible = self._reset.visible = view.page != "history"
            self._range.visible = view.page != "history" and len(s_true) > 1
            self.root.visible = True
        finally:
            self._told = False

    def offer_studies(self, names: Sequence[str], study: str) -> None:
        """Offer studies of which one is shown already."""
        self._offer(self._study, _named(names), study)

    def _show_range(self, s_true: Any, low: float | None, high: float | None) -> None:
        first, last = float(s_true[0]), float(s_true[-1])
        chosen = first if low is None else low, last if high is None else high
        if first < last:
            self._range.update(start=first, end=last, step=float(np.diff(s_true).min()), value=chosen)

    def _select(self, title: str, width: int, choose: Any) -> Select:
        select = Select(title=title, width=width, stylesheets=[self._style.sheet])

        def chosen(_: str, __: str, value: str) -> None:
            if not self._told:
                choose(value)

        select.on_change("value", chosen)
        return select

    @staticmethod
    def _offer(select: Any, options: list[tuple[str, str]], value: str) -> None:
        if select.options != options:
            select.options = options
        if select.value != value:
            select.value = value

    def _choose_study(self, value: str) -> None:
        nowhere = dict.fromkeys(("b", "s_true", "s_low", "s_high"))
        self._change(study=value, at="main", limit_method="", other="", other_at="", slices=(), **nowhere)

    def _choose_cell(self, **chosen: str) -> None:
        ((name, value),) = chosen.items()
        if value:
            self._change(**{name: float(value)})
        else:
            self._change(b=None, s_true=None)

    def _choose_range(self, _: str, __: Any, value: tuple[float, float]) -> None:
        if not self._told:
            self._change(s_low=value[0], s_high=value[1])


def _named(names: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, name) for name in names]


def _number(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _numbers(values: Any) -> list[tuple[str, str]]:
    return [(_number(value), f"{value:.12g}") for value in np.sort(values).tolist()]
