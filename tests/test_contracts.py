"""What every installed method and experiment is held to, and the observations themselves."""

import pickle
from dataclasses import FrozenInstanceError, fields, is_dataclass
from importlib.metadata import entry_points

import numpy as np
import pytest

from covsvc.binned_model import BinnedModel, Interpolation, Parameter, Scale
from covsvc.contracts import (
    MOST_EVENTS,
    MOST_OFF,
    Binned,
    Counts,
    Enumerable,
    Events,
    Experiment,
    LimitMethod,
    Limits,
    ModelledEvents,
    OnOff,
    Sideband,
    Status,
    UncertainCounts,
    grid_of,
    one_sided,
    two_sided,
)
from covsvc.errors import ObservationError


class EventsOverBackground(Events):
    """Events of which some are of a known background, which every method of events reads in another way."""


class EventsWithKnown(ModelledEvents):
    """Events whose background is known, or known with an error, which methods of densities read in another way."""


MODEL = entry_points(group="covsvc.experiments")["gaussian_flat"].load()().model(1.0)
BINS = BinnedModel(
    ("signal", "background"),
    ((2.0, 4.0, 1.0), (6.0, 3.0, 1.5)),
    (True, False),
    (Parameter("scale"), Parameter("background[1]", "poisson", value=1.0, tau=16.0, low=0.0)),
    (Interpolation(0, 1, "factor", (0.9,), (1.1,)), Scale(1, 1, 1, 2)),
)


# sensible observations of each type, one a row, and how rows become a batch
POSITIONS = [
    (),
    (0.5,),
    (0.9,),
    (0.1, 0.7),
    (0.0,),
    (0.0, 1.0),
    (0.4, 0.4, 0.4),
    (0.02, 0.05, 0.11, 0.13, 0.2, 0.8),
    tuple((np.arange(12) / 13.0).tolist()),
    tuple((np.arange(40) / 80.0).tolist()),
    tuple((np.arange(200) / 200.0).tolist()),
]
RATIOS = [
    (),
    (0.0,),
    (1.0,),
    (np.inf,),
    (0.0, 0.0, 0.0),
    (8.0, 8.0, 8.0),
    (7.9, 0.2, 1e-12, 0.0, 3.0),
    (np.inf, 0.0, 1e-300, 1e300),
    tuple((8.0 * np.exp(-0.5 * np.linspace(-10, 10, 40) ** 2)).tolist()),
    tuple((8.0 * np.exp(-0.5 * np.linspace(-3, 3, 25) ** 2)).tolist()),
]
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
    ],
    OnOff: [(0, 0), (1, 0), (0, 3), (3, 11), (3, 0), (7, 2), (25, 40), (2, 90), (120, 210)],
    Sideband: [(0, 0, 0), (1, 0, 0), (0, 4, 3), (3, 15, 10), (3, 6, 0), (9, 2, 1), (25, 80, 50), (1, 40, 38)],
    Events: POSITIONS,
    EventsOverBackground: POSITIONS,
    ModelledEvents: RATIOS,
    EventsWithKnown: RATIOS,
    Binned: [
        ((0, 0, 0), (0.0, 16.0)),
        ((6, 3, 2), (0.0, 16.0)),
        ((7, 8, 2), (0.5, 12.0)),
        ((2, 1, 0), (-1.5, 20.0)),
        ((15, 20, 6), (1.0, 16.0)),
        ((0, 0, 9), (0.0, 0.0)),
    ],
    UncertainCounts: [(0, 0.0, 0.0), (0, 3.0, 1.0), (3, 5.5, 1.0), (3, 5.5, 0.0), (7, 0.3, 0.3), (60, 40.0, 6.0)],
}
BATCH = {
    Events: Events.of,
    EventsOverBackground: lambda rows: Events.of(rows, 2.5, [[u**3 for u in row] for row in rows]),
    Counts: lambda rows: Counts([n for n, _ in rows], np.array([b for _, b in rows])),
    OnOff: lambda rows: OnOff([n for n, _ in rows], [n for _, n in rows], tau=2.0),
    Sideband: lambda rows: Sideband(*([row[i] for row in rows] for i in range(3)), zeta=0.25, zeta_sb=0.5),
    ModelledEvents: lambda rows: ModelledEvents.of(rows, MODEL),
    EventsWithKnown: lambda rows: ModelledEvents.of(rows, MODEL, b=6.0, b_error=1.5),
    Binned: lambda rows: Binned(
        np.array([row[0] for row in rows], np.int64).reshape(-1, 3),
        np.array([row[1] for row in rows]).reshape(-1, 2),
        BINS,
    ),
    UncertainCounts: lambda rows: UncertainCounts(*(np.array([row[i] for row in rows]) for i in range(3))),
}

