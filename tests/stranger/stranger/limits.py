"""Bayesian upper limit of a Poisson count with a prior in the signal alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from covsvc.contracts import Counts, Limits, one_sided
from stranger.mixtures import quantile


@dataclass(frozen=True)
class PowerPrior:
    """Return the signal below which the posterior holds cl of its probability; the prior is s^-m, flat in sqrt(s) for 1/2.

    Notes
    -----
    Does not cover: at b = 0 the limit is half the chi-square quantile with 2n + 1 degrees of freedom, and with 2n + 2
    it would cover. With m = 0 it is the flat prior, which covers at least.
    """

    m: float = 0.5
    """Power of the prior, 0 <= m <= 0.9."""

    reads: ClassVar = (Counts,)
    sided: ClassVar = "upper"
    promises: ClassVar = "nothing"

    def __post_init__(self) -> None:
        if not 0.0 <= self.m <= 0.9:
            raise ValueError(f"m = {self.m:g}: must lie in [0, 0.9]")

    def limits(self, observed: Counts, cl: float) -> Limits:
        """Return the limits of each count, expected signal events."""
        pairs = list(zip(observed.n.tolist(), observed.b_of_each.tolist(), strict=True))
        found = {(n, b): quantile(n, b, self.m, cl) for n, b in set(pairs)}
        return one_sided(np.array([found[pair] for pair in pairs], np.float64))
