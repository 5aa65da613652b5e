"""Maximum gap between events: its distribution, with known and Poisson numbers of events, and the limits from it.

Letters of the paper: mu expected events, x the largest gap in expected events, C_0(x, mu) the probability of a smaller
one. Here also f = x / mu, K = mu / x, alpha = 1 - cl, and d, the root other than 0 of d = x (1 - e^-d).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covsvc.kernels.compilation import compiled
from covsvc.kernels.poisson import pmf

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_FEW_GAPS = 12.0  # from this K on, what the exponential leaves out of C_0 is below 2e-16
_DEGREE = 9  # of the polynomials of x(K)
_CELL_BITS = 6  # leading bits of the fraction of K that choose the polynomial within [2^i, 2^(i+1)); kinks are nodes
_OCTAVES = 21  # a million events


def max_gap_cdf(x: ArrayLike, mu: ArrayLike) -> FloatArray:
    """Return C_0(x, mu), the probability that all gaps are smaller than x, to 1e-14.

    Parameters
    ----------
    x : array_like of float
        Size of a gap, expected events.
    mu : array_like of float
        Expected events of the whole range, whose ends bound gaps too.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Eq. 2.
    """
    return _each(_max_gap_cdf, x, mu)


def max_gap_cdf_given(x: ArrayLike, n: ArrayLike) -> FloatArray:
    """Return the probability that all gaps of n events, uniform in the unit range, are smaller than x, to 1e-12.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Eq. A4.
    """
    return _each(_max_gap_cdf_given, x, n)


def max_gap_quantile(cl: ArrayLike, mu: ArrayLike) -> FloatArray:
    """Return x_0 with C_0(x_0, mu) = cl; +inf where mu < -ln(1 - cl), for there no gap is large enough.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Eq. 2 and Appendix C.
    """
    return _each(_quantile, 1.0 - np.asarray(cl), mu)


def max_gap_limit(f: FloatArray, cl: float) -> FloatArray:
    """Return the mu with C_0(mu f, mu) = cl, to 1e-12 of it.

    C_0(mu f, mu) rises with mu, as more events leave smaller gaps: all larger mu are excluded, and no smaller one.

    Parameters
    ----------
    f : ndarray of float, shape (toy,)
        Largest gap over the whole range, expected events, in (0, 1].
    cl : float
        Confidence level.

    Returns
    -------
    ndarray of float, shape (toy,)
        Expected events of the whole range.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Section II.
    """
    ratio = 1.0 / np.asarray(f, np.float64)
    return np.asarray(_limits(ratio, ratio.view(np.int64), _polynomials(1.0 - cl), 1.0 - cl))


def max_gap_limit_over_background(n: IntArray, u: FloatArray, v: FloatArray, b: float, cl: float) -> FloatArray:
    """Return the largest s with C_0(x(s), s + b) <= cl, where x(s) is the largest s du + b dv of the gaps.

    The signals that are not excluded are an interval, which need not begin at 0: x(s) is convex, and the boundary
    x_0(cl, mu), below whose beginning at -ln(1 - cl) nothing is excluded, is concave in mu (seen on a fine grid for cl
    from 0.5 to 1 - 1e-9, not proven). So tangents of the boundary, drawn at excluded points from the far end on, meet
    x(s) at the limit or above.

    Parameters
    ----------
    n : ndarray of int, shape (toy,)
        Observed events.
    u, v : ndarray of float, shape (event,)
        Cdf of the signal and of the known background at each event, ascending within a toy.
    b : float
        Expected background events, above 0.
    cl : float
        Confidence level.

    Returns
    -------
    ndarray of float, shape (toy,)
        Expected signal events; -1 where every s >= 0 is excluded.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Section II.
    """
    return np.asarray(_limits_over_background(n, np.ascontiguousarray(u), np.ascontiguousarray(v), b, 1.0 - cl))


def _each(kernel: Callable[[FloatArray, FloatArray], FloatArray], one: ArrayLike, other: ArrayLike) -> FloatArray:
    """Return a kernel's answers to pairs of numbers, in the shape to which the two broadcast."""
    pairs = np.broadcast_arrays(np.asarray(one, np.float64), np.asarray(other, np.float64))
    flat = [np.ascontiguousarray(values).ravel() for values in pairs]
    return np.asarray(kernel(flat[0], flat[1])).reshape(pairs[0].shape)


