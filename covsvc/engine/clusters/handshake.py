"""The handshake with a scheduler, and why it fails."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

from covsvc.engine.clusters.encryption import scheduler_command, security_of, split_address
from covsvc.errors import ClusterError

_EXPIRED = 10
"""What OpenSSL answers of a certificate whose time is over."""

_GRACE = 2.0
"""Seconds beyond those of the handshake, at most, in which whoever listens tells what it speaks."""

_ANSWER, _GOODBYE = 10.0, 5
"""Seconds in which a scheduler answers, and a client closes."""


@contextmanager
def client_at(address: str) -> Iterator[Any]:
    """Yield a client of a scheduler, after a handshake; close it.

    Raises
    ------
    ClusterError
        As of `shake_hands`; if the scheduler is lost at once.
    StudyError
        As of `shake_hands`.
    """
    from distributed import Client

    shake_hands(address, _ANSWER)
    try:
        client = Client(address, timeout=_ANSWER, security=security_of(address))
    except (OSError, ValueError) as error:
        raise ClusterError(f"{address}: the scheduler is lost ({error}); run it again") from None
    try:
        yield client
    finally:
        with suppress(OSError):  # a scheduler that does not answer is left as it is
            client.close(timeout=_GOODBYE)


def shake_hands(address: str, seconds: float) -> None:
    """Shake hands with a scheduler.

    A client of Dask waits for ever for one that takes a connection and says nothing, because it is stopped, say; and
    of TLS it says that something closed a connection.

    Raises
    ------
    ClusterError
        If it does not answer within so many seconds, or one side refuses the other.
    StudyError
        If certificates are needed, and there are none that can be used.
    """
    arguments = security_of(address).get_connection_args("client")
    shaken: Future[None] = Future()

    def shake() -> None:
        try:
            shaken.set_result(asyncio.run(_shake(address, seconds, arguments)))
        except BaseException as error:  # handed on: whoever listens there may answer anything
            shaken.set_exception(error)

    Thread(target=shake, daemon=True).start()  # where a loop runs already, as in a notebook, no other may
    try:
        shaken.result()
    except Exception as error:
        if refused := _refusal(address, arguments.get("ssl_context"), min(seconds, _GRACE)):
            raise ClusterError(f"{address}: {refused}") from None
        told = str(error).strip().splitlines() or [f"silence for {seconds:g} s"]
        cure = f"start one with `{scheduler_command(address)}`"
        raise ClusterError(f"{address}: no scheduler answers there ({told[0]}); {cure}") from None


async def _shake(address: str, seconds: float, arguments: dict[str, Any]) -> None:
    from distributed.core import connect

    comm = await asyncio.wait_for(connect(address, timeout=seconds, **arguments), seconds)
    await comm.close()


def _refusal(address: str, ours: ssl.SSLContext | None, seconds: float) -> str:
    """Say why a handshake in TLS fails, or one in plain text with who speaks TLS; "" if it is not for that."""
    scheme, host, port = split_address(address)
    context = ours if scheme == "tls" and ours else _trusting()
    speaks_tls = f"speaks TLS, and no plain text; give tls://{address.partition('://')[2]}"
    try:
        with socket.create_connection((host, port), seconds) as plain, context.wrap_socket(plain) as tls:
            if scheme != "tls":
                return speaks_tls
            tls.recv(1)  # in TLS 1.3 the other side says only now what it holds of our certificate
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _EXPIRED:
            return "its certificate has expired; give it a new one of the same CA, and start it again"
        return f"its certificate is refused ({error.verify_message}); those of all have to be of one CA"
    except ssl.SSLError as error:
        reason = error.reason or ""
        if "_ALERT_" in reason:
            told = reason.partition("_ALERT_")[2].lower().replace("_", " ")
            return speaks_tls if scheme != "tls" else f"refuses our certificate ({told}); take a valid one of its CA"
        if scheme == "tls" and reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
            return f"speaks no TLS; start it with `{scheduler_command(address)}`"
    except OSError:  # nobody listens, or nobody answers
        pass
    return ""


def _trusting() -> ssl.SSLContext:
    """Return what asks for no certificate: nothing is sent, only whether TLS is spoken is to be known."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
