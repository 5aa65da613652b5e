"""Limits on real data, and over scans of a parameter."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from covsvc import registry, significance
from covsvc.api.building import STORE, Options, builder
from covsvc.contracts import Counts, FloatArray, Limits, OnOff, Sideband, uncertain
from covsvc.data_file import Point
from covsvc.engine.answers import limits_of
from covsvc.engine.expected import N_SIGMA, expect_there
from covsvc.engine.guard import giving_up
from covsvc.engine.observation import observe as _observe
from covsvc.errors import ObservationError, StudyError
from covsvc.study import RefusedStudy, Study, confidence_level, study_of


def limits(limit_method: str, observed: Any, cl: float, **options: Any) -> Limits:
    """Set the limits of one method.

    Parameters
    ----------
    limit_method : str
        Name of an installed method.
    observed : Counts or another observation, or tuple of views
        What was observed, or the views that an experiment gives of it.
    cl : float
        Confidence level, in [0.5, 1).
    **options
        Options of the method.

    Returns
    -------
    Limits
        One an observation, expected signal events.

    Raises
    ------
    StudyError
        If the method, an option or `cl` is refused.
    ObservationError
        If the method does not read the observation.

    Examples
    --------
    >>> import covsvc
    >>> covsvc.limits("classical", covsvc.Counts(n=[3], b=5.5), cl=0.90).upper.round(2).tolist()
    [1.18]
    """
    method = registry.method(limit_method, options)
    views = observed if isinstance(observed, tuple) else (observed,)
    view = registry.view_for(method.reads, tuple(type(each) for each in views))
    if view is None:
        reads = ", ".join(each.__name__ for each in method.reads)
        gives = ", ".join(type(each).__name__ for each in views)
        raise ObservationError(f"{limit_method} reads {reads}, not {gives}")
    return limits_of(method, views[view], confidence_level(cl))


def observe(
    study: Study,
    maps: xr.Dataset | None = None,
    *,
    store: str | Path = STORE,
    tell: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Set the limits of every column on a study's real data, with the coverage of each method there.

    Parameters
    ----------
    study : Study
        With `observed`.
    maps : xarray.Dataset, optional
        Of the study; the worst coverage over its grid is taken from there. A guarded method all of whose blocks failed
        is not asked again.
    store : str or Path
        Where calibrations are kept.
    tell : callable, optional
        Is told of a calibration that has to be made first.

    Returns
    -------
    list of dict
        One a column: limit_method, cl, sided, the data, lower, upper, status; error, the standard error of the upper
        end, where the method drew toys of its own, else NaN; reason, why there is no limit, else empty; reads, the
        view it was set on; plugged_in, whether an estimated background is taken as known there; ensemble, what differs
        from toy to toy, where there is a choice; coverage, exact, of a true signal just above the limit;
        worst_coverage_at_b, at the best estimate of b, b_estimate; worst_coverage over the grid with worst_s_true and
        worst_b. What cannot be enumerated is NaN.
    """
    with giving_up(failed_columns(study, maps)):
        return _observe(study, maps, build=builder(store, tell))


def failed_rows(study: Study, maps: xr.Dataset | None) -> dict[tuple[str, float, float], str]:
    """Return label, cl and b of each row of cells in which no limit was set on any toy, and why."""
    if maps is None:
        return {}
    known = {column.key for column in study.columns}
    found = {}
    for each in json.loads(maps.attrs.get("failures", "[]")):
        label, cl, b = each["limit_method"], each["cl"], each["b"]
        if (label, cl) not in known or b not in study.b:
            continue
        if not (maps["p_failed"].sel(limit_method=label, cl=cl, b=b) < 1).any():
            found[label, cl, b] = each["reason"]
    return found


def failed_columns(study: Study, maps: xr.Dataset | None) -> dict[tuple[str, float], str]:
    """Return the columns in which no limit was set on any toy, and why."""
    rows = failed_rows(study, maps)
    return {
        column.key: rows[*column.key, study.b[0]]
        for column in study.columns
        if all((*column.key, b) in rows for b in study.b)
    }


