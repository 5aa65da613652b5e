"""`covsvc export`, `import` and `merge`: cubes on the move."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from covsvc.cli.options import AT, STORE
from covsvc.cli.printing import AS_JSON, print_json, say

if TYPE_CHECKING:
    from covsvc.store.merge import Merged


def _part_of(_context: click.Context, _option: click.Parameter, told: str | None) -> tuple[int, int] | None:
    if told is None:
        return None
    which, _, parts = told.partition("/")
    if not (which.isdecimal() and parts.isdecimal()):
        raise click.BadParameter(f"{told!r}: the K-th of N parts is K/N, for example 1/3")
    return int(which), int(parts)


PART = click.option(
    "--part",
    callback=_part_of,
    metavar="K/N",
    help="Draw only the K-th of N shares of the toys of each cell; `covsvc merge` puts the parts together.",
)


@click.command("export")
@click.argument("study")
@click.argument("out", required=False)
@STORE
@click.option(
    "--format",
    "form",
    type=click.Choice(["zarr", "netcdf", "csv", "parquet"]),
    help="What OUT ends in (.zarr, .nc, .csv, .parquet) unless given; zarr without OUT.",
)
@AT
@click.option("--overwrite", is_flag=True, help="Replace an export that is there already.")
@AS_JSON
def export_study(
    study: str, out: str | None, store: str, form: str | None, at: str, overwrite: bool, as_json: bool
) -> None:
    """Write a stored study to where other programs read it.

    zarr (a plain Zarr folder) and netcdf hold all of the cube: `covsvc import` and `merge` read them, and so do
    xarray.open_zarr and open_dataset. csv and parquet hold its maps, one row a cell (s_true, b) of a column (method at
    cl); s_true, b and limits are in expected events, coverage and rates are fractions; - is the standard output.

    \b
      covsvc export cleo-tau-mu-gamma cleo.zarr
      covsvc export cleo-tau-mu-gamma cleo.nc
      covsvc export cleo-tau-mu-gamma - --format csv
    """  # noqa: D301 - click wants the character itself
    from covsvc import api

    if out == "-" and (form != "csv" or as_json):
        raise click.UsageError("to the standard output goes a CSV, and nothing else: --format csv, without --json")
    cube = api.open_cube(store, study, at)
    path = api.export_cube(cube, sys.stdout if out == "-" else out, form, overwrite=overwrite)
    if as_json:
        print_json({"study": study, "snapshot": cube.attrs["snapshot"], "export": str(path)})
    elif path is not None:
        click.echo(path)


@click.command("import")
@click.argument("path", metavar="EXPORT")
@STORE
@click.option("--name", help="Name of the study in the store; that in the export unless given.")
@AS_JSON
def import_study(path: str, store: str, name: str | None, as_json: bool) -> None:
    """Store what `covsvc export` wrote as zarr or netcdf, as if it had been computed here.

    The export is checked first: whether its counts add up, and whether anything is damaged.
    """
    from covsvc import api

    name, merged = api.import_cube(path, store, name)
    if as_json:
        print_json({"study": name, **_told(merged, (path,))})
    else:
        click.echo(f"{name}: {merged.blocks[0]:,} blocks, {merged.toys[0]:,} toys, snapshot {merged.snapshot}")


@click.command("merge")
@click.argument("study")
@click.argument("sources", nargs=-1, required=True, metavar="FROM...")
@STORE
@AS_JSON
def merge_studies(study: str, sources: tuple[str, ...], store: str, as_json: bool) -> None:
    """Add to a stored study what others have of it: exports, stores, or STORE/STUDY.

    Only the same toys and methods add: seed, experiment, toys_per_block, options, code and tables must agree, and so
    must the limits of blocks that several have. All is added in one commit, or nothing. Blocks that cannot be taken
    since they overlap stay missing, and `covsvc run` draws them.

    \b
      covsvc run study.yaml --part 1/3        on one machine, 2/3 and 3/3 on others, then
      covsvc merge example part2.zarr part3.zarr
      covsvc merge example ../other-store s3://bucket/store/example
    """  # noqa: D301 - click wants the character itself
    from covsvc import api

    merged = api.merge(store, study, sources)
    if as_json:
        print_json({"study": study, **_told(merged, sources)})
        return
    for source, blocks, toys in zip(sources, merged.blocks, merged.toys, strict=True):
        click.echo(f"{source}: {blocks:,} blocks, {toys:,} toys" if blocks else f"{source}: no blocks to add")
    stored = "snapshot" if merged.committed else "nothing to add, still snapshot"
    click.echo(f"{study}: {stored} {merged.snapshot}")
    if merged.left_out:
        say(
            f"{study}: {merged.left_out:,} blocks stay missing, for example of {merged.example}: counts that hold them "
            "overlap with others; `covsvc run` draws them"
        )


def _told(merged: Merged, sources: tuple[str, ...]) -> dict[str, Any]:
    added = zip(sources, merged.blocks, merged.toys, strict=True)
    return {
        "snapshot": merged.snapshot,
        "committed": merged.committed,
        "added": [{"from": source, "blocks": blocks, "toys": toys} for source, blocks, toys in added],
        "left_out": {"blocks": merged.left_out, "example": merged.example or None},
    }
