"""`covsvc limit --events`: limits on a cross section from the positions of events, whatever the background is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from covsvc.cli.printing import interval, level, new_table, print_json, print_table, say, scaled
from covsvc.errors import StudyError

if TYPE_CHECKING:
    from covsvc.event_file import SeenEvents

_REFUSED = 2


def limit_events(
    events: str,
    spectrum: str,
    background: str | None,
    within: tuple[float, float] | None,
    column: str | None,
    methods: list[dict[str, Any]],
    levels: tuple[float, ...],
    quantity: str | None,
    figure: str | None,
    as_json: bool,
) -> None:
    """Set the limits on real events, print them and draw them at the lowest of the `levels`."""
    from covsvc import api
    from covsvc.report.picture import FORMATS

    drawn = Path(figure) if figure is not None else Path(events).with_suffix(".png")
    if drawn.suffix.lower() not in FORMATS:
        raise StudyError(f"--figure {drawn}: a picture of events is written as {', '.join(FORMATS)}")
    signal = api.read_signal(spectrum, within)
    known = api.read_background(background, signal) if background is not None else None
    seen = api.read_events(events, signal, known, column=column, cut=within is not None)
    shown = quantity or "cross section"
    rows = api.limits_on_events(seen, methods or None, list(levels))
    failure = ""
    try:
        api.write_events(seen, [row for row in rows if row["cl"] == rows[0]["cl"]], drawn, quantity=shown)
    except OSError as error:  # the limits are worth more than their picture
        failure = f"{drawn}: {error.strerror or error}; --figure names a file that can be written"
    if as_json:
        told = {
            "n": len(seen.positions),
            "left_out": seen.left_out,
            "position": seen.name,
            "range": [signal.low, signal.high],
            "quantity": shown,
            "signal_of_unit": signal.total,
            "background": known.total if known is not None else 0.0,
            "figure": None if failure else str(drawn),
        }
        print_json(told | {"limits": rows})
    else:
        for line in _sentences(seen, shown):
            click.echo(line)
        print_table(_table(rows, seen, shown))
        if not failure:
            click.echo(f"Picture at {level(rows[0]['cl'])}: {drawn}")
        for row in rows:
            if row["reason"]:
                say(f"{row['limit_method']} at {level(row['cl'])}: {row['status']}: {row['reason']}")
    if failure:
        say(f"no picture: {failure}")
    if (failure and figure is not None) or (methods and any(row["status"] == "failed" for row in rows)):
        raise click.exceptions.Exit(_REFUSED)


def _sentences(seen: SeenEvents, quantity: str) -> list[str]:
    n, signal, known = len(seen.positions), seen.spectrum, seen.background
    left = f"; {seen.left_out:,} outside left out" if seen.left_out else ""
    lines = [
        f"observed: {n:,} event{'s' * (n != 1)}, {seen.name} in [{signal.low:g}, {signal.high:g}]{left}",
        f"expected there: {signal.total:.4g} of signal at {quantity} = 1",
    ]
    if known is not None:
        lines[-1] += f", {known.total:.4g} of known background"
    return lines


def _table(rows: Sequence[Mapping[str, Any]], seen: SeenEvents, quantity: str) -> Any:
    with_background = ["background\nthere"] * (seen.background is not None)
    table = new_table(
        "method", "cl", "limit\nevents", f"limit\n{quantity}", f"decided in\n{seen.name}", "events\nthere",
        "signal\nthere", *with_background,
    )  # fmt: skip
    for row in rows:
        found = row["interval"]
        where = ["", "", "", *[""] * len(with_background)]
        if found is not None:
            where = [f"{found['low']:.5g} to {found['high']:.5g}", f"{found['events']:,}", f"{found['expected']:.4g}"]
            where += [f"{found['background']:.4g}"] * len(with_background)
        bounded = row["status"] in ("ok", "unbounded")
        limit = scaled(row["scaled"], 1.0) if bounded else row["status"]
        table.add_row(row["limit_method"], level(row["cl"]), interval(row), limit, *where)
    captions = ["no background is known: none is subtracted"] * (seen.background is None)
    if any(row["sided"] == "two" for row in rows):
        captions.append("a lower end takes all events beyond the known background for signal")
    table.caption = "\n".join(captions)
    return table
