"""`covsvc trend`: what limit methods were worth in each accepted baseline."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from covsvc.cli.options import STORE
from covsvc.cli.printing import AS_JSON, coverage, level, new_table, print_json, print_table, say
from covsvc.errors import printable

_FASTER = 1.5
"""The change of speed by which a row of the table ends."""


@click.command()
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@STORE
@click.option("--out", default="trend", show_default=True, metavar="FOLDER", help="Where the figures go.")
@AS_JSON
def trend(studies: tuple[str, ...], store: str, out: str, as_json: bool) -> None:
    """Show what limit methods were worth in each accepted baseline: coverage, median limit, speed.

    STUDY is the name of a stored study, or a study file (all of its studies); all that have baselines unless given.

    Of each method and cl the smallest coverage of the grid (between its nodes, too, where it is exact), the median of
    sigma_Med/sigma_True over its cells, and on how many toys a second it set limits when it was validated. A row of
    the table goes as far as nothing changes; the figure, a file a cl as PNG and SVG, has all baselines. What is not
    known is blank.

    \b
      covsvc trend
      covsvc trend cleo-tau-mu-gamma --out figures
    """  # noqa: D301 - click wants the character itself
    from covsvc import api

    told = []
    for each in api.baselines(studies, store):
        if each["baselines"]:
            found = api.trend(each["study"], store)
            told.append(api.trend_as_dict(found) | {"figures": [str(path) for path in api.write_trend(found, out)]})
            if not as_json:
                _print_trend(told[-1])
        elif studies:
            say(f"{each['study']}: never accepted; `covsvc validate` makes a candidate, `covsvc accept` its baseline")
    if as_json:
        print_json(told)
    elif not told and not studies:
        say(f"{store}: no study was accepted yet; `covsvc validate` makes candidates, `covsvc accept` baselines")


def _print_trend(told: Mapping[str, Any]) -> None:
    baselines = told["baselines"]
    click.echo(f"{told['study']}: {len(baselines)} accepted baseline{'s' * (len(baselines) != 1)} (UTC)")
    for each in baselines:
        who = f" by {each['who']}" if each["who"] else ""
        why = f": {each['reason']}" if each["reason"] else ""
        other = "" if each["same_study"] else " (another grid or other toys than before)"
        when = (each["accepted_at"] or "")[:19].replace("T", " ")
        click.echo(printable(f"  {each['name']}, {when}{who}{why}{other}"))
    table = new_table("method", "cl", "baselines", "worst\ncoverage", "at (s, b)", "median\nratio", "toys/s")
    table.columns[2].justify = "left"
    counts = Counter(each["name"] for each in baselines)
    names = [each["name"] if counts[each["name"]] == 1 else each["tag"] for each in baselines]
    same = [each["same_study"] for each in baselines]
    for column in told["columns"]:
        title = [column["limit_method"], level(column["cl"])]
        for start, stop in _runs(column["history"], same, column["cl"]):
            newest = column["history"][stop - 1]
            speeds = [each["toys_per_second"] for each in column["history"][start:stop]]
            speed = next((value for value in reversed(speeds) if value is not None), None)
            worst, ratio = _values(newest, column["cl"])
            row = [
                names[start] if stop == start + 1 else f"{names[start]} to {names[stop - 1]}",
                worst,
                f"{newest['worst_s_true']:.4g}, {newest['worst_b']:g}" if worst else "",
                ratio,
                "" if speed is None else f"{float(f'{speed:.3g}'):,.0f}",
            ]
            table.add_row(*title, *row)
            title = ["", ""]
    table.caption = "* below cl; toys/s as timed when it was validated, and another machine has another speed"
    print_table(table)
    for path in told["figures"]:
        click.echo(path)


def _values(each: Mapping[str, Any], cl: float) -> tuple[str, str]:
    """Return worst coverage and median ratio as they are shown."""
    worst, ratio = each["worst_coverage"], each["median_ratio"]
    return coverage(math.nan if worst is None else worst, cl), "" if ratio is None else f"{ratio:#.4g}"


def _runs(history: Sequence[Mapping[str, Any]], same_study: Sequence[bool], cl: float) -> Iterator[tuple[int, int]]:
    """Yield from where to where in a history nothing changes; what is not known at all is left out."""
    start, speed = 0, None
    for at, each in enumerate(history):
        now = each["toys_per_second"]
        is_other = speed is not None and now is not None and not 1 / _FASTER < now / speed < _FASTER
        if at > start and (_values(each, cl) != _values(history[at - 1], cl) or not same_study[at] or is_other):
            if _is_known(history[start:at]):
                yield start, at
            start, speed = at, None
        speed = now if speed is None else speed
    if _is_known(history[start:]):
        yield start, len(history)


def _is_known(history: Sequence[Mapping[str, Any]]) -> bool:
    return any(each["worst_coverage"] is not None or each["toys_per_second"] is not None for each in history)
