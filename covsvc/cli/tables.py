"""`covsvc tables`: the tables of the interval methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from covsvc.cli.options import CLUSTER_OPTION, DEFAULT_CLUSTER, WORKERS
from covsvc.cli.printing import AS_JSON, level, new_table, print_json, print_table, say
from covsvc.cli.progress import on_terminal
from covsvc.errors import StudyError

_EACH = 10.0


@click.group()
def tables() -> None:
    """List or build the tables of the interval methods.

    optimum_interval, p_max and fixed_interval_n rest on them. Tables for the confidence levels 0.90, 0.95 and 0.99
    come with covsvc. Those that are built go to the user's cache, where every method, study and `covsvc limit` finds
    them.

    \b
      covsvc tables list
      covsvc tables build --cl 0.68 --toys 1e6
    """  # noqa: D301 - click wants the character itself


@tables.command("list")
@AS_JSON
def list_tables(as_json: bool) -> None:
    """List the tables: their levels, reach, precision and origin."""
    from covsvc import api

    found = api.tables()
    if as_json:
        print_json(found)
        return
    shown = new_table("cl", "to mu", "toys a mu", "error of coverage", "seed", "covsvc", "file")
    for each in found:
        if "reason" in each:
            say(f"covsvc: {each['reason']}")
            continue
        numbers = f"{each['largest_mu']:g}", f"{each['toys']:,}", f"{each['error']:.1e}", str(each["seed"])
        shown.add_row(level(each["cl"]), *numbers, each["version"], each["file"])
    print_table(shown)


@tables.command("build")
@click.option(
    "--cl",
    "levels",
    type=float,
    multiple=True,
    required=True,
    metavar="NUMBER",
    help="From 0.5 to 0.999; may be repeated.",
)
@click.option(
    "--toys",
    default="3e6",
    show_default=True,
    metavar="NUMBER",
    help="Toys at each mu; the error of the coverage is about 0.2 / sqrt(toys) at cl = 0.90.",
)
@click.option("--seed", type=click.IntRange(0), default=2002, show_default=True, help="Of the toys.")
@click.option(
    "--largest-mu",
    type=float,
    default="120",
    show_default=True,
    metavar="EVENTS",
    help="Where the tables end, at most at 140 expected events: a limit beyond is unbounded.",
)
@CLUSTER_OPTION
@WORKERS
@click.option("--out", type=click.Path(file_okay=False), metavar="FOLDER", help="The user's cache unless given.")
@AS_JSON
def build(
    levels: tuple[float, ...],
    toys: str,
    seed: int,
    largest_mu: float,
    cluster: str | None,
    workers: int | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Build the tables at some confidence levels.

    Several at once cost little more than one. An interrupted build goes on where it stopped, when the same command is
    given again. Tables in another folder than the cache are found where the variable COVSVC_TABLES names it; they come
    before those of covsvc.
    """
    from covsvc import api

    with _progress() as progress:
        found = api.build_tables(
            list(levels),
            toys=_number(toys),
            seed=seed,
            largest_mu=largest_mu,
            folder=out,
            cluster=DEFAULT_CLUSTER if cluster is None else cluster,
            n_workers=workers,
            progress=progress,
            tell=say,
        )
    if as_json:
        print_json(found)
        return
    for each in found:
        click.echo(f"{level(each['cl'])}: to mu = {each['largest_mu']:g}, error of the coverage {each['error']:.1e}")
        click.echo(f"  {each['file']}")
        if each["hidden_by"]:
            say(f"{level(each['cl'])}: {each['hidden_by']} comes before it, unless COVSVC_TABLES names its folder")


def _number(told: str) -> int:
    try:
        number = float(told)
    except ValueError:
        raise StudyError(f"--toys {told}: a number such as 1e6") from None
    if not number.is_integer():
        raise StudyError(f"--toys {told}: a whole number")
    return int(number)


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """Yield what shows progress: a live bar on a terminal, a plain line now and then elsewhere."""
    import time

    if on_terminal():
        from rich import progress as bar
        from rich.console import Console

        with bar.Progress(console=Console(stderr=True), refresh_per_second=4) as shown:
            tasks: dict[str, Any] = {}

            def draw(stage: str, done: float) -> None:
                if stage not in tasks:
                    tasks[stage] = shown.add_task(stage, total=1.0)
                shown.update(tasks[stage], completed=done)

            yield draw
        return
    last = {"at": 0.0}

    def tell(stage: str, done: float) -> None:
        if done >= 1.0 or time.monotonic() - last["at"] > _EACH:
            last["at"] = time.monotonic()
            say(f"{stage}: {100 * done:.0f} %")

    yield tell
