"""A validation on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from covsvc.cli.printing import new_table, print_table

if TYPE_CHECKING:
    from covsvc.report.findings import Group

_MOST_SHOWN = 10
"""Groups of findings of a severity that are printed."""


def print_validation(told: Mapping[str, Any]) -> None:
    """Print a validation: the outcome and what to do, the findings, and what changed; the rest is counted.

    Parameters
    ----------
    told : mapping
        The validation, as ``docs/validation.schema.json`` describes it.
    """
    from covsvc.report.findings import accept_command, every_group, outcome, reason

    click.echo(f"{outcome(told)}. {reason(told)}")
    click.echo(f"What to do: {told['advice']}")
    for head, advice, found in every_group(told):
        if found[0].severity == "note":
            click.echo(f"\n{len(found):,} note{'s' * (len(found) > 1)}: the page and --json tell")
            continue
        click.echo(f"\n{head}: {advice}")
        for group in found[:_MOST_SHOWN]:
            _print_group(group)
        if len(found) > _MOST_SHOWN:
            click.echo(f"  and {len(found) - _MOST_SHOWN:,} more: the page and --json tell")
    click.echo()
    _print_studies(told)
    _print_columns(told)
    click.echo(f"\n{told['power']}")
    if command := accept_command(told):
        click.echo(f"To compare later changes with this one: {command}")


def _print_group(group: Group) -> None:
    study = f" ({group.study})" if group.limit_method else ""
    click.echo(f"  {group.subject}: {group.title}{study}")
    click.echo(f"    {group.first['sentence']}")
    if group.first["replay"]:
        click.echo(f"    {group.first['replay']}")
    if group.others:
        click.echo(f"    and {len(group.others):,} more like this")


def _print_studies(told: Mapping[str, Any]) -> None:
    from covsvc.report.validation_tables import study_rows

    table = new_table("", "", "", "")
    table.show_header = False
    for row in study_rows(told):
        table.add_row(row["study"], row["outcome"], f"against {row['baseline']}", row["states"])
    print_table(table)


def _print_columns(told: Mapping[str, Any]) -> None:
    """Print the columns that changed or that something is wrong with."""
    from covsvc.report.notation import NOTHING
    from covsvc.report.validation_tables import column_rows, is_told

    table = new_table("", "method", "cl", "", "", "worst coverage", "before", "typical limit", "toys rose", "toys fell")
    shown = ("state", "outcome", "worst", "before", "median", "rose", "fell")
    for study in told["studies"]:
        for row in column_rows(filter(is_told, study["columns"])):
            cells = [row[name] if row[name] != NOTHING else "" for name in shown]
            table.add_row(study["study"], row["label"], row["cl"], *cells)
    if table.row_count:
        click.echo()
        print_table(table)
