"""Exact coverage between the nodes of a grid: the worst case and the saw-tooth."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from covsvc.contracts import Experiment, FloatArray, Limits, Status
from covsvc.tally import ROUNDING


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


def find_worst(
    experiment: Experiment, view: int, first: int, limits: Limits, b: float, s_max: float, s_min: float = 0.0
) -> Worst:
    """Search the smallest exact coverage for s_min <= s <= s_max at one b.

    Coverage jumps at the ends of the intervals. Between two jumps the covered counts stay the same; if they are a run
    the coverage is unimodal there and is smallest at a jump, approached from one side. Elsewhere the inside is
    searched too.

    Parameters
    ----------
    experiment : Experiment
        With outcomes in ascending order.
    view : int
        Which view of it the limits were set on.
    first : int
        The count of the first of the `limits`.
    limits : Limits
        On the counts first, first + 1, ...
    b, s_max, s_min : float
        Expected events.
    """
    ends = _jumps(limits, s_min, s_max)
    probability = _Sum(experiment, view, first, b)
    worst = Worst(np.inf, np.nan, "at")
    for s_true, side, covered in _pieces(limits, ends, s_min, s_max):
        coverage = probability(covered, s_true)
        if coverage < worst.coverage:
            worst = Worst(coverage, s_true, side)
    for left, right in pairwise(ends):
        covered = limits.cover(0.5 * (left + right))
        if not _is_run(covered):
            worst = min(worst, _inside(probability, covered, left, right), key=lambda each: each.coverage)
    return worst


def trace(
    experiment: Experiment,
    view: int,
    first: int,
    limits: Limits,
    b: float,
    s_max: float,
    s_min: float = 0.0,
    points: int = 97,
) -> tuple[FloatArray, FloatArray]:
    """Return the saw-tooth of exact coverage for s_min <= s <= s_max: every jump from both sides, `points` between.

    Returns
    -------
    s, coverage : ndarray of float, shape (point,)
        Ascending in s; a jump stands twice, first from below.
    """
    ends = _jumps(limits, s_min, s_max)
    sides = _pieces(limits, ends, s_min, s_max)
    curve = [(s, side == "above", covered) for s, side, covered in sides if side != "at"]
    curve += [(s, False, limits.cover(s)) for s in np.linspace(s_min, s_max, points) if s not in ends]
    curve.sort(key=lambda point: point[:2])
    s = np.array([point[0] for point in curve])
    probability = _Sum(experiment, view, first, b)
    return s, np.array([probability(covered, at) for at, _, covered in curve])


def just_above(experiment: Experiment, view: int, first: int, limits: Limits, s_true: float, b: float) -> float:
    """Return the exact coverage of a true signal just above `s_true`."""
    return _Sum(experiment, view, first, b)(_covered_above(limits, s_true), s_true)


def _jumps(limits: Limits, s_min: float, s_max: float) -> list[float]:
    ends = np.concatenate([limits.lower, limits.upper])
    inside = np.unique(ends[(ends > s_min) & (ends < s_max)]).tolist()
    return [s_min, *inside, s_max] if s_max > s_min else [s_min]


def _pieces(
    limits: Limits, ends: list[float], s_min: float, s_max: float
) -> list[tuple[float, str, NDArray[np.bool_]]]:
    """Return what is covered on both sides of each jump, and at both ends of the range."""
    pieces = []
    for s in ends:
        if s in (s_min, s_max):
            pieces.append((s, "at", limits.cover(s)))
        if s > s_min:
            pieces.append((s, "below", _covered_below(limits, s)))
        if s < s_max:
            pieces.append((s, "above", _covered_above(limits, s)))
    return pieces


def _covered_above(limits: Limits, s: float) -> NDArray[np.bool_]:
    covered: NDArray[np.bool_] = (limits.lower <= s) & (
        ((limits.status == Status.OK) & (limits.upper > s)) | (limits.status == Status.UNBOUNDED)
    )
    return covered


def _covered_below(limits: Limits, s: float) -> NDArray[np.bool_]:
    covered: NDArray[np.bool_] = (limits.lower < s) & (
        ((limits.status == Status.OK) & (limits.upper >= s)) | (limits.status == Status.UNBOUNDED)
    )
    return covered


class _Sum:
    """Sums probabilities of covered counts; keeps those of the last s_true, which is asked for on both its sides."""

    def __init__(self, experiment: Experiment, view: int, first: int, b: float) -> None:
        self._experiment, self._view, self._first, self._b = experiment, view, first, b
        self._s_true, self._start, self._probability = np.nan, 0, np.empty(0)

    def __call__(self, covered: NDArray[np.bool_], s_true: float) -> float:
        if s_true != self._s_true:
            views, self._probability = self._experiment.outcomes(s_true, self._b)  # type: ignore[attr-defined]
            self._s_true, self._start = s_true, int(views[self._view].n[0]) - self._first
            end = self._start + len(self._probability)
            told = self._probability[max(-self._start, 0) : len(self._probability) - max(end - len(covered), 0)]
            if 1.0 - told.sum() > ROUNDING:
                raise ValueError(f"the limits that are known do not reach s = {s_true:g}")
            self._probability, self._start = told, max(self._start, 0)
        return float(covered[self._start : self._start + len(self._probability)] @ self._probability)


def _is_run(covered: NDArray[np.bool_]) -> bool:
    held = np.flatnonzero(covered)
    return len(held) == 0 or int(held[-1]) - int(held[0]) == len(held) - 1


def _inside(probability: _Sum, covered: NDArray[np.bool_], left: float, right: float) -> Worst:
    grid = np.linspace(left, right, 33)
    lowest = int(np.argmin([probability(covered, s) for s in grid[1:-1]])) + 1
    found = minimize_scalar(
        lambda s: probability(covered, s),
        bounds=(grid[lowest - 1], grid[lowest + 1]),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return Worst(float(found.fun), float(found.x), "at")
