"""What `covsvc limit` prints of limits that rest on a likelihood, and its picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from covsvc.cli.printing import EXPECTED, interval, level, new_table, say, scaled
from covsvc.errors import StudyError

if TYPE_CHECKING:
    from rich.table import Table

REFUSED = 2


def picture_of(figure: str | None, beside: str) -> Path:
    """Return the file of the picture, that of the data with .png unless given."""
    from covsvc.report.picture import FORMATS

    drawn = Path(figure) if figure is not None else Path(beside).with_suffix(".png")
    if drawn.suffix.lower() not in FORMATS:
        raise StudyError(f"--figure {drawn}: a picture of a likelihood is written as {', '.join(FORMATS)}")
    return drawn


def draw(observed: Any, rows: Sequence[Mapping[str, Any]], drawn: Path, **told: Any) -> str:
    """Draw the likelihood with the limits at the lowest level; return why there is no picture, else nothing."""
    from covsvc import api

    lowest = min(row["cl"] for row in rows)
    try:
        api.write_likelihood(observed, [row for row in rows if row["cl"] == lowest], drawn, **told)
    except OSError as error:  # the limits are worth more than their picture
        return f"{drawn}: {error.strerror or error}; --figure names a file that can be written"
    return ""


def limits_table(rows: Sequence[Mapping[str, Any]], quantity: str = "", scale: float | None = None) -> Table:
    """Return the limits, times `scale`, too, beside those expected without a signal."""
    with_expected = "expected" in rows[0]
    heads = [f"limit\n{quantity}"] * (scale is not None)
    table = new_table("method", "cl", "limit\nevents", *heads, *EXPECTED * with_expected)
    factor = 1.0 if scale is None else scale
    for row in rows:
        cells = [row["limit_method"], level(row["cl"]), interval(row)]
        if scale is not None:
            bounded = row["status"] in ("ok", "unbounded")
            cells.append(scaled(row["upper"], scale) if bounded else row["status"])
        if with_expected:
            cells += [scaled(each, factor) for each in row["expected"]]
        table.add_row(*cells)
    if with_expected:
        table.caption = _about_expected(rows, quantity if scale is not None else "events")
    return table


def say_reasons(rows: Sequence[Mapping[str, Any]]) -> None:
    """Say why there is no limit where there is none."""
    for row in rows:
        if row["reason"]:
            say(f"{row['limit_method']} at {level(row['cl'])}: {row['status']}: {row['reason']}")


def finish(rows: Sequence[Mapping[str, Any]], failure: str, *, named: bool, figure_named: bool) -> None:
    """End with an error if a method that was named has failed, or a picture that was."""
    if failure:
        say(f"no picture: {failure}")
    if (failure and figure_named) or (named and any(row["status"] == "failed" for row in rows)):
        raise click.exceptions.Exit(REFUSED)


def _about_expected(rows: Sequence[Mapping[str, Any]], unit: str) -> str:
    from covsvc.engine.expected import TOYS

    told = {
        "asimov": "from the Asimov set",
        "toys": f"from {TOYS:,} toys",
    }
    by: dict[str, list[str]] = {}
    for row in rows:
        labels = by.setdefault(row["expected_from"], [])
        if row["limit_method"] not in labels:
            labels.append(row["limit_method"])
    lines = [
        f"expected without a signal, {unit}, {words}: {', '.join(by[how])}" for how, words in told.items() if how in by
    ]
    if "" in by:
        lines.append(f"expected limits are not known: {', '.join(by[''])}")
    return "\n".join(lines)


def number(value: float) -> str:
    """Write a number in a table; nothing where there is none."""
    return "" if math.isnan(value) else f"{round(value, 9) + 0.0:.4g}"
