"""Sampling distributions of the one-sided statistics q_mu and q_mu_tilde, enumerated or drawn.

Letters of the papers: n or n_on observed events, s + b their expectation, n_off ~ Pois(tau b) off source; w the share
of the outcomes that tie with the observation which counts as more extreme: 1/2 for a mid-p-value, 1 for an inclusive
one; p_{s+b} and CL_b the p-values of the same statistic with and without the signal; K the last count on source that is
as extreme as the observation.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from covsvc.kernels.compilation import compiled
from covsvc.kernels.poisson import deviance, pmf
from covsvc.kernels.profile import profiled_background, q_count, q_on_off

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

TIE = 1e-9
"""Two values q of the statistic tie if they differ by less than TIE (1 + q): rounding may part them."""

MOST_OFF_SOURCE, MOST_ON_SOURCE = 2_000_000, 200_000
"""Most counts that the enumeration of one p-value goes through, which then takes some 10 ms."""

_NEGLIGIBLE = 1e-12
"""Share of a p-value that its enumeration may leave out at either end."""

_TOP, _TOO_HIGH = -1.2, -2.2
"""The search for the last crossing starts between these values of ln p - ln alpha.

Where outcomes change places p rises, by a factor 2.5 at most (seen at few counts, tau 1e-4 to 100).
"""

_SMALLEST_STEP = 0.005
"""Smallest step of this search, in ln p."""

_PRECISION = 1e-10
"""Of ln p at the limit."""


@compiled
def _mid_sum(n: int, nu: float) -> float:
    """Return [P(N < n) + P(N <= n)] / P(N = n) for nu >= n > 0."""
    total = 1.0
    term = 2.0
    k = n
    while k > 0 and term > 1e-17 * total:
        term *= k / nu
        total += term
        k -= 1
    return total


@compiled
def _mid_above(n: int, nu: float) -> float:
    """Return P(N > n) + P(N = n) / 2 for nu <= n."""
    total = 1.0
    term = 2.0
    k = n
    while term > 1e-17 * total:
        k += 1
        term *= nu / k
        total += term
    return 0.5 * pmf(n, nu) * total


@compiled
def _mid_upper_one(n: int, b: float, alpha: float, cls: bool) -> float:
    """Return the s with ln p_{s+b} = ln alpha [+ ln CL_b]; it is concave in s, so Newton's steps need no bracket."""
    log_alpha = math.log(alpha)
    if n == 0:
        return -log_alpha if cls else -math.log(2.0 * alpha) - b
    if cls and n < b:
        # far in the tail both underflow, but not their ratio
        at_zero = _mid_sum(n, b)
        s = -log_alpha
        for _ in range(200):
            inside = _mid_sum(n, s + b)
            excess = n * math.log1p(s / b) - s + math.log(inside / at_zero) - log_alpha
            step = excess * inside / (1.0 + n / (s + b))
            s = max(s + step, 0.0)
            if abs(step) <= 1e-15 * s:
                break
        return s
    wanted = alpha * (1.0 - _mid_above(n, b)) if cls else alpha
    log = -math.log(wanted)
    peak = math.log(0.5 * pmf(n, float(n)))
    nu = n + log + math.sqrt(log * log + 2.0 * n * log)  # Chernoff's bound
    for _ in range(200):
        inside = _mid_sum(n, nu)
        excess = peak - deviance(float(n), nu) + math.log(inside) + log
        step = excess * inside / (1.0 + n / nu)
        nu = max(nu + step, float(n))
        if abs(step) <= 1e-15 * nu:
            break
    return nu - b


@compiled
def mid_upper(n: IntArray, b: FloatArray, alpha: float, cls: bool) -> FloatArray:
    """Return the signals at which the mid-p-value of a count with known background has fallen to alpha.

    The statistic orders the counts below s + b by size, so that p_{s+b} = P(N < n) + P(N = n)/2 at the mean s + b.

    Parameters
    ----------
    n : ndarray of int, shape (toy,)
        Observed events.
    b : ndarray of float, shape (toy,)
        Expected background events.
    alpha : float
        1 - cl, at most 1/2.
    cls : bool
        Divide by the same at the mean b.

    Returns
    -------
    ndarray of float, shape (toy,)
        Expected signal events; below 0 where no signal is left.
    """
    s = np.empty(n.size)
    for i in range(n.size):
        s[i] = _mid_upper_one(n[i], b[i], alpha, cls)
    return s


