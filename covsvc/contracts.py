"""What experiments, limit methods and the engine agree upon."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property, reduce
from numbers import Real
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covsvc.binned_model import BinnedModel
from covsvc.errors import ObservationError, StudyError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


MOST_EVENTS = 1_000_000
"""Largest count and background of an observation; two-sided belts take seconds there."""

MOST_OFF = 10**12
"""Largest count off source: a million background events on source at the largest tau."""

SMALLEST_SCALE, LARGEST_SCALE = 1e-4, 1e6
"""Range of tau, the expected background off source over that on source."""

SHAPES = ("gamma", "truncated_gaussian")
"""How what is known of an uncertain background can be distributed."""


class Status(IntEnum):
    """What became of a limit."""

    OK = 0
    """An interval [lower, upper]."""
    EMPTY = 1
    """No s >= 0 is in the confidence set; upper is 0 and nothing is covered, not even s = 0."""
    UNBOUNDED = 2
    """No finite limit within the method's range; upper is +inf."""
    FAILED = 3
    """Undefined, or not converged; lower and upper are NaN."""


@dataclass(frozen=True)
class Counts:
    """Counts of events with a background that is taken as known.

    Parameters
    ----------
    n : array_like of int, shape (toy,)
        Observed events.
    b : float or array_like of float, shape (toy,)
        Expected background events, as the analyst believes them; 0 where nothing is known.

    Raises
    ------
    ObservationError
        If a count is negative or no whole number, b is negative or no number, or either exceeds MOST_EVENTS.
    """

    n: IntArray
    b: float | FloatArray = 0.0

    def __init__(self, n: ArrayLike, b: ArrayLike = 0.0) -> None:
        object.__setattr__(self, "n", _whole_numbers("n", n))
        object.__setattr__(self, "b", _background("b", b, self.n.shape))

    def __len__(self) -> int:
        """Return the number of toys."""
        return len(self.n)

    @property
    def b_of_each(self) -> FloatArray:
        """The background of each toy, shape (toy,), whether one was given or many."""
        return np.full(self.n.shape, self.b, np.float64)


@dataclass(frozen=True)
class UncertainCounts:
    """Counts of events with a background that is known with an error only.

    Parameters
    ----------
    n : array_like of int, shape (toy,)
        Observed events.
    b, b_error : array_like of float, one number or shape (toy,)
        What is known of the background, expected events; b_error = 0: it is known.
    shape : str
        ``"gamma"``: its distribution is the gamma distribution of mean b and standard deviation b_error.
        ``"truncated_gaussian"``: a Gaussian at b of width b_error, cut off below 0, so that its mean lies above b.

    Raises
    ------
    ObservationError
        If a count is negative or no whole number, b or b_error is negative or no number, one exceeds MOST_EVENTS,
        `shape` is neither, or a gamma distribution of mean 0 is to have a width.
    """

    n: IntArray
    b: float | FloatArray
    b_error: float | FloatArray
    shape: str = "gamma"

    def __init__(self, n: ArrayLike, b: ArrayLike, b_error: ArrayLike, shape: str = "gamma") -> None:
        object.__setattr__(self, "n", _whole_numbers("n", n))
        object.__setattr__(self, "b", _background("b", b, self.n.shape))
        object.__setattr__(self, "b_error", _background("b_error", b_error, self.n.shape))
        object.__setattr__(self, "shape", shape)
        if shape not in SHAPES:
            raise ObservationError(f"shape = {shape!r}: an uncertain background is {' or '.join(SHAPES)}")
        if shape == "gamma" and np.any((np.asarray(self.b) == 0) & (np.asarray(self.b_error) > 0)):
            raise ObservationError(
                "b = 0 with b_error > 0: no gamma distribution of mean 0 has a width; give b > 0, b_error = 0 or the "
                "shape truncated_gaussian"
            )

    def __len__(self) -> int:
        """Return the number of toys."""
        return len(self.n)


