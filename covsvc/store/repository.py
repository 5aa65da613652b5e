"""The ledger of a study: an Icechunk repository with one committing writer."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from covsvc.budget import Drawn
from covsvc.errors import CovsvcError, StoreError
from covsvc.fingerprint import code_of, environment
from covsvc.signals import uninterrupted
from covsvc.store import cube
from covsvc.store.candidates import ACCEPTED, VALIDATION, base_of, finish_acceptance, start_candidate
from covsvc.store.history import CANDIDATE, MAIN, resolve
from covsvc.store.place import Place, place_of
from covsvc.store.provenance import Provenance, Spent
from covsvc.store.reason import reason_of, unwritable
from covsvc.study import BLOCKS_PER_TILE, RESERVED, MethodSpec, Study, Task
from covsvc.tally import COUNTS, DONE, FAILED, ExactTally, Tally, left_over

icechunk.set_logs_filter("error")

MOST_HELD = 100_000_000
"""Bytes of tiles that a ledger holds before it commits."""


def stored_studies(store: str | Path) -> list[str]:
    """Return the names of the studies in a store."""
    return _studies_in(place_of(store))


def _studies_in(place: Place) -> list[str]:
    return [name for name in place.names() if name not in RESERVED]


def open_cube(store: str | Path, name: str, at: str = "main") -> xr.Dataset:
    """Return a stored cube as a plain Dataset, lazily.

    Parameters
    ----------
    store : str or Path
        Folder or URL of the store.
    name : str
        Name of the study.
    at : str
        ``"main"``, a tag, the name of a baseline, a candidate or its beginning, the id of a snapshot or its beginning,
        or a time, which is the last commit until then.

    Raises
    ------
    StoreError
        If there is no such store, study or snapshot.
    """
    place = place_of(store)
    repository = open_existing(place, name)
    snapshot = resolve(repository, at, place.study(name))
    try:
        dataset = cube.read(repository.readonly_session(snapshot_id=snapshot).store, place.study(name))
        latest = next(iter(repository.ancestry(snapshot_id=snapshot)))
    except icechunk.IcechunkError as error:
        told = f"snapshot {snapshot} cannot be read: {reason_of(error)}; `covsvc history {name}` lists the others"
        raise StoreError(f"{place.study(name)}: {told}") from None
    dataset.attrs |= {"snapshot": snapshot, "store": place.where}
    dataset.attrs["commit"] = json.dumps(
        {**latest.metadata, "written_at": latest.written_at.isoformat(timespec="seconds")}, sort_keys=True
    )
    return dataset


def snapshot_of(store: str | Path, name: str, at: str = "main") -> str:
    """Return the id of the snapshot that `at` names; see `open_cube`.

    Raises
    ------
    StoreError
        If there is no such store, study or snapshot.
    """
    place = place_of(store)
    return resolve(open_existing(place, name), at, place.study(name))


def driver_of(store: str | Path, name: str) -> str:
    """Return who writes to a study now, empty if nobody does."""
    return place_of(store).holder(name)


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
        if spec.label in known and not _alike(known[spec.label], described(spec, study))
    ]
    if other and not replace:
        raise StoreError(
            f"{where}: the code, the options or the tables of {', '.join(other)} differ from those which made the "
            "stored columns; see with `covsvc validate` what the change does and keep the stored ones until it is "
            "accepted, give a changed method another label in the study, or recompute its columns with --replace"
        )
    return True, other


@contextmanager
def open_ledger(
    store: str | Path,
    study: Study,
    *,
    replace: bool = False,
    s_tile: int = 1,
    commit_seconds: float = 10.0,
    branch: str = MAIN,
    base: str | None = None,
) -> Iterator[Ledger]:
    """Open the ledger of a study for writing, and commit what was added when the context ends, however it does.

    Parameters
    ----------
    store : str or Path
        Folder or URL of the store.
    study : Study
    replace : bool
        Discard stored columns whose toys, code or options are others, instead of refusing them.
    s_tile : int
        Signals of a tile, in a new cube.
    commit_seconds : float
        Time between commits.
    branch : str
        Main, or a candidate, which is made from where main is unless there is one already.
    base : str, optional
        The snapshot at which main has to be for that.

    Raises
    ------
    StoreError
        If another driver has the study, its place holds something else, or the stored toys or columns are others and
        `replace` is not set.
    """
    place = place_of(store)
    with place.lock(study.name) as still_held:
        repository = opened_or_created(
            place, study.name, "is not a store of covsvc; choose another --store, or another name of the study"
        )
        options: dict[str, Any] = {"replace": replace, "s_tile": s_tile, "commit_seconds": commit_seconds}
        try:
            still_held()
            finish_acceptance(repository, place)
            if branch != MAIN:
                start_candidate(repository, branch.removeprefix(CANDIDATE), base)
            ledger = Ledger(repository, study, place, still_held, branch, **options)
            try:
                yield ledger
            finally:
                ledger.commit()
        except icechunk.IcechunkError as error:
            raise unwritable(place.study(study.name), error) from error


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
        place: Place,
        still_held: Callable[[], None],
        branch: str = MAIN,
        *,
        replace: bool,
        s_tile: int,
        commit_seconds: float,
    ) -> None:
        self._repository, self._study, self._where = repository, study, place.study(study.name)
        self._place, self._still_held, self._branch = place, still_held, branch
        self._commit_seconds = commit_seconds
        self._tiles: dict[tuple[int, int], _Tile] = {}
        self._virgin: dict[int, NDArray[np.bool_]] = {}
        self._held = 0
        self._failures: list[dict[str, Any]] = []
        self._reasons: list[dict[str, Any]] = []
        self._trusted = False
        self._committed = time.monotonic()
        self._discards = False
        self._open_session()
        self._engine, self._environment = makers()
        before = next(iter(repository.ancestry(branch=branch))).metadata
        self.provenance = Provenance(before, self._engine, self._environment)
        self._of_candidate: dict[str, str] = {}
        if branch != MAIN:
            self.provenance.what = "validate"
            self._of_candidate = {"candidate": branch, "base": base_of(repository, branch)}
            if before.get("candidate") != branch:
                self._forget_verdict()
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
        at = self._positions["b"][b]
        cells = [self._positions["s_true"][s_true] for s_true in study.s_true]
        rows, levels = self._rows_of(study.columns)
        stored = self._array("block_status")[:, :, at]
        begun = stored.any(axis=(0, 1, 3))
        self._virgin[at] = ~np.logical_or.reduceat(begun, np.arange(0, len(begun), self._s_tile))
        status = stored[rows, levels][:, cells][:, :, : study.n_blocks]
        exact = self._array("exact_status")[:, :, at][rows, levels][:, cells]
        wanted, not_summed = left_over(status, exact, retry_failed=retry_failed)
        low, high = study.s_true[0], study.s_true[-1]
        reach = self._array("worst")[:, :, at, 2:][rows, levels]
        complete = not not_summed.any() and (reach[:, 0] <= low).all() and (reach[:, 1] >= high).all()
        if complete:
            return wanted, None
        return wanted, (float(np.nanmin([*reach[:, 0], low])), float(np.nanmax([*reach[:, 1], high])))

    def drawn(self, b: float) -> Drawn:
        """Return what was drawn, and committed, of the study's columns at one b."""
        at = self._positions["b"][b]
        cells = [self._positions["s_true"][s_true] for s_true in self._study.s_true]
        rows, levels = self._rows_of(self._study.columns)
        status, counts, exact = (
            self._array(name)[:, :, at][rows, levels][:, cells] for name in ("block_status", "counts", "exact_status")
        )
        covered, failed = (counts[..., COUNTS.index(name)] for name in ("n_covered", "n_failed"))
        return Drawn(status, covered, failed, exact == 1, self._study.toys_per_block)

    def sentinels(self) -> Iterator[tuple[Task, NDArray[np.uint64]]]:
        """Yield a stored block of every column, with its digests, if code or libraries have changed since.

        Columns of limit methods that are not as they were are left out: they are not extended anyhow.
        """
        if is_made_here(self._stored):
            return
        waiting = {
            (row, level): self._study.column(spec, cl)
            for row, spec in self._buildable().items()
            for level, cl in enumerate(self._axes["cl"])
        }
        # where background is large methods differ most
        for at, b in sorted(enumerate(self._axes["b"]), key=lambda each: -each[1]):
            done = self._array("block_status")[:, :, at] == DONE
            while waiting:
                place = next((np.argwhere(done[place]) for place in waiting if done[place].any()), None)
                if place is None:
                    break
                cell, block = place[len(place) // 2].tolist()
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
                if _alike(told, described(spec, self._study)):
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

    def tell(self, key: str, value: Any) -> None:
        """Record something about the cube, as an attribute, in a commit."""
        self._describe({key: value})
        self.commit()

    def told(self, key: str) -> Any:
        """Return what was recorded about the cube, None if nothing was."""
        return copy.deepcopy(self._root.attrs.get(key))

    @property
    def is_of_another_engine(self) -> bool:
        """Whether other code than that of now has counted what is stored."""
        return self._stored.get("engine") not in (None, self._engine)

    def trust_engine(self) -> None:
        """Record that the code and the libraries of now make the bits that are stored; from here on commits happen."""
        self._describe({"engine": self._engine, "environment": self._environment})
        self._trusted = True
        self.commit()

    def discard(self, labels: Iterable[str]) -> None:
        """Forget the columns of limit methods; they are missing from now on."""
        for label in labels:
            self._forget(self._axes["limit_method"].index(label))

    @uninterrupted()
    def add(self, tally: Tally) -> None:
        """Add the counts of blocks, and their status; commit if the last commit is long ago, or much is held since."""
        at = self._positions["b"][tally.b]
        cells = np.array([self._positions["s_true"][s_true] for s_true in tally.s_true])
        rows, levels = self._rows_of(tally.columns)
        column, cell, bins, count = tally.bins
        size = self._study.toys_per_block
        if tally.codes is not None and "toy_bins" not in self._arrays:
            cube.keep_toys(self._root, size)
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
            if tally.codes is not None:
                for block in range(tally.start, tally.stop):
                    first = (block - tally.start) * size
                    codes = tally.codes[:, here, first : first + size]
                    self._buffer(at, tile, "toy_bins", block)[place] = codes
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
        self.provenance.add(Spent(tally.toys, tally.status.size, tally.seconds))
        if time.monotonic() - self._committed > self._commit_seconds or self._held > MOST_HELD:
            self.commit()

    @uninterrupted()
    def add_exact(self, exact: ExactTally) -> None:
        """Add exact values."""
        at = self._positions["b"][exact.b]
        cells = [self._positions["s_true"][s_true] for s_true in exact.s_true]
        rows, levels = self._rows_of(exact.columns)
        place = (rows[:, None], levels[:, None], np.array(cells)[None, :])
        for name, values in (("exact", exact.values), ("exact_status", np.where(np.isnan(exact.values[..., 0]), 2, 1))):
            stored = self._array(name)[:, :, at]
            stored[place] = values
            self._array(name)[:, :, at] = stored
        worst = self._array("worst")[:, :, at]
        worst[rows, levels] = exact.worst
        self._array("worst")[:, :, at] = worst
        self.provenance.add(Spent(cpu_seconds=exact.seconds))

    @uninterrupted()
    def commit(self) -> None:
        """Write all that was added; nothing happens if nothing was.

        Raises
        ------
        StoreError
            If it cannot be written, the disk being full, say, or is no longer this driver's. What was committed before
            is whole.
        """
        if not self._trusted:
            return
        try:
            self._commit()
        except StoreError:
            self._trusted = False  # it is over: nothing is tried again on the way out
            raise
        except icechunk.ConflictError:
            self._trusted = False
            raise StoreError(
                f"{self._where}: another driver has committed meanwhile, and this one stops. What is committed is "
                "whole; the same command goes on from there"
            ) from None
        except (icechunk.IcechunkError, OSError) as error:
            raise unwritable(self._where, error) from error

    def _commit(self) -> None:
        self._still_held()  # and the place can be reached
        held = {
            (name, chunk, at, tile): part
            for (at, tile), each in self._tiles.items()
            for (name, chunk), part in each.arrays.items()
        }
        for (name, chunk, at), tiles in _runs(held):  # a call for each of them would take most of the time
            first, last = (self._region(at, tile, name, chunk) for tile in (tiles[0], tiles[-1]))
            region = (*first[:3], slice(first[3].start, last[3].stop), first[4])
            self._array(name)[region] = np.concatenate([held[name, chunk, at, tile] for tile in tiles], axis=2)
        for at, tile in self._tiles:
            if at in self._virgin:
                self._virgin[at][tile] = False
        touched = range(len(self._axes["b"])) if self._discards else {at for at, _ in self._tiles}
        self._tiles.clear()
        self._held = 0
        self._tell_failures(touched)
        self._tell_reasons()
        if self._session.has_uncommitted_changes:
            if self._branch == MAIN:
                self._forget_verdict()
            told = self.provenance.close("replace" if self._discards and self._branch == MAIN else "")
            told |= self._of_candidate
            # not rebased: what another driver committed since may hold the same blocks
            self._session.commit(f"{self._study.name}: {told['what']}, {told['commit']['toys']:,} toys", metadata=told)
            self._discards = False
            self._place.settle()
            self._open_session()
        self._committed = time.monotonic()

    def _tell_failures(self, touched: Collection[int]) -> None:
        """Keep the reasons of blocks that are failed still, at each b that changed; a newer one replaces an older."""
        known = self._root.attrs["failures"]
        if known or self._failures:
            everything = [*known, *self._failures]
            told = {tuple(value for key, value in each.items() if key != "reason"): each for each in everything}
            held: dict[int, NDArray[np.int8]] = {}  # a read for each failure would take most of the time
            kept = []
            for each in told.values():
                row, level, at, cell = (self._positions[name][each[name]] for name in cube.AXES)
                if at in touched and at not in held:
                    held[at] = np.asarray(self._array("block_status")[:, :, at])
                if at not in held or (held[at][row, level, cell, each["start"] : each["stop"]] == FAILED).any():
                    kept.append(each)
            if kept != known:
                self._root.attrs["failures"] = kept
            self._failures = []

    def _tell_reasons(self) -> None:
        """Keep why limits of toys failed: one reason a column and b, that of the smallest signal."""
        if self._reasons:
            known = self._root.attrs.get("toy_failures", [])
            self._root.attrs["toy_failures"] = first_reasons([*known, *self._reasons])
            self._reasons = []

    def _open_session(self) -> None:
        self._session = self._repository.writable_session(self._branch)
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
            self._discards = bool(self._stored)
            for name in list(self._root):
                del self._root[name]
            cube.create(self._root, study.axes, study.n_blocks, s_tile)
            self._root.attrs.put({"schema": cube.WITHOUT_TOYS, "methods": {}, "failures": []})
        known: dict[str, Any] = self._root.attrs["methods"]
        methods = {spec.label: described(spec, study) for spec in study.methods}
        for label in set(methods) & set(known) - set(other):
            methods[label]["tables"] = known[label].get("tables", {}) | methods[label]["tables"]
            methods[label]["calibrations"] = known[label].get("calibrations", {})
        self._axes = cube.read_axes(self._root)
        for name, values in study.axes.items():
            self._axes[name] += [value for value in values if value not in self._axes[name]]
        n_blocks = max(study.n_blocks, self._array("block_status").shape[-1])
        self._positions = {name: {value: at for at, value in enumerate(self._axes[name])} for name in cube.AXES}
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
        told = {
            "source": _source(study),
            "methods": known | methods,
            "study": study.model_dump(mode="json"),
            "failures": failures,
            "toy_failures": reasons,
        }
        self._describe(told)

    def _forget_verdict(self) -> None:
        """Forget what was told of the state before, and is not of this one."""
        for key in {VALIDATION, ACCEPTED} & set(self._root.attrs):
            del self._root.attrs[key]

    def _forget(self, row: int) -> None:
        self._discards = True
        for name, variable in cube.ARRAYS.items():
            self._array(name)[row] = variable.fill
        self._array("worst")[row] = np.nan
        if "toy_bins" in self._root:
            self._array("toy_bins")[row] = cube.TOY_BINS.fill

    def _describe(self, described: Mapping[str, Any]) -> None:
        if any(self._root.attrs.get(key) != value for key, value in described.items()):
            self._root.attrs.update(described)

    def _rows_of(self, columns: tuple[Any, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        labels = [self._positions["limit_method"][column.key[0]] for column in columns]
        return np.array(labels, np.intp), np.array(
            [self._positions["cl"][column.key[1]] for column in columns], np.intp
        )

    def _region(self, at: int, tile: int, name: str, chunk: int) -> tuple[Any, ...]:
        cells = slice(tile * self._s_tile, (tile + 1) * self._s_tile)
        sizes = {"limit_counts": cube.BINS_PER_CHUNK, "counts": None, "toy_bins": self._study.toys_per_block}
        size = sizes.get(name, BLOCKS_PER_TILE)
        last = slice(None) if size is None else slice(chunk * size, (chunk + 1) * size)
        return slice(None), slice(None), at, cells, last

    def _buffer(self, at: int, tile: int, name: str, chunk: int) -> NDArray[Any]:
        held = self._tiles.setdefault((at, tile), _Tile(at in self._virgin and bool(self._virgin[at][tile])))
        if (name, chunk) not in held.arrays:
            region = self._region(at, tile, name, chunk)
            array = self._array(name)
            if held.virgin:
                shape = [
                    len(range(*part.indices(size)))
                    for part, size in zip(region, array.shape, strict=True)
                    if part != at
                ]
                held.arrays[name, chunk] = np.full(shape, array.fill_value, array.dtype)
            else:
                held.arrays[name, chunk] = np.array(array[region])
            self._held += held.arrays[name, chunk].nbytes
        return held.arrays[name, chunk]


def makers() -> tuple[str, dict[str, str]]:
    """Return the fingerprint of the code that tallies, and the libraries and the processor of here and now."""
    return code_of("covsvc.engine.work", "covsvc.tally"), environment()


def is_made_here(stored: Mapping[str, Any]) -> bool:
    """Tell whether the code and the libraries of now made what has these attributes."""
    return (stored.get("engine"), stored.get("environment")) == makers()


def first_reasons(reasons: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return one reason a column and b, that of the smallest signal."""
    known = sorted(reasons, key=lambda each: (each["s_true"], each["reason"]), reverse=True)
    held = {(each["limit_method"], each["cl"], each["b"]): each for each in known}
    return [held[place] for place in sorted(held)]


def _runs(held: Iterable[tuple[str, int, int, int]]) -> Iterator[tuple[tuple[str, int, int], list[int]]]:
    """Yield name, chunk and b of held parts with each run of tiles that lie side by side."""
    for place, group in groupby(sorted(held), key=lambda each: each[:3]):
        tiles = [tile for *_, tile in group]
        for _, run in groupby(enumerate(tiles), key=lambda each: each[1] - each[0]):
            yield place, [tile for _, tile in run]


def described(spec: Any, study: Study) -> dict[str, Any]:
    """Return what a cube tells of a limit method of a study: what it is, reads and promises, and its fingerprint."""
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


def open_existing(place: Place, name: str) -> icechunk.Repository:
    """Return the repository of a study.

    Raises
    ------
    StoreError
        If there is none, or it cannot be opened.
    """
    if not place.exists(name):
        known = ", ".join(_studies_in(place)) or "none"
        told = f"no such study in the store; stored are: {known}. `covsvc run` makes one"
        raise StoreError(f"{place.study(name)}: {told}")
    return open_repository(place, name)


def opened_or_created(place: Place, name: str, foreign: str) -> icechunk.Repository:
    """Return a repository, a new one if there is none; its lock is held.

    Raises
    ------
    StoreError
        If something else is in its place, as `foreign` tells, or it cannot be opened or written.
    """
    if place.exists(name):
        return open_repository(place, name)
    if place.is_foreign(name):
        raise StoreError(f"{place.study(name)}: {foreign}")
    return create_repository(place, name)


def open_repository(place: Place, name: str) -> icechunk.Repository:
    """Return a repository that exists.

    Raises
    ------
    StoreError
        If it cannot be opened.
    """
    try:
        return icechunk.Repository.open(place.storage(name))
    except icechunk.IcechunkError as error:
        raise StoreError(f"{place.study(name)}: cannot be opened: {reason_of(error)}") from None


def create_repository(place: Place, name: str) -> icechunk.Repository:
    """Return a new repository.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    storage = place.storage(name)
    try:
        try:
            return icechunk.Repository.create(storage, spec_version=1)  # so that libraries 1.x read it, too
        except TypeError:
            return icechunk.Repository.create(storage)
    except icechunk.IcechunkError as error:
        raise unwritable(place.study(name), error) from None
