"""The ledger of a study: an Icechunk repository with one committing writer."""

from __future__ import annotations

import copy
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from covsvc.errors import CovsvcError, StoreError
from covsvc.fingerprint import code_of, environment, git_revision
from covsvc.store import cube
from covsvc.study import BLOCKS_PER_TILE, RESERVED, Column, MethodSpec, Study, Task
from covsvc.tally import DONE, FAILED, MISSING, ExactTally, Tally
from covsvc.version import __version__

icechunk.set_logs_filter("error")


def stored_studies(store: str | Path) -> list[str]:
    """Return the names of the studies in a store."""
    folder = Path(store)
    names = sorted(each.name for each in folder.iterdir() if holds_repository(each)) if folder.is_dir() else []
    return [name for name in names if name not in RESERVED]


def open_cube(store: str | Path, name: str, at: str = "main") -> xr.Dataset:
    """Return a stored cube as a plain Dataset, lazily.

    Parameters
    ----------
    store : str or Path
        Folder of the store.
    name : str
        Name of the study.
    at : str
        ``"main"``, or the id of a snapshot.

    Raises
    ------
    StoreError
        If there is no such store, study or snapshot.
    """
    repository = _existing(store, name)
    try:
        session = repository.readonly_session(at) if at == "main" else repository.readonly_session(snapshot_id=at)
    except (icechunk.IcechunkError, ValueError):
        raise StoreError(f"{Path(store) / name}: no snapshot {at!r}") from None
    dataset = cube.read(session.store, str(Path(store) / name))
    dataset.attrs |= {"snapshot": session.snapshot_id, "store": str(store)}
    latest = next(iter(repository.ancestry(snapshot_id=session.snapshot_id)))
    dataset.attrs["commit"] = json.dumps(
        {**latest.metadata, "written_at": latest.written_at.isoformat(timespec="seconds")}
    )
    return dataset


def driver_of(store: str | Path, name: str) -> str:
    """Return who writes to a study now, empty if nobody does."""
    path = Path(store) / f"{name}.lock"
    if not path.exists():
        return ""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip()
    return ""


def compare(stored: Mapping[str, Any], study: Study, where: str, *, replace: bool = False) -> tuple[bool, list[str]]:
    """Compare the attributes of a stored cube with a study that would extend it.

    Returns
    -------
    same_toys : bool
        Whether the stored toys are those of the study.
    other : list of str
        Labels of the study whose stored columns were made by other code or options.

    Raises
    ------
    StoreError
        If anything differs and `replace` is not set; the message holds the cure.
    """
    source = _source(study)
    if stored.get("source") != source:
        if stored and not replace:
            raise StoreError(_differing(where, stored["source"], source))
        return False, []
    known = stored["methods"]
    other = [
        spec.label
        for spec in study.methods
        if spec.label in known and not _alike(known[spec.label], _described(spec, study))
    ]
    if other and not replace:
        raise StoreError(
            f"{where}: the code, the options or the tables of {', '.join(other)} differ from those which made the "
            "stored columns; give a changed method another label in the study, or recompute its columns with --replace"
        )
    return True, other


@contextmanager
def open_ledger(
    store: str | Path, study: Study, *, replace: bool = False, s_tile: int = 1, commit_seconds: float = 10.0
) -> Iterator[Ledger]:
    """Open the ledger of a study for writing, and commit what was added when the context ends, however it does.

    Raises
    ------
    StoreError
        If another driver has the study, the folder holds something else, or the stored toys or columns are others and
        `replace` is not set.
    """
    folder = Path(store)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}; --store names a folder that can be written") from None
    with locked(folder / f"{study.name}.lock"):
        path = folder / study.name
        if holds_repository(path):
            repository = _existing(folder, study.name)
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise StoreError(f"{path}: is not a store of covsvc; choose another --store, or another name of the study")
        else:
            repository = create_repository(path)
        ledger = Ledger(repository, study, str(path), replace=replace, s_tile=s_tile, commit_seconds=commit_seconds)
        try:
            yield ledger
        finally:
            ledger.commit()


@dataclass
class _Tile:
    """Buffers of one tile, read when they are first needed, written when the ledger commits."""

    virgin: bool
    arrays: dict[tuple[str, int], NDArray[Any]] = field(default_factory=dict)


