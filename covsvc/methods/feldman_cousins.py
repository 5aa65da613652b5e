"""Unified interval of Feldman and Cousins for a Poisson count with known background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from covsvc.contracts import Counts, Limits, two_sided
from covsvc.kernels.belts import feldman_cousins, monotone_upper


@dataclass(frozen=True)
class FeldmanCousins:
    """Return the signals whose acceptance region, filled in the order of likelihood ratios, holds the count.

    Notes
    -----
    Covers at least. The confidence set can be disconnected: the outermost points are given. It can be empty at low
    cl. At s = 0 all counts up to b tie; they are ordered as for s -> 0+.

    References
    ----------
    .. [1] G. J. Feldman and R. D. Cousins, Phys. Rev. D 57 (1998) 3873, Section IV.
    """

    monotone_in_b: bool = False
    """Lengthen the upper end so that it never rises with b, as the published tables do."""

    reads: ClassVar = (Counts,)
    sided: ClassVar = "two"
    promises: ClassVar = "at_least"

    def limits(self, observed: Counts, cl: float) -> Limits:
        """Return the limits of each count, expected signal events."""
        b = observed.b_of_each
        lower, upper = feldman_cousins(observed.n, b, 1.0 - cl)
        if self.monotone_in_b:
            upper = monotone_upper(observed.n, b, 1.0 - cl, upper)
        return two_sided(lower, upper)
