"""One limit method at one confidence level, as arrays over the grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from covsvc.contracts import FloatArray

BoolArray = NDArray[np.bool_]

TOLERANCE = 1e-9
"""Coverage that is lower than cl by less than this is rounding, as in the verdict."""


@dataclass(frozen=True)
class Rate:
    """The highest rate of one status on the grid and where it is reached."""

    value: float
    s_true: float
    b: float


@dataclass(frozen=True)
class Worst:
    """The lowest coverage known and where it is reached."""

    value: float
    s_true: float
    b: float
    source: str
    """``"exact"``: searched between the nodes too; else what the nodes of the grid say."""
    at_most: float = np.nan
    """What the lowest coverage of toys is if all limits that failed cover."""


@dataclass(frozen=True)
class Column:
    """What the maps say about one method at one confidence level.

    Parameters
    ----------
    label : str
        The method's label in the study.
    cl : float
        Confidence level.
    s_true, b : ndarray of float, shape (s_true,) and (b,)
        Nodes of the grid, ascending; events.
    maps : Dataset
        The maps at this method and cl, over (b, s_true).
    """

    label: str
    cl: float
    s_true: FloatArray
    b: FloatArray
    maps: xr.Dataset

    def at(self, row: int, node: int) -> Column:
        """Return one cell of the column, that of ``b[row]`` and ``s_true[node]``."""
        maps = self.maps.isel(b=[row], s_true=[node])
        return replace(self, s_true=self.s_true[[node]], b=self.b[[row]], maps=maps)

    def values(self, name: str) -> FloatArray:
        """Return the map `name` as an array, shape (b, s_true)."""
        return np.asarray(self.maps[name].to_numpy(), dtype=np.float64)

    @property
    def is_adaptive(self) -> bool:
        """Whether a budget decided how many toys there are."""
        return "adaptive" in self.maps.attrs

    @property
    def coverage(self) -> FloatArray:
        """The coverage painted: exact where there is an exact value, else from toys."""
        return _first_finite(self.values("exact_coverage"), self.values("coverage"))

    @property
    def exact(self) -> BoolArray:
        """Where the coverage is exact."""
        return np.isfinite(self.values("exact_coverage"))

    @property
    def sigma(self) -> FloatArray:
        """sigma_Med/sigma_True: exact where known, else from toys; NaN at s_true = 0, may be inf."""
        exact, toys = self.values("exact_sigma_med_over_true"), self.values("sigma_med_over_true")
        ratio = np.where(np.isnan(exact), toys, exact)
        ratio[:, self.s_true == 0] = np.nan
        return ratio

    @property
    def under(self) -> BoolArray:
        """Where under-coverage is significant."""
        under: BoolArray = self.maps["under_significant"].to_numpy().astype(bool)
        return under

    @property
    def below(self) -> BoolArray:
        """Where the painted coverage is below cl."""
        below: BoolArray = self.coverage < self.cl - TOLERANCE
        return below

    @property
    def known(self) -> BoolArray:
        """Where there is a coverage at all."""
        return np.isfinite(self.coverage)

    @property
    def lowest(self) -> tuple[int, int] | None:
        """Where on the grid coverage is lowest, along b and along s_true; None where none is known."""
        if not self.known.any():
            return None
        row, node = divmod(int(np.nanargmin(self.coverage)), len(self.s_true))
        return row, node

    @property
    def worst(self) -> Worst | None:
        """The lowest coverage: searched at the jumps where that can be done, else the lowest node."""
        found: list[Worst] = []
        searched, where = self.values("worst_coverage"), self.values("worst_s_true")
        if np.isfinite(searched).any():
            row = int(np.nanargmin(searched))
            found.append(Worst(float(searched[row]), float(where[row]), float(self.b[row]), "exact"))
        nodes = self.coverage
        nodes = np.where(np.isfinite(searched)[:, np.newaxis], np.nan, nodes)
        if np.isfinite(nodes).any():
            row, node = divmod(int(np.nanargmin(nodes)), nodes.shape[1])
            source = "exact at the grid" if self.exact[row, node] else "toys at the grid"
            best = np.where(np.isnan(nodes), np.nan, self.values("coverage_best"))
            at_most = float(np.nanmin(best)) if source == "toys at the grid" else np.nan
            found.append(Worst(float(nodes[row, node]), float(self.s_true[node]), float(self.b[row]), source, at_most))
        return min(found, key=lambda worst: worst.value, default=None)

    @property
    def median_sigma(self) -> float:
        """The median of sigma_Med/sigma_True over the cells where it is finite."""
        sigma = self.values("exact_sigma_med_over_true")
        if not np.isfinite(sigma[:, self.s_true > 0]).any():
            sigma = self.sigma
        sigma = sigma[:, self.s_true > 0]
        finite = sigma[np.isfinite(sigma)]
        return float(np.median(finite)) if finite.size else np.nan

    def rate(self, status: str) -> Rate:
        """Return the highest rate of `status`, one of `RATES`: exact where known, else from toys."""
        rate = _first_finite(self.values(f"exact_p_{status}"), self.values(f"p_{status}"))
        if not np.isfinite(rate).any():
            return Rate(np.nan, np.nan, np.nan)
        row, node = divmod(int(np.nanargmax(rate)), rate.shape[1])
        return Rate(float(rate[row, node]), float(self.s_true[node]), float(self.b[row]))

    def agreement(self) -> tuple[int, int]:
        """Count the cells whose exact coverage is in the interval of the toys, and those that have both."""
        exact, low, high = (self.values(name) for name in ("exact_coverage", "coverage_low", "coverage_high"))
        both = np.isfinite(exact) & np.isfinite(low) & np.isfinite(high)
        inside = both & (low <= exact + TOLERANCE) & (exact - TOLERANCE <= high)
        return int(inside.sum()), int(both.sum())


def columns(maps: xr.Dataset) -> Iterator[Column]:
    """Split `maps` into columns, method by method, in the order of the maps."""
    maps = maps.sortby(["b", "s_true"]).load()
    s_true, b = (np.asarray(maps[axis].to_numpy(), dtype=np.float64) for axis in ("s_true", "b"))
    for label in maps["limit_method"].to_numpy().tolist():
        for cl in maps["cl"].to_numpy().tolist():
            column = maps.sel(limit_method=label, cl=cl).transpose("b", "s_true")
            yield Column(str(label), float(cl), s_true, b, column)


def _first_finite(first: FloatArray, second: FloatArray) -> FloatArray:
    return np.where(np.isfinite(first), first, second)
