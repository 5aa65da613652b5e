"""The trend of a study: what limit methods were worth in each of its accepted baselines."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from covsvc.api.building import STORE
from covsvc.api.stored import axes_told, part_of, speeds_told
from covsvc.maps import summarize
from covsvc.store.candidates import baselines
from covsvc.store.place import place_of
from covsvc.store.repository import open_cube, open_existing
from covsvc.verdict.promises import has_data, worst_of

_VARIABLES = {
    "worst_coverage": "smallest coverage of the grid; between its nodes, too, where it is exact",
    "worst_s_true": "true signal at which coverage is smallest",
    "worst_b": "background at which coverage is smallest",
    "median_ratio": "median over the cells of sigma_Med/sigma_True",
    "toys_per_second": "toys a second on which limits were set, when it was validated",
}
_TOLD = ("tag", "name", "snapshot", "accepted_at", "who", "reason", "outcome", "covsvc")


def trend(name: str, store: str | Path = STORE) -> xr.Dataset:
    """Return what the columns of a study were worth in each accepted baseline.

    Parameters
    ----------
    name : str
        Name of the study.
    store : str or Path
        Folder or URL of the store.

    Returns
    -------
    xarray.Dataset
        Over (baseline, limit_method, cl), oldest first: worst_coverage, worst_s_true, worst_b, median_ratio,
        toys_per_second, NaN where it is not known. Coordinates of baseline: ``tag``, ``name``, ``snapshot``,
        ``accepted_at``, ``who``, ``reason``, ``outcome``, ``covsvc``, empty where it is not known; ``same_study``:
        experiment, grid and toys are those of the baseline before. Coordinate of limit_method: ``promises``, in the
        newest baseline. Attribute ``study``.

    Raises
    ------
    StoreError
        If there is no such study, or a baseline cannot be read.
    """
    accepted = baselines(open_existing(place_of(store), name))[::-1]
    cubes = [open_cube(store, name, each.snapshot) for each in accepted]
    held = [_of_one(cube, name) for cube in cubes]
    labels = dict.fromkeys(label for each in held[::-1] for label in each["limit_method"].values.tolist())
    levels = sorted({cl for each in held for cl in each["cl"].values.tolist()})
    axes = {"limit_method": np.array(list(labels), dtype=object), "cl": np.array(levels, np.float64)}
    wide, shape = [each.reindex(axes) for each in held], (len(held), *map(len, axes.values()))
    arrays = {each: np.array([one[each].values for one in wide]).reshape(shape) for each in _VARIABLES}
    found = xr.Dataset(
        {each: (("baseline", *axes), array, {"long_name": _VARIABLES[each]}) for each, array in arrays.items()},
        axes,
        {"study": name},
    )
    told = [{key: getattr(each, key) or "" for key in _TOLD} for each in accepted]
    studies = [_comparable(cube) for cube in cubes]
    same = [now == before for before, now in itertools.pairwise(studies)]
    promises = {label: method["promises"] for cube in cubes for label, method in _methods(cube).items()}
    return found.assign_coords(
        {key: ("baseline", np.array([each[key] for each in told], dtype=object)) for key in _TOLD}
        | {"same_study": ("baseline", np.array([*[True] * bool(held), *same], bool))}
        | {"promises": ("limit_method", np.array([promises.get(label, "") for label in labels], dtype=object))}
    )


def trend_as_dict(found: xr.Dataset) -> dict[str, Any]:
    """Return a trend as JSON takes it: its baselines, and the history of each column; None for what is not known."""
    told = {key: found[key].values.tolist() for key in (*_TOLD, "same_study")}
    tags = told["tag"]
    columns = []
    for row, label in enumerate(found["limit_method"].values.tolist()):
        for level, cl in enumerate(found["cl"].values.tolist()):
            values = {name: found[name][:, row, level].values.tolist() for name in _VARIABLES}
            history = [
                {"baseline": tag} | {name: None if np.isnan(each[at]) else each[at] for name, each in values.items()}
                for at, tag in enumerate(tags)
            ]
            if any(each[name] is not None for each in history for name in _VARIABLES):
                promises = found["promises"].values[row] or None
                columns.append({"limit_method": label, "cl": cl, "promises": promises, "history": history})
    return {
        "study": found.attrs["study"],
        "baselines": [
            {key: values[at] if values[at] != "" else None for key, values in told.items()} for at in range(len(tags))
        ],
        "columns": columns,
    }


def write_trend(found: xr.Dataset, folder: str | Path = "trend") -> list[Path]:
    """Draw a trend into a folder, a figure a confidence level, as PNG and SVG; return their paths.

    Parameters
    ----------
    found : xarray.Dataset
        From `trend`.
    folder : str or Path
        Is made where it is missing and there is anything to draw.
    """
    from covsvc.report.trend_plot import write_trend as write

    return write(found, Path(folder))


def _of_one(cube: xr.Dataset, name: str) -> xr.Dataset:
    """Return what is known of the columns of one baseline, over (limit_method, cl)."""
    here = part_of(cube, axes_told(cube))
    if bool(here["exact_coverage"].isnull().any()):
        maps = summarize(here)
        ratio = maps["exact_sigma_med_over_true"].fillna(maps["sigma_med_over_true"])
    else:  # toys tell nothing more, and to read how large all of their limits are takes most of the time
        maps = here.assign(coverage=here["exact_coverage"])
        ratio = maps["exact_median_upper"] / maps["s_true"].where(maps["s_true"] > 0)
    maps = maps[["worst_coverage", "worst_s_true", "coverage", "exact_coverage", "n_toys"]].assign(ratio=ratio).load()
    speeds = speeds_told(cube, name)
    axes = {"limit_method": np.array(here["limit_method"].values.tolist(), dtype=object), "cl": here["cl"].values}
    found = xr.Dataset(
        {each: (tuple(axes), np.full([len(values) for values in axes.values()], np.nan)) for each in _VARIABLES}, axes
    )
    for row, label in enumerate(axes["limit_method"].tolist()):
        for level, cl in enumerate(axes["cl"].tolist()):
            column = maps.isel(limit_method=row, cl=level)
            if has_data(column):
                *worst, _ = worst_of(column)
                cells = column["ratio"].values
                known = cells[~np.isnan(cells)]
                told = (*worst, np.median(known) if known.size else np.nan, speeds.get((label, cl), np.nan))
                for variable, value in zip(_VARIABLES, told, strict=True):
                    found[variable][row, level] = value
    return found


def _comparable(cube: xr.Dataset) -> tuple[Any, ...]:
    """Return what has to be the same for coverage and medians of two baselines to be compared."""
    study, axes = json.loads(cube.attrs["study"]), axes_told(cube)
    return json.loads(cube.attrs["source"]), axes["b"], axes["s_true"], study["n_toys"]


def _methods(cube: xr.Dataset) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(cube.attrs["methods"])
    return told
