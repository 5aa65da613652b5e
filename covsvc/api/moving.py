"""Cubes on the move: out of a store, into one, and together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import xarray as xr

from covsvc.api.building import STORE
from covsvc.api.stored import maps_of
from covsvc.engine.work import run_alone
from covsvc.errors import CovsvcError, StoreError
from covsvc.store import export
from covsvc.store.merge import Columns, Merged, Source, attributes_of, merge_cubes
from covsvc.store.place import place_of
from covsvc.store.repository import is_made_here, open_cube
from covsvc.study import Column, ExperimentSpec, MethodSpec, Task, ToySource, study_of
from covsvc.tally import DONE


def export_cube(
    cube: xr.Dataset, out: str | Path | TextIO | None = None, form: str | None = None, *, overwrite: bool = False
) -> Path | None:
    """Write a cube, or a table of its maps, to where everybody reads it.

    Parameters
    ----------
    cube : xarray.Dataset
        As `open_cube` gives it.
    out : str, Path or text stream, optional
        Unless given, the name of the study with the suffix of the format, here. A stream takes a CSV only.
    form : str, optional
        ``"zarr"`` (a plain Zarr folder) and ``"netcdf"`` hold all of the cube and can be imported again; ``"csv"`` and
        ``"parquet"`` hold its maps, one row a cell of a column. Unless given, what `out` ends in, or Zarr.
    overwrite : bool
        Replace an export that is there already.

    Returns
    -------
    Path, or None
        Of what was written; None for a stream.

    Raises
    ------
    StoreError
        If something is there already, it cannot be written, or a library is missing.
    """
    if out is None:
        form = export.format_of("", form or "zarr")
        out = json.loads(cube.attrs["study"])["name"] + export.SUFFIXES[form][0]
    if not isinstance(out, str | Path):
        if form not in (None, "csv"):
            raise StoreError(f"{form}: a stream takes csv only")
        export.write_table(maps_of(cube), out, "csv")
        return None
    form = export.format_of(out, form)
    if form in export.TABLES:
        export.write_table(maps_of(cube), out, form, overwrite=overwrite)
    else:
        export.write_cube(cube, out, form, overwrite=overwrite)
    return Path(out)


def import_cube(path: str | Path, store: str | Path = STORE, name: str | None = None) -> tuple[str, Merged]:
    """Store what an export holds, as if it had been computed there.

    Parameters
    ----------
    path : str or Path
        Of a Zarr or netCDF export.
    store : str or Path
        Folder or URL of the store.
    name : str, optional
        What the study is called there; as in the export unless given.

    Returns
    -------
    name : str
        Of the study.
    merged : Merged

    Raises
    ------
    StoreError
        If the study is stored already, or the export is damaged, of a newer schema, or something else.
    """
    with export.read_export(path) as cube:
        name = _accepted(cube, str(path), name)
        return name, merge_cubes(store, name, [Source(str(path), cube)], _differing, as_new=True)


def merge(store: str | Path, name: str, sources: Sequence[str | Path]) -> Merged:
    """Add to a study of a store what others have of it and it has not; it need not be stored yet.

    Parameters
    ----------
    store : str or Path
        Folder or URL of the store.
    name : str
        Name of the study.
    sources : sequence of str or Path
        Exports; stores, which hold a study of the same name; or studies of stores, ``other-store/name``.

    Raises
    ------
    StoreError
        If the toys, the options, the code or the limits of common blocks are others; nothing is changed.
    """
    with ExitStack() as opened:
        cubes = [Source(str(each), opened.enter_context(_open(each, name))) for each in sources]
        for each in cubes:
            _accepted(each.cube, each.told, name)
        return merge_cubes(store, name, cubes, _differing)


def _open(source: str | Path, name: str) -> xr.Dataset:
    """Return the cube that `source` names: an export, the study of that name in a store, or a study of a store."""
    if "://" not in str(source) and export.is_export(source):
        return export.read_export(source)
    if place_of(source).exists(name):
        return open_cube(source, name)
    store, slash, other = str(source).rstrip("/").rpartition("/")
    store = store or ("/" if slash else ".")
    if not store.endswith(":/") and place_of(store).exists(other):
        return open_cube(store, other)
    raise StoreError(
        f"{source}: no export, no store with a study {name}, and no study of a store; "
        "give the path of an export, of a store, or STORE/STUDY"
    )


def _accepted(cube: xr.Dataset, told: str, name: str | None) -> str:
    """Return the name of a study, if it can be read and may be called that here."""
    study = json.loads(cube.attrs["study"])
    try:
        return study_of(study | ({} if name is None else {"name": name})).name
    except CovsvcError as error:
        raise StoreError(f"{told}: its study cannot be read here: {error}") from None


def _differing(source: Source, columns: Columns) -> list[str]:
    """Return the columns of which a stored block comes out otherwise with the code and the libraries of now."""
    attributes = attributes_of(source.cube)
    if is_made_here(attributes):
        return []
    told, isolate = attributes["source"], study_of(attributes["study"]).isolate
    toys = ToySource(ExperimentSpec.model_validate(told["experiment"]), told["seed"], told["toys_per_block"])
    labels, levels = source.cube["limit_method"].values.tolist(), source.cube["cl"].values.tolist()
    differing = []
    for label, cl in columns:
        if label not in labels or cl not in levels:
            continue
        held = source.cube[["block_status", "limit_digest"]].sel(limit_method=label, cl=cl)
        if (place := _first_done(held)) is None:
            continue
        b, s_true, block = place
        spec = _spec(label, attributes["methods"][label])
        column = Column(spec, cl, isolate.of(spec.name))
        task = Task(toys, (column,), b, (s_true,), block, block + 1)
        found = run_alone(task).digest[0, 0, 0]
        if found != held["limit_digest"].sel(b=b, s_true=s_true).isel(block=block).item():
            differing.append(f"{label} at {cl:.12g}")
    return differing


def _first_done(column: xr.Dataset) -> tuple[float, float, int] | None:
    """Return b, s_true and number of a block that is done; None if there is none."""
    for b in column["b"].values.tolist():
        status = column["block_status"].sel(b=b).transpose("s_true", "block")
        done = np.argwhere(status.values == DONE)
        if len(done):
            return b, float(column["s_true"].values[done[0, 0]]), int(done[0, 1])
    return None


def _spec(label: str, method: dict[str, Any]) -> MethodSpec:
    return MethodSpec(name=method["name"], options=method["options"], view=method["view"], label=label)
