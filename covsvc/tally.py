"""Tallies: what the limits of some blocks say, in integers that add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from covsvc.contracts import FloatArray, Limits, Status
from covsvc.study import Column

COUNTS = ("n_toys", "n_covered", "n_upper_covered", "n_empty", "n_unbounded", "n_failed")
"""What is counted of each column and cell."""

RATES = {"empty": Status.EMPTY, "unbounded": Status.UNBOUNDED, "failed": Status.FAILED}
"""The states of limits whose rates are told."""

INDICATORS = ("covered", *RATES)
"""What may be true of a limit."""

EXACT = (
    "exact_coverage",
    "exact_upper_coverage",
    "exact_median_upper",
    "exact_mean_upper",
    "exact_p_empty",
    "exact_p_unbounded",
    "exact_p_failed",
)
"""What is known of each column and cell where the sample space is enumerable."""

ROUNDING = 1e-9
"""Exact coverage below cl by less than this is rounding, by more it is under-coverage."""

WORST = ("worst_coverage", "worst_s_true", "worst_s_min", "worst_s_max")
"""What is known of each column and b: the smallest exact coverage, where, and over which range it was searched."""

MISSING, DONE, FAILED = 0, 1, 2
"""`block_status`."""

BIN_EDGES = 1e-3 * 1.005 ** np.arange(4156)
"""Lower edges of the bins 2.. of upper limits, expected signal events; the last lies just above 1e6."""

N_BINS = len(BIN_EDGES) + 3
"""Bins of upper limits: 0, (0, 1e-3), [1e-3 x 1.005^k, 1e-3 x 1.005^(k+1)) ..., the last of them open to +inf, +inf."""


def left_over(
    status: NDArray[np.int8], exact_status: NDArray[np.int8], *, retry_failed: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return what is left to do in some cells.

    Parameters
    ----------
    status : ndarray of int8, shape (..., block)
        `block_status`.
    exact_status : ndarray of int8, shape (...)
    retry_failed : bool
        What failed is to be done again.

    Returns
    -------
    blocks : ndarray of bool, shape (..., block)
    exact : ndarray of bool, shape (...)
        Exact values; those that could not be summed, too, where blocks failed that are drawn again.
    """
    failed = retry_failed & (status == FAILED)
    return (status == MISSING) | failed, (exact_status == 0) | ((exact_status != 1) & failed.any(axis=-1))


def bin_of(limits: Limits) -> NDArray[np.int64]:
    """Return the bin of each upper limit, empty ones as 0; -1 for failed ones, which are left out.

    Returns
    -------
    ndarray of int, shape (toy,)
    """
    bins = 1 + np.searchsorted(BIN_EDGES, limits.upper, side="right")
    bins[limits.upper == 0] = 0
    bins[limits.status == Status.UNBOUNDED] = N_BINS - 1
    bins[limits.status == Status.FAILED] = -1
    return bins


def bin_bounds() -> tuple[FloatArray, FloatArray]:
    """Return the lower and the upper edges of all bins, expected signal events."""
    inner = np.concatenate([[0.0], BIN_EDGES])
    return np.concatenate([[0.0], inner, [np.inf]]), np.concatenate([[0.0], inner[1:], [np.inf, np.inf]])


def digest_of(limits: Limits) -> NDArray[np.uint64]:
    """Return a hash of the bits of each limit; sums of them tell whether limits are bit-identical.

    Returns
    -------
    ndarray of uint64, shape (toy,)
    """
    mixed = np.zeros(limits.upper.shape, np.uint64)
    for part in (limits.lower.view(np.uint64), limits.upper.view(np.uint64), limits.status.astype(np.uint64)):
        mixed = (mixed ^ part) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed


_EMPTY, _UNBOUNDED = N_BINS, N_BINS + 1
"""What stands in a code for the bin of an empty and of an unbounded limit."""

_FAILED, NOT_DRAWN = -1, -2
"""The codes of a failed limit, and of a toy of which no limit is kept."""


def codes_of(limits: Limits, s_true: float) -> NDArray[np.int16]:
    """Return one number for each limit, by which that on the same toy of another version of a method is compared.

    `bin_by`, `covers_by` and `status_by` read it.

    Parameters
    ----------
    limits : Limits
    s_true : float
        What they are to cover.

    Returns
    -------
    ndarray of int16, shape (toy,)
        2 x bin + 1 if the interval covers s_true, 2 x bin if not; empty and unbounded limits have bins of their own
        above all others; -1 for failed ones. -2 stands for a toy of which no limit is kept.
    """
    places = bin_of(limits)
    places[limits.status == Status.EMPTY] = _EMPTY
    places[limits.status == Status.UNBOUNDED] = _UNBOUNDED
    return np.where(places < 0, _FAILED, 2 * places + limits.cover(s_true)).astype(np.int16)


