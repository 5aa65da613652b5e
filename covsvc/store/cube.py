"""The schema of a cube: how it lies on disk, and how it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
import zarr

from covsvc.errors import StoreError
from covsvc.study import BLOCKS_PER_TILE
from covsvc.tally import COUNTS, EXACT, N_BINS, NOT_DRAWN, WORST

SCHEMA = 2
"""Version of the schema that is known here; a store of a newer one is refused."""

WITHOUT_TOYS = 1
"""Version of the schema of a cube without toys one by one, which older versions of covsvc extend without harm."""

AXES = ("limit_method", "cl", "b", "s_true")
"""Axes that grow: new values go to the end, reading sorts."""

BINS_PER_CHUNK = 1024


@dataclass(frozen=True)
class _Variable:
    dtype: str
    fill: float
    extra: tuple[str, ...] = ()


ARRAYS: Mapping[str, _Variable] = {
    "counts": _Variable("int64", 0, ("count",)),
    "limit_counts": _Variable("int64", 0, ("limit_bin",)),
    "block_status": _Variable("int8", 0, ("block",)),
    "limit_digest": _Variable("uint64", 0, ("block",)),
    "exact": _Variable("float64", np.nan, ("quantity",)),
    "exact_status": _Variable("int8", 0),
}
"""Arrays over `AXES` and the dimensions named here; `exact_status` is 0 missing, 1 summed, 2 not enumerable."""

TOY_BINS = _Variable("int16", NOT_DRAWN, ("toy",))
"""The array of toys one by one, which a cube has once there are any."""

LONG_NAMES = {
    "n_toys": "toys of the blocks that are done",
    "n_covered": "toys whose interval covers s_true",
    "n_upper_covered": "toys whose upper end covers s_true",
    "n_empty": "toys with an empty confidence set",
    "n_unbounded": "toys without an upper limit",
    "n_failed": "toys whose limit failed",
    "limit_counts": "toys by the size of their upper limit",
    "block_status": "0 missing, 1 done, 2 failed",
    "limit_digest": "sum over toys of a hash of the limits' bits",
    "exact_coverage": "exact probability that the interval covers",
    "exact_upper_coverage": "exact probability that the upper end covers",
    "exact_median_upper": "exact median upper limit",
    "exact_mean_upper": "exact mean upper limit",
    "exact_p_empty": "exact probability of an empty confidence set",
    "exact_p_unbounded": "exact probability of no upper limit",
    "exact_p_failed": "exact probability of a failed limit",
    "exact_status": "0 missing, 1 summed, 2 not enumerable",
    "worst_coverage": "smallest exact coverage for worst_s_min <= s <= worst_s_max",
    "worst_s_true": "signal at which coverage is smallest",
    "worst_s_min": "start of the range that was searched",
    "worst_s_max": "end of the range that was searched",
    "toy_bins": "2 x bin of the upper limit + 1 if it covers; 8318 empty, 8320 unbounded + 1, -1 failed, -2 not kept",
}

_EVENTS = ("b", "s_true", "exact_median_upper", "exact_mean_upper", "worst_s_true", "worst_s_min", "worst_s_max")
"""What is a number of expected events."""


def create(root: zarr.Group, axes: Mapping[str, Sequence[Any]], n_blocks: int, s_tile: int) -> None:
    """Create the arrays of an empty cube.

    A chunk is the tile of a task: all methods and cl, one b, the task's s_true; 128 blocks; 1024 bins.
    """
    sizes = {**{name: len(axes[name]) for name in AXES}, **_fixed_sizes(n_blocks)}
    chunks = {**sizes, "b": 1, "s_true": s_tile, "block": BLOCKS_PER_TILE, "limit_bin": BINS_PER_CHUNK}
    for name, variable in ARRAYS.items():
        _create(root, name, (*AXES, *variable.extra), sizes, chunks, variable.dtype, variable.fill)
    _create(root, "worst", (*AXES[:3], "found"), sizes, chunks, "float64", np.nan)
    root.create_array("limit_method", shape=(sizes["limit_method"],), dtype="string", dimension_names=("limit_method",))
    for name in AXES[1:]:
        root.create_array(name, shape=(sizes[name],), dtype="float64", dimension_names=(name,))
    write_axes(root, axes)


def keep_toys(root: zarr.Group, toys_per_block: int) -> None:
    """Create the array of toys one by one, if there is none; a chunk is a block of a cell, with all columns."""
    if "toy_bins" in root:
        return
    *cells, n_blocks = root["block_status"].shape
    sizes = {**dict(zip(AXES, cells, strict=True)), "toy": n_blocks * toys_per_block}
    chunks = sizes | {"b": 1, "s_true": 1, "toy": toys_per_block}
    _create(root, "toy_bins", (*AXES, *TOY_BINS.extra), sizes, chunks, TOY_BINS.dtype, TOY_BINS.fill)
    root.attrs["schema"] = SCHEMA


def grow(root: zarr.Group, axes: Mapping[str, Sequence[Any]], n_blocks: int) -> None:
    """Resize the arrays of a cube to longer axes."""
    sizes = {**{name: len(axes[name]) for name in AXES}, **_fixed_sizes(n_blocks)}
    if "toy_bins" in root:
        sizes["toy"] = n_blocks * root["toy_bins"].chunks[-1]
    for name, array in root.arrays():
        wanted = tuple(sizes[dimension] for dimension in array.metadata.dimension_names)
        if array.shape != wanted:
            root[name].resize(wanted)
    write_axes(root, axes)


def write_axes(root: zarr.Group, axes: Mapping[str, Sequence[Any]]) -> None:
    """Write the values of the axes, in order of arrival."""
    for name in AXES:
        root[name][:] = np.array(axes[name], dtype=object if name == "limit_method" else np.float64)


def read_axes(root: zarr.Group) -> dict[str, list[Any]]:
    """Return the values of the axes, in order of arrival."""
    return {name: [str(v) if name == "limit_method" else float(v) for v in root[name][:].tolist()] for name in AXES}


def check_schema(root: zarr.Group, where: str) -> None:
    """Raise StoreError unless the store is one of ours, of a schema that is known here."""
    schema = root.attrs.get("schema")
    if not isinstance(schema, int):
        raise StoreError(f"{where}: an Icechunk repository, but no cube of covsvc; choose another --store")
    if schema > SCHEMA:
        raise StoreError(f"{where}: schema {schema}, but this covsvc knows up to {SCHEMA}; upgrade covsvc")


def read(store: Any, where: str) -> xr.Dataset:
    """Return the cube as a Dataset, lazily, sorted along all axes.

    Raises
    ------
    StoreError
        If the store is not of a known schema.
    """
    try:
        root = zarr.open_group(store, mode="r")
    except FileNotFoundError:  # its driver was killed before the first commit
        told = "nothing is stored yet; `covsvc run` goes on with it, and `covsvc baselines` lists what can be accepted"
        raise StoreError(f"{where}: {told}") from None
    check_schema(root, where)
    raw = xr.open_zarr(store, consolidated=False, chunks=None)
    order = {name: np.argsort(raw[name].values, kind="stable") for name in AXES[1:]}
    raw = raw.isel({name: index for name, index in order.items() if not np.array_equal(index, np.arange(len(index)))})
    kept = ["toy_bins"] if "toy_bins" in raw else []
    cube: xr.Dataset = raw[["limit_counts", "block_status", "limit_digest", "exact_status", *kept]]
    cube = cube.assign({name: raw["counts"].isel(count=index) for index, name in enumerate(COUNTS)})
    cube = cube.assign({name: raw["exact"].isel(quantity=index) for index, name in enumerate(EXACT)})
    cube = cube.assign({name: raw["worst"].isel(found=index) for index, name in enumerate(WORST)})
    for name in cube.data_vars:
        cube[name].attrs["long_name"] = LONG_NAMES[str(name)]
    cube["limit_method"].attrs["long_name"] = "limit method"
    for name, long_name in (("s_true", "true signal"), ("b", "background"), ("cl", "confidence level")):
        cube[name].attrs["long_name"] = long_name
    for name in _EVENTS:
        cube[name].attrs["units"] = "events"
    cube.attrs = {
        key: value if isinstance(value, str | int) else json.dumps(value) for key, value in root.attrs.items()
    }
    return cube


def _fixed_sizes(n_blocks: int) -> dict[str, int]:
    return {"block": n_blocks, "limit_bin": N_BINS, "count": len(COUNTS), "quantity": len(EXACT), "found": len(WORST)}


def _create(
    root: zarr.Group,
    name: str,
    dimensions: tuple[str, ...],
    sizes: Mapping[str, int],
    chunks: Mapping[str, int],
    dtype: str,
    fill: float,
) -> None:
    root.create_array(
        name,
        shape=tuple(sizes[dimension] for dimension in dimensions),
        chunks=tuple(max(1, chunks[dimension]) for dimension in dimensions),
        dtype=dtype,
        fill_value=fill,
        dimension_names=dimensions,
    )
