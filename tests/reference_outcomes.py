"""Sums over counts from their definitions: Poisson probabilities by scipy and mpmath, coverage point by point."""

from functools import cache

import mpmath
import numpy as np
from scipy import stats


@cache
def poisson(mean):
    """Return the counts that a Poisson variable takes but for less than 1e-16 of its probability, and theirs."""
    if mean == 0:
        return np.array([0]), np.array([1.0])
    sigma = np.sqrt(mean)
    counts = np.arange(max(int(mean - 9 * sigma), 0), int(mean + 9 * sigma + 25) + 1)
    if mean < 100:
        chance = stats.poisson.pmf(counts, mean)
        return counts[chance > 1e-19], chance[chance > 1e-19]
    # scipy takes the exponential of a difference of terms of the size of the mean times its logarithm
    with mpmath.workdps(25):
        nu = mpmath.mpf(mean)
        exact = [float(mpmath.exp(k * mpmath.log(nu) - nu - mpmath.loggamma(k + 1))) for k in counts.tolist()]
    return counts, np.array(exact)


def pairs(mean_on, mean_off):
    """Return n_on, n_off and their probability, all pairs."""
    (on, p_on), (off, p_off) = poisson(mean_on), poisson(mean_off)
    n_on, n_off = (each.ravel() for each in np.meshgrid(on, off, indexing="ij"))
    return n_on, n_off, np.outer(p_on, p_off).ravel()


def covered(limits, s):
    """Tell which intervals hold s: closed, never an empty or failed one; status 0 is OK, 2 unbounded."""
    return ((limits.status == 0) & (limits.lower <= s) & (s <= limits.upper)) | (
        (limits.status == 2) & (limits.lower <= s)
    )


def summary(limits, chance, s):
    """Return coverage, that of the upper ends, median and mean upper end, rates of empty, unbounded and failed ones."""
    ok, empty, unbounded, failed = (limits.status == status for status in range(4))
    end = np.where(ok, limits.upper, np.where(empty, 0.0, np.inf))
    order = np.argsort(end)
    median = end[order][np.searchsorted(np.cumsum(chance[order]), 0.5)]
    rates = [chance[each].sum() for each in (empty, unbounded, failed)]
    mean = np.nan if rates[1] or rates[2] else (chance * end)[ok].sum()
    upper = chance[(ok & (s <= limits.upper)) | unbounded].sum()
    return [chance[covered(limits, s)].sum(), upper, median, mean, *rates]
