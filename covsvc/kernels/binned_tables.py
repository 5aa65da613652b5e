"""Limits from tables of the sampling distributions of likelihood ratios, at the nominal nuisance parameters.

The letters are those of `covsvc.kernels.binned_toys`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covsvc.kernels.asymptotic_binned import ASIMOV, BOUNDED, find_upper
from covsvc.kernels.binned import REASONS, expected, fit_toy, new_work, start_at
from covsvc.kernels.binned_toys import (
    LEAST_POWER,
    MOST_FAILURES,
    TIE,
    Rule,
    draw_toys,
    quantiles_of_toys,
    statistic,
    statistics,
)
from covsvc.kernels.compilation import compiled

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ABOVE, NO_BACKGROUND, LOW_POWER, NO_TABLE = range(len(REASONS), len(REASONS) + 4)
"""Reasons beside those of fits: the limit lies above the table; CL_b vanishes; the power is low; there is no table."""

_STEP = 0.002
"""Smallest change of ln p from one value of a table to the next, but for ties."""

_REACH = 10.0
"""A table ends at this multiple of the asymptotic limit that is expected without a signal."""

_MOST_NODES = 400


@compiled
def _thinned(q: FloatArray) -> FloatArray:
    """Return some of the values of a sample in ascending order, how much of it is above each, and not below it.

    Ties are one value. Left out are values between which ln p hardly changes.

    Parameters
    ----------
    q : ndarray of float, shape (toy,)
        In ascending order.

    Returns
    -------
    ndarray of float, shape (3, value)
    """
    kept = np.empty((3, q.size))
    size = 0
    i = 0
    while i < q.size:
        j = i + 1
        while j < q.size and q[j] <= q[i] + TIE * (1.0 + q[i]):
            j += 1
        above = (q.size - j) / q.size
        if size == 0 or above < kept[1, size - 1] * (1.0 - _STEP):
            kept[0, size], kept[1, size], kept[2, size] = q[i], above, (q.size - i) / q.size
            size += 1
        i = j
    return kept[:, :size].copy()


@compiled
def _tail(table: FloatArray, start: int, stop: int, q: float, w: float) -> float:
    """Return the p-value of `q` by the values start..stop - 1 of a table; ln p is interpolated between values."""
    tie = TIE * (1.0 + q) if q < math.inf else 0.0
    low, high = start, stop  # of the first value above q
    while low < high:
        middle = (low + high) // 2
        if table[0, middle] <= q + tie:
            low = middle + 1
        else:
            high = middle
    if low == start:
        return 1.0
    at = table[0, low - 1]
    above = table[1, low - 1]
    if q <= at + 2.0 * tie:
        return above + w * (table[2, low - 1] - above)
    if low == stop:
        return 0.0
    following = table[2, low]
    if following >= above or table[0, low] == math.inf:
        return following
    share = (q - at) / (table[0, low] - at)
    return above * math.exp(share * math.log(following / above))


class _Table(NamedTuple):
    """What the limits of an analysis are looked up in."""

    s: FloatArray
    starts: IntArray
    """Where the values of each node begin in `signal` and in `background`, shape (2, node + 1)."""
    signal: FloatArray
    """Values of the statistic of toys with the signal, the shares above each, and not below it; shape (3, value)."""
    background: FloatArray
    """The same of toys without."""
    two_sided: bool
    lowest: float
    cls: bool
    w: float
    n_toys: float
    alpha: float
    events: float
    """Signal events at mu = 1."""


@compiled
def _ratio(t: _Table, k: int, q: float) -> float:
    """Return p or p / CL_b at a node: of half a toy at most, and below alpha, where there is none for p.

    1 where CL_b vanishes.
    """
    p = _tail(t.signal, t.starts[0, k], t.starts[0, k + 1], q, t.w)
    cl_b = _tail(t.background, t.starts[1, k], t.starts[1, k + 1], q, t.w) if t.cls else 1.0
    if t.cls and not (cl_b > 0.0 and t.s[k] > 0.0):
        return 1.0
    return max(p, min(0.5 / t.n_toys, 0.25 * t.alpha * cl_b)) / cl_b


@compiled
def _variances(t: _Table, k: int, q: float) -> tuple[float, float]:
    """Return the relative variances of p and of CL_b at a node, at most; 0 where they are the same number."""
    if t.cls and t.s[k] == 0.0:
        return 0.0, 0.0
    p = _tail(t.signal, t.starts[0, k], t.starts[0, k + 1], q, t.w)
    of_p = (1.0 - p) / (p * t.n_toys) if p > 0.0 else 2.0
    cl_b = _tail(t.background, t.starts[1, k], t.starts[1, k + 1], q, t.w) if t.cls else 0.0
    return of_p, (1.0 - cl_b) / (cl_b * t.n_toys) if cl_b > 0.0 else 0.0


@compiled
def _crossing(
    m: Any,
    n: FloatArray,
    aux: FloatArray,
    mu_hat: float,
    best: float,
    t: _Table,
    step: int,
    start: FloatArray,
    work: Any,
    q: FloatArray,
) -> tuple[int, int]:
    """Return the last node that is accepted in the direction of `step`, and the next; -1 where there is none.

    From the best signal outwards until p is well below alpha, then back until it is above.
    """
    last = t.s.size - 1
    k = int(np.searchsorted(t.s, max(mu_hat, 0.0) * t.events))
    k = min(k, last) if step > 0 else max(k - 1, 0)
    outwards = True
    while True:
        if q[k] < 0.0:
            q[k] = statistic(m, n, aux, mu_hat, best, t.s[k] / t.events, t.two_sided, start, work)
            if q[k] != q[k]:
                return -2, -2
        ratio = _ratio(t, k, q[k])
        outermost = k == (last if step > 0 else 0)
        if outwards and ratio > 0.3 * t.alpha and not outermost:
            k += step
            continue
        outwards = False
        if ratio >= t.alpha:
            return k, -1 if outermost else k + step
        if k == (0 if step > 0 else last):
            return -1, k
        k -= step


@compiled
def _interpolated(t: _Table, accepted: int, rejected: int, q: FloatArray) -> tuple[float, float]:
    """Return where the line through ln p crosses ln alpha between two nodes, and its standard error, at most."""
    first = _ratio(t, accepted, q[accepted])
    fall = math.log(first / _ratio(t, rejected, q[rejected]))
    share = math.log(first / t.alpha) / fall
    width = t.s[rejected] - t.s[accepted]
    of_accepted, of_accepted_b = _variances(t, accepted, q[accepted])
    of_rejected, of_rejected_b = _variances(t, rejected, q[rejected])
    # CL_b is found from the same toys at both
    common = (1.0 - share) * math.sqrt(of_accepted_b) + share * math.sqrt(of_rejected_b)
    variance = ((1.0 - share) ** 2 * of_accepted + share**2 * of_rejected + common**2) / (fall * fall)
    if t.two_sided:
        variance += 1.0 / 12.0  # p may jump anywhere between two nodes
    return t.s[accepted] + share * width, abs(width) * math.sqrt(variance)


@compiled
def _limits(m: Any, counts: FloatArray, auxiliary: FloatArray, t: _Table, ends: FloatArray, reason: IntArray) -> None:
    """Fill lower end, upper end and error of each toy, shape (toy, 3), and why there is no limit."""
    work = new_work(m)
    q = np.empty(t.s.size)
    start, theta = np.empty(auxiliary.shape[1]), np.empty(auxiliary.shape[1])
    for i in range(len(counts)):
        n, aux = counts[i], auxiliary[i]
        start_at(m, aux, start)
        theta[:] = start
        mu_hat, best, ok = fit_toy(m, n, aux, math.nan, t.lowest, theta, work)
        if not ok:
            reason[i] = work.state[0]
            continue
        q[:] = -1.0  # not known yet
        upper, error, lower = -1.0, math.nan, 0.0
        for step in range(1, -2 if t.two_sided else 0, -2):
            accepted, rejected = _crossing(m, n, aux, mu_hat, best, t, step, start, work, q)
            if accepted == -2:
                reason[i] = work.state[0]
            elif step > 0 and accepted >= 0:
                begin, end = t.starts[1, accepted], t.starts[1, accepted + 1]
                if t.cls and t.s[accepted] > 0.0 and _tail(t.background, begin, end, q[accepted], t.w) == 0.0:
                    reason[i] = NO_BACKGROUND
                elif rejected < 0:
                    reason[i] = ABOVE
                else:
                    upper, error = _interpolated(t, accepted, rejected, q)
            elif step < 0 and accepted >= 0 and rejected >= 0:
                lower, _ = _interpolated(t, accepted, rejected, q)
        if reason[i] == 0:
            ends[i, 0], ends[i, 1], ends[i, 2] = lower, upper, error


def make_tables(model: Any, rule: Rule, cl: float, hypotheses: tuple[float, ...]) -> dict[str, NDArray[Any]]:
    """Return the sampling distributions of the statistic at the nominal nuisance parameters.

    Parameters
    ----------
    model : BinnedModel
        Expected yields.
    rule : Rule
    cl : float
        Confidence level.
    hypotheses : tuple of float
        Signals at which the statistic is sampled, ascending; empty: chosen here.

    Returns
    -------
    dict of str to ndarray
        s, shape (node,), expected signal events; starts, signal and background: see `_Table`; power_limit: what the
        limit is held up to, and its standard error; 0 if it is not asked for.
    """
    m, events = model.compiled, model.signal_events
    s = np.array(hypotheses) if hypotheses else _nodes(model, rule, cl)
    theta = m.numbers[: model.n_parameters, 1].copy()
    without = draw_toys(model, 0.0, theta, rule.lowest, rule.n_toys, rule.seed, (0.0, model.key.encode()))
    parts: tuple[list[FloatArray], list[FloatArray]] = ([], [])
    for signal in s.tolist():
        mu = signal / events
        toys = without
        if signal > 0.0:
            toys = draw_toys(model, mu, theta, rule.lowest, rule.n_toys, rule.seed, (signal, model.key.encode()))
        q = statistics(m, *toys, mu, rule.two_sided, theta)
        if np.count_nonzero(np.isnan(q)) > MOST_FAILURES * len(q):
            s = np.zeros(0)
            break
        parts[0].append(_thinned(np.sort(np.where(np.isnan(q), np.inf, q))))
        if rule.cls:
            q = statistics(m, *without, mu, rule.two_sided, theta)
            parts[1].append(_thinned(np.sort(np.where(np.isnan(q), 0.0, q))))
    starts = [np.cumsum([0, *(part.shape[1] for part in side or [np.zeros((3, 0))] * len(s))]) for side in parts]
    tables = {
        "s": s,
        "starts": np.array(starts) if len(s) else np.zeros((2, 1), np.int64),
        "signal": np.concatenate([np.zeros((3, 0)), *parts[0]], axis=1),
        "background": np.concatenate([np.zeros((3, 0)), *parts[1]], axis=1),
        "power_limit": np.zeros(2),
    }
    if rule.constrained and len(s):
        free = rule._replace(constrained=False)
        _, upper, _, _ = tabled_limits(model, without.counts, without.auxiliary, free, cl, tables)
        (at,), (low,), (high,) = quantiles_of_toys(np.where(np.isnan(upper), np.inf, upper), np.array([LEAST_POWER]))
        tables["power_limit"] = np.array([at, 0.5 * (high - low)])
    return tables


def _nodes(model: Any, rule: Rule, cl: float) -> FloatArray:
    """Return signals some 0.25 standard deviations of the fitted one apart, or 0.15."""
    m, events = model.compiled, model.signal_events
    theta, aux = m.numbers[None, : model.n_parameters, 1].copy(), model.nominal_auxiliary[None]
    alpha = 1.0 - cl
    step = min(max(0.15 if rule.two_sided else 0.25, 4.0 / math.sqrt(alpha * rule.n_toys)), 1.0)
    z = math.sqrt(max(-2.0 * math.log(alpha), 1.0))  # somewhat above the quantile
    background = expected(m, np.zeros(1), theta)
    end = _REACH * float(find_upper(model, background, aux, ASIMOV, z, cl)[0][0])
    s = [0.0]
    while s[-1] < end and len(s) < _MOST_NODES:
        counts = expected(m, np.array([s[-1] / events]), theta)
        following = float(find_upper(model, counts, aux, BOUNDED, step, cl)[0][0])
        if not s[-1] < following < math.inf:
            break
        s.append(following)
    if len(s) < 2:
        return np.zeros(0)
    if rule.lowest == 0.0 and not rule.two_sided:
        s[0] = 1e-3 * s[1]  # q_mu_tilde vanishes at s = 0: what holds for s -> 0 holds there
    return np.array(s)


def tabled_limits(
    model: Any, counts: NDArray[Any], auxiliary: FloatArray, rule: Rule, cl: float, tables: Mapping[str, NDArray[Any]]
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    """Return the lower and upper ends of each toy, the standard errors of the latter, and why there is no limit.

    Parameters
    ----------
    model : BinnedModel
        Expected yields.
    counts, auxiliary : ndarray, shape (toy, bin) and (toy, parameter)
        The observations.
    rule, cl
        As `make_tables` takes them.
    tables : dict of str to ndarray
        As it returns them.
    """
    ends = np.full((len(counts), 3), np.nan)
    reason = np.zeros(len(counts), np.int64)
    least, error = tables["power_limit"].tolist()
    if not len(tables["s"]) or least == math.inf:
        reason[:] = LOW_POWER if len(tables["s"]) else NO_TABLE
        return ends[:, 0], ends[:, 1], ends[:, 2], reason
    # arrays of one kind, writable and in C order: for each other the kernels would be compiled anew
    table = _Table(
        np.array(tables["s"], order="C"),
        np.array(tables["starts"], order="C"),
        np.array(tables["signal"], order="C"),
        np.array(tables["background"], order="C"),
        rule.two_sided,
        rule.lowest,
        rule.cls,
        rule.w,
        float(rule.n_toys),
        1.0 - cl,
        model.signal_events,
    )
    n, aux = (np.array(each, np.float64, order="C") for each in (counts, auxiliary))
    _limits(model.compiled, n, aux, table, ends, reason)
    if rule.constrained:
        ends[(reason == 0) & (ends[:, 1] < least), 1:] = least, error
    return ends[:, 0], ends[:, 1], ends[:, 2], reason


def explain_tabled(reason: IntArray, upper: FloatArray, tables: Mapping[str, NDArray[Any]], alpha: float) -> list[str]:
    """Say why there is no limit, in words, empty where there is one; arguments as `tabled_limits` returns them."""
    largest = tables["s"][-1] if len(tables["s"]) else math.nan
    words = [
        *REASONS,
        f"the limit lies above the largest signal of the table, {largest:g}; give hypotheses that reach further",
        "none of the toys without signal is as extreme as the observation, so that CL_b is unknown; raise n_toys",
        f"if there is no signal, {1 - LEAST_POWER:.0%} of the limits lie above the largest signal of the table, "
        f"{largest:g}; give hypotheses that reach further",
        "fits of what the model expects, or of many toys, do not converge: there is no table",
    ]
    left = f"no signal is left: p is at most {alpha:.3g} already at s = 0"
    return [left if end < 0.0 else words[why] for end, why in zip(upper.tolist(), reason.tolist(), strict=True)]
