"""Likelihood ratios of a Poisson count whose background is known or counted off source.

Letters of the papers: n or n_on observed events, s + b their expectation, n_off ~ Pois(tau b) off source, shat the
signal of the largest likelihood, q_mu and q_mu_tilde the one-sided statistics at the hypothesis s.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from covsvc.kernels.compilation import compiled

FloatArray = NDArray[np.float64]

_UNBOUNDED, _BOUNDED, _ASIMOV = 0, 1, 2  # shat of any sign; shat >= 0; shat = 0


@compiled
def _sum(x: float, y: float) -> tuple[float, float]:
    """Return x + y and its rounding error (Knuth)."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


@compiled
def _rest(x: float, y: float, quotient: float) -> float:
    """Return x / y - quotient, the rounding error of the quotient (Dekker's product)."""
    split = 134217729.0 * quotient
    high = split - (split - quotient)
    low = quotient - high
    split = 134217729.0 * y
    y_high = split - (split - y)
    y_low = y - y_high
    product = quotient * y
    error = ((high * y_high - product) + high * y_low + low * y_high) + low * y_low
    return ((x - product) - error) / y


@compiled
def _distance(n: float, b: float, s: float) -> float:
    """Return n - b - s, right in all digits also where the three nearly cancel."""
    above, first = _sum(float(n), -b)
    total, second = _sum(above, -s)
    return total + (first + second)


@compiled
def _distance_on_off(n_on: float, n_off: float, tau: float, s: float) -> float:
    """Return shat - s, shat = n_on - n_off / tau, right in all digits also where these nearly cancel."""
    b = n_off / tau
    above, first = _sum(float(n_on), -b)
    total, second = _sum(above, -s)
    return total + (first + second - _rest(float(n_off), tau, b))


@compiled
def _deviance(x: float, nu: float, difference: float) -> float:
    """Return x ln(x/nu) + nu - x, where difference = x - nu is known better than x and nu tell."""
    if x == 0.0:
        return nu
    if abs(difference) >= 0.1 * (x + nu):
        ratio = x / nu
        return x * math.log(ratio) - difference if ratio > 0.0 else -difference
    v = difference / (x + nu)
    total = difference * v
    term = 2.0 * x * v
    v *= v
    j = 3.0
    while True:
        term *= v
        larger = total + term / j
        if larger == total:
            return total
        total = larger
        j += 2.0


@compiled
def profiled_background(n_on: float, n_off: float, tau: float, s: float) -> float:
    """Return the background on source of the largest likelihood at the signal `s`.

    Parameters
    ----------
    n_on, n_off : float
        Events on and off source; those of an Asimov set are no whole numbers.
    tau : float
        Expected background off source over that on source.
    s : float
        Expected signal events.

    References
    ----------
    .. [1] W. A. Rolke, A. M. Lopez and J. Conrad, Nucl. Instrum. Meth. A 551 (2005) 493.
    """
    # b^2 - (at_zero - s) b - least s = 0
    at_zero = (n_on + n_off) / (1.0 + tau)
    least = n_off / (1.0 + tau)
    left = at_zero - s
    root = math.sqrt(left * left + 4.0 * least * s)
    if left >= 0.0:
        return 0.5 * (left + root)
    return 2.0 * least * s / (root - left)


@compiled
def q_count(n: float, b: float, s: float, tilde: bool) -> float:
    """Return the one-sided statistic of the signal `s` for one count with known background.

    Parameters
    ----------
    n : float
        Observed events; those of an Asimov set are no whole number.
    b, s : float
        Expected background and signal events.
    tilde : bool
        q_mu_tilde, whose fitted signal is >= 0; else q_mu.

    Returns
    -------
    float
        0 where shat >= s.

    References
    ----------
    .. [1] G. Cowan, K. Cranmer, E. Gross and O. Vitells, Eur. Phys. J. C 71 (2011) 1554, Eq. 14 and 16.
    """
    distance = _distance(n, b, s)
    if distance >= 0.0:
        return 0.0
    if tilde and n < b:
        if n == 0.0:
            return 2.0 * s
        return 2.0 * ((b - n) * math.log1p(s / b) + _deviance(b, b + s, -s))
    return 2.0 * _deviance(float(n), b + s, distance)


