"""The consistency of a cube: what must add up, whoever wrote it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, product
from typing import Any

import numpy as np
import xarray as xr

from covsvc.contracts import Status
from covsvc.store.cube import AXES
from covsvc.tally import COUNTS, DONE, FAILED, MISSING, NOT_DRAWN, ROUNDING, bin_by, covers_by, status_by

_ATTRIBUTES = ("schema", "study", "source", "methods", "failures")
_COUNTED = (*COUNTS, "limit_counts", "block_status", "limit_digest")
_CELL = ("limit_method", "cl", "s_true")
_MOST_READ = 2_000_000
"""Toys of columns that are read at once, of those that are kept one by one."""

_PROBABILITIES = ("exact_coverage", "exact_upper_coverage", "exact_p_empty", "exact_p_unbounded", "exact_p_failed")


def check(dataset: xr.Dataset) -> list[str]:
    """Return what does not add up in a cube: one sentence for each rule that is broken, with an example.

    Counts are held against the blocks that are done, the sizes of the limits and toys that are kept one by one against
    the counts, failed blocks against their reasons, and probabilities against [0, 1]. One b is read at a time.

    Parameters
    ----------
    dataset : xarray.Dataset
        As `open_cube` gives it.
    """
    absent = [name for name in _ATTRIBUTES if name not in dataset.attrs]
    absent += [name for name in (*AXES, *_COUNTED) if name not in dataset.variables]
    if absent:
        return [f"no cube of covsvc: {', '.join(absent)} missing"]
    told = [
        f"{name}: a value stands twice"
        for name in AXES
        if len(set(dataset[name].values.tolist())) < dataset.sizes[name]
    ]
    told += [f"{name}: a value is not finite" for name in AXES[1:] if not np.isfinite(dataset[name].values).all()]
    if told:
        return told
    size = int(json.loads(dataset.attrs["source"])["toys_per_block"])
    failures = json.loads(dataset.attrs["failures"])
    broken: dict[str, tuple[str, int]] = {}
    for b in dataset["b"].values.tolist():
        whole = dataset.sel(b=b)
        here = whole.drop_vars("toy_bins", errors="ignore").load()
        rules = _rules(here, size, [each for each in failures if each["b"] == b])
        for rule, left, right, kept in chain(rules, _toy_rules(whole, here, size)):
            cells = np.argwhere(~kept.transpose(*_CELL).values)
            if len(cells):
                example = _told(here, rule, left, right, dict(zip(_CELL, cells[0].tolist(), strict=True)))
                first, number = broken.get(rule, (example, 0))
                broken[rule] = first, number + len(cells)
    return [first + (f"; {number:,} cells in all" if number > 1 else "") for first, number in broken.values()]


def _rules(
    here: xr.Dataset, size: int, failures: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, xr.DataArray, xr.DataArray, xr.DataArray]]:
    """Yield each rule at one b: in words, the two numbers that it compares, and where it is kept."""
    status = here["block_status"]
    expected = size * (status == DONE).sum("block")
    yield "n_toys is not toys_per_block x blocks done", here["n_toys"], expected, here["n_toys"] == expected
    binned, limits = here["limit_counts"].sum("limit_bin"), here["n_toys"] - here["n_failed"]
    yield "limit_counts do not add up to n_toys - n_failed", binned, limits, binned == limits
    infinite = here["limit_counts"].isel(limit_bin=-1)
    yield "the last of limit_counts is not n_unbounded", infinite, here["n_unbounded"], infinite == here["n_unbounded"]
    for few, many in (("n_covered", "n_upper_covered"), ("n_unbounded", "n_upper_covered")):
        yield f"{few} is larger than {many}", here[few], here[many], here[few] <= here[many]
    no_hit = here["n_toys"] - here["n_empty"] - here["n_failed"]
    told = "n_upper_covered is larger than n_toys - n_empty - n_failed"
    yield told, here["n_upper_covered"], no_hit, here["n_upper_covered"] <= no_hit
    for name in COUNTS:
        yield f"{name} is negative", here[name], xr.zeros_like(here[name]), here[name] >= 0
    counted = here["limit_counts"].min("limit_bin")
    yield "limit_counts are negative", counted, xr.zeros_like(counted), counted >= 0
    strange = (~status.isin([MISSING, DONE, FAILED])).sum("block")
    yield "block_status is neither missing, done nor failed", strange, xr.zeros_like(strange), strange == 0
    digests = ((status != DONE) & (here["limit_digest"] != 0)).sum("block")
    yield "blocks that are not done have a digest", digests, xr.zeros_like(digests), digests == 0
    failed = status == FAILED
    silent = (failed & ~_explained(failed, failures)).sum("block")
    yield "failed blocks have no reason", silent, xr.zeros_like(silent), silent == 0
    if "exact_status" in here:
        for name in _PROBABILITIES:
            summed = here["exact_status"] == 1
            possible = (here[name] >= -ROUNDING) & (here[name] <= 1 + ROUNDING)
            yield f"{name} is no probability", here[name], xr.ones_like(here[name]), possible | ~summed


def _toy_rules(
    whole: xr.Dataset, here: xr.Dataset, size: int
) -> Iterator[tuple[str, xr.DataArray, xr.DataArray, xr.DataArray]]:
    """Yield the rules of toys that are kept one by one, at one b: they add up to the counts of the same blocks."""
    if "toy_bins" not in whole:
        return
    found = _count_toys(whole["toy_bins"], here["block_status"], size)
    zero = xr.zeros_like(found["partly"])
    yield "toy_bins hold a part of the toys of blocks", found["partly"], zero, found["partly"] == 0
    yield "toy_bins hold toys of blocks that are not done", found["not_done"], zero, found["not_done"] == 0
    whole_cell = found["blocks"] == (here["block_status"] == DONE).sum("block")
    for name in ("n_covered", "n_empty", "n_unbounded", "n_failed"):
        yield f"toy_bins do not add up to {name}", found[name], here[name], (found[name] == here[name]) | ~whole_cell
    bins = (here["limit_counts"] * np.arange(here.sizes["limit_bin"])).sum("limit_bin")
    yield "toy_bins do not add up to limit_counts", found["bins"], bins, (found["bins"] == bins) | ~whole_cell


def _count_toys(codes: xr.DataArray, status: xr.DataArray, size: int) -> xr.Dataset:
    """Return what toys that are kept one by one say of each cell of a column; some blocks are read at a time."""
    done = (status == DONE).transpose(*_CELL, "block").values
    names = ("blocks", "partly", "not_done", "n_covered", "n_empty", "n_unbounded", "n_failed", "bins")
    found = {name: np.zeros(done.shape[:-1], np.int64) for name in names}
    blocks = max(1, _MOST_READ // (size * math.prod(done.shape[:2])))
    for cell, first in product(range(done.shape[2]), range(0, done.shape[3], blocks)):
        part = slice(first * size, (first + blocks) * size)
        read = codes.isel(s_true=cell, toy=part).transpose(*_CELL[:2], "toy").values
        held = read.reshape(*read.shape[:2], -1, size)
        here, states = held != NOT_DRAWN, status_by(held)
        counted = {
            "blocks": here.all(axis=-1),
            "partly": here.any(axis=-1) & ~here.all(axis=-1),
            "not_done": here.any(axis=-1) & ~done[:, :, cell, first : first + blocks],
            "n_covered": covers_by(held),
            "n_empty": states == Status.EMPTY,
            "n_unbounded": states == Status.UNBOUNDED,
            "n_failed": states == Status.FAILED,
            "bins": np.maximum(bin_by(held), 0),
        }
        for name, values in counted.items():
            found[name][:, :, cell] += values.sum(axis=tuple(range(2, values.ndim)), dtype=np.int64)
    cells = status.isel(block=0, drop=True).transpose(*_CELL)
    return xr.Dataset({name: cells.copy(data=values) for name, values in found.items()})


def _explained(failed: xr.DataArray, failures: Sequence[Mapping[str, Any]]) -> xr.DataArray:
    """Return which blocks a reason stands for."""
    explained = xr.zeros_like(failed)
    places = {name: {value: at for at, value in enumerate(failed[name].values.tolist())} for name in _CELL}
    for each in failures:
        if all(each[name] in places[name] for name in _CELL):
            at = {name: places[name][each[name]] for name in _CELL}
            explained[{**at, "block": slice(each["start"], each["stop"])}] = True
    return explained


def _told(here: xr.Dataset, rule: str, left: xr.DataArray, right: xr.DataArray, at: Mapping[str, int]) -> str:
    cell = here.isel(at)
    where = (
        f"{cell['limit_method'].item()} at {cell['cl'].item():g}, b = {cell['b'].item():g}, "
        f"s_true = {cell['s_true'].item():g}"
    )
    return f"{where}: {rule} ({left.isel(at).item():,} against {right.isel(at).item():,})"