@dataclass(frozen=True)
class OnOff:
    """Counts on and off source: n_on ~ Pois(s + b), n_off ~ Pois(tau b).

    Parameters
    ----------
    n_on, n_off : array_like of int, shape (toy,)
        Observed events.
    tau : float
        Expected background off source over that on source, in [SMALLEST_SCALE, LARGEST_SCALE].

    Raises
    ------
    ObservationError
        If a count is negative, no whole number or above MOST_EVENTS (n_off: MOST_OFF), or tau is out of range.
    """

    n_on: IntArray
    n_off: IntArray
    tau: float

    def __init__(self, n_on: ArrayLike, n_off: ArrayLike, tau: float) -> None:
        object.__setattr__(self, "n_on", _whole_numbers("n_on", n_on))
        object.__setattr__(self, "n_off", _whole_numbers("n_off", n_off, MOST_OFF))
        object.__setattr__(self, "tau", _scale("tau", tau, SMALLEST_SCALE, LARGEST_SCALE))
        _same_shape(n_on=self.n_on, n_off=self.n_off)

    def __len__(self) -> int:
        """Return the number of toys."""
        return len(self.n_on)


@dataclass(frozen=True)
class Sideband:
    """Counts in a signal region, outside of it, and in that part of the outside which is the sideband.

    Parameters
    ----------
    n, n_out, n_sb : array_like of int, shape (toy,)
        Observed events in the signal region, in all the rest, and in the sideband; n_sb <= n_out.
    zeta : float
        Expected background of the signal region over that of the whole, in (0, 1): what significance rests on.
    zeta_sb : float
        Expected background of the signal region over that of the sideband: what b = zeta_sb n_sb rests on.

    Raises
    ------
    ObservationError
        If a count is negative, no whole number or above MOST_EVENTS (outside: MOST_OFF), n_sb > n_out, or a scale is
        out of range.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 23 and 25, Section 3.2.
    """

    n: IntArray
    n_out: IntArray
    n_sb: IntArray
    zeta: float
    zeta_sb: float

    def __init__(self, n: ArrayLike, n_out: ArrayLike, n_sb: ArrayLike, zeta: float, zeta_sb: float) -> None:
        for name, counts, most in (("n", n, MOST_EVENTS), ("n_out", n_out, MOST_OFF), ("n_sb", n_sb, MOST_OFF)):
            object.__setattr__(self, name, _whole_numbers(name, counts, most))
        _same_shape(n=self.n, n_out=self.n_out, n_sb=self.n_sb)
        object.__setattr__(self, "zeta", _scale("zeta", zeta, 0.5 / LARGEST_SCALE, np.inf))
        object.__setattr__(self, "zeta_sb", _scale("zeta_sb", zeta_sb, 1.0 / LARGEST_SCALE, 1.0 / SMALLEST_SCALE))
        if self.zeta >= 1.0:
            raise ObservationError(f"zeta = {self.zeta:g}: the signal region is a part of the whole; zeta lies below 1")
        largest = self.zeta_sb / (1.0 + self.zeta_sb)
        if self.zeta > largest * (1.0 + 1e-9):
            raise ObservationError(
                f"zeta = {self.zeta:g} with zeta_sb = {self.zeta_sb:g}: the sideband is a part of the outside, so that "
                f"zeta is at most zeta_sb / (1 + zeta_sb) = {largest:g}"
            )
        above = self.n_sb > self.n_out
        if above.any():
            at = int(np.argmax(above))
            raise ObservationError(
                f"n_sb = {self.n_sb[at]} is above n_out = {self.n_out[at]}: the sideband is part of the outside"
            )

    def __len__(self) -> int:
        """Return the number of toys."""
        return len(self.n)

    @property
    def is_all_outside(self) -> bool:
        """Whether the sideband is all of the outside, as counts on and off source have it."""
        return bool((self.n_sb == self.n_out).all()) and abs(self.zeta * (1.0 + 1.0 / self.zeta_sb) - 1.0) < 1e-9


