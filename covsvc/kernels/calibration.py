"""Toys without background from which the tables of the interval methods are made.

Toys are drawn at a given number of events N and mixed exactly over the Poisson distribution of N afterwards, so that
one set of them serves every mu.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from covsvc.kernels.compilation import compiled
from covsvc.kernels.gaps import max_gap_cdf_scalar
from covsvc.kernels.intervals import largest_of_toy
from covsvc.kernels.scan import interval_cdf, interval_cdfs

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BLOCK = 256
"""Toys that are looked at together: what is known of them stays in the processor's cache."""

UPPER_NODES = 257
"""Values of f from 1/3 to 1 at which C_k is evaluated, 1/2 is one of them; between them it is interpolated."""

LOWER_NODES = 32
"""Values of f below 1/3 at which C_k is evaluated."""


@compiled
def draw_toys(rng: np.random.Generator, events: int, largest: FloatArray) -> None:
    """Fill each row of `largest`, shape (toy, column), with f_0, f_1, ... of a toy of so many events."""
    position = np.empty(events + 4)
    position[events] = 1.0
    position[events + 1 :] = -1.0
    inside = min(events, largest.shape[1])
    for toy in range(largest.shape[0]):
        total = 0.0
        for event in range(events):
            total += rng.standard_exponential()
            position[event] = total
        total += rng.standard_exponential()
        for event in range(events):
            position[event] /= total
        largest_of_toy(position, events, largest[toy, :inside])
        largest[toy, inside:] = 1.0


@compiled
def _any_above(largest: FloatArray, thresholds: FloatArray, columns: int) -> bool:
    above = 0
    for k in range(columns):
        above += largest[k] > thresholds[k]
    return above > 0


@compiled
def tally_excesses(
    rng: np.random.Generator,
    events: int,
    first: int,
    blocks: int,
    thresholds: FloatArray,
    columns: IntArray,
    last: IntArray,
    lower: IntArray,
    centre: IntArray,
    controls: IntArray,
    counts: IntArray,
    sums: IntArray,
    products: IntArray,
) -> None:
    """Draw blocks of toys and count how far each exceeds the thresholds of each entry.

    An entry is a statistic at a mu: the largest of c_k(f_k) over k. It exceeds the value c_j iff some f_k >
    thresholds[entry, j, k].

    Parameters
    ----------
    rng : Generator
    events : int
    first, blocks : int
        Number of the first block, and of blocks.
    thresholds : ndarray of float, shape (entry, value, column)
        Values ascend; 1 where k never exceeds.
    columns : ndarray of int, shape (entry,)
        Columns of an entry that matter.
    last : ndarray of int, shape (entry,)
        An entry looks at the blocks below this.
    lower : ndarray of int, shape (entry,)
        An entry before this one which every toy exceeds at its lowest value that exceeds this one at any; else itself.
    centre : ndarray of int, shape (entry,)
        The value at which controls are counted.
    controls : ndarray of int, shape (entry, control)
        Columns k whose f_k > threshold is counted by itself; -1: none.
    counts : ndarray of int, shape (entry, value + 1)
        Filled: toys by the number of values that they exceed.
    sums, products : ndarray of int, shape (entry, control), (entry, control, control)
        Filled: toys that exceed by one control, and by two.
    """
    entries, values, most = thresholds.shape
    largest = np.empty((BLOCK, most))
    exceeded = np.zeros((entries, BLOCK), np.bool_)
    hit = np.empty(controls.shape[1], np.bool_)
    for block in range(first, first + blocks):
        draw_toys(rng, events, largest)
        for entry in range(entries):
            if block >= last[entry]:
                continue
            parent = lower[entry]
            for toy in range(BLOCK):
                row = largest[toy]
                if parent != entry and not exceeded[parent, toy]:
                    counts[entry, 0] += 1
                    exceeded[entry, toy] = False
                    continue
                above = _any_above(row, thresholds[entry, 0], columns[entry])
                exceeded[entry, toy] = above
                if not above:
                    counts[entry, 0] += 1
                    continue
                low, high = 1, values
                while low < high:
                    middle = (low + high) // 2
                    if _any_above(row, thresholds[entry, middle], columns[entry]):
                        low = middle + 1
                    else:
                        high = middle
                counts[entry, low] += 1
                if low > centre[entry]:
                    for control in range(len(hit)):
                        k = controls[entry, control]
                        hit[control] = k >= 0 and row[k] > thresholds[entry, centre[entry], k]
                    for control in range(len(hit)):
                        if hit[control]:
                            sums[entry, control] += 1
                            for other in range(control + 1):
                                products[entry, control, other] += hit[other]


@compiled
def _upper_table(mu: float, columns: int, smallest: float, largest: float) -> FloatArray:
    """Return ln(1 - C_k(mu f, mu)) at the nodes of f from 1/3 to 1, shape (node, column).

    0 where C_k lies far below `smallest`; where C_k(mu/3, mu) > `largest`, nodes below 1/2 are NaN: nobody asks for
    them.
    """
    table = np.zeros((UPPER_NODES, columns))
    half = UPPER_NODES // 4
    for node in range(half, UPPER_NODES):
        table[node] = np.log1p(-interval_cdfs(columns - 1, _upper_node(node) * mu, mu))
    for k in range(1, columns):
        if table[half, k] >= math.log1p(-smallest):
            continue
        table[:half, k] = np.nan
        if interval_cdf(k, mu / 3.0, mu) <= largest:
            node, beyond = half, 0
            while node > 0 and beyond < 4:
                node -= 1
                c = interval_cdf(k, _upper_node(node) * mu, mu)
                table[node, k] = math.log1p(-c)
                beyond += c <= smallest
            table[:node, k] = 0.0
    return table