def limits_on(
    experiment: str,
    observed: Mapping[str, Any],
    methods: list[dict[str, Any]],
    cl: list[float],
    *,
    s_max: float | None = None,
    options: Options | None = None,
    expected: bool = False,
    store: str | Path = STORE,
    tell: Callable[[str], None] | None = None,
    calibrate: bool = True,
) -> list[dict[str, Any]]:
    """Set the limits of several methods on one observation.

    Parameters
    ----------
    experiment : str
        Name of the experiment whose data these are.
    observed : dict
        Real data.
    methods : list of dict
        name, options and view of each.
    cl : list of float
    s_max : float, optional
        Add the exact coverage of each method there, its worst case searched up to here, expected events.
    options : dict, optional
        Of the experiment.
    expected : bool
        Add the expected limits.
    store, tell
        As those of `observe`.
    calibrate : bool
        Whether a calibration that is not in the store is made, and put there; a method that needs one fails otherwise.

    Returns
    -------
    list of dict
        As `observe` gives it, and as `expect_there` does.
    """
    registry.experiment(experiment, options).observe(dict(observed))
    wanted = "expected limits are" if expected else "coverage is" if s_max is not None else ""
    if wanted and observed.get("b_error") and "relative_b_error" not in (options or {}):
        raise ObservationError(
            f"b_error = {observed['b_error']:g} at b = {observed['b']:g}: {wanted} known where the error is 0.001 to 1 "
            "times b; ask for the limits alone, or leave out so small an error"
        )
    study = _observation(
        {
            "name": "observation",
            "experiment": {"name": experiment, "options": dict(options or {})},
            "methods": methods,
            "cl": [confidence_level(level) for level in cl],
            "s_true": [0.0, *([s_max] if s_max else [])],
            "b": 0.0,
            "n_toys": 1,
            "toys_per_block": 1,
            "seed": 0,
            "observed": dict(observed),
        }
    )
    build = builder(store, tell, calibrate=calibrate)
    found = _observe(study, coverage=s_max is not None, build=build)
    if expected:
        found = [row | there for row, there in zip(found, expect_there(study, build), strict=True)]
    return found


def _observation(given: dict[str, Any]) -> Study:
    """Return a study of one observation; what is refused is named as it was given, not by its place in a study."""
    try:
        return study_of(given)
    except RefusedStudy as error:
        reasons = [message.removeprefix(".".join(map(str, path)) + ": ") for path, message in error.reasons]
        raise StudyError("\n".join(reasons)) from None


def significances_on(experiment: str, observed: Mapping[str, Any], options: Options | None = None) -> dict[str, float]:
    """Return the significance of a signal in real data by every definition that they allow, in standard deviations."""
    views = registry.experiment(experiment, options).observe(dict(observed))
    counted_off = any(isinstance(view, OnOff) for view in views)
    left_out = ", the error of b left out" * (not counted_off and uncertain(views))
    found: dict[str, float] = {}
    for view in views:
        if isinstance(view, Sideband | OnOff if counted_off else Counts):
            for name, value in significance.of(view).items():
                found.setdefault(name + left_out, float(value[0]))
    return found


def scan_limits(
    parameter: str,
    points: Sequence[Point],
    methods: list[dict[str, Any]],
    cl: float,
    *,
    quantity: str = "limit",
    progress: Callable[[str], None] | None = None,
) -> xr.Dataset:
    """Set limits over a model parameter, with the expected ones.

    Parameters
    ----------
    parameter : str
        Its name.
    points : sequence of Point
        From `read_scan`.
    methods : list of dict
        name, options and view of each.
    cl : float
    quantity : str
        What events times scale are.
    progress : callable, optional
        Is told of each point.

    Returns
    -------
    xarray.Dataset
        Over (point, limit_method): observed, the upper end, and its status; over (point, limit_method, n_sigma):
        expected and asimov; in units of the quantity.
    """
    rows = []
    for index, point in enumerate(points, 1):
        at = point.observed
        found = limits_on(at.experiment, at.data, methods, [cl], options=at.options, expected=True)
        rows.append(found)
        if progress is not None:
            progress(f"{parameter} = {point.parameter:g} ({index}/{len(points)})")
    scales = np.array([point.scale for point in points])

    def over(name: str) -> FloatArray:
        values = np.array([[each[name] for each in row] for row in rows], np.float64)
        return np.asarray(values * scales.reshape(-1, *[1] * (values.ndim - 1)))

    here, bands = ("point", "limit_method"), ("point", "limit_method", "n_sigma")
    return xr.Dataset(
        {
            "observed": (here, over("upper")),
            "status": (here, np.array([[each["status"] for each in row] for row in rows])),
            "expected": (bands, over("expected")),
            "asimov": (bands, over("asimov")),
        },
        coords={
            "parameter": ("point", [point.parameter for point in points]),
            "limit_method": [each["limit_method"] for each in rows[0]],
            "n_sigma": list(N_SIGMA),
        },
        attrs={"parameter_name": parameter, "quantity_name": quantity, "cl": cl},
    )


def rows_of_scan(scan: xr.Dataset) -> list[dict[str, Any]]:
    """Return a scan as rows: limit_method, parameter, observed, status, expected and asimov at -2 to 2 sigma."""
    return [
        {
            "limit_method": label,
            "parameter": float(at["parameter"]),
            "observed": float(at["observed"]),
            "status": str(at["status"].item()),
            "expected": at["expected"].values.tolist(),
            "asimov": at["asimov"].values.tolist(),
        }
        for label in scan["limit_method"].values.tolist()
        for at in (scan.sel(limit_method=label).isel(point=index) for index in range(scan.sizes["point"]))
    ]


def write_scan(scan: xr.Dataset, path: str | Path) -> Path:
    """Draw the limit plot of a scan: PNG, SVG or PDF, by the suffix of `path`."""
    from covsvc.report import write_scan as write

    return write(scan, Path(path))
