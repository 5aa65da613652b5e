"""`covsvc limit --events --signal-density --background-density`: limits on events with densities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from covsvc.cli.likelihood import draw, finish, limits_table, picture_of, say_reasons
from covsvc.cli.printing import level, print_json, print_table, say
from covsvc.errors import StudyError

if TYPE_CHECKING:
    from covsvc.density_file import EventsWithDensities

_IGNORE_B = ("mc_likelihood",)
"""Methods whose limits do not depend on what is known of the background beforehand."""


def limit_densities(
    events: str,
    densities: tuple[str, str] | None,
    within: tuple[float, float] | None,
    column: str | None,
    known: dict[str, Any],
    methods: list[dict[str, Any]],
    levels: tuple[float, ...],
    *,
    expected: bool,
    scale: float | None,
    quantity: str | None,
    figure: str | None,
    store: str,
    as_json: bool,
) -> None:
    """Set the limits on real events, print them and draw their likelihood at the lowest of the `levels`.

    Parameters
    ----------
    densities : tuple of str, optional
        What tells the densities of signal and background; unless given, columns of the events' file do.
    known : dict
        b, b_error and shape of the background, as far as they are given.
    """
    from covsvc import api
    from covsvc.data_file import scale_of
    from covsvc.density_file import read_densities, read_events_on, read_told_densities

    drawn = picture_of(figure, events)
    if quantity is not None and scale is None:
        raise StudyError("--quantity: names what events times --scale are; give --scale, too")
    if scale is not None:
        scale_of(scale)
    if densities is None:
        if expected:
            raise StudyError("--expected: no toys can be drawn where the densities are told at the events only")
        seen = read_told_densities(events, **known)
    else:
        model, shares = read_densities(*densities, within)
        seen = read_events_on(events, model, shares, column=column, cut=within is not None, **known)
    rows = api.limits_on_view(seen.view, methods or None, levels, expected=expected, store=store, tell=say)
    shown = (quantity or "x scale") if scale is not None else "signal events"
    told = f"{seen.n:,} event{'s' * (seen.n != 1)} seen"
    failure = draw(seen.view, rows, drawn, quantity=shown, told=told, scale=1.0 if scale is None else scale)
    if as_json:
        found: dict[str, Any] = {
            "n": seen.n,
            "left_out": seen.left_out,
            "position": seen.name or None,
            "range": list(seen.ends) if seen.ends else None,
            "signal_share": seen.shares[0],
            "background_share": seen.shares[1],
            **known,
            "figure": None if failure else str(drawn),
        }
        if scale is not None:
            found |= {"scale": scale, "quantity": quantity}
            rows = [row | {"scaled": row["upper"] * scale} for row in rows]
        print_json(found | {"limits": rows})
    else:
        for line in _sentences(seen, known):
            click.echo(line)
        print_table(limits_table(rows, shown, scale))
        ignoring = [name for name in _IGNORE_B if any(row["limit_method"].startswith(name) for row in rows)]
        if "b" in known and ignoring:
            click.echo(f"{', '.join(ignoring)} makes no use of what is known of the background")
        if not failure:
            click.echo(f"Picture at {level(min(levels))}: {drawn}")
        say_reasons(rows)
    finish(rows, failure, named=bool(methods), figure_named=figure is not None)


def _sentences(seen: EventsWithDensities, known: dict[str, Any]) -> list[str]:
    where = f", {seen.name} in [{seen.ends[0]:g}, {seen.ends[1]:g}]" if seen.ends else ", densities told at each"
    left = f"; {seen.left_out:,} outside left out" if seen.left_out else ""
    lines = [f"observed: {seen.n:,} event{'s' * (seen.n != 1)}{where}{left}"]
    if "b" in known:
        error = f" +- {known['b_error']:g} ({known['shape']})" if known.get("b_error") else ""
        lines.append(f"background expected there: {known['b']:g}{error}")
    else:
        lines.append("background expected there: nothing is known of it; --b tells it")
    if seen.shares[0] < 1.0 - 5e-5:
        lines.append(f"limits are on the signal there, {seen.shares[0]:.4f} of all that is told")
    return lines
