"""`covsvc query`: cells of a stored study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from covsvc.cli.options import AT, STORE
from covsvc.cli.printing import AS_JSON, coverage, level, new_table, print_json, print_table, say

if TYPE_CHECKING:
    from covsvc.api import Answer

_MOST_SHOWN = 200
"""Rows of a table, unless more are asked for."""

_SHOWN = {
    "limit_method": "method",
    "cl": "cl",
    "b": "b",
    "s_true": "s_true",
    "verdict": "verdict",
    "exact_coverage": "exact\ncoverage",
    "coverage": "coverage\nof toys",
    "coverage_low": "\nfrom",
    "coverage_high": "\nto",
    "exact_median_upper": "exact\nmedian limit",
    "sigma_med": "median limit\nof toys",
    "n_toys": "toys",
    "p_failed": "limits\nfailed",
    "source": "source",
    "neighbour_of": "beside",
    "exact_coverage_change": "change of\nexact coverage",
    "coverage_change": "change of\ncoverage of toys",
    "exact_median_upper_change": "change of exact\nmedian limit",
    "sigma_med_change": "change of median\nlimit of toys",
}
"""Columns of the table unless others are asked for, and their heads."""

_WORDS = ("limit_method", "verdict", "source", "neighbour_of")


@click.command()
@click.argument("study", required=False)
@click.option("--study", "named", metavar="STUDY", help="The study, instead of the argument.")
@STORE
@AT
@click.option("--limit-method", multiple=True, metavar="LABEL", help="Only this one; may be repeated.")
@click.option("--cl", metavar="VALUES", help="Only these: 0.9, or 0.9,0.95.")
@click.option("--b", metavar="VALUES", help="Background, events: 3, or 0,1,3, or a range 0:5, :5, 0:.")
@click.option("--s-true", metavar="VALUES", help="True signal, events: 2.5, or 1,2,3, or a range 0:5, :5, 0:.")
@click.option("--verdict", multiple=True, metavar="WORD", help="Only cells under, ok, over or unknown; repeatable.")
@click.option("--against", metavar="COMMIT", help="Add what another commit has there, and the change since.")
@click.option("--against-method", metavar="LABEL", help="Add what this method has there instead, and the difference.")
@click.option("--sort", default="", metavar="COLUMNS", help="Sort: coverage,-b by coverage, then by falling b.")
@click.option("--columns", metavar="COLUMNS", help="Only these, as they are called in JSON and CSV.")
@click.option("--most", type=click.IntRange(1), metavar="N", help=f"So many rows; tables have {_MOST_SHOWN} at most.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    help="What FILE ends in unless given; a table without a file.",
)
@click.option("--out", type=click.Path(dir_okay=False), metavar="FILE", help="Write to a file, replacing it.")
@click.option("--worst", is_flag=True, help="The cell of each method and cl that covers least, and how to replay it.")
@AS_JSON
def query(
    study: str | None,
    named: str | None,
    store: str,
    at: str,
    form: str | None,
    out: str | None,
    most: int | None,
    limit_method: tuple[str, ...],
    cl: str | None,
    worst: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Show what is stored of some cells: coverage, median limits and rates.

    Nothing is interpolated. Between the nodes of the grid coverage is summed exactly where that can be done with the
    code that made the stored values (source: computed); elsewhere the cells beside the point are shown (beside).

    Verdict of a cell: under, coverage is below cl, exactly or significantly; over, limits are known to miss at most
    half as often as 1 - cl allows; ok, the rest; unknown, no toys yet.

    \b
      covsvc query cleo-tau-mu-gamma --limit-method cls --b 0:5 --s-true 2.5
      covsvc query cleo-tau-mu-gamma --verdict under --sort exact_coverage --most 10
      covsvc query cleo-tau-mu-gamma --b 3 --columns limit_method,s_true,coverage --format csv
      covsvc query cleo-tau-mu-gamma --s-true 2.5 --against v1 --sort=-coverage_change
      covsvc query cleo-tau-mu-gamma --limit-method cls --against-method classical --cl 0.9
      covsvc query cleo-tau-mu-gamma --worst
    """  # noqa: D301 - click wants the character itself
    from covsvc import api

    name = _one_of(study, named)
    form = _form(form, out, as_json)
    labels = limit_method or None
    if worst:
        if form in ("csv", "parquet") or out or any(asked.values()):
            raise click.UsageError("--worst takes --at, --limit-method, --cl, --most and --json only")
        found = api.worst(name, store, at=at, limit_method=labels, cl=cl, most=most)
        if form == "json":
            print_json(found)
        else:
            _print_worst(found)
        return
    many = most or (_MOST_SHOWN if form == "table" else None)
    asked["verdict"] = asked["verdict"] or None
    answer = api.query(name, store, at=at, limit_method=labels, cl=cl, most=many, **asked)
    if form != "json":
        for note in answer.notes:
            say(f"{name}: {note}")
    if form == "table":
        _print(answer, chosen=asked["columns"] is not None)
    elif form == "json" and out is None:
        print_json(answer.as_dict())
    elif form == "csv" and out is None:
        click.echo(answer.to_dataframe().to_csv(index=False), nl=False)
    else:
        click.echo(api.write_answer(answer, str(out), form))