@compiled
def _up_to(k: int, nu: float) -> tuple[float, float]:
    """Return P(N = k) and P(N <= k), whatever their size."""
    if k < 0:
        return 0.0, 0.0
    last = pmf(k, nu)
    if k > nu + 40.0 + 10.0 * math.sqrt(nu):
        return last, 1.0
    term = last
    total = last
    while k > 0 and nu > 0.0 and (k > nu or term > 1e-17 * total):
        term *= k / nu
        k -= 1
        total += term
    return last, min(total, 1.0)


@compiled
def statistic_on_off(n_on: float, n_off: float, tau: float, s: float, tilde: bool) -> float:
    """Return `q_on_off`; for q_mu_tilde at s = 0, where it vanishes, its slope in s, which orders alike."""
    if s > 0.0 or not tilde:
        return q_on_off(n_on, n_off, tau, s, tilde)
    b = (n_on + n_off) / (1.0 + tau)
    return 2.0 * max(1.0 - n_on / b, 0.0) if b > 0.0 else 2.0


@compiled
def _last_on(K: int, m: int, tau: float, s: float, tilde: bool, least: float) -> int:
    """Return the last count >= K on source whose statistic is at least `least` at m off source; K if none is."""
    step = 1
    while statistic_on_off(K + step, m, tau, s, tilde) >= least:
        K += step
        step *= 2
    while step > 1:
        step //= 2
        if statistic_on_off(K + step, m, tau, s, tilde) >= least:
            K += step
    return K


@compiled
def p_values_on_off(n_on: int, n_off: int, tau: float, s: float, tilde: bool, w: float) -> tuple[float, float]:
    """Return p_{s+b} and CL_b by adding up the outcomes that are as extreme as the observed one.

    For each count off source these are a run 0..K of counts on source, and K rises with the count off source: q falls
    with the one and rises with the other, for dq/dn_on = 2 ln(n_on/(s+b)) and dq/dn_off = 2 ln(bhat/b) at the two fits.

    Parameters
    ----------
    n_on, n_off : int
        Observed events.
    tau : float
        Expected background off source over that on source.
    s : float
        Expected signal events of the hypothesis; at 0, what the p-values tend to.
    tilde : bool
        q_mu_tilde, else q_mu.
    w : float
        Share of the ties that counts.

    Returns
    -------
    p, cl_b : float
        Probability under the background profiled at s, and without signal under the background profiled at 0; NaN if
        more counts matter than MOST_OFF_SOURCE or MOST_ON_SOURCE.
    """
    q = statistic_on_off(n_on, n_off, tau, s, tilde)
    least = q - TIE * (1.0 + q)
    most = q + TIE * (1.0 + q)
    if least <= 0.0:
        return 1.0, 1.0
    b = profiled_background(n_on, n_off, tau, s)
    b_0 = (n_on + n_off) / (1.0 + tau)
    nu = s + b
    off = tau * b
    off_0 = tau * b_0
    if 16.0 * (math.sqrt(off) + math.sqrt(off_0)) > MOST_OFF_SOURCE or 16.0 * math.sqrt(max(nu, b_0)) > MOST_ON_SOURCE:
        return math.nan, math.nan
    # Chernoff's bound on the lower tail of each of the two distributions; off <= off_0
    reach = -2.0 * math.log(_NEGLIGIBLE)
    m = int(max(off - math.sqrt(reach * off), 0.0))
    start_0 = int(max(off_0 - math.sqrt(reach * off_0), 0.0))
    K = _last_on(-1, m, tau, s, tilde, least)
    strict = K
    while strict >= 0 and statistic_on_off(strict, m, tau, s, tilde) <= most:
        strict -= 1
    on, below = _up_to(K, nu)
    on_0, below_0 = _up_to(K, b_0)
    row = pmf(m, off)
    row_0 = pmf(m, off_0)
    same = m  # up to this count off source K is known to stay as it is
    p = 0.0
    cl_b = 0.0
    while True:
        tied = 0.0
        tied_0 = 0.0
        term = on
        term_0 = on_0
        for k in range(K, strict, -1):
            tied += term
            tied_0 += term_0
            term *= k / nu if nu > 0.0 else 0.0
            term_0 *= k / b_0 if b_0 > 0.0 else 0.0
        p += row * (below - (1.0 - w) * tied)
        cl_b += row_0 * (below_0 - (1.0 - w) * tied_0)
        m += 1
        row = row * off / m if row > 1e-280 else pmf(m, off)
        row_0 = row_0 * off_0 / m if row_0 > 1e-280 else pmf(m, off_0)
        if m > off and row <= _NEGLIGIBLE * p * (1.0 - off / m):
            if m > off_0 and row_0 <= _NEGLIGIBLE * cl_b * (1.0 - off_0 / m):
                return p, cl_b
            if m < start_0:
                m = start_0
                row = pmf(m, off)
                row_0 = pmf(m, off_0)
        last = K
        if m > same:
            run = max(int(tau), 1)
            while run > 1 and statistic_on_off(K + 1, m + run - 1, tau, s, tilde) >= least:
                run //= 2
            if run > 1:
                same = m + run - 1
            else:
                last = _last_on(K, m, tau, s, tilde, least)
        if last - K > 100:
            K = last
            on, below = _up_to(K, nu)
            on_0, below_0 = _up_to(K, b_0)
        while last > K:
            K += 1
            on = on * nu / K if on > 1e-280 else pmf(K, nu)
            on_0 = on_0 * b_0 / K if on_0 > 1e-280 else pmf(K, b_0)
            below += on
            below_0 += on_0
        if strict < K:
            last = K
            while last > strict and statistic_on_off(last, m, tau, s, tilde) <= most:
                last -= 1
            strict = last


