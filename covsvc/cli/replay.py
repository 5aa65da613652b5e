"""`covsvc replay`: toys drawn again, and why limits missed them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from covsvc.cli.options import AT, STORE
from covsvc.cli.printing import AS_JSON, interval, level, new_table, print_json, print_table, say

_OTHERS = 3
"""Exit code where toys or limits are not those of the cube."""

_MOST_SHOWN, _MOST_LISTED = 30, 8
"""Numbers of a row that are printed of one toy, and of each of several; JSON has all."""

_BETWEEN = 5.0
"""Seconds between lines that say how far a search is."""


@click.command()
@click.argument("study", metavar="STUDY")
@click.option("--s-true", type=float, required=True, metavar="EVENTS", help="True signal of the cell.")
@click.option("--b", type=float, required=True, metavar="EVENTS", help="True background of the cell.")
@click.option(
    "--limit-method",
    "labels",
    multiple=True,
    metavar="LABEL",
    help="A limit method by its label in the study; may be repeated; all unless given.",
)
@click.option(
    "--cl",
    "levels",
    type=float,
    multiple=True,
    metavar="NUMBER",
    help="Confidence level; may be repeated; all of the study unless given.",
)
@click.option("--toy", type=int, metavar="K", help="Show one toy, by its number in the cell, from 0 on.")
@click.option("--missed", is_flag=True, help="Show the first toys that one of the methods missed.")
@click.option("--most", type=click.IntRange(1), help="With --missed: how many toys; 10 unless given.")
@STORE
@AT
@AS_JSON
def replay(
    study: str,
    s_true: float,
    b: float,
    labels: tuple[str, ...],
    levels: tuple[float, ...],
    toy: int | None,
    missed: bool,
    most: int | None,
    store: str,
    at: str,
    as_json: bool,
) -> None:
    """Draw toys of a cell again, bit for bit, and show their data, their limits, and why limits missed.

    STUDY is the name of a stored study: each block that is drawn again is compared with what the cube holds of it. Or
    it is a study file (.yaml), of which nothing needs to be stored. Without --toy and --missed: how often each method
    covered in the cell, and the first toy that it missed.

    \b
      covsvc replay cleo-tau-mu-gamma --s-true 2 --b 3
      covsvc replay cleo-tau-mu-gamma --s-true 2 --b 3 --missed --limit-method fc98 --cl 0.9
      covsvc replay cleo-tau-mu-gamma --s-true 2 --b 3 --toy 1234
      covsvc replay study.yaml --s-true 2 --b 3 --toy 1234

    Exit code 3: the toys or the limits are not those that the cube holds.
    """  # noqa: D301 - click wants the character itself
    from covsvc import api
    from covsvc.errors import StudyError

    if most is not None and not missed:
        raise StudyError("--most: how many missed toys are shown; give --missed, too")
    found = api.replay(
        study,
        s_true,
        b,
        limit_methods=labels,
        cl=levels,
        toy=toy,
        missed=missed,
        most=most or 10,
        store=store,
        at=at,
        progress=_tell(),
        tell=say,
    )
    if as_json:
        print_json(found)
    elif toy is not None:
        _print_toy(found)
    elif missed:
        _print_missed(found)
    else:
        _print_cell(found)
    if not as_json and (sentence := _compared(found)):
        click.echo(sentence)
    for each in _warnings(found):
        say(f"covsvc: {each}")
    if found["differing"]:
        raise click.exceptions.Exit(_OTHERS)


def _tell() -> Any:
    last = [time.monotonic()]

    def tell(scanned: int, every: int, found: int) -> None:
        if time.monotonic() - last[0] > _BETWEEN:
            last[0] = time.monotonic()
            say(f"{scanned:,} of {every:,} toys looked at, {found:,} missed")

    return tell


def _print_toy(found: Mapping[str, Any]) -> None:
    (toy,) = found["toys"]
    click.echo(f"{_cell(found)}: toy {toy['toy']}, which is toy {toy['index']} of block {toy['block']}")
    for view in toy["data"]:
        click.echo(f"  {_data(view)}")
    table = new_table("method", "reads", "cl", "limit", "covers", "")
    for row in toy["limits"]:
        covers = "yes" if row["covers"] else "no"
        table.add_row(row["limit_method"], row["reads"], level(row["cl"]), interval(row), covers, row["why"])
    print_table(table)
    if toy["commands"]:
        click.echo("The same data by themselves:")
    for command in toy["commands"]:
        click.echo(f"  {command}")


def _print_missed(found: Mapping[str, Any]) -> None:
    toys = found["toys"]
    if not toys:
        click.echo(f"{_cell(found)}: none of {found['scanned']:,} toys missed")
        return
    click.echo(f"{_cell(found)}: {len(toys):,} of the first {found['scanned']:,} toys missed")
    for toy in toys:
        read = dict.fromkeys(row["reads"] for row in toy["limits"])
        told = "; ".join(_data(view, _MOST_LISTED) for view in toy["data"] if view["view"] in read)
        click.echo(f"toy {toy['toy']}: {told}")
        for row in toy["limits"]:
            click.echo(f"  {row['limit_method']} at {level(row['cl'])}: {row['why']}")


def _print_cell(found: Mapping[str, Any]) -> None:
    click.echo(f"{_cell(found)}: {found['stored_toys']:,} toys, in blocks of {found['toys_per_block']:,}")
    table = new_table("method", "cl", "covered", "coverage", "95 % interval", "exact", "first missed")
    for row in found["columns"]:
        table.add_row(
            row["limit_method"],
            level(row["cl"]),
            f"{row['n_covered']:,} of {row['n_toys']:,}",
            _probability(row["coverage"]),
            f"{_probability(row['coverage_low'])} to {_probability(row['coverage_high'])}" if row["n_toys"] else "",
            _probability(row["exact_coverage"]),
            _first(row, found["scanned"]),
        )
    print_table(table)


def _first(row: Mapping[str, Any], scanned: int) -> str:
    if row["first_missed"] is not None:
        return f"toy {row['first_missed']}"
    if row["n_covered"] == row["n_toys"]:
        return "none" if row["n_toys"] else ""
    return f"none in {scanned:,}"


def _cell(found: Mapping[str, Any]) -> str:
    return f"{found['study']} at s_true = {found['s_true']:g}, b = {found['b']:g}"


def _data(view: Mapping[str, Any], most: int = _MOST_SHOWN) -> str:
    uncertain = bool(view.get("b_error"))
    hidden = ("view", "shape") if uncertain else ("view", "shape", "b_error")
    told = [f"{name} = {_value(value, most)}" for name, value in view.items() if name not in hidden]
    told += [view["shape"]] if uncertain else []
    return f"{view['view']}: {', '.join(told)}"


def _value(value: Any, most: int) -> str:
    if isinstance(value, Mapping):
        return _row([f"{name} {each:.4g}" for name, each in value.items()], ", ", most)
    if isinstance(value, list):
        return _row([f"{each:.4g}" for each in value], " ", most)
    return f"{value:.12g}" if isinstance(value, int | float) else str(value)


def _row(words: Sequence[str], between: str, most: int) -> str:
    more = f"{between}... ({len(words) - most:,} more, told by --json)" if len(words) > most else ""
    return f"[{between.join(words[:most])}{more}]"


def _probability(value: float) -> str:
    return f"{value:.4f}" if value == value else ""


def _compared(found: Mapping[str, Any]) -> str:
    """Say how far toys and limits are those of the cube."""
    if found["snapshot"] is None:
        return "Drawn from the study file: not compared with a cube."
    if found["differing"]:
        return ""
    if found["compared"]:
        return f"These are the toys and limits that the cube holds (snapshot {found['snapshot']})."
    if found["toys"]:
        stored = found["stored_toys"]
        beyond = f"beyond the {stored:,} stored ones" if stored else "of which none is stored in this cell"
        return f"Drawn anew, {beyond}: there is nothing in the cube to compare with."
    return ""


def _warnings(found: Mapping[str, Any]) -> list[str]:
    told = [
        f"{row['limit_method']} at {level(row['cl'])}: toy {toy['toy']} has another limit among the other toys of its "
        "block than alone; a limit method must not let one observation depend on others"
        for toy in found["toys"]
        for row in toy["limits"]
        if row["depends_on_others"]
    ]
    told += [
        f"block {toy['block']} of {row['limit_method']} at {level(row['cl'])} is not in the cube, it {row['stored']}"
        for toy in found["toys"][:1]
        for row in toy["limits"]
        if row["stored"].startswith("failed")
    ]
    if found["failed_blocks"] and not told:
        told.append(f"{found['failed_blocks']:,} blocks failed here and hold no limits; `covsvc status` says why")
    if found["differing"]:
        columns = ", ".join(
            dict.fromkeys(f"{each['limit_method']} at {level(each['cl'])}" for each in found["differing"])
        )
        some = found["compared"] > len(found["differing"])
        what = f"the limits of {columns} are not those" if some else f"these are not the toys or limits of {columns}"
        changed = [f"{name} was {there}, is {here}" for name, (there, here) in found["changed"].items()]
        told.append(
            f"WARNING: {what} that the cube holds: {', '.join(changed) or 'the code has changed'}; restore what "
            "`covsvc status --json` names, or recompute with `covsvc run --replace`"
        )
    return told