def _one_of(study: str | None, named: str | None) -> str:
    if (study is None) == (named is None):
        raise click.UsageError("name one study, as an argument or with --study")
    return str(study if named is None else named)


def _form(form: str | None, out: str | None, as_json: bool) -> str:
    """Return the format that is meant."""
    of_file = {".csv": "csv", ".json": "json", ".parquet": "parquet"}.get(Path(out).suffix.lower()) if out else "table"
    if as_json and form not in (None, "json"):
        raise click.UsageError(f"--json and --format {form} are two things")
    found = "json" if as_json else form or of_file
    if found is None or (out and found == "table"):
        raise click.UsageError(f"{out}: name it .csv, .json or .parquet, or say --format csv, json or parquet")
    if found == "parquet" and out is None:
        raise click.UsageError("--format parquet needs --out FILE")
    return found


def _print(answer: Answer, *, chosen: bool) -> None:
    rows = answer.rows
    names = [name for name in (answer.columns if chosen else _SHOWN) if name in answer.columns]
    if not chosen:
        names = [name for name in names if any(_is_told(name, row[name]) for row in rows)]
    if rows:
        table = new_table(*("" if name in _WORDS else name for name in names))
        for name, column in zip(names, table.columns, strict=True):
            column.header = name if chosen else _SHOWN[name]
        for row in rows:
            table.add_row(*(_told(name, row[name], row.get("cl", 0.0)) for name in names))
        print_table(table)
    say(f"{answer.study}: {len(rows):,} rows of {answer.snapshot}, written at {answer.written_at}")


def _is_told(name: str, value: Any) -> bool:
    """Tell whether a value makes its column worth showing."""
    if name == "source":
        return bool(value == "computed")
    if name == "p_failed":
        return bool(value > 0)
    return bool(value) if isinstance(value, str) else not math.isnan(value)


def _told(name: str, value: Any, cl: float) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    if math.isnan(value):
        return ""
    if name == "cl":
        return level(value)
    if name.endswith("_change"):
        return f"{value:+.2%}" if name.startswith(("sigma", "exact_median")) else f"{value:+.4f}"
    if "coverage" in name:
        return coverage(value, cl).rstrip("* ")
    return f"{value:.6g}"


def _print_worst(found: Mapping[str, Any]) -> None:
    cells: Sequence[Mapping[str, Any]] = found["cells"]
    heads = [
        "method",
        "cl",
        "b",
        "s_true",
        "exact\ncoverage",
        "coverage\nof toys",
        "\nfrom",
        "\nto",
        "cl less\ncoverage",
    ]
    table = new_table(*heads, "adjusted p")
    for each in cells:
        coverages = (each[name] for name in ("exact_coverage", "coverage", "coverage_low", "coverage_high"))
        table.add_row(
            each["limit_method"],
            level(each["cl"]),
            f"{each['b']:.6g}",
            f"{each['s_true']:.6g}",
            *(coverage(value, each["cl"]).rstrip("* ") for value in coverages),
            f"{each['deficit']:+.4f}",
            "" if math.isnan(each["p_adjusted"]) else f"{each['p_adjusted']:.2g}",
        )
    if not cells:
        say(f"{found['study']}: nothing has toys yet")
        return
    print_table(table)
    for each in cells:
        click.echo(each["command"])
