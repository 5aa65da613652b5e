"""Upper limits from the asymptotic distributions of the one-sided likelihood ratios q_mu and q_mu_tilde."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy import special

from covsvc.contracts import Binned, Counts, FloatArray, IntArray, Limits, OnOff, one_sided, too_few_events
from covsvc.kernels.asymptotic_binned import ASIMOV, CLS, TILDE, TILDE_CLS, UNBOUNDED, explain_upper, find_upper
from covsvc.kernels.profile import asimov_upper, asymptotic_upper


@dataclass(frozen=True)
class QMu:
    """Return the signal whose CLs, or p-value, by the asymptotic distribution of q_mu is 1 - cl.

    q_mu is the likelihood ratio of s and of the best s of any sign, 0 where that is above s. The p-value of s + b is
    1 - Phi(sqrt q_mu), that of b is 1 - Phi(sqrt q_mu - sqrt q_A), and CLs their ratio; q_A is q_mu of the Asimov set
    without signal.

    Notes
    -----
    Covers asymptotically. With procedure ``"clsb"`` it is the unbounded profile-likelihood limit, and empty where
    s = 0 is excluded. The Asimov set of off counts has the background that is fitted to the data at s = 0: on source
    b = (n_on + n_off) / (1 + tau), off source tau b.

    Of counts in bins, the signal is the strength of the templates times the events they expect, all nuisance parameters
    are profiled, and the Asimov set has those of the fit to the data at s = 0, its measurements of them included. The
    best strength may be negative as far as all yields are positive. Fails where a fit does not converge; unbounded
    where nothing is excluded up to 1e9 events, as where the nuisance parameters can undo any signal.

    References
    ----------
    .. [1] G. Cowan, K. Cranmer, E. Gross and O. Vitells, Eur. Phys. J. C 71 (2011) 1554, Eq. 14, Section 3.6.
    .. [2] A. L. Read, J. Phys. G 28 (2002) 2693, for CLs.
    """

    procedure: Literal["cls", "clsb"] = "cls"
    """``"cls"``: the p-value of s + b over that of b; ``"clsb"``: the p-value of s + b."""

    reads: ClassVar = (Counts, OnOff, Binned)
    sided: ClassVar = "upper"
    promises: ClassVar = "asymptotic"
    _tilde: ClassVar = False

    def __post_init__(self) -> None:
        if self.procedure not in ("cls", "clsb"):
            raise ValueError(f"procedure = {self.procedure!r}: must be cls or clsb")

    def limits(self, observed: Counts | OnOff | Binned, cl: float) -> Limits:
        """Return the limits of each observation, expected signal events."""
        if isinstance(observed, Binned):
            return one_sided(self._binned(observed, cl)[0])
        alpha = 1.0 - cl
        n, off, tau = _numbers(observed)
        return one_sided(asymptotic_upper(n, off, tau, alpha, _quantile(alpha), self._tilde, self.procedure == "cls"))

    def asimov(self, observed: Counts | OnOff | Binned, cl: float, n_sigma: float) -> FloatArray:
        """Return the limits expected without signal, `n_sigma` standard deviations above their median.

        The limit s has sqrt q_A(s) = n_sigma + Phi^-1(1 - (1-cl) Phi(n_sigma)) for CLs, n_sigma + Phi^-1(cl) without,
        and is 0 where that is negative. Of the observation only the background is used: the known one, or the one
        that is fitted at s = 0. NaN where a fit fails.

        Parameters
        ----------
        observed : Counts, OnOff or Binned
            Observations, shape (toy,).
        cl : float
            Confidence level.
        n_sigma : float
            0 is the median; positive is a weaker limit.

        Returns
        -------
        ndarray of float, shape (toy,)
            Expected signal events.

        References
        ----------
        .. [1] G. Cowan, K. Cranmer, E. Gross and O. Vitells, Eur. Phys. J. C 71 (2011) 1554, Section 4.3.
        """
        if self.procedure == "cls":
            quantile = -float(special.ndtri_exp(math.log(1.0 - cl) + special.log_ndtr(n_sigma)))
        else:
            quantile = _quantile(1.0 - cl)
        z = max(quantile + n_sigma, 0.0)
        if isinstance(observed, Binned):
            return find_upper(observed.model, observed.counts, observed.auxiliary, ASIMOV, z, cl)[0]
        expected: FloatArray = asimov_upper(*_numbers(observed), z)
        return expected

    def explain(self, observed: Counts | OnOff | Binned, cl: float) -> list[str]:
        """Return why each observation has no limit, in words, empty where it has one."""
        if isinstance(observed, Binned):
            return explain_upper(*self._binned(observed, cl))
        return too_few_events(observed, self.limits(observed, cl))

    def _binned(self, observed: Binned, cl: float) -> tuple[FloatArray, IntArray]:
        kinds = (TILDE_CLS, TILDE) if self._tilde else (CLS, UNBOUNDED)
        kind = kinds[self.procedure == "clsb"]
        return find_upper(observed.model, observed.counts, observed.auxiliary, kind, _quantile(1.0 - cl), cl)


@dataclass(frozen=True)
class QMuTilde(QMu):
    """Return the signal whose CLs, or p-value, by the asymptotic distribution of q_mu_tilde is 1 - cl.

    q_mu_tilde is the likelihood ratio of s and of the best s >= 0, 0 where that is above s. Where q_mu_tilde exceeds
    q_A, of the Asimov set without signal, which is where the best s of any sign is below 0, the p-values of s + b and
    b are 1 - Phi((q_mu_tilde + q_A) / (2 sqrt q_A)) and 1 - Phi((q_mu_tilde - q_A) / (2 sqrt q_A)); elsewhere they
    are those of q_mu.

    Notes
    -----
    Covers asymptotically. With procedure ``"clsb"`` it is no bounded profile-likelihood limit: for n < b the p-value
    at s = 0+ is 1 - Phi((b - n) / sqrt b), and the interval is empty where no signal has a larger p-value than
    1 - cl. With few off counts and small tau the p-value may rise with s before it falls: the largest s whose
    p-value is 1 - cl is given. CLs always falls. The Asimov set of off counts has the background that is fitted to
    the data at s = 0: on source b = (n_on + n_off) / (1 + tau), off source tau b.

    Counts in bins are treated as `QMu` says, but for the best strength, which is >= 0. With procedure ``"clsb"`` and a
    best strength of 0, the limit is searched downwards by halving the signal, to 1/4000 of where it begins.

    References
    ----------
    .. [1] G. Cowan, K. Cranmer, E. Gross and O. Vitells, Eur. Phys. J. C 71 (2011) 1554, Eq. 16, Section 3.7.
    .. [2] A. L. Read, J. Phys. G 28 (2002) 2693, for CLs.
    """

    _tilde: ClassVar = True


def _numbers(observed: Counts | OnOff) -> tuple[FloatArray, FloatArray, float]:
    """Return the counts, and those off source with tau, or the known background with +inf."""
    if isinstance(observed, OnOff):
        return observed.n_on.astype(np.float64), observed.n_off.astype(np.float64), observed.tau
    return observed.n.astype(np.float64), observed.b_of_each, math.inf


def _quantile(tail: float) -> float:
    return max(-float(special.ndtri(tail)), 0.0)
