"""What commands print: tables, and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from covsvc.errors import printable

if TYPE_CHECKING:
    from rich.table import Table

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")

EXPECTED = ["expected\n-2 sigma", "\n-1 sigma", "\nmedian", "\n+1 sigma", "\n+2 sigma"]
"""Heads of the columns of expected limits."""


def say(line: str) -> None:
    """Say something that is no result."""
    click.echo(printable(line), err=True)


def print_json(value: Any) -> None:
    """Print a result for machines."""
    from covsvc.api.plain import plain

    click.echo(json.dumps(plain(value), indent=2, allow_nan=False))


def new_table(*heads: str) -> Table:
    """Return an empty table; columns of words are on the left, of numbers on the right."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for head in heads:
        table.add_column(head, no_wrap=True, justify="left" if head in ("method", "reads", "") else "right")
    return table


def print_table(table: Table) -> None:
    """Print a table wider than the terminal rather than cut: a number without its end is another number."""
    from rich.console import Console

    caption, table.caption = table.caption, None
    console = Console(width=1000, markup=False, emoji=False, highlight=False)
    console.width = console.measure(table).maximum
    console.print(table)
    if caption:
        click.echo(printable(str(caption)))


def observed_table(rows: Sequence[Mapping[str, Any]], scale: float | None = None, quantity: str = "") -> Table:
    """Return the limits on real data, with what is known of each."""
    with_coverage, with_grid = "coverage" in rows[0], "worst_coverage" in rows[0]
    known = not with_coverage or any(math.isfinite(row["worst_coverage_at_b"]) for row in rows)
    with_grid = with_grid and (known or any(math.isfinite(row["worst_b"]) for row in rows))
    with_expected = "expected" in rows[0]
    heads = [f"limit\n{quantity}"] * (scale is not None)
    heads += ["just\nabove", "worst\nat b"] * (with_coverage and known) + [
        "worst on\nthe grid",
        "at (s, b)",
    ] * with_grid
    heads += EXPECTED * with_expected
    with_views = any(row.get("plugged_in") for row in rows)
    table = new_table("method", *["reads"] * with_views, "cl", "limit", *heads)
    for row in rows:
        cells = [row["limit_method"], *[row.get("reads", "")] * with_views, level(row["cl"]), interval(row)]
        if scale is not None:
            cells.append(scaled(row["upper"], scale))
        if with_coverage and known:
            cells += [coverage(row["coverage"], row["cl"]), coverage(row["worst_coverage_at_b"], row["cl"])]
        if with_grid:
            where = f"{row['worst_s_true']:.4g}, {row['worst_b']:g}" if math.isfinite(row["worst_b"]) else ""
            cells += [coverage(row["worst_coverage"], row["cl"]), where]
        if with_expected:
            cells += [_expected(each, scale) for each in row["expected"]]
        table.add_row(*cells)
        if with_expected and not math.isnan(row["asimov"][0]):
            blank = [""] * (len(cells) - 6)
            table.add_row("  Asimov", *blank, *(_expected(each, scale) for each in row["asimov"]))
    captions = []
    if not known:
        captions.append("exact coverage is not known: the outcomes are too many, or no counts")
    elif with_coverage:
        b = rows[0]["b_estimate"]
        captions.append(f"exact coverage at b = {b:g}: of a signal just above the limit; the worst; * below cl")
        captions += [f"from toy to toy {row['ensemble']}" for row in rows[:1] if row.get("ensemble")]
    if with_expected and all(math.isnan(row["expected"][2]) for row in rows):
        captions.append("expected limits are not known: the outcomes are too many, or no counts")
    elif with_expected:
        b = rows[0]["b_expected"]
        asimov = any(not math.isnan(row["asimov"][0]) for row in rows)
        captions.append(
            f"expected without a signal at b = {b:g}: from the exact distribution of the limits"
            + "; Asimov: from the counts that b predicts" * asimov
        )
    if with_coverage and any(row["reads"] == "Sideband" and math.isnan(row["worst_coverage_at_b"]) for row in rows):
        captions.append("reads Sideband: coverage is known where the sideband is all of the outside")
    captions += ["reads Counts: the estimated background is taken as known"] * any(
        row.get("plugged_in") for row in rows
    )
    table.caption = "\n".join(captions)
    return table


def interval(row: Mapping[str, Any]) -> str:
    """Return an interval as it is read, with the error of its upper end, if it has one."""
    if row["status"] in ("empty", "failed"):
        return str(row["status"])
    upper = "no limit" if row["status"] == "unbounded" else f"{row['upper']:.4f}"
    if not math.isnan(row.get("error", math.nan)):
        upper += f" +- {row['error']:.2g}"
    if row["sided"] == "two":
        return f"[{row['lower']:.4f}, {upper}]"
    return upper if row["status"] == "unbounded" else f"< {upper}"


def scaled(upper: float, scale: float) -> str:
    """Return an upper limit in units of what one event stands for; nothing where it is not known."""
    return f"{upper * scale:.4g}" if math.isfinite(upper) else "no limit" if upper > 0 else ""


def level(cl: float) -> str:
    """Return a confidence level with all of its digits."""
    return f"{cl:.2f}" if round(cl, 2) == cl else f"{cl:.12g}"


def _expected(upper: float, scale: float | None) -> str:
    if math.isnan(upper):
        return ""
    return scaled(upper, scale) if scale is not None else f"{upper:.4f}" if math.isfinite(upper) else "no limit"


def coverage(value: float, cl: float) -> str:
    """Return a coverage with as many digits as it takes to tell it from `cl`, and a star below."""
    from covsvc.tally import ROUNDING

    if math.isnan(value):
        return ""
    below, digits = value < cl - ROUNDING, 4
    while below and digits < 9 and float(f"{value:.{digits}f}") >= cl:
        digits += 1
    return f"{value:.{digits}f}" + ("*" if below else " ")
