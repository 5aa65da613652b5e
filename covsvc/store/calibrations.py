"""The calibrations of a store: an Icechunk repository with a group for each, known by its content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import zarr

from covsvc.contracts import Calibration
from covsvc.errors import StoreError
from covsvc.fingerprint import environment
from covsvc.store.repository import create_repository, holds_repository, locked, open_repository

NAME = "calibrations"
"""Folder of the repository in a store; no study may have this name."""


def find_calibration(store: str | Path, key: str) -> Calibration | None:
    """Return a stored calibration, None if there is none.

    Raises
    ------
    StoreError
        If the repository cannot be read.
    """
    path = Path(store) / NAME
    if not holds_repository(path):
        return None
    try:
        session = open_repository(path).readonly_session("main")
        try:
            group = zarr.open_group(session.store, mode="r", path=key)
        except FileNotFoundError:
            return None
        arrays = {name: np.asarray(array[...]) for name, array in group.arrays()}
        return Calibration(arrays, float(group.attrs["error"]))
    except (icechunk.IcechunkError, OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{path}: cannot be read, it is damaged ({str(error).strip().splitlines()[0]}); move the folder away: "
            "calibrations are made again"
        ) from None


def keep_calibration(
    store: str | Path, key: str, calibration: Calibration, about: Mapping[str, Any], seconds: float
) -> None:
    """Store a calibration; one that is stored already stays.

    Parameters
    ----------
    store : str or Path
        Folder of the store.
    key : str
        What the calibration is known by.
    calibration : Calibration
    about : dict
        What it is of, in words and numbers.
    seconds : float
        CPU seconds that it took.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    folder = Path(store)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}; --store names a folder that can be written") from None
    with locked(folder / f"{NAME}.lock", "another process writes the calibrations", patience=60.0):
        path = folder / NAME
        if path.exists() and not holds_repository(path) and (not path.is_dir() or any(path.iterdir())):
            raise StoreError(f"{path}: is no store of calibrations; move it away, or choose another --store")
        try:
            _write(path, key, calibration, about, seconds)
        except (icechunk.IcechunkError, OSError) as error:
            raise StoreError(f"{path}: cannot be written: {str(error).strip().splitlines()[0]}") from error


def _write(path: Path, key: str, calibration: Calibration, about: Mapping[str, Any], seconds: float) -> None:
    repository = open_repository(path) if holds_repository(path) else create_repository(path)
    session = repository.writable_session("main")
    root = zarr.open_group(session.store, mode="a")
    if key in root:
        return
    group = root.create_group(key)
    for name, values in calibration.arrays.items():
        array = np.asarray(values)
        group.create_array(name, shape=array.shape, dtype=array.dtype)[...] = array
    told = {"error": calibration.error, "cpu_seconds": round(seconds, 3), "environment": environment(), **about}
    group.attrs.put(json.loads(json.dumps(told)))
    session.commit(f"{about.get('limit_method', 'method')}: {key}")
