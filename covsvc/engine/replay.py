"""Toys drawn again as tasks draw them, and what limit methods say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covsvc.contracts import Events, IntArray, Limits, ModelledEvents, Status
from covsvc.engine.observation import Build, build_and_set, ends_of, try_build
from covsvc.engine.work import box_of, enumerable, try_limits
from covsvc.study import Column, Row, Study
from covsvc.tally import digest_of

PER_EVENT: dict[type, tuple[str, ...]] = {Events: ("u", "v"), ModelledEvents: ("density_ratio",)}
"""What an observation holds of each event, toy after toy; all other arrays hold one value, or one row, a toy."""


@dataclass(frozen=True, eq=False)
class Toys:
    """The toys of a block.

    Attributes
    ----------
    views : tuple
        One batch a view, of toys that all differ where they are counts.
    which : ndarray of int, shape (toy,)
        Which of those each toy of the block is.
    """

    views: tuple[Any, ...]
    which: IntArray

    def one(self, index: int) -> tuple[Any, ...]:
        """Return the views of one toy of the block."""
        return tuple(take(view, int(self.which[index])) for view in self.views)


@dataclass(frozen=True, eq=False)
class Replayed:
    """A block that was drawn again, and the limits of some columns on its toys.

    Attributes
    ----------
    limits : list of Limits or str
        One a column, shape (toy,); or why the column has none.
    """

    block: int
    toys: Toys
    limits: list[Limits | str]

    def digest(self, column: int) -> int | None:
        """Return the digest of a column, as a cube keeps it; None where it has no limits."""
        limits = self.limits[column]
        return None if isinstance(limits, str) else int(digest_of(limits).sum())

    def missed(self, s_true: float) -> NDArray[np.bool_]:
        """Tell which toys each column missed, shape (column, toy); a column without limits missed all."""
        size = len(self.toys.which)
        return np.array(
            [np.ones(size, bool) if isinstance(each, str) else ~each.cover(s_true) for each in self.limits]
        ).reshape(len(self.limits), size)


def draw_block(study: Study, s_true: float, b: float, block: int) -> Toys:
    """Draw the toys of a block of a cell as tasks do, bit for bit."""
    source, experiment = study.source, study.experiment.build()
    rng = next(source.blocks(s_true, b, block, block + 1))
    size = source.toys_per_block
    if box_of(experiment, Row(source, (), b, study.s_true)) is None:
        return Toys(experiment.toys(s_true, b, size, rng), np.arange(size))
    drawn = np.stack(enumerable(experiment).draw(s_true, b, size, rng))
    different, which = np.unique(drawn, axis=1, return_inverse=True)
    counts = [np.ascontiguousarray(row) for row in different]
    return Toys(enumerable(experiment).views(counts, b), which.reshape(-1))


def replay_block(
    study: Study, s_true: float, b: float, columns: Sequence[Column], block: int, build: Build
) -> Replayed:
    """Draw a block of a cell again and set the limits of some columns on all of its toys.

    Raises
    ------
    StoreError
        If calibrations cannot be read.
    """
    experiment, toys = study.experiment.build(), draw_block(study, s_true, b, block)
    limits: list[Limits | str] = []
    for column in columns:
        observed = toys.views[column.spec.view_of(experiment)]
        method = try_build(column, observed, build)
        found = method if isinstance(method, str) else try_limits(method, observed, column.cl)
        limits.append(found if isinstance(found, str) else _some(found, toys.which))
    return Replayed(block, toys, limits)


def limits_of_toy(
    study: Study, views: Sequence[Any], columns: Sequence[Column], s_true: float, build: Build
) -> list[dict[str, Any]]:
    """Set the limits of some columns on one toy.

    Returns
    -------
    list of dict
        One a column: limit_method, cl, sided, reads, lower, upper, status, covers; why, the reason why it does not.
    """
    experiment = study.experiment.build()
    found = []
    for column in columns:
        observed = views[column.spec.view_of(experiment)]
        method, limits, reason = build_and_set(column, observed, build)
        found.append(
            {
                "limit_method": column.key[0],
                "cl": column.cl,
                "sided": method.sided,
                "reads": type(observed).__name__,
                **ends_of(limits),
                "covers": bool(limits.cover(s_true)[0]),
                "why": why_missed(limits, s_true, method.sided, reason),
                "digest": int(digest_of(limits)[0]),
            }
        )
    return found


def why_missed(limits: Limits, s_true: float, sided: str, reason: str) -> str:
    """Say why one interval does not hold `s_true`; nothing where it does."""
    status, lower, upper = Status(int(limits.status[0])), float(limits.lower[0]), float(limits.upper[0])
    if limits.cover(s_true)[0]:
        return ""
    if status in (Status.EMPTY, Status.FAILED):
        return f"{status.name.lower()}: {reason}"
    if lower > s_true:
        return f"lower end {lower:.4g} is {lower - s_true:.2g} above s_true = {s_true:g}"
    end = "upper limit" if sided == "upper" else "upper end"
    return f"{end} {upper:.4g} is {s_true - upper:.2g} below s_true = {s_true:g}"


def take(view: Any, index: int) -> Any:
    """Return the observation of one toy of a batch."""
    size, ragged = len(view), PER_EVENT.get(type(view), ())
    held = object.__new__(type(view))  # checked already, as one of many
    for field in fields(view):
        value = getattr(view, field.name)
        if isinstance(value, np.ndarray) and value.ndim:
            if field.name in ragged:
                value = value[view.starts[index] : view.starts[index + 1]]
            elif len(value) == size:
                value = value[index : index + 1]
        object.__setattr__(held, field.name, value)
    return held


def describe(view: Any) -> dict[str, Any]:
    """Return the data of one toy by name, as numbers and lists; measurements of nuisance parameters by theirs."""
    told: dict[str, Any] = {"view": type(view).__name__}
    ragged = PER_EVENT.get(type(view), ())
    for field in fields(view):
        value = getattr(view, field.name)
        if isinstance(value, np.ndarray):
            told[field.name] = value.tolist() if field.name in ragged else value[0].tolist()
        elif value is None or isinstance(value, bool | int | float | str):
            told[field.name] = value
    parameters = getattr(getattr(view, "model", None), "parameters", None)
    if "auxiliary" in told and parameters is not None:
        told["auxiliary"] = dict(zip((each.name for each in parameters), told["auxiliary"], strict=True))
    return {name: value for name, value in told.items() if value is not None}


def _some(limits: Limits, which: IntArray) -> Limits:
    return Limits(limits.lower[which], limits.upper[which], limits.status[which])
