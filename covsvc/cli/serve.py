"""Serving of cubes over HTTP, and the tokens of those who may read them."""

from __future__ import annotations

import importlib.util
import ipaddress
import signal
from pathlib import Path
from typing import NoReturn

import click

from covsvc.cli.exits import INTERRUPTED, PASSED
from covsvc.cli.options import STORE
from covsvc.cli.printing import AS_JSON, print_json, say
from covsvc.errors import TaskError

_TOKENS = {"type": click.Path(dir_okay=False, path_type=Path), "envvar": "COVSVC_TOKENS", "metavar": "FILE"}

TOKENS = click.option("--tokens", required=True, help="File of the tokens.", **_TOKENS)  # type: ignore[arg-type]


def _address(given: str) -> str:
    """Return an address or a network, as it was given."""
    try:
        ipaddress.ip_network(given)
    except ValueError as error:
        raise click.BadParameter(f"{error}; give an address (10.0.0.7) or a network (10.0.0.0/24)") from None
    return given


@click.command()
@STORE
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; another needs --tokens.")
@click.option("--port", type=click.IntRange(0, 65535), default=8999, show_default=True, help="0 takes a free one.")
@click.option("--tokens", help="Answer only who sends one of these tokens.", **_TOKENS)  # type: ignore[arg-type]
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    callback=lambda _, __, given: tuple(map(_address, given)),
    help="A reverse proxy whose X-Forwarded-For and X-Forwarded-Proto are believed; may be given again.",
)
@click.option(
    "--log-level",
    type=click.Choice(["critical", "error", "warning", "info", "debug"]),
    default="info",
    show_default=True,
    help="info logs requests, without queries and headers.",
)
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

    def stop(*_: object) -> NoReturn:
        raise SystemExit(PASSED)

    signal.signal(signal.SIGTERM, stop)
    missing = [name for name in ("fastapi", "prometheus_client", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise click.UsageError(f'{", ".join(missing)}: not installed, serve needs it: pip install "covsvc[serve]"')
    from covsvc import api
    from covsvc.service import make_app
    from covsvc.service.serving import addresses_of, answer, is_loopback, listen, url_of
    from covsvc.service.tokens import read_tokens

    addresses = addresses_of(host)
    if not is_loopback(addresses) and not (tokens and read_tokens(tokens)):
        lacking = f"{tokens} holds no token" if tokens else "there is no --tokens FILE"
        raise click.UsageError(
            f"--host {host}: others than this machine could read all cubes, since {lacking}; "
            "make one with `covsvc token add NAME --tokens FILE`"
        )
    studies = api.stored_studies(store)
    app = make_app(store, tokens=tokens, most_rows=most_rows, most_bytes=most_bytes, most_seconds=most_seconds)
    with listen(addresses, port) as listening:
        url = url_of(listening)
        if as_json:
            print_json({"url": url, "store": store, "studies": studies, "tokens": str(tokens) if tokens else None})
        else:
            click.echo(f"{url}: {store}, which holds {', '.join(studies) or 'no study yet'}")
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
