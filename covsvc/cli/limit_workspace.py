"""`covsvc limit --workspace`: limits on counts in bins with nuisance parameters."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from covsvc.cli.likelihood import draw, finish, limits_table, number, picture_of, say_reasons
from covsvc.cli.printing import level, new_table, print_json, print_table, say
from covsvc.errors import ObservationError

if TYPE_CHECKING:
    from covsvc.workspace import Workspace

_MOST_PULLS = 20


def limit_workspace(
    file: str,
    observation: str | None,
    measurement: str | None,
    interpolation: Literal["smooth", "linear"],
    methods: list[dict[str, Any]],
    levels: tuple[float, ...],
    *,
    expected: bool,
    quantity: str | None,
    figure: str | None,
    store: str,
    as_json: bool,
) -> None:
    """Set the limits on the strength of the signal of a workspace, print them and draw the likelihood."""
    from covsvc import api, registry
    from covsvc.contracts import Binned
    from covsvc.workspace import workspace_of

    drawn = picture_of(figure, file)
    workspace = workspace_of(file, measurement, interpolation)
    if observation is not None:
        workspace = dataclasses.replace(workspace, counts=_counts(observation, workspace))
    view, unit = workspace.observed, workspace.model.signal_events
    asked, left = [*methods], []
    if not methods:
        # methods that draw toys at each signal that they try are asked where they are named
        for each in api.methods_reading(Binned):
            slow = Binned in getattr(registry.method(each["name"]), "draws", ())
            left.append(each["name"]) if slow else asked.append(each)
    rows = api.limits_on_view(view, asked, levels, expected=expected, store=store, tell=say)
    fit = api.fit_of_bins(view)
    shown = quantity or workspace.poi
    events = sum(workspace.counts)
    told = f"{events:,} event{'s' * (events != 1)} seen in {len(workspace.counts)} bins"
    failure = draw(view, rows, drawn, quantity=shown, told=told, scale=1.0 / unit)
    if as_json:
        print_json(
            {
                "measurement": workspace.measurement,
                "poi": workspace.poi,
                "counts": list(workspace.counts),
                "channels": {name: list(ends) for name, ends in workspace.channels.items()},
                "signal_events": unit,
                "background_events": workspace.model.background_events,
                "fit": fit,
                "figure": None if failure else str(drawn),
                "limits": [_in_strength(row, unit) for row in rows],
            }
        )
    else:
        for line in _sentences(workspace, told, fit):
            click.echo(line)
        print_table(limits_table(rows, shown, 1.0 / unit))
        if fit["parameters"]:
            click.echo()
            print_table(_pulls(fit["parameters"]))
        if not failure:
            click.echo(f"Picture at {level(min(levels))}: {drawn}")
        say_reasons(rows)
        for name in left:
            say(f"{name} draws toys, for seconds to minutes; -m {name} asks for it")
    finish(rows, failure, named=bool(methods), figure_named=figure is not None)


def _counts(given: str, workspace: Workspace) -> tuple[int, ...]:
    """Return observed counts as they are told: COUNT,... , or a file of them, one bin after the other."""
    from covsvc.contracts import MOST_EVENTS
    from covsvc.data_file import finite, rows_of

    if Path(given).is_file():
        cells = [(f"{given}:{number}", cell) for number, row in rows_of(given, None) for cell in row]
    else:
        cells = [("--observation", cell.strip()) for cell in given.split(",")]
    if len(cells) != len(workspace.counts):
        bins = ", ".join(f"{last - first} of {name}" for name, (first, last) in workspace.channels.items())
        raise ObservationError(
            f"--observation {given}: {len(cells)} count{'s' * (len(cells) != 1)}, but the workspace has "
            f"{len(workspace.counts)} bins, {bins}; give COUNT,COUNT,... or a file of them"
        )
    counts = []
    for (where, cell), place in zip(cells, _bins(workspace), strict=True):
        try:
            count = finite(f"count of {place}", cell)
        except ObservationError as error:
            raise ObservationError(f"{where}: {error}; give COUNT,COUNT,... or a file of them") from None
        if count < 0 or count != count // 1:
            raise ObservationError(f"{where}: count of {place} = {cell}: a count of events is a whole number >= 0")
        if count > MOST_EVENTS:
            raise ObservationError(f"{where}: count of {place} = {cell}: up to {MOST_EVENTS:,} events are supported")
        counts.append(int(count))
    return tuple(counts)


def _bins(workspace: Workspace) -> list[str]:
    return [f"{name}[{at - first}]" for name, (first, last) in workspace.channels.items() for at in range(first, last)]


def _in_strength(row: Mapping[str, Any], unit: float) -> dict[str, Any]:
    told = dict(row) | {"mu_lower": row["lower"] / unit, "mu_upper": row["upper"] / unit}
    if "expected" in row:
        told["mu_expected"] = [each / unit for each in row["expected"]]
    return told


def _sentences(workspace: Workspace, told: str, fit: Mapping[str, Any]) -> list[str]:
    model, channels = workspace.model, len(workspace.channels)
    lines = [
        f"observed: {told} of {channels} channel{'s' * (channels != 1)}; measurement {workspace.measurement!r}",
        f"expected: {model.background_events:.6g} of background, {model.signal_events:.6g} of signal at "
        f"{workspace.poi} = 1",
    ]
    if fit["reason"]:
        lines.append(f"best fit: none, {fit['reason']}")
    else:
        free = fit["mu_of_any_sign"]
        below = f" ({free:.4g} where it may be negative)" if free < 0 else ""
        lines.append(f"best fit: {workspace.poi} = {fit['mu']:.4g}{below}")
    return lines


def _pulls(parameters: Sequence[Mapping[str, Any]]) -> Any:
    """Return the nuisance parameters at the best fit, those with the largest pulls if they are many."""
    table = new_table("", "measured", "fitted", "pull")
    shown = sorted(parameters, key=lambda each: -abs(each["pull"]) if math.isfinite(each["pull"]) else -math.inf)
    chosen = [each["name"] for each in shown[:_MOST_PULLS]]
    for each in parameters:
        if each["name"] in chosen:
            pull = "" if math.isnan(each["pull"]) else f"{each['pull']:+.2f}"
            table.add_row(each["name"], number(each["measured"]), number(each["fitted"]), pull)
    table.caption = "pull: fitted - measured, over the error of the measurement"
    if len(parameters) > _MOST_PULLS:
        table.caption += f"; the largest {_MOST_PULLS} of {len(parameters)}, all with --json"
    return table
