"""Poisson probabilities and the roots of one-sided limits.

Letters of the papers: n observed events, nu = s + b their expectation, a = n - m + 1 the shape of a posterior under the
prior 1/(s+b)^m, Q(a, x) the regularised upper incomplete gamma function, F(n; nu) = Q(n + 1, nu) = P(N <= n).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from covsvc.kernels.compilation import compiled

FloatArray = NDArray[np.float64]

TAIL = 1e-15
"""Probability that an enumeration leaves out beyond each end of a count."""

_TINY = 1e-280  # below it Q(a, x) nears underflow, and its logarithm is taken from the continued fraction


def mean_upper(n: ArrayLike, tail: float) -> FloatArray:
    """Return the nu at which N <= n has probability `tail`.

    Parameters
    ----------
    n : array_like of int, shape (toy,)
        Observed events.
    tail : float
        Probability, not its complement, which would lose the digits of a small one.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 12.
    """
    return np.asarray(special.gammainccinv(np.asarray(n) + 1.0, tail))


def mean_lower(n: ArrayLike, tail: float) -> FloatArray:
    """Return the nu at which N >= n has probability `tail`; 0 for n = 0."""
    return np.asarray(special.gammaincinv(np.maximum(n, 1.0), tail)) * (np.asarray(n) > 0)


def truncated_upper(a: NDArray[np.floating], b: ArrayLike, cl: float) -> FloatArray:
    """Return the s >= 0 with Q(a, s + b) = (1 - cl) Q(a, b).

    Parameters
    ----------
    a : ndarray of float, shape (toy,)
        n + 1 for the ratio F(n; s+b)/F(n; b); n - m + 1 for the prior 1/(s+b)^m.
    b : float or ndarray of float, shape (toy,)
        Expected background events.
    cl : float
        Confidence level.

    Returns
    -------
    ndarray of float, shape (toy,)
        Expected signal events; NaN where a = b = 0, for no posterior exists there.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 9.
    """
    alpha = 1.0 - cl
    b = np.broadcast_to(np.asarray(b, np.float64), a.shape)
    q = special.gammaincc(a, b)
    s = np.empty(a.shape)
    plain = (q >= _TINY) & (a > 0)
    s[plain] = special.gammainccinv(a[plain], alpha * q[plain]) - b[plain]
    near = (a == 0) & (b < 1)
    s[near] = [_exponential_integral_upper(value, alpha) for value in b[near].tolist()]
    far = ~plain & ~near
    s[far] = _far_tail_upper(a[far], b[far], math.log(alpha))
    # the posterior of one event or none is exponential: no need to lose digits in (s + b) - b
    return np.where(a == 1, -math.log(alpha), s)


def _exponential_integral_upper(b: float, alpha: float) -> float:
    """Return the s with E1(s + b) = alpha E1(b) for b < 1."""
    if b == 0:
        return math.nan
    target = alpha * special.exp1(b)
    y = math.log(50.0)  # ln E1(exp y) falls and is concave: Newton's steps from the right are monotone
    for _ in range(200):
        x = math.exp(y)
        e1 = special.exp1(x)
        step = math.log(e1 / target) * e1 / math.exp(-x)
        y += step
        if abs(step) < 1e-15 * max(1.0, abs(y)):
            break
    return math.exp(y) - b


@compiled
def _tail_fraction(a: float, x: float) -> float:
    """Return Gamma(a, x) exp(x) x^-a for x > a (Legendre's continued fraction, by Lentz)."""
    term = x + 1.0 - a
    c = 1e300
    d = 1.0 / term
    h = d
    for i in range(1, 100000):
        an = -i * (i - a)
        term += 2.0
        d = 1.0 / (an * d + term)
        c = term + an / c
        delta = c * d
        h *= delta
        if abs(delta - 1.0) < 1e-16:
            break
    return h


@compiled
def _far_tail_upper(a: FloatArray, b: FloatArray, log_alpha: float) -> FloatArray:
    """Solve ln Gamma(a, s + b) - ln Gamma(a, b) = log_alpha far in the tail, where both underflow."""
    s = np.empty(a.size)
    for j in range(a.size):
        start = _tail_fraction(a[j], b[j])
        root = -log_alpha * b[j] * start
        for _ in range(100):
            h = _tail_fraction(a[j], b[j] + root)
            excess = -root + a[j] * math.log1p(root / b[j]) + math.log(h / start) - log_alpha
            step = excess * (b[j] + root) * h
            root = max(root + step, 0.0)
            if abs(step) <= 1e-15 * root:
                break
        s[j] = root
    return s


@compiled
def deviance(x: float, nu: float) -> float:
    """Return x ln(x/nu) + nu - x without cancellation; half the deviance of x events from nu."""
    if x == 0.0:
        return nu
    if nu == 0.0:
        return math.inf
    difference = x - nu
    if abs(difference) >= 0.35 * (x + nu):
        return x * math.log(x / nu) - difference
    v = difference / (x + nu)
    total = difference * v
    term = 2.0 * x * v
    v *= v
    for j in range(1, 1000):
        term *= v
        larger = total + term / (2 * j + 1)
        if larger == total:
            break
        total = larger
    return total


@compiled
def stirling_error(x: float) -> float:
    """Return ln Gamma(x+1) - (x + 1/2) ln x + x - ln(2 pi)/2 for x > 0."""
    if x < 16.0:
        return math.lgamma(x + 1.0) - (x + 0.5) * math.log(x) + x - 0.5 * math.log(2.0 * math.pi)
    y = 1.0 / x / x
    return (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - y / 1188) * y) * y) * y) / x