# real data of each experiment
DATA = {
    "counting": {"n": 3, "b": 5.5},
    "on_off": {"n_on": 3, "n_off": 11},
    "spectrum": {"u": [0.7, 0.1], "b": 3.0, "v": [0.6, 0.2]},
    "gaussian_flat": {"x": [0.3, -4.0, 7.7]},
    "cleo": {"m": [-51.0, 57.0], "E": [74.0, -246.0]},
    "binned": {"counts": [6, 9]},
}

# what is told of the background beside them
MORE_DATA = {"known": {"b": 1.5}, "estimated": {"b": 1.5}}

# what an experiment cannot do without
NEEDED = {"binned": {"signal": [2.0, 4.0], "backgrounds": {"background": [6.0, 3.0]}, "uncorrelated": [1.0, 1.0]}}

# options of experiments worth the same tests
EXPERIMENT_VARIANTS = [
    ("counting", {"relative_b_error": 0.3}),
    ("counting", {"relative_b_error": 0.3, "fluctuates": "b", "assumed_over_true": 0.8}),
    ("counting", {"relative_b_error": 0.3, "fluctuates": "b", "shape": "truncated_gaussian"}),
    ("counting", {"relative_b_error": 0.3, "shape": "truncated_gaussian"}),
    ("on_off", {"tau": 7.5, "shape": "truncated_gaussian"}),
    ("spectrum", {"background_per_signal": 1.0, "background_edges": [0, 0.1, 0.4], "background_weights": [3, 1]}),
    ("binned", NEEDED["binned"] | {"nuisances": {"slope": {"impacts": {"background": [0.1, -0.1]}}}}),
    ("cleo", {"b_is": "estimated", "relative_b_error": 0.3}),
    ("gaussian_flat", {"b_is": "known"}),
    ("spectrum", {"known_b": 2.5, "known_edges": [0, 0.3, 1], "known_weights": [1, 2]}),
]

# options worth the same tests
VARIANTS = [
    ("feldman_cousins", {"monotone_in_b": True}),
    ("profile_likelihood", {"bounded": False}),
    ("q_mu", {"procedure": "clsb"}),
    ("q_mu_tilde", {"procedure": "clsb"}),
    ("sampling_distribution", {"procedure": "clsb", "p_value": "inclusive", "statistic": "q_mu"}),
    ("sampling_distribution", {"n_toys": 500}),
    ("sampling_distribution", {"n_toys": 500, "nuisances": "nominal"}),
    ("sampling_distribution", {"n_toys": 200, "statistic": "t_mu_tilde", "procedure": "clsb"}),
    ("sampling_distribution", {"n_toys": 200, "nuisances": "nominal", "procedure": "clsb", "power_constrained": True}),
    ("bayes_uncertain_background", {"prior": "jeffreys"}),
    ("optimum_interval", {"crossing": "first"}),
    ("p_max", {"crossing": "first"}),
    ("fixed_interval_n", {"n": 2}),
]

# methods that draw toys of their own, with few of them
QUICK = {
    ("mc_likelihood", ModelledEvents): {"n_toys": 400, "largest_s": 30.0, "largest_b": 60.0},
    ("sampling_distribution", Binned): {"n_toys": 200},
}

# other forms of the observations, which methods read in another way
OTHER_FORMS = {Events: (EventsOverBackground,), ModelledEvents: (EventsWithKnown,)}

