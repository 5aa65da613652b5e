"""Likelihood of counts in bins whose expectation depends on a signal strength and nuisance parameters, and its maxima.

Letters of the papers: mu signal strength, theta nuisance parameters, nu_i expected and n_i observed events of a bin,
-2 ln L twice the negative logarithm of the likelihood. alpha is a theta that interpolates between templates.

The likelihood is the product of Poisson(n_i; nu_i) over the bins, Gauss(aux_k; theta_k, width_k) and
Poisson(aux_k; tau_k theta_k) over the constrained parameters. Twice its negative logarithm is given as a deviance, from
what a saturated model would have, so that differences keep their digits at large counts.

Yields stay at or above 0: factors are positive, multipliers stop at 0, and the sum of a template and its shapes goes
over into an exponential below a millionth of the largest of its nominal yield and its two differences. Where mu may be
negative it stops where the first bin's yield is 0.

References
----------
.. [1] K. Cranmer et al., HistFactory, CERN-OPEN-2012-016.
.. [2] L. Heinrich et al., pyhf, J. Open Source Softw. 6 (2021) 2823.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from covsvc.kernels.compilation import compiled

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FACTOR, FACTOR_LINES, SHAPE, SHAPE_LINES, SCALE = range(5)
"""Kinds of effects: smooth ones, those with lines (of a factor: of its logarithm) on both sides of 0, multipliers."""

FREE, GAUSSIAN, POISSON = range(3)
"""Kinds of constraints."""

FLOOR = 1e-6
"""Share of the scale of a template below which it turns into an exponential."""

LEAST = 1e-100
"""Stands for 0 as the value of a multiplier, so that yield / multiplier is the derivative there, too."""

REASONS = (
    "",
    "the fit did not converge",
    "events in a bin where neither signal nor background is expected",
    "a yield is negative at this signal strength",
    "the data do not tell the signal from the free parameters",
)
"""Why a fit failed, by the code in `Fit.reason`."""

_GOOD, _NOT_CONVERGED, _IMPOSSIBLE, _NEGATIVE, _UNIDENTIFIED = range(5)

_CLOSE = 1e-7  # of the expected decrease of -2 ln L: the next step squares it
_CLOSE_LINEAR = 1e-13  # where an expected Hessian makes convergence linear
_TINY_PIVOT = 1e-14
_FIRST_BARRIER, _LAST_BARRIER = 0.1, 1e-11
_MOST_STEPS = 200
_FEWEST_INVERTED = 1000  # toys that pay for the table of a Poisson distribution
_GUIDES = 1024  # a power of 2: its products with uniform numbers are exact


class Compiled(NamedTuple):
    """A model as arrays: few of them, for each that is passed to a compiled function takes time.

    Samples of the same effects are one.
    """

    layout: IntArray
    """Shape (1 + sample + effect + parameter, 6).

    Numbers of samples, effects, parameters and whether there are kinks; of each sample whether it scales with mu, its
    first and last effect + 1, whether it has shapes, and multipliers; of each effect, sorted by sample, its kind,
    parameter, first and last bin + 1, the row of its coefficients, and its sample; of each parameter the first and last
    bin + 1 that it changes.
    """
    numbers: FloatArray
    """Shape (parameter + factor, 8).

    Of each parameter kind of constraint, centre, width, tau, low, high, whether there is a kink at 0, whether it
    multiplies; of each factor the rates of the exponentials below and above, and the polynomial between them.
    """
    templates: FloatArray
    """Shape (2 sample + 2 shape, bin).

    Of each sample the nominal yields; then the yields below which they turn into an exponential; of each shape nominal
    - down and up - nominal.
    """


class Work(NamedTuple):
    """What a fit writes into."""

    bins: FloatArray
    """Rows of one number a bin: those of _NU ..., gradients, and for each sample or effect what it makes of a bin."""
    parameters: FloatArray
    """Rows of one number a parameter, that of mu last: those of _X ..., the Hessian and its root."""
    effects: FloatArray
    """Value, first and second derivative of each effect; the two are relative to the value but of a shape."""
    state: IntArray
    """Reason of a failure."""


_NU, _SIGNAL, _WEIGHT, _CURVATURE, _MULTIPLIER, _MULTIPLIER_STEP, _PRODUCT, _GRADIENTS = range(8)
_X, _LOW, _HIGH, _SIDE, _G, _STEP, _START, _OLD_STEP, _OLD_G, _STATE, _HESSIAN = range(11)
_RESTS, _MOVES, _REPLACED, _FLAT = range(4)  # states of a parameter


class Fit(NamedTuple):
    """Maxima of the likelihood, one a toy.

    Attributes
    ----------
    mu : ndarray of float, shape (toy,)
    theta : ndarray of float, shape (toy, parameter)
    value : ndarray of float, shape (toy,)
        -2 ln L + a constant of the data alone; +inf where the likelihood is 0 at the fixed mu.
    ok : ndarray of bool, shape (toy,)
        Whether the fit converged; else the numbers are NaN.
    reason : ndarray of int, shape (toy,)
        Index of `REASONS`.
    """

    mu: FloatArray
    theta: FloatArray
    value: FloatArray
    ok: NDArray[np.bool_]
    reason: NDArray[np.int8]


@compiled
def new_work(m: Compiled) -> Work:
    """Return room for the fits of a model, one after the other."""
    samples, effects, parameters = m.layout[0, 0], m.layout[0, 1], m.layout[0, 2]
    size = parameters + 1
    return Work(
        np.zeros((_GRADIENTS + size + 3 * samples + effects, m.templates.shape[1])),
        np.zeros((_HESSIAN + 2 * size, size)),
        np.zeros((effects + 1, 3)),
        np.zeros(1, np.int64),
    )


@compiled(_nrt=False)
def _yields(m: Compiled, w: Work) -> None:
    """Fill the yields at the parameters `_X`, and what their derivatives are made of."""
    layout, numbers, templates = m.layout, m.numbers, m.templates
    rows, pars, effects = w.bins, w.parameters, w.effects
    n_samples, n_parameters, n_bins = layout[0, 0], layout[0, 2], templates.shape[1]
    for i in range(n_bins):
        rows[_NU, i] = 0.0
        rows[_SIGNAL, i] = 0.0
    for s in range(n_samples):
        y = _GRADIENTS + n_parameters + 1 + s
        common = 1.0
        for e in range(layout[1 + s, 1], layout[1 + s, 2]):
            at = 1 + n_samples + e
            kind, k = layout[at, 0], layout[at, 1]
            theta = pars[_X, k]
            if kind == SCALE:
                effects[e, 0] = theta
                effects[e, 1] = 1.0 / theta if theta != 0.0 else 0.0
                effects[e, 2] = 0.0
            elif kind == FACTOR and -1.0 < theta < 1.0:
                c = layout[at, 4]
                a1, a2, a3 = numbers[c, 2], numbers[c, 3], numbers[c, 4]
                a4, a5, a6 = numbers[c, 5], numbers[c, 6], numbers[c, 7]
                value = 1.0 + theta * (a1 + theta * (a2 + theta * (a3 + theta * (a4 + theta * (a5 + theta * a6)))))
                first = a1 + theta * (2 * a2 + theta * (3 * a3 + theta * (4 * a4 + theta * (5 * a5 + theta * 6 * a6))))
                second = 2 * a2 + theta * (6 * a3 + theta * (12 * a4 + theta * (20 * a5 + theta * 30 * a6)))
                effects[e, 0] = value
                effects[e, 1] = first / value
                effects[e, 2] = second / value
                common *= value
            elif kind in (FACTOR, FACTOR_LINES):
                rate = numbers[layout[at, 4], 0 if _below(theta, pars[_SIDE, k]) else 1]
                effects[e, 0] = math.exp(rate * theta)
                effects[e, 1] = rate
                effects[e, 2] = rate * rate
                common *= effects[e, 0]
        if layout[1 + s, 3]:
            _shaped_yields(m, w, s, common)
        else:
            for i in range(n_bins):
                rows[y, i] = common * templates[s, i]
            if layout[1 + s, 4]:
                for e in range(layout[1 + s, 1], layout[1 + s, 2]):
                    at = 1 + n_samples + e
                    if layout[at, 0] == SCALE:
                        for i in range(layout[at, 2], layout[at, 3]):
                            rows[y, i] *= effects[e, 0]
        total = _SIGNAL if layout[1 + s, 0] else _NU
        for i in range(n_bins):
            rows[total, i] += rows[y, i]
    mu = pars[_X, n_parameters]
    for i in range(n_bins):
        rows[_NU, i] += mu * rows[_SIGNAL, i]


@compiled(_nrt=False)
def _below(theta: float, side: float) -> bool:
    """Tell on which side of a kink at 0 a parameter is; at 0 it is where it was put."""
    return theta < 0.0 or (theta == 0.0 and side < 0.0)


@compiled(_nrt=False)
def _shaped_yields(m: Compiled, w: Work, s: int, common: float) -> None:
    """Fill the yields of a sample with shapes.

    They are lift times (a template that is floored); the rows of an effect hold the slope of its shape, those of the
    sample the derivative of the yields over the template and the second one.
    """
    layout, templates = m.layout, m.templates
    rows, pars, effects = w.bins, w.parameters, w.effects
    n_samples, n_parameters, n_bins = layout[0, 0], layout[0, 2], templates.shape[1]
    y = _GRADIENTS + n_parameters + 1 + s
    lift = y + n_samples
    bend = lift + n_samples
    slopes = _GRADIENTS + n_parameters + 1 + 3 * n_samples
    for i in range(n_bins):
        rows[y, i] = templates[s, i]
        rows[lift, i] = common
    for e in range(layout[1 + s, 1], layout[1 + s, 2]):
        at = 1 + n_samples + e
        kind, k, down = layout[at, 0], layout[at, 1], layout[at, 4]
        theta = pars[_X, k]
        if kind == SCALE:
            for i in range(layout[at, 2], layout[at, 3]):
                rows[lift, i] *= effects[e, 0]
        elif kind == SHAPE and -1.0 < theta < 1.0:
            square = theta * theta
            even = square * (15.0 + square * (3.0 * square - 10.0)) / 16.0
            first = theta * (30.0 + square * (18.0 * square - 40.0)) / 16.0
            effects[e, 2] = (30.0 + square * (90.0 * square - 120.0)) / 16.0
            for i in range(n_bins):
                mean = 0.5 * (templates[down, i] + templates[down + 1, i])
                kink = templates[down + 1, i] - templates[down, i]
                rows[y, i] += theta * mean + kink * even
                rows[slopes + e, i] = mean + kink * first
        elif kind in (SHAPE, SHAPE_LINES):
            effects[e, 2] = 0.0
            side = down if _below(theta, pars[_SIDE, k]) else down + 1
            for i in range(n_bins):
                rows[y, i] += theta * templates[side, i]
                rows[slopes + e, i] = templates[side, i]
    for i in range(n_bins):
        floor = templates[n_samples + s, i]
        rows[bend, i] = 0.0
        if rows[y, i] < floor:
            rise = math.exp(max(rows[y, i] / floor - 1.0, -600.0))
            rows[y, i] = rise * floor
            rows[bend, i] = rise / floor * rows[lift, i]
            rows[y, i] *= rows[lift, i]
            rows[lift, i] *= rise
        else:
            rows[y, i] *= rows[lift, i]


@compiled(_nrt=False)
def _deviance(n: float, nu: float) -> float:
    """Return n ln(n / nu) + nu - n, to some 1e-16 (n - nu)."""
    if n <= 0.0:
        return nu
    if nu <= 0.0:
        return math.inf
    ratio = (nu - n) / n
    return n * (ratio - math.log1p(ratio)) if -0.9 < ratio < 10.0 else n * math.log(n / nu) + (nu - n)


@compiled(_nrt=False)
def _half_value(m: Compiled, w: Work, n: FloatArray, aux: FloatArray, barrier: float) -> float:
    """Return -ln L at the yields `_NU` and the parameters `_X`."""
    numbers, rows, pars = m.numbers, w.bins, w.parameters
    total = 0.0
    for i in range(len(n)):
        total += _deviance(n[i], rows[_NU, i])
        if barrier > 0.0 and n[i] <= 0.0 and rows[_SIGNAL, i] > 0.0:
            total -= barrier * math.log(rows[_NU, i])
    for k in range(len(aux)):
        if numbers[k, 0] == GAUSSIAN:
            pull = (pars[_X, k] - aux[k]) / numbers[k, 2]
            total += 0.5 * pull * pull
        elif numbers[k, 0] == POISSON:
            total += _deviance(aux[k], numbers[k, 3] * pars[_X, k])
    return total


@compiled(_nrt=False)
def _dot(one: FloatArray, other: FloatArray) -> float:
    """Return the sum of products, in four parts: an addition need not wait for the one before."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    fours = len(one) // 4
    for j in range(fours):
        i = 4 * j
        a += one[i] * other[i]
        b += one[i + 1] * other[i + 1]
        c += one[i + 2] * other[i + 2]
        d += one[i + 3] * other[i + 3]
    for i in range(4 * fours, len(one)):
        a += one[i] * other[i]
    return (a + b) + (c + d)


