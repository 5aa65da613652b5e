"""Confirmation on fresh toys: rejected, cleared, undecided."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from covsvc.verdict.confirming import CLEARED, REJECTED, UNDECIDED, confirm, toys_to_decide, toys_to_draw
from covsvc.verdict.hypotheses import Evidence, Hypothesis


def promise(at=0, reference=0.9):
    return Hypothesis(
        "study", "promise", "m", 0.9, 0.0, float(at), ((0.0, float(at)),), "fell", 0.001, reference, 1000, 870
    )


def change(kind="coverage fell", direction="fell", at=0, n_old=10_000, x_old=9000):
    known = {"p": 0.001, "reference": x_old / n_old, "n": n_old, "x": x_old, "n_old": n_old, "x_old": x_old}
    return Hypothesis("study", kind, "m", 0.9, 0.0, float(at), ((0.0, float(at)),), direction, **known)


def decide(hypothesis, evidence, *, tests=100, paired=True, **more):
    (found,) = confirm([hypothesis], {hypothesis: evidence}, tests=tests, paired=paired, **more)
    return found


def largest_rejected(n, p, level):
    """Return the largest x with P(Bin(n, p) <= x) <= level."""
    return int(np.flatnonzero(stats.binom.cdf(np.arange(n + 1), n, p) <= level)[-1])


# promises


def test_a_promise_is_rejected_at_the_stated_error():
    x = largest_rejected(10_000, 0.9, 0.01)
    assert decide(promise(), Evidence(10_000, x)).outcome == REJECTED
    found = decide(promise(), Evidence(10_000, x + 1))
    assert found.outcome == UNDECIDED
    assert found.p == pytest.approx(stats.binom.cdf(x + 1, 10_000, 0.9), rel=1e-9)
    assert decide(promise(), Evidence(10_000, x), error=0.001).outcome == UNDECIDED


def test_a_promise_is_cleared_if_coverage_is_above_it_less_the_margin():
    # Clopper-Pearson: the smallest x of which the one-sided 99 % lower end is above 0.89
    x = np.arange(8000, 10_000)
    first = int(x[stats.beta.ppf(0.01, x, 10_000 - x + 1) > 0.89][0])
    assert decide(promise(), Evidence(10_000, first), margin=0.01).outcome == CLEARED
    assert decide(promise(), Evidence(10_000, first - 1), margin=0.01).outcome == UNDECIDED
    assert decide(promise(), Evidence(10_000, first), margin=0.005).outcome == UNDECIDED


def test_a_deficit_that_is_certain_fails_even_if_it_is_less_than_the_margin():
    found = decide(promise(), Evidence(10_000_000, 8_980_000))
    assert (found.outcome, found.low > -0.005) == (REJECTED, True)


def test_a_promise_of_a_table_is_held_to_its_reference():
    x = largest_rejected(10_000, 0.88, 0.01)
    assert decide(promise(reference=0.88), Evidence(10_000, x + 1)).outcome != REJECTED
    assert decide(promise(reference=0.88), Evidence(10_000, x)).outcome == REJECTED


def test_undecided_names_the_toys_that_would_decide():
    found = decide(promise(), Evidence(10_000, 8990))
    assert found.outcome == UNDECIDED
    z = stats.norm.ppf(0.99) + stats.norm.ppf(0.8)
    assert found.toys == pytest.approx(z**2 * 0.09 / 0.005**2, abs=1)


def test_toys_that_would_decide_one_of_a_hundred():
    # 100 hypotheses at 1 %, cl 0.9, margin 0.005: 75,000
    assert toys_to_decide(0.09, 0.005, 1e-4) == pytest.approx(75_000, rel=0.005)


def test_toys_that_would_decide_do_decide_with_80_percent():
    n, selected = toys_to_decide(0.09, 0.005, 0.01 / 20), [promise(at) for at in range(20)]
    x = np.random.default_rng(1999).binomial(n, 0.9, 400)
    quiet = {each: Evidence(n, int(0.9 * n)) for each in selected[1:]}
    cleared = sum(
        confirm(selected, quiet | {selected[0]: Evidence(n, int(each))}, tests=20, paired=True)[0].outcome == CLEARED
        for each in x
    )
    assert stats.binomtest(cleared, 400, 0.8).pvalue >= 1e-3


def test_as_many_toys_are_drawn_as_decide_within_ten_and_a_hundred_times_those_that_are_stored():
    # 1000 toys are stored; (2 z(0.99))^2 0.09 / 0.005^2 = 77,930
    assert toys_to_draw(promise(), 1) == pytest.approx((2 * stats.norm.ppf(0.99)) ** 2 * 3600, abs=1)
    assert toys_to_draw(promise(), 1, margin=0.4) == 10_000
    assert toys_to_draw(promise(), 1, margin=1e-4) == 100_000


# Holm's procedure


def test_holms_procedure_steps_down():
    # G. Holm's rule by hand for three: 0.01/3, 0.01/2, 0.01
    n = 10_000
    selected = [promise(at) for at in range(3)]
    levels = [0.01 / 3, 0.01 / 2, 0.01]
    x = [largest_rejected(n, 0.9, level) for level in levels]
    all_of_them = confirm(selected, {h: Evidence(n, k) for h, k in zip(selected, x, strict=True)}, tests=3, paired=True)
    assert [each.outcome for each in all_of_them] == [REJECTED] * 3
    # the first just not: no other either
    x[0] = x[1] = x[2]
    assert stats.binom.cdf(x[0], n, 0.9) > levels[0]
    none = confirm(selected, {h: Evidence(n, k) for h, k in zip(selected, x, strict=True)}, tests=3, paired=True)
    assert REJECTED not in [each.outcome for each in none]


def test_what_has_no_evidence_is_undecided_and_counts():
    selected = [promise(0), promise(1)]
    x = largest_rejected(10_000, 0.9, 0.01)
    one, other = confirm(selected, {selected[0]: Evidence(10_000, x)}, tests=2, paired=True)
    assert (one.outcome, other.outcome, other.evidence, other.toys) == (UNDECIDED, UNDECIDED, None, None)
    (empty,) = confirm(selected[:1], {selected[0]: Evidence(0, 0)}, tests=2, paired=True)
    assert empty.outcome == UNDECIDED
    assert confirm([], {}, tests=10, paired=True) == ()


def test_true_hypotheses_are_seldom_rejected_however_many_are_selected():
    # 100 that are just true, nearly all on the same toys, in each of 2000 validations; width 1e-3
    rng, n, selected, failed = np.random.default_rng(2026), 2000, [promise(at) for at in range(100)], 0
    for _ in range(2000):
        x = rng.binomial(n // 2, 0.9) + rng.binomial(n // 2, 0.9, 100)
        if stats.binom.cdf(x.min(), n, 0.9) <= 0.01 / 100:  # else none can be
            found = confirm(
                selected, {h: Evidence(n, int(k)) for h, k in zip(selected, x, strict=True)}, tests=100, paired=True
            )
            failed += any(each.outcome == REJECTED for each in found)
    assert stats.binom.sf(failed - 1, 2000, 0.01) >= 1e-3, failed
    assert failed > 0  # the trial can fail


# with the code of the baseline


def test_paired_toys_are_decided_by_those_that_changed():
    lost = int(stats.binom.isf(0.01, 200, 0.5)) + 1  # of 200 that changed
    found = decide(change(), Evidence(100_000, 89_000, 200 - lost, lost))
    assert (found.outcome, found.change) == (REJECTED, pytest.approx((200 - 2 * lost) / 100_000))
    found = decide(change(), Evidence(100_000, 89_000, 201 - lost, lost - 1))
    assert found.outcome == CLEARED  # so few have changed that less than the margin is lost


def test_paired_toys_leave_it_open_where_many_changed():
    found = decide(change(), Evidence(10_000, 8980, 490, 510))
    assert found.outcome == UNDECIDED
    z = stats.norm.ppf(0.995) + stats.norm.ppf(0.8)
    assert found.toys == pytest.approx(z**2 * 0.1 / 0.005**2, abs=1)
    # little wider than the interval of Wald for a difference of paired shares, of which half the probability is left
    wald = -0.002 - stats.norm.ppf(0.995) * np.sqrt(0.1 / 10_000)
    assert 1.15 * wald < found.low < wald
    assert found.low < found.change < found.high


def test_intervals_of_paired_changes_hold_the_truth():
    # 0.6 of 3 % that change are lost: coverage fell by 0.006; the lower end is wrong with at most 1 %
    rng, missed = np.random.default_rng(7), 0
    for changed in rng.binomial(5000, 0.03, 2000):
        lost = int(rng.binomial(changed, 0.6))
        missed += decide(change(), Evidence(5000, 4500, int(changed) - lost, lost)).low > -0.006
    assert stats.binom.sf(missed - 1, 2000, 0.01) >= 1e-3, missed
    assert missed > 0


def test_nothing_that_changed_is_cleared_once_toys_are_enough():
    assert decide(change(), Evidence(10_000, 9000, 0, 0)).outcome == CLEARED
    assert decide(change(), Evidence(100, 90, 0, 0)).outcome == UNDECIDED


def test_a_gain_is_no_loss():
    assert decide(change(), Evidence(100_000, 95_000, 5000, 0)).outcome == CLEARED


@pytest.mark.parametrize("kind", ["empty", "unbounded", "failed"])
def test_rates_are_tested_in_the_direction_that_was_seen(kind):
    evidence = Evidence(100_000, 2000, 1000, 0)
    assert decide(change(kind, "rose", x_old=100), evidence).outcome == REJECTED
    assert decide(change(kind, "fell", x_old=100), evidence).outcome == CLEARED


def test_toys_must_be_paired_where_they_are_said_to_be():
    with pytest.raises(ValueError, match="are not paired"):
        decide(change(), Evidence(100_000, 89_000))


# without the code of the baseline


def test_without_its_code_the_baseline_is_known_within_its_interval():
    # reject if U_new(error/2|S|) < L_old(error/2m)
    tests, n, x_old = 1000, 100_000, 9000
    low = stats.beta.ppf(0.01 / (2 * tests), x_old, 10_000 - x_old + 1)
    x = np.arange(80_000, 90_000)
    upper = stats.beta.isf(0.01 / 2, x + 1, n - x)
    last = int(x[upper < low][-1])
    options = {"tests": tests, "paired": False}
    assert decide(change(x_old=x_old), Evidence(n, last), **options).outcome == REJECTED
    assert decide(change(x_old=x_old), Evidence(n, last + 1), **options).outcome == UNDECIDED


def test_without_its_code_a_poor_baseline_can_not_be_cleared_by_any_number_of_toys():
    found = decide(change(n_old=1000, x_old=900), Evidence(10_000_000, 9_000_000), tests=1000, paired=False)
    assert (found.outcome, found.toys) == (UNDECIDED, None)
    rich = change(n_old=10_000_000, x_old=9_000_000)
    assert decide(rich, Evidence(10_000_000, 9_000_000), tests=1000, paired=False).outcome == CLEARED
    open_ = decide(rich, Evidence(10_000, 8990), tests=1000, paired=False)
    assert open_.outcome == UNDECIDED
    assert open_.toys > toys_to_decide(0.09, 0.005, 0.005)


def test_without_its_code_a_rate_that_rose_is_held_against_the_upper_end():
    tests, n, x_old = 1000, 100_000, 50
    high = stats.beta.isf(0.01 / (2 * tests), x_old + 1, 10_000 - x_old)
    x = np.arange(1, 2000)
    first = int(x[stats.beta.ppf(0.01 / 2, x, n - x + 1) > high][0])
    options = {"tests": tests, "paired": False}
    assert decide(change("failed", "rose", x_old=x_old), Evidence(n, first), **options).outcome == REJECTED
    assert decide(change("failed", "rose", x_old=x_old), Evidence(n, first - 1), **options).outcome != REJECTED
