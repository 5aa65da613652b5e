"""A cube as a Zarr store whose files are made when they are read."""

from __future__ import annotations

import json
import math
import re
import threading

import xarray as xr
import zarr
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import MemoryStore

from covsvc.store.export import create_array

CHUNK_BYTES = 1_000_000
"""Bytes up to which stored chunks are joined, so that a map is one request and not one for every background."""

_CHUNK = re.compile(r"([a-z_]+)/c((?:/(?:0|[1-9][0-9]{0,9}))+)", re.ASCII)

_BUFFER = default_buffer_prototype().buffer

_MAKING = threading.BoundedSemaphore(2)
"""Bounds the memory: a chunk of limits by size may have tens of megabytes before it is packed."""


class ZarrView:
    """A cube as the files of a Zarr store, version 3, with consolidated metadata.

    Parameters
    ----------
    cube : xarray.Dataset
        As `open_cube` gives it. Of its variables only what a chunk needs is read, when it is asked for.
    """

    def __init__(self, cube: xr.Dataset) -> None:
        files: dict[str, Buffer] = {}
        root = zarr.create_group(MemoryStore(files), attributes=dict(cube.attrs))
        self._variables = {str(name): variable for name, variable in cube.variables.items()}
        self._chunks = {name: _joined(variable) for name, variable in self._variables.items()}
        for name, variable in self._variables.items():
            create_array(root, name, variable, self._chunks[name])
        self._told: dict[str, bytes] = {key: file.to_bytes() for key, file in files.items()}
        self._told["zarr.json"] = self._consolidated()

    def read(self, key: str) -> bytes | None:
        """Return what a file of the store holds.

        Parameters
        ----------
        key : str
            ``"zarr.json"``, ``"n_toys/zarr.json"``, ``"n_toys/c/0/0/3/0"``.

        Returns
        -------
        bytes or None
            None if there is no such file. Of a chunk this says that it holds nothing but the fill value: whoever
            answers a failure in the same way makes readers take fill values for data.

        Raises
        ------
        icechunk.IcechunkError
            If the store cannot be read.
        """
        if key in self._told:
            return self._told[key]
        found = _CHUNK.fullmatch(key)
        if found is None or found[1] not in self._variables:
            return None
        return self._chunk(key, found[1], tuple(int(each) for each in found[2][1:].split("/")))

    def _consolidated(self) -> bytes:
        """Return what is told of the root with what is told of all arrays, so that a reader asks once.

        Written out here because zarr warns whenever it does it, and warnings cannot be kept from a thread alone.
        """
        arrays = {name: json.loads(self._told[f"{name}/zarr.json"]) for name in self._variables}
        gathered = {"kind": "inline", "must_understand": False, "metadata": arrays}
        return json.dumps(json.loads(self._told["zarr.json"]) | {"consolidated_metadata": gathered}).encode()

    def _chunk(self, key: str, name: str, index: tuple[int, ...]) -> bytes | None:
        variable, chunks = self._variables[name], self._chunks[name]
        if len(index) != variable.ndim:
            return None
        region = tuple(slice(at * step, (at + 1) * step) for at, step in zip(index, chunks, strict=True))
        if any(part.start >= size for part, size in zip(region, variable.shape, strict=True)):
            return None
        described = f"{name}/zarr.json"
        files: dict[str, Buffer] = {
            described: _BUFFER.from_bytes(self._told[described])
        }  # of this call alone: others may ask for the same chunk
        with _MAKING:
            zarr.open_array(MemoryStore(files), path=name, mode="r+")[region] = variable[region].values
        return bytes(files[key].to_bytes()) if key in files else None


def _joined(variable: xr.Variable) -> tuple[int, ...]:
    """Return the chunks of a variable: the stored ones, joined from the last axis on as long as they stay small."""
    stored = variable.encoding.get("preferred_chunks", {})
    chunks = [min(stored.get(each, size), size) for each, size in variable.sizes.items()]
    for axis, size in reversed(list(enumerate(variable.shape))):
        room = CHUNK_BYTES // (math.prod(chunks) * variable.dtype.itemsize)
        chunks[axis] = max(chunks[axis], min(size, room * chunks[axis]))
    return tuple(chunks)
