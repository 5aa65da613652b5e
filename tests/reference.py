"""Limits by their definitions: many digits or brute force, slowly, and nothing of covsvc.

Papers: Narsky, Nucl. Instrum. Meth. A 450 (2000) 444; Feldman and Cousins, Phys. Rev. D 57 (1998) 3873;
Crow and Gardner, Biometrika 46 (1959) 441.
"""

from functools import cache

import mpmath
import numpy as np
from mpmath import mpf
from scipy import special

DIGITS = 40

# far tails, huge and tiny backgrounds, all confidence levels: n, b, cl
HARD_COUNTS = [
    (0, 1e4, 0.9),
    (0, 1e4, 1 - 1e-9),
    (0, 700.0, 0.5),
    (0, 0.0, 0.99),
    (0, 1e-300, 0.9),
    (0, 1e-300, 0.5),
    (0, 1e-12, 1 - 1e-9),
    (0, 0.3, 0.68),
    (1, 0.0, 0.5),
    (1, 1e-300, 0.68),
    (1, 1e-12, 0.95),
    (2, 1e3, 0.999),
    (3, 1e-12, 0.9),
    (5, 700.0, 0.9),
    (5, 700.0, 0.999),
    (40, 1e4, 1 - 1e-9),
    (150, 3.0, 0.5),
    (400, 1e-300, 0.99),
    (690, 700.0, 0.95),
    (800, 700.0, 0.9),
    (2000, 1e4, 0.68),
    (9000, 1e4, 0.9),
    (9900, 1e4, 0.5),
    (10_000, 1e4, 0.5),
    (10_000, 1e4, 0.999),
    (10_200, 1e4, 1 - 1e-9),
    (100_000, 0.0, 0.95),
    (100_000, 1e4, 0.99),
]


def random_counts(size, seed=1999):
    """Return n, b, cl over many orders of magnitude, half of the n close to b."""
    rng = np.random.default_rng(seed)
    for i in range(size):
        b = float(10 ** rng.uniform(-3, 4))
        n = int(rng.poisson(b * rng.uniform(0.8, 1.2)) if i % 2 else 10 ** rng.uniform(-1, 4.3))
        yield n, b, float(rng.choice([0.5, 0.68, 0.9, 0.95, 0.99, 0.999, 1 - 1e-9]))


def within(found, exact, mean):
    """Tell whether a limit is right to 1e-9.

    A limit is a difference of means, s = nu - b: doubles cannot hold it better than to a few eps of nu.
    """
    return np.abs(np.asarray(found) - np.asarray(exact)) <= 1e-9 * np.abs(exact) + 16 * np.finfo(float).eps * mean


def coverage(limits, b, s):
    """Return the coverage at each s by adding up the counts 0, 1, 2 ... whose limits are given.

    Points closer than 1e-6 to an end of an interval are NaN: on which side of the saw-tooth they are is rounding.
    """
    s = np.asarray(s, float)[:, None]
    chance = chances(np.arange(len(limits.upper)), s[:, 0] + b)
    assert (chance.sum(1) > 1 - 1e-13).all(), "the limits of more counts are needed"
    covered = (limits.status == 0) & (limits.lower <= s) & (s <= limits.upper)
    ends = np.concatenate([limits.lower[limits.lower > 0], limits.upper[limits.upper > 0]])
    return np.where((np.abs(s - ends) > 1e-6).all(1), (chance * covered).sum(1), np.nan)


# Bayesian and Neyman limits: incomplete gamma functions with 40 digits


@mpmath.workdps(DIGITS)
def log_upper_gamma(a, x):
    """Return ln Gamma(a, x) for a >= 0, x >= 0, by continued fraction or power series."""
    a, x = mpf(a), mpf(x)
    if x >= a + 1:
        return a * mpmath.log(x) - x - mpmath.log(_legendre_fraction(a, x))
    if a == 0:
        return mpmath.log(mpmath.e1(x)) if x else mpmath.inf
    if x == 0:
        return mpmath.loggamma(a)
    return mpmath.loggamma(a) + mpmath.log1p(-mpmath.exp(_log_lower_share(a, x)))


def _legendre_fraction(a, x):
    """Return x+1-a - 1(1-a)/(x+3-a - 2(2-a)/(...)), which divides x^a e^-x to give Gamma(a, x)."""
    whole = numerator = x + 1 - a
    inverse, i = mpf(0), 0
    while True:
        i += 1
        term = -i * (i - a)
        partial = x + 2 * i + 1 - a
        inverse = 1 / (partial + term * inverse)
        numerator = partial + term / numerator
        whole *= numerator * inverse
        if abs(numerator * inverse - 1) < mpmath.eps:
            return whole


def _log_lower_share(a, x):
    """Return the logarithm of the regularised lower incomplete gamma function."""
    if x >= a + 1:
        return mpmath.log(-mpmath.expm1(log_upper_gamma(a, x) - mpmath.loggamma(a)))
    term = total = mpf(1)
    k = a
    while term > total * mpmath.eps:
        k += 1
        term *= x / k
        total += term
    return a * mpmath.log(x) - x - mpmath.loggamma(a + 1) + mpmath.log(total)


