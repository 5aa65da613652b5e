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
DEFAULT_CLUSTER = "local"
"""Where a command computes if nobody says where; in Python it is the process itself."""

CLUSTER_OPTION = click.option(
    "--cluster",
    default=None,
    show_default=DEFAULT_CLUSTER,
    envvar="COVSVC_CLUSTER",
    show_envvar=True,
    metavar="NAME|ADDRESS|FILE",
    help="Where it is computed. local: processes here. none: this process. slurm, htcondor, pbs, kubernetes: workers "
    "are started there, as NAME.yaml in the folder $COVSVC_CLUSTERS says, or FILE.yaml. tls://HOST:8786: a Dask "
    "scheduler, with the certificates in the folder $COVSVC_TLS; tcp://127.0.0.1:8786: one of this machine. FILE.json: "
    "the file that `dask scheduler --scheduler-file` wrote.",
)
WORKERS = click.option(
    "--workers",
    type=click.IntRange(1),
    help="Workers of a cluster that is started; unless given what its options say, or as many as cores.",
)