@compiled(_nrt=False)
def _evaluate(m: Compiled, w: Work, n: FloatArray, aux: FloatArray, barrier: float) -> int:
    """Fill the gradient and the Hessian of -ln L at `_X`; return _GOOD if the likelihood is above 0 there.

    Else return _NEGATIVE where the yield of a bin without events is negative, _IMPOSSIBLE where it is a bin with some.
    With a barrier bins without events have its logarithm, whose curvature is that of their multiplier.
    """
    _yields(m, w)
    layout, numbers, _templates = m.layout, m.numbers, m.templates
    rows, pars, effects = w.bins, w.parameters, w.effects
    n_samples, last = layout[0, 0], layout[0, 2]
    mu = pars[_X, last]
    nus, signals, weights, curvatures = rows[_NU], rows[_SIGNAL], rows[_WEIGHT], rows[_CURVATURE]
    for i in range(len(n)):
        nu = nus[i]
        if n[i] > 0.0:
            if not nu > 0.0:
                return _IMPOSSIBLE
            share = n[i] / nu
            weights[i] = 1.0 - share
            curvatures[i] = share / nu
        elif nu < 0.0:
            return _NEGATIVE
        else:
            weights[i] = 1.0
            curvatures[i] = 0.0
            if barrier > 0.0 and signals[i] > 0.0:
                if nu == 0.0:
                    return _NEGATIVE
                weights[i] = 1.0 - barrier / nu
                curvatures[i] = rows[_MULTIPLIER, i] / nu
    spans = 1 + n_samples + layout[0, 1]
    pars[_HESSIAN : _HESSIAN + last + 1] = 0.0
    rows[_GRADIENTS : _GRADIENTS + last] = 0.0
    gradient = rows[_GRADIENTS + last]
    for i in range(len(n)):
        gradient[i] = signals[i]
    for s in range(n_samples):
        y = _GRADIENTS + last + 1 + s
        lift = y + n_samples
        slopes = _GRADIENTS + last + 1 + 3 * n_samples
        scale = mu if layout[1 + s, 0] else 1.0
        for e in range(layout[1 + s, 1], layout[1 + s, 2]):
            at = 1 + n_samples + e
            k, first, end = layout[at, 1], layout[at, 2], layout[at, 3]
            changed, weight = rows[_GRADIENTS + k, first:end], weights[first:end]
            if layout[at, 0] == SHAPE or layout[at, 0] == SHAPE_LINES:
                up, slope, product = rows[lift, first:end], rows[slopes + e, first:end], rows[_PRODUCT, first:end]
                for i in range(len(changed)):
                    product[i] = up[i] * slope[i]
                    changed[i] += scale * product[i]
                total = _dot(weight, product)
                pars[_HESSIAN + k, k] += scale * _bend(m, w, s, e, e)
            else:
                told = rows[y, first:end]
                rate = scale * effects[e, 1]
                for i in range(len(changed)):
                    changed[i] += rate * told[i]
                total = _dot(weight, told)
                pars[_HESSIAN + k, k] += scale * effects[e, 2] * total
                total *= effects[e, 1]
            if layout[1 + s, 0]:
                pars[_HESSIAN + last, k] += total
            if e + 1 < layout[1 + s, 2]:
                _add_pairs(m, w, s, e, total)
    for p in range(last + 1):
        low, high = (layout[spans + p, 0], layout[spans + p, 1]) if p < last else (0, len(n))
        gradient, product = rows[_GRADIENTS + p], rows[_PRODUCT]
        for i in range(len(n)):
            product[i] = curvatures[i] * gradient[i]
        pars[_G, p] = _dot(weights, gradient)
        for q in range(p + 1):
            left, right = (max(low, layout[spans + q, 0]), min(high, layout[spans + q, 1])) if q < last else (low, high)
            if left < right:
                pars[_HESSIAN + p, q] += _dot(product[left:right], rows[_GRADIENTS + q, left:right])
    for k in range(last):
        if numbers[k, 0] == GAUSSIAN:
            weight = 1.0 / (numbers[k, 2] * numbers[k, 2])
            pars[_G, k] += weight * (pars[_X, k] - aux[k])
            pars[_HESSIAN + k, k] += weight
        elif numbers[k, 0] == POISSON:
            share = aux[k] / pars[_X, k]
            pars[_G, k] += numbers[k, 3] - share
            pars[_HESSIAN + k, k] += share / pars[_X, k]
    return _GOOD


