"""Fits of signal and background to events at which the ratio of their densities is known.

The likelihood is L(s, b) = exp(-s - b) prod(s r_i + b), s and b expected events, r_i the signal density over the
background density at event i, in [0, +inf]. What is known of b beforehand multiplies it: its density f(b), an estimate
b0 with an error: a gamma distribution, or a Gaussian cut off below 0. t(s) is -2 ln lambda(s), twice the fall of the
logarithm from the largest likelihood of s, b >= 0 to the largest at the signal s.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covsvc.kernels.compilation import compiled

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

UNKNOWN, GAMMA, TRUNCATED_GAUSSIAN = 0, 1, 2
"""What is known of b: nothing; its gamma distribution; its truncated Gaussian. Without an error it is known."""

KINDS = {"gamma": GAMMA, "truncated_gaussian": TRUNCATED_GAUSSIAN}
"""By the names that observations have for them."""

FOUND, IMPOSSIBLE, DIVERGENT, NOT_CONVERGED = 0, 1, 2, 3
"""What became of a fit.

IMPOSSIBLE: no s explains an event that has no signal density where b is known to be 0. DIVERGENT: the gamma density
of b has a width above its mean, and infinite likelihood at b = 0.
"""

# A ratio above the largest acts as that one does: its event is signal. One below the smallest acts as 0 does: with it
# b is about 1 at least. No square of either overflows.
_SMALLEST, _LARGEST = 1e-100, 1e100
_NARROW = 1e-10  # a relative error of b below which it is known
_SHORT, _LONG = 1e-7, 1e-2  # squares of steps, over the width of the likelihood
_TRIALS = 200


class _Known(NamedTuple):
    """What is known of the background, in units of `scale`: c = b / scale, and r / scale stands for r.

    The logarithm of its density is excess ln c - shape c - (c - centre)^2 precision / 2.
    """

    scale: float
    free: bool
    excess: float
    shape: float
    centre: float
    precision: float


@compiled(error_model="numpy")
def _known(kind: int, b: float, b_error: float) -> tuple[_Known, int]:
    """Return what is known of the background, and whether it can be used."""
    if kind == UNKNOWN:
        return _Known(1.0, True, 0.0, 0.0, 0.0, 0.0), FOUND
    if b_error <= _NARROW * b:
        return _Known(b, False, 0.0, 0.0, 1.0, 0.0), FOUND
    if kind == GAMMA:
        shape = (b / b_error) ** 2
        return _Known(b, True, shape - 1.0, shape, 0.0, 0.0), FOUND if shape >= 1.0 else DIVERGENT
    scale = max(b, b_error)
    return _Known(scale, True, 0.0, 0.0, b / scale, (scale / b_error) ** 2), FOUND


@compiled(error_model="numpy")
def _slopes(r: FloatArray, w: FloatArray, f: float) -> tuple[float, float, float, float]:
    """Return the sums of the powers 1 to 4 of w = (r - 1) / (f r + 1 - f): derivatives of sum ln(f r + 1 - f)."""
    h = 1.0 - f
    for i in range(r.size):  # alone, so that divisions run in parallel
        w[i] = (r[i] - 1.0) / (f * r[i] + h)
    one = two = three = four = 0.0
    for i in range(r.size):
        x = w[i]
        square = x * x
        one += x
        two += square
        three += square * x
        four += square * square
    return one, two, three, four


@compiled(error_model="numpy")
def _fraction(r: FloatArray, w: FloatArray) -> float:
    """Return the signal fraction of the largest likelihood, f in [0, 1], in a fit of s and b; s + b = N there.

    The slope of the logarithm falls with f. Where it is 0 at all f, f = 0.
    """
    above = -float(r.size)
    largest = 0.0
    for x in r:
        above += x
        largest = max(largest, x)
    if above <= 0.0:
        return 0.0
    left, right = 0.0, 1.0
    # as if all signal had 0.6 of the largest ratio, as a Gaussian on a flat background has about
    f = min(above / (0.6 * r.size * (largest - 1.0)), 0.9)
    for trial in range(_TRIALS):
        one, two, three, four = _slopes(r, w, f)
        if one > 0.0:
            left = f
        else:
            right = f
        newton = one / two
        u = newton * three / two
        # Householder's third, but where the slope looks like one over the distance from a pole
        ahead = f + newton * ((1.0 - u) / (1.0 - 2.0 * u + newton * newton * four / two) if u < 0.9 else 1.0)
        if not left <= ahead <= right and right == 1.0 and _slopes(r, w, 1.0)[0] >= 0.0:
            return 1.0
        inside = left <= ahead <= right
        # the error is about the fourth power of the step over the distance from the poles, none of which is in (0, 1)
        if inside and abs(newton) <= max(1e-4 * min(f, 1.0 - f), 1e-16):
            return ahead
        if right - left <= 1e-16:
            return f
        f = ahead if inside and (trial < 8 or trial % 2 == 0) else 0.5 * (left + right)
    return math.nan


@compiled(error_model="numpy", inline="always")
def _sums(r: FloatArray, a: FloatArray, s: float, c: float) -> tuple[float, float, float, float, float]:
    """Return the sums of a, y, a^2, a y and y^2, a = 1 / (s r + c) and y = r a: derivatives of sum ln(s r + c)."""
    for i in range(r.size):  # alone, so that divisions run in parallel
        a[i] = 1.0 / (s * r[i] + c)
    of_a = of_y = of_aa = of_ay = of_yy = 0.0
    for i in range(r.size):
        x = a[i]
        y = r[i] * x
        of_a += x
        of_y += y
        of_aa += x * x
        of_ay += x * y
        of_yy += y * y
    return of_a, of_y, of_aa, of_ay, of_yy


@compiled(error_model="numpy", inline="always")
def _log_ratio(r: FloatArray, fitted: FloatArray, s: float, c: float) -> float:
    """Return sum ln[(s r + c) a], where `fitted` holds the a = 1 / (s r + c) of a fit."""
    total = 0.0
    product = 1.0
    for i in range(r.size):
        product *= (s * r[i] + c) * fitted[i]
        if not 1e-100 < product < 1e100:
            total += math.log(product)
            product = 1.0
    return total + math.log(product)


@compiled(error_model="numpy", inline="always")
def _profile(
    r: FloatArray, a: FloatArray, known: _Known, s: float, c: float, square: float = _SHORT
) -> tuple[bool, float, float, float, float, float, float]:
    """Find the background of the largest likelihood at the signal `s`, from `c` on, but for a last short step.

    That step adds half of `square` to the logarithm at most. Likelihoods like this are self-concordant: what it leaves
    is about the third part of square^(3/2).

    Returns
    -------
    ok : bool
        Whether it was found.
    c, shift, gain : float
        A background, the step from there to the largest likelihood, and how much its logarithm rises by that.
    slope, bend : float
        Derivative of the largest logarithm in s, and minus its second.
    turn : float
        Derivative of the background in s.
    """
    left, right = -1.0, math.inf  # of no c is yet known that it is too small
    lowest = known.centre - known.scale / known.precision if known.precision > 0.0 else 0.0
    for trial in range(_TRIALS):
        of_a, of_y, of_aa, of_ay, of_yy = _sums(r, a, s, c)
        if not known.free:
            return True, c, 0.0, 0.0, of_y - 1.0, of_yy, 0.0
        pull = known.scale + known.shape + (c - known.centre) * known.precision
        if known.excess > 0.0:
            of_a += known.excess / c
            of_aa += known.excess / c / c
        slope = of_a - pull
        bend = of_aa + known.precision
        if c == 0.0 and slope <= 0.0:
            return True, c, 0.0, 0.0, of_y - 1.0, of_yy, 0.0
        if slope > 0.0:
            left = c
        else:
            right = c
        if slope * slope <= square * bend and c + slope / bend >= 0.0:
            shift = slope / bend
            turn = -of_ay / bend
            curved = max(of_yy + of_ay * turn, 0.0)
            return True, c, shift, 0.5 * slope * shift, of_y - 1.0 - of_ay * shift, curved, turn
        if pull < 0.0 and c < lowest:
            ahead = lowest
        elif of_a > 0.0:
            # 1 / of_a is concave in c, and straight where one ratio rules: Newton's method on 1 - pull / of_a
            ahead = c + of_a * slope / (max(pull, 0.0) * of_aa + known.precision * of_a)
        else:
            ahead = c + slope / bend
        if left < 0.0 and ahead <= 0.0:
            c = 0.5 * c if known.excess > 0.0 else 0.0
        elif left <= ahead <= right and (trial < 8 or trial % 2 == 0):
            c = ahead
        elif right < math.inf:
            c = 0.5 * (max(left, 0.0) + right)
        else:
            c = 2.0 * c
    return False, c, 0.0, 0.0, 0.0, 0.0, 0.0


@compiled(error_model="numpy")
def _fit(r: FloatArray, a: FloatArray, known: _Known) -> tuple[float, float, bool]:
    """Return the signal and background of the largest likelihood, and whether they were found."""
    n = float(r.size)
    if known.free and known.shape == 0.0 and known.precision == 0.0:
        f = _fraction(r, a)
        return f * n, n - f * n, f >= 0.0
    left, right = 0.0, n
    s, c = 0.0, 1.0
    for trial in range(_TRIALS):
        ok, c, shift, _, slope, bend, turn = _profile(r, a, known, s, c)
        if not ok:
            break
        if slope > 0.0:
            left = s
        elif s == 0.0:
            return 0.0, c + shift, True
        else:
            right = s
        # Newton's method on 1 - 1 / sum(y), as in c
        ahead = s + (1.0 + slope) * slope / bend
        inside = left <= ahead <= right
        if (inside and abs(ahead - s) <= 1e-8 * ahead) or right - left <= 4e-16 * right:
            step = ahead - s if inside else 0.0
            return s + step, max(c + shift + turn * step, 0.0), True
        if not inside or (trial >= 8 and trial % 2):
            ahead = 0.5 * (left + right)
        step = shift + turn * (ahead - s)
        c = c + step if c + step > 0.0 else 0.5 * c
        s = ahead
    return math.nan, math.nan, False


@compiled(error_model="numpy", inline="always")
def _fall(r: FloatArray, fitted: FloatArray, known: _Known, fit: tuple[float, float], s: float, c: float) -> float:
    """Return the fall of the logarithm of the likelihood from the fit (s, c) to another one."""
    s_hat, c_hat = fit
    step = c - c_hat
    total = s - s_hat + known.scale * step - _log_ratio(r, fitted, s, c)
    if known.excess > 0.0:
        # excess and shape may be large, and c the same but for its last digits
        x = step / c_hat
        total += known.excess * (x - math.log1p(x)) - x * (known.excess - known.shape * c_hat)
    else:
        total += known.shape * step
    return total + 0.5 * known.precision * step * (c + c_hat - 2.0 * known.centre)


@compiled(error_model="numpy")
def _inverse(r: FloatArray, fit: tuple[float, float], fitted: FloatArray) -> None:
    """Set `fitted` to the 1 / (s r + c) of a fit."""
    for i in range(r.size):
        fitted[i] = 1.0 / (fit[0] * r[i] + fit[1])


@compiled(error_model="numpy")
def _level(
    r: FloatArray, a: FloatArray, fitted: FloatArray, known: _Known, fit: tuple[float, float], z: float
) -> float:
    """Return the s above the fitted one at which t(s) = z^2; t is convex."""
    n = float(r.size)
    s, c = fit
    if z == 0.0:
        return s
    # t rises at least as fast as that of n counts of signal alone, and of its root this is an upper bound
    left, right = s, n + 0.5 * z * z + z * math.sqrt(0.25 * z * z + n)
    _inverse(r, fit, fitted)
    for trial in range(_TRIALS):
        ok, c, shift, gain, slope, bend, turn = _profile(r, a, known, s, c, _LONG if trial < 3 else _SHORT)
        if not ok:
            break
        rest = z * z
        if trial:
            rest -= 2.0 * (_fall(r, fitted, known, fit, s, c) - gain)
        if 2.0 * gain > _SHORT:
            pass  # too coarse for an end of the bracket
        elif rest >= 0.0:
            left = s
        else:
            right = s
        # the root of a parabola, where it has one
        rise, curve = max(-2.0 * slope, 0.0), 2.0 * bend
        square = rise * rise + 2.0 * curve * rest
        ahead = s + (2.0 * rest / (rise + math.sqrt(square)) if square >= 0.0 else rest / rise)
        inside = left <= ahead <= right
        if (
            inside and 2.0 * gain <= _SHORT and abs(ahead - s) <= 1e-4 * (ahead - fit[0])
        ) or right - left <= 4e-16 * right:
            return ahead if inside else s
        if not inside or (trial >= 8 and trial % 2):
            ahead = 0.5 * (left + right)
        step = shift + turn * (ahead - s)
        c = c + step if c + step > 0.0 else 0.5 * c
        s = ahead
    return math.nan


@compiled(error_model="numpy")
def _take(ratio: FloatArray, scale: float, r: FloatArray) -> bool:
    """Set `r` to the ratios over `scale`, within their range; tell whether there can be such events."""
    for i in range(ratio.size):
        if scale == 0.0 and ratio[i] == 0.0:
            return False
        r[i] = min(max(ratio[i] / scale, _SMALLEST), _LARGEST)
    return True


@compiled(error_model="numpy")
def fit_events(starts: IntArray, ratio: FloatArray) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return the signal and background of the largest likelihood of each toy; nothing is known of b.

    Parameters
    ----------
    starts : ndarray of int, shape (toy + 1,)
        Where the events of each toy begin in `ratio`.
    ratio : ndarray of float, shape (event,)
        Signal density over background density at each event, in [0, +inf].

    Returns
    -------
    s, b : ndarray of float, shape (toy,)
        Expected events, s, b >= 0, whose sum is the number of observed ones; where all s share the largest likelihood,
        s = 0.
    ok : ndarray of bool, shape (toy,)
        Whether the fit has converged; s and b are NaN where it has not.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 15.
    """
    toys = starts.size - 1
    s, b, ok = np.empty(toys), np.empty(toys), np.empty(toys, np.bool_)
    r, a, _ = _work(starts)
    for toy in range(toys):
        n = starts[toy + 1] - starts[toy]
        _take(ratio[starts[toy] : starts[toy + 1]], 1.0, r)
        f = _fraction(r[:n], a)
        s[toy], b[toy], ok[toy] = f * n, n - f * n, f >= 0.0
    return s, b, ok


