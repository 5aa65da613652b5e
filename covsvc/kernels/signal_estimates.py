"""Signals at which a larger fitted signal has a given probability, from toys of known numbers of events.

Letters: S = P(shat > t) of toys with n signal and m background events; h = the mean of S over m ~ Pois(b); P = the mean
of h over n ~ Pois(s), a smooth function of s and b whatever the toys are. One set of toys serves every s and b.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from covsvc.kernels.compilation import compiled

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

TIE = 1e-9
"""Fitted signals within TIE (1 + shat) of each other tie: fits end with rounding errors."""

_NEGLIGIBLE = 1e-14
"""Weights that are left out."""

_LOWEST = -1.0
"""Where the table ends below no signal at all."""


class Nodes(NamedTuple):
    """Fitted signals at which probabilities are tabulated; atoms stand twice, without them and with them."""

    edge: FloatArray
    """S is the share of toys above, shape (node,), ascending."""
    is_atom: NDArray[np.bool_]
    """Whether there is just one fitted signal between the node and the next one, shape (node - 1,)."""


def nodes(largest: float, atoms: FloatArray) -> Nodes:
    """Return nodes from 0 to `largest`: `atoms`, the whole numbers, and some between them.

    With no background events in the fit shat is the number of events: whole numbers are atoms in general. Nothing lies
    below 0, which stands once.
    """
    top = math.ceil(largest)
    # below a whole number k the distribution has cusps, at k - m / (r - 1) for the largest density ratio r
    pieces = ((0, 16, 64), (16, 64, 16), (64, top, 4))
    between = np.concatenate([np.arange(start * per, min(end, top) * per) / per for start, end, per in pieces])
    twice = np.concatenate([np.arange(1.0, top + 1.0), atoms[(atoms > 0) & (atoms < top)]])
    twice = _apart(np.sort(twice))
    close = np.abs(between[:, None] - twice).min(1) <= 4.0 * TIE * (1.0 + between)
    at = np.concatenate([between[~close], twice, twice])
    side = np.concatenate([np.ones(np.count_nonzero(~close)), np.full(len(twice), -1.0), np.ones(len(twice))])
    edge = np.sort(at + side * TIE * (1.0 + at))
    is_atom = np.diff(edge) < 3.0 * TIE * (1.0 + edge[:-1])
    return Nodes(edge, is_atom)


def _apart(ascending: FloatArray) -> FloatArray:
    """Return the values that do not tie with the one before them."""
    return ascending[np.diff(ascending, prepend=-1.0) > 4.0 * TIE * (1.0 + ascending)]


def repeated(s: FloatArray, share: float) -> FloatArray:
    """Return the fitted signals that make up at least this share of the toys, ascending."""
    s = np.sort(s)
    starts = np.flatnonzero(np.diff(s, prepend=-1.0) > TIE * (1.0 + s))
    sizes = np.diff(np.append(starts, s.size))
    return s[starts[sizes >= share * s.size]]


@compiled
def fill_shares(s: FloatArray, edge: FloatArray, n_events: int, share: FloatArray, variance: FloatArray) -> None:
    """Fill in, for each edge, the share of toys with shat above, and its variance.

    The variance is never 0 but for edges that no shat of so many events exceeds.
    """
    toys = np.sort(s)
    below = 0
    for k in range(edge.size):
        if edge[k] >= n_events:
            share[k:] = 0.0
            variance[k:] = 0.0
            return
        while below < s.size and toys[below] <= edge[k]:
            below += 1
        above = float(s.size - below)
        p = (above + 0.5) / (s.size + 1.0)
        share[k] = above / s.size
        variance[k] = p * (1.0 - p) / s.size


def poisson_weights(mean: FloatArray, last: int) -> FloatArray:
    """Return the probabilities of the counts 0..last, shape (mean, count); `last` stands for all from there on."""
    k = np.arange(last + 1.0)
    weights = np.exp(special.xlogy(k, mean[:, None]) - mean[:, None] - special.gammaln(k + 1.0))
    weights[:, -1] = special.pdtrc(last - 1.0, mean) if last > 0 else 1.0
    return np.asarray(weights)


@compiled
def fill_mixed(weights: FloatArray, rows: FloatArray, mixed: NDArray[np.float32]) -> None:
    """Fill `mixed`, shape (mean, node), with sums over the counts of weights (mean, count) times rows (count, node)."""
    total = np.empty(rows.shape[1])
    for i in range(weights.shape[0]):
        total[:] = 0.0
        for k in range(weights.shape[1]):
            weight = weights[i, k]
            if weight > _NEGLIGIBLE:
                for node in range(total.size):
                    total[node] += weight * rows[k, node]
        mixed[i] = total


@compiled
def _fill_weights(mean: float, weights: FloatArray) -> None:
    """Fill in the probabilities of a Poisson count; the last stands for all from there on."""
    rest = 1.0
    term = math.exp(-mean)
    for k in range(weights.size - 1):
        weights[k] = term
        rest -= term
        term *= mean / (k + 1.0)
    weights[weights.size - 1] = max(rest, 0.0)


@compiled
def _crossing(h: NDArray[np.float32], cl: float, low: float, high: float, weights: FloatArray) -> float:
    """Return the s in [low, high], P(low) <= cl < P(high), with P(s) = cl (Newton, kept in the bracket)."""
    last = h.size - 1
    s = 0.5 * (low + high)
    for _ in range(100):
        _fill_weights(s, weights)
        excess = weights[last] * h[last] - cl
        slope = 0.0
        for n in range(last):
            excess += weights[n] * h[n]
            slope += weights[n] * (h[n + 1] - h[n])
        if excess <= 0.0:
            low = s
        else:
            high = s
        new = s - excess / slope if slope > 0.0 else low
        if not low < new < high:
            new = 0.5 * (low + high)
        if abs(new - s) <= 1e-12 * (1.0 + s):
            return new
        s = new
    return s


@compiled
def last_crossings(
    h: NDArray[np.float32], variance: NDArray[np.float32], top: float, cl: float
) -> tuple[FloatArray, FloatArray, float]:
    """Return the largest signals at which a larger shat has probability cl or less.

    Parameters
    ----------
    h, variance : ndarray of float, shape (node, count)
        P(shat > edge) given the number of signal events, at one background, and its variance; falls with the node.
    top : float
        Largest signal that is looked at.
    cl : float
        Confidence level.

    Returns
    -------
    signal : ndarray of float, shape (node,)
        Expected signal events; +inf above `top`, negative (by continuation) where P > cl without any signal.
    error : ndarray of float, shape (node,)
        Its standard error.
    coverage_error : float
        Largest standard error of P at these signals.
    """
    n_nodes, n_counts = h.shape
    signal = np.full(n_nodes, math.inf)
    error = np.full(n_nodes, math.inf)
    coverage_error = 0.0
    steps = math.ceil(4.0 * top)
    weights = np.empty(n_counts)
    grid = np.empty((steps + 1, n_counts), np.float32)
    for i in range(steps + 1):
        _fill_weights(top * i / steps, weights)
        grid[i] = weights
    i = steps
    for node in range(n_nodes - 1, -1, -1):
        # P falls with the node at every s: the scan goes on where it ended
        while i >= 0 and np.dot(grid[i], h[node]) > cl:
            i -= 1
        if i == steps:
            continue
        if i >= 0:
            s = _crossing(h[node], cl, top * i / steps, top * (i + 1) / steps, weights)
        else:
            slope = h[node, 1] - h[node, 0]
            s = max((cl - h[node, 0]) / slope, _LOWEST) if slope > 0.0 else _LOWEST
        _fill_weights(max(s, 0.0), weights)
        slope = 0.0
        scatter = 0.0
        for n in range(n_counts):
            scatter += weights[n] * weights[n] * variance[node, n]
            if n + 1 < n_counts:
                slope += weights[n] * (h[node, n + 1] - h[node, n])
        scatter = math.sqrt(scatter)
        signal[node] = s
        error[node] = scatter / slope if slope > 0.0 else math.inf
        coverage_error = max(coverage_error, scatter)
    return signal, error, coverage_error


@compiled
def signals_at(
    s: FloatArray,
    b: FloatArray,
    edge: FloatArray,
    is_atom: NDArray[np.bool_],
    step: float,
    signal: FloatArray,
    error: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return the tabulated signals at fitted signals and backgrounds, and their standard errors.

    Between nodes it is linear in s and a cubic in sqrt(b), of which signals are even functions.

    Parameters
    ----------
    s, b : ndarray of float, shape (toy,)
        Fitted signal and background events.
    edge, is_atom : ndarray, shape (node,) and (node - 1,)
        Nodes in s, as `Nodes` has them.
    step : float
        The nodes in sqrt(b) are 0, step, 2 step ...
    signal, error : ndarray of float, shape (background, node)
        From `last_crossings`.

    Returns
    -------
    signal, error : ndarray of float, shape (toy,)
        Expected signal events; +inf outside of the table, NaN where s or b is.
    """
    found = np.full(s.size, math.nan)
    errors = np.full(s.size, math.nan)
    most = signal.shape[0] - 3
    for i in range(s.size):
        if not (s[i] >= 0.0 and b[i] >= 0.0):
            continue
        at = math.sqrt(b[i]) / step
        if s[i] > edge[edge.size - 1] or at > most:
            found[i] = math.inf
            errors[i] = math.inf
            continue
        row = min(int(at), most - 1)
        x = at - row
        below = row - 1 if row > 0 else 1
        node = max(np.searchsorted(edge, s[i]) - 1, 0)
        y = max((s[i] - edge[node]) / (edge[node + 1] - edge[node]), 0.0)
        if is_atom[node]:
            y = 1.0
        value = 0.0
        scatter = 0.0
        for side in range(2):
            share = y if side else 1.0 - y
            if share > 0.0:
                k = node + side
                value += share * (
                    -x * (x - 1.0) * (x - 2.0) / 6.0 * signal[below, k]
                    + (x + 1.0) * (x - 1.0) * (x - 2.0) / 2.0 * signal[row, k]
                    - (x + 1.0) * x * (x - 2.0) / 2.0 * signal[row + 1, k]
                    + (x + 1.0) * x * (x - 1.0) / 6.0 * signal[row + 2, k]
                )
                scatter += share * ((1.0 - x) * error[row, k] + x * error[row + 1, k])
        # beyond the table infinities of either sign meet
        found[i] = value if abs(value) < math.inf else math.inf
        errors[i] = scatter if abs(value) < math.inf else math.inf
    return found, errors
