"""Replaying of toys: the data of any toy of a study, its limits, and why they missed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from covsvc.api.building import STORE, builder
from covsvc.api.stored import stored_study
from covsvc.commands import limit_commands
from covsvc.engine.observation import Build
from covsvc.engine.replay import Replayed, describe, limits_of_toy, replay_block
from covsvc.errors import StoreError, StudyError, UnknownName
from covsvc.fingerprint import environment
from covsvc.maps import summarize
from covsvc.store.repository import open_cube
from covsvc.study import MOST_BLOCKS, Column, Study
from covsvc.study_file import given_studies
from covsvc.tally import DONE, FAILED, MISSING, digest_of

FIRST_BLOCKS = 10
"""Blocks in which the first toy is looked for that each column missed."""


def replay(
    study: str | Path | Study,
    s_true: float,
    b: float,
    *,
    limit_methods: Sequence[str] = (),
    cl: Sequence[float] = (),
    toy: int | None = None,
    missed: bool = False,
    most: int = 10,
    store: str | Path = STORE,
    at: str = "main",
    progress: Callable[[int, int, int], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Draw toys of a cell again, bit for bit, and say what the limit methods of the study make of them.

    Without `toy` and `missed`: what the cube holds of the cell, and the first toy that each column missed.

    Parameters
    ----------
    study : str, Path or Study
        Name of a stored study; or a study file, or a study, whose toys are not compared with any that are stored.
    s_true, b : float
        A cell of its grid.
    limit_methods : sequence of str
        Labels; all of the study unless given.
    cl : sequence of float
        Confidence levels; all of the study unless given.
    toy : int, optional
        A toy of the cell, from 0 on; there is no last one.
    missed : bool
        Look for toys that a column missed.
    most : int
        So many of them at most.
    store : str or Path
        Where the cube and the calibrations of methods are.
    at : str
        ``"main"``, or what else of the history of the study `open_cube` takes.
    progress : callable, optional
        Is told the toys looked at, of how many, and those found.
    tell : callable, optional
        Is told of what takes its time: a calibration that has to be made first, the limits of a whole block.

    Returns
    -------
    dict
        study, s_true, b, snapshot and store (None where nothing stored is looked at); toys_per_block; stored_toys, of
        this cell; failed_blocks of these columns, which hold no limits; columns, one each: limit_method, cl, sided,
        n_toys, n_covered, coverage with _low and _high, exact_coverage, first_missed (None where none was found); toys,
        one each: toy, block, index in it, data (one a view), limits, and commands that set them on these data; scanned,
        toys looked at; compared, stored digests that were compared, and differing, those that are others here:
        limit_method, cl, block; changed, what is another version here than where they were made. Limits have
        limit_method, cl, sided, reads, lower, upper, status, covers, why (it missed); stored, what the cube has of the
        block; depends_on_others, whether the limit is another among the toys of its block, which it must not be.

    Raises
    ------
    StudyError
        If the grid, the methods or the levels of the study do not hold what is asked for.
    StoreError
        If there is no such study, or no toys of the cell are stored.
    """
    if toy is not None and missed:
        raise StudyError("toy and missed: one names a toy, the other looks for some; give one of them")
    if toy is not None and toy < 0:
        raise StudyError(f"toy = {toy}: toys are counted from 0")
    if most < 1:
        raise StudyError(f"most = {most}: give the number of missed toys to show, 1 or more")
    known, cube = _opened(study, store, at)
    cell = _Cell.of(known, cube, s_true, b, _columns(known, limit_methods, cl), builder(store, tell))
    if toy is not None:
        if toy >= MOST_BLOCKS * known.toys_per_block:
            raise StudyError(f"toy = {toy}: a cell has at most {MOST_BLOCKS:,} blocks of {known.toys_per_block:,} toys")
        found = {"toys": [cell.toy(toy, tell)]}
    elif missed:
        found = cell.missed(most, progress)
    else:
        found = cell.summary()
    return cell.told | {"columns": [], "toys": [], "scanned": 0} | found | cell.comparison()


