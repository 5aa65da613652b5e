"""Views that fit what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from covsvc.selection import nearest_to, nodes_of, select
from covsvc_dashboards.shown import Side
from covsvc_dashboards.view import View


def fitted(view: View, maps: xr.Dataset) -> tuple[View, list[str]]:
    """Return a view of a study with what is there of it, and what was replaced.

    Parameters
    ----------
    view : View
    maps : Dataset
        Of its study and commit.
    """
    wrong: list[str] = []
    labels = maps["limit_method"].to_numpy().tolist()
    every_cl, s_true, b = (np.sort(maps[name].to_numpy()) for name in ("cl", "s_true", "b"))
    label = label_in(labels, view.limit_method, wrong)
    slices = tuple(each for each in labels if each in view.slices)
    wrong += [f"slices = {each[:60]}: not in this commit of the study" for each in view.slices if each not in labels]
    cl = _node(every_cl, view.cl, "cl", wrong)
    low, high = _range(s_true, view.s_low, view.s_high, wrong)
    cell = _node(b, view.b, "b", wrong), _node(s_true, view.s_true, "s_true", wrong)
    if cell[1] is not None and (cell[1] < (low or 0.0) or (high is not None and cell[1] > high)):
        wrong.append(f"s_true = {cell[1]:.12g}: not in the range of s_true that is shown; no cell is chosen")
        cell = None, None
    cl = every_cl[0].item() if cl is None else cl
    view = replace(view, limit_method=label, cl=cl, s_low=low, s_high=high, slices=slices)
    if cell != (None, None):
        cell = _completed(side_of(view, "", maps), *cell)
    return replace(view, b=cell[0], s_true=cell[1]), wrong


def label_in(labels: Sequence[str], label: str, wrong: list[str], name: str = "limit_method") -> str:
    """Return a label if it is known, else the first; say so, by the `name` of the choice, if another was asked for."""
    if label in labels:
        return label
    if label:
        wrong.append(f"{name} = {label[:60]}: not in this commit of the study; {labels[0]} is shown")
    return labels[0]


def side_of(view: View, snapshot: str, maps: xr.Dataset, label: str | None = None) -> Side:
    """Return a side of a view that fits; `label` is another method than that of the view."""
    return Side(brushed(maps, view.s_low, view.s_high), snapshot, label or view.limit_method, view.cl or 0.0)


def brushed(maps: xr.Dataset, low: float | None, high: float | None) -> xr.Dataset:
    """Return the maps of a range of true signals; lowest coverages that were found outside of it are not known."""
    if low is None and high is None:
        return maps
    part = select(maps, s_true=slice(low, high))
    where = part["worst_s_true"]
    inside = (where >= (-np.inf if low is None else low)) & (where <= (np.inf if high is None else high))
    return part.assign({name: part[name].where(inside) for name in ("worst_coverage", "worst_s_true")})


def _node(known: NDArray[np.float64], asked: float | None, name: str, wrong: list[str]) -> float | None:
    """Return the value of an axis that is asked for, None if there is none."""
    if asked is None:
        return None
    (at,) = nodes_of(known, [asked])
    if at is None:
        wrong.append(f"{name} = {asked:.12g}: not on the grid; the nearest are {nearest_to(known, asked)}")
        return None
    return float(known[at])


def _range(
    s_true: NDArray[np.float64], low: float | None, high: float | None, wrong: list[str]
) -> tuple[float | None, float | None]:
    """Return the range of true signals; None at an end that does not cut anything off."""
    first, last = s_true[0].item(), s_true[-1].item()
    inside = (s_true >= (first if low is None else low)) & (s_true <= (last if high is None else high))
    if not inside.any():
        told = " to ".join(f"{end:.12g}" for end in (low, high) if end is not None)
        wrong.append(f"s_true from {told}: nothing on the grid lies there; all of it is shown")
        return None, None
    return None if low is None or low <= first else low, None if high is None or high >= last else high


def _completed(side: Side, b: float | None, s_true: float | None) -> tuple[Any, Any]:
    """Return a cell of which only one value was chosen: the one that is covered least."""
    column = side.column
    coverage = np.where(column.known, column.coverage, np.inf)
    if b is None:
        b = float(column.b[np.argmin(coverage[:, column.s_true == s_true].min(axis=1))])
    if s_true is None:
        s_true = float(column.s_true[np.argmin(coverage[column.b == b].min(axis=0))])
    return b, s_true
