"""Positions of real events, and the spectra of signal and known background they are held against."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from covsvc.contracts import FloatArray
from covsvc.data_file import finite, rows_of
from covsvc.errors import CovsvcError, ObservationError, UnknownName

SMALLEST, LARGEST = 1e-100, 1e100
"""Expected events of a unit cross section, at least and at most."""
POSITION = "position"
"""What events are placed by where no file names it."""


@dataclass(frozen=True)
class Spectrum(ABC):
    """Expected events along the range [low, high] of an experiment, for a cross section of 1."""

    low: float
    high: float
    total: float

    @abstractmethod
    def cdf(self, x: FloatArray) -> FloatArray:
        """Return the part of the events expected below each x in [low, high]."""

    @abstractmethod
    def density(self, x: FloatArray) -> FloatArray:
        """Return dN/dx at each x in [low, high]."""

    @abstractmethod
    def cut(self, low: float, high: float) -> Spectrum:
        """Return the part of the spectrum in a range within its own."""


@dataclass(frozen=True)
class Table(Spectrum):
    """A density linear between the rows of a table, so that its cdf is quadratic there.

    Attributes
    ----------
    nodes, values : ndarray of float, shape (row,)
        Ascending positions, and dN/dx there.
    name : str
        What the positions are; empty where no header tells it.
    """

    nodes: FloatArray
    values: FloatArray
    name: str = ""

    @classmethod
    def of(cls, nodes: FloatArray, values: FloatArray, name: str = "") -> Table:
        """Return the spectrum of a table."""
        return cls(float(nodes[0]), float(nodes[-1]), float(_pieces(nodes, values).sum()), nodes, values, name)

    def cdf(self, x: FloatArray) -> FloatArray:
        """Return the part of the events expected below each x in [low, high]."""
        if not self.total:
            return np.zeros(x.shape)
        at = np.clip(np.searchsorted(self.nodes, x, side="right") - 1, 0, len(self.nodes) - 2)
        below = np.concatenate([[0.0], np.cumsum(_pieces(self.nodes, self.values))])
        step = self.nodes[at + 1] - self.nodes[at]
        part = (x - self.nodes[at]) / step
        inside = step * part * (self.values[at] * (1.0 - part / 2) + self.values[at + 1] * part / 2)
        return np.asarray(np.clip((below[at] + inside) / below[-1], 0.0, 1.0))

    def density(self, x: FloatArray) -> FloatArray:
        """Return dN/dx at each x in [low, high]."""
        return np.asarray(np.interp(x, self.nodes, self.values))

    def cut(self, low: float, high: float) -> Table:
        """Return the part of the table in a range within its own, whose ends become rows."""
        inside = self.nodes[(self.nodes > low) & (self.nodes < high)]
        nodes = np.concatenate([[low], inside, [high]])
        return Table.of(nodes, self.density(nodes), self.name)


@dataclass(frozen=True)
class _Named(Spectrum):
    def cdf(self, x: FloatArray) -> FloatArray:
        """Return the part of the events expected below each x in [low, high]."""
        return np.asarray(np.clip(self.part(self.low, x) / self._whole, 0.0, 1.0))

    def density(self, x: FloatArray) -> FloatArray:
        """Return dN/dx at each x in [low, high]."""
        return np.asarray(self.total / self._whole * self.shape(x))

    def cut(self, low: float, high: float) -> Spectrum:
        """Return the part of the spectrum in a range within its own."""
        left = float(self.part(low, np.array(high)))
        return dataclasses.replace(self, low=low, high=high, total=self.total * left / self._whole)

    @property
    def _whole(self) -> float:
        return float(self.part(self.low, np.array(self.high)))

    @abstractmethod
    def part(self, low: float, x: FloatArray) -> FloatArray:
        """Return the integral of the shape from `low` to each x, without cancellation."""

    @abstractmethod
    def shape(self, x: FloatArray) -> FloatArray:
        """Return what the density is proportional to."""


@dataclass(frozen=True)
class Uniform(_Named):
    """As many events everywhere."""

    def part(self, low: float, x: FloatArray) -> FloatArray:
        """Return the integral of the shape from `low` to each x."""
        return x - low

    def shape(self, x: FloatArray) -> FloatArray:
        """Return what the density is proportional to."""
        return np.ones(x.shape)


@dataclass(frozen=True)
class Exponential(_Named):
    """exp(-x / scale)."""

    scale: float

    def part(self, low: float, x: FloatArray) -> FloatArray:
        """Return the integral of the shape from `low` to each x."""
        before = self.scale * math.exp((self.low - low) / self.scale)
        return np.asarray(-before * np.expm1((low - x) / self.scale))

    def shape(self, x: FloatArray) -> FloatArray:
        """Return what the density is proportional to, 1 at the lower end."""
        return np.asarray(np.exp((self.low - x) / self.scale))


@dataclass(frozen=True)
class Gaussian(_Named):
    """A Gaussian, cut off at the ends of the range."""

    mean: float
    width: float

    def part(self, low: float, x: FloatArray) -> FloatArray:
        """Return the integral of the shape from `low` to each x."""
        # above the mean it is the upper tails that differ
        side = -1.0 if low > self.mean else 1.0
        below, above = (special.ndtr(side * (end - self.mean) / self.width) for end in (low, x))
        return np.asarray(side * (above - below) * self.width * math.sqrt(2.0 * math.pi))

    def shape(self, x: FloatArray) -> FloatArray:
        """Return what the density is proportional to, 1 at the mean."""
        return np.asarray(np.exp(-0.5 * ((x - self.mean) / self.width) ** 2))


DENSITIES: dict[str, type[_Named]] = {"uniform": Uniform, "exponential": Exponential, "gaussian": Gaussian}
"""Spectra that have a name."""


@dataclass(frozen=True)
class SeenEvents:
    """Real events, and what was expected of signal and known background.

    Attributes
    ----------
    positions : ndarray of float, shape (event,)
        Ascending.
    spectrum : Spectrum
        Of the signal, for a cross section of 1.
    background : Spectrum, optional
        What is known of it; all other background is unknown.
    name : str
        What the positions are.
    left_out : int
        Events of the file that a cut left out.
    """

    positions: FloatArray
    spectrum: Spectrum
    background: Spectrum | None = None
    name: str = POSITION
    left_out: int = 0

    @property
    def data(self) -> dict[str, Any]:
        """The events along the cumulative spectra, as the experiment `spectrum` observes them."""
        found: dict[str, Any] = {"u": _along(self.spectrum, self.positions).tolist()}
        if self.background is not None:
            found |= {"b": self.background.total, "v": _along(self.background, self.positions).tolist()}
        return found


def read_spectrum(given: str | Path, within: tuple[float, float] | None = None, what: str = "spectrum") -> Spectrum:
    """Return the spectrum of a file, or of a named density.

    Parameters
    ----------
    given : str or Path
        A file with the columns position and dN/dE, expected events of a cross section of 1; or, for example,
        ``"exponential:scale=10,low=2,high=60"`` with ``events``, those expected of a cross section of 1, 1 unless
        given; ``"uniform:low=..,high=.."``; ``"gaussian:mean=..,width=..,low=..,high=.."``.
    within : tuple of float, optional
        Ends of the range to cut it to.
    what : str
        What a refusal calls it.

    Raises
    ------
    ObservationError
        If the file or a row is refused, with the line and the value; or the range is not that of the spectrum.
    """
    told = str(given)
    named = told in DENSITIES or (":" in told and "=" in told)
    found = _named(told, what) if named and not Path(given).exists() else _read_table(given, what)
    if within is not None:
        low, high = within
        if not low < high:
            raise ObservationError(f"range {low:g},{high:g}: the lower end comes first, and they differ")
        if not (found.low <= low and high <= found.high):
            raise ObservationError(
                f"{told}: the {what} is known in [{found.low:g}, {found.high:g}] only, which does not hold "
                f"[{low:g}, {high:g}]; tell it there, if need be as 0, or choose a range within"
            )
        found = found.cut(low, high)
    return found


def read_signal(given: str | Path, within: tuple[float, float] | None = None) -> Spectrum:
    """Return the spectrum of a signal, as `read_spectrum` does; there must be some."""
    found = read_spectrum(given, within)
    if not SMALLEST <= found.total <= LARGEST:
        raise ObservationError(
            f"{given}: a cross section of 1 gives {found.total:g} events in [{found.low:g}, {found.high:g}]; "
            f"they must be from {SMALLEST:g} to {LARGEST:g}"
        )
    return found


def read_background(given: str | Path, spectrum: Spectrum) -> Spectrum | None:
    """Return what is known of the background in the range of a signal's spectrum; None where that is nothing."""
    found = read_spectrum(given, (spectrum.low, spectrum.high), "background")
    return found if found.total > 0 else None


