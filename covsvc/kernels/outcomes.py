"""Exact sums over an enumerated sample space."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

OK, EMPTY, UNBOUNDED, FAILED = 0, 1, 2, 3
"""The status of a limit, as the contracts number them."""


@njit(cache=True)
def sum_outcomes(
    probability: FloatArray,
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
    probability : ndarray of float, shape (outcome,)
        Of the outcomes first..first+len-1 of the table.
    lower, upper, status : ndarray, shape (column, table)
        Limits on each outcome of the table, expected signal events.
    order : ndarray of int, shape (column, table)
        Sorts the upper ends, empty ones as 0, unbounded and failed ones as +inf.
    first : int
        Index in the table of the cell's first outcome.
    s_true : float
        True signal, expected events.

    Returns
    -------
    ndarray of float, shape (column, 7)
        Probability that the interval covers; that its upper end does; median and mean upper end; probabilities of
        empty, unbounded and failed limits.
    """
    n_columns, n_table = upper.shape
    last = first + probability.size
    learnt = np.empty((n_columns, 7))
    for c in range(n_columns):
        covered = upper_covered = mean = empty = unbounded = failed = 0.0
        for i in range(first, last):
            p = probability[i - first]
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
            if first <= i < last:
                below += probability[i - first]
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