@compiled
def q_on_off(n_on: float, n_off: float, tau: float, s: float, tilde: bool) -> float:
    """Return the one-sided statistic of the signal `s` for counts on and off source, the background profiled.

    Parameters
    ----------
    n_on, n_off : float
        Events on and off source; those of an Asimov set are no whole numbers.
    tau : float
        Expected background off source over that on source.
    s : float
        Expected signal events.
    tilde : bool
        q_mu_tilde, whose fitted signal is >= 0; else q_mu.

    Returns
    -------
    float
        0 where shat >= s.

    References
    ----------
    .. [1] G. Cowan, K. Cranmer, E. Gross and O. Vitells, Eur. Phys. J. C 71 (2011) 1554, Eq. 14 and 16.
    """
    distance = _distance_on_off(n_on, n_off, tau, s)
    if distance >= 0.0:
        return 0.0
    b = profiled_background(n_on, n_off, tau, s)
    if tilde:
        shat = _distance_on_off(n_on, n_off, tau, 0.0)
        if shat < 0.0:
            # n_on = at_zero + share, n_off = tau at_zero - share: three terms, none negative
            at_zero = (n_on + n_off) / (1.0 + tau)
            share = shat * tau / (1.0 + tau)
            on = _deviance(at_zero, s + b, -s * n_off / (b * (1.0 + tau)))
            off = tau * _deviance(at_zero, b, s * n_on / ((s + b) * (1.0 + tau)))
            return 2.0 * (on + off - share * math.log1p(s / b))
    # the likelihood is stationary in b, which gives n_on - (s + b) and n_off - tau b as shares of the distance
    share = tau * distance / (tau * s + (1.0 + tau) * b)
    return 2.0 * (_deviance(float(n_on), s + b, share * (s + b)) + _deviance(float(n_off), tau * b, -share * b))


@compiled
def statistics_on_off(n_on: FloatArray, n_off: FloatArray, tau: float, s: float, tilde: bool) -> FloatArray:
    """Return the one-sided statistic of the signal `s` for each pair of counts.

    Parameters
    ----------
    n_on, n_off : ndarray, shape (toy,)
        Events on and off source.
    tau, s, tilde
        As `q_on_off` takes them.
    """
    q = np.empty(n_on.size)
    for i in range(n_on.size):
        q[i] = q_on_off(n_on[i], n_off[i], tau, s, tilde)
    return q


@compiled
def _mills(x: float) -> float:
    """Return the survival function of the normal distribution over its density at x >= 0."""
    if x < 10.0:
        return math.sqrt(0.5 * math.pi) * math.erfc(math.sqrt(0.5) * x) * math.exp(0.5 * x * x)
    total = 0.0
    term = 1.0
    k = 1.0
    while abs(term) > 1e-17:
        total += term
        term *= -k / (x * x)
        k += 2.0
    return total / x


@compiled
def tail_ratio(x: float, step: float) -> tuple[float, float, float]:
    """Return the logarithm of the ratio of two tails of the normal distribution, and the two hazards.

    Parameters
    ----------
    x : float
        Where the tail of the denominator begins.
    step : float
        How much farther that of the numerator begins; x + step >= 0.

    Returns
    -------
    logarithm : float
        ln [1 - Phi(x + step)] - ln [1 - Phi(x)], also where both underflow.
    hazard, hazard_of_step : float
        Density over tail at x and at x + step.
    """
    y = x + step
    mills = _mills(y)
    if x >= 0.0:
        below = _mills(x)
        return math.log(mills / below) - 0.5 * step * (x + y), 1.0 / below, 1.0 / mills
    scale = math.sqrt(0.5 / math.pi)
    tail = 0.5 * math.erfc(math.sqrt(0.5) * x)
    return math.log(mills * scale / tail) - 0.5 * y * y, scale * math.exp(-0.5 * x * x) / tail, 1.0 / mills


@compiled
def _signal(n: float, off: float, tau: float) -> float:
    """Return shat; tau = +inf stands for a known background, here and below, and `off` is that background."""
    return n - off if tau == math.inf else _distance_on_off(n, off, tau, 0.0)


