"""Answers, and when they need not be given again."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

import covsvc
from covsvc.api.plain import plain
from covsvc.service.metrics import Metrics
from covsvc.version import __version__

JSON = "application/json"

ASK_AGAIN = "private, no-cache"
"""Caches keep an answer, and ask whether it is still the same."""

NEVER_CHANGES = "private, max-age=31536000, immutable"
"""What was committed does not change."""

MOST_HELD = 32 * 2**20
"""Bytes of answers that are kept."""

MOST_OF_ONE = 2**20
"""Bytes of an answer that is kept."""


class Refusal(Exception):
    """An answer that is no result: its status, and a sentence that says why."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Answers:
    """Gives answers with their ETag; those that commits and a question decide are kept for who asks the same."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    async def of(
        self,
        request: Request,
        snapshots: tuple[str, ...],
        make: Callable[[], Awaitable[bytes]],
        kind: str = JSON,
    ) -> Response:
        """Answer what the snapshots, the path and the query decide."""
        asked = request.url.path, sorted(request.query_params.multi_items()), snapshots, kind, code()
        tag = _digest(repr(asked).encode())
        if _is_known(request, tag):
            return _unchanged(tag, ASK_AGAIN)
        body = self._held.get(tag)
        if body is None:
            body = await make()
            self._keep(tag, body)
        else:
            self._held.move_to_end(tag)
            self._metrics.cached()
        return _response(tag, body, kind, ASK_AGAIN)

    def _keep(self, tag: str, body: bytes) -> None:
        if len(body) > MOST_OF_ONE:
            return
        self._size += len(body) - len(self._held.pop(tag, b""))
        self._held[tag] = body
        while self._size > MOST_HELD:
            self._size -= len(self._held.popitem(last=False)[1])


def answer(request: Request, body: bytes, kind: str = JSON, caching: str = ASK_AGAIN) -> Response:
    """Answer with a body that may be another every time; its ETag is its own digest."""
    tag = _digest(body)
    return _unchanged(tag, caching) if _is_known(request, tag) else _response(tag, body, kind, caching)


def refuse(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """Answer with a sentence that says what is wrong."""
    return Response(encode({"error": sentence}), status, {"Cache-Control": "no-store"} | (headers or {}), JSON)


def encode(value: Any) -> bytes:
    """Return a result as JSON, one row of a long one at a time: encoding is not to hold up other threads."""
    rows = value.get("rows") if isinstance(value, dict) else None
    if not rows:
        return json.dumps(plain(value), allow_nan=False).encode()
    head = json.dumps(plain({name: each for name, each in value.items() if name != "rows"}), allow_nan=False)
    return f'{head[:-1]}, "rows": [{", ".join(json.dumps(plain(row), allow_nan=False) for row in rows)}]}}'.encode()


@cache
def code() -> str:
    """Return a digest of the code: another version may say other things of the same commit."""
    told = hashlib.sha256(__version__.encode())
    for path in sorted(Path(covsvc.__file__).parent.rglob("*")):
        if path.suffix in (".py", ".j2", ".css"):
            told.update(path.read_bytes())
    return told.hexdigest()[:16]


def _digest(told: bytes) -> str:
    return f'"{hashlib.sha256(told).hexdigest()[:32]}"'


def _is_known(request: Request, tag: str) -> bool:
    """Tell whether the client has this answer; a proxy that packed it marks the tag as weak."""
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    return tag in known or "*" in known


def _response(tag: str, body: bytes, kind: str, caching: str) -> Response:
    return Response(body, 200, {"ETag": tag, "Cache-Control": caching}, kind)


def _unchanged(tag: str, caching: str) -> Response:
    return Response(None, 304, {"ETag": tag, "Cache-Control": caching})