@compiled(_nrt=False)
def _bend(m: Compiled, w: Work, s: int, e: int, other: int) -> float:
    """Return the weighted sum of the second derivative of a sample's yields over the parameters of two shapes."""
    rows = w.bins
    n_samples, n_parameters, n_bins = m.layout[0, 0], m.layout[0, 2], m.templates.shape[1]
    lift = _GRADIENTS + n_parameters + 1 + n_samples + s
    slopes = _GRADIENTS + n_parameters + 1 + 3 * n_samples
    total = 0.0
    if e == other and w.effects[e, 2] != 0.0:
        down = m.layout[1 + n_samples + e, 4]
        for i in range(n_bins):
            total += rows[_WEIGHT, i] * rows[lift, i] * (m.templates[down + 1, i] - m.templates[down, i])
        total *= w.effects[e, 2]
    for i in range(n_bins):
        total += rows[_WEIGHT, i] * rows[lift + n_samples, i] * rows[slopes + e, i] * rows[slopes + other, i]
    return total


@compiled(_nrt=False)
def _add_pairs(m: Compiled, w: Work, s: int, e: int, total: float) -> None:
    """Add the mixed second derivatives of an effect and those after it on the same sample.

    `total` is the weighted sum of the derivative of the sample's yields over the parameter of the effect.
    """
    layout, rows, pars, effects = m.layout, w.bins, w.parameters, w.effects
    n_samples, last = layout[0, 0], layout[0, 2]
    y = _GRADIENTS + last + 1 + s
    lift = y + n_samples
    slopes = _GRADIENTS + last + 1 + 3 * n_samples
    scale = pars[_X, last] if layout[1 + s, 0] else 1.0
    at = 1 + n_samples + e
    is_shape = layout[at, 0] == SHAPE or layout[at, 0] == SHAPE_LINES
    for other in range(e + 1, layout[1 + s, 2]):
        beside = 1 + n_samples + other
        first, end = max(layout[at, 2], layout[beside, 2]), min(layout[at, 3], layout[beside, 3])
        bent = 0.0
        if layout[beside, 0] == SHAPE or layout[beside, 0] == SHAPE_LINES:
            if is_shape:
                bent = _bend(m, w, s, e, other)
            else:
                for i in range(first, end):
                    bent += rows[_WEIGHT, i] * rows[lift, i] * rows[slopes + other, i]
                bent *= effects[e, 1]
        elif first == layout[at, 2] and end == layout[at, 3]:
            bent = total * effects[other, 1]
        elif is_shape:
            for i in range(first, end):
                bent += rows[_WEIGHT, i] * rows[lift, i] * rows[slopes + e, i]
            bent *= effects[other, 1]
        else:
            for i in range(first, end):
                bent += rows[_WEIGHT, i] * rows[y, i]
            bent *= effects[e, 1] * effects[other, 1]
        k, q = layout[at, 1], layout[beside, 1]
        # only the lower half is in use; a parameter with two effects on a sample has both orders of the pair
        pars[_HESSIAN + max(k, q), min(k, q)] += scale * bent * (2.0 if k == q else 1.0)


