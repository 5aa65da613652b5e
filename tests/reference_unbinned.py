"""Likelihoods of events with densities by their definition, with many digits, slowly, and nothing of covsvc.

L(s, b) = exp(-s - b) prod(s r_i + b) f(b), where f is what is known of b. Paper: Narsky, Nucl. Instrum. Meth. A 450
(2000) 444, Eq. 15 and 19.
"""

import math

import mpmath
import numpy as np
from mpmath import mpf

DIGITS = 40

# signal density over background density at each event: none, ties, signal or background alone, all scales
HARD_RATIOS = [
    [],
    [0.0],
    [math.inf],
    [0.0, math.inf],
    [1.0, 1.0, 1.0],
    [1e-300, 1e300],
    [1e-300] * 5 + [1e300],
    [0.0] * 5,
    [math.inf] * 5,
    [2.0, 0.5],
    [2.0, 2.0, 0.1],
    [1.7e308, 1.7e308, 5e-324],
    [1 + 1e-10, 1 - 1e-10, 1 + 1e-10],
    [1e-10, 2.0, 3.0],
    [3.9],
    [1e-21, 1e-21, 8.0, 8.0, 8.0, 2.0],
]
# b, error, shape; nothing known where b is None
HARD_BACKGROUNDS = [
    (None, 0.0, ""),
    (1e-300, 0.0, ""),
    (3.0, 0.0, ""),
    (1e6, 0.0, ""),
    (3.0, 0.5, "gamma"),
    (3.0, 3.0, "gamma"),
    (1e-300, 1e-301, "gamma"),
    (1e6, 1e3, "gamma"),
    (3.0, 3e-9, "gamma"),
    (1e-3, 1e-3, "gamma"),
    (3.0, 0.5, "truncated_gaussian"),
    (3.0, 30.0, "truncated_gaussian"),
    (0.0, 1.0, "truncated_gaussian"),
    (0.0, 1e-300, "truncated_gaussian"),
    (1e6, 1e3, "truncated_gaussian"),
    (3.0, 3e-9, "truncated_gaussian"),
    (0.0, 1e6, "truncated_gaussian"),
]


def random_ratios(size, seed=1999):
    """Return the ratios of toys of 1 to 20 events, over a few scales or over all of them."""
    rng = np.random.default_rng(seed)
    for i in range(size):
        scale = 300 if i % 3 == 0 else 3
        yield (10 ** rng.uniform(-scale, scale, rng.integers(1, 21))).tolist()


class Likelihood:
    """The likelihood of one toy with what is known of its background."""

    def __init__(self, ratios, b=None, error=0.0, shape=""):
        self.scale = max(b or 0.0, error)
        self.signal = sum(math.isinf(r) for r in ratios)  # of these the factor is s
        self.ratios = [mpf(r) for r in ratios if not math.isinf(r)]
        self.known = None if b is None or error else mpf(b)
        self.excess = self.rate = self.precision = self.centre = mpf(0)
        if error and shape == "gamma":
            self.excess, self.rate = (mpf(b) / mpf(error)) ** 2 - 1, mpf(b) / mpf(error) ** 2
        elif error:
            self.precision, self.centre = 1 / mpf(error) ** 2, mpf(b)

    def logarithm(self, s, b):
        """Return ln L but for a constant."""
        total = -s - b - self.rate * b - self.precision * (b - self.centre) ** 2 / 2
        if self.signal:
            total += self.signal * mpmath.log(s) if s else -mpmath.inf
        if self.excess:
            total += self.excess * mpmath.log(b)
        return total + sum(mpmath.log(s * r + b) for r in self.ratios)

    def slope_in_b(self, s, b):
        """Return the derivative of ln L in b, which falls with b."""
        slope = sum((1 / (s * r + b) for r in self.ratios), mpf(-1)) - self.rate
        return slope - self.precision * (b - self.centre) + (self.excess / b if self.excess else 0)

    def slope(self, s):
        """Return the derivative in s of ln L at its largest in b, which falls with s."""
        b = self.background(s)
        return sum((r / (s * r + b) for r in self.ratios), mpf(-1)) + (self.signal / s if self.signal else 0)

    @mpmath.workdps(DIGITS)
    def background(self, s):
        """Return the b >= 0 of the largest likelihood at `s`, by bisection."""
        if self.known is not None:
            return self.known
        left, right = mpf(10) ** -400, mpf(10) ** 8
        if self.slope_in_b(s, left) <= 0:
            return mpf(0)
        while right - left > right * mpf(10) ** -25:
            middle = mpmath.sqrt(left * right) if right > 2 * left else (left + right) / 2
            if self.slope_in_b(s, middle) > 0:
                left = middle
            else:
                right = middle
        return right

    @mpmath.workdps(DIGITS)
    def largest(self, s):
        """Return ln L at its largest in b."""
        return self.logarithm(s, self.background(s))


@mpmath.workdps(DIGITS)
def is_fit(likelihood, s, b):
    """Tell whether (s, b) has the largest likelihood of s, b >= 0, within 1e-8 of each or as doubles can tell."""
    s, b = mpf(float(s)), mpf(float(b))
    counts = mpf("1e-14") * (len(likelihood.ratios) + likelihood.signal)
    width = mpf("1e-8") * s + counts
    if s > width and likelihood.slope(s - width) < -mpf("1e-15"):
        return False
    within = mpf("1e-8") * (b + width) + counts + mpf("1e-16") * likelihood.scale
    return likelihood.slope(s + width) <= mpf("1e-15") and abs(likelihood.background(s) - b) <= within


@mpmath.workdps(DIGITS)
def is_level(likelihood, s_hat, s, height):
    """Tell whether -2 ln lambda passes `height` within 1e-9 of `s`."""
    best = likelihood.largest(mpf(float(s_hat)))
    below, above = (2 * (best - likelihood.largest(mpf(float(s)) * (1 + mpf(e)))) for e in ("-1e-9", "1e-9"))
    return below <= mpf(height) <= above
