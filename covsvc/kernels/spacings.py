"""Sorted events of Poisson processes, and cumulative distributions that are linear between edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covsvc.kernels.compilation import compiled

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_TINY = 1e-300  # expected events, below which their reciprocal overflows


def draw_events(
    edges: ArrayLike, expected: ArrayLike, size: int, rng: np.random.Generator, room: int | None = None
) -> tuple[IntArray, FloatArray]:
    """Draw the events of a Poisson process whose density is constant between edges, in ascending order.

    Expected events between successive events have an exponential distribution, which gives their number and their
    places at once, and sorted.

    Parameters
    ----------
    edges : array_like of float, shape (piece + 1,)
        Ascending.
    expected : array_like of float, shape (piece,)
        Expected events of each piece.
    size : int
        Toys.
    rng : numpy.random.Generator
    room : int, optional
        Events that memory is taken for; should there be more, they are drawn again.

    Returns
    -------
    n : ndarray of int, shape (toy,)
        Events of each toy.
    u : ndarray of float, shape (event,)
        Where they are, toy after toy.
    """
    known = np.asarray(expected, np.float64)
    if room is None:
        total = size * float(known.sum())
        room = int(total + 6.0 * np.sqrt(total)) + 16
    n, u = np.empty(size, np.int64), np.empty(room)
    before = rng.bit_generator.state
    drawn = _draw(np.asarray(edges, np.float64), known, n, u, rng)
    if drawn > room:
        rng.bit_generator.state = before
        return draw_events(edges, known, size, rng, drawn)
    return n, u[:drawn]


def shares(weights: ArrayLike) -> FloatArray:
    """Return the cumulative distribution at the edges of pieces whose probabilities are as `weights`."""
    up_to = np.concatenate([np.zeros(1), np.cumsum(np.asarray(weights, np.float64))])
    return up_to / up_to[-1]


@compiled
def cumulative(u: FloatArray, edges: FloatArray, shares: FloatArray) -> FloatArray:
    """Return the cumulative distribution at `u`: `shares` at the edges and linear between them, 0 before and 1 after.

    It never falls where u rises, not by a rounding error either. The u of a toy ascend, which makes it fast.
    """
    v = np.empty(len(u))
    j = 0
    for i in range(len(u)):
        if u[i] < edges[j]:
            j = 0
        while j < len(edges) - 1 and u[i] >= edges[j + 1]:
            j += 1
        v[i] = shares[j]
        if edges[j] < u[i] and j < len(edges) - 1:
            rise = (u[i] - edges[j]) / (edges[j + 1] - edges[j]) * (shares[j + 1] - shares[j])
            v[i] = min(shares[j] + rise, shares[j + 1])
    return v


@compiled
def _draw(edges: FloatArray, expected: FloatArray, n: IntArray, u: FloatArray, rng: np.random.Generator) -> int:
    """Fill in n and u; return how many events there are, and leave out of u those that it has no room for."""
    ends = np.cumsum(expected)
    drawn = 0
    for toy in range(len(n)):
        begun, start = drawn, 0.0
        reached = rng.standard_exponential()
        for j in range(len(expected)):
            end, low, high = ends[j], edges[j], edges[j + 1]
            length = (high - low) / max(expected[j], _TINY)
            while reached < end:
                if drawn < len(u):
                    u[drawn] = min(low + (reached - start) * length, high)
                drawn += 1
                reached += rng.standard_exponential()
            start = end
        n[toy] = drawn - begun
    return drawn
