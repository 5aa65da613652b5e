"""What the statistics of the interval methods have to exceed."""

from __future__ import annotations

import numpy as np
import pytest

from covsvc.report.picture import drawing
from covsvc.report.thresholds import (
    STATISTICS,
    describe_thresholds,
    draw_thresholds,
    made_by,
    threshold_cells,
    value_cells,
)

C_MAX, P_MAX = STATISTICS


@pytest.fixture(scope="module")
def table(make_table):
    return make_table()


@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda each: each.name)
def test_line_holds_every_node(table, statistic):
    axes = draw_thresholds(table, statistic).axes[0]
    part = getattr(table, statistic.field)
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), part.mu)
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), part.value)
    low, high = axes.get_ylim()
    assert low < part.value.min() <= part.value.max() < high


def test_thresholds_and_atom_ends_are_marked_where_they_are(table):
    _, thresholds, atom_ends = draw_thresholds(table, C_MAX).axes[0].lines
    # no event excludes from 2.303 on, where Table I begins
    first = np.maximum(table.c_max.thresholds, -np.log(1 - 0.9))
    for line, places in ((thresholds, first), (atom_ends, table.c_max.atom_ends)):
        marked = np.unique(line.get_xdata())
        np.testing.assert_allclose(marked, places[np.isfinite(places)], rtol=1e-14)
    ends = [np.nanmax(line.get_ydata()) for line in (thresholds, atom_ends)]
    assert ends[1] < np.nanmin(thresholds.get_ydata()) < ends[0] < 0.15


def test_words_say_where_the_function_begins_and_ends(table):
    # -log(1 - 0.9) = 2.303; with a count of 49 the 90 % limit is 59.66 and with 50 it is 60.76 (chi2 quantiles over 2)
    assert describe_thresholds(table, C_MAX) == (
        "CBarMax at cl = 0.9 goes from 0.9 at mu = 2.303 to 0.9899 at mu = 60, where intervals with up to 49 events "
        "count. The toys leave a standard error of the coverage of at most 0.0002."
    )
    assert made_by(table) == "3,000,000 toys, seed 17, covsvc 0.4.0"


def test_table_of_thresholds_ends_with_the_last_one(table):
    rows = threshold_cells(table, STATISTICS)
    assert rows[0] == ("0", ["2.3026", "2.7026"] * 2)
    # 90 % upper limits of one and two events: 3.8897 and 5.3223 (PDG)
    assert [cells[0] for _, cells in rows[1:3]] == ["3.8897", "5.3223"]
    assert rows[-1][0] == "49"  # as many events have a 90 % limit below 60, one more have not
    last = table.c_max.thresholds[np.isfinite(table.c_max.thresholds)].max()
    assert rows[-1][1][0] == f"{last:.4f}"
    assert len(rows) == np.isfinite(table.c_max.thresholds).sum()
    assert [len(cells) for _, cells in threshold_cells(table, [P_MAX])] == [2] * len(rows)
    assert threshold_cells(table, []) == []


def test_table_of_values_holds_nodes(table):
    rows = value_cells(table.c_max)
    assert rows[0] == ("2.30259", ["0.9000"])
    assert rows[-1][0] == "60"
    mu = np.array([float(row[0]) for row in rows])
    assert (np.diff(mu) > 0).all()
    assert 20 < len(rows) < 50
    assert all(np.abs(table.c_max.mu - each).min() < 1e-3 for each in mu)
    assert np.abs(mu - 10).min() < 0.15


@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda each: each.name)
@pytest.mark.parametrize(("cl", "last"), [(0.5, 400.0), (0.9, 60.0), (0.999999, 100.0)])
def test_nothing_is_cut_off_or_overlaps(make_table, clashes, statistic, cl, last):
    with drawing():
        assert clashes(draw_thresholds(make_table(cl, last), statistic)) == []
