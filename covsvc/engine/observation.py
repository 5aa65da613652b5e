"""Limits on real data, with the coverage of their methods there; the saw-tooth of a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from covsvc.contracts import Counts, Experiment, LimitMethod, Limits, Sideband, Status, one_sided, uncertain
from covsvc.engine.answers import FAULTS, explanation
from covsvc.engine.calibrating import calibration_failure
from covsvc.engine.exact import Coverage
from covsvc.engine.guard import method_of
from covsvc.engine.work import Table, Tables, enumerable, make_tables, tables_of, try_limits
from covsvc.errors import StoreError
from covsvc.study import HIGHEST, Column, Row, Study, rounded

Build = Callable[[Column, Any], LimitMethod]
"""Takes a column and the observation it reads; returns its limit method, calibrated where that is needed."""


def build(column: Column, observed: Any) -> LimitMethod:  # noqa: ARG001 - others look at what is observed
    """Return the limit method of a column, which makes its calibration itself if it needs one."""
    return method_of(column)


def observe(
    study: Study, maps: xr.Dataset | None = None, *, coverage: bool = True, build: Build = build
) -> list[dict[str, Any]]:
    """Set the limits of every column on the study's real data, with the coverage of each method there.

    Parameters
    ----------
    study : Study
        With `observed`.
    maps : xarray.Dataset, optional
        Of the study; the worst coverage over its grid is taken from there.
    coverage : bool
        Whether exact coverage is wanted.
    build : callable, optional
        Builds the limit methods.

    Returns
    -------
    list of dict
        One a column, as `covsvc.api.observe` tells.
    """
    if study.observed is None:
        return []
    experiment = study.experiment.build()
    views = experiment.observe(study.observed)
    found = []
    for column in study.columns:
        view = column.spec.view_of(experiment)
        method, limit, reason = build_and_set(column, views[view], build)
        told = {
            "limit_method": column.key[0],
            "cl": column.cl,
            "sided": method.sided,
            "reads": type(views[view]).__name__,
            "plugged_in": type(views[view]) is Counts and uncertain(views),
            "ensemble": getattr(experiment, "ensemble", ""),
            **study.observed,
            **ends_of(limit),
            "error": float(limit.error[0]) if limit.error is not None else np.nan,
            "reason": reason,
        }
        if coverage:
            told |= _coverage_there(study, column, told["upper"], views[view]) | _worst_of_grid(maps, column)
        found.append(told)
    return found


def build_and_set(column: Column, observed: Any, build: Build = build) -> tuple[LimitMethod, Limits, str]:
    """Return the method of a column, calibrated where that is needed, its limit on one observation, and why none.

    Raises
    ------
    StoreError
        If the calibrations cannot be read.
    """
    method = try_build(column, observed, build)
    if isinstance(method, str):
        return column.spec.build(), one_sided(np.array([np.nan])), method
    return method, *set_limit(method, observed, column.cl)


def try_build(column: Column, observed: Any, build: Build) -> LimitMethod | str:
    """Return the method of a column, calibrated where that is needed, or why there is none.

    Raises
    ------
    StoreError
        If the calibrations cannot be read.
    """
    try:
        return build(column, observed)
    except StoreError:
        raise
    except FAULTS as error:  # a method may raise anything
        return calibration_failure(error)


def set_limit(method: LimitMethod, observed: Any, cl: float) -> tuple[Limits, str]:
    """Return the limit on one observation, and why there is none; a method that raises has failed."""
    limit = try_limits(method, observed, cl)
    if isinstance(limit, str):
        return one_sided(np.array([np.nan])), limit
    status = Status(int(limit.status[0]))
    if status is Status.OK:
        return limit, ""
    return limit, explanation(method, observed, cl, 0) or _REASONS[status]


def ends_of(limit: Limits) -> dict[str, Any]:
    """Return the limit on one observation as numbers and a word: lower, upper and status."""
    status = Status(int(limit.status[0])).name.lower()
    return {"lower": float(limit.lower[0]), "upper": float(limit.upper[0]), "status": status}


_REASONS = {
    Status.EMPTY: "no signal >= 0 is in the confidence set: fewer events were observed than the background explains",
    Status.UNBOUNDED: "no finite signal is excluded",
    Status.FAILED: "the method is not defined for these data",
}


def draw_curves(study: Study, tables: Mapping[float, Tables] | None = None, points: int = 97) -> xr.Dataset | None:
    """Return the saw-tooth of every column and b: exact coverage between the nodes of the grid, for figures.

    Parameters
    ----------
    study : Study
    tables : dict, optional
        From `tables_of`, if they are made already.
    points : int
        Between the jumps, at even distances.

    Returns
    -------
    xarray.Dataset or None
        s and coverage over (limit_method, cl, b, point), a jump standing twice; None where nothing is enumerable.
    """
    experiment = study.experiment.build()
    found: dict[tuple[int, int, int], tuple[Any, Any]] = {}
    made = tables_of(study) if tables is None else tables
    for at, b in enumerate(study.b):
        for index, column in enumerate(study.columns):
            known = made[b].only((column,))
            if known:
                place = *divmod(index, len(study.cl)), at
                found[place] = coverage_of(known[1], experiment).trace(study.s_true[0], study.s_true[-1], points)
    if not found:
        return None
    shape = (len(study.methods), len(study.cl), len(study.b), max(len(s) for s, _ in found.values()))
    s, coverage = np.full(shape, np.nan), np.full(shape, np.nan)
    for place, (at_s, covered) in found.items():
        s[place][: len(at_s)], coverage[place][: len(at_s)] = at_s, covered
    dims = ("limit_method", "cl", "b", "point")
    coords = {"limit_method": [spec.label for spec in study.methods], "cl": list(study.cl), "b": list(study.b)}
    return xr.Dataset({"s": (dims, s), "coverage": (dims, coverage)}, coords=coords)


def coverage_of(table: Table, experiment: Experiment) -> Coverage:
    """Return the exact coverage of a table of one column, as a function of s."""
    return Coverage(enumerable(experiment), table.first[0], table.limits(), table.b)


def is_enumerated(observed: Any) -> bool:
    """Tell whether an observation is one that toys have: a sideband in a larger outside is none."""
    return not isinstance(observed, Sideband) or observed.is_all_outside


def _coverage_there(study: Study, column: Column, limit: float, observed: Any) -> dict[str, float]:
    experiment = study.experiment.build()
    b = experiment.background(dict(study.observed or {}))
    unknown = {"coverage": np.nan, "worst_coverage_at_b": np.nan, "b_estimate": b}
    if not (b <= HIGHEST and is_enumerated(observed)):
        return unknown
    ends = [*study.s_true, limit] if np.isfinite(limit) else study.s_true
    row = Row(study.source, (column,), rounded(b), study.s_true, (min(ends), max(ends)))
    found = make_tables(row).only((column,))
    if found is None:
        return unknown
    coverage = coverage_of(found[1], experiment)
    worst = coverage.worst(study.s_true[0], study.s_true[-1]).coverage
    there = coverage.above(limit) if np.isfinite(limit) else np.nan
    return unknown | {"coverage": there, "worst_coverage_at_b": worst}


def _worst_of_grid(maps: xr.Dataset | None, column: Column) -> dict[str, float]:
    if maps is None:
        return {}
    label, cl = column.key
    at = maps.sel(limit_method=label, cl=cl)
    worst = at["worst_coverage"].values
    if not np.isfinite(worst).any():
        return {"worst_coverage": np.nan, "worst_s_true": np.nan, "worst_b": np.nan}
    lowest = int(np.nanargmin(worst))
    return {
        "worst_coverage": float(worst[lowest]),
        "worst_s_true": float(at["worst_s_true"].values[lowest]),
        "worst_b": float(at["b"].values[lowest]),
    }
