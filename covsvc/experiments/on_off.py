"""Counts on and off source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from covsvc.contracts import (
    LARGEST_SCALE,
    MOST_EVENTS,
    SMALLEST_SCALE,
    Counts,
    FloatArray,
    IntArray,
    OnOff,
    Run,
    Sideband,
    UncertainCounts,
    outcomes_of,
)
from covsvc.errors import ObservationError
from covsvc.kernels.poisson import poisson_run


@dataclass(frozen=True)
class OnOffCounting:
    """Draw n_on ~ Pois(s_true + b) and n_off ~ Pois(tau b) and tell the analyst both counts and tau.

    Notes
    -----
    An analyst who reads `Counts` takes b = n_off/tau for the true background. One who reads `UncertainCounts` knows,
    with the shape gamma, the distribution of b that n_off leaves under a flat prior: mean (n_off + 1)/tau, standard
    deviation sqrt(n_off + 1)/tau; with the shape truncated_gaussian n_off/tau +- sqrt(n_off)/tau, and 1/tau for
    n_off = 0. The off region is the sideband and all of the outside of `Sideband`.
    """

    tau: float = 1.0
    """Expected background off source over that on source."""
    shape: Literal["gamma", "truncated_gaussian"] = "gamma"
    """How the background is distributed, as `UncertainCounts` tells it."""

    gives: ClassVar[tuple[type, ...]] = (Sideband, OnOff, UncertainCounts, Counts)
    plugs_in: ClassVar[tuple[type, ...]] = (Counts,)

    def __post_init__(self) -> None:
        if not SMALLEST_SCALE <= self.tau <= LARGEST_SCALE:
            raise ValueError(
                f"tau = {self.tau:g}: the expected background off source over that on source lies in "
                f"[{SMALLEST_SCALE:g}, {LARGEST_SCALE:g}]"
            )

    def toys(self, s_true: float, b: float, size: int, rng: np.random.Generator) -> tuple[Any, ...]:
        """Draw `size` pairs of counts."""
        return self.views(self.draw(s_true, b, size, rng), b)

    def draw(self, s_true: float, b: float, size: int, rng: np.random.Generator) -> tuple[IntArray, ...]:
        """Draw n_on and n_off of `size` toys."""
        return rng.poisson(s_true + b, size), rng.poisson(self.tau * b, size)

    def counts(self, s_true: float, b: float) -> tuple[Run, ...]:
        """Return the distributions of n_on and n_off."""
        means = (s_true + b, self.tau * b)
        return tuple(Run(lo, chances, mean) for mean in means for lo, chances in [poisson_run(mean)])

    def outcomes(self, s_true: float, b: float) -> tuple[tuple[Any, ...], FloatArray]:
        """Return all pairs of counts that matter, n_off running fastest, and their probabilities."""
        return outcomes_of(self, s_true, b)

    def views(self, counts: Sequence[IntArray], b: float) -> tuple[Any, ...]:  # noqa: ARG002 - nobody knows b here
        """Return n_on and n_off as the analyst may read them."""
        n_on, n_off = counts
        if self.shape == "gamma":
            mean = np.minimum((n_off + 1) / self.tau, MOST_EVENTS)
            known = UncertainCounts(n_on, mean, np.sqrt(n_off + 1.0) / self.tau)
        else:
            error = np.sqrt(np.maximum(n_off, 1)) / self.tau
            known = UncertainCounts(n_on, n_off / self.tau, error, self.shape)
        return (
            Sideband(n_on, n_off, n_off, 1.0 / (1.0 + self.tau), 1.0 / self.tau),
            OnOff(n_on, n_off, self.tau),
            known,
            Counts(n_on, n_off / self.tau),
        )

    def observe(self, data: dict[str, Any]) -> tuple[Any, ...]:
        """Return the views of real data.

        `data` holds n_on and n_off; or n, n_out, n_sb and zeta, observed events in the signal region, outside of it and
        in the sideband, whose expected background is tau times that of the signal region, and the part zeta of all
        background that is expected in the signal region.
        """
        if set(data) == {"n_on", "n_off"}:
            pair = OnOff(data["n_on"], data["n_off"], self.tau)
            return self.views((pair.n_on, pair.n_off), 0.0)
        if set(data) == {"n", "n_out", "n_sb", "zeta"}:
            sideband = Sideband(data["n"], data["n_out"], data["n_sb"], data["zeta"], 1.0 / self.tau)
            return sideband, *self.views((sideband.n, sideband.n_sb), 0.0)[1:]
        raise ObservationError(
            "an observation of on_off is given by n_on and n_off, or by n, n_out, n_sb and zeta, not by "
            f"{', '.join(data) or 'nothing'}"
        )

    def background(self, data: dict[str, Any], *, no_signal: bool = False) -> float:
        """Return n_off/tau, and (n_on + n_off)/(1 + tau) if there is no signal."""
        n_on, n_off = (float(data[each]) for each in (("n_on", "n_off") if "n_on" in data else ("n", "n_sb")))
        return (n_on + n_off) / (1.0 + self.tau) if no_signal else n_off / self.tau
