"""Exact distribution of the largest interval that holds at most n events.

Letters of the paper: mu expected events, uniform on [0, mu] and so in units of length; X_n the length of the largest
interval with n events or fewer inside, end points counting as events; C_n(x, mu) = P(X_n < x). With k = n + 1, X_n < x
if and only if every window of length x holds k events or more: C_n is the distribution of the minimum scan statistic.
It is a sum of determinants of Poisson probabilities, for the numbers of events in the first, the second, ... stretch of
length x are paths that never meet.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from covsvc.kernels.compilation import compiled
from covsvc.kernels.poisson import TAIL, pmf_run, support

FloatArray = NDArray[np.float64]

_NEGLIGIBLE = 1e-20  # C_n below it is 0, and so are smaller terms of its sums


@compiled
def interval_cdf(n: int, x: float, mu: float) -> float:
    """Return C_n(x, mu) = P(X_n < x) to 1e-13.

    Parameters
    ----------
    n : int
        Events that the interval may hold, >= 0.
    x : float
        Length of the interval, expected events.
    mu : float
        Expected events of the whole range.

    Notes
    -----
    The work grows as mu^2 for mu/3 <= x < mu/2, as mu^4/x below that.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Section III.
    .. [2] S. Karlin and J. McGregor, Pacific J. Math. 9 (1959) 1141.
    .. [3] R. J. Huntington and J. I. Naus, Ann. Probab. 3 (1975) 894.
    """
    if x > mu:
        return 1.0
    if x >= mu / 2.0:
        return interval_cdf_half(n, x, mu)
    if x > 0.0:
        return _many_paths(n, x, mu)
    return 0.0 if x <= 0.0 else math.nan


@compiled
def interval_cdfs(n_max: int, x: float, mu: float) -> FloatArray:
    """Return `interval_cdf` of n = 0..n_max at one x and mu; for x >= mu/2 all of them cost little more than one."""
    if x >= mu / 2.0 and x <= mu:
        return _two_paths(0, n_max, x, mu)
    cdf = np.empty(n_max + 1)
    for n in range(n_max + 1):
        cdf[n] = interval_cdf(n, x, mu)
    return cdf


@compiled
def interval_cdf_half(n: int, x: float, mu: float) -> float:
    """Return C_n for mu/2 <= x <= mu."""
    return _two_paths(n, n, x, mu)[0]


@compiled
def _poisson_sums(nu: float, size: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return p(j) = P(N = j), S(j) = P(N >= j) and U(j) = S(j) + S(j + 1) + ... for j = 0..size - 1."""
    p = np.zeros(size)
    s = np.zeros(size)
    u = np.zeros(size)
    hi = max(support(nu, TAIL)[1], size - 1)
    run = pmf_run(0, hi, nu)
    tail = 0.0
    sum_of_tails = 0.0
    for j in range(hi, -1, -1):
        tail += run[j]
        sum_of_tails += tail
        if j < size:
            p[j] = run[j]
            s[j] = tail
            u[j] = sum_of_tails
    return p, s, u


@compiled
def _two_paths(first: int, last: int, x: float, mu: float) -> FloatArray:
    """Return C_n of n = first..last for mu/2 <= x <= mu.

    All windows share the middle 2x - mu of the range; the outer stretches, r = mu - x long, are the two paths.
    """
    p, s, u = _poisson_sums(mu - x, last + 3)
    middle = max(2.0 * x - mu, 0.0)
    lo, hi = support(middle, TAIL)
    q = pmf_run(lo, hi, middle)
    missed = np.empty(last + 2)  # probability that some window holds fewer than j events outside the middle
    for j in range(1, last + 2):
        missed[j] = 1.0 - s[j] * s[j] + p[j - 1] * u[j + 1]
    cdf = np.empty(last - first + 1)
    for n in range(first, last + 1):
        total = 0.0
        for i in range(lo, min(hi, n) + 1):
            total += q[i - lo] * missed[n + 1 - i]
        cdf[n - first] = min(max(1.0 - total, 0.0), 1.0)
    return cdf


