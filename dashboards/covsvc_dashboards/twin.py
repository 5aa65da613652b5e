"""Tables that say what a figure shows, for keyboards and screen readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from bokeh.layouts import column
from bokeh.models import InlineStyleSheet
from bokeh.models.widgets import CheckboxGroup, Div

from covsvc_dashboards.style import Style

NARROW = ":host { min-width: 0; } :host > div { display: block !important; }"
"""Bokeh lets a `Div` grow with what it holds; a table is to scroll instead."""


def table_twin(
    caption: str, rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[str]], corner: str = ""
) -> str:
    """Return the HTML of a table, which scrolls within its own box.

    Parameters
    ----------
    caption : str
    rows, columns : sequence of str
        Their heads.
    cells : sequence of sequence of str
        Row by row.
    corner : str
        Head of the heads of rows.
    """
    heads = f'<th scope="col">{escape(corner)}</th>' if corner else "<td></td>"
    heads += "".join(f'<th scope="col">{escape(each)}</th>' for each in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(row)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in line)}</tr>'
        for row, line in zip(rows, cells, strict=True)
    )
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="cells"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


class Twin:
    """A table that is filled while it is open.

    Parameters
    ----------
    name : str
        What it holds: ``"coverage as a table"``.
    style : Style

    Attributes
    ----------
    root : UIElement
    """

    def __init__(self, name: str, style: Style) -> None:
        self._make: Callable[[], str] | None = None
        self._box = CheckboxGroup(labels=[name], active=[], stylesheets=[style.sheet])
        self._table = Div(
            disable_math=True,
            visible=False,
            sizing_mode="stretch_width",
            stylesheets=[style.sheet, InlineStyleSheet(css=NARROW)],
        )
        self._box.on_change("active", lambda _, __, ___: self._fill())
        self.root = column(self._box, self._table, sizing_mode="stretch_width")

    def show(self, make: Callable[[], str]) -> None:
        """Show the table that `make` gives, while it is open."""
        self._make = make
        self._fill()

    def _fill(self) -> None:
        is_open = bool(self._box.active) and self._make is not None
        self._table.update(text=self._make() if is_open and self._make else "", visible=is_open)
