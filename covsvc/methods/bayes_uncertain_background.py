"""Bayesian upper limit of a Poisson count with uncertain background, prior flat in the signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from covsvc.contracts import FloatArray, Limits, OnOff, UncertainCounts, one_sided
from covsvc.kernels.mixtures import flat_upper, narrow
from covsvc.kernels.poisson import truncated_upper

Prior = Literal["flat", "jeffreys"]


@dataclass(frozen=True)
class BayesUncertainBackground:
    """Return the signal below which the posterior holds cl of its probability, averaged over the background.

    The prior is flat in s >= 0. What is known of b is its distribution f(b): that of the observation
    (`UncertainCounts`; no error: the limit of bayes_flat), or the posterior of b given the off count alone (`OnOff`).

    Notes
    -----
    Does not cover everywhere: neither with b fixed and its estimate fluctuating, nor with b drawn from f(b), is more
    than an average promised. With no event the limit is -ln(1 - cl), whatever is known of b.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 10.
    """

    prior: Prior = "flat"
    """Prior of b before the off count: 1, or ``"jeffreys"``, b^-1/2; of no effect where f(b) itself is observed."""

    reads: ClassVar = (OnOff, UncertainCounts)
    sided: ClassVar = "upper"
    promises: ClassVar = "nothing"
    refuses: ClassVar = {
        "prior_exponent": "the priors 1/(s+b)^m are not defined for an uncertain background [Narsky, Sec. 2.1]; "
        "only m = 0, flat in s, is"
    }

    def __post_init__(self) -> None:
        if self.prior not in get_args(Prior):
            raise ValueError(f"prior = {self.prior!r}: must be {' or '.join(map(repr, get_args(Prior)))}")

    def limits(self, observed: OnOff | UncertainCounts, cl: float) -> Limits:
        """Return the limits of each count, expected signal events."""
        if isinstance(observed, OnOff):
            shape = observed.n_off.astype(np.float64) + (1.0 if self.prior == "flat" else 0.5)
            width = np.full(len(shape), 1.0 / observed.tau)
            return one_sided(flat_upper(observed.n_on, shape / observed.tau, width, False, cl))
        return one_sided(_upper_of_known_distribution(observed, cl))


def _upper_of_known_distribution(observed: UncertainCounts, cl: float) -> FloatArray:
    n = observed.n
    b = np.broadcast_to(np.asarray(observed.b, np.float64), n.shape)
    error = np.broadcast_to(np.asarray(observed.b_error, np.float64), n.shape)
    upper = truncated_upper(n + 1.0, b, cl)
    wide = ~narrow(b, error)
    gaussian = observed.shape == "truncated_gaussian"
    with np.errstate(over="ignore"):
        width = error[wide] if gaussian else error[wide] / b[wide] * error[wide]
    upper[wide] = flat_upper(n[wide], b[wide], width, gaussian, cl)
    return upper
