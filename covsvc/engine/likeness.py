"""Likeness: which columns set the limits of another method, confidence level or sidedness."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from covsvc.contracts import Enumerable, Limits, Status
from covsvc.engine.work import enumerable, try_limits
from covsvc.errors import ObservationError
from covsvc.study import Column, Study, rounded

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
    everything = tuple(Column(spec, cl) for spec in study.methods for cl in levels if 0.5 <= cl < 1)
    views = [found for b in sorted({study.b[0], study.b[-1]}) if (found := _some_outcomes(study, b))]
    if not views:
        return []
    experiment = study.experiment.build()
    held: dict[tuple[str, float], list[Limits]] = {}
    for column in everything:
        method, view = column.spec.build(), column.spec.view_of(experiment)
        held[column.key] = [
            limits for each in views if isinstance(limits := try_limits(method, each[view], column.cl), Limits)
        ]
    return [
        {"limit_method": column.key[0], "cl": column.cl, "note": sentence}
        for column in study.columns
        for sentence in _sentences(column, [other for other in everything if _equal(held, column.key, other.key)])
    ]


def _some_outcomes(study: Study, b: float) -> tuple[Any, ...] | None:
    """Return the views of some outcomes, evenly spread."""
    experiment = study.experiment.build()
    runs = enumerable(experiment).counts(study.s_true[-1], b) if isinstance(experiment, Enumerable) else None
    if runs is None:
        return None
    shape = [run.first + len(run.probability) for run in runs]
    number = math.prod(shape)
    size = min(number, _MOST_OUTCOMES)
    # whole numbers: doubles cannot tell the last of so many outcomes as a large tau has from the next
    chosen = np.unravel_index([i * (number - 1) // max(size - 1, 1) for i in range(size)], shape)
    try:
        return enumerable(experiment).views([counts.astype(np.int64) for counts in chosen], b)
    except ObservationError:  # beyond what an observation may hold
        return None


def _sentences(column: Column, alike: list[Column]) -> Iterator[str]:
    sided = column.spec.build().sided
    same = [other.key[0] for other in alike if other.cl == column.cl and other.spec.build().sided == sided]
    if same:
        yield f"sets the limits of {', '.join(same)}"
    for other in alike:
        # that an upper limit is the upper end of some central interval is no news
        if other.spec.build().sided == "upper" and (sided, column.cl) != ("upper", other.cl):
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