@compiled
def _work(starts: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return three arrays, each with room for the events of any toy."""
    most = 0
    for toy in range(starts.size - 1):
        most = max(most, starts[toy + 1] - starts[toy])
    return np.empty(most), np.empty(most), np.empty(most)


@compiled(error_model="numpy")
def upper_limits(
    starts: IntArray, ratio: FloatArray, kind: int, b: FloatArray, b_error: FloatArray, z: float
) -> tuple[FloatArray, IntArray]:
    """Return the signal above the fitted one, s_hat >= 0, at which t(s) = z^2, of each toy.

    Parameters
    ----------
    starts, ratio
        As `fit_events` takes them.
    kind : int
        UNKNOWN, GAMMA or TRUNCATED_GAUSSIAN.
    b, b_error : ndarray of float, shape (toy,)
        What is known of the background; of no use if `kind` is UNKNOWN.
    z : float
        Quantile of the normal distribution, >= 0.

    Returns
    -------
    upper : ndarray of float, shape (toy,)
        Expected signal events; NaN where there are none.
    outcome : ndarray of int, shape (toy,)
        FOUND, IMPOSSIBLE, DIVERGENT or NOT_CONVERGED.
    """
    toys = starts.size - 1
    upper, outcome = np.full(toys, np.nan), np.empty(toys, np.int64)
    r, a, fitted = _work(starts)
    for toy in range(toys):
        n = starts[toy + 1] - starts[toy]
        known, outcome[toy] = _known(kind, b[toy], b_error[toy])
        if outcome[toy] == FOUND and not _take(ratio[starts[toy] : starts[toy + 1]], known.scale, r):
            outcome[toy] = IMPOSSIBLE
        if outcome[toy] == FOUND:
            s, c, ok = _fit(r[:n], a, known)
            if ok:
                upper[toy] = _level(r[:n], a, fitted, known, (s, c), z)
            if math.isnan(upper[toy]):
                outcome[toy] = NOT_CONVERGED
    return upper, outcome


@compiled(error_model="numpy")
def fit_at(
    starts: IntArray, ratio: FloatArray, kind: int, b: FloatArray, b_error: FloatArray, s: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    """Return the largest likelihood of each toy at a signal, or at any signal.

    Parameters
    ----------
    starts, ratio, kind, b, b_error
        As `upper_limits` takes them.
    s : ndarray of float, shape (toy,)
        Expected signal events, >= 0; NaN: those of the largest likelihood.

    Returns
    -------
    s, b : ndarray of float, shape (toy,)
        Expected events: signal, as given or fitted, and background of the largest likelihood there.
    t : ndarray of float, shape (toy,)
        -2 ln lambda(s).
    outcome : ndarray of int, shape (toy,)
        FOUND, IMPOSSIBLE, DIVERGENT or NOT_CONVERGED; s, b and t are NaN where it is not FOUND.
    """
    toys = starts.size - 1
    at, background, t = np.empty(toys), np.empty(toys), np.empty(toys)
    outcome = np.empty(toys, np.int64)
    work = _work(starts)
    for toy in range(toys):
        events = ratio[starts[toy] : starts[toy + 1]]
        outcome[toy] = _values(
            events,
            kind,
            b[toy],
            b_error[toy],
            s[toy : toy + 1],
            at[toy : toy + 1],
            background[toy : toy + 1],
            t[toy : toy + 1],
            work,
        )
    return at, background, t, outcome


@compiled(error_model="numpy")
def scan(ratio: FloatArray, kind: int, b: float, b_error: float, s: FloatArray) -> tuple[FloatArray, FloatArray, int]:
    """Return t(s) = -2 ln lambda(s) of one toy at several signals.

    Parameters
    ----------
    ratio : ndarray of float, shape (event,)
        Signal density over background density at each event, in [0, +inf].
    kind, b, b_error
        What is known of the background, as `upper_limits` takes it.
    s : ndarray of float, shape (signal,)
        Expected signal events, >= 0.

    Returns
    -------
    t, b : ndarray of float, shape (signal,)
        -2 ln lambda(s), +inf where no likelihood is left, and the background of the largest likelihood at s.
    outcome : int
        FOUND, IMPOSSIBLE, DIVERGENT or NOT_CONVERGED; t and b are NaN where nothing was found.
    """
    at, background, t = np.empty(s.size), np.empty(s.size), np.empty(s.size)
    n = ratio.size
    outcome = _values(ratio, kind, b, b_error, s, at, background, t, (np.empty(n), np.empty(n), np.empty(n)))
    return t, background, outcome


@compiled(error_model="numpy")
def _values(
    ratio: FloatArray,
    kind: int,
    b: float,
    b_error: float,
    s: FloatArray,
    at: FloatArray,
    background: FloatArray,
    t: FloatArray,
    work: tuple[FloatArray, FloatArray, FloatArray],
) -> int:
    """Set `at`, `background` and `t` of one toy at each of the signals `s`; return what became of the fits."""
    at[:], background[:], t[:] = math.nan, math.nan, math.nan
    known, outcome = _known(kind, b, b_error)
    if outcome != FOUND:
        return outcome
    r, a, fitted = work[0][: ratio.size], work[1], work[2]
    if not _take(ratio, known.scale, r):
        return IMPOSSIBLE
    s_hat, c_hat, ok = _fit(r, a, known)
    if not ok:
        return NOT_CONVERGED
    _inverse(r, (s_hat, c_hat), fitted)
    for i in range(s.size):
        if math.isnan(s[i]):
            at[i], background[i], t[i] = s_hat, c_hat * known.scale, 0.0
            continue
        ok, c, shift, gain, _, _, _ = _profile(r, a, known, s[i], c_hat if c_hat > 0.0 else 1.0)
        if not ok:
            outcome = NOT_CONVERGED
            continue
        fall = _fall(r, fitted, known, (s_hat, c_hat), s[i], c) - gain
        if s[i] == 0.0:
            for x in ratio:  # without signal, ratios above the largest are told apart
                fall += math.log(max(x / known.scale / _LARGEST, 1.0))
        at[i], background[i], t[i] = s[i], (c + shift) * known.scale, max(2.0 * fall, 0.0)
    return outcome
