"""What a validation can see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from two_sides import first, hits, side

from covsvc.verdict import compare
from covsvc.verdict.power import detectable, detectable_fall, detectable_unpaired, power_sentence


@pytest.mark.parametrize(("discordance", "deficit"), [(0.005, 0.0042), (0.02, 0.0085), (0.05, 0.0134)])
def test_two_stages_see_more_than_one_two_sided_test_of_all_hypotheses(discordance, deficit):
    # (z(1 - 0.01/(2 x 42,000)) + z(0.8)) sqrt(discordance / 10,000): 42,000 tests of 10,000 paired toys in one stage
    z = stats.norm.isf(0.01 / (2 * 42_000)) + stats.norm.ppf(0.8)
    assert z * np.sqrt(discordance / 10_000) == pytest.approx(deficit, abs=5e-5)
    found = detectable_fall(10_000, 42_000, discordance)
    # the first stage has the threshold 0.2/m; close to normal for the larger discordances
    screened = (stats.norm.isf(0.2 / 42_000) + stats.norm.ppf(0.8)) * np.sqrt(discordance / 10_000)
    assert found < deficit
    assert found == pytest.approx(screened, rel=0.06)


@pytest.mark.parametrize("discordance", [0.005, 0.05])
def test_a_detectable_fall_is_seen_with_80_percent(discordance):
    n, tests, rng = 10_000, 42_000, np.random.default_rng(1999)
    fall, changed = detectable_fall(n, tests, discordance), round(n * discordance)
    lost = rng.binomial(changed, 0.5 * (1.0 + fall / discordance), 20_000)
    again = rng.binomial(10 * changed, 0.5 * (1.0 + fall / discordance), 20_000)
    seen = (stats.binom.sf(lost - 1, changed, 0.5) <= 0.2 / tests) & (
        stats.binom.sf(again - 1, 10 * changed, 0.5) <= 1e-4
    )
    assert stats.binomtest(int(seen.sum()), seen.size, 0.8).pvalue >= 1e-3


@pytest.mark.parametrize(("n", "cl"), [(1000, 0.9), (10_000, 0.95), (100_000, 0.68)])
def test_a_detectable_deficit_is_seen_with_80_percent(n, cl):
    tests, rng = 1000, np.random.default_rng(2026)
    deficit = detectable(n, tests, cl)
    x, again = rng.binomial(n, cl - deficit, 20_000), rng.binomial(10 * n, cl - deficit, 20_000)
    seen = (stats.binom.cdf(x, n, cl) <= 0.2 / tests) & (stats.binom.cdf(again, 10 * n, cl) <= 1e-4)
    assert stats.binomtest(int(seen.sum()), seen.size, 0.8).pvalue >= 1e-3


@pytest.mark.parametrize(("n", "share"), [(1000, 0.9), (10_000, 0.95)])
def test_a_fall_against_counts_alone_is_seen_with_80_percent(n, share):
    tests, rng = 1000, np.random.default_rng(2026)
    fall = detectable_unpaired(n, tests, share)
    x = rng.binomial(10 * n, share - fall, 20_000)
    upper, x_old = stats.beta.isf(0.005 / 100, x + 1, 10 * n - x), round(share * n)
    seen = upper < stats.beta.ppf(0.005 / tests, x_old, n - x_old + 1)
    assert stats.binomtest(int(seen.sum()), seen.size, 0.8).pvalue >= 1e-3
    assert fall > detectable(n, tests, share)


def test_too_few_toys_show_nothing():
    assert detectable_fall(1000, 42_000, 0.005) is None  # five toys change: (1/2)^5 is no 5e-6
    assert detectable(3, 42_000, 0.9) is None  # nor is 0.1^3
    assert detectable(30, 42_000, 0.9) is not None


def test_more_toys_see_more_and_more_tests_less():
    assert detectable(40_000, 1000, 0.9) < detectable(10_000, 1000, 0.9) < detectable(10_000, 100_000, 0.9)
    assert detectable_fall(40_000, 1000, 0.02) < detectable_fall(10_000, 1000, 0.02)


def test_power_is_said_of_what_was_tested():
    alone = compare("s", side({"m": {"toys": lambda *_: hits(first(4500))}}), None, same_toys=True)
    told = power_sentence([alone])
    assert told.startswith("1 hypotheses were tested on 5,000 or more toys each")
    assert f"too small by {detectable(5000, 1, 0.9):.2g} or more" in told
    assert "fall" not in told
    told = {"promises": "nothing", "toys": lambda *_: hits(first(4500))}
    other = told | {"code": "2", "toys": lambda *_: hits(first(4510))}
    both = compare("s", side({"m": other}), side({"m": told}), same_toys=True)
    assert f"{detectable_fall(5000, 4, 0.02):.2g} (2 %)" in power_sentence([both])
    assert "changed on 0.2 % of the toys at most" in power_sentence([both])
    assert "promised" not in power_sentence([both])


def test_power_of_exact_values_is_said():
    exact = {"exact": lambda *_: {"coverage": 0.95}, "worst": lambda *_: (0.9, 1.0)}
    assert power_sentence([compare("s", side({"m": exact}), None, same_toys=True)]).startswith(
        "Nothing had to be tested by toys"
    )
