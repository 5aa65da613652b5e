"""What commands share that answer over HTTP: where they listen, whom they let in, how they stop."""

from __future__ import annotations

import importlib.util
import ipaddress
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from covsvc.cli.exits import PASSED
from covsvc.cli.printing import print_json

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

HOST = click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen at; another needs --tokens."
)


def port_option(default: int) -> Decorator:
    """Return the option of the port."""
    return click.option(
        "--port", type=click.IntRange(0, 65535), default=default, show_default=True, help="0 takes a free one."
    )


def tokens_option(**more: Any) -> Decorator:
    """Return the option of the file of tokens."""
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option("--tokens", type=kind, envvar="COVSVC_TOKENS", metavar="FILE", **more)


LOG_LEVEL = click.option(
    "--log-level",
    type=click.Choice(["critical", "error", "warning", "info", "debug"]),
    default="info",
    show_default=True,
    help="info logs requests, without queries and headers.",
)


def _address(given: str) -> str:
    """Return an address or a network, as it was given."""
    try:
        ipaddress.ip_network(given)
    except ValueError as error:
        raise click.BadParameter(f"{error}; give an address (10.0.0.7) or a network (10.0.0.0/24)") from None
    return given


PROXIES = click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    callback=lambda _, __, given: tuple(map(_address, given)),
    help="A reverse proxy whose X-Forwarded-For and X-Forwarded-Proto are believed; may be given again.",
)


def end_on_sigterm() -> None:
    """Let SIGTERM end the command as if it were done: that is how it is stopped."""

    def stop(*_: object) -> NoReturn:
        raise SystemExit(PASSED)

    signal.signal(signal.SIGTERM, stop)


def need(command: str, extra: str, packages: Sequence[str]) -> None:
    """Refuse to start without the packages of an extra."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise click.UsageError(
            f'{", ".join(missing)}: not installed, {command} needs it: pip install "covsvc[{extra}]"'
        )


def addresses(host: str, tokens: Path | None) -> list[str]:
    """Return where to listen, if that is here or there are tokens."""
    from covsvc.service.serving import addresses_of, is_loopback
    from covsvc.service.tokens import read_tokens

    found = addresses_of(host)
    if not is_loopback(found) and not (tokens and read_tokens(tokens)):
        lacking = f"{tokens} holds no token" if tokens else "there is no --tokens FILE"
        raise click.UsageError(
            f"--host {host}: others than this machine could read all cubes, since {lacking}; "
            "make one with `covsvc token add NAME --tokens FILE`"
        )
    return found


def tell(url: str, store: str, studies: Sequence[str], tokens: Path | None, as_json: bool) -> None:
    """Print where it is found, and what is found there."""
    if as_json:
        print_json({"url": url, "store": store, "studies": studies, "tokens": str(tokens) if tokens else None})
    else:
        click.echo(f"{url}: {store}, which holds {', '.join(studies) or 'no study yet'}")
