"""Elementary symmetric polynomials of density ratios, and the mixtures of gamma distributions that they weigh.

Letters: r_i ratio of the signal density to that of the background at event i; prod(s r_i + b) = sum_j e_j s^j b^(N-j);
q_j = e_j / e_(j-1), which never rises with j; m events have r = inf, z have r = 0, K others; B_l = E(b^(l+1)) / E(b^l)
under what is known of the background b.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from covsvc.kernels.compilation import compiled
from covsvc.kernels.mixtures import growth_of, mean_at_share, narrow

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

UNKNOWN, KNOWN, GAMMA, GAUSSIAN = range(4)
"""What is known of b: nothing, its prior is flat; b itself; its gamma distribution; its Gaussian cut off below 0."""

MOST_PRODUCTS = 1_000_000_000
"""Events times how many of them may be signal: more would take longer than a second or two."""

_PLAIN = 120  # so many events have sums of products that seldom leave the range of a double
_TRIED = 128  # so many events of signal are tried first
_INFINITE = 1e250  # beside such a ratio b is lost against s r
_SMALL, _LARGE = 1e-100, 1e100


def knowledge_of(
    toys: int, b: float | FloatArray | None, b_error: float | FloatArray, shape: str
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return b of each toy, the width of its distribution, and what is known of it; b None: nothing."""
    if b is None:
        return np.zeros(toys), np.zeros(toys), np.full(toys, UNKNOWN)
    mean, error = (np.broadcast_to(np.asarray(each, np.float64), (toys,)) for each in (b, b_error))
    gaussian = shape == "truncated_gaussian"
    known = narrow(mean, error)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        width = error if gaussian else error / mean * error
    return np.array(mean), np.where(known, 0.0, width), np.where(known, KNOWN, GAUSSIAN if gaussian else GAMMA)


@compiled
def posterior(ratio: FloatArray, b: float, width: float, knowledge: int, negligible: float) -> tuple[int, FloatArray]:
    """Return m and the weights of Gamma(m + k + 1, 1), k = 0, 1, ..., in the posterior of s of one toy.

    Parameters
    ----------
    ratio : ndarray of float, shape (event,)
        Signal density over background density.
    b, width, knowledge
        As `knowledge_of` gives them, of the toy.
    negligible : float
        Weights that are smaller parts of their sum may be left out.

    Returns
    -------
    m : int
    weight : ndarray of float
        Not normalised; empty where there is no posterior.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 15-17 and 19.
    """
    return _posterior(ratio, b, width, knowledge, negligible, np.empty((4, _PLAIN + 5)))


@compiled
def _sums_of_products(r: FloatArray, e: FloatArray) -> None:
    """Write e_K, ..., e_0 and four zeros into `e`; what leaves the range of a double is lost."""
    for j in range(r.size + 5):
        e[j] = 0.0
    e[r.size] = 1.0
    first = r.size % 4
    for i in range(first):
        for j in range(r.size):
            e[j] += r[i] * e[j + 1]
    # four events at a time, and always the whole row: short loops of another length each time are slower
    for i in range(first, r.size, 4):
        sum_1, sum_2 = r[i] + r[i + 1], r[i + 2] + r[i + 3]
        pair_1, pair_2 = r[i] * r[i + 1], r[i + 2] * r[i + 3]
        one, two = sum_1 + sum_2, pair_1 + pair_2 + sum_1 * sum_2
        three, four = sum_1 * pair_2 + sum_2 * pair_1, pair_1 * pair_2
        for j in range(r.size):
            e[j] += (one * e[j + 1] + two * e[j + 2]) + (three * e[j + 3] + four * e[j + 4])


@compiled
def _plain_weights(
    r: FloatArray, moments: FloatArray, m: int, negligible: float, unimodal: bool, room: FloatArray
) -> FloatArray:
    """Return what `_weights` does, from sums of products; nothing where digits can have been lost out of range."""
    size = r.size
    e, weight = room[0], room[1]
    _sums_of_products(r, e)
    weight[0] = total = before = factor = 1.0
    for k in range(1, size + 1):
        factor *= (m + k) / moments[size - k]
        value = e[size - k] * factor
        weight[k] = value
        total += value
        # the weights fall at least twofold from here on: those left out are less than this one
        if unimodal and value <= negligible * total and 2.0 * value < before:
            return weight[: k + 1]
        if not (_SMALL < e[size - k] < _LARGE and value < _LARGE):
            return weight[:0]
        before = value
    return weight[: size + 1]


