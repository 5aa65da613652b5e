"""The command that validates changes of limit methods."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from covsvc.cli.exits import GATE_FAILED, INCOMPLETE, INTERRUPTED
from covsvc.cli.options import CLUSTER_OPTION, DEFAULT_CLUSTER, STORE, WORKERS
from covsvc.cli.printing import AS_JSON, print_json, say
from covsvc.cli.progress import progress, working
from covsvc.cli.validation import print_validation

if TYPE_CHECKING:
    from collections.abc import Callable

    from covsvc.api import Progress


@click.command()
@click.argument("studies", nargs=-1, required=True, metavar="STUDY...")
@STORE
@click.option("--against", metavar="TAG", help="A baseline by name or tag, or any commit; else the newest baseline.")
@click.option(
    "--all/--changed",
    "everything",
    default=False,
    help="Compute everything again, or (by default) only what changed: code, options, tables, libraries.",
)
@click.option(
    "--margin",
    type=click.FloatRange(1e-6, 0.5, max_open=True),
    default=0.005,
    show_default=True,
    help="The deficit of coverage that does not matter.",
)
@click.option(
    "--error",
    type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
    default=0.01,
    show_default=True,
    help="Probability, at most, that it fails although nothing is worse than it should be.",
)
@click.option(
    "--baseline-code",
    type=click.Path(exists=True, file_okay=False),
    metavar="FOLDER",
    help="Holds the covsvc of the baseline; else its git revision is taken from this checkout.",
)
@click.option("--strict", is_flag=True, help="Warnings fail, too: limits that grew weaker, rates that changed.")
@click.option("--out", default="validation", show_default=True, metavar="FOLDER", help="Where page and files go.")
@CLUSTER_OPTION
@WORKERS
@AS_JSON
def validate(
    studies: tuple[str, ...],
    store: str,
    against: str | None,
    everything: bool,
    margin: float,
    error: float,
    baseline_code: str | None,
    strict: bool,
    out: str,
    cluster: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Say whether a change of a limit method broke its coverage.

    STUDY is a study file (all of its studies) or the name of a stored study; all that are named get one verdict.

    What changed since the accepted baseline is computed again, on the same toys, in a candidate beside it; the
    baseline stays as it is. What looks worse is looked at again on ten times as many fresh toys, for the old code as
    well as for the new, so that a verdict can be trusted both ways. `covsvc accept` makes the candidate the baseline.
    Without a baseline the methods are held to their own promises.

    \b
      covsvc validate nightly.yaml                               after a change, or every night
      covsvc accept nightly.yaml --tag v1.3 --reason "faster"    the new state is what counts from now on
      covsvc validate nightly.yaml --against v1.2                compare with an older baseline

    Exit codes: 0 passed; 1 failed; 2 usage, study or store; 3 undecided; 4 cluster; 130 interrupted, the same command
    goes on. Written to --out: index.html, summary.md for a merge request, verdict.json, junit.xml.
    """  # noqa: D301 - click wants the character itself
    from covsvc import api
    from covsvc.study import Study
    from covsvc.study_file import given_studies

    Path(out).mkdir(parents=True, exist_ok=True)  # before the work: it may not be writable
    given = [each for named in studies for each in given_studies(named) or (named,)]
    if cluster is None and not any(isinstance(each, Study) and each.cluster for each in given):
        cluster = DEFAULT_CLUSTER
    try:
        found = api.validate(
            given,
            store,
            cluster,
            against=against,
            everything=everything,
            margin=margin,
            error=error,
            strict=strict,
            baseline_code=baseline_code,
            n_workers=workers,
            progress=_showing,
            tell=say,
        )
    except KeyboardInterrupt:
        say("interrupted. What is done is stored beside the baseline; the same command goes on from there.")
        raise click.exceptions.Exit(INTERRUPTED) from None
    told = found.validation.as_dict()
    with working("drawing the page"):
        page = api.write_validation(found, out)
    try:
        if as_json:
            print_json(told)
        else:
            print_validation(told)
            click.echo(f"Page: {page}")
    except BrokenPipeError:  # whoever reads has seen enough; the verdict stands
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush goes nowhere
    if told["outcome"] == "failed":
        raise click.exceptions.Exit(GATE_FAILED)
    if told["outcome"] == "undecided":
        raise click.exceptions.Exit(INCOMPLETE)


@contextmanager
def _showing(name: str) -> Iterator[Callable[[Progress], Any]]:
    say(f"{name}: computing")
    with progress(name) as show:
        yield show
