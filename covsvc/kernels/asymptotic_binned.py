"""Upper limits of a signal strength from binned likelihoods, by asymptotic distributions.

Letters of the papers: mu signal strength, theta nuisance parameters, q_mu and q_mu_tilde the one-sided statistics, q_A
that of the Asimov set: the expected counts and measurements at mu = 0, theta as fitted to the data there. y and x are
the quantiles from which the normal tails begin that are the p-values of s + b and of b.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covsvc.kernels.binned import GAUSSIAN, POISSON, REASONS, expected, fit_toy, new_work, start_at
from covsvc.kernels.compilation import compiled
from covsvc.kernels.profile import tail_ratio

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BOUNDED, UNBOUNDED, CLS, TILDE_CLS, TILDE, ASIMOV = range(6)
"""Likelihood ratio of mu >= 0, of any mu; CLs of q_mu, of q_mu_tilde; p-value of q_mu_tilde; Asimov set's ratio."""

NO_ROOT = len(REASONS)
"""Reason of a limit whose search did not converge; others are those of fits, 0 none."""

_FAR = 1e9
"""Signal events beyond which no limit is searched."""

_HALVINGS = 12
"""Times that a signal is halved in search of one whose p-value of q_mu_tilde exceeds 1 - cl."""


@compiled
def predicted_auxiliary(m: Any, theta: FloatArray) -> FloatArray:
    """Return the measurements that the nuisance parameters `theta` predict, shape (parameter,)."""
    aux = np.zeros(theta.size)
    for k in range(theta.size):
        if m.numbers[k, 0] == GAUSSIAN:
            aux[k] = theta[k]
        elif m.numbers[k, 0] == POISSON:
            aux[k] = m.numbers[k, 3] * theta[k]
    return aux


@compiled
def _fall(m: Any, n: FloatArray, aux: FloatArray, mu: float, theta: FloatArray, work: Any) -> float:
    """Return -2 ln L at `mu`, `theta` being changed into its best value there; NaN where there is no fit."""
    _, value, ok = fit_toy(m, n, aux, mu, 0.0, theta, work)
    return value if ok else math.nan


@compiled
def _height(
    m: Any,
    data: tuple[FloatArray, FloatArray, FloatArray],
    asimov: tuple[FloatArray, FloatArray, FloatArray],
    best: float,
    mu: float,
    kind: int,
    work: Any,
) -> float:
    """Return what rises with `mu` to its target at the limit, and about linearly; NaN where there is no fit."""
    q = q_A = 0.0
    if kind != ASIMOV:
        q = max(_fall(m, data[0], data[1], mu, data[2], work) - best, 0.0)
        if q != q or kind in (BOUNDED, UNBOUNDED):
            return math.sqrt(q)
    q_A = max(_fall(m, asimov[0], asimov[1], mu, asimov[2], work), 0.0)
    if q_A != q_A or kind == ASIMOV:
        return math.sqrt(q_A)
    a = math.sqrt(q_A)
    y = math.sqrt(q)
    if kind != CLS and q > q_A:
        y = 0.5 * (q + q_A) / a if a > 0.0 else math.inf
    if kind == TILDE:
        return y
    if a == 0.0 or y == math.inf:
        return 0.0  # just as probable without signal
    return math.sqrt(max(-2.0 * tail_ratio(y - a, a)[0], 0.0))


@compiled
def _root(
    m: Any,
    data: tuple[FloatArray, FloatArray, FloatArray],
    asimov: tuple[FloatArray, FloatArray, FloatArray],
    best: float,
    low: float,
    step: float,
    target: float,
    kind: int,
    far: float,
    work: Any,
) -> tuple[float, int]:
    """Return the mu above `low` at which the height passes its target, and why there is none."""
    left, right = low, math.inf
    mu = min(low + step, far)
    last_mu = last_height = math.nan
    for trial in range(100):
        height = _height(m, data, asimov, best, mu, kind, work)
        if height != height:
            return math.nan, work.state[0]
        if height >= target:
            right = mu
        elif mu >= far:
            return math.inf, 0
        else:
            left = mu
        if right == math.inf:
            # about proportional to the distance from `low`, or hardly rising any more
            factor = 1.05 * target / height if height > 0.0 and trial < 8 else 4.0
            following = min(low + (mu - low) * min(max(factor, 1.2), 4.0), far)
        else:
            run, rise = (mu - last_mu, height - last_height) if last_mu == last_mu else (mu - low, height)
            chord = rise / run if run != 0.0 else math.nan
            following = mu + (target - height) / chord if chord > 0.0 else math.nan
            inside = left <= following <= right
            if right - left <= 1e-12 * right or (
                # steps along chords shrink faster and faster
                inside and last_mu == last_mu and abs(following - mu) <= 1e-8 * (following - low)
            ):
                return min(max(following, left), right) if inside else 0.5 * (left + right), 0
            if not inside or (trial > 8 and trial % 2 == 1):
                following = 0.5 * (left + right)
        last_mu, last_height, mu = mu, height, following
    return math.nan, NO_ROOT


@compiled
def _lowered(
    m: Any,
    data: tuple[FloatArray, FloatArray, FloatArray],
    asimov: tuple[FloatArray, FloatArray, FloatArray],
    best: float,
    right: float,
    target: float,
    work: Any,
) -> tuple[float, int]:
    """Return some mu below `right` at which the p-value of q_mu_tilde exceeds 1 - cl, -1 where there seems to be none.

    Where the best mu is 0, the p-value is below 1 already at mu = 0+.
    """
    mu = right
    for _ in range(_HALVINGS):
        height = _height(m, data, asimov, best, mu, np.int64(TILDE), work)
        if height != height:
            return math.nan, work.state[0]
        if height < target:
            return mu, 0
        mu *= 0.5
    return -1.0, 0


