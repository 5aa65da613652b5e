"""Likeness: which columns set the limits of another method, confidence level or sidedness."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from covsvc.contracts import Limits, Status
from covsvc.engine.guard import method_of
from covsvc.engine.work import box_of, enumerable, some_outcomes, try_limits
from covsvc.errors import ObservationError
from covsvc.study import Column, Row, Study, rounded

TOLERANCE = 1e-6
"""Upper ends that differ by less, in events and of their size, are equal."""

_MOST_OUTCOMES = 500
"""Outcomes that are compared; equal on so many, methods are equal."""

_NAMES = {"upper": "upper limit", "two": "two-sided interval"}


def likenesses(study: Study) -> list[dict[str, str | float]]:
    """Say of which columns the upper ends are those of another one, at the smallest and the largest b.

    Compared are the study's methods at each cl, and at those cl at which one-sided and two-sided limits are confused:
    the upper end of a central interval at cl is the upper limit at (1 + cl)/2.

    Returns
    -------
    list of dict
        limit_method, cl and note: a sentence.
    """
    levels = sorted({level for cl in study.cl for level in (cl, rounded((1 + cl) / 2), rounded(2 * cl - 1))})
    everything = tuple(study.column(spec, cl) for spec in study.methods for cl in levels if 0.5 <= cl < 1)
    experiment = study.experiment.build()
    boxes = [(b, box_of(experiment, Row(study.source, everything, b, study.s_true))) for b in {study.b[0], study.b[-1]}]
    try:
        views = [some_outcomes(enumerable(experiment), box, b, _MOST_OUTCOMES) for b, box in boxes if box]
    except ObservationError:
        return []
    if not views:
        return []
    held: dict[tuple[str, float], list[Limits]] = {column.key: [] for column in everything}
    failing: set[str] = set()
    for column, each in product(everything, views):
        if column.spec.label not in failing:  # who fails may take long for it
            limits = try_limits(method_of(column), each[column.spec.view_of(experiment)], column.cl)
            if isinstance(limits, Limits):
                held[column.key].append(limits)
            else:
                failing.add(column.spec.label)
    notes: list[dict[str, str | float]] = []
    told: set[tuple[str, float]] = set()
    for column in study.columns:
        alike = [other for other in everything if _equal(held, column.key, other.key)]
        sided = column.spec.build().sided
        same = [other for other in alike if other.cl == column.cl and other.spec.build().sided == sided]
        sentences = [*([] if column.key in told else _same(same)), *_confused(column, sided, alike)]
        told |= {other.key for other in same}
        notes += [{"limit_method": column.key[0], "cl": column.cl, "note": sentence} for sentence in sentences]
    return notes


def _same(others: list[Column]) -> Iterator[str]:
    if others:
        yield f"sets the limits of {', '.join(other.key[0] for other in others)}"


def _confused(column: Column, sided: str, alike: list[Column]) -> Iterator[str]:
    """Yield that these are the limits of another cl or sidedness; one of many methods is named."""
    seen: set[float] = set()
    for other in alike:
        # that an upper limit is the upper end of some central interval is no news
        if other.spec.build().sided == "upper" and (sided, column.cl) != ("upper", other.cl) and other.cl not in seen:
            seen.add(other.cl)
            yield (
                f"{'its upper end' if sided == 'two' else 'its limit'} is that of {other.key[0]} at {other.cl:g}: this "
                f"{100 * column.cl:g} % {_NAMES[sided]} covers like a one-sided {100 * other.cl:g} % limit"
            )


def _equal(held: dict[tuple[str, float], list[Limits]], one: tuple[str, float], other: tuple[str, float]) -> bool:
    if one == other or not held[one] or len(held[one]) != len(held[other]):
        return False
    return all(map(_alike, held[one], held[other]))


def _alike(one: Limits, other: Limits) -> bool:
    if not np.array_equal(one.status == Status.EMPTY, other.status == Status.EMPTY):
        return False
    return bool(np.allclose(one.upper, other.upper, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
