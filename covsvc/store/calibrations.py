"""The calibrations of a store: an Icechunk repository with a group for each, known by its content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import zarr

from covsvc.contracts import Calibration
from covsvc.errors import StoreError
from covsvc.fingerprint import environment
from covsvc.store.place import Place, place_of
from covsvc.store.reason import reason_of, unwritable
from covsvc.store.repository import open_repository, opened_or_created

NAME = "calibrations"
"""Name of the repository in a store; no study may have it."""

_ATTEMPTS = 5
"""How often a calibration is written if others write in between: each adds what it has, whoever comes first."""


def find_calibration(store: str | Path, key: str) -> Calibration | None:
    """Return a stored calibration, None if there is none.

    Raises
    ------
    StoreError
        If the repository cannot be read.
    """
    place = place_of(store)
    if not place.exists(NAME):
        return None
    try:
        session = open_repository(place, NAME).readonly_session("main")
        try:
            group = zarr.open_group(session.store, mode="r", path=key)
        except FileNotFoundError:
            return None
        arrays = {name: np.asarray(array[...]) for name, array in group.arrays()}
        return Calibration(arrays, float(group.attrs["error"]))
    except (icechunk.IcechunkError, OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{place.study(NAME)}: cannot be read, it is damaged ({reason_of(error)}); move it away: "
            "calibrations are made again"
        ) from None


def keep_calibration(
    store: str | Path, key: str, calibration: Calibration, about: Mapping[str, Any], seconds: float
) -> None:
    """Store a calibration; one that is stored already stays.

    Parameters
    ----------
    store : str or Path
        Folder or URL of the store.
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
    place = place_of(store)
    where = place.study(NAME)
    with place.lock(NAME, "another process writes the calibrations", patience=60.0) as still_held:
        try:
            for _ in range(_ATTEMPTS):
                still_held()
                with suppress(icechunk.ConflictError):
                    _write(place, key, calibration, about, seconds)
                    break
            else:
                raise StoreError(f"{where}: others wrote to it {_ATTEMPTS} times in between; try again")
        except (icechunk.IcechunkError, OSError) as error:
            raise unwritable(where, error) from error


def _write(place: Place, key: str, calibration: Calibration, about: Mapping[str, Any], seconds: float) -> None:
    repository = opened_or_created(place, NAME, "is no store of calibrations; move it away, or choose another --store")
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
