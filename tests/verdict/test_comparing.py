"""Comparison of a candidate with its baseline."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from two_sides import BLOCK, first, hits, limits, side, with_status

from covsvc.contracts import Status
from covsvc.maps import CELLS
from covsvc.verdict import compare

N = 10 * BLOCK


def toys(covered=4500, promises="nothing", code="1", **more):
    """Return a column that covers the first so many of its toys."""
    return {"promises": promises, "code": code, "toys": lambda *_: hits(first(covered))} | more


def exact(coverage=0.95, worst=None, promises="nothing", code="1", **rates):
    """Return an exact column."""
    values = {"coverage": coverage, "median_upper": 3.0, "mean_upper": 3.5} | rates
    lowest = coverage if worst is None else worst
    return {"promises": promises, "code": code, "exact": lambda *_: values, "worst": lambda *_: (lowest, 1.75)}


def compared(new, old, *, same_toys=True, grid=None, near_end=None, **more):
    grid = grid or {}
    before = None if old is None else side(old, **grid)
    return compare(
        "made-up", side(new, **grid), before, same_toys=same_toys, near_end=near_end, at="candidate.x", **more
    )


def states(comparison):
    return {column.limit_method: column.state for column in comparison.columns}


def found(comparison, *severities):
    return {(each.severity, each.kind) for each in comparison.findings if not severities or each.severity in severities}


def only(comparison, kind):
    (each,) = [each for each in comparison.findings if each.kind == kind]
    return each


# states of columns


def test_the_same_code_and_bits_are_unchanged_and_other_code_with_the_same_bits_is_identical():
    old = {"a": toys(), "b": toys(), "c": exact(), "d": exact()}
    new = {"a": toys(), "b": toys(code="2"), "c": exact(), "d": exact(code="2")}
    comparison = compared(new, old)
    assert states(comparison) == {"a": "unchanged", "b": "identical", "c": "unchanged", "d": "identical"}
    assert (comparison.findings, comparison.hypotheses, comparison.tests) == ((), (), 0)


def test_another_table_is_other_code():
    comparison = compared({"a": toys(error=0.0)}, {"a": toys(error=0.0)})
    assert states(comparison) == {"a": "unchanged"}
    new, old = side({"a": toys(error=0.0)}), side({"a": toys(error=0.0)})
    new.maps.attrs["methods"] = new.maps.attrs["methods"].replace('"t"', '"other"')
    assert states(compare("s", new, old, same_toys=True)) == {"a": "identical"}


@pytest.mark.parametrize(
    ("shift", "state"), [(0.0, "identical"), (1e-13, "equal"), (5e-10, "equal"), (1e-8, "changed")]
)
@pytest.mark.parametrize("quantity", ["coverage", "mean_upper", "p_empty", "median_upper"])
def test_exact_values_that_agree_to_1e_9_are_equal(quantity, shift, state):
    known = {"coverage": 0.95, "mean_upper": 1.0, "p_empty": 0.125, "median_upper": 1.0}
    moved = known | {quantity: known[quantity] + shift}
    comparison = compared({"a": exact(code="2", worst=0.9, **moved)}, {"a": exact(worst=0.9, **known)})
    assert states(comparison) == {"a": state}


def test_the_smallest_coverage_is_compared_too():
    assert states(compared({"a": exact(worst=0.9)}, {"a": exact(worst=0.9 + 1e-12)})) == {"a": "equal"}
    assert states(compared({"a": exact(worst=0.89)}, {"a": exact(worst=0.9)})) == {"a": "changed"}


def moved(factor):
    """Return a column of limits within one bin, moved by a factor."""
    return {"promises": "nothing", "code": "2", "toys": lambda *_: limits(np.full(N, 2.0 * factor))}


def test_toys_in_the_same_bins_are_equal_if_they_are_kept():
    old = {"a": moved(1.0)}
    assert states(compared({"a": moved(1 + 1e-12)}, old)) == {"a": "equal"}
    assert states(compared({"a": moved(1 + 1e-12)}, old, grid={"keep": False})) == {"a": "changed"}
    assert states(compared({"a": moved(1.02)}, old)) == {"a": "changed"}


def test_coverage_that_flips_within_a_bin_is_a_change():
    # both limits lie in one bin, s_true = 2 between them
    old = {"a": {"promises": "nothing", "toys": lambda *_: limits(np.full(N, 2.0 + 1e-6))}}
    new = {"a": {"promises": "nothing", "toys": lambda *_: limits(np.where(first(1), 2.0 - 1e-6, 2.0 + 1e-6))}}
    assert states(compared(new, old, grid={"s_true": (2.0,)})) == {"a": "changed"}


def test_columns_and_cells_that_only_one_side_has():
    comparison = compared({"a": toys(), "new": toys()}, {"a": toys(), "gone": toys(4000)})
    assert states(comparison) == {"a": "unchanged", "new": "new", "gone": "gone"}
    gone = comparison.columns[-1]
    assert (gone.worst_coverage, gone.baseline_worst_coverage) == (None, 0.8)
    assert found(comparison) == {("warning", "gone")}
    smaller = compare("s", side({"a": toys()}), side({"a": toys()}, s_true=(1.0, 2.0), b=(0.0, 3.0)), same_toys=True)
    assert states(smaller) == {"a": "unchanged"}
    assert only(smaller, "gone").numbers == {"cells": 3}
    larger = compare("s", side({"a": toys()}, s_true=(1.0, 2.0)), side({"a": toys()}), same_toys=True)
    assert (states(larger), larger.findings) == ({"a": "unchanged"}, ())


def test_other_bits_of_the_same_code_are_drift():
    now, before = {"numpy": "2.4", "cpu_features": "f"}, {"numpy": "2.3", "cpu_features": "f"}
    old = side({"a": exact(), "b": exact()}, environment=before)
    new = side({"a": exact(0.95 + 1e-12), "b": exact()}, environment=now)
    comparison = compare("s", new, old, same_toys=True)
    assert states(comparison) == {"a": "equal", "b": "unchanged"}
    assert comparison.drift == (("numpy", "2.3", "2.4"),)
    assert only(comparison, "drift").limit_method == "a"
    assert only(comparison, "drift").severity == "warning"


# exact columns


@pytest.mark.parametrize(("below", "fails"), [(0.0, False), (5e-10, False), (2e-9, True), (0.1, True)])
def test_an_exact_promise_is_broken_by_more_than_rounding(below, fails):
    comparison = compared({"a": exact(0.95, 0.9 - below, "at_least")}, None)
    assert found(comparison) == ({("failure", "promise")} if fails else set())
    if fails:
        each = only(comparison, "promise")
        assert (each.s_true, each.b, each.cl) == (1.75, 0.0, 0.9)
        assert (
            each.replay == "covsvc replay made-up --s-true 1 --b 0 --limit-method a --cl 0.9 --missed --at candidate.x"
        )


def test_an_exact_promise_is_forgiven_four_errors_of_a_table():
    for error, fails in ((0.004, True), (0.006, False)):
        comparison = compared({"a": exact(0.95, 0.88, "at_least") | {"error": error}}, None)
        # forgiven, and said, since it is more than the margin
        assert found(comparison) == {("failure" if fails else "warning", "promise")} | {("warning", "promise")}


def test_who_promises_nothing_is_not_held_to_cl():
    assert found(compared({"a": exact(0.5)}, None)) == set()


def test_a_broken_promise_that_was_accepted_is_a_warning_as_long_as_coverage_falls_nowhere():
    old = {"a": exact(0.95, 0.8, "at_least")}
    assert found(compared(old, old)) == {("warning", "promise")}
    assert only(compared(old, old), "promise").sentence.endswith("no less than in the baseline")
    worse = {"a": exact(0.95, 0.79, "at_least", "2")}
    assert ("failure", "promise") in found(compared(worse, old))
    better = {"a": exact(0.95, 0.81, "at_least", "2")}
    assert found(compared(better, old)) == {("warning", "promise")}
    elsewhere = {"a": exact(0.94, 0.81, "at_least", "2")}
    assert ("failure", "promise") in found(compared(elsewhere, old))


@pytest.mark.parametrize(
    ("fall", "finding"), [(0.02, "failure"), (0.0051, "failure"), (0.0049, "warning"), (1e-7, "warning")]
)
def test_coverage_of_others_may_not_fall_by_more_than_the_margin(fall, finding):
    comparison = compared({"a": exact(0.9 - fall, 0.8, code="2")}, {"a": exact(0.9, 0.8)})
    assert found(comparison) == {(finding, "coverage fell")}
    assert only(comparison, "coverage fell").numbers["fall"] == pytest.approx(fall)


def test_coverage_may_not_fall_between_the_nodes_either():
    comparison = compared({"a": exact(0.9, 0.79, code="2")}, {"a": exact(0.9, 0.8)})
    each = only(comparison, "coverage fell")
    assert (each.severity, each.s_true) == ("failure", 1.75)
    assert found(compared({"a": exact(0.9, 0.79, code="2")}, {"a": exact(0.9, 0.8)}, margin=0.02)) == {
        ("warning", "coverage fell")
    }


def test_who_promises_coverage_may_come_closer_to_it():
    old = {"a": exact(0.97, 0.95, "at_least")}
    assert found(compared({"a": exact(0.92, 0.9, "at_least", "2")}, old)) == {("warning", "coverage fell")}
    assert found(compared({"a": exact(0.967, 0.947, "at_least", "2")}, old)) == {("note", "coverage fell")}


@pytest.mark.parametrize(
    ("now", "before", "warned"),
    [(0.97, 0.93, True), (0.933, 0.93, False), (0.91, 0.85, True), (0.904, 0.85, False), (0.89, 0.80, False)],
)
def test_over_coverage_that_grows_is_a_warning(now, before, warned):
    comparison = compared({"a": exact(now, 0.8, code="2")}, {"a": exact(before, 0.8)})
    assert found(comparison) == ({("warning", "coverage rose")} if warned else set())


@pytest.mark.parametrize(
    ("now", "finding"),
    [
        (3.3, ("warning", "median rose")),
        (2.7, ("note", "median fell")),
        (3.0 * 1.01, ("warning", "median rose")),
        (3.02, None),
        (np.inf, ("warning", "median rose")),
    ],
)
def test_medians_that_change_by_one_percent_are_findings(now, finding):
    comparison = compared({"a": exact(median_upper=now, code="2")}, {"a": exact()})
    assert found(comparison) == ({finding} if finding else set())
    (column,) = comparison.columns
    assert column.median_change == (pytest.approx(now / 3.0 - 1.0) if np.isfinite(now) else None)


@pytest.mark.parametrize(
    ("rate", "change", "finding"),
    [
        ("p_failed", 1e-6, "failure"),
        ("p_failed", -1e-3, "note"),
        ("p_empty", 0.02, "warning"),
        ("p_empty", -0.02, "warning"),
        ("p_unbounded", 1e-4, "note"),
    ],
)
def test_exact_rates_that_change_are_findings(rate, change, finding):
    comparison = compared({"a": exact(code="2", **{rate: 0.1 + change})}, {"a": exact(**{rate: 0.1})})
    assert found(comparison) == {(finding, rate.removeprefix("p_"))}


def test_ends_of_limits_are_named_and_not_failed():
    grid = {"s_true": (1.0, 2.0)}
    values = {1.0: 0.9, 2.0: 0.9}
    old = {"a": exact(worst=0.8) | {"exact": lambda cl, b, s: {"coverage": values[s]}}}
    new = {"a": exact(worst=0.8, code="2") | {"exact": lambda cl, b, s: {"coverage": {1.0: 0.9, 2.0: 0.7}[s]}}}
    near = xr.DataArray(
        [[[[False, True]]]], {"limit_method": ["a"], "cl": [0.9], "b": [0.0], "s_true": [1.0, 2.0]}, CELLS
    )
    comparison = compared(new, old, grid=grid, near_end=near)
    assert (states(comparison), found(comparison)) == ({"a": "equal"}, {("note", "end point")})
    assert only(comparison, "end point").s_true == 2.0
    assert ("failure", "coverage fell") in found(compared(new, old, grid=grid))


# columns known from toys


def test_a_promise_is_tested_in_each_cell_and_over_all():
    covered = {1.0: 4500, 2.0: 4380, 3.0: 4440}
    column = {"promises": "at_least", "toys": lambda cl, b, s: hits(first(covered[s]), s)}
    comparison = compared({"a": column}, None, grid={"s_true": (1.0, 2.0, 3.0)})
    assert comparison.tests == 4
    assert (comparison.n_toys, comparison.levels, comparison.is_compared) == (N, (0.9,), False)
    p = {each.s_true: each.p for each in comparison.hypotheses}
    assert set(p) == {None, 2.0, 3.0}
    assert p[2.0] == pytest.approx(stats.binom.cdf(4380, N, 0.9), rel=1e-9)
    assert p[None] == pytest.approx(stats.binom.cdf(4500 + 4380 + 4440, 3 * N, 0.9), rel=1e-9)
    assert found(comparison) == set()


def test_a_promise_of_an_unchanged_column_is_tested_where_it_has_more_toys():
    poor = {"a": toys(4300, "at_least")}
    assert compared(poor, poor).tests == 0
    more = side({"a": {"promises": "at_least", "toys": lambda *_: hits(first(8600, 2 * N))}}, n_toys=2 * N)
    fewer = side({"a": {"promises": "at_least", "toys": lambda *_: hits(first(8600, 2 * N)[:N])}})
    comparison = compare("s", more, fewer, same_toys=True)
    assert (states(comparison), comparison.tests) == ({"a": "unchanged"}, 1)
    assert [each.kind for each in comparison.hypotheses] == ["promise"]


def test_failed_limits_break_no_promise_but_may_leave_it_open():
    def column(covered, failed):
        where = np.arange(N) >= N - failed
        return {
            "a": {"promises": "at_least", "toys": lambda *_: with_status(hits(first(covered)), where, Status.FAILED)}
        }

    assert found(compared(column(4300, 200), None)) == {("undecided", "failed")}
    assert found(compared(column(4700, 200), None)) == {("note", "failed")}
    comparison = compared(column(4300, 100), None)
    (each,) = comparison.hypotheses
    assert (each.kind, each.x) == ("promise", 4400)


def pair(lost, gained, covered=4000):
    """Return columns of which so many toys lost and gained coverage in each cell."""
    now = first(covered)
    now[:lost], now[covered : covered + gained] = False, True
    new = {"promises": "nothing", "code": "2", "toys": lambda cl, b, s_true: hits(now, s_true)}
    return {"a": new}, {"a": new | {"code": "1", "toys": lambda cl, b, s_true: hits(first(covered), s_true)}}


def of_kind(comparison, kind):
    return [each for each in comparison.hypotheses if each.kind == kind]


def test_paired_toys_are_compared_by_those_that_changed():
    comparison = compared(*pair(40, 20))
    (each,) = of_kind(comparison, "coverage fell")
    assert each.p == pytest.approx(stats.binomtest(40, 60, alternative="greater").pvalue, rel=1e-9)
    assert (each.n, each.x, each.n_old, each.x_old, each.reference) == (N, 3980, N, 4000, 0.8)
    assert comparison.discordance == pytest.approx(60 / N)
    assert comparison.tests == 4  # coverage, and three rates
    (column,) = comparison.columns
    assert (column.toys_rose, column.toys_fell) == (20, 40)


def test_where_toys_are_not_kept_the_fewest_that_can_have_changed_count():
    comparison = compared(*pair(40, 20), grid={"keep": False})
    (each,) = of_kind(comparison, "coverage fell")
    assert each.p == pytest.approx(2.0**-20, rel=1e-9)
    assert comparison.discordance is None
    assert comparison.columns[0].toys_rose is None


def test_other_toys_are_compared_by_fishers_test():
    comparison = compared(*pair(150, 0), same_toys=False)
    (each,) = of_kind(comparison, "coverage fell")
    assert each.p == pytest.approx(stats.fisher_exact([[3850, N - 3850], [4000, N - 4000]], "less").pvalue, rel=1e-9)
    assert found(comparison) == {("warning", "toys")}


def test_a_fall_in_no_cell_is_seen_over_all():
    # 26 lost against 19 gained: p = 0.19 in a cell, in 30 cells 1e-9
    comparison = compared(*pair(26, 19), grid={"s_true": tuple(float(s) for s in range(1, 31))})
    falls = of_kind(comparison, "coverage fell")
    (pool,) = [each for each in falls if each.b is None]
    assert comparison.tests == 4 * 31
    assert pool.p == pytest.approx(stats.binomtest(26 * 30, 45 * 30, alternative="greater").pvalue, rel=1e-6)
    assert len(pool.cells) == 30
    assert all(each.p > 0.1 for each in falls if each.b is not None)


def test_a_promise_is_not_held_against_the_baseline():
    for lost, severity in ((100, "warning"), (20, "note")):
        new, old = pair(lost, 0, covered=4700)
        comparison = compared({"a": new["a"] | {"promises": "at_least"}}, {"a": old["a"] | {"promises": "at_least"}})
        assert of_kind(comparison, "coverage fell") == []
        assert found(comparison) == {(severity, "coverage fell")}


@pytest.mark.parametrize("status", [Status.EMPTY, Status.UNBOUNDED, Status.FAILED])
@pytest.mark.parametrize("rises", [True, False])
def test_rates_are_compared_in_both_directions(status, rises):
    plain, some = hits(first(4000)), with_status(hits(first(4000)), np.arange(N) >= N - 12, status)
    now, before = (some, plain) if rises else (plain, some)
    comparison = compared(
        {"a": {"promises": "nothing", "code": "2", "toys": lambda *_: now}},
        {"a": {"promises": "nothing", "toys": lambda *_: before}},
    )
    (each,) = [each for each in comparison.hypotheses if each.kind != "coverage fell"]
    assert (each.kind, each.direction) == (status.name.lower(), "rose" if rises else "fell")
    assert each.p == pytest.approx(2 * 2.0**-12, rel=1e-9)


def test_over_coverage_of_toys_that_grows_is_a_warning():
    comparison = compared(*pair(0, 100, covered=4600))
    assert ("warning", "coverage rose") in found(comparison)
    assert ("warning", "coverage rose") not in found(compared(*pair(0, 100, covered=4300)))  # comes closer to cl
    assert ("warning", "coverage rose") not in found(compared(*pair(480, 510, covered=4600)))  # by chance


def spread(factor, promises="nothing", code="1"):
    """Return limits spread over many bins around 3, all moved by a factor, none near s_true = 0.001."""
    upper = np.random.default_rng(1999).gamma(20.0, 0.15, N)
    return {"promises": promises, "code": code, "toys": lambda *_: limits(factor * upper)}


@pytest.mark.parametrize(
    ("factor", "finding"),
    [(1.012, ("warning", "median rose")), (0.988, ("note", "median fell")), (1.008, None), (1.0001, None)],
)
def test_medians_of_toys_are_known_better_than_their_bins(factor, finding):
    comparison = compared({"a": spread(factor, code="2")}, {"a": spread(1.0)}, grid={"s_true": (1e-3,)})
    assert found(comparison) == ({finding} if finding else set())
    assert comparison.columns[0].median_change == pytest.approx(factor - 1.0, abs=1e-3)


def test_medians_of_toys_that_are_not_paired_need_disjoint_intervals():
    grid = {"s_true": (1e-3,), "keep": False}
    # the median of 5000 toys is known to 0.6 % here: 4 sigma apart are 3 %
    near = compared({"a": spread(1.012, code="2")}, {"a": spread(1.0)}, grid=grid)
    assert found(near) == set()
    far = compared({"a": spread(1.06, code="2")}, {"a": spread(1.0)}, grid=grid)
    assert found(far) == {("warning", "median rose")}


def test_the_median_without_a_limit_is_said():
    comparison = compared(
        {
            "a": {
                "promises": "nothing",
                "code": "2",
                "toys": lambda *_: with_status(spread(1.0)["toys"](), np.arange(N) % 3 > 0, Status.UNBOUNDED),
            }
        },
        {"a": spread(1.0)},
        grid={"s_true": (1e-3,)},
    )
    assert "to no limit at s_true = 0.001" in only(comparison, "median rose").sentence
    assert comparison.columns[0].median_change is None


def test_only_blocks_that_both_have_are_paired():
    new, old = pair(40, 20)
    comparison = compare("s", side(new, failed_blocks={("a", 9)}), side(old), same_toys=True)
    (each,) = of_kind(comparison, "coverage fell")
    assert (each.n, each.n_old) == (N - BLOCK, N - BLOCK)
    assert each.p == pytest.approx(stats.binomtest(40, 60, alternative="greater").pvalue, rel=1e-9)
    assert found(comparison) == {("failure", "lost")}


# what is not known


def test_blocks_that_fail_now_are_a_failure_and_those_of_a_new_column_leave_it_undecided():
    lost = side({"a": toys(promises="at_least")}, failed_blocks={("a", 3)})
    assert found(compare("s", lost, None, same_toys=True)) == {("undecided", "lost")}
    assert found(compare("s", lost, lost, same_toys=True)) == {("warning", "lost")}
    assert found(compare("s", lost, side({"a": toys(promises="at_least")}), same_toys=True)) >= {("failure", "lost")}


def test_equal_limits_that_are_counted_otherwise_are_a_failure():
    new, old = side({"a": toys()}), side({"a": toys()})
    assert found(compare("s", new, old, same_toys=True)) == set()
    new.cube["n_covered"][:] = new.cube["n_covered"] - 1
    assert ("failure", "drift") in found(compare("s", new, old, same_toys=True))


def test_of_a_column_whose_limits_all_fail_nothing_is_known():
    none = side(
        {
            "a": {
                "promises": "nothing",
                "toys": lambda *_: with_status(spread(1.0)["toys"](), np.full(N, True), Status.FAILED),
            }
        }
    )
    assert ("undecided", "failed") in found(compare("s", none, None, same_toys=True))


def test_missing_toys_leave_a_column_undecided():
    half = side({"a": toys()}, n_toys=2 * N)
    assert found(compare("s", half, None, same_toys=True)) == {("undecided", "incomplete")}
    none = side({"a": toys(), "b": {"promises": "nothing", "toys": lambda *_: None}})
    comparison = compare("s", none, None, same_toys=True)
    assert only(comparison, "incomplete").limit_method == "b"
    assert comparison.columns[1].worst_coverage is None


def test_exact_values_that_are_not_summed_yet_leave_a_column_undecided():
    comparison = compared({"a": exact(worst=np.nan, promises="at_least")}, None)
    assert found(comparison) == {("undecided", "incomplete")}


def test_a_promise_that_is_taken_back_is_a_warning():
    comparison = compared({"a": exact(code="2")}, {"a": exact(promises="at_least")})
    assert found(comparison) == {("warning", "promise")}
    assert "is no longer held to it" in only(comparison, "promise").sentence


def test_a_side_without_anything_is_no_baseline_of_a_column():
    old = side({"a": {"promises": "nothing", "toys": lambda *_: None}, "b": toys()})
    comparison = compare("s", side({"a": toys(), "b": toys()}), old, same_toys=True)
    assert states(comparison) == {"a": "new", "b": "unchanged"}


def test_other_toys_are_pooled_by_their_sums():
    comparison = compared(*pair(60, 0), same_toys=False, grid={"s_true": tuple(float(s) for s in range(1, 11))})
    (pool,) = [each for each in of_kind(comparison, "coverage fell") if each.b is None]
    assert (pool.n, pool.x, pool.n_old, pool.x_old) == (10 * N, 39_400, 10 * N, 40_000)
    table = [[39_400, 10 * N - 39_400], [40_000, 10 * N - 40_000]]
    assert pool.p == pytest.approx(stats.fisher_exact(table, "less").pvalue, rel=1e-6)


def test_the_worst_of_a_column_that_is_exact_in_some_cells_only():
    known = {1.0: {"coverage": 0.97}, 2.0: {"coverage": np.nan}}
    mixed = {
        "promises": "nothing",
        "toys": lambda cl, b, s: hits(first(4600), s),
        "exact": lambda cl, b, s: known[s],
        "worst": lambda cl, b: (np.nan, np.nan),
    }
    (column,) = compared({"a": mixed}, {"a": mixed}, grid={"s_true": (1.0, 2.0)}).columns
    assert (column.exact, column.worst_coverage, column.worst_s_true, column.baseline_worst_coverage) == (
        False,
        0.92,
        2.0,
        0.92,
    )


# studies with a budget of toys

BUDGET = {"min": BLOCK, "max": N, "resolved": {"margin": 0.02, "error": 0.01}}


def by_budget(new, old=None):
    before = None if old is None else side(old, n_toys=BUDGET)
    return compare("s", side(new, n_toys=BUDGET), before, same_toys=True)


@pytest.mark.parametrize(
    ("covered", "expected"),
    [(4000, {("failure", "promise")}), (4450, {("undecided", "promise")}), (4700, set())],
)
def test_where_a_budget_chose_the_toys_its_own_intervals_judge(covered, expected):
    comparison = by_budget({"a": toys(covered, "at_least")})
    assert (comparison.tests, comparison.hypotheses, found(comparison)) == (0, (), expected)


def test_where_a_budget_chose_the_toys_a_change_is_told_and_not_tested():
    comparison = by_budget({"a": toys(3000, code="2")}, {"a": toys(4500)})
    assert (states(comparison), comparison.tests, found(comparison)) == ({"a": "changed"}, 0, {("undecided", "toys")})
    kept = by_budget({"a": toys(4700, "at_least", "2")}, {"a": toys(4710, "at_least")})
    assert found(kept) == {("note", "toys")}
    same = {"a": toys(4000, "at_least")}
    assert (states(by_budget(same, same)), found(by_budget(same, same))) == ({"a": "unchanged"}, set())
    exactly = by_budget({"a": exact(0.85, promises="at_least", code="2")}, {"a": exact(promises="at_least")})
    assert ("failure", "promise") in found(exactly)