@compiled
def _log_ratio(n_on: int, n_off: int, tau: float, s: float, tilde: bool, w: float, alpha: float, cls: bool) -> float:
    """Return ln p - ln alpha, p = p_{s+b} or p_{s+b}/CL_b; +inf where CL_b vanishes."""
    p, cl_b = p_values_on_off(n_on, n_off, tau, s, tilde, w)
    if cls:
        if cl_b == 0.0:
            return math.inf
        p /= cl_b
    return math.log(p / alpha) if p > 0.0 else (-math.inf if p == 0.0 else math.nan)


@compiled
def reach_on_off(n_on: float, n_off: float, tau: float, q: float) -> float:
    """Return the s above shat, at least 0, at which q_mu_tilde of the observation is `q`."""
    left = max(n_on - n_off / tau, 0.0)
    width = q
    while q_on_off(n_on, n_off, tau, left + width, True) < q:
        left += width
        width *= 2.0
    while width > 1e-3 * left:
        width *= 0.5
        if q_on_off(n_on, n_off, tau, left + width, True) < q:
            left += width
    return left + width


@compiled
def _excluded_above(
    n_on: int, n_off: int, tau: float, tilde: bool, w: float, alpha: float, cls: bool
) -> tuple[float, float, float]:
    """Return a signal beyond the last crossing, ln p - ln alpha there, and the slope of it."""
    s = reach_on_off(n_on, n_off, tau, max(-2.0 * math.log(alpha) - 1.0, 0.5))
    low, high = max(n_on - n_off / tau, 0.0), math.inf
    narrow = 1e-3 * (s - low)
    slope = -0.7 * (q_on_off(n_on, n_off, tau, s + narrow, True) - q_on_off(n_on, n_off, tau, s, True)) / narrow
    old, old_excess = 0.0, math.nan
    while True:
        excess = _log_ratio(n_on, n_off, tau, s, tilde, w, alpha, cls)
        if math.isnan(excess) or excess == math.inf or _TOO_HIGH <= excess <= _TOP:
            return s, excess, slope
        if excess > _TOP:
            low = s
        else:
            high = s
        if high - low <= narrow:
            return high, _TOO_HIGH, slope
        if not math.isnan(old_excess) and excess > -math.inf and old_excess > -math.inf:
            secant = (excess - old_excess) / (s - old)
            slope = max(min(secant, 0.3 * slope), 3.0 * slope)
        old, old_excess = s, excess
        new = s + (0.5 * (_TOP + _TOO_HIGH) - excess) / slope
        if not low < new < high:
            new = 0.5 * (low + high) if high < math.inf else 2.0 * s
        s = new


