"""Experiments whose events fall in a signal region, in a sideband or between them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from covsvc.contracts import (
    LARGEST_SCALE,
    MOST_EVENTS,
    SMALLEST_SCALE,
    Counts,
    EventModel,
    FloatArray,
    IntArray,
    ModelledEvents,
    OnOff,
    Sideband,
    UncertainCounts,
)
from covsvc.errors import ObservationError
from covsvc.kernels.densities import gaussian_above_zero
from covsvc.kernels.poisson import TAIL, support

MOST_DRAWN = 25_000_000
"""Expected events of all toys of a batch, at most: 0.2 GB of each number that is told of an event."""

SMALLEST_ERROR = 1e-3
"""Smallest error of a background over the background that is told from none."""


class Known(NamedTuple):
    """What is told of the expected background in the signal region, as numbers or one a toy."""

    b: Any
    b_error: Any
    plugged_in: Any


class Seen(NamedTuple):
    """Numbers of events in all, in the signal region and in the sideband, and the density ratio at each event."""

    n: IntArray
    n_inner: IntArray
    n_sideband: IntArray
    density_ratio: FloatArray


@dataclass(frozen=True, eq=False)
class SeenDensities:
    """Real events over the densities of a fit, to be looked at.

    Attributes
    ----------
    names : tuple of str
        What each axis shows, with its unit; one or two.
    axes : tuple of ndarray, shape (point,)
        Where the densities are told on each axis, at even distances.
    signal : ndarray, shape (point,) or (point, point)
        Signal density, with an integral of 1 over the range of the fit.
    background : ndarray, shape (point,) or (point, point)
        Background density, likewise.
    places : tuple of ndarray, shape (event,)
        Where the events are on each axis.
    density_ratio : ndarray, shape (event,)
        Signal density over background density at each event.
    drawn : tuple of ndarray
        Places of some signal events that were drawn.
    region : tuple of (float, float)
        Ends of the signal region on each axis.
    sideband : (float, float)
        The sideband lies outside of these, on the first axis.
    """

    names: tuple[str, ...]
    axes: tuple[FloatArray, ...]
    signal: FloatArray
    background: FloatArray
    places: tuple[FloatArray, ...]
    density_ratio: FloatArray
    drawn: tuple[FloatArray, ...]
    region: tuple[tuple[float, float], ...]
    sideband: tuple[float, float]

    @property
    def signal_over_background(self) -> float:
        """The largest ratio of the densities."""
        return float((self.signal / self.background).max())


@dataclass(frozen=True)
class RegionsExperiment(ABC):
    """Draw events over the range of a fit, and tell their density ratios, or how many there are in each region.

    The background axis is the expected background in the signal region; the whole range has more, by a fixed factor.
    """

    b_is: Literal["unknown", "known", "estimated"] = "unknown"
    """What is told of the background beforehand: nothing, the sideband has to tell; its expectation; or an independent
    estimate of that, which fluctuates."""
    relative_b_error: float = 0.0
    """Error of the estimate over the background, 0.001 <= r <= 1."""
    shape: Literal["gamma", "truncated_gaussian"] = "gamma"
    """How the background is distributed if it has an error, as `UncertainCounts` tells it."""

    plugs_in: ClassVar[tuple[type, ...]] = (Sideband, OnOff, UncertainCounts, Counts)

    def __post_init__(self) -> None:
        if self.b_is == "estimated" and not SMALLEST_ERROR <= self.relative_b_error <= 1:
            raise ValueError(
                f"relative_b_error = {self.relative_b_error}: must lie in [{SMALLEST_ERROR}, 1] where b_is = estimated"
            )
        if self.b_is != "estimated" and self.relative_b_error != 0:
            raise ValueError(f"relative_b_error = {self.relative_b_error}: needs b_is = estimated")
        if self.b_is == "known" and self.shape != "gamma":
            raise ValueError(f"shape = {self.shape}: a known background has none")
        if not SMALLEST_SCALE <= 1.0 / self.zeta_sb <= LARGEST_SCALE:
            raise ValueError(
                f"{self._regions}: the sideband has {1.0 / self.zeta_sb:g} times the background of the signal region; "
                f"this must lie in [{SMALLEST_SCALE:g}, {LARGEST_SCALE:g}]"
            )
        if self.zeta < 1.0 / LARGEST_SCALE:
            raise ValueError(
                f"{self._regions}: the signal region holds {self.zeta:g} of the background; it must hold "
                f"{1.0 / LARGEST_SCALE:g} or more"
            )

    @property
    def hides_background(self) -> bool:
        """Whether there is background of which nothing is told where only the places of events are."""
        return self.b_is != "known"

    @property
    @abstractmethod
    def zeta(self) -> float:
        """Part of the background that falls in the signal region."""

    @property
    @abstractmethod
    def zeta_sb(self) -> float:
        """Background of the signal region over that of the sideband."""

    @property
    @abstractmethod
    def _regions(self) -> str:
        """The options that the two depend on, in words."""

    @abstractmethod
    def model(self, b: float) -> EventModel:
        """Return how signal and background are distributed over the whole range, at any b."""

    def _check_size(self, s_true: float, b: float, size: int) -> float:
        """Return the expected background of the whole range.

        Raises
        ------
        ObservationError
            If a toy could have more events than an observation may, or all toys together more than MOST_DRAWN.
        """
        whole = b / self.zeta
        total = s_true + whole
        highest = support(total, TAIL)[1]
        if highest > MOST_EVENTS:
            raise ObservationError(
                f"{total:g} expected events in the whole range: up to {highest:,} may come, more than {MOST_EVENTS:,}; "
                "take a smaller s_true or b"
            )
        if size * total > MOST_DRAWN:
            raise ObservationError(
                f"{size:,} toys of {total:g} expected events make more than {MOST_DRAWN:,} in all; "
                f"take toys_per_block = {int(MOST_DRAWN / total)}"
            )
        return whole

    def _told(self, b: float, size: int, rng: np.random.Generator) -> Known | None:
        """Return what the analysts of `size` toys are told of b."""
        r = self.relative_b_error
        if self.b_is == "unknown":
            return None
        if self.b_is == "known":
            return Known(b, 0.0, b)
        if self.shape == "gamma":
            off, per_event = rng.poisson(1.0 / r**2, size), r**2 * b
            return self._limited((off + 1) * per_event, np.sqrt(off + 1.0) * per_event, off * per_event)
        estimate = gaussian_above_zero(b, r, size, rng)
        return self._limited(estimate, r * b, estimate)

    def _told_with(self, data: dict[str, Any], name: str) -> Known | None:
        """Return what is told of b with real data whose places are named `name`.

        Raises
        ------
        ObservationError
            If `data` holds more than it should, or less.
        """
        places = set(name.split(" and "))
        if self.b_is == "unknown":
            if set(data) != places:
                raise ObservationError(
                    f"an observation with an unknown background is given by {name}, not by "
                    f"{', '.join(data) or 'nothing'}"
                )
            return None
        allowed = {"b", "b_error"} if self.b_is == "estimated" else {"b"}
        if not places | {"b"} <= set(data) <= places | allowed:
            raise ObservationError(
                f"an observation whose background is {self.b_is} is given by {name} and by b, the expected background "
                f"in the signal region{', with b_error' if self.b_is == 'estimated' else ''}, not by "
                f"{', '.join(data) or 'nothing'}"
            )
        error = data.get("b_error", self.relative_b_error * np.asarray(Counts(0, data["b"]).b))
        known = UncertainCounts(0, data["b"], error, self.shape)
        for key, value in (("b", known.b), ("b_error", known.b_error)):
            if value > MOST_EVENTS * self.zeta:
                raise ObservationError(
                    f"{key} = {value:g}: makes {value / self.zeta:g} events in the whole range, above {MOST_EVENTS:,}"
                )
        return Known(known.b, known.b_error, known.b)

    def _limited(self, b: Any, b_error: Any, plugged_in: Any) -> Known:
        """Return what is told, at most as many events in the whole range as can be observed."""
        most = MOST_EVENTS * self.zeta
        return Known(*(np.minimum(value, most) for value in (b, b_error, plugged_in)))

    def _modelled(self, seen: Seen, b: float, known: Known | None) -> ModelledEvents:
        model = self.model(b)
        if known is None:
            return ModelledEvents.drawn(seen.n, seen.density_ratio, model)
        whole, error = known.b / self.zeta, known.b_error / self.zeta
        return ModelledEvents.drawn(seen.n, seen.density_ratio, model, whole, error, self.shape)

    def _counted(self, seen: Seen, known: Known | None) -> tuple[Sideband, OnOff, UncertainCounts, Counts]:
        """Return the counts of the regions; where nothing is told of b the sideband tells."""
        n, off, scale = seen.n_inner, seen.n_sideband, self.zeta_sb
        if known is not None:
            told = known
        elif self.shape == "gamma":
            told = Known((off + 1) * scale, np.sqrt(off + 1.0) * scale, off * scale)
        else:
            told = Known(off * scale, np.sqrt(np.maximum(off, 1)) * scale, off * scale)
        b, b_error, plugged_in = (np.minimum(value, MOST_EVENTS) for value in told)
        return (
            Sideband(n, seen.n - n, off, self.zeta, scale),
            OnOff(n, off, 1.0 / scale),
            UncertainCounts(n, b, b_error, self.shape),
            Counts(n, plugged_in),
        )

    def _estimated(self, known: Known | None, seen: Seen, no_signal: bool) -> float:
        """Return the best estimate of b: what is told, else that of the sideband, or of all if there is no signal."""
        if known is not None:
            return float(known.b)
        return float(seen.n[0] * self.zeta if no_signal else seen.n_sideband[0] * self.zeta_sb)


def places(name: str, given: Any, low: float, high: float) -> FloatArray:
    """Return a row of places of real events.

    Raises
    ------
    ObservationError
        If `given` is none, or a place is not within the range of the fit.
    """
    row = given if isinstance(given, np.ndarray | list | tuple) else [given]
    if not all(isinstance(value, Real) and not isinstance(value, bool) for value in row):
        raise ObservationError(f"{name} = {given!r}: the places of events are a row of numbers")
    if len(row) > MOST_EVENTS:
        raise ObservationError(f"{name} holds {len(row):,} places: at most {MOST_EVENTS:,} events can be observed")
    found = np.asarray(row, np.float64)
    wrong = found[~((found >= low) & (found <= high))]
    if wrong.size:
        raise ObservationError(f"{name} = {wrong[0]:g}: outside of the range of the fit, [{low:g}, {high:g}]")
    return found
