"""Limits on real data, with the coverage of their methods there; the saw-tooth of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from covsvc import registry
from covsvc.contracts import Status, one_sided
from covsvc.engine.exact import find_worst, just_above, trace
from covsvc.engine.work import limits_of, make_tables
from covsvc.study import Column, Row, Study, rounded


def observe(study: Study, maps: xr.Dataset | None = None, *, coverage: bool = True) -> list[dict[str, Any]]:
    """Set the limits of every column on the study's real data, with the coverage of each method there.

    Parameters
    ----------
    study : Study
        With `observed`.
    maps : xarray.Dataset, optional
        Of the study; the worst coverage over its grid is taken from there.
    coverage : bool
        Whether exact coverage is wanted.

    Returns
    -------
    list of dict
        One a column: limit_method, cl, n, b, lower, upper, status; coverage, exact, of a true signal just above the
        limit; worst_coverage_at_b; worst_coverage over the grid with worst_s_true and worst_b. What cannot be
        enumerated is NaN.
    """
    if study.observed is None:
        return []
    experiment = study.experiment.build()
    views = experiment.observe(study.observed)
    found = []
    for column in study.columns:
        method = column.spec.build()
        view = registry.view_for(method.reads, experiment.gives)
        try:
            limit = limits_of(method, views[view or 0], column.cl)
        except Exception:  # a method may raise anything; `status` tells why
            limit = one_sided(np.array([np.nan]))
        told = {
            "limit_method": column.key[0],
            "cl": column.cl,
            "sided": method.sided,
            **study.observed,
            "lower": float(limit.lower[0]),
            "upper": float(limit.upper[0]),
            "status": Status(int(limit.status[0])).name.lower(),
        }
        if coverage:
            told |= _coverage_there(study, column, told) | _worst_of_grid(maps, column)
        found.append(told)
    return found


def draw_curves(study: Study, points: int = 97) -> xr.Dataset | None:
    """Return the saw-tooth of every column and b: exact coverage between the nodes of the grid, for figures.

    Returns
    -------
    xarray.Dataset or None
        s and coverage over (limit_method, cl, b, point), a jump standing twice; None where nothing is enumerable.
    """
    experiment = study.experiment.build()
    found: dict[tuple[int, int, int], tuple[Any, Any]] = {}
    for at, b in enumerate(study.b):
        tables = make_tables(Row(study.source, study.columns, b, study.s_true))
        for index, column in enumerate(study.columns):
            table = tables.find(column)
            if table:
                place = *divmod(index, len(study.cl)), at
                found[place] = trace(
                    experiment, table.view, table.first, table.limits(), b, study.s_true[-1], study.s_true[0], points
                )
    if not found:
        return None
    shape = (len(study.methods), len(study.cl), len(study.b), max(len(s) for s, _ in found.values()))
    s, coverage = np.full(shape, np.nan), np.full(shape, np.nan)
    for place, (at_s, covered) in found.items():
        s[place][: len(at_s)], coverage[place][: len(at_s)] = at_s, covered
    dims = ("limit_method", "cl", "b", "point")
    coords = {"limit_method": [spec.label for spec in study.methods], "cl": list(study.cl), "b": list(study.b)}
    return xr.Dataset({"s": (dims, s), "coverage": (dims, coverage)}, coords=coords)


def _coverage_there(study: Study, column: Column, told: Mapping[str, Any]) -> dict[str, float]:
    unknown = {"coverage": np.nan, "worst_coverage_at_b": np.nan}
    b = told.get("b")
    if b is None:
        return unknown
    low, high = study.s_true[0], study.s_true[-1]
    limit = told["upper"]
    ends = [*study.s_true, limit] if np.isfinite(limit) else study.s_true
    row = Row(study.source, (column,), rounded(float(b)), study.s_true, (min(ends), max(ends)))
    table = make_tables(row).find(column)
    if table is None or table.b != float(b):  # of a background assumed wrongly the true one is not known
        return unknown
    where = (study.experiment.build(), table.view, table.first, table.limits())
    worst = find_worst(*where, row.b, high, low).coverage
    there = just_above(*where, limit, row.b) if np.isfinite(limit) else np.nan
    return {"coverage": there, "worst_coverage_at_b": worst}


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
