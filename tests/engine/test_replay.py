"""Toys that are drawn again."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import fields

import numpy as np
import pytest

from covsvc.contracts import Binned, Counts, Events, Limits, ModelledEvents, Status, UncertainCounts
from covsvc.engine.observation import build
from covsvc.engine.replay import describe, draw_block, limits_of_toy, replay_block, take, why_missed
from covsvc.engine.work import make_tables, run_task
from covsvc.study import Row, Task, study_of
from covsvc.tally import COUNTS, digest_of

BUMP = {"signal": [2, 6, 2], "backgrounds": [10, 8, 6], "nuisances": {"rate": {"impacts": {"background": 0.1}}}}

STUDIES = {
    "counting": ("counting", {}, ["classical", "feldman_cousins", "bayes_flat"]),
    "estimated": ("counting", {"relative_b_error": 0.2}, ["bayes_uncertain_background", "classical"]),
    "on a scale": (
        "counting",
        {"relative_b_error": 0.2, "shape": "truncated_gaussian"},
        ["bayes_uncertain_background", "classical"],
    ),
    "on_off": (
        "on_off",
        {"tau": 2},
        ["profile_likelihood", "significance_sideband", {"name": "cls", "view": "Counts"}],
    ),
    "spectrum": ("spectrum", {"background_per_signal": 0.5}, ["max_gap", "poisson"]),
    "known background": ("spectrum", {"known_b": 2.0}, ["max_gap", "classical"]),
    "gaussian_flat": ("gaussian_flat", {}, ["profile_likelihood", "max_gap", "significance_sideband", "classical"]),
    "cleo": ("cleo", {}, ["profile_likelihood", "likelihood_integration", "classical"]),
    "binned": (
        "binned",
        BUMP,
        ["q_mu_tilde", "cls", {"name": "sampling_distribution", "options": {"nuisances": "nominal", "n_toys": 200}}],
    ),
}

every_study = pytest.mark.parametrize("kind", STUDIES)


def small(kind):
    name, options, methods = STUDIES[kind]
    return study_of(
        {
            "name": "small",
            "experiment": {"name": name, "options": options},
            "methods": methods,
            "cl": [0.9],
            "s_true": [0, 2.5],
            "b": [3.0],
            "toys_per_block": 40,
            "n_toys": 120,
            "seed": 1999,
        }
    )


@every_study
def test_a_block_has_the_digests_and_the_counts_of_the_task_that_drew_it_first(kind):
    study = small(kind)
    row = Row(study.source, study.columns, 3.0, study.s_true)
    tally = run_task(Task(study.source, study.columns, 3.0, study.s_true, 1, 3), make_tables(row))
    for cell, s_true in enumerate(study.s_true):
        missed = np.zeros(len(study.columns), np.int64)
        for block in (1, 2):
            found = replay_block(study, s_true, 3.0, study.columns, block, build)
            assert [found.digest(row) for row in range(len(study.columns))] == tally.digest[:, cell, block - 1].tolist()
            missed += found.missed(s_true).sum(axis=1)
        n_toys, n_covered = (tally.counts[:, cell, COUNTS.index(name)] for name in ("n_toys", "n_covered"))
        np.testing.assert_array_equal(missed, n_toys - n_covered)


@every_study
def test_a_toy_alone_has_the_bits_of_its_limits_among_all_toys_of_its_block(kind):
    study = small(kind)
    found = replay_block(study, 2.5, 3.0, study.columns, 0, build)
    for index in (0, 7, 39):
        alone = limits_of_toy(study, found.toys.one(index), study.columns, 2.5, build)
        among = [int(digest_of(limits)[index]) for limits in found.limits]
        assert [told["digest"] for told in alone] == among
        assert [told["covers"] for told in alone] == (~found.missed(2.5)[:, index]).tolist()
        assert all(bool(told["why"]) != told["covers"] for told in alone)


@pytest.mark.parametrize("block", [0, 1, 999_999])
def test_counts_are_those_of_numpy_jumped_to_the_block(block):
    # the key of a cell, and the generator of a block, from numpy's own jumped()
    told = json.dumps(["counting", {}, "2.5", "3"], sort_keys=True)
    key = np.frombuffer(hashlib.sha256(told.encode()).digest(), "<u4").tolist()
    bits = np.random.PCG64(np.random.SeedSequence(1999, spawn_key=key)).jumped(block)
    expected = np.random.Generator(bits).poisson(2.5 + 3.0, 40)
    toys = draw_block(small("counting"), 2.5, 3.0, block)
    assert [toys.one(index)[1].n.item() for index in range(40)] == expected.tolist()


@every_study
def test_one_toy_is_what_the_experiment_gives_and_its_arrays_are_as_long_as_it(kind):
    study = small(kind)
    experiment = study.experiment.build()
    views = experiment.toys(2.5, 3.0, 40, next(study.source.blocks(2.5, 3.0, 0, 1)))
    toys = draw_block(study, 2.5, 3.0, 0)
    for index in (0, 13, 39):
        for one, view in zip(toys.one(index), views, strict=True):
            assert type(one) is type(view)
            assert len(one) == 1
            here = take(view, index)
            for field in fields(view):
                if field.name != "model":
                    assert pickle.dumps(getattr(one, field.name)) == pickle.dumps(getattr(here, field.name))
            if isinstance(view, Counts):
                assert one.n.item() == view.n[index]


def test_the_events_of_a_toy_are_its_own():
    events = Events.of([[0.1, 0.7], [], [0.2]], b=1.0, v=[[0.3, 0.4], [], [0.9]])
    assert [take(events, index).u.tolist() for index in range(3)] == [[0.1, 0.7], [], [0.2]]
    assert [take(events, index).v.tolist() for index in range(3)] == [[0.3, 0.4], [], [0.9]]
    modelled = ModelledEvents.of([[2.0], [3.0, 4.0]], b=[5.0, 6.0], b_error=0.5)
    second = take(modelled, 1)
    assert (second.n.tolist(), second.density_ratio.tolist(), second.b.tolist(), second.b_error) == (
        [2],
        [3.0, 4.0],
        [6.0],
        0.5,
    )
    # as many events as toys: each array is known by its name, not by its length
    assert take(Events.of([[0.1, 0.7], []]), 1).u.tolist() == []


def test_largest_intervals_of_a_toy_are_made_of_its_own_events():
    events = Events.of([[0.1, 0.7], [0.5]])
    assert events.largest_intervals.shape == (3,)
    assert take(events, 1).largest_intervals.tolist() == [0.5]


def test_data_are_described_by_name():
    study = small("binned")
    binned, counts = draw_block(study, 2.5, 3.0, 0).one(3)
    told = describe(binned)
    assert told == {
        "view": "Binned",
        "counts": binned.counts[0].tolist(),
        "auxiliary": {"rate": binned.auxiliary[0, 0].item()},
    }
    assert describe(counts) == {"view": "Counts", "n": int(binned.counts.sum()), "b": 3.0}
    assert describe(UncertainCounts([3], [1.5], [0.5])) == {
        "view": "UncertainCounts",
        "n": 3,
        "b": 1.5,
        "b_error": 0.5,
        "shape": "gamma",
    }
    assert describe(Events.of([[0.5, 0.2]])) == {"view": "Events", "n": 2, "b": 0.0, "u": [0.2, 0.5]}
    assert isinstance(binned, Binned)


@pytest.mark.parametrize(
    ("lower", "upper", "status", "told"),
    [
        (0.0, 1.23, Status.OK, "upper limit 1.23 is 0.77 below s_true = 2"),
        (2.5, 4.0, Status.OK, "lower end 2.5 is 0.5 above s_true = 2"),
        (0.0, 0.0, Status.EMPTY, "empty: too few"),
        (np.nan, np.nan, Status.FAILED, "failed: too few"),
        (0.0, 2.0, Status.OK, ""),
        (2.0, np.inf, Status.UNBOUNDED, ""),
        (2.5, np.inf, Status.UNBOUNDED, "lower end 2.5 is 0.5 above s_true = 2"),
    ],
)
def test_it_says_why_an_interval_missed(lower, upper, status, told):
    limits = Limits(np.array([lower]), np.array([upper]), np.array([status], np.int8))
    assert why_missed(limits, 2.0, "upper", "too few") == told


def test_a_method_that_raises_has_failed_and_all_others_have_their_limits(plugins):
    study = study_of(
        {
            "name": "small",
            "experiment": "counting",
            "methods": ["raising", "classical"],
            "cl": [0.9],
            "s_true": [2.5],
            "b": [3.0],
            "toys_per_block": 40,
            "n_toys": 40,
            "seed": 1999,
            "isolate": False,
        }
    )
    found = replay_block(study, 2.5, 3.0, study.columns, 0, build)
    assert found.limits[0] == "ZeroDivisionError: no such luck"
    assert found.digest(0) is None
    assert found.missed(2.5)[0].all()
    raising, classical = limits_of_toy(study, found.toys.one(0), study.columns, 2.5, build)
    assert (raising["status"], raising["why"]) == ("failed", "failed: ZeroDivisionError: no such luck")
    assert classical["status"] == "ok"
