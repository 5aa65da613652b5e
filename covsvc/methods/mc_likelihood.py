"""Upper limits from the Monte Carlo distribution of the fitted signal."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy import stats

from covsvc.contracts import (
    Calibration,
    EventModel,
    FloatArray,
    Limits,
    ModelledEvents,
    Status,
    calibration_of,
    one_sided,
)
from covsvc.kernels.signal_estimates import (
    fill_mixed,
    fill_shares,
    last_crossings,
    nodes,
    poisson_weights,
    repeated,
    signals_at,
)
from covsvc.kernels.unbinned import fit_events

_FEWEST_TOYS, _FEWEST_OF_PAIR, _MOST_TOYS = 100, 10, 10_000_000
_LARGEST_S, _LARGEST_B = 200.0, 1000.0

STEP = 0.2
"""Distance of the backgrounds of the table, in sqrt(b)."""

_BEYOND = 1e-5
"""Probability of more events than toys are drawn of; they are taken to be fitted as the most are."""

_FEW, _PILOT, _ATOM = 12, 2000, 0.01
"""Atoms of the fitted signal are looked for in so many toys of up to so many events, from this probability on."""

_COARSE = 0.25
"""Share of 1 - cl from which on the error of the coverage is too large for a limit."""


@dataclass(frozen=True)
class MCLikelihood:
    """Return the signal at which a fitted signal above the observed one has probability cl.

    The events are fitted with s >= 0 and b >= 0, s_obs and b_obs. The limit is the largest s0 with P(shat > s_obs) = cl
    where the numbers of signal and background events are Poisson of s0 and b_obs and the fit is the same.

    Notes
    -----
    Covers asymptotically: the probability holds at the fitted background, not at the true one. Where few background
    events are expected it covers somewhat less than cl at some signals, since the limits of experiments in which the
    background happens to be low are too low. What may be known of b beforehand is not used.

    Without events s_obs = b_obs = 0: the limit is -ln(1 - cl), more by as much as signal events are fitted as
    background. Where P > cl at s0 = 0 already the interval is empty.

    Toys are drawn at given numbers of signal and background events and averaged exactly over their Poisson
    distributions afterwards, so that one set of them, drawn once for an analysis, serves every s0 and b_obs. The limit
    is interpolated linearly in s_obs and by cubics in sqrt(b_obs), but for fitted signals of a probability of their
    own: 0, whole numbers, since b_obs may be 0, and those that repeat in toys of up to 12 events. `Limits.error` is the
    standard error that the toys leave. Fails without a model to draw toys from, outside of the table, and where the
    toys leave an error of the coverage above (1 - cl) / 4.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 15 and 20, Section 2.3.
    """

    n_toys: int = 10_000
    """Toys of n signal and m background events are n_toys / sqrt((1 + n)(1 + m)), at least 10."""
    seed: int = 1999
    """Seed of the toys."""
    largest_s: float = 50.0
    """Largest limit, expected signal events, 1 to 200."""
    largest_b: float = 100.0
    """Largest fitted background, events of the whole range, 1 to 1000."""

    reads: ClassVar = (ModelledEvents,)
    calibrates: ClassVar = (ModelledEvents,)
    sided: ClassVar = "upper"
    promises: ClassVar = "asymptotic"

    def __post_init__(self) -> None:
        if not _FEWEST_TOYS <= self.n_toys <= _MOST_TOYS:
            raise ValueError(f"n_toys = {self.n_toys}: {_FEWEST_TOYS} to {_MOST_TOYS:,} toys")
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed}: a whole number >= 0")
        for name, largest in (("largest_s", _LARGEST_S), ("largest_b", _LARGEST_B)):
            if not 1.0 <= getattr(self, name) <= largest:
                raise ValueError(f"{name} = {getattr(self, name):g}: events, 1 to {largest:g}")

    def limits(self, observed: ModelledEvents, cl: float) -> Limits:
        """Return the limits of each toy, expected signal events of the whole range."""
        if observed.model is None:
            return one_sided(np.full(len(observed), np.nan))
        s, b, ok = fit_events(observed.starts, observed.density_ratio)
        calibration = calibration_of(self, observed.model, cl)
        arrays = calibration.arrays
        upper, error = signals_at(
            np.where(ok, s, np.nan), b, arrays["edge"], arrays["is_atom"], STEP, arrays["signal"], arrays["error"]
        )
        outside = (upper > self.largest_s) | (b > self.largest_b) | (calibration.error > _COARSE * (1.0 - cl))
        limits = one_sided(np.where(outside, np.nan, upper))
        return replace(limits, error=np.where(limits.status == Status.OK, error, np.nan))

    def explain(self, observed: ModelledEvents, cl: float) -> list[str]:
        """Return why each observation has no limit, in words; empty where it has one."""
        limits = self.limits(observed, cl)
        if observed.model is None:
            return ["no toys can be drawn: there is no model of the densities"] * len(observed)
        s, b, ok = fit_events(observed.starts, observed.density_ratio)
        error = calibration_of(self, observed.model, cl).error
        reasons = []
        for toy, status in enumerate(limits.status.tolist()):
            if status == Status.OK:
                reason = ""
            elif status == Status.EMPTY:
                reason = (
                    f"no signal is left: with b = {b[toy]:.4g} alone a fitted signal above {s[toy]:.4g} has a "
                    f"probability above {cl:g}"
                )
            elif not ok[toy]:
                reason = "the fit did not converge"
            elif b[toy] > self.largest_b:
                reason = (
                    f"the fitted background {b[toy]:.4g} is above largest_b = {self.largest_b:g}: give a larger one, "
                    f"up to {_LARGEST_B:g}"
                )
            elif error > _COARSE * (1.0 - cl):
                reason = (
                    f"the toys leave a standard error of {error:.2g} of the coverage, too much for 1 - cl = "
                    f"{1.0 - cl:.2g}: give more than n_toys = {self.n_toys}"
                )
            else:
                reason = f"the limit lies above largest_s = {self.largest_s:g}: give a larger one, up to {_LARGEST_S:g}"
            reasons.append(reason)
        return reasons

    def calibrate(self, known: EventModel, cl: float) -> Calibration:
        """Return the limits at all fitted signals and backgrounds, from toys of `known`.

        Parameters
        ----------
        known : EventModel
            Densities of signal and background.
        cl : float
            Confidence level.
        """
        # limits and backgrounds near the largest are interpolated from nodes beyond
        top = 1.1 * self.largest_s + 2.0
        b = np.square(STEP * np.arange(math.ceil(math.sqrt(self.largest_b) / STEP) + 3.0))
        most_n, most_m = (int(stats.poisson.isf(_BEYOND, mean)) for mean in (top, b[-1]))
        edge, is_atom = nodes(self.largest_s, self._atoms(known))
        weights = poisson_weights(b, most_m)
        h = np.empty((most_n + 1, len(b), len(edge)), np.float32)
        variance = np.empty_like(h)
        shares = np.empty((most_m + 1, len(edge)))
        scatters = np.empty_like(shares)
        for n in range(most_n + 1):
            rng = self._rng(0, n)
            for m in range(most_m + 1):
                s = self._fitted(known, n, m, self._size(n, m), rng)
                fill_shares(s, edge, n + m, shares[m], scatters[m])
            fill_mixed(weights, shares, h[n])
            fill_mixed(weights**2, scatters, variance[n])
        crossings = [
            last_crossings(np.ascontiguousarray(h[:, i].T), np.ascontiguousarray(variance[:, i].T), top, cl)
            for i in range(len(b))
        ]
        signal, error, coverage_error = (np.array(each) for each in zip(*crossings, strict=True))
        arrays = {"edge": edge, "is_atom": is_atom, "signal": signal, "error": error}
        return Calibration(arrays, float(coverage_error.max()))

    def _atoms(self, known: EventModel) -> FloatArray:
        """Return fitted signals that some number of events has with a positive probability, ascending."""
        rng = self._rng(1)
        pairs = [(n, m) for n in range(_FEW + 1) for m in range(_FEW + 1 - n)]
        found = [repeated(self._fitted(known, n, m, _PILOT, rng), _ATOM) for n, m in pairs]
        return np.sort(np.concatenate(found))

    def _fitted(self, known: EventModel, n: int, m: int, size: int, rng: np.random.Generator) -> FloatArray:
        """Return the fitted signals of toys of n signal and m background events; 0 where a fit fails.

        That makes a large fitted signal, by which a hypothesis is excluded, no more probable.
        """
        ratio = np.empty((size, n + m))
        ratio[:, :n] = known.signal_ratios(size * n, rng).reshape(size, n)
        ratio[:, n:] = known.background_ratios(size * m, rng).reshape(size, m)
        s, _, ok = fit_events(np.arange(size + 1) * (n + m), ratio.ravel())
        return np.where(ok, s, 0.0)

    def _size(self, n: int, m: int) -> int:
        return max(math.ceil(self.n_toys / math.sqrt((1.0 + n) * (1.0 + m))), _FEWEST_OF_PAIR)

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
