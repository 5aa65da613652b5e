"""Expected counts in bins as functions of a signal strength and of nuisance parameters."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from covsvc.errors import ObservationError
from covsvc.kernels.binned import (
    FACTOR,
    FACTOR_LINES,
    FLOOR,
    FREE,
    GAUSSIAN,
    LEAST,
    POISSON,
    SCALE,
    SHAPE,
    SHAPE_LINES,
    Compiled,
)

FloatArray = NDArray[np.float64]

_MOST_EXPECTED = 1e15
"""Of a sample in a bin: double precision does not tell single events beyond."""


@dataclass(frozen=True)
class Parameter:
    """A nuisance parameter and the measurement that constrains it."""

    name: str
    constraint: Literal["none", "gaussian", "poisson"] = "gaussian"
    value: float = 0.0
    """Nominal value: 0 of what interpolates between templates, 1 of what multiplies yields."""
    width: float = 1.0
    """Gaussian: standard deviation of its measurement."""
    tau: float = 0.0
    """Poisson: the measurement is a count of expectation tau times the parameter."""
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True)
class Interpolation:
    """What a parameter at -1 and at +1 makes of one sample; at 0 it is nominal."""

    parameter: int
    sample: int
    kind: Literal["factor", "shape"]
    """Whether `down` and `up` are factors on all yields, one number each, or the yields of every bin."""
    down: tuple[float, ...]
    up: tuple[float, ...]
    smooth: bool = True
    """A polynomial between -1 and 1 that meets the lines (shape) or exponentials (factor) outside with two
    derivatives; else lines or exponentials throughout, with a kink at 0 unless down and up are symmetric."""


@dataclass(frozen=True)
class Scale:
    """A parameter that multiplies the yields of one sample in the bins first..last - 1."""

    parameter: int
    sample: int
    first: int
    last: int


@dataclass(frozen=True)
class BinnedModel:
    """Yields: of each bin the sum over the samples of (nominal + shapes) x factors x scales, those of signal times mu.

    Attributes
    ----------
    samples : tuple of str
    nominal : tuple of tuple of float, shape (sample, bin)
        Expected events at mu = 1 with all parameters at their nominal values.
    signal : tuple of bool, shape (sample,)
        Which samples scale with mu.
    parameters : tuple of Parameter
    effects : tuple of Interpolation or Scale

    Raises
    ------
    ObservationError
        If the parts do not fit together or have values that no measurement can have.
    """

    samples: tuple[str, ...]
    nominal: tuple[tuple[float, ...], ...]
    signal: tuple[bool, ...]
    parameters: tuple[Parameter, ...] = ()
    effects: tuple[Interpolation | Scale, ...] = ()

    def __post_init__(self) -> None:
        _check_templates(self)
        for parameter in self.parameters:
            _check_parameter(parameter)
        names = [parameter.name for parameter in self.parameters]
        for name in names:
            if names.count(name) > 1:
                raise ObservationError(f"parameter {name} is given {names.count(name)} times")
        for effect in self.effects:
            _check_effect(self, effect)
        _check_pairs(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields: arrays from another process may be read-only, another type to compiled functions."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def n_bins(self) -> int:
        """Bins of all channels."""
        return len(self.nominal[0])

    @property
    def n_parameters(self) -> int:
        """Nuisance parameters."""
        return len(self.parameters)

    @property
    def signal_events(self) -> float:
        """Expected signal events at mu = 1: s = mu signal_events."""
        return sum(sum(row) for row, signal in zip(self.nominal, self.signal, strict=True) if signal)

    @property
    def background_events(self) -> float:
        """Expected background events with all parameters at their nominal values."""
        return sum(sum(row) for row, signal in zip(self.nominal, self.signal, strict=True) if not signal)

    @cached_property
    def key(self) -> str:
        """What tells the model from others."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @cached_property
    def compiled(self) -> Compiled:
        """The model as flat arrays, for the kernels."""
        return _compile(self)

    def scaled_to(self, b: float) -> BinnedModel:
        """Return the model whose expected background is `b`, all templates and their shapes in proportion."""
        told = self.background_events
        if b == told:
            return self
        if not (math.isfinite(b) and b >= 0) or told == 0:
            raise ObservationError(f"b = {b:g}: the background of {told:g} events cannot be scaled to it")
        share = b / told
        nominal = tuple(
            row if signal else _times(row, share) for row, signal in zip(self.nominal, self.signal, strict=True)
        )
        effects = tuple(
            replace(effect, down=_times(effect.down, share), up=_times(effect.up, share))
            if isinstance(effect, Interpolation) and effect.kind == "shape" and not self.signal[effect.sample]
            else effect
            for effect in self.effects
        )
        return replace(self, nominal=nominal, effects=effects)

    @property
    def nominal_auxiliary(self) -> FloatArray:
        """The measurements that the nominal values predict, shape (parameter,)."""
        told = [{"none": 0.0, "gaussian": each.value, "poisson": each.tau}[each.constraint] for each in self.parameters]
        return np.array(told, np.float64)

    def check_auxiliary(self, measured: NDArray[Any]) -> None:
        """Refuse measurements that are none, shape (toy, parameter)."""
        for index, parameter in enumerate(self.parameters):
            wrong = ~np.isfinite(measured[:, index])
            if parameter.constraint == "poisson":
                wrong |= measured[:, index] < 0
            if wrong.any():
                raise ObservationError(
                    f"auxiliary of {parameter.name} = {measured[wrong, index][0]:g}: "
                    + ("a count >= 0" if parameter.constraint == "poisson" else "a finite number")
                )


