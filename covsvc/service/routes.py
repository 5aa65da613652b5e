"""What is answered at which address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from fastapi import APIRouter, Body, Depends, Path, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from covsvc import api
from covsvc.api.progressing import progress_of
from covsvc.api.querying import worst
from covsvc.selection import labels_of, nodes_of, positions, wanted_of
from covsvc.service import jobs
from covsvc.service.answers import ASK_AGAIN, JSON, NEVER_CHANGES, Refusal, answer, encode
from covsvc.service.asking import (
    MOST_VALUES,
    Against,
    At,
    Background,
    Backgrounds,
    Before,
    Columns,
    Label,
    Labels,
    Level,
    Levels,
    Most,
    Name,
    Observation,
    Signals,
    Sort,
    Verdicts,
    known_only,
)
from covsvc.service.home import home_page, waiting_page
from covsvc.service.metrics import CONTENT_TYPE
from covsvc.service.reports import file_of
from covsvc.service.state import State
from covsvc.service.telling import Commits, Failure, Limits, Progress, Rows, Status, Studies, Worst

FEW = 2000
"""Cells of an answer that is made beside others; more are made in a child process."""

PATIENCE = 20.0
"""Seconds that a request waits for a report."""

_SNAPSHOT = 20
"""Letters of the id of a snapshot."""

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".pdf": "application/pdf",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".json": JSON,
}

_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": told}
    for status, told in {
        400: "The body cannot be read",
        401: "No token, or one that is not known",
        404: "No such study, commit or file",
        408: "The body did not come",
        413: "The body is too large",
        414: "The URL is too long",
        421: "Not asked for as localhost, without tokens",
        422: "Something is asked for that is not there, or too much; the sentence says what",
        503: "Too many requests wait, or the store cannot be read; ask again",
    }.items()
}

_FILES: dict[int | str, dict[str, Any]] = {
    200: {"content": {JSON: {}, "application/octet-stream": {}}},
    410: {"model": Failure, "description": "No such study or commit: not a chunk that holds fill values"},
}

router = APIRouter(dependencies=[Depends(known_only)], responses=_REFUSALS)


def _state(request: Request) -> State:
    found: State = request.app.state.covsvc
    return found


Held = Annotated[State, Depends(_state)]


@router.get("/", include_in_schema=False)
async def home(request: Request, held: Held) -> Response:
    """Show the studies, for a person."""
    return answer(request, home_page(await held.names()).encode(), _KINDS[".html"])


@router.get("/healthz", tags=["service"], summary="Is the service alive?")
async def healthz() -> dict[str, Literal["ok"]]:
    """Answer as long as the service runs; needs no token."""
    return {"status": "ok"}


@router.get(
    "/metrics",
    tags=["service"],
    summary="Counters for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}},
)
async def metrics(held: Held) -> Response:
    """Return the counters of the service in Prometheus's text format."""
    return Response(held.metrics.told(), media_type=CONTENT_TYPE)


@router.get("/studies", tags=["studies"], summary="The stored studies", response_model=Studies)
async def studies(request: Request, held: Held) -> Response:
    """List the studies, each with its newest commit, empty before there is any."""
    return answer(request, encode({"studies": await held.slow.run(request, held.newest, await held.names())}))


@router.get("/studies/{name}", tags=["studies"], summary="How complete a study is", response_model=Status)
async def status(request: Request, held: Held, name: Name, at: At = "main") -> Response:
    """Say how complete a study is, what failed, what it cost, and who works on it."""
    snapshot = await held.commit(name, at)
    return answer(request, encode(await held.slow.run(request, api.status, held.store, name, snapshot)))


@router.get("/studies/{name}/coverage", tags=["studies"], summary="Coverage and median limits", response_model=Rows)
async def coverage(
    request: Request,
    held: Held,
    name: Name,
    limit_method: Labels = [],  # noqa: B006 - it is not changed
    cl: Levels = None,
    b: Backgrounds = None,
    s_true: Signals = None,
    verdict: Verdicts = [],  # noqa: B006
    sort: Sort = None,
    columns: Columns = None,
    most: Most = None,
    at: At = "main",
    against: Against = None,
) -> Response:
    """Return a row for each cell and column, as `covsvc query` does.

    Nothing is interpolated: a point off the grid is summed exactly (source: computed), or answered by the cells beside
    it (neighbour_of); a note says so. NaN is null.
    """
    asked = _asked(limit_method, cl, b, s_true, sort, columns, most) | {"verdict": verdict or None}
    return await _rows(request, held, name, at, against, asked)


@router.get("/studies/{name}/diff", tags=["studies"], summary="What changed since a commit", response_model=Rows)
async def diff(
    request: Request,
    held: Held,
    name: Name,
    before: Before,
    limit_method: Labels = [],  # noqa: B006
    cl: Levels = None,
    b: Backgrounds = None,
    s_true: Signals = None,
    sort: Sort = None,
    columns: Columns = None,
    most: Most = None,
    at: At = "main",
) -> Response:
    """Return the rows of a commit with those of one before (NAME_before) and their changes (NAME_change)."""
    asked = _asked(limit_method, cl, b, s_true, sort, columns, most)
    return await _rows(request, held, name, at, before, asked)


