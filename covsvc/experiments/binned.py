"""Counts in bins, of templates with nuisance parameters."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from covsvc.binned_model import BinnedModel, Interpolation, Parameter, Scale
from covsvc.contracts import MOST_EVENTS, Binned, Counts, FloatArray
from covsvc.errors import CovsvcError, ObservationError, UnknownName
from covsvc.kernels.binned import draw, expected
from covsvc.kernels.poisson import TAIL, support
from covsvc.workspace import Workspace, read_workspace, workspace_of

SIGNAL, BACKGROUND = "signal", "background"
"""Names of samples that are given without one."""


@dataclass(frozen=True)
class BinnedCounts:
    """Draw counts in bins, and the measurements that constrain the nuisance parameters.

    The model is given by `signal` and `backgrounds`, with `nuisances` and `uncorrelated` errors; or by a `workspace`.
    b is the total of the background templates, which are scaled to it, their relative uncertainties as they are;
    s_true is the strength of the signal times the total of its template.

    Notes
    -----
    An analyst who reads `Counts` reads the total of the bins, and takes b, the nominal background, as known.
    """

    signal: Sequence[float] = ()
    """Expected signal events of each bin at strength 1."""
    backgrounds: dict[str, Sequence[float]] | Sequence[float] = ()
    """Expected background events of each bin, or those of samples by name."""
    nuisances: dict[str, dict[str, Any]] | None = None
    """Parameters by name. With ``impacts``, it has a Gaussian measurement of width 1 about 0 and changes the yields of
    samples by so much of them per unit: a number, or one for each bin, by the name of the sample. With ``tau`` and
    ``scales``, it multiplies the yields of these samples, and is measured by a count of expectation tau times it."""
    uncorrelated: dict[str, Sequence[float]] | Sequence[float] = ()
    """Error of the background in each bin, each independent of the others, known from a count of as large a relative
    error; of samples by name if there are several. The parameters are ``background[0]``, ``background[1]``, ..."""
    workspace: str | dict[str, Any] | None = None
    """A workspace in JSON: its file, or its content; a file is read at once, and the content kept."""
    measurement: str | None = None
    """Of several measurements in the workspace, which; the first unless named."""
    interpolation: Literal["smooth", "linear"] = "smooth"
    """Between the templates of the workspace: polynomials, or lines and exponentials with a kink at 0."""
    theta_true: dict[str, float] | None = None
    """True values of nuisance parameters by name; nominal ones are 0 for what is in standard deviations, 1 for what
    multiplies yields."""

    gives: ClassVar[tuple[type, ...]] = (Binned, Counts)
    files: ClassVar[tuple[str, ...]] = ("workspace",)

    def __post_init__(self) -> None:
        if self.workspace is not None:
            self._keep_workspace()
        else:
            self._keep_templates()
        object.__setattr__(self, "theta_true", self._checked_truth())

    def __hash__(self) -> int:
        """Return a hash of the options, whatever the order of their keys."""
        return hash(json.dumps(asdict(self), sort_keys=True))

    @property
    def plugs_in(self) -> tuple[type, ...]:
        """Where there are nuisance parameters, plain counts take the nominal background for the truth."""
        return (Counts,) if self._nominal.parameters else ()

    def model(self, b: float) -> BinnedModel:
        """Return the model with a nominal background of `b`, which the analyst knows."""
        told = self._nominal
        # a study knows b to 12 digits; the model of its toys and that of real data are to be one
        return told if math.isclose(b, told.background_events, rel_tol=1e-11) else told.scaled_to(b)

    def toys(self, s_true: float, b: float, size: int, rng: np.random.Generator) -> tuple[Any, ...]:
        """Draw `size` counts in bins, and measurements of the nuisance parameters about their true values.

        Raises
        ------
        ObservationError
            If a toy could have more events than an observation may.
        """
        model = self.model(b)
        mu, theta = s_true / model.signal_events, self._truth()
        total = float(expected(model.compiled, np.array([mu]), theta[None]).sum())
        highest = support(total, TAIL)[1]
        if highest > MOST_EVENTS:
            raise ObservationError(
                f"{total:g} expected events: up to {highest:,} may come, more than {MOST_EVENTS:,}; take a smaller "
                "s_true or b"
            )
        counts, auxiliary = draw(model, mu, theta, size, rng)
        return Binned.drawn(counts, auxiliary, model), Counts(counts.sum(axis=1), b)

    def observe(self, data: dict[str, Any]) -> tuple[Any, ...]:
        """Return the views of real data.

        `data` holds counts, observed events bin by bin, or those of channels of the workspace by name; and auxiliary,
        measurements of all nuisance parameters in their order, or of some by name, those of the others being what the
        workspace tells, else nominal. Without any the observation is that of the workspace.
        """
        if not set(data) <= {"counts", "auxiliary"} or ("counts" not in data and self._told is None):
            raise ObservationError(
                "an observation of binned is given by counts and, where they are not nominal, auxiliary measurements"
                f"{', or by nothing, for that of the workspace' if self._told else ''}, not by "
                f"{', '.join(data) or 'nothing'}"
            )
        counts = np.atleast_2d(_array("counts", self._counts(data.get("counts"))))
        auxiliary = _array("auxiliary", self._auxiliary(data.get("auxiliary", {})))
        if auxiliary.ndim == 1:
            auxiliary = np.tile(auxiliary, (len(counts), 1))
        binned = Binned(counts, auxiliary, self._nominal)
        return binned, Counts(binned.counts.sum(axis=1), self._nominal.background_events)

    def background(self, data: dict[str, Any], *, no_signal: bool = False) -> float:  # noqa: ARG002 - b is told
        """Return the nominal background."""
        return self._nominal.background_events

    @cached_property
    def _told(self) -> Workspace | None:
        if self.workspace is None:
            return None
        return workspace_of(self.workspace, self.measurement, self.interpolation)

    @cached_property
    def _nominal(self) -> BinnedModel:
        return self._told.model if self._told else self._of_templates()

    def _keep_workspace(self) -> None:
        for name in ("signal", "backgrounds", "nuisances", "uncorrelated"):
            if getattr(self, name):
                raise ValueError(f"{name}: is told by the workspace, give one of them")
        try:
            content = read_workspace(self.workspace) if isinstance(self.workspace, str) else self.workspace
            object.__setattr__(self, "workspace", _plain(content))
            _ = self._nominal
        except CovsvcError as error:
            option = "measurement" if "unknown measurement" in str(error) else "workspace"
            raise ValueError(f"{option}: {error}") from None

    def _keep_templates(self) -> None:
        if self.measurement is not None or self.interpolation != "smooth":
            raise ValueError("measurement and interpolation: are those of a workspace, and none is given")
        signal = _yields("signal", self.signal)
        backgrounds = _by_sample("backgrounds", self.backgrounds, [BACKGROUND], len(signal))
        if SIGNAL in backgrounds:
            raise ValueError("backgrounds: 'signal' is the name of the signal")
        if not sum(signal) > 0 or not backgrounds:
            raise ValueError(
                f"{'backgrounds' if sum(signal) > 0 else 'signal'}: give expected events of signal and background in "
                "each bin, or a workspace"
            )
        errors = _by_sample("uncorrelated", self.uncorrelated, list(backgrounds), len(signal))
        nuisances = {
            name: _nuisance(name, told, [SIGNAL, *backgrounds], len(signal))
            for name, told in (self.nuisances or {}).items()
        }
        for sample, at in product(errors, range(len(signal))):
            if f"{sample}[{at}]" in nuisances:
                raise ValueError(f"nuisances: {sample}[{at}]: is the name of an uncorrelated error")
        for name, value in (
            ("signal", signal),
            ("backgrounds", backgrounds),
            ("uncorrelated", errors or ()),
            ("nuisances", nuisances or None),
        ):
            object.__setattr__(self, name, value)
        try:
            _ = self._nominal
        except ObservationError as error:
            raise ValueError(f"nuisances: {error}") from None

    def _of_templates(self) -> BinnedModel:
        samples: dict[str, Sequence[float]] = {SIGNAL: self.signal, **_named(self.backgrounds)}
        nuisances, errors = self.nuisances or {}, _named(self.uncorrelated)
        row = {name: at for at, name in enumerate(samples)}
        parameters: list[Parameter] = []
        effects: list[Interpolation | Scale] = []
        for name, told in nuisances.items():
            for sample, impacts in told.get("impacts", {}).items():
                down, up = (
                    tuple(
                        events * (1.0 + sign * impact) for events, impact in zip(samples[sample], impacts, strict=True)
                    )
                    for sign in (-1.0, 1.0)
                )
                effects.append(Interpolation(len(parameters), row[sample], "shape", down, up, smooth=False))
            effects += [Scale(len(parameters), row[each], 0, len(self.signal)) for each in told.get("scales", ())]
            parameters.append(
                Parameter(name, "poisson", 1.0, tau=told["tau"], low=0.0) if "tau" in told else Parameter(name)
            )
        for sample, errors_of in errors.items():
            for at, (events, error) in enumerate(zip(samples[sample], errors_of, strict=True)):
                if events > 0 and error > 0:
                    effects.append(Scale(len(parameters), row[sample], at, at + 1))
                    tau = (events / error) ** 2
                    parameters.append(Parameter(f"{sample}[{at}]", "poisson", 1.0, tau=tau, low=0.0))
        signal = tuple(name == SIGNAL for name in samples)
        return BinnedModel(
            tuple(samples), tuple(map(tuple, samples.values())), signal, tuple(parameters), tuple(effects)
        )

    def _checked_truth(self) -> dict[str, float] | None:
        known = {each.name: each for each in self._nominal.parameters}
        for name, value in (self.theta_true or {}).items():
            if name not in known:
                raise ValueError(f"theta_true: {UnknownName.of('nuisance parameter', name, known)}")
            if not (math.isfinite(value) and known[name].low <= value <= known[name].high):
                raise ValueError(f"theta_true: {name} = {value:g}: lies in [{known[name].low:g}, {known[name].high:g}]")
        told = {name: float(value) for name, value in (self.theta_true or {}).items() if value != known[name].value}
        return told or None

    def _truth(self) -> FloatArray:
        told = self.theta_true or {}
        return np.array([told.get(each.name, each.value) for each in self._nominal.parameters], np.float64)

    def _counts(self, given: Any) -> Any:
        if given is None and self._told:
            return self._told.counts
        if not isinstance(given, Mapping):
            return given
        channels = self._told.channels if self._told else {}
        for name in given:
            if name not in channels:
                raise ObservationError(f"counts: {UnknownName.of('channel', str(name), channels)}")
        counts: list[Any] = []
        for name, (first, last) in channels.items():
            row = given.get(name)
            if not isinstance(row, Sequence | np.ndarray) or len(row) != last - first:
                raise ObservationError(f"counts: give {last - first} counts of channel {name!r}")
            counts += list(row)
        return counts

    def _auxiliary(self, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        names = [each.name for each in self._nominal.parameters]
        usual = self._told.auxiliary if self._told else self._nominal.nominal_auxiliary.tolist()
        for name, value in given.items():
            if name not in names:
                raise ObservationError(f"auxiliary: {UnknownName.of('nuisance parameter', str(name), names)}")
            if not _is_number(value):
                raise ObservationError(f"auxiliary of {name} = {value!r}: a finite number")
        return np.array([given.get(name, value) for name, value in zip(names, usual, strict=True)], np.float64)


def _array(name: str, given: Any) -> NDArray[Any]:
    try:
        return np.asarray(given)
    except ValueError:
        raise ObservationError(f"{name} = {given!r}: give a row of numbers, or rows as long as each other") from None


def _named(rows: Mapping[str, Sequence[float]] | Sequence[float]) -> Mapping[str, Sequence[float]]:
    return rows if isinstance(rows, Mapping) else {}


def _nuisance(name: str, told: Mapping[str, Any], samples: Sequence[str], n_bins: int) -> dict[str, Any]:
    """Return what is told of a nuisance parameter, with one impact a bin."""
    where = f"nuisances: {name}"
    if set(told) not in ({"impacts"}, {"tau", "scales"}):
        raise ValueError(f"{where}: is given by impacts, or by tau and scales, not by {', '.join(told) or 'nothing'}")
    if "tau" in told:
        scales = [told["scales"]] if isinstance(told["scales"], str) else told["scales"]
        if not isinstance(scales, Sequence) or not scales:
            raise ValueError(f"{where}: scales = {scales!r}: name the samples whose yields it multiplies")
        if not _is_number(told["tau"]) or not 0 < told["tau"] < math.inf:
            raise ValueError(f"{where}: tau = {told['tau']!r}: a number of events above 0")
        _check_samples(where, scales, samples)
        return {"tau": float(told["tau"]), "scales": tuple(sorted(set(scales)))}
    impacts = told["impacts"]
    if not isinstance(impacts, Mapping) or not impacts:
        raise ValueError(f"{where}: impacts = {impacts!r}: give those on samples by name")
    _check_samples(where, list(impacts), samples)
    rows = {each: [row] * n_bins if _is_number(row) else row for each, row in impacts.items()}
    return {"impacts": {each: _row(f"{where}: impacts on {each}", row, n_bins) for each, row in rows.items()}}


def _by_sample(name: str, given: Any, samples: Sequence[str], n_bins: int) -> dict[str, tuple[float, ...]]:
    """Return yields by the name of their sample."""
    if not given:
        return {}
    if not isinstance(given, Mapping):
        if len(samples) > 1:
            raise ValueError(f"{name}: there are several backgrounds, give it by name: {', '.join(samples)}")
        given = {samples[0]: given}
    if name == "uncorrelated":
        _check_samples(name, list(given), samples)
    return {sample: _yields(f"{name}: {sample}", row, n_bins) for sample, row in given.items()}


def _check_samples(where: str, given: Sequence[Any], samples: Sequence[str]) -> None:
    for each in given:
        if each not in samples:
            raise ValueError(f"{where}: {UnknownName.of('sample', str(each), samples)}")


def _yields(name: str, given: Any, n_bins: int | None = None) -> tuple[float, ...]:
    row = _row(name, given, n_bins)
    if any(value < 0 for value in row):
        raise ValueError(f"{name} = {min(row):g}: expected events are not negative")
    return row


def _row(name: str, given: Any, n_bins: int | None) -> tuple[float, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not all(_is_number(value) for value in given):
        raise ValueError(f"{name} = {given!r}: give a finite number for each bin")
    if n_bins is not None and len(given) != n_bins:
        raise ValueError(f"{name}: holds {len(given)} numbers, but signal has {n_bins} bins")
    return tuple(float(value) for value in given)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _plain(value: Any) -> Any:
    """Return JSON with numbers of one kind, so that equal workspaces are told alike."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else value