@compiled(_nrt=False)
def _expect(m: Compiled, w: Work, n: FloatArray, barrier: float) -> None:
    """Replace the Hessian by what is expected of it, which is not negative: without the bends of the yields."""
    layout, numbers, rows, pars = m.layout, m.numbers, w.bins, w.parameters
    last = layout[0, 2]
    spans = 1 + layout[0, 0] + layout[0, 1]
    product = rows[_PRODUCT]
    for i in range(len(n)):
        nu = rows[_NU, i]
        if nu > 0.0 and not (barrier > 0.0 and n[i] <= 0.0):
            rows[_CURVATURE, i] = max(rows[_CURVATURE, i], 1.0 / nu)
    for p in range(last + 1):
        low, high = (layout[spans + p, 0], layout[spans + p, 1]) if p < last else (0, len(n))
        for i in range(len(n)):
            product[i] = rows[_CURVATURE, i] * rows[_GRADIENTS + p, i]
        for q in range(p + 1):
            left, right = (max(low, layout[spans + q, 0]), min(high, layout[spans + q, 1])) if q < last else (low, high)
            total = _dot(product[left:right], rows[_GRADIENTS + q, left:right]) if left < right else 0.0
            pars[_HESSIAN + p, q] = total
        if p < last and numbers[p, 0] == GAUSSIAN:
            pars[_HESSIAN + p, p] += 1.0 / (numbers[p, 2] * numbers[p, 2])
        elif p < last and numbers[p, 0] == POISSON:
            pars[_HESSIAN + p, p] += numbers[p, 3] / pars[_X, p]


@compiled(_nrt=False)
def _direction(m: Compiled, w: Work, n: FloatArray, barrier: float) -> float:
    """Fill Newton's step of what is free to move; return the decrease of -2 ln L that it promises.

    A parameter rests at a bound, or moves; where the Hessian is not positive the expected one replaces it; a parameter
    of which this holds no information that the others leave is flat, and stays where it is.
    """
    pars = w.parameters
    size = pars.shape[1]
    for p in range(size):
        x, g = pars[_X, p], pars[_G, p]
        rests = (
            pars[_LOW, p] == pars[_HIGH, p] or (x <= pars[_LOW, p] and g >= 0.0) or (x >= pars[_HIGH, p] and g <= 0.0)
        )
        pars[_STATE, p] = _RESTS if rests else _MOVES
        if not pars[_HESSIAN + p, p] < math.inf:
            return math.inf
    replaced = False
    while True:
        while not _decompose(w, replaced):
            replaced = True
            _expect(m, w, n, barrier)
        if not _solve(w):
            break
    total = 0.0
    for p in range(size):
        total -= pars[_G, p] * pars[_STEP, p]
    return total


