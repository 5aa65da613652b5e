"""Classical upper limit of a Poisson count with known background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from covsvc.contracts import Counts, Limits, one_sided
from covsvc.kernels.poisson import mean_upper


@dataclass(frozen=True)
class Classical:
    """Return the signal at which so small a count has probability 1 - cl: F(n; s+b) = 1 - cl.

    Notes
    -----
    Covers at least: the count is discrete. Where no s >= 0 is left the interval is empty.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 12.
    """

    reads: ClassVar = (Counts,)
    sided: ClassVar = "upper"
    promises: ClassVar = "at_least"

    def limits(self, observed: Counts, cl: float) -> Limits:
        """Return the limits of each count, expected signal events."""
        return one_sided(mean_upper(observed.n, 1.0 - cl) - observed.b)
