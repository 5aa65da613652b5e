"""The speed of limit methods: against methods that take a known time, and within bounds."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
from distribution import install

from covsvc import registry
from covsvc.engine.calibrating import calibrate, need_of
from covsvc.engine.speed import MOST_TOYS, _rate, speeds
from covsvc.study import study_of

SOURCE = '''
import time
from dataclasses import dataclass
from covsvc.contracts import Counts, one_sided

@dataclass(frozen=True)
class Sleeping:
    """Sleep before each answer."""
    reads = (Counts,)
    sided = "upper"
    promises = "nothing"
    a_toy: float = 0.0
    a_call: float = 0.0
    def limits(self, observed, cl):
        time.sleep(self.a_call + self.a_toy * len(observed))
        return one_sided(observed.n + 3.0)

@dataclass(frozen=True)
class Failing(Sleeping):
    """Answer nothing."""
    def limits(self, observed, cl):
        raise ValueError("no")
'''
ENTRY_POINTS = "[covsvc.methods]\nsleeping = sleeping_plugins:Sleeping\nfailing = sleeping_plugins:Failing\n"


@pytest.fixture
def sleeping(tmp_path, monkeypatch):
    """Return the speed of methods that sleep, and the time that it took to find them."""
    folder = tmp_path / "site"
    install(folder, "sleeping", ENTRY_POINTS, sleeping_plugins=SOURCE)
    monkeypatch.syspath_prepend(str(folder))
    registry.installed.cache_clear()

    def measure(*methods, isolate=False, **options):
        told = [
            each if isinstance(each, str) else {"name": "sleeping", "label": "it", "options": each} for each in methods
        ]
        study = study_of(
            {
                "name": "asleep",
                "experiment": "counting",
                "methods": told,
                "cl": [0.9],
                "s_true": [1, 5],
                "b": [0, 3],
                "toys_per_block": 1000,
                "n_toys": 1000,
                "seed": 1,
                "isolate": isolate,
            }
            | options
        )
        begun = time.perf_counter()
        found = speeds(study, study.columns)
        return found, time.perf_counter() - begun

    yield measure
    registry.installed.cache_clear()
    sys.modules.pop("sleeping_plugins", None)


def test_a_method_that_needs_two_milliseconds_a_toy_has_at_most_five_hundred_toys_a_second(sleeping):
    found, seconds = sleeping({"a_toy": 0.002})
    assert 200 < found["it", 0.9] <= 500
    assert seconds < 8


def test_what_a_call_needs_is_shared_by_the_toys_of_a_block(sleeping):
    found, seconds = sleeping({"a_call": 0.02})
    # a block of 1000 toys in 20 ms
    assert 20_000 < found["it", 0.9] <= 50_000
    assert seconds < 8


def test_a_method_in_a_process_of_its_own_is_timed_there(sleeping):
    found, _ = sleeping({"a_toy": 0.002}, isolate=True)
    assert 200 < found["it", 0.9] <= 500


def test_a_slow_method_is_timed_on_few_toys(sleeping):
    found, seconds = sleeping({"a_toy": 0.3})
    assert 2 < found["it", 0.9] <= 1 / 0.3
    assert seconds < 8


def test_columns_that_set_no_limits_are_left_out(sleeping):
    found, _ = sleeping("failing", "classical", "feldman_cousins")
    assert set(found) == {("classical", 0.9), ("feldman_cousins", 0.9)}
    assert all(np.isfinite(each) and each > 0 for each in found.values())


def test_the_first_time_which_compiles_does_not_count():
    asked = []

    def seconds(toys):
        asked.append(toys)
        return 0.01 + 1e-5 * toys + 5.0 * (asked.count(toys) == 1)

    assert _rate(seconds, MOST_TOYS) == pytest.approx(10_000 / 0.11)
    assert max(asked) == MOST_TOYS


def test_no_more_toys_are_taken_than_a_timing_has_time_for():
    asked = []

    def seconds(toys):
        asked.append(toys)
        return 0.01 * toys

    assert _rate(seconds, MOST_TOYS) == pytest.approx(100)
    assert sum(asked) * 0.01 < 2


def test_a_block_of_one_toy_is_timed():
    assert _rate(lambda toys: 0.5 / toys, 1) == pytest.approx(2)


def test_a_method_that_is_calibrated_is_timed_with_its_calibration_or_not_at_all():
    study = study_of(
        {
            "name": "calibrated",
            "experiment": "gaussian_flat",
            "methods": [
                {
                    "name": "mc_likelihood",
                    "options": {"n_toys": 100, "largest_s": 5.0, "largest_b": 12.0},
                    "label": "mc",
                },
                "classical",
            ],
            "cl": [0.9],
            "s_true": [1],
            "b": [2],
            "toys_per_block": 100,
            "n_toys": 100,
            "seed": 1,
        }
    )
    need = need_of(study.columns[0], study.experiment, 2.0)
    made, _ = calibrate(need)
    assert set(speeds(study, study.columns)) == {("classical", 0.9)}
    assert set(speeds(study, study.columns, {need.key: made}.get)) == {("mc", 0.9), ("classical", 0.9)}
