"""One count of events over a background that is known, or known with an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from scipy import special

from covsvc.contracts import MOST_EVENTS, Counts, FloatArray, IntArray, Run, UncertainCounts, outcomes_of
from covsvc.errors import ObservationError
from covsvc.kernels.mixtures import mixed_pmf_plus_signal, mixed_support
from covsvc.kernels.poisson import TAIL, poisson_run

SMALLEST_ERROR = 1e-3
"""Smallest error of a background over the background that is told from none."""


@dataclass(frozen=True)
class Counting:
    """Draw n ~ Pois(s_true + b) and tell the analyst n and what is known of the background.

    Notes
    -----
    With a `relative_b_error` r there are two ensembles. The estimate fluctuates: b stays, and each analyst is told
    another estimate of it; with the shape gamma it rests on an off count of expectation 1/r^2, with the shape
    truncated_gaussian it is drawn from a Gaussian at b of width r b, above 0. Or b fluctuates: every analyst is told
    the same estimate, and each experiment has a b of its own, drawn from what is known of it.
    """

    assumed_over_true: float = 1.0
    """The background that the analyst believes in, over the true one."""
    relative_b_error: float = 0.0
    """r, the error of the estimated background over the background, 0.001 <= r <= 1; 0: it is known."""
    shape: Literal["gamma", "truncated_gaussian"] = "gamma"
    """How the background is distributed, as `UncertainCounts` tells it."""
    fluctuates: Literal["estimate", "b"] = "estimate"
    """What differs from toy to toy: the estimate of a fixed b, or b at a fixed estimate."""

    gives: ClassVar[tuple[type, ...]] = (UncertainCounts, Counts)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.assumed_over_true) and self.assumed_over_true >= 0):
            raise ValueError(f"assumed_over_true = {self.assumed_over_true}: must be a finite number >= 0")
        if self.relative_b_error and not SMALLEST_ERROR <= self.relative_b_error <= 1:
            raise ValueError(
                f"relative_b_error = {self.relative_b_error}: must be 0, the background is known, or lie in "
                f"[{SMALLEST_ERROR}, 1]"
            )
        if not self.relative_b_error and self.fluctuates != "estimate":
            raise ValueError(f"fluctuates = {self.fluctuates}: needs a relative_b_error above 0")

    @property
    def plugs_in(self) -> tuple[type, ...]:
        """Where the background is known with an error, plain counts take the estimate for the truth."""
        return (Counts,) if self.relative_b_error else ()

    @property
    def ensemble(self) -> str:
        """What differs from toy to toy, in words; empty where the background is known."""
        if not self.relative_b_error:
            return ""
        return (
            "b stays, its estimate fluctuates" if self.fluctuates == "estimate" else "b fluctuates, its estimate stays"
        )

    def toys(self, s_true: float, b: float, size: int, rng: np.random.Generator) -> tuple[Any, ...]:
        """Draw `size` counts, and the estimates of their backgrounds."""
        if self._measured_on_a_scale:
            n = rng.poisson(s_true + b, size)
            estimate = _above_zero(b, self.relative_b_error, size, rng)
            return self._told(n, estimate, self.relative_b_error * b, estimate)
        return self.views(self.draw(s_true, b, size, rng), b)

    def draw(self, s_true: float, b: float, size: int, rng: np.random.Generator) -> tuple[IntArray, ...]:
        """Draw n, and the off count on which the estimate rests, of `size` toys."""
        if self.relative_b_error and self.fluctuates == "b":
            highest = mixed_support(s_true, b, self.relative_b_error * b, self.shape, TAIL)[1]
            if highest > MOST_EVENTS:
                raise ObservationError(
                    f"b = {b:g} with relative_b_error = {self.relative_b_error:g}: up to {highest:,} events may come, "
                    f"more than {MOST_EVENTS:,}; take a smaller b"
                )
            return (rng.poisson(s_true + self._backgrounds(b, size, rng), size),)
        n = rng.poisson(s_true + b, size)
        return (n, rng.poisson(self._off, size)) if self.relative_b_error else (n,)

    def counts(self, s_true: float, b: float) -> tuple[Run, ...] | None:
        """Return the distributions of n and of the off count on which the estimate rests, if there is one."""
        if self._measured_on_a_scale:
            return None
        if self.relative_b_error and self.fluctuates == "b":
            told = b, self.relative_b_error * b, self.shape
            lo, hi = mixed_support(s_true, *told, TAIL)
            return (Run(lo, mixed_pmf_plus_signal(lo, hi, s_true, *told)),)
        means = (s_true + b, self._off) if self.relative_b_error else (s_true + b,)
        return tuple(Run(lo, chances, mean) for mean in means for lo, chances in [poisson_run(mean)])

    def outcomes(self, s_true: float, b: float) -> tuple[tuple[Any, ...], FloatArray]:
        """Return the counts that matter, in ascending order without a hole, and their probabilities."""
        return outcomes_of(self, s_true, b)

    def views(self, counts: Sequence[IntArray], b: float) -> tuple[Any, ...]:
        """Return n with the background and its error as the analyst is told them."""
        if len(counts) == 1:
            return self._told(counts[0], b, self.relative_b_error * b, b)
        n, n_off = counts
        per_event = self.relative_b_error**2 * b
        return self._told(n, (n_off + 1) * per_event, np.sqrt(n_off + 1.0) * per_event, n_off * per_event)

    def observe(self, data: dict[str, Any]) -> tuple[Any, ...]:
        """Return the views of real data.

        `data` holds n, observed events, and b, the expected background events; b_error, its error, is relative_b_error
        times b unless given.
        """
        if not {"n", "b"} <= set(data) <= {"n", "b", "b_error"}:
            raise ObservationError(
                "an observation of counting is given by n, b and, if b is uncertain, b_error, not by "
                f"{', '.join(data) or 'nothing'}"
            )
        known = Counts(data["n"], data["b"])
        error = data.get("b_error", self.relative_b_error * np.asarray(known.b))
        return UncertainCounts(known.n, known.b, error, self.shape), known

    def background(self, data: dict[str, Any], *, no_signal: bool = False) -> float:  # noqa: ARG002 - b is told
        """Return b, what is assumed wrongly put right."""
        return float(data["b"]) / self.assumed_over_true if self.assumed_over_true else np.nan

    @property
    def _off(self) -> float:
        return 1.0 / self.relative_b_error**2

    @property
    def _measured_on_a_scale(self) -> bool:
        return bool(self.relative_b_error) and (self.fluctuates, self.shape) == ("estimate", "truncated_gaussian")

    def _backgrounds(self, b: float, size: int, rng: np.random.Generator) -> FloatArray:
        if self.shape == "gamma":
            return rng.gamma(self._off, self.relative_b_error**2 * b, size)
        return _above_zero(b, self.relative_b_error, size, rng)

    def _told(self, n: IntArray, b: Any, b_error: Any, plugged_in: Any) -> tuple[Any, ...]:
        # no analyst believes in more than can be observed; only huge backgrounds with huge errors are that uncertain
        told = [np.minimum(self.assumed_over_true * value, MOST_EVENTS) for value in (b, b_error, plugged_in)]
        return UncertainCounts(n, told[0], told[1], self.shape), Counts(n, told[2])


def _above_zero(b: float, relative_error: float, size: int, rng: np.random.Generator) -> FloatArray:
    """Draw from a Gaussian at b of width relative_error b, cut off below 0."""
    below = special.ndtr(-1.0 / relative_error)
    return np.asarray(b * np.maximum(1.0 + relative_error * special.ndtri(rng.uniform(below, 1.0, size)), 0.0))