# the shortest runs of two confidence levels need not lie inside each other: n = 6 has 2.436 at 90 %, 2.613 at 95 %
LOWER_END_MAY_RISE = {"crow_gardner"}

# these need a table, which there is at these confidence levels only
TABLED = {"optimum_interval", "p_max", "fixed_interval_n"}
TABLED_LEVELS = [0.90, 0.95, 0.99]

METHODS = {entry.name: entry for entry in entry_points(group="covsvc.methods")}
EXPERIMENTS = {entry.name: entry for entry in entry_points(group="covsvc.experiments")}


def build(name, options):
    return METHODS[name].load()(**options)


READERS = [
    (name, options or QUICK.get((name, read), {}), kind)
    for name, options in [*((name, {}) for name in sorted(METHODS)), *VARIANTS]
    for read in build(name, options).reads
    for kind in (read, *OTHER_FORMS.get(read, ()))
]
SOURCES = [*((name, NEEDED.get(name, {})) for name in sorted(EXPERIMENTS)), *EXPERIMENT_VARIANTS]


def is_enumerable(name, options):
    experiment = EXPERIMENTS[name].load()(**options)
    return isinstance(experiment, Enumerable) and experiment.counts(1.0, 1.0) is not None


def over_methods(readers):
    ids = [f"{name}-{options or ''}-{kind.__name__}" for name, options, kind in readers]
    return pytest.mark.parametrize(("name", "options", "kind"), readers, ids=ids)


def over_experiments(sources):
    return pytest.mark.parametrize(("name", "options"), sources, ids=lambda each: str(each or ""))


every_method = over_methods(READERS)
every_method_on_counts = over_methods([reader for reader in READERS if reader[2] is Counts])
every_experiment = over_experiments(SOURCES)
every_enumerable_experiment = over_experiments([source for source in SOURCES if is_enumerable(*source)])


def observations(kind):
    return BATCH[kind](ROWS[kind])


def bits(limits):
    return [limits.lower.tobytes(), limits.upper.tobytes(), limits.status.tobytes()]


def test_there_are_methods_and_experiments():
    assert METHODS
    assert EXPERIMENTS


@every_method
def test_method_describes_itself(name, options, kind):
    method = build(name, options)
    assert isinstance(method, LimitMethod)
    assert method.reads
    assert all(isinstance(kind, type) for kind in method.reads)
    assert kind in ROWS, "add sensible observations of what it reads to ROWS"
    assert method.sided in {"upper", "two"}
    assert method.promises in {"at_least", "asymptotic", "nothing"}


@every_method
def test_method_is_a_frozen_dataclass_that_travels(name, options, kind):
    method = build(name, options)
    assert is_dataclass(method)
    for field in (*(f.name for f in fields(method)), "anything"):
        with pytest.raises(FrozenInstanceError):
            setattr(method, field, 1)
    copy = pickle.loads(pickle.dumps(method))
    assert copy == method
    assert hash(copy) == hash(method)
    assert bits(copy.limits(observations(kind), 0.9)) == bits(method.limits(observations(kind), 0.9))


@every_method
def test_limits_are_arrays_over_toys(name, options, kind):
    method = build(name, options)
    observed = observations(kind)
    limits = method.limits(observed, 0.9)
    assert isinstance(limits, Limits)
    assert limits.lower.dtype == limits.upper.dtype == np.float64
    assert limits.status.dtype == np.int8
    assert limits.lower.shape == limits.upper.shape == limits.status.shape == (len(observed),)


@every_method
@pytest.mark.parametrize("cl", [0.5, 0.9, 0.95])
def test_status_and_ends_agree(name, options, kind, cl):
    method = build(name, options)
    cl = max(cl, TABLED_LEVELS[0]) if name in TABLED else cl
    limits = method.limits(observations(kind), cl)
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
def test_limits_do_not_depend_on_the_batch(name, options, kind):
    method = build(name, options)
    order = np.random.default_rng(1999).permutation(3 * len(ROWS[kind])) % len(ROWS[kind])
    together = method.limits(BATCH[kind]([ROWS[kind][i] for i in order]), 0.9)
    alone = [method.limits(BATCH[kind]([row]), 0.9) for row in ROWS[kind]]
    for part in ("lower", "upper", "status"):
        one_by_one = np.concatenate([getattr(limits, part) for limits in alone])[order]
        assert getattr(together, part).tobytes() == one_by_one.tobytes()


