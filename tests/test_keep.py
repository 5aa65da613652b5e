"""Toys that are kept one by one: what they say, where they go, and what is never drawn again for them."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from datetime import timedelta
from itertools import permutations

import numpy as np
import pytest
import xarray as xr
from agreement import assert_same
from numpy.testing import assert_array_equal
from scipy import stats

from covsvc import api
from covsvc.contracts import Status
from covsvc.store import repository
from covsvc.store.consistency import check
from covsvc.store.repository import open_cube
from covsvc.study import rows
from covsvc.tally import DONE, FAILED, bin_by, covers_by, status_by

CELL = ("limit_method", "cl", "b", "s_true")
NOT_KEPT = -2


@pytest.fixture
def kept_study(small_study, plugins):
    """Return what makes a study of counts whose sample space is not told, and whose toys are kept."""

    def make(**changes):
        given = {"experiment": "drawn", "methods": ["classical", "garwood"], "n_toys": 3000, "keep": "toys"}
        return small_study(**given | changes)

    return make


def codes(cube):
    """Return the codes of a cube, shape (limit_method, cl, b, s_true, block, toy)."""
    held = cube["toy_bins"].transpose(*CELL, "toy").values
    assert held.dtype == np.int16
    return held.reshape(*held.shape[:-1], cube.sizes["block"], -1)


def assert_same_toys(cube, fresh):
    assert_same(cube, fresh)
    part = cube.sel({name: fresh[name].values for name in CELL}).isel(toy=slice(fresh.sizes["toy"]))
    assert_array_equal(part["toy_bins"].transpose(*fresh["toy_bins"].dims).values, fresh["toy_bins"].values)


def assert_whole(cube):
    """Check that blocks are done and kept, or neither, and that kept toys add up to what is counted."""
    done, held = cube["block_status"].transpose(*CELL, "block").values == DONE, codes(cube)
    assert_array_equal((held != NOT_KEPT).all(axis=-1), done)
    assert_array_equal((held != NOT_KEPT).any(axis=-1), done)
    counted = {"n_covered": covers_by(held)}
    for name in ("empty", "unbounded", "failed"):
        counted[f"n_{name}"] = status_by(held) == Status[name.upper()]
    for name, flags in counted.items():
        assert_array_equal(flags.sum(axis=(-1, -2)), cube[name].transpose(*CELL).values, err_msg=name)
    assert check(cube) == []


def test_the_code_of_a_toy_is_that_of_the_classical_limit_on_what_numpy_draws(kept_study, tmp_path):
    study = kept_study(methods="classical")
    cube = api.run(study, tmp_path)
    held = codes(cube)[0]
    for level, at, cell in np.ndindex(2, 3, 4):
        cl, b, s_true = study.cl[level], study.b[at], study.s_true[cell]
        drawn = [rng.poisson(s_true + b, 1000) for rng in study.source.blocks(s_true, b, 0, 3)]
        for n in np.unique(drawn):
            upper = stats.chi2.ppf(cl, 2 * (n + 1)) / 2 - b
            places = math.floor(math.log(max(upper, 1e-9) / 1e-3) / math.log(1.005)) + 2
            wanted = 2 * places + (s_true <= upper) if upper >= 0 else 2 * 4159  # above all of the 4159 bins
            assert (held[level, at, cell][np.array(drawn) == n] == wanted).all()
    assert_whole(cube)
    assert cube.attrs["schema"] == 2  # so that versions which would not keep it whole refuse it


def test_tasks_of_any_size_keep_the_same(kept_study, tmp_path):
    fresh = api.run(kept_study(), tmp_path / "fresh")
    for task_toys in (1, 2500, 1e9):
        assert_same_toys(api.run(kept_study(), tmp_path / f"{task_toys:g}", task_toys=task_toys), fresh)


@pytest.mark.system
def test_so_does_a_cluster(small_study, tmp_path):
    study = small_study(experiment="spectrum", methods=["max_gap", "p_max"], b=[0, 3], keep="toys")
    there = api.run(study, tmp_path / "cluster", "local", n_workers=2, task_toys=2000)
    assert_same_toys(there, api.run(study, tmp_path / "here"))
    assert_whole(there)


def test_limits_that_are_known_exactly_are_not_kept(small_study, tmp_path):
    cube = api.run(small_study(keep="toys"), tmp_path)
    assert "toy_bins" not in cube
    assert cube.attrs["schema"] == 1
    assert_same(cube, api.run(small_study(), tmp_path / "counts"))


def test_counts_do_not_depend_on_what_is_kept(kept_study, tmp_path):
    counted = api.run(kept_study(keep="counts"), tmp_path / "counts")
    assert "toy_bins" not in counted
    assert counted.attrs["schema"] == 1
    assert_same(api.run(kept_study(), tmp_path / "toys"), counted)


def test_growth_along_every_axis_equals_a_fresh_run(kept_study, tmp_path):
    changes: dict[str, object] = {"methods": ["garwood"], "cl": [0.95], "s_true": [6, 1], "b": [3], "n_toys": 2000}
    api.run(kept_study(**changes), tmp_path / "grown")
    for change in (
        {"s_true": [0, 1, 2.5, 6, 7]},
        {"methods": ["classical", "garwood"]},
        {"cl": [0.90, 0.95]},
        {"b": [0, 3, 5.5]},
        {"n_toys": 4000},
    ):
        changes |= change
        grown = api.run(kept_study(**changes), tmp_path / "grown", task_toys=3000)
        assert_whole(grown)
    assert_same_toys(grown, api.run(kept_study(**changes), tmp_path / "fresh"))


def test_a_study_that_keeps_toys_from_now_on_draws_none_again(kept_study, tmp_path):
    api.run(kept_study(keep="counts"), tmp_path)
    assert api.remainder(kept_study(), tmp_path).nothing
    assert "toy_bins" not in api.run(kept_study(), tmp_path)
    assert api.remainder(kept_study(n_toys=4000), tmp_path).toys == 12 * 1000
    cube = api.run(kept_study(n_toys=4000), tmp_path)
    held = codes(cube)
    assert (held[..., :3, :] == NOT_KEPT).all()
    assert (held[..., 3, :] != NOT_KEPT).all()
    assert check(cube) == []
    later = api.run(kept_study(n_toys=5000, keep="counts"), tmp_path)
    assert_array_equal(codes(later)[..., :4, :], held)
    assert (codes(later)[..., 4, :] == NOT_KEPT).all()
    assert check(later) == []


def test_replacing_a_method_replaces_its_toys_and_no_others(kept_study, tmp_path):
    before = api.run(kept_study(methods=["classical", {"name": "garwood", "label": "other"}]), tmp_path).load()
    study = kept_study(methods=["classical", {"name": "bayes_flat", "label": "other"}])
    after = api.run(study, tmp_path, replace=True)
    assert_whole(after)
    assert_same_toys(after, api.run(study, tmp_path / "fresh"))
    rose = codes(after) != codes(before)
    assert not rose[0].any()
    assert rose[1].any()


def test_a_replaced_method_of_a_study_that_keeps_none_has_no_toys_left(kept_study, tmp_path):
    api.run(kept_study(methods=["classical", {"name": "garwood", "label": "other"}]), tmp_path)
    study = kept_study(methods=["classical", {"name": "bayes_flat", "label": "other"}], keep="counts")
    held = codes(api.run(study, tmp_path, replace=True))
    assert (held[0] != NOT_KEPT).all()
    assert (held[1] == NOT_KEPT).all()


def test_other_toys_replace_all(kept_study, tmp_path):
    api.run(kept_study(), tmp_path)
    other = kept_study(toys_per_block=500, seed=4)
    replaced = api.run(other, tmp_path, replace=True)
    assert_whole(replaced)
    assert_same_toys(replaced, api.run(other, tmp_path / "fresh"))


def test_failed_blocks_keep_nothing_until_they_are_drawn_again(kept_study, tmp_path, monkeypatch):
    study = kept_study(experiment="broken", methods=["classical", "raising"], b=[3], cl=0.9)
    monkeypatch.setenv("STRANGE_SIGNAL", "2")
    first = api.run(study, tmp_path)
    assert (first["block_status"].sel(limit_method="raising") == FAILED).all()
    assert_whole(first)
    monkeypatch.delenv("STRANGE_SIGNAL")
    monkeypatch.setenv("STRANGE_SIGNAL", "9")
    again = api.run(study, tmp_path, retry_failed=True)
    assert_whole(again)
    assert (codes(again)[0] != NOT_KEPT).all()
    assert (codes(again)[1] == NOT_KEPT).all()


def test_what_is_held_in_memory_is_bounded(kept_study, tmp_path, monkeypatch):
    one_block = 2 * 2 * 2 * 1000  # bytes of two methods at two cl
    monkeypatch.setattr(repository, "MOST_HELD", 100 * one_block)
    held, commit = [], repository.Ledger.commit

    def watched(ledger):
        held.append(sum(part.nbytes for tile in ledger._tiles.values() for part in tile.arrays.values()))
        commit(ledger)

    monkeypatch.setattr(repository.Ledger, "commit", watched)
    study = kept_study(n_toys=100_000, b=[3])
    tasks = [task for row in rows(study, api.running.missing_in(None, study), 2e4) for task in row.tasks]
    assert {task.stop - task.start for task in tasks} == {16, 4}  # of 2e4 toys, and no chunk of the store cut in two
    assert_whole(api.run(study, tmp_path, task_toys=2e4, commit_seconds=1e9))
    assert sum(each > 100 * one_block for each in held) >= 2  # of 400 blocks
    assert max(held) < 150 * one_block


@pytest.mark.parametrize("name", ["kept.zarr", "kept.nc"])
def test_an_export_holds_the_toys_and_can_be_imported(kept_study, tmp_path, name):
    cube = api.run(kept_study(s_true=[6, 1, 0]), tmp_path / "store", task_toys=9000)
    api.export_cube(cube, tmp_path / name)
    with xr.open_dataset(tmp_path / name, engine="zarr" if name.endswith("zarr") else "h5netcdf") as exported:
        assert_array_equal(exported["toy_bins"].values, cube["toy_bins"].values)
        assert exported["toy_bins"].dtype == np.int16
    api.import_cube(tmp_path / name, tmp_path / "other")
    imported = open_cube(tmp_path / "other", "small")
    assert_same_toys(imported, cube)
    assert_whole(imported)
    assert imported.attrs["schema"] == 2


def test_parts_in_any_order_make_the_whole(kept_study, tmp_path):
    study = kept_study(n_toys=4000, s_true=[0, 2.5], b=[3])
    whole = api.run(study, tmp_path / "whole")
    stores = [tmp_path / str(part) for part in (1, 2, 3)]
    for number, store in enumerate(stores, 1):
        api.run(study, store, part=(number, 3))
    for number, order in enumerate(permutations(stores)):
        api.merge(tmp_path / f"merged{number}", "small", order)
        merged = open_cube(tmp_path / f"merged{number}", "small")
        assert_same_toys(merged, whole)
        assert_whole(merged)


def test_a_larger_grid_and_one_without_toys_are_merged(kept_study, tmp_path):
    api.run(kept_study(s_true=[0, 1], n_toys=2000, methods=["garwood"], keep="counts"), tmp_path / "counts")
    api.run(kept_study(s_true=[1, 2.5], n_toys=3000), tmp_path / "toys")
    for ours, theirs in (("counts", "toys"), ("toys", "counts")):
        api.merge(tmp_path / f"{ours} first", "small", [tmp_path / ours, tmp_path / theirs])
        cube = open_cube(tmp_path / f"{ours} first", "small")
        assert check(cube) == []
        held = codes(cube)
        done = cube["block_status"].transpose(*CELL, "block").values == DONE
        assert not (held[~done] != NOT_KEPT).any()
        assert (held[:, :, :, 1:] != NOT_KEPT)[done[:, :, :, 1:]].all()
        assert (held[:, :, :, 0] == NOT_KEPT).all()
        assert json.loads(cube.attrs["study"])["keep"] == "toys"
        assert cube.attrs["schema"] == 2
    api.merge(tmp_path / "counts", "small", [tmp_path / "toys"])
    into = open_cube(tmp_path / "counts", "small")
    assert_same_toys(into, cube)
    assert into.attrs["schema"] == 2


def test_gc_keeps_the_toys_of_what_it_keeps(kept_study, tmp_path):
    api.run(kept_study(n_toys=1000), tmp_path)
    cube = api.run(kept_study(), tmp_path).load()
    assert api.gc("small", tmp_path, older_than=timedelta(0), keep=1)["expired"]
    assert_same_toys(open_cube(tmp_path, "small"), cube)


@pytest.mark.parametrize(
    ("toys", "code", "told"),
    [
        (5, NOT_KEPT, "toy_bins hold a part of the toys of blocks (1 against 0)"),
        (5, 1, "toy_bins do not add up to limit_counts ("),
        (slice(0, 1000), -1, "toy_bins do not add up to n_failed (1,000 against 0)"),
        (5, 2 * 4159, "toy_bins do not add up to n_empty ("),
        (5, 2 * 4160 + 1, "toy_bins do not add up to n_unbounded (1 against 0)"),
    ],
)
def test_toys_that_do_not_add_up_are_found(kept_study, tmp_path, toys, code, told):
    cube = api.run(kept_study(), tmp_path).load()
    cube["toy_bins"] = cube["toy_bins"].copy()
    cube["toy_bins"][{"limit_method": 1, "cl": 0, "b": 1, "s_true": 2, "toy": toys}] = code
    assert any(each.startswith(f"garwood at 0.9, b = 3, s_true = 2.5: {told}") for each in check(cube)), check(cube)


def test_toys_of_blocks_that_are_not_done_are_found(kept_study, tmp_path):
    cube = api.run(kept_study(methods="classical", b=[0], s_true=[1], cl=0.9), tmp_path).load()
    cube["block_status"].values[...] = 0
    assert "toy_bins hold toys of blocks that are not done (3 against 0)" in " ".join(check(cube))


def test_what_the_cube_says_of_its_codes_is_what_they_mean(kept_study, tmp_path):
    told = api.run(kept_study(), tmp_path)["toy_bins"].attrs["long_name"]
    assert told == "2 x bin of the upper limit + 1 if it covers; 8318 empty, 8320 unbounded + 1, -1 failed, -2 not kept"
    meant = np.array([8318, 8320, 8321, -1, -2, 7, 6], np.int16)
    assert status_by(meant).tolist() == [Status.EMPTY, Status.UNBOUNDED, Status.UNBOUNDED, Status.FAILED, -1, 0, 0]
    assert covers_by(meant).tolist() == [False, False, True, False, False, True, False]
    assert bin_by(meant).tolist() == [0, 4158, 4158, -1, -1, 3, 3]


def test_a_plan_says_what_toys_take_on_disk(kept_study, small_study, tmp_path):
    study = kept_study(toys_per_block=10_000, n_toys=50_000)
    told = api.plan(study, tmp_path)
    assert api.plan(small_study(keep="toys"), tmp_path)["kept_mb"] == 0  # they are known exactly
    assert told["memory_mb"]["worker"] > api.plan(kept_study(keep="counts"), tmp_path)["memory_mb"]["worker"]
    api.run(study, tmp_path)
    files = (path for path in (tmp_path / "small").rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in files) / 1e6
    assert told["kept_mb"] == pytest.approx(4 * 12 * 50_000 / 1e6)
    assert 0.2 * told["kept_mb"] < size < 1.2 * told["kept_mb"]


def test_the_command_line_says_so(covsvc, kept_study, tmp_path):
    study = kept_study()
    (tmp_path / "study.yaml").write_text(json.dumps(study.model_dump(mode="json")))
    code, told, _ = covsvc("plan", "study.yaml")
    assert code == 0
    assert "on disk:          about 0.1 MB for all toys, which are kept one by one" in told
    (tmp_path / "study.yaml").write_text(json.dumps(kept_study(keep="counts").model_dump(mode="json")))
    assert "on disk" not in covsvc("plan", "study.yaml")[1]


DRIVER = """
import sys
from covsvc import api
study = api.load_study(sys.argv[1])
options = {"task_toys": 2e4, "commit_seconds": 0.0}
api.run(study, sys.argv[2], progress=lambda at: print(at.toys, flush=True), **options)
"""


@pytest.mark.system
def test_kill_9_leaves_the_toys_of_exactly_the_blocks_that_are_done(small_study, tmp_path):
    study = small_study(experiment="spectrum", methods=["max_gap", "poisson"], b=[3], n_toys=60_000, keep="toys")
    (tmp_path / "study.yaml").write_text(json.dumps(study.model_dump(mode="json")))
    (tmp_path / "driver.py").write_text(DRIVER)
    command = [sys.executable, str(tmp_path / "driver.py"), str(tmp_path / "study.yaml"), str(tmp_path / "store")]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    with driver.stdout:
        try:
            while int(driver.stdout.readline()) < 80_000:  # of 240,000
                pass
        finally:
            os.kill(driver.pid, signal.SIGKILL)
            driver.wait()
    stopped = open_cube(tmp_path / "store", "small")
    assert 0 < (stopped["block_status"] == DONE).sum() < stopped["block_status"].size
    assert_whole(stopped)
    resumed = api.run(study, tmp_path / "store")
    assert_whole(resumed)
    assert_same_toys(resumed, api.run(study, tmp_path / "fresh"))