def _check_templates(model: BinnedModel) -> None:
    """Refuse nominal yields that are none, and a model without a signal."""
    bins = {len(row) for row in model.nominal}
    if not len(model.samples) == len(model.nominal) == len(model.signal) > 0:
        raise ObservationError(
            f"{len(model.samples)} samples, {len(model.nominal)} rows of nominal yields and {len(model.signal)} marks "
            "of what is signal: give one of each for every sample"
        )
    if len(bins) != 1 or 0 in bins:
        raise ObservationError(
            f"samples have {', '.join(map(str, sorted(bins)))} bins: give all the same number, 1 or more"
        )
    for name, row in zip(model.samples, model.nominal, strict=True):
        for index, expected in enumerate(row):
            if not (math.isfinite(expected) and expected >= 0):
                raise ObservationError(f"sample {name}, bin {index}: {expected:g} expected events; give a number >= 0")
            if expected > _MOST_EXPECTED:
                raise ObservationError(
                    f"sample {name}, bin {index}: {expected:g} expected events are more than {_MOST_EXPECTED:g}"
                )
    if not model.signal_events > 0:
        raise ObservationError("no signal is expected at mu = 1: mark a sample with events as signal")


def _check_parameter(parameter: Parameter) -> None:
    """Refuse a parameter whose constraint or bounds say nothing."""
    name, value = parameter.name, parameter.value
    if parameter.constraint not in ("none", "gaussian", "poisson"):
        raise ObservationError(f"parameter {name}: constraint {parameter.constraint}; give none, gaussian or poisson")
    if parameter.constraint == "gaussian" and not 0 < parameter.width < math.inf:
        raise ObservationError(f"parameter {name}: width {parameter.width:g}; give a number > 0")
    if parameter.constraint == "poisson" and not 0 < parameter.tau < math.inf:
        raise ObservationError(f"parameter {name}: tau {parameter.tau:g}; give a finite number > 0")
    if not (math.isfinite(value) and parameter.low <= value <= parameter.high):
        raise ObservationError(
            f"parameter {name}: nominal value {value:g} is not in [{parameter.low:g}, {parameter.high:g}]"
        )


def _check_effect(model: BinnedModel, effect: Interpolation | Scale) -> None:
    """Refuse an effect on what is not there, or of a wrong size."""
    for what, index, known in (
        ("parameter", effect.parameter, model.n_parameters),
        ("sample", effect.sample, len(model.samples)),
    ):
        if not 0 <= index < known:
            raise ObservationError(f"an effect names {what} {index}, there are {known}, from 0")
    where = f"{model.parameters[effect.parameter].name} on {model.samples[effect.sample]}"
    if isinstance(effect, Scale):
        if not 0 <= effect.first < effect.last <= model.n_bins:
            raise ObservationError(f"{where}: bins {effect.first} to {effect.last}, there are {model.n_bins}")
        return
    length = 1 if effect.kind == "factor" else model.n_bins
    for name, numbers in (("down", effect.down), ("up", effect.up)):
        if len(numbers) != length:
            raise ObservationError(f"{where}: {name} has {len(numbers)} numbers, a {effect.kind} has {length}")
        wrong = [x for x in numbers if not math.isfinite(x) or (effect.kind == "factor" and x <= 0)]
        if wrong:
            raise ObservationError(
                f"{where}: {name} = {wrong[0]:g}; give a number" + (" > 0" if effect.kind == "factor" else "")
            )


def _check_pairs(model: BinnedModel) -> None:
    """Refuse effects given twice, and parameters that multiply, nominally 1, and interpolate, nominally 0."""
    seen: set[tuple[object, ...]] = set()
    multiplies: dict[int, bool] = {}
    for effect in model.effects:
        name = model.parameters[effect.parameter].name
        if multiplies.setdefault(effect.parameter, isinstance(effect, Scale)) != isinstance(effect, Scale):
            raise ObservationError(f"parameter {name} multiplies and interpolates: give two")
        bins: range | tuple[str] = range(effect.first, effect.last) if isinstance(effect, Scale) else (effect.kind,)
        for part in bins:
            key = effect.parameter, effect.sample, part
            if key in seen:
                raise ObservationError(f"two effects of {name} on {model.samples[effect.sample]}: give one")
            seen.add(key)


def _times(row: tuple[float, ...], factor: float) -> tuple[float, ...]:
    return tuple(each * factor for each in row)


_SYMMETRIC = 1e-12
"""Of the differences of up and down to nominal, relative: below it there is no kink at 0."""


