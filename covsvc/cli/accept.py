"""`covsvc accept` and `baselines`: what later changes are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from covsvc.cli.options import STORE
from covsvc.cli.printing import AS_JSON, new_table, print_json, print_table, say


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="STUDY|CANDIDATE...")
@STORE
@click.option("--tag", required=True, metavar="NAME", help="Name of the baseline, such as a version.")
@click.option("--reason", required=True, metavar="WORDS", help="Why; it is kept with the baseline.")
@click.option("--despite", is_flag=True, help="Accept what failed or is undecided, too.")
@AS_JSON
def accept(what: tuple[str, ...], store: str, tag: str, reason: str, despite: bool, as_json: bool) -> None:
    """Accept what `covsvc validate` made: from now on it is stored, and what later changes are compared with.

    STUDY is a study file (all of its studies) or the name of a stored study, of which the newest candidate is meant.
    All that are named are accepted, or none. Who accepted it, when, why, and the verdict are kept with it.

    \b
      covsvc accept nightly.yaml --tag v1.3 --reason "closed form instead of a search"
      covsvc accept candidate.3f2a --tag v1.3 --reason "..." --despite
    """  # noqa: D301 - click wants the character itself
    from covsvc import api

    made = api.accept(what, store, tag=tag, reason=reason, despite=despite)
    if as_json:
        print_json(made)
        return
    for each in made:
        click.echo(f"{each['study']}: {each['tag']} is the baseline, {each['candidate']}, {each['outcome']}")


@click.command()
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@STORE
@AS_JSON
def baselines(studies: tuple[str, ...], store: str, as_json: bool) -> None:
    """List what was accepted, by whom and why, and the candidates that wait; all stored studies unless some are named.

    `covsvc validate` compares with the newest baseline. --against of it, and --at of other commands, take their names,
    such as v1.3, which is the newest so called, tags, such as v1.3@20261122T130501Z, and candidates.
    """
    from covsvc import api

    found = api.baselines(studies, store)
    if as_json:
        print_json(found)
        return
    if not found:
        say(f"{store}: no studies stored yet; `covsvc run` or `validate` stores them")
    for each in found:
        if not each["baselines"] and not each["candidates"]:
            say(f"{each['study']}: never accepted; `covsvc validate` makes a candidate, `covsvc accept` its baseline")
    _print(found, "baselines", ("baseline", "accepted (UTC)", "by", "verdict", "reason"), _baseline)
    _print(found, "candidates", ("candidate", "written (UTC)", "state", "verdict", "on it"), _candidate)


def _print(
    found: list[dict[str, Any]], kind: str, heads: tuple[str, ...], told: Callable[[Mapping[str, Any]], tuple[str, ...]]
) -> None:
    rows = [(study["study"], *told(each)) for study in found for each in study[kind]]
    if not rows:
        return
    table = new_table("study", *heads)
    for column in table.columns:
        column.justify = "left"
    for row in rows:
        table.add_row(*row)
    print_table(table)


def _baseline(told: Mapping[str, Any]) -> tuple[str, ...]:
    return told["tag"], _minute(told["accepted_at"]), told["who"] or "", told["outcome"] or "", told["reason"] or ""


def _candidate(told: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("outcome", "sentence")
    return told["candidate"], _minute(told["written_at"]), told["state"], *(told[name] or "" for name in names)


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")
