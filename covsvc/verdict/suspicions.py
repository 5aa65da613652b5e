"""The hypotheses that the stored toys of a column test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from covsvc.contracts import FloatArray
from covsvc.kernels.binomial import chance_of_at_most
from covsvc.tally import INDICATORS
from covsvc.verdict.column import Column
from covsvc.verdict.hypotheses import FALSE_SHARE, Hypothesis, chance_of_fewer, chance_of_lost

_KINDS = {"covered": "coverage fell"} | {rate: rate for rate in INDICATORS[1:]}


@dataclass(frozen=True)
class Counted:
    """Toys of both sides in some cells of a column, and those of which something is true; shape (cell,).

    Attributes
    ----------
    gained, lost : ndarray of int64
        Toys of which it is true now only, and in the baseline only; if nothing is known but the numbers of both sides
        on the same toys, the fewest that there can be.
    paired : ndarray of bool
        Where they are known.
    kept : ndarray of bool
        Where they are known toy by toy.
    """

    n: NDArray[np.int64]
    x: NDArray[np.int64]
    n_old: NDArray[np.int64]
    x_old: NDArray[np.int64]
    gained: NDArray[np.int64]
    lost: NDArray[np.int64]
    paired: NDArray[np.bool_]
    kept: NDArray[np.bool_]

    @classmethod
    def of(cls, column: Column, indicator: str, cells: NDArray[np.bool_]) -> Counted:
        """Count, on the toys of which both sides keep the limit where there are such."""
        n, n_old = column.now.n[cells], column.before.n[cells]
        x, x_old = (side.counts[f"n_{indicator}"][cells] for side in (column.now, column.before))
        same = np.zeros(n.shape, bool) if column.shared is None else column.shared.all_blocks[cells]
        gained, lost = np.where(same, np.maximum(x - x_old, 0), 0), np.where(same, np.maximum(x_old - x, 0), 0)
        pairs, both = column.pairs, column.pairs.n[cells]
        kept = both > 0
        n, n_old = np.where(kept, both, n), np.where(kept, both, n_old)
        x, x_old, gained, lost = (
            np.where(kept, each[indicator][cells], other)
            for each, other in ((pairs.has, x), (pairs.had, x_old), (pairs.gained, gained), (pairs.lost, lost))
        )
        return cls(n, x, n_old, x_old, gained, lost, same | kept, kept)

    def pool(self) -> Counted | None:
        """Return the sums over the cells, shape (1,); None if sums do not compare.

        Cells with pairs alone if there are any; else numbers of toys have to be in the same proportion in all cells.
        """
        held = self.paired if self.paired.any() else np.full(self.n.shape, True)
        if held.sum() < 2 or not (self.paired.any() or np.unique(self.n / self.n_old).size == 1):
            return None
        n, x, n_old, x_old, gained, lost = (
            each[held].sum(keepdims=True) for each in (self.n, self.x, self.n_old, self.x_old, self.gained, self.lost)
        )
        kept = np.array([bool(self.kept[held].all())])
        return Counted(n, x, n_old, x_old, gained, lost, self.paired[held][:1], kept)

    def fall(self, *, sure: bool = False) -> FloatArray:
        """Return the chance of so few now, or fewer, if nothing has changed.

        It is too small where the fewest toys are counted that can have changed, which does for a suspicion; if it has
        to be `sure` numbers are compared there as if they were of other toys.
        """
        return self._chance(self.gained, self.lost, self.x, self.x_old, sure)

    def rise(self, *, sure: bool = False) -> FloatArray:
        """Return the chance of so many now, or more, if nothing has changed; see `fall`."""
        return self._chance(self.lost, self.gained, self.n - self.x, self.n_old - self.x_old, sure)

    def _chance(
        self,
        gained: NDArray[np.int64],
        lost: NDArray[np.int64],
        x: NDArray[np.int64],
        x_old: NDArray[np.int64],
        sure: bool,
    ) -> FloatArray:
        p = chance_of_lost(gained, lost)
        other = ~(self.kept if sure else self.paired)
        p[other] = chance_of_fewer(x[other], self.n[other], x_old[other], self.n_old[other])
        return p


def number_of_tests(column: Column) -> int:
    """Return how many hypotheses the stored toys of a column test."""
    promised, compared = int(column.promised.sum()), int(column.compared.sum())
    kinds = len(_kinds(column))
    return promised + (promised > 1) + kinds * (compared + (compared > 1))


def suspicions(column: Column) -> Iterator[Hypothesis]:
    """Yield the hypotheses of a column that may be selected: those with p <= `FALSE_SHARE`."""
    if column.promised.any():
        yield from _of_promise(column)
    if column.compared.any():
        for indicator in _kinds(column):
            yield from _of_change(column, indicator)


def _kinds(column: Column) -> tuple[str, ...]:
    # what a method promises is held against it, and not that it covered more than that before
    return INDICATORS[1:] if column.promises else INDICATORS


def _of_promise(column: Column) -> Iterator[Hypothesis]:
    places = _places(column.promised)
    n_toys = column.now.n[column.promised]
    hits = (column.now.counts["n_covered"] + column.now.counts["n_failed"])[column.promised]
    counts = [(places, int(n_toys.sum()), int(hits.sum()))] if len(places) > 1 else []
    counts += [([place], int(n), int(x)) for place, n, x in zip(places, n_toys, hits, strict=True)]
    totals, covered = (np.array([each[part] for each in counts]) for part in (1, 2))
    p = chance_of_at_most(covered, totals, column.least)
    for at in np.flatnonzero(p <= FALSE_SHARE).tolist():
        cells, n, x = counts[at]
        yield _start(column, "promise", cells, "fell")(p=float(p[at]), reference=column.least, n=n, x=x)


def _of_change(column: Column, indicator: str) -> Iterator[Hypothesis]:
    places = _places(column.compared)
    counted = Counted.of(column, indicator, column.compared)
    held = [places[at] for at in np.flatnonzero(counted.paired)] if counted.paired.any() else places
    pooled = counted.pool()
    for each, cells in ((pooled, [held]), (counted, [[place] for place in places])):
        if each is None:
            continue
        fall, rise = each.fall(), each.rise() if indicator != "covered" else np.ones(each.n.shape)
        p = fall if indicator == "covered" else np.minimum(2.0 * np.minimum(fall, rise), 1.0)
        for at in np.flatnonzero(p <= FALSE_SHARE).tolist():
            n, x, n_old, x_old = (int(values[at]) for values in (each.n, each.x, each.n_old, each.x_old))
            direction = "fell" if fall[at] <= rise[at] else "rose"
            start = _start(column, _KINDS[indicator], cells[at], direction)
            yield start(p=float(p[at]), reference=x_old / n_old, n=n, x=x, n_old=n_old, x_old=x_old)


def _places(cells: NDArray[np.bool_]) -> list[tuple[int, int]]:
    return [(b, s_true) for b, s_true in np.argwhere(cells).tolist()]


def _start(column: Column, kind: str, places: list[tuple[int, int]], direction: str) -> Callable[..., Hypothesis]:
    """Return what makes a hypothesis of counts: all but these."""
    cells = tuple((column.b[b], column.s_true[s_true]) for b, s_true in places)
    b, s_true = cells[0] if len(cells) == 1 else (None, None)
    return partial(Hypothesis, column.study, kind, column.label, column.cl, b, s_true, cells, direction)