@compiled
def widest_gaps(n: IntArray, u: FloatArray, v: FloatArray, s: FloatArray, b: float) -> tuple[IntArray, FloatArray]:
    """Return which event each toy's largest s du + b dv follows, -1 for the lower end of the range, and its size.

    Parameters
    ----------
    n : ndarray of int, shape (toy,)
        Observed events.
    u, v : ndarray of float, shape (event,)
        Cdf of the signal and of the known background at each event, ascending within a toy.
    s : ndarray of float, shape (toy,)
        Expected signal events.
    b : float
        Expected background events.
    """
    left = np.empty(n.size, np.int64)
    size = np.empty(n.size)
    start = 0
    for toy in range(n.size):
        gap, du, dv = _widest(u[start : start + n[toy]], v[start : start + n[toy]], s[toy], b)
        left[toy] = gap - 1
        size[toy] = s[toy] * du + b * dv
        start += n[toy]
    return left, size


@compiled
def max_gap_cdf_scalar(x: float, mu: float) -> float:
    """Return C_0(x, mu), see `max_gap_cdf`."""
    if x <= 0.0:
        return 0.0
    if x > mu:
        return 1.0
    return 1.0 - _tail(x, mu)[0]


@compiled
def _max_gap_cdf(x: FloatArray, mu: FloatArray) -> FloatArray:
    found = np.empty(x.size)
    for i in range(x.size):
        found[i] = max_gap_cdf_scalar(x[i], mu[i])
    return found


@compiled
def _other_root(x: float) -> float:
    """Return d, the root other than 0 of d - x (1 - e^-d), which is convex; 0 at x = 1, where the two meet."""
    if x >= 1.0:
        d = min(x, 2.0 * (x - 1.0))
    else:
        excess = x - 1.0 - math.log(x)
        d = x - 1.0 - math.sqrt(2.0 * max(excess, 0.0)) - excess
    for _ in range(100):
        slope = 1.0 - x * math.exp(-d)
        if slope == 0.0:
            break
        step = (d + x * math.expm1(-d)) / slope
        d -= step
        if abs(step) <= 1e-15 * abs(d):
            break
    return d


@compiled
def _tail(x: float, mu: float) -> tuple[float, float, float]:
    """Return 1 - C_0(x, mu) for 0 < x <= mu and its derivatives by x and by mu.

    With few gaps by adding up, where Eq. 2 does not cancel and its term of k = 0 is 1. Beyond, C_0 is a sum of
    exponentials in mu, over the roots of rho = exp(x (rho - 1)) other than 1, by the renewal equation of C_0 in mu:
    the real root, e^-d, is all of it.
    """
    if mu < _FEW_GAPS * x:
        q = math.exp(-x)
        tail = 0.0
        by_x = 0.0
        by_mu = 0.0
        w = mu - x
        power = q  # of q (q w)^(k-1) / (k-1)!, with its sign, without the 0^0 of w = 0
        k = 1
        while k == 1 or w > 0.0:
            last = power
            for _ in range(k - 1):
                last *= q * w
            term = last * (w + k) / k
            change = last if k == 1 else last * (w + k - 1.0) / w
            tail += term
            by_mu += change
            by_x -= k * (term + change)
            power /= -k
            k += 1
            w = mu - k * x
        return tail, by_x, by_mu
    if x < 0.1:
        return 1.0, 0.0, 0.0  # C_0 < 1e-17
    d = _other_root(x)
    z = math.exp(-d)
    if abs(d) < 0.5:
        rest = 0.0  # of 1 - (1 + d) z = sum over j >= 2 of (j - 1) (-d)^j / j!
        power = -d
        for j in range(2, 16):
            power *= -d / j
            rest += (j - 1) * power
        amplitude = math.log(math.expm1(-d) ** 2 / rest) if abs(d) > 1e-7 else math.log(2.0)
    else:
        rest = 1.0 - (1.0 + d) * z
        amplitude = 2.0 * math.log1p(-z) - math.log1p(-(1.0 + d) * z) if d > 0.0 else math.log((1.0 - z) ** 2 / rest)
    log = amplitude - mu * z
    cdf = math.exp(log)
    if abs(d) > 1e-5:
        by_d = 2.0 * z / (1.0 - z) - d * z / rest + mu * z
        by_x = by_d * math.expm1(-d) ** 2 / rest
    else:
        by_x = 2.0 * mu
    return -math.expm1(log), -cdf * by_x, cdf * z


