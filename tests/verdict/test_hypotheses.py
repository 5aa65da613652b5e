"""Selection of hypotheses, and the chances by which they are selected."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from covsvc.verdict.hypotheses import Evidence, Hypothesis, chance_of_fewer, chance_of_lost, screen


def hypothesis(
    p=0.01, kind="coverage fell", label="m", cell=(0.0, 1.0), direction="fell", cells=None, n=1000, x=900, **more
):
    b, s_true = (None, None) if cells else cell
    known = {"reference": 0.9, "n": n, "x": x, "n_old": n, "x_old": 900} | more
    return Hypothesis("study", kind, label, 0.9, b, s_true, tuple(cells or [cell]), direction, p, **known)


# Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995) 289, section 4: 15 tests of a study of thrombolysis
THROMBOLYSIS = [
    0.0001,
    0.0004,
    0.0019,
    0.0095,
    0.0201,
    0.0278,
    0.0298,
    0.0344,
    0.0459,
    0.3240,
    0.4262,
    0.5719,
    0.6528,
    0.7590,
    1.0,
]


def test_selects_what_benjamini_and_hochberg_reject_at_20_percent():
    asked = [hypothesis(p, cell=(0.0, float(at))) for at, p in enumerate(THROMBOLYSIS)]
    expected = sum(stats.false_discovery_control(THROMBOLYSIS) <= 0.2)
    assert expected == 9
    assert [each.p for each in screen(asked, len(asked))] == THROMBOLYSIS[:9]
    # those that can never be selected need not be handed in
    assert screen([each for each in asked if each.p <= 0.2], len(asked)) == screen(asked, len(asked))


def test_selects_in_steps_up_and_counts_all_tests():
    # 0.03 is above 0.2 x 1/10, but the second is not above 0.2 x 2/10
    pair = [hypothesis(0.03), hypothesis(0.04, cell=(0.0, 2.0))]
    assert len(screen(pair, 10)) == 2
    assert len(screen(pair, 11)) == 0
    assert screen([], 0) == ()


def test_the_order_in_which_they_come_does_not_matter():
    asked = [hypothesis(p, cell=(0.0, float(at))) for at, p in enumerate([1e-3, 1e-5, 1e-3, 1e-4])]
    assert screen(asked, 100) == screen(asked[::-1], 100)


def test_selects_so_many_at_most_and_the_smallest():
    asked = [hypothesis(1e-9 * (at + 1), cell=(0.0, float(at))) for at in range(150)]
    assert screen(asked, 150) == tuple(asked[:100])


def test_of_too_many_those_come_first_that_can_fail():
    rates = [hypothesis(0.0, "empty", cell=(0.0, float(at))) for at in range(150)]
    falls = [hypothesis(1e-6, "coverage fell", cell=(0.0, float(at))) for at in range(20)]
    fewer = [hypothesis(1e-7, "failed", direction="fell", cell=(0.0, float(at))) for at in range(20)]
    selected = screen([*rates, *falls, *fewer], 10_000)
    assert len(selected) == 100
    assert set(falls) < set(selected)
    more = [hypothesis(1e-7, "failed", direction="rose", cell=(0.0, float(at))) for at in range(20)]
    assert set(falls) | set(more) < set(screen([*rates, *falls, *more], 10_000))


def test_of_too_many_each_column_has_its_smallest():
    loud = [hypothesis(0.0, label="loud", cell=(0.0, float(at))) for at in range(500)]
    quiet = [hypothesis(1e-5 * (at + 1), label="quiet", cell=(0.0, float(at))) for at in range(3)]
    selected = screen([*loud, *quiet], 1000)
    assert len(selected) == 100
    assert set(quiet) < set(selected)


def test_110_against_90_toys_in_each_of_384_cells_is_nothing_in_a_cell_and_certain_in_all():
    one, both = chance_of_lost(np.array([90, 90 * 384]), np.array([110, 110 * 384]))
    assert 2.0 * one == pytest.approx(0.18, abs=0.005)
    assert one == pytest.approx(stats.binomtest(110, 200, alternative="greater").pvalue, rel=1e-12)
    assert np.log10(both) == pytest.approx(-169, abs=0.5)


@pytest.mark.parametrize(
    ("gained", "lost", "p"), [(0, 0, 1.0), (0, 1, 0.5), (0, 10, 2.0**-10), (1, 4, 6 / 32), (3, 0, 1.0)]
)
def test_lost_toys_by_hand(gained, lost, p):
    assert chance_of_lost(np.array([gained]), np.array([lost]))[0] == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize(
    ("x", "n", "x_old", "n_old"), [(85, 100, 95, 100), (850, 1000, 1800, 2000), (0, 50, 10, 50), (3, 10, 9, 10)]
)
def test_fewer_of_other_toys_agree_with_another_program(x, n, x_old, n_old):
    p = stats.fisher_exact([[x, n - x], [x_old, n_old - x_old]], alternative="less").pvalue
    found = chance_of_fewer(*(np.array([each]) for each in (x, n, x_old, n_old)))[0]
    assert found == pytest.approx(p, rel=1e-9)


def test_no_chance_that_could_be_selected_is_left_out():
    x, x_old = (grid.ravel() for grid in np.meshgrid(np.arange(0, 101, 3), np.arange(0, 101, 3)))
    n = np.full(x.shape, 100)
    found = chance_of_fewer(x, n, x_old, n)
    exact = stats.hypergeom.cdf(x, 200, x + x_old, 100)
    assert found[exact <= 0.2] == pytest.approx(exact[exact <= 0.2], rel=1e-9)
    assert (found >= exact * (1 - 1e-12)).all()


def test_fresh_toys_are_ten_times_as_many_in_a_cell_and_as_many_in_a_pool():
    assert hypothesis(n=5000).fresh_toys == 50_000
    assert hypothesis(n=20_000, cells=[(0.0, 1.0), (0.0, 2.0), (3.0, 1.0), (3.0, 2.0)]).fresh_toys == 5000


COUNTS = [
    {"n": 100, "n_both": 100, "covered": 80, "empty": 5, "unbounded": 1, "failed": 3, "gained_covered": 4, "lost_covered": 9, "gained_empty": 2, "lost_empty": 0},
    {"n": 100, "n_both": 100, "covered": 90, "empty": 0, "unbounded": 0, "failed": 1, "gained_covered": 1, "lost_covered": 2, "gained_empty": 0, "lost_empty": 1},
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "evidence"),
    [
        ("promise", Evidence(200, 174)),  # a failed limit might have covered
        ("coverage fell", Evidence(200, 170, 5, 11)),
        ("empty", Evidence(200, 5, 2, 1)),
        ("unbounded", Evidence(200, 1)),
        ("failed", Evidence(200, 4)),
    ],
)
def test_evidence_is_summed_over_cells(kind, evidence):
    assert Evidence.of(hypothesis(kind=kind, cells=[(0.0, 1.0), (0.0, 2.0)]), COUNTS) == evidence


def test_toys_on_which_the_older_code_failed_are_no_evidence():
    less = [COUNTS[0], COUNTS[1] | {"n_both": 99}]
    assert Evidence.of(hypothesis(kind="coverage fell", cells=[(0.0, 1.0), (0.0, 2.0)]), less) == Evidence(0, 0)
    assert Evidence.of(hypothesis(kind="promise", cells=[(0.0, 1.0), (0.0, 2.0)]), less).n == 200


@pytest.mark.parametrize(
    ("kind", "direction", "fails"),
    [
        ("promise", "fell", True),
        ("coverage fell", "fell", True),
        ("failed", "rose", True),
        ("failed", "fell", False),
        ("empty", "rose", False),
        ("unbounded", "fell", False),
    ],
)
def test_what_may_fail(kind, direction, fails):
    assert hypothesis(kind=kind, direction=direction).may_fail == fails
    assert hypothesis(kind=kind).is_about_baseline == (kind != "promise")