@router.get("/studies/{name}/worst", tags=["studies"], summary="Where limits cover least", response_model=Worst)
async def worst_of(
    request: Request,
    held: Held,
    name: Name,
    limit_method: Labels = [],  # noqa: B006
    cl: Levels = None,
    most: Most = None,
    at: At = "main",
) -> Response:
    """Return the worst cell of each column, the largest deficit first, with the command that shows what was missed."""
    snapshot = await held.commit(name, at)
    await held.maps(name, snapshot)

    def make() -> bytes:
        found = worst(name, held.store, at=snapshot, limit_method=limit_method or None, cl=cl, most=most)
        return encode(found | {"at": at})

    return await held.answers.of(request, (snapshot,), lambda: held.quick.run(request, make))


@router.get("/studies/{name}/history", tags=["studies"], summary="The commits of a study", response_model=Commits)
async def history(request: Request, held: Held, name: Name, most: Most = 1000) -> Response:
    """List the commits, newest first: when, what, at what cost."""
    await held.commit(name, "main")
    found = await held.slow.run(request, api.history, name, held.store)
    newest = {key: found[0][key] if found else "" for key in ("snapshot", "written_at")}
    return answer(request, encode({"study": name} | newest | {"commits": found[:most]}))


@router.get("/studies/{name}/progress", tags=["studies"], summary="How far a run is", response_model=Progress)
async def progress(request: Request, held: Held, name: Name) -> Response:
    """Say how far the work on a study is, by its newest commit, and who works on it."""
    await held.known(name)
    return answer(request, encode(await held.slow.run(request, progress_of, held.store, name)))


@router.get(
    "/studies/{name}/figures/{kind}.{suffix}",
    tags=["studies"],
    summary="A figure",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in ("image/svg+xml", "image/png", "application/pdf")}}},
)
async def figure(
    request: Request,
    held: Held,
    name: Name,
    kind: Annotated[
        Literal["coverage", "sigma", "slice", "medians", "mistakes"],
        Path(description="coverage and sigma: maps of a method; slice: its coverage against s_true; medians and "
             "mistakes: all methods against s_true."),
    ],
    suffix: Literal["svg", "png", "pdf"],
    limit_method: Label = None,
    cl: Level = None,
    b: Background = [],  # noqa: B006
    at: At = "main",
) -> Response:  # fmt: skip
    """Draw a figure of the report."""
    snapshot = await held.commit(name, at)
    await held.maps(name, snapshot)
    asked = {"limit_method": limit_method, "cl": cl, "b": b or None}
    return await held.answers.of(
        request,
        (snapshot,),
        lambda: held.in_child(request, jobs.picture, held.store, name, snapshot, kind, suffix, asked),
        _KINDS[f".{suffix}"],
    )


@router.get(
    "/studies/{name}/zarr/{key:path}",
    tags=["cubes"],
    summary="The cube as Zarr",
    response_class=Response,
    responses=_FILES,
)
async def zarr(request: Request, held: Held, name: Name, key: str) -> Response:
    """Return a file of the cube as a Zarr store of version 3: `xr.open_zarr("http://.../studies/NAME/zarr")`.

    It is that of main, whatever that is when a file is asked for; a reader that takes its time opens the cube of a
    snapshot, which does not change.
    """
    return await _chunk(request, held, name, "main", key)


@router.get(
    "/studies/{name}/snapshots/{at}/zarr/{key:path}",
    tags=["cubes"],
    summary="The cube of a commit as Zarr",
    response_class=Response,
    responses=_FILES,
)
async def zarr_at(
    request: Request, held: Held, name: Name, at: Annotated[str, Path(max_length=100)], key: str
) -> Response:
    """Return a file of the cube of a commit, as the one of main."""
    return await _chunk(request, held, name, at, key)


@router.get(
    "/report/{name}", tags=["reports"], summary="The report of a study", response_class=Response, status_code=307
)
async def report(held: Held, name: Name, at: At = "main") -> Response:
    """Lead to the page of the report of a commit, which does not change under a reader."""
    return RedirectResponse(f"{name}/{await held.commit(name, at)}/index.html", headers={"Cache-Control": "no-store"})


@router.get("/report/{name}/{file}", tags=["reports"], response_class=Response, status_code=307)
async def report_file(held: Held, name: Name, file: str) -> Response:
    """Lead to a file of the report of main."""
    snapshot = await held.commit(name, "main")
    target = "index.html" if file == snapshot else file
    if not target.replace("-", "").replace("_", "").replace(".", "").isalnum() or target.startswith("."):
        raise Refusal(404, f"{name}: no such file in its report")
    return RedirectResponse(f"{snapshot}/{target}", headers={"Cache-Control": "no-store"})


