"""A Gaussian peak over a flat background, on a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from covsvc.contracts import Counts, Events, FloatArray, ModelledEvents, OnOff, Sideband, UncertainCounts
from covsvc.kernels.densities import Line, draw_line, draw_signal_on_line, line_cdf, line_ratios
from covsvc.regions import Known, RegionsExperiment, Seen, SeenDensities, places


@dataclass(frozen=True)
class GaussianOverFlat:
    """The densities of signal and background on a line."""

    half_width: float
    mean: float
    width: float

    @property
    def key(self) -> str:
        """Text that tells these densities from others."""
        return f"gaussian_over_flat({self.half_width!r}, {self.mean!r}, {self.width!r})"

    def signal_ratios(self, size: int, rng: np.random.Generator) -> FloatArray:
        """Draw `size` signal events; return the signal density over the background density at each."""
        return self.ratios(draw_signal_on_line(size, self.line, rng))

    def background_ratios(self, size: int, rng: np.random.Generator) -> FloatArray:
        """Draw `size` background events; return the signal density over the background density at each."""
        return self.ratios(rng.uniform(-self.half_width, self.half_width, size))

    def ratios(self, x: FloatArray) -> FloatArray:
        """Return the signal density over the background density at `x`."""
        return line_ratios(x, self.line)

    @property
    def line(self) -> Line:
        """The numbers, for kernels."""
        return Line(self.half_width, self.mean, self.width)


@dataclass(frozen=True)
class GaussianFlat(RegionsExperiment):
    """Draw events of a Gaussian signal and of a flat background, both within (-half_width, half_width).

    The signal region is |x| < signal_region, the sideband |x| > sideband_start; b is the expected background in the
    signal region, a quarter of all at the defaults.

    Notes
    -----
    The defaults are those of [1]_. The signal region holds 0.98758 of the signal there: limits from counts are not
    divided by it, they are limits on the signal in the region that are held to all of it, and nothing is promised. An
    analyst who reads `Counts` takes b = zeta_sb n_sb, half the count of the sideband at the defaults, for the true
    background unless one is told.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Section 4.
    """

    half_width: float = 10.0
    """Half of the range of the fit, about 0."""
    signal_mean: float = 0.0
    """Mean of the signal, within the range."""
    signal_width: float = 1.0
    """Standard deviation of the signal before it is cut off at the ends, at most half_width."""
    signal_region: float = 2.5
    """Half-width of the signal region."""
    sideband_start: float = 5.0
    """Distance from 0 at which the sidebands begin."""

    gives: ClassVar[tuple[type, ...]] = (ModelledEvents, Events, Sideband, OnOff, UncertainCounts, Counts)

    def __post_init__(self) -> None:
        if not 1e-6 <= self.half_width <= 1e6:
            raise ValueError(f"half_width = {self.half_width}: must lie in [1e-06, 1e+06]")
        if not abs(self.signal_mean) <= self.half_width:
            raise ValueError(f"signal_mean = {self.signal_mean}: must lie within the range, +-{self.half_width:g}")
        if not 1e-6 * self.half_width <= self.signal_width <= self.half_width:
            raise ValueError(
                f"signal_width = {self.signal_width}: must lie in [{1e-6 * self.half_width:g}, {self.half_width:g}], "
                "from a millionth of half_width to all of it"
            )
        if not 0 < self.signal_region <= self.sideband_start < self.half_width:
            raise ValueError(f"{self._regions}: must be above 0, ascending, and below half_width = {self.half_width:g}")
        super().__post_init__()

    @property
    def zeta(self) -> float:
        """Part of the background that falls in the signal region."""
        return self.signal_region / self.half_width

    @property
    def zeta_sb(self) -> float:
        """Background of the signal region over that of the sidebands."""
        return self.signal_region / (self.half_width - self.sideband_start)

    def model(self, b: float) -> GaussianOverFlat:  # noqa: ARG002 - the densities are the same at any b
        """Return how signal and background are distributed over the whole range, at any b."""
        return GaussianOverFlat(float(self.half_width), float(self.signal_mean), float(self.signal_width))

    def toys(self, s_true: float, b: float, size: int, rng: np.random.Generator) -> tuple[Any, ...]:
        """Draw `size` toys with s_true signal events and b background events expected in the signal region.

        Raises
        ------
        ObservationError
            If a toy could have more events than an observation may, or all toys together more than MOST_DRAWN.
        """
        whole, model = self._check_size(s_true, b, size), self.model(b)
        n, x, inner, outer = draw_line(s_true, whole, size, model.line, self.signal_region, self.sideband_start, rng)
        return self._views(x, Seen(n, inner, outer, model.ratios(x)), b, self._told(b, size, rng))

    def observe(self, data: dict[str, Any]) -> tuple[Any, ...]:
        """Return the views of real data.

        `data` holds x, where the events are, in any order; and b, the expected background events in the signal region,
        where it is known or estimated, with b_error, relative_b_error times b unless given.
        """
        known = self._told_with(data, "x")
        x = self._places(data)
        return self._views(x, self._seen(x), self._estimated(known, self._seen(x), False), known)

    def background(self, data: dict[str, Any], *, no_signal: bool = False) -> float:
        """Return b if it is told, else what the sidebands tell, or all events if there is no signal."""
        return self._estimated(self._told_with(data, "x"), self._seen(self._places(data)), no_signal)

    def densities(self, data: dict[str, Any]) -> SeenDensities:
        """Return real events and the densities, to be looked at."""
        x, model, line = self._places(data), self.model(0.0), np.linspace(-self.half_width, self.half_width, 801)
        return SeenDensities(
            ("x",),
            (line,),
            model.ratios(line) / (2.0 * self.half_width),
            np.full(line.shape, 0.5 / self.half_width),
            (x,),
            model.ratios(x),
            (),
            ((-self.signal_region, self.signal_region),),
            (-self.sideband_start, self.sideband_start),
        )

    @property
    def _regions(self) -> str:
        return f"signal_region = {self.signal_region} and sideband_start = {self.sideband_start}"

    def _places(self, data: dict[str, Any]) -> FloatArray:
        return np.sort(places("x", data["x"], -self.half_width, self.half_width))

    def _seen(self, x: FloatArray) -> Seen:
        n, inner, outer = (
            np.array([count], np.int64)
            for count in (len(x), np.sum(np.abs(x) < self.signal_region), np.sum(np.abs(x) > self.sideband_start))
        )
        return Seen(n, inner, outer, self.model(0.0).ratios(x))

    def _views(self, x: FloatArray, seen: Seen, b: float, known: Known | None) -> tuple[Any, ...]:
        u = line_cdf(x, self.model(b).line)
        whole = known.b / self.zeta if known is not None and self.b_is == "known" else 0.0
        flat = (x + self.half_width) / (2.0 * self.half_width) if whole else None
        events = Events.drawn(seen.n, u, whole, flat)
        return self._modelled(seen, b, known), events, *self._counted(seen, known)
