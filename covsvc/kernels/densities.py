"""Events of a peak over a background, on a line and in a plane: how they are drawn, and their densities."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from covsvc.kernels.compilation import compiled

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Line(NamedTuple):
    """A Gaussian over a flat background, both within (-half_width, half_width)."""

    half_width: float
    mean: float
    width: float


class Box(NamedTuple):
    """A rectangle."""

    m1: float
    m2: float
    E1: float
    E2: float


class Peak(NamedTuple):
    """A bivariate Gaussian with a tail in E, in Eq. 45 and 48 of Narsky (2000); A and B add up to 1.

    The tail is a Gaussian in m; (E0 - E) / sigma_E has the gamma distribution of shape alpha and scale beta.
    """

    m0: float
    E0: float
    sigma_m: float
    sigma_E: float  # noqa: N815 - as in the paper
    rho: float
    A: float
    B: float
    alpha: float
    beta: float


class Slope(NamedTuple):
    """A density that is flat in m and linear in E within a box: `at_low` + `slope` (E - E1), with an integral of 1."""

    at_low: float
    slope: float


def draw_line(
    s: float, b: float, size: int, line: Line, inner: float, outer: float, rng: np.random.Generator, room: int = 0
) -> tuple[IntArray, FloatArray, IntArray, IntArray]:
    """Draw s + b expected events on a line, in ascending order within a toy.

    Background events have exponential distances, which gives their number and their places at once, and sorted.

    Returns
    -------
    n : ndarray of int, shape (toy,)
    x : ndarray of float, shape (event,)
        Toy after toy.
    n_inner, n_outer : ndarray of int, shape (toy,)
        Events at |x| < inner, and at |x| > outer.
    """
    room = room or _room(size * (s + b))
    n, n_inner, n_outer = (np.empty(size, np.int64) for _ in range(3))
    x = np.empty(room)
    before = rng.bit_generator.state
    drawn = _draw_line(float(s), float(b), line, inner, outer, n, x, n_inner, n_outer, rng)
    if drawn > room:
        rng.bit_generator.state = before
        return draw_line(s, b, size, line, inner, outer, rng, drawn)
    return n, x[:drawn], n_inner, n_outer


def line_inside(line: Line) -> float:
    """Return the part of the Gaussian within the line's ends, by which its density is divided."""
    ends = (np.array([-line.half_width, line.half_width]) - line.mean) / line.width
    return float(np.diff(special.ndtr(ends))[0])


def line_ratios(x: FloatArray, line: Line) -> FloatArray:
    """Return the signal density over the background density at `x`."""
    highest = 2.0 * line.half_width / (math.sqrt(2.0 * math.pi) * line.width * line_inside(line))
    return np.asarray(_gaussian(x, line.mean, line.width, highest))


def line_cdf(x: FloatArray, line: Line) -> FloatArray:
    """Return the cumulative distribution of the signal at `x`; it never falls where x rises."""
    return np.asarray(_line_cdf(x, line, line_inside(line)))


def draw_signal_on_line(size: int, line: Line, rng: np.random.Generator) -> FloatArray:
    """Draw the places of `size` signal events."""
    x = np.empty(size)
    _fill_signal(line, x, rng)
    return x