@compiled
def _background(n: float, off: float, tau: float) -> float:
    """Return the background of the Asimov set, that of the largest likelihood at s = 0."""
    return off if tau == math.inf else (n + off) / (1.0 + tau)


@compiled
def _observed(n: float, off: float, tau: float, s: float, tilde: bool) -> tuple[float, float]:
    """Return the statistic of the signal `s` and its slope there."""
    if tau == math.inf:
        return q_count(n, off, s, tilde), -2.0 * _distance(n, off, s) / (s + off)
    b = profiled_background(n, off, tau, s)
    slope = -2.0 * tau * _distance_on_off(n, off, tau, s) / (tau * s + (1.0 + tau) * b)
    return q_on_off(n, off, tau, s, tilde), slope


@compiled
def _asimov(b: float, tau: float, s: float) -> tuple[float, float]:
    """Return the statistic of the signal `s`, and its slope there, for just the background `b`."""
    if tau == math.inf:
        return 2.0 * _deviance(b, s + b, -s), 2.0 * s / (s + b)
    fit = profiled_background(b, tau * b, tau, s)
    share = tau * s / (tau * s + (1.0 + tau) * fit)
    on = _deviance(b, s + fit, -share * (s + fit))
    return 2.0 * (on + tau * _deviance(b, fit, share * fit / tau)), 2.0 * share


@compiled
def _next(newton: float, left: float, right: float, trial: int) -> float:
    """Return the next point of a search: Newton's, kept in the bracket and from going round in circles."""
    if left <= newton <= right and (trial < 8 or trial % 2 == 0):
        return newton
    return 0.5 * (left + right) if right < math.inf else 2.0 * left


@compiled
def _settled(newton: float, s: float, left: float, right: float, bottom: float) -> bool:
    """Tell whether the next point is the root: its distance from `bottom` has all its digits, or as many as it can."""
    if right < math.inf and right - left <= 4e-16 * right:
        return True
    # Newton's steps square the error: the next one would be of 1e-18
    return left <= newton <= right and abs(newton - s) <= max(1e-9 * (newton - bottom), 4e-16 * newton)


@compiled
def _level(n: float, off: float, tau: float, kind: int, z: float) -> float:
    """Return the largest s >= 0 whose statistic is z^2, -1 where it exceeds that at s = 0 already.

    Profile likelihoods of Poisson counts are convex: there is one root above shat, and Newton's method finds it.
    """
    shat = 0.0 if kind == _ASIMOV else _signal(n, off, tau)
    left = max(shat, 0.0)
    if z == 0.0:
        return left if shat >= 0.0 or kind == _BOUNDED else -1.0
    right = math.inf
    if shat >= 0.0:
        s = left + z * math.sqrt(n + off / tau / tau) + z * z / 3.0
    else:
        variance = _background(n, off, tau) * (1.0 + 1.0 / tau)
        rest = z * z - (_observed(n, off, tau, 0.0, False)[0] if kind == _UNBOUNDED else 0.0)
        if rest < 0.0:
            return -1.0
        # of a parabola; no slope exceeds 2
        s = max(rest * variance / (math.sqrt(shat * shat + rest * variance) - shat), 0.5 * rest)
    for trial in range(200):
        if kind == _ASIMOV:
            q, slope = _asimov(n, tau, s)
        else:
            q, slope = _observed(n, off, tau, s, kind == _BOUNDED)
        if q <= 0.0:
            return s  # the root is closer to shat than doubles are to each other
        if q > z * z:
            right = s
        else:
            left = s
        if kind == _BOUNDED and shat < 0.0:
            newton = s - (q - z * z) / slope
        else:
            # the root of q is straighter than q
            root = math.sqrt(q)
            newton = s - (root - z) * 2.0 * root / slope
        if _settled(newton, s, left, right, max(shat, 0.0)):
            return min(max(newton, left), right)
        s = _next(newton, left, right, trial)
    return math.nan


