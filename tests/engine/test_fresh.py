"""Fresh toys on which two versions of a method set limits."""

from __future__ import annotations

import numpy as np
import pytest

from covsvc.engine.fresh import as_older, count_fresh, fresh_rows
from covsvc.study import MethodSpec, ToySource

CELL = (2.0, 3.0)


@pytest.fixture
def study(small_study):
    """Return a study whose toys are seen one by one, and its column of limits from the positions of events."""
    return small_study(experiment="spectrum", methods=["max_gap", "poisson"], cl=[0.9], toys_per_block=200, n_toys=200)


def drawn(study, columns, older, blocks, task_toys=1e9, client=None):
    source = ToySource(study.experiment, 42, study.toys_per_block)
    rows = fresh_rows(source, {CELL: columns}, older, blocks, task_toys)
    ((cell, counts),) = count_fresh(rows, client, {})
    assert cell == CELL
    return counts


def test_a_column_gains_and_loses_nothing_against_itself(study):
    max_gap, poisson = study.columns
    counts = drawn(study, (max_gap, poisson), {max_gap.key: max_gap}, 3)
    assert counts[max_gap.key]["n"] == counts[max_gap.key]["n_both"] == 600
    assert {counts[max_gap.key][f"{way}_{what}"] for way in ("gained", "lost") for what in ("covered", "failed")} == {0}
    assert counts[poisson.key]["n"] == 600
    assert "n_both" not in counts[poisson.key]


def test_toys_that_cover_now_only_are_counted_as_gained(study):
    max_gap, poisson = study.columns
    older = as_older(max_gap, MethodSpec(name="poisson", label="max_gap"))
    counts = drawn(study, (max_gap, poisson), {max_gap.key: older}, 4)
    source = ToySource(study.experiment, 42, study.toys_per_block)
    covers = []
    for rng in source.blocks(CELL[1], CELL[0], 0, 4):
        (events, *_) = study.experiment.build().toys(CELL[1], CELL[0], 200, rng)
        covers.append([each.spec.build().limits(events, 0.9).cover(CELL[1]) for each in (max_gap, poisson)])
    gap, count = np.concatenate(covers, axis=1)
    told = counts[max_gap.key]
    assert (told["gained_covered"], told["lost_covered"]) == ((gap & ~count).sum(), (count & ~gap).sum())
    assert told["lost_covered"] > 0
    assert told["covered"] == gap.sum()
    assert counts[poisson.key]["covered"] == count.sum()


def test_counts_do_not_depend_on_the_size_of_tasks(study):
    older = {study.columns[0].key: as_older(study.columns[0], MethodSpec(name="poisson", label="max_gap"))}
    assert drawn(study, study.columns, older, 5, 200) == drawn(study, study.columns, older, 5)