@compiled(_nrt=False)
def _decompose(w: Work, replaced: bool) -> bool:
    """Decompose the Hessian of what moves (Cholesky); return False where it is not positive.

    If it was replaced by the expected one what it has no information of becomes flat instead.
    """
    pars = w.parameters
    size = pars.shape[1]
    factor = _HESSIAN + size
    for p in range(size):
        for q in range(p):
            pars[factor + p, q] = 0.0
        if pars[_STATE, p] == _RESTS:
            continue
        for q in range(p):
            if pars[_STATE, q] == _MOVES or pars[_STATE, q] == _REPLACED:
                total = pars[_HESSIAN + p, q]
                for r in range(q):
                    total -= pars[factor + p, r] * pars[factor + q, r]
                pars[factor + p, q] = total / pars[factor + q, q]
        total = pars[_HESSIAN + p, p]
        for r in range(p):
            total -= pars[factor + p, r] * pars[factor + p, r]
        if total > _TINY_PIVOT * pars[_HESSIAN + p, p]:
            pars[factor + p, p] = math.sqrt(total)
            pars[_STATE, p] = _REPLACED if replaced else _MOVES
        elif replaced:
            pars[_STATE, p] = _FLAT
            for q in range(p):
                pars[factor + p, q] = 0.0
        else:
            return False
    return True


@compiled(_nrt=False)
def _solve(w: Work) -> bool:
    """Fill the step from the decomposed Hessian; tell whether one leads out of its bounds, and now rests."""
    pars = w.parameters
    size = pars.shape[1]
    factor = _HESSIAN + size
    for p in range(size):
        pars[_STEP, p] = 0.0
        if pars[_STATE, p] == _MOVES or pars[_STATE, p] == _REPLACED:
            total = -pars[_G, p]
            for q in range(p):
                total -= pars[factor + p, q] * pars[_STEP, q]
            pars[_STEP, p] = total / pars[factor + p, p]
    outward = False
    for p in range(size - 1, -1, -1):
        if pars[_STATE, p] == _MOVES or pars[_STATE, p] == _REPLACED:
            total = pars[_STEP, p]
            for q in range(p + 1, size):
                total -= pars[factor + q, p] * pars[_STEP, q]
            step = total / pars[factor + p, p]
            pars[_STEP, p] = step
            x = pars[_X, p]
            if (x <= pars[_LOW, p] and step < 0.0) or (x >= pars[_HIGH, p] and step > 0.0):
                pars[_STATE, p] = _RESTS
                outward = True
    return outward


@compiled(_nrt=False)
def _settle_kinks(m: Compiled, w: Work, n: FloatArray, aux: FloatArray, barrier: float) -> None:
    """Turn parameters that rest at a kink to the side on which the likelihood rises, if there is one."""
    if not m.layout[0, 3]:
        return
    pars = w.parameters
    for k in range(len(aux)):
        if m.numbers[k, 6] == 0.0 or pars[_X, k] != 0.0:
            continue
        if pars[_SIDE, k] * pars[_G, k] >= 0.0:
            _take_side(m, w, k, -pars[_SIDE, k])
            _evaluate(m, w, n, aux, barrier)


@compiled(_nrt=False)
def _take_side(m: Compiled, w: Work, k: int, side: float) -> None:
    """Keep a parameter with a kink at 0 on one side of it."""
    low, high = m.numbers[k, 4], m.numbers[k, 5]
    w.parameters[_SIDE, k] = side
    w.parameters[_LOW, k] = max(low, 0.0) if side > 0.0 else low
    w.parameters[_HIGH, k] = high if side > 0.0 else min(high, 0.0)


@compiled(_nrt=False)
def start_at(m: Compiled, aux: FloatArray, theta: FloatArray) -> None:
    """Fill `theta` with what the auxiliary measurements alone say, a start for a fit."""
    numbers = m.numbers
    for k in range(len(aux)):
        value = numbers[k, 1]
        if numbers[k, 0] == GAUSSIAN:
            value = max(aux[k], 0.1 * value) if numbers[k, 7] != 0.0 else aux[k]
        elif numbers[k, 0] == POISSON:
            value = max(aux[k], 0.5) / numbers[k, 3]
        theta[k] = min(max(value, numbers[k, 4]), numbers[k, 5])


@compiled(_nrt=False)
def _begin(m: Compiled, w: Work, n: FloatArray, mu: float, lowest: float, theta: FloatArray) -> int:
    """Fill bounds and a start at which the likelihood is above 0, if there is one; return the reason if there is none.

    -1 stands for a likelihood that is 0 at the fixed mu, whatever the parameters.
    """
    rows, pars = w.bins, w.parameters
    last = len(theta)
    for k in range(last):
        pars[_LOW, k], pars[_HIGH, k], pars[_SIDE, k] = m.numbers[k, 4], m.numbers[k, 5], 1.0
        pars[_X, k] = min(max(theta[k], m.numbers[k, 4]), m.numbers[k, 5])
        if m.numbers[k, 6] != 0.0:
            _take_side(m, w, k, 1.0 if pars[_X, k] >= 0.0 else -1.0)
    fixed = not math.isnan(mu)
    pars[_LOW, last] = mu if fixed else lowest
    pars[_HIGH, last] = mu if fixed else math.inf
    pars[_X, last] = mu if fixed else 0.0
    _yields(m, w)
    signal, background, observed, bare = 0.0, 0.0, 0.0, False
    for i in range(len(n)):
        nu = rows[_NU, i]
        signal += rows[_SIGNAL, i]
        background += nu
        observed += n[i]
        if n[i] > 0.0:
            if nu == 0.0 and rows[_SIGNAL, i] == 0.0:
                return _IMPOSSIBLE
            bare |= nu == 0.0
        if nu < 0.0:
            return _NEGATIVE
    if fixed:
        return -1 if bare else _GOOD
    excess = (observed - background) / signal
    if excess <= 0.0 and bare:
        excess = 0.1 * observed / signal
    pars[_X, last] = max(excess, 0.0, lowest)
    return _GOOD


