"""What must add up in a cube, and what is said where it does not."""

from __future__ import annotations

import json

import pytest

from covsvc import api
from covsvc.store.consistency import check
from covsvc.tally import FAILED

AT = {"limit_method": 1, "cl": 0, "b": 1, "s_true": 2}
WHERE = "bayes_flat at 0.9, b = 3, s_true = 2.5: "


@pytest.fixture
def cube(small_study, tmp_path):
    return api.run(small_study(), tmp_path).load()


def test_a_cube_that_a_driver_wrote_adds_up(cube):
    assert check(cube) == []


def test_so_does_a_cube_with_failed_blocks_and_failed_limits(small_study, tmp_path, plugins):
    cube = api.run(small_study(methods=["classical", "raising"], experiment="broken"), tmp_path)
    assert (cube["block_status"] == FAILED).any()
    assert check(cube) == []


def test_so_does_one_that_is_half_done(small_study, tmp_path):
    api.run(small_study(n_toys=2000, b=[0]), tmp_path)
    grown = api.run(small_study(b=[3]), tmp_path)
    assert (grown["block_status"] == 0).any()
    assert check(grown) == []


@pytest.mark.parametrize(
    ("variable", "change", "told"),
    [
        ("n_toys", -1, "n_toys is not toys_per_block x blocks done (4,999 against 5,000)"),
        ("n_failed", 1, "limit_counts do not add up to n_toys - n_failed (5,000 against 4,999)"),
        ("n_unbounded", 2, "the last of limit_counts is not n_unbounded (0 against 2)"),
        ("n_covered", 5001, "n_covered is larger than n_upper_covered ("),
        ("n_upper_covered", 5001, "n_upper_covered is larger than n_toys - n_empty - n_failed ("),
        ("n_empty", -1, "n_empty is negative (-1 against 0)"),
        ("exact_coverage", 1.0, "exact_coverage is no probability ("),
    ],
)
def test_a_count_that_is_off_by_a_little_is_found_where_it_is(cube, variable, change, told):
    cube[variable][AT] += change
    assert any(each.startswith(WHERE + told) for each in check(cube)), check(cube)


def test_a_bin_that_lost_a_limit_and_one_that_gained_one_are_found(cube):
    cube["limit_counts"][{**AT, "limit_bin": 0}] -= 1
    cube["limit_counts"][{**AT, "limit_bin": -1}] += 1
    assert [each.removeprefix(WHERE) for each in check(cube)] == [
        "the last of limit_counts is not n_unbounded (1 against 0)",
        "limit_counts are negative (-1 against 0)",
    ]


def test_blocks_that_are_half_recorded_are_found(cube):
    cube["block_status"][{**AT, "block": 3}] = FAILED
    assert [each.removeprefix(WHERE) for each in check(cube)] == [
        "n_toys is not toys_per_block x blocks done (5,000 against 4,000)",
        "blocks that are not done have a digest (1 against 0)",
        "failed blocks have no reason (1 against 0)",
    ]
    cube["block_status"][{**AT, "block": 3}] = 7
    assert WHERE + "block_status is neither missing, done nor failed (1 against 0)" in check(cube)


def test_a_failed_block_with_its_reason_is_well(cube):
    place = {name: cube[name].values.tolist()[index] for name, index in AT.items()}
    for name in ("n_toys", "n_covered", "n_upper_covered", "n_empty", "n_unbounded", "limit_counts"):
        cube[name][AT] = 0
    cube["block_status"][AT] = FAILED
    cube["limit_digest"][AT] = 0
    assert [each.partition(": ")[2] for each in check(cube)] == ["failed blocks have no reason (5 against 0)"]
    cube.attrs["failures"] = json.dumps([{**place, "start": 0, "stop": 5, "reason": "crash"}])
    assert check(cube) == []


def test_one_sentence_tells_of_a_rule_however_many_cells_break_it(cube):
    cube["n_toys"][{"limit_method": 0}] += 1
    told = [each for each in check(cube) if "toys_per_block" in each]
    assert told == [
        "classical at 0.9, b = 0, s_true = 0: n_toys is not toys_per_block x blocks done (5,001 against 5,000); "
        "24 cells in all"
    ]


def test_what_is_no_cube_or_has_a_doubtful_axis_is_said(cube):
    assert check(cube.drop_vars("block_status")) == ["no cube of covsvc: block_status missing"]
    twice = cube.assign_coords(s_true=[0, 1, 1, 6])
    assert check(twice) == ["s_true: a value stands twice"]
    assert check(cube.assign_coords(b=[0, 1, float("nan")])) == ["b: a value is not finite"]
