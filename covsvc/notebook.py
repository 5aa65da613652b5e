"""Tables as notebooks show them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from covsvc.contracts import Limits, Status

MOST_ROWS = 12
"""A longer table is cut, and says so."""


def html_table(heads: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "", total: int | None = None) -> str:
    """Return a table in HTML, in the colours of what is around it.

    Parameters
    ----------
    heads : sequence of str
        Over the columns.
    rows : iterable of sequence
        Text, which is escaped, and numbers.
    caption : str
        Over the table.
    total : int, optional
        How many rows there are, where these are only the first of them.
    """
    shown = list(rows)
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    body = ("".join(map(_cell, row)) for row in shown)
    lines = ["<table>"]
    if caption:
        lines.append(f'<caption style="text-align: left">{escape(caption)}</caption>')
    lines += [f"<thead><tr>{head}</tr></thead>", "<tbody>", *(f"<tr>{row}</tr>" for row in body), "</tbody>"]
    lines.append("</table>")
    if total is not None and total > len(shown):
        lines.append(f"<p>… and {total - len(shown):,} more.</p>")
    return "\n".join(lines)


def limits_table(limits: Limits) -> str:
    """Return the first of some limits as a table in HTML."""
    heads = ["", "lower", "upper", "status"] + ["error"] * (limits.error is not None)
    ends = [limits.lower, limits.upper] + ([] if limits.error is None else [limits.error])
    statuses = [Status(status).name.lower() for status in limits.status[:MOST_ROWS].tolist()]
    values = zip(*(end[:MOST_ROWS].tolist() for end in ends), strict=True)
    rows = [
        (toy, *each[:2], status, *each[2:]) for toy, (status, each) in enumerate(zip(statuses, values, strict=True))
    ]
    return html_table(heads, rows, "Limits, in expected signal events", len(limits))


def told_number(value: float) -> str:
    """Return a number with six digits at most; a dash where there is none."""
    if math.isnan(value):
        return "–"
    return f"{value:.6g}" if math.isfinite(value) else "∞" if value > 0 else "−∞"


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return f'<td style="text-align: left">{escape(value)}</td>'
    told = f"{value:,}" if isinstance(value, int) else told_number(value)
    return f'<td style="text-align: right">{told}</td>'