class Ledger:
    """What is stored of a study, what is missing, and the one door by which tallies enter.

    Counts and the status of their blocks change in the same commit, so that every block counts exactly once.
    """

    def __init__(
        self,
        repository: icechunk.Repository,
        study: Study,
        where: str,
        *,
        replace: bool,
        s_tile: int,
        commit_seconds: float,
    ) -> None:
        self._repository, self._study, self._where = repository, study, where
        self._commit_seconds = commit_seconds
        self._tiles: dict[tuple[int, int], _Tile] = {}
        self._virgin: set[tuple[int, int]] = set()
        self._failures: list[dict[str, Any]] = []
        self._reasons: list[dict[str, Any]] = []
        self._trusted = False
        self._seconds = 0.0
        self._toys = 0
        self._began = self._committed = time.monotonic()
        self._open_session()
        self._engine, self._environment = code_of("covsvc.engine.work", "covsvc.tally"), environment()
        self._prepare(replace, s_tile)

    def missing(self, b: float, *, retry_failed: bool = False) -> tuple[NDArray[np.bool_], tuple[float, float] | None]:
        """Return what of the study is missing at one b.

        Returns
        -------
        blocks : ndarray of bool, shape (column, s_true, block)
        reach : tuple of float, or None
            The range of s over which exact values are to be made, no smaller than what is stored; None if none is.
        """
        study = self._study
        at = self._axes["b"].index(b)
        cells = [self._axes["s_true"].index(s_true) for s_true in study.s_true]
        rows, levels = self._rows_of(study.columns)
        stored = self._array("block_status")[:, :, at]
        for tile in range(0, stored.shape[2], self._s_tile):
            if not stored[:, :, tile : tile + self._s_tile].any():
                self._virgin.add((at, tile // self._s_tile))
        status = stored[rows, levels][:, cells][:, :, : study.n_blocks]
        exact = self._array("exact_status")[:, :, at][rows, levels][:, cells]
        wanted = status == MISSING
        if retry_failed:
            wanted |= status == FAILED
        low, high = study.s_true[0], study.s_true[-1]
        reach = self._array("worst")[:, :, at, 2:][rows, levels]
        complete = (exact != 0).all() and (reach[:, 0] <= low).all() and (reach[:, 1] >= high).all()
        if complete:
            return wanted, None
        return wanted, (float(np.nanmin([*reach[:, 0], low])), float(np.nanmax([*reach[:, 1], high])))

    def sentinels(self) -> Iterator[tuple[Task, NDArray[np.uint64]]]:
        """Yield a stored block of every column, with its digests, if code or libraries have changed since.

        Columns of limit methods that are not as they were are left out: they are not extended anyhow.
        """
        if self._stored.get("engine") == self._engine and self._stored.get("environment") == self._environment:
            return
        waiting = {
            (row, level): Column(spec, cl)
            for row, spec in self._buildable().items()
            for level, cl in enumerate(self._axes["cl"])
        }
        for at, b in enumerate(self._axes["b"]):
            done = self._array("block_status")[:, :, at] == DONE
            while waiting:
                place = next((np.argwhere(done[place]) for place in waiting if done[place].any()), None)
                if place is None:
                    break
                cell, block = place[0].tolist()
                held = [each for each in waiting if done[(*each, cell, block)]]
                columns = tuple(waiting.pop(each) for each in held)
                digests = self._array("limit_digest")[:, :, at, cell, block][tuple(np.array(held).T)]
                yield Task(self._study.source, columns, b, (self._axes["s_true"][cell],), block, block + 1), digests

    def _buildable(self) -> dict[int, MethodSpec]:
        """Return the stored methods whose code and options are as they were, by row."""
        found = {}
        for label, told in self._stored.get("methods", {}).items():
            try:
                spec = MethodSpec(name=told["name"], options=told["options"], view=told["view"], label=label)
                if _alike(told, _described(spec, self._study)):
                    found[self._axes["limit_method"].index(label)] = spec
            except (ValueError, CovsvcError):
                continue
        return found

    def note_calibrations(self, errors: Mapping[tuple[str, float], float]) -> None:
        """Record the standard errors of coverage that the calibrations of columns leave, by label and cl."""
        methods: dict[str, Any] = copy.deepcopy(self._root.attrs["methods"])
        for (label, cl), error in errors.items():
            held = methods[label]["calibrations"]
            held[f"{cl:.12g}"] = max(error, held.get(f"{cl:.12g}", 0.0))
        self._describe({"methods": methods})

    def trust_engine(self) -> None:
        """Record that the code and the libraries of now make the bits that are stored; from here on commits happen."""
        self._describe({"engine": self._engine, "environment": self._environment})
        self._trusted = True
        self.commit()

    def discard(self, labels: Iterable[str]) -> None:
        """Forget the columns of limit methods; they are missing from now on."""
        for label in labels:
            self._forget(self._axes["limit_method"].index(label))

    def add(self, tally: Tally) -> None:
        """Add the counts of blocks, and their status; commit if the last commit is long ago."""
        at = self._axes["b"].index(tally.b)
        cells = np.array([self._axes["s_true"].index(s_true) for s_true in tally.s_true])
        rows, levels = self._rows_of(tally.columns)
        column, cell, bins, count = tally.bins
        for tile in np.unique(cells // self._s_tile).tolist():
            here = np.flatnonzero(cells // self._s_tile == tile)
            inside = cells[here] - tile * self._s_tile
            box = np.ix_(np.arange(len(rows)), here)
            place = (rows[:, None], levels[:, None], inside[None, :])
            self._buffer(at, tile, "counts", 0)[place] += tally.counts[box]
            for start in range(tally.start, tally.stop, BLOCKS_PER_TILE):
                chunk = start // BLOCKS_PER_TILE
                run = slice(start - tally.start, min((chunk + 1) * BLOCKS_PER_TILE, tally.stop) - tally.start)
                to = slice(start % BLOCKS_PER_TILE, start % BLOCKS_PER_TILE + run.stop - run.start)
                self._buffer(at, tile, "block_status", chunk)[*place, to] = tally.status[box][:, :, run]
                self._buffer(at, tile, "limit_digest", chunk)[*place, to] = tally.digest[box][:, :, run]
            held = cells[cell] // self._s_tile == tile
            for chunk in np.unique(bins[held] // cube.BINS_PER_CHUNK).tolist():
                one = held & (bins // cube.BINS_PER_CHUNK == chunk)
                to_bins = (rows[column[one]], levels[column[one]], cells[cell[one]] - tile * self._s_tile)
                buffer = self._buffer(at, tile, "limit_counts", chunk)
                np.add.at(buffer, (*to_bins, bins[one] - chunk * cube.BINS_PER_CHUNK), count[one])
        self._failures += [
            {
                "limit_method": failure.column.key[0],
                "cl": failure.column.key[1],
                "b": failure.b,
                "s_true": failure.s_true,
                "start": failure.start,
                "stop": failure.stop,
                "reason": failure.reason,
            }
            for failure in tally.failures
        ]
        self._reasons += [
            {
                "limit_method": each.column.key[0],
                "cl": each.column.key[1],
                "b": each.b,
                "s_true": each.s_true,
                "reason": each.reason,
            }
            for each in tally.reasons
        ]
        self._seconds += tally.seconds
        self._toys += tally.toys
        if time.monotonic() - self._committed > self._commit_seconds:
            self.commit()

    def add_exact(self, exact: ExactTally) -> None:
        """Add exact values."""
        at = self._axes["b"].index(exact.b)
        cells = [self._axes["s_true"].index(s_true) for s_true in exact.s_true]
        rows, levels = self._rows_of(exact.columns)
        place = (rows[:, None], levels[:, None], np.array(cells)[None, :])
        for name, values in (("exact", exact.values), ("exact_status", np.where(np.isnan(exact.values[..., 0]), 2, 1))):
            stored = self._array(name)[:, :, at]
            stored[place] = values
            self._array(name)[:, :, at] = stored
        worst = self._array("worst")[:, :, at]
        worst[rows, levels] = exact.worst
        self._array("worst")[:, :, at] = worst
        self._seconds += exact.seconds

    def commit(self) -> None:
        """Write all that was added; nothing happens if nothing was.

        Raises
        ------
        StoreError
            If it cannot be written, the disk being full, say. What was committed before is whole.
        """
        if not self._trusted:
            return
        try:
            self._commit()
        except (icechunk.IcechunkError, OSError) as error:
            raise StoreError(f"{self._where}: cannot be written: {error}") from error

    def _commit(self) -> None:
        for (at, tile), held in self._tiles.items():
            for (name, chunk), buffer in held.arrays.items():
                self._array(name)[self._region(at, tile, name, chunk)] = buffer
            self._virgin.discard((at, tile))
        self._tiles.clear()
        self._tell_failures()
        self._tell_reasons()
        if self._session.has_uncommitted_changes:
            now = time.monotonic()
            told = {
                "covsvc": __version__,
                "git_revision": git_revision(),
                "kernel_cpu_seconds": round(self._seconds, 3),
                "wall_seconds": round(now - self._began, 3),
                "toys": self._toys,
            }
            self._session.commit(f"{self._study.name}: {self._toys:,} toys", metadata=told)
            os.sync()  # Icechunk does not fsync: a commit should survive a power loss
            self._open_session()
        self._committed = time.monotonic()

    def _tell_failures(self) -> None:
        """Keep the reasons of the blocks that are failed still; a newer one replaces an older."""
        known = self._root.attrs["failures"]
        if known or self._failures:
            everything = [*known, *self._failures]
            told = {tuple(value for key, value in each.items() if key != "reason"): each for each in everything}
            kept = [each for each in told.values() if self._is_failed(each)]
            if kept != known:
                self._root.attrs["failures"] = kept
            self._failures = []

    def _tell_reasons(self) -> None:
        """Keep why limits of toys failed: one reason a column and b, that of the smallest signal."""
        if self._reasons:
            known = [*self._root.attrs.get("toy_failures", []), *self._reasons]
            known.sort(key=lambda each: (each["s_true"], each["reason"]), reverse=True)
            held = {(each["limit_method"], each["cl"], each["b"]): each for each in known}
            self._root.attrs["toy_failures"] = [held[place] for place in sorted(held)]
            self._reasons = []

    def _is_failed(self, failure: Mapping[str, Any]) -> bool:
        at = tuple(self._axes[name].index(failure[name]) for name in cube.AXES)
        status = self._array("block_status")[(*at, slice(failure["start"], failure["stop"]))]
        return bool((status == FAILED).any())

    def _open_session(self) -> None:
        self._session = self._repository.writable_session("main")
        self._root = zarr.open_group(self._session.store, mode="a")
        self._arrays: dict[str, Any] = {}

    def _array(self, name: str) -> Any:
        # looking an array up reads its metadata: once a session
        if name not in self._arrays:
            self._arrays[name] = self._root[name]
        return self._arrays[name]

    def _prepare(self, replace: bool, s_tile: int) -> None:
        """Create or grow the cube so that the study has its place in it."""
        study = self._study
        self._stored = dict(self._root.attrs)
        if self._stored:
            cube.check_schema(self._root, self._where)
        same_toys, other = compare(self._stored, study, self._where, replace=replace)
        if not same_toys:
            for name in list(self._root):
                del self._root[name]
            cube.create(self._root, study.axes, study.n_blocks, s_tile)
            self._root.attrs.put({"schema": cube.SCHEMA, "methods": {}, "failures": []})
        known: dict[str, Any] = self._root.attrs["methods"]
        methods = {spec.label: _described(spec, study) for spec in study.methods}
        for label in set(methods) & set(known) - set(other):
            methods[label]["tables"] = known[label].get("tables", {}) | methods[label]["tables"]
            methods[label]["calibrations"] = known[label].get("calibrations", {})
        self._axes = cube.read_axes(self._root)
        for name, values in study.axes.items():
            self._axes[name] += [value for value in values if value not in self._axes[name]]
        n_blocks = max(study.n_blocks, self._array("block_status").shape[-1])
        grown = (*(len(self._axes[name]) for name in cube.AXES), n_blocks)
        if grown != self._array("block_status").shape:
            cube.grow(self._root, self._axes, n_blocks)
            self._arrays.clear()
        for label in other:
            self._forget(self._axes["limit_method"].index(label))
        self._s_tile = self._array("block_status").chunks[3]
        failures, reasons = (
            [each for each in self._root.attrs.get(name, []) if each["limit_method"] not in other]
            for name in ("failures", "toy_failures")
        )
        described = {
            "source": _source(study),
            "methods": known | methods,
            "study": study.model_dump(mode="json"),
            "failures": failures,
            "toy_failures": reasons,
        }
        self._describe(described)

    def _forget(self, row: int) -> None:
        for name, variable in cube.ARRAYS.items():
            self._array(name)[row] = variable.fill
        self._array("worst")[row] = np.nan

    def _describe(self, described: Mapping[str, Any]) -> None:
        if any(self._root.attrs.get(key) != value for key, value in described.items()):
            self._root.attrs.update(described)

    def _rows_of(self, columns: tuple[Any, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        labels = [self._axes["limit_method"].index(column.key[0]) for column in columns]
        return np.array(labels, np.intp), np.array(
            [self._axes["cl"].index(column.key[1]) for column in columns], np.intp
        )

    def _region(self, at: int, tile: int, name: str, chunk: int) -> tuple[Any, ...]:
        cells = slice(tile * self._s_tile, (tile + 1) * self._s_tile)
        size = {"limit_counts": cube.BINS_PER_CHUNK, "counts": None}.get(name, BLOCKS_PER_TILE)
        last = slice(None) if size is None else slice(chunk * size, (chunk + 1) * size)
        return slice(None), slice(None), at, cells, last

    def _buffer(self, at: int, tile: int, name: str, chunk: int) -> NDArray[Any]:
        held = self._tiles.setdefault((at, tile), _Tile((at, tile) in self._virgin))
        if (name, chunk) not in held.arrays:
            region = self._region(at, tile, name, chunk)
            array = self._array(name)
            if held.virgin:
                shape = [
                    len(range(*part.indices(size)))
                    for part, size in zip(region, array.shape, strict=True)
                    if part != at
                ]
                held.arrays[name, chunk] = np.zeros(shape, array.dtype)
            else:
                held.arrays[name, chunk] = np.array(array[region])
        return held.arrays[name, chunk]


def _described(spec: Any, study: Study) -> dict[str, Any]:
    method, experiment = spec.build(), study.experiment.build()
    code = code_of(type(method).__module__, type(experiment).__module__)
    return {
        "name": spec.name,
        "options": spec.options,
        "view": spec.view,
        "reads": experiment.gives[spec.view_of(experiment)].__name__,
        "sided": method.sided,
        "promises": spec.promise_on(experiment),
        "fingerprint": f"{spec.name}:{code}:{json.dumps(spec.options, sort_keys=True)}:{spec.view}",
        "tables": {f"{cl:.12g}": _table_of(method, cl) for cl in study.cl} if hasattr(method, "calibration") else {},
        "calibrations": {},
    }


def _table_of(method: Any, cl: float) -> dict[str, Any]:
    return {"digest": method.calibration(cl), "error": method.calibration_error(cl)}


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two descriptions of a method mean the same limits; tables matter where both have that cl."""
    tables = one.get("tables", {}), other.get("tables", {})
    return one["fingerprint"] == other["fingerprint"] and all(
        tables[0][cl]["digest"] == tables[1][cl]["digest"] for cl in set(tables[0]) & set(tables[1])
    )


def _source(study: Study) -> dict[str, Any]:
    toys = study.source
    # as JSON, which has no tuples: so it comes back from the store
    return {
        "experiment": toys.experiment.model_dump(mode="json"),
        "seed": toys.seed,
        "toys_per_block": toys.toys_per_block,
    }


def _differing(where: str, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    told = "; ".join(
        f"{key} is {stored[key]!r} there and {wanted[key]!r} here" for key in wanted if stored[key] != wanted[key]
    )
    return (
        f"{where}: the stored toys are others: {told}. Restore the value, give the study another name, "
        "or discard the stored columns with --replace"
    )


def holds_repository(path: Path) -> bool:
    """Tell whether a folder is an Icechunk repository."""
    return path.is_dir() and bool(icechunk.Repository.exists(icechunk.local_filesystem_storage(str(path))))


def _existing(store: str | Path, name: str) -> icechunk.Repository:
    path = Path(store) / name
    if not holds_repository(path):
        known = ", ".join(stored_studies(store)) or "none"
        raise StoreError(f"{path}: no such study in the store; stored are: {known}. `covsvc run` makes one")
    return open_repository(path)


def open_repository(path: Path) -> icechunk.Repository:
    """Return the repository in a folder.

    Raises
    ------
    StoreError
        If it cannot be opened.
    """
    try:
        return icechunk.Repository.open(icechunk.local_filesystem_storage(str(path)))
    except icechunk.IcechunkError as error:
        raise StoreError(f"{path}: cannot be opened: {error}") from None


def create_repository(path: Path) -> icechunk.Repository:
    """Return a new repository in an empty folder."""
    storage = icechunk.local_filesystem_storage(str(path))
    try:
        try:
            return icechunk.Repository.create(storage, spec_version=1)  # so that libraries 1.x read it, too
        except TypeError:
            return icechunk.Repository.create(storage)
    except icechunk.IcechunkError as error:
        raise StoreError(f"{path}: cannot be written: {error}") from None


@contextmanager
def locked(path: Path, held: str = "another driver has this study", patience: float = 1.0) -> Iterator[None]:
    """Hold a lock, or say who holds it after `patience` seconds.

    Raises
    ------
    StoreError
        If another process holds it, or the file cannot be written.
    """
    try:
        file = path.open("a+")
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; choose a folder that can be written") from None
    with file:
        attempts = max(1, round(10 * patience))
        for attempt in range(attempts):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt < attempts - 1:  # `status` may look just now
                    time.sleep(0.1)
                    continue
                file.seek(0)
                raise StoreError(f"{path.parent / path.stem}: {held}: {file.read().strip()}") from None
        file.truncate(0)
        start = datetime.now(UTC).isoformat(timespec="seconds")
        file.write(f"pid {os.getpid()} on {socket.gethostname()} since {start}\n")
        file.flush()
        yield
