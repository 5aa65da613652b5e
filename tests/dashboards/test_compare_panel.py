"""The page that compares two methods, or two commits of one."""

from __future__ import annotations

import re

import numpy as np
import pytest
from dashboard_store import HARMFUL, STUDY
from scipy import stats

from covsvc import api
from covsvc_dashboards.compare_panel import Pair, counted_html
from covsvc_dashboards.shown import Shown, Side
from covsvc_dashboards.view import View

S_TRUE = np.array(STUDY["s_true"], float)
B = np.array(STUDY["b"], float)


def coverage_of_classical(cl=0.9):
    """Return the probability that F(n; s + b) >= 1 - cl, over b and s_true."""
    n = np.arange(200)
    return np.array(
        [[stats.poisson.pmf(n, s + b)[stats.poisson.cdf(n, s + b) >= 1 - cl].sum() for s in S_TRUE] for b in B]
    )


def coverage_of_cls(cl=0.9):
    n = np.arange(200)
    return np.array(
        [
            [
                stats.poisson.pmf(n, s + b)[stats.poisson.cdf(n, s + b) / stats.poisson.cdf(n, b) >= 1 - cl].sum()
                for s in S_TRUE
            ]
            for b in B
        ]
    )


def pair_of(store, one, other, *, study="tiny", at=("main", "main"), cl=0.9, cut=slice(None), **chosen):
    """Return two sides as a page gives them; of the other some cells may be left out."""
    known = [api.read_maps(store, study, each) for each in at]
    sides = (
        Side(known[0], known[0].attrs["snapshot"], one, cl),
        Side(known[1].isel(s_true=cut), known[1].attrs["snapshot"], other, cl),
    )
    return Pair.of(Shown(store, View(study, at=at[0], other_at=at[1], cl=cl, **chosen), *sides), sides[1])


def test_the_maps_are_those_of_both_and_their_difference(store):
    pair = pair_of(store, "classical", HARMFUL)
    one, other, change, _ = pair.paintings()
    np.testing.assert_allclose(one.values, coverage_of_classical(), atol=1e-9)
    np.testing.assert_allclose(other.values, coverage_of_cls(), atol=1e-9)
    np.testing.assert_allclose(change.values, coverage_of_classical() - coverage_of_cls(), atol=1e-9)
    assert (one.column.label, other.column.label) == ("A: classical", f"B: {HARMFUL}")
    assert (change.scale.low, change.scale.high) == (-np.abs(change.values).max(), np.abs(change.values).max())


def test_the_ratio_of_medians_is_that_of_the_limits_on_the_median_count(store):
    ratio = pair_of(store, "bayes_jeffreys", "classical").paintings()[3]
    for row, b in enumerate(B):
        for node, s in enumerate(S_TRUE):
            n = int(stats.poisson.median(s + b)) if s + b else 0
            classical = max(stats.gamma.ppf(0.9, n + 1) - b, 0)
            # of the posterior (s + b)^(n - 1/2) e^-(s + b), cut off at s = 0
            jeffreys = stats.gamma.isf(0.1 * stats.gamma.sf(b, n + 0.5), n + 0.5) - b
            expected = np.clip(jeffreys / classical, ratio.scale.low, ratio.scale.high) if classical else None
            if expected is not None:
                assert ratio.values[row, node] == pytest.approx(expected, rel=1e-6)
    assert ratio.scale.log
    assert ratio.scale.low == pytest.approx(1 / ratio.scale.high)


def test_cells_in_which_one_alone_fails_are_outlined_and_counted(store):
    pair = pair_of(store, "bayes_jeffreys", "classical")
    cube = api.read_maps(store, "tiny", "main").sel(cl=0.9)
    under = cube["under_significant"].sel(limit_method="bayes_jeffreys").transpose("b", "s_true").to_numpy()
    assert under[0, 2]  # where it covers with probability 0.777
    assert not cube["under_significant"].sel(limit_method="classical").any()
    change = pair.paintings()[2]
    np.testing.assert_array_equal(change.hatched, under)
    np.testing.assert_array_equal(change.outlined, under)
    assert f"A in {under.sum()} cells (hatched), B in 0" in pair.seen()["change"][1]
    other_way = pair_of(store, "classical", "bayes_jeffreys").paintings()[2]
    np.testing.assert_array_equal(other_way.outlined, under)
    assert not other_way.hatched.any()
    assert "only A below" in pair.coverage_table()


def test_toys_are_discordant_at_least_where_one_covers_more(store):
    pair = pair_of(store, "classical", "bayes_jeffreys")
    cube = api.open_cube(store, "tiny").sel(cl=0.9)["n_covered"].transpose("limit_method", "b", "s_true")
    one, other = (cube.sel(limit_method=label).to_numpy() for label in ("classical", "bayes_jeffreys"))
    np.testing.assert_array_equal(pair.least, np.abs(one - other))
    told = pair.told()["discordant toys, at least"]
    assert told == [f"{each:,}" for each in np.abs(one - other).ravel().tolist()]
    # the first commit has a quarter of the toys: the counts of all do not tell of those that both have
    assert (pair_of(store, "classical", "classical", at=("main", "first")).least == -1).all()


def test_grids_that_differ_are_compared_on_common_cells(store):
    pair = pair_of(store, "classical", HARMFUL, cut=[1, 3, 4])
    assert pair.difference.candidate.s_true.tolist() == [1, 2.5, 4]
    np.testing.assert_allclose(
        pair.paintings()[2].values, (coverage_of_classical() - coverage_of_cls())[:, [1, 3, 4]], atol=1e-9
    )
    assert "Only the 9 cells are shown that both have; A has 18, and B 9." in pair.sentences()
    assert pair_of(store, "classical", HARMFUL, cut=[1, 3], b=0.0, s_true=6.0).cell is None
    assert pair_of(store, "classical", HARMFUL, cut=[]) is None


