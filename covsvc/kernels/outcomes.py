"""Exact sums over an enumerated sample space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covsvc.kernels.compilation import compiled

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

OK, EMPTY, UNBOUNDED, FAILED = 0, 1, 2, 3
"""The status of a limit, as the contracts number them."""


@compiled
def sum_outcomes(
    chances: FloatArray,
    others: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    status: NDArray[np.int8],
    order: IntArray,
    first: int,
    s_true: float,
) -> FloatArray:
    """Sum over the outcomes of one cell what every column's limits say.

    Parameters
    ----------
    chances : ndarray of float, shape (count,)
        Probabilities of the values first, first + 1, ... of the first count.
    others : ndarray of float, shape (rest,)
        Probabilities of all combinations of the other counts; [1] where there are none.
    lower, upper, status : ndarray, shape (column, table)
        Limits on each outcome of the table, expected signal events; the other counts run fastest.
    order : ndarray of int, shape (column, table)
        Sorts the upper ends, empty ones as 0, unbounded and failed ones as +inf.
    first : int
        Which value of the first count in the table is the first of the cell.
    s_true : float
        True signal, expected events.

    Returns
    -------
    ndarray of float, shape (column, 7)
        Probability that the interval covers; that its upper end does; median and mean upper end; probabilities of
        empty, unbounded and failed limits.
    """
    n_columns, n_table = upper.shape
    width = others.size
    start, stop = first * width, (first + chances.size) * width
    learnt = np.empty((n_columns, 7))
    for c in range(n_columns):
        covered = upper_covered = mean = empty = unbounded = failed = 0.0
        for i in range(start, stop):
            p = chances[i // width - first] * others[i % width]
            state = status[c, i]
            if state == OK:
                mean += p * upper[c, i]
                if upper[c, i] >= s_true:
                    upper_covered += p
                    if lower[c, i] <= s_true:
                        covered += p
            elif state == EMPTY:
                empty += p
            elif state == UNBOUNDED:
                unbounded += p
                upper_covered += p
                if lower[c, i] <= s_true:
                    covered += p
            else:
                failed += p
        median = np.nan
        below = 0.0
        for j in range(n_table):
            i = order[c, j]
            if start <= i < stop:
                below += chances[i // width - first] * others[i % width]
                if below >= 0.5:
                    median = 0.0 if status[c, i] == EMPTY else (upper[c, i] if status[c, i] == OK else np.inf)
                    break
        learnt[c, 0] = min(covered, 1.0)  # rounding may exceed it
        learnt[c, 1] = min(upper_covered, 1.0)
        learnt[c, 2] = median
        learnt[c, 3] = mean if unbounded == 0.0 and failed == 0.0 else np.nan
        learnt[c, 4] = empty
        learnt[c, 5] = unbounded
        learnt[c, 6] = failed
    return learnt


@compiled
def quantiles(
    chances: FloatArray, others: FloatArray, upper: FloatArray, order: IntArray, first: int, levels: FloatArray
) -> FloatArray:
    """Return the smallest upper ends u with P(upper <= u) >= each of the ascending levels.

    Parameters
    ----------
    chances, others, first
        As `sum_outcomes` takes them.
    upper, order : ndarray, shape (table,)
        Upper ends of one column, empty ones as 0, unbounded and failed ones as +inf, and what sorts them.
    levels : ndarray of float, shape (level,)
        Probabilities.
    """
    width = others.size
    start, stop = first * width, (first + chances.size) * width
    found = np.full(levels.size, np.inf)
    below = 0.0
    at = 0
    for i in order:
        if start <= i < stop:
            below += chances[i // width - first] * others[i % width]
            while at < levels.size and below >= levels[at]:
                found[at] = upper[i]
                at += 1
    return found


@compiled
def sawtooth(
    first: IntArray,
    offset: IntArray,
    chances: FloatArray,
    weight: FloatArray,
    place: IntArray,
    count: IntArray,
    change: FloatArray,
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Follow coverage over some jumps in ascending order.

    Parameters
    ----------
    first, offset : ndarray of int, shape (jump,) and (jump + 1,)
        At each jump the first count takes the values first, first + 1, ... (from the table's first on) with the
        probabilities chances[offset[i]:offset[i + 1]].
    weight : ndarray of float, shape (count,)
        Probability that the other counts make an interval which covers below the first jump; is changed.
    place, count : ndarray of int, shape (change,)
        At which jump which value of the first count changes its weight; the changes of a jump that add come first.
    change : ndarray of float, shape (change,)
        By how much.

    Returns
    -------
    below, above : ndarray of float, shape (jump,)
        Coverage on both sides of each jump.
    humped : ndarray of bool, shape (jump,)
        Whether, from the jump on, the weights rise to a maximum and then fall: coverage is smallest at an end there.
    """
    n = first.size
    below = np.empty(n)
    above = np.empty(n)
    humped = np.empty(n, np.bool_)
    at = 0
    for i in range(n):
        for side in range(2):
            total = 0.0
            for k in range(offset[i], offset[i + 1]):
                total += chances[k] * weight[first[i] + k - offset[i]]
            if side == 0:
                below[i] = total
                while at < place.size and place[at] == i:
                    weight[count[at]] += change[at]
                    at += 1
            else:
                above[i] = total
        falling = False
        humped[i] = True
        for k in range(1, weight.size):
            step = weight[k] - weight[k - 1]
            if step < -1e-13:
                falling = True
            elif step > 1e-13 and falling:
                humped[i] = False
    return below, above, humped