@dataclass(frozen=True)
class Events(Counts):
    """Positions of events along the cumulative signal spectrum; the background may be unknown.

    Parameters
    ----------
    n : array_like of int, shape (toy,)
        Observed events.
    u : array_like of float, shape (event,)
        Signal cdf of each event, in [0, 1], so that signal alone is uniform; ascending within a toy, toy after toy.
    b : float
        Expected events of a known background; 0 where nothing is known, and all other background is unknown.
    v : array_like of float, shape (event,), optional
        Cdf of the known background at each event, in [0, 1] and ascending; needed where b > 0.

    Raises
    ------
    ObservationError
        If a count or b is none, there are not as many positions as events, a position lies outside of [0, 1] or
        below the one before it, or v is missing or of no use.
    """

    u: FloatArray = field(default_factory=lambda: np.zeros(0))
    v: FloatArray | None = None

    def __init__(self, n: ArrayLike, u: ArrayLike, b: float = 0.0, v: ArrayLike | None = None) -> None:
        super().__init__(n, b)
        if not isinstance(self.b, float):
            raise ObservationError("b: the toys of a batch of events share one known background")
        if (v is None) != (self.b == 0):
            told = (
                "its cdf v at each event is needed" if v is None else "v is the cdf of a known background, give b > 0"
            )
            raise ObservationError(f"b = {self.b:g}: {told}")
        object.__setattr__(self, "u", self._positions("u", u))
        object.__setattr__(self, "v", None if v is None else self._positions("v", v))

    @classmethod
    def of(cls, toys: Sequence[ArrayLike], b: float = 0.0, v: Sequence[ArrayLike] | None = None) -> Events:
        """Return the events of toys that are given one by one, in any order within a toy.

        Parameters
        ----------
        toys : sequence of array_like of float
            Signal cdf of the events of each toy.
        b : float
            Expected events of a known background.
        v : sequence of array_like of float, optional
            Cdf of the known background at the same events.
        """
        rows = [_row_of("u", toy) for toy in toys]
        others = rows if v is None else [_row_of("v", toy) for toy in v]
        if [len(row) for row in rows] != [len(other) for other in others]:
            raise ObservationError("v: give the cdf of the known background at each event of each toy")
        orders = [np.lexsort((other, row)) for row, other in zip(rows, others, strict=True)]
        u, both = (
            np.concatenate([*(row[order] for row, order in zip(each, orders, strict=True)), np.zeros(0)])
            for each in (rows, others)
        )
        return cls([len(row) for row in rows], u, b, None if v is None else both)

    @classmethod
    def drawn(cls, n: IntArray, u: FloatArray, b: float = 0.0, v: FloatArray | None = None) -> Events:
        """Return events that are known to be as they should; an experiment spares its toys the checks."""
        events = object.__new__(cls)
        for name, value in (("n", n), ("u", u), ("b", b), ("v", v)):
            object.__setattr__(events, name, value)
        return events

    @property
    def starts(self) -> IntArray:
        """Where the events of each toy begin in u, shape (toy + 1,)."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.n)])

    @cached_property
    def largest_intervals(self) -> FloatArray:
        """The largest part of the signal that an interval with k or fewer events holds, shape (event,).

        Where a toy's events begin stands that for k = 0, then for k = 1 and so on; an interval with as many events as
        the toy has is the whole range, 1, and not told. Beyond MOST_INSIDE, NaN. It is made once for all methods.

        References
        ----------
        .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Section III: x over mu of the intervals between events.
        """
        from covsvc.kernels.intervals import largest_intervals

        return largest_intervals(self.n, self.u)

    def _positions(self, name: str, given: ArrayLike) -> FloatArray:
        positions = np.asarray(given)
        if positions.dtype.kind not in "iuf" or positions.ndim != 1:
            raise ObservationError(f"{name}: positions of events are a row of numbers in [0, 1], toy after toy")
        positions = positions.astype(np.float64)  # a copy: what was checked stays as it is
        if len(positions) != self.n.sum():
            raise ObservationError(f"{name} holds {len(positions)} positions, but n = {self.n.sum()} events in all")
        wrong = positions[~((positions >= 0) & (positions <= 1))]
        if wrong.size:
            raise ObservationError(f"{name} = {wrong[0]:g}: a cumulative spectrum lies in [0, 1]")
        falls = positions[1:] < positions[:-1]
        begins = self.starts[1:-1]
        falls[begins[(begins > 0) & (begins < len(positions))] - 1] = False
        if falls.any():
            at = int(np.argmax(falls))
            raise ObservationError(
                f"{name} falls from {positions[at]:g} to {positions[at + 1]:g}: the events of a toy ascend"
            )
        return positions


@runtime_checkable
class EventModel(Protocol):
    """What an analysis knows of its signal and background: how their events are distributed."""

    @property
    def key(self) -> str:
        """Text that tells these densities from others: a calibration is known by it."""
        ...

    def signal_ratios(self, size: int, rng: np.random.Generator) -> FloatArray:
        """Draw `size` signal events; return the signal density over the background density at each."""
        ...

    def background_ratios(self, size: int, rng: np.random.Generator) -> FloatArray:
        """Draw `size` background events; return the signal density over the background density at each."""
        ...


@dataclass(frozen=True)
class ModelledEvents:
    """Events at each of which the densities of signal and background are known.

    The likelihood of s and b is exp(-s - b) prod(s r_i + b), r_i the density ratio of event i.

    Parameters
    ----------
    n : array_like of int, shape (toy,)
        Observed events in the whole range of the fit.
    density_ratio : array_like of float, shape (event,)
        Signal density over background density at each event, in [0, +inf], toy after toy; +inf where no background
        falls.
    model : EventModel, optional
        The densities elsewhere, which toys are drawn from; without it, methods that need toys fail.
    b : float or array_like of float, shape (toy,), optional
        What is known beforehand of the expected background events in the whole range; None: nothing.
    b_error : float or array_like of float, shape (toy,)
        Error of b; 0: b is known.
    shape : str
        How b is distributed if it has an error: ``"gamma"`` or ``"truncated_gaussian"``, as in `UncertainCounts`.

    Raises
    ------
    ObservationError
        If a count or what is known of the background is none, a ratio is negative or NaN, there are not as many
        ratios as events, or an error is given of a background that is not.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 15 and 19.
    """

    n: IntArray
    density_ratio: FloatArray
    model: EventModel | None = None
    b: float | FloatArray | None = None
    b_error: float | FloatArray = 0.0
    shape: str = "gamma"

    def __init__(
        self,
        n: ArrayLike,
        density_ratio: ArrayLike,
        model: EventModel | None = None,
        b: ArrayLike | None = None,
        b_error: ArrayLike = 0.0,
        shape: str = "gamma",
    ) -> None:
        if b is None:
            counted: Counts | UncertainCounts = Counts(n)
            if np.any(np.asarray(b_error) != 0):
                raise ObservationError("b_error: is the error of b, which is not given")
        else:
            counted = UncertainCounts(n, b, b_error, shape)
        ratios = np.asarray(density_ratio)
        if ratios.dtype.kind not in "iuf" or ratios.ndim != 1:
            raise ObservationError("density_ratio: a row of numbers >= 0, toy after toy")
        ratios = ratios.astype(np.float64)  # a copy: what was checked stays as it is
        if len(ratios) != counted.n.sum():
            raise ObservationError(f"density_ratio holds {len(ratios)} ratios, but n = {counted.n.sum()} events in all")
        wrong = ratios[~(ratios >= 0)]
        if wrong.size:
            raise ObservationError(
                f"density_ratio = {wrong[0]:g}: the signal density over the background density lies in [0, inf]"
            )
        for name, value in (
            ("n", counted.n),
            ("density_ratio", ratios),
            ("model", model),
            ("b", counted.b if isinstance(counted, UncertainCounts) else None),
            ("b_error", counted.b_error if isinstance(counted, UncertainCounts) else 0.0),
            ("shape", shape),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, toys: Sequence[ArrayLike], model: EventModel | None = None, **known: Any) -> ModelledEvents:
        """Return the events of toys whose density ratios are given one by one; `known` is b, b_error and shape."""
        rows = [_row_of("density_ratio", toy) for toy in toys]
        return cls([len(row) for row in rows], np.concatenate([*rows, np.zeros(0)]), model, **known)

    @classmethod
    def drawn(
        cls,
        n: IntArray,
        density_ratio: FloatArray,
        model: EventModel,
        b: float | FloatArray | None = None,
        b_error: float | FloatArray = 0.0,
        shape: str = "gamma",
    ) -> ModelledEvents:
        """Return events that are known to be as they should; an experiment spares its toys the checks."""
        events = object.__new__(cls)
        for name, value in (
            ("n", n),
            ("density_ratio", density_ratio),
            ("model", model),
            ("b", b),
            ("b_error", b_error),
            ("shape", shape),
        ):
            object.__setattr__(events, name, value)
        return events

    def __len__(self) -> int:
        """Return the number of toys."""
        return len(self.n)

    @property
    def starts(self) -> IntArray:
        """Where the events of each toy begin in density_ratio, shape (toy + 1,)."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.n)])