def falling_root(f):
    """Return the root x > 0 of a falling function, whatever its size."""
    scale = mpf(1)
    while f(scale) > 0:
        scale *= 2
    while f(scale / 2) < 0:
        scale /= 2
    low, high = f(scale / 2), f(scale)
    if not low or not high:
        return scale if not high else scale / 2
    return scale * mpmath.findroot(lambda t: f(scale * t), (mpf("0.5"), mpf(1)), solver="illinois", maxsteps=200)


@cache
@mpmath.workdps(DIGITS)
def bayes_upper(n, b, cl, prior_exponent):
    """Return s with Gamma(a, s+b) = (1-cl) Gamma(a, b), a = n-m+1 (Narsky Eq. 5-9); None if there is no posterior."""
    a = n + 1 - mpf(prior_exponent)
    at_zero = log_upper_gamma(a, b)
    if at_zero == mpmath.inf:
        return None
    wanted = at_zero + mpmath.log(1 - mpf(cl))
    return falling_root(lambda s: log_upper_gamma(a, s + mpf(b)) - wanted)


@cache
@mpmath.workdps(DIGITS)
def mean_upper(n, tail):
    """Return nu with P(N <= n; nu) = tail."""
    wanted = mpmath.log(mpf(tail)) + mpmath.loggamma(n + 1)
    return falling_root(lambda nu: log_upper_gamma(n + 1, nu) - wanted)


@cache
@mpmath.workdps(DIGITS)
def mean_lower(n, tail):
    """Return nu with P(N >= n; nu) = tail, 0 for n = 0."""
    if n == 0:
        return mpf(0)
    wanted = mpmath.log(mpf(tail))
    return falling_root(lambda nu: wanted - _log_lower_share(mpf(n), nu))


@cache
@mpmath.workdps(DIGITS)
def cls_upper(n, b, cl):
    """Return s with P(N <= n; s+b) = (1-cl) P(N <= n; b), adding up the probabilities one by one."""
    wanted = (1 - mpf(cl)) * _chance_up_to(n, mpf(b))
    return falling_root(lambda s: mpmath.log(_chance_up_to(n, s + mpf(b)) / wanted))


def _chance_up_to(n, mean):
    term = total = mpmath.exp(-mean)
    for k in range(1, n + 1):
        term *= mean / k
        total += term
    return total


# Confidence belts: the set of accepted counts at a given signal, then the outermost signals that accept n


def outermost(accepts, grid):
    """Return the outermost points, on both sides, at which each count is accepted; NaN where there are none.

    Parameters
    ----------
    accepts : callable
        From points, shape (point,), to bool, shape (point, count).
    grid : ndarray of float
        Rising points that are close enough to see everything; accepted at the first one counts as accepted from 0 on.
    """
    inside = accepts(grid)
    found, last = inside.any(0), len(grid) - 1
    first_in, last_in = inside.argmax(0), last - inside[::-1].argmax(0)
    assert (last_in[found] < last).all(), "the grid ends too early"
    lower = _flip(accepts, grid[first_in], grid[np.maximum(first_in - 1, 0)])
    lower[first_in == 0] = 0.0
    upper = _flip(accepts, grid[last_in], grid[np.minimum(last_in + 1, last)])
    return np.where(found, lower, np.nan), np.where(found, upper, np.nan)


def _flip(accepts, inside, outside):
    """Bisect each count between a point that accepts it and one that does not."""
    for _ in range(64):
        middle = (inside + outside) / 2
        accepted = np.diagonal(accepts(middle))
        inside, outside = np.where(accepted, middle, inside), np.where(accepted, outside, middle)
    return inside


def chances(k, mean):
    """Return the Poisson probabilities of the counts `k`, shape (mean, count)."""
    mean = np.asarray(mean)[:, None]
    return np.exp(special.xlogy(k, mean) - mean - special.gammaln(k + 1.0))


def feldman_cousins_accepts(s, b, cl, k):
    """Tell which of the counts k = 0, 1, 2 ... are accepted at each s > 0: by falling likelihood ratio until >= cl."""
    s = np.asarray(s)
    k = np.asarray(k, float)
    above = k > b
    ratio = np.empty((len(s), len(k)))
    # pmf(k; s+b) / pmf(k; max(k, b)), with log1p where a small s must still tell the counts below b apart
    ratio[:, above] = k[above] * np.log((s[:, None] + b) / k[above]) + k[above] - b - s[:, None]
    ratio[:, ~above] = k[~above] * (np.log1p(s[:, None] / b) if b else 0.0) - s[:, None]
    return _accepts_by_rank(ratio, chances(k, s + b), cl)


def _accepts_by_rank(ratio, chance, cl):
    # the counts are turned round so that of equal ratios the larger count goes first
    order = ratio.shape[1] - 1 - np.argsort(-ratio[:, ::-1], axis=1, kind="stable")
    ranked = np.take_along_axis(chance, order, 1)
    accepted = np.empty(ratio.shape, bool)
    np.put_along_axis(accepted, order, np.cumsum(ranked, 1) - ranked < cl, 1)
    return accepted