@compiled
def _upper(
    m: Any,
    n: FloatArray,
    aux: FloatArray,
    start: FloatArray,
    signal: FloatArray,
    kind: int,
    z: float,
    log_alpha: float,
    far: float,
    work: Any,
) -> tuple[float, int]:
    """Return the largest signal strength of one toy, and why there is none; arguments as `upper_strengths`'."""
    theta = start.copy()
    at_zero = start.copy()
    data = (n, aux, theta)
    asimov = (n, aux, at_zero)
    mu_hat = best = 0.0
    if kind != ASIMOV:
        mu_hat, best, ok = fit_toy(m, n, aux, math.nan, -math.inf if kind in (UNBOUNDED, CLS) else 0.0, theta, work)
        if not ok:
            return math.nan, work.state[0]
    low = max(mu_hat, 0.0)
    information = 0.0
    for i in range(signal.size):
        information += signal[i] * signal[i] / max(n[i], 1.0)
    step = max(z, 0.5) / math.sqrt(information) + z * z / 3.0 / signal.sum()
    if kind != BOUNDED:
        value = _fall(m, n, aux, 0.0, at_zero, work)
        if value == math.inf:
            # events where no background is expected: theta is what it tends to for small signals
            value = _fall(m, n, aux, 1e-9 * step, at_zero, work)
        if value != value:
            return math.nan, work.state[0]
        if kind == UNBOUNDED and mu_hat < 0.0 and value - best > z * z:
            return -1.0, 0
        if kind != UNBOUNDED:
            background = expected(m, np.zeros(1), at_zero.copy().reshape(1, -1))[0]
            asimov = (background, predicted_auxiliary(m, at_zero), at_zero)
    if z == 0.0 and kind not in (CLS, TILDE_CLS):
        return (low if mu_hat > 0.0 or kind in (BOUNDED, ASIMOV) else -1.0), 0
    if kind == TILDE and mu_hat <= 0.0:
        # a constant kind would be a type of its own, for which all is compiled once more
        low, reason = _root(m, data, asimov, best, low, step, z, np.int64(ASIMOV), far, work)
        if reason != 0 or low == math.inf:
            return low, reason
        low, reason = _lowered(m, data, asimov, best, low, z, work)
        if reason != 0 or low < 0.0:
            return low, reason
        step = low
    target = math.sqrt(-2.0 * log_alpha) if kind in (CLS, TILDE_CLS) else z
    return _root(m, data, asimov, best, low, step, target, kind, far, work)


@compiled
def upper_strengths(
    m: Any, counts: FloatArray, auxiliary: FloatArray, signal: FloatArray, kind: int, z: float, log_alpha: float
) -> tuple[FloatArray, IntArray]:
    """Return the largest signal strength that each toy does not exclude.

    Parameters
    ----------
    m : tuple of arrays
        Compiled model.
    counts : ndarray of float, shape (toy, bin)
        Observed events.
    auxiliary : ndarray of float, shape (toy, parameter)
        Measurements of the nuisance parameters.
    signal : ndarray of float, shape (bin,)
        Expected signal events at mu = 1.
    kind : int
        `BOUNDED` and so on.
    z : float
        Quantile of the normal distribution which a root of a likelihood ratio is to reach, >= 0.
    log_alpha : float
        ln(1 - cl), for CLs.

    Returns
    -------
    upper : ndarray of float, shape (toy,)
        Signal strength; -1 where no mu >= 0 is left, +inf beyond all reach, NaN where a fit or the search failed.
    reason : ndarray of int, shape (toy,)
        Why it failed: index of `REASONS`, or `NO_ROOT`.

    References
    ----------
    .. [1] G. Cowan, K. Cranmer, E. Gross and O. Vitells, Eur. Phys. J. C 71 (2011) 1554, Eq. 8, 14, 16, and 3.6-3.7.
    """
    upper = np.empty(len(counts))
    reason = np.empty(len(counts), np.int64)
    work = new_work(m)
    start = np.empty(auxiliary.shape[1])
    far = _FAR / signal.sum()
    for i in range(len(counts)):
        start_at(m, auxiliary[i], start)
        upper[i], reason[i] = _upper(m, counts[i], auxiliary[i], start, signal, kind, z, log_alpha, far, work)
    return upper, reason


def find_upper(
    model: Any, counts: NDArray[Any], auxiliary: FloatArray, kind: int, z: float, cl: float
) -> tuple[FloatArray, IntArray]:
    """Return the largest signal that each toy does not exclude, expected events, and why there is none.

    Parameters
    ----------
    model : BinnedModel
        Expected yields.
    counts, auxiliary, kind, z
        As `upper_strengths` takes them.
    cl : float
        Confidence level, for CLs.
    """
    signal = np.array([row for row, is_signal in zip(model.nominal, model.signal, strict=True) if is_signal]).sum(
        axis=0
    )
    # arrays of one kind, writable and in C order: for each other the kernels would be compiled anew
    n, aux = (np.array(each, np.float64, order="C") for each in (counts, auxiliary))
    upper, reason = upper_strengths(model.compiled, n, aux, signal, kind, z, math.log1p(-cl))
    return upper * model.signal_events, reason


def explain_upper(upper: FloatArray, reason: IntArray) -> list[str]:
    """Say why there is no upper limit, in words, empty where there is one; arguments as `find_upper` returns them."""
    words = [*REASONS, "the search for the limit did not converge"]
    return [
        "the counts are so far below the background that no signal >= 0 is left at this cl"
        if end < 0.0
        else f"no signal up to {_FAR:g} events is excluded"
        if end == math.inf
        else words[why]
        for end, why in zip(upper.tolist(), reason.tolist(), strict=True)
    ]
