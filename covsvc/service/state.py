"""What the service holds: the studies of a store, the commits that answer, threads and children."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import xarray as xr
from starlette.requests import Request

from covsvc.api.kept_maps import find_maps
from covsvc.api.querying import read_maps
from covsvc.errors import CovsvcError, StoreError, UnknownName
from covsvc.service import jobs
from covsvc.service.answers import Answers, Refusal
from covsvc.service.lanes import Lane
from covsvc.service.metrics import Metrics
from covsvc.service.reports import Reports
from covsvc.service.snapshots import Snapshots
from covsvc.service.workers import Workers
from covsvc.service.zarr_view import ZarrView
from covsvc.store.history import commits
from covsvc.store.place import place_of
from covsvc.store.repository import open_cube, open_existing, snapshot_of, stored_studies

FRESH = 2.0
"""Seconds for which the list of studies is taken as it was."""

CHILDREN = 2
"""Child processes for requests that take long."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class State:
    """All that requests share.

    Parameters
    ----------
    store : str
        Folder or URL.
    most_rows : int
        Of an answer.
    seconds : float
        Time that a request may take in a child process.
    """

    def __init__(self, store: str, most_rows: int, seconds: float) -> None:
        self.store, self.most_rows, self.seconds = store, most_rows, seconds
        self.metrics = Metrics()
        self.answers = Answers(self.metrics)
        self.quick, self.slow = Lane(4, 256), Lane(CHILDREN, 64)
        self._chunks, self._making = Lane(4, 1024), Lane(1, 64)
        self._children, self._maker = Workers(CHILDREN, seconds), Workers(1, 900.0)
        self.snapshots = Snapshots(self._look, self._prepare, self.quick, self._making, self.metrics)
        self.reports = Reports(store)
        self._views: OrderedDict[tuple[str, str], ZarrView] = OrderedDict()
        self._names: tuple[float, list[str]] = (0.0, [])

    async def names(self) -> list[str]:
        """Return the names of the studies."""
        read_at, names = self._names
        if time.monotonic() - read_at > FRESH or not read_at:
            names = await self.quick.run(None, stored_studies, self.store)
            self._names = time.monotonic(), names
        return names

    async def known(self, name: str) -> None:
        """Refuse a study that is not there.

        Raises
        ------
        Refusal
            If there is no such study.
        """
        if name not in await self.names():
            self.snapshots.forget(name)
            raise Refusal(404, str(UnknownName.of("study", name[:100], await self.names())))

    def newest(self, names: Sequence[str]) -> list[dict[str, str]]:
        """Return the newest commit of each study."""
        return [self._newest(name) for name in names]

    async def commit(self, name: str, at: str) -> str:
        """Return the id of the snapshot that `at` names, of a study that is there.

        Raises
        ------
        Refusal
            If there is no such study, or no such commit.
        StoreError
            If the study cannot be read.
        """
        await self.known(name)
        try:
            return await self.snapshots.at(name, at)
        except StoreError as error:
            if at == "main":  # which every study has
                raise
            raise Refusal(404, self.told(name, error)) from None

    async def maps(self, name: str, snapshot: str) -> xr.Dataset:
        """Return the maps of a commit."""
        return await self.snapshots.maps(name, snapshot)

    async def in_child(
        self, request: Request | None, job: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs
    ) -> _T:
        """Do a job in a child process when its turn comes."""

        def do() -> _T:
            return self._children.run(job, *arguments, **options)

        return await self.slow.run(request, do)

    async def chunk(self, request: Request, name: str, snapshot: str, key: str) -> bytes | None:
        """Return what a file of the Zarr store of a commit holds, None if there is none."""
        return await self._chunks.run(request, self._read, name, snapshot, key)

    def told(self, name: str, error: Exception) -> str:
        """Return the message of an error without the place of the store, which is nobody's business."""
        message = str(error)
        for place in (place_of(self.store).study(name), self.store):
            message = message.replace(place, name)
        return message

    def close(self) -> None:
        """End all children."""
        for each in (self._children, self._maker, self.reports):
            each.close()

    def _look(self, name: str, at: str) -> str:
        return snapshot_of(self.store, name, at)

    def _newest(self, name: str) -> dict[str, str]:
        try:
            found = commits(open_existing(place_of(self.store), name))[:1]
        except StoreError:  # one that cannot be read does not hide the others
            found = []
        told = [
            {"snapshot": each.snapshot, "written_at": each.written_at.isoformat(timespec="seconds")} for each in found
        ]
        return {"study": name, **(told[0] if told else {"snapshot": "", "written_at": ""})}

    def _prepare(self, name: str, snapshot: str) -> xr.Dataset:
        if find_maps(place_of(self.store).study(name), snapshot) is None:
            try:
                self._maker.run(jobs.prepare, self.store, name, snapshot)
            except ChildProcessError as error:
                raise StoreError(f"{name}: the maps of snapshot {snapshot} could not be made: {error}") from None
        return read_maps(self.store, name, snapshot)

    def _read(self, name: str, snapshot: str, key: str) -> bytes | None:
        try:
            return self._view(name, snapshot).read(key)
        except (CovsvcError, MemoryError):
            raise
        except Exception as error:  # codecs raise anything on what is damaged
            raise StoreError(f"{name}: {key} of snapshot {snapshot} cannot be read: {error}") from error

    def _view(self, name: str, snapshot: str) -> ZarrView:
        view = self._views.get((name, snapshot))
        if view is None:
            view = self._views[name, snapshot] = ZarrView(open_cube(self.store, name, snapshot))
            while len(self._views) > 16:
                self._views.popitem(last=False)
        return view
