"""Exact coverage between the nodes of a grid: the worst case and the saw-tooth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from covsvc.contracts import Enumerable, FloatArray, IntArray, Limits, Run, Status
from covsvc.kernels.outcomes import sawtooth
from covsvc.kernels.poisson import poisson_runs
from covsvc.tally import ROUNDING

_BATCH = 4096
"""Jumps that are followed at once; sums of weights begin anew in each batch, so that no rounding piles up."""

_MOST_JUMPS = 400
"""Jumps of a saw-tooth that are drawn one by one."""


@dataclass(frozen=True)
class Worst:
    """The smallest coverage over a range of signals.

    Attributes
    ----------
    coverage : float
    s_true : float
        Where, expected events.
    side : str
        ``"at"`` s_true; ``"above"`` or ``"below"``: coverage jumps at s_true and is smallest just above or below it.
    """

    coverage: float
    s_true: float
    side: str


def chances_of(experiment: Enumerable, s_true: float, b: float) -> tuple[int, FloatArray, FloatArray]:
    """Return the smallest value of the first count, the probabilities of its values, and of all other combinations."""
    runs = experiment.counts(s_true, b) or ()
    return runs[0].first, runs[0].probability, _others_of(runs)


def _others_of(runs: Sequence[Run]) -> FloatArray:
    """Return the probabilities of all combinations of the counts but the first; [1] where there are none."""
    return reduce(np.multiply.outer, [run.probability for run in runs[1:]], np.ones(1)).ravel()


class Coverage:
    """The exact coverage of one column at one b, as a function of s.

    Parameters
    ----------
    experiment : Enumerable
    first : int
        The first count's smallest value among the outcomes of `limits`.
    limits : Limits
        On all outcomes, the first count running slowest.
    b : float
        Expected events.
    """

    def __init__(self, experiment: Enumerable, first: int, limits: Limits, b: float) -> None:
        self._experiment, self._first, self._limits, self._b = experiment, first, limits, b
        runs = experiment.counts(0.0, b) or ()
        self._mean, self._others = runs[0].mean, _others_of(runs)
        self._values = len(limits) // len(self._others)

    def at(self, s_true: float) -> float:
        """Return the coverage at `s_true`."""
        return self._sum(self._limits.cover(s_true), s_true)

    def above(self, s_true: float) -> float:
        """Return the coverage just above `s_true`."""
        return self._sum(self._covered_above(s_true), s_true)

    def below(self, s_true: float) -> float:
        """Return the coverage just below `s_true`."""
        return self._sum(self._covered_below(s_true), s_true)

    def worst(self, s_min: float, s_max: float) -> Worst:
        """Search the smallest coverage for s_min <= s <= s_max.

        Coverage jumps at the ends of the intervals. Between two jumps the covered outcomes stay the same. If the
        probability that the other counts make an interval cover rises with the first count to a maximum and then
        falls, coverage is unimodal there and is smallest at a jump, approached from one side. Elsewhere the inside is
        searched too, where its slope, which is at most 1, could make a difference.
        """
        found = [Worst(self.at(s), s, "at") for s in (s_min, s_max)]
        if s_max > s_min:
            found += [Worst(self.above(s_min), s_min, "above"), Worst(self.below(s_max), s_max, "below")]
        left, left_above, left_humped = s_min, self.above(s_min), self._is_humped_above(s_min)
        pieces = []
        for jumps, below, above, humped in self.follow(s_min, s_max):
            for side, coverage in (("below", below), ("above", above)):
                lowest = int(np.argmin(coverage))
                found.append(Worst(float(coverage[lowest]), float(jumps[lowest]), side))
            starts, ends = np.concatenate([[left], jumps[:-1]]), jumps
            after = np.concatenate([[left_above], above[:-1]])
            suspect = ~np.concatenate([[left_humped], humped[:-1]])
            least = np.minimum(after, below) - (ends - starts)
            pieces += [(least[i], starts[i], ends[i]) for i in np.flatnonzero(suspect)]
            left, left_above, left_humped = jumps[-1], above[-1], humped[-1]
        if not left_humped and s_max > left:
            pieces.append((min(left_above, self.below(s_max)) - (s_max - left), left, s_max))
        worst = min(found, key=lambda each: each.coverage)
        for least, start, end in sorted(pieces):
            if least >= worst.coverage - ROUNDING:
                break
            worst = min(worst, self._inside(float(start), float(end)), key=lambda each: each.coverage)
        return worst

    def follow(
        self, s_min: float, s_max: float
    ) -> Iterator[tuple[FloatArray, FloatArray, FloatArray, NDArray[np.bool_]]]:
        """Yield the jumps inside of s_min..s_max in ascending batches.

        Coverage below and above each; whether it has no minimum between the jump and the next.
        """
        ends, outcome, change = self._changes(s_min, s_max)
        jumps, place = np.unique(ends, return_inverse=True)
        for start in range(0, len(jumps), _BATCH):
            some = jumps[start : start + _BATCH]
            here = slice(*np.searchsorted(place, [start, start + len(some)]))
            first, offset, chances = self._runs(some)
            weight = self._weight(self._covered_below(some[0]))
            count = outcome[here] // len(self._others)
            yield some, *sawtooth(first, offset, chances, weight, place[here] - start, count, change[here])

    def _changes(self, s_min: float, s_max: float) -> tuple[FloatArray, IntArray, FloatArray]:
        """Return where each outcome begins or ceases to cover, ascending, which one, and the change of its weight."""
        limits = self._limits
        held = (limits.status == Status.OK) | (limits.status == Status.UNBOUNDED)
        entering = np.flatnonzero(held & (limits.lower > s_min) & (limits.lower < s_max))
        leaving = np.flatnonzero((limits.status == Status.OK) & (limits.upper > s_min) & (limits.upper < s_max))
        outcome = np.concatenate([entering, leaving])
        ends = np.concatenate([limits.lower[entering], limits.upper[leaving]])
        weight = self._others[outcome % len(self._others)]
        weight[len(entering) :] *= -1.0
        order = np.lexsort((weight < 0, ends))
        return ends[order], outcome[order], weight[order]

    def _runs(self, s_true: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
        """Return the distributions of the first count, one after the other, from the table's first value on."""
        if np.isfinite(self._mean):
            first, offset, chances = poisson_runs(s_true + self._mean)
        else:
            runs = [chances_of(self._experiment, s, self._b) for s in s_true.tolist()]
            first = np.array([run[0] for run in runs])
            offset = np.concatenate([[0], np.cumsum([len(run[1]) for run in runs])])
            chances = np.concatenate([run[1] for run in runs])
        first = first - self._first
        if first.min() < 0 or (first + np.diff(offset)).max() > self._values:
            return self._trim(first, offset, chances)
        return first, offset, chances

    def _trim(self, first: IntArray, offset: IntArray, chances: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
        """Return what lies inside of the table of distributions that reach a little beyond it."""
        lengths = np.diff(offset)
        value = np.repeat(first - offset[:-1], lengths) + np.arange(len(chances))
        inside = (value >= 0) & (value < self._values)
        jump = np.repeat(np.arange(len(first)), lengths)
        if np.bincount(jump, np.where(inside, 0.0, chances)).max() > ROUNDING:
            raise ValueError("the limits that are known do not reach so far in s")
        ends = np.cumsum(np.bincount(jump, inside)).astype(np.int64)
        return np.maximum(first, 0), np.concatenate([[0], ends]), chances[inside]

    def _weight(self, covered: NDArray[np.bool_]) -> FloatArray:
        """Return, for each value of the first count, the probability that the others make an interval which covers."""
        # no product of matrices: BLAS adds in an order that depends on the processor
        weight: FloatArray = np.where(covered.reshape(self._values, -1), self._others, 0.0).sum(axis=1)
        return weight

    def _sum(self, covered: NDArray[np.bool_], s_true: float) -> float:
        (first,), _, chances = self._runs(np.array([s_true]))
        return float((chances * self._weight(covered)[first : first + len(chances)]).sum())

    def _covered_above(self, s: float) -> NDArray[np.bool_]:
        limits = self._limits
        covered: NDArray[np.bool_] = (limits.lower <= s) & (
            ((limits.status == Status.OK) & (limits.upper > s)) | (limits.status == Status.UNBOUNDED)
        )
        return covered

    def _covered_below(self, s: float) -> NDArray[np.bool_]:
        limits = self._limits
        covered: NDArray[np.bool_] = (limits.lower < s) & (
            ((limits.status == Status.OK) & (limits.upper >= s)) | (limits.status == Status.UNBOUNDED)
        )
        return covered

    def _is_humped_above(self, s: float) -> bool:
        steps = np.diff(self._weight(self._covered_above(s)))
        falls, rises = np.flatnonzero(steps < -1e-13), np.flatnonzero(steps > 1e-13)
        return not (len(falls) and len(rises)) or bool(rises[-1] < falls[0])

    def _inside(self, left: float, right: float) -> Worst:
        covered = self._covered_above(left)
        grid = np.linspace(left, right, 33)
        lowest = int(np.argmin([self._sum(covered, s) for s in grid[1:-1]])) + 1
        found = minimize_scalar(
            lambda s: self._sum(covered, s),
            bounds=(grid[lowest - 1], grid[lowest + 1]),
            method="bounded",
            options={"xatol": 1e-10},
        )
        return Worst(float(found.fun), float(found.x), "at")

    def trace(self, s_min: float, s_max: float, points: int = 97) -> tuple[FloatArray, FloatArray]:
        """Return the saw-tooth for s_min <= s <= s_max: every jump from both sides, `points` between.

        Of too many jumps to be drawn, the lowest and the highest points of small steps in s are given.

        Returns
        -------
        s, coverage : ndarray of float, shape (point,)
            Ascending in s; a jump stands twice, first from below.
        """
        curve = [(s, 0.5, self.at(s)) for s in np.linspace(s_min, s_max, points).tolist()]
        if s_max > s_min:
            curve += [(s_min, 1.0, self.above(s_min)), (s_max, 0.0, self.below(s_max))]
        for jumps, *sides, _ in self.follow(s_min, s_max):
            for side, coverage in enumerate(sides):
                curve += zip(jumps.tolist(), [float(side)] * len(jumps), coverage.tolist(), strict=True)
        jumped = {s for s, side, _ in curve if side != 0.5}
        curve = sorted(point for point in curve if point[1] != 0.5 or point[0] not in jumped)
        s, coverage = np.array([point[0] for point in curve]), np.array([point[2] for point in curve])
        if len(jumped) <= _MOST_JUMPS:
            return s, coverage
        steps = np.searchsorted(s, np.linspace(s_min, s_max, _MOST_JUMPS + 1)[1:-1])
        kept = []
        for start, stop in pairwise([0, *np.unique(steps).tolist(), len(s)]):
            if stop > start:
                kept += sorted({start + int(extreme(coverage[start:stop])) for extreme in (np.argmin, np.argmax)})
        return s[kept], coverage[kept]