def _compile(model: BinnedModel) -> Compiled:
    """Flatten a model; samples of the same factors and multipliers, and without shapes, become one."""
    groups: dict[Any, list[int]] = {}
    for index in range(len(model.samples)):
        effects = [each for each in model.effects if each.sample == index]
        alike = tuple(sorted(json.dumps([type(each).__name__, asdict(replace(each, sample=0))]) for each in effects))
        shapes = any(isinstance(each, Interpolation) and each.kind == "shape" for each in effects)
        groups.setdefault((model.signal[index], alike, index if shapes else -1), []).append(index)
    nominal = np.array([np.sum([model.nominal[index] for index in group], axis=0) for group in groups.values()])
    floor = np.zeros(nominal.shape)
    numbers = [_constraint(each) for each in model.parameters]
    templates: list[FloatArray] = []
    samples: list[list[int]] = []
    entries: list[list[int]] = []
    spans = [[model.n_bins, 0] for _ in model.parameters]
    for row, group in enumerate(groups.values()):
        first = len(entries)
        for effect in (each for each in model.effects if each.sample == group[0]):
            left, right, at = 0, model.n_bins, 0
            parameter = numbers[effect.parameter]
            if isinstance(effect, Scale):
                kind, left, right = SCALE, effect.first, effect.last
                parameter[4], parameter[7] = max(parameter[4], LEAST), 1.0
            elif effect.kind == "factor":
                kind, at = FACTOR if effect.smooth else FACTOR_LINES, len(numbers)
                numbers.append(_factor_coefficients(effect.down[0], effect.up[0]))
                if not effect.smooth and numbers[at][0] != numbers[at][1]:
                    parameter[6] = 1.0
            else:
                kind, at = SHAPE if effect.smooth else SHAPE_LINES, 2 * len(nominal) + len(templates)
                down, up = nominal[row] - np.array(effect.down), np.array(effect.up) - nominal[row]
                scale = np.maximum(nominal[row], np.maximum(abs(down), abs(up)))
                straight = abs(up - down) <= _SYMMETRIC * scale
                down[straight] = up[straight] = 0.5 * (down + up)[straight]
                templates += [down, up]
                floor[row] = np.maximum(floor[row], FLOOR * scale)
                if not effect.smooth and not straight.all():
                    parameter[6] = 1.0
            entries.append([kind, effect.parameter, left, right, at, row])
            span = spans[effect.parameter]
            span[:] = min(span[0], left), max(span[1], right)
        kinds = {entry[0] for entry in entries[first:]}
        shaped, scaled = not kinds.isdisjoint((SHAPE, SHAPE_LINES)), SCALE in kinds
        samples.append([model.signal[group[0]], first, len(entries), shaped, scaled, 0])
    kinks = any(parameter[6] for parameter in numbers[: model.n_parameters])
    layout = [
        [len(samples), len(entries), model.n_parameters, kinks, 0, 0],
        *samples,
        *entries,
        *([low, high, 0, 0, 0, 0] for low, high in spans),
    ]
    return Compiled(
        np.array(layout, np.int64),
        np.array(numbers, np.float64).reshape(-1, 8),
        np.vstack([nominal, floor, *templates]),
    )


def _constraint(parameter: Parameter) -> list[float]:
    """Return the kind of a constraint, its numbers, the bounds; nothing that has a kink or multiplies."""
    counted = parameter.constraint == "poisson"
    kind = {"none": FREE, "gaussian": GAUSSIAN, "poisson": POISSON}[parameter.constraint]
    low = max(parameter.low, LEAST) if counted else parameter.low
    return [kind, parameter.value, parameter.width, parameter.tau, low, parameter.high, 0.0, float(counted)]


def _factor_coefficients(down: float, up: float) -> list[float]:
    """Return the rates of the exponentials below and above, and of the polynomial between them, alpha to alpha^6.

    References
    ----------
    .. [1] K. Cranmer et al., HistFactory, CERN-OPEN-2012-016, Section 4.1.
    """
    low, high = math.log(down), math.log(up)
    if abs(low + high) <= _SYMMETRIC:
        low, high = 0.5 * (low - high), 0.5 * (high - low)
    # value, slope and second derivative of the exponentials at 1 and -1: their even and odd parts
    even = [0.5 * (up + down) - 1.0, 0.5 * (high * up + low * down), 0.5 * (high * high * up + low * low * down)]
    odd = [0.5 * (up - down), 0.5 * (high * up - low * down), 0.5 * (high * high * up - low * low * down)]
    return [
        -low,
        high,
        (15.0 * odd[0] - 7.0 * odd[1] + odd[2]) / 8.0,
        3.0 * even[0] - (9.0 * even[1] - even[2]) / 8.0,
        (-10.0 * odd[0] + 10.0 * odd[1] - 2.0 * odd[2]) / 8.0,
        -3.0 * even[0] + (14.0 * even[1] - 2.0 * even[2]) / 8.0,
        (3.0 * odd[0] - 3.0 * odd[1] + odd[2]) / 8.0,
        even[0] - (5.0 * even[1] - even[2]) / 8.0,
    ]
