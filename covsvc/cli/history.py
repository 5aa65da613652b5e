"""`covsvc history`, `tag` and `gc`: the past of stored studies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import click

from covsvc.cli.options import AT, STORE
from covsvc.cli.printing import AS_JSON, new_table, print_json, print_table, say
from covsvc.errors import printable

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@click.command()
@click.argument("study")
@STORE
@AS_JSON
def history(study: str, store: str, as_json: bool) -> None:
    """List the commits of a stored study, newest first: when, what, at what cost.

    Snapshots, their beginnings, tags and times are what --at of other commands takes. Toys and CPU seconds are those
    of the commit, and of all commits until then, those that were forgotten since included.
    """
    from covsvc import api

    found = api.history(study, store)
    if as_json:
        print_json({"study": study, "commits": found})
        return
    if not found:
        say(f"{study}: nothing is stored yet")
        return
    columns = ("snapshot", "written (UTC)", "what", "toys", "of all", "CPU s", "of all", "toys/s", "covsvc", "tags")
    table = new_table(*columns)
    for name, column in zip(columns, table.columns, strict=True):
        column.justify = "left" if name in ("snapshot", "what", "tags") else "right"
    for each in found:
        here, until_then = each.get("commit", {}), each.get("all", {})
        table.add_row(
            each["short"],
            each["written_at"][:19].replace("T", " "),
            printable(each.get("what", "")),
            f"{here.get('toys', 0):,}",
            f"{until_then.get('toys', 0):,}",
            f"{here.get('cpu_seconds', 0):,.1f}",
            f"{until_then.get('cpu_seconds', 0):,.1f}",
            f"{here.get('toys_per_second', 0):,.0f}",
            printable(each.get("covsvc", "")),
            printable(", ".join(each["tags"])),
        )
    table.caption = "\n".join(_baseline(each) for each in found if each.get("accepted", {}).get("tag") in each["tags"])
    print_table(table)


def _baseline(commit: Mapping[str, Any]) -> str:
    told = commit["accepted"]
    return f"{told['tag']}: {told['outcome']}, accepted by {told['who']}: {told['reason']}"


@click.command()
@click.argument("study")
@click.argument("name", required=False)
@STORE
@AT
@click.option("--delete", is_flag=True, help="Delete the tag; its name is not used again.")
@AS_JSON
def tag(study: str, name: str | None, store: str, at: str, delete: bool, as_json: bool) -> None:
    """Give a commit of a stored study a name that stays, or list these names.

    A tagged commit is never forgotten by `covsvc gc`. Tags do not move, and their names are not used twice.

    \b
      covsvc tag cleo-tau-mu-gamma                        list the tags
      covsvc tag cleo-tau-mu-gamma thesis                 tag what is stored now
      covsvc tag cleo-tau-mu-gamma draft --at 2026-11-21  tag the last commit until then
    """  # noqa: D301 - click wants the character itself
    from covsvc import api

    if name is None:
        if delete or at != "main":
            raise click.UsageError("name the tag, too")
        _print_tags(study, api.tags(study, store), as_json)
        return
    if delete:
        if at != "main":
            raise click.UsageError("--delete takes no --at: a tag stands at one commit")
        api.delete_tag(study, name, store)
        told: dict[str, Any] = {"study": study, "tag": name, "deleted": True}
    else:
        told = {"study": study, "tag": name, "snapshot": api.set_tag(study, name, store, at=at)}
    if as_json:
        print_json(told)
    else:
        click.echo(f"{study}: {name} " + ("is deleted" if delete else f"is {told['snapshot']}"))


def _print_tags(study: str, found: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json({"study": study, "tags": found})
    elif not found:
        say(f"{study}: no tags; `covsvc tag {study} NAME` sets one")
    for name, snapshot in () if as_json else found.items():
        click.echo(printable(f"{snapshot}  {name}"))


def _age(_context: click.Context, _parameter: click.Parameter, given: str) -> timedelta:
    told = re.fullmatch(r"(\d{1,6})([smhdw])", given)
    if told is None:
        raise click.BadParameter(f"{given!r}: an age is a number and a unit, such as 30d, 12h or 2w")
    return timedelta(**{_UNITS[told[2]]: int(told[1])})


@click.command()
@click.argument("studies", nargs=-1, required=True, metavar="STUDY...")
@STORE
@click.option(
    "--older-than", default="30d", show_default=True, callback=_age, metavar="AGE", help="Only commits older than this."
)
@click.option(
    "--keep", type=click.IntRange(1), default=10, show_default=True, help="Keep so many of the newest commits."
)
@click.option("--dry-run", is_flag=True, help="Say what would be forgotten, and delete nothing.")
@AS_JSON
def gc(studies: tuple[str, ...], store: str, older_than: timedelta, keep: int, dry_run: bool, as_json: bool) -> None:
    """Forget old commits of stored studies, and delete what only they refer to.

    What is stored now and what has a tag stays, bit for bit; so do the sums of toys and CPU seconds. Candidates of
    `covsvc validate` are dropped when they are older, too, or when what they were made from is not what is stored now.
    A study on which a driver works is refused.

    \b
      covsvc gc cleo-tau-mu-gamma --dry-run
      covsvc gc cleo-tau-mu-gamma --older-than 0s --keep 1     all but the newest and the tagged
    """  # noqa: D301 - click wants the character itself
    from covsvc import api

    found = []
    for study in studies:
        told = api.gc(study, store, older_than=older_than, keep=keep, dry_run=dry_run)
        found.append(told)
        if not as_json:
            commits = f"{len(told['expired']):,} of {len(told['expired']) + told['kept']:,} commits"
            would = "would be forgotten" if dry_run else "forgotten"
            files = f"{told['files']:,} files, {_size(told['bytes'])}"
            freed = f"nothing refers to {files} already" if dry_run else f"{files} deleted"
            if number := len(told["dropped"]):
                commits += f" and {number:,} candidate{'s' * (number > 1)}"
            click.echo(f"{study}: {commits} {would}; {freed}")
    if as_json:
        print_json(found)


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
