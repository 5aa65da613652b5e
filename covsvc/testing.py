"""Contracts of limit methods and experiments, as test classes for those who write some.

A test module of a package with a limit method and an experiment of its own:

    from stranger.experiments import FluctuatingEfficiency
    from stranger.limits import PowerPrior

    from covsvc import Counts
    from covsvc.testing import ExperimentContract, MethodContract

    class TestPowerPrior(MethodContract):
        method = PowerPrior()
        more = {"many events": [Counts(10_000, 9_000.0), Counts(100_000, 3.0)]}

    class TestPowerPriorFlat(MethodContract):
        method = PowerPrior(m=0.0)

    class TestFluctuatingEfficiency(ExperimentContract):
        experiment = FluctuatingEfficiency(relative_error=0.2)
        data = {"n": 3, "b": 1.5}

pytest runs every check on each; what fails says on which observation. That a method keeps its promise of coverage is
no part of the contract: `covsvc run` finds out.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from covsvc import registry
from covsvc.binned_model import BinnedModel, Interpolation, Parameter, Scale
from covsvc.contracts import (
    Binned,
    Counts,
    Enumerable,
    Events,
    Experiment,
    FloatArray,
    LimitMethod,
    Limits,
    ModelledEvents,
    OnOff,
    Sideband,
    Status,
    UncertainCounts,
    grid_of,
)

try:
    import pytest
except ModuleNotFoundError as error:
    raise ImportError("covsvc.testing needs pytest: pip install pytest") from error

DRAWN, RARELY = 20_000, 1e-6
"""Toys whose distribution is looked at, and the probability that right ones are refused, at most."""


class MethodContract:
    """What every limit method is held to.

    Subclass it, name the class Test..., and give it a method.

    Attributes
    ----------
    method : LimitMethod
        The method with its options; a class for each choice of options that is worth it.
    more : mapping of str to sequence
        Observations beside the sensible ones of each type that are tried anyhow, each of one toy, in named groups.
        Those of a group are of one type; a method has to have the same bits for each alone as for all in one batch.
    tried_on : tuple of type, optional
        The types of observations, all that the method reads unless given.
    levels : sequence of float
        Ascending confidence levels at which it has limits.
    levels_are_nested : bool
        Whether an interval holds those of lower confidence levels; else only its upper end is held to rise.
    """

    method: ClassVar[Any]
    more: ClassVar[Mapping[str, Sequence[Any]]] = {}
    tried_on: ClassVar[tuple[type, ...] | None] = None
    levels: ClassVar[Sequence[float]] = (0.5, 0.6827, 0.9, 0.95, 0.99, 0.999)
    levels_are_nested: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        """Leave out what is about methods of another kind."""
        super().__init_subclass__()
        method = getattr(cls, "method", None)
        if method is not None and Counts not in cls._kinds():
            _leave_out(cls, "test_one_background_for_all_is_the_same_background_for_each")
        if method is not None and not hasattr(method, "explain"):
            _leave_out(cls, "test_it_says_why_there_is_no_limit")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Repeat what is asked of each group of observations, and at each confidence level."""
        if "group" in metafunc.fixturenames:
            metafunc.parametrize("group", list(self._groups()))
        if "cl" in metafunc.fixturenames:
            metafunc.parametrize("cl", self.levels)

    def test_method_describes_itself(self) -> None:
        """Hold it to be one."""
        method = self.method
        assert not isinstance(method, type), f"method = {method.__name__}: give an instance, {method.__name__}()"
        assert isinstance(method, LimitMethod), f"{method!r} lacks one of reads, sided, promises and limits"
        assert isinstance(method.reads, tuple), f"reads = {method.reads!r}: a tuple of types, such as (Counts,)"
        assert method.reads, "reads is empty: name the observations it has a form for"
        assert all(isinstance(kind, type) for kind in method.reads), f"reads = {method.reads!r}: holds no types only"
        assert method.sided in ("upper", "two"), f"sided = {method.sided!r}: 'upper' or 'two'"
        promises = ("at_least", "asymptotic", "nothing")
        assert method.promises in promises, f"promises = {method.promises!r}: one of {', '.join(promises)}"
        assert (type(method).__doc__ or "").strip(), "its docstring is empty: the first line is shown by covsvc methods"

    def test_there_are_observations_of_each_type_that_it_reads(self) -> None:
        """Hold that it is tried on everything."""
        tried = {type(each) for group in self._groups().values() for each in group}
        for kind in self._kinds():
            assert kind in tried, f"{kind.__name__}: no observations of it are known here, add some in `more`"
        for name, group in self._groups().items():
            assert len({type(each) for each in group}) == 1, f"{name}: observations of one type, at least one"
            assert all(len(each) == 1 for each in group), f"{name}: give each observation by itself, len = 1"

    def test_its_options_are_those_that_a_study_can_give(self) -> None:
        """Hold that a study can build it."""
        _hold_to_options(self.method)

    def test_the_observation_is_left_as_it_was(self, group: str) -> None:
        """Hold it to write nothing into what all methods read; its arrays are read-only here, as in a study."""
        observed = self._batch(group)
        told = {field.name: getattr(observed, field.name) for field in dataclasses.fields(observed)}
        if isinstance(observed, Events):  # what methods share of them, too
            told["largest_intervals"] = observed.largest_intervals
        before = {name: pickle.dumps(value) for name, value in told.items()}
        for value in told.values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
        try:
            self.method.limits(observed, self._cl)
        except ValueError as error:
            if "read-only" in str(error):
                raise AssertionError("limits writes into the observation: all methods read the same toys") from error
            raise
        for name, value in told.items():
            kept = getattr(observed, name) is value and pickle.dumps(value) == before[name]
            assert kept, f"{name} of the observation was changed: all methods read the same toys"

    def test_method_is_a_frozen_dataclass_that_travels(self, group: str) -> None:
        """Hold that nothing changes it, and that a copy elsewhere has the same limits."""
        copy = _hold_to_travel(self.method)
        assert hash(copy) == hash(self.method), "a copy that was sent has another hash"
        self._hold_to_same(copy.limits(self._batch(group), self._cl), group, "a copy that was sent has other limits")

    def test_limits_are_arrays_over_toys(self, group: str) -> None:
        """Hold it to the form of what it returns."""
        limits, n_toys = self._limits(group, self._cl), len(self._groups()[group])
        assert isinstance(limits, Limits), f"limits returned {type(limits).__name__}, not Limits: take one_sided(upper)"
        for name, kind in (("lower", np.float64), ("upper", np.float64), ("status", np.int8)):
            values = getattr(limits, name)
            assert isinstance(values, np.ndarray), f"{name} is {type(values).__name__}, not an array"
            assert values.dtype == kind, f"{name} is of {values.dtype}, not of {kind.__name__}"
            assert values.shape == (n_toys,), f"{name} has shape {values.shape} for {n_toys} toys"

    def test_status_and_ends_agree(self, group: str, cl: float) -> None:
        """Hold statuses to the ends: no NaN without failed, no infinity without unbounded."""
        limits = self._limits(group, cl)
        ok, empty, unbounded, failed = (limits.status == status for status in Status)
        for wrong, told in (
            (~(ok | empty | unbounded | failed), "no such status"),
            (~failed & (np.isnan(limits.lower) | np.isnan(limits.upper)), "NaN, but the status is not failed"),
            (failed & ~(np.isnan(limits.lower) & np.isnan(limits.upper)), "failed, but an end is not NaN"),
            (~failed & ~(limits.lower >= 0), "a lower end below 0"),
            (~failed & ~(limits.lower <= limits.upper), "a lower end above the upper one"),
            (ok & ~np.isfinite(limits.upper), "an infinite end, but the status is ok"),
            (empty & (limits.upper != 0), "empty, but the upper end is not 0"),
            (unbounded & (limits.upper != np.inf), "unbounded, but the upper end is not infinite"),
            ((self.method.sided == "upper") & ~failed & (limits.lower != 0), "an upper limit with a lower end"),
        ):
            assert not wrong.any(), f"{told}: {self._seen(group, wrong, limits)} at cl = {cl:g}"

    def test_limits_do_not_depend_on_the_batch(self, group: str) -> None:
        """Hold it to the same bits, whatever else is in the batch."""
        observations = self._groups()[group]
        order = np.random.default_rng(1999).permutation(3 * len(observations)) % len(observations)
        together = self.method.limits(_joined([observations[at] for at in order]), self._cl)
        alone = [self.method.limits(each, self._cl) for each in observations]
        for name in ("lower", "upper", "status"):
            one_by_one = np.concatenate([getattr(limits, name) for limits in alone])[order]
            in_batch = getattr(together, name)
            told = f"{name} has shape {in_batch.shape} for {len(order)} toys"
            assert in_batch.shape == one_by_one.shape, told
            places = np.flatnonzero(_bits(in_batch) != _bits(one_by_one))
            assert not len(places), (
                f"{name} depends on the batch: {_told(observations[order[places[0]]])} alone has "
                f"{one_by_one[places[0]].item()!r}, among {len(order) - 1} others {in_batch[places[0]].item()!r}"
            )

    def test_limits_are_the_same_every_time(self, group: str) -> None:
        """Hold it to be a function of the observation and its options."""
        again = dataclasses.replace(self.method).limits(self._batch(group), self._cl)
        self._hold_to_same(again, group, "the same observations have other limits the second time")

    def test_an_empty_batch_has_no_limits(self, group: str) -> None:
        """Hold it to cope with no toys."""
        limits = self.method.limits(_part(self._groups()[group][0], slice(0)), self._cl)
        told = f"{len(limits.lower)} lower and {len(limits.upper)} upper ends of no toys"
        assert len(limits.lower) == len(limits.upper) == len(limits.status) == 0, told

    def test_higher_confidence_never_tightens(self, group: str) -> None:
        """Hold that intervals of a higher confidence level hold those of a lower one."""
        for low, high in zip(self.levels, self.levels[1:], strict=False):
            tighter, looser = self._limits(group, low), self._limits(group, high)
            known = (looser.status != Status.FAILED) & (tighter.status != Status.FAILED)
            not_empty = known & (tighter.status != Status.EMPTY)
            rises = looser.lower > tighter.lower
            for wrong, told in (
                (not_empty & (looser.status == Status.EMPTY), "the interval becomes empty"),
                (known & (looser.upper < tighter.upper - _slack(looser, tighter)), "the upper end falls"),
                (not_empty & rises & self.levels_are_nested, "the lower end rises"),
            ):
                ends = f"{self._seen(group, wrong, tighter)} at cl = {low:g}" if wrong.any() else ""
                assert not wrong.any(), f"{told} towards cl = {high:g}: {ends}"

    def test_one_background_for_all_is_the_same_background_for_each(self) -> None:
        """Hold that a number for all toys and the same number for each have the same limits."""
        n = np.arange(12)
        for b in (0.0, 2.5):
            for_all = self.method.limits(Counts(n, b), self._cl)
            for_each = self.method.limits(Counts(n, np.full(12, b)), self._cl)
            assert _all_bits(for_all) == _all_bits(for_each), f"b = {b:g} for all toys has other limits than for each"

    def test_it_says_why_there_is_no_limit(self, group: str) -> None:
        """Hold what it explains to its limits: a text for each, empty where there is an interval."""
        said, limits = self.method.explain(self._batch(group), self._cl), self._limits(group, self._cl)
        assert isinstance(said, list), f"explain returned {type(said).__name__}, not a list of texts"
        assert all(isinstance(each, str) for each in said), "explain returned a list of other things than texts"
        assert len(said) == len(limits), f"explain returned {len(said)} texts for {len(limits)} toys"
        wrong = np.array([bool(each) for each in said], bool) & (limits.status == Status.OK)
        assert not wrong.any(), f"explains a limit that there is: {self._seen(group, wrong, limits)}"

    @property
    def _cl(self) -> float:
        return 0.9 if 0.9 in self.levels else self.levels[0]

    @classmethod
    def _kinds(cls) -> tuple[type, ...]:
        return cls.method.reads if cls.tried_on is None else cls.tried_on

    @classmethod
    def _groups(cls) -> dict[str, Sequence[Any]]:
        return {name: group for kind in cls._kinds() for name, group in observations_of(kind).items()} | dict(cls.more)

    @classmethod
    def _batch(cls, group: str) -> Any:
        return _joined(cls._groups()[group])

    @classmethod
    @cache
    def _limits(cls, group: str, cl: float) -> Limits:
        limits: Limits = cls.method.limits(cls._batch(group), cl)
        return limits

    def _hold_to_same(self, other: Limits, group: str, told: str) -> None:
        limits = self._limits(group, self._cl)
        assert _all_bits(other) == _all_bits(limits), f"{told}: group {group}, cl = {self._cl:g}"

    def _seen(self, group: str, wrong: NDArray[np.bool_], limits: Limits) -> str:
        if not wrong.any():
            return ""
        at = int(np.argmax(wrong))
        status = limits.status[at].item()
        word = Status(status).name.lower() if status in list(Status) else status
        ends = f"[{limits.lower[at].item()!r}, {limits.upper[at].item()!r}], {word}"
        return f"{_told(self._groups()[group][at])} has {ends}"


