"""Real events at which the densities of signal and background are known."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property, singledispatch
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from covsvc.contracts import FloatArray, ModelledEvents
from covsvc.data_file import finite, rows_of
from covsvc.errors import CovsvcError, ObservationError
from covsvc.event_file import DENSITIES, Exponential, Gaussian, Spectrum, Table, Uniform, read_events, read_spectrum
from covsvc.kernels.densities import table_quantiles

SIGNAL, BACKGROUND = "signal_density", "background_density"
"""Columns of a file that tells both densities at each event."""

TOLERANCE = 0.01
"""The integral of a density may differ from 1 by this much; it is divided by it."""


@dataclass(frozen=True)
class DensityModel:
    """The densities of signal and background over one range.

    Attributes
    ----------
    signal, background : Spectrum
        Each with a total of 1.
    """

    signal: Spectrum
    background: Spectrum

    @cached_property
    def key(self) -> str:
        """Text that tells these densities from others."""
        told = hashlib.sha256()
        for density in (self.signal, self.background):
            told.update(type(density).__name__.encode())
            for field in dataclasses.fields(density):
                value = getattr(density, field.name)
                told.update(np.asarray(value).tobytes() if field.name != "name" else b"")
        return told.hexdigest()

    def ratios(self, x: FloatArray) -> FloatArray:
        """Return the signal density over the background density at `x`; 0 where there is neither."""
        signal, background = self.signal.density(x), self.background.density(x)
        found = np.zeros(x.shape)
        with np.errstate(divide="ignore", over="ignore"):
            np.divide(signal, background, out=found, where=signal > 0)
        return found

    def signal_ratios(self, size: int, rng: np.random.Generator) -> FloatArray:
        """Draw `size` signal events; return the signal density over the background density at each."""
        return self.ratios(quantile(self.signal, rng.random(size)))

    def background_ratios(self, size: int, rng: np.random.Generator) -> FloatArray:
        """Draw `size` background events; return the signal density over the background density at each."""
        return self.ratios(quantile(self.background, rng.random(size)))


@dataclass(frozen=True)
class EventsWithDensities:
    """Real events, with what is known of signal and background.

    Attributes
    ----------
    view : ModelledEvents
        One observation; its model is a `DensityModel`, or None where the densities are known at the events only.
    name : str
        What events are placed by; empty where they have no place.
    ends : tuple of float, optional
        Of the range of the fit, where events have a place.
    shares : tuple of float
        Parts of the signal and of the background, as told, that lie in this range.
    left_out : int
        Events of the file outside of it.
    """

    view: ModelledEvents
    name: str = ""
    ends: tuple[float, float] | None = None
    shares: tuple[float, float] = (1.0, 1.0)
    left_out: int = 0

    @property
    def n(self) -> int:
        """Observed events."""
        return int(self.view.n[0])


def read_densities(
    signal: str | Path, background: str | Path, within: tuple[float, float] | None = None
) -> tuple[DensityModel, tuple[float, float]]:
    """Return the densities of signal and background, and the parts of both that lie within the range.

    Parameters
    ----------
    signal, background : str or Path
        A file with the columns position and density; or, for example, ``"gaussian:mean=0,width=1,low=-10,high=10"``,
        as `read_spectrum` takes it, without events.
    within : tuple of float, optional
        Ends of the range to cut both to, which divides them by the parts that lie there. Unless given it is theirs.

    Raises
    ------
    ObservationError
        If a density is refused, its integral is not 1, the two differ in their range, or none of one lies in it.
    """
    told = [_read_density(signal, "signal density"), _read_density(background, "background density")]
    one, other = told
    if within is None and (one.low, one.high) != (other.low, other.high):
        low, high = max(one.low, other.low), min(one.high, other.high)
        cure = f"say where to fit, for example --range {low:g},{high:g}" if low < high else "extend them with 0"
        raise ObservationError(
            f"the signal density is told in [{one.low:g}, {one.high:g}], the background density in "
            f"[{other.low:g}, {other.high:g}]: {cure}"
        )
    if within is not None:
        pairs = ((signal, "signal density"), (background, "background density"))
        told = [read_spectrum(given, within, what) for given, what in pairs]
    shares = tuple(_share(part, whole) for part, whole in zip(told, (one, other), strict=True))
    for given, part in zip((signal, background), told, strict=True):
        if not part.total > 0:
            raise ObservationError(f"{given}: nothing of it lies in [{part.low:g}, {part.high:g}]")
    return DensityModel(*map(_normalised, told)), (shares[0], shares[1])


def read_events_on(
    path: str | Path,
    model: DensityModel,
    shares: tuple[float, float] = (1.0, 1.0),
    *,
    column: str | None = None,
    cut: bool = False,
    **known: Any,
) -> EventsWithDensities:
    """Return the events of a file of positions.

    Parameters
    ----------
    path : str or Path
        As `read_events` takes it.
    model, shares
        From `read_densities`.
    column : str, optional
        Which of several columns holds the positions.
    cut : bool
        Whether events outside of the range are left out; else they are refused.
    **known
        b, b_error and shape of `ModelledEvents`: what is known of the background in the range.

    Raises
    ------
    ObservationError
        If the file or a row is refused, an event lies where both densities are 0, or what is known of the background
        is none.
    """
    seen = read_events(path, model.signal, model.background, column=column, cut=cut)
    nowhere = (model.signal.density(seen.positions) == 0) & (model.background.density(seen.positions) == 0)
    if nowhere.any():
        raise ObservationError(
            f"{path}: {seen.name} = {seen.positions[nowhere][0]:.12g}: both densities are 0 there, and no event can be "
            "there; give the background a density wherever events are seen"
        )
    ratio = model.ratios(seen.positions)
    view = ModelledEvents([len(ratio)], ratio, model, **known)
    ends = model.signal.low, model.signal.high
    return EventsWithDensities(view, seen.name, ends, shares, seen.left_out)


def tells_densities(path: str | Path) -> bool:
    """Tell whether a file of events has a column of either density."""
    rows = rows_of(path, None)
    return bool(rows) and not {SIGNAL, BACKGROUND}.isdisjoint(rows[0][1])


def read_told_densities(path: str | Path, **known: Any) -> EventsWithDensities:
    """Return the events of a file with the columns signal_density and background_density.

    Both in the same unit and each with an integral of 1 over the range of the fit, of whatever dimension; other columns
    are not looked at.

    Parameters
    ----------
    path : str or Path
    **known
        As `read_events_on` takes it.

    Raises
    ------
    ObservationError
        If the file or a row is refused, with the line and the value, or what is known of the background is none.
    """
    (first, names), *rows = rows_of(path, None)
    for name in (SIGNAL, BACKGROUND):
        if names.count(name) != 1:
            times = "has no" if name not in names else "has more than one"
            raise ObservationError(f"{path}:{first}: {times} column {name}; events have one of each density")
    ratios = []
    for number, cells in rows:
        try:
            if len(cells) != len(names):
                raise ObservationError(f"{len(cells)} values under {len(names)} names")
            signal, background = (_density(name, cells[names.index(name)]) for name in (SIGNAL, BACKGROUND))
            if signal == background == 0:
                raise ObservationError("both densities are 0, so that no event can be there")
            ratios.append(np.inf if background == 0 else signal / background)
        except CovsvcError as error:
            raise ObservationError(f"{path}:{number}: {error}") from None
    return EventsWithDensities(ModelledEvents([len(ratios)], np.array(ratios, np.float64), None, **known))


@singledispatch
def quantile(density: Spectrum, p: FloatArray) -> FloatArray:  # noqa: ARG001 - those of each kind read them
    """Return the positions below which the parts `p` of a density lie."""
    raise TypeError(f"{type(density).__name__} has no quantiles")


@quantile.register
def _of_uniform(density: Uniform, p: FloatArray) -> FloatArray:
    return density.low + p * (density.high - density.low)


@quantile.register
def _of_exponential(density: Exponential, p: FloatArray) -> FloatArray:
    whole = np.expm1((density.low - density.high) / density.scale)
    return np.asarray(np.minimum(density.low - density.scale * np.log1p(p * whole), density.high))


@quantile.register
def _of_gaussian(density: Gaussian, p: FloatArray) -> FloatArray:
    # above the mean it is the upper tails that differ
    side = -1.0 if density.low > density.mean else 1.0
    first, last = (special.ndtr(side * (end - density.mean) / density.width) for end in (density.low, density.high))
    found = density.mean + side * density.width * special.ndtri(first + p * (last - first))
    return np.asarray(np.clip(found, density.low, density.high))


@quantile.register
def _of_table(density: Table, p: FloatArray) -> FloatArray:
    return np.asarray(table_quantiles(density.nodes, density.values, p))


def _read_density(given: str | Path, what: str) -> Spectrum:
    """Return a density as it is told, whose integral must be 1."""
    found = read_spectrum(given, what=what)
    if abs(found.total - 1.0) <= TOLERANCE:
        return found
    if isinstance(found, tuple(DENSITIES.values())):
        raise ObservationError(
            f"{what} {given}: events = {found.total:g}: a density is that of one event; leave events out, and tell how "
            "much background is expected with --b"
        )
    raise ObservationError(
        f"{given}: the {what} has the integral {found.total:.6g} over [{found.low:g}, {found.high:g}], not 1; divide "
        "it by that; or, if these are expected events dN/dE and the background is unknown, give --spectrum instead"
    )


def _normalised(density: Spectrum) -> Spectrum:
    if isinstance(density, Table):
        return Table.of(density.nodes, density.values / density.total, density.name)
    return dataclasses.replace(density, total=1.0)


def _share(part: Spectrum, whole: Spectrum) -> float:
    return part.total / whole.total


def _density(name: str, cell: str) -> float:
    value = finite(name, cell)
    if value < 0:
        raise ObservationError(f"{name} = {value:g}: a density is not negative")
    return value