@compiled
def _quotients(r: FloatArray, most: int) -> FloatArray:
    """Return q_0..q_most from each other: none of them leaves the range, and their errors do not grow."""
    q = np.zeros(most + 1)
    for i in range(r.size):
        ratio = r[i]
        for j in range(min(i + 1, most), 1, -1):
            q[j] = q[j - 1] * ((q[j] + ratio) / (q[j - 1] + ratio))
        q[1] += ratio
    return q


@compiled
def _moments(hi: int, b: float, width: float, knowledge: int, moments: FloatArray) -> FloatArray:
    """Write B_l for l up to hi-1 into the row `moments`, and return it."""
    lo = hi - moments.size
    if knowledge == KNOWN:
        moments[:] = b
        return moments
    for i in range(moments.size):
        moments[i] = lo + i + 1.0
    if knowledge != UNKNOWN:
        moments *= growth_of(lo, hi, b, width, knowledge == GAUSSIAN)
    return moments


@compiled
def _weights(q: FloatArray, moments: FloatArray, m: int, negligible: float, unimodal: bool) -> tuple[FloatArray, bool]:
    """Return the weights of Gamma(m + k + 1, 1), k = 0, 1, ..., in proportion, and whether all that matter are there.

    A weight over the one before is q_k (m + k) / B_(K+z-k). By Newton's inequalities this quotient never rises where
    the distribution of b is log-concave (`unimodal`): a geometric series is above all weights that are left out.
    """
    most = q.size - 1
    weight = np.empty(most + 1)
    exponent = np.zeros(most + 1, np.int64)
    weight[0] = value = total = 1.0
    power = 0
    for k in range(1, most + 1):
        moment = moments[most - k]
        if moment == 0.0:  # certainly no background: nothing that needs more of it matters
            weight[:k] = 0.0
            weight[k] = value = total = 1.0
            power = 0
            continue
        above, up = math.frexp(q[k])
        below, down = math.frexp(moment)
        step = above * (m + k) / below
        value, shift = math.frexp(value * step)
        shift += up - down
        power += shift
        total = math.ldexp(total, -shift) + value
        weight[k] = value
        exponent[k] = power
        step = math.ldexp(step, up - down)
        if unimodal and step < 1.0 and value * step <= negligible * total * (1.0 - step):
            return _on_one_scale(weight[: k + 1], exponent), True
    return _on_one_scale(weight, exponent), False


@compiled
def _on_one_scale(weight: FloatArray, exponent: IntArray) -> FloatArray:
    """Multiply each weight by 2 to its exponent, relative to the largest, in place."""
    highest = -(2**62)
    for k in range(weight.size):
        if weight[k] > 0.0:
            highest = max(highest, exponent[k] + math.frexp(weight[k])[1])
    for k in range(weight.size):
        weight[k] = math.ldexp(weight[k], max(exponent[k] - highest, -5000))
    return weight


@compiled
def _posterior(
    ratio: FloatArray, b: float, width: float, knowledge: int, negligible: float, room: FloatArray
) -> tuple[int, FloatArray]:
    """Return m, and the weights of Gamma(m + k + 1, 1) in the posterior of s; none where there is no posterior."""
    r = room[2] if ratio.size <= _PLAIN else np.empty(ratio.size)
    others = infinite = 0
    for each in ratio:
        if each > _INFINITE:
            infinite += 1
        elif each > 0.0:
            r[others] = each
            others += 1
    r = r[:others]
    left = ratio.size - infinite
    if knowledge == KNOWN and b == 0.0:  # all events are signal
        return ratio.size, np.ones(1 if left == others else 0)
    # a gamma distribution of b that is no wider than its mean is log-concave
    unimodal = knowledge != GAMMA or b >= width
    if others <= _PLAIN:
        moments = _moments(left, b, width, knowledge, room[3, :others])
        if others == 0 or moments[0] > 0.0:
            weight = _plain_weights(r, moments, infinite, negligible, unimodal, room)
            if weight.size > 0:
                return infinite, weight
    affordable = MOST_PRODUCTS // others
    most = min(_TRIED, others) if unimodal else others
    while most <= affordable:
        q = _quotients(r, most)
        moments = _moments(left, b, width, knowledge, np.empty(most))
        weight, settled = _weights(q, moments, infinite, negligible, unimodal)
        if settled or most == others:
            return infinite, weight
        if most == affordable:
            break
        most = min(4 * most, others, affordable)
    return infinite, np.empty(0)


