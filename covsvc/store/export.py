"""Cubes outside of a store: plain Zarr and netCDF, written and read, and tables of maps, written."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import icechunk
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import ZstdCodec

from covsvc.errors import StoreError
from covsvc.store import cube as schema
from covsvc.store.consistency import check
from covsvc.store.reason import reason_of
from covsvc.study import BLOCKS_PER_TILE
from covsvc.tally import DONE

SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "zarr": (".zarr",),
    "netcdf": (".nc", ".nc4", ".netcdf"),
    "csv": (".csv",),
    "parquet": (".parquet", ".pq"),
}
"""What names of exports end in, by format; the first one is ours."""

TABLES = ("csv", "parquet")
"""Formats that hold maps, one row a cell of a column, and cannot be imported."""

_TOLD = "attributes_sha256"
"""Attribute of an export that holds the digest of all others and of the axes."""

_INSTALL = 'pip install "covsvc[export]"'
_DAMAGED = (OSError, ValueError, RuntimeError, KeyError, TypeError)
"""What zarr and HDF5 raise on files that are not what they say they are."""


def format_of(path: str | Path, wanted: str | None = None) -> str:
    """Return the format of an export: what is wanted, or what its name ends in.

    Raises
    ------
    StoreError
        If neither tells.
    """
    if wanted is not None:
        if wanted not in SUFFIXES:
            raise StoreError(f"{wanted}: no format of an export; there are {', '.join(SUFFIXES)}")
        return wanted
    suffix = Path(path).suffix.lower()
    for name, suffixes in SUFFIXES.items():
        if suffix in suffixes:
            return name
    known = ", ".join(suffixes[0] for suffixes in SUFFIXES.values())
    raise StoreError(f"{path}: its name tells no format; let it end in one of {known}, or give --format")


def write_cube(cube: xr.Dataset, path: str | Path, form: str, *, overwrite: bool = False) -> None:
    """Write a cube with all its attributes as a plain Zarr folder or a netCDF file.

    Parameters
    ----------
    cube : xarray.Dataset
        As `open_cube` gives it.
    path : str or Path
    form : str
        ``"zarr"`` (format 3) or ``"netcdf"`` (version 4).
    overwrite : bool
        Replace an export that is there already.

    Raises
    ------
    StoreError
        If something is there already, it cannot be written, or a library is missing.
    """
    cube = cube.assign_attrs({_TOLD: _digest_of(cube)})
    with _put_in_place(Path(path), overwrite, as_folder=form == "zarr") as part:
        if form == "zarr":
            _write_zarr(cube, part)
        else:
            _write_netcdf(cube, part)


def write_table(maps: xr.Dataset, out: str | Path | TextIO, form: str, *, overwrite: bool = False) -> None:
    """Write maps as a table, one row a cell of a column.

    Parameters
    ----------
    maps : xarray.Dataset
        As `summarize` gives it.
    out : str, Path or text stream
        A stream takes a CSV only.
    form : str
        ``"csv"`` or ``"parquet"``.
    overwrite : bool
        Replace a file that is there already.

    Raises
    ------
    StoreError
        If something is there already, it cannot be written, or a library is missing.
    """
    over_cells = [name for name in maps.data_vars if set(maps[name].dims) <= set(schema.AXES)]
    table = maps[over_cells].to_dataframe(dim_order=list(schema.AXES)).reset_index()
    if isinstance(out, str | Path):
        write_frame(table, out, form, overwrite=overwrite)
    else:
        table.to_csv(out, index=False)


def write_frame(table: Any, out: str | Path, form: str, *, overwrite: bool = False) -> None:
    """Write a pandas.DataFrame to a CSV or a Parquet file; see `write_table`."""
    if form == "parquet":
        _need("pyarrow")
    with _put_in_place(Path(out), overwrite) as part:
        if form == "parquet":
            table.to_parquet(part, engine="pyarrow", index=False)
        else:
            table.to_csv(part, index=False)


def read_export(path: str | Path) -> xr.Dataset:
    """Return the cube of an export, lazily, as `open_cube` would; its content is checked.

    Raises
    ------
    StoreError
        If there is none, it is something else, of a newer schema, or damaged.
    """
    path = Path(path)
    if not path.exists():
        raise StoreError(f"{path}: no such file or folder")
    if path.suffix.lower() in (*SUFFIXES["csv"], *SUFFIXES["parquet"]):
        raise StoreError(f"{path}: a table of maps cannot be read back; export the cube with --format zarr or netcdf")
    try:
        exported = _open(path)
        attributes = exported.attrs.items()
        exported.attrs = {key: value.item() if hasattr(value, "item") else value for key, value in attributes}
        if "schema" not in exported.attrs:
            raise StoreError(f"{path}: is no export of covsvc")
        schema.check_schema(exported, str(path))
        if broken := [*_otherwise_told(exported)] or [*check(exported), *_without_digest(exported)]:
            raise StoreError("\n".join(f"{path}: damaged: {each}; export it again" for each in broken))
    except _DAMAGED as error:
        raise StoreError(f"{path}: cannot be read, it is damaged or no export: {reason_of(error)}") from None
    del exported.attrs[_TOLD]
    return exported


def is_export(path: str | Path) -> bool:
    """Tell whether a path looks like an export: a file, or a Zarr folder."""
    return Path(path).is_file() or (Path(path) / "zarr.json").is_file()


def _open(path: Path) -> xr.Dataset:
    if path.is_dir():
        if not is_export(path):
            raise StoreError(f"{path}: is no export of covsvc: a folder without zarr.json")
        return xr.open_dataset(path, engine="zarr", consolidated=False)
    _need("h5netcdf", "h5py")
    return xr.open_dataset(path, engine="h5netcdf")


def _otherwise_told(cube: xr.Dataset) -> Iterator[str]:
    """Yield what is missing, and whether attributes and axes, which neither format guards, are those written."""
    wanted = [*schema.AXES, *(name for name in schema.LONG_NAMES if name != "toy_bins")]  # which few cubes have
    absent = [name for name in wanted if name not in cube.variables]
    if absent:
        yield f"no {', '.join(absent)} in it"
    elif cube.attrs.get(_TOLD) != _digest_of(cube):
        yield "its attributes or axes are not those that were written"


def _digest_of(cube: xr.Dataset) -> str:
    """Return the SHA-256 of the attributes and the axes of a cube; attributes of the file format begin with _."""
    attributes = {key: value for key, value in cube.attrs.items() if not key.startswith("_") and key != _TOLD}
    axes = {name: cube[name].values.tolist() for name in schema.AXES}
    return hashlib.sha256(json.dumps([attributes, axes], sort_keys=True).encode()).hexdigest()


def _without_digest(cube: xr.Dataset) -> Iterator[str]:
    """Yield what is wrong with the digests: those of blocks that are done are never 0."""
    lost = sum(
        int(((here["block_status"] == DONE) & (here["limit_digest"] == 0)).sum())
        for here in (cube[["block_status", "limit_digest"]].isel(b=at) for at in range(cube.sizes["b"]))
    )
    if lost:
        yield f"the limit_digest of {lost:,} blocks that are done is missing"


def _write_zarr(cube: xr.Dataset, folder: Path) -> None:
    root = zarr.create_group(folder, attributes=dict(cube.attrs))
    _copy(cube, partial(create_array, root))
    with warnings.catch_warnings():  # zarr says that version 3 of the format does not have it yet, xarray asks for it
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(root.store)


def create_array(root: zarr.Group, name: str, variable: xr.Variable, chunks: tuple[int, ...]) -> zarr.Array:
    """Create the array of a variable of a cube, without its values."""
    text = variable.dtype.kind not in "biuf"
    fill = schema.TOY_BINS.fill if name == "toy_bins" else np.nan if variable.dtype.kind == "f" else 0
    return root.create_array(
        name,
        shape=variable.shape,
        chunks=chunks,
        dtype="string" if text else variable.dtype,
        fill_value="" if text else fill,
        dimension_names=variable.dims,
        attributes=dict(variable.attrs),
        compressors=ZstdCodec(level=3, checksum=True),
    )


def _write_netcdf(cube: xr.Dataset, path: Path) -> None:
    _need("h5netcdf", "h5py")
    import h5netcdf
    import h5py

    with _Patient(path, "w+") as held, h5netcdf.File(held, "w") as file:
        file.dimensions = {str(name): size for name, size in cube.sizes.items()}
        file.attrs.update(cube.attrs)

        def create(name: str, variable: xr.Variable, chunks: tuple[int, ...]) -> Any:
            text = variable.dtype.kind not in "biuf"
            packed = {"chunks": chunks, "compression": "gzip", "shuffle": True, "fletcher32": True}
            array = file.create_variable(
                name,
                variable.dims,
                dtype=h5py.string_dtype() if text else variable.dtype,
                **{} if text else packed,
            )
            array.attrs.update(variable.attrs)
            return array

        _copy(cube, create, held.raise_failure)
    held.raise_failure()


class _Patient(io.FileIO):
    """A file that HDF5 always can write to, since it crashes where it cannot; the first failure is kept."""

    _failure: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            written = 0
            while written < len(content) and self._failure is None:
                written += super().write(memoryview(content)[written:])
        except OSError as error:
            self._failure = error
        return len(content)

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _copy(
    cube: xr.Dataset,
    create: Callable[[str, xr.Variable, tuple[int, ...]], Any],
    after_each: Callable[[], None] = lambda: None,
) -> None:
    """Copy all variables to arrays that `create` makes, a tile of cells at a time."""
    size = json.loads(cube.attrs["source"])["toys_per_block"]
    chunks = {"b": 1, "s_true": s_tile(cube), "block": BLOCKS_PER_TILE, "limit_bin": schema.BINS_PER_CHUNK, "toy": size}
    arrays = {
        name: create(
            str(name),
            variable,
            tuple(max(1, min(chunks.get(str(each), size), size)) for each, size in variable.sizes.items()),
        )
        for name, variable in cube.variables.items()
    }
    for name in cube.coords:
        arrays[name][...] = cube[name].values
    for at in range(cube.sizes["b"]):
        for start in range(0, cube.sizes["s_true"], chunks["s_true"]):
            box = {"b": at, "s_true": slice(start, start + chunks["s_true"])}
            for name, variable in cube.data_vars.items():
                for place in _places(variable, box, size):
                    if "s_true" in place or start == 0:
                        region = tuple(place.get(str(each), slice(None)) for each in variable.dims)
                        arrays[name][region] = variable[place].values
            after_each()


def _places(variable: xr.DataArray, box: Mapping[str, Any], toys: int) -> Iterator[dict[str, Any]]:
    """Yield what a variable has of a box, of toys one by one so many at a time."""
    place = {key: part for key, part in box.items() if key in variable.dims}
    if "toy" not in variable.dims:
        yield place
    for first in range(0, variable.sizes.get("toy", 0), toys):
        yield place | {"toy": slice(first, first + toys)}


def s_tile(cube: xr.Dataset) -> int:
    """Return how many values of s_true a chunk of a stored or exported cube holds."""
    return int(cube["block_status"].encoding.get("preferred_chunks", {}).get("s_true", 1))


@contextmanager
def _put_in_place(path: Path, overwrite: bool, *, as_folder: bool = False) -> Iterator[Path]:
    """Yield a neighbour to write to, which takes the place of `path` when it is whole; links are followed."""
    path = path.resolve() if path.is_symlink() else path
    if not path.parent.is_dir():
        raise StoreError(f"{path}: no folder {path.parent}")
    if path.exists():
        if not overwrite:
            raise StoreError(f"{path}: exists already; choose another name, or replace it with --overwrite")
        if not (path.is_dir() or path.is_file()):
            raise StoreError(f"{path}: is neither a file nor a folder, so that it is not replaced; choose another name")
        if path.is_dir() and not (as_folder and is_export(path)):
            raise StoreError(f"{path}: is a folder, but no Zarr export that --overwrite could replace")
        if as_folder and not path.is_dir():
            raise StoreError(f"{path}: is a file, which --overwrite does not replace by a folder")
    part, aside = (path.with_name(f".{path.name}.{os.getpid()}.{what}") for what in ("part", "old"))
    try:
        try:
            yield part
            if path.is_dir():
                path.rename(aside)
            part.rename(path)
        except icechunk.IcechunkError as error:
            told = f"not written: the stored cube cannot be read, it is damaged: {reason_of(error)}"
            raise StoreError(f"{path}: {told}; an older commit may be whole, see `covsvc doctor`") from error
        except (OSError, RuntimeError) as error:
            raise StoreError(f"{path}: cannot be written: {reason_of(error)}; choose another place") from error
    finally:
        for left in (part, aside):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _need(*libraries: str) -> None:
    missing = [name for name in libraries if importlib.util.find_spec(name) is None]
    if missing:
        raise StoreError(f"{', '.join(missing)}: not installed, this format needs it: {_INSTALL}")
