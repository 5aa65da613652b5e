"""The two sides of a comparison, as arrays over the same columns and cells."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from covsvc.contracts import FloatArray
from covsvc.tally import DONE, EXACT, FAILED, RATES, WORST

AXES = ("limit_method", "cl", "b", "s_true")

_COUNTS = ("n_toys", "n_covered", *(f"n_{rate}" for rate in RATES))


@dataclass(frozen=True)
class Side:
    """A candidate or a baseline.

    Attributes
    ----------
    maps : xarray.Dataset
        As `summarize` gives them, of the columns and cells that are to be compared.
    cube : xarray.Dataset
        What they were made from, opened lazily.
    """

    maps: xr.Dataset
    cube: xr.Dataset

    @property
    def methods(self) -> dict[str, Any]:
        """What is known of each limit method."""
        methods: dict[str, Any] = json.loads(self.maps.attrs["methods"])
        return methods

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The values of the axes."""
        return {name: self.maps[name].values.tolist() for name in AXES}


@dataclass(frozen=True)
class Grid:
    """What one side has of some columns and cells; nothing, where it lacks them.

    Attributes
    ----------
    counts : mapping of str to ndarray of int64, shape (limit_method, cl, b, s_true)
        n_toys, n_covered, n_empty, n_unbounded, n_failed of the blocks that are done.
    exact : ndarray of float, shape (quantity, limit_method, cl, b, s_true)
        `EXACT`.
    worst : ndarray of float, shape (quantity, limit_method, cl, b)
        `WORST`.
    status, digest : ndarray, shape (limit_method, cl, b, s_true, block)
    """

    counts: Mapping[str, NDArray[np.int64]]
    exact: FloatArray
    worst: FloatArray
    status: NDArray[np.int8]
    digest: NDArray[np.uint64]

    @classmethod
    def of(cls, side: Side, axes: Mapping[str, Sequence[Any]]) -> Grid:
        """Return what a side has of the columns and cells of these axes."""
        whole = side.cube[[*_COUNTS, "block_status", "limit_digest"]].reindex(axes, fill_value=0)
        known = side.cube[[*EXACT, *WORST]].reindex(axes)
        return cls(
            {name: whole[name].transpose(*AXES).to_numpy() for name in _COUNTS},
            np.stack([known[name].transpose(*AXES).to_numpy() for name in EXACT]),
            np.stack([known[name].transpose(*AXES[:3]).to_numpy() for name in WORST]),
            whole["block_status"].transpose(*AXES, "block").to_numpy(),
            whole["limit_digest"].transpose(*AXES, "block").to_numpy(),
        )

    def nothing(self) -> Grid:
        """Return what a side has that has nothing of these cells."""
        counts = {name: np.zeros_like(each) for name, each in self.counts.items()}
        exact, worst = np.full_like(self.exact, np.nan), np.full_like(self.worst, np.nan)
        return Grid(counts, exact, worst, np.zeros_like(self.status), np.zeros_like(self.digest))

    def at(self, row: int, level: int) -> Grid:
        """Return what it has of one column, without the axes of columns."""
        return Grid(
            {name: counts[row, level] for name, counts in self.counts.items()},
            self.exact[:, row, level],
            self.worst[:, row, level],
            self.status[row, level],
            self.digest[row, level],
        )

    @property
    def n(self) -> NDArray[np.int64]:
        """Toys of the blocks that are done."""
        return self.counts["n_toys"]

    @property
    def is_exact(self) -> NDArray[np.bool_]:
        """Where coverage is known exactly."""
        return np.asarray(~np.isnan(self.exact[0]))

    @property
    def has_data(self) -> NDArray[np.bool_]:
        """Where anything is known of coverage."""
        return self.is_exact | (self.n > 0)

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Where blocks failed."""
        failed: NDArray[np.bool_] = (self.status == FAILED).any(axis=-1)
        return failed

    @property
    def coverage(self) -> FloatArray:
        """Share of the toys that are covered; NaN without toys."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.counts["n_covered"] / self.n)


@dataclass(frozen=True)
class Shared:
    """The blocks that both sides have.

    Attributes
    ----------
    blocks, differing : ndarray of int64, shape (limit_method, cl, b, s_true)
        How many these are, and in how many of them limits have other bits.
    all_blocks : ndarray of bool, shape (limit_method, cl, b, s_true)
        Whether neither side has another block.
    """

    blocks: NDArray[np.int64]
    differing: NDArray[np.int64]
    all_blocks: NDArray[np.bool_]

    @classmethod
    def of(cls, now: Grid, before: Grid) -> Shared:
        """Compare the blocks of two sides."""
        n_blocks = max(now.status.shape[-1], before.status.shape[-1])
        done, was_done = (_longer(each.status == DONE, n_blocks) for each in (now, before))
        differing = done & was_done & (_longer(now.digest, n_blocks) != _longer(before.digest, n_blocks))
        both = (done & was_done).sum(axis=-1)
        return cls(both, differing.sum(axis=-1), (done == was_done).all(axis=-1) & (both > 0))


def _longer(values: NDArray[Any], n_blocks: int) -> NDArray[Any]:
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, n_blocks - values.shape[-1])])
