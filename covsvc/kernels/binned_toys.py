"""Sampling distributions of likelihood ratios of binned counts with nuisance parameters, from toys.

Letters of the papers: mu signal strength, theta nuisance parameters, q a statistic: q_mu and q_mu_tilde one-sided,
t_mu_tilde two-sided; w the share of the toys that tie with the observation which counts as more extreme: 1/2 for a
mid-p-value, 1 for an inclusive one; p and CL_b the p-values of the same statistic with and without the signal.
"""

from __future__ import annotations

import hashlib
import math
import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covsvc.kernels.asymptotic_binned import BOUNDED, explain_upper, find_upper
from covsvc.kernels.binned import draw, fit_toy, new_work, start_at
from covsvc.kernels.compilation import compiled

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

TIE = 1e-9
"""Two values q of the statistic tie if they differ by less than TIE (1 + q): rounding may part them."""

MOST_FAILURES = 0.01
"""Share of the toys whose fits may fail: they count as more extreme with the signal, as less extreme without."""


class Toys(NamedTuple):
    """Toys of one hypothesis, with their best fits: NaN where there is none."""

    counts: FloatArray
    auxiliary: FloatArray
    mu_hat: FloatArray
    best: FloatArray


@compiled
def best_fits(m: Any, counts: FloatArray, auxiliary: FloatArray, start: FloatArray, lowest: float) -> Any:
    """Return the signal strength of the largest likelihood and -2 ln L there, NaN where there is no fit.

    Parameters
    ----------
    m : tuple of arrays
        Compiled model.
    counts, auxiliary : ndarray of float, shape (toy, bin) and (toy, parameter)
        Observed events, and the measurements of the nuisance parameters.
    start : ndarray of float, shape (parameter,)
        Nuisance parameters to begin at.
    lowest : float
        0 or -inf: the smallest signal strength.
    """
    mu_hat, best = np.empty(len(counts)), np.empty(len(counts))
    work = new_work(m)
    for i in range(len(counts)):
        theta = start.copy()
        mu_hat[i], best[i], ok = fit_toy(m, counts[i], auxiliary[i], math.nan, lowest, theta, work)
        if not ok:
            mu_hat[i] = best[i] = math.nan
    return mu_hat, best


@compiled
def statistic(
    m: Any,
    n: FloatArray,
    aux: FloatArray,
    mu_hat: float,
    best: float,
    mu: float,
    two_sided: bool,
    start: FloatArray,
    work: Any,
) -> float:
    """Return the statistic of one toy for the signal strength `mu`, NaN where there is no fit."""
    if mu_hat != mu_hat:
        return math.nan
    if mu_hat >= mu and not two_sided:
        return 0.0
    theta = start.copy()
    _, value, ok = fit_toy(m, n, aux, mu, 0.0, theta, work)
    return max(value - best, 0.0) if ok else math.nan


@compiled
def statistics(
    m: Any,
    counts: FloatArray,
    auxiliary: FloatArray,
    mu_hat: FloatArray,
    best: FloatArray,
    mu: float,
    two_sided: bool,
    start: FloatArray,
) -> FloatArray:
    """Return the statistic of each toy for the signal strength `mu`, NaN where there is no fit.

    Parameters
    ----------
    m, counts, auxiliary, start
        As `best_fits` takes them.
    mu_hat, best : ndarray of float, shape (toy,)
        As it returns them.
    mu : float
        Signal strength.
    two_sided : bool
        Whether toys whose best signal is above `mu` count.
    """
    q = np.empty(len(counts))
    work = new_work(m)
    for i in range(len(counts)):
        q[i] = statistic(m, counts[i], auxiliary[i], mu_hat[i], best[i], mu, two_sided, start, work)
    return q


def draw_toys(
    model: Any, mu: float, theta: FloatArray, lowest: float, size: int, seed: int, key: tuple[Any, ...]
) -> Toys:
    """Draw toys of a hypothesis, and fit each.

    Parameters
    ----------
    model : BinnedModel
        Expected yields.
    mu : float
        Signal strength.
    theta : ndarray of float, shape (parameter,)
        True nuisance parameters; measurements of them are drawn anew.
    lowest : float
        0 or -inf: the smallest signal strength of a fit.
    size, seed : int
        Number of toys, and seed.
    key : tuple of float or bytes
        What the toys hang on besides.
    """
    words = b"".join(word if isinstance(word, bytes) else struct.pack("<d", word + 0.0) for word in key)
    digest = hashlib.blake2b(words, digest_size=16).digest()
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=struct.unpack("<4I", digest)))
    counts, auxiliary = draw(model, mu, theta, size, rng)
    n = counts.astype(np.float64)
    return Toys(n, auxiliary, *best_fits(model.compiled, n, auxiliary, theta, lowest))


