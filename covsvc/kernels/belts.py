"""Two-sided belts of a Poisson count: Feldman-Cousins and Crow-Gardner, exact and without a grid.

Letters: nu = s + b; R_k = pmf(k; nu) / pmf(k; max(k, b)) orders the counts (Feldman and Cousins); alpha = 1 - cl; a run
n+1..K has probability >= cl on one interval of nu, from its rising to its falling root.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from covsvc.kernels.compilation import compiled
from covsvc.kernels.poisson import deviance, outside, pmf

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@compiled
def _root(lo: int, hi: int, alpha: float, left: float, right: float, rising: bool) -> float:
    """Return the nu in [left, right] where the run lo..hi has probability 1 - alpha (Newton, kept in the bracket)."""
    nu = 0.5 * (left + right)
    for _ in range(200):
        excess = outside(lo, hi, nu) - alpha
        if (excess > 0.0) == rising:
            left = nu
        else:
            right = nu
        slope = pmf(hi, nu) - (pmf(lo - 1, nu) if lo > 0 else 0.0)
        new = nu - excess / slope if slope != 0.0 else left
        if not left < new < right:
            new = 0.5 * (left + right)
        if abs(new - nu) <= 4e-16 * nu or new in (left, right):
            return new
        nu = new
    return nu


@compiled
def _peak(lo: int, hi: int) -> float:
    """Return the nu at which the run lo..hi is most probable: (hi!/(lo-1)!)^(1/(hi-lo+1))."""
    if lo == 0:
        return 0.0
    return math.exp((math.lgamma(hi + 1.0) - math.lgamma(float(lo))) / (hi - lo + 1))


@compiled
def rising_root(lo: int, hi: int, alpha: float) -> float:
    """Return the smallest nu at which the run lo..hi has probability >= 1 - alpha, NaN if it never has."""
    if lo == 0:
        return 0.0
    peak = _peak(lo, hi)
    if hi < lo or outside(lo, hi, peak) > alpha:
        return math.nan
    return _root(lo, hi, alpha, max(lo - 2.0, 0.0), peak, True)


@compiled
def falling_root(lo: int, hi: int, alpha: float) -> float:
    """Return the largest nu at which the run lo..hi has probability >= 1 - alpha, NaN if it never has."""
    peak = _peak(lo, hi)
    if hi < lo or outside(lo, hi, peak) > alpha:
        return math.nan
    return _root(lo, hi, alpha, peak, hi + 2.0, False)


@compiled
def _break(k: int, n: int, b: float) -> float:
    """Return the nu at which R_k = R_n.

    It rises with k; for k > n, R_k > R_n above it; for k < n, below it. All k, n <= b tie at nu = b.
    """
    least = min(k, n)
    most = max(k, n)
    if most <= b:
        return b
    if least <= b and b > 0.0:
        return b * math.exp(deviance(float(most), b) / (most - least))
    if least == 0:
        return most * math.exp(-1.0)
    # from the smaller of the two, whichever was observed: the ends that two counts share have the same bits
    d = (most - least) / least
    return least * math.exp((1.0 + 1.0 / d) * math.log1p(d) - 1.0)


@compiled
def _highest(n: int, b: float, alpha: float) -> float:
    """Return a nu from which on n is never accepted, by Chernoff's bound: both tails are then below R_n <= alpha/2."""
    log = math.log(2.0 / alpha)
    return max(float(n), b) + log + math.sqrt(log * log + 2.0 * max(float(n), b) * log)


@compiled
def _last_above(n: int, b: float, nu: float) -> int:
    """Return the largest K >= n with R_K > R_n at nu; n if there is none."""
    low = n
    high = n + 1
    while _break(high, n, b) < nu:
        low = high
        high = n + 2 * (high - n)
    while high - low > 1:
        middle = (low + high) // 2
        if _break(middle, n, b) < nu:
            low = middle
        else:
            high = middle
    return low


@compiled
def _feldman_cousins_upper(n: int, b: float, alpha: float) -> float:
    """Return the largest nu whose acceptance region holds n, NaN if there is none."""
    top = _highest(n, b, alpha)
    K = _last_above(n, b, top)
    right = top
    while n < K and right > b:
        # on (left, right] just the counts n+1..K precede n in the order
        left = max(_break(K, n, b), b)
        if outside(n + 1, K, right) > alpha:
            return right
        if outside(n + 1, K, left) > alpha:
            return _root(n + 1, K, alpha, left, right, True)
        right = left
        K -= 1
    return _break(n + 1, n, b) if n + 1 > b else math.nan


