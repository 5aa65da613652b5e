"""The options that commands share."""

from __future__ import annotations

import click

STORE = click.option(
    "--store",
    default="coverage-cubes",
    show_default=True,
    envvar="COVSVC_STORE",
    metavar="FOLDER|URL",
    help="Folder or URL (s3://bucket/prefix, gs://, az://) of the cubes.",
)
AT = click.option(
    "--at",
    default="main",
    show_default=True,
    metavar="COMMIT",
    help="A tag, baseline, candidate, snapshot or time; `covsvc history` and `covsvc baselines` list them.",
)
CLUSTER_OPTION = click.option(
    "--cluster",
    default="local",
    show_default=True,
    metavar="NAME|ADDRESS",
    help="local starts processes here; none works in this process; tcp://host:port is a Dask scheduler.",
)
WORKERS = click.option(
    "--workers", type=click.IntRange(1), help="Processes of a local cluster; as many as cores unless given."
)
