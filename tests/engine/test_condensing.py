"""Tallies made small: the same counts in few pairs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from covsvc.engine.condensing import condensed, run_condensed
from covsvc.engine.work import make_tables, run_task
from covsvc.study import Row, Task
from covsvc.tally import N_BINS, Tally


def dense(tally):
    """Return how often each bin was met, shape (column, s_true, bin)."""
    counts = np.zeros((len(tally.columns), len(tally.s_true), N_BINS), np.int64)
    np.add.at(counts, tuple(tally.bins[:3]), tally.bins[3])
    return counts


def tally_of(pairs, columns, cells):
    nothing = np.zeros((columns, cells, 0))
    s_true = tuple(map(float, range(cells)))
    return Tally((None,) * columns, 0.0, s_true, 0, 1, nothing, nothing, nothing, np.asarray(pairs, np.int64))


@pytest.fixture
def task(small_study):
    def make(**changes):
        study = small_study(**changes)
        return Task(study.source, study.columns, study.b[0], study.s_true, 0, study.n_blocks)

    return make


@pytest.mark.parametrize(
    "changes",
    [
        {"experiment": "spectrum", "methods": ["max_gap", "poisson"], "s_true": [1, 4], "b": 0},
        {"experiment": "counting", "methods": ["classical", "cls"], "s_true": [1, 4], "b": 3},
    ],
    ids=["toy by toy", "looked up"],
)
def test_a_condensed_tally_says_the_same(task, changes):
    given = task(**changes)
    tables = make_tables(Row(given.source, given.columns, given.b, given.s_true))
    whole, small = run_task(given, tables), run_condensed(given, tables)
    assert_array_equal(dense(small), dense(whole))
    assert len(np.unique(small.bins[:3], axis=1).T) == small.bins.shape[1] <= whole.bins.shape[1]
    for field in dataclasses.fields(Tally):
        if field.name not in ("bins", "seconds"):
            assert_array_equal(getattr(small, field.name), getattr(whole, field.name))


@pytest.mark.parametrize(("pairs", "columns", "cells"), [(20_000, 2, 1), (50, 3, 40)], ids=["many", "few"])
def test_pairs_of_one_bin_become_one(pairs, columns, cells):
    rng = np.random.default_rng(1)
    drawn = [rng.integers(0, most, pairs) for most in (columns, cells, 5, 1000)]
    tally = tally_of(drawn, columns, cells)
    small = condensed(tally)
    assert_array_equal(dense(small), dense(tally))
    assert small.bins.shape[1] == len(np.unique(tally.bins[:3], axis=1).T)


def test_counts_that_need_it_stay_wide():
    small = condensed(tally_of([[0, 0], [0, 0], [7, 7], [2**31, 1]], 1, 1))
    assert small.bins.T.tolist() == [[0, 0, 7, 2**31 + 1]]


def test_a_tally_of_failed_blocks_has_no_pairs():
    assert condensed(tally_of(np.zeros((4, 0)), 2, 3)).bins.shape == (4, 0)
