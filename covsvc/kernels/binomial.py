"""Binomial tails and intervals: of one count, and of a count that is looked at again and again."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Probability = float | NDArray[np.float64]

_HALVINGS = 60
"""So often is a bracket of a root in [0, 1] halved: to less than what lies between two numbers near 1."""


def chance_of_at_most(x: ArrayLike, n: ArrayLike, p: Probability) -> NDArray[np.float64]:
    """Return P(N <= x; n, p): to its last digits where it is small, too."""
    x, n = np.asarray(x), np.asarray(n)
    return np.where(x < n, special.betaincc(x + 1.0, np.maximum(n - x, 1), p), 1.0)


def chance_of_at_least(x: ArrayLike, n: ArrayLike, p: Probability) -> NDArray[np.float64]:
    """Return P(N >= x; n, p): to its last digits where it is small, too."""
    x, n = np.asarray(x), np.asarray(n)
    return np.where(x > 0, special.betainc(np.maximum(x, 1), np.maximum(n - x, 0) + 1.0, p), 1.0)


def lower_end(x: ArrayLike, n: ArrayLike, tail: float) -> NDArray[np.float64]:
    """Return the p of which P(N >= x; n, p) = `tail`: 0 for x = 0, NaN for n = 0.

    Parameters
    ----------
    x, n : array_like of int
        Successes, of so many trials.
    tail : float

    References
    ----------
    .. [1] C. J. Clopper and E. S. Pearson, Biometrika 26 (1934) 404.
    """
    x, n = np.asarray(x), np.asarray(n)
    ends = np.where(x > 0, special.betaincinv(np.maximum(x, 1), np.maximum(n - x, 0) + 1.0, tail), 0.0)
    return np.where(n > 0, ends, np.nan)


def upper_end(x: ArrayLike, n: ArrayLike, tail: float) -> NDArray[np.float64]:
    """Return the p of which P(N <= x; n, p) = `tail`: 1 for x = n, NaN for n = 0; see `lower_end`."""
    x, n = np.asarray(x), np.asarray(n)
    # of the complement, since 1 - tail would be rounded
    ends = np.where(x < n, special.betainccinv(x + 1.0, np.maximum(n - x, 1), tail), 1.0)
    return np.where(n > 0, ends, np.nan)


def clopper_pearson(x: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the central Clopper-Pearson interval of x successes in n trials, NaN for n = 0."""
    tail = 0.5 * (1.0 - level)
    return lower_end(x, n, tail), upper_end(x, n, tail)


def is_in_sequence(x: ArrayLike, n: ArrayLike, p: Probability, error: float) -> NDArray[np.bool_]:
    """Tell whether p is in a confidence sequence for x successes in n trials.

    With probability 1 - `error` its intervals hold the true p at every n from 1 on: one may look as often as one likes,
    and stop when one likes. They are the p whose likelihood is more than `error` times its mean over Jeffreys' prior:
    ln B(x + 1/2, n - x + 1/2) - ln B(1/2, 1/2) - x ln p - (n - x) ln(1 - p) < ln(1/error).

    References
    ----------
    .. [1] H. Robbins, Ann. Math. Stat. 41 (1970) 1397.
    """
    x, n, p = np.asarray(x, np.float64), np.asarray(n, np.float64), np.asarray(p, np.float64)
    mixture = special.betaln(x + 0.5, n - x + 0.5) - math.log(math.pi)
    return np.asarray(mixture - special.xlogy(x, p) - special.xlog1py(n - x, -p) < -math.log(error))


def sequence_ends(x: ArrayLike, n: ArrayLike, error: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the interval of `is_in_sequence`, NaN for n = 0."""
    x, n = np.broadcast_arrays(np.asarray(x), np.asarray(n))
    best = x / np.maximum(n, 1)
    ends = []
    for limit in (0.0, 1.0):
        inside, outside = best, np.full(best.shape, limit)
        for _ in range(_HALVINGS):
            middle = 0.5 * (inside + outside)
            found = is_in_sequence(x, n, middle, error)
            inside, outside = np.where(found, middle, inside), np.where(found, outside, middle)
        ends.append(np.where(n > 0, np.where(best == limit, limit, outside), np.nan))
    return ends[0], ends[1]