def read_events(
    path: str | Path,
    spectrum: Spectrum,
    background: Spectrum | None = None,
    *,
    column: str | None = None,
    cut: bool = False,
) -> SeenEvents:
    """Return the events of a file.

    Parameters
    ----------
    path : str or Path
        A position a row, in any order; in a column of its own, with a header or without.
    spectrum, background : Spectrum
        Of the signal, and of what is known of the background.
    column : str, optional
        Which of several columns holds the positions.
    cut : bool
        Whether events outside of the spectrum are left out; else they are refused.

    Raises
    ------
    ObservationError
        If the file or a row is refused, with the line and the value.
    """
    names, rows = _columns(path)
    if not names and not rows:
        raise ObservationError(f"{path}: is empty; if nothing was observed, write a header alone, for example energy")
    width = len(rows[0][1]) if rows else 1
    if column is not None and column not in names:
        raise ObservationError(f"{path}: {UnknownName.of('column', column, names)}")
    if column is None and width > 1:
        told = f"the columns {', '.join(names)}" if names else f"{width} columns without a header"
        cure = (
            f"say which holds the positions, for example --column {names[0]}" if names else "keep that of the positions"
        )
        raise ObservationError(f"{path}: has {told}; {cure}")
    at = names.index(column) if column is not None and rows else 0
    name = column or " ".join(names) or getattr(spectrum, "name", "") or POSITION
    wanted = [name if place == at else "" for place in range(width)]
    found, left_out = [], 0
    for number, cells in rows:
        position = _numbers(path, number, cells, wanted)[at]
        if spectrum.low <= position <= spectrum.high:
            found.append(position)
        elif cut:
            left_out += 1
        else:
            raise ObservationError(
                f"{path}:{number}: {name} = {position:.12g}: outside of [{spectrum.low:g}, {spectrum.high:g}], where "
                "the spectrum is known; extend the spectrum, or choose the part to look at with --range LOW,HIGH"
            )
    return SeenEvents(np.sort(np.array(found, np.float64)), spectrum, background, name, left_out)


