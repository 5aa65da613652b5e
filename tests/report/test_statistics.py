"""Exact and asymptotic distributions of test statistics."""

from __future__ import annotations

import numpy as np
import pytest

from covsvc.report.picture import drawing
from covsvc.report.statistics import (
    Distribution,
    distributions,
    draw_statistics,
    statistics_cells,
    statistics_sentences,
    steps,
    thinned,
)


@pytest.fixture(scope="module")
def statistics(make_statistics):
    return make_statistics()


def test_there_is_a_panel_for_each_statistic(statistics):
    figure = draw_statistics(statistics)
    assert [axes.get_title() for axes in figure.axes] == ["q_mu", "q_mu_tilde", "profile likelihood ratio t"]
    assert {axes.get_yscale() for axes in figure.axes} == {"log"}
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert figure.texts[1].get_text().endswith("s_true = 3, b = 1 known")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_lines_hold_the_probabilities(statistics, place):
    exact, asymptotic = draw_statistics(statistics).axes[place].lines[:2]
    here = statistics.isel(statistic=place)
    q, curve = asymptotic.get_data()
    np.testing.assert_array_equal(curve, here["asymptotic"].sel(q=q))
    # each node of the steps is reached from the left
    places, values = exact.get_data()
    np.testing.assert_array_equal(places[2::2], q[1:])
    np.testing.assert_array_equal(values[2::2], here["survival"].sel(q=q[1:]))
    np.testing.assert_array_equal(values[1::2], values[2::2])


def test_steps_hold_to_the_left_of_their_node():
    found = Distribution("t", np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.4, 0.1]), np.array([1.0, 0.3, 0.05]))
    q, exact, asymptotic = steps(found)
    assert list(zip(q.tolist(), exact.tolist(), strict=True)) == [(0, 1), (0, 0.4), (1, 0.4), (1, 0.1), (2, 0.1)]
    assert asymptotic.tolist() == [1, 1, 0.3, 0.3, 0.05]


def test_thinned_steps_are_the_same_steps(statistics):
    for found in distributions(statistics):
        few = thinned(found)
        assert len(few.q) < len(found.q) / 2
        assert set(few.q) <= set(found.q)
        assert (few.q[0], few.q[-1]) == (found.q[0], found.q[-1])
        # P(Q >= q) at any node is the value of the first node kept that is not below it
        after = np.searchsorted(few.q, found.q)
        np.testing.assert_array_equal(few.exact[after], found.exact)


def test_very_many_jumps_are_thinned_too():
    q = np.linspace(0, 9, 5000)
    few = thinned(Distribution("t", q, np.exp(-q), np.exp(-q)))
    assert len(few.q) == 300
    np.testing.assert_array_equal(few.exact, np.exp(-few.q))


def test_messages_say_the_numbers(statistics):
    # at mean 4 and the 90 % values of half a chi-squared (1.2816 squared) and a chi-squared (1.6449 squared):
    # q_mu reaches 1.64 for 0 and 1 events, exp(-4) (1 + 4) = 0.0916; t reaches 2.71 for 8 events and more too, 0.0511
    messages = [found.message().replace("\N{NO-BREAK SPACE}", " ") for found in distributions(statistics)]
    assert messages[0] == "at q = 1.64 (90 %): exact 0.092, asymptotic 0.100"
    assert messages[1] == "at q = 1.64 (90 %): exact 0.092, asymptotic 0.100"
    assert messages[2] == "at q = 2.71 (90 %): exact 0.143, asymptotic 0.100"


def test_panels_say_their_message_and_mark_the_place(statistics):
    axes = draw_statistics(statistics).axes[2]
    assert [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in axes.texts] == [
        "at q = 2.71 (90 %)",
        "exact 0.143",
        "asymptotic 0.100",
    ]
    marks = [line.get_xydata()[0].tolist() for line in axes.lines if line.get_marker() == "o"]
    q = distributions(statistics)[2].q[distributions(statistics)[2].node(0.9)]
    here = statistics.isel(statistic=2).sel(q=q)
    assert marks == [[q, here["survival"].item()], [q, here["asymptotic"].item()]]


def test_message_is_silent_where_no_node_is_near(statistics):
    coarse = statistics.sel(q=[0.0, 1.0, 4.0])
    assert distributions(coarse)[0].node(0.9) is None
    assert "no q at 90" in distributions(coarse)[0].message()
    assert [row["q"] for row in statistics_cells(coarse)[:2]] == ["–", "–"]
    assert len(draw_statistics(coarse).axes[0].texts) == 1


def test_sentences_say_every_statistic_and_the_hypothesis(statistics):
    first, second = statistics_sentences(statistics)
    assert "s_true = 3, b = 1 known" in first
    for found in distributions(statistics):
        assert f"{found.name} {found.message()}" in second
    assert statistics_sentences(statistics.assign_attrs(tau=np.nan))[0] == first
    assert "s_true = 3, b = 1, τ = 2" in statistics_sentences(statistics.assign_attrs(tau=2.0))[0]


def test_table_holds_the_probabilities(statistics):
    rows = statistics_cells(statistics)
    assert len(rows) == 12
    assert rows[9] == {
        "name": "profile likelihood ratio t",
        "cl": "0.9",
        "q": "2.706",
        "exact": "0.143",
        "asymptotic": "0.1",
    }


def test_order_does_not_matter(statistics):
    turned = statistics.isel(q=slice(None, None, -1)).transpose("q", "statistic")
    assert statistics_cells(turned) == statistics_cells(statistics)


def test_nothing_is_cut_off_or_overlaps(statistics, clashes):
    with drawing():
        assert clashes(draw_statistics(statistics)) == []
        assert clashes(draw_statistics(statistics.isel(statistic=[1]))) == []
