"""What every installed method and experiment is held to, and the observations themselves."""

import pickle
from dataclasses import FrozenInstanceError, fields, is_dataclass
from importlib.metadata import entry_points

import numpy as np
import pytest

from covsvc.contracts import Counts, Experiment, LimitMethod, Limits, Status, one_sided, two_sided
from covsvc.errors import ObservationError

# sensible observations of each type, one a row, and how rows become a batch
ROWS = {
    Counts: [
        (0, 0.0),
        (1, 0.0),
        (0, 3.0),
        (0, 0.3),
        (1, 0.5),
        (3, 5.5),
        (3, 1.0),
        (7, 3.0),
        (25, 10.0),
        (2, 1e-12),
        (5, 60.0),
        (120, 100.0),
        (1000, 900.0),
    ]
}
BATCH = {Counts: lambda rows: Counts([n for n, _ in rows], np.array([b for _, b in rows]))}

# real data of each experiment
DATA = {"counting": {"n": 3, "b": 5.5}}

# options worth the same tests
VARIANTS = [("feldman_cousins", {"monotone_in_b": True})]

# the shortest runs of two confidence levels need not lie inside each other: n = 6 has 2.436 at 90 %, 2.613 at 95 %
LOWER_END_MAY_RISE = {"crow_gardner"}

METHODS = {entry.name: entry for entry in entry_points(group="covsvc.methods")}
EXPERIMENTS = {entry.name: entry for entry in entry_points(group="covsvc.experiments")}
every_method = pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in sorted(METHODS)), *VARIANTS])
every_experiment = pytest.mark.parametrize("name", sorted(EXPERIMENTS))


def build(name, options):
    return METHODS[name].load()(**options)


def readable(method):
    return next(kind for kind in method.reads if kind in ROWS)


def observations(method):
    kind = readable(method)
    return BATCH[kind](ROWS[kind])


def bits(limits):
    return [limits.lower.tobytes(), limits.upper.tobytes(), limits.status.tobytes()]


def test_there_are_methods_and_experiments():
    assert METHODS
    assert EXPERIMENTS


@every_method
def test_method_describes_itself(name, options):
    method = build(name, options)
    assert isinstance(method, LimitMethod)
    assert method.reads
    assert all(isinstance(kind, type) for kind in method.reads)
    assert any(kind in ROWS for kind in method.reads), "add sensible observations of what it reads to ROWS"
    assert method.sided in {"upper", "two"}
    assert method.promises in {"at_least", "asymptotic", "nothing"}


@every_method
def test_method_is_a_frozen_dataclass_that_travels(name, options):
    method = build(name, options)
    assert is_dataclass(method)
    for field in (*(f.name for f in fields(method)), "anything"):
        with pytest.raises(FrozenInstanceError):
            setattr(method, field, 1)
    copy = pickle.loads(pickle.dumps(method))
    assert copy == method
    assert hash(copy) == hash(method)
    assert bits(copy.limits(observations(copy), 0.9)) == bits(method.limits(observations(method), 0.9))


@every_method
def test_limits_are_arrays_over_toys(name, options):
    method = build(name, options)
    observed = observations(method)
    limits = method.limits(observed, 0.9)
    assert isinstance(limits, Limits)
    assert limits.lower.dtype == limits.upper.dtype == np.float64
    assert limits.status.dtype == np.int8
    assert limits.lower.shape == limits.upper.shape == limits.status.shape == (len(observed),)


@every_method
@pytest.mark.parametrize("cl", [0.5, 0.9, 0.95])
def test_status_and_ends_agree(name, options, cl):
    method = build(name, options)
    limits = method.limits(observations(method), cl)
    ok, empty, unbounded, failed = (limits.status == status for status in Status)
    assert (ok | empty | unbounded | failed).all()
    assert (limits.lower[~failed] >= 0).all()
    assert (limits.lower[~failed] <= limits.upper[~failed]).all()
    assert np.isfinite(limits.upper[ok]).all()
    assert (limits.upper[empty] == 0).all()
    assert (limits.upper[unbounded] == np.inf).all()
    assert np.isnan(limits.lower[failed]).all()
    assert np.isnan(limits.upper[failed]).all()
    if method.sided == "upper":
        assert (limits.lower[~failed] == 0).all()


@every_method
def test_limits_do_not_depend_on_the_batch(name, options):
    method = build(name, options)
    kind = readable(method)
    order = np.random.default_rng(1999).permutation(3 * len(ROWS[kind])) % len(ROWS[kind])
    together = method.limits(BATCH[kind]([ROWS[kind][i] for i in order]), 0.9)
    alone = [method.limits(BATCH[kind]([row]), 0.9) for row in ROWS[kind]]
    for part in ("lower", "upper", "status"):
        one_by_one = np.concatenate([getattr(limits, part) for limits in alone])[order]
        assert getattr(together, part).tobytes() == one_by_one.tobytes()


@every_method
def test_limits_are_the_same_every_time(name, options):
    method = build(name, options)
    assert bits(method.limits(observations(method), 0.9)) == bits(
        build(name, options).limits(observations(method), 0.9)
    )


@every_method
def test_an_empty_batch_has_no_limits(name, options):
    method = build(name, options)
    limits = method.limits(BATCH[readable(method)]([]), 0.9)
    assert len(limits.lower) == len(limits.upper) == len(limits.status) == 0


