"""Shortest acceptance runs of Crow and Gardner for a Poisson count with known background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from covsvc.contracts import Counts, Limits, two_sided
from covsvc.kernels.belts import crow_gardner


@dataclass(frozen=True)
class CrowGardner:
    """Return the signals whose shortest acceptance run holds the count; of equal runs the one with the largest start.

    Notes
    -----
    Covers at least. The background is subtracted from the interval of s + b, the lower end clipped at 0; where the
    upper one is below 0 the interval is empty.

    References
    ----------
    .. [1] E. L. Crow and R. S. Gardner, Biometrika 46 (1959) 441.
    """

    reads: ClassVar = (Counts,)
    sided: ClassVar = "two"
    promises: ClassVar = "at_least"

    def limits(self, observed: Counts, cl: float) -> Limits:
        """Return the limits of each count, expected signal events."""
        lower, upper = crow_gardner(observed.n, 1.0 - cl)
        return two_sided(lower - observed.b, upper - observed.b)