@compiled
def _upper_on_off_one(n_on: int, n_off: int, tau: float, tilde: bool, w: float, alpha: float, cls: bool) -> float:
    if n_on == 0 and (tilde or n_off == 0):
        # q = 2 s for all outcomes without an event on source, and b does not depend on s
        return -math.log(alpha) if cls else -math.log(alpha / w) - n_off / (1.0 + tau)
    least = max(n_on - n_off / tau, 0.0)
    if not cls and least == 0.0 and _log_ratio(n_on, n_off, tau, 0.0, tilde, w, alpha, cls) < _TOP:
        return -1.0
    excluded, low, slope = _excluded_above(n_on, n_off, tau, tilde, w, alpha, cls)
    if not low < 0.0:
        return low  # NaN or +inf
    while True:
        # part of the way to alpha at the steepest slope so far: a rise of p that ends in a crossing is not stepped over
        accepted = max(excluded - max(-0.6 * low, _SMALLEST_STEP) / -slope, least)
        if accepted == least and (cls or least > 0.0):
            high = math.log(0.5 / alpha)
            break
        high = _log_ratio(n_on, n_off, tau, accepted, tilde, w, alpha, cls)
        if high > 0.0:
            break
        if accepted == 0.0:
            return -1.0
        slope = min(slope, (low - high) / (excluded - accepted))
        excluded, low = accepted, high
    # regula falsi, and bisection where it did not halve the bracket twice: p may jump
    slow = 0
    while excluded - accepted > 1e-11 * excluded:
        width = excluded - accepted
        bisect = slow == 2 or high == math.inf or low == -math.inf
        s = accepted + (0.5 if bisect else high / (high - low)) * width
        excess = _log_ratio(n_on, n_off, tau, s, tilde, w, alpha, cls)
        if abs(excess) <= _PRECISION:
            return s
        if excess > 0.0:
            accepted, high = s, excess
        else:
            excluded, low = s, excess
        slow = slow + 1 if slow < 2 and excluded - accepted > 0.5 * width else 0
    return accepted


@compiled
def upper_on_off(
    n_on: IntArray, n_off: IntArray, tau: float, tilde: bool, w: float, alpha: float, cls: bool
) -> FloatArray:
    """Return the largest signals that the enumerated sampling distribution does not exclude.

    Parameters
    ----------
    n_on, n_off : ndarray of int, shape (toy,)
        Observed events.
    tau, tilde, w
        As `p_values_on_off` takes them.
    alpha : float
        1 - cl, at most 1/2.
    cls : bool
        Compare p_{s+b}/CL_b with alpha, else p_{s+b}.

    Returns
    -------
    ndarray of float, shape (toy,)
        Expected signal events; -1 where none is left, +inf where CL_b vanishes, NaN where too many counts matter.
    """
    upper = np.empty(n_on.size)
    for i in range(n_on.size):
        upper[i] = _upper_on_off_one(n_on[i], n_off[i], tau, tilde, w, alpha, cls)
    return upper


@compiled
def weights_count(toys: IntArray, n: int, b: float, s: float, tilde: bool, w: float) -> FloatArray:
    """Return for each toy 1 where its statistic exceeds that of `n` events, w where it ties, else 0.

    Parameters
    ----------
    toys : ndarray of int, shape (toy,)
        Events of each.
    n : int
        Observed events.
    b, s : float
        Expected background and signal events of the hypothesis.
    tilde, w
        As `p_values_on_off` takes them.
    """
    tilde &= s > 0.0  # at s = 0 q_mu_tilde vanishes; for s -> 0 it orders as q_mu does
    q = q_count(n, b, s, tilde)
    margin = TIE * (1.0 + q)
    weights = np.empty(toys.size)
    for i in range(toys.size):
        above = q_count(toys[i], b, s, tilde) - q
        weights[i] = 1.0 if above > margin else (w if above >= -margin else 0.0)
    return weights


@compiled
def weights_on_off(
    on: IntArray, off: IntArray, n_on: int, n_off: int, tau: float, s: float, tilde: bool, w: float
) -> FloatArray:
    """Return for each toy 1 where its statistic exceeds the observed one, w where it ties, else 0.

    Parameters
    ----------
    on, off : ndarray of int, shape (toy,)
        Events of each, on and off source.
    n_on, n_off, tau, s, tilde, w
        As `p_values_on_off` takes them.
    """
    q = statistic_on_off(n_on, n_off, tau, s, tilde)
    margin = TIE * (1.0 + q)
    weights = np.empty(on.size)
    for i in range(on.size):
        above = statistic_on_off(on[i], off[i], tau, s, tilde) - q
        weights[i] = 1.0 if above > margin else (w if above >= -margin else 0.0)
    return weights