@compiled(_nrt=False)
def _advance(w: Work, share: float) -> None:
    """Move to a share of the step from the start, within the bounds."""
    pars = w.parameters
    for p in range(pars.shape[1]):
        pars[_X, p] = min(max(pars[_START, p] + share * pars[_OLD_STEP, p], pars[_LOW, p]), pars[_HIGH, p])


@compiled(_nrt=False)
def _overshot(m: Compiled, w: Work) -> bool:
    """Tell whether a multiplier came to its lower bound and would rise from there."""
    pars = w.parameters
    for k in range(m.layout[0, 2]):
        if m.numbers[k, 7] != 0.0 and pars[_X, k] <= pars[_LOW, k] < pars[_START, k] and pars[_G, k] < 0.0:
            return True
    return False


@compiled(_nrt=False)
def _lower(m: Compiled, w: Work, n: FloatArray, aux: FloatArray, barrier: float) -> bool:
    """Tell whether -ln L is lower than at the start, as far as rounding lets one tell."""
    pars = w.parameters
    size = pars.shape[1]
    here = _half_value(m, w, n, aux, barrier)
    slope, rounding = 0.0, abs(here)
    for i in range(len(n)):
        rounding += 1e-3 * abs(n[i] - w.bins[_NU, i])
    for p in range(size):
        slope += pars[_OLD_G, p] * (pars[_X, p] - pars[_START, p])
        pars[_X, p], pars[_START, p] = pars[_START, p], pars[_X, p]
    _yields(m, w)
    before = _half_value(m, w, n, aux, barrier)
    for p in range(size):
        pars[_X, p], pars[_START, p] = pars[_START, p], pars[_X, p]
    _yields(m, w)
    return here <= before + 1e-4 * min(slope, 0.0) + 1e-13 * rounding


@compiled(_nrt=False)
def _keep(w: Work) -> bool:
    """Keep the point and its step as what the next points are compared with; tell whether the Hessian is expected."""
    pars = w.parameters
    replaced = False
    for p in range(pars.shape[1]):
        replaced |= pars[_STATE, p] > _MOVES
        pars[_START, p], pars[_OLD_STEP, p], pars[_OLD_G, p] = pars[_X, p], pars[_STEP, p], pars[_G, p]
    return replaced


@compiled(_nrt=False)
def _minimise(m: Compiled, w: Work, n: FloatArray, aux: FloatArray, careful: bool) -> int:
    """Move to the minimum of -ln L by Newton's steps; return why not, else _GOOD.

    A step is taken for good where what the next one promises is half of it at most; else, or if `careful`, where
    -ln L has fallen. Where the way leads to a negative yield in a bin without events it stops with _NEGATIVE.
    """
    if _evaluate(m, w, n, aux, 0.0) != _GOOD:
        return _NOT_CONVERGED
    _settle_kinks(m, w, n, aux, 0.0)
    promised = _direction(m, w, n, 0.0)
    for _ in range(_MOST_STEPS):
        if not promised < math.inf:
            return _NOT_CONVERGED
        replaced = _keep(w)
        if promised <= (_CLOSE_LINEAR if replaced else _CLOSE):
            if replaced and w.parameters[_X, len(aux)] < 0.0:
                return _NEGATIVE  # expected curvatures grow where a bin without events gets empty, and feign a minimum
            if w.parameters[_STATE, len(aux)] == _FLAT:
                # without curvature of its own the signal is bounded by the yields alone
                return _UNIDENTIFIED if w.parameters[_HESSIAN + len(aux), len(aux)] > 0.0 else _NEGATIVE
            _advance(w, 1.0)
            return _GOOD
        share = _reach(w) if careful else 1.0
        while True:
            _advance(w, share)
            there = _evaluate(m, w, n, aux, 0.0)
            if there == _NEGATIVE:
                return _NEGATIVE
            if there == _GOOD and not _overshot(m, w):
                _settle_kinks(m, w, n, aux, 0.0)
                next_promised = _direction(m, w, n, 0.0)
                if (not careful and next_promised <= 0.5 * promised) or _lower(m, w, n, aux, 0.0):
                    break
            share *= 0.5
            if share < 1e-15:
                return _NOT_CONVERGED
        if careful and replaced and share >= 1.0:
            _stretch(m, w, n, aux)
            _settle_kinks(m, w, n, aux, 0.0)
            next_promised = _direction(m, w, n, 0.0)
        promised = next_promised
    return _NOT_CONVERGED


@compiled(_nrt=False)
def _reach(w: Work) -> float:
    """Return the share of a step that leads to the first bound, 1 at most; bending it there need not lower -ln L."""
    pars = w.parameters
    share = 1.0
    for p in range(pars.shape[1]):
        step, x = pars[_OLD_STEP, p], pars[_START, p]
        bound = pars[_LOW, p] if step < 0.0 else pars[_HIGH, p]
        if step != 0.0 and x != bound:
            share = min(share, (bound - x) / step)
    return min(share * (1.0 + 1e-12), 1.0)


@compiled(_nrt=False)
def _stretch(m: Compiled, w: Work, n: FloatArray, aux: FloatArray) -> None:
    """Go on in the direction of a step that the expected Hessian may have made far too short, while -ln L falls."""
    share = 1.0
    least = _half_value(m, w, n, aux, 0.0)
    while share < 1e6:
        _advance(w, 2.0 * share)
        if _evaluate(m, w, n, aux, 0.0) != _GOOD or _overshot(m, w):
            break
        value = _half_value(m, w, n, aux, 0.0)
        if not value < least:
            break
        least = value
        share *= 2.0
    _advance(w, share)
    _evaluate(m, w, n, aux, 0.0)