def weigh(q: FloatArray, observed: float, w: float, failed: float) -> FloatArray:
    """Return how much each toy counts as more extreme than the observation.

    Parameters
    ----------
    q : ndarray of float, shape (toy,)
        Statistic of each toy.
    observed : float
        Statistic of the observation.
    w : float
        What a tie counts.
    failed : float
        What a toy without a fit counts.
    """
    tie = TIE * (1.0 + observed) if observed < math.inf else 0.0
    weights = np.where(q > observed + tie, 1.0, np.where(q >= observed - tie, w, 0.0))
    return np.where(np.isnan(q), failed, weights)


class Rule(NamedTuple):
    """What is compared with 1 - cl, and from which toys."""

    two_sided: bool
    lowest: float
    """The smallest signal strength of a fit, 0 or -inf."""
    cls: bool
    """Whether p is divided by CL_b."""
    constrained: bool
    """Whether the limit is held up to where its power is `LEAST_POWER`."""
    w: float
    n_toys: int
    seed: int


LEAST_POWER = 0.5 * math.erfc(math.sqrt(0.5))
"""Probability to exclude a signal if there is none below which it is not excluded: Phi(-1), 16 %."""

_MOST_STEPS = 100
"""Most hypotheses on the way to one limit."""


class Found(NamedTuple):
    """Ends of an interval from toys: upper -1 if it is empty, +inf if unbounded, NaN with the reason if unknown."""

    lower: float = math.nan
    upper: float = math.nan
    error: float = math.nan
    reason: str = ""


class NoLimitError(Exception):
    """Says why an observation has no limit."""


class _Tested(NamedTuple):
    """A hypothesis, the statistic of the observation and of the toys with and without the signal."""

    s: float
    observed: float
    with_signal: FloatArray
    without: FloatArray