def covers_by(codes: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Tell from their codes which intervals cover; failed ones do not, nor those that are not kept."""
    covers: NDArray[np.bool_] = (codes >= 0) & (codes % 2 == 1)
    return covers


def status_by(codes: NDArray[np.int16]) -> NDArray[np.int8]:
    """Return the `Status` of each limit from its code; -1 where none is kept."""
    places = codes // 2
    known = [places == _EMPTY, places == _UNBOUNDED, codes == _FAILED, codes == NOT_DRAWN]
    told = [np.int8(each) for each in (Status.EMPTY, Status.UNBOUNDED, Status.FAILED, -1)]
    return np.select(known, told, np.int8(Status.OK))


def indicators_by(codes: NDArray[np.int16]) -> dict[str, NDArray[np.bool_]]:
    """Tell of each limit from its code which of `INDICATORS` are true; none of one that is not kept."""
    states = status_by(codes)
    return {"covered": covers_by(codes)} | {rate: states == status for rate, status in RATES.items()}


def bin_by(codes: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return from its code what `bin_of` says of each limit; -1 where none is kept, too."""
    places = codes // 2  # of -1 and of -2 this is -1
    places[places == _EMPTY] = 0
    places[places == _UNBOUNDED] = N_BINS - 1
    return places


@dataclass
class Failure:
    """Why the blocks of a column failed in a cell."""

    column: Column
    b: float
    s_true: float
    start: int
    stop: int
    reason: str


@dataclass
class Reason:
    """Why limits of toys of a column failed in a cell: what the method says of the first of them."""

    column: Column
    b: float
    s_true: float
    reason: str


@dataclass
class Tally:
    """What was learnt from blocks start..stop-1 of some cells at one b.

    Attributes
    ----------
    counts : ndarray of int64, shape (column, s_true, count)
        `COUNTS` of the blocks done.
    status : ndarray of int8, shape (column, s_true, block)
        DONE or FAILED.
    digest : ndarray of uint64, shape (column, s_true, block)
        Sum over the toys of the hash of their limits.
    bins : ndarray of int64, shape (4, pair)
        Column, s_true, bin and count: how large the upper limits are.
    seconds : float
        CPU seconds of the kernels.
    codes : ndarray of int16, shape (column, s_true, toy), or None
        `codes_of` the limits on all toys of the blocks; None where they are not kept.
    """

    columns: tuple[Column, ...]
    b: float
    s_true: tuple[float, ...]
    start: int
    stop: int
    counts: NDArray[np.int64]
    status: NDArray[np.int8]
    digest: NDArray[np.uint64]
    bins: NDArray[np.int64]
    failures: list[Failure] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    seconds: float = 0.0
    codes: NDArray[np.int16] | None = None

    @property
    def toys(self) -> int:
        """Toys drawn, blocks that failed for all columns left out."""
        return int(self.counts[..., 0].max(axis=0, initial=0).sum())


@dataclass
class ExactTally:
    """What is known exactly of some cells at one b.

    Attributes
    ----------
    values : ndarray of float, shape (column, s_true, quantity)
        `EXACT`.
    worst : ndarray of float, shape (column, 4)
        `WORST`.
    """

    columns: tuple[Column, ...]
    b: float
    s_true: tuple[float, ...]
    values: FloatArray
    worst: FloatArray
    seconds: float = 0.0


class Counter:
    """Counts the blocks of a box of columns x s_true x blocks.

    Parameters
    ----------
    columns : sequence of Column
    b : float
    s_true : sequence of float
    start, stop : int
        Blocks.
    kept : int
        Toys of a block whose limits are kept one by one; 0: none are.
    """

    def __init__(
        self, columns: tuple[Column, ...], b: float, s_true: tuple[float, ...], start: int, stop: int, kept: int = 0
    ) -> None:
        shape = (len(columns), len(s_true))
        self._box = (columns, b, s_true, start, stop)
        self._counts = np.zeros((*shape, len(COUNTS)), np.int64)
        self._status = np.full((*shape, stop - start), DONE, np.int8)
        self._digest = np.zeros((*shape, stop - start), np.uint64)
        self._bins: list[NDArray[np.int64]] = []
        self._codes = np.full((*shape, kept * (stop - start)), NOT_DRAWN, np.int16) if kept else None
        self._kept = kept
        self._failures: dict[tuple[int, int], list[Failure]] = {}
        self._reasons: dict[tuple[int, int], Reason] = {}

    def add(self, columns: Sequence[int], cell: int, told: Told, weights: NDArray[np.int64], block: int = 0) -> None:
        """Count the limits of some columns.

        Parameters
        ----------
        columns : sequence of int
            Indices of the columns that `told` holds.
        cell : int
            Index of s_true.
        told : Told
            Limits, shape (column, outcome).
        weights : ndarray of int64, shape (block, outcome)
            How often each block drew each outcome.
        block : int
            Index of the first of these blocks.
        """
        where = np.asarray(columns)
        total = weights.sum(axis=0)
        for count, indicator in enumerate(told.indicators(self._box[2][cell])):
            self._counts[where, cell, count] += indicator @ total
        self._digest[where, cell, block : block + len(weights)] += told.digest @ weights.astype(np.uint64).T
        row, outcome = np.nonzero((total > 0) & (told.bins >= 0))
        held = np.stack([where[row], np.full(len(row), cell), told.bins[row, outcome], total[outcome]])
        self._bins.append(held)

    def keep(self, column: int, cell: int, limits: Limits, block: int) -> None:
        """Keep the limits of a column on the toys of a block, if they are to be kept."""
        if self._codes is not None:
            toys = slice(block * self._kept, (block + 1) * self._kept)
            self._codes[column, cell, toys] = codes_of(limits, self._box[2][cell])

    def fail(self, column: int, cell: int, reason: str, block: int | None = None) -> None:
        """Record that the blocks, or one `block`, of a column failed in a cell; they add nothing to the counts."""
        columns, b, s_true, start, stop = self._box
        self._status[column, cell, slice(None) if block is None else block] = FAILED
        first, last = (start, stop) if block is None else (start + block, start + block + 1)
        known = self._failures.setdefault((column, cell), [])
        if known and known[-1].stop == first and known[-1].reason == reason:
            known[-1].stop = last
        else:
            known.append(Failure(columns[column], b, s_true[cell], first, last, reason))

    def is_explained(self, column: int, cell: int) -> bool:
        """Tell whether it is known why limits of a column failed in a cell."""
        return (column, cell) in self._reasons

    def explain(self, column: int, cell: int, reason: str) -> None:
        """Record why limits of a column failed in a cell."""
        columns, b, s_true, *_ = self._box
        self._reasons[column, cell] = Reason(columns[column], b, s_true[cell], reason)

    def tally(self, seconds: float) -> Tally:
        """Return what was counted."""
        bins = np.concatenate(self._bins, axis=1) if self._bins else np.zeros((4, 0), np.int64)
        failures = [failure for known in self._failures.values() for failure in known]
        reasons = list(self._reasons.values())
        counted = self._counts, self._status, self._digest, bins
        return Tally(*self._box, *counted, failures, reasons, seconds, self._codes)


@dataclass(frozen=True)
class Told:
    """Limits of some columns, with what tallies need of them made once; all of shape (column, outcome)."""

    limits: Limits
    bins: NDArray[np.int64]
    digest: NDArray[np.uint64]

    @classmethod
    def of(cls, limits: Sequence[Limits]) -> Told:
        """Stack, bin and hash the limits of columns."""
        lower, upper, status = (
            np.array([getattr(each, name) for each in limits]) for name in ("lower", "upper", "status")
        )
        stacked = Limits(lower, upper, status)
        return cls(stacked, bin_of(stacked), digest_of(stacked))

    def take(self, rows: Sequence[int]) -> Told:
        """Return some of the columns."""
        part = Limits(*(getattr(self.limits, name)[list(rows)] for name in ("lower", "upper", "status")))
        return Told(part, self.bins[list(rows)], self.digest[list(rows)])

    def at(self, outcomes: NDArray[np.int64]) -> Told:
        """Return some of the outcomes."""
        part = Limits(*(getattr(self.limits, name)[:, outcomes] for name in ("lower", "upper", "status")))
        return Told(part, self.bins[:, outcomes], self.digest[:, outcomes])

    def indicators(self, s_true: float) -> list[NDArray[np.int64]]:
        """Return one array of 0 and 1 for each of `COUNTS`."""
        status = self.limits.status
        flags = [
            np.ones(status.shape, bool),
            self.limits.cover(s_true),
            self.limits.upper_covers(s_true),
            *(status == state for state in (Status.EMPTY, Status.UNBOUNDED, Status.FAILED)),
        ]
        return [flag.astype(np.int64) for flag in flags]
