"""Poisson counts whose mean is itself distributed, as an uncertain background is.

Letters: J ~ Pois(B) events of background, B of density f; w_j = P(J = j); growth r_j = w_{j+1} / w_j. The width of f is
v = Var(B) / E(B) where it is a gamma distribution, and the sigma of the Gaussian where it is one cut off below 0.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from covsvc.kernels.compilation import compiled
from covsvc.kernels.poisson import deviance, mean_upper, pmf, pmf_run, stirling_error, support

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_DIRECT = 2**22  # so many products are added up one by one; beyond, a Fourier transform is faster


@compiled
def _expected(share: FloatArray, first: int, nu: float, negligible: float) -> tuple[float, float]:
    """Return E[share(N)] and how fast it falls with nu, N ~ Pois(nu).

    The share of N is 1 below `first`, share[N - first] from there, and 0 after its end.
    """
    last = first + share.size - 1
    peak = min(int(nu), last)
    at_peak = pmf(peak, nu)
    total = 0.0
    fall = 0.0
    term = at_peak
    k = peak
    while k >= 0 and term > negligible:
        if k < first - 1:
            total += term
        else:
            here = share[k - first] if k >= first else 1.0
            total += term * here
            fall += term * (here - (share[k + 1 - first] if k < last else 0.0))
        term *= k / nu
        k -= 1
    term = at_peak
    for k in range(peak + 1, last + 1):
        term *= nu / k
        if term <= negligible:
            break
        here = share[k - first] if k >= first else 1.0
        total += term * here
        if k >= first - 1:
            fall += term * (here - (share[k + 1 - first] if k < last else 0.0))
    return total, fall


@compiled
def mean_at_share(share: FloatArray, first: int, alpha: float, left: float, right: float) -> float:
    """Return the nu in [left, right] at which E[share(N)] = alpha, N ~ Pois(nu) (Newton in the logarithm, bracketed).

    Parameters
    ----------
    share : ndarray of float, shape (count,)
        Of the counts first, first + 1, ...; it never rises. It is 1 below `first` and 0 after the end.
    first : int
        The first of these counts.
    alpha : float
        What is left of the share.
    left, right : float
        Expected events, below and above the root.
    """
    negligible = 1e-20 * alpha
    nu = right
    for _ in range(200):
        total, fall = _expected(share, first, nu, negligible)
        if total > alpha:
            left = nu
        else:
            right = nu
        new = nu + math.log(total / alpha) * total / fall if total > 0.0 and fall > 0.0 else math.inf
        # what is left after so small a step of Newton is its square
        if abs(new - nu) <= 1e-10 * nu:
            return new
        nu = new if left < new < right else 0.5 * (left + right)
        if nu in (left, right):
            break
    return nu


@compiled
def _exponential_without_line(u: float) -> float:
    """Return exp(u) - 1 - u without cancellation."""
    if abs(u) > 0.5:
        return math.expm1(u) - u
    total = 1.0
    for i in range(16, 2, -1):
        total = 1.0 + total * u / i
    return 0.5 * u * u * total


@compiled
def _gaussian_peak(a: float, t: float) -> float:
    """Return the x > 0 at which x^a exp(-(x-t)^2/2) is largest."""
    root = math.sqrt(t * t + 4.0 * a)
    return 0.5 * (t + root) if t > 0.0 else 2.0 * a / (root - t)


@compiled
def _gaussian_moments(a: float, x: float) -> tuple[float, float]:
    """Return the integral over u of f, the integrand at its peak set to 1, and the mean of exp(u) under f.

    With B = sigma x exp(u), f is B^a times the Gaussian of B - b + sigma^2. It is analytic in u: the error of the
    trapezoidal rule is of the order of exp(-pi^2 / 2h).
    """
    h = min(0.1, 0.25 / math.sqrt(a + x * x))
    total = 1.0
    mean = 1.0
    for side in (-1.0, 1.0):
        u = 0.0
        value = 1.0
        while value > 1e-19:
            u += side * h
            beyond = x * math.expm1(u)
            value = math.exp(-a * _exponential_without_line(u) - 0.5 * beyond * beyond)
            total += value
            mean += value * math.exp(u)
    return total * h, mean / total


@compiled
def growth_of(lo: int, hi: int, b: float, width: float, gaussian: bool) -> FloatArray:
    """Return w_{j+1} / w_j for j = lo..hi-1.

    Gamma distribution: that of the negative binomial. Gaussian: (j+1) w_{j+1} = (b - sigma^2) w_j + sigma^2 w_{j-1},
    by parts; in the direction in which all its terms are positive errors die out.
    """
    growth = np.empty(max(hi - lo, 0))
    if growth.size == 0:
        return growth
    if not gaussian:
        share = 1.0 / (1.0 + 1.0 / width) if width > 0.0 else 0.0  # v / (1 + v), v up to infinity
        start = b / (1.0 + width)
        for j in range(lo, hi):
            growth[j - lo] = (start + j * share) / (j + 1.0)
        return growth
    t = b / width - width
    edge = lo if t > 0.0 else hi - 1
    if t > 0.0 and lo == 0:  # the mean of a Gaussian cut off below 0
        scaled = t + math.sqrt(2.0 / math.pi) * math.exp(-0.5 * t * t) / math.erfc(-t / math.sqrt(2.0))
    else:
        x = _gaussian_peak(edge + 1.0, t)
        scaled = x * _gaussian_moments(edge + 1.0, x)[1] / (edge + 1.0)
    growth[edge - lo] = width * scaled
    if t > 0.0:
        for j in range(lo + 1, hi):
            scaled = (t + 1.0 / scaled) / (j + 1.0)
            growth[j - lo] = width * scaled
    else:
        for j in range(hi - 1, lo, -1):
            scaled = 1.0 / ((j + 1.0) * scaled - t)
            growth[j - 1 - lo] = width * scaled
    return growth


@compiled
def _run(lo: int, hi: int, anchor: int, start: float, growth: FloatArray) -> FloatArray:
    """Return w_lo..w_hi with w_anchor = start."""
    weights = np.empty(hi - lo + 1)
    weights[anchor - lo] = start
    for j in range(anchor, hi):
        weights[j + 1 - lo] = weights[j - lo] * growth[j - lo]
    for j in range(anchor, lo, -1):
        below = growth[j - 1 - lo]
        weights[j - 1 - lo] = weights[j - lo] / below if below > 0.0 else 0.0
    return weights


@compiled
def _weights(n: int, b: float, width: float, gaussian: bool, negligible: float) -> tuple[int, FloatArray]:
    """Return the first j and the relative w_j of all j <= n that are not negligible against the largest of them."""
    anchor = n if b >= n else int(b)
    variance = b + width * width if gaussian else b * (1.0 + width)
    reach = min(80.0 + 12.0 * math.sqrt(variance), n + 1.0)
    while True:
        lo = max(anchor - int(reach), 0)
        hi = min(anchor + int(reach), n)
        weights = _run(lo, hi, anchor, 1.0, growth_of(lo, hi, b, width, gaussian))
        least = negligible * weights.max()
        if (lo == 0 or weights[0] <= least) and (hi == n or weights[-1] <= least):
            return lo, weights
        reach = min(2.0 * reach, n + 1.0)


@compiled
def _flat_upper(
    n: IntArray, b: FloatArray, width: FloatArray, gaussian: bool, alpha: float, highest: FloatArray
) -> FloatArray:
    upper = np.empty(n.size)
    for i in range(n.size):
        if n[i] == 0:
            upper[i] = -math.log(alpha)
            continue
        lo, weights = _weights(n[i], b[i], width[i], gaussian, 1e-20 * alpha)
        below = np.cumsum(weights)
        # P(N + J <= n) / P(J <= n), N ~ Pois(s): the share of N = k is P(J <= n - k) / P(J <= n)
        share = below[::-1] / below[-1]
        upper[i] = mean_at_share(share, n[i] - (lo + weights.size - 1), alpha, -math.log(alpha), highest[i])
    return upper


def flat_upper(n: IntArray, b: FloatArray, width: FloatArray, gaussian: bool, cl: float) -> FloatArray:
    """Return the upper limits under a prior that is flat in s >= 0, with an uncertain background.

    The posterior of s is sum_{j <= n} w_j Gamma(n-j+1, 1).

    Parameters
    ----------
    n : ndarray of int, shape (toy,)
        Observed events.
    b : ndarray of float, shape (toy,)
        Expected background events: mean of the gamma distribution, or where the Gaussian is centred.
    width : ndarray of float, shape (toy,)
        v or sigma, see the head of this file. v may be 0, sigma not.
    gaussian : bool
        Whether f is the Gaussian cut off below 0.
    cl : float
        Confidence level.

    Returns
    -------
    ndarray of float, shape (toy,)
        Expected signal events.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 10.
    """
    alpha = 1.0 - cl
    return np.asarray(_flat_upper(n, b, width, gaussian, alpha, mean_upper(n, alpha)))


@compiled
def _probability(j: int, b: float, width: float, gaussian: bool) -> float:
    """Return w_j."""
    if gaussian:
        t = b / width - width
        a = j + 1.0
        x = _gaussian_peak(a, t)
        area = _gaussian_moments(a, x)[0]
        # how many sigma the peak lies from b, of two equal differences the one that cancels less
        off = x - b / width if x < width else a / x - width
        norm = math.sqrt(0.5 * math.pi) * math.erfc(-b / width / math.sqrt(2.0))
        return pmf(j, width * x) * math.exp(-0.5 * off * off) * x * area / norm
    shape = b / width if width > 0.0 else math.inf
    if shape > 1e25:
        return pmf(j, b)
    if shape == 0.0:
        return 1.0 if j == 0 else 0.0
    if j == 0:
        return math.exp(-shape * math.log1p(width))
    # Stirling's errors and deviances, as in `pmf`; the gamma function would lose all digits of a narrow distribution
    mean = (b + j * width) / (1.0 + width)
    relative = (b - j) / b * (width / (1.0 + width))
    log = stirling_error(j + shape) - stirling_error(shape) - stirling_error(float(j)) - deviance(float(j), mean)
    log += shape * (math.log1p(-relative) + relative)
    return math.exp(log) * math.sqrt(b / (b + j * width) / (2.0 * math.pi * j))


def _width(b: float, b_error: float, shape: str) -> tuple[float, bool]:
    """Return the width of f and whether it is the Gaussian; no width where b is as good as known."""
    if narrow(np.asarray(b), np.asarray(b_error)):
        return 0.0, False
    return (b_error, True) if shape == "truncated_gaussian" else (b_error / b * b_error, False)


def narrow(b: FloatArray, b_error: FloatArray) -> NDArray[np.bool_]:
    """Tell which errors are so small against b that no double can tell them from none."""
    return np.asarray(b_error <= 1e-14 * b)


def mixed_pmf(lo: int, hi: int, b: float, b_error: float, shape: str) -> FloatArray:
    """Return P(J = j) for j = lo..hi, J ~ Pois(B).

    Parameters
    ----------
    lo, hi : int
        First and last count.
    b, b_error : float
        Expected background events and their error; 0 is none.
    shape : str
        ``"gamma"``: B has mean b and standard deviation b_error. ``"truncated_gaussian"``: B is a Gaussian at b of
        width b_error, cut off below 0.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 10 at s = 0.
    """
    width, gaussian = _width(b, b_error, shape)
    if width == 0.0:
        return pmf_run(lo, hi, b)
    anchor = min(max(int(b), lo), hi)
    start = _probability(anchor, b, width, gaussian)
    return np.asarray(_run(lo, hi, anchor, start, growth_of(lo, hi, b, width, gaussian)))


def mixed_pmf_plus_signal(lo: int, hi: int, s: float, b: float, b_error: float, shape: str) -> FloatArray:
    """Return P(N + J = n) for n = lo..hi, N ~ Pois(s) and J ~ Pois(B), to 1e-14.

    Parameters
    ----------
    lo, hi : int
        First and last count.
    s : float
        Expected signal events.
    b, b_error, shape
        What is known of B, as for `mixed_pmf`.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 10.
    """
    first_signal, last_signal = support(s, 1e-17)
    first, last = mixed_support(0.0, b, b_error, shape, 1e-17)
    first, last = max(first, lo - last_signal, 0), min(last, hi - first_signal)
    probability = np.zeros(hi - lo + 1)
    if last < first:
        return probability
    signal_part = pmf_run(first_signal, last_signal, s)
    background_part = mixed_pmf(first, last, b, b_error, shape)
    if signal_part.size * background_part.size <= _DIRECT:
        both = np.convolve(signal_part, background_part)
    else:
        from scipy.signal import fftconvolve  # takes half a second to import

        both = np.maximum(fftconvolve(signal_part, background_part), 0.0)
    start = first_signal + first
    left, right = max(lo, start), min(hi, start + both.size - 1)
    if left <= right:
        probability[left - lo : right - lo + 1] = both[left - start : right - start + 1]
    return probability


def mixed_support(s: float, b: float, b_error: float, shape: str, tail: float) -> tuple[int, int]:
    """Return lo and hi, beyond each of which less than `tail` of the probability of N + J lies.

    Parameters
    ----------
    s : float
        Expected signal events.
    b, b_error, shape
        What is known of the background, as for `mixed_pmf`.
    tail : float
        Probability.
    """
    width, gaussian = _width(b, b_error, shape)
    if width == 0.0:
        lo, hi = support(s + b, tail)
        return int(lo), int(hi)
    # of each of the two half the tail, without signal too: the ends never fall as s rises
    signal_lo, signal_hi = support(s, 0.5 * tail)
    lo, hi = _mixed_ends(b, width, gaussian, 0.5 * tail)
    return int(signal_lo) + lo, int(signal_hi) + hi


def _mixed_ends(b: float, width: float, gaussian: bool, tail: float) -> tuple[int, int]:
    """Bisect for the ends: beyond them the terms fall at least as fast as a geometric series."""
    limit = 0.0 if gaussian else 1.0 / (1.0 + 1.0 / width)

    def negligible_above(j: int) -> bool:
        ratio = max(growth_of(j + 1, j + 2, b, width, gaussian)[0], limit)
        return ratio < 1.0 and _probability(j + 1, b, width, gaussian) < tail * (1.0 - ratio)

    def negligible_below(j: int) -> bool:
        growth = growth_of(j - 1, j, b, width, gaussian)[0]
        return growth > 1.0 and _probability(j - 1, b, width, gaussian) < tail * (1.0 - 1.0 / growth)

    low, high = int(b), int(b) + 1
    while not negligible_above(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if negligible_above(middle) else (middle, high)
    hi = high
    low, high = 0, int(b) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if negligible_below(middle) else (low, middle)
    return low, hi