@compiled(_nrt=False)
def _minimise_inside(m: Compiled, w: Work, n: FloatArray, aux: FloatArray) -> int:
    """Move to the minimum of -ln L where the yields of all bins are positive; return why not, else _GOOD.

    A primal-dual interior point method: bins without events have a multiplier each.
    """
    rows, pars = w.bins, w.parameters
    last = len(aux)
    _yields(m, w)
    if pars[_LOW, last] < pars[_HIGH, last]:
        observed, signal = 1.0, 0.0
        for i in range(len(n)):
            observed += n[i]
            signal += rows[_SIGNAL, i]
        pars[_X, last] = max(pars[_X, last], 0.1 * observed / signal)
        _yields(m, w)
    barrier, told = _FIRST_BARRIER, False
    for i in range(len(n)):
        rows[_MULTIPLIER, i] = barrier / rows[_NU, i] if rows[_NU, i] > 0.0 else 0.0
    for _ in range(_MOST_STEPS):
        there = _evaluate(m, w, n, aux, barrier)
        if there != _GOOD:
            return there
        _settle_kinks(m, w, n, aux, barrier)
        promised = _direction(m, w, n, barrier)
        if not promised < math.inf:
            return _NOT_CONVERGED
        replaced = _keep(w)
        told |= pars[_STATE, last] != _FLAT  # near an empty bin its curvature hides all others
        if barrier > _LAST_BARRIER and promised < 0.1 * barrier:
            barrier = max(0.1 * barrier, _LAST_BARRIER)
            continue
        if barrier == _LAST_BARRIER and promised < (_CLOSE_LINEAR if replaced else 1e-3 * _LAST_BARRIER):
            return _GOOD if told else _UNIDENTIFIED
        share = _multiplier_steps(m, w, n, barrier)
        while True:
            _advance(w, share)
            inside = _evaluate(m, w, n, aux, barrier) == _GOOD and not _overshot(m, w)
            if inside and (promised < 1e-9 or _lower(m, w, n, aux, barrier)):
                break
            share *= 0.5
            if share < 1e-15:
                return _NOT_CONVERGED
        for i in range(len(n)):
            rows[_MULTIPLIER, i] = max(
                rows[_MULTIPLIER, i] + share * rows[_MULTIPLIER_STEP, i], 0.01 * rows[_MULTIPLIER, i]
            )
    return _NOT_CONVERGED


@compiled(_nrt=False)
def _multiplier_steps(m: Compiled, w: Work, n: FloatArray, barrier: float) -> float:
    """Fill the steps of the multipliers; return the share of a step that leaves bins without events above 0."""
    rows, pars, layout = w.bins, w.parameters, m.layout
    last = pars.shape[1] - 1
    spans = 1 + layout[0, 0] + layout[0, 1]
    share = 1.0
    for i in range(len(n)):
        rows[_MULTIPLIER_STEP, i] = 0.0
        if n[i] <= 0.0 and rows[_SIGNAL, i] > 0.0:
            along = rows[_GRADIENTS + last, i] * pars[_STEP, last]
            for k in range(last):
                if layout[spans + k, 0] <= i < layout[spans + k, 1]:
                    along += rows[_GRADIENTS + k, i] * pars[_STEP, k]
            nu, multiplier = rows[_NU, i], rows[_MULTIPLIER, i]
            if along < 0.0:
                share = min(share, -0.995 * nu / along)
            rows[_MULTIPLIER_STEP, i] = (barrier - multiplier * along) / nu - multiplier
    return share


@compiled(_nrt=False)
def fit_toy(
    m: Compiled, n: FloatArray, aux: FloatArray, mu: float, lowest: float, theta: FloatArray, work: Work
) -> tuple[float, float, bool]:
    """Maximise the likelihood of one toy.

    Interpolated yields need not be log-concave: it is the maximum that the start leads to, and two fits of one toy may
    differ in theirs where a parameter has a kink or is pulled by several of its widths.

    Parameters
    ----------
    m : Compiled
    n : ndarray of float, shape (bin,)
        Observed events; those of an Asimov set are no whole numbers.
    aux : ndarray of float, shape (parameter,)
        Auxiliary measurements.
    mu : float
        Signal strength; NaN: it is fitted.
    lowest : float
        Of the fitted signal strength: 0, or -inf, where it may be as low as leaves all yields positive.
    theta : ndarray of float, shape (parameter,)
        In: a start, best the parameters at a signal strength close by, else those of `start_at`; out: the solution.
    work : Work
        From `new_work`; `work.state[0]` becomes the reason, an index of `REASONS`.

    Returns
    -------
    mu : float
    value : float
        -2 ln L + a constant of the data alone; +inf where the likelihood is 0 for all theta at the fixed mu.
    ok : bool
        Whether mu and the value are the solution; else they are NaN.
    """
    reason = _GOOD
    for attempt in range(4):
        if attempt in (1, 2):
            start_at(m, aux, theta)
        elif attempt == 3:
            # measurements far off may leave no yields, from where no step leads back
            for k in range(len(aux)):
                theta[k] = m.numbers[k, 1]
        reason = _begin(m, work, n, mu, lowest, theta)
        if reason == -1:
            work.state[0] = _GOOD
            return mu, math.inf, True
        if reason == _GOOD:
            reason = _minimise(m, work, n, aux, attempt > 1)
        if reason != _NOT_CONVERGED and reason != _UNIDENTIFIED:
            break
    if reason == _NEGATIVE:
        start_at(m, aux, theta)
        reason = _begin(m, work, n, mu, lowest, theta)
        if reason == _GOOD:
            reason = _minimise_inside(m, work, n, aux)
    work.state[0] = reason
    if reason != _GOOD:
        return math.nan, math.nan, False
    last = len(aux)
    _yields(m, work)
    value = 2.0 * _half_value(m, work, n, aux, 0.0)
    if not value < math.inf:
        work.state[0] = _NOT_CONVERGED
        return math.nan, math.nan, False
    for k in range(last):
        found = work.parameters[_X, k]
        theta[k] = 0.0 if found == LEAST else found
    return work.parameters[_X, last], value, True


