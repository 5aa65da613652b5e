"""The verbs of covsvc."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.special import ndtri

from covsvc import registry, significance
from covsvc.contracts import (
    Binned,
    Calibration,
    Counts,
    Enumerable,
    Events,
    FloatArray,
    IntArray,
    LimitMethod,
    Limits,
    ModelledEvents,
    OnOff,
    Sideband,
    Status,
    calibrated,
    uncertain,
)
from covsvc.data_file import Point, read_scan
from covsvc.engine import table_building
from covsvc.engine.calibrating import Calibrations, Need, calibrate_all, key_of, needs_of
from covsvc.engine.clusters import connect
from covsvc.engine.cost import cost_at
from covsvc.engine.exact import Worst
from covsvc.engine.execute import execute
from covsvc.engine.expected import N_SIGMA, asimov_of, expect, expect_there, expected_from_toys, is_fitted
from covsvc.engine.likelihood_scan import fit_of_bins, scan_bins, scan_events
from covsvc.engine.likeness import likenesses
from covsvc.engine.narsky import is_tau_mu_gamma, toy_model
from covsvc.engine.observation import Build, build_and_set, coverage_of, draw_curves
from covsvc.engine.observation import observe as _observe
from covsvc.engine.statistics import statistics_of
from covsvc.engine.warm_up import run_kernels
from covsvc.engine.work import (
    MOST_OUTCOMES,
    Table,
    Tables,
    box_of,
    limits_of,
    make_tables,
    run_task,
    sum_exactly,
    tables_of,
)
from covsvc.errors import ObservationError, StoreError, StudyError
from covsvc.event_file import SeenEvents, read_background, read_events, read_signal
from covsvc.interval_tables import (
    HIGHEST_LEVEL,
    IntervalTable,
    cache_folder,
    file_name,
    interval_table,
    levels,
    missing_table,
    path_of,
)
from covsvc.maps import summarize
from covsvc.regions import SeenDensities
from covsvc.store.calibrations import find_calibration, keep_calibration
from covsvc.store.repository import Ledger, compare, driver_of, locked, open_cube, open_ledger, stored_studies
from covsvc.study import (
    HIGHEST,
    Column,
    ExperimentSpec,
    MethodSpec,
    RefusedStudy,
    Row,
    Study,
    ToySource,
    confidence_level,
    rounded,
    rows,
    study_of,
    tile_size,
)
from covsvc.study_file import read_studies
from covsvc.tally import DONE, EXACT, FAILED, MISSING, ExactTally
from covsvc.verdict import judge, smallest_deficit

__all__ = [
    "STORE",
    "build_tables",
    "describe",
    "draw_curves",
    "event_methods",
    "exact_coverage",
    "expected_limits",
    "fit_of_bins",
    "judge",
    "limits",
    "limits_on",
    "limits_on_events",
    "limits_on_view",
    "load_studies",
    "load_study",
    "maps_of",
    "methods_reading",
    "observe",
    "open_cube",
    "plan",
    "read_background",
    "read_events",
    "read_scan",
    "read_signal",
    "readers_of",
    "remainder",
    "rows_of_scan",
    "run",
    "scan_limits",
    "significances_on",
    "status",
    "stored_studies",
    "summarize",
    "tables",
    "worst_coverage",
    "write_events",
    "write_likelihood",
    "write_report",
    "write_scan",
]

STORE = "coverage-cubes"
"""Folder of the cubes: a name that no Python module can have, or it would hide one from programs started beside it."""

TASK_TOYS, TASK_TOYS_ONE_BY_ONE, TASK_TOYS_FITTED = 1.5e7, 5e5, 2e4
"""Toys of a task, about: 0.5 to 2 s of work where limits are looked up, are set toy by toy, and likelihoods fitted."""

Options = Mapping[str, Any]


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


def exact_coverage(
    limit_method: str,
    experiment_name: str,
    /,
    *,
    s_true: ArrayLike,
    b: ArrayLike,
    cl: float,
    method: Options | None = None,
    experiment: Options | None = None,
) -> xr.Dataset:
    """Sum the coverage of one method over all outcomes, without toys.

    Parameters
    ----------
    limit_method, experiment_name : str
        Names of an installed method and of an experiment whose outcomes can be enumerated.
    s_true, b : array_like of float
        Grid, expected events.
    cl : float
        Confidence level, in [0.5, 1).
    method, experiment : dict, optional
        Options of the method and of the experiment.

    Returns
    -------
    xarray.Dataset
        Over (b, s_true): coverage, upper_coverage, median_upper, mean_upper, p_empty, p_unbounded, p_failed.

    Raises
    ------
    StudyError
        If a name, an option or a value is refused, or the experiment cannot be enumerated.

    Examples
    --------
    >>> import covsvc
    >>> found = covsvc.exact_coverage("classical", "counting", s_true=[0.0], b=[3.0], cl=0.90)
    >>> found.coverage.values.round(4).tolist()
    [[0.9502]]
    """
    signals, backgrounds = _grid("s_true", s_true), _grid("b", b)
    column = Column(_method_spec(limit_method, method), confidence_level(cl))
    values = np.empty((len(backgrounds), len(signals), len(EXACT)))
    for index, background in enumerate(backgrounds):
        row = _row(column, _experiment_spec(experiment_name, experiment), background, tuple(sorted(set(signals))))
        found = sum_exactly(row, Tables(_table(row), {}, 0.0), search=False)
        values[index] = found.values[0][np.searchsorted(row.s_true, signals)]
    names = [name.removeprefix("exact_") for name in EXACT]
    return xr.Dataset(
        {name: (("b", "s_true"), values[..., index]) for index, name in enumerate(names)},
        coords={"b": ("b", backgrounds, {"units": "events"}), "s_true": ("s_true", signals, {"units": "events"})},
        attrs={"limit_method": limit_method, "cl": cl, "experiment": experiment_name},
    )


def worst_coverage(
    limit_method: str,
    experiment_name: str,
    /,
    *,
    b: float,
    cl: float,
    s_max: float,
    s_min: float = 0.0,
    method: Options | None = None,
    experiment: Options | None = None,
) -> Worst:
    """Find the smallest exact coverage for s_min <= s <= s_max, searched at the jumps.

    Parameters
    ----------
    limit_method, experiment_name : str
        Names of an installed method and of an experiment whose outcomes can be enumerated.
    b, s_max, s_min : float
        Expected events.
    cl : float
        Confidence level, in [0.5, 1).
    method, experiment : dict, optional
        Options of the method and of the experiment.

    Returns
    -------
    Worst
        coverage, s_true, and whether it is found at, just above or just below s_true.

    Raises
    ------
    StudyError
        If a name, an option or a value is refused, or the experiment cannot be enumerated.

    Examples
    --------
    >>> import covsvc
    >>> found = covsvc.worst_coverage("classical", "counting", b=0.0, cl=0.90, s_max=3.0)
    >>> round(found.coverage, 4), round(found.s_true, 4), found.side  # just above -ln 0.1, the limit of no event
    (0.9, 2.3026, 'above')
    """
    column = Column(_method_spec(limit_method, method), confidence_level(cl))
    (low,), (high,) = _grid("s_min", s_min, single=True), _grid("s_max", s_max, single=True)
    (background,) = _grid("b", b, single=True)
    if low > high:
        raise StudyError(f"s_min = {low:g} is above s_max = {high:g}")
    row = _row(column, _experiment_spec(experiment_name, experiment), background, (low, high))
    return coverage_of(_table(row), row.source.experiment.build()).worst(low, high)


def expected_limits(
    limit_method: str,
    experiment_name: str,
    /,
    *,
    b: ArrayLike,
    cl: float,
    method: Options | None = None,
    experiment: Options | None = None,
) -> xr.Dataset:
    """Return the median and the +-1 and +-2 sigma bands of one method's upper limits if there is no signal.

    Parameters
    ----------
    limit_method, experiment_name : str
        Names of an installed method and of an experiment whose outcomes can be enumerated.
    b : array_like of float
        True backgrounds, expected events.
    cl : float
        Confidence level, in [0.5, 1).
    method, experiment : dict, optional
        Options of the method and of the experiment.

    Returns
    -------
    xarray.Dataset
        Over (b, n_sigma): expected, from the exact distribution of the limits; asimov, from the counts that b
        predicts, NaN for methods that have no such form.

    Raises
    ------
    StudyError
        If a name, an option or a value is refused, or the experiment cannot be enumerated.

    Examples
    --------
    >>> import covsvc
    >>> covsvc.expected_limits("cls", "counting", b=[0.3], cl=0.95).expected.values.round(4).tolist()
    [[2.9957, 2.9957, 2.9957, 4.4894, 6.0007]]
    """
    column = Column(_method_spec(limit_method, method), confidence_level(cl))
    backgrounds = sorted(set(_grid("b", b)))
    spec = _experiment_spec(experiment_name, experiment)
    study = study_of(
        {
            "name": "expected",
            "experiment": spec,
            "methods": [column.spec],
            "cl": column.cl,
            "s_true": 0.0,
            "b": backgrounds,
            "n_toys": 1,
            "toys_per_block": 1,
            "seed": 0,
        }
    )
    _table(_row(column, spec, backgrounds[0], (0.0,)))
    found = expect(study).isel(limit_method=0, cl=0, drop=True)
    found = found.sel(b=_grid("b", b))
    attrs = {"limit_method": limit_method, "cl": cl, "experiment": experiment_name}
    return found[["expected", "asimov"]].drop_attrs(deep=False).assign_attrs(attrs)


def load_study(source: str | Path | Mapping[str, Any]) -> Study:
    """Return the one study of a YAML file, or of a mapping with the same keys.

    Raises
    ------
    StudyError
        If anything in it is refused, with all reasons at once, or the file holds several studies.
    """
    if isinstance(source, Mapping):
        return study_of(source)
    studies = read_studies(source)
    if len(studies) > 1:
        names = ", ".join(study.name for study in studies)
        raise StudyError(f"{source}: holds several studies, {names}; take them from load_studies")
    return studies[0]


def load_studies(path: str | Path) -> tuple[Study, ...]:
    """Return all studies of a YAML file.

    Raises
    ------
    StudyError
        If anything in it is refused, with all reasons at once.
    """
    return read_studies(path)


@dataclass(frozen=True)
class Progress:
    """How far a run is: cells and toys done of those that were missing, and since when; calibrations before them."""

    cells: float
    all_cells: int
    toys: int
    all_toys: int
    seconds: float
    calibrations: int = 0
    all_calibrations: int = 0


def run(
    study: Study,
    store: str | Path = STORE,
    cluster: Any = None,
    *,
    n_workers: int | None = None,
    replace: bool = False,
    retry_failed: bool = False,
    progress: Callable[[Progress], None] | None = None,
    task_toys: float | None = None,
    commit_seconds: float = 10.0,
) -> xr.Dataset:
    """Compute what is missing of a study, store it, and return its cube.

    Parameters
    ----------
    study : Study
        From `load_study`.
    store : str or Path
        Folder of the store.
    cluster : None, distributed.Client or str
        None works in this process; ``"local"`` starts a cluster; ``"tcp://host:port"`` is a scheduler.
    n_workers : int, optional
        Workers of a cluster that is started here; as many as cores unless given.
    replace : bool
        Discard stored columns whose toys, code or options are others, instead of refusing them.
    retry_failed : bool
        Draw failed blocks again.
    progress : callable, optional
        Is told a `Progress` now and then.
    task_toys : float, optional
        Toys of a task, about; results do not depend on it. Unless given, so many that it takes about a second.
    commit_seconds : float
        Time between commits.

    Returns
    -------
    xarray.Dataset
        The cube; see `open_cube`.

    Raises
    ------
    StoreError
        If the store cannot be locked, read or extended.
    ClusterError
        If the cluster cannot be reached, or is lost.
    """
    task_toys = task_toys or _task_toys(study)
    tile = tile_size(study, task_toys)
    with open_ledger(store, study, replace=replace, s_tile=tile, commit_seconds=commit_seconds) as ledger:
        _trust(ledger, study, replace)

        def missing(b: float) -> Any:
            return ledger.missing(b, retry_failed=retry_failed)

        tasks, toys, exact, cells = _work(study, missing, task_toys)
        if tasks or exact:
            with connect(cluster, n_workers, study) as client:
                try:
                    needs = needs_of(rows(study, missing, task_toys))
                    calibrations = _calibrate(needs, store, client, progress)
                    ledger.note_calibrations(_errors(needs, calibrations))
                    todo = rows(study, missing, task_toys)
                    _carry_out(todo, client, ledger, progress, study, toys, cells, calibrations)
                except KeyboardInterrupt:
                    ledger.commit()  # before the cluster takes its time to close
                    raise
    return open_cube(store, study.name)


def maps_of(cube: xr.Dataset) -> xr.Dataset:
    """Return the maps of what the last run of a study asked for; a cube holds all that was ever stored of it."""
    return summarize(_part_of(cube, study_of(json.loads(cube.attrs["study"]))))


def _part_of(cube: xr.Dataset, study: Study) -> xr.Dataset:
    return cube.sel(
        {name: [value for value in values if value in cube[name].values] for name, values in study.axes.items()}
    )


@dataclass(frozen=True)
class Remainder:
    """What is missing of a study in a store: tasks, toys and rows of exact values."""

    tasks: int
    toys: int
    exact_rows: int
    new_columns: list[str]
    stored: bool

    @property
    def nothing(self) -> bool:
        """Whether the study is complete."""
        return not (self.tasks or self.exact_rows)


def remainder(
    study: Study,
    store: str | Path = STORE,
    *,
    replace: bool = False,
    retry_failed: bool = False,
    task_toys: float | None = None,
) -> Remainder:
    """Say what `run` with the same options would compute, without locking the store.

    Raises
    ------
    StoreError
        If `run` would refuse the study.
    """
    missing, new, stored = _peek(study, store, replace, retry_failed)
    tasks, toys, exact, _ = _work(study, missing, task_toys or _task_toys(study))
    return Remainder(tasks, toys, exact, new, stored)


def plan(
    study: Study, store: str | Path = STORE, *, n_workers: int = 1, task_toys: float | None = None
) -> dict[str, Any]:
    """Say what `run` would do, what it would cost, and what the toys could show.

    Returns
    -------
    dict
        cells, columns, toys_per_cell, tasks, toys, exact_rows and calibrations that are missing; enumerable;
        new_columns, whose toys are drawn again; seconds (expected, on `n_workers`), memory_mb of the driver and of a
        worker, smallest_deficit by cl.
    """
    left = remainder(study, store, task_toys=task_toys)
    run_kernels(study)
    cost = cost_at(study, study.b[-1])
    keys = _missing_calibrations(study, store, task_toys or _task_toys(study)) if left.tasks else []
    each_takes = float(np.mean([*cost.calibrations.values()])) if cost.calibrations else 0.0
    calibrating = [cost.calibrations.get(key, each_takes) for key in keys]
    cell_mb = len(study.columns) * (1024 * 8 * 3 + study.n_blocks * 9) / 1e6
    return {
        "study": study.name,
        "cells": study.cells,
        "columns": len(study.columns),
        "toys_per_cell": study.n_toys,
        "tasks": left.tasks,
        "toys": left.toys,
        "exact_rows": left.exact_rows,
        "enumerable": study.is_enumerable,
        "calibrations": len(keys),
        "already_stored": left.stored,
        "new_columns": left.new_columns,
        "seconds": (left.toys * cost.toy_seconds + left.exact_rows * cost.exact_seconds) / n_workers
        + max(sum(calibrating) / n_workers, max(calibrating, default=0.0)),
        "n_workers": n_workers,
        "memory_mb": {
            "driver": round(250 + study.cells * cell_mb),
            "worker": round(250 + study.toys_per_block * 16 / 1e6 + cost.outcomes * len(study.columns) * 50 / 1e6),
        },
        "smallest_deficit": {
            f"{cl:.12g}": smallest_deficit(study.n_toys, cl, study.cells * len(study.columns)) for cl in study.cl
        },
    }


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
        Of the study; the worst coverage over its grid is taken from there.
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
    return _observe(study, maps, build=_builder(store, tell))


def _builder(store: str | Path, tell: Callable[[str], None] | None = None) -> Build:
    """Return what builds the method of a column for an observation, its calibration from the store or put there."""
    at_hand: dict[str, Any] = {}

    def _found(key: str) -> Calibration | None:
        try:
            return find_calibration(store, key)
        except StoreError as error:
            if tell is not None:
                tell(str(error))
            return None

    def build(column: Column, observed: Any) -> LimitMethod:
        method = column.spec.build()
        known = getattr(observed, "model", None)
        if type(observed) not in getattr(method, "calibrates", ()) or known is None:
            return method
        key = key_of(column, known)
        held = at_hand.get(key) or _found(key)
        if held is None:
            if tell is not None:
                tell(f"{column.key[0]} at {column.cl:g}: draws the toys of its calibration, once for this analysis")
            begun = time.thread_time()
            held = method.calibrate(known, column.cl)  # type: ignore[attr-defined]
            about = {"limit_method": column.spec.name, "options": column.spec.options, "cl": column.cl}
            try:
                keep_calibration(store, key, held, about, time.thread_time() - begun)
            except StoreError as error:
                if tell is not None:
                    tell(f"the calibration is not kept: {error}")
        at_hand[key] = held
        return calibrated(method, held)

    return build


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
    build = _builder(store, tell)
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


def readers_of(experiment: str) -> list[dict[str, Any]]:
    """Return the name of every installed method that reads what an experiment gives."""
    gives = registry.find("experiments", experiment).gives
    known = registry.installed("methods")
    return [
        {"name": name} for name in known if registry.view_for(registry.find("methods", name).reads, gives) is not None
    ]


def describe(kind: str) -> list[dict[str, Any]]:
    """Describe the installed ``"methods"`` or ``"experiments"``: name, summary, options, their choices, contract."""
    found = []
    for name in registry.installed(kind):
        plugin = registry.find(kind, name)
        told = {
            "name": name,
            "summary": (plugin.__doc__ or "").partition("\n")[0],
            "options": {field.name: field.default for field in dataclasses.fields(plugin)},
            "choices": {
                option: list(get_args(kind))
                for option, kind in get_type_hints(plugin).items()
                if get_origin(kind) is Literal
            },
        }
        if kind == "methods":
            told |= {
                "sided": plugin.sided,
                "promises": plugin.promises,
                "reads": [each.__name__ for each in plugin.reads],
            }
        else:
            told |= {"gives": [each.__name__ for each in plugin.gives], "enumerable": hasattr(plugin, "counts")}
        found.append(told)
    return found


def status(store: str | Path, name: str) -> dict[str, Any]:
    """Say how complete a stored study is, what failed, and who works on it."""
    cube = open_cube(store, name)
    study = study_of(json.loads(cube.attrs["study"]))
    here = _part_of(cube, study)
    blocks = here["block_status"].values[..., : study.n_blocks]
    toys = int(here["n_toys"].max(["limit_method", "cl"]).sum())
    failures: dict[tuple[str, float, str], set[tuple[float, float]]] = {}
    for each in json.loads(cube.attrs["failures"]):
        cells = failures.setdefault((each["limit_method"], each["cl"], each["reason"]), set())
        cells.add((each["s_true"], each["b"]))
    commit = json.loads(cube.attrs["commit"])
    return {
        "study": name,
        "blocks": len(study.columns) * study.cells * study.n_blocks,
        "blocks_done": int((blocks == DONE).sum()),
        "blocks_failed": int((blocks == FAILED).sum()),
        "toys": toys,
        "snapshot": cube.attrs["snapshot"],
        "written_at": commit["written_at"],
        "driver": driver_of(store, name),
        "toy_failures": _failing_columns(here, json.loads(cube.attrs.get("toy_failures", "[]"))),
        "failures": [
            {"limit_method": label, "cl": cl, "reason": reason, "cells": len(cells)}
            for (label, cl, reason), cells in failures.items()
        ],
        "environment": json.loads(cube.attrs["environment"]),
    }


def _failing_columns(cube: xr.Dataset, reasons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each column of which limits of toys failed: how many, of how many, and a reason."""
    found = []
    for label in cube["limit_method"].values.tolist():
        for cl in cube["cl"].values.tolist():
            column = cube.sel(limit_method=label, cl=cl)
            failed = int(column["n_failed"].sum())
            told = [each["reason"] for each in reasons if (each["limit_method"], each["cl"]) == (label, cl)]
            if failed:
                toys = int(column["n_toys"].sum())
                found.append(
                    {"limit_method": label, "cl": cl, "toys": toys, "failed": failed, "reason": (told or [""])[0]}
                )
    return found