@compiled
def _feldman_cousins_lower(n: int, b: float, alpha: float) -> float:
    """Return the smallest nu >= b whose acceptance region holds n, NaN if there is none."""
    if n <= b < n + 1:
        return b
    if n < b:
        # at s = 0 all k <= b tie; s -> 0+ puts the larger first
        K = int(b)
        left = b
        top = _highest(n, b, alpha)
        while left < top:
            right = _break(K + 1, n, b)
            if outside(n + 1, K, left) > alpha:
                return left
            if outside(n + 1, K, right) > alpha:
                return _root(n + 1, K, alpha, left, right, False)
            left = right
            K += 1
        return math.nan
    bottom = max(b, n - math.sqrt(2.0 * n * math.log(2.0 / alpha)))
    low = -1
    high = n - 1
    while high - low > 1:
        middle = (low + high) // 2
        if _break(middle, n, b) > bottom:
            high = middle
        else:
            low = middle
    left = bottom
    for K in range(high, n):
        right = _break(K, n, b)
        if right <= left:
            continue
        # on [left, right) just the counts K..n-1 precede n in the order
        if outside(K, n - 1, left) > alpha:
            return left
        if outside(K, n - 1, right) > alpha:
            return _root(K, n - 1, alpha, left, right, False)
        left = right
    return left


@compiled
def feldman_cousins(n: IntArray, b: FloatArray, alpha: float) -> tuple[FloatArray, FloatArray]:
    """Return the outermost signals of the confidence sets of Feldman and Cousins.

    Parameters
    ----------
    n : ndarray of int, shape (toy,)
        Observed events.
    b : ndarray of float, shape (toy,)
        Expected background events.
    alpha : float
        1 - cl.

    Returns
    -------
    lower, upper : ndarray of float, shape (toy,)
        Expected signal events; -1 where the set is empty.

    References
    ----------
    .. [1] G. J. Feldman and R. D. Cousins, Phys. Rev. D 57 (1998) 3873, Section IV.B.
    """
    lower = np.empty(n.size)
    upper = np.empty(n.size)
    for i in range(n.size):
        end = _feldman_cousins_upper(n[i], b[i], alpha)
        if math.isnan(end):
            lower[i] = -1.0
            upper[i] = -1.0
        else:
            upper[i] = end - b[i]
            lower[i] = _feldman_cousins_lower(n[i], b[i], alpha) - b[i]
    return lower, upper


@compiled
def _jump(n: int, K: int, fall: float) -> float:
    """Return the background b' > n at which R_{K+1} = R_n at nu = fall; NaN if there is none."""
    k = K + 1.0
    target = (k - n) * math.log(fall) - k * math.log(k) + k  # = b' - n ln b'
    if n == 0:
        return target
    if target <= n - n * math.log(float(n)):
        return math.nan
    background = max(2.0 * n, 2.0 * target)  # b' - n ln b' is convex: Newton from the right is monotone
    while background - n * math.log(background) < target:
        background *= 2.0
    for _ in range(200):
        step = (background - n * math.log(background) - target) / (1.0 - n / background)
        background -= step
        if abs(step) <= 1e-15 * background:
            break
    return background


@compiled
def monotone_upper(n: IntArray, b: FloatArray, alpha: float, upper: FloatArray) -> FloatArray:
    """Return the supremum of the Feldman-Cousins upper ends of n over all backgrounds b' >= b.

    Between its jumps the upper end falls with b'. It jumps up only where a run n+1..K loses its hold on nu: where
    R_{K+1} = R_n at the falling root of the run, so that nu just above is accepted again.

    Parameters
    ----------
    n : ndarray of int, shape (toy,)
        Observed events.
    b : ndarray of float, shape (toy,)
        Expected background events.
    alpha : float
        1 - cl.
    upper : ndarray of float, shape (toy,)
        Upper ends at b, expected signal events; -1 where the set is empty.
    """
    highest = upper.copy()
    for i in range(n.size):
        beyond = 0
        K = n[i] + 1
        while beyond < 40:
            fall = falling_root(n[i] + 1, K, alpha)
            background = _jump(n[i], K, fall) if fall > 0.0 else math.nan
            if b[i] <= background < K + 1:
                if fall - background > highest[i]:
                    highest[i] = fall - background
                    beyond = 0
                else:
                    beyond += 1
            elif math.isnan(background) is False and background >= K + 1:
                beyond += 1
            K += 1
    return highest


@compiled
def _highest_start(length: int, below: int, alpha: float) -> int:
    """Return the largest start a <= below for which a run of this length ever has probability >= 1 - alpha."""
    low = 0  # the run from 0 has probability 1 at nu = 0
    high = below + 1
    while high - low > 1:
        middle = (low + high) // 2
        if outside(middle, middle + length - 1, _peak(middle, middle + length - 1)) <= alpha:
            low = middle
        else:
            high = middle
    return low


