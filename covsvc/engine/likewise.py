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
from covsvc.engine.work import run_alone, tables_of
from covsvc.study import Column, Study, Task
from covsvc.tally import DONE

BY_CHANCE = 1e-12
"""Blocks that are alike with less probability than this are the same block."""

NEAR = 1e-6
"""Distance of s_true from an end of an interval, in units of s_true or of an event, within which rounding decides."""


def toys_digest(study: Study, s_true: float, b: float, block: int) -> str:
    """Return a hash of the bits of the toys in a block of a cell."""
    drawn, told = draw_block(study, s_true, b, block), hashlib.sha256()
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
    """Return hashes of the toys in the first and the last block of a study, by b, s_true and block."""
    ends = {(study.b[end], study.s_true[end], range(study.n_blocks)[end]) for end in (0, -1)}
    return {
        f"{b:.12g} {s_true:.12g} {block}": toys_digest(study, s_true, b, block) for b, s_true, block in sorted(ends)
    }


def repeats_toys(study: Study) -> bool:
    """Tell whether the first and the last block of a cell hold the same toys, which count twice then.

    Blocks that may well be alike by chance, as those without an expected event are, tell nothing.
    """
    s_true, b, last = study.s_true[-1], study.b[-1], study.n_blocks - 1
    if not last or _chance_alike(study, s_true, b) > BY_CHANCE:
        return False
    return toys_digest(study, s_true, b, 0) == toys_digest(study, s_true, b, last)


def _chance_alike(study: Study, s_true: float, b: float) -> float:
    """Return about how probable it is that two blocks of a cell hold the same numbers of events."""
    drawn = draw_block(study, s_true, b, 0)
    view = drawn.views[0]
    held = [value for field in fields(view) if isinstance(value := getattr(view, field.name), np.ndarray)]
    counts = next(value for value in held if len(value) == len(view))[drawn.which]
    shares = np.unique(counts, axis=0, return_counts=True)[1] / study.toys_per_block
    return float(np.sum(shares**2)) ** study.toys_per_block


def has_its_toys(cube: xr.Dataset, study: Study) -> bool:
    """Tell whether a study draws the toys of a stored cube, bit for bit; no, where the cube does not tell."""
    told = [(place.split(), digest) for place, digest in json.loads(cube.attrs.get("toys", "{}")).items()]
    return bool(told) and all(
        len(place) == 3 and toys_digest(study, float(place[1]), float(place[0]), int(place[2])) == digest
        for place, digest in told
    )


def has_its_bits(cube: xr.Dataset, study: Study, column: Column, other: xr.Dataset) -> bool:
    """Tell whether a column sets the limits that a stored cube has of the one with its label.

    At each b two stored blocks are drawn again, the first and the last on which another cube has other limits: where
    they are the same the column may as well be that of the other.
    """
    label, cl = column.key
    here, there = xr.align(
        *(each[["block_status", "limit_digest"]].sel(limit_method=label, cl=cl) for each in (cube, other))
    )
    compared = 0
    for b in here["b"].values.tolist():
        at, beside = (each.sel(b=b).transpose("s_true", "block").load() for each in (here, there))
        done = (at["block_status"].values == DONE) & (beside["block_status"].values == DONE)
        differing = np.argwhere(done & (at["limit_digest"].values != beside["limit_digest"].values)).tolist()
        for cell, block in differing[:1] + differing[1:][-1:]:
            s_true = float(at["s_true"][cell])
            task = Task(study.source, (column,), b, (s_true,), block, block + 1)
            tally = run_alone(task)
            compared += 1
            digest = at["limit_digest"].values[cell, block]
            if tally.status[0, 0, 0] != DONE or tally.digest[0, 0, 0] != digest:
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