@compiled
def likelihood_upper(n: FloatArray, off: FloatArray, tau: float, z: float, bounded: bool) -> FloatArray:
    """Return the largest signal whose likelihood ratio is z^2.

    Parameters
    ----------
    n : ndarray of float, shape (toy,)
        Observed events, on source.
    off : ndarray of float, shape (toy,)
        Events off source; the background itself where it is known.
    tau : float
        Expected background off source over that on source; +inf: the background is known.
    z : float
        Quantile of the normal distribution, >= 0.
    bounded : bool
        Whether the fitted signal is >= 0.

    Returns
    -------
    ndarray of float, shape (toy,)
        Expected signal events; -1 where no s >= 0 is left.
    """
    upper = np.empty(n.size)
    for i in range(n.size):
        upper[i] = _level(n[i], off[i], tau, _BOUNDED if bounded else _UNBOUNDED, z)
    return upper


@compiled
def asimov_upper(n: FloatArray, off: FloatArray, tau: float, z: float) -> FloatArray:
    """Return the signal at which q_mu of the Asimov set without signal is z^2; arguments as `likelihood_upper`'s.

    The Asimov set of counts on and off source has the background fitted at s = 0.
    """
    upper = np.empty(n.size)
    for i in range(n.size):
        b = _background(n[i], off[i], tau)
        upper[i] = _level(b, 0.0 if tau == math.inf else tau * b, tau, _ASIMOV, z)
    return upper


@compiled
def _tails(n: float, off: float, tau: float, s: float, tilde: bool) -> tuple[float, float, float, float]:
    """Return x and a, s+b having the tail 1 - Phi(x + a) and b the tail 1 - Phi(x), and the slopes of x and x + a."""
    q, slope = _observed(n, off, tau, s, tilde)
    q_A, slope_A = _asimov(_background(n, off, tau), tau, s)
    a = math.sqrt(q_A)
    rise = 0.5 * slope_A / a
    if tilde and _signal(n, off, tau) < 0.0:  # just there q > q_A
        y_rise = 0.5 * slope / a + 0.5 * rise * (1.0 - q / q_A)
        return 0.5 * (q - q_A) / a, a, y_rise - rise, y_rise
    root = math.sqrt(q)
    y_rise = 0.5 * slope / root if root > 0.0 else 0.0
    return root - a, a, y_rise - rise, y_rise


@compiled
def _cls_guess(n: float, off: float, tau: float, shat: float, log_alpha: float) -> float:
    """Return about the signal whose CLs is alpha, as if shat had a normal distribution."""
    width = math.sqrt(n + off / tau / tau if shat > 0.0 else _background(n, off, tau) * (1.0 + 1.0 / tau))
    x = -shat / width if width > 0.0 else 0.0
    if x > 1.0:
        hazard = 1.0 / _mills(x)
        step = -2.0 * log_alpha / (hazard + math.sqrt(hazard * (hazard - 2.0 * (hazard - x) * log_alpha)))
        return width * step + step * step / 3.0
    t = math.sqrt(-2.0 * (log_alpha + math.log(0.5 * math.erfc(math.sqrt(0.5) * x))))
    # Hastings' quantile of the normal distribution
    y = t - (2.515517 + (0.802853 + 0.010328 * t) * t) / (1.0 + (1.432788 + (0.189269 + 0.001308 * t) * t) * t)
    y = max(y, 1e-6)
    return shat + width * y + y * y / 3.0


@compiled
def _cls_root(n: float, off: float, tau: float, log_alpha: float, tilde: bool) -> float:
    """Return the signal whose CLs is alpha: there is one, for CLs falls with s wherever the statistic rises."""
    shat = _signal(n, off, tau)
    bottom = max(shat, 0.0)
    left = bottom
    right = math.inf
    target = math.sqrt(-2.0 * log_alpha)
    s = _cls_guess(n, off, tau, shat, log_alpha)
    for trial in range(200):
        if s <= bottom:
            return bottom  # the root is closer to shat than doubles are to each other
        x, a, x_rise, y_rise = _tails(n, off, tau, s, tilde)
        if x + a <= 0.0:
            return s
        logarithm, hazard_x, hazard_y = tail_ratio(x, a)
        if logarithm > log_alpha:
            left = s
        else:
            right = s
        # the root of the logarithm is straighter than itself
        root = math.sqrt(-2.0 * logarithm)
        slope = (hazard_y * y_rise - hazard_x * x_rise) / root
        newton = s - (root - target) / slope
        if _settled(newton, s, left, right, bottom):
            return min(max(newton, left), right)
        s = _next(newton, left, right, trial)
    return math.nan


