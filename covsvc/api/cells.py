"""What a single cell of a study consists of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covsvc.api.building import STORE
from covsvc.api.figures import exact_curves
from covsvc.api.querying import read_maps
from covsvc.api.stored import axes_told, part_of
from covsvc.contracts import FloatArray
from covsvc.maps import summarize
from covsvc.selection import select, with_axes
from covsvc.store.repository import open_cube
from covsvc.tally import BIN_EDGES, RATES

MOST_BINS = 60
"""Bins of a distribution, of which two may be cut off at its ends."""

NO_TOYS = "no toys"

_OF_MAPS = ("sigma_med", "sigma_med_low", "sigma_med_high", "exact_median_upper", *(f"p_{each}" for each in RATES))


def limit_distributions(
    study: str, store: str | Path = STORE, *, b: float, s_true: float, cl: float, at: str = "main"
) -> list[dict[str, Any]]:
    """Return how the upper limits of every method are distributed over the toys of a cell.

    Parameters
    ----------
    study : str
        Name of the study.
    store : str or Path
        Folder or URL of the store.
    b, s_true : float
        The cell, a node of the grid, events.
    cl : float
    at : str
        The commit; see `open_cube`.

    Returns
    -------
    list of dict
        One a method, in the order of the study: limit_method, cl, b, s_true, snapshot, n_toys;

        - ``edges``, events, the same for all methods: those of the bins of the cube, evenly thinned out on a
          logarithmic scale; s_true lies within half a percent above one of them;
        - ``shares`` of the toys whose limit lies between two edges;
        - the shares of all other toys: ``p_zero`` (the limit is 0), ``p_below`` (above 0 and below 0.001),
          ``p_above`` (finite and above 10^6), ``p_empty``, ``p_unbounded``, ``p_failed``;
        - ``sigma_med`` with the ends ``sigma_med_low`` and ``sigma_med_high`` of its interval, and
          ``exact_median_upper``, NaN where it is not known;
        - ``note``, which says ``"no toys"`` where none were drawn: then there are no edges and shares, and all shares
          are NaN.

    Raises
    ------
    StoreError
        If there is no such store, study or snapshot.
    StudyError
        If there is no such cell or confidence level.
    """
    cube = open_cube(store, study, at)
    part = with_axes(select(part_of(cube, axes_told(cube)), b=float(b), s_true=float(s_true), cl=float(cl))).load()
    maps = summarize(part).isel(cl=0, b=0, s_true=0)
    cell = part.isel(cl=0, b=0, s_true=0).transpose("limit_method", ...)
    held, empty = cell["limit_counts"].to_numpy(), cell["n_empty"].to_numpy()
    starts = _starts(held[:, 2:-2].sum(axis=0), float(maps["s_true"]))
    known: dict[str, list[float]] = {name: maps[name].to_numpy().tolist() for name in _OF_MAPS}
    told = []
    for row, (label, n_toys) in enumerate(zip(maps["limit_method"].to_numpy(), maps["n_toys"].to_numpy(), strict=True)):
        toys = float(n_toys) or np.nan
        inner = np.append(held[row, 2:-2], 0)
        counts = np.add.reduceat(inner, starts)[:-1] if len(starts) and n_toys else np.zeros(0)
        ends = {"p_zero": held[row, 0] - empty[row], "p_below": held[row, 1], "p_above": held[row, -2]}
        told.append(
            {
                "limit_method": str(label),
                **{name: float(maps[name]) for name in ("cl", "b", "s_true")},
                "snapshot": cube.attrs["snapshot"],
                "n_toys": int(n_toys),
                "edges": BIN_EDGES[starts].tolist() if n_toys else [],
                "shares": (counts / toys).tolist(),
                **{name: float(count / toys) for name, count in ends.items()},
                **{name: values[row] for name, values in known.items()},
                "note": "" if n_toys else NO_TOYS,
            }
        )
    return told


def quantile(distribution: Mapping[str, Any], share: float) -> tuple[float, float]:
    """Return the edges between which the limit lies that so many toys do not exceed.

    Parameters
    ----------
    distribution : mapping
        Of one method, as `limit_distributions` gives it.
    share : float
        Above 0 and at most 1; limits that failed count as larger than all others.

    Returns
    -------
    low, high : float
        Events; both 0 or inf at the ends, NaN where there are no toys.
    """
    if distribution["note"]:
        return np.nan, np.nan
    edges: FloatArray = np.array(distribution["edges"])
    low = np.concatenate([[0.0, 0.0], edges[:-1], [BIN_EDGES[-1], np.inf]])
    high = np.concatenate([[0.0, BIN_EDGES[0]], edges[1:], [np.inf, np.inf]])
    p = distribution
    shares = [p["p_zero"] + p["p_empty"], p["p_below"], *p["shares"], p["p_above"], p["p_unbounded"] + p["p_failed"]]
    place = int(np.searchsorted(np.cumsum(shares)[:-1], share - 1e-9))  # sums of shares are rounded
    return float(low[place]), float(high[place])


def coverage_curve(
    study: str, store: str | Path = STORE, *, limit_method: str, b: float, cl: float, at: str = "main"
) -> tuple[list[float], list[float]] | None:
    """Return the exact coverage of a method against s_true at one b, between the nodes of the grid, too.

    Parameters
    ----------
    study : str
        Name of the study.
    store : str or Path
        Folder or URL of the store.
    limit_method : str
        Its label.
    b, cl : float
        Nodes of the grid.
    at : str
        The commit; see `open_cube`.

    Returns
    -------
    tuple of list of float, or None
        s_true and coverage, a jump standing twice; None where no exact values are stored, or the method, as it is
        installed here, gives others.

    Raises
    ------
    StoreError
        If there is no such store, study or snapshot.
    StudyError
        If there is no such column.
    """
    from covsvc.report.column import columns
    from covsvc.report.slices import curve

    part = with_axes(select(read_maps(store, study, at), limit_method=[limit_method], cl=[cl], b=[b]))
    (column,) = columns(part)
    found = curve(exact_curves(column, part), column, 0)
    return None if found is None else (found[0].tolist(), found[1].tolist())


def _starts(filled: NDArray[np.int64], s_true: float) -> NDArray[np.intp]:
    """Return where on `BIN_EDGES` coarser bins begin that hold all which are filled, and where the last of them ends.

    One begins with the bin that holds s_true, so that limits below and above it are not mixed.
    """
    places = np.flatnonzero(filled)
    if not len(places):
        return np.zeros(0, np.intp)
    own = int(np.searchsorted(BIN_EDGES, s_true, side="right")) - 1
    is_inside = 0 <= own < len(filled)
    first, last = (min(places[0], own), max(places[-1], own)) if is_inside else (places[0], places[-1])
    step = -(-int(last + 1 - first) // (MOST_BINS - 2))
    if is_inside:
        first = own - step * -(-(own - int(first)) // step)
    starts = np.arange(first, last + 1 + step, step)
    return np.unique(np.clip(starts, 0, len(filled))).astype(np.intp)