@compiled
def _crow_gardner_highest(n: int, length: int, alpha: float, floor: float) -> float:
    """Return the largest nu > floor whose shortest run has this length and starts at n or below, else `floor`."""
    a = _highest_start(length, n, alpha)
    shorter = _highest_start(length - 1, n, alpha) if length > 1 else -1
    nu = rising_root(n + 1, n + length, alpha)
    if math.isnan(nu):
        nu = math.inf
    while nu > floor:
        # the runs of this length: those which start above a begin to hold at nu or later
        while a >= 0 and rising_root(a, a + length - 1, alpha) >= nu > 0.0:
            a -= 1
        if a < 0:
            return floor
        nu = min(nu, falling_root(a, a + length - 1, alpha))
        while shorter >= 0 and rising_root(shorter, shorter + length - 2, alpha) >= nu:
            shorter -= 1
        if shorter < 0 or falling_root(shorter, shorter + length - 2, alpha) < nu:
            return max(nu, floor)
        nu = rising_root(shorter, shorter + length - 2, alpha)
    return floor


@compiled
def _crow_gardner_upper(n: int, alpha: float) -> float:
    """Return the largest nu whose acceptance run holds n."""
    first = 1
    while outside(n, n + first - 1, _peak(n, n + first - 1)) > alpha:
        first += 1
    best = 0.0
    for length in range(first - 1, 0, -1):
        a = _highest_start(length, n, alpha)
        if a + length - 1 < n or falling_root(a, a + length - 1, alpha) <= best:
            break
        best = _crow_gardner_highest(n, length, alpha, best)
    # ends: the root falls with the length towards the one-sided limit, which the belt's end exceeds
    length = first
    while not rising_root(n + 1, n + length, alpha) <= best:
        best = _crow_gardner_highest(n, length, alpha, best)
        length += 1
    return best


@compiled
def _first_holding(length: int, below: int, nu: float, alpha: float) -> int:
    """Return the smallest start <= below of a run of this length that does not cease to hold at nu or before."""
    low = -1
    high = below
    while high - low > 1:
        middle = (low + high) // 2
        if falling_root(middle, middle + length - 1, alpha) <= nu:
            low = middle
        else:
            high = middle
    return high


@compiled
def _crow_gardner_lowest(n: int, length: int, alpha: float, ceiling: float) -> float:
    """Return the smallest nu < ceiling whose shortest run has this length and ends at n or above, else `ceiling`."""
    a = max(n - length + 1, 0)
    nu = rising_root(a, a + length - 1, alpha)
    shorter = _first_holding(length - 1, a, nu, alpha) if length > 1 else 0
    while nu < ceiling:
        if length > 1:
            while falling_root(shorter, shorter + length - 2, alpha) <= nu:
                shorter += 1
            if rising_root(shorter, shorter + length - 2, alpha) <= nu:
                nu = falling_root(shorter, shorter + length - 2, alpha)
                continue
        while falling_root(a, a + length - 1, alpha) <= nu:
            a += 1
        start = rising_root(a, a + length - 1, alpha)
        if start <= nu:
            return nu
        if math.isnan(start):
            return ceiling
        nu = start
    return ceiling


@compiled
def _crow_gardner_lower(n: int, alpha: float) -> float:
    """Return the smallest nu whose acceptance run holds n."""
    if n == 0:
        return 0.0
    length = 1
    while outside(max(n - length + 1, 0), n, _peak(max(n - length + 1, 0), n)) > alpha:
        length += 1
    best = math.inf
    idle = 0
    while idle < 3 and length <= n + 1:
        lowest = _crow_gardner_lowest(n, length, alpha, best)
        idle = 0 if lowest < best or math.isinf(best) else idle + 1
        best = min(best, lowest)
        length += 1
    return best


@compiled
def crow_gardner(n: IntArray, alpha: float) -> tuple[FloatArray, FloatArray]:
    """Return the outermost expectations whose shortest acceptance run holds n.

    The acceptance run at nu is the shortest n1..n2 with probability >= 1 - alpha; of equal lengths the one with the
    largest n1, which reproduces the table of 1959.

    Parameters
    ----------
    n : ndarray of int, shape (toy,)
        Observed events.
    alpha : float
        1 - cl.

    Returns
    -------
    lower, upper : ndarray of float, shape (toy,)
        Expected events, signal and background together.

    References
    ----------
    .. [1] E. L. Crow and R. S. Gardner, Biometrika 46 (1959) 441.
    """
    lower = np.empty(n.size)
    upper = np.empty(n.size)
    for i in range(n.size):
        lower[i] = _crow_gardner_lower(n[i], alpha)
        upper[i] = _crow_gardner_upper(n[i], alpha)
    return lower, upper
