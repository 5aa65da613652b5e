"""Classical upper limits that rest on the significance of a signal instead of its count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from covsvc.contracts import FloatArray, IntArray, Limits, OnOff, Sideband, Status, one_sided
from covsvc.kernels.poisson import mean_upper
from covsvc.kernels.significance import MOST_STEPS, significance_upper


@dataclass(frozen=True)
class SignificanceSideband:
    """Return the signal at which so small a significance has probability 1 - cl; background from the same data.

    The significance is that of n events over zeta N, N all events of the whole region; the number outside fluctuates
    about the observed one. From counts on and off source zeta = 1/(1+tau) and b = n_off/tau.

    Notes
    -----
    Does not cover everywhere: the observed background stands in for the true one. Empty where s = 0 would be excluded.
    With no event in the signal region, or none outside of it, the limit is the classical one.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 34-39.
    """

    reads: ClassVar = (Sideband, OnOff)
    sided: ClassVar = "upper"
    promises: ClassVar = "nothing"

    def limits(self, observed: Sideband | OnOff, cl: float) -> Limits:
        """Return the limits of each count, expected signal events."""
        if isinstance(observed, OnOff):
            b = observed.n_off.astype(np.float64) / observed.tau
            return _limits(observed.n_on, observed.n_off, b, 1.0 / (1.0 + observed.tau), True, cl)
        b = observed.zeta_sb * observed.n_sb.astype(np.float64)
        return _limits(observed.n, observed.n_out, b, observed.zeta, True, cl)

    def explain(self, observed: Sideband | OnOff, cl: float) -> list[str]:
        """Say why each observation has no limit; empty where it has one."""
        return [_reason(status, cl) for status in self.limits(observed, cl).status.tolist()]


@dataclass(frozen=True)
class SignificanceIndependent:
    """Return the signal at which so small a significance has probability 1 - cl; background from independent data.

    The significance is that of n_on events over n_off/tau; n_off fluctuates about the observed number.

    Notes
    -----
    Does not cover everywhere: the observed background stands in for the true one. Empty where s = 0 would be excluded;
    unbounded with events on source and none in the independent sample.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 28 and 40-44.
    """

    reads: ClassVar = (OnOff,)
    sided: ClassVar = "upper"
    promises: ClassVar = "nothing"

    def limits(self, observed: OnOff, cl: float) -> Limits:
        """Return the limits of each count, expected signal events."""
        b = observed.n_off.astype(np.float64) / observed.tau
        return _limits(observed.n_on, observed.n_off, b, 1.0 / observed.tau, False, cl)

    def explain(self, observed: OnOff, cl: float) -> list[str]:
        """Say why each observation has no limit; empty where it has one."""
        return [_reason(status, cl) for status in self.limits(observed, cl).status.tolist()]


def _limits(n: IntArray, k: IntArray, b: FloatArray, zeta: float, whole: bool, cl: float) -> Limits:
    alpha = 1.0 - cl
    return one_sided(significance_upper(n, k, b, zeta, whole, alpha, mean_upper(n, alpha)))


def _reason(status: int, cl: float) -> str:
    return {
        Status.OK: "",
        Status.EMPTY: f"even without signal the background gives a larger significance with probability above {cl:g}: "
        "so few events leave no signal s >= 0",
        Status.UNBOUNDED: "no event in the independent sample: its expectation is taken as 0, the significance of any "
        "event is infinite, and however large the signal, it is never larger than that observed",
        Status.FAILED: f"more than {MOST_STEPS:,} counts in the signal region matter: too few events tell of too large "
        "a background; use a larger region for the background",
    }[Status(status)]