def feldman_cousins_belt(n_max, b, cl, step=2e-3):
    """Return lower, upper of the counts 0 ... n_max, NaN where no s is left."""
    top = special.gammainccinv(n_max + 1, (1 - cl) * 1e-3) + 1
    k = np.arange(int(special.gammainccinv(top + 20, 1e-13)) + 5)
    grid = np.concatenate([[1e-9], np.arange(step, top, step), *_close_to_equal_ratios(n_max, k, b)])
    grid = np.unique(grid[(grid > 0) & (grid <= top)])
    return outermost(lambda s: feldman_cousins_accepts(s, b, cl, k)[:, : n_max + 1], grid)


def _close_to_equal_ratios(n_max, k, b):
    """Return signals just beside those at which two counts change rank: a scan would miss very narrow pieces there."""
    best = np.maximum(k, b)
    log_best = special.xlogy(k, best) - best
    for n in range(n_max + 1):
        others = k != n
        mean = np.exp((log_best[others] - log_best[n]) / (k[others] - n))
        for side in (1 - 1e-10, 1 + 1e-10):
            yield mean * side - b


@mpmath.workdps(DIGITS)
def feldman_cousins_accepts_exactly(n, s, b, cl):
    """Tell whether n is accepted at s > 0, with 40 digits, for large counts."""
    s, b = mpf(s), mpf(b)
    k, chance = _chances_around(s + b)
    log_mean, log_b = mpmath.log(s + b), mpmath.log(b) if b else mpmath.mpf(0)

    def log_ratio(i):
        return i * (log_mean - (mpmath.log(i) if i > b else log_b)) + (i - b if i > b else 0) - s if i else -s

    own = log_ratio(n)
    better = (p for i, p in zip(k, chance, strict=True) if i != n and log_ratio(i) > own)
    return mpmath.fsum(better) < mpf(cl)


def _chances_around(mean):
    """Return all counts within 12 standard deviations of `mean` and their probabilities."""
    width = int(12 * mpmath.sqrt(mean) + 60)
    start = max(0, int(mean) - width)
    k = range(start, int(mean) + width)
    term = mpmath.exp(start * mpmath.log(mean) - mean - mpmath.loggamma(start + 1))
    chance = [term]
    for i in k[1:]:
        term *= mean / i
        chance.append(term)
    return k, chance


def crow_gardner_accepts(mean, cl, k):
    """Tell which of the counts k = 0, 1, 2 ... lie in the shortest run with >= cl, the highest of the shortest."""
    cumulated = np.cumsum(chances(k, mean), 1)
    accepted = np.zeros(cumulated.shape, bool)
    for row, total in zip(accepted, cumulated, strict=True):
        before = np.concatenate([[0.0], total[:-1]])
        last = np.searchsorted(total, before + cl)
        length = np.where(last < len(k), last - k, len(k))
        start = np.flatnonzero(length == length.min())[-1]
        row[start : last[start] + 1] = True
    return accepted


def crow_gardner_belt(n_max, cl, step=2e-3):
    """Return the outermost means of the counts 0 ... n_max."""
    top = special.gammainccinv(n_max + 1, (1 - cl) * 1e-3) + 1
    k = np.arange(int(special.gammainccinv(top + 20, 1e-13)) + 5)
    return outermost(lambda mean: crow_gardner_accepts(mean, cl, k)[:, : n_max + 1], np.arange(1e-9, top, step))


@mpmath.workdps(DIGITS)
def crow_gardner_accepts_exactly(n, mean, cl):
    """Tell whether n is accepted at a mean, with 40 digits, for large counts."""
    k, chance = _chances_around(mpf(mean))
    cl, total, first, runs = mpf(cl), mpf(0), 0, []
    for last in range(len(k)):
        total += chance[last]
        while total - chance[first] >= cl:
            total -= chance[first]
            first += 1
        if total >= cl:
            runs.append((last - first, -first))
    length, start = min(runs)
    return k[0] - start <= n <= k[0] - start + length


def feldman_cousins_upper_for_this_or_more_background(n, b, cl, reach=4.0, step=0.05):
    """Return the supremum over b' >= b of the upper end of n, -1 if all are empty, good to about 1e-9 of the mean.

    It is a limit at a jump, searched between grid points of b'; what is accepted only within 1e-10 nu is not seen.
    """

    def upper(more):
        return np.nan_to_num(feldman_cousins_belt(n, more, cl, step=0.02)[1][n], nan=-1.0)

    grid = np.append(b, b + np.arange(step / 2, reach, step))
    at = np.array([upper(more) for more in grid])
    # between jumps the end falls with slope -1 or slower, so a jump is at most `step` higher than the point after it
    jumps = [i for i in range(1, len(grid)) if at[i] > at[i - 1] and at[i] + step >= at.max()]
    return max([at.max(), *(_top_of_jump(upper, grid[i - 1], grid[i], at[i]) for i in jumps)])


def _top_of_jump(upper, below, above, height):
    while above - below > 1e-11:
        middle = (below + above) / 2
        if upper(middle) >= height:
            above = middle
        else:
            below = middle
    return upper(above)
