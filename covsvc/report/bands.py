"""Observed and expected limits as lines and bands."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from covsvc.contracts import FloatArray

N_SIGMA = (-2, -1, 0, 1, 2)
ONE, TWO = "#7fb77e", "#fbe08c"
"""Green and yellow that differ in lightness too."""
ASIMOV = "#123f7a"
UNBOUNDED = {0: "black: median", 1: "green: +1 sigma", 2: "yellow: +2 sigma"}
ARROWS = {0: "black", 1: "#2f6b2f", 2: "#a87400"}
"""Colour of an arrow by the lowest number of sigma at which the limit is unbounded."""


def quantiles(limits: xr.Dataset, name: str = "expected") -> FloatArray:
    """Return the limits `name` at -2 to 2 sigma, shape (..., 5), NaN where there is none.

    Parameters
    ----------
    limits : Dataset
        Over n_sigma and any other dimensions.
    """
    if name not in limits:
        return np.full_like(quantiles(limits), np.nan)
    every = limits[name].reindex(n_sigma=list(N_SIGMA)).transpose(..., "n_sigma")
    return np.asarray(every.to_numpy(), dtype=np.float64)


def observed(limits: xr.Dataset) -> FloatArray:
    """Return the observed limits, shape (...), NaN where there is none."""
    if "observed" not in limits:
        return np.full(quantiles(limits).shape[:-1], np.nan)
    return np.asarray(limits["observed"].to_numpy(), dtype=np.float64)


def draw_limits(axes: Axes, x: FloatArray, limits: xr.Dataset, seen: str = "Observed") -> dict[str, Artist]:
    """Draw the bands, the medians and the observed limits over `x`, straight between the nodes.

    A node whose neighbours are both infinite or missing has a short bar of its own. Where a limit is infinite its line
    or band has a gap, with an arrow at the top; where the y axis is logarithmic and it is zero, an arrow at the bottom.
    The ends of the y axis must be set before.

    Returns
    -------
    dict of str to Artist
        For a legend.
    """
    expected, asimov, real = quantiles(limits), quantiles(limits, "asimov")[:, 2], observed(limits)
    log = axes.get_yscale() == "log"
    bar = _bars(axes, x)
    handles: dict[str, Artist] = {}
    if np.isfinite(expected[:, 2]).any():
        line = axes.plot(*joined(x, bar, _shown(expected[:, 2], log)), color="black", linewidth=1.2, dashes=(5, 2.5))[0]
        line.set_zorder(4)
        handles["Median expected"] = line
    for name, low, high, colour, zorder in (("±1 sigma", 1, 3, ONE, 3), ("±2 sigma", 0, 4, TWO, 2)):
        ends = expected[:, low], expected[:, high]
        if np.isfinite(ends).all(axis=0).any():
            # a logarithmic axis has no 0: there the band ends with the axis
            floor = axes.get_ylim()[0] if log else -np.inf
            there, below, above = joined(
                x, bar, *(np.where(np.isfinite(end), np.maximum(end, floor), np.nan) for end in ends)
            )
            band = axes.fill_between(there, below, above, color=colour, linewidth=0, zorder=zorder)
            handles[name] = band
    if np.isfinite(asimov).any():
        line = axes.plot(*joined(x, bar, _shown(asimov, log)), color=ASIMOV, linewidth=1.8, linestyle=(0, (1, 1.2)))[0]
        line.set_zorder(5)
        handles["Asimov median"] = line
    if np.isfinite(real).any():
        handles[seen] = axes.plot(
            x, _shown(real, log), color="black", linewidth=1.5, marker="o", markersize=3.4, zorder=6
        )[0]
    _point(axes, x, expected, real, log)
    if not handles and not np.isposinf(expected).any() and not np.isposinf(real).any():
        axes.text(0.5, 0.5, "no values", ha="center", va="center", transform=axes.transAxes)
    return handles


def describe_arrows(limits: xr.Dataset, log: bool = False) -> str:
    """Say in words what the arrows of `draw_limits` mean, or nothing where there is none.

    Parameters
    ----------
    limits : Dataset
        Over n_sigma and any other dimensions.
    """
    expected = quantiles(limits)
    lowest, median = _lowest_unbounded(np.moveaxis(expected, -1, 0)), expected[..., 2]
    real = observed(limits)
    up = [said for step, said in UNBOUNDED.items() if (lowest == step).any()]
    up += ["filled: observed"] if np.isposinf(real).any() else []
    down = ["open: median"] if log and (median == 0).any() else []
    down += ["filled: observed"] if log and (real == 0).any() else []
    notes = [f"Arrow up: unbounded ({', '.join(up)})."] if up else []
    notes += [f"Arrow down: zero ({', '.join(down)})."] if down else []
    return " ".join(notes)


def joined(x: FloatArray, bar: tuple[FloatArray, FloatArray], *values: FloatArray) -> tuple[FloatArray, ...]:
    """Return x and `values` as lines with gaps where any of them is not finite, a lone node as a bar.

    Parameters
    ----------
    x : ndarray of float, shape (node,)
        Ascending.
    bar : tuple of ndarray of float, shape (node,)
        Where the bar of each node begins and ends.
    values : ndarray of float, shape (node,)
        As many as there are lines.
    """
    known = np.asarray(np.isfinite(np.stack(values)).all(axis=0), dtype=np.bool_)
    beside = np.pad(known, 1)
    lone = known & ~beside[:-2] & ~beside[2:]
    rows: list[tuple[float, ...]] = []
    for node, shown in enumerate(known):
        here = tuple(float(line[node]) if shown else np.nan for line in values)
        places = [end[node] for end in bar] if lone[node] else [x[node]]
        rows += [(float(place), *here) for place in places]
    return tuple(np.array(rows, dtype=np.float64).reshape(-1, 1 + len(values)).T)


def _bars(axes: Axes, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    to_page, to_data = axes.transData.transform, axes.transData.inverted().transform
    middle = to_page(np.stack([x, np.full(x.shape, axes.get_ylim()[1])], axis=1))
    half = np.array([0.018 * axes.bbox.width, 0.0])
    return to_data(middle - half)[:, 0], to_data(middle + half)[:, 0]


def _shown(values: FloatArray, log: bool) -> FloatArray:
    """Return `values` with NaN for those that have an arrow."""
    return np.where(np.isfinite(values) & ~(log & (values <= 0)), values, np.nan)


def _lowest_unbounded(expected: FloatArray) -> FloatArray:
    """Return the lowest number of sigma, 0 to 2, at which the limit is unbounded, NaN where there is none.

    Parameters
    ----------
    expected : ndarray of float, shape (5, ...)
        The limits at -2 to 2 sigma.
    """
    lowest = np.full(expected.shape[1:], np.nan)
    for step in (2, 1, 0):
        lowest[np.isposinf(expected[2 + step])] = step
    return lowest


def _point(axes: Axes, x: FloatArray, expected: FloatArray, real: FloatArray, log: bool) -> None:
    """Draw the arrows: one a node for what is expected, by the lowest quantile that needs it, and one observed."""
    lowest, median = _lowest_unbounded(expected.T), expected[:, 2]
    every = [(lowest == step, 0.955, "^", colour, "white") for step, colour in ARROWS.items()]
    every += [(np.isposinf(real), 0.885, "^", "black", "black")]
    if log:
        every += [(median == 0, 0.045, "v", "black", "white"), (real == 0, 0.115, "v", "black", "black")]
    for marked, height, marker, colour, fill in every:
        if marked.any():
            axes.plot(
                x[marked],
                np.full(int(marked.sum()), height),
                linestyle="none",
                marker=marker,
                markersize=5.5,
                color=colour,
                markerfacecolor=fill,
                transform=axes.get_xaxis_transform(),
                zorder=7,
            )
