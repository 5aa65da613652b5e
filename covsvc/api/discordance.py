"""Discordance: the toys on which two limit methods, or two commits of one, do not both cover."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from covsvc.api.building import builder
from covsvc.api.stored import stored_study
from covsvc.engine.replay import replay_block
from covsvc.errors import CovsvcError
from covsvc.selection import select
from covsvc.store.repository import open_cube
from covsvc.study import Column, MethodSpec
from covsvc.tally import DONE, NOT_DRAWN, covers_by
from covsvc.verdict.hypotheses import chance_of_lost


def discordant(
    store: str | Path,
    study: str,
    one: tuple[str, str],
    other: tuple[str, str],
    *,
    cl: float,
    b: float,
    s_true: float,
    most_blocks: int = 100,
    seconds: float = 20.0,
) -> dict[str, Any]:
    """Count the toys of a cell that only one of two limit methods covers, or one method at only one of two commits.

    The limits of each toy are looked up where they are kept. Where they are not, blocks that both sides have are drawn
    again, and what comes of them counts as long as it has the digests that are stored. Where that cannot be done
    either, the numbers of toys that each side covers leave a range.

    Parameters
    ----------
    store : str or Path
    study : str
        Name of a stored study.
    one, other : tuple of (str, str)
        Label of the limit method, and the commit, as `open_cube` takes it.
    cl, b, s_true : float
        A cell that both sides have.
    most_blocks : int
        Blocks that are drawn again, at most.
    seconds : float
        Time after which no further block is begun.

    Returns
    -------
    dict
        study, cl, b, s_true; one and other: limit_method, at, snapshot, n_toys, n_covered; shared_toys, of the blocks
        that both have; source: ``"kept"``, ``"identical"`` (all limits have the same bits), ``"replayed"``,
        ``"counts"`` or, where they share no toy, ``"none"``; n_toys that were looked at; both, only_one, only_other
        and neither: how many of these are covered by whom, None where that is not known; least and most, bounds of the
        number of discordant toys among all that are shared; p, of an exact two-sided McNemar test that both cover as
        often, None where they were not counted or where a budget chose how many there are; why, what kept it from
        knowing more.

    Raises
    ------
    StudyError
        If a side has no such method, level or cell.
    StoreError
        If there is no such study or commit.

    References
    ----------
    .. [1] Q. McNemar, Psychometrika 12 (1947) 153.
    """
    cubes = {at: open_cube(store, study, at) for at in dict.fromkeys((one[1], other[1]))}
    sides = [_Side.of(cubes[at], label, at, cl, b, s_true) for label, at in (one, other)]
    told = {
        "study": study,
        "cl": sides[0].cl,
        "b": sides[0].b,
        "s_true": sides[0].s_true,
        "one": sides[0].told,
        "other": sides[1].told,
    }
    if not _same_toys(*cubes.values()):
        return told | _nothing("the toys of the two commits are others: they cannot be compared one by one")
    shared = np.flatnonzero(_both_done(*sides))
    if not shared.size:
        return told | _nothing("no block of toys is done on both sides")
    size = int(json.loads(cubes[one[1]].attrs["source"])["toys_per_block"])
    n_shared = size * shared.size
    found = _looked_up(sides, shared, n_shared)
    if found is None:
        found = _replayed(store, sides, shared[:most_blocks].tolist(), seconds)
    least, most = _bounds(sides, n_shared)
    counted = found.only_one + found.only_other
    budget = json.loads(cubes[one[1]].attrs["study"])["n_toys"]
    why = found.why
    if isinstance(budget, dict) and found.n_toys:
        why = f"{why + '; ' if why else ''}a budget chose the number of toys by what they told: no test is valid"
    return told | {
        "shared_toys": n_shared,
        "source": found.source,
        "n_toys": found.n_toys,
        **found.table,
        "least": max(least, counted),
        "most": min(most, counted + n_shared - found.n_toys),
        "p": mcnemar(found.only_one, found.only_other) if found.n_toys and not isinstance(budget, dict) else None,
        "why": why,
    }


def mcnemar(only_one: int, only_other: int) -> float:
    """Return the chance that discordant toys fall so unevenly, or more, if each is as likely of one kind as the other.

    References
    ----------
    .. [1] Q. McNemar, Psychometrika 12 (1947) 153.
    """
    fewer, more = sorted((only_one, only_other))
    return min(1.0, 2.0 * float(chance_of_lost(np.array(fewer), np.array(more))))


@dataclass(frozen=True)
class _Side:
    """What the cube of a commit holds of one method in one cell."""

    cube: xr.Dataset
    at: str

    @classmethod
    def of(cls, cube: xr.Dataset, label: str, at: str, cl: float, b: float, s_true: float) -> _Side:
        return cls(select(cube, limit_method=label, cl=cl, b=b, s_true=s_true), at)

    @property
    def label(self) -> str:
        return str(self.cube["limit_method"].item())

    @property
    def cl(self) -> float:
        return float(self.cube["cl"])

    @property
    def b(self) -> float:
        return float(self.cube["b"])

    @property
    def s_true(self) -> float:
        return float(self.cube["s_true"])

    @property
    def done(self) -> NDArray[np.bool_]:
        return np.asarray(self.cube["block_status"].to_numpy() == DONE)

    @property
    def digest(self) -> NDArray[np.uint64]:
        return np.asarray(self.cube["limit_digest"].to_numpy())

    @property
    def n_toys(self) -> int:
        return int(self.cube["n_toys"])

    @property
    def n_covered(self) -> int:
        return int(self.cube["n_covered"])

    @property
    def column(self) -> Column:
        """The method as it was at the commit; of another study too, if the cube holds more than the last one."""
        told = json.loads(self.cube.attrs["methods"])[self.label]
        known = {name: told[name] for name in ("name", "options", "view")}
        return stored_study(self.cube).column(MethodSpec(**known, label=self.label), self.cl)

    @property
    def told(self) -> dict[str, Any]:
        return {
            "limit_method": self.label,
            "at": self.at,
            "snapshot": self.cube.attrs["snapshot"],
            "n_toys": self.n_toys,
            "n_covered": self.n_covered,
        }


@dataclass(frozen=True)
class _Found:
    """What was found out of some toys; `both` is None where it is only known that both sides agree."""

    source: str
    n_toys: int = 0
    both: int | None = None
    only_one: int = 0
    only_other: int = 0
    why: str = ""

    @classmethod
    def of(cls, source: str, covered: NDArray[np.bool_], why: str = "") -> _Found:
        """Count toys by which side covers them, shape (side, toy)."""
        one, other = covered
        both, only_one, only_other = (int(each.sum()) for each in (one & other, one & ~other, other & ~one))
        return cls(source, covered.shape[1], both, only_one, only_other, why)

    @property
    def table(self) -> dict[str, int | None]:
        if not self.n_toys:
            return dict.fromkeys(("both", "only_one", "only_other", "neither"))
        known = self.only_one + self.only_other
        neither = None if self.both is None else self.n_toys - self.both - known
        return {"both": self.both, "only_one": self.only_one, "only_other": self.only_other, "neither": neither}


def _nothing(why: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("both", "only_one", "only_other", "neither", "least", "most", "p"))
    return {"shared_toys": 0, "source": "none", "n_toys": 0, **nothing, "why": why}


def _same_toys(cube: xr.Dataset, other: xr.Dataset | None = None) -> bool:
    """Tell whether two cubes are of the same toys, as far as they tell."""
    if other is None:
        return True
    digests = [json.loads(each.attrs.get("toys", "{}")) for each in (cube, other)]
    known = digests[0].keys() & digests[1].keys()
    return bool(cube.attrs["source"] == other.attrs["source"]) and all(
        digests[0][place] == digests[1][place] for place in known
    )


def _both_done(one: _Side, other: _Side) -> NDArray[np.bool_]:
    """Tell which blocks both sides have."""
    n_blocks = min(len(one.done), len(other.done))
    return one.done[:n_blocks] & other.done[:n_blocks]


def _looked_up(sides: Sequence[_Side], shared: NDArray[np.intp], n_shared: int) -> _Found | None:
    """Return what the cubes tell of the toys of the shared blocks; None where they do not."""
    kept = _kept(sides)
    if kept is not None and kept.n_toys == n_shared:
        return kept
    if (sides[0].digest[shared] == sides[1].digest[shared]).all():
        covered = (side.n_covered for side in sides if side.n_toys == n_shared)
        return _Found("identical", n_shared, next(covered, None))
    return kept


def _kept(sides: Sequence[_Side]) -> _Found | None:
    """Return what is told by the toys of which both sides keep the limit."""
    if any("toy_bins" not in side.cube for side in sides):
        return None
    codes = [side.cube["toy_bins"].to_numpy() for side in sides]
    both = np.stack([each[: min(map(len, codes))] for each in codes])
    both = both[:, (both != NOT_DRAWN).all(axis=0)]
    return _Found.of("kept", covers_by(both)) if both.size else None


def _replayed(store: str | Path, sides: Sequence[_Side], blocks: Sequence[int], seconds: float) -> _Found:
    """Draw blocks again and set the limits of both sides, as long as they have the digests that are stored."""
    one, begun = sides[0], time.monotonic()
    try:
        study, columns = stored_study(one.cube), [side.column for side in sides]
    except (CovsvcError, ValueError) as error:  # what is not installed; options that are no longer known
        return _Found("counts", why=f"the methods cannot be built here: {str(error).splitlines()[0]}")
    build = builder(store, calibrate=False)
    digests = [side.digest for side in sides]
    covered: list[NDArray[np.bool_]] = []
    why, took = "", 0.0
    for block in blocks:
        started = time.monotonic()
        if covered and started + took - begun > seconds:
            why = f"it takes more than {seconds:g} s to set the limits of all"
            break
        found = replay_block(study, one.s_true, one.b, columns, block, build)
        for index, limits in enumerate(found.limits):
            if isinstance(limits, str):
                return _Found("counts", why=f"{sides[index].label} sets no limits here: {limits}")
            if found.digest(index) != int(digests[index][block]):
                told = f"the installed code of {sides[index].label} sets other limits on block {block} than are stored"
                return _Found("counts", why=told)
        covered.append(~found.missed(one.s_true))
        took = time.monotonic() - started
    return _Found.of("replayed", np.concatenate(covered, axis=1), why)


def _bounds(sides: Sequence[_Side], n_shared: int) -> tuple[int, int]:
    """Return how many of the shared toys are discordant, at least and at most, from what each side covers of its own.

    Of a side that has other toys, too, any may be those that are covered.
    """
    low = [max(side.n_covered - (side.n_toys - n_shared), 0) for side in sides]
    high = [min(side.n_covered, n_shared) for side in sides]
    least = max(low[0] - high[1], low[1] - high[0], 0)
    # the most are discordant if as few as possible are covered by both, and by neither
    covered = min(max(n_shared, sum(low)), sum(high))
    return least, min(covered, 2 * n_shared - covered)