class ProfiledToys:
    """One observation, and toys at the nuisance parameters that are fitted to it at each hypothesis."""

    def __init__(self, model: Any, n: FloatArray, aux: FloatArray, rule: Rule, alpha: float) -> None:
        self.rule = rule
        self._alpha = alpha
        self._model = model
        self._n, self._aux = n, aux
        self._key = model.key.encode(), n.tobytes(), aux.tobytes()
        self._start = np.empty(aux.size)
        start_at(model.compiled, aux, self._start)
        self._work = new_work(model.compiled)
        self._known: dict[float, _Tested] = {}
        self._mu_hat, self._best, ok = fit_toy(
            model.compiled, n, aux, math.nan, rule.lowest, self._start.copy(), self._work
        )
        if not ok:
            raise NoLimitError("the best fit did not converge")
        self.best = max(self._mu_hat, 0.0) * model.signal_events
        self._compares = rule.cls or rule.constrained
        if self._compares:
            self._theta, _ = self._fitted(0.0)
            self._background = self._draw(0.0, self._theta)

    def _fitted(self, mu: float) -> tuple[FloatArray, float]:
        theta = self._start.copy()
        _, value, ok = fit_toy(self._model.compiled, self._n, self._aux, mu, 0.0, theta, self._work)
        if not ok:
            raise NoLimitError(f"the fit at the signal {mu * self._model.signal_events:g} did not converge")
        return theta, value

    def _draw(self, s: float, theta: FloatArray) -> Toys:
        mu = s / self._model.signal_events
        rule = self.rule
        return draw_toys(self._model, mu, theta, rule.lowest, rule.n_toys, rule.seed, (s, *self._key))

    def _statistics(self, toys: Toys, mu: float, theta: FloatArray) -> FloatArray:
        q: FloatArray = statistics(self._model.compiled, *toys, mu, self.rule.two_sided, theta)
        failed = np.count_nonzero(np.isnan(q))
        if failed > MOST_FAILURES * len(q):
            raise NoLimitError(f"the fits of {failed:,} of {len(q):,} toys did not converge")
        return q

    def tested(self, s: float) -> _Tested:
        """Return the statistics of the hypothesis `s`, expected signal events."""
        if s not in self._known:
            mu = s / self._model.signal_events
            theta, value = self._fitted(mu)
            observed = max(value - self._best, 0.0)
            if not self.rule.two_sided and self._mu_hat >= mu:
                observed = 0.0
            with_signal = self._statistics(self._draw(s, theta), mu, theta)
            without = np.zeros(0)
            if self._compares:
                without = self._statistics(self._background, mu, self._theta)
            self._known[s] = _Tested(s, observed, with_signal, without)
        return self._known[s]

    def weights(self, at: _Tested) -> tuple[FloatArray, FloatArray]:
        """Return how much each toy with and without the signal counts as more extreme than the observation."""
        w = self.rule.w
        return weigh(at.with_signal, at.observed, w, 1.0), weigh(at.without, at.observed, w, 0.0)

    def ratio(self, s: float) -> float:
        """Return p, or p / CL_b, of the hypothesis `s`: of half a toy at most, below alpha, if there is none.

        1 where CL_b vanishes.
        """
        part, whole = self.weights(self.tested(s))
        cl_b = float(whole.mean()) if self.rule.cls else 1.0
        if self.rule.cls and not (cl_b > 0.0 and s > 0.0):
            return 1.0
        return max(float(part.mean()), min(0.5 / self.rule.n_toys, 0.25 * self._alpha * cl_b)) / cl_b

    def power(self, s: float, alpha: float) -> float:
        """Return the probability without signal that `s` is excluded from above."""
        at = self.tested(s)
        order = np.sort(np.where(np.isnan(at.with_signal), np.inf, at.with_signal))
        tie = TIE * (1.0 + at.without)
        above = len(order) - np.searchsorted(order, at.without + tie, "right")
        ties = len(order) - np.searchsorted(order, at.without - tie, "left") - above
        excluded = (above + self.rule.w * ties) < alpha * len(order)
        return float(np.mean(excluded & (self._background.mu_hat < s / self._model.signal_events)))

    def crossing(self, start: float, step: float, stop: float, alpha: float) -> tuple[float, float]:
        """Return where p falls below `alpha` for good in the direction of `step`, and the standard error of that.

        Hypotheses from `start` outwards, until p is well below `alpha`, then back to `stop` at most, until it is above:
        the outermost crossing of those that steps of some 0.5 standard deviations show.

        Returns
        -------
        s, error : float
            NaN where `stop` itself is excluded.
        """

        def place(k: int) -> float:
            s = max(start + k * step, 0.0)
            return max(s, stop) if step > 0.0 else min(s, stop)

        last = 0
        while self.ratio(place(last)) > 0.6 * alpha:
            if step < 0.0 and place(last) == 0.0:
                if self.ratio(0.0) >= alpha:
                    return 0.0, 0.0
                break
            if last == _MOST_STEPS:
                raise NoLimitError(self._not_excluded(place(last), alpha))
            last += 1
        out = place(last)
        while True:
            if out == stop:
                return math.nan, math.nan
            last -= 1
            within = place(last)
            if self.ratio(within) >= alpha:
                return self._refined(within, out, alpha)
            out = within

    def _not_excluded(self, s: float, alpha: float) -> str:
        self.check_background(s)
        return f"no hypothesis up to {s:g} has p below {alpha:.3g}"

    def check_background(self, s: float) -> None:
        """Refuse a hypothesis that is accepted because its CL_b vanishes."""
        if self.rule.cls and s > 0.0 and not self.weights(self.tested(s))[1].any():
            raise NoLimitError(
                f"none of the {self.rule.n_toys:,} toys without signal is as extreme as the observation at the "
                f"hypothesis {s:g}, so that CL_b is unknown; raise n_toys"
            )

    def _refined(self, within: float, out: float, alpha: float) -> tuple[float, float]:
        """Interpolate ln p between two hypotheses, which come closer until it falls by little between them.

        The p-value of t_mu_tilde may jump anywhere: there they come as close as the error of the limit.
        """
        end, error = self.interpolated(within, out, alpha)
        while abs(out - within) > max(2e-3 * max(out, within), error if self.rule.two_sided else 0.0):
            fall = math.log(self.ratio(within) / self.ratio(out))
            seen = self.rule.n_toys * float(self.weights(self.tested(within))[0].mean())
            if not self.rule.two_sided and fall <= max(8.0 / math.sqrt(max(seen, 1.0)), 1.0):
                break
            middle = 0.5 * (within + out)
            within, out = (middle, out) if self.ratio(middle) >= alpha else (within, middle)
            end, here = self.interpolated(within, out, alpha)
            # the slope between two that are close is hardly known
            error = error if self.rule.two_sided else here
        return end, error

    def interpolated(self, within: float, out: float, alpha: float) -> tuple[float, float]:
        """Return where the line through ln p crosses ln alpha, and its standard error."""
        self.check_background(within)
        fall = math.log(self.ratio(within) / self.ratio(out))
        share = math.log(self.ratio(within) / alpha) / fall
        variance, common = 0.0, np.zeros(1)
        for s, part in ((within, 1.0 - share), (out, share)):
            if self.rule.cls and s == 0.0:
                continue  # there p and CL_b are the same number
            toys, background = self.weights(self.tested(s))
            p = float(toys.mean())
            variance += part * part * (float(np.var(toys)) / (p * p) if p > 0.0 else 2.0 * self.rule.n_toys)
            if self.rule.cls:
                common = common + part * background / background.mean()
        variance += float(np.var(common))  # CL_b is found from the same toys at both
        return within + share * (out - within), abs(out - within) / fall * math.sqrt(variance / self.rule.n_toys)


