"""Reading of what is stored of a study: its maps, its state, its report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from covsvc.api.building import STORE, builder
from covsvc.api.observed import failed_columns, failed_rows
from covsvc.api.running import missing_in
from covsvc.budget import OK, UNDECIDED, UNDER, rule_of
from covsvc.contracts import Events
from covsvc.engine.expected import expect, is_fitted
from covsvc.engine.guard import giving_up
from covsvc.engine.likeness import likenesses
from covsvc.engine.observation import draw_curves
from covsvc.engine.observation import observe as _observe
from covsvc.engine.statistics import statistics_of
from covsvc.engine.work import tables_of
from covsvc.errors import CovsvcError, StoreError
from covsvc.interval_tables import IntervalTable, interval_table, missing_table
from covsvc.maps import CELLS, resolved, summarize
from covsvc.store.candidates import VALIDATION
from covsvc.store.repository import driver_of, open_cube
from covsvc.study import Study, study_of
from covsvc.tally import DONE, FAILED
from covsvc.verdict import judge
from covsvc.worst_cells import worst_cells


def stored_study(cube: xr.Dataset) -> Study:
    """Return the study of a stored cube.

    Raises
    ------
    StoreError
        If it names what is not installed here.
    """
    told = json.loads(cube.attrs["study"])
    try:
        return study_of(told)
    except CovsvcError as error:
        lines = "\n".join(f"{told['name']}: its study cannot be read here: {line}" for line in str(error).splitlines())
        raise StoreError(
            f"{lines}\n{told['name']}: install the plug-ins that it was made with; what is stored is whole, and "
            "`covsvc export` to zarr or netcdf, history, tag and gc do without them"
        ) from None


def maps_of(cube: xr.Dataset) -> xr.Dataset:
    """Return the maps of what the last run of a study asked for; a cube holds all that was ever stored of it."""
    return summarize(part_of(cube, stored_study(cube).axes))


def part_of(cube: xr.Dataset, axes: Mapping[str, list[Any]]) -> xr.Dataset:
    """Return what a cube holds of these labels and values."""
    places: dict[str, list[int] | slice] = {}
    for name, values in axes.items():
        known = cube[name].values.tolist()
        at = [known.index(value) for value in values if value in known]
        run = slice(at[0], at[-1] + 1) if at else slice(0)
        # slices are read in half the time of lists
        places[name] = run if at == list(range(len(known)))[run] else at
    return cube.isel(places)


def axes_told(cube: xr.Dataset) -> dict[str, list[Any]]:
    """Return the grid and the labels of the study that a cube tells of, whether it can be built here or not."""
    study = json.loads(cube.attrs["study"])
    return {"limit_method": [each["label"] for each in study["methods"]], **{name: study[name] for name in CELLS[1:]}}


def toys_in(cube: xr.Dataset) -> int:
    """Return how many toys were drawn, of which all methods see the same."""
    return int(cube["n_toys"].max(["limit_method", "cl"]).sum())


def written_at(cube: xr.Dataset) -> str:
    """Return when the commit was written that a cube or its maps are of; empty if they do not tell."""
    return str(json.loads(cube.attrs.get("commit", "{}")).get("written_at", ""))


def speeds_told(cube: xr.Dataset, name: str) -> dict[tuple[str, float], float]:
    """Return the toys a second of the columns of a study, as the validation of a cube tells them."""
    studies = json.loads(cube.attrs.get(VALIDATION, "{}")).get("studies", [])
    columns = [column for study in studies if study["study"] == name for column in study["columns"]]
    return {
        (each["limit_method"], each["cl"]): each["toys_per_second"]
        for each in columns
        if each["toys_per_second"] is not None
    }


def status(store: str | Path, name: str, at: str = "main") -> dict[str, Any]:
    """Say how complete a stored study is, or was, what failed, what all of its commits spent, and who works on it."""
    cube = open_cube(store, name, at)
    study = stored_study(cube)
    here = part_of(cube, study.axes)
    blocks = here["block_status"].values[..., : study.n_blocks]
    left = map(missing_in(cube, study), study.b)
    failures: dict[tuple[str, float, str], set[tuple[float, float]]] = {}
    for each in json.loads(cube.attrs["failures"]):
        cells = failures.setdefault((each["limit_method"], each["cl"], each["reason"]), set())
        cells.add((each["s_true"], each["b"]))
    commit = json.loads(cube.attrs["commit"])
    return {
        "study": name,
        "complete": all(reach is None and not wanted.any() for wanted, reach in left),
        "budget": _budget(here, study),
        "blocks": len(study.columns) * study.cells * study.n_blocks,
        "blocks_done": int((blocks == DONE).sum()),
        "blocks_failed": int((blocks == FAILED).sum()),
        "toys": toys_in(here),
        "snapshot": cube.attrs["snapshot"],
        "written_at": written_at(cube),
        "spent": commit.get("all", {}),
        "driver": driver_of(store, name),
        "toy_failures": _failing_columns(here, json.loads(cube.attrs.get("toy_failures", "[]"))),
        "failures": [
            {"limit_method": label, "cl": cl, "reason": reason, "cells": len(cells)}
            for (label, cl, reason), cells in failures.items()
        ],
        "environment": json.loads(cube.attrs["environment"]),
    }


def _budget(cube: xr.Dataset, study: Study) -> dict[str, Any] | None:
    """Say what the budget of a study has found: of cells, and of tests, which are a cell in a column."""
    rule = rule_of(study)
    if rule is None:
        return None
    states = resolved(cube, rule)
    known = np.isin(states, (OK, UNDER))
    return {
        "most_toys": study.cells * study.most_toys,
        "cells": study.cells,
        "cells_resolved": int(known.all(axis=(0, 1)).sum()),
        "tests": rule.tests,
        "margin": rule.margin,
        "above": int((states == OK).sum()),
        "below": int((states == UNDER).sum()),
        "undecided": int((states == UNDECIDED).sum()),
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
                    {
                        "limit_method": label,
                        "cl": cl,
                        "toys": toys,
                        "failed": failed,
                        "reason": (told or [""])[0],
                    }
                )
    return found


def write_report(
    cube: xr.Dataset,
    folder: str | Path = "report",
    *,
    maps: xr.Dataset | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Write the report of a cube: one HTML page that opens without network, its figures and its tables.

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

    study = stored_study(cube)
    maps = maps_of(cube) if maps is None else maps
    if progress is not None:
        progress("setting the limits of all outcomes")
    build = builder(cube.attrs.get("store", STORE), progress)
    with giving_up(failed_columns(study, maps)):
        tables = tables_of(study, failed_rows(study, maps))
        known = is_fitted(study) or any(each.table for each in tables.values())
        observed = _observe(study, maps, build=build)
        curves = draw_curves(study, tables)
        expected = expect(study, tables, build) if known else None
        likened = likenesses(study)
    return write_page(
        maps,
        judge(maps).as_dict(),
        Path(folder),
        observed,
        progress,
        curves=curves,
        expected=expected,
        statistics=statistics_of(study),
        notes=likened,
        events=_interval_tables(study),
        worst=worst_cells(maps),
    )


def _interval_tables(study: Study) -> list[IntervalTable] | None:
    """Return the tables that there are at the study's cl; None where the data are no positions of events."""
    if Events not in study.experiment.build().gives:
        return None
    return [interval_table(cl) for cl in study.cl if missing_table(cl) is None]
