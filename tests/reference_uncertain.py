"""Limits and probabilities with an uncertain background by their definitions, slowly, and nothing of covsvc.

Paper: Narsky, Nucl. Instrum. Meth. A 450 (2000) 444.
"""

from functools import cache

import mpmath
import numpy as np
from mpmath import mpf
from scipy import optimize, special

DIGITS = 40
NODES, WEIGHTS = np.polynomial.legendre.leggauss(400)


@cache
@mpmath.workdps(DIGITS)
def gamma_pmf(j, b, error):
    """Return P(J = j), the mean of J having a gamma distribution: the negative binomial distribution, with 40 digits."""
    shape, odds = (mpf(b) / mpf(error)) ** 2, mpf(error) ** 2 / mpf(b)
    with mpmath.workdps(DIGITS + 40):
        log = mpmath.loggamma(shape + j) - mpmath.loggamma(shape) - mpmath.loggamma(j + 1)
        return mpmath.exp(log - shape * mpmath.log1p(odds) - j * mpmath.log1p(1 / odds))


@cache
@mpmath.workdps(DIGITS)
def gaussian_pmf(j, b, error):
    """Return P(J = j), the mean of J having a Gaussian distribution cut off below 0, by quadrature."""
    b, error = mpf(b), mpf(error)
    shifted = b - error**2
    peak = (shifted + mpmath.sqrt(shifted**2 + 4 * j * error**2)) / 2
    if j:
        scale = 1 / mpmath.sqrt(j / peak**2 + 1 / error**2)
    else:
        scale = min(error, error**2 / -shifted) if shifted < 0 else error
    steps = (-40, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 40, 100)

    def density(mean):
        poisson = mean**j * mpmath.exp(-mean) / mpmath.factorial(j)
        return poisson * mpmath.exp(-((mean - b) ** 2) / (2 * error**2))

    ends = sorted({max(mpf(0), peak + step * scale) for step in steps})
    return mpmath.quad(density, ends) / (error * mpmath.sqrt(2 * mpmath.pi) * mpmath.ncdf(b / error))


@mpmath.workdps(DIGITS)
def posterior_beyond(s, n, weights):
    """Return the posterior probability of a signal above s: sum_j w_j Q(n-j+1, s) / sum_j w_j over j = 0..n."""
    s = mpf(s)
    term = below = mpmath.exp(-s)
    total = weights[n] * below
    for k in range(1, n + 1):
        term *= s / k
        below += term
        total += weights[n - k] * below
    return total / mpmath.fsum(weights[: n + 1])


@mpmath.workdps(DIGITS)
def negative_binomial_weights(n, shape, rate):
    """Return numbers in proportion to P(J = j), j = 0..n, for a mean of this gamma distribution."""
    weights = [mpf(1)]
    for j in range(n):
        weights.append(weights[-1] * (mpf(shape) + j) / ((j + 1) * (1 + mpf(rate))))
    return weights


def posterior_beyond_by_quadrature(s, n, b, error):
    """Return the same for a Gaussian cut off below 0, from Eq. 10 itself: the integral over b of F(n; s+b) f(b)."""
    left, right = max(b - 13 * error, 0.0), b + 13 * error
    mean = left + (right - left) * (NODES + 1) / 2
    density = WEIGHTS * np.exp(-(((mean - b) / error) ** 2) / 2)
    return (special.gammaincc(n + 1, s + mean) @ density) / (special.gammaincc(n + 1, mean) @ density)


def significance_upper(n, k, b, zeta, whole, cl, most_n=400):
    """Return s with P(significance <= observed) = 1 - cl, adding up both counts one by one (Eq. 36-39, 43, 44)."""
    ns, share = np.arange(1, most_n), _chance_of_no_larger_significance(n, k, zeta, whole, most_n)

    def excess(mean):
        chance = np.exp(special.xlogy(ns, mean) - mean - special.gammaln(ns + 1.0))
        return chance @ share + np.exp(-mean) - (1 - cl)

    return optimize.brentq(excess, 0, most_n - 80, xtol=1e-13, rtol=1e-15) - b


@cache
def _chance_of_no_larger_significance(n, k, zeta, whole, most_n, most_k=250):
    """Return, for each count in the signal region, P(p <= p_obs) over the events outside.

    Significances are compared by the probability that is below 1/2: the other one is 1 in double precision.
    """
    ns, ks = np.arange(1, most_n)[:, None], np.arange(most_k)
    mean = zeta * (ns + ks) if whole else zeta * ks + 0 * ns
    fewer, as_many = special.gammaincc(ns, mean), special.gammainc(ns, mean)
    saturated = fewer[n - 1, k] > 0.5
    no_larger = as_many >= as_many[n - 1, k] if saturated else fewer <= fewer[n - 1, k]
    return no_larger @ np.exp(special.xlogy(ks, k) - k - special.gammaln(ks + 1.0))


@mpmath.workdps(DIGITS)
def significance(n, mu, near):
    """Return z with P(N >= n; mu) = 1 - Phi(z), n >= 1, close to `near`."""
    at_least = mpmath.gammainc(n, 0, mpf(mu), regularized=True)
    fewer = mpmath.gammainc(n, mpf(mu), mpmath.inf, regularized=True)
    sign, tail = (1, at_least) if at_least < fewer else (-1, fewer)
    wanted = mpmath.log(2 * tail)
    return sign * mpmath.findroot(lambda z: mpmath.log(mpmath.erfc(z / mpmath.sqrt(2))) - wanted, sign * mpf(near))
