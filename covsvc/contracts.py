"""What experiments, limit methods and the engine agree upon."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covsvc.errors import ObservationError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


MOST_EVENTS = 1_000_000
"""Largest count and background of an observation; two-sided belts take seconds there."""


class Status(IntEnum):
    """What became of a limit."""

    OK = 0
    """An interval [lower, upper]."""
    EMPTY = 1
    """No s >= 0 is in the confidence set; upper is 0 and nothing is covered, not even s = 0."""
    UNBOUNDED = 2
    """No finite limit within the method's range; upper is +inf."""
    FAILED = 3
    """Undefined, or not converged; lower and upper are NaN."""


@dataclass(frozen=True)
class Counts:
    """Counts of events with a background that is taken as known.

    Parameters
    ----------
    n : array_like of int, shape (toy,)
        Observed events.
    b : float or array_like of float, shape (toy,)
        Expected background events, as the analyst believes them; 0 where nothing is known.

    Raises
    ------
    ObservationError
        If a count is negative or no whole number, b is negative or no number, or either exceeds MOST_EVENTS.
    """

    n: IntArray
    b: float | FloatArray = 0.0

    def __init__(self, n: ArrayLike, b: ArrayLike = 0.0) -> None:
        object.__setattr__(self, "n", _whole_numbers(n))
        object.__setattr__(self, "b", _background(b, self.n.shape))

    def __len__(self) -> int:
        """Return the number of toys."""
        return len(self.n)


@dataclass(frozen=True)
class Limits:
    """Confidence intervals of the signal, one a toy.

    Parameters
    ----------
    lower, upper : ndarray of float, shape (toy,)
        Ends of the closed interval, expected signal events.
    status : ndarray of int8, shape (toy,)
        `Status` of each.
    """

    lower: FloatArray
    upper: FloatArray
    status: NDArray[np.int8]

    def __len__(self) -> int:
        """Return the number of toys."""
        return len(self.upper)

    def cover(self, s_true: float) -> NDArray[np.bool_]:
        """Tell which intervals hold `s_true`.

        Closed intervals: lower <= s_true <= upper. An empty or failed one never covers.
        """
        return self.upper_covers(s_true) & (self.lower <= s_true)

    def upper_covers(self, s_true: float) -> NDArray[np.bool_]:
        """Tell which upper ends are at or above `s_true`."""
        bounded = (self.status == Status.OK) & (self.upper >= s_true)
        covered: NDArray[np.bool_] = bounded | (self.status == Status.UNBOUNDED)
        return covered


def one_sided(upper: FloatArray) -> Limits:
    """Return the limits [0, upper]: empty where `upper` < 0, unbounded at +inf, failed at NaN.

    Parameters
    ----------
    upper : ndarray of float, shape (toy,)
        Expected signal events.
    """
    return two_sided(np.zeros_like(upper), upper)


def two_sided(lower: FloatArray, upper: FloatArray) -> Limits:
    """Return the part of [lower, upper] with s >= 0: empty where nothing is left of it.

    Parameters
    ----------
    lower, upper : ndarray of float, shape (toy,)
        Expected signal events; upper +inf is unbounded, a NaN in either is failed.
    """
    status = np.zeros(upper.shape, np.int8)
    status[upper < 0] = Status.EMPTY
    status[upper == np.inf] = Status.UNBOUNDED
    failed = np.isnan(upper) | np.isnan(lower)
    status[failed] = Status.FAILED
    # adding 0.0 turns -0.0 into 0.0, so that equal limits have equal bits
    ends = [np.where(failed, np.nan, np.where(upper < 0, 0.0, np.maximum(end, 0.0))) + 0.0 for end in (lower, upper)]
    return Limits(ends[0], ends[1], status)


@runtime_checkable
class LimitMethod(Protocol):
    """A way to set a limit: a pure function of the observation and its own options.

    Implementations are frozen dataclasses whose fields are their options. `limits` is elementwise: the bits for one
    observation do not depend on the others in its batch, on their number or their order.
    """

    reads: ClassVar[tuple[type, ...]]
    """The observations it has a form for."""
    sided: ClassVar[str]
    """``"upper"`` or ``"two"``."""
    promises: ClassVar[str]
    """``"at_least"``, ``"asymptotic"`` or ``"nothing"``: what its coverage may be held to."""

    def limits(self, observed: Any, cl: float) -> Limits:
        """Return the limits on the signal at confidence level `cl`, one an observation."""
        ...


@runtime_checkable
class Experiment(Protocol):
    """A source of toys: the only code that may know the truth.

    Implementations are frozen dataclasses whose fields are their options. One may also have
    ``outcomes(s_true, b) -> (views, probability)``: every outcome that matters with its probability, from which
    coverage follows exactly.
    """

    gives: ClassVar[tuple[type, ...]]
    """The views of one toy, richest first."""

    def toys(self, s_true: float, b: float, size: int, rng: np.random.Generator) -> tuple[Any, ...]:
        """Draw `size` toys; return one batch a view, all of the same toys."""
        ...

    def observe(self, data: dict[str, Any]) -> tuple[Any, ...]:
        """Return the views of real data, given by name."""
        ...


def _whole_numbers(n: ArrayLike) -> IntArray:
    given = np.atleast_1d(np.asarray(n))
    if given.ndim > 1:
        raise ObservationError(f"n has {given.ndim} dimensions: give one count, or a row of them")
    if given.dtype.kind not in "iu":
        for value in given.tolist():
            if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
                raise ObservationError(f"n = {value!r}: a count of events is a whole number >= 0")
    if given.size and not (given.min() >= 0 and given.max() <= MOST_EVENTS):
        wrong = given.min() if given.min() < 0 else given.max()
        raise ObservationError(f"n = {wrong!s}: a count of events is a whole number >= 0, at most {MOST_EVENTS:,}")
    return given.astype(np.int64, copy=False)


def _background(b: ArrayLike, shape: tuple[int, ...]) -> float | FloatArray:
    given = np.asarray(b)
    if given.dtype.kind not in "iuf":
        raise ObservationError(f"b = {b!r}: an expected background is a number of events >= 0")
    known = given.astype(np.float64)
    wrong = known[~((known >= 0) & (known <= MOST_EVENTS))]
    if wrong.size:
        raise ObservationError(
            f"b = {wrong.flat[0]:g}: an expected background is a number of events >= 0, at most {MOST_EVENTS:,}"
        )
    if known.ndim and known.shape != shape:
        raise ObservationError(f"b has shape {known.shape} but n has shape {shape}: give one b, or one for each n")
    return known if known.ndim else float(known)
