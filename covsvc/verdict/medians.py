"""Median upper limits of toys, finer than the bins in which limits are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from covsvc.contracts import FloatArray
from covsvc.tally import bin_bounds
from covsvc.verdict.sides import AXES, Side


@dataclass(frozen=True)
class Medians:
    """Median upper limits and their intervals, shape (limit_method, cl, b, s_true); NaN without toys."""

    median: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, side: Side, axes: Mapping[str, Sequence[Any]], wanted: NDArray[np.bool_], error: float) -> Medians:
        """Return the medians of toys where this is `wanted`, over the columns and cells of `axes`.

        The median lies in its bin as if the logarithms of its limits were spread evenly in it. The interval has the
        probability 1 - `error`, and is widened outward to the edges of bins. Failed limits count as unbounded.
        """
        found = np.full((3, *wanted.shape), np.nan)
        for at in np.flatnonzero(wanted.any(axis=(0, 1, 3))).tolist():
            labels = np.flatnonzero(wanted[:, :, at].any(axis=(1, 2))).tolist()
            here = {**axes, "b": [axes["b"][at]], "limit_method": [axes["limit_method"][each] for each in labels]}
            part = {name: [v for v in here[name] if v in side.axes[name]] for name in AXES}
            if all(part.values()):
                cube = side.cube[["limit_counts", "n_failed"]].sel(part).load().reindex(here, fill_value=0).isel(b=0)
                held = cube["limit_counts"].transpose("limit_method", "cl", "s_true", "limit_bin").to_numpy()
                failed = cube["n_failed"].transpose("limit_method", "cl", "s_true").to_numpy()
                found[:, :, :, at][:, labels] = _medians(held, failed, error)
        found[:, ~wanted] = np.nan
        return cls(*found)

    def at(self, row: int, level: int) -> Medians:
        """Return the medians of one column, without the axes of columns."""
        return Medians(self.median[row, level], self.low[row, level], self.high[row, level])


def _medians(held: NDArray[np.int64], failed: NDArray[np.int64], error: float) -> FloatArray:
    """Return the median and the ends of its interval of limits in bins, shape (3, limit_method, cl, s_true)."""
    lower, upper = bin_bounds()
    n = held.sum(axis=-1) + failed
    below = np.cumsum(held, axis=-1)
    ranks = (
        n / 2.0,
        np.asarray(stats.binom.ppf(error / 2.0, n, 0.5)),
        np.asarray(stats.binom.isf(error / 2.0, n, 0.5)) + 1.0,
    )
    bins = [(below < rank[..., None]).sum(axis=-1) for rank in ranks]
    low, high = np.append(lower, np.inf)[bins[1]], np.append(upper, np.inf)[bins[2]]
    middle = np.minimum(bins[0], held.shape[-1] - 1)
    inside = np.take_along_axis(held, middle[..., None], axis=-1)[..., 0]
    before = np.take_along_axis(below, middle[..., None], axis=-1)[..., 0] - inside
    share = np.clip((ranks[0] - before) / np.maximum(inside, 1), 0.0, 1.0)
    first, last = lower[middle], upper[middle]
    with np.errstate(invalid="ignore", divide="ignore"):
        median = np.where(first > 0, first * (last / first) ** share, first + share * (last - first))
    median = np.where(np.isfinite(last) & (bins[0] < held.shape[-1]), median, np.inf)
    return np.where(n > 0, np.stack([median, low, high]), np.nan)
