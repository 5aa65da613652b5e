"""Maps that are kept: in memory, and in the user's cache."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import scipy
import xarray as xr

from covsvc.files import user_cache

MOST_ON_DISK, MOST_FILES, MOST_IN_MEMORY = 1_000_000_000, 200, 250_000_000
"""Bytes and files of maps that are kept, and bytes that are held in memory; those that were read last stay."""

ABANDONED = 3600.0
"""Seconds after which what is half written is cleared away."""

_held: OrderedDict[tuple[str, str], xr.Dataset] = OrderedDict()
_being_made: dict[tuple[str, str], Lock] = {}
_lock = Lock()


def kept_maps(where: str, snapshot: str, make: Callable[[], xr.Dataset]) -> xr.Dataset:
    """Return the maps of a snapshot: those that are kept, or else those that `make` makes, which are kept from now on.

    Snapshots never change, so that nothing which is kept grows old; the maps of other code are others.

    Parameters
    ----------
    where : str
        Of the study: folder or URL.
    snapshot : str
    make : callable
        Returns the maps.

    Returns
    -------
    xarray.Dataset
        Its arrays cannot be written: who asks next gets the same.
    """
    key = _key(where, snapshot)
    with _lock:
        making = _being_made.setdefault(key, Lock())
    try:
        with making:
            found = find_maps(where, snapshot)
            if found is None:
                found = make().load().drop_encoding()
                _write(found, _file(*key))
                _hold(key, found)
    finally:
        with _lock:
            _being_made.pop(key, None)
    return found


def find_maps(where: str, snapshot: str) -> xr.Dataset | None:
    """Return the maps of a snapshot if they are kept; see `kept_maps`."""
    key = _key(where, snapshot)
    with _lock:
        found = _held.get(key)
    if found is None:
        found = _read(_file(*key))
    if found is not None:
        _hold(key, found)
    return found


def folder() -> Path:
    """Return where the user's cache has maps."""
    return user_cache() / "maps"


def _key(where: str, snapshot: str) -> tuple[str, str]:
    return where if "://" in where else str(Path(where).resolve()), snapshot


def _hold(key: tuple[str, str], maps: xr.Dataset) -> None:
    for variable in maps.variables.values():
        variable.to_numpy().flags.writeable = False
    with _lock:
        _held[key] = maps
        _held.move_to_end(key)
        while len(_held) > 1 and sum(each.nbytes for each in _held.values()) > MOST_IN_MEMORY:
            _held.popitem(last=False)


def _file(where: str, snapshot: str) -> Path | None:
    """Return where the user's cache has, or would have, the maps of a snapshot; None if the user has no home."""
    try:
        return folder() / f"{snapshot}-{hashlib.sha256(f'{where} {_code()}'.encode()).hexdigest()[:16]}.npz"
    except RuntimeError:
        return None


@cache
def _code() -> str:
    """Return a hash of the code that makes maps: all of covsvc, to the byte, since that is read in no time."""
    told = hashlib.sha256(f"{np.__version__} {scipy.__version__} {xr.__version__}".encode())
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        told.update(path.read_bytes())
    return told.hexdigest()


def _read(path: Path | None) -> xr.Dataset | None:
    """Return maps from a file; None if there is none, or it is broken."""
    if path is None:
        return None
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            told = json.loads(file["told"].tobytes())
            arrays = {name: _restored(file[name], each) for name, each in told["variables"].items()}
    except Exception:  # whatever is wrong with a copy, the maps can be made again
        return None
    with suppress(OSError):  # it can be read only
        path.touch()
    names = told["coordinates"]
    return xr.Dataset(
        {name: each for name, each in arrays.items() if name not in names},
        {name: arrays[name] for name in names},
        told["attrs"],
    )


def _restored(held: Any, told: dict[str, Any]) -> xr.Variable:
    values = held.astype(np.dtypes.StringDType()) if told["dtype"] == "T" else held.astype(np.dtype(told["dtype"]))
    return xr.Variable(told["dims"], values, told["attrs"])


def _write(maps: xr.Dataset, path: Path | None) -> None:
    """Write maps to a file that is whole or not there, and forget those that were not read for long."""
    if path is None:
        return
    told = {
        "attrs": maps.attrs,
        "coordinates": list(maps.coords),
        "variables": {
            name: {"dims": each.dims, "dtype": each.dtype.char, "attrs": each.attrs}
            for name, each in maps.variables.items()
        },
    }
    arrays: dict[str, Any] = {
        str(name): np.array(each.to_numpy().tolist(), str) if each.dtype.kind in "TO" else each.to_numpy()
        for name, each in maps.variables.items()
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            np.savez(Path(scratch) / path.name, told=np.frombuffer(json.dumps(told).encode(), np.uint8), **arrays)
            (Path(scratch) / path.name).replace(path)
        _prune(path.parent)
    except (OSError, TypeError):  # without a cache the maps are made anew each time
        return


def _prune(within: Path) -> None:
    for scratch in within.glob("tmp*"):
        if scratch.stat().st_mtime < time.time() - ABANDONED:  # whoever wrote there was killed
            shutil.rmtree(scratch, ignore_errors=True)
    left = MOST_ON_DISK
    newest = sorted(within.glob("*.npz"), key=lambda each: each.stat().st_mtime, reverse=True)
    for number, path in enumerate(newest, 1):
        left -= path.stat().st_size
        if left < 0 or number > MOST_FILES:
            path.unlink()
