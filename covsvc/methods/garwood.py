"""Central interval of a Poisson count with known background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from covsvc.contracts import Counts, Limits, two_sided
from covsvc.kernels.poisson import mean_lower, mean_upper


@dataclass(frozen=True)
class Garwood:
    """Return the signals at which so small, and so large, a count has probability (1 - cl) / 2 each.

    Notes
    -----
    Covers at least. The background is subtracted from both ends and the lower one clipped at 0; where the upper one
    is below 0 the interval is empty. Narsky's Eq. 11 fixes the sum of the two probabilities only; equal parts are
    Garwood's choice.

    References
    ----------
    .. [1] F. Garwood, Biometrika 28 (1936) 437.
    .. [2] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 11.
    """

    reads: ClassVar = (Counts,)
    sided: ClassVar = "two"
    promises: ClassVar = "at_least"

    def limits(self, observed: Counts, cl: float) -> Limits:
        """Return the limits of each count, expected signal events."""
        tail = 0.5 * (1.0 - cl)
        return two_sided(mean_lower(observed.n, tail) - observed.b, mean_upper(observed.n, tail) - observed.b)
