"""Exact coverage and expected limits, without a study."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from covsvc import registry
from covsvc.api.building import Options
from covsvc.contracts import Enumerable
from covsvc.engine.exact import Worst
from covsvc.engine.expected import expect
from covsvc.engine.observation import coverage_of
from covsvc.engine.work import MOST_OUTCOMES, Table, Tables, make_tables, sum_exactly
from covsvc.errors import StudyError
from covsvc.study import (
    HIGHEST,
    Column,
    ExperimentSpec,
    MethodSpec,
    Row,
    ToySource,
    confidence_level,
    rounded,
    study_of,
)
from covsvc.tally import EXACT


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
