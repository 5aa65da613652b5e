"""Profile-likelihood upper limit of a Poisson count with known background, or of counts on and off source."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special

from covsvc.contracts import Counts, Limits, OnOff, one_sided, too_few_events
from covsvc.kernels.profile import likelihood_upper


@dataclass(frozen=True)
class ProfileLikelihood:
    """Return the signal at which twice the logarithm of the likelihood ratio has fallen by z^2, z = Phi^-1(cl).

    Notes
    -----
    Covers asymptotically: at b = 0 the limit of no events is z^2 / 2, 0.82 at 90 %, and covers 0.56 just above. z is
    the one-sided quantile, z^2 = 1.64 at 90 %; 2.71 gives the upper end of the two-sided 90 % interval. The fall is
    from the largest likelihood; off counts have their background profiled.

    References
    ----------
    .. [1] S. S. Wilks, Ann. Math. Statist. 9 (1938) 60.
    .. [2] W. A. Rolke, A. M. Lopez and J. Conrad, Nucl. Instrum. Meth. A 551 (2005) 493.
    """

    bounded: bool = True
    """Take the largest likelihood of s >= 0; else of any s, and where it is at an s so far below 0 that the
    likelihood at s = 0 has fallen by z^2 the interval is empty."""

    reads: ClassVar = (Counts, OnOff)
    sided: ClassVar = "upper"
    promises: ClassVar = "asymptotic"

    def limits(self, observed: Counts | OnOff, cl: float) -> Limits:
        """Return the limits of each observation, expected signal events."""
        z = max(-float(special.ndtri(1.0 - cl)), 0.0)
        if isinstance(observed, OnOff):
            n, off, tau = observed.n_on, observed.n_off.astype(np.float64), observed.tau
        else:
            n, off, tau = observed.n, observed.b_of_each, math.inf
        return one_sided(likelihood_upper(n.astype(np.float64), off, tau, z, self.bounded))

    def explain(self, observed: Counts | OnOff, cl: float) -> list[str]:
        """Return why each observation has no limit, in words, empty where it has one."""
        return too_few_events(observed, self.limits(observed, cl))