class _Cell:
    """A cell of a study, some columns, and what is stored of them; no cube where nothing stored is looked at."""

    def __init__(
        self,
        study: Study,
        cube: xr.Dataset | None,
        place: tuple[float, float],
        columns: tuple[Column, ...],
        build: Build,
    ) -> None:
        self._study, self._columns, self._build = study, columns, build
        self._s_true, self._b = place
        self._cube = None if cube is None else cube.sel(s_true=[self._s_true], b=[self._b])
        self._status = self._stored("block_status").astype(np.int8)
        self._digest = self._stored("limit_digest").astype(np.uint64)
        self._compared = 0
        self._differing: list[dict[str, Any]] = []

    @classmethod
    def of(
        cls,
        study: Study,
        cube: xr.Dataset | None,
        s_true: float,
        b: float,
        columns: tuple[Column, ...],
        build: Build,
    ) -> _Cell:
        """Return the cell of these values, told to within rounding."""
        grid = study.axes if cube is None else {name: cube[name].values.tolist() for name in ("s_true", "b")}
        place = tuple(_on_grid(name, value, grid[name]) for name, value in (("s_true", s_true), ("b", b)))
        return cls(study, cube, (place[0], place[1]), columns, build)

    @property
    def told(self) -> dict[str, Any]:
        """What is replayed."""
        attrs = {} if self._cube is None else self._cube.attrs
        return {
            "study": self._study.name,
            "s_true": self._s_true,
            "b": self._b,
            "snapshot": attrs.get("snapshot"),
            "store": attrs.get("store"),
            "toys_per_block": self._study.toys_per_block,
            "stored_toys": int((self._status == DONE).any(axis=0).sum()) * self._study.toys_per_block,
            "failed_blocks": int((self._status == FAILED).sum()),
        }

    def comparison(self) -> dict[str, Any]:
        """Return what was compared with the cube, what differs, and what has changed since."""
        changed = {}
        if self._differing and self._cube is not None:
            here, there = environment(), json.loads(self._cube.attrs.get("environment", "{}"))
            changed = {name: [there[name], here.get(name)] for name in there if there[name] != here.get(name)}
        return {"compared": self._compared, "differing": self._differing, "changed": changed}

    def toy(self, number: int, tell: Callable[[str], None] | None) -> dict[str, Any]:
        """Return the data and the limits of a toy, its block compared with the cube where it is stored."""
        size = self._study.toys_per_block
        block, index = divmod(number, size)
        done = [row for row in range(len(self._columns)) if self._status_of(row, block) == DONE]
        if tell is not None and done and not self._study.is_enumerable:
            tell(f"setting the limits of all {size:,} toys of block {block}, to compare them with the cube")
        found = self._replay(done, block)
        return self._shown(found, index, range(len(self._columns)), done)

    def missed(self, most: int, progress: Callable[[int, int, int], None] | None) -> dict[str, Any]:
        """Return the first toys that a column missed."""
        blocks = [*self._blocks()]
        size, shown, scanned = self._study.toys_per_block, list[dict[str, Any]](), 0
        for block, rows in blocks:
            found = self._replay(rows, block)
            missed = found.missed(self._s_true)
            for index in np.flatnonzero(missed.any(axis=0)).tolist():
                by = [row for row, here in zip(rows, missed[:, index], strict=True) if here]
                shown.append(self._shown(found, index, by, rows))
                if len(shown) == most:
                    return {"toys": shown, "scanned": scanned + index + 1}
            scanned += size
            if progress is not None:
                progress(scanned, len(blocks) * size, len(shown))
        return {"toys": shown, "scanned": scanned}

    def summary(self) -> dict[str, Any]:
        """Return what the cube holds of the cell, and the first toy that each column missed."""
        if self._cube is None:
            raise StudyError(
                f"{self._study.name}: a study file holds no toys to sum up; name a toy or look for missed ones, or "
                "give the name of the stored study"
            )
        blocks = [*self._blocks()][:FIRST_BLOCKS]
        maps = summarize(self._cube)
        columns = []
        for column in self._columns:
            label, cl = column.key
            here = maps.sel(limit_method=label, cl=cl).isel(s_true=0, b=0)
            told: dict[str, Any] = {"limit_method": label, "cl": cl, "sided": column.spec.build().sided}
            told |= {name: int(here[name]) for name in ("n_toys", "n_covered")}
            told |= {
                name: float(here[name]) for name in ("coverage", "coverage_low", "coverage_high", "exact_coverage")
            }
            columns.append(told | {"first_missed": None})
        scanned = 0
        for block, done in blocks:
            rows = [row for row in done if columns[row]["first_missed"] is None]
            rows = [row for row in rows if columns[row]["n_covered"] < columns[row]["n_toys"]]
            if rows:
                found = self._replay(rows, block)
                for row, here in zip(rows, found.missed(self._s_true), strict=True):
                    if here.any():
                        columns[row]["first_missed"] = block * self._study.toys_per_block + int(np.argmax(here))
                scanned = (block + 1) * self._study.toys_per_block
        return {"columns": columns, "scanned": scanned}

    def _blocks(self) -> Iterator[tuple[int, list[int]]]:
        """Yield each block that counts, and the columns whose limits on it do."""
        if self._cube is None:
            yield from ((block, [*range(len(self._columns))]) for block in range(self._study.n_blocks))
            return
        done = self._status == DONE
        if not done.any():
            raise StoreError(
                f"{self._study.name}: no toys at s_true = {self._s_true:g}, b = {self._b:g} are stored of "
                f"{', '.join(dict.fromkeys(column.key[0] for column in self._columns))}; `covsvc run` stores them, and "
                "a toy that is named by its number can be replayed without"
            )
        for block in np.flatnonzero(done.any(axis=0)).tolist():
            yield block, np.flatnonzero(done[:, block]).tolist()

    def _replay(self, rows: Sequence[int], block: int) -> Replayed:
        """Draw a block with the limits of some columns, and compare them with the cube if they stand there."""
        columns = [self._columns[row] for row in rows]
        found = replay_block(self._study, self._s_true, self._b, columns, block, self._build)
        for index, (row, column) in enumerate(zip(rows, columns, strict=True)):
            if self._status_of(row, block) == DONE:
                self._compared += 1
                if found.digest(index) != int(self._digest[row, block]):
                    self._differing.append({"limit_method": column.key[0], "cl": column.cl, "block": block})
        return found

    def _shown(self, found: Replayed, index: int, rows: Sequence[int], replayed: Sequence[int]) -> dict[str, Any]:
        """Return one toy of a block: its data, and the limits of some columns."""
        columns, views = [self._columns[row] for row in rows], found.toys.one(index)
        limits = limits_of_toy(self._study, views, columns, self._s_true, self._build)
        for row, told in zip(rows, limits, strict=True):
            alone = told.pop("digest")
            among = found.limits[replayed.index(row)] if row in replayed else ""
            told["stored"] = self._state(row, found.block)
            told["depends_on_others"] = not isinstance(among, str) and int(digest_of(among)[index]) != alone
        experiment = self._study.experiment.build()
        reads = [column.spec.view_of(experiment) for column in columns]
        return {
            "toy": found.block * self._study.toys_per_block + index,
            "block": found.block,
            "index": index,
            "data": [describe(view) for view in views],
            "limits": limits,
            "commands": limit_commands(views, columns, reads),
        }

    def _status_of(self, row: int, block: int) -> int:
        return int(self._status[row, block]) if block < self._status.shape[1] else MISSING

    def _state(self, row: int, block: int) -> str:
        """Say what the cube holds of a block of a column."""
        status = self._status_of(row, block)
        if status != FAILED or self._cube is None:
            return "done" if status == DONE else "missing"
        label, cl = self._columns[row].key
        here = {"limit_method": label, "cl": cl, "s_true": self._s_true, "b": self._b}
        reasons = (
            each["reason"]
            for each in json.loads(self._cube.attrs["failures"])
            if all(each[name] == value for name, value in here.items()) and each["start"] <= block < each["stop"]
        )
        return f"failed: {next(reasons, 'its reason is not stored')}"

    def _stored(self, name: str) -> NDArray[Any]:
        """Return a variable of the cube, shape (column, block)."""
        if self._cube is None:
            return np.zeros((len(self._columns), 0))
        here = self._cube[name].isel(s_true=0, b=0).transpose("limit_method", "cl", "block").load()
        return np.stack([here.sel(limit_method=column.key[0], cl=column.cl).values for column in self._columns])


