"""How far a study is, counted by hand: 12 cells in 6 columns of 5 blocks, and 3 rows of exact values."""

from __future__ import annotations

import pytest

from covsvc import api
from covsvc.errors import StoreError
from covsvc.store.place import place_of
from covsvc.store.repository import create_repository

BLOCKS, ROWS, TOYS = 12 * 6 * 5, 3, 12 * 5000


def speed(store, name="small"):
    """Return the toys a second that the history tells, all of it being of this process and this minute."""
    spent = [each["commit"] for each in api.history(name, store)]
    return sum(each["toys"] for each in spent) / sum(each["wall_seconds"] for each in spent)


def test_a_part_of_the_blocks_is_done_and_nobody_works_on_the_rest(small_study, tmp_path):
    api.run(small_study(), tmp_path, part=(1, 5))
    told = api.progress_of(tmp_path, "small")
    assert (told["blocks"], told["blocks_done"], told["blocks_failed"]) == (BLOCKS, BLOCKS // 5, 0)
    assert told["toys"] == TOYS // 5
    assert told["fraction"] == pytest.approx((BLOCKS / 5 + ROWS) / (BLOCKS + ROWS))
    assert (told["complete"], told["driver"], told["seconds_left"]) == (False, "", None)
    assert told["toys_per_second"] == pytest.approx(speed(tmp_path))


def test_the_time_left_is_that_of_the_toys_left_where_somebody_works(small_study, tmp_path):
    api.run(small_study(), tmp_path, part=(1, 5))
    with place_of(tmp_path).lock("small"):
        told = api.progress_of(tmp_path, "small")
    assert told["driver"].startswith("pid ")
    assert told["seconds_left"] == pytest.approx(0.8 * TOYS / speed(tmp_path))


def test_what_is_committed_later_is_seen(small_study, tmp_path):
    api.run(small_study(), tmp_path, part=(1, 5))
    before = api.progress_of(tmp_path, "small")
    cube = api.run(small_study(), tmp_path)
    told = api.progress_of(str(tmp_path), "small")
    assert (told["complete"], told["fraction"], told["seconds_left"]) == (True, 1.0, 0.0)
    assert (told["blocks_done"], told["toys"]) == (BLOCKS, TOYS)
    assert told["snapshot"] == cube.attrs["snapshot"] != before["snapshot"]
    status = api.status(tmp_path, "small")
    assert {name: told[name] for name in told.keys() & status.keys()} == {
        name: status[name] for name in told.keys() & status.keys()
    }


def test_a_study_that_asks_for_more_is_not_complete_any_more(small_study, tmp_path):
    api.run(small_study(), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        api.run(small_study(n_toys=10_000), tmp_path, progress=interrupt, commit_seconds=0.0)
    told = api.progress_of(tmp_path, "small")
    assert told["blocks"] == 2 * BLOCKS
    assert BLOCKS <= told["blocks_done"] < 2 * BLOCKS
    assert told["fraction"] == pytest.approx((told["blocks_done"] + ROWS) / (2 * BLOCKS + ROWS))
    assert not told["complete"]


def interrupt(progress):
    if progress.toys:
        raise KeyboardInterrupt


def test_blocks_that_failed_are_not_missing_and_are_told(small_study, plugins, tmp_path):
    api.run(small_study(methods=["classical", "raising"]), tmp_path)
    told = api.progress_of(tmp_path, "small")
    assert told["complete"] == api.status(tmp_path, "small")["complete"]
    assert (told["blocks"], told["blocks_done"], told["blocks_failed"]) == (12 * 4 * 5, 12 * 2 * 5, 12 * 2 * 5)
    assert told["fraction"] == 1.0


def test_a_budget_is_complete_with_fewer_blocks_than_it_may_take(small_study, tmp_path):
    budget = {"min": 1000, "max": 16_000, "resolved": {"margin": 0.02, "error": 0.01}}
    study = small_study(experiment="spectrum", methods=["poisson"], cl=0.9, s_true=[1, 5], b=0, n_toys=budget)
    api.run(study, tmp_path)
    told = api.progress_of(tmp_path, "small")
    assert (told["complete"], told["fraction"], told["at_most"]) == (True, 1.0, True)
    assert told["toys"] == 1000 * told["blocks_done"] < 1000 * told["blocks"] == 2 * 16_000


@pytest.mark.parametrize("begun", [False, True])
def test_a_driver_that_has_not_committed_is_told_of(tmp_path, begun):
    place = place_of(tmp_path)
    with place.lock("small"):
        if begun:
            create_repository(place, "small")
        told = api.progress_of(tmp_path, "small")
    assert told["driver"].startswith("pid ")
    assert (told["fraction"], told["complete"], told["snapshot"], told["toys_per_second"]) == (0.0, False, "", None)
    if begun:
        with pytest.raises(StoreError, match="nothing is stored yet"):
            api.progress_of(tmp_path, "small")


def test_a_study_that_nobody_stores_is_refused(tmp_path):
    with pytest.raises(StoreError, match="none"):
        api.progress_of(tmp_path, "none")