def profiled_limit(
    model: Any, n: FloatArray, aux: FloatArray, rule: Rule, alpha: float, hypotheses: tuple[float, ...]
) -> Found:
    """Return the limit of one observation from toys at the nuisance parameters that are fitted to it.

    Parameters
    ----------
    model : BinnedModel
        Expected yields.
    n, aux : ndarray of float, shape (bin,) and (parameter,)
        The observation.
    rule : Rule
    alpha : float
        1 - cl.
    hypotheses : tuple of float
        Signals at which p-values are found, ascending; empty: chosen here.
    """
    try:
        toys = ProfiledToys(model, n, aux, rule, alpha)
        return _given(toys, alpha, hypotheses) if hypotheses else _chosen(toys, model, n, aux, alpha)
    except NoLimitError as reason:
        return Found(reason=str(reason))


def _chosen(toys: ProfiledToys, model: Any, n: FloatArray, aux: FloatArray, alpha: float) -> Found:
    rule = toys.rule
    z = max(math.sqrt(-2.0 * math.log(2.0 * alpha)) if alpha < 0.4 else 0.5, 0.5)
    upper, reason = find_upper(model, n[None, :], aux[None, :], BOUNDED, z, 1.0 - alpha)
    if not upper[0] < math.inf:
        return Found(0.0, math.inf) if upper[0] == math.inf else Found(reason=explain_upper(upper, reason)[0])
    best = toys.best
    width = (float(upper[0]) - best) / z
    step = width * min(max(4.0 / math.sqrt(alpha * rule.n_toys), 0.5), 1.0)
    # q_mu_tilde vanishes at s = 0: what holds for s -> 0 holds there
    least = 1e-3 * width if rule.lowest == 0.0 and not rule.two_sided else 0.0
    end, error = toys.crossing(float(upper[0]), step, max(best, least) if rule.two_sided else least, alpha)
    if end != end:
        end, error = -1.0, math.nan
    if rule.constrained:
        end, error = _constrained(toys, end, error, step, alpha)
    if not rule.two_sided or end < 0.0:
        return Found(0.0, end, error)
    lower, _ = toys.crossing(max(2.0 * best - float(upper[0]), 0.0), -step, best, alpha)
    return Found(lower, end, error)


