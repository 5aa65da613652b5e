"""Limits from the sampling distribution of a likelihood ratio, enumerated or drawn."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np

from covsvc.binned_model import BinnedModel
from covsvc.contracts import (
    Binned,
    Calibration,
    Counts,
    EventModel,
    FloatArray,
    IntArray,
    Limits,
    OnOff,
    calibration_of,
    one_sided,
    two_sided,
)
from covsvc.kernels.binned_tables import explain_tabled, make_tables, tabled_limits
from covsvc.kernels.binned_toys import Found, Rule, profiled_limit
from covsvc.kernels.poisson import mean_upper, truncated_upper
from covsvc.kernels.profile import profiled_background, q_count, q_on_off
from covsvc.kernels.sampling import (
    MOST_OFF_SOURCE,
    MOST_ON_SOURCE,
    mid_upper,
    upper_on_off,
    weights_count,
    weights_on_off,
)

_FEWEST_TOYS, _MOST_TOYS = 100, 10_000_000

_TOYS_OF_BINS = 10_000
"""Toys of each hypothesis of counts in bins without a word of `n_toys`."""

_MOST_STEPS = 12
"""Most hypotheses that the method chooses between the fitted signal and that at which q is -2 ln(1 - cl)."""

Toys = tuple[IntArray, ...]


@dataclass(frozen=True)
class _Count:
    """One count with known background."""

    n: int
    b: float

    @property
    def shat(self) -> float:
        return self.n - self.b

    def key(self, s: float) -> tuple[float, ...]:
        return s, self.b

    def means(self, s: float) -> tuple[float, ...]:
        return (s + self.b,)

    def q(self, s: float) -> float:
        return float(q_count(self.n, self.b, s, True))

    def weights(self, toys: Toys, s: float, tilde: bool, w: float) -> FloatArray:
        weights: FloatArray = weights_count(*toys, self.n, self.b, s, tilde, w)
        return weights


@dataclass(frozen=True)
class _Pair:
    """Counts on and off source."""

    n_on: int
    n_off: int
    tau: float

    @property
    def shat(self) -> float:
        return self.n_on - self.n_off / self.tau

    def key(self, s: float) -> tuple[float, ...]:
        return s, self.n_on, self.n_off, self.tau

    def means(self, s: float) -> tuple[float, ...]:
        b = profiled_background(self.n_on, self.n_off, self.tau, s)
        return s + b, self.tau * b

    def q(self, s: float) -> float:
        return float(q_on_off(self.n_on, self.n_off, self.tau, s, True))

    def weights(self, toys: Toys, s: float, tilde: bool, w: float) -> FloatArray:
        weights: FloatArray = weights_on_off(*toys, self.n_on, self.n_off, self.tau, s, tilde, w)
        return weights


@dataclass(frozen=True)
class _Tested:
    """A hypothesis and its p-values from toys."""

    s: float
    p: float
    cl_b: float

    @property
    def ratio(self) -> float:
        return self.p / self.cl_b if self.cl_b > 0 else 1.0


@dataclass(frozen=True)
class _Found:
    """A limit from toys: -1 if the set is empty, NaN with the reason if there is none."""

    upper: float
    error: float = math.nan
    reason: str = ""


@dataclass(frozen=True)
class SamplingDistribution:
    """Return the largest signal at which so large a one-sided likelihood ratio is not improbable.

    p_{s+b} = P(q > q_obs) + w P(q = q_obs) at the signal s and the background profiled at s, CL_b the same of the same
    statistic without signal, at the background profiled at 0. The limit is sup{s : p > 1 - cl}, p = p_{s+b} or
    p_{s+b}/CL_b; where CL_b vanishes nothing is excluded.

    Notes
    -----
    One count with known background: the p-values are sums over the smaller counts, in closed form, and inclusive ones
    give the limits of `classical` (clsb) and `cls` exactly, which cover at least. Mid-p-values and a profiled
    background cover approximately: the p-value holds at the profiled background, not at the true one.

    On/off counts: p falls with s but for small steps up, where outcomes change places in the order, so that it may
    cross 1 - cl more than once. The last crossing is searched from above, from where p is at most 0.3 (1 - cl), in
    steps that shrink towards it, down to 0.5 % of p, and is then found to 1e-10 of p; a stretch that is accepted and
    over which p falls by less may be missed. Fails where more than 2,000,000 counts off source or 200,000 on source
    matter. q_mu_tilde vanishes at s = 0: what holds for s -> 0 holds there.

    With `n_toys` the p-values are shares of toys, keyed by seed, hypothesis and observation (of one count: its
    background), and ln p is interpolated linearly between the two hypotheses at the last crossing. `Limits.error`
    carries the binomial errors of these p-values through, not the curvature of ln p between hypotheses nor its small
    steps; hypotheses so close that ln p falls by less than its error from one to the next pull the limit up. Ties are
    values of q within 1e-9 (1 + q). The error is NaN where there is no limit.

    Counts in bins have no enumeration: p-values are shares of toys, 10,000 a hypothesis without `n_toys`, whose
    measurements of the nuisance parameters fluctuate, too. With nuisance parameters `profiled` on the observation, each
    observation has toys of its own; hypotheses lie some 0.5 standard deviations apart about the limit, closer where p
    jumps. With `nominal` ones the toys depend on the model alone: they are drawn once, at signals some 0.25 standard
    deviations apart, or 0.15 for t_mu_tilde, up to 10 times the limit expected without signal, and fits of an
    observation are looked up in them. Then p-values hold at the nominal values. Where few outcomes are possible the
    p-value of t_mu_tilde jumps, and the limit may be anywhere between two of these signals, which its error allows for.
    Toys whose fit fails count as more extreme with the signal, as less extreme without it; more than 1 % of them are
    too many. Half a toy stands for none.

    t_mu_tilde, the ratio of the likelihoods of s and of the best s >= 0 on either side of s, makes a two-sided interval
    whose lower end is 0 or the outermost crossing below the best s: without nuisance parameters, that of Feldman and
    Cousins with inclusive p-values.

    References
    ----------
    .. [1] G. Cowan, K. Cranmer, E. Gross and O. Vitells, Eur. Phys. J. C 71 (2011) 1554, Eq. 11, 14 and 16.
    .. [2] fastprof documentation, Setting upper limits from sampling distributions.
    .. [3] A. L. Read, J. Phys. G 28 (2002) 2693.
    .. [4] G. J. Feldman and R. D. Cousins, Phys. Rev. D 57 (1998) 3873.
    .. [5] G. Cowan, K. Cranmer, E. Gross and O. Vitells, arXiv:1105.3166, for power-constrained limits.
    .. [6] D. Baxter et al., Eur. Phys. J. C 81 (2021) 907, for what dark-matter experiments publish.
    """

    statistic: Literal["q_mu", "q_mu_tilde", "t_mu_tilde"] = "q_mu_tilde"
    """Fitted signal of either sign, or at least 0; t_mu_tilde: at least 0 and above s, too, for two-sided intervals of
    counts in bins."""
    procedure: Literal["cls", "clsb"] = "cls"
    """What is compared with 1 - cl: p_{s+b}/CL_b, or p_{s+b}."""
    p_value: Literal["mid", "inclusive"] = "mid"
    """How much of the outcomes that tie with the observation counts: half (w = 1/2), or all (w = 1)."""
    n_toys: int = 0
    """Toys of each hypothesis, at least 100; 0: all outcomes are enumerated, or 10,000 where they are bins."""
    seed: int = 1999
    """Seed of the toys."""
    hypotheses: Sequence[float] = ()
    """Signals at which p-values are found from toys, ascending; empty: chosen for each observation."""
    nuisances: Literal["profiled", "nominal"] = "profiled"
    """Where the toys of bins have their nuisance parameters: at the values fitted to the observation at each
    hypothesis, 0 for CL_b, or at the nominal ones, drawn once for all observations."""
    power_constrained: bool = False
    """Hold the upper end of bins up to the signal that is excluded with probability 16 % if there is none: the limit
    expected one standard deviation below the median."""

    reads: ClassVar = (Counts, OnOff, Binned)
    sided: ClassVar = "upper"
    promises: ClassVar = "asymptotic"
    calibrates: ClassVar[tuple[type, ...]] = ()
    draws: ClassVar[tuple[type, ...]] = (Binned,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hypotheses", tuple(float(s) for s in self.hypotheses))
        for option, known in (
            ("statistic", ("q_mu", "q_mu_tilde", "t_mu_tilde")),
            ("procedure", ("cls", "clsb")),
            ("p_value", ("mid", "inclusive")),
            ("nuisances", ("profiled", "nominal")),
        ):
            if getattr(self, option) not in known:
                raise ValueError(f"{option} = {getattr(self, option)!r}: {' or '.join(known)}")
        if self.procedure == "cls" and self.statistic == "t_mu_tilde":
            raise ValueError("procedure = 'cls': an interval of t_mu_tilde has two sides; give procedure clsb")
        if self.procedure == "cls" and self.power_constrained:
            raise ValueError("power_constrained: CLs does without; give procedure clsb")
        if self.statistic == "t_mu_tilde":
            object.__setattr__(self, "sided", "two")
        if self.nuisances == "nominal":
            object.__setattr__(self, "calibrates", (Binned,))
            object.__setattr__(self, "draws", ())
        if self._bins_only:
            object.__setattr__(self, "reads", (Binned,))
        if self.n_toys and not _FEWEST_TOYS <= self.n_toys <= _MOST_TOYS:
            raise ValueError(
                f"n_toys = {self.n_toys}: 0, which enumerates, or {_FEWEST_TOYS} to {_MOST_TOYS:,} toys a hypothesis"
            )
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed}: a whole number >= 0")
        if not self.n_toys and not self._bins_only and self.seed != type(self).seed:
            raise ValueError(f"seed = {self.seed}: nothing is drawn where all outcomes are enumerated; give n_toys too")
        if self.hypotheses:
            self._check_hypotheses()

    def _check_hypotheses(self) -> None:
        if not self.n_toys and not self._bins_only:
            raise ValueError(
                "hypotheses: an enumeration finds the limit at any signal; give n_toys too, or leave them out"
            )
        if len(self.hypotheses) < 2:
            raise ValueError(f"hypotheses = {self.hypotheses[0]:g} alone: give two or more that bracket the limits")
        if not all(0.0 <= s < math.inf for s in self.hypotheses):
            wrong = next(s for s in self.hypotheses if not 0.0 <= s < math.inf)
            raise ValueError(f"hypotheses: {wrong:g} is no expected signal, a finite number >= 0")
        for smaller, larger in pairwise(self.hypotheses):
            if not smaller < larger:
                raise ValueError(f"hypotheses: {larger:g} follows {smaller:g}; give them in ascending order")

    def limits(self, observed: Counts | OnOff | Binned, cl: float) -> Limits:
        """Return the limits of each observation, expected signal events."""
        if isinstance(observed, Binned):
            if self.nuisances == "nominal":
                lower, upper, error, _ = self._tabled(observed, cl)
            else:
                each = self._profiled(observed, cl)
                lower, upper, error = (np.array([one[i] for one in each], np.float64) for i in range(3))
            return replace(two_sided(lower, upper), error=error)
        if self.n_toys:
            found = self._drawn(observed, cl)
            limits = one_sided(np.array([one.upper for one in found]))
            return replace(limits, error=np.array([one.error for one in found]))
        return one_sided(self._enumerated(observed, cl))

    def calibrate(self, known: EventModel | BinnedModel, cl: float) -> Calibration:
        """Return the sampling distributions of the statistic at the nominal nuisance parameters of a model."""
        if not isinstance(known, BinnedModel):
            raise TypeError(f"{type(known).__name__}: only toys of bins have nominal nuisance parameters")
        tables = make_tables(known, self._rule, cl, tuple(self.hypotheses))
        alpha = 1.0 - cl
        # of p, and of CL_b where there is one, which is at most 1
        variance = alpha * cl + (alpha * alpha / 4.0 if self._cls else 0.0)
        return Calibration(tables, math.sqrt(variance / self._rule.n_toys))

    def explain(self, observed: Counts | OnOff | Binned, cl: float) -> list[str]:
        """Return why each observation has no limit, in words; empty where it has one."""
        if isinstance(observed, Binned):
            if self.nuisances == "nominal":
                _, upper, _, reason = self._tabled(observed, cl)
                return explain_tabled(reason, upper, calibration_of(self, observed.model, cl).arrays, 1.0 - cl)
            return [self._words(one, cl) for one in self._profiled(observed, cl)]
        if self.n_toys:
            return [one.reason for one in self._drawn(observed, cl)]
        reasons = {-1: self._nothing_left(1.0 - cl), 0: "", 1: _NO_BACKGROUND, 2: _TOO_LARGE}
        upper = self._enumerated(observed, cl)
        kinds = np.select([upper < 0, np.isnan(upper), np.isinf(upper)], [-1, 2, 1], 0)
        return [reasons[kind] for kind in kinds.tolist()]

    def _words(self, found: Found, cl: float) -> str:
        if found.upper < 0.0:
            return self._nothing_left(1.0 - cl)
        return "no signal up to 1e9 events is excluded" if found.upper == math.inf else found.reason

    def _profiled(self, observed: Binned, cl: float) -> list[Found]:
        rows = [(n.astype(np.float64), aux.copy()) for n, aux in zip(observed.counts, observed.auxiliary, strict=True)]
        given = tuple(self.hypotheses)
        found: dict[bytes, Found] = {}
        for n, aux in rows:
            key = n.tobytes() + aux.tobytes()
            if key not in found:
                found[key] = profiled_limit(observed.model, n, aux, self._rule, 1.0 - cl, given)
        return [found[n.tobytes() + aux.tobytes()] for n, aux in rows]

    def _tabled(self, observed: Binned, cl: float) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
        tables = calibration_of(self, observed.model, cl).arrays
        return tabled_limits(observed.model, observed.counts, observed.auxiliary, self._rule, cl, tables)

    @property
    def _rule(self) -> Rule:
        """What kernels have to know of the options for counts in bins."""
        return Rule(
            two_sided=self.statistic == "t_mu_tilde",
            lowest=-math.inf if self.statistic == "q_mu" else 0.0,
            cls=self._cls,
            constrained=self.power_constrained,
            w=self._w,
            n_toys=self.n_toys or _TOYS_OF_BINS,
            seed=self.seed,
        )

    @property
    def _bins_only(self) -> bool:
        return self.statistic == "t_mu_tilde" or self.nuisances == "nominal" or self.power_constrained

    @property
    def _tilde(self) -> bool:
        return self.statistic == "q_mu_tilde"

    @property
    def _cls(self) -> bool:
        return self.procedure == "cls"

    @property
    def _w(self) -> float:
        return 0.5 if self.p_value == "mid" else 1.0

    def _enumerated(self, observed: Counts | OnOff, cl: float) -> FloatArray:
        if isinstance(observed, Counts):
            if self.p_value == "mid":
                return np.asarray(mid_upper(observed.n, observed.b_of_each, 1.0 - cl, self._cls))
            if self._cls:
                return truncated_upper(observed.n + 1.0, observed.b, cl)
            return mean_upper(observed.n, 1.0 - cl) - observed.b
        pairs, where = np.unique(np.stack([observed.n_on, observed.n_off]), axis=1, return_inverse=True)
        upper = upper_on_off(pairs[0], pairs[1], observed.tau, self._tilde, self._w, 1.0 - cl, self._cls)
        return np.asarray(upper[where.ravel()])

    def _drawn(self, observed: Counts | OnOff, cl: float) -> list[_Found]:
        each: list[_Count | _Pair]
        if isinstance(observed, Counts):
            each = [_Count(*one) for one in zip(observed.n.tolist(), observed.b_of_each.tolist(), strict=True)]
        else:
            pairs = zip(observed.n_on.tolist(), observed.n_off.tolist(), strict=True)
            each = [_Pair(*pair, observed.tau) for pair in pairs]
        # the counts over one background share its toys: those kept stay below some 100 MB
        draw = lru_cache(max(2, 4_000_000 // self.n_toys))(self._draw)
        found = {one: self._crossing(one, cl, draw) for one in dict.fromkeys(each)}
        return [found[one] for one in each]

    def _draw(self, key: tuple[float, ...], means: tuple[float, ...]) -> Toys:
        digest = hashlib.blake2b(
            struct.pack(f"<{len(key)}d", *(number + 0.0 for number in key)), digest_size=16
        ).digest()
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=struct.unpack("<4I", digest)))
        return tuple(rng.poisson(mean, self.n_toys) for mean in means)

    def _crossing(self, one: _Count | _Pair, cl: float, draw: Callable[..., Toys]) -> _Found:
        """Return where p falls below 1 - cl for good."""
        alpha = 1.0 - cl

        def weigh(s: float, at: float) -> FloatArray:
            return one.weights(draw(one.key(at), one.means(at)), s, self._tilde, self._w)

        @lru_cache(None)
        def test(s: float) -> _Tested:
            return _Tested(s, float(weigh(s, s).mean()), float(weigh(s, 0.0).mean()) if self._cls else 1.0)

        hypotheses = self.hypotheses or self._chosen(one, alpha, test)
        highest = test(hypotheses[-1])
        if highest.ratio >= alpha:
            return _Found(math.nan, reason=self._above(highest, alpha))
        high = highest
        for s in hypotheses[-2::-1]:
            low = test(s)
            if low.ratio >= alpha:
                break
            high = low
        else:
            if high.s == 0.0:
                return _Found(-1.0, reason=self._nothing_left(alpha))
            return _Found(math.nan, reason=self._below(high, alpha))
        while not self.hypotheses and high.p == 0.0 and high.s - low.s > 1e-3 * high.s:
            middle = test(0.5 * (low.s + high.s))
            low, high = (middle, high) if middle.ratio >= alpha else (low, middle)
        if high.p == 0.0 or low.cl_b == 0.0 or high.cl_b == 0.0:
            return _Found(math.nan, reason=self._no_toy(low, high))
        return _Found(*self._interpolated(low, high, alpha, weigh))

    def _chosen(self, one: _Count | _Pair, alpha: float, test: Callable[[float], _Tested]) -> list[float]:
        """Return hypotheses from the fitted signal to where p is well below alpha.

        P(q >= -2 ln alpha) is about alpha; at the crossing p is alpha CL_b. From step to step ln p falls by some eight
        times its error, so that errors neither cross alpha twice nor spoil the slope.
        """
        least = max(one.shat, 0.0)
        reach = _reach(one, least, -2.0 * math.log(alpha)) - least
        seen = alpha * self.n_toys * test(least + reach).cl_b
        steps = min(max(int(-math.log(alpha) * math.sqrt(seen) / 8.0), 1), _MOST_STEPS)
        step = reach / steps
        last = steps
        while last < 5 * steps + 4:
            at = test(least + last * step)
            if at.ratio <= 0.6 * alpha or at.cl_b == 0.0:
                break
            last += 1
        return [least + i * step for i in range(last + 1)]

    def _interpolated(
        self, low: _Tested, high: _Tested, alpha: float, weigh: Callable[[float, float], FloatArray]
    ) -> tuple[float, float]:
        """Return where the line through ln p crosses ln alpha, and its standard error."""
        fall = math.log(low.ratio / high.ratio)
        share = math.log(low.ratio / alpha) / fall
        parts = [(low, 1.0 - share), (high, share)]
        if self._cls and low.s == 0.0:
            parts = parts[1:]  # there p and CL_b are the same number
        variance = sum(np.var(part / one.p * weigh(one.s, one.s)) for one, part in parts)
        if self._cls:  # CL_b is found from the same toys at both
            variance += np.var(sum(part / one.cl_b * weigh(one.s, 0.0) for one, part in parts))
        width = high.s - low.s
        return low.s + share * width, width / fall * math.sqrt(variance / self.n_toys)

    @property
    def _letter(self) -> str:
        return "p / CL_b" if self._cls else "p"

    def _nothing_left(self, alpha: float) -> str:
        return f"no signal is left: p is at most {alpha:.3g} already at s = 0"

    def _above(self, at: _Tested, alpha: float) -> str:
        if at.cl_b == 0.0:
            return self._no_toy(at, at)
        return (
            f"the limit lies above the largest hypothesis {at.s:g}: "
            f"{self._letter} there is {at.ratio:.3g} > {alpha:.3g}; "
            + ("add larger ones" if self.hypotheses else "give hypotheses that reach further")
        )

    def _below(self, at: _Tested, alpha: float) -> str:
        return (
            f"the limit lies below the smallest hypothesis {at.s:g}: "
            f"{self._letter} there is {at.ratio:.3g} <= {alpha:.3g}; add smaller ones, 0 is the smallest possible"
        )

    def _no_toy(self, low: _Tested, high: _Tested) -> str:
        if low.cl_b == 0.0 or high.cl_b == 0.0:
            return (
                f"none of the {self.n_toys:,} toys without signal is as extreme as the observation at the hypothesis "
                f"{low.s if low.cl_b == 0.0 else high.s:g}, so that CL_b is unknown; raise n_toys"
            )
        return (
            f"none of the {self.n_toys:,} toys of the hypothesis {high.s:g} is as extreme as the observation, so that "
            "ln p cannot be interpolated; "
            + ("add hypotheses below it, or raise n_toys" if self.hypotheses else "raise n_toys")
        )


_NO_BACKGROUND = "CL_b vanishes in double precision: so far below its background an observation excludes nothing"

_TOO_LARGE = (
    f"more than {MOST_OFF_SOURCE:,} counts off source or {MOST_ON_SOURCE:,} on source matter: too many to enumerate; "
    "give n_toys"
)


def _reach(one: _Count | _Pair, least: float, q: float) -> float:
    """Return the signal above `least` at which q_mu_tilde of the observation is about `q`."""
    low, width = least, q
    while one.q(low + width) < q:
        low += width
        width *= 2.0
    while width > 1e-3 * (low - least + width):
        width *= 0.5
        if one.q(low + width) < q:
            low += width
    return low + width
