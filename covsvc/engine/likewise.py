"""Whether toys and limits of now are those of a stored cube, bit for bit, and where rounding may decide."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import fields

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from covsvc.engine.replay import draw_block
from covsvc.engine.work import make_tables, run_task, tables_of
from covsvc.study import Column, Row, Study, Task
from covsvc.tally import DONE

NEAR = 1e-6
"""Distance of s_true from an end of an interval, in units of s_true or of an event, within which rounding decides."""


def toys_digest(study: Study, s_true: float, b: float) -> str:
    """Return a hash of the bits of the toys in the first block of a cell."""
    drawn, told = draw_block(study, s_true, b, 0), hashlib.sha256()
    for view in (*drawn.views, drawn):
        told.update(type(view).__name__.encode())
        for field in fields(view):
            value = getattr(view, field.name)
            if isinstance(value, np.ndarray):
                told.update(
                    f"{field.name} {value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes()
                )
    return told.hexdigest()[:16]


def toys_digests(study: Study) -> dict[str, str]:
    """Return hashes of the toys in the first and the last cell of a study, by b and s_true."""
    ends = {(study.b[end], study.s_true[end]) for end in (0, -1)}
    return {f"{b:.12g} {s_true:.12g}": toys_digest(study, s_true, b) for b, s_true in sorted(ends)}


def has_its_toys(cube: xr.Dataset, study: Study) -> bool:
    """Tell whether a study draws the toys of a stored cube, bit for bit; no, where the cube does not tell."""
    told = json.loads(cube.attrs.get("toys", "{}"))
    cells = ((*map(float, cell.split()), digest) for cell, digest in told.items())
    return bool(told) and all(toys_digest(study, s_true, b) == digest for b, s_true, digest in cells)


def has_its_bits(cube: xr.Dataset, study: Study, column: Column) -> bool:
    """Tell whether a column sets the limits that a stored cube has of the one with its label.

    A stored block at each b is drawn again: limits of different methods may be the same without background.
    """
    label, cl = column.key
    here, compared = cube[["block_status", "limit_digest"]].sel(limit_method=label, cl=cl), 0
    for b in cube["b"].values.tolist():
        at = here.sel(b=b).transpose("s_true", "block").load()
        done = np.argwhere(at["block_status"].values == DONE)
        if len(done):
            cell, block = done[len(done) // 2].tolist()
            s_true = float(at["s_true"][cell])
            task = Task(study.source, (column,), b, (s_true,), block, block + 1)
            tally = run_task(task, make_tables(Row(study.source, (column,), b, (s_true,))))
            compared += 1
            if tally.status[0, 0, 0] != DONE or tally.digest[0, 0, 0] != at["limit_digest"].values[cell, block]:
                return False
    return compared > 0


def near_ends(study: Study, labels: Iterable[str]) -> xr.DataArray:
    """Tell in which cells s_true is so near to an end of a possible interval that rounding decides whether it covers.

    Returns
    -------
    xarray.DataArray of bool
        Over (limit_method, cl, b, s_true); false where outcomes are not enumerable.
    """
    axes = study.axes
    found = xr.DataArray(np.zeros([len(each) for each in axes.values()], bool), axes, tuple(axes))
    wanted = tuple(spec for spec in study.methods if spec.label in set(labels))
    if not wanted:
        return found
    s_true = np.array(study.s_true)
    for b, tables in tables_of(study.model_copy(update={"methods": wanted})).items():
        for row, column in enumerate(tables.table.columns if tables.table else ()):
            limits = tables.table.limits(row)  # type: ignore[union-attr]
            near = _is_near(s_true, np.concatenate([limits.lower, limits.upper]))
            found.loc[{"limit_method": column.key[0], "cl": column.cl, "b": b}] = near
    return found


def _is_near(s_true: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.bool_]:
    known = np.unique(ends[np.isfinite(ends) & (ends > 0)])  # an interval from 0 on is no matter of rounding
    if not known.size:
        return np.zeros(s_true.shape, bool)
    at = np.searchsorted(known, s_true)
    distance = np.minimum(
        np.abs(known[np.minimum(at, known.size - 1)] - s_true), np.abs(known[np.maximum(at - 1, 0)] - s_true)
    )
    near: NDArray[np.bool_] = distance <= NEAR * np.maximum(1.0, s_true)
    return near