def _constrained(toys: ProfiledToys, end: float, error: float, step: float, alpha: float) -> tuple[float, float]:
    """Return the upper end and its error, held up to where the power is `LEAST_POWER`."""
    low = max(end, 1e-3 * step)
    if toys.power(low, alpha) >= LEAST_POWER:
        return end, error
    for _ in range(_MOST_STEPS):
        high = low + step
        if toys.power(high, alpha) >= LEAST_POWER:
            break
        low = high
    else:
        raise NoLimitError(f"the power to exclude {high:g} is below {LEAST_POWER:.2g}")
    least = _power_error(toys, step, toys.power(low, alpha), toys.power(high, alpha))
    while high - low > max(least, 2e-3 * high):  # the power of few outcomes jumps
        middle = 0.5 * (low + high)
        low, high = (low, middle) if toys.power(middle, alpha) >= LEAST_POWER else (middle, high)
    return _power_limit(toys, low, high, alpha), least


def _power_limit(toys: ProfiledToys, low: float, high: float, alpha: float) -> float:
    """Return the signal at which the power is `LEAST_POWER`, between two."""
    power, more = toys.power(low, alpha), toys.power(high, alpha)
    return low + (high - low) * (LEAST_POWER - power) / (more - power)


def _power_error(toys: ProfiledToys, step: float, power: float, more: float) -> float:
    """Return the standard error of where the power is `LEAST_POWER`, from the toys without signal alone."""
    return step / (more - power) * math.sqrt(LEAST_POWER * (1.0 - LEAST_POWER) / toys.rule.n_toys)


def _given(toys: ProfiledToys, alpha: float, hypotheses: tuple[float, ...]) -> Found:
    """Return the limit from the hypotheses that are given."""
    ratios = [toys.ratio(s) for s in hypotheses]
    accepted = [k for k, ratio in enumerate(ratios) if ratio >= alpha]
    letter = "p / CL_b" if toys.rule.cls else "p"
    if accepted and accepted[-1] == len(hypotheses) - 1:
        toys.check_background(hypotheses[-1])
        raise NoLimitError(
            f"the limit lies above the largest hypothesis {hypotheses[-1]:g}: {letter} there is {ratios[-1]:.3g} > "
            f"{alpha:.3g}; add larger ones"
        )
    lower, end, error = 0.0, -1.0, math.nan
    if accepted:
        end, error = toys.interpolated(hypotheses[accepted[-1]], hypotheses[accepted[-1] + 1], alpha)
    elif hypotheses[0] > 0.0:
        raise NoLimitError(
            f"the limit lies below the smallest hypothesis {hypotheses[0]:g}: {letter} there is {ratios[0]:.3g} <= "
            f"{alpha:.3g}; add smaller ones, 0 is the smallest possible"
        )
    if toys.rule.two_sided and accepted:
        if accepted[0] > 0:
            lower, _ = toys.interpolated(hypotheses[accepted[0]], hypotheses[accepted[0] - 1], alpha)
        elif hypotheses[0] > 0.0:
            raise NoLimitError(f"the lower end lies below the smallest hypothesis {hypotheses[0]:g}; add smaller ones")
    if toys.rule.constrained:
        powers = [toys.power(s, alpha) for s in hypotheses]
        enough = [k for k, power in enumerate(powers) if power >= LEAST_POWER]
        if not enough:
            raise NoLimitError(f"the power to exclude {hypotheses[-1]:g} is {powers[-1]:.2g} only; add larger ones")
        k = enough[0]
        if k > 0:
            least = _power_limit(toys, hypotheses[k - 1], hypotheses[k], alpha)
            if least > end:
                end, error = least, _power_error(toys, hypotheses[k] - hypotheses[k - 1], powers[k - 1], powers[k])
    return Found(lower, end, error)


def quantiles_of_toys(values: FloatArray, probabilities: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return quantiles of drawn values, and their ends one standard deviation below and above.

    The quantile is the smallest value that a share of the toys of at least the probability does not exceed; its ends
    are the values whose ranks lie one standard deviation of the binomial distribution away.

    Parameters
    ----------
    values : ndarray of float, shape (toy,)
        Such as upper limits without a signal; +inf where there is none.
    probabilities : ndarray of float, shape (quantile,)
        In (0, 1).
    """
    ordered = np.sort(values)
    size = len(ordered)
    width = np.sqrt(size * probabilities * (1.0 - probabilities))
    ranks = (np.ceil(size * probabilities + shift * width).astype(np.int64) - 1 for shift in (0.0, -1.0, 1.0))
    at, low, high = (ordered[np.clip(rank, 0, size - 1)] for rank in ranks)
    return at, low, high
