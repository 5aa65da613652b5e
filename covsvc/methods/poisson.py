"""Upper limit of a Poisson count, all events taken as signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from covsvc.contracts import Counts, Limits, one_sided
from covsvc.kernels.poisson import mean_upper


@dataclass(frozen=True)
class Poisson:
    """Return the signal at which so small a count has probability 1 - cl, background ignored: F(n; s) = 1 - cl.

    Notes
    -----
    Covers at least, whatever the background is; the price is a limit which grows with it.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Eq. 3.
    """

    reads: ClassVar = (Counts,)
    sided: ClassVar = "upper"
    promises: ClassVar = "at_least"

    def limits(self, observed: Counts, cl: float) -> Limits:
        """Return the limits of each count, expected signal events."""
        # toys of events come by the ten thousand, with few distinct counts
        n, index = np.unique(observed.n, return_inverse=True)
        return one_sided(mean_upper(n, 1.0 - cl)[index])