@compiled
def _start(weight: FloatArray, m: int, z: float) -> float:
    """Return about where the mixture has the quantile z: that of a gamma distribution (Wilson and Hilferty)."""
    total = mean = square = 0.0
    for k in range(weight.size):
        shape = m + k + 1.0
        total += weight[k]
        mean += weight[k] * shape
        square += weight[k] * shape * (shape + 1.0)
    mean /= total
    variance = square / total - mean * mean
    ninth = variance / (9.0 * mean * mean)
    root = 1.0 - ninth + z * math.sqrt(ninth)
    return mean * root * root * root


@compiled
def _quantile(share: FloatArray, m: int, alpha: float, s: float, left: float, right: float) -> float:
    """Return the s in [left, right] beyond which lies alpha of the mixture (Halley in the logarithm, bracketed).

    Of the mixture of Gamma(m + k + 1, 1), share_k belongs to the component k and those after it.
    """
    for _ in range(100):
        if not left < s < right:
            s = 0.5 * (left + right)
        term = math.exp(-s)
        beyond = density = slope = 0.0
        for k in range(m):
            beyond += term
            term *= s / (k + 1.0)
        below = 0.0 if m == 0 else term * m / s
        for k in range(share.size):
            beyond += term * share[k]
            weight = share[k] - share[k + 1] if k + 1 < share.size else share[k]
            density += weight * term
            slope += weight * (below - term)
            below = term
            term *= s / (m + k + 1.0)
        if beyond > alpha:
            left = s
        else:
            right = s
        # of ln(beyond / alpha): itself, its derivative and the second one
        excess = math.log(beyond / alpha)
        first = -density / beyond
        second = -slope / beyond - first * first
        curvature = 2.0 * first * first - excess * second
        if curvature <= 0.0:
            s = 0.5 * (left + right)
            continue
        step = 2.0 * excess * first / curvature
        new = s - step
        # what is left after so small a step is its third power
        if abs(step) <= 1e-5 * s:
            return new
        s = new
    return s


@compiled
def _integrated_upper(
    starts: IntArray, ratio: FloatArray, b: FloatArray, width: FloatArray, knowledge: IntArray, alpha: float, z: float
) -> FloatArray:
    upper = np.empty(starts.size - 1)
    least = -math.log(alpha)
    room = np.empty((4, _PLAIN + 5))
    for i in range(upper.size):
        events = ratio[starts[i] : starts[i + 1]]
        m, weight = _posterior(events, b[i], width[i], knowledge[i], 1e-20 * alpha, room)
        if weight.size == 0:
            upper[i] = math.nan
            continue
        if m + weight.size == 1:
            upper[i] = least
            continue
        start = _start(weight, m, z)
        for k in range(weight.size - 1, 0, -1):
            weight[k - 1] += weight[k]
        share = weight
        share /= weight[0]
        last = float(m + weight.size - 1)
        # Chernoff: so few events have a probability below alpha there
        right = last + least + math.sqrt(least * (2.0 * last + least))
        if right < 700.0:
            upper[i] = _quantile(share, m, alpha, start, least, right)
        else:
            upper[i] = mean_at_share(share, m, alpha, least, right)
    return upper


def integrated_upper(
    starts: IntArray, ratio: FloatArray, b: FloatArray, width: FloatArray, knowledge: IntArray, cl: float
) -> FloatArray:
    """Return the upper limits from the likelihood integrated over the background, under a prior flat in s >= 0.

    Parameters
    ----------
    starts : ndarray of int, shape (toy + 1,)
        Where the events of each toy begin.
    ratio : ndarray of float, shape (event,)
        Signal density over background density, in [0, inf].
    b, width : ndarray of float, shape (toy,)
        What is known of the background: b, or what `mixtures.flat_upper` takes; of no effect where it is `UNKNOWN`.
    knowledge : ndarray of int, shape (toy,)
        `UNKNOWN`, `KNOWN`, `GAMMA` or `GAUSSIAN`.
    cl : float
        Confidence level.

    Returns
    -------
    ndarray of float, shape (toy,)
        Expected signal events; NaN where an event lies where no background falls that is known to be 0, and where
        there are too many events, see `MOST_PRODUCTS`.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 15-17 and 19.
    """
    return np.asarray(_integrated_upper(starts, ratio, b, width, knowledge, 1.0 - cl, -float(special.ndtri(1.0 - cl))))
