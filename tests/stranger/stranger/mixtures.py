"""Mixtures of gamma distributions."""

from __future__ import annotations

import numpy as np
from scipy import optimize, special

NEGLIGIBLE = -50.0
"""Logarithm of a weight, over the largest one, that changes no digit."""


def quantile(n: int, b: float, m: float, cl: float) -> float:
    """Return the signal below which a posterior holds `cl` of its probability.

    The posterior s^-m (s + b)^n exp(-s) is a mixture of gamma distributions, of shape k + 1 - m and weight
    C(n, k) b^(n-k) Gamma(k + 1 - m) for k = 0 to n.
    """
    k = np.arange(n + 1.0) if b else np.array([float(n)])
    shape = k + 1.0 - m
    weight = special.gammaln(shape) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    weight += special.xlogy(n - k, b)
    kept = weight > weight.max() + NEGLIGIBLE
    shape, weight = shape[kept], np.exp(weight[kept] - weight.max())
    weight /= weight.sum()
    highest = special.gammaincinv(shape[-1], cl)  # the last of them lies highest
    lowest = special.gammaincinv(shape[0], cl)
    if not highest > lowest:
        return float(highest)

    def miss(s: float) -> float:
        return float((weight * special.gammainc(shape, s)).sum()) - cl

    return float(optimize.brentq(miss, lowest * (1 - 1e-9), highest * (1 + 1e-9), xtol=1e-12, rtol=1e-13))
