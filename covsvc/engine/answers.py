"""The answers of limit methods, held to their contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from covsvc.contracts import LimitMethod, Limits, Status
from covsvc.errors import TaskError

_MOST_WORDS = 500
"""Characters of a reason, at most: reasons are stored."""


FAULTS = (Exception, SystemExit)
"""What others may raise; an interruption is none of theirs."""


class MethodFailed(TaskError):
    """A limit method gave no answer; the message is the whole reason."""


def limits_of(method: LimitMethod, observed: Any, cl: float) -> Limits:
    """Return the limits of `method`, in the shape and the types that the contract says.

    Raises
    ------
    TaskError
        If the method answers anything else.
    """
    limits = method.limits(observed, cl)
    for name, kind in (("lower", np.float64), ("upper", np.float64), ("status", np.int8)):
        part = getattr(limits, name, None)
        if not isinstance(part, np.ndarray) or part.dtype != kind or part.shape != (len(observed),):
            told = f"{part.dtype} of shape {part.shape}" if isinstance(part, np.ndarray) else type(part).__name__
            raise TaskError(f"{name} is {told}; it must be {np.dtype(kind)} of shape ({len(observed)},)")
    # true where an end is NaN, too
    wrong = ~(limits.lower <= limits.upper) & (limits.status != Status.FAILED)
    if wrong.any():
        first = int(np.argmax(wrong))
        lower, upper = limits.lower[first], limits.upper[first]
        cure = "say FAILED where there is no limit" if np.isnan(lower + upper) else "the lower end comes first"
        raise TaskError(
            f"[{lower:g}, {upper:g}] is no interval, in {int(wrong.sum())} of {len(limits)} observations, the first of "
            f"them {first}: {cure}"
        )
    strange = (limits.status < min(Status)) | (limits.status > max(Status))
    if strange.any():
        known = ", ".join(f"{each:d} {each.name}" for each in Status)
        raise TaskError(f"status is {limits.status[strange][0]}; known are {known}")
    return limits


def explanation(method: LimitMethod, observed: Any, cl: float, which: int) -> str:
    """Return what a method says of its limit on one of some observations; nothing if it says nothing."""
    explain: Callable[..., list[str]] | None = getattr(method, "explain", None)
    try:
        return plain(explain(observed, cl)[which]) if explain else ""
    except FAULTS as error:  # a method may raise anything
        return reason_of(error)


def reason_of(error: BaseException | None) -> str:
    """Say why there is no answer."""
    try:
        told = str(error) if isinstance(error, MethodFailed) else f"{type(error).__name__}: {error}".removesuffix(": ")
    except Exception:  # others' exceptions may not even be told
        told = type(error).__name__
    return plain(told)


def plain(told: object) -> str:
    """Return what others say as one line that can be stored and printed anywhere."""
    words = str(told)[: 2 * _MOST_WORDS].split()
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(words))
    return line if len(line) <= _MOST_WORDS else f"{line[:_MOST_WORDS]} ..."
