"""Patience: what is waited for is told, seldom."""

from __future__ import annotations

from itertools import pairwise

import pytest

from covsvc.engine.clusters import waiting
from covsvc.engine.clusters.waiting import Waiting


@pytest.fixture
def clock(monkeypatch):
    """Return the time that passes, in a list."""
    passed = [0.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: passed[0])
    return passed


def test_what_is_waited_for_is_told_after_half_a_minute_and_less_often_the_longer_it_takes(clock):
    told = []
    awaited = Waiting("the first worker", 86400, told.append)
    for _ in range(36000):
        clock[0] += 1.0
        awaited.say("2 jobs are in the queue of slurm")
    assert told[0] == "waiting for the first worker since 31 s, for at most 86400 s: 2 jobs are in the queue of slurm"
    times = [int(each.split(" since ")[1].split(" s")[0]) for each in told]
    assert times[:4] == [31, 91, 211, 451]  # after 30 s, and then after 60, 120, 240 more
    assert {later - sooner for sooner, later in pairwise(times[7:])} == {3600}


def test_patience_ends(clock):
    awaited = Waiting("the scheduler", 10.0)
    clock[0] = 9.0
    assert awaited.left == 1.0
    clock[0] = 40.0
    awaited.say()  # there is nobody to be told
    assert awaited.left < 0
