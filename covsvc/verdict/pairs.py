"""Toys of which both sides of a comparison keep the limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from covsvc.tally import INDICATORS, NOT_DRAWN, bin_by, indicators_by
from covsvc.verdict.sides import Side


@dataclass(frozen=True)
class Pairs:
    """Toys of which both sides keep the limit, by whether something is true of it; zeros where there are none.

    Attributes
    ----------
    n : ndarray of int64, shape (limit_method, cl, b, s_true)
    has, had, gained, lost : mapping of str to ndarray of int64
        Toys that are covered, empty, unbounded or failed: now, in the baseline, now only, and in the baseline only.
    rose, fell : ndarray of int64
        Toys whose upper limit lies in a higher and in a lower bin than in the baseline.
    """

    n: NDArray[np.int64]
    has: dict[str, NDArray[np.int64]]
    had: dict[str, NDArray[np.int64]]
    gained: dict[str, NDArray[np.int64]]
    lost: dict[str, NDArray[np.int64]]
    rose: NDArray[np.int64]
    fell: NDArray[np.int64]

    @classmethod
    def nothing(cls, shape: tuple[int, ...]) -> Pairs:
        """Return no pairs."""
        has, had, gained, lost = ({name: np.zeros(shape, np.int64) for name in INDICATORS} for _ in range(4))
        n, rose, fell = (np.zeros(shape, np.int64) for _ in range(3))
        return cls(n, has, had, gained, lost, rose, fell)

    @classmethod
    def of(cls, now: Side, before: Side, wanted: NDArray[np.bool_]) -> Pairs:
        """Pair the toys of two sides where this is `wanted`, over the columns and cells of `now`."""
        pairs = cls.nothing(wanted.shape)
        if "toy_bins" not in now.cube or "toy_bins" not in before.cube:
            return pairs
        axes = now.axes
        for b, s_true in np.argwhere(wanted.any(axis=(0, 1))).tolist():
            rows, levels = np.nonzero(wanted[:, :, b, s_true])
            columns = [(axes["limit_method"][row], axes["cl"][level]) for row, level in zip(rows, levels, strict=True)]
            codes, old = (_codes(side.cube, columns, axes["b"][b], axes["s_true"][s_true]) for side in (now, before))
            n_toys = min(codes.shape[-1], old.shape[-1])
            pairs._add((rows, levels, b, s_true), codes[:, :n_toys], old[:, :n_toys])
        return pairs

    def at(self, row: int, level: int) -> Pairs:
        """Return the pairs of one column, without the axes of columns."""
        has, had, gained, lost = (
            {name: counts[row, level] for name, counts in each.items()}
            for each in (self.has, self.had, self.gained, self.lost)
        )
        return Pairs(self.n[row, level], has, had, gained, lost, self.rose[row, level], self.fell[row, level])

    def _add(self, place: tuple[Any, ...], codes: NDArray[np.int16], old: NDArray[np.int16]) -> None:
        both = (codes != NOT_DRAWN) & (old != NOT_DRAWN)
        self.n[place] = both.sum(axis=-1)
        told = [indicators_by(each) for each in (codes, old)]
        for name in INDICATORS:
            is_so, was_so = (both & each[name] for each in told)
            self.has[name][place], self.had[name][place] = is_so.sum(axis=-1), was_so.sum(axis=-1)
            self.gained[name][place] = (is_so & ~was_so).sum(axis=-1)
            self.lost[name][place] = (was_so & ~is_so).sum(axis=-1)
        bins, old_bins = bin_by(codes), bin_by(old)
        limited = (bins >= 0) & (old_bins >= 0)
        self.rose[place] = (limited & (bins > old_bins)).sum(axis=-1)
        self.fell[place] = (limited & (bins < old_bins)).sum(axis=-1)


def _codes(cube: xr.Dataset, columns: Sequence[tuple[str, float]], b: float, s_true: float) -> NDArray[np.int16]:
    """Return the codes of columns in a cell, shape (column, toy): one reading of a chunk, which holds all columns."""
    here = cube["toy_bins"].sel(b=b, s_true=s_true).transpose("limit_method", "cl", "toy").load()
    labels, levels = (here.get_index(name) for name in ("limit_method", "cl"))
    found: NDArray[np.int16] = here.to_numpy()[
        labels.get_indexer([label for label, _ in columns]), levels.get_indexer([cl for _, cl in columns])
    ]
    return found