def _read_table(path: str | Path, what: str) -> Table:
    names, rows = _columns(path)
    if len(rows) < 2:
        raise ObservationError(
            f"{path}: a {what} is a table of two rows at least, position and dN/dE; it has {len(rows)}"
        )
    if len(names or rows[0][1]) != 2:
        raise ObservationError(
            f"{path}: a {what} has two columns, position and dN/dE, this has {len(names or rows[0][1])}"
        )
    names = names or [POSITION, "dN/dE"]
    nodes, values = np.array([_numbers(path, number, cells, names) for number, cells in rows], np.float64).T
    for (number, _), before, here, value in zip(rows, [-math.inf, *nodes[:-1]], nodes, values, strict=True):
        if not here > before:
            raise ObservationError(
                f"{path}:{number}: {names[0]} = {here:.12g} follows {before:.12g}: the positions of a {what} ascend; "
                "where it jumps, give two positions close to each other"
            )
        if value < 0:
            told = f"a {what} is" if "density" in what else "expected events are"
            raise ObservationError(f"{path}:{number}: {names[1]} = {value:g}: {told} not negative")
    with np.errstate(over="ignore"):
        found = Table.of(nodes, values, names[0] if names[0] != POSITION else "")
    if not (math.isfinite(found.total) and math.isfinite(found.high - found.low)):
        raise ObservationError(f"{path}: the integral of the {what} is beyond all numbers; choose other units")
    return found