@every_method
def test_limits_are_the_same_every_time(name, options, kind):
    method = build(name, options)
    assert bits(method.limits(observations(kind), 0.9)) == bits(build(name, options).limits(observations(kind), 0.9))


@every_method
def test_an_empty_batch_has_no_limits(name, options, kind):
    method = build(name, options)
    limits = method.limits(BATCH[kind]([]), 0.9)
    assert len(limits.lower) == len(limits.upper) == len(limits.status) == 0


@every_method
def test_the_observation_is_left_as_it_was(name, options, kind):
    method = build(name, options)
    observed = observations(kind)
    told = {field.name: getattr(observed, field.name) for field in fields(observed)}
    if kind is Events:  # what methods share of them, too
        told["largest_intervals"] = observed.largest_intervals
    before = pickle.dumps(told)
    for value in told.values():
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
    method.limits(observed, 0.9)
    assert pickle.dumps(told) == before
    assert all(getattr(observed, name) is value for name, value in told.items())


def slack(one, other):
    """Return by how much limits of methods that draw toys of their own may miss each other: five standard errors."""
    if one.error is None:
        return 0.0
    return np.nan_to_num(5 * np.hypot(one.error, other.error))


@every_method
def test_higher_confidence_never_tightens(name, options, kind):
    method = build(name, options)
    levels = TABLED_LEVELS if name in TABLED else [0.5, 0.6827, 0.9, 0.95, 0.99, 0.999]
    ladder = [method.limits(observations(kind), cl) for cl in levels]
    for looser, tighter in zip(ladder[1:], ladder, strict=False):
        known = (looser.status != Status.FAILED) & (tighter.status != Status.FAILED)
        not_empty = known & (tighter.status != Status.EMPTY)
        assert (looser.upper >= tighter.upper - slack(looser, tighter))[known].all()
        assert name in LOWER_END_MAY_RISE or (looser.lower[not_empty] <= tighter.lower[not_empty]).all()
        assert (looser.status[not_empty] != Status.EMPTY).all()


@every_method_on_counts
def test_one_background_for_all_is_the_same_background_for_each(name, options, kind):
    method = build(name, options)
    n = np.arange(12)
    for b in (0.0, 2.5):
        assert bits(method.limits(Counts(n, b), 0.9)) == bits(method.limits(Counts(n, np.full(12, b)), 0.9))


def build_experiment(name, options):
    return EXPERIMENTS[name].load()(**options)


@every_experiment
def test_experiment_describes_itself(name, options):
    experiment = build_experiment(name, options)
    assert isinstance(experiment, Experiment)
    assert is_dataclass(experiment)
    assert experiment.gives
    assert set(getattr(experiment, "plugs_in", ())) <= set(experiment.gives)
    with pytest.raises(FrozenInstanceError):
        experiment.anything = 1
    assert pickle.loads(pickle.dumps(experiment)) == experiment


@every_experiment
@pytest.mark.parametrize("size", [0, 1, 50])
@pytest.mark.parametrize("b", [0.0, 1.5])
def test_toys_come_as_the_views_it_gives(name, options, b, size):
    experiment = build_experiment(name, options)
    views = experiment.toys(2.0, b, size, np.random.default_rng(1999))
    assert tuple(type(view) for view in views) == experiment.gives
    assert [len(view) for view in views] == [size] * len(views)


@every_experiment
def test_the_same_generator_draws_the_same_toys(name, options):
    experiment = build_experiment(name, options)
    first, again, other = (experiment.toys(2.0, 1.5, 50, np.random.default_rng(seed)) for seed in (1999, 1999, 2000))
    assert pickle.dumps(first) == pickle.dumps(again)
    assert pickle.dumps(first) != pickle.dumps(other)


