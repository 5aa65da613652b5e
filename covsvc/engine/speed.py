"""The speed of limit methods: on how many toys a second each sets its limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from covsvc.contracts import Calibration
from covsvc.engine.answers import FAULTS, limits_of
from covsvc.engine.calibrating import ColumnKey, need_of
from covsvc.engine.guard import method_of
from covsvc.study import Column, Study

MOST_TOYS = 10_000
"""Toys on which limits are timed at once, at most."""

_STEP = 4
"""How many times as many toys are tried next."""

_LONGEST = 0.4
"""Seconds that a timing may take, about."""

_ENOUGH, _TIMES = 0.3, 20
"""Seconds of timings on the same number of toys, and their number, after which no other is made."""


def speeds(
    study: Study, columns: Iterable[Column], calibration_of: Callable[[str], Calibration | None] | None = None
) -> dict[ColumnKey, float]:
    """Return on how many toys a second columns set their limits toy by toy, in one process, kernels compiled.

    Toys are those of the cell in the middle of the grid, a block at a time, or as many as half a second allows. The
    fastest of some timings counts, which is what other work on the machine disturbs least; drawing the toys does not.
    It takes about two seconds a column at most, unless a toy alone takes longer.

    Parameters
    ----------
    study : Study
    columns : iterable of Column
    calibration_of : callable, optional
        Takes what a calibration is known by; returns it, or None if it is not at hand.

    Returns
    -------
    dict of (label, cl) to float
        Columns that set no limits there, or whose calibration is not at hand, are left out.
    """
    found = {}
    for column in columns:
        try:
            seconds = _timing(study, column, calibration_of)
            if seconds is not None:
                found[column.key] = _rate(seconds, min(MOST_TOYS, study.toys_per_block))
        except FAULTS:  # a method or an experiment may raise anything: its failed blocks tell
            continue
    return found


def _timing(
    study: Study, column: Column, calibration_of: Callable[[str], Calibration | None] | None
) -> Callable[[int], float] | None:
    """Return what takes a number of toys and returns the seconds of their limits; None without a calibration."""
    experiment = study.experiment.build()
    s_true, b = (values[len(values) // 2] for values in (study.s_true, study.b))
    need = need_of(column, study.experiment, b)
    calibration = None if need is None or calibration_of is None else calibration_of(need.key)
    if need is not None and calibration is None:
        return None
    method, view = method_of(column, calibration), column.spec.view_of(experiment)
    rng = next(study.source.blocks(s_true, b, 0, 1))

    def seconds(toys: int) -> float:
        # drawn anew each time: an observation keeps what was worked out of it
        observed = experiment.toys(s_true, b, toys, rng)[view]
        begun = time.perf_counter()
        limits_of(method, observed, column.cl)
        return time.perf_counter() - begun

    return seconds


def _rate(seconds: Callable[[int], float], most: int) -> float:
    """Return the toys a second of what takes `seconds` for a number of toys, of at most so many at once."""
    toys, fastest, growth = 1, min(seconds(1), seconds(1)), 1.0
    # what a call takes whatever it is asked may be most of it: so many times as many toys may take hardly longer
    while toys < most and growth * fastest < _LONGEST:
        toys, before = min(_STEP * toys, most), fastest
        fastest = seconds(toys)
        if fastest > _STEP * before:  # what more toys call may have been compiled, or read from a cache
            fastest = min(fastest, seconds(toys))
        growth = min(max(fastest / before, 1.0), _STEP)
    spent = fastest
    for _ in range(_TIMES):
        if spent > _ENOUGH:
            break
        again = seconds(toys)
        spent, fastest = spent + again, min(fastest, again)
    return toys / fastest