def test_where_no_cell_is_chosen_the_one_of_the_largest_difference_is_shown(store):
    changes = np.abs(coverage_of_classical() - coverage_of_cls())
    row, node = divmod(int(changes.argmax()), changes.shape[1])
    pair = pair_of(store, "classical", HARMFUL)
    assert (pair.asked.b, pair.asked.s_true) == (B[row], S_TRUE[node])
    assert "No cell is chosen" in pair.cell_table()
    chosen = pair_of(store, "classical", HARMFUL, b=1.0, s_true=2.5)
    assert (chosen.asked.b, chosen.asked.s_true) == (1.0, 2.5)
    assert "No cell is chosen" not in chosen.cell_table()
    assert HARMFUL not in chosen.cell_table()


def test_one_method_at_two_commits_is_named_by_them(store):
    pair = pair_of(store, "mine", "mine", at=("main", "first"))
    assert pair.names == ("mine at main", "mine at first")
    assert pair.has_other_sides
    assert not pair_of(store, "mine", "mine").has_other_sides


FOUND = {
    "source": "replayed",
    "n_toys": 1000,
    "shared_toys": 2000,
    "both": 700,
    "only_one": 150,
    "only_other": 50,
    "neither": 100,
    "least": 200,
    "most": 1200,
    "p": 1.2e-12,
    "why": "",
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "200 of 1,000 toys are discordant (20 %)"),
        ({}, "These are 1,000 of the 2,000 toys that both have."),
        ({}, "p = 1.2e−12"),
        ({"source": "identical", "n_toys": 2000}, "have the same bits"),
        ({"source": "kept"}, "is kept in the cube"),
        ({"p": None, "why": "a budget chose"}, "A budget chose."),
        ({"source": "counts", "n_toys": 0, "why": "it is new"}, "between 200 and 1,200 of 2,000 toys are discordant"),
        ({"source": "none", "why": "the toys are others"}, "No toy can be compared: the toys are others."),
        ({"both": None, "neither": None}, "<td>–</td>"),
    ],
)
def test_what_was_counted_is_told_with_where_it_comes_from(changes, said):
    told = counted_html(FOUND | changes, ("<b>", "cls"))
    assert said in told
    assert "<b>" not in told
    assert ("p = " in told) == ((FOUND | changes)["p"] is not None and not {"counts", "none"} & {*changes.values()})


def test_counts_stand_where_their_row_and_column_meet():
    told = counted_html(FOUND, ("classical", "cls"))
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td>', told)
    assert rows == [("A (classical) covers", "700", "150"), ("A (classical) misses", "50", "100")]
    assert re.findall(r'<th scope="col">(.*?)</th>', told)[-2:] == ["B (cls) covers", "B (cls) misses"]


@pytest.mark.browser
def test_two_methods_are_compared_and_their_toys_counted_in_a_browser(tab, store):
    page = tab(study="tiny", page="compare", limit_method="classical", cl=0.9, b=0, s_true=1.5)
    page.get_by_label("compare with limit method").select_option("bayes_jeffreys")
    page.get_by_text("A is classical; B is bayes_jeffreys.").wait_for()
    page.wait_for_url("**other=bayes_jeffreys**")
    button = page.get_by_role("button", name="Count discordant toys")
    button.focus()
    page.keyboard.press("Enter")
    # of the limits at b = 0, 2.30 covers 1.5 always, and 1.35 where there is no event does not
    cube = api.open_cube(store, "tiny").sel(cl=0.9, b=0, s_true=1.5)
    covered = int(cube["n_covered"].sel(limit_method="bayes_jeffreys"))
    page.get_by_text(f"{2000 - covered:,} of 2,000 toys are discordant").wait_for(timeout=15_000)
    page.get_by_text("have the bits that are stored").wait_for()
    cells = page.locator("tr", has=page.get_by_role("rowheader", name="A (classical) covers")).locator("td")
    assert cells.all_inner_texts() == [f"{covered:,}", f"{2000 - covered:,}"]
    # another cell has not been counted
    page.get_by_label("cell: true signal").select_option(label="4")
    page.get_by_role("heading", name="s_true = 4, b = 0").wait_for()
    page.get_by_text("toys are discordant").wait_for(state="detached")
    page.get_by_label("coverage of B as a table").check()
    page.locator("table", has_text="Coverage of B: bayes_jeffreys at cl = 0.9").wait_for()
    page.get_by_label("coverage, A less B as a table").check()
    # at b = 0 and s_true = 1.5 B covers where there is an event
    page.get_by_text(f"1.0000 (+{np.exp(-1.5):.3g}); only B below").wait_for()


@pytest.mark.browser
def test_two_commits_are_compared_in_a_browser(tab):
    page = tab(study="tiny", page="compare", limit_method="mine", other="mine", cl=0.9, width=390)
    page.get_by_text("Both are the same: choose another").wait_for()
    page.get_by_role("button", name="Count discordant toys").wait_for(state="hidden")
    commits = page.get_by_label("as it was at commit")
    tagged = commits.locator("option", has_text="tag first")
    tagged.wait_for(state="attached")
    commits.select_option(label=tagged.inner_text())
    page.get_by_text("A is mine at main; B is mine at first.").wait_for()
    page.wait_for_url("**other_at=first**")
    page.get_by_role("button", name="Count discordant toys").click()
    # the method of the first commit is another, of which the limits are set again
    page.get_by_text("of 500 toys are discordant").wait_for(timeout=15_000)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