@compiled
def _pairs(k: int, low: int, p1: FloatArray, s: FloatArray, q: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return a(i, j) and b(i, j) of `_many_paths`, transposed: indexed by j - low and i - low."""
    size = p1.size
    a = np.zeros((size, size))
    b = np.zeros((size, size))
    for j in range(1, size):
        for i in range(1, size):
            after = k + 1 - low - i
            if 0 <= after < q.size:
                a[j, i] = p1[j - 1] * q[after]
                b[j, i] = s[j - 1] * q[after]
            a[j, i] += a[j - 1, i - 1]
            b[j, i] += b[j - 1, i - 1]
    return a, b


@compiled
def _many_paths(n: int, x: float, mu: float) -> float:
    """Return C_n for 0 < x < mu/2.

    The range is m x + r long, r < x. While a window start runs over r, the m + 1 paths may not meet: they begin at
    s_1 = 0, s_2, ... and arrive at e_1 < e_2 < .... All but the last go on over x - r, to y_1 < y_2 < ...; where one of
    them ends the next begins, s_l+1 = y_l - n. With the Poisson probabilities p of mean r and q of mean x - r, C_n is
    the sum over all e and y of det p(e_l - s_i) det q(y_l - e_i). The sums over e_m+1 and y_1 are the tails of p,
    S(j) = P(N >= j) and U(j) = S(j) + S(j+1) + .... By Cauchy and Binet the sum over the other y is a determinant of

        a(i, j) = sum_{d>0} q(d+k-i) p(j-1-d),    b(i, j) = sum_{d>0} q(d+k-i) S(j-d)

    at i_l = e_l - y_1 + k. There remains for each i_m = w the sum over all i_1 < ... < i_m-1 < w of the minors of

        a(i, j)   a(i, w)   b(i, w)   q(k-i)
        a(w, j)   a(w, w)   b(w, w)   q(k-w)
        S(j)      S(w)      U(w+1)    0
        p(j-1)    p(w-1)    S(w)      0

    which is the coefficient of z^(m-1) in det(1 + z a) det(D - z L (1 + z a)^-1 R), up to its sign: here a is over
    i, j < w, and R, L, D are the blocks beside, below and across.
    """
    k = n + 1
    in_window = _poisson_sums(x, k + 1)[1][k]
    # windows that do not overlap are independent; there are more than mu/x - 1 of them
    if in_window == 0.0 or math.log(in_window) * (mu / x - 1.0) < math.log(_NEGLIGIBLE):
        return 0.0
    m = int(mu / x)
    r = max(mu - m * x, 0.0)
    rest = max(x - r, 0.0)
    q = pmf_run(0, support(rest, TAIL)[1], rest)
    low = min(1, k - q.size + 1)  # a and b vanish there
    high = 1 + support((m - 2) * x + r, TAIL)[1] - (m - 2) * n
    if high < 1:
        return 0.0
    size = high - low + 1
    p, s, u = _poisson_sums(r, high + 2)
    p1 = np.zeros(size)
    s0 = np.ones(size)
    q0 = np.zeros(size)
    for i in range(low, min(k, high) + 1):
        if k - i < q.size:
            q0[i - low] = q[k - i]
    p1[1 - low :] = p[:high]
    s0[1 - low :] = s[1 : high + 1]
    a, b = _pairs(k, low, p1, s0, q)
    minors = np.zeros(m)  # coefficients of det(1 + z a)
    minors[0] = 1.0
    block = np.zeros((m, 3, 3))  # coefficients of D - z L (1 + z a)^-1 R
    right = np.zeros((3, size))
    total = 0.0
    for w in range(1, high + 1):
        t = w - low
        right[0, :t] = a[t, :t]
        right[1, :t] = b[t, :t]
        right[2] = q0
        block[0, 0] = a[t, t], b[t, t], right[2, t]
        block[0, 1] = s[w], u[w + 1], 0.0
        block[0, 2] = p[w - 1], s[w], 0.0
        sign = -1.0
        for power in range(1, m):
            if power > 1:
                right = _times(a, right, t)
            for column in range(3):
                top = middle = bottom = 0.0
                for i in range(t):
                    value = right[column, i]
                    top += a[i, t] * value
                    middle += s0[i] * value
                    bottom += p1[i] * value
                block[power, :, column] = sign * top, sign * middle, sign * bottom
            sign = -sign
        determinant = _determinant(block)
        for i in range(m):
            total += minors[i] * determinant[m - 1 - i]
        for i in range(m - 1, 0, -1):
            for power in range(i):
                minors[i] += minors[i - 1 - power] * block[power, 0, 0]
    return min(max(total if m % 2 == 1 else -total, 0.0), 1.0)


@compiled
def _times(a: FloatArray, right: FloatArray, size: int) -> FloatArray:
    """Return a times three columns, in the first `size` rows and columns."""
    product = np.zeros(right.shape)
    for j in range(size):
        for column in range(3):
            factor = right[column, j]
            if abs(factor) > _NEGLIGIBLE:
                for i in range(size):
                    product[column, i] += a[j, i] * factor
    return product


@compiled
def _determinant(block: FloatArray) -> FloatArray:
    """Return the determinant of a 3 x 3 matrix of power series, to the same order."""
    order = block.shape[0]
    determinant = np.zeros(order)
    cofactor = np.zeros(order)
    for column in range(3):
        one = (column + 1) % 3
        two = (column + 2) % 3
        cofactor[:] = 0.0
        for i in range(order):
            for j in range(order - i):
                cofactor[i + j] += block[i, 1, one] * block[j, 2, two] - block[i, 1, two] * block[j, 2, one]
        for i in range(order):
            for j in range(order - i):
                determinant[i + j] += block[i, 0, column] * cofactor[j]
    return determinant