@compiled
def _crossing(alpha: float, mu: float, ratio: float) -> float:
    """Return the x with C_0(x, mu) = 1 - alpha; at this mu, or where ratio > 0, at mu = ratio x.

    Newton's steps in ln(1 - C_0), kept in a bracket, from where the expected number of so large gaps is alpha.
    """
    log = math.log(alpha)
    if ratio > 0.0:
        low = -log / ratio
        high = 1.0 - log
        while high - math.log1p((ratio - 1.0) * high) < -log:
            high *= 2.0
    else:
        low = 0.0
        high = mu
    x = high
    for _ in range(4):
        x = min(max(math.log1p((ratio - 1.0) * x if ratio > 0.0 else mu - x) - log, low), high)
    if x == 0.0:
        x = 0.5 * high
    for _ in range(200):
        tail, slope, by_mu = _tail(x, ratio * x if ratio > 0.0 else mu)
        if ratio > 0.0:
            slope += ratio * by_mu
        if tail > alpha:
            low = x
        else:
            high = x
        new = x - math.log(tail / alpha) * tail / slope if slope < 0.0 else low
        if not low < new < high:
            if abs(new - x) <= 4e-16 * x:
                return x
            new = 0.5 * (low + high)
        if abs(new - x) <= 4e-16 * x or new in (low, high):
            return new
        x = new
    return x


@compiled
def _quantile(alpha: FloatArray, mu: FloatArray) -> FloatArray:
    found = np.empty(mu.size)
    for i in range(mu.size):
        if mu[i] >= -math.log(alpha[i]):
            found[i] = _crossing(alpha[i], mu[i], 0.0)
        else:
            found[i] = math.nan if math.isnan(mu[i]) else math.inf
    return found


@compiled
def _crossings(alpha: float, ratio: FloatArray) -> FloatArray:
    found = np.empty(ratio.shape)
    for i in range(ratio.shape[0]):
        for j in range(ratio.shape[1]):
            found[i, j] = _crossing(alpha, 0.0, ratio[i, j])
    return found


@lru_cache(maxsize=64)
def _polynomials(alpha: float) -> FloatArray:
    """Return the coefficients of x = mu f as polynomials of K, in t from -1 to 1 across each cell of K."""
    cells = 1 << _CELL_BITS
    start = (2.0 ** np.arange(_OCTAVES)[:, None] * (1.0 + np.arange(cells) / cells)).reshape(-1, 1)
    width = np.repeat(2.0 ** np.arange(_OCTAVES), cells)[:, None] / cells
    angles = [math.pi * (node + 0.5) / (_DEGREE + 1) for node in range(_DEGREE + 1)]
    t = np.array([math.cos(angle) for angle in angles])
    x = _crossings(alpha, start + 0.5 * width * (t + 1.0))
    # in a fixed order and without BLAS and LAPACK: on every processor the same bits
    found = np.zeros((len(x), _DEGREE + 1))
    found[:, 0] = x[:, 0]
    for node, angle in enumerate(angles):
        fundamental = np.zeros(_DEGREE + 1)
        for order in range(_DEGREE + 1):
            power = np.polynomial.chebyshev.cheb2poly(np.eye(_DEGREE + 1)[order])
            fundamental[: len(power)] += (2.0 if order else 1.0) * math.cos(order * angle) / (_DEGREE + 1) * power
        found += (x[:, node] - x[:, 0])[:, None] * fundamental
    return found


@compiled
def _limits(ratio: FloatArray, bits: IntArray, polynomials: FloatArray, alpha: float) -> FloatArray:
    """Return mu = K x(K); `bits` are those of K, whose leading ones are the number of the cell."""
    below = 52 - _CELL_BITS
    first = 1023 << _CELL_BITS
    scale = 2.0 / (1 << below)
    found = np.empty(ratio.size)
    for i in range(ratio.size):
        cell = (bits[i] >> below) - first
        if ratio[i] <= 1.0:
            found[i] = -math.log(alpha)
        elif cell < polynomials.shape[0]:
            t = (bits[i] & ((1 << below) - 1)) * scale - 1.0
            x = polynomials[cell, _DEGREE]
            for j in range(_DEGREE - 1, -1, -1):
                x = x * t + polynomials[cell, j]
            found[i] = x * ratio[i]
        elif ratio[i] < math.inf:
            found[i] = _crossing(alpha, 0.0, ratio[i]) * ratio[i]
        else:
            found[i] = ratio[i]
    return found


@compiled
def _widest(u: FloatArray, v: FloatArray, s: float, b: float) -> tuple[int, float, float]:
    """Return the gap with the largest s du + b dv, numbered from 0, with its du and dv; the first of equals."""
    best = -1.0
    gap = 0
    best_du = 0.0
    best_dv = 0.0
    last_u = 0.0
    last_v = 0.0
    for i in range(u.size + 1):
        next_u = u[i] if i < u.size else 1.0
        next_v = v[i] if i < u.size else 1.0
        du = next_u - last_u
        dv = next_v - last_v
        if s * du + b * dv > best:
            best = s * du + b * dv
            gap = i
            best_du = du
            best_dv = dv
        last_u = next_u
        last_v = next_v
    return gap, best_du, best_dv


