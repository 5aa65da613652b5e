"""One count of events that are detected with an efficiency which differs from experiment to experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from covsvc.contracts import Counts
from covsvc.errors import ObservationError


@dataclass(frozen=True)
class FluctuatingEfficiency:
    """Draw n ~ Pois(e s_true + b), the efficiency e from a gamma distribution of mean 1, and tell n and b only.

    Notes
    -----
    The analyst takes e = 1 for true. Without background n has a negative binomial distribution.
    """

    relative_error: float = 0.1
    """Standard deviation of e, above 0 and at most 1."""

    gives: ClassVar[tuple[type, ...]] = (Counts,)

    def __post_init__(self) -> None:
        if not 0.0 < self.relative_error <= 1.0:
            raise ValueError(f"relative_error = {self.relative_error:g}: must lie above 0 and be at most 1")

    def toys(self, s_true: float, b: float, size: int, rng: np.random.Generator) -> tuple[Any, ...]:
        """Draw `size` counts, each with an efficiency of its own."""
        efficiency = rng.gamma(1 / self.relative_error**2, self.relative_error**2, size)
        return (Counts(rng.poisson(efficiency * s_true + b), b),)

    def observe(self, data: dict[str, Any]) -> tuple[Any, ...]:
        """Return the counts of real data, which are given by n and b."""
        if set(data) != {"n", "b"}:
            raise ObservationError(f"an observation is given by n and b, not by {', '.join(data) or 'nothing'}")
        return (Counts(data["n"], data["b"]),)

    def background(self, data: dict[str, Any], *, no_signal: bool = False) -> float:
        """Return b."""
        return float(data["b"])
