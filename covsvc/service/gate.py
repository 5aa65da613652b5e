"""What every request passes."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from covsvc.service.answers import refuse
from covsvc.service.metrics import Metrics

LONGEST_URL = 8192
"""Letters of a path with its query."""

PATIENCE = 10.0
"""Seconds in which a body has to be here."""

OPEN = ("/healthz",)
"""What needs no token."""

LOCAL = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)
"""What this machine is called in a request."""

_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    # pages and figures bring all that they show; what a name or a label might smuggle in does not run
    b"content-security-policy": b"default-src 'none'; img-src data: 'self'; style-src 'unsafe-inline'; "
    b"font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


class Owners(Protocol):
    """Who may read."""

    def owner(self, token: str) -> str | None:
        """Return whose token this is, None if nobody's."""
        ...


class Gate:
    """Lets those in who may come in, with what is not too large, and counts them; HEAD is GET without a body.

    Without tokens the service is for those on the same machine: a request has to name it as such, for any web page that
    somebody there looks at may send requests under a name of its own.

    Parameters
    ----------
    app : ASGI application
    owners : Owners or None
    most_bytes : int
        Of a body.
    """

    def __init__(self, app: ASGIApp, *, owners: Owners | None, metrics: Metrics, most_bytes: int) -> None:
        self._app, self._owners, self._metrics, self._most = app, owners, metrics, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                known = {name.lower() for name, _ in message["headers"]}
                more = [(name, value) for name, value in _HEADERS.items() if name not in known]
                if self._owners is not None:
                    more.append((b"vary", b"Authorization"))
                message = {**message, "headers": [*message["headers"], *more]}
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        head = scope["method"] == "HEAD"
        inner = {**scope, "method": "GET"} if head else scope
        self._metrics.begin()
        try:
            refused, receive = await self._admit(scope, receive)
            await (refused(scope, receive, tell) if refused else self._app(inner, receive, tell))
        finally:
            route = getattr(inner.get("route"), "path", "none")
            self._metrics.end(scope["method"], route, status, time.perf_counter() - begun)

    async def _admit(self, scope: Scope, receive: Receive) -> tuple[Response | None, Receive]:
        """Return why a request is not let in, if it is not, and where its body comes from."""
        headers = dict(scope["headers"])
        if scope["path"] not in OPEN:
            refused = self._identify(headers)
            if refused is not None:
                return refused, receive
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST_URL:
            return refuse(414, f"the URL has more than {LONGEST_URL:,} letters; ask for fewer values"), receive
        too_large = refuse(413, f"the body has more than {self._most:,} bytes; send less")
        told = headers.get(b"content-length", b"0")
        if not told.isdigit() or len(told) > 15 or int(told) > self._most:
            return too_large, receive
        if int(told) == 0 and b"transfer-encoding" not in headers:
            return None, receive
        try:
            async with asyncio.timeout(PATIENCE):
                body = await self._read(receive)
        except TimeoutError:
            return refuse(408, f"the body was not here after {PATIENCE:g} s; send it at once"), receive
        return (too_large, receive) if body is None else (None, _again(body, receive))

    def _identify(self, headers: dict[bytes, bytes]) -> Response | None:
        if self._owners is None:
            host = headers.get(b"host", b"").decode("latin-1")
            if LOCAL.fullmatch(host):
                return None
            return refuse(421, "without tokens the service answers at localhost only; start it with --tokens")
        scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() == "bearer" and self._owners.owner(token.strip()) is not None:
            return None
        challenge = "Bearer" + ' error="invalid_token"' * bool(token)
        sentence = "this token is not known" if token else "send a token: Authorization: Bearer TOKEN"
        return refuse(401, f"{sentence}; `covsvc token add NAME` makes one", {"WWW-Authenticate": challenge})

    async def _read(self, receive: Receive) -> bytes | None:
        """Return a body, None if it is too large; no more of it is held than may be."""
        parts, size = [], 0
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._most:
                return None
            if not message.get("more_body", False):
                return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what tells a body that was read already, and then what comes after it."""
    left: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def tell() -> Any:
        return left.pop() if left else await receive()

    return tell
