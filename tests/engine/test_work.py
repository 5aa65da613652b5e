"""Tasks: the same toys through every column, looked up or set toy by toy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats

from covsvc import registry
from covsvc.contracts import Counts, Limits
from covsvc.engine.work import MOST_OUTCOMES, Table, Tables, make_tables, run_task, sum_exactly
from covsvc.study import rows
from covsvc.tally import BIN_EDGES, COUNTS, DONE, EXACT, FAILED, Told, bin_bounds, bin_by, covers_by


def reads_counts(name):
    gives = registry.find("experiments", "counting").gives
    return registry.view_for(registry.find("methods", name).reads, gives) is not None


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


def test_limits_that_are_set_toy_by_toy_are_kept_in_the_order_of_the_toys(small_study):
    study = small_study(methods=["garwood", "feldman_cousins"], cl=0.9, keep="toys")
    row = everything(study)[1]
    assert run_task(row.tasks[0], make_tables(row)).codes is None  # they are in the table
    tally = run_task(row.tasks[0], Tables(None, {}, 0.0))
    assert tally.codes.shape == (2, 4, 5000)
    for cell, s_true in enumerate(study.s_true):
        drawn = np.concatenate([rng.poisson(s_true + row.b, 1000) for rng in study.source.blocks(s_true, row.b, 0, 5)])
        for column, spec in enumerate(study.methods):
            limits = spec.build().limits(Counts(drawn, row.b), 0.9)
            assert_array_equal(covers_by(tally.codes[column, cell]), limits.cover(s_true))
            low, high = (edges[bin_by(tally.codes[column, cell])] for edges in bin_bounds())
            assert ((low <= limits.upper) & (limits.upper <= high)).all()
    without = run_task(everything(small_study(cl=0.9))[1].tasks[0], Tables(None, {}, 0.0))
    assert without.codes is None


def test_limits_looked_up_equal_limits_set_toy_by_toy(small_study):
    row = everything(
        small_study(methods=[{"name": name} for name in registry.installed("methods") if reads_counts(name)])
    )[2]
    looked_up = run_task(row.tasks[0], make_tables(row))
    toy_by_toy = run_task(row.tasks[0], Tables(None, {}, 0.0))
    assert_array_equal(looked_up.counts, toy_by_toy.counts)
    assert_array_equal(looked_up.digest, toy_by_toy.digest)
    held = [np.zeros((len(row.columns), 4, 4159), np.int64) for _ in range(2)]
    for into, tally in zip(held, (looked_up, toy_by_toy), strict=True):
        column, cell, bins, count = tally.bins
        np.add.at(into, (column, cell, bins), count)
    assert_array_equal(*held)


def test_toys_beyond_the_table_are_set_anew(small_study):
    study = small_study(methods=["classical", "crow_gardner"], cl=0.9)
    row = everything(study)[1]
    whole = run_task(row.tasks[0], make_tables(row))
    table = make_tables(row).table
    cut_out = [
        Limits(*(getattr(table.limits(row), name)[2:4] for name in ("lower", "upper", "status"))) for row in (0, 1)
    ]
    few = Table(table.b, (table.first[0] + 2,), (2,), table.columns, Told.of(cut_out))
    cut = run_task(row.tasks[0], Tables(few, {}, 0.0))
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
    for tables in (make_tables(row), Tables(None, {}, 0.0)):
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


# two counts

ON_OFF = {"name": "on_off", "options": {"tau": 2.0}}
READERS = ["classical", "feldman_cousins", "profile_likelihood", "q_mu_tilde", "bayes_uncertain_background"]


def pairs_study(small_study, **changes):
    return small_study(**({"experiment": ON_OFF, "methods": READERS, "cl": 0.9, "b": [0, 1.5]} | changes))


def merged(tallies, study):
    """Return counts, digests and bins of the tallies of one b, put together over all cells and blocks."""
    counts = np.zeros((len(study.columns), len(study.s_true), len(COUNTS)), np.int64)
    digest = np.zeros((len(study.columns), len(study.s_true), study.n_blocks), np.uint64)
    bins = np.zeros((len(study.columns), len(study.s_true), 4159), np.int64)
    for tally in tallies:
        cells = [study.s_true.index(s) for s in tally.s_true]
        counts[:, cells] += tally.counts
        digest[:, cells, tally.start : tally.stop] = tally.digest
        column, cell, index, count = tally.bins
        np.add.at(bins, (column, np.array(cells)[cell], index), count)
    return counts, digest, bins


def assert_same(one, other):
    for left, right in zip(one, other, strict=True):
        assert_array_equal(left, right)


def test_limits_of_pairs_looked_up_equal_those_set_toy_by_toy(small_study):
    study = pairs_study(small_study, cl=[0.9, 0.95])
    for row in everything(study):
        looked_up = [run_task(task, make_tables(row)) for task in row.tasks]
        toy_by_toy = [run_task(task, Tables(None, {}, 0.0)) for task in row.tasks]
        assert_same(merged(looked_up, study), merged(toy_by_toy, study))


def test_other_tasks_give_the_same_bits(small_study):
    study = pairs_study(small_study)
    found = []
    for task_toys in (1e9, 5000, 1):
        row = everything(study, task_toys)[1]
        tables = make_tables(row)
        found.append((len(row.tasks), merged([run_task(task, tables) for task in row.tasks], study)))
    assert [number for number, _ in found] == [1, 4, 4]
    for _, other in found[1:]:
        assert_same(found[0][1], other)


def test_pairs_beyond_the_table_are_set_anew(small_study):
    study = pairs_study(small_study, methods=["classical", "bayes_uncertain_background"])
    row = everything(study)[1]
    whole = make_tables(row)
    first, shape = whole.table.first, whole.table.shape
    held = np.zeros(shape, bool)
    held[2:5, 1:3] = True
    inside = np.flatnonzero(held)
    few = Table(row.b, (first[0] + 2, first[1] + 1), (3, 2), whole.table.columns, whole.table.told.at(inside))
    assert_same(
        merged([run_task(row.tasks[0], Tables(few, {}, 0.0))], study), merged([run_task(row.tasks[0], whole)], study)
    )


@pytest.mark.parametrize(
    ("tau", "b", "toys_per_block", "n_toys"), [(1.0, 0.3, 50_000, 100_000), (1000.0, 100.0, 20, 100)]
)
def test_blocks_much_larger_and_much_smaller_than_the_table(small_study, tau, b, toys_per_block, n_toys):
    experiment = {"name": "on_off", "options": {"tau": tau}}
    study = pairs_study(
        small_study, experiment=experiment, methods=["q_mu_tilde"], b=[b], s_true=[0, 2],
        toys_per_block=toys_per_block, n_toys=n_toys,
    )  # fmt: skip
    (row,) = everything(study)
    tables = make_tables(row)
    size = np.prod(tables.table.shape)
    assert size < toys_per_block / 50 if tau == 1 else size > 1000 * n_toys
    looked_up, toy_by_toy = (merged([run_task(row.tasks[0], each)], study) for each in (tables, Tables(None, {}, 0.0)))
    assert_same(looked_up, toy_by_toy)
    assert (looked_up[0][..., 0] == n_toys).all()


def test_more_outcomes_than_can_be_summed_are_left_to_toys(small_study):
    experiment = {"name": "on_off", "options": {"tau": 1000.0}}
    study = pairs_study(
        small_study, experiment=experiment, methods=["q_mu_tilde"], b=[1e4], s_true=[0, 50], n_toys=1000
    )
    (row,) = everything(study)
    on, off = row.source.experiment.build().counts(50.0, 1e4)
    assert len(on.probability) * len(off.probability) > MOST_OUTCOMES
    tables = make_tables(row)
    assert tables.table is None
    assert not tables.failed
    exact = sum_exactly(row, tables)
    assert np.isnan(exact.values).all()
    assert np.isnan(exact.worst[:, :2]).all()
    tally = run_task(row.tasks[0], tables)
    assert (tally.counts[..., 0] == 1000).all()
    assert (tally.status == DONE).all()


def comparisons(study):
    """Yield toys, hits and their exact probability for each column and cell, each different comparison once."""
    rates = [
        EXACT.index(f"exact_{name}") for name in ("coverage", "upper_coverage", "p_empty", "p_unbounded", "p_failed")
    ]
    seen = set()
    for row in everything(study):
        tables = make_tables(row)
        exact = sum_exactly(row, tables).values
        counts, *_ = merged([run_task(task, tables) for task in row.tasks], study)
        assert np.isfinite(exact[..., 0]).all()
        for cell, s_true in enumerate(study.s_true):
            for column in range(len(study.columns)):
                n, *hits = counts[column, cell].tolist()
                for hit, chance in zip(hits, exact[column, cell, rates].tolist(), strict=True):
                    # the same outcomes of the same toys: one comparison
                    seen.add((row.b, s_true, n, hit, round(chance, 12)))
    yield from seen


def smallest_p(study):
    found = [stats.binomtest(hit, n, min(max(chance, 0.0), 1.0)).pvalue for _, _, n, hit, chance in comparisons(study)]
    return min(found), len(found)


# the smallest exact binomial p of all different comparisons times their number: by chance below 1e-3 once in 1000
@pytest.mark.parametrize("tau", [0.5, 4.0])
def test_toys_on_and_off_source_agree_with_exact_values_in_every_cell(small_study, tau):
    experiment = {"name": "on_off", "options": {"tau": tau}}
    methods = [*READERS, "cls", "significance_sideband", {"name": "profile_likelihood", "options": {"bounded": False}}]
    study = small_study(
        experiment=experiment,
        methods=methods,
        s_true=[0, 0.7, 2.3, 5.1],
        b=[0, 0.6, 3],
        toys_per_block=5000,
        n_toys=20_000,
    )
    p, number = smallest_p(study)
    assert number > 100
    assert p * number > 1e-3


@pytest.mark.parametrize(("shape", "fluctuates"), [("gamma", "estimate"), ("gamma", "b"), ("truncated_gaussian", "b")])
def test_toys_of_an_uncertain_background_agree_with_exact_values_in_every_cell(small_study, shape, fluctuates):
    options = {"relative_b_error": 0.4, "shape": shape, "fluctuates": fluctuates}
    study = small_study(
        experiment={"name": "counting", "options": options},
        methods=["bayes_uncertain_background", "cls", "feldman_cousins", "classical"],
        s_true=[0, 0.7, 2.3, 5.1],
        b=[0, 0.6, 3],
        toys_per_block=5000,
        n_toys=20_000,
    )
    p, number = smallest_p(study)
    assert number > 50
    assert p * number > 1e-3


def test_a_gaussian_estimate_is_known_from_toys_only(small_study):
    options = {"relative_b_error": 0.4, "shape": "truncated_gaussian"}
    study = small_study(
        experiment={"name": "counting", "options": options}, methods=["bayes_uncertain_background", "cls"], cl=0.9
    )
    row = everything(study)[1]
    tables = make_tables(row)
    assert np.isnan(sum_exactly(row, tables).values).all()
    tally = run_task(row.tasks[0], tables)
    known, plugged_in = zip(
        *(
            row.source.experiment.build().toys(row.s_true[2], row.b, 1000, rng)
            for rng in row.source.blocks(row.s_true[2], row.b, 0, 5)
        ),
        strict=True,
    )
    for column, (name, views) in enumerate((("bayes_uncertain_background", known), ("cls", plugged_in))):
        hits = sum(registry.method(name).limits(view, 0.9).cover(row.s_true[2]).sum() for view in views)
        assert tally.counts[column, 2, 1] == hits


def test_the_same_cell_in_another_grid_has_the_same_toys_and_the_same_exact_values(small_study):
    def cell(study, b, s_true):
        row = everything(study)[study.b.index(b)]
        tables = make_tables(row)
        at = study.s_true.index(s_true)
        counts, digest, bins = merged([run_task(task, tables) for task in row.tasks], study)
        return counts[:, at], digest[:, at], bins[:, at], sum_exactly(row, tables).values[:, at]

    one = cell(pairs_study(small_study, s_true=[0, 1.5, 60], b=[0, 1.5, 4]), 1.5, 1.5)
    other = cell(pairs_study(small_study, s_true=[1, 1.5], b=[0.1, 1.5]), 1.5, 1.5)
    assert_same(one, other)


def test_counts_that_no_observation_may_hold_fail_all_columns_and_say_so(small_study):
    # b has an exponential distribution of mean 1e5: a toy in 20,000 has more than 1e6 events
    experiment = {"name": "counting", "options": {"relative_b_error": 1.0, "fluctuates": "b"}}
    (row,) = everything(small_study(experiment=experiment, methods=["cls"], cl=0.9, b=[1e5], s_true=[0, 3]))
    tables = make_tables(row)
    assert np.isnan(sum_exactly(row, tables).values).all()
    tally = run_task(row.tasks[0], tables)
    assert (tally.status == FAILED).all()
    assert not tally.counts.any()
    assert {failure.reason.partition(":")[0] for failure in tally.failures} == {"ObservationError"}