@compiled
def _limit_over_background(u: FloatArray, v: FloatArray, b: float, alpha: float) -> float:
    # from where the widest gap in u, even without the background in it, excludes all
    _, widest, _ = _widest(u, v, 1.0, 0.0)
    s = -math.log(alpha)
    while _boundary(alpha, s * widest, s + b)[1] >= s + b:
        s = 2.0 * s + b
    for _ in range(200):
        _, du, dv = _widest(u, v, s, b)
        x = s * du + b * dv
        mu = s + b
        x_0, mu_0 = _boundary(alpha, x, mu)
        if mu_0 >= mu:
            break
        _, by_x, by_mu = _tail(x_0, mu_0)
        slope = -by_mu / by_x
        if du <= slope:
            return -1.0
        step = (x - x_0 - slope * (mu - mu_0)) / (du - slope)
        s -= step
        if s < 0.0:
            return -1.0
        if step <= 4e-16 * mu:
            break
    return s


@compiled
def _boundary(alpha: float, x: float, mu: float) -> tuple[float, float]:
    """Return the x_0, mu_0 with C_0(x_0, mu_0) = 1 - alpha on the ray from the origin through x, mu."""
    ratio = max(mu / x, 1.0)
    x_0 = _crossing(alpha, 0.0, ratio)
    return x_0, ratio * x_0


@compiled
def _limits_over_background(n: IntArray, u: FloatArray, v: FloatArray, b: float, alpha: float) -> FloatArray:
    found = np.empty(n.size)
    start = 0
    for toy in range(n.size):
        found[toy] = _limit_over_background(u[start : start + n[toy]], v[start : start + n[toy]], b, alpha)
        start += n[toy]
    return found


@compiled
def _max_gap_cdf_given(x: FloatArray, n: FloatArray) -> FloatArray:
    found = np.empty(x.size)
    for i in range(x.size):
        found[i] = _cdf_given(x[i], n[i])
    return found


@compiled
def _cdf_given(x: float, n: float) -> float:
    if x * (n + 1.0) <= 1.0:
        return 0.0
    if x > 1.0:
        return 1.0
    chance = math.exp(n * math.log1p(-x)) if x < 1.0 else (1.0 if n == 0.0 else 0.0)
    if n > 20.0:
        # the gaps are negatively associated: C_0 is at most what it were if they were independent
        if (n + 1.0) * math.log1p(-chance) < -40.0:
            return 0.0
        if (n + 1.0) * chance > 4.0:
            return _cdf_given_by_inversion(x, n)
    tail = (n + 1.0) * chance
    factor = n + 1.0
    for k in range(2, int(n) + 2):
        if k * x >= 1.0:
            break
        factor *= -(n + 2.0 - k) / k
        term = factor * math.exp(n * math.log1p(-k * x))
        tail += term
        if abs(term) < 1e-18:
            break
    return min(max(1.0 - tail, 0.0), 1.0)


@compiled
def _cdf_given_by_inversion(x: float, n: float) -> float:
    """Return Eq. A4 where its terms cancel, from the density at 1/x of the sum of n + 1 numbers in [0, 1].

    Gaps are exponential numbers whose sum is known. Those below x, over x, have the density a e^-at / (1 - e^-a), where
    a is at choice: with the mean of the sum at 1/x. Its characteristic function is added up over a period beyond
    which nothing of the sum is left.
    """
    m = n + 1.0
    K = 1.0 / x
    low = 0.3  # the result is below 1e-17 where a were less
    high = max(m / K, low)
    for _ in range(50):
        a = 0.5 * (low + high)
        if 1.0 / a - 1.0 / math.expm1(a) > K / m:
            low = a
        else:
            high = a
    z = math.exp(-a)
    deviation = math.sqrt(m * (1.0 / a**2 - 0.25 / math.sinh(0.5 * a) ** 2))
    period = min(m, 32.0 * deviation)
    density = 1.0
    for j in range(1, 10000):
        omega = 2.0 * math.pi * j / period
        log = math.log1p(4.0 * z * (math.sin(0.5 * omega) / (1.0 - z)) ** 2) - math.log1p((omega / a) ** 2)
        angle = math.atan2(omega, a) - math.atan2(z * math.sin(omega), 1.0 - z * math.cos(omega))
        size = math.exp(0.5 * m * log)
        density += 2.0 * size * math.cos(m * angle - omega * K)
        if size < 1e-18:
            break
    cdf = math.exp(m * math.log1p(-z)) * density / period / (a * pmf(int(n), a * K))
    return min(max(cdf, 0.0), 1.0)
