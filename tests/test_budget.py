"""The budget of toys: looks, decisions, what comes next, and how often it is wrong."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from covsvc.budget import NO_TOYS, OK, UNDECIDED, UNDER, Drawn, Rule, looks_of
from covsvc.study import Budget
from covsvc.tally import DONE, FAILED, MISSING
from covsvc.verdict import smallest_deficit

BLOCK = 100


def drawn_at(blocks, covered, failed=0, lost=0, stored=64, exact=False):
    """Return one cell with its first blocks drawn, of which `lost` failed."""
    status = np.full((1, stored), MISSING, np.int8)
    status[0, :blocks] = DONE
    status[0, :lost] = FAILED
    return Drawn(status, np.array([covered]), np.array([failed]), np.array([exact]), BLOCK)


def rule(looks=(1000, 2000, 4000), margin=0.02, error=0.01, tests=10):
    return Rule(looks, margin, error, tests)


# looks


@pytest.mark.parametrize(
    ("least", "most", "looks"),
    [
        (10_000, 1_000_000, (10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 640_000, 1_000_000)),
        (10_000, 80_000, (10_000, 20_000, 40_000, 80_000)),
        (10_000, 90_000, (10_000, 20_000, 40_000, 80_000, 90_000)),
        (10_000, 15_000, (10_000, 15_000)),
        (10_000, 10_000, (10_000,)),
    ],
)
def test_toys_are_doubled_up_to_the_largest_number(least, most, looks):
    assert looks_of(Budget(min=least, max=most)) == looks


def test_the_rule_of_a_study_counts_cells_and_columns(small_study):
    budget = {"min": 1000, "max": 8000, "resolved": {"margin": 0.02, "error": 0.05}}
    found = Rule.of(small_study(n_toys=budget).model_dump(mode="json"))
    assert found == Rule((1000, 2000, 4000, 8000), 0.02, 0.05, 3 * 2 * 4 * 3)
    assert found.tail == pytest.approx(0.05 / (4 * 72))
    assert Rule.of(small_study().model_dump(mode="json")) is None


def test_the_cost_of_looking_eight_times_is_what_is_published_of_it():
    # seen with 80 % power at 10,000 toys, a false alarm of 1e-6 in all: 0.0173 with one look, 0.0186 with eight
    one, eight = (smallest_deficit(10_000, 0.9, looks, 1e-6) for looks in (1, 8))
    assert (round(one, 4), round(eight, 4)) == (0.0173, 0.0186)


# decisions


@pytest.mark.parametrize("n", [1000, 2000, 4000])
def test_coverage_is_below_cl_if_so_few_toys_are_too_rare(n):
    tail = 0.01 / (3 * 10)
    # the largest x of which P(N <= x; n, 0.9) < tail, and the smallest with P(N >= x; n, 0.88) < tail
    x = np.arange(n + 1)
    most = int(x[stats.binom.cdf(x, n, 0.9) < tail][-1])
    least = int(x[stats.binom.sf(x - 1, n, 0.88) < tail][0])
    told = [rule().states(drawn_at(n // BLOCK, covered), 0.9)[0] for covered in (most, most + 1, least - 1, least)]
    assert told == [UNDER, UNDECIDED, UNDECIDED, OK]


def test_the_intervals_are_scipys_and_say_the_same():
    at = drawn_at(20, 1770)
    low, high = rule().intervals(at)
    tail = 0.01 / 30
    assert float(low[0]) == pytest.approx(stats.beta.ppf(tail, 1770, 231), rel=1e-9)
    assert float(high[0]) == pytest.approx(stats.beta.isf(tail, 1771, 230), rel=1e-9)
    rng = np.random.default_rng(5)
    for covered in rng.integers(1650, 1950, 200).tolist():
        at = drawn_at(20, covered)
        (low,), (high,) = rule().intervals(at)
        assert rule().states(at, 0.9)[0] == (UNDER if high < 0.9 else OK if low > 0.88 else UNDECIDED)


def test_failed_limits_and_blocks_might_cover_and_might_not():
    clear = rule().states(drawn_at(20, 1700), 0.9)[0]
    assert clear == UNDER
    # a hundred limits that failed, or one block, take that away
    assert rule().states(drawn_at(20, 1700, failed=100), 0.9)[0] == UNDECIDED
    at = drawn_at(20, 1700, lost=1)
    assert (at.n_toys[0], at.at_most_covered[0]) == (2000, 1800)
    assert rule().states(at, 0.9)[0] == UNDECIDED
    low, high = rule().intervals(at)
    assert float(low[0]) == pytest.approx(stats.beta.ppf(0.01 / 30, 1700, 301), rel=1e-9)
    assert float(high[0]) == pytest.approx(stats.beta.isf(0.01 / 30, 1801, 200), rel=1e-9)
    # they count as misses where coverage is to be large enough
    assert rule().states(drawn_at(20, 1850), 0.9)[0] == OK
    assert rule().states(drawn_at(20, 1750, failed=100), 0.9)[0] == UNDECIDED


def test_without_toys_nothing_is_known():
    assert rule().states(drawn_at(0, 0), 0.9)[0] == NO_TOYS
    assert np.isnan(rule().intervals(drawn_at(0, 0))).all()


@pytest.mark.parametrize("other", ["too many", "between looks", "not the first"])
def test_toys_that_are_no_look_have_the_wider_sequence(other):
    number = {"too many": 50, "between looks": 13, "not the first": 20}[other]
    at = drawn_at(number, int(0.85 * number * BLOCK))
    if other == "not the first":
        at.status[0, [3, 30]] = at.status[0, [30, 3]]
    assert not at.is_at((1000, 2000, 4000))[0]
    low, high = rule().intervals(at)
    x, n = at.n_covered[0], at.n_toys[0]
    plain = stats.beta.ppf(0.01 / 30, x, n - x + 1), stats.beta.isf(0.01 / 30, x + 1, n - x)
    assert low[0] < plain[0]
    assert high[0] > plain[1]
    # at error / tests: the mean likelihood over Jeffreys' prior is 1000 times that at the ends
    mean = stats.betabinom.logpmf(x, n, 0.5, 0.5)
    for end in (low[0], high[0]):
        assert mean - stats.binom.logpmf(x, n, end) == pytest.approx(np.log(1000), abs=1e-6)
    assert rule().states(at, 0.9)[0] == (UNDER if high[0] < 0.9 else UNDECIDED)


# what comes next


def cells(blocks, covered=0.89, columns=2, stored=40, exact=False, lost=False):
    """Return cells of some columns, with the first blocks of each drawn."""
    blocks = np.broadcast_to(np.array(blocks), (columns, np.shape(blocks)[-1]))
    status = np.where(np.arange(stored) < blocks[..., None], FAILED if lost else DONE, MISSING).astype(np.int8)
    x = np.round(blocks * BLOCK * np.asarray(covered)).astype(np.int64) * (not lost)
    return Drawn(status, x, np.zeros_like(x), np.full(x.shape, exact), BLOCK)


def wanted(at, may_go_on=True, extra=()):
    missing = at.status[..., :40] == MISSING
    for place in extra:
        missing[place] = True
    cl = np.full((at.status.shape[0], 1), 0.9)
    return rule().next_blocks(at, cl, missing, may_go_on=may_go_on)


def counts(blocks):
    return blocks.sum(axis=-1).tolist()


def test_all_columns_of_a_cell_go_on_together_while_one_is_undecided():
    both = cells([10, 20, 40, 0])
    assert counts(wanted(both)) == [[10, 20, 0, 10]] * 2
    # 0.95 is resolved at the first look, 0.89 is not until the end
    mixed = cells([10, 10], covered=[[0.95, 0.95], [0.89, 0.95]])
    assert counts(wanted(mixed)) == [[10, 0]] * 2
    assert not wanted(cells([10, 20], covered=0.95)).any()
    assert not wanted(cells([10, 20], covered=0.7)).any()


def test_a_cell_is_first_completed_up_to_its_look():
    at = cells([[13, 20], [13, 0]])
    assert counts(wanted(at)) == [[7, 0], [7, 20]]
    assert (wanted(at)[0, 0].nonzero()[0] == np.arange(13, 20)).all()
    at = cells([10, 20])
    at.status[1, 1, 5] = MISSING
    assert counts(wanted(at)) == [[10, 0], [10, 1]]


def test_failed_blocks_that_are_tried_again_come_before_a_decision():
    at = cells([10])
    at.status[0, 0, 2] = FAILED
    assert counts(wanted(at, extra=[(0, 0, 2)])) == [[1], [0]]
    assert counts(wanted(at)) == [[10], [10]]


def test_nothing_is_decided_before_exact_values_are_known():
    assert not wanted(cells([10, 20]), may_go_on=False).any()
    assert counts(wanted(cells([13, 0]), may_go_on=False)) == [[7, 10]] * 2


def test_a_column_that_is_known_exactly_needs_the_first_look_only():
    assert not wanted(cells([10], exact=True)).any()
    assert counts(wanted(cells([0], exact=True))) == [[10]] * 2


def test_a_column_all_of_whose_blocks_failed_is_not_waited_for():
    assert not wanted(cells([10, 20], lost=True)).any()
    assert rule().states(cells([10], lost=True), 0.9).tolist() == [[UNDECIDED]] * 2


def test_what_was_stored_beyond_the_budget_is_not_topped_up():
    at = cells([45, 41], stored=64)
    assert not wanted(at).any()
    both = cells([[45], [0]], stored=64)
    assert counts(wanted(both)) == [[0], [40]]


@pytest.mark.parametrize("blocks", [0, 9, 10, 11, 20, 21, 39, 40])
def test_what_may_come_later_is_all_beyond_the_look(blocks):
    look = next(look for look in (10, 20, 40) if look >= blocks)
    assert rule().later(blocks, BLOCK) == (40 - look) * BLOCK


def test_rounds_end_and_draw_each_block_once():
    rng = np.random.default_rng(3)
    p = rng.uniform(0.86, 0.93, (3, 50))
    status = np.full((3, 50, 40), MISSING, np.int8)
    hits = rng.binomial(BLOCK, p[..., None], (3, 50, 40))
    for _ in range(4):
        x = (hits * (status == DONE)).sum(axis=-1)
        at = Drawn(status, x, np.zeros_like(x), np.zeros(x.shape, bool), BLOCK)
        now = rule(tests=150).next_blocks(at, np.full((3, 1), 0.9), status == MISSING, may_go_on=True)
        assert not (now & (status == DONE)).any()
        assert (now.any(axis=0) == now.all(axis=0)).all()
        status[now] = DONE
        assert set((status == DONE).sum(axis=-1).ravel().tolist()) <= {0, 10, 20, 40}
        if not now.any():
            break
    else:
        pytest.fail("more rounds than looks")


# how often it is wrong


@pytest.fixture
def trial():
    """Return tests/trials/adaptive_null.py, of which these tests are the short form."""
    path = Path(__file__).parent / "trials" / "adaptive_null.py"
    spec = importlib.util.spec_from_file_location("adaptive_null", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_plain_intervals_are_wrong_as_often_as_their_gaussian_limit_says(trial):
    # of eight Gaussians with correlations 2^(-|i - j|/2) the largest is beyond 1.96 with a probability of 0.2465
    found = round(4000 * trial.naive_alarms(4000, seed=2026))
    assert stats.binomtest(found, 4000, 0.2465).pvalue >= 1e-3


def test_columns_that_cover_are_called_below_as_seldom_as_promised(trial):
    for kind in trial.KINDS:
        wrong, naive = trial.wrong_studies(kind, studies=150, error=0.05, seed=2026)
        assert stats.binom.sf(wrong - 1, 150, 0.05) >= 1e-3, (kind, wrong)
        # a plain 95 % interval at every look is wrong in nearly all of these studies: the trial would see it
        assert naive > 100