@compiled
def _fit_all(
    m: Compiled, n: FloatArray, aux: FloatArray, mu: FloatArray, lowest: float
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.int8]]:
    work = new_work(m)
    toys = len(n)
    found, theta, value = np.empty(toys), np.empty(aux.shape), np.empty(toys)
    reason = np.zeros(toys, np.int8)
    for j in range(toys):
        start_at(m, aux[j], theta[j])
        found[j], value[j], ok = fit_toy(m, n[j], aux[j], mu[j], lowest, theta[j], work)
        if not ok:
            theta[j] = math.nan
            reason[j] = work.state[0]
    return found, theta, value, reason


@compiled
def expected(m: Compiled, mu: FloatArray, theta: FloatArray) -> FloatArray:
    """Return the expected events of each bin.

    Parameters
    ----------
    m : Compiled
    mu : ndarray of float, shape (toy,)
    theta : ndarray of float, shape (toy, parameter)

    Returns
    -------
    ndarray of float, shape (toy, bin)
        0 where they would be negative.
    """
    work = new_work(m)
    nu = np.empty((len(mu), m.templates.shape[1]))
    for j in range(len(mu)):
        work.parameters[_X, :-1] = theta[j]
        work.parameters[_X, -1] = mu[j]
        _yields(m, work)
        for i in range(nu.shape[1]):
            nu[j, i] = max(work.bins[_NU, i], 0.0)
    return nu


def fit(model: Any, counts: ArrayLike, auxiliary: ArrayLike, lowest: float = 0.0) -> Fit:
    """Maximise the likelihood of each toy in the signal strength and the nuisance parameters.

    Parameters
    ----------
    model : BinnedModel
    counts : array_like of float, shape (toy, bin)
    auxiliary : array_like of float, shape (toy, parameter)
    lowest : float
        Of the signal strength: 0, or -inf, where it may be as low as leaves all yields positive.
    """
    return _fit(model, counts, auxiliary, np.nan, lowest)


def fit_at(model: Any, counts: ArrayLike, auxiliary: ArrayLike, mu: ArrayLike) -> Fit:
    """Maximise the likelihood of each toy in the nuisance parameters, at a signal strength of its own.

    Parameters
    ----------
    model : BinnedModel
    counts : array_like of float, shape (toy, bin)
    auxiliary : array_like of float, shape (toy, parameter)
    mu : float or array_like of float, shape (toy,)
    """
    return _fit(model, counts, auxiliary, mu, 0.0)


def _fit(model: Any, counts: ArrayLike, auxiliary: ArrayLike, mu: ArrayLike, lowest: float) -> Fit:
    # arrays of one kind, writable and in C order: for each other the kernels would be compiled anew
    n, measured = (np.array(each, np.float64, order="C") for each in (counts, auxiliary))
    held = np.array(np.broadcast_to(mu, len(n)), np.float64)
    found, theta, value, reason = _fit_all(model.compiled, n, measured, held, float(lowest))
    return Fit(found, theta, value, reason == _GOOD, reason)


def draw(model: Any, mu: float, theta: ArrayLike, size: int, rng: np.random.Generator) -> tuple[IntArray, FloatArray]:
    """Draw toys: counts, and auxiliary measurements about the true parameters.

    Parameters
    ----------
    model : BinnedModel
    mu : float
    theta : array_like of float, shape (parameter,)
    size : int
    rng : numpy.random.Generator

    Returns
    -------
    counts : ndarray of int, shape (size, bin)
    auxiliary : ndarray of float, shape (size, parameter)
        0 of a parameter without a constraint.
    """
    m = model.compiled
    at = np.asarray(theta, np.float64)
    nu = expected(m, np.array([float(mu)]), at[None])[0]
    counts = np.empty((size, len(nu)), np.int64)
    for i, mean in enumerate(nu.tolist()):
        counts[:, i] = _poisson(mean, size, rng)
    auxiliary = np.zeros((size, len(at)))
    for k, (kind, _, width, tau) in enumerate(m.numbers[: len(at), :4].tolist()):
        if kind == GAUSSIAN:
            auxiliary[:, k] = rng.normal(at[k], width, size)
        elif kind == POISSON:
            auxiliary[:, k] = _poisson(tau * at[k], size, rng)
    return counts, auxiliary


def _poisson(mean: float, size: int, rng: np.random.Generator) -> IntArray:
    """Draw Poisson counts, many by inversion of their cumulative distribution: ten times as fast."""
    spread = int(9.0 * math.sqrt(mean)) + 40  # leaves out less than a uniform number resolves
    first = max(int(mean) - spread, 0)
    if size < _FEWEST_INVERTED + 2 * spread:
        return rng.poisson(mean, size)
    cumulative = special.pdtr(np.arange(first, int(mean) + spread), mean)
    cumulative[-1] = 1.0
    guide = np.searchsorted(cumulative, np.arange(_GUIDES) / _GUIDES, "right")
    return _invert(rng.random(size), cumulative, guide, first)


@compiled
def _invert(uniform: FloatArray, cumulative: FloatArray, guide: IntArray, first: int) -> IntArray:
    """Return the least counts whose cumulative probability is above uniform numbers; a guide tells where to look."""
    counts = np.empty(len(uniform), np.int64)
    for j in range(len(uniform)):
        k = guide[int(uniform[j] * len(guide))]
        while cumulative[k] <= uniform[j]:
            k += 1
        counts[j] = first + k
    return counts