@every_enumerable_experiment
@pytest.mark.parametrize(("s_true", "b"), [(0.0, 0.0), (2.0, 1.5), (0.0, 60.0)])
def test_outcomes_are_views_whose_probabilities_add_up_to_one(name, options, s_true, b):
    views, probability = build_experiment(name, options).outcomes(s_true, b)
    assert tuple(type(view) for view in views) == build_experiment(name, options).gives
    assert all(len(view) == len(probability) for view in views)
    assert (probability >= 0).all()
    assert probability.sum() == pytest.approx(1, abs=1e-12)


@every_enumerable_experiment
@pytest.mark.parametrize(("s_true", "b"), [(0.0, 0.0), (2.0, 1.5), (0.0, 60.0)])
def test_counts_that_are_drawn_are_those_that_toys_consist_of(name, options, s_true, b):
    experiment = build_experiment(name, options)
    drawn = experiment.draw(s_true, b, 50, np.random.default_rng(1999))
    assert len(drawn) == len(experiment.counts(s_true, b))
    assert all(each.dtype == np.int64 and each.shape == (50,) for each in drawn)
    toys = experiment.toys(s_true, b, 50, np.random.default_rng(1999))
    assert pickle.dumps(experiment.views(drawn, b)) == pickle.dumps(toys)


@every_enumerable_experiment
def test_only_the_first_count_depends_on_the_signal(name, options):
    experiment = build_experiment(name, options)
    (first, *rest), (other, *same) = (experiment.counts(s_true, 1.5) for s_true in (0.0, 4.0))
    assert [(run.first, run.probability.tobytes()) for run in rest] == [
        (run.first, run.probability.tobytes()) for run in same
    ]
    assert first.probability.tobytes() != other.probability.tobytes()


@every_enumerable_experiment
def test_what_is_told_of_an_outcome_does_not_depend_on_the_others(name, options):
    experiment = build_experiment(name, options)
    runs = experiment.counts(2.0, 1.5)
    counts = grid_of([run.first for run in runs], [len(run.probability) for run in runs])
    together = experiment.views(counts, 1.5)
    chosen = np.arange(0, len(counts[0]), 3)
    alone = experiment.views([each[chosen] for each in counts], 1.5)
    for one, other in zip(together, alone, strict=True):
        for field in fields(one):
            value = getattr(one, field.name)
            value = value[chosen] if isinstance(value, np.ndarray) else value
            assert np.array_equal(value, getattr(other, field.name))


def test_combinations_of_counts_run_through_the_last_one_fastest():
    on, off = grid_of((3, 0), (2, 3))
    assert (on.tolist(), off.tolist()) == ([3, 3, 3, 4, 4, 4], [0, 1, 2, 0, 1, 2])
    (alone,) = grid_of((5,), (3,))
    assert alone.tolist() == [5, 6, 7]


@every_experiment
def test_real_data_come_as_the_views_it_gives(name, options):
    assert name in DATA, "add real data of this experiment to DATA"
    experiment = build_experiment(name, options)
    data = DATA[name] | MORE_DATA.get(options.get("b_is"), {})
    views = experiment.observe(data)
    assert tuple(type(view) for view in views) == experiment.gives
    assert all(len(view) == 1 for view in views)
    assert experiment.background(data) >= 0
    assert experiment.background(data, no_signal=True) >= 0


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


