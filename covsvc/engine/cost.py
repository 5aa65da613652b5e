"""The cost of a study, from a small sample of its work."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from covsvc.engine.work import box_of, enumerable, some_outcomes, try_limits
from covsvc.study import Row, Study

_SAMPLE = 200
"""Outcomes or toys on which limits are timed."""

_SUM = 2e-8
"""Seconds to sum an outcome of a column in a cell and to follow its jumps, about."""

_TALLY = 1.15
"""Time of a toy that is looked up over that of its drawing, about."""


@dataclass(frozen=True)
class Cost:
    """What a study costs at one b, on one processor.

    Attributes
    ----------
    toy_seconds, exact_seconds : float
        Of a toy through all columns, and of the row of exact values.
    outcomes : int
        In the table of limits; 0 where limits are set toy by toy.
    """

    toy_seconds: float
    exact_seconds: float
    outcomes: int


def cost_at(study: Study, b: float) -> Cost:
    """Time the limits of all columns on some outcomes, or on some toys where outcomes are not enumerated."""
    experiment = study.experiment.build()
    box = box_of(experiment, Row(study.source, study.columns, b, study.s_true))
    rng = np.random.default_rng(study.seed)
    toys = _SAMPLE if box is None else 50 * _SAMPLE
    experiment.toys(study.s_true[-1], b, toys, rng)
    begun = time.perf_counter()
    views = experiment.toys(study.s_true[-1], b, toys, rng)
    drawing = (time.perf_counter() - begun) / toys
    if box is None:
        _limits_seconds(study, views)  # the first call reads what later ones have at hand
        return Cost(drawing + _limits_seconds(study, views) / toys, 0.0, 0)
    outcomes = math.prod(box[1])
    views = some_outcomes(enumerable(experiment), box, b, _SAMPLE)
    exact = _limits_seconds(study, views) / min(outcomes, _SAMPLE) + _SUM * len(study.columns) * len(study.s_true)
    return Cost(_TALLY * drawing, exact * outcomes, outcomes)


def _limits_seconds(study: Study, views: tuple[object, ...]) -> float:
    experiment = study.experiment.build()
    begun = time.perf_counter()
    for column in study.columns:
        try_limits(column.spec.build(), views[column.spec.view_of(experiment)], column.cl)
    return time.perf_counter() - begun
