"""Zech's upper limit: the background cannot exceed what was observed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from covsvc.contracts import Counts, Limits, one_sided
from covsvc.kernels.poisson import truncated_upper


@dataclass(frozen=True)
class Zech:
    """Return the signal at which N <= n has probability 1 - cl, given that the background alone is <= n.

    P(N <= n; s+b | N_b <= n; b) = F(n; s+b) / F(n; b) = 1 - cl.

    Notes
    -----
    Covers at least. Equal to `cls` and to `bayes_flat` for a count with known background, by another derivation.

    References
    ----------
    .. [1] G. Zech, Nucl. Instrum. Meth. A 277 (1989) 608.
    """

    reads: ClassVar = (Counts,)
    sided: ClassVar = "upper"
    promises: ClassVar = "at_least"

    def limits(self, observed: Counts, cl: float) -> Limits:
        """Return the limits of each count, expected signal events."""
        return one_sided(truncated_upper(observed.n + 1.0, observed.b, cl))
