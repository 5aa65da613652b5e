"""The application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from covsvc.errors import ObservationError, StoreError, StudyError
from covsvc.service.answers import Refusal, refuse
from covsvc.service.gate import Gate
from covsvc.service.lanes import Busy, Gone
from covsvc.service.routes import router
from covsvc.service.state import State
from covsvc.service.tokens import Tokens
from covsvc.version import __version__

LOG = logging.getLogger("covsvc.service")

_ABOUT = """\
Coverage of upper limits: which limit method covers, where, and how strong its limits are.

All numbers are those of the maps of one commit, which every answer names; `at` asks for an older one. What is not known
is null. An ETag belongs to each answer. Whatever is wrong is said in a sentence: `{"error": "..."}`.
"""


def make_app(
    store: str | Path,
    *,
    tokens: Path | None = None,
    most_rows: int = 100_000,
    most_bytes: int = 65_536,
    most_seconds: float = 30.0,
) -> FastAPI:
    """Return the application that answers questions on the studies of a store, and changes nothing.

    Parameters
    ----------
    store : str or Path
        Folder or URL.
    tokens : Path, optional
        File of those who may read; without it all may, who ask for localhost.
    most_rows : int
        Of an answer.
    most_bytes : int
        Of the body of a request.
    most_seconds : float
        Time that what a request asks to be computed or drawn may take.

    Raises
    ------
    TokenError
        If the file of tokens is none.
    """
    state = State(str(store), most_rows, most_seconds)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            state.close()

    app = FastAPI(
        title="covsvc",
        summary="Coverage of upper limits",
        description=_ABOUT,
        version=__version__,
        docs_url=None,  # their pages load from other hosts
        redoc_url=None,
        redirect_slashes=False,  # it would lead to where the client, or a proxy, says that the service is
        lifespan=lifespan,
        exception_handlers={
            Refusal: _refusal,
            HTTPException: _http,
            RequestValidationError: _invalid,
            StudyError: _unwise,
            ObservationError: _unwise,
            StoreError: _unreadable,
            TimeoutError: _too_long,
            MemoryError: _too_large,
            Busy: _busy,
            Gone: _gone,
            Exception: _broken,
        },
    )
    app.state.covsvc = state
    app.include_router(router)
    owners = Tokens(Path(tokens)) if tokens is not None else None
    app.add_middleware(Gate, owners=owners, metrics=state.metrics, most_bytes=most_bytes)
    if owners is not None:
        _tell_of_tokens(app)
    return app


def _tell_of_tokens(app: FastAPI) -> None:
    """Let the OpenAPI document say that tokens are asked for."""
    make = app.openapi

    def told() -> dict[str, Any]:
        document = make()
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        document["paths"]["/healthz"]["get"]["security"] = []
        return document

    app.openapi = told  # type: ignore[method-assign]


async def _refusal(_: Request, error: Any) -> Response:
    return refuse(error.status, error.sentence)


async def _http(request: Request, error: Any) -> Response:
    headers = dict(error.headers or {})
    told = {
        404: "no such address; / lists what there is",
        405: f"{request.method}: not here, but {headers.get('Allow')}; nothing can be changed",
    }
    return refuse(error.status_code, told.get(error.status_code, str(error.detail)), headers)


async def _invalid(_: Request, error: Any) -> Response:
    return refuse(422, "; ".join(_sentence(each) for each in error.errors()[:5]))


def _sentence(error: Any) -> str:
    if error["type"] == "json_invalid":
        return f"the body is no JSON: {error['ctx']['error']}"
    place = ".".join(str(part) for part in error["loc"][1:])
    given, wrong = error.get("input"), error["msg"].removeprefix("Value error, ")
    told = f" = {given!s:.40}" if isinstance(given, str | int | float) else ""
    return f"{place or 'the body'}{told}: {wrong[0].lower()}{wrong[1:]}"


async def _unwise(_: Request, error: Any) -> Response:
    return refuse(422, str(error))


async def _unreadable(request: Request, error: Any) -> Response:
    LOG.error("%s", error)
    name = request.path_params.get("name", "the store")
    return refuse(503, request.app.state.covsvc.told(name, error), {"Retry-After": "5"})


async def _too_long(request: Request, _: Any) -> Response:
    seconds = request.app.state.covsvc.seconds
    return refuse(422, f"this takes more than {seconds:g} s; ask for less, or use the command line")


async def _too_large(_: Request, __: Any) -> Response:
    return refuse(422, "this takes more memory than a request may; ask for less, or use the command line")


async def _busy(_: Request, __: Any) -> Response:
    return refuse(503, "too many requests wait already; ask again", {"Retry-After": "1"})


async def _gone(_: Request, __: Any) -> Response:
    return Response(status_code=499)


async def _broken(_: Request, __: Any) -> Response:
    return refuse(500, "the service has made a mistake, which its log tells")