@compiled
def pmf(k: int, nu: float) -> float:
    """Return the Poisson probability of k events, 0^0 = 1, to a few units in the last place.

    References
    ----------
    .. [1] C. Loader, Fast and accurate computation of binomial probabilities (2000).
    """
    if nu == 0.0:
        return 1.0 if k == 0 else 0.0
    if k < 16 and nu < 700.0:
        value = math.exp(-nu)
        for i in range(1, k + 1):
            value *= nu / i
        return value
    if k == 0:
        return math.exp(-nu)
    x = float(k)
    return math.exp(-stirling_error(x) - deviance(x, nu)) / math.sqrt(2.0 * math.pi * x)


@compiled
def outside(lo: int, hi: int, nu: float) -> float:
    """Return the probability that N lies outside lo..hi; 1 if the run is empty."""
    if hi < lo:
        return 1.0
    if (lo > nu and pmf(lo, nu) * (hi - lo + 1) < 1e-40) or (hi < nu and pmf(hi, nu) * (hi - lo + 1) < 1e-40):
        return 1.0  # sums that start at the edge of so unlikely a run would underflow there
    total = 0.0
    if lo > 0:
        term = pmf(lo - 1, nu)
        k = lo - 1
        while k >= 0 and (term > 1e-18 * total or k > nu):
            total += term
            term *= k / nu if nu > 0.0 else 0.0
            k -= 1
    k = hi + 1
    term = pmf(k, nu)
    while term > 1e-18 * total or k < nu:
        total += term
        k += 1
        term *= nu / k
    return min(total, 1.0)


@compiled
def support(nu: float, tail: float) -> tuple[int, int]:
    """Return the run lo..hi of counts, beyond each end of which less than `tail` of the probability lies."""
    mode = int(nu)
    peak = pmf(mode, nu)
    lo = mode
    term = peak
    while lo > 0:
        # the terms below lo - 1 fall at least as fast as a geometric series
        term *= lo / nu
        ratio = (lo - 1) / nu
        if term < tail * (1.0 - ratio):
            break
        lo -= 1
    hi = mode
    term = peak
    while True:
        term *= nu / (hi + 1)
        if term < tail * (1.0 - nu / (hi + 2)):
            break
        hi += 1
    return lo, hi


@compiled
def pmf_run(lo: int, hi: int, nu: float) -> FloatArray:
    """Return the probabilities of lo..hi events."""
    probability = np.empty(hi - lo + 1)
    start = min(max(int(nu), lo), hi)
    probability[start - lo] = pmf(start, nu)
    for k in range(start + 1, hi + 1):
        probability[k - lo] = probability[k - 1 - lo] * nu / k
    for k in range(start - 1, lo - 1, -1):
        probability[k - lo] = probability[k + 1 - lo] * (k + 1) / nu if nu > 0.0 else 0.0
    return probability


@compiled
def poisson_run(nu: float) -> tuple[int, FloatArray]:
    """Return the smallest count that matters, and the probabilities from there on; `TAIL` is left out at each end."""
    lo, hi = support(nu, TAIL)
    return lo, pmf_run(lo, hi, nu)


@compiled
def poisson_runs(nu: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Return `poisson_run` of several expectations.

    Returns
    -------
    first : ndarray of int, shape (mean,)
        Smallest count that matters of each.
    offset : ndarray of int, shape (mean + 1,)
        Where the probabilities of each begin.
    probability : ndarray of float
        Of all, one after the other.
    """
    first = np.empty(nu.size, np.int64)
    offset = np.zeros(nu.size + 1, np.int64)
    for i in range(nu.size):
        lo, hi = support(nu[i], TAIL)
        first[i] = lo
        offset[i + 1] = offset[i] + hi - lo + 1
    probability = np.empty(offset[-1])
    for i in range(nu.size):
        hi = first[i] + offset[i + 1] - offset[i] - 1
        probability[offset[i] : offset[i + 1]] = pmf_run(first[i], hi, nu[i])
    return first, offset, probability