def write_report(
    cube: xr.Dataset,
    folder: str | Path = "report",
    *,
    maps: xr.Dataset | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Write the report of a cube: one HTML page that opens without network, and its maps as PNG and SVG.

    Parameters
    ----------
    cube : xarray.Dataset
        As `open_cube` gives it.
    folder : str or Path
        Where the report goes.
    maps : xarray.Dataset, optional
        The maps of the cube, if they are made already.
    progress : callable, optional
        Is told what is being drawn.

    Returns
    -------
    Path
        Of the page.
    """
    from covsvc.report import write_page

    study = study_of(json.loads(cube.attrs["study"]))
    maps = maps_of(cube) if maps is None else maps
    if progress is not None:
        progress("setting the limits of all outcomes")
    tables = tables_of(study)
    build = _builder(cube.attrs.get("store", STORE), progress)
    known = is_fitted(study) or any(each.table for each in tables.values())
    return write_page(
        maps,
        judge(maps).as_dict(),
        Path(folder),
        _observe(study, maps, build=build),
        progress,
        curves=draw_curves(study, tables),
        expected=expect(study, tables, build) if known else None,
        null=_under_the_null(study),
        statistics=statistics_of(study),
        notes=likenesses(study),
        events=_interval_tables(study),
        toy_model=toy_model(study, build),
        tau_mu_gamma=is_tau_mu_gamma(study),
        densities=_densities(study),
    )


def _densities(study: Study) -> SeenDensities | None:
    """Return the real events over the densities of the experiment, where it has any to show."""
    show = getattr(study.experiment.build(), "densities", None)
    return show(study.observed) if show is not None and study.observed is not None else None


def _under_the_null(study: Study) -> xr.Dataset | None:
    """Return how often a significance is claimed without a signal, where the background is counted off source."""
    tau = getattr(study.experiment.build(), "tau", None)
    if tau is None:
        return None
    b = np.geomspace(0.1, max(10.0, study.b[-1]), 41)
    found = significance.under_the_null(b, tau)
    over = ("threshold", "b")
    return xr.Dataset(
        {
            "p_sideband": (over, found.sideband),
            "p_whole": (over, found.whole_region),
            "nominal": ("threshold", found.nominal),
        },
        coords={"threshold": found.thresholds, "b": found.b},
        attrs={"tau": tau},
    )


def _interval_tables(study: Study) -> list[IntervalTable] | None:
    """Return the tables that there are at the study's cl; None where the data are no positions of events."""
    if Events not in study.experiment.build().gives:
        return None
    return [interval_table(cl) for cl in study.cl if missing_table(cl) is None]


def _task_toys(study: Study) -> float:
    """Return how many toys make a task of about a second: fewer where limits are set toy by toy."""
    row = Row(study.source, study.columns, study.b[-1], study.s_true)
    if box_of(study.experiment.build(), row):
        return TASK_TOYS
    return TASK_TOYS_FITTED if is_fitted(study) else TASK_TOYS_ONE_BY_ONE


def _work(study: Study, missing: Callable[[float], Any], task_toys: float) -> tuple[int, int, int, int]:
    """Return the tasks, the toys and the rows of exact values that are missing, and the cells of these toys."""
    tasks = toys = exact = cells = 0
    for row in rows(study, missing, task_toys):
        tasks += len(row.tasks)
        toys += sum(task.toys for task in row.tasks)
        exact += row.reach is not None
        cells += len({s_true for task in row.tasks for s_true in task.s_true})
    return tasks, toys, exact, cells


def _carry_out(
    todo: Iterator[Row],
    client: Any,
    ledger: Ledger,
    progress: Callable[[Progress], None] | None,
    study: Study,
    toys: int,
    cells: int,
    calibrations: Calibrations,
) -> None:
    begun = time.monotonic()
    drawn = 0

    def tell() -> None:
        if progress is not None:
            done = cells * drawn / toys if toys else cells
            progress(Progress(done, cells, drawn, toys, time.monotonic() - begun))

    tell()
    for learnt in execute(todo, client, calibrations):
        if isinstance(learnt, ExactTally):
            ledger.add_exact(learnt)
        else:
            ledger.add(learnt)
            drawn += len(learnt.s_true) * (learnt.stop - learnt.start) * study.toys_per_block
            tell()


def _missing_calibrations(study: Study, store: str | Path, task_toys: float) -> list[str]:
    """Return the keys of the calibrations that toys need and that are not stored."""
    missing, _, _ = _peek(study, store, replace=False, retry_failed=False)
    keys = dict.fromkeys(need.key for need in needs_of(rows(study, missing, task_toys)))
    return [key for key in keys if find_calibration(store, key) is None]


def _calibrate(
    needs: Sequence[Need], store: str | Path, client: Any, progress: Callable[[Progress], None] | None = None
) -> dict[str, Calibration | str]:
    """Return the calibrations that are needed, by key; those that are not stored yet are made, and stored."""
    wanted = {need.key: need for need in needs}
    found: dict[str, Calibration | str] = {
        key: held for key in wanted if (held := find_calibration(store, key)) is not None
    }
    missing = [need for key, need in wanted.items() if key not in found]
    begun = time.monotonic()

    def tell(done: int) -> None:
        if progress is not None and missing:
            progress(Progress(0.0, 0, 0, 0, time.monotonic() - begun, done, len(missing)))

    tell(0)
    for done, (need, made, seconds) in enumerate(calibrate_all(missing, client), 1):
        found[need.key] = made
        if isinstance(made, Calibration):
            keep_calibration(store, need.key, made, need.about, seconds)
        tell(done)
    return found


def _errors(needs: Sequence[Need], calibrations: Calibrations) -> dict[tuple[str, float], float]:
    """Return the largest standard error of coverage that the calibrations of each column leave."""
    errors: dict[tuple[str, float], float] = {}
    for need in needs:
        made = calibrations[need.key]
        if isinstance(made, Calibration):
            errors[need.column.key] = max(made.error, errors.get(need.column.key, 0.0))
    return errors


def _trust(ledger: Ledger, study: Study, replace: bool) -> None:
    """Compare a stored block of each column with the code and the libraries of now, if those have changed since."""
    changed: dict[str, None] = {}
    for task, digests in ledger.sentinels():
        found = run_task(task, make_tables(Row(study.source, task.columns, task.b, task.s_true))).digest[:, 0, 0]
        changed |= {
            column.key[0]: None for column, same in zip(task.columns, found == digests, strict=True) if not same
        }
    if changed and not replace:
        raise StoreError(
            f"{study.name}: this engine or these libraries give other limits than the stored ones, for "
            f"{', '.join(changed)}; restore the environment that `covsvc status --json` names, "
            "or recompute with --replace"
        )
    ledger.discard(changed)
    ledger.trust_engine()


def _peek(
    study: Study, store: str | Path, replace: bool, retry_failed: bool
) -> tuple[Callable[[float], Any], list[str], bool]:
    """Return what is missing of a study, read without a lock; its columns that are new; whether anything is stored."""
    shape = (len(study.columns), len(study.s_true), study.n_blocks)
    whole = study.s_true[0], study.s_true[-1]
    try:
        cube = open_cube(store, study.name)
    except StoreError:
        return lambda _: (np.ones(shape, bool), whole), [], False
    stored = {key: json.loads(cube.attrs[key]) for key in ("source", "methods")}
    same_toys, other = compare(stored, study, str(Path(store) / study.name), replace=replace)
    if not same_toys:
        return lambda _: (np.ones(shape, bool), whole), [], False
    known = {(label, cl) for label in cube["limit_method"].values.tolist() for cl in cube["cl"].values.tolist()}
    new = [f"{column.key[0]} at {column.key[1]:.12g}" for column in study.columns if column.key not in known]
    axes = {name: values for name, values in study.axes.items() if name != "b"}
    forgotten = np.array([column.key[0] in other for column in study.columns])

    def missing(b: float) -> Any:
        if b not in cube["b"].values:
            return np.ones(shape, bool), whole
        here = cube[["block_status", "exact_status", "worst_s_min", "worst_s_max"]].sel(b=b).load()
        here = here.reindex(axes, fill_value={"block_status": 0, "exact_status": 0})
        status = here["block_status"].transpose("limit_method", "cl", "s_true", "block").values[..., : study.n_blocks]
        status = np.pad(status, [(0, 0)] * 3 + [(0, study.n_blocks - status.shape[-1])]).reshape(shape)
        wanted = (status == MISSING) | forgotten[:, None, None] | (retry_failed & (status == FAILED))
        reached = (here["worst_s_min"] <= whole[0]) & (here["worst_s_max"] >= whole[1])
        complete = bool(reached.all() and (here["exact_status"] != 0).all()) and not forgotten.any()
        return wanted, None if complete else whole

    return missing, new, True


def _grid(name: str, values: ArrayLike, *, single: bool = False) -> list[float]:
    try:
        given = np.atleast_1d(np.asarray(values, np.float64))
    except (TypeError, ValueError):
        raise StudyError(f"{name} = {values!r}: expected events are numbers") from None
    if given.ndim > 1 or (single and given.size != 1):
        raise StudyError(f"{name} has shape {given.shape}: give {'one number' if single else 'numbers in a row'}")
    for value in given.tolist():
        if not 0 <= value <= HIGHEST:
            raise StudyError(f"{name} = {value:g}: expected events lie in [0, {HIGHEST:g}]")
    if not given.size:
        raise StudyError(f"{name}: the grid is empty")
    return [rounded(value) for value in given.tolist()]


def _method_spec(name: str, options: Options | None) -> MethodSpec:
    registry.method(name, options)
    return MethodSpec(name=name, options=dict(options or {}))


def _experiment_spec(name: str, options: Options | None) -> ExperimentSpec:
    registry.experiment(name, options)
    return ExperimentSpec(name=name, options=dict(options or {}))


def _row(column: Column, experiment: ExperimentSpec, b: float, s_true: tuple[float, ...]) -> Row:
    return Row(ToySource(experiment, 0, 1), (column,), b, s_true)


def _table(row: Row) -> Table:
    """Return the limits of the one column of `row` on all outcomes, or say why there are none."""
    tables = make_tables(row)
    (column,) = row.columns
    if column.key in tables.failed:
        raise StudyError(f"{column.key[0]}: {tables.failed[column.key]}")
    if tables.table is None:
        experiment = row.source.experiment.build()
        many = isinstance(experiment, Enumerable) and experiment.counts(row.s_true[-1], row.b) is not None
        reason = (
            f"has more than {MOST_OUTCOMES:,} outcomes at b = {row.b:g}" if many else "has outcomes that are no counts"
        )
        raise StudyError(
            f"{row.source.experiment.name}: cannot be enumerated, it {reason}; coverage is known from toys only"
            + ", or take a smaller b" * many
        )
    return tables.table


def tables() -> list[dict[str, Any]]:
    """Return what is known of each table of the interval methods that is used: cl, reach, error, origin and file.

    Of a file that cannot be read, cl, file and reason.
    """
    return [_told_table(level) for level in levels()]


def build_tables(
    cl: Sequence[float],
    *,
    toys: int = 3_000_000,
    seed: int = 2002,
    largest_mu: float = 120.0,
    folder: str | Path | None = None,
    cluster: Any = None,
    n_workers: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> list[dict[str, Any]]:
    """Build the tables of the interval methods at some confidence levels, and store them.

    Parameters
    ----------
    cl : sequence of float
        In [0.5, 1).
    toys : int
        Toys at each mu.
    seed : int
    largest_mu : float
        Where the tables end, expected events.
    folder : str or Path, optional
        The user's cache unless given.
    cluster, n_workers
        As those of `run`.
    progress : callable, optional
        Is told the stage and how much of it is done, from 0 to 1.

    Returns
    -------
    list of dict
        One a table: as `tables` gives it; hidden_by, the file of another table that is used in its place, or None.

    Raises
    ------
    StudyError
        If a cl, the number of toys or the largest mu is out of range.
    TaskError
        If there are too few toys to tell thresholds apart.
    """
    wanted = sorted({rounded(confidence_level(level)) for level in cl})
    if not wanted:
        raise StudyError("cl: name a confidence level, for example 0.90")
    if wanted[-1] > HIGHEST_LEVEL:
        raise StudyError(f"cl = {wanted[-1]:.12g}: tables are built up to {HIGHEST_LEVEL:g}: few toys exceed it")
    if not _LEAST_TOYS <= toys <= _MOST_TOYS:
        raise StudyError(f"toys = {toys:,}: {_LEAST_TOYS:,} to {_MOST_TOYS:,} at each mu make a table")
    smallest = -2.0 * float(np.log1p(-wanted[-1]))
    if not smallest <= largest_mu <= _FARTHEST:
        raise StudyError(f"largest_mu = {largest_mu:g}: expected events in [{smallest:.3g}, {_FARTHEST:g}]")
    target = cache_folder() if folder is None else Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"{target}: {error.strerror}; choose another folder") from None
    with locked(target / "building.lock", "another build is at work"), connect(cluster, n_workers) as client:
        built = table_building.build_tables(wanted, int(toys), seed, float(largest_mu), target, client, progress)
    found = []
    for table in built:
        path = target / file_name(table.cl)
        used = path_of(table.cl)
        hidden_by = str(used) if used is not None and used.resolve() != path.resolve() else None
        found.append(_about(table, path) | {"hidden_by": hidden_by})
    return found


_LEAST_TOYS, _MOST_TOYS = 10_000, 100_000_000
_FARTHEST = 140.0


def _told_table(level: float) -> dict[str, Any]:
    path = path_of(level)
    if path is None:
        raise StudyError(f"cl = {level:g}: its table was removed a moment ago")
    try:
        return _about(interval_table(level), path)
    except StudyError as error:
        return {"cl": level, "file": str(path), "reason": str(error)}


def _about(table: IntervalTable, path: Path) -> dict[str, Any]:
    error = max(float(part.error.max()) for part in (table.c_max, table.p_max))
    made_by = {key: table.made_by[key] for key in ("toys", "seed", "version")}
    return {"cl": table.cl, "largest_mu": table.largest_mu, "error": error, **made_by, "file": str(path)}


def event_methods() -> list[dict[str, Any]]:
    """Return the name of every installed method that allows for unknown background and leaves nothing to choose."""
    known = registry.installed("methods")
    return [
        {"name": name}
        for name in known
        if name == "poisson" or (name != "fixed_interval_n" and Events in registry.find("methods", name).reads)
    ]


def limits_on_events(
    seen: SeenEvents, methods: list[dict[str, Any]] | None = None, cl: Sequence[float] = (0.90,)
) -> list[dict[str, Any]]:
    """Set the limits of several methods on the positions of real events.

    Parameters
    ----------
    seen : SeenEvents
        From `read_events`.
    methods : list of dict, optional
        name and options of each; `event_methods` unless given.
    cl : sequence of float

    Returns
    -------
    list of dict
        One a method and level, as `limits_on` gives it, with n and b in place of the data; scaled, the upper limit on
        the cross section; interval, None or what the interval was that decided: its ends, low and high; events, those
        inside; expected, the signal events there at the limit, and background, those of the known background.
    """
    asked = event_methods() if methods is None else methods
    # a method that nobody named does not keep the others from their answer: it fails and says why
    without = {each["name"]: _missing(each["name"], cl) for each in asked} if methods is None else {}
    asked = [each for each in asked if not without.get(each["name"])]
    view = registry.experiment("spectrum").observe(seen.data)[0]
    built = [registry.method(each["name"], each.get("options")) for each in asked for _ in cl]
    rows: list[dict[str, Any]] = []
    for method, found in zip(built, limits_on("spectrum", seen.data, asked, list(cl)), strict=True):
        row = {key: value for key, value in found.items() if key not in ("u", "v")}
        row |= {"n": len(seen.positions), "b": view.b, "scaled": row["upper"] / seen.spectrum.total}
        row["reason"] = row["reason"].removeprefix(f"{StudyError.__name__}: ")
        decide: Any = getattr(method, "intervals", None)
        decided = decide is not None and row["status"] in ("ok", "empty")
        row["interval"] = _interval(seen, row["upper"], *decide(view, row["cl"])) if decided else None
        rows.append(row)
    nothing = {"lower": np.nan, "upper": np.nan, "scaled": np.nan, "status": "failed", "interval": None}
    for name, reasons in without.items():
        for level, reason in reasons.items():
            rows.append(rows[0] | nothing | {"limit_method": name, "cl": level, "reason": reason})
    return rows


def _missing(name: str, levels: Sequence[float]) -> dict[float, str]:
    """Return why a method has no limits at these levels; empty if it has them at all of them."""
    missing: Any = getattr(registry.method(name), "missing", None)
    reasons = {level: missing(level) for level in sorted(levels)} if missing else {}
    first = next(filter(None, reasons.values()), None)
    return {level: reason or first for level, reason in reasons.items()} if first else {}


def write_events(
    seen: SeenEvents, rows: Sequence[Mapping[str, Any]], path: str | Path, *, quantity: str = "cross section"
) -> Path:
    """Draw events, the spectrum at its limit and the deciding intervals: PNG, SVG or PDF, by the suffix of `path`."""
    from covsvc.report.event_plot import write_events as write

    return write(seen, rows, Path(path), quantity)


def _interval(seen: SeenEvents, upper: float, left: IntArray, right: IntArray) -> dict[str, Any]:
    """Return the interval between the events `left` and `right`, or the ends of the range, with what is in it."""
    first, last = int(left[0]), int(right[0])
    low = seen.spectrum.low if first < 0 else float(seen.positions[first])
    high = seen.spectrum.high if last >= len(seen.positions) else float(seen.positions[last])
    ends = np.array([low, high])
    known = seen.background
    return {
        "low": low,
        "high": high,
        "events": last - first - 1,
        "expected": float(np.diff(seen.spectrum.cdf(ends))[0]) * upper,
        "background": float(np.diff(known.cdf(ends))[0]) * known.total if known is not None else 0.0,
    }


def methods_reading(kind: type) -> list[dict[str, Any]]:
    """Return the name of every installed method that reads such observations, `ModelledEvents` or `Binned`."""
    known = registry.installed("methods")
    return [{"name": name} for name in known if registry.view_for(registry.find("methods", name).reads, (kind,)) == 0]


def limits_on_view(
    observed: ModelledEvents | Binned,
    methods: list[dict[str, Any]] | None = None,
    cl: Sequence[float] = (0.90,),
    *,
    expected: bool = False,
    store: str | Path = STORE,
    tell: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Set the limits of several methods on one observation of events with densities, or of counts in bins.

    Parameters
    ----------
    observed : ModelledEvents or Binned
        Of one toy.
    methods : list of dict, optional
        name and options of each; `methods_reading` such observations unless given.
    cl : sequence of float
    expected : bool
        Add the expected limits.
    store, tell
        As those of `observe`.

    Returns
    -------
    list of dict
        One a method and level: limit_method, cl, sided, lower, upper, status, error and reason, as `observe` gives
        them. With `expected`: expected, the median and the bands at -2 to 2 sigma without a signal, expected signal
        events, and expected_from, ``"asimov"`` or ``"toys"``, empty where they are not known.
    """
    asked = methods_reading(type(observed)) if methods is None else methods
    for each in asked:
        registry.method(each["name"], each.get("options"))  # its refusals say what and why
    specs = [MethodSpec(**each) for each in asked]
    for spec in specs:
        if spec.view:
            raise StudyError(f"view = {spec.view}: these data are read in one way only; leave it out")
        reads = spec.build().reads
        if registry.view_for(reads, (type(observed),)) is None:
            names = ", ".join(each.__name__ for each in reads)
            raise StudyError(f"{spec.label} reads {names} but not {type(observed).__name__}")
    levels_asked = [confidence_level(level) for level in cl]
    build = _builder(store, tell)
    rows_found = []
    for spec in specs:
        for level in levels_asked:
            column = Column(spec, level)
            method, limit, reason = build_and_set(column, observed, build)
            row = {
                "limit_method": spec.label,
                "cl": level,
                "sided": method.sided,
                "lower": float(limit.lower[0]),
                "upper": float(limit.upper[0]),
                "status": Status(int(limit.status[0])).name.lower(),
                "error": float(limit.error[0]) if limit.error is not None else np.nan,
                "reason": reason,
            }
            rows_found.append(row | (_expected_there(column, method, observed) if expected else {}))
    return rows_found


def _expected_there(column: Column, method: LimitMethod, observed: ModelledEvents | Binned) -> dict[str, Any]:
    found, how = asimov_of(column, observed), "asimov"
    if not np.isfinite(found).any():
        found, how = expected_from_toys(method, observed, column.cl), "toys"
    return {"expected": found, "expected_from": how if np.isfinite(found).any() else ""}


_WIDER = 20
"""How often a picture of the likelihood is made wider, so that it shows the fall by z^2."""


def write_likelihood(
    observed: ModelledEvents | Binned,
    rows: Sequence[Mapping[str, Any]],
    path: str | Path,
    *,
    quantity: str,
    told: str,
    scale: float = 1.0,
) -> Path:
    """Draw the likelihood of one observation, with the limits of `rows`: PNG, SVG or PDF, by the suffix of `path`.

    Parameters
    ----------
    observed : ModelledEvents or Binned
        Of one toy.
    rows : sequence of dict
        From `limits_on_view`, at one confidence level.
    path : str or Path
    quantity, told : str
        What the signal is called, and what was observed.
    scale : float
        The quantity of one signal event.
    """
    from covsvc.report.likelihood_plot import write_likelihood as write

    square = float(ndtri(rows[0]["cl"])) ** 2
    shown_ends = [row["upper"] for row in rows if row["status"] == "ok"]
    shown_ends += [each for row in rows for each in row.get("expected", []) if np.isfinite(each)]
    top = 1.08 * scale * (max(shown_ends, default=0.0) or 1.0)
    for _ in range(_WIDER):
        if not _scan_up_to(observed, top, 2, scale)["profiled"][-1] < 1.1 * square:
            break
        top *= 1.25
    scan = _scan_up_to(observed, top, 401, scale)
    ends = ("lower", "upper")
    shown = [
        dict(row)
        | {end: row[end] * scale for end in ends}
        | ({"expected": [each * scale for each in row["expected"]]} if "expected" in row else {})
        for row in rows
    ]
    return write(scan, shown, Path(path), quantity, told)


def _scan_up_to(observed: ModelledEvents | Binned, top: float, points: int, scale: float) -> xr.Dataset:
    """Return the likelihood from no signal up to `top`, in units of `scale` for one event."""
    signal = np.linspace(0.0, top, points)
    if isinstance(observed, Binned):
        unit = observed.model.signal_events * scale
        found = scan_bins(observed, signal / unit)
    else:
        unit = scale
        found = scan_events(observed, signal / unit)
    return found.assign_coords(signal=signal).assign_attrs(best=found.attrs["best"] * unit)
