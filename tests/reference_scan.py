"""C_n of Yellin, Phys. Rev. D 66 (2002) 032005, from definitions: toys, orderings counted one by one, and his Eq. 2."""

from functools import cache
from itertools import pairwise
from math import exp, factorial

import mpmath
import numpy as np
from mpmath import mpf


def maximum_gap_cdf(x, mu):
    """Return C_0(x, mu) by Eq. 2, to the digits in force."""
    x, mu = mpf(x), mpf(mu)
    total = mpf(0)
    for k in range(int(mpmath.floor(mu / x)) + 1):
        rest = mu - k * x
        if rest:
            total += (-rest) ** k * mpmath.exp(-k * x) / mpmath.factorial(k) * (1 + k / rest)
        elif k == 1:
            total -= mpmath.exp(-x)  # (-rest)^k k/rest at rest = 0
    return total


def largest_intervals(events, mu, most):
    """Return X_0..X_most of sorted events in [0, mu]."""
    ends = [0.0, *events, mu]
    return [
        max([right - left for left, right in zip(ends, ends[n + 1 :], strict=False)], default=mu)
        for n in range(most + 1)
    ]


def toys(mu, most, size, seed):
    """Return X_0..X_most of `size` draws of Poisson many uniform events, shape (toy, most + 1)."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(mu, size)
    return np.array([largest_intervals(np.sort(rng.uniform(0, mu, count)), mu, most) for count in counts])


@cache
def orders(steps, leads):
    """Count the orders of all steps in which path i never gets more than leads[i] ahead of path i + 1."""
    if any(one > other + lead for one, other, lead in zip(steps[:-1], steps[1:], leads, strict=True)):
        return 0
    if not any(steps):
        return 1
    return sum(orders((*steps[:i], count - 1, *steps[i + 1 :]), leads) for i, count in enumerate(steps) if count)


def fraction(steps, leads):
    """Return the fraction of all orders that `orders` counts."""
    every = factorial(sum(steps))
    for count in steps:
        every //= factorial(count)
    return orders(steps, leads) / every


def counts(means, least=1e-17, chance=1.0):
    """Yield all numbers of events in cells of these means that are likelier than `least`, with their probabilities."""
    if not means:
        yield (), chance
        return
    chance *= exp(-means[0])
    number = 0
    while chance > least or number < means[0]:
        for others, together in counts(means[1:], least, chance):
            yield (number, *others), together
        number += 1
        chance *= means[0] / number


def least_window_cdf(n, x, mu):
    """Return P(X_n < x): every window of length x holds n + 1 events or more.

    As the window moves on, events enter it from one cell of the range and leave it in another, and all orders of these
    are equally likely.
    """
    m = int(mu / x)
    r = mu - m * x
    total = 0.0
    for cells, chance in counts([r, x - r] * m + [r]):
        spare = [one + other - n - 1 for one, other in pairwise(cells)]
        if min(spare) >= 0:
            total += chance * fraction(cells[::2], tuple(spare[::2])) * fraction(cells[1::2], tuple(spare[1:-1:2]))
    return total
