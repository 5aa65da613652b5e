"""Likelihood ratios and the limits from them by their definitions: 60 digits, slowly, and nothing of covsvc.

Data are (n, b), a count with known background, or (n_on, n_off, tau), counts on and off source. Paper: Cowan, Cranmer,
Gross and Vitells, Eur. Phys. J. C 71 (2011) 1554.
"""

import mpmath
import numpy as np
from mpmath import mpf

DIGITS = 60

# far tails, all scales; the last ones: a quotient n_off/tau that cancels n_on in all but its last digits
HARD_COUNTS = [
    (0, 0.0),
    (0, 5e-324),
    (0, 1e-300),
    (1, 5e-324),
    (0, 1e-12),
    (0, 0.3),
    (0, 3.0),
    (0, 1e6),
    (1, 0.0),
    (1, 1e-300),
    (1, 1.0),
    (2, 1e3),
    (7, 7.0000001),
    (400, 1e-300),
    (990_000, 1e6),
    (1_000_000, 0.0),
    (1_000_000, 1e6),
    (1_000_000, 999_999.9),
]
HARD_ON_OFF = [
    (0, 0, 1e-4),
    (0, 0, 1e6),
    (0, 1, 1e-4),
    (0, 1, 0.4),
    (0, 10**12, 1e6),
    (1, 0, 1.0),
    (1, 10**12, 1e6),
    (2, 6, 1.9e-4),
    (3, 3, 1.0),
    (27, 1, 2.4e-4),
    (54, 1, 1.25e-3),
    (331, 1, 5.1e-4),
    (5, 1_500_001, 3e5),
    (1000, 0, 1e-4),
    (39_106, 8, 1.2e-4),
    (999_000, 10**12, 1e6),
    (1_000_000, 0, 1e6),
    (1_000_000, 1, 1e-4),
    (1_000_000, 10**12, 1e6),
    (1_000_000, 333_333_333, 333.3333333),
]
LEVELS = [0.5, 0.5 + 1e-9, 0.68, 0.9, 0.95, 0.999, 1 - 1e-9]


def random_counts(size, seed=1554):
    """Return n, b over all scales, half of the n close to b."""
    rng = np.random.default_rng(seed)
    for i in range(size):
        b = float(10 ** rng.uniform(-6, 6))
        yield int(min(rng.poisson(b) if i % 2 else 10 ** rng.uniform(-1, 6), 10**6)), b


def random_on_off(size, seed=1554):
    """Return n_on, n_off, tau over all scales, half of them as drawn without signal."""
    rng = np.random.default_rng(seed)
    for i in range(size):
        tau, b = float(10 ** rng.uniform(-4, 6)), 10 ** rng.uniform(-6, 6)
        if i % 2:
            n_on, n_off = rng.poisson(b), rng.poisson(tau * b)
        else:
            n_on, n_off = 10 ** rng.uniform(-1, 6), 10 ** rng.uniform(-1, 12)
        yield int(min(n_on, 10**6)), int(min(n_off, 10**12)), tau


def shat(data):
    """Return the signal of the largest likelihood, of any sign."""
    if len(data) == 2:
        n, b = map(mpf, data)
        return n - b
    n_on, n_off, tau = map(mpf, data)
    return n_on - n_off / tau


def background_at(data, s):
    """Return the background on source of the largest likelihood at `s`, the root >= 0 of its derivative."""
    if len(data) == 2:
        return mpf(data[1])
    # n_on / (s + b) - 1 + n_off / b - tau = 0, times b (s + b)
    n_on, n_off, tau = map(mpf, data)
    linear = (1 + tau) * s - n_on - n_off
    return (-linear + mpmath.sqrt(linear**2 + 4 * (1 + tau) * n_off * s)) / (2 * (1 + tau))


def fall(data, s):
    """Return twice the logarithm of the likelihood ratio of shat and `s`."""
    b = background_at(data, s)
    total = _deviance(mpf(data[0]), s + b)
    if len(data) == 3:
        total += _deviance(mpf(data[1]), mpf(data[2]) * b)
    return 2 * total


def _deviance(n, mean):
    return (n * mpmath.log(n / mean) if n else 0) - n + mean


def statistic(data, s, tilde):
    """Return q_mu, or q_mu_tilde (Eq. 14 and 16)."""
    if shat(data) >= s:
        return mpf(0)
    return fall(data, s) - (fall(data, mpf(0)) if tilde and shat(data) < 0 else 0)


def asimov(data):
    """Return the Asimov set without signal: with the background fitted at s = 0."""
    b = background_at(data, mpf(0))
    return (b, b) if len(data) == 2 else (b, mpf(data[2]) * b, mpf(data[2]))


def p_values(data, s, tilde):
    """Return those of s + b and of b by the asymptotic distributions (Sections 3.6 and 3.7), s/sigma = sqrt(q_A)."""
    q, q_asimov = statistic(data, s, tilde), fall(asimov(data), s)
    if tilde and q > q_asimov:
        below, above = q - q_asimov, q + q_asimov
        return tuple(mpmath.ncdf(-x / (2 * mpmath.sqrt(q_asimov))) for x in (above, below))
    return mpmath.ncdf(-mpmath.sqrt(q)), mpmath.ncdf(mpmath.sqrt(q_asimov) - mpmath.sqrt(q))


def p_value(data, s, tilde, procedure):
    """Return what is compared with 1 - cl."""
    of_both, of_background = p_values(data, s, tilde)
    return of_both / of_background if procedure == "cls" else of_both


@mpmath.workdps(DIGITS)
def is_last_crossing(data, upper, height, function):
    """Tell whether `function`, falling with s there, passes `height` within 1e-9 of `upper`, or as doubles can tell.

    A limit is a difference of means: doubles cannot hold it better than to a few eps of s + b.
    """
    upper, height = mpf(float(upper)), mpf(height)
    mean = upper + background_at(data, upper) + max(shat(data), 0)
    width = mpf("1e-9") * upper + 16 * mpf(2) ** -52 * mean
    if upper - width > 0 and function(upper - width) < height:
        return False
    return function(upper + width) <= height