def _opened(study: str | Path | Study, store: str | Path, at: str) -> tuple[Study, xr.Dataset | None]:
    """Return a study, and its cube where it is named and not given."""
    if studies := given_studies(study):
        if at != "main":
            raise StudyError(f"at = {at}: a study file has no history; give the name of the stored study")
        if len(studies) > 1:
            names = ", ".join(each.name for each in studies)
            raise StudyError(f"{study}: holds several studies, {names}; give the name of one that is stored")
        return studies[0], None
    cube = open_cube(store, str(study), at)
    return stored_study(cube), cube


def _columns(study: Study, labels: Sequence[str], levels: Sequence[float]) -> tuple[Column, ...]:
    known = [spec.label for spec in study.methods]
    for label in labels:
        if label not in known:
            raise UnknownName.of(f"limit method of {study.name}", label, known)
    wanted = [_on_grid("cl", level, study.cl) for level in levels] or study.cl
    return tuple(column for column in study.columns if column.cl in wanted and (not labels or column.key[0] in labels))


def _on_grid(name: str, value: float, grid: Sequence[float]) -> float:
    """Return the value of the grid that is meant, rounding forgiven."""
    nearest = sorted(grid, key=lambda each: abs(each - value))[:3]
    if np.isclose(value, nearest[0], rtol=1e-9, atol=1e-12):
        return float(nearest[0])
    told = ", ".join(f"{each:.12g}" for each in sorted(nearest))
    raise StudyError(f"{name} = {value:.12g}: is no value of the grid; the nearest are {told}")
