"""Sampling distributions of q_mu and q_mu_tilde by brute force, from their definitions, and nothing of covsvc.

Papers: G. Cowan, K. Cranmer, E. Gross and O. Vitells, Eur. Phys. J. C 71 (2011) 1554, Eq. 14 and 16.
"""

import mpmath
import numpy as np
from mpmath import mpf
from scipy import special, stats


def on_off_statistic(n_on, n_off, tau, s, tilde):
    """Return q_s of each outcome: -2 ln of L(s, b at s) over the largest L with shat < s, 0 where shat >= s."""
    n_on, n_off = np.broadcast_arrays(np.asarray(n_on, float), np.asarray(n_off, float))
    shat, bhat = n_on - n_off / tau, n_off / tau
    if tilde:
        bhat = np.where(shat < 0, (n_on + n_off) / (1 + tau), bhat)
        shat = np.maximum(shat, 0.0)
    ratio = _log_likelihood(n_on, n_off, tau, shat, bhat) - _log_likelihood(
        n_on, n_off, tau, s, _profile(n_on, n_off, tau, s)
    )
    return np.where(shat >= s, 0.0, 2 * ratio)


def _profile(n_on, n_off, tau, s):
    # d lnL/db = n_on/(s+b) - 1 + n_off/b - tau = 0, times b (s+b)
    half = (n_on + n_off - (1 + tau) * s) / (2 * (1 + tau))
    product = n_off * s / (1 + tau)
    root = np.sqrt(half**2 + product)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(half >= 0, half + root, product / (root - half))


def _log_likelihood(n_on, n_off, tau, s, b):
    on = np.where((n_on == 0) & (np.abs(s + b) < 1e-9), 0.0, special.xlogy(n_on, s + b) - (s + b))
    return on + special.xlogy(n_off, tau * b) - tau * b


def on_off_p_values(n_on, n_off, tau, s, tilde, w):
    """Return p_{s+b} and CL_b, adding up all outcomes in a rectangle that holds all but 1e-13."""
    b, b_0 = float(_profile(n_on, n_off, tau, s)), (n_on + n_off) / (1 + tau)
    k = np.arange(_beyond(max(s + b, b_0)) + 1)[:, None]
    m = np.arange(_beyond(tau * max(b, b_0)) + 1)[None, :]
    q, observed = on_off_statistic(k, m, tau, s, tilde), float(on_off_statistic(n_on, n_off, tau, s, tilde))
    tie = 1e-9 * (1 + observed)
    weight = (q > observed + tie) + w * (np.abs(q - observed) <= tie)

    def chance(s, b):
        return float(np.sum(weight * stats.poisson.pmf(k, s + b) * stats.poisson.pmf(m, tau * b)))

    return chance(s, b), chance(0.0, b_0)


def _beyond(mean):
    return int(stats.poisson.isf(1e-14, mean)) + 5


def on_off_excluded(n_on, n_off, tau, s, tilde, w, alpha, cls):
    """Tell whether the hypothesis s is excluded."""
    p, cl_b = on_off_p_values(n_on, n_off, tau, s, tilde, w)
    return p <= alpha * (cl_b if cls else 1.0)


def on_off_upper(n_on, n_off, tau, cl, tilde, w, cls, step):
    """Return sup{s : p > alpha} seen by a scan with this step, NaN where even the smallest s is excluded."""
    alpha = 1 - cl
    start = max(n_on - n_off / tau, 0.0)
    grid = start + step * np.arange(1, int((40 + 8 * np.sqrt(n_on + 1)) / step))
    excluded_for_long = 0
    last = None if start == 0.0 else start
    for s in grid:
        if on_off_excluded(n_on, n_off, tau, s, tilde, w, alpha, cls):
            excluded_for_long += 1
            if excluded_for_long * step > 4.0:
                break
        else:
            last, excluded_for_long = s, 0
    if last is None:
        return np.nan
    low, high = last, last + step
    for _ in range(45):
        middle = (low + high) / 2
        if on_off_excluded(n_on, n_off, tau, middle, tilde, w, alpha, cls):
            high = middle
        else:
            low = middle
    return low


@mpmath.workdps(40)
def count_p_value(n, mean, w):
    """Return P(N < n) + w P(N = n)."""
    n, mean = int(n), mpf(mean)
    if n < 3000:
        term, total = mpmath.exp(-mean), mpf(0)
        for k in range(1, n + 1):
            total += term
            term *= mean / k
        return total + mpf(w) * term
    below = mpmath.gammainc(n, mean, mpmath.inf, regularized=True)
    return below + mpf(w) * mpmath.exp(n * mpmath.log(mean) - mean - mpmath.loggamma(n + 1))


@mpmath.workdps(40)
def count_upper(n, b, cl, w, cls):
    """Return s with p(s) = (1 - cl) [p of the background alone], None if it is below 0."""
    b, alpha = mpf(b), 1 - mpf(cl)
    wanted = mpmath.log(alpha * (count_p_value(n, b, w) if cls else 1))

    def excess(nu):
        return mpmath.log(count_p_value(n, nu, w)) - wanted

    low = max(b, mpf(n)) if cls else mpf(n)
    if excess(low) < mpf("1e-35"):  # rounding, where it is 0
        return None
    width = mpf(1)
    while excess(low + width) > 0:
        width *= 2
    nu = low + width * mpmath.findroot(
        lambda t: excess(low + width * t), (mpf(0), mpf(1)), solver="illinois", maxsteps=300
    )
    return nu - b if nu >= b else None
