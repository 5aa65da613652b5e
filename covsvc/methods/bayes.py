"""Bayesian upper limits of a Poisson count with known background, priors 1/(s+b)^m."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from covsvc.contracts import Counts, Limits, Status, one_sided
from covsvc.kernels.poisson import truncated_upper


@dataclass(frozen=True)
class BayesFlat:
    """Return the signal below which the posterior holds cl of its probability; the prior is flat in s >= 0.

    Gamma(n+1, s+b) / Gamma(n+1, b) = 1 - cl.

    Notes
    -----
    Covers at least: the limit equals the exact CLs.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 5-9 with m = 0.
    """

    reads: ClassVar = (Counts,)
    sided: ClassVar = "upper"
    promises: ClassVar = "at_least"

    def limits(self, observed: Counts, cl: float) -> Limits:
        """Return the limits of each count, expected signal events."""
        return one_sided(truncated_upper(observed.n + 1.0, observed.b, cl))


@dataclass(frozen=True)
class BayesJeffreys:
    """Return the signal below which the posterior holds cl of its probability; the prior is 1/(s+b)^m, m = 1/2.

    Gamma(n-m+1, s+b) / Gamma(n-m+1, b) = 1 - cl.

    Notes
    -----
    Does not cover everywhere.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 5-9.
    """

    prior_exponent: float = 0.5
    """m, 0 <= m <= 1."""

    reads: ClassVar = (Counts,)
    sided: ClassVar = "upper"
    promises: ClassVar = "nothing"

    def __post_init__(self) -> None:
        if not 0.0 <= self.prior_exponent <= 1.0:
            raise ValueError(f"prior_exponent = {self.prior_exponent:g}: must lie in [0, 1]")

    def limits(self, observed: Counts, cl: float) -> Limits:
        """Return the limits of each count, expected signal events; failed at n = b = 0 with m = 1."""
        return one_sided(truncated_upper(observed.n + (1.0 - self.prior_exponent), observed.b, cl))

    def explain(self, observed: Counts, cl: float) -> list[str]:
        """Return why each observation has no limit, in words, empty where it has one."""
        failed = (self.limits(observed, cl).status == Status.FAILED).tolist()
        reason = "n = 0 over b = 0: the prior 1/s leaves no posterior that can be normalised"
        return [reason if each else "" for each in failed]


@dataclass(frozen=True)
class BayesReciprocal(BayesJeffreys):
    """Return the signal below which the posterior holds cl of its probability; the prior is 1/(s+b)^m, m = 1.

    Gamma(n-m+1, s+b) / Gamma(n-m+1, b) = 1 - cl; for n = 0, E1(s+b) / E1(b) = 1 - cl.

    Notes
    -----
    Does not cover everywhere; at b = 0 hardly anywhere, and for n = 0 there is no posterior: failed.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 5-9.
    """

    prior_exponent: float = 1.0
    """m, 0 <= m <= 1."""