class ExperimentContract:
    """What every experiment is held to.

    Subclass it, name the class Test..., and give it an experiment and real data.

    Attributes
    ----------
    experiment : Experiment
        The experiment with its options; a class for each choice of options that is worth it.
    data : dict
        Real data, as ``observed`` in a study gives them.
    truths : sequence of tuple of float
        The s_true and b at which toys are drawn; in one of them, at least, both are above 0.
    """

    experiment: ClassVar[Any]
    data: ClassVar[dict[str, Any]]
    truths: ClassVar[Sequence[tuple[float, float]]] = ((0.0, 0.0), (2.0, 0.0), (2.0, 1.5), (0.0, 60.0))

    def __init_subclass__(cls) -> None:
        """Leave out what is about experiments of another kind."""
        super().__init_subclass__()
        experiment = getattr(cls, "experiment", None)
        if experiment is not None and not is_enumerable(experiment, *cls._truth()):
            for name in list(vars(ExperimentContract)):
                if name.startswith("test_counts_"):
                    _leave_out(cls, name)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Repeat what is asked at each truth, and of batches of each size."""
        if "s_true" in metafunc.fixturenames:
            metafunc.parametrize(("s_true", "b"), self.truths)
        if "size" in metafunc.fixturenames:
            metafunc.parametrize("size", [0, 1, 50])

    def test_experiment_describes_itself(self) -> None:
        """Hold it to be one."""
        experiment = self.experiment
        assert not isinstance(experiment, type), f"give an instance, {experiment.__name__}()"
        assert isinstance(experiment, Experiment), f"{experiment!r} lacks one of gives, toys, observe and background"
        assert experiment.gives, "gives is empty: name the views of a toy"
        stray = set(getattr(experiment, "plugs_in", ())) - set(experiment.gives)
        assert not stray, f"plugs_in holds {', '.join(each.__name__ for each in stray)}, which it does not give"
        assert (type(experiment).__doc__ or "").strip(), (
            "its docstring is empty: covsvc experiments shows the first line"
        )

    def test_its_options_are_those_that_a_study_can_give(self) -> None:
        """Hold that a study can build it."""
        _hold_to_options(self.experiment)

    def test_experiment_is_a_frozen_dataclass_that_travels(self) -> None:
        """Hold that nothing changes it, and that it can be sent."""
        _hold_to_travel(self.experiment)

    def test_toys_come_as_the_views_it_gives(self, s_true: float, b: float, size: int) -> None:
        """Hold it to one batch a view, of as many toys as were asked for."""
        views = self._toys(s_true, b, size, 1999)
        self._hold_to_views(views, size)
        for view in views:
            known = getattr(view, "model", None)
            if known is not None:
                told = "toys carry another model than model(b) gives"
                assert known.key == self.experiment.model(b).key, told

    def test_the_same_generator_draws_the_same_toys(self) -> None:
        """Hold that all chance comes from the generator."""
        first, again, other = (pickle.dumps(self._toys(*self._truth(), 50, seed)) for seed in (1999, 1999, 2000))
        assert first == again, "the same generator draws other toys: draw from `rng` only"
        assert first != other, "another generator draws the same toys: draw from `rng`"

    def test_real_data_come_as_the_views_it_gives(self) -> None:
        """Hold that real data are read as toys are."""
        self._hold_to_views(self.experiment.observe(dict(self.data)), 1)
        for no_signal in (False, True):
            b = self.experiment.background(dict(self.data), no_signal=no_signal)
            assert b >= 0, f"background(no_signal={no_signal}) of the real data is {b!r}"

    def test_counts_have_outcomes_whose_probabilities_add_up_to_one(self, s_true: float, b: float) -> None:
        """Hold its outcomes to be all that matter."""
        views, probability = self.experiment.outcomes(s_true, b)
        self._hold_to_views(views, len(probability))
        assert (probability >= 0).all(), f"a probability is {probability.min():g}"
        assert abs(probability.sum() - 1) < 1e-12, f"the probabilities add up to {probability.sum():.15g}"

    def test_counts_that_are_drawn_are_those_that_toys_consist_of(self, s_true: float, b: float) -> None:
        """Hold that drawn counts, as views, are the toys."""
        drawn = self.experiment.draw(s_true, b, 50, np.random.default_rng(1999))
        counted = len(self.experiment.counts(s_true, b))
        assert len(drawn) == counted, f"draw gives {len(drawn)} counts, but counts {counted} distributions"
        for each in drawn:
            told = f"draw gives {each.dtype} of shape {each.shape} for 50 toys"
            assert (each.dtype, each.shape) == (np.int64, (50,)), told
        same = pickle.dumps(self.experiment.views(drawn, b)) == pickle.dumps(self._toys(s_true, b, 50, 1999))
        assert same, "views of the counts that draw gives differ from toys of the same generator"

    def test_counts_that_are_drawn_are_distributed_as_it_says(self, s_true: float, b: float) -> None:
        """Hold drawn counts to the distributions that exact coverage is summed over."""
        drawn = self.experiment.draw(s_true, b, DRAWN, np.random.default_rng(1999))
        for place, (values, run) in enumerate(zip(drawn, self.experiment.counts(s_true, b), strict=True)):
            at = np.arange(run.first, run.first + len(run.probability))
            below = np.searchsorted(np.sort(values), at, side="right") / DRAWN
            # Massart, Ann. Probab. 18 (1990) 1269: holds for any distribution and any number of toys
            allowed = np.sqrt(np.log(2 / RARELY) / (2 * DRAWN))
            distance = np.abs(below - np.cumsum(run.probability))
            worst = int(np.argmax(distance))
            assert distance[worst] <= allowed, (
                f"count {place} is at most {at[worst]} in {below[worst]:.4f} of {DRAWN:,} toys, but with probability "
                f"{np.cumsum(run.probability)[worst]:.4f} by counts()"
            )

    def test_counts_depend_on_the_signal_in_the_first_only(self) -> None:
        """Hold all counts but the first to the background."""
        s_true, b = self._truth()
        without, with_signal = (self.experiment.counts(s, b) for s in (0.0, s_true))
        for place, (one, other) in enumerate(zip(without, with_signal, strict=True)):
            same = (one.first, one.probability.tobytes()) == (other.first, other.probability.tobytes())
            assert same == (place > 0), f"count {place} {'does not depend' if same else 'depends'} on the signal"

    def test_counts_tell_of_an_outcome_what_does_not_depend_on_the_others(self) -> None:
        """Hold views to be made one by one."""
        s_true, b = self._truth()
        runs = self.experiment.counts(s_true, b)
        counts = grid_of([run.first for run in runs], [len(run.probability) for run in runs])
        chosen = np.arange(0, len(counts[0]), 3)
        together = self.experiment.views(counts, b)
        alone = self.experiment.views([each[chosen] for each in counts], b)
        for one, other in zip(together, alone, strict=True):
            for field in dataclasses.fields(one):
                value = getattr(one, field.name)
                value = value[chosen] if isinstance(value, np.ndarray) else value
                told = f"{field.name} of {type(one).__name__} depends on the other outcomes"
                assert np.array_equal(value, getattr(other, field.name)), told

    @classmethod
    def _truth(cls) -> tuple[float, float]:
        """Return a truth with signal and with background."""
        return next((s_true, b) for s_true, b in cls.truths if s_true and b)

    def _toys(self, s_true: float, b: float, size: int, seed: int) -> tuple[Any, ...]:
        views: tuple[Any, ...] = self.experiment.toys(s_true, b, size, np.random.default_rng(seed))
        return views

    def _hold_to_views(self, views: tuple[Any, ...], size: int) -> None:
        kinds, gives = tuple(type(view) for view in views), tuple(self.experiment.gives)
        names = ", ".join(kind.__name__ for kind in kinds), ", ".join(kind.__name__ for kind in gives)
        assert kinds == gives, f"the views are {names[0] or 'none'}, but it gives {names[1]}"
        assert [len(view) for view in views] == [size] * len(views), f"views of {size} toys have other lengths"


def observations_of(kind: type) -> dict[str, list[Any]]:
    """Return sensible observations of a type of `covsvc.contracts`, in groups, each of one toy; none of other types."""
    return _SENSIBLE[kind]() if kind in _SENSIBLE else {}


def is_enumerable(experiment: Any, s_true: float, b: float) -> bool:
    """Tell whether the toys of an experiment consist of counts there, with these options."""
    return isinstance(experiment, Enumerable) and experiment.counts(s_true, b) is not None


def _leave_out(cls: type, test: str) -> None:
    setattr(cls, test, None)


def _hold_to_options(plugin: Any) -> None:
    told = {field.name: getattr(plugin, field.name) for field in dataclasses.fields(plugin)}
    changed = {
        field.name: told[field.name] for field in dataclasses.fields(plugin) if told[field.name] != field.default
    }
    for options in (told, changed):
        same = registry.build(type(plugin), type(plugin).__name__, json.loads(json.dumps(options)))
        assert same == plugin, f"a study with the options {options} builds {same!r}"


def _hold_to_travel(plugin: Any) -> Any:
    kind = type(plugin).__name__
    assert dataclasses.is_dataclass(plugin), f"{kind} is no dataclass: write @dataclass(frozen=True) over it"
    for name in (*(field.name for field in dataclasses.fields(plugin)), "anything"):
        try:
            setattr(plugin, name, getattr(plugin, name, None))
        except dataclasses.FrozenInstanceError:
            continue
        raise AssertionError(f"{name} can be set: write @dataclass(frozen=True) over {kind}")
    copy = pickle.loads(pickle.dumps(plugin))  # noqa: S301 - our own bytes
    assert copy == plugin, f"{kind} comes back as another one when it was sent: {copy!r}"
    return copy


def _joined(observations: Sequence[Any]) -> Any:
    """Return observations as one batch: arrays one after the other; of numbers that differ, one for each toy."""
    found = {}
    for field in dataclasses.fields(observations[0]):
        values = [getattr(each, field.name) for each in observations]
        if isinstance(values[0], np.ndarray):
            found[field.name] = np.concatenate(values)
        elif all(value is values[0] or value == values[0] for value in values):
            found[field.name] = values[0]
        else:
            found[field.name] = np.array(values)
    return type(observations[0])(**found)


def _part(observation: Any, toys: slice) -> Any:
    told = {field.name: getattr(observation, field.name) for field in dataclasses.fields(observation)}
    return type(observation)(
        **{name: value[toys] if isinstance(value, np.ndarray) else value for name, value in told.items()}
    )


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    return values.view(np.uint64) if values.dtype == np.float64 else values


def _all_bits(limits: Limits) -> list[bytes]:
    return [values.tobytes() for values in (limits.lower, limits.upper, limits.status)]


def _slack(one: Limits, other: Limits) -> FloatArray:
    """Return by how much limits of methods that draw toys of their own may miss each other: five standard errors."""
    if one.error is None or other.error is None:
        return np.zeros(len(one))
    slack: FloatArray = np.nan_to_num(5 * np.hypot(one.error, other.error))
    return slack


def _told(observation: Any) -> str:
    text = repr(observation)
    return text if len(text) <= 120 else f"{text[:119]}…"


_POSITIONS: Sequence[Sequence[float]] = (
    (),
    (0.5,),
    (0.9,),
    (0.1, 0.7),
    (0.0,),
    (0.0, 1.0),
    (0.4, 0.4, 0.4),
    (0.02, 0.05, 0.11, 0.13, 0.2, 0.8),
    *((np.arange(events) / width).tolist() for events, width in ((12, 13.0), (40, 80.0), (200, 200.0))),
)
_RATIOS: Sequence[Sequence[float]] = (
    (),
    (0.0,),
    (1.0,),
    (np.inf,),
    (0.0, 0.0, 0.0),
    (8.0, 8.0, 8.0),
    (7.9, 0.2, 1e-12, 0.0, 3.0),
    (np.inf, 0.0, 1e-300, 1e300),
    *((8.0 * np.exp(-0.5 * np.linspace(-end, end, events) ** 2)).tolist() for end, events in ((10, 40), (3, 25))),
)


def _counts() -> dict[str, list[Any]]:
    known = (0, 0.0), (1, 0.0), (0, 3.0), (0, 0.3), (1, 0.5), (3, 5.5), (3, 1.0), (7, 3.0), (25, 10.0), (2, 1e-12)
    return {"Counts": [Counts(n, [b]) for n, b in (*known, (5, 60.0), (120, 100.0), (1000, 900.0))]}


def _on_off() -> dict[str, list[Any]]:
    pairs = (0, 0), (1, 0), (0, 3), (3, 11), (3, 0), (7, 2), (25, 40), (2, 90), (120, 210)
    return {"OnOff": [OnOff(n_on, n_off, tau=2.0) for n_on, n_off in pairs]}


def _sideband() -> dict[str, list[Any]]:
    counts = (0, 0, 0), (1, 0, 0), (0, 4, 3), (3, 15, 10), (3, 6, 0), (9, 2, 1), (25, 80, 50), (1, 40, 38)
    return {"Sideband": [Sideband(*each, zeta=0.25, zeta_sb=0.5) for each in counts]}


def _uncertain_counts() -> dict[str, list[Any]]:
    known = (0, 0.0, 0.0), (0, 3.0, 1.0), (3, 5.5, 1.0), (3, 5.5, 0.0), (7, 0.3, 0.3), (60, 40.0, 6.0)
    return {"UncertainCounts": [UncertainCounts(n, [b], [error]) for n, b, error in known]}


def _events() -> dict[str, list[Any]]:
    return {
        "Events": [Events.of([row]) for row in _POSITIONS],
        "Events over a known background": [Events.of([row], 2.5, [[u**3 for u in row]]) for row in _POSITIONS],
    }


def _modelled_events() -> dict[str, list[Any]]:
    model = registry.find("experiments", "gaussian_flat")().model(1.0)
    return {
        "ModelledEvents": [ModelledEvents.of([row], model) for row in _RATIOS],
        "ModelledEvents, b measured": [ModelledEvents.of([row], model, b=6.0, b_error=1.5) for row in _RATIOS],
    }


def _binned() -> dict[str, list[Any]]:
    model = BinnedModel(
        ("signal", "background"),
        ((2.0, 4.0, 1.0), (6.0, 3.0, 1.5)),
        (True, False),
        (Parameter("scale"), Parameter("background[1]", "poisson", value=1.0, tau=16.0, low=0.0)),
        (Interpolation(0, 1, "factor", (0.9,), (1.1,)), Scale(1, 1, 1, 2)),
    )
    seen = (
        ((0, 0, 0), (0.0, 16.0)),
        ((6, 3, 2), (0.0, 16.0)),
        ((7, 8, 2), (0.5, 12.0)),
        ((2, 1, 0), (-1.5, 20.0)),
        ((15, 20, 6), (1.0, 16.0)),
        ((0, 0, 9), (0.0, 0.0)),
    )
    return {"Binned": [Binned(counts, measured, model) for counts, measured in seen]}


_SENSIBLE: Mapping[type, Callable[[], dict[str, list[Any]]]] = {
    Counts: _counts,
    UncertainCounts: _uncertain_counts,
    OnOff: _on_off,
    Sideband: _sideband,
    Events: _events,
    ModelledEvents: _modelled_events,
    Binned: _binned,
}
