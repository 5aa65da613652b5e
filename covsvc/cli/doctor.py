"""`covsvc doctor`: is everything well, and what to do if not."""

from __future__ import annotations

import dataclasses

import click

from covsvc.cli.exits import INCOMPLETE
from covsvc.cli.options import STORE
from covsvc.cli.printing import AS_JSON, print_json, say


@click.command()
@STORE
@click.option(
    "--cluster",
    metavar="ADDRESS|FILE",
    help="Look at this Dask scheduler and its workers, too: tls://HOST:8786, tcp://127.0.0.1:8786 or a scheduler file.",
)
@AS_JSON
def doctor(store: str, cluster: str | None, as_json: bool) -> None:
    """Look at the installation, the machine, a store and a cluster, and say what to do.

    Nothing is changed. Exit code 0 if all is well, 3 if something needs attention.
    """
    from covsvc import api

    found = api.doctor(store, cluster, progress=lambda part: say(f"looking at the {part}"))
    if as_json:
        print_json([dataclasses.asdict(each) for each in found])
    else:
        width = max(len(each.name) for each in found)
        for each in found:
            click.echo(f"{each.state:4}  {each.name:{width}}  {each.value}")
            if each.cure:
                click.echo(f"{'':{width + 6}}  -> {each.cure}")
    ill = sum(each.state != "ok" for each in found)
    say("all is well" if not ill else f"{ill} of {len(found)} need attention")
    if ill:
        raise click.exceptions.Exit(INCOMPLETE)