def _named(told: str, what: str) -> Spectrum:
    """Return the density that is told as NAME:OPTION=NUMBER,..."""
    name, _, options = told.partition(":")
    if name not in DENSITIES:
        raise ObservationError(f"{what} {told}: {UnknownName.of('density, and no file', name, DENSITIES)}")
    wanted = [field.name.replace("total", "events") for field in dataclasses.fields(DENSITIES[name])]
    numbers = {"events": 1.0}
    for option in filter(None, options.split(",")):
        key, _, value = (part.strip() for part in option.partition("="))
        if key not in wanted:
            raise ObservationError(f"{what} {told}: {UnknownName.of(f'option of {name}', key, wanted)}")
        try:
            numbers[key] = finite(key, value)
        except ObservationError as error:
            raise ObservationError(f"{what} {told}: {error}") from None
    for key, number in numbers.items():
        if (key != "events" and abs(number) > LARGEST) or (key in ("scale", "width") and 0 < number < 1.0 / LARGEST):
            raise ObservationError(f"{what} {told}: {key} = {number:g}: too large or small; take another unit")
    missing = [key for key in wanted if key not in numbers]
    if missing:
        raise ObservationError(f"{what} {told}: {missing[0]} is missing; give {', '.join(wanted)} as OPTION=NUMBER")
    for key in {"scale", "width", "events"} & set(numbers):
        if not numbers[key] > 0:
            raise ObservationError(f"{what} {told}: {key} = {numbers[key]:g}: must be above 0")
    if not numbers["low"] < numbers["high"]:
        raise ObservationError(f"{what} {told}: low = {numbers['low']:g} is not below high = {numbers['high']:g}")
    found = DENSITIES[name](**{key.replace("events", "total"): value for key, value in numbers.items()})
    if not found.part(found.low, np.array(found.high)) > 0:
        raise ObservationError(f"{what} {told}: nothing of it lies in [{found.low:g}, {found.high:g}]")
    return found


def _columns(path: str | Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of the columns, none without a header, and the rows of numbers with the number of their line."""
    rows = rows_of(path, None)
    if not rows or _is_number(rows[0][1][0]):
        return [], rows
    (number, names), *rows = rows
    if not rows and any(map(_is_number, names)):
        raise ObservationError(f"{path}:{number}: {' '.join(names)}: neither a header nor a row of numbers")
    if rows and len(rows[0][1]) == 1:
        names = [" ".join(names)]
    if rows and len(names) != len(rows[0][1]):
        raise ObservationError(
            f"{path}:{number}: {len(names)} names over {len(rows[0][1])} columns; separate both with commas"
        )
    return names, rows


def _numbers(path: str | Path, number: int, cells: Sequence[str], names: Sequence[str]) -> list[float]:
    """Return the numbers of a row; those without a name are not looked at."""
    try:
        if len(cells) != len(names):
            raise ObservationError(f"{len(cells)} values in a row where others have {len(names)}")
        return [finite(name, cell) if name else math.nan for name, cell in zip(names, cells, strict=True)]
    except CovsvcError as error:
        raise ObservationError(f"{path}:{number}: {error}") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _along(spectrum: Spectrum, positions: FloatArray) -> FloatArray:
    """Return the cdf at ascending positions; rounding must not make it fall."""
    return np.maximum.accumulate(spectrum.cdf(positions))


def _pieces(nodes: FloatArray, values: FloatArray) -> FloatArray:
    """Return the integral between each two rows of a table."""
    return np.asarray(np.diff(nodes) * (values[1:] / 2 + values[:-1] / 2))
