"""Significance of a signal over an estimated background, and the limits that rest on it.

Letters: n events in the signal region, k those that estimate its background mu = zeta (n + k), or zeta k if they are an
independent sample; p(n, k) = F(n-1; mu) rises with the significance, and so with n, and falls with k; n'(n) is the
smallest k with p(n, k) <= p_obs; alpha = 1 - cl.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from covsvc.kernels.compilation import compiled
from covsvc.kernels.mixtures import mean_at_share
from covsvc.kernels.poisson import deviance, pmf, pmf_run, stirling_error, support

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MOST_STEPS = 2_000_000
"""So many values of n are tried for one limit; they take some seconds."""

_NODES = 0.5 * (1.0 + np.polynomial.legendre.leggauss(40)[0])
_WEIGHTS = 0.5 * np.polynomial.legendre.leggauss(40)[1]
_RECIPROCAL = 1.0 / np.arange(1.0, 400.0)


@compiled
def _log_tail(n: int, mu: float) -> float:
    """Return ln P(N >= n) for n > mu, ln P(N < n) else: the one that is not close to 1."""
    if mu == 0.0:
        return -math.inf
    start = n if n > mu else n - 1
    if start < 0:
        return -math.inf
    term = 1.0
    total = 1.0
    k = start
    while term > 1e-18 * total:
        if n > mu:
            k += 1
            term *= mu / k
        else:
            term *= k / mu
            k -= 1
        total += term
    if start == 0:
        return math.log(total) - mu
    x = float(start)
    return math.log(total / math.sqrt(2.0 * math.pi * x)) - stirling_error(x) - deviance(x, mu)


@compiled
def _passed_by(n: int, mu: float, step: float) -> tuple[float, float]:
    """Return the integral of y = (1 + t/mu)^n exp(-t) over 0 < t < step, and y at its end.

    It is the probability of N <= n that is lost from mu to mu + step, over the probability of n at mu.
    """
    total = 0.0
    if step < 0.4 * mu and step < 3.0:
        # the power series of (mu + t) y' = (n - mu - t) y
        before = 0.0
        term = 1.0
        end = 0.0
        ratio = step / mu
        for i in range(_RECIPROCAL.size):
            end += term
            total += term * _RECIPROCAL[i]
            if abs(term) + abs(before) < 1e-17 * total:
                break
            before, term = term, ratio * ((n - mu - i) * term - step * before) * _RECIPROCAL[i]
        return total * step, end
    for i in range(_NODES.size):
        t = step * _NODES[i]
        total += _WEIGHTS[i] * math.exp(n * math.log1p(t / mu) - t)
    return total * step, math.exp(n * math.log1p(step / mu) - step)


@compiled
def _step_up(n: int, mu: float, guess: float) -> float:
    """Return the step > 0 with F(n; mu + step) = F(n-1; mu): by it the probability of n passes by.

    Neither probability is computed: both may be 0 or 1 in a double.
    """
    low = 0.0
    high = math.inf
    step = guess
    for _ in range(200):
        passed, slope = _passed_by(n, mu, step)
        if passed < 1.0:
            low = step
        else:
            high = step
        bend = n / (mu + step) - 1.0
        if passed > 2.0:  # far off, where it grows as a power
            new = step * math.exp(-math.log(passed) * passed / (slope * step)) if passed < math.inf else math.nan
        else:
            ratio = (passed - 1.0) / slope if slope > 0.0 else math.nan
            new = step - ratio / (1.0 - 0.5 * ratio * bend)  # Halley's step: what it leaves is its cube
        if abs(new - step) * max(1.0 / step, abs(bend)) < 1e-5:
            return new
        if not low < new < high:
            new = 0.5 * (low + high) if high < math.inf else 2.0 * step
        if new in (low, high):
            break
        step = new
    return step


@compiled
def _step_down(n: int, mu: float, guess: float) -> float:
    """Return the step > 0 with F(n-2; mu - step) = F(n-1; mu), n >= 2."""
    low = 0.0
    high = mu
    step = guess if guess < mu else 0.5 * mu
    for _ in range(200):
        base = mu - step
        passed = _passed_by(n - 1, base, step)[0]
        if passed < 1.0:
            low = step
        else:
            high = step
        # Newton in the logarithm: the integral may be far above 1
        slope = (1.0 - (1.0 - (n - 1) / base) * passed) / passed
        new = step - math.log(passed) / slope if slope > 0.0 and passed < math.inf else math.nan
        if abs(new - step) * max(1.0 / step, (n - 1) / base) < 1e-8:
            return new
        if not low < new < high:
            new = 0.5 * (low + high)
        if new in (low, high):
            break
        step = new
    return step


@compiled
def _first_guess(n: int, mu: float) -> float:
    """Return the step over which exp(t (n/mu - 1)) adds up to 1."""
    excess = n / mu - 1.0
    return math.log1p(excess) / excess if abs(excess) > 1e-6 else 1.0


@compiled
def _least_outside(mu: float, n: int, zeta: float, whole: bool) -> int:
    """Return the smallest k with mu(n, k) >= mu."""
    k = math.ceil(mu / zeta - n) if whole else math.ceil(mu / zeta)
    return max(int(k), 0)


@compiled
def _thresholds(n: int, k: int, zeta: float, whole: bool, k_low: int, k_high: int) -> tuple[int, IntArray]:
    """Return the first n and n' of it and of its followers: all n with k_low < n' <= k_high, none if too many.

    On the curve p = p_obs the mean mu is followed from n to n, from the observed one on. There n' = k exactly.
    """
    mu_observed = zeta * (n + k) if whole else zeta * k
    down = [k]
    mu = mu_observed
    step = before = _first_guess(n, mu)
    at = n
    while at > 1 and down[-1] > k_low and len(down) < MOST_STEPS:
        at -= 1
        if down[-1] == 1 and not whole:
            down.append(1)  # mu -> 0 for n -> 0, but p < 1 needs mu > 0
            continue
        before, step = step, _step_down(at + 1, mu, max(2.0 * step - before, 0.5 * step))
        mu -= step
        down.append(min(_least_outside(mu, at, zeta, whole), down[-1]))
    first = at
    up = [k]
    mu = mu_observed
    step = before = _first_guess(n, mu)
    at = n
    while up[-1] <= k_high and len(up) < MOST_STEPS:
        before, step = step, _step_up(at, mu, max(2.0 * step - before, 0.5 * step))
        mu += step
        at += 1
        up.append(max(_least_outside(mu, at, zeta, whole), up[-1]))
    if len(down) == MOST_STEPS or len(up) == MOST_STEPS:
        return first, np.empty(0, np.int64)
    least = np.empty(len(down) + len(up) - 1, np.int64)
    for i in range(len(down)):
        least[len(down) - 1 - i] = down[i]
    for i in range(1, len(up)):
        least[len(down) - 1 + i] = up[i]
    return first, least


@compiled
def _tails(least: IntArray, expected: float, k_low: int, k_high: int) -> FloatArray:
    """Return P(K >= n') for rising n', K ~ Pois(expected), as sums that start at the far end."""
    tails = np.empty(least.size)
    total = 0.0
    term = pmf(k_high, expected)
    k = k_high
    for i in range(least.size - 1, -1, -1):
        while k >= least[i] and k >= k_low:
            total += term
            term *= k / expected
            k -= 1
        tails[i] = min(total, 1.0) if least[i] > k_low else 1.0
    return tails


@compiled
def _hopeless(n: int, k: int, b: float, zeta: float, whole: bool, k_high: int) -> bool:
    """Tell whether b/2 events are more significant than n, whatever the estimate; of b > 1000 there are never fewer."""
    half = int(0.5 * b)
    if b < 1000.0 or half <= n:
        return False
    mu = zeta * (half + k_high) if whole else zeta * k_high
    return half <= mu and _log_tail(half, mu) > _log_tail(n, zeta * (n + k) if whole else zeta * k)


@compiled
def significance_upper(
    n: IntArray, k: IntArray, b: FloatArray, zeta: float, whole: bool, alpha: float, classical: FloatArray
) -> FloatArray:
    """Return the signals at which so small a significance has probability alpha.

    Parameters
    ----------
    n, k : ndarray of int, shape (toy,)
        Events in the signal region, and outside of it or in the independent sample.
    b : ndarray of float, shape (toy,)
        Expected background events of the signal region.
    zeta : float
        Expected background of the signal region over that of the whole, or of the independent sample.
    whole : bool
        Whether the background is estimated from signal region and outside together.
    alpha : float
        1 - cl.
    classical : ndarray of float, shape (toy,)
        The mean at which N <= n has probability alpha.

    Returns
    -------
    ndarray of float, shape (toy,)
        Expected signal events; below 0 where s = 0 is excluded, infinite where no signal is, NaN where more than
        MOST_STEPS counts matter.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 36-39, 43 and 44.
    """
    upper = np.empty(n.size)
    log = math.log(1.0 / alpha)
    for i in range(n.size):
        if n[i] == 0 or (whole and k[i] == 0):
            upper[i] = classical[i] - b[i]
            continue
        if k[i] == 0:
            upper[i] = math.inf
            continue
        k_low, k_high = support(float(k[i]), 1e-17 * alpha)
        if _hopeless(n[i], k[i], b[i], zeta, whole, k_high):
            upper[i] = -b[i]
            continue
        first, least = _thresholds(n[i], k[i], zeta, whole, k_low, k_high)
        if least.size == 0:
            upper[i] = math.nan
            continue
        share = _tails(least, float(k[i]), k_low, k_high)
        last = float(first + share.size)
        right = last + log + math.sqrt(log * (log + 2.0 * last))  # Chernoff's bound
        upper[i] = mean_at_share(share, first, alpha, 0.0, right) - b[i]
    return upper


@compiled
def _log_tails(n: IntArray, mu: FloatArray) -> FloatArray:
    tails = np.empty(n.size)
    for i in range(n.size):
        tails[i] = _log_tail(n[i], mu[i])
    return tails


def excess(n: IntArray, mu: FloatArray) -> FloatArray:
    """Return the significance of n events where mu are expected, in standard deviations.

    Parameters
    ----------
    n : ndarray of int, shape (any,)
        Observed events.
    mu : ndarray of float, shape (any,)
        Expected background events.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 21.
    """
    z = special.ndtri_exp(_log_tails(n, mu))
    return np.asarray(np.where(n > mu, -z, z))


@compiled
def root_of_deviance(n: IntArray, b: FloatArray, off: IntArray, b_off: FloatArray) -> FloatArray:
    """Return sqrt(-2 ln L(0)/Lmax) of n and `off` events, where s = 0 expects b and b_off; 0 where n <= b.

    Parameters
    ----------
    n, off : ndarray of int, shape (any,)
        Observed events.
    b, b_off : ndarray of float, shape (any,)
        Expected events at s = 0.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 27.
    """
    z = np.zeros(n.size)
    for i in range(n.size):
        if n[i] > b[i]:
            z[i] = math.sqrt(2.0 * (deviance(float(n[i]), b[i]) + deviance(float(off[i]), b_off[i])))
    return z


def chance_beyond(b: float, tau: float, zeta: float, whole: bool, p: FloatArray) -> FloatArray:
    """Return the probability that background alone is more significant than each threshold.

    N ~ Pois(b) and K ~ Pois(tau b); significance is that of N over zeta (N + K), or zeta K.

    Parameters
    ----------
    b : float
        Expected background events of the signal region.
    tau : float
        Expected background outside over that in the signal region.
    zeta : float
        Scale of the estimate.
    whole : bool
        Whether the background is estimated from signal region and outside together.
    p : ndarray of float, shape (threshold,)
        Upper tails of the normal distribution beyond the thresholds.

    Returns
    -------
    ndarray of float, shape (threshold,)
    """
    lo, hi = support(b, 1e-30)
    n = np.arange(max(lo, 1), hi + 1)
    # n is beyond the threshold while fewer than so many are outside; over none expected, any event is
    most = special.gammaincinv(n, p[:, None]) / zeta
    fewer = np.maximum(np.ceil(most - n), 0.0) if whole else np.maximum(np.ceil(most), 1.0)
    chance = np.where(fewer > 0.0, special.gammaincc(np.maximum(fewer, 1.0), tau * b), 0.0)
    return np.asarray(chance @ pmf_run(n[0], hi, b) if n.size else np.zeros(p.shape))
