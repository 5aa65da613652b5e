"""Workspaces of HistFactory in JSON: a binned model, and what was observed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np

from covsvc.binned_model import BinnedModel, Interpolation, Parameter, Scale
from covsvc.contracts import Binned
from covsvc.errors import ObservationError, UnknownName
from covsvc.files import read_text

_MOST_BYTES = 100_000_000
"""Size of a file, at most."""

_SETTINGS = {
    "normfactor": {"inits", "bounds", "fixed"},
    "normsys": {"inits", "bounds", "fixed", "auxdata"},
    "histosys": {"inits", "bounds", "fixed", "auxdata"},
    "shapesys": {"inits", "bounds", "fixed", "auxdata", "factors"},
    "staterror": {"inits", "bounds", "fixed", "auxdata", "sigmas"},
    "lumi": {"inits", "bounds", "fixed", "auxdata", "sigmas"},
}
"""Kinds of modifiers, and what a measurement can say of the parameters of each."""

_KINDS = {str: "text", list: "list", bool: "truth value", type(None): "null"}

_INTERPOLATES = ("normsys", "histosys")
"""Kinds whose parameter is 0 at the nominal yields, and may be shared; that of the others is 1 there."""

Smoothness = Literal["smooth", "linear"]


@dataclass(frozen=True, eq=False)
class Workspace:
    """The model of one measurement of a workspace, and its observation.

    Attributes
    ----------
    model : BinnedModel
        Bins in the order of the channels in the workspace. What is fixed is no parameter of it. The parameters of
        several bins are told apart as ``name[0]``, ``name[1]``, ..., numbers those of the bins that the modifier
        holds. A luminosity is told over its nominal value.
    counts : tuple of int, shape (bin,)
        Observed events.
    auxiliary : tuple of float, shape (parameter,)
        What constrains the parameters, as `Binned` takes it.
    channels : dict of str to tuple of int
        First bin of each channel, and the one after its last.
    measurement, poi : str
        Name of the measurement, and of the normfactor that is the strength of the signal.
    """

    model: BinnedModel
    counts: tuple[int, ...]
    auxiliary: tuple[float, ...]
    channels: dict[str, tuple[int, int]]
    measurement: str
    poi: str

    @property
    def observed(self) -> Binned:
        """The observation of the workspace."""
        return Binned([self.counts], [self.auxiliary], self.model)


def read_workspace(path: str | Path) -> dict[str, Any]:
    """Return the content of a JSON file.

    Raises
    ------
    ObservationError
        If the file cannot be read, or is no JSON, with its line.
    """
    try:
        content = json.loads(read_text(path, _MOST_BYTES), object_pairs_hook=_once)
    except OSError as error:
        raise ObservationError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ObservationError(f"{path}: is no UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ObservationError(f"{path}:{error.lineno}:{error.colno}: no JSON: {error.msg}") from None
    except RecursionError:
        raise ObservationError(f"{path}: no JSON: nested too deeply") from None
    except ObservationError as error:
        raise ObservationError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        # its content is not told: a study may name any file that its user can read
        kind = _KINDS.get(type(content), "number")
        raise ObservationError(f"{path}: no workspace: holds a {kind}, no mapping")
    return content


def workspace_of(
    given: str | Path | Mapping[str, Any], measurement: str | None = None, interpolation: Smoothness = "smooth"
) -> Workspace:
    """Return the model and the observation of a workspace.

    Supported are the modifiers normfactor, normsys, histosys, shapesys, staterror and lumi. Samples that the parameter
    of interest multiplies are signal. Its own bounds and initial value, and those of others where they are not fixed,
    are of no account, but other bounds are kept; without them, what multiplies yields is >= 0.

    Parameters
    ----------
    given : str, Path or mapping
        A JSON file, or its content.
    measurement : str, optional
        The first unless named.
    interpolation : str
        Between templates: ``"smooth"``, by the polynomials of codes 4 (factors) and 4p (shapes), or ``"linear"``, by
        the exponentials of code 1 (factors) and the lines of code 0 (shapes).

    Raises
    ------
    ObservationError
        If something is missing, unknown, not supported or no possible value; the message names where.

    References
    ----------
    .. [1] K. Cranmer, G. Lewis, L. Moneta, A. Shibata and W. Verkerke, CERN-OPEN-2012-016 (HistFactory).
    .. [2] ATLAS Collaboration, ATL-PHYS-PUB-2019-029, for the JSON form.
    """
    content = given if isinstance(given, Mapping) else read_workspace(given)
    told = _values("workspace", content, ("channels", "observations", "measurements"), ("version",))
    version = told.get("version", "1.0.0")
    if not (isinstance(version, str) and version.startswith("1.")):
        raise ObservationError(f"version = {_told(version)}: workspaces of version 1 are supported")
    channels, samples = _samples(told["channels"])
    name, poi, settings = _measurement(told["measurements"], measurement)
    _check_names(samples, poi)
    assembly = _Assembly(samples, poi, settings, smooth=interpolation == "smooth")
    model = assembly.model()
    counts = _observations(told["observations"], channels)
    return Workspace(model, counts, tuple(assembly.auxiliary), channels, name, poi)


@dataclass(frozen=True)
class _Modifier:
    kind: str
    name: str
    data: Any
    place: str


@dataclass(frozen=True)
class _Sample:
    """A sample in one channel, which holds the bins first..last - 1."""

    name: str
    channel: str
    first: int
    yields: tuple[float, ...]
    modifiers: tuple[_Modifier, ...]

    @property
    def last(self) -> int:
        return self.first + len(self.yields)

    def scaled_by(self, poi: str) -> bool:
        return any(each.kind == "normfactor" and each.name == poi for each in self.modifiers)


@dataclass
class _Assembly:
    """The model that grows from the modifiers of all samples.

    Samples of one name are one sample of the model unless they are signal in one channel only, or have different
    factors (normsys), which hold in all bins.
    """

    samples: Sequence[_Sample]
    poi: str
    settings: Mapping[str, Mapping[str, Any]]
    smooth: bool
    parameters: list[Parameter] = field(default_factory=list)
    auxiliary: list[float] = field(default_factory=list)
    effects: dict[Interpolation | Scale, None] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.n_bins = max(each.last for each in self.samples)
        rows = [(each.name, each.scaled_by(self.poi), _factors(each)) for each in self.samples]
        self.rows = {row: index for index, row in enumerate(dict.fromkeys(rows))}
        self.row_of = [self.rows[row] for row in rows]
        self.nominal = np.zeros((len(self.rows), self.n_bins))
        self.fixed_scale = np.ones_like(self.nominal)
        self.templates: dict[tuple[int, int], dict[int, _Modifier]] = {}
        self.relative_errors = _relative_errors(self.samples)
        for sample, row in zip(self.samples, self.row_of, strict=True):
            self.nominal[row, sample.first : sample.last] = sample.yields

    def model(self) -> BinnedModel:
        for sample, row in zip(self.samples, self.row_of, strict=True):
            for modifier in sample.modifiers:
                if modifier.kind == "normfactor":
                    if modifier.name != self.poi:
                        self._scale(modifier, row, sample.first, sample.last, Parameter(modifier.name, "none", 1.0))
                elif modifier.kind == "normsys":
                    self._factor(modifier, row)
                elif modifier.kind == "histosys":
                    self._shape(modifier, row, sample)
                elif modifier.kind == "lumi":
                    self._luminosity(modifier, row, sample)
                elif modifier.kind == "shapesys":
                    self._free_bins(modifier, row, sample)
                else:
                    self._shared_bins(modifier, row, sample)
        nominal = self.nominal * self.fixed_scale
        for (parameter, row), modifiers in self.templates.items():
            down, up = (self._template(row, modifiers, key) for key in ("lo_data", "hi_data"))
            self.effects[Interpolation(parameter, row, "shape", down, up, self.smooth)] = None
        signal = tuple(scaled for _, scaled, _ in self.rows)
        if not nominal[list(signal)].sum() > 0:
            raise ObservationError(f"{self.poi}: the samples that it multiplies have no yields above 0")
        return BinnedModel(
            self._row_names(), tuple(map(tuple, nominal.tolist())), signal, tuple(self.parameters), tuple(self.effects)
        )

    def _row_names(self) -> tuple[str, ...]:
        channel = {row: sample.channel for sample, row in zip(reversed(self.samples), self.row_of[::-1], strict=True)}
        names = [name for name, _, _ in self.rows]
        return tuple(name if names.count(name) == 1 else f"{name} in {channel[row]}" for row, name in enumerate(names))

    def _scale(
        self, modifier: _Modifier, row: int, first: int, last: int, parameter: Parameter, place: int = 0
    ) -> None:
        """Let a parameter multiply yields, or its value where it is fixed."""
        if self._setting(modifier, "fixed"):
            self.fixed_scale[row, first:last] *= self._number(modifier, "inits", place, 1.0)
        else:
            self.effects[Scale(self._parameter(modifier, parameter, place), row, first, last)] = None

    def _factor(self, modifier: _Modifier, row: int) -> None:
        low, high = _factor_of(modifier)
        if not self._fixed_at_0(modifier):
            effect = Interpolation(self._interpolating(modifier), row, "factor", (low,), (high,), self.smooth)
            self.effects[effect] = None  # in all channels of the row the same

    def _shape(self, modifier: _Modifier, row: int, sample: _Sample) -> None:
        data = _values(modifier.place, modifier.data, ("lo_data", "hi_data"), part="data")
        for key in ("lo_data", "hi_data"):
            _row(f"{key} of {modifier.place}", data[key], len(sample.yields))
        if not self._fixed_at_0(modifier):
            self.templates.setdefault((self._interpolating(modifier), row), {})[sample.first] = modifier

    def _template(self, row: int, modifiers: Mapping[int, _Modifier], key: str) -> tuple[float, ...]:
        template = self.nominal[row].copy()
        for first, modifier in modifiers.items():
            template[first : first + len(modifier.data[key])] = modifier.data[key]
        return tuple((template * self.fixed_scale[row]).tolist())

    def _luminosity(self, modifier: _Modifier, row: int, sample: _Sample) -> None:
        given = {key: self._number(modifier, key, 0, math.nan) for key in ("auxdata", "sigmas")}
        missing = [key for key, value in given.items() if math.isnan(value)]
        if missing:
            raise ObservationError(
                f"{modifier.place}: the measurement's parameters tell no {' and no '.join(missing)} of it"
            )
        for key, value in given.items():
            if not value > 0:
                raise ObservationError(f"{key} = {value:g} of {modifier.name}: a luminosity is above 0")
        if self._setting(modifier, "fixed"):
            self.fixed_scale[row, sample.first : sample.last] *= self._number(modifier, "inits", 0, given["auxdata"])
            return
        self.fixed_scale[row, sample.first : sample.last] *= given["auxdata"]
        width = given["sigmas"] / given["auxdata"]
        self._scale(modifier, row, sample.first, sample.last, Parameter(modifier.name, "gaussian", 1.0, width))

    def _free_bins(self, modifier: _Modifier, row: int, sample: _Sample) -> None:
        errors = _errors(modifier, sample)
        for place, (events, error) in enumerate(zip(sample.yields, errors, strict=True)):
            if events > 0 and error > 0:
                ratio = events / error  # its square by a power would raise where it is too large
                tau = self._number(modifier, "factors", place, ratio * ratio)
                parameter = Parameter(f"{modifier.name}[{place}]", "poisson", 1.0, tau=tau)
                self._scale(modifier, row, sample.first + place, sample.first + place + 1, parameter, place)

    def _shared_bins(self, modifier: _Modifier, row: int, sample: _Sample) -> None:
        for place, (at, error) in enumerate(self.relative_errors[modifier.name].items()):
            if sample.first <= at < sample.last and error > 0:
                width = self._number(modifier, "sigmas", place, error)
                parameter = Parameter(f"{modifier.name}[{place}]", "gaussian", 1.0, width)
                self._scale(modifier, row, at, at + 1, parameter, place)

    def _interpolating(self, modifier: _Modifier) -> int:
        return self._parameter(modifier, Parameter(modifier.name, low=-math.inf))

    def _parameter(self, modifier: _Modifier, parameter: Parameter, place: int = 0) -> int:
        """Return the number of a parameter, with what the measurement says of it."""
        if self.origins.setdefault(parameter.name, modifier.name) != modifier.name:
            raise ObservationError(f"{modifier.place}: one of its parameters has the name {parameter.name} of another")
        if parameter.name not in self.numbers:
            scale = self._number(modifier, "auxdata", 0, 1.0) if modifier.kind == "lumi" else 1.0
            usual = parameter.tau if parameter.constraint == "poisson" else parameter.value * scale
            measured = self._number(modifier, "auxdata", place, usual) / scale
            low, high = self._bounds(modifier, place, parameter.value)
            self.numbers[parameter.name] = len(self.parameters)
            self.parameters.append(
                Parameter(
                    parameter.name,
                    parameter.constraint,
                    parameter.value,
                    parameter.width,
                    parameter.tau,
                    low / scale,
                    high / scale,
                )
            )
            self.auxiliary.append(0.0 if parameter.constraint == "none" else measured)
        return self.numbers[parameter.name]

    def _fixed_at_0(self, modifier: _Modifier) -> bool:
        if not self._setting(modifier, "fixed"):
            return False
        at = self._number(modifier, "inits", 0, 0.0)
        if at:
            raise ObservationError(
                f"{modifier.place}: is fixed at {at:g}; what interpolates between templates can be fixed at 0 only"
            )
        return True

    def _bounds(self, modifier: _Modifier, place: int, nominal: float) -> tuple[float, float]:
        bounds = self._setting(modifier, "bounds")
        if bounds is None:
            return (0.0 if nominal else -math.inf), math.inf
        if len(_list(f"bounds of {modifier.name}", bounds)) != self._length(modifier):
            raise ObservationError(
                f"bounds of {modifier.name}: holds {len(bounds)} pairs, not {self._length(modifier)}"
            )
        low, high = _row(f"bounds of {modifier.name}", bounds[place], 2)
        if not low < high:
            raise ObservationError(f"bounds of {modifier.name}: {low:g} is not below {high:g}")
        return low, high

    def _setting(self, modifier: _Modifier, key: str) -> Any:
        """Return what the measurement says of a parameter; None if nothing."""
        settings = self.settings.get(modifier.name, {})
        for other in settings:
            if other not in _SETTINGS[modifier.kind]:
                raise ObservationError(f"{other} of {modifier.name}: the parameter of a {modifier.kind} has none")
        return settings.get(key)

    def _number(self, modifier: _Modifier, key: str, place: int, usual: float) -> float:
        given = self._setting(modifier, key)
        return usual if given is None else _row(f"{key} of {modifier.name}", given, self._length(modifier))[place]

    def _length(self, modifier: _Modifier) -> int:
        """Return how many parameters a modifier has, those of bins without an error among them."""
        if modifier.kind == "staterror":
            return len(self.relative_errors[modifier.name])
        return len(modifier.data) if modifier.kind == "shapesys" else 1


def _samples(given: Any) -> tuple[dict[str, tuple[int, int]], list[_Sample]]:
    channels: dict[str, tuple[int, int]] = {}
    samples: list[_Sample] = []
    first = 0
    for number, channel in enumerate(_list("channels", given)):
        told = _values(f"channels[{number}]", channel, ("name", "samples"))
        where = f"channel {_name(f'channels[{number}]', told)!r}"
        if told["name"] in channels:
            raise ObservationError(f"{where}: stands twice")
        found = [_sample(each, at, told["name"], first) for at, each in enumerate(_list(where, told["samples"]))]
        for each in found:
            if len(each.yields) != len(found[0].yields):
                raise ObservationError(
                    f"sample {each.name!r} in {where}: data holds {len(each.yields)} yields, but that of "
                    f"{found[0].name!r} {len(found[0].yields)}"
                )
            if [other.name for other in found].count(each.name) > 1:
                raise ObservationError(f"sample {each.name!r} in {where}: stands twice")
        channels[told["name"]] = first, found[0].last
        first = found[0].last
        samples += found
    return channels, samples


def _sample(given: Any, number: int, channel: str, first: int) -> _Sample:
    where = f"channel {channel!r}"
    told = _values(f"samples[{number}] of {where}", given, ("name", "data", "modifiers"))
    name = _name(f"samples[{number}] of {where}", told)
    place = f"sample {name!r} in {where}"
    yields = _row(f"data of {place}", told["data"])
    if not yields:
        raise ObservationError(f"data of {place}: holds no yields")
    if min(yields) < 0:
        raise ObservationError(f"data of {place}: {min(yields):g}: expected events are not negative")
    if not isinstance(told["modifiers"], Sequence):
        raise ObservationError(f"modifiers of {place}: {_told(told['modifiers'])} is no list")
    modifiers = tuple(
        _modifier(each, at, f"of sample {name!r} in {where}") for at, each in enumerate(told["modifiers"])
    )
    keys = [(each.kind, each.name) for each in modifiers]
    for modifier, key in zip(modifiers, keys, strict=True):
        if keys.count(key) > 1:
            raise ObservationError(f"{modifier.place}: stands twice")
    return _Sample(name, channel, first, yields, modifiers)


def _modifier(given: Any, number: int, where: str) -> _Modifier:
    told = _values(f"modifiers[{number}] {where}", given, ("name", "type"), ("data",))
    name = _name(f"modifiers[{number}] {where}", told)
    kind = told["type"]
    place = f"{kind} {name!r} {where}"
    if kind not in _SETTINGS:
        raise ObservationError(f"{place} is not supported; supported are {', '.join(_SETTINGS)}")
    return _Modifier(kind, name, told.get("data"), place)


def _measurement(given: Any, wanted: str | None) -> tuple[str, str, dict[str, Mapping[str, Any]]]:
    """Return the name of a measurement, that of its parameter of interest, and what it says of parameters."""
    found = {}
    for number, each in enumerate(_list("measurements", given)):
        where = f"measurements[{number}]"
        told = _values(where, each, ("name", "config"))
        found[_name(where, told)] = told["config"]
    if wanted is not None and wanted not in found:
        raise ObservationError(str(UnknownName.of("measurement", wanted, found)))
    name = next(iter(found)) if wanted is None else wanted
    where = f"measurement {name!r}"
    config = _values(where, found[name], ("poi",), ("parameters",), part="config")
    if not (isinstance(config["poi"], str) and config["poi"]):
        raise ObservationError(f"{where}: poi = {_told(config['poi'])}: name the normfactor of the signal")
    parameters = config.get("parameters", [])
    if not isinstance(parameters, Sequence) or isinstance(parameters, str):
        raise ObservationError(f"parameters of {where}: {_told(parameters)} is no list")
    settings: dict[str, Mapping[str, Any]] = {}
    for number, each in enumerate(parameters):
        place = f"parameters[{number}] of {where}"
        told = _values(place, each, ("name",), ("inits", "bounds", "auxdata", "factors", "sigmas", "fixed"))
        if _name(place, told) in settings:
            raise ObservationError(f"parameter {told['name']!r} of {where}: stands twice")
        if not isinstance(told.get("fixed", False), bool):
            raise ObservationError(f"parameter {told['name']!r} of {where}: fixed is true or false")
        settings[told["name"]] = {key: value for key, value in told.items() if key != "name"}
    if settings.get(config["poi"], {}).get("fixed"):
        raise ObservationError(f"{where}: its parameter of interest, {config['poi']}, is fixed")
    return name, config["poi"], settings


def _check_names(samples: Sequence[_Sample], poi: str) -> None:
    """Refuse a parameter of interest that multiplies no signal, and names that parameters cannot share."""
    first: dict[str, _Modifier] = {}
    for sample in samples:
        for each in sample.modifiers:
            other = first.setdefault(each.name, each)
            if each.kind != other.kind and not {each.kind, other.kind} <= set(_INTERPOLATES):
                raise ObservationError(f"{each.place}: shares its name with {other.place}; give one another name")
            if each.kind == "shapesys" and each is not other:
                raise ObservationError(f"{each.place}: shares its name with {other.place}, which no shapesys may do")
    if poi not in first:
        normfactors = [name for name, each in first.items() if each.kind == "normfactor"]
        raise ObservationError(str(UnknownName.of("parameter of interest", poi, normfactors)))
    if first[poi].kind != "normfactor":
        raise ObservationError(f"{first[poi].place}: is the parameter of interest, which must be a normfactor")


def _observations(given: Any, channels: Mapping[str, tuple[int, int]]) -> tuple[int, ...]:
    found: dict[str, Any] = {}
    for number, each in enumerate(_list("observations", given)):
        told = _values(f"observations[{number}]", each, ("name", "data"))
        name = _name(f"observations[{number}]", told)
        if name in found:
            raise ObservationError(f"observation of channel {name!r}: stands twice")
        if name not in channels:
            raise ObservationError(f"observations: {UnknownName.of('channel', name, channels)}")
        found[name] = told["data"]
    counts: list[int] = []
    for name, (first, last) in channels.items():
        if name not in found:
            raise ObservationError(f"observations: holds none of channel {name!r}")
        for n in _row(f"observation of channel {name!r}", found[name], last - first):
            if n < 0 or n != n // 1:
                raise ObservationError(f"observation of channel {name!r}: {n:g}: a count is a whole number >= 0")
            counts.append(int(n))
    return tuple(counts)


def _relative_errors(samples: Sequence[_Sample]) -> dict[str, dict[int, float]]:
    """Return of each staterror, by bin, the error of all its samples together over their yields."""
    sums: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for sample in samples:
        for modifier in sample.modifiers:
            if modifier.kind == "staterror":
                errors = _errors(modifier, sample)
                for at, pair in enumerate(zip(sample.yields, errors, strict=True), sample.first):
                    sums.setdefault((modifier.name, at), []).append(pair)
    found: dict[str, dict[int, float]] = {}
    for (name, at), pairs in sorted(sums.items()):
        total = sum(events for events, _ in pairs)
        found.setdefault(name, {})[at] = math.hypot(*(error for _, error in pairs)) / total if total > 0 else 0.0
    return found


def _errors(modifier: _Modifier, sample: _Sample) -> tuple[float, ...]:
    errors = _row(f"data of {modifier.place}", modifier.data, len(sample.yields))
    if min(errors) < 0:
        raise ObservationError(f"data of {modifier.place}: {min(errors):g}: an error is not negative")
    return errors


def _factors(sample: _Sample) -> tuple[tuple[str, float, float], ...]:
    return tuple(sorted((each.name, *_factor_of(each)) for each in sample.modifiers if each.kind == "normsys"))


def _factor_of(modifier: _Modifier) -> tuple[float, float]:
    data = _values(modifier.place, modifier.data, ("lo", "hi"), part="data")
    low, high = _row(modifier.place, [data["lo"], data["hi"]])
    for key, value in (("lo", low), ("hi", high)):
        if not value > 0:
            raise ObservationError(f"{key} = {value:g} of {modifier.place}: a factor is above 0")
    return low, high


def _values(
    where: str, given: Any, needed: Sequence[str], possible: Sequence[str] = (), *, part: str = ""
) -> Mapping[str, Any]:
    """Return a mapping that has all keys that it needs and no others."""
    at = f"{part} of {where}" if part else where
    if not isinstance(given, Mapping):
        raise ObservationError(f"{at}: {_told(given)} is no mapping")
    for key in needed:
        if key not in given:
            raise ObservationError(f"{at}: has no {key}")
    for key in given:
        if key not in (*needed, *possible):
            raise ObservationError(f"{at}: {UnknownName.of('key', str(key), [*needed, *possible])}")
    return given


def _name(where: str, told: Mapping[str, Any]) -> str:
    if not (isinstance(told["name"], str) and told["name"]):
        raise ObservationError(f"{where}: name = {_told(told['name'])} is no text")
    return told["name"]


def _list(where: str, given: Any) -> Sequence[Any]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise ObservationError(f"{where}: {_told(given)} is no list, or an empty one")
    return given


def _row(where: str, given: Any, length: int | None = None) -> tuple[float, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ObservationError(f"{where}: {_told(given)} is no list of numbers")
    for value in given:
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise ObservationError(f"{where}: {_told(value)} is no finite number")
    if length is not None and len(given) != length:
        raise ObservationError(f"{where}: holds {len(given)} numbers, not {length}")
    return tuple(float(value) for value in given)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ObservationError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return found


def _told(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 60 else f"{told[:57]}..."
