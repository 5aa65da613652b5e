"""Distribution of the fitted signal by brute force or enumeration, from its definition, and nothing of covsvc.

Paper: Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 15 and 20.
"""

import numpy as np
from scipy import optimize, stats


def fitted(ratio):
    """Return the s >= 0 of the largest likelihood of one experiment, exp(-s - b) prod(s r + b) with b >= 0."""
    events = len(ratio)

    def slope(f):
        return np.sum((ratio - 1) / (f * ratio + (1 - f)))

    # s + b = N at the maximum; the logarithm is concave in f = s / N
    if events == 0 or slope(0.0) <= 0:
        return 0.0
    if (ratio > 0).all() and slope(1.0) >= 0:
        return float(events)
    return events * optimize.brentq(slope, 0.0, 1.0 - 1e-13, xtol=1e-14)


# A Gaussian signal of width 1 at 0, on a background that is flat in (-10, 10): Narsky, Section 4


def gaussian_ratio(x):
    """Return the signal density over the background density at x."""
    return 20.0 * np.exp(-(np.asarray(x) ** 2) / 2) / np.sqrt(2 * np.pi)


def signal_positions(size, rng):
    """Draw positions of signal events; beyond 10 there is 1e-23 of them."""
    return rng.standard_normal(size)


def background_positions(size, rng):
    """Draw positions of background events."""
    return rng.uniform(-10, 10, size)


def narsky_positions(n, b):
    """Return events as in Narsky's Figure 1: n at 0, b in 2.5 < |x| < 5 and 2 b in 5 < |x| < 10, at mid-points."""
    near, far = (np.arange(b) + 0.5) / max(b, 1), (np.arange(2 * b) + 0.5) / max(2 * b, 1)
    return np.concatenate([np.zeros(n), 2.5 + 2.5 * near, 5.0 + 5.0 * far])


def share_above(s, s_0, b_0, size, rng):
    """Return the share of so many experiments, s_0 and b_0 events expected, whose fitted signal is above s."""
    n, m = rng.poisson(s_0, size), rng.poisson(b_0, size)
    ratio = np.ones((size, max((n + m).max(), 1)))  # an event with r = 1 changes no slope
    place = np.arange(ratio.shape[1])
    is_signal, is_background = place < n[:, None], (place >= n[:, None]) & (place < (n + m)[:, None])
    ratio[is_signal] = gaussian_ratio(signal_positions(n.sum(), rng))
    ratio[is_background] = gaussian_ratio(background_positions(m.sum(), rng))
    # by concavity the fit is above s where the slope at s is positive
    f = (s / np.maximum(n + m, 1))[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = ((ratio - 1) / (f * ratio + (1 - f))).sum(1)
    return np.mean((n + m > s) & (slope > 0))


# Densities that are constant inside and outside of a window, which holds the shares a and c of signal and background:
# s a + b c events are expected inside, s (1 - a) + b (1 - c) outside


def window_fit(inside, outside, a, c):
    """Return the fitted signal of each pair of counts."""
    inside, outside = np.asarray(inside, float), np.asarray(outside, float)
    free = (inside * (1 - c) - outside * c) / (a - c)
    return np.clip(free, 0.0, inside + outside)


def window_chance(s, s_0, b_0, a, c, most=80):
    """Return the probability of a fitted signal above s."""
    k, m = np.arange(most)[:, None], np.arange(most)
    chance = stats.poisson.pmf(k, s_0 * a + b_0 * c) * stats.poisson.pmf(m, s_0 * (1 - a) + b_0 * (1 - c))
    return chance[window_fit(k, m, a, c) > s + 1e-9].sum()


def window_upper(inside, outside, a, c, cl):
    """Return the signal at which a fitted signal above the observed one has probability cl; -1 if s = 0 has more."""
    s = window_fit(inside, outside, a, c)
    b = inside + outside - s
    if window_chance(s, 0.0, b, a, c) > cl:
        return -1.0
    return optimize.brentq(lambda s_0: window_chance(s, s_0, b, a, c) - cl, 0.0, 40.0, xtol=1e-10)
