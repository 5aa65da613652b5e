"""Serving of cubes over HTTP, and the tokens of those who may read them."""

from __future__ import annotations

from pathlib import Path

import click

from covsvc.cli.exits import INTERRUPTED
from covsvc.cli.listening import (
    HOST,
    LOG_LEVEL,
    PROXIES,
    addresses,
    end_on_sigterm,
    need,
    port_option,
    tell,
    tokens_option,
)
from covsvc.cli.options import STORE
from covsvc.cli.printing import AS_JSON, print_json, say
from covsvc.errors import TaskError

TOKENS = tokens_option(required=True, help="File of the tokens.")


@click.command()
@STORE
@HOST
@port_option(8999)
@tokens_option(help="Answer only who sends one of these tokens.")
@PROXIES
@LOG_LEVEL
@click.option(
    "--most-rows", type=click.IntRange(1), default=100_000, show_default=True, help="Rows of one answer, at most."
)
@click.option(
    "--most-bytes", type=click.IntRange(1), default=65_536, show_default=True, help="Bytes of one request, at most."
)
@click.option(
    "--most-seconds",
    type=click.IntRange(1, 3600),
    default=30,
    show_default=True,
    help="Time that what one request asks to be computed or drawn may take.",
)
@click.option(
    "--most-connections", type=click.IntRange(1), default=256, show_default=True, help="Connections at a time."
)
@AS_JSON
def serve(
    store: str,
    host: str,
    port: int,
    tokens: Path | None,
    proxies: tuple[str, ...],
    log_level: str,
    most_rows: int,
    most_bytes: int,
    most_seconds: int,
    most_connections: int,
    as_json: bool,
) -> None:
    """Answer questions about the cubes of a store over HTTP, until it is stopped; nothing is written to the store.

    \b
      covsvc serve --store coverage-cubes
      curl 'http://127.0.0.1:8999/studies/cleo-tau-mu-gamma/coverage?limit_method=classical&s_true=2'
      xarray.open_zarr("http://127.0.0.1:8999/studies/cleo-tau-mu-gamma/zarr")

    Only this machine reaches it unless --host says otherwise, which needs --tokens. Tokens travel as they are written:
    let a reverse proxy with TLS stand before it, and name it with --proxy. Tokens that are added or removed count from
    the next request on. SIGTERM stops it when what it is answering is answered (exit code 0), Ctrl-C, too (130).
    """  # noqa: D301 - click wants the character itself
    end_on_sigterm()
    need("serve", "serve", ("fastapi", "prometheus_client", "uvicorn"))
    from covsvc import api
    from covsvc.service import make_app
    from covsvc.service.serving import answer, listen, url_of

    found = addresses(host, tokens)
    studies = api.stored_studies(store)
    app = make_app(store, tokens=tokens, most_rows=most_rows, most_bytes=most_bytes, most_seconds=most_seconds)
    with listen(found, port) as listening:
        tell(url_of(listening), store, studies, tokens, as_json)
        try:
            started = answer(app, listening, log_level=log_level, proxies=proxies, most_connections=most_connections)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
    if not started:
        raise TaskError("the service could not start; its log says why")


@click.group()
def token() -> None:
    """Say who may read over HTTP."""


@token.command()
@click.argument("name")
@TOKENS
@AS_JSON
def add(name: str, tokens: Path, as_json: bool) -> None:
    """Draw a token and print it, this once: the file keeps a digest of it only."""
    from covsvc.service.tokens import add_token

    drawn = add_token(tokens, name)
    if as_json:
        print_json({"name": name, "token": drawn})
    else:
        click.echo(drawn)
    say(f"{tokens}: {name} may read; nobody can tell this token again")


@token.command("list")
@TOKENS
@AS_JSON
def list_tokens(tokens: Path, as_json: bool) -> None:
    """List those who have a token."""
    from covsvc.service.tokens import read_tokens

    names = list(read_tokens(tokens))
    if as_json:
        print_json(names)
    else:
        for name in names:
            click.echo(name)


@token.command()
@click.argument("name")
@TOKENS
@AS_JSON
def remove(name: str, tokens: Path, as_json: bool) -> None:
    """Take a token away; services that run refuse it from the next request on."""
    from covsvc.service.tokens import remove_token

    remove_token(tokens, name)
    if as_json:
        print_json({"name": name, "removed": True})
    say(f"{tokens}: {name} may not read any more")
