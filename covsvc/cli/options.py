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
    help="A tag, a snapshot or its beginning, or a time; `covsvc history` lists them.",
)