@compiled
def _upper_node(node: int) -> float:
    return (1.0 + 2.0 * node / (UPPER_NODES - 1)) / 3.0


@compiled
def lower_curves(mu: float, columns: int, smallest: float, largest: float) -> tuple[FloatArray, FloatArray]:
    """Return where C_k(mu f, mu) runs from `smallest` to `largest` below f = 1/3, for each k.

    Returns
    -------
    ends : ndarray of float, shape (column, 2)
        Lowest and highest f; NaN where C_k at 1/3 is not above `smallest`.
    logarithms : ndarray of float, shape (column, node)
        ln(1 - C_k) at equal steps of f between them.
    """
    ends = np.full((columns, 2), np.nan)
    logarithms = np.zeros((columns, LOWER_NODES))
    for k in range(1, columns):
        # a little beyond 1/3, so that nodes of neighbouring mu overlap
        top = 0.36
        at_top = interval_cdf(k, top * mu, mu)
        if at_top <= smallest:
            break
        low = _near(k, mu, smallest, 0.0, top)
        high = top if at_top <= largest else _near(k, mu, largest, low, top)
        ends[k, 0], ends[k, 1] = low, high
        for node in range(LOWER_NODES):
            f = low + (high - low) * node / (LOWER_NODES - 1)
            logarithms[k, node] = math.log1p(-interval_cdf(k, f * mu, mu))
    return ends, logarithms


@compiled
def _near(k: int, mu: float, c: float, low: float, high: float) -> float:
    """Return an f between low and high where C_k(mu f, mu) is about c."""
    for _ in range(40):
        middle = 0.5 * (low + high)
        value = interval_cdf(k, middle * mu, mu)
        # 2 % of 1 - C is near enough
        if abs(value - c) < 0.02 * (1.0 - c) or high - low < 1e-6:
            return middle
        if value < c:
            low = middle
        else:
            high = middle
    return middle


@compiled
def _inverse(low: float, high: float, logarithms: FloatArray, at: float) -> float:
    """Return the f at which ln(1 - C), falling at equal steps of f, is `at`: a cubic of it through four nodes."""
    nodes = len(logarithms)
    below, above = 0, nodes - 1
    while above - below > 1:
        middle = (below + above) // 2
        if logarithms[middle] >= at:
            below = middle
        else:
            above = middle
    first = min(max(below - 1, 0), nodes - 4)
    f = 0.0
    for one in range(first, first + 4):
        weight = 1.0
        for other in range(first, first + 4):
            if other != one:
                weight *= (at - logarithms[other]) / (logarithms[one] - logarithms[other])
        f += weight * (low + (high - low) * one / (nodes - 1))
    return f


@compiled
def thresholds_of(
    mu: float,
    values: FloatArray,
    gaps: FloatArray,
    atoms: FloatArray,
    curves_mu: FloatArray,
    ends: FloatArray,
    logarithms: FloatArray,
) -> FloatArray:
    """Return the f_k at which C_k(mu f_k, mu) reaches each value, shape (value, column); 1 where it never does.

    From 1/3 on C_k is evaluated at this mu; below, f_k is a cubic of ln(mu) through the curves of four neighbours.

    Parameters
    ----------
    mu : float
    values : ndarray of float, shape (value,)
        Ascending.
    gaps : ndarray of float, shape (value,)
        The f_0 at which C_0 reaches them.
    atoms : ndarray of float, shape (column,)
        C_k(mu, mu) = P(mu, k + 1): at and below it nothing exceeds.
    curves_mu, ends, logarithms : ndarray of float
        The mu, ascending, of `lower_curves`, and these: shape (curve,), (curve, column, 2), (curve, column, node).
    """
    found = np.ones((len(values), len(atoms)))
    upper = _upper_table(mu, len(atoms), values[0], values[-1])
    first = min(max(int(np.searchsorted(curves_mu, mu)) - 2, 0), len(curves_mu) - 4)
    weights = np.ones(4)
    for one in range(4):
        for other in range(4):
            if other != one:
                weights[one] *= math.log(mu / curves_mu[first + other])
                weights[one] /= math.log(curves_mu[first + one] / curves_mu[first + other])
    for j in range(len(values)):
        at = math.log1p(-values[j])
        for k in range(len(atoms)):
            if atoms[k] <= values[j]:
                break
            if k == 0:
                found[j, k] = gaps[j]
            elif upper[UPPER_NODES // 4, k] >= at or upper[0, k] >= at:
                found[j, k] = min(_inverse(1.0 / 3.0, 1.0, upper[:, k], at), 1.0)
            else:
                f = 0.0
                for one in range(4):
                    curve = first + one
                    f += weights[one] * _inverse(ends[curve, k, 0], ends[curve, k, 1], logarithms[curve, k], at)
                found[j, k] = f
    return found


@compiled
def known_excesses(mu: float, columns: IntArray, thresholds: FloatArray) -> FloatArray:
    """Return 1 - C_k(mu f, mu) for the threshold f of some columns k."""
    known = np.zeros(len(columns))
    for i in range(len(columns)):
        k = columns[i]
        x = thresholds[k] * mu
        known[i] = 1.0 - (max_gap_cdf_scalar(x, mu) if k == 0 else interval_cdf(k, x, mu))
    return known
