"""The cost of a study, from a small sample of its work."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from covsvc.engine.calibrating import key_of, trial
from covsvc.engine.guard import method_of
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
    calibrations : dict of str to float
        Seconds that each calibration takes, by its key.
    """

    toy_seconds: float
    exact_seconds: float
    outcomes: int
    calibrations: dict[str, float] = field(default_factory=dict)


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
        _limits_seconds(study, views, {})  # the first call reads what later ones have at hand
        calibrations: dict[str, float] = {}
        return Cost(drawing + _limits_seconds(study, views, calibrations) / toys, 0.0, 0, calibrations)
    outcomes = math.prod(box[1])
    views = some_outcomes(enumerable(experiment), box, b, _SAMPLE)
    exact = _limits_seconds(study, views, {}) / min(outcomes, _SAMPLE) + _SUM * len(study.columns) * len(study.s_true)
    return Cost(_TALLY * drawing, exact * outcomes, outcomes)


def _limits_seconds(study: Study, views: tuple[Any, ...], calibrations: dict[str, float]) -> float:
    """Return the time that limits take, calibrations left out; add to `calibrations` what each of those would take."""
    experiment = study.experiment.build()
    spent = 0.0
    for column in study.columns:
        view, method = views[column.spec.view_of(experiment)], method_of(column)
        if type(view) in getattr(method, "calibrates", ()):
            method, calibrations[key_of(column, view.model)] = trial(column, view.model)
        begun = time.perf_counter()
        try_limits(method, view, column.cl)
        spent += time.perf_counter() - begun
    return spent
