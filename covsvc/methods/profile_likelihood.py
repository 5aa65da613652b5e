"""Profile-likelihood upper limit of a Poisson count, counts on and off source or in bins, or events with densities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special

from covsvc.contracts import (
    Binned,
    Counts,
    FloatArray,
    IntArray,
    Limits,
    ModelledEvents,
    OnOff,
    one_sided,
    too_few_events,
)
from covsvc.kernels.asymptotic_binned import BOUNDED, UNBOUNDED, explain_upper, find_upper
from covsvc.kernels.profile import likelihood_upper
from covsvc.kernels.unbinned import DIVERGENT, IMPOSSIBLE, KINDS, NOT_CONVERGED, UNKNOWN, upper_limits

NO_LIMIT = {
    IMPOSSIBLE: "an event has no signal density where no background is expected, so that no signal explains it",
    DIVERGENT: "the gamma distribution of the background is wider than its mean, so that its density, and the "
    "likelihood, is infinite at b = 0",
    NOT_CONVERGED: "the fit has not converged",
}
"""Why events have no limit, by the outcome of the fit."""


@dataclass(frozen=True)
class ProfileLikelihood:
    """Return the signal at which twice the logarithm of the likelihood ratio has fallen by z^2, z = Phi^-1(cl).

    Notes
    -----
    Covers asymptotically: at b = 0 the limit of no events is z^2 / 2, 0.82 at 90 %, and covers 0.56 just above. z is
    the one-sided quantile, z^2 = 1.64 at 90 %; 2.71 gives the upper end of the two-sided 90 % interval. The fall is
    from the largest likelihood; off counts have their background profiled, and counts in bins all nuisance parameters.
    Of bins, the signal is the strength of the templates times the events they expect; a strength below 0 goes as far as
    all yields are positive. They fail where a fit does not converge, and are unbounded where nothing is excluded up to
    1e9 events.

    Of events with densities the likelihood is exp(-s - b) prod(s r_i + b) f(b), profiled in b, f(b) being the density
    of an estimated background. It is failed where f(b) is infinite at b = 0, or where b is known to be 0 at an event
    without signal density. At s < 0 a sum of densities is negative somewhere, and without an event there the
    likelihood may rise without end: only s >= 0 is fitted, and all is failed if `bounded` is not set.

    References
    ----------
    .. [1] S. S. Wilks, Ann. Math. Statist. 9 (1938) 60.
    .. [2] W. A. Rolke, A. M. Lopez and J. Conrad, Nucl. Instrum. Meth. A 551 (2005) 493.
    .. [3] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 15 and 19.
    """

    bounded: bool = True
    """Take the largest likelihood of s >= 0; else of any s, and where it is at an s so far below 0 that the
    likelihood at s = 0 has fallen by z^2 the interval is empty."""

    reads: ClassVar = (Counts, OnOff, Binned, ModelledEvents)
    sided: ClassVar = "upper"
    promises: ClassVar = "asymptotic"

    def limits(self, observed: Counts | OnOff | Binned | ModelledEvents, cl: float) -> Limits:
        """Return the limits of each observation, expected signal events."""
        z = _quantile(cl)
        if isinstance(observed, Binned):
            return one_sided(self._of_bins(observed, cl)[0])
        if isinstance(observed, ModelledEvents):
            return one_sided(self._of_events(observed, z)[0])
        if isinstance(observed, OnOff):
            n, off, tau = observed.n_on, observed.n_off.astype(np.float64), observed.tau
        else:
            n, off, tau = observed.n, observed.b_of_each, math.inf
        return one_sided(likelihood_upper(n.astype(np.float64), off, tau, z, self.bounded))

    def explain(self, observed: Counts | OnOff | Binned | ModelledEvents, cl: float) -> list[str]:
        """Return why each observation has no limit, in words, empty where it has one."""
        if isinstance(observed, Binned):
            return explain_upper(*self._of_bins(observed, cl))
        if not isinstance(observed, ModelledEvents):
            return too_few_events(observed, self.limits(observed, cl))
        if not self.bounded:
            return ["densities cannot be fitted with a signal below 0: set bounded"] * len(observed)
        return [NO_LIMIT.get(outcome, "") for outcome in self._of_events(observed, _quantile(cl))[1].tolist()]

    def _of_bins(self, observed: Binned, cl: float) -> tuple[FloatArray, IntArray]:
        kind = BOUNDED if self.bounded else UNBOUNDED
        return find_upper(observed.model, observed.counts, observed.auxiliary, kind, _quantile(cl), cl)

    def _of_events(self, observed: ModelledEvents, z: float) -> tuple[FloatArray, IntArray]:
        if not self.bounded:
            return np.full(len(observed), np.nan), np.full(len(observed), NOT_CONVERGED)
        known = 0.0 if observed.b is None else observed.b
        found: tuple[FloatArray, IntArray] = upper_limits(
            observed.starts,
            observed.density_ratio,
            UNKNOWN if observed.b is None else KINDS[observed.shape],
            np.full(len(observed), known, np.float64),
            np.full(len(observed), observed.b_error, np.float64),
            z,
        )
        return found


def _quantile(cl: float) -> float:
    """Return the one-sided quantile of the normal distribution."""
    return max(-float(special.ndtri(1.0 - cl)), 0.0)