@router.get(
    "/report/{name}/{at}/{file:path}",
    tags=["reports"],
    summary="A file of the report of a commit",
    response_class=Response,
    responses={200: {"content": {"text/html": {}}}, 202: {"description": "It is being drawn; ask again"}},
)
async def report_file_at(
    request: Request, held: Held, name: Name, at: Annotated[str, Path(max_length=100)], file: str
) -> Response:
    """Return a page or a file of a report; it is drawn when it is first asked for, which may take a minute."""
    snapshot = await held.commit(name, at)
    folder = await held.reports.of(name, snapshot, PATIENCE)
    if folder is None:
        return Response(
            waiting_page(name), 202, {"Refresh": "5", "Retry-After": "5", "Cache-Control": "no-store"}, _KINDS[".html"]
        )
    path = await held.quick.run(request, file_of, folder, file or "index.html")
    if path is None:
        raise Refusal(404, f"{name}: no such file in its report; it begins with index.html")
    kind = _KINDS.get(path.suffix, "application/octet-stream")
    return await held.answers.of(request, (snapshot,), lambda: held.quick.run(request, path.read_bytes), kind)


@router.post("/limits", tags=["limits"], summary="Limits on an observation", response_model=Limits)
async def limits(request: Request, held: Held, asked: Annotated[Observation, Body()]) -> Response:
    """Set the limit of every method on one observation; with s_max, its exact coverage there. Nothing is stored."""
    told = asked.model_dump(exclude={"limit_method"})
    told["limit_method"] = [
        {"name": each} if isinstance(each, str) else each.model_dump(exclude_unset=True)
        for each in asked.limit_method or []
    ]
    body = await held.in_child(request, jobs.limits, held.store, told)
    return Response(body, 200, {"Cache-Control": "no-store"}, JSON)


def _asked(
    labels: Labels, cl: Levels, b: Backgrounds, s_true: Signals, sort: Sort, columns: Columns, most: Most
) -> dict[str, Any]:
    """Return what a query is asked for, as `covsvc.query` takes it."""
    return {
        "limit_method": labels or None,
        "cl": cl,
        "b": b,
        "s_true": s_true,
        "sort": sort or (),
        "columns": columns,
        "most": most,
    }


async def _rows(
    request: Request, held: State, name: str, at: str, against: str | None, asked: Mapping[str, Any]
) -> Response:
    """Answer a query from one commit, or from two; a long one, or one that has to be computed, in a child process."""
    snapshot = await held.commit(name, at)
    before = await held.commit(name, against) if against is not None else None
    maps = await held.maps(name, snapshot)
    if before is not None:
        await held.maps(name, before)
    cells, on_grid = _cells(maps, asked)
    if min(cells, asked["most"] or cells) > held.most_rows:
        raise Refusal(
            422,
            f"{cells:,} rows are asked for, at most {held.most_rows:,} are given; name methods, values or most",
        )

    async def make() -> bytes:
        job = held.store, name, at, snapshot, before, asked
        if on_grid and cells <= FEW:
            return await held.quick.run(request, jobs.rows, *job)
        return await held.in_child(request, jobs.rows, *job)

    snapshots = (snapshot,) if before is None else (snapshot, before)
    return await held.answers.of(request, snapshots, make)


def _cells(maps: xr.Dataset, asked: Mapping[str, Any]) -> tuple[int, bool]:
    """Return how many cells a query asks for, and whether all are on the grid."""
    cells, on_grid = len(labels_of(maps["limit_method"].values.tolist(), asked["limit_method"])), True
    for axis in ("cl", "b", "s_true"):
        known, wanted = np.asarray(maps[axis].to_numpy()), wanted_of(asked[axis], axis)
        if wanted is None:
            cells *= len(known)
        elif wanted.values is None:
            cells *= len(positions(known, wanted, axis))
        else:
            if len(wanted.values) > MOST_VALUES:
                raise Refusal(422, f"{axis}: {len(wanted.values):,} values, at most {MOST_VALUES:,} at a time")
            cells *= len(wanted.values)
            on_grid = on_grid and None not in nodes_of(known, wanted.values)
    return cells, on_grid


async def _chunk(request: Request, held: State, name: str, at: str, key: str) -> Response:
    is_told = key.endswith("zarr.json")
    try:
        snapshot = await held.commit(name, at)
    except Refusal as error:
        # to a reader a chunk that is not found holds fill values: one whose commit is gone must not look like that
        raise Refusal(error.status if is_told else 410, error.sentence) from None
    body = await held.chunk(request, name, snapshot, key)
    if body is None:
        raise Refusal(404, f"{name}: no such file in its cube")
    return answer(request, body, JSON if is_told else "application/octet-stream", _caching(at))


def _caching(at: str) -> str:
    """Return how long a part of a cube holds: that of a snapshot which is named in full for good."""
    return NEVER_CHANGES if len(at) == _SNAPSHOT and at.isalnum() and at.isupper() else ASK_AGAIN
