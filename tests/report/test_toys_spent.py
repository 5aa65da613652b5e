"""The map of toys spent: what it says, in the picture, the tables and the page."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from covsvc.budget import NO_TOYS, OK, UNDECIDED, UNDER
from covsvc.report import write_page
from covsvc.report.picture import drawing
from covsvc.report.toys_spent import (
    column_cells,
    describe_marks,
    draw_spent,
    look_cells,
    spent_cells,
    spent_of,
    spent_sentences,
)

LOOKS = [10_000, 20_000, 40_000, 80_000, 100_000]
KINDS = {"classical": "upper", "too low": "low"}


@pytest.fixture
def maps(make_maps):
    """Return maps without exact values in which each cell has the toys of a look: more where s_true is larger."""
    maps = make_maps(KINDS, cl=(0.9,), b=(0.0, 3.0), s_true=(0.0, 1.0, 2.0, 5.0, 9.0), exact=False)
    maps["n_toys"] = xr.zeros_like(maps["n_toys"]) + xr.DataArray(LOOKS, dims="s_true")
    states = np.full(maps["n_toys"].shape, OK, np.int8)
    states[1] = UNDER
    states[0, 0, 0, 4] = UNDECIDED
    maps["resolved"] = maps["n_toys"].dims, states
    rule = {"looks": LOOKS, "margin": 0.005, "error": 0.01, "tests": 20}
    return maps.assign_attrs(adaptive=json.dumps(rule))


def test_of_a_fixed_number_of_toys_there_is_nothing_to_show(make_maps):
    assert spent_of(make_maps(KINDS, b=(0.0,))) is None


def test_it_tells_what_was_spent_and_what_was_saved(maps):
    first, second, third = spent_sentences(spent_of(maps))
    # two rows of 250,000 toys; 100,000 in each of ten cells would have been a million
    assert first == (
        "500,000 toys were drawn in 10 cells, 50 % of the 1,000,000 that 100,000 in every cell would have been: "
        "50 % were saved."
    )
    assert second == "Of 20 tests (a cell in a column) 9 are above cl − 0.005, 10 below cl, 1 undecided."
    assert "0.01 / (5 looks × 20 tests)" in third
    assert "biased" in third


def test_the_tables_hold_what_the_map_shows(maps):
    spent = spent_of(maps)
    assert spent_cells(spent)[0] == ("0", ["10,000*", "10,000*"])
    assert spent_cells(spent)[4] == ("9", ["100,000*?", "100,000*"])
    assert look_cells(spent)[0] == ("10,000", ["2", "2", "0"])
    assert look_cells(spent)[-1] == ("100,000", ["2", "2", "1"])
    assert list(column_cells(spent)) == [("classical", 0.9, ["9", "0", "1"]), ("too low", 0.9, ["0", "10", "0"])]
    assert describe_marks(spent) == (
        "Outlined and hatched: 10 of 10 cells, a column below cl. White cross: 1, a column undecided."
    )


def test_cells_without_toys_are_told(maps):
    maps["n_toys"][:, :, 0, 0] = 0
    maps["resolved"][:, :, 0, 0] = NO_TOYS
    spent = spent_of(maps)
    assert spent_sentences(spent)[1].endswith("1 undecided, and 2 have no toys yet.")
    assert spent_cells(spent)[0] == ("0", ["–", "10,000*"])


@pytest.mark.parametrize("rows", [1, 2, 9])
@pytest.mark.parametrize("looks", [[10_000], [10_000, 15_000], LOOKS, [10**4 * 2**k for k in range(12)]])
def test_no_text_of_the_map_is_lost(make_maps, clashes, rows, looks):
    maps = make_maps(KINDS, cl=(0.9,), b=tuple(range(rows)), s_true=(0.0, 3.0), exact=False)
    maps["n_toys"] = xr.full_like(maps["n_toys"], looks[-1])
    maps["resolved"] = xr.full_like(maps["n_toys"], UNDER)
    rule = {"looks": looks, "margin": 0.005, "error": 0.01, "tests": 4 * rows}
    maps.attrs["adaptive"] = json.dumps(rule)
    with drawing():
        figure = draw_spent(spent_of(maps))
        assert clashes(figure) == []
    names = [tick.get_text() for tick in figure.axes[1].get_yticklabels()]
    assert names[0] == f"{looks[-1]:,}"
    assert len(looks) == 1 or f"{looks[0]:,}" in names


def test_the_page_shows_it_and_says_that_the_intervals_are_those_of_the_budget(maps, make_maps, make_verdict, tmp_path):
    page = write_page(maps, make_verdict(maps), tmp_path / "adaptive").read_text()
    assert '<h2 id="toys-spent">Toys spent</h2>' in page
    assert "500,000 toys were drawn in 10 cells" in page
    assert "100,000*?" in page
    assert "with interval of the budget" in page
    assert "Clopper-Pearson interval" not in page
    assert "Benjamini" not in page
    assert (tmp_path / "adaptive" / "figures" / "toys-spent.svg").is_file()
    fixed = make_maps(KINDS, cl=(0.9,), b=(0.0,), exact=False)
    page = write_page(fixed, make_verdict(fixed), tmp_path / "fixed").read_text()
    assert "toys-spent.svg" not in page
    assert "10,000 in each" in page
    assert "95 % Clopper-Pearson interval" in page
