"""`covsvc status`: how far stored studies are, now or while work goes on."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from covsvc.cli.options import AT, STORE
from covsvc.cli.printing import AS_JSON, print_json, say
from covsvc.cli.progress import duration
from covsvc.errors import StoreError, printable

if TYPE_CHECKING:
    from rich.table import Table

_EVERY = 1.0
"""Seconds between two looks."""

_PATIENCE = 10
"""So many looks in a row may fail where one has succeeded: a service may be away, or `covsvc gc` work."""

Show = Callable[[Sequence[Mapping[str, Any]]], None]


@click.command()
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@STORE
@AT
@click.option("--watch", is_flag=True, help="Show it again whenever it changes, until all is complete, or Ctrl-C.")
@AS_JSON
def status(studies: tuple[str, ...], store: str, at: str, watch: bool, as_json: bool) -> None:
    """Say how complete the stored studies are, what failed, and who works on them.

    With --watch, a line a study is redrawn on a terminal; elsewhere a line is printed whenever a driver has committed,
    which it does every ten seconds or so, and with --json an object a line.
    """
    if watch:
        if at != "main":
            raise click.UsageError(f"--watch --at {at}: a commit does not change; leave one of them out")
        _watch(studies, store, as_json)
    else:
        _print(studies, store, at, as_json)


def _print(studies: Sequence[str], store: str, at: str, as_json: bool) -> None:
    from covsvc import api

    found, names = [], studies or api.stored_studies(store)
    for name in names:
        try:
            found.append(api.status(store, name, at))
        except StoreError as error:
            if studies:
                raise
            say(f"covsvc: {error}")
    if as_json:
        print_json(found)
        return
    if not names:
        _say_empty(store)
    for each in found:
        click.echo(f"{each['study']}: {_how_far(each)}")
        click.echo(f"  snapshot {each['snapshot']}, {each['written_at']}")
        if spent := each["spent"]:
            click.echo(
                f"  {spent['toys']:,} toys drawn in {duration(spent['wall_seconds'])}, "
                f"{spent['toys_per_second']:,.0f} toys/s; {duration(spent['cpu_seconds'])} of CPU"
            )
        if each["driver"]:
            click.echo(printable(f"  a driver works on it: {each['driver']}"))
        if each["blocks_failed"]:
            click.echo(
                f"  {each['blocks_failed']:,} blocks failed; `covsvc run --retry-failed` draws them again, "
                "--replace where the code of their method has changed since"
            )
        for failed in each["toy_failures"]:
            click.echo(
                f"  {failed['limit_method']} at {failed['cl']:g}: {failed['failed']:,} of {failed['toys']:,} limits "
                f"failed{', for example: ' * bool(failed['reason'])}{printable(failed['reason'])}"
            )
        for failure in each["failures"]:
            click.echo(
                f"    {failure['limit_method']} at {failure['cl']:g}: {printable(failure['reason'])} "
                f"({failure['cells']} cells)"
            )


def _watch(studies: Sequence[str], store: str, as_json: bool) -> None:
    told: set[str] = set()
    states, failed = _look(studies, store, told), 0
    if not states and not told:
        _say_empty(store)
    with _showing(as_json) as show:
        show(states)
        while not all(each["complete"] for each in states):
            time.sleep(_EVERY)
            try:
                states, failed = _look(studies, store, told), 0
            except StoreError:
                failed += 1
                if failed > _PATIENCE:
                    raise
            show(states)


def _look(studies: Sequence[str], store: str, told: set[str]) -> list[dict[str, Any]]:
    """Return how far the studies are; of those that nobody named and that cannot be read, say so once."""
    from covsvc import api

    found = []
    for name in studies or api.stored_studies(store):
        try:
            found.append(api.progress_of(store, name))
        except StoreError as error:
            if studies:
                raise
            if str(error) not in told:
                told.add(str(error))
                say(f"covsvc: {error}")
    return found


@contextmanager
def _showing(as_json: bool) -> Iterator[Show]:
    """Yield what shows how far studies are: in place on a terminal, else a line for each that has changed."""
    if not as_json and sys.stdout is not None and sys.stdout.isatty():
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(), auto_refresh=False) as shown:
            yield lambda states: shown.update(_bars(states), refresh=True)
        return
    last: dict[str, Mapping[str, Any]] = {}

    def tell(states: Sequence[Mapping[str, Any]]) -> None:
        for each in states:
            if last.get(each["study"]) != each:
                last[each["study"]] = each
                click.echo(json.dumps(each) if as_json else f"{each['study']}: {_progress(each)}")

    yield tell


def _bars(states: Sequence[Mapping[str, Any]]) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    for each in states:
        table.add_row(Text(each["study"]), ProgressBar(1.0, each["fraction"], width=24), Text(_progress(each)))
    return table


def _progress(state: Mapping[str, Any]) -> str:
    """Say how far a study is, in a line."""
    if not state["snapshot"]:
        return f"nothing committed yet  {state['driver']}"
    blocks = f"of at most {state['blocks']:,}" if state["at_most"] else f"of {state['blocks']:,}"
    told = [
        "complete" if state["complete"] else f"{int(100 * state['fraction'])} %",
        f"{state['blocks_done']:,} {blocks} blocks",
        f"{state['toys']:,} toys",
    ]
    if state["blocks_failed"]:
        told.append(f"{state['blocks_failed']:,} blocks failed")
    if not state["complete"]:
        if state["driver"] and state["toys_per_second"]:
            told.append(f"{state['toys_per_second']:,.0f} toys/s")
        if state["seconds_left"] is not None:
            told.append(f"{duration(state['seconds_left'])} left")
        told.append(state["driver"] or "nobody works on it")
    return "  ".join(told)


def _say_empty(store: str) -> None:
    say(f"{store}: no studies stored yet; `covsvc run` stores them")


def _how_far(state: Mapping[str, Any]) -> str:
    budget = state["budget"]
    if budget is None:
        return f"{state['blocks_done']:,} of {state['blocks']:,} blocks done, {state['toys']:,} toys"
    return (
        f"{'complete' if state['complete'] else 'not complete'}, {budget['cells_resolved']:,} of {budget['cells']:,} "
        f"cells resolved, {state['toys']:,} of at most {budget['most_toys']:,} toys\n"
        f"  of {budget['tests']:,} tests (a cell in a column) {budget['below']:,} below cl, {budget['above']:,} above "
        f"cl - {budget['margin']:g}, {budget['undecided']:,} undecided"
    )