@dataclass(frozen=True)
class Binned:
    """Counts in bins, and the auxiliary measurements of the nuisance parameters.

    Parameters
    ----------
    counts : array_like of int, shape (toy, bin)
        Observed events.
    auxiliary : array_like of float, shape (toy, parameter)
        Measured value of each nuisance parameter, in the order of `BinnedModel.parameters`: of a Gaussian constraint
        its centre, of a Poisson constraint the number of events, of a free parameter nothing (0).
    model : BinnedModel
        Expected yields.

    Raises
    ------
    ObservationError
        If a count or a measurement is none, or there are not as many as the model has bins or parameters.
    """

    counts: IntArray
    auxiliary: FloatArray
    model: BinnedModel

    def __init__(self, counts: ArrayLike, auxiliary: ArrayLike, model: BinnedModel) -> None:
        given = np.atleast_2d(np.asarray(counts))
        if given.ndim > 2 or given.shape[1] != model.n_bins:
            raise ObservationError(f"counts has shape {np.shape(counts)}: give {model.n_bins} counts for each toy")
        whole = _whole_numbers("counts", given.ravel()).reshape(given.shape)
        measured = np.atleast_2d(np.asarray(auxiliary))
        if measured.dtype.kind not in "iuf" or measured.shape != (len(whole), model.n_parameters):
            raise ObservationError(
                f"auxiliary has shape {np.shape(auxiliary)}: give {model.n_parameters} measurements for each of "
                f"{len(whole)} toys"
            )
        model.check_auxiliary(measured)
        object.__setattr__(self, "counts", whole)
        object.__setattr__(self, "auxiliary", measured.astype(np.float64))
        object.__setattr__(self, "model", model)

    @classmethod
    def drawn(cls, counts: IntArray, auxiliary: FloatArray, model: BinnedModel) -> Binned:
        """Return counts that are known to be as they should; an experiment spares its toys the checks."""
        binned = object.__new__(cls)
        for name, value in (("counts", counts), ("auxiliary", auxiliary), ("model", model)):
            object.__setattr__(binned, name, value)
        return binned

    def __len__(self) -> int:
        """Return the number of toys."""
        return len(self.counts)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a method learnt about an analysis from toys of its own, at one cl.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Tables, numbers only.
    error : float
        Standard error of the coverage that the toys leave, at most.
    """

    arrays: Mapping[str, NDArray[Any]]
    error: float


@dataclass(frozen=True)
class Limits:
    """Confidence intervals of the signal, one a toy.

    Parameters
    ----------
    lower, upper : ndarray of float, shape (toy,)
        Ends of the closed interval, expected signal events.
    status : ndarray of int8, shape (toy,)
        `Status` of each.
    error : ndarray of float, shape (toy,), optional
        Standard error of the upper ends, where a method draws toys of its own to find them.
    """

    lower: FloatArray
    upper: FloatArray
    status: NDArray[np.int8]
    error: FloatArray | None = None

    def __len__(self) -> int:
        """Return the number of toys."""
        return len(self.upper)

    def _repr_html_(self) -> str:
        """Return the first of them as a table, for notebooks."""
        # by name: how a table looks is no part of the code of a limit
        told: str = importlib.import_module("covsvc.notebook").limits_table(self)
        return told

    def cover(self, s_true: float) -> NDArray[np.bool_]:
        """Tell which intervals hold `s_true`.

        Closed intervals: lower <= s_true <= upper. An empty or failed one never covers.
        """
        return self.upper_covers(s_true) & (self.lower <= s_true)

    def upper_covers(self, s_true: float) -> NDArray[np.bool_]:
        """Tell which upper ends are at or above `s_true`."""
        bounded = (self.status == Status.OK) & (self.upper >= s_true)
        covered: NDArray[np.bool_] = bounded | (self.status == Status.UNBOUNDED)
        return covered


def one_sided(upper: FloatArray) -> Limits:
    """Return the limits [0, upper]: empty where `upper` < 0, unbounded at +inf, failed at NaN.

    Parameters
    ----------
    upper : ndarray of float, shape (toy,)
        Expected signal events.
    """
    return two_sided(np.zeros_like(upper), upper)


def two_sided(lower: FloatArray, upper: FloatArray) -> Limits:
    """Return the part of [lower, upper] with s >= 0: empty where nothing is left of it.

    Parameters
    ----------
    lower, upper : ndarray of float, shape (toy,)
        Expected signal events; upper +inf is unbounded, a NaN in either is failed.
    """
    status = np.zeros(upper.shape, np.int8)
    status[upper < 0] = Status.EMPTY
    status[upper == np.inf] = Status.UNBOUNDED
    failed = np.isnan(upper) | np.isnan(lower)
    status[failed] = Status.FAILED
    # adding 0.0 turns -0.0 into 0.0, so that equal limits have equal bits
    ends = [np.where(failed, np.nan, np.where(upper < 0, 0.0, np.maximum(end, 0.0))) + 0.0 for end in (lower, upper)]
    return Limits(ends[0], ends[1], status)


def too_few_events(observed: Counts | OnOff, limits: Limits) -> list[str]:
    """Say of each empty limit how far the events are below the background; of others nothing."""
    if isinstance(observed, OnOff):
        words = [
            f"n_on = {n_on} is so far below n_off / tau = {n_off / observed.tau:g}"
            for n_on, n_off in zip(observed.n_on.tolist(), observed.n_off.tolist(), strict=True)
        ]
    else:
        pairs = zip(observed.n.tolist(), observed.b_of_each.tolist(), strict=True)
        words = [f"n = {n} is so far below b = {b:g}" for n, b in pairs]
    return [
        f"{low} that no signal >= 0 is left at this cl" if status == Status.EMPTY else ""
        for low, status in zip(words, limits.status.tolist(), strict=True)
    ]


def uncertain(views: Sequence[Any]) -> bool:
    """Tell whether one of the views of an observation says that the background has an error."""
    return any(isinstance(view, UncertainCounts) and np.any(np.asarray(view.b_error) > 0) for view in views)


@runtime_checkable
class LimitMethod(Protocol):
    """A way to set a limit: a pure function of the observation and its own options.

    Implementations are frozen dataclasses whose fields are their options. `limits` is elementwise: the bits for one
    observation do not depend on the others in its batch, on their number or their order.

    One may also have ``explain(observed, cl) -> list[str]``: why each observation has no limit, in words, empty where
    it has one; a class variable ``refuses``, a mapping of options that it cannot have to the reason; and, if it rests
    on tables made from toys, ``missing(cl) -> str | None``: what to build before limits at `cl` can be set,
    ``calibration(cl) -> str``: what tells the table from others, and ``calibration_error(cl) -> float``: the standard
    error of the coverage that its toys leave. One that reads events may say which interval decided:
    ``intervals(observed, cl) -> left, right``, numbers of events within the toy.

    One that draws toys of its own once for an analysis, and not for each observation, has ``calibrates``, the
    observations for which it does, and ``calibrate(known, cl) -> Calibration``, `known` the model that rides on the
    observation. It depends on the method's options, the seed among them, `known` and `cl` only. `limits` takes it from
    `calibration_of`. ``draws`` are the observations for each of which it draws toys anew, which takes long.
    """

    reads: ClassVar[tuple[type, ...]]
    """The observations it has a form for."""
    sided: ClassVar[str]
    """``"upper"`` or ``"two"``."""
    promises: ClassVar[str]
    """``"at_least"``, ``"asymptotic"`` or ``"nothing"``: what its coverage may be held to."""

    def limits(self, observed: Any, cl: float) -> Limits:
        """Return the limits on the signal at confidence level `cl`, one an observation."""
        ...


@runtime_checkable
class Experiment(Protocol):
    """A source of toys: the only code that may know the truth.

    Implementations are frozen dataclasses whose fields are their options. One may also have a class variable
    ``plugs_in``, the views which pass an estimated background off as known: no promise of a method holds there; or
    ``hides_background``, whether there may be background of which nothing is told: two-sided intervals promise nothing.
    One that gives `ModelledEvents` or `Binned` has ``model(b)``: the model that rides on its toys at a true background.
    """

    gives: ClassVar[tuple[type, ...]]
    """The views of one toy, richest first."""

    def toys(self, s_true: float, b: float, size: int, rng: np.random.Generator) -> tuple[Any, ...]:
        """Draw `size` toys; return one batch a view, all of the same toys."""
        ...

    def observe(self, data: dict[str, Any]) -> tuple[Any, ...]:
        """Return the views of real data, given by name."""
        ...

    def background(self, data: dict[str, Any], *, no_signal: bool = False) -> float:
        """Return the best estimate of the true background of real data, or the best if there is no signal."""
        ...


def calibrated(method: LimitMethod, calibration: Calibration) -> LimitMethod:
    """Return a method that has its calibration at hand, and is equal to the one that has not."""
    held = copy.copy(method)
    object.__setattr__(held, _HELD, calibration)
    return held


def calibration_of(method: Any, known: EventModel | BinnedModel, cl: float) -> Calibration:
    """Return the calibration that `method` has at hand, else make it, once in this process.

    Parameters
    ----------
    method : LimitMethod
        One that has ``calibrate``.
    known : EventModel or BinnedModel
        The model that rides on the observation.
    cl : float
        Confidence level.
    """
    held: Calibration | None = getattr(method, _HELD, None)
    if held is not None:
        return held
    key = method, known.key, cl
    if key not in _MADE:
        _MADE[key] = method.calibrate(known, cl)
    return _MADE[key]


_HELD = "_calibration"
_MADE: dict[tuple[Any, str, float], Calibration] = {}


@dataclass(frozen=True)
class Run:
    """The values first, first + 1, ... that a count takes, all that matter, and their probabilities.

    Attributes
    ----------
    mean : float
        Expectation, where the count has a Poisson distribution; else NaN.
    """

    first: int
    probability: FloatArray
    mean: float = np.nan


@runtime_checkable
class Enumerable(Experiment, Protocol):
    """An experiment whose toys are counts, independent of each other, from which coverage follows exactly.

    Only the first count depends on s_true: its distribution is that of a Poisson count of expectation s_true plus one
    with a log-concave distribution.
    """

    def counts(self, s_true: float, b: float) -> tuple[Run, ...] | None:
        """Return the distribution of each count; None where the options make toys of something else."""
        ...

    def draw(self, s_true: float, b: float, size: int, rng: np.random.Generator) -> tuple[IntArray, ...]:
        """Draw the counts of `size` toys."""
        ...

    def views(self, counts: Sequence[IntArray], b: float) -> tuple[Any, ...]:
        """Return what the analyst sees of counts where the true background is `b`."""
        ...


def outcomes_of(experiment: Enumerable, s_true: float, b: float) -> tuple[tuple[Any, ...], FloatArray]:
    """Return the views of every outcome that matters, in ascending order of its counts, and their probabilities.

    Raises
    ------
    StudyError
        If the outcomes cannot be enumerated.
    """
    runs = experiment.counts(s_true, b)
    if runs is None:
        raise StudyError(f"{experiment}: its outcomes cannot be enumerated")
    counts = grid_of([run.first for run in runs], [len(run.probability) for run in runs])
    return experiment.views(counts, b), reduce(np.multiply.outer, [run.probability for run in runs]).ravel()


def grid_of(first: Sequence[int], shape: Sequence[int]) -> tuple[IntArray, ...]:
    """Return all combinations of the counts first, first + 1, ..., the last count running fastest."""
    axes = [np.arange(start, start + size) for start, size in zip(first, shape, strict=True)]
    return tuple(each.ravel() for each in np.meshgrid(*axes, indexing="ij"))


def _whole_numbers(name: str, n: ArrayLike, most: int = MOST_EVENTS) -> IntArray:
    given = np.atleast_1d(np.asarray(n))
    if given.ndim > 1:
        raise ObservationError(f"{name} has {given.ndim} dimensions: give one count, or a row of them")
    if given.dtype.kind not in "iu":
        for value in given.tolist():
            if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
                raise ObservationError(f"{name} = {value!r}: a count of events is a whole number >= 0")
    if given.size and not (given.min() >= 0 and given.max() <= most):
        wrong = given.min() if given.min() < 0 else given.max()
        raise ObservationError(f"{name} = {wrong!s}: a count of events is a whole number >= 0, at most {most:,}")
    return given.astype(np.int64, copy=False)


def _background(name: str, b: ArrayLike, shape: tuple[int, ...]) -> float | FloatArray:
    given = np.asarray(b)
    if given.dtype.kind not in "iuf":
        raise ObservationError(f"{name} = {b!r}: an expected background is a number of events >= 0")
    known = given.astype(np.float64)
    wrong = known[~((known >= 0) & (known <= MOST_EVENTS))]
    if wrong.size:
        raise ObservationError(
            f"{name} = {wrong.flat[0]:g}: an expected background is a number of events >= 0, at most {MOST_EVENTS:,}"
        )
    if known.ndim and known.shape != shape:
        raise ObservationError(
            f"{name} has shape {known.shape} but n has shape {shape}: give one {name}, or one for each n"
        )
    return known if known.ndim else float(known)


def _row_of(name: str, toy: ArrayLike) -> FloatArray:
    row = np.asarray(toy)
    if row.ndim != 1 or row.dtype.kind not in "iuf":
        raise ObservationError(
            f"{name}: {toy!r}: give a row of positions for each toy, such as [[0.1, 0.7], []] for two of them"
        )
    return row.astype(np.float64)


def _scale(name: str, value: float, smallest: float, largest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not smallest <= float(value) <= largest:
        raise ObservationError(f"{name} = {value!r}: a ratio of expected backgrounds in [{smallest:g}, {largest:g}]")
    return float(value)


def _same_shape(**counts: IntArray) -> None:
    (first, one), *others = counts.items()
    for name, other in others:
        if other.shape != one.shape:
            raise ObservationError(
                f"{name} has shape {other.shape} but {first} has shape {one.shape}: give one for each toy"
            )