def draw_plane(
    s: float, b: float, size: int, peak: Peak, slope: Slope, box: Box, rng: np.random.Generator
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Draw s + b expected events in a box; return their numbers, shape (toy,), and m and E of each, toy after toy."""
    n_signal = rng.poisson(s, size)
    n = n_signal + rng.poisson(b, size)
    m, E = np.empty(n.sum()), np.empty(n.sum())
    _draw_plane(n_signal, n, peak, slope, box, m, E, rng)
    return n, m, E


def draw_peak(size: int, peak: Peak, box: Box, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Draw m and E of `size` signal events in a box."""
    m, E = np.empty(size), np.empty(size)
    _fill_peak(peak, box, m, E, rng)
    return m, E


def draw_slope(size: int, slope: Slope, box: Box, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Draw m and E of `size` background events in a box."""
    m, E = np.empty(size), np.empty(size)
    _fill_slope(slope, box, m, E, rng)
    return m, E


@compiled
def peak_density(m: FloatArray, E: FloatArray, peak: Peak) -> FloatArray:
    """Return the density of `peak`, with an integral of 1 over the whole plane.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 45 and 48.
    """
    m0, E0, sigma_m, sigma_E, rho, A, B, alpha, beta = peak
    narrow = 1.0 - rho * rho
    core = A / (2.0 * math.pi * sigma_m * sigma_E * math.sqrt(narrow))
    tail = B / (math.sqrt(2.0 * math.pi) * sigma_m * sigma_E)
    log_gamma = math.lgamma(alpha) + alpha * math.log(beta)
    density = np.empty(len(m))
    for i in range(len(m)):
        x, y = (m[i] - m0) / sigma_m, (E[i] - E0) / sigma_E
        density[i] = core * math.exp(-0.5 * (x * x - 2.0 * rho * x * y + y * y) / narrow)
        if y < 0.0 and B > 0.0:
            density[i] += tail * math.exp(-0.5 * x * x + (alpha - 1.0) * math.log(-y) + y / beta - log_gamma)
    return density


@cache
def peak_inside(peak: Peak, box: Box) -> float:
    """Return the part of `peak` within a box, by which its density is divided there."""
    across, up = (
        [(end - at) / width for end in ends]
        for ends, at, width in (
            ((box.m1, box.m2), peak.m0, peak.sigma_m),
            ((box.E1, box.E2), peak.E0, peak.sigma_E),
        )
    )
    corners = [[_below_both(x, y, peak.rho) for y in up] for x in across]
    core = corners[1][1] - corners[0][1] - corners[1][0] + corners[0][0]
    reached = special.gammainc(peak.alpha, np.maximum([-up[1], -up[0]], 0.0) / peak.beta)
    tail = np.diff(special.ndtr(across))[0] * np.diff(reached)[0]
    return float(peak.A * core + peak.B * tail)


@compiled
def slope_density(E: FloatArray, slope: Slope, box: Box) -> FloatArray:
    """Return the density of `slope` in a box."""
    return (slope.at_low + slope.slope * (E - box.E1)) / (box.m2 - box.m1)


def slope_of(a0: float, a1: float, at: float, box: Box) -> Slope:
    """Return the density proportional to a0 + a1 (E - at), divided by its integral over E.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 49.
    """
    total = (a0 - a1 * at) * (box.E2 - box.E1) + 0.5 * a1 * (box.E2**2 - box.E1**2)
    return Slope((a0 + a1 * (box.E1 - at)) / total, a1 / total)


@compiled
def count_plane(
    n: IntArray, m: FloatArray, E: FloatArray, box: Box, inner_m1: float, inner_m2: float
) -> tuple[IntArray, IntArray]:
    """Return how many events of each toy are in a box, and how many have an m outside of (inner_m1, inner_m2)."""
    inside, outer = np.zeros(len(n), np.int64), np.zeros(len(n), np.int64)
    event = 0
    for toy in range(len(n)):
        for i in range(event, event + n[toy]):
            inside[toy] += box.m1 < m[i] < box.m2 and box.E1 < E[i] < box.E2
            outer[toy] += not inner_m1 < m[i] < inner_m2
        event += n[toy]
    return inside, outer


def gaussian_above_zero(b: float, relative_error: float, size: int, rng: np.random.Generator) -> FloatArray:
    """Draw from a Gaussian at b of width relative_error b, cut off below 0."""
    below = special.ndtr(-1.0 / relative_error)
    return np.asarray(b * np.maximum(1.0 + relative_error * special.ndtri(rng.uniform(below, 1.0, size)), 0.0))


def _below_both(h: float, k: float, rho: float) -> float:
    """Return the probability that x < h and y < k, of a bivariate Gaussian of unit widths.

    References
    ----------
    .. [1] D. B. Owen, Ann. Math. Statist. 27 (1956) 1075, Eq. 2.1, with his function T.
    """
    h, k = h or 1e-300, k or 1e-300  # it is continuous there, but its parts are not
    narrow = math.sqrt(1.0 - rho * rho)
    halves = 0.5 * (special.ndtr(h) + special.ndtr(k)) - 0.5 * ((h < 0) != (k < 0))
    parts = special.owens_t(h, (k - rho * h) / (h * narrow)) + special.owens_t(k, (h - rho * k) / (k * narrow))
    return float(halves - parts)


def _room(expected: float) -> int:
    return int(expected + 6.0 * math.sqrt(expected)) + 16


@compiled
def _draw_line(
    s: float,
    b: float,
    line: Line,
    inner: float,
    outer: float,
    n: IntArray,
    x: FloatArray,
    n_inner: IntArray,
    n_outer: IntArray,
    rng: np.random.Generator,
) -> int:
    """Fill in all arrays; return how many events there are, and leave out of x those that it has no room for."""
    h = line.half_width
    step = 2.0 * h / max(b, 1e-300)
    drawn = 0
    for toy in range(len(n)):
        begun = drawn
        reached = rng.standard_exponential()
        while reached < b:
            if drawn < len(x):
                x[drawn] = min(reached * step - h, h)
            drawn += 1
            reached += rng.standard_exponential()
        background = drawn - begun
        signal = np.empty(rng.poisson(s))
        _fill_signal(line, signal, rng)
        drawn += len(signal)
        n[toy] = drawn - begun
        if drawn > len(x):
            continue
        _merge(x[begun:drawn], background, signal)
        n_inner[toy], n_outer[toy] = 0, 0
        for i in range(begun, drawn):
            n_inner[toy] += abs(x[i]) < inner
            n_outer[toy] += abs(x[i]) > outer
    return drawn


@compiled
def _merge(x: FloatArray, sorted_ones: int, others: FloatArray) -> None:
    """Put `others` among the first ones of `x`, which ascend, so that all ascend."""
    if len(others) > 64:
        others.sort()
    else:  # sorting by insertion is the fastest of so few
        for i in range(1, len(others)):
            value, j = others[i], i
            while j > 0 and others[j - 1] > value:
                others[j] = others[j - 1]
                j -= 1
            others[j] = value
    left, right = sorted_ones - 1, len(others) - 1
    while right >= 0:
        if left >= 0 and x[left] > others[right]:
            x[left + right + 1] = x[left]
            left -= 1
        else:
            x[left + right + 1] = others[right]
            right -= 1


@compiled
def _fill_signal(line: Line, x: FloatArray, rng: np.random.Generator) -> None:
    for i in range(len(x)):
        x[i] = line.mean + line.width * rng.standard_normal()
        while not -line.half_width < x[i] < line.half_width:
            x[i] = line.mean + line.width * rng.standard_normal()


@compiled
def _gaussian(x: FloatArray, mean: float, width: float, highest: float) -> FloatArray:
    density = np.empty(len(x))
    for i in range(len(x)):
        z = (x[i] - mean) / width
        density[i] = highest * math.exp(-0.5 * z * z)
    return density


@compiled
def _line_cdf(x: FloatArray, line: Line, inside: float) -> FloatArray:
    scale = 1.0 / (math.sqrt(2.0) * line.width)
    below = 0.5 * math.erfc((line.half_width + line.mean) * scale)
    u = np.empty(len(x))
    for i in range(len(x)):
        reached = (0.5 * math.erfc((line.mean - x[i]) * scale) - below) / inside
        u[i] = min(max(reached, 0.0), 1.0)
        # a rounding error of erfc may not turn neighbours round
        if i > 0 and x[i] >= x[i - 1]:
            u[i] = max(u[i], u[i - 1])
    return u


@compiled
def _draw_plane(
    n_signal: IntArray,
    n: IntArray,
    peak: Peak,
    slope: Slope,
    box: Box,
    m: FloatArray,
    E: FloatArray,
    rng: np.random.Generator,
) -> None:
    event = 0
    for toy in range(len(n)):
        middle, end = event + n_signal[toy], event + n[toy]
        _fill_peak(peak, box, m[event:middle], E[event:middle], rng)
        _fill_slope(slope, box, m[middle:end], E[middle:end], rng)
        event = end


@compiled
def _fill_peak(peak: Peak, box: Box, m: FloatArray, E: FloatArray, rng: np.random.Generator) -> None:
    m0, E0, sigma_m, sigma_E, rho, A, _, alpha, beta = peak
    narrow = math.sqrt(1.0 - rho * rho)
    for i in range(len(m)):
        inside = False
        while not inside:
            x = rng.standard_normal()
            y = rho * x + narrow * rng.standard_normal() if rng.random() < A else -beta * rng.standard_gamma(alpha)
            m[i], E[i] = m0 + sigma_m * x, E0 + sigma_E * y
            inside = box.m1 < m[i] < box.m2 and box.E1 < E[i] < box.E2


@compiled
def _fill_slope(slope: Slope, box: Box, m: FloatArray, E: FloatArray, rng: np.random.Generator) -> None:
    for i in range(len(m)):
        m[i] = box.m1 + (box.m2 - box.m1) * rng.random()
        below = rng.random()
        # the root of at_low y + slope y^2 / 2 = below, without a difference of large numbers where the slope is small
        root = math.sqrt(max(slope.at_low * slope.at_low + 2.0 * slope.slope * below, 0.0))
        E[i] = min(box.E1 + 2.0 * below / (slope.at_low + root), box.E2)


@compiled
def table_quantiles(nodes: FloatArray, values: FloatArray, p: FloatArray) -> FloatArray:
    """Return the positions below which the parts `p` of a density lie that is linear between its nodes.

    Parameters
    ----------
    nodes, values : ndarray of float, shape (node,)
        Ascending positions, and the density there, of any integral above 0.
    p : ndarray of float, shape (event,)
        In [0, 1].
    """
    pieces = nodes.size - 1
    below = np.zeros(pieces + 1)
    for k in range(pieces):
        below[k + 1] = below[k] + (nodes[k + 1] - nodes[k]) * (values[k] / 2 + values[k + 1] / 2)
    # where the search begins for each of many steps in p: it then takes hardly any
    starts = np.zeros(4 * pieces + 1, np.int64)
    at = 0
    for step in range(starts.size):
        while at < pieces - 1 and below[at + 1] <= below[pieces] * (step / starts.size):
            at += 1
        starts[step] = at
    found = np.empty(p.size)
    for i in range(p.size):
        wanted = p[i] * below[pieces]
        at = starts[min(int(p[i] * starts.size), starts.size - 1)]
        while at > 0 and below[at] > wanted:
            at -= 1
        while at < pieces - 1 and below[at + 1] <= wanted:
            at += 1
        inside, width, left = wanted - below[at], nodes[at + 1] - nodes[at], values[at]
        # the root of left y + slope y^2 / 2 = inside, without a difference of large numbers where the slope is small
        reached = left + math.sqrt(max(left * left + 2.0 * (values[at + 1] - left) / width * inside, 0.0))
        found[i] = nodes[at] + (min(2.0 * inside / reached, width) if reached > 0 else 0.0)
    return found
