"""The maximum gap by its definition: the sums of the paper in hundreds of digits, gaps of random points, scans.

Paper: Yellin, Phys. Rev. D 66 (2002) 032005.
"""

import mpmath
import numpy as np
from mpmath import mpf


@mpmath.workdps(300)
def max_gap_cdf(x, mu):
    """Return C_0(x, mu) by Eq. 2, its 0 * inf at mu = k x multiplied out."""
    x, mu = mpf(x), mpf(mu)
    if x > mu:
        return mpf(1)
    total, k = mpf(1), 0
    while (k + 1) * x <= mu:
        k += 1
        w = mu - k * x
        term = (-1) ** k * w ** (k - 1) * (w + k) * mpmath.exp(-k * x) / mpmath.factorial(k)
        total += term
        # the terms have one maximum; they are below it here
        if k > 10 and abs(term) < mpf(10) ** -60:
            break
    return total


@mpmath.workdps(300)
def max_gap_cdf_given(x, n):
    """Return the chance that all gaps of n uniform events are < x, by Eq. A4."""
    x = mpf(x)
    terms = ((-1) ** k * mpmath.binomial(n + 1, k) * (1 - k * x) ** n for k in range(min(int(1 / x), n + 1) + 1))
    return mpmath.fsum(terms)


@mpmath.workdps(60)
def max_gap_limit(f, cl):
    """Return the mu at which a gap of the fraction f is excluded at just cl."""
    f, wanted = mpf(f), mpf(cl)
    # from above, as the terms of Eq. 2 have more digits than these far below the limit
    high = (60 - mpmath.log(f)) / f
    low = high * mpf("0.8")
    while max_gap_cdf(low * f, low) > wanted:
        low, high = low * mpf("0.8"), low

    def excess(mu):
        return mpmath.log((1 - max_gap_cdf(mu * f, mu)) / (1 - wanted))

    return mpmath.findroot(excess, (low, high), solver="anderson", tol=1e-50)


def largest_gaps(rng, n):
    """Return the largest gap between uniform points, as many as each n says, and 0 and 1."""
    return np.array([np.diff(np.sort(np.concatenate([[0.0, 1.0], rng.random(k)]))).max() for k in n])


def largest_gap_over_background(s, u, v, b):
    """Return x(s), the most expected events between adjacent ones of the events at u (signal cdf), v (background's)."""
    edges = np.concatenate([[0.0], u, [1.0]]), np.concatenate([[0.0], v, [1.0]])
    return (s * np.diff(edges[0]) + b * np.diff(edges[1])).max()


def excluded_over_background(s, u, v, b, cl):
    """Tell whether the signal s is excluded."""
    return max_gap_cdf(min(largest_gap_over_background(s, u, v, b), s + b), s + b) > mpf(cl)
