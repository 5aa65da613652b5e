"""One count of events over a known background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from covsvc.contracts import Counts, FloatArray
from covsvc.errors import ObservationError
from covsvc.kernels.poisson import pmf_run, support

_TAIL = 1e-15
"""Probability that `outcomes` leaves out beyond each of its two ends."""


@dataclass(frozen=True)
class Counting:
    """Draw n ~ Pois(s_true + b) and tell the analyst n and the background."""

    assumed_over_true: float = 1.0
    """The background that the analyst believes in, over the true one."""

    gives: ClassVar = (Counts,)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.assumed_over_true) and self.assumed_over_true >= 0):
            raise ValueError(f"assumed_over_true = {self.assumed_over_true}: must be a finite number >= 0")

    def toys(self, s_true: float, b: float, size: int, rng: np.random.Generator) -> tuple[Counts]:
        """Draw `size` counts."""
        return (Counts(rng.poisson(s_true + b, size), self.assumed_over_true * b),)

    def outcomes(self, s_true: float, b: float) -> tuple[tuple[Counts], FloatArray]:
        """Return the counts that matter, in ascending order without a hole, and their probabilities."""
        lo, hi = support(s_true + b, _TAIL)
        return (Counts(np.arange(lo, hi + 1), self.assumed_over_true * b),), pmf_run(lo, hi, s_true + b)

    def observe(self, data: dict[str, Any]) -> tuple[Counts]:
        """Return the observed count; `data` holds n, observed events, and b, the expected background events."""
        if set(data) != {"n", "b"}:
            raise ObservationError(
                f"an observation of counting is given by n and b, not by {', '.join(data) or 'nothing'}"
            )
        return (Counts(data["n"], data["b"]),)
