"""The process of the service: where it listens, what it logs, how it stops."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
from collections.abc import Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from covsvc.errors import StoreError
from covsvc.service.tokens import TOKEN

PATIENCE = 10
"""Seconds that answers have to come to an end when the service is stopped."""


IDLE = 15.0
"""Seconds after which a connection is closed on which no request has come, whole up to its body."""


class Impatient(H11Protocol):
    """HTTP, of clients that do not keep a connection for nothing: there are only so many of them."""

    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        self._await_request()

    def on_response_complete(self) -> None:
        """End an answer."""
        self._await_request()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._stop_watch()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        self._stop_watch()
        self._watch = self.loop.call_later(IDLE, self._close_unless_asked, self.cycle)

    def _close_unless_asked(self, last: object) -> None:
        if self.cycle is last and not self.transport.is_closing():
            self.transport.close()

    def _stop_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()


class _WithoutSecrets(logging.Filter):
    """Keep of an address its path, and no token: some write elsewhere what belongs into a header."""

    def filter(self, record: logging.LogRecord) -> bool:
        client, verb, address, *rest = record.args or ()
        told = client, verb, str(address).partition("?")[0]
        record.args = (*(TOKEN.sub("TOKEN", str(each)) for each in told), *rest)
        return True


def addresses_of(host: str) -> list[str]:
    """Return the addresses of a host, as its name is known here.

    Raises
    ------
    StoreError
        If it has none.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        told = getattr(error, "strerror", None) or error
        raise StoreError(f"--host {host}: {told}; name an address of this machine") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_loopback(addresses: Sequence[str]) -> bool:
    """Tell whether nobody but this machine reaches any of these addresses."""
    return all(ipaddress.ip_address(each.partition("%")[0]).is_loopback for each in addresses)


def listen(addresses: Sequence[str], port: int) -> socket.socket:
    """Return a socket that listens at the first of the addresses where it can; port 0 takes a free one.

    Raises
    ------
    StoreError
        If it can at none.
    """
    for number, address in enumerate(addresses, 1):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            listening = socket.create_server((address, port), family=family, backlog=2048)
        except OSError as error:
            if number == len(addresses):
                raise StoreError(
                    f"{address}, port {port}: {os.strerror(error.errno or 0)}; choose another with --port"
                ) from None
        else:
            # connections inherit it: without it the body of an answer waits 40 ms until its head is acknowledged
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return listening
    raise StoreError("no address to listen at; name one with --host")


def url_of(listening: socket.socket) -> str:
    """Return where the service is found."""
    address, port = listening.getsockname()[:2]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def answer(
    app: Any, listening: socket.socket, *, log_level: str, proxies: Sequence[str], most_connections: int
) -> bool:
    """Answer until a signal comes; requests that are being answered then are answered first.

    Parameters
    ----------
    app : ASGI application
    listening : socket.socket
    log_level : str
        ``"info"`` logs requests, without their queries and headers.
    proxies : sequence of str
        Addresses of reverse proxies whose word about their clients is taken.
    most_connections : int
        Above it clients are told to come again, with status 503.

    Returns
    -------
    bool
        Whether it had started.
    """
    config = uvicorn.Config(
        app,
        log_config=log_config(log_level, ["uvicorn", "covsvc.service"], ["uvicorn.access"]),
        log_level=log_level,
        http=Impatient,
        ws="none",
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        limit_concurrency=most_connections,
        timeout_keep_alive=int(IDLE),
        timeout_graceful_shutdown=PATIENCE,
    )
    server = uvicorn.Server(config)
    server.run(sockets=[listening])
    return server.started


def log_config(level: str, loggers: Sequence[str], requests: Sequence[str]) -> dict[str, Any]:
    """Return how to log: all of it to stderr, which a service manager keeps.

    Parameters
    ----------
    level : str
    loggers : sequence of str
        Who tells what happens.
    requests : sequence of str
        Who tells of requests: client, verb and address are the first of what is told.
    """
    own = {"handlers": ["stderr"], "level": level.upper(), "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
        "filters": {"without_secrets": {"()": _WithoutSecrets}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
            "requests": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["without_secrets"]},
        },
        "loggers": dict.fromkeys(loggers, own) | dict.fromkeys(requests, own | {"handlers": ["requests"]}),
    }
