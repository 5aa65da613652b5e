"""Merging of cubes: what one has and another has not, each block counted once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from covsvc.errors import StoreError
from covsvc.store import cube as schema
from covsvc.store.candidates import ACCEPTED, VALIDATION, finish_acceptance
from covsvc.store.export import s_tile
from covsvc.store.place import Place, place_of
from covsvc.store.provenance import Provenance, Spent
from covsvc.store.reason import reason_of, unwritable
from covsvc.store.repository import create_repository, first_reasons, makers, open_repository
from covsvc.tally import COUNTS, DONE, EXACT, FAILED, MISSING, N_BINS, NOT_DRAWN, ROUNDING, WORST

_OF_A_SNAPSHOT = ("snapshot", "store", "commit", VALIDATION, ACCEPTED)
"""Attributes that reading adds to those which are stored, or that tell of one state alone."""

_COLUMN = ("limit_method", "cl")

Columns = list[tuple[str, float]]


@dataclass(frozen=True)
class Source:
    """A cube to be merged, and what people call it."""

    told: str
    cube: xr.Dataset


Prove = Callable[[Source, Columns], list[str]]
"""Takes a cube and columns; returns those of which a stored block comes out otherwise here and now."""


@dataclass
class Merged:
    """What a merge did.

    Attributes
    ----------
    snapshot : str
        The newest one, whether it is of this merge or there was nothing to add.
    committed : bool
        Whether there was anything to add.
    blocks, toys : list of int
        What came from each source: blocks of columns, and toys of cells.
    left_out : int
        Blocks of columns that stay missing, since the counts which hold them overlap with others.
    example : str
        The first column and cell of them.
    """

    snapshot: str = ""
    committed: bool = False
    blocks: list[int] = field(default_factory=list)
    toys: list[int] = field(default_factory=list)
    left_out: int = 0
    example: str = ""


def merge_cubes(
    store: str | Path, name: str, sources: Sequence[Source], prove: Prove, *, as_new: bool = False
) -> Merged:
    """Add to a stored study what cubes have and it has not, in one commit.

    Of each column and cell the counts are known as a sum over blocks. Sums of disjoint blocks add; of overlapping ones
    that of more blocks is kept.

    Parameters
    ----------
    store : str or Path
        Folder or URL of the store.
    name : str
        Name of the study; it need not be stored yet.
    sources : sequence of Source
    prove : callable
        Asked where other code or libraries counted, and no common block tells whether their limits are the same.
    as_new : bool
        Refuse a study that is stored already.

    Raises
    ------
    StoreError
        If the cubes are not of the same toys and methods, or contradict each other; nothing is changed.
    """
    place = place_of(store)
    where = place.study(name)
    with place.lock(name) as still_held:
        if place.is_foreign(name):
            raise StoreError(f"{where}: is not a store of covsvc; choose another --store, or another name of the study")
        repository = open_repository(place, name) if place.exists(name) else None
        ours = None if repository is None else _read(repository, where)
        if ours is not None and as_new:
            raise StoreError(
                f"{where}: is stored already; add to it with `covsvc merge {name} FROM`, "
                "or give what is imported another --name"
            )
        merge = _Merge(where, name, ours, sources, prove)
        merge.look()
        if ours is not None and not merge.is_needed:
            merge.merged.snapshot = ours.snapshot
            return merge.merged
        if repository is None:
            repository = create_repository(place, name)
        return _commit(repository, place, name, merge, still_held, "import" if as_new else "merge")


@dataclass(frozen=True)
class _Stored:
    """What is stored: the cube, sorted, and its axes as they lie on disk, in order of arrival."""

    cube: xr.Dataset
    axes: Mapping[str, list[Any]]
    snapshot: str


def _read(repository: icechunk.Repository, where: str) -> _Stored | None:
    """Return what is stored; None if the first driver was killed before its first commit."""
    try:
        session = repository.readonly_session("main")
        next(iter(repository.ancestry(snapshot_id=session.snapshot_id)))  # if it is lost, zarr finds nothing stored
        root = zarr.open_group(session.store, mode="r")
        return _Stored(schema.read(session.store, where), schema.read_axes(root), session.snapshot_id)
    except icechunk.IcechunkError as error:
        raise StoreError(f"{where}: cannot be read, it is damaged: {reason_of(error)}") from error
    except FileNotFoundError:
        return None


def _commit(
    repository: icechunk.Repository, place: Place, name: str, merge: _Merge, still_held: Callable[[], None], what: str
) -> Merged:
    provenance = Provenance(next(iter(repository.ancestry(branch="main"))).metadata, *makers())
    merged = merge.merged
    try:
        finish_acceptance(repository, place)
        session = repository.writable_session("main")
        merge.write(zarr.open_group(session.store, mode="a"))
        provenance.add(merge.spent)
        still_held()
        told = f"{name}: {what}, {sum(merged.toys):,} toys"
        merged.snapshot, merged.committed = session.commit(told, metadata=provenance.close(what)), True
        place.settle()
    except (icechunk.IcechunkError, OSError) as error:
        raise unwritable(place.study(name), error) from error
    return merged


class _Part:
    """One of the cubes, read as if it had the axes of the merged one; nothing where it has not."""

    def __init__(self, told: str, cube: xr.Dataset | None, axes: Mapping[str, list[Any]], n_blocks: int) -> None:
        self.told, self._cube, self._n_blocks = told, cube, n_blocks
        self._at = {name: np.full(len(values), -1) for name, values in axes.items()}
        if cube is not None:
            for name, values in axes.items():
                places = {value: at for at, value in enumerate(_values(cube, name))}
                self._at[name] = np.array([places.get(value, -1) for value in values])

    def holds(self, b: int, cells: slice) -> bool:
        """Tell whether the cube has any of some cells."""
        return bool(self._at["b"][b] >= 0 and (self._at["s_true"][cells] >= 0).any())

    def tile(self, b: int, cells: slice, *names: str) -> NDArray[Any]:
        """Return variables of one kind, shape (limit_method, cl, s_true, ..., variable)."""
        kind = schema.ARRAYS["counts" if names == COUNTS else "exact" if names == EXACT else names[0]]
        at = [self._at["limit_method"], self._at["cl"], self._at["s_true"][cells]]
        extra = {"block": [self._n_blocks], "limit_bin": [N_BINS]}.get("".join(kind.extra), [])
        found = np.full((*map(len, at), *extra, len(names)), kind.fill, kind.dtype)
        if self._cube is None or not self.holds(b, cells):
            return found
        held = [np.flatnonzero(each >= 0) for each in at]
        there = [each[index] for each, index in zip(at, held, strict=True)]
        first = int(there[2].min())
        box = {"b": int(self._at["b"][b]), "s_true": slice(first, int(there[2].max()) + 1)}
        read = _read_values(self.told, self._cube, names, box, (*_COLUMN, "s_true"))
        values = read[np.ix_(there[0], there[1], there[2] - first)]
        if kind.extra == ("block",):
            values = np.pad(values, [(0, 0)] * 3 + [(0, self._n_blocks - values.shape[3]), (0, 0)])
        found[np.ix_(*held)] = values
        return found

    def codes(self, b: int, cells: slice, toys: slice) -> NDArray[np.int16]:
        """Return `toy_bins`, shape (limit_method, cl, s_true, toy)."""
        at = [self._at["limit_method"], self._at["cl"], self._at["s_true"][cells]]
        found = np.full((*map(len, at), toys.stop - toys.start), NOT_DRAWN, np.int16)
        if self._cube is not None and self.holds(b, cells) and toys.start < self._cube.sizes.get("toy", 0):
            held = [np.flatnonzero(each >= 0) for each in at]
            there = [each[index] for each, index in zip(at, held, strict=True)]
            box = {"b": int(self._at["b"][b]), "s_true": there[2], "toy": toys}
            read = _read_values(self.told, self._cube, ["toy_bins"], box, (*_COLUMN, "s_true", "toy"))[..., 0]
            found[np.ix_(*held)] = read[np.ix_(there[0], there[1])]
        return found

    def worst(self, b: int) -> NDArray[np.float64]:
        """Return `WORST`, shape (limit_method, cl, found)."""
        at = [self._at[name] for name in _COLUMN]
        found = np.full((*map(len, at), len(WORST)), np.nan)
        if self._cube is not None and self._at["b"][b] >= 0:
            held = [np.flatnonzero(each >= 0) for each in at]
            there = [each[index] for each, index in zip(at, held, strict=True)]
            row = _read_values(self.told, self._cube, WORST, {"b": int(self._at["b"][b])}, _COLUMN)
            found[np.ix_(*held)] = row[np.ix_(*there)]
        return found


@dataclass(frozen=True)
class _Blocks:
    """Whose counts are taken in a tile of cells.

    Attributes
    ----------
    done : ndarray of bool, shape (part, limit_method, cl, s_true, block)
    chosen : ndarray of bool, shape (part, limit_method, cl, s_true)
    status : ndarray of int8, shape (limit_method, cl, s_true, block)
    digest : ndarray of uint64, of the same shape
    is_new : bool
        Whether it differs from what is stored.
    """

    done: NDArray[np.bool_]
    chosen: NDArray[np.bool_]
    status: NDArray[np.int8]
    digest: NDArray[np.uint64]
    is_new: bool


class _Merge:
    """What is stored, and the cubes that are merged into it.

    `look` finds out what is to be done and refuses what cannot be; `write` does it.
    """

    def __init__(self, where: str, name: str, ours: _Stored | None, sources: Sequence[Source], prove: Prove) -> None:
        self._prove, self._ours, self._sources = prove, ours, sources
        self.base = sources[0] if ours is None else Source(where, ours.cube)
        self._tile = s_tile(self.base.cube)
        known = [{axis: _values(each.cube, axis) for axis in schema.AXES} for each in sources]
        arrived = known if ours is None else [ours.axes, *known]
        self.axes = {
            axis: list(dict.fromkeys(value for each in arrived for value in each[axis])) for axis in schema.AXES
        }
        self._index = {axis: {value: at for at, value in enumerate(values)} for axis, values in self.axes.items()}
        self.n_blocks = max(each.cube.sizes["block"] for each in (self.base, *sources))
        self._keeps = any("toy_bins" in each.cube for each in (self.base, *sources))
        self._parts = [
            _Part(where, ours.cube if ours else None, self.axes, self.n_blocks),
            *(_Part(each.told, each.cube, self.axes, self.n_blocks) for each in sources),
        ]
        self._attributes = attributes_of(self.base.cube)
        for each in sources:
            if each is not self.base:
                _add_attributes(self._attributes, each, self.base.told)
        self._attributes["study"]["name"] = name
        self._work: list[tuple[int, slice]] = []
        self._rows: list[int] = []
        self.merged = Merged(blocks=[0] * len(sources), toys=[0] * len(sources))

    @property
    def is_needed(self) -> bool:
        """Whether anything is to be written."""
        same = self._ours is not None and self._attributes == attributes_of(self._ours.cube)
        return bool(self._work or self._rows or not same)

    @property
    def spent(self) -> Spent:
        """What was spent on what is added: of what a source cost, the share of its toys."""
        total = Spent()
        for source, toys, blocks in zip(self._sources, self.merged.toys, self.merged.blocks, strict=True):
            cost = Spent.of(json.loads(source.cube.attrs.get("commit", "{}")).get("all", {}))
            share = min(1.0, toys / cost.toys) if cost.toys else 0.0
            total += Spent(toys, blocks, share * cost.cpu_seconds, share * cost.wall_seconds)
        return total

    def look(self) -> None:
        """Find what is to be added.

        Raises
        ------
        StoreError
            If the cubes contradict each other, or were counted by code or libraries of which that is not known.
        """
        shape = len(self._parts), len(self.axes["limit_method"]), len(self.axes["cl"])
        shared, drawn = np.zeros(shape, bool), np.zeros(shape, bool)
        failures = self._attributes["failures"]
        for b, cells in self._tiles():
            blocks = self._blocks(b, cells, shared)
            drawn |= blocks.done.any(axis=(3, 4))
            if blocks.is_new or self._exact(b, cells)[2]:
                self._work.append((b, cells))
            self._count(blocks, b, cells)
            failures = [each for each in failures if not self._is_overcome(each, blocks, b, cells)]
        self._attributes["failures"] = failures
        self._rows = [b for b in range(len(self.axes["b"])) if self._worst(b)[1]]
        self._trust(drawn & ~shared)

    def write(self, root: zarr.Group) -> None:
        """Write what `look` has found into the group of a session."""
        if self._ours is None:
            schema.create(root, self.axes, self.n_blocks, self._tile)
        else:
            schema.grow(root, self.axes, self.n_blocks)
        if self._keeps:
            schema.keep_toys(root, self._attributes["source"]["toys_per_block"])
        for b, cells in self._work:
            blocks = self._blocks(b, cells)
            region = (slice(None), slice(None), b, cells)
            if blocks.is_new:
                root["block_status"][region] = blocks.status
                root["limit_digest"][region] = blocks.digest
                root["counts"][region] = self._summed(blocks, b, cells, *COUNTS)
                root["limit_counts"][region] = self._summed(blocks, b, cells, "limit_counts")[..., 0]
                if self._keeps:
                    self._write_codes(root, blocks, b, cells)
            root["exact"][region], root["exact_status"][region], _ = self._exact(b, cells)
        for b in self._rows:
            root["worst"][:, :, b], _ = self._worst(b)
        root.attrs.put(self._attributes)

    def _write_codes(self, root: zarr.Group, blocks: _Blocks, b: int, cells: slice) -> None:
        """Write the toys of a tile that any of the parts keeps one by one, a block at a time."""
        size = self._attributes["source"]["toys_per_block"]
        for block in range(self.n_blocks):
            toys = slice(block * size, (block + 1) * size)
            known = np.full((*blocks.status.shape[:3], size), NOT_DRAWN, np.int16)
            for part, done in zip(self._parts, blocks.done[..., block], strict=True):
                if done.any():  # who has the same block has the same limits, or keeps none
                    known = np.where(done[..., None], np.maximum(known, part.codes(b, cells, toys)), known)
            known[blocks.status[..., block] != DONE] = NOT_DRAWN
            root["toy_bins"][:, :, b, cells, toys] = known

    def _tiles(self) -> Iterator[tuple[int, slice]]:
        """Yield the tiles of cells of which a source has any."""
        for b in range(len(self.axes["b"])):
            for start in range(0, len(self.axes["s_true"]), self._tile):
                cells = slice(start, min(start + self._tile, len(self.axes["s_true"])))
                if any(part.holds(b, cells) for part in self._parts[1:]):
                    yield b, cells

    def _blocks(self, b: int, cells: slice, shared: NDArray[np.bool_] | None = None) -> _Blocks:
        """Choose whose counts are taken in a tile: those of most blocks, and all that share none with the chosen.

        Parameters
        ----------
        b : int
        cells : slice
        shared : ndarray of bool, shape (part, limit_method, cl), optional
            Set where a part has a block in common with another.
        """
        status = np.stack([part.tile(b, cells, "block_status")[..., 0] for part in self._parts])
        digests = np.stack([part.tile(b, cells, "limit_digest")[..., 0] for part in self._parts])
        done = status == DONE
        self._compare(done, digests, b, cells, shared)
        order = np.argsort(-done.sum(axis=-1), axis=0, kind="stable")
        chosen, taken = np.zeros(order.shape, bool), np.zeros(done.shape[1:], bool)
        for part in order:  # the largest first, so that what lies inside another finds it there
            mask = np.take_along_axis(done, part[None, ..., None], axis=0)[0]
            free = mask.any(axis=-1) & ~(mask & taken).any(axis=-1)
            np.put_along_axis(chosen, part[None], free[None], axis=0)
            taken |= mask & free[..., None]
        failed = (status == FAILED).any(axis=0)
        merged = np.where(taken, DONE, np.where(failed, FAILED, MISSING)).astype(np.int8)
        digest = np.where(done & chosen[..., None], digests, np.uint64(0)).sum(axis=0, dtype=np.uint64)
        is_new = bool(chosen[1:].any() or (merged != status[0]).any())
        return _Blocks(done, chosen, merged, digest, is_new)

    def _compare(
        self,
        done: NDArray[np.bool_],
        digests: NDArray[np.uint64],
        b: int,
        cells: slice,
        shared: NDArray[np.bool_] | None,
    ) -> None:
        """Refuse blocks that two parts have, of other limits."""
        known, held, holder = digests[0].copy(), done[0].copy(), np.zeros(done.shape[1:], np.int64)
        for index in range(1, len(self._parts)):
            common = held & done[index]
            differing = np.argwhere(common & (digests[index] != known))
            if len(differing):
                row, level, cell, block = differing[0].tolist()
                other = self._parts[holder[row, level, cell, block]].told
                raise StoreError(
                    f"{self._parts[index].told}: {self._place(row, level, b, cells, cell)}: block {block} has other "
                    f"limits there (digest {digests[index][row, level, cell, block]:016x}) than in {other} "
                    f"({known[row, level, cell, block]:016x}); one of them is damaged, or was made by other code: "
                    "compute it again with `covsvc run --replace`"
                )
            if shared is not None:
                shared[index] |= common.any(axis=(2, 3))
            fresh = done[index] & ~held
            known[fresh], holder[fresh] = digests[index][fresh], index
            held |= fresh

    def _summed(self, blocks: _Blocks, b: int, cells: slice, *names: str) -> NDArray[np.int64]:
        total: Any = 0
        for part, chosen in zip(self._parts, blocks.chosen, strict=True):
            if chosen.any():
                counts = part.tile(b, cells, *names)
                total = total + counts * chosen.reshape(*chosen.shape, *[1] * (counts.ndim - chosen.ndim))
        return np.asarray(total, np.int64)

    def _exact(self, b: int, cells: slice) -> tuple[NDArray[np.float64], NDArray[np.int8], bool]:
        """Return the exact values of a tile, their status, and whether that is more than what is stored."""
        status = np.stack([part.tile(b, cells, "exact_status")[..., 0] for part in self._parts])
        values = np.stack([part.tile(b, cells, *EXACT) for part in self._parts])
        summed = status == 1
        holder = np.argmax(summed, axis=0)
        merged = np.take_along_axis(values, holder[None, ..., None], axis=0)[0]
        for index, part in enumerate(self._parts):
            same = np.isclose(values[index], merged, rtol=ROUNDING, atol=ROUNDING, equal_nan=True)
            differing = np.argwhere(~same & summed[index][..., None])
            if len(differing):
                row, level, cell, quantity = differing[0].tolist()
                other = self._parts[holder[row, level, cell]].told
                raise StoreError(
                    f"{part.told}: {self._place(row, level, b, cells, cell)}: {EXACT[quantity]} is "
                    f"{values[index][row, level, cell, quantity]} there and {merged[row, level, cell, quantity]} in "
                    f"{other}; one of them is damaged: compute it again with `covsvc run --replace`"
                )
        known = np.where(summed.any(axis=0), 1, status.max(axis=0)).astype(np.int8)
        return merged, known, bool((known != status[0]).any())

    def _worst(self, b: int) -> tuple[NDArray[np.float64], bool]:
        """Return the worst coverages at one b, those of the widest search, and whether they are others than stored."""
        found = np.stack([part.worst(b) for part in self._parts])
        width = np.nan_to_num(found[..., 3] - found[..., 2], nan=-1.0)
        holder = np.argmax(width, axis=0)
        return np.take_along_axis(found, holder[None, ..., None], axis=0)[0], bool(holder.any())

    def _count(self, blocks: _Blocks, b: int, cells: slice) -> None:
        """Count what comes from each source, and what stays out."""
        gained = blocks.done & blocks.chosen[..., None] & ~blocks.done[0]
        for index in range(1, len(self._parts)):
            number = gained[index].sum(axis=-1)
            self.merged.blocks[index - 1] += int(number.sum())
            toys = int(number.max(axis=(0, 1)).sum()) * self._attributes["source"]["toys_per_block"]
            self.merged.toys[index - 1] += toys
        lost = np.argwhere(blocks.done.any(axis=0) & (blocks.status != DONE))
        if len(lost) and not self.merged.left_out:
            row, level, cell, _ = lost[0].tolist()
            self.merged.example = self._place(row, level, b, cells, cell)
        self.merged.left_out += len(lost)

    def _place(self, row: int, level: int, b: int, cells: slice, cell: int) -> str:
        return (
            f"{self.axes['limit_method'][row]} at {self.axes['cl'][level]:.12g}, b = {self.axes['b'][b]:.12g}, "
            f"s_true = {self.axes['s_true'][cells.start + cell]:.12g}"
        )

    def _is_overcome(self, failure: Mapping[str, Any], blocks: _Blocks, b: int, cells: slice) -> bool:
        """Tell whether a failure lies in a tile where none of its blocks is failed any more."""
        row, level, at, cell = (self._index[axis][failure[axis]] for axis in schema.AXES)
        if at != b or not cells.start <= cell < cells.stop:
            return False
        status = blocks.status[row, level, cell - cells.start, failure["start"] : failure["stop"]]
        return not bool((status == FAILED).any())

    def _trust(self, unknown: NDArray[np.bool_]) -> None:
        """Have columns proven whose code or libraries are others, where no common block tells of them.

        Parameters
        ----------
        unknown : ndarray of bool, shape (part, limit_method, cl)
        """
        for source, columns in zip(self._sources, unknown[1:], strict=True):
            differing = _differing_makers(source, self.base)
            asked = [(self.axes["limit_method"][row], self.axes["cl"][level]) for row, level in np.argwhere(columns)]
            if not (differing and asked):
                continue
            for each in (source, self.base):
                if other := self._prove(each, asked):
                    raise StoreError(
                        f"{source.told}: {'; '.join(differing)}. A block of {', '.join(other)}, computed again here, "
                        f"has other limits than in {each.told}: merge what the same libraries made, or compute it "
                        "again with `covsvc run --replace`"
                    )


def _read_values(
    told: str, cube: xr.Dataset, names: Sequence[str], box: Mapping[str, Any], over: Sequence[str]
) -> NDArray[Any]:
    """Return variables in a box, stacked last."""
    try:
        return np.stack([cube[name].isel(box).transpose(*over, ...).values for name in names], axis=-1)
    except (icechunk.IcechunkError, OSError) as error:
        raise StoreError(f"{told}: cannot be read, it is damaged: {reason_of(error)}") from error


def attributes_of(cube: xr.Dataset) -> dict[str, Any]:
    """Return the attributes of a cube that a merged one has, too."""
    return {key: _decoded(value) for key, value in cube.attrs.items() if key not in _OF_A_SNAPSHOT}


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value[:1] in ("{", "[") else value


def _values(cube: xr.Dataset, name: str) -> list[Any]:
    return [str(each) if name == "limit_method" else float(each) for each in cube[name].values.tolist()]


def _differing_makers(one: Source, other: Source) -> list[str]:
    """Return what differs in the code and the libraries that counted."""
    made, wanted = (
        {**attributes.get("environment", {}), "engine": attributes.get("engine")}
        for attributes in (attributes_of(one.cube), attributes_of(other.cube))
    )
    return [
        f"{key} is {made.get(key)} there and {wanted.get(key)} in {other.told}"
        for key in sorted({*made, *wanted})
        if made.get(key) != wanted.get(key)
    ]


def _add_attributes(merged: dict[str, Any], source: Source, where: str) -> None:
    """Add what a cube tells of itself to what is known already.

    Raises
    ------
    StoreError
        If its toys or methods are others.
    """
    theirs = attributes_of(source.cube)
    told = [
        f"{key} is {theirs['source'].get(key)!r} there and {value!r} in {where}"
        for key, value in merged["source"].items()
        if theirs["source"].get(key) != value
    ]
    for label in sorted(set(merged["methods"]) & set(theirs["methods"])):
        told += _differing_methods(label, theirs["methods"][label], merged["methods"][label], where)
    if told:
        raise StoreError(
            f"{source.told}: cannot be merged: {'; '.join(told)}. Only the same toys and methods add: give a changed "
            "method another label, or compute one of the two again with `covsvc run --replace`"
        )
    for label, method in theirs["methods"].items():
        known = merged["methods"].setdefault(label, copy.deepcopy(method))
        known["tables"] = method.get("tables", {}) | known.get("tables", {})
        errors = method.get("calibrations", {}), known.get("calibrations", {})
        known["calibrations"] = {cl: max(each.get(cl, 0.0) for each in errors) for cl in errors[0] | errors[1]}
    merged["schema"] = max(merged["schema"], theirs["schema"])
    told_already = {_but_reason(each) for each in merged["failures"]}
    merged["failures"] += [each for each in theirs["failures"] if _but_reason(each) not in told_already]
    merged["toy_failures"] = first_reasons([*merged.get("toy_failures", []), *theirs.get("toy_failures", [])])
    _add_study(merged["study"], theirs["study"])
    for key, value in theirs.items():
        merged.setdefault(key, value)


def _differing_methods(label: str, theirs: Mapping[str, Any], ours: Mapping[str, Any], where: str) -> list[str]:
    told = [
        f"{key} of {label} is {theirs[key]!r} there and {ours[key]!r} in {where}"
        for key in ("name", "options", "view")
        if theirs[key] != ours[key]
    ]
    if not told and theirs["fingerprint"] != ours["fingerprint"]:
        told.append(f"the code of {label} is {_code_in(theirs)} there and {_code_in(ours)} in {where}")
    tables = theirs.get("tables", {}), ours.get("tables", {})
    return told + [
        f"the table of {label} at {cl} is {tables[0][cl]['digest']} there and {tables[1][cl]['digest']} in {where}"
        for cl in sorted(set(tables[0]) & set(tables[1]))
        if tables[0][cl]["digest"] != tables[1][cl]["digest"]
    ]


def _code_in(method: Mapping[str, Any]) -> str:
    return str(method["fingerprint"].split(":")[1])


def _but_reason(failure: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(value for key, value in failure.items() if key != "reason")


def _add_study(ours: dict[str, Any], theirs: Mapping[str, Any]) -> None:
    """Extend a study by the grid, the methods and the toys of another."""
    labels = {each["label"] for each in ours["methods"]}
    ours["methods"] += [each for each in theirs["methods"] if each["label"] not in labels]
    for name in schema.AXES[1:]:
        ours[name] = sorted({*ours[name], *theirs[name]})
    ours["n_toys"] = max(ours["n_toys"], theirs["n_toys"], key=_most_toys)
    if theirs.get("keep", "counts") != "counts":
        ours["keep"] = theirs["keep"]
    if ours.get("observed") is None:
        ours["observed"] = theirs.get("observed")


def _most_toys(n_toys: int | Mapping[str, Any]) -> int:
    return n_toys if isinstance(n_toys, int) else int(n_toys["max"])
