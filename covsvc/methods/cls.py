"""Exact CLs upper limit of a Poisson count with known background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from covsvc.contracts import Counts, Limits, one_sided
from covsvc.kernels.poisson import truncated_upper


@dataclass(frozen=True)
class CLs:
    """Return the signal at which CLs = CLs+b / CLb = 1 - cl, with the exact distribution of the count.

    CLs+b = P(N <= n; s+b) and CLb = P(N <= n; b).

    Notes
    -----
    Covers at least: CLs is never smaller than CLs+b, whose limit is the classical one. Never empty.

    References
    ----------
    .. [1] A. L. Read, CERN-OPEN-2000-205 (2000).
    """

    reads: ClassVar = (Counts,)
    sided: ClassVar = "upper"
    promises: ClassVar = "at_least"

    def limits(self, observed: Counts, cl: float) -> Limits:
        """Return the limits of each count, expected signal events."""
        return one_sided(truncated_upper(observed.n + 1.0, observed.b, cl))
