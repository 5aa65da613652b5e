"""What every method and experiment of covsvc is held to, and the observations themselves."""

from __future__ import annotations

import numpy as np
import pytest

from covsvc import registry
from covsvc.contracts import (
    MOST_EVENTS,
    MOST_OFF,
    Binned,
    Counts,
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
from covsvc.testing import ExperimentContract, MethodContract

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

# the shortest runs of two confidence levels need not lie inside each other: n = 6 has 2.436 at 90 %, 2.613 at 95 %
LOWER_END_MAY_RISE = {"crow_gardner"}

# these need a table, which there is at these confidence levels only
TABLED = {"optimum_interval", "p_max", "fixed_interval_n"}

METHODS = sorted(name for name in registry.installed("methods") if registry.is_ours("methods", name))
EXPERIMENTS = sorted(name for name in registry.installed("experiments") if registry.is_ours("experiments", name))


def method_contract(name, options):
    method = registry.find("methods", name)(**options)
    slow = [] if options else [kind for kind in method.reads if (name, kind) in QUICK]
    told = {
        "method": method,
        "levels": [0.90, 0.95, 0.99] if name in TABLED else MethodContract.levels,
        "levels_are_nested": name not in LOWER_END_MAY_RISE,
        "tried_on": tuple(kind for kind in method.reads if kind not in slow),
    }
    yield told
    for kind in slow:
        yield told | {"method": registry.find("methods", name)(**QUICK[name, kind]), "tried_on": (kind,)}


def experiment_contract(name, options):
    assert name in DATA, "add real data of this experiment to DATA"
    data = DATA[name] | MORE_DATA.get(options.get("b_is"), {})
    return {"experiment": registry.find("experiments", name)(**options), "data": data}


def classes():
    """Yield a test class for each choice of options of every method and experiment."""
    for name, options in [*((name, {}) for name in METHODS), *VARIANTS]:
        for told in method_contract(name, options):
            if told["tried_on"]:
                yield type(f"Test {told['method']!r}", (MethodContract,), told)
    for name, options in [*((name, NEEDED.get(name, {})) for name in EXPERIMENTS), *EXPERIMENT_VARIANTS]:
        told = experiment_contract(name, options)
        yield type(f"Test {told['experiment']!r}", (ExperimentContract,), told)


globals().update({each.__name__: each for each in classes()})


def test_there_are_methods_and_experiments():
    assert METHODS
    assert EXPERIMENTS


def test_combinations_of_counts_run_through_the_last_one_fastest():
    on, off = grid_of((3, 0), (2, 3))
    assert (on.tolist(), off.tolist()) == ([3, 3, 3, 4, 4, 4], [0, 1, 2, 0, 1, 2])
    (alone,) = grid_of((5,), (3,))
    assert alone.tolist() == [5, 6, 7]


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