@every_method
def test_the_observation_is_left_as_it_was(name, options):
    method = build(name, options)
    observed = observations(method)
    before = pickle.dumps(observed)
    for field in fields(observed):
        if isinstance(array := getattr(observed, field.name), np.ndarray):
            array.setflags(write=False)
    method.limits(observed, 0.9)
    assert pickle.dumps(observed) == before


@every_method
def test_higher_confidence_never_tightens(name, options):
    method = build(name, options)
    levels = [0.5, 0.6827, 0.9, 0.95, 0.99, 0.999]
    ladder = [method.limits(observations(method), cl) for cl in levels]
    for looser, tighter in zip(ladder[1:], ladder, strict=False):
        known = (looser.status != Status.FAILED) & (tighter.status != Status.FAILED)
        not_empty = known & (tighter.status != Status.EMPTY)
        assert (looser.upper[known] >= tighter.upper[known]).all()
        assert name in LOWER_END_MAY_RISE or (looser.lower[not_empty] <= tighter.lower[not_empty]).all()
        assert (looser.status[not_empty] != Status.EMPTY).all()


@every_method
def test_one_background_for_all_is_the_same_background_for_each(name, options):
    method = build(name, options)
    if readable(method) is not Counts:
        pytest.skip("reads no plain counts")
    n = np.arange(12)
    for b in (0.0, 2.5):
        assert bits(method.limits(Counts(n, b), 0.9)) == bits(method.limits(Counts(n, np.full(12, b)), 0.9))


@every_experiment
def test_experiment_describes_itself(name):
    experiment = EXPERIMENTS[name].load()()
    assert isinstance(experiment, Experiment)
    assert is_dataclass(experiment)
    assert experiment.gives
    with pytest.raises(FrozenInstanceError):
        experiment.anything = 1
    assert pickle.loads(pickle.dumps(experiment)) == experiment


@every_experiment
@pytest.mark.parametrize("size", [0, 1, 50])
def test_toys_come_as_the_views_it_gives(name, size):
    experiment = EXPERIMENTS[name].load()()
    views = experiment.toys(2.0, 1.5, size, np.random.default_rng(1999))
    assert tuple(type(view) for view in views) == experiment.gives
    assert [len(view) for view in views] == [size] * len(views)


@every_experiment
def test_the_same_generator_draws_the_same_toys(name):
    experiment = EXPERIMENTS[name].load()()
    first, again, other = (experiment.toys(2.0, 1.5, 50, np.random.default_rng(seed)) for seed in (1999, 1999, 2000))
    assert pickle.dumps(first) == pickle.dumps(again)
    assert pickle.dumps(first) != pickle.dumps(other)


@every_experiment
@pytest.mark.parametrize(("s_true", "b"), [(0.0, 0.0), (2.0, 1.5), (0.0, 60.0)])
def test_outcomes_are_views_whose_probabilities_add_up_to_one(name, s_true, b):
    experiment = EXPERIMENTS[name].load()()
    if not hasattr(experiment, "outcomes"):
        pytest.skip("its sample space cannot be enumerated")
    views, probability = experiment.outcomes(s_true, b)
    assert tuple(type(view) for view in views) == experiment.gives
    assert all(len(view) == len(probability) for view in views)
    assert (probability >= 0).all()
    assert probability.sum() == pytest.approx(1, abs=1e-12)


@every_experiment
def test_real_data_come_as_the_views_it_gives(name):
    assert name in DATA, "add real data of this experiment to DATA"
    experiment = EXPERIMENTS[name].load()()
    views = experiment.observe(DATA[name])
    assert tuple(type(view) for view in views) == experiment.gives
    assert all(len(view) == 1 for view in views)


@pytest.mark.parametrize(
    ("n", "b"),
    [
        ([-1], 0.0),
        ([2.5], 0.0),
        ([np.nan], 0.0),
        (["3"], 0.0),
        ([3], -1.0),
        ([3], np.inf),
        ([3], "x"),
        ([3], [1.0, 2.0]),
    ],
)
def test_counts_refuse_what_no_experiment_can_give(n, b):
    with pytest.raises(ObservationError):
        Counts(n, b)


def test_counts_take_one_number_for_a_batch_of_one():
    assert Counts(3.0, 5.5).n.tolist() == [3]
    assert len(Counts([0, 1, 2], b=[1, 2, 3])) == 3


def test_only_closed_intervals_that_are_not_empty_cover():
    limits = two_sided(np.array([0.0, 1.0, -3.0, 2.0, np.nan]), np.array([1.0, 2.0, -1.0, np.inf, np.nan]))
    assert limits.status.tolist() == [Status.OK, Status.OK, Status.EMPTY, Status.UNBOUNDED, Status.FAILED]
    assert limits.cover(1.0).tolist() == [True, True, False, False, False]
    assert limits.cover(0.0).tolist() == [True, False, False, False, False]
    assert limits.upper_covers(0.0).tolist() == [True, True, False, True, False]


def test_upper_limits_start_at_zero():
    limits = one_sided(np.array([2.3, -0.7, -0.0]))
    assert limits.lower.tolist() == [0.0, 0.0, 0.0]
    assert limits.upper.tolist() == [2.3, 0.0, 0.0]
    assert not np.signbit(limits.upper).any()
