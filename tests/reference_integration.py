"""Limits from likelihoods integrated over the background, by their definitions, slowly, and nothing of covsvc.

Paper: Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 15-19.
"""

import math

import mpmath
import numpy as np
from mpmath import mpf

DIGITS = 50
NODES, WEIGHTS = np.polynomial.legendre.leggauss(80)


def integral_beyond(s, ratios, log_prior, most_b):
    """Return the share of the likelihood above `s` by integration over s and b (Gauss-Legendre in squares)."""
    ratios = np.asarray(ratios, float)
    highest = 60.0 + 3.0 * len(ratios)

    def integral(left, right):
        edges = np.linspace(left, right, 5)
        signal, dsignal = _points(edges)
        b, db = _points(np.linspace(0.0, most_b, 7))
        log = -signal[:, None] - b + np.broadcast_to(log_prior(b), (len(signal), len(b)))
        for ratio in ratios:
            log = log + np.log(signal[:, None] * ratio + b)
        return (dsignal @ np.exp(log - shift) @ db).item()

    shift = len(ratios) * math.log(max(len(ratios), 1)) - len(ratios)
    beyond = integral(s, s + highest)
    return beyond / (beyond + integral(0.0, s))


def _points(edges):
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + NODES)).ravel(), (half * WEIGHTS).ravel()


@mpmath.workdps(DIGITS)
def mixture_beyond(s, ratios, moments):
    """Return the share above `s` of sum_j e_j s^j exp(-s) moments[N-j] with 50 digits; a ratio of inf is s alone."""
    coefficients = [mpf(1)]
    for ratio in ratios:
        new = [mpf(0)] * (len(coefficients) + 1)
        for j, value in enumerate(coefficients):
            if np.isinf(ratio):
                new[j + 1] += value
            else:
                new[j] += value
                new[j + 1] += mpf(float(ratio)) * value
        coefficients = new
    n, infinite = len(ratios), sum(map(np.isinf, ratios))
    total = beyond = mpf(0)
    s = mpf(float(s))
    term = below = mpmath.exp(-s)
    factorial = mpf(1)
    for j, value in enumerate(coefficients):
        if j:
            term *= s / j
            below += term
            factorial *= j
        if j >= infinite:
            weight = value * factorial * moments[n - j]
            total += weight
            beyond += weight * below
    return beyond / total


@mpmath.workdps(DIGITS)
def flat_moments(n):
    """Return the integrals of b^l exp(-b), l = 0..n."""
    return [mpmath.factorial(power) for power in range(n + 1)]


@mpmath.workdps(DIGITS)
def known_moments(n, b):
    """Return b^l, l = 0..n."""
    return [mpf(float(b)) ** power for power in range(n + 1)]


@mpmath.workdps(DIGITS)
def gamma_moments(n, b, error):
    """Return E(b^l exp(-b)), l = 0..n, in proportion, of the gamma distribution of this mean and deviation."""
    shape, scale = (mpf(b) / mpf(error)) ** 2, mpf(error) ** 2 / mpf(b)
    moments = [mpf(1)]
    for power in range(n):
        moments.append(moments[-1] * (shape + power) * scale / (1 + scale))
    return moments


@mpmath.workdps(DIGITS)
def gaussian_moments(n, b, error):
    """Return E(b^l exp(-b)), l = 0..n, in proportion, of the Gaussian at `b` of width `error` cut off below 0."""
    centre, width = mpf(b) - mpf(error) ** 2, mpf(error)
    edges = sorted({max(mpf(0), centre + step * width) for step in (-30, -15, -8, -4, -2, -1, 0, 1, 2, 4, 8, 15, 30)})
    edges += [edges[-1] + 40 * width + n]

    def moment(power):
        return mpmath.quad(lambda x: x**power * mpmath.exp(-(((x - centre) / width) ** 2) / 2), edges)

    return [moment(power) for power in range(n + 1)]


def narsky_ratios(n, b):
    """Return the density ratios of the toy model of Section 4: a Gaussian of width 1 on a flat background, |x| < 10.

    n events lie at 0, b in 2.5 < |x| < 5 and 2 b in 5 < |x| < 10, those in the middle of equal parts of |x|.
    """
    inner = 2.5 + 2.5 * (np.arange(b) + 0.5) / max(b, 1)
    outer = 5.0 + 5.0 * (np.arange(2 * b) + 0.5) / max(2 * b, 1)
    x = np.concatenate([np.zeros(n), inner, outer])
    return 20.0 * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) / math.erf(10 / math.sqrt(2))
