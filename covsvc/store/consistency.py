"""The consistency of a cube: what must add up, whoever wrote it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from covsvc.store.cube import AXES
from covsvc.tally import COUNTS, DONE, FAILED, MISSING, ROUNDING

_ATTRIBUTES = ("schema", "study", "source", "methods", "failures")
_COUNTED = (*COUNTS, "limit_counts", "block_status", "limit_digest")
_CELL = ("limit_method", "cl", "s_true")
_PROBABILITIES = ("exact_coverage", "exact_upper_coverage", "exact_p_empty", "exact_p_unbounded", "exact_p_failed")


def check(dataset: xr.Dataset) -> list[str]:
    """Return what does not add up in a cube: one sentence for each rule that is broken, with an example.

    Counts are held against the blocks that are done, the sizes of the limits against the counts, failed blocks against
    their reasons, and probabilities against [0, 1]. One b is read at a time.

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
        here = dataset.sel(b=b).load()
        for rule, left, right, kept in _rules(here, size, [each for each in failures if each["b"] == b]):
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
