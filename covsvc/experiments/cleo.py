"""Mass and energy of events, with a peak that has a radiative tail over a linear background."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from covsvc.contracts import Counts, FloatArray, ModelledEvents, OnOff, Sideband, UncertainCounts
from covsvc.errors import ObservationError
from covsvc.kernels.densities import (
    Box,
    Peak,
    Slope,
    count_plane,
    draw_peak,
    draw_plane,
    draw_slope,
    peak_density,
    peak_inside,
    slope_density,
    slope_of,
)
from covsvc.regions import Known, RegionsExperiment, Seen, SeenDensities, places

SMALLEST_PART = 0.01
"""Smallest part of the signal within the range of the fit."""

SHOWN = 300
"""Signal events that are drawn to be looked at."""


@dataclass(frozen=True)
class PeakOverSlope:
    """The densities of signal and background in mass and energy, within the range of a fit."""

    peak: Peak
    slope: Slope
    box: Box

    @property
    def key(self) -> str:
        """Text that tells these densities from others."""
        return f"peak_over_slope({tuple(self.peak)!r}, {tuple(self.slope)!r}, {tuple(self.box)!r})"

    def signal_ratios(self, size: int, rng: np.random.Generator) -> FloatArray:
        """Draw `size` signal events; return the signal density over the background density at each."""
        return self.ratios(*draw_peak(size, self.peak, self.box, rng))

    def background_ratios(self, size: int, rng: np.random.Generator) -> FloatArray:
        """Draw `size` background events; return the signal density over the background density at each."""
        return self.ratios(*draw_slope(size, self.slope, self.box, rng))

    def signal_density(self, m: FloatArray, E: FloatArray) -> FloatArray:
        """Return the signal density, with an integral of 1 over the range."""
        return np.asarray(peak_density(m, E, self.peak) / peak_inside(self.peak, self.box))

    def background_density(self, E: FloatArray) -> FloatArray:
        """Return the background density, with an integral of 1 over the range."""
        return np.asarray(slope_density(E, self.slope, self.box))

    def ratios(self, m: FloatArray, E: FloatArray) -> FloatArray:
        """Return the signal density over the background density at each event."""
        return np.asarray(self.signal_density(m, E) / self.background_density(E))


@dataclass(frozen=True)
class Cleo(RegionsExperiment):
    """Draw events in mass and energy: a bivariate Gaussian with a radiative tail over a background linear in energy.

    The form is that of the search for tau -> mu gamma by CLEO, in [1]_: m is the mass of the muon and the photon less
    that of the tau, E their energy less that of the beam, both in MeV. The signal region is a box, the sideband what
    lies outside of sideband_mass at all energies; b is the expected background in the box.

    Notes
    -----
    The paper prints no value of any parameter: the defaults are ours, plausible ones. With them the box holds 0.15 of
    the background, a fourth of what the sideband holds, and 0.957 of the signal: limits from counts are not divided by
    it, and nothing is promised. An analyst who reads `Counts` takes b = zeta_sb n_sb for the true background unless one
    is told. Signal and background are divided by their integrals over the range of the fit.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Section 5, Eq. 45, 48 and 49.
    """

    mass_range: Sequence[float] = (-200.0, 200.0)
    """m1 and m2, ends of the range of the fit in m."""
    energy_range: Sequence[float] = (-500.0, 300.0)
    """E1 and E2, ends of the range of the fit in E."""
    box_mass: Sequence[float] = (-60.0, 60.0)
    """Ends of the signal region in m."""
    box_energy: Sequence[float] = (-300.0, 100.0)
    """Ends of the signal region in E."""
    sideband_mass: Sequence[float] = (-80.0, 80.0)
    """The sideband lies below the first of these m, and above the second."""
    peak: Sequence[float] = (0.0, 0.0)
    """m0 and E0, where the peak is."""
    widths: Sequence[float] = (20.0, 50.0)
    """sigma_m and sigma_E, widths of the Gaussian."""
    correlation: float = 0.5
    """rho, correlation of m and E in the Gaussian."""
    core: float = 0.7
    """A, weight of the Gaussian."""
    tail: float = 0.3
    """B, weight of the tail."""
    tail_shape: float = 2.0
    """alpha, shape of the gamma distribution of (E0 - E) / sigma_E in the tail, 1 or above."""
    tail_scale: float = 1.5
    """beta, scale of the gamma distribution of (E0 - E) / sigma_E in the tail."""
    background_level: float = 1.0
    """a0, background at E', in any unit."""
    background_slope: float = -0.001
    """a1, rise of the background per MeV, in the same unit."""
    background_energy: float = -100.0
    """E', where the background is a0."""

    gives: ClassVar[tuple[type, ...]] = (ModelledEvents, Sideband, OnOff, UncertainCounts, Counts)

    def __post_init__(self) -> None:
        for name in ("mass_range", "energy_range", "box_mass", "box_energy", "sideband_mass", "peak", "widths"):
            given = tuple(float(value) for value in getattr(self, name))  # a study file gives lists
            object.__setattr__(self, name, given)
            if len(given) != 2 or not all(math.isfinite(value) for value in given):
                raise ValueError(f"{name} = {given}: must be two finite numbers")
        for outer, inner in (
            ("mass_range", "sideband_mass"),
            ("sideband_mass", "box_mass"),
            ("energy_range", "box_energy"),
        ):
            (low, high), (first, last) = getattr(self, outer), getattr(self, inner)
            if not low <= first < last <= high:
                raise ValueError(f"{inner} = {(first, last)}: must ascend within {outer} = {(low, high)}")
        if self.sideband_mass == self.mass_range:
            raise ValueError(f"sideband_mass = {self.sideband_mass}: leaves no sideband within mass_range")
        self._check_signal()
        for energy in self.energy_range:
            density = self.background_level + self.background_slope * (energy - self.background_energy)
            if not 0 < density < math.inf:
                raise ValueError(
                    f"background_level + background_slope (E - background_energy) is {density:g} at E = {energy:g}: a "
                    "density lies above 0 in all of energy_range"
                )
        super().__post_init__()

    def _check_signal(self) -> None:
        spans = [high - low for low, high in (self.mass_range, self.energy_range)]
        if not all(1e-6 * span <= width <= 10 * span for width, span in zip(self.widths, spans, strict=True)):
            raise ValueError(
                f"widths = {self.widths}: must lie between a millionth of the range of the fit and ten times it"
            )
        if not abs(self.correlation) <= 0.9999:
            raise ValueError(f"correlation = {self.correlation}: must lie in [-0.9999, 0.9999]")
        if not (0 <= self.core < math.inf and 0 <= self.tail < math.inf and self.core + self.tail > 0):
            raise ValueError(f"core = {self.core} and tail = {self.tail}: weights are finite, >= 0, and not both 0")
        if not 1 <= self.tail_shape <= 1000:
            raise ValueError(f"tail_shape = {self.tail_shape}: must lie in [1, 1000]")
        if not 1e-3 <= self.tail_scale <= 1000:
            raise ValueError(f"tail_scale = {self.tail_scale}: must lie in [0.001, 1000]")
        model = self.model(0.0)
        inside = peak_inside(model.peak, model.box)
        if not inside >= SMALLEST_PART:
            raise ValueError(
                f"peak = {self.peak}: {inside:g} of the signal is within the range of the fit, less than "
                f"{SMALLEST_PART:g}"
            )

    @property
    def zeta(self) -> float:
        """Part of the background that falls in the signal region."""
        m1, m2 = self.mass_range
        return (self.box_mass[1] - self.box_mass[0]) / (m2 - m1) * self._share

    @property
    def zeta_sb(self) -> float:
        """Background of the signal region over that of the sideband."""
        (m1, m2), (left, right) = self.mass_range, self.sideband_mass
        return (self.box_mass[1] - self.box_mass[0]) / (left - m1 + m2 - right) * self._share

    def model(self, b: float) -> PeakOverSlope:  # noqa: ARG002 - the densities are the same at any b
        """Return how signal and background are distributed over the whole range, at any b."""
        weight = self.core + self.tail
        peak = Peak(
            self.peak[0],
            self.peak[1],
            self.widths[0],
            self.widths[1],
            float(self.correlation),
            self.core / weight,
            self.tail / weight,
            float(self.tail_shape),
            float(self.tail_scale),
        )
        box = Box(*self.mass_range, *self.energy_range)
        slope = slope_of(self.background_level, self.background_slope, self.background_energy, box)
        return PeakOverSlope(peak, slope, box)

    def toys(self, s_true: float, b: float, size: int, rng: np.random.Generator) -> tuple[Any, ...]:
        """Draw `size` toys with s_true signal events and b background events expected in the signal region.

        Raises
        ------
        ObservationError
            If a toy could have more events than an observation may, or all toys together more than MOST_DRAWN.
        """
        whole, model = self._check_size(s_true, b, size), self.model(b)
        n, m, E = draw_plane(s_true, whole, size, model.peak, model.slope, model.box, rng)
        return self._views(self._seen(n, m, E), b, self._told(b, size, rng))

    def observe(self, data: dict[str, Any]) -> tuple[Any, ...]:
        """Return the views of real data.

        `data` holds m and E of each event, in any order of events; and b, the expected background events in the signal
        region, where it is known or estimated, with b_error, relative_b_error times b unless given.
        """
        known, seen = self._told_with(data, "m and E"), self._seen_in(data)
        return self._views(seen, self._estimated(known, seen, False), known)

    def background(self, data: dict[str, Any], *, no_signal: bool = False) -> float:
        """Return b if it is told, else what the sideband tells, or all events if there is no signal."""
        return self._estimated(self._told_with(data, "m and E"), self._seen_in(data), no_signal)

    def densities(self, data: dict[str, Any]) -> SeenDensities:
        """Return real events and the densities, to be looked at."""
        (m, E), model = self._places(data), self.model(0.0)
        across, up = (np.linspace(low, high, 401) for low, high in (self.mass_range, self.energy_range))
        at_m, at_E = (axis.ravel() for axis in np.meshgrid(across, up, indexing="ij"))
        shape = len(across), len(up)
        return SeenDensities(
            ("m \N{MINUS SIGN} m_tau (MeV)", "E \N{MINUS SIGN} E_beam (MeV)"),
            (across, up),
            model.signal_density(at_m, at_E).reshape(shape),
            model.background_density(at_E).reshape(shape),
            (m, E),
            model.ratios(m, E),
            draw_peak(SHOWN, model.peak, model.box, np.random.default_rng(0)),
            (tuple(self.box_mass), tuple(self.box_energy)),  # type: ignore[arg-type]
            tuple(self.sideband_mass),  # type: ignore[arg-type]
        )

    @property
    def _regions(self) -> str:
        return f"box_mass = {self.box_mass}, box_energy = {self.box_energy} and sideband_mass = {self.sideband_mass}"

    @property
    def _share(self) -> float:
        """Return the part of the background at the energies of the signal region."""
        box, whole = (
            (high - low)
            * (self.background_level + self.background_slope * (0.5 * (low + high) - self.background_energy))
            for low, high in (self.box_energy, self.energy_range)
        )
        return box / whole

    @property
    def _box(self) -> Box:
        return Box(*self.box_mass, *self.box_energy)

    def _seen_in(self, data: dict[str, Any]) -> Seen:
        m, E = self._places(data)
        return self._seen(np.array([len(m)], np.int64), m, E)

    def _places(self, data: dict[str, Any]) -> tuple[FloatArray, FloatArray]:
        m, E = places("m", data["m"], *self.mass_range), places("E", data["E"], *self.energy_range)
        if len(m) != len(E):
            raise ObservationError(f"E holds {len(E)} places, but m {len(m)}: give both of each event")
        order = np.lexsort((E, m))
        return m[order], E[order]

    def _seen(self, n: Any, m: FloatArray, E: FloatArray) -> Seen:
        inner, outer = count_plane(n, m, E, self._box, *self.sideband_mass)
        return Seen(n, inner, outer, self.model(0.0).ratios(m, E))

    def _views(self, seen: Seen, b: float, known: Known | None) -> tuple[Any, ...]:
        return self._modelled(seen, b, known), *self._counted(seen, known)