@pytest.mark.parametrize(
    ("make", "wrong", "message"),
    [
        (UncertainCounts, {"n": [-1]}, "n = -1: a count of events"),
        (UncertainCounts, {"n": [2.5]}, "n = 2.5: a count of events"),
        (UncertainCounts, {"b": -1.0}, "b = -1: an expected background"),
        (UncertainCounts, {"b_error": -1.0}, "b_error = -1: an expected background"),
        (UncertainCounts, {"b_error": np.nan}, "b_error = nan: an expected background"),
        (UncertainCounts, {"b": np.inf}, "b = inf: an expected background"),
        (UncertainCounts, {"b": 2.0 * MOST_EVENTS}, "at most 1,000,000"),
        (UncertainCounts, {"b": "1"}, "b = '1': an expected background"),
        (UncertainCounts, {"b_error": [0.1, 0.2]}, "give one b_error, or one for each n"),
        (UncertainCounts, {"shape": "gauss"}, "shape = 'gauss': an uncertain background is gamma or truncated_gaussian"),
        (UncertainCounts, {"b": 0.0, "b_error": 1.0}, "b = 0 with b_error > 0: no gamma distribution"),
        (OnOff, {"n_on": [-1]}, "n_on = -1: a count of events"),
        (OnOff, {"n_off": [0.5]}, "n_off = 0.5: a count of events"),
        (OnOff, {"n_on": [MOST_EVENTS + 1]}, "n_on = 1000001: a count of events is a whole number >= 0, at most 1,000,000"),
        (OnOff, {"n_off": [MOST_OFF + 1]}, "at most 1,000,000,000,000"),
        (OnOff, {"n_off": [1, 2]}, "n_off has shape (2,) but n_on has shape (1,): give one for each toy"),
        (OnOff, {"n_on": [[1]]}, "n_on has 2 dimensions"),
        (OnOff, {"tau": 0.0}, "tau = 0.0: a ratio of expected backgrounds in [0.0001, 1e+06]"),
        (OnOff, {"tau": np.nan}, "tau = nan"),
        (OnOff, {"tau": np.inf}, "tau = inf"),
        (OnOff, {"tau": "1"}, "tau = '1'"),
        (OnOff, {"tau": True}, "tau = True"),
        (OnOff, {"tau": 1.1e6}, "tau = 1100000.0"),
        (Sideband, {"n": [-1]}, "n = -1: a count of events"),
        (Sideband, {"n_out": [1.5]}, "n_out = 1.5: a count of events"),
        (Sideband, {"n_sb": [np.nan]}, "n_sb = nan: a count of events"),
        (Sideband, {"n_sb": [5]}, "n_sb = 5 is above n_out = 4: the sideband is part of the outside"),
        (Sideband, {"n_out": [4, 4]}, "n_out has shape (2,) but n has shape (1,)"),
        (Sideband, {"zeta": 1.0}, "zeta = 1: the signal region is a part"),
        (Sideband, {"zeta": 0.0}, "zeta = 0.0: a ratio of expected backgrounds"),
        (Sideband, {"zeta": -0.1}, "zeta = -0.1"),
        (Sideband, {"zeta_sb": 0.0}, "zeta_sb = 0.0: a ratio"),
        (Sideband, {"zeta_sb": np.inf}, "zeta_sb = inf: a ratio"),
    ],
)  # fmt: skip
def test_observations_refuse_what_no_experiment_can_give(make, wrong, message):
    right = {
        UncertainCounts: {"n": [3], "b": 1.0, "b_error": 0.5},
        OnOff: {"n_on": [3], "n_off": [4], "tau": 2.0},
        Sideband: {"n": [3], "n_out": [4], "n_sb": [3], "zeta": 0.2, "zeta_sb": 0.5},
    }[make]
    assert len(make(**right)) == 1
    with pytest.raises(ObservationError) as refused:
        make(**(right | wrong))
    assert message in str(refused.value)


def test_observations_at_the_ends_of_their_ranges_are_taken():
    assert UncertainCounts(MOST_EVENTS, 0.0, 0.0).b == 0.0
    assert UncertainCounts([0, 1], b=[0.0, 1.0], b_error=[0.0, MOST_EVENTS]).b_error.tolist() == [0.0, MOST_EVENTS]
    assert UncertainCounts(0, 0.0, 1.0, shape="truncated_gaussian").shape == "truncated_gaussian"
    for tau in (1e-4, 1, 1e6):
        assert OnOff(0, MOST_OFF, tau).tau == tau
        # a pair on and off source is a sideband, too
        assert len(Sideband(0, MOST_OFF, MOST_OFF, 1 / (1 + tau), 1 / tau)) == 1
    assert Sideband([3, 0], [4, 0], [4, 0], 0.5, 1).zeta_sb == 1.0


def test_a_gamma_distribution_is_refused_for_one_observation_of_many():
    with pytest.raises(ObservationError, match="no gamma distribution of mean 0"):
        UncertainCounts([1, 2], b=[1.0, 0.0], b_error=[0.1, 0.1])


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
