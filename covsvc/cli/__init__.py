"""The command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from errno import ENOSPC
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from covsvc.cli.accept import accept, baselines
from covsvc.cli.dashboard import dashboard
from covsvc.cli.doctor import doctor
from covsvc.cli.exits import CLUSTER, GATE_FAILED, INCOMPLETE, INTERRUPTED, PASSED, USAGE
from covsvc.cli.history import gc, history, tag
from covsvc.cli.limit import limit
from covsvc.cli.moving import PART, export_study, import_study, merge_studies
from covsvc.cli.options import AT, CLUSTER_OPTION, DEFAULT_CLUSTER, STORE, WORKERS
from covsvc.cli.printing import AS_JSON, level, new_table, observed_table, print_json, print_table, say
from covsvc.cli.progress import duration, progress, working
from covsvc.cli.query import query
from covsvc.cli.replay import replay
from covsvc.cli.serve import serve, token
from covsvc.cli.status import status
from covsvc.cli.tables import tables
from covsvc.cli.trend import trend
from covsvc.cli.validate import validate
from covsvc.errors import ClusterError, CovsvcError, TaskError
from covsvc.signals import interruptible
from covsvc.version import __version__

if TYPE_CHECKING:
    from covsvc.api import Progress
    from covsvc.study import Study
    from covsvc.worst_cells import WorstCell

_GO_ON = "interrupted; what is stored stays, and the same command goes on from there"

FILE = click.argument("file", type=click.Path(dir_okay=False), metavar="STUDY.yaml")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="covsvc")
def cli() -> None:
    """Find out which upper limits cover, where, and how strong they are.

    A study is a YAML file: an experiment, limit methods, a grid of true signals and backgrounds, a number of toys.
    `run` puts the same toys through every method on a Dask cluster, adds what it learns to a cube in the store and
    prints what came out; `report` draws the cube; `limit` sets limits on one observation.

    \b
      covsvc limit --n 3 --b 5.5              what do the methods say of 3 events?
      covsvc plan study.yaml                  what would it cost, and show?
      covsvc run study.yaml --report report   do it; run it again to go on
      covsvc run study.yaml --cluster slurm   do it in jobs of SLURM
      covsvc status --watch                   how far is it?
      covsvc report cleo-tau-mu-gamma         draw what is stored
      covsvc query cleo-tau-mu-gamma --verdict under
                                              which cells are not covered?
      covsvc replay cleo-tau-mu-gamma --s-true 2 --b 3 --missed
                                              which toys were missed there, and why?
      covsvc tables list                      what do the interval methods rest on?
      covsvc history cleo-tau-mu-gamma        what was stored when, and at what cost?
      covsvc doctor                           is everything well?

    Exit codes: 0 passed; 1 a gate failed; 2 usage, study or observation; 3 incomplete; 4 cluster; 130 interrupted.
    """  # noqa: D301 - click wants the character itself


@cli.command()
@FILE
@STORE
@CLUSTER_OPTION
@WORKERS
@click.option(
    "--report",
    "report_folder",
    metavar="FOLDER",
    help="Write the report there, too (of several studies: one folder each).",
)
@click.option("--replace", is_flag=True, help="Discard stored columns whose toys, code or options are others.")
@click.option("--retry-failed", is_flag=True, help="Draw failed blocks again.")
@PART
@click.option(
    "--task-seconds",
    type=click.FloatRange(0.01, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a task takes, about; results do not depend on it. Raise it beyond some 20 workers, best when the "
    "study is begun. A task holds at most the signals at one b and 128 blocks of each: where that is less, fewer and "
    "larger blocks (toys_per_block) make larger ones.",
)
@AS_JSON
def run(
    file: str,
    store: str,
    cluster: str | None,
    workers: int | None,
    report_folder: str | None,
    replace: bool,
    retry_failed: bool,
    part: tuple[int, int] | None,
    task_seconds: float,
    as_json: bool,
) -> None:
    """Compute what is missing of the studies in a file, and say what came out.

    What is stored already is not computed again: stop it with Ctrl-C, or let it be killed, and run it again. More
    toys, values, cl or methods in the file compute only what they add.

    \b
    A study:
      name: example
      experiment: counting
      methods:
        - classical
        - {name: feldman_cousins, options: {monotone_in_b: true}, label: fc98}
      cl: [0.90, 0.95]
      s_true: {start: 0, stop: 12, num: 25}   # or a list; spacing: linear | log
      b: [0, 1, 2, 3]
      n_toys: 100000                          # a multiple of toys_per_block (10000); or as many as are needed:
                                              # {min: 10000, max: 1000000, resolved: {margin: 0.005, error: 0.01}}
      seed: 1999
      observed: {n: 3, b: 3}                  # optional: real data, for their limits
      cluster: slurm                          # optional: where, unless --cluster says so; or tls://HOST:8786, FILE.json
    """  # noqa: D301 - click wants the character itself
    from covsvc import api

    studies = api.load_studies(file)
    if report_folder:
        Path(report_folder).mkdir(parents=True, exist_ok=True)  # before the work: it may not be writable
    told = []
    for study in studies:
        before = api.remainder(study, store, replace=replace, retry_failed=retry_failed, part=part)
        say(_announce(study, before, part))
        try:
            with progress(study.name) as shown:
                reached: list[Progress] = []

                def show(at: Progress, reached: list[Progress] = reached, show: Any = shown) -> None:
                    reached[:] = [at]
                    show(at)

                cube = api.run(
                    study,
                    store,
                    DEFAULT_CLUSTER if cluster is None and not study.cluster else cluster,
                    n_workers=workers,
                    replace=replace,
                    retry_failed=retry_failed,
                    part=part,
                    progress=show,
                    tell=say,
                    task_seconds=task_seconds,
                )
        except KeyboardInterrupt:
            say(f"{study.name}: interrupted. What is done is stored; the same command goes on from there.")
            raise click.exceptions.Exit(INTERRUPTED) from None
        maps = api.read_maps(store, study.name, cube.attrs["snapshot"])
        observed, verdict = api.observe(study, maps, store=store, tell=say), api.judge(maps)
        page = None
        if report_folder:
            folder = Path(report_folder) / (study.name if len(studies) > 1 else "")
            with working(f"{study.name}: drawing the report") as tell:
                page = api.write_report(cube, folder, maps=maps, progress=tell)
        told.append(
            {
                "study": study.name,
                "computed": {"toys": sum(at.toys for at in reached), "exact_rows": before.exact_rows},
                "snapshot": cube.attrs["snapshot"],
                "verdict": verdict.as_dict(),
                "observed": observed,
                "report": str(page) if page else None,
            }
        )
        if not as_json:
            _print_run(study, verdict, observed, page, api.worst_cells(maps))
    if as_json:
        print_json(told)
    if any(each["verdict"]["outcome"] == "undecided" for each in told):
        raise click.exceptions.Exit(INCOMPLETE)


@cli.command()
@FILE
@STORE
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="cores",
    help="For the expected time.",
)
@AS_JSON
def plan(file: str, store: str, workers: int, as_json: bool) -> None:
    """Say what `run` would do, what it would cost, and what its toys could show."""
    from covsvc import api

    plans = [api.plan(study, store, n_workers=workers) for study in api.load_studies(file)]
    if as_json:
        print_json(plans)
        return
    for each in plans:
        deficits = ", ".join(f"{deficit:.2g} at cl {cl}" for cl, deficit in each["smallest_deficit"].items())
        lines = {
            "cells": f"{each['cells']:,} x {each['columns']} columns (method at cl)",
            "toys": _toys_to_draw(each),
            "tasks": f"{each['tasks']:,} of toys and {each['exact_rows']:,} of exact values are missing"
            if each["enumerable"]
            else f"{each['tasks']:,} of toys are missing; coverage is not summed exactly",
            "expected time": f"{_from_to(each, 'seconds', duration)} on {each['n_workers']} workers",
            "memory": f"driver about {each['memory_mb']['driver']:,} MB, a worker {each['memory_mb']['worker']:,} MB",
            "smallest deficit": f"{deficits}: what toys alone show of under-coverage, with 80 % power",
        }
        if each["calibrations"]:
            lines["calibrations"] = f"{each['calibrations']:,} to be made first, from the methods' own toys"
        if each["kept_mb"]:
            lines["on disk"] = f"about {each['kept_mb']:,.1f} MB for all toys, which are kept one by one"
        if each["new_columns"]:
            lines["new columns"] = f"{', '.join(each['new_columns'])}: the toys of every cell are drawn again for them"
        if not (each["tasks"] or each["exact_rows"]):
            lines["to do"] = "nothing, the study is complete"
        click.echo(each["study"])
        for name, value in lines.items():
            click.echo(f"  {name + ':':18}{value}")


@cli.command()
@click.argument("study")
@STORE
@click.option("--out", default="report", show_default=True, metavar="FOLDER", help="Where the report goes.")
@AT
@click.option("--gate", is_flag=True, help="Exit 1 if a method breaks its promise, 3 if that is undecided.")
@AS_JSON
def report(study: str, store: str, out: str, at: str, gate: bool, as_json: bool) -> None:
    """Write the report of a stored study: one HTML page, its figures and its tables."""
    from covsvc import api

    cube = api.open_cube(store, study, at)
    maps = api.read_maps(store, study, cube.attrs["snapshot"])
    with working(f"{study}: drawing the report") as tell:
        page = api.write_report(cube, out, maps=maps, progress=tell)
    verdict = api.judge(maps)
    if as_json:
        print_json({"study": study, "report": str(page), "verdict": verdict.as_dict()})
    else:
        click.echo(f"{study}: {verdict.outcome}. {verdict.sentence}")
        click.echo(page)
    if gate and verdict.outcome != "passed":
        raise click.exceptions.Exit(GATE_FAILED if verdict.outcome == "failed" else INCOMPLETE)


@cli.command()
@AS_JSON
def methods(as_json: bool) -> None:
    """List the installed limit methods: what they read, what they promise, their options."""
    from covsvc import api

    found = api.describe("methods")
    if as_json:
        print_json(found)
        return
    for each in _working_ones(found):
        sided = {"upper": "upper limit", "two": "two-sided interval"}[each["sided"]]
        click.echo(
            f"{each['name']}: {sided}, promises {each['promises']}, reads {', '.join(each['reads'])}{_options(each)}"
        )
        click.echo(f"    {each['summary']}")


@cli.command()
@AS_JSON
def experiments(as_json: bool) -> None:
    """List the installed experiments: what they give and their options."""
    from covsvc import api

    found = api.describe("experiments")
    if as_json:
        print_json(found)
        return
    for each in _working_ones(found):
        exact = "coverage is summed exactly" if each["enumerable"] else "coverage is known from toys"
        click.echo(f"{each['name']}: gives {', '.join(each['gives'])}, {exact}{_options(each)}")
        click.echo(f"    {each['summary']}")


for each in (accept, baselines, dashboard, doctor, export_study, gc, history, import_study, limit, merge_studies):
    cli.add_command(each)
for each in (query, replay, serve, status, tables, tag, token, trend, validate):
    cli.add_command(each)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may hold what the terminal cannot show
    with interruptible() as came:
        code = _carry_out(arguments, came)
    sys.exit(code)


def _carry_out(arguments: Sequence[str] | None, came: Sequence[int]) -> int:
    """Run the command line, say what went wrong, and return the exit code; `came` holds the requests to end so far."""
    try:
        code = cli.main(arguments, prog_name="covsvc", standalone_mode=False)
        if sys.stdout is not None:  # closed by the caller
            sys.stdout.flush()
    except (click.exceptions.Abort, KeyboardInterrupt):
        say(_GO_ON)
        code = INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = USAGE
    except SystemExit:
        # click's answer to a closed pipe, and nobody else's; whoever reads us has only seen enough
        code = PASSED
    except CovsvcError as error:
        for line in str(error).splitlines():
            say(f"covsvc: {line}")
        code = CLUSTER if isinstance(error, ClusterError) else INCOMPLETE if isinstance(error, TaskError) else USAGE
    except OSError as error:
        again = "and give the same command again: what is stored is whole"
        if type(error).__module__.startswith("distributed."):
            say(f"covsvc: the connection to the cluster was lost ({error}); see to it, {again}")
            code = CLUSTER
        else:
            cure = f"; make room, {again}" if error.errno == ENOSPC else ""
            say(f"covsvc: {error.filename or 'output'}: {error.strerror or error}{cure}")
            code = USAGE
    except Exception:
        import traceback

        if came:  # in the middle of the import of a library, which says something else of it
            say(_GO_ON)
            code = INTERRUPTED
        else:
            told = "this is a fault of covsvc, please report it; what is stored stays whole"
            say(f"{traceback.format_exc()}covsvc: {told}")
            code = INCOMPLETE
    return code if isinstance(code, int) else PASSED


def _toys_to_draw(planned: Mapping[str, Any]) -> str:
    budget, missing = planned["budget"], _from_to(planned, "toys", lambda toys: f"{toys:,}")
    least = f"{budget['min']:,} to " if budget else ""
    return f"{least}{planned['toys_per_cell']:,} a cell; {missing} missing"


def _from_to(planned: Mapping[str, Any], name: str, say_one: Callable[[Any], str]) -> str:
    """Say what is needed at least, and at most where that is more."""
    least, most = say_one(planned[name]), say_one(planned[f"most_{name}"])
    return least if least == most else f"{least} to {most}"


def _announce(study: Study, left: Any, part: tuple[int, int] | None) -> str:
    share = "" if part is None else f"part {part[0]}/{part[1]}, which `covsvc merge` joins with the others: "
    if left.nothing:
        return f"{study.name}: {share}complete already, nothing to compute"
    new = (
        f"; new columns draw the toys again: {', '.join(left.new_columns)}" if left.stored and left.new_columns else ""
    )
    exact = f" and {left.exact_rows:,} rows of exact values" if study.is_enumerable else ""
    return (
        f"{study.name}: {share}{study.cells:,} cells, {len(study.columns)} columns; "
        f"{_from_to(vars(left), 'toys', lambda toys: f'{toys:,}')} toys{exact} to compute{new}"
    )


def _print_run(
    study: Study, verdict: Any, observed: list[dict[str, Any]], page: Path | None, worst: Sequence[WorstCell]
) -> None:
    from covsvc.data_file import told_data

    click.echo(f"{study.name}: {verdict.outcome}. {verdict.sentence}")
    if observed:
        click.echo(f"Limits on the observation {told_data(study.observed or {})} (events):")
        print_table(observed_table(observed))
    else:
        table = new_table("method", "cl", "worst coverage", "at s_true", "b", "")
        for each in verdict.findings:
            numbers = f"{each.worst_coverage:.4f}", f"{each.s_true:.4g}", f"{each.b:g}"
            table.add_row(each.limit_method, level(each.cl), *numbers, each.outcome)
        print_table(table)
    click.echo(verdict.smallest_deficit_sentence)
    broken = [(each.limit_method, each.cl) for each in verdict.findings if each.outcome == "broken"]
    for cell in worst:
        if (cell.limit_method, cell.cl) in broken:
            click.echo(f"What {cell.limit_method} at {level(cell.cl)} missed: {cell.command}")
    if page:
        click.echo(f"Report: {page}")


def _working_ones(found: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the plug-ins that can be used, and say of the others why they cannot."""
    for each in found:
        if "broken" in each:
            click.echo(f"{each['name']}: broken, of {each['origin']}")
            click.echo(f"    {each['broken']}")
        else:
            yield each


def _options(described: Mapping[str, Any]) -> str:
    choices = described["choices"]
    told = ", ".join(
        f"{name}={value}" + (f" ({' | '.join(choices[name])})" if name in choices else "")
        for name, value in described["options"].items()
    )
    origin = "" if described["ours"] else f"; of {described['origin']}"
    return (f"; options {told}" if told else "") + origin