@compiled
def _tilde_bracket(n: float, off: float, tau: float, z: float) -> tuple[float, float]:
    """Return signals between which y, 1 - Phi(y) the p-value of q_mu_tilde, passes z for the last time; shat < 0.

    With a known background y rises: it is (1 - n/b) y_0 + (n/b) sqrt q_A, y_0 that of n = 0. For counts on and off
    source with tau < 0.4 it can have a dip. Both statistics rise, so that between left and right
    y = (q / sqrt q_A + sqrt q_A) / 2 is at least what q at the left and q_A at the worse end give. A dip that passes z
    by less than 1e-5 of it may stay unseen.
    """
    b = _background(n, off, tau)
    variance = b * (1.0 + 1.0 / tau)
    at_zero = -_signal(n, off, tau) / math.sqrt(variance)
    right = _level(b, 0.0 if tau == math.inf else tau * b, tau, _ASIMOV, z)
    if tau < 0.5:
        above = z  # sqrt q_A at the right
        share = 0.5
        while right > 1e-3 * min(math.sqrt(variance), b):
            left = right * (1.0 - share)
            x, a, _, _ = _tails(n, off, tau, left, True)
            if 0.5 * (a * (a + 2.0 * x) / above + a) >= z or (share < 1e-3 and x + a >= z):
                right, above = left, a
                share = min(2.0 * share, 0.5)
            elif share < 1e-3:
                return left, right
            else:
                share *= 0.5
    return (0.0, right) if at_zero < z else (-1.0, -1.0)


@compiled
def _tilde_root(n: float, off: float, tau: float, z: float) -> float:
    """Return the largest signal whose p-value of q_mu_tilde is 1 - Phi(z), -1 where there is none; shat < 0."""
    left, right = _tilde_bracket(n, off, tau, z) if z > 0.0 else (-1.0, -1.0)
    if right < 0.0:
        return -1.0
    s = 0.5 * (left + right)
    for trial in range(200):
        x, a, _, rise = _tails(n, off, tau, s, True)
        if x + a < z:
            left = s
        else:
            right = s
        newton = s - (x + a - z) / rise if rise > 0.0 else -1.0
        if _settled(newton, s, left, right, 0.0):
            return min(max(newton, left), right)
        s = _next(newton, left, right, trial)
    return s  # y(0+) = z: halved to nothing


@compiled
def asymptotic_upper(
    n: FloatArray, off: FloatArray, tau: float, alpha: float, z: float, tilde: bool, cls: bool
) -> FloatArray:
    """Return the largest signal whose p-value, or CLs, by the asymptotic distributions is alpha.

    Parameters
    ----------
    n, off, tau
        As `likelihood_upper` takes them.
    alpha : float
        1 - cl.
    z : float
        Quantile of the normal distribution at cl.
    tilde : bool
        q_mu_tilde; else q_mu.
    cls : bool
        CLs; else the p-value of s + b.

    Returns
    -------
    ndarray of float, shape (toy,)
        Expected signal events; -1 where no s >= 0 is left.

    References
    ----------
    .. [1] G. Cowan, K. Cranmer, E. Gross and O. Vitells, Eur. Phys. J. C 71 (2011) 1554, Section 3.6-3.7.
    """
    upper = np.empty(n.size)
    log_alpha = math.log(alpha)
    for i in range(n.size):
        if cls:
            upper[i] = _cls_root(n[i], off[i], tau, log_alpha, tilde)
        elif tilde and _signal(n[i], off[i], tau) < 0.0:
            upper[i] = _tilde_root(n[i], off[i], tau, z)
        else:
            upper[i] = _level(n[i], off[i], tau, _UNBOUNDED, z)
    return upper
