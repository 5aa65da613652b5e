"""The store, options, and methods built with the calibrations of the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from covsvc.contracts import Calibration, LimitMethod
from covsvc.engine.calibrating import key_of
from covsvc.engine.guard import method_of
from covsvc.engine.observation import Build
from covsvc.errors import StoreError, StudyError
from covsvc.store.calibrations import find_calibration, keep_calibration
from covsvc.study import Column

STORE = "coverage-cubes"
"""Folder of the cubes: a name that no Python module can have, or it would hide one from programs started beside it."""

Options = Mapping[str, Any]


def builder(store: str | Path, tell: Callable[[str], None] | None = None, *, calibrate: bool = True) -> Build:
    """Return what builds the method of a column for an observation, its calibration from the store or put there.

    Without `calibrate` one that is not in the store is not made: the method raises StudyError.
    """
    at_hand: dict[str, Any] = {}

    def _found(key: str) -> Calibration | None:
        try:
            return find_calibration(store, key)
        except StoreError as error:
            if tell is not None:
                tell(str(error))
            return None

    def build(column: Column, observed: Any) -> LimitMethod:
        method = method_of(column)
        known = getattr(observed, "model", None)
        if type(observed) not in getattr(method, "calibrates", ()) or known is None:
            return method
        key = key_of(column, known)
        held = at_hand.get(key) or _found(key)
        if held is None and not calibrate:
            raise StudyError("it needs a calibration for this analysis, which is not stored; `covsvc limit` makes it")
        if held is None:
            if tell is not None:
                tell(f"{column.key[0]} at {column.cl:g}: draws the toys of its calibration, once for this analysis")
            begun = time.thread_time()
            held = method.calibrate(known, column.cl)  # type: ignore[attr-defined]
            about = {"limit_method": column.spec.name, "options": column.spec.options, "cl": column.cl}
            try:
                keep_calibration(store, key, held, about, time.thread_time() - begun)
            except StoreError as error:
                if tell is not None:
                    tell(f"the calibration is not kept: {error}")
        at_hand[key] = held
        return method_of(column, held)

    return build
