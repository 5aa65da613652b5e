"""Tasks: the same toys through every column, looked up or set toy by toy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from covsvc import registry
from covsvc.contracts import Counts, Limits
from covsvc.engine.work import Table, Tables, make_tables, run_task, sum_exactly
from covsvc.study import rows
from covsvc.tally import BIN_EDGES, DONE, FAILED, Told, bin_bounds


def everything(study, task_toys=1e9):
    wanted = np.ones((len(study.columns), len(study.s_true), study.n_blocks), bool)
    return list(rows(study, lambda _: (wanted, (study.s_true[0], study.s_true[-1])), task_toys))


def test_a_tally_is_what_numpy_draws_and_the_method_says(small_study):
    study = small_study(methods="classical", cl=0.9)
    row = everything(study)[1]
    tally = run_task(row.tasks[0], make_tables(row))
    for cell, s_true in enumerate(study.s_true):
        blocks = [rng.poisson(s_true + row.b, 1000) for rng in study.source.blocks(s_true, row.b, 0, 5)]
        limits = registry.method("classical").limits(Counts(np.concatenate(blocks), row.b), 0.9)
        covered = np.where(limits.status == 1, False, limits.upper >= s_true)
        assert tally.counts[0, cell].tolist() == [5000, covered.sum(), covered.sum(), (limits.status == 1).sum(), 0, 0]
        low, high = bin_bounds()
        _, cells, bins, count = tally.bins
        upper = np.sort(limits.upper)
        assert count[cells == cell].sum() == 5000
        for index, number in zip(bins[cells == cell], count[cells == cell], strict=True):
            inside = (upper >= low[index]) & (upper < high[index]) if index else upper == 0
            assert inside.sum() == number
    assert (tally.status == DONE).all()
    assert len(BIN_EDGES) == 4156


def test_limits_looked_up_equal_limits_set_toy_by_toy(small_study):
    row = everything(small_study(methods=[{"name": name} for name in registry.installed("methods")]))[2]
    looked_up = run_task(row.tasks[0], make_tables(row))
    toy_by_toy = run_task(row.tasks[0], Tables((), {}, 0.0))
    assert_array_equal(looked_up.counts, toy_by_toy.counts)
    assert_array_equal(looked_up.digest, toy_by_toy.digest)
    held = [np.zeros((30, 4, 4159), np.int64) for _ in range(2)]
    for into, tally in zip(held, (looked_up, toy_by_toy), strict=True):
        column, cell, bins, count = tally.bins
        np.add.at(into, (column, cell, bins), count)
    assert_array_equal(*held)


def test_toys_beyond_the_table_are_set_anew(small_study):
    study = small_study(methods=["classical", "crow_gardner"], cl=0.9)
    row = everything(study)[1]
    whole = run_task(row.tasks[0], make_tables(row))
    tables = make_tables(row)
    (table,) = tables.of
    cut_out = [
        Limits(*(getattr(table.limits(row), name)[2:4] for name in ("lower", "upper", "status"))) for row in (0, 1)
    ]
    few = Table(table.view, table.b, table.first + 2, table.columns, Told.of(cut_out))
    tables = Tables((few,), {}, 0.0)
    cut = run_task(row.tasks[0], tables)
    assert_array_equal(whole.counts, cut.counts)
    assert_array_equal(whole.digest, cut.digest)


def test_a_background_assumed_wrongly_reaches_only_the_analyst(small_study):
    wrong = {"name": "counting", "options": {"assumed_over_true": 0.5}}
    row = everything(small_study(experiment=wrong, methods="classical", cl=0.9))[1]
    tables = make_tables(row)
    exact = sum_exactly(row, tables)
    (n,) = (limits for limits in [registry.method("classical").limits(Counts(np.arange(60), 1.5), 0.9)])
    for cell, s_true in enumerate(row.s_true):
        nu = s_true + 3.0
        pmf = np.exp(-nu) * np.cumprod(np.concatenate([[1.0], nu / np.arange(1, 60)]))
        assert exact.values[0, cell, 0] == pytest.approx(pmf[(n.upper >= s_true) & (n.status == 0)].sum(), abs=1e-12)
    assert_array_equal(run_task(row.tasks[0], tables).counts[0, :, 0], 5000)


def test_a_method_that_raises_fails_its_blocks_and_no_others(small_study, plugins):
    row = everything(small_study(methods=["raising", "classical", "misshapen"], cl=0.9))[1]
    for tables in (make_tables(row), Tables((), {}, 0.0)):
        tally = run_task(row.tasks[0], tables)
        assert (tally.status[[0, 2]] == FAILED).all()
        assert (tally.status[1] == DONE).all()
        assert not tally.counts[[0, 2]].any()
        reasons = {failure.column.key[0]: failure.reason for failure in tally.failures}
        assert reasons["raising"] == "ZeroDivisionError: no such luck"
        assert "lower is float64 of shape (1,)" in reasons["misshapen"]
    exact = sum_exactly(row, make_tables(row))
    assert np.isnan(exact.values[[0, 2]]).all()
    assert np.isfinite(exact.values[1]).all()


def test_an_experiment_without_outcomes_is_known_from_toys_only(small_study, plugins):
    counted = run_task(*_first(small_study()))
    drawn = run_task(*_first(small_study(experiment="drawn")))
    assert np.isnan(sum_exactly(*_row(small_study(experiment="drawn"))).values).all()
    assert drawn.counts[..., 0].tolist() == counted.counts[..., 0].tolist()
    # other toys: the experiment is part of what they are known by
    assert (drawn.digest != counted.digest).any()


def _first(study):
    row, tables = _row(study)
    return row.tasks[0], tables


def _row(study):
    row = everything(study)[1]
    return row, make_tables(row)
