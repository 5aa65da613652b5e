"""The ledger: resumed, grown, replaced, refused, and never counted twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from agreement import assert_same
from numpy.testing import assert_array_equal

from covsvc import api
from covsvc.errors import StoreError
from covsvc.store.repository import open_cube, open_ledger, stored_studies


def test_a_finished_study_run_again_computes_and_commits_nothing(small_study, tmp_path):
    study = small_study()
    first = api.run(study, tmp_path)
    seen = []
    again = api.run(study, tmp_path, progress=seen.append)
    assert again.attrs["snapshot"] == first.attrs["snapshot"]
    assert not seen
    assert api.remainder(study, tmp_path).nothing
    assert stored_studies(tmp_path) == ["small"]


def test_each_step_of_growth_computes_only_what_it_adds_and_equals_a_fresh_run(small_study, tmp_path):
    steps = [
        ({}, None),
        ({"cl": [0.90, 0.92, 0.95]}, 12 * 5000),  # a new column draws the toys of every cell again
        ({"s_true": [0, 0.5, 1, 2.5, 6, 7]}, 2 * 3 * 5000),
        ({"b": [0, 1.5, 3, 5.5]}, 6 * 5000),
        ({"methods": ["garwood", "classical", "bayes_flat", "feldman_cousins"]}, 24 * 5000),
        ({"n_toys": 8000}, 24 * 3000),
    ]
    changes: dict[str, object] = {}
    for number, (change, toys) in enumerate(steps):
        changes |= change
        study = small_study(**changes)
        assert toys is None or api.remainder(study, tmp_path / "grown").toys == toys
        grown = api.run(study, tmp_path / "grown", task_toys=[1e9, 1e4][number % 2])
        assert_same(grown, api.run(study, tmp_path / f"fresh{number}"))


def test_a_smaller_study_keeps_what_a_larger_one_stored(small_study, tmp_path):
    api.run(small_study(), tmp_path)
    kept = api.run(small_study(methods="classical", b=[3], n_toys=2000), tmp_path)
    assert kept.sizes["limit_method"] == 3
    assert (kept["n_toys"] == 5000).all()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 2000}, "seed is 1999 there and 2000 here"),
        ({"toys_per_block": 500}, "toys_per_block is 1000 there and 500 here"),
        ({"experiment": {"name": "counting", "options": {"assumed_over_true": 1.1}}}, "experiment is"),
    ],
)
def test_other_toys_are_refused_with_the_cure_and_lose_nothing(small_study, tmp_path, changes, told):
    before = api.run(small_study(), tmp_path)
    with pytest.raises(StoreError, match=told) as refused:
        api.run(small_study(**changes), tmp_path)
    assert "--replace" in str(refused.value)
    assert open_cube(tmp_path, "small").attrs["snapshot"] == before.attrs["snapshot"]
    replaced = api.run(small_study(**changes), tmp_path, replace=True)
    assert_same(replaced, api.run(small_study(**changes), tmp_path / "fresh"))
    assert_same(open_cube(tmp_path, "small", before.attrs["snapshot"]), before)


def test_a_method_of_other_options_under_the_same_label_is_refused(small_study, tmp_path):
    api.run(small_study(), tmp_path)
    other = {"name": "feldman_cousins", "label": "feldman_cousins", "options": {"monotone_in_b": True}}
    study = small_study(methods=["classical", other])
    with pytest.raises(StoreError, match="options or the tables of feldman_cousins differ from those which made"):
        api.run(study, tmp_path)
    api.run(study, tmp_path, replace=True)
    fresh = api.run(study, tmp_path / "fresh")
    assert_same(open_cube(tmp_path, "small"), fresh)


def test_a_method_whose_table_changed_is_refused_and_another_cl_is_added(small_study, tmp_path, monkeypatch):
    from dataclasses import replace

    from covsvc.interval_tables import interval_table, write_table

    table, folder = interval_table(0.9), tmp_path / "tables"
    monkeypatch.setenv("COVSVC_TABLES", str(folder))
    write_table(replace(table, cl=0.91), folder)
    given = {"experiment": "spectrum", "methods": ["optimum_interval", "max_gap"], "b": [0.0], "cl": [0.90]}
    before = api.run(small_study(**given), tmp_path)
    both = api.run(small_study(**given | {"cl": [0.90, 0.91]}), tmp_path)
    assert_same(both.sel(cl=[0.90]), before)
    told = json.loads(both.attrs["methods"])
    assert set(told["optimum_interval"]["tables"]) == {"0.9", "0.91"}
    assert told["optimum_interval"]["tables"]["0.9"]["error"] == pytest.approx(table.c_max.error.max())
    assert told["max_gap"]["tables"] == {}
    write_table(replace(table, cl=0.91, made_by=table.made_by | {"seed": 1}), folder)
    with pytest.raises(StoreError, match="tables of optimum_interval differ from those which made"):
        api.run(small_study(**given | {"cl": [0.91]}), tmp_path)
    api.run(small_study(**given), tmp_path)


def test_a_method_whose_code_changed_is_refused(small_study, tmp_path, plugins, monkeypatch):
    from covsvc import fingerprint

    study = small_study(methods=["too_low", "classical"])
    api.run(study, tmp_path)
    code = plugins / "strange_plugins.py"
    told = code.read_text()

    def rewrite(text):
        import linecache

        code.write_text(text)
        linecache.clearcache()
        for cached in (fingerprint._imports_of, fingerprint._bare_source):
            cached.cache_clear()

    rewrite(told.replace('"""Promise what an upper limit at n - b cannot keep."""', '"""Say so."""  # a comment'))
    assert api.run(study, tmp_path).attrs["snapshot"] == open_cube(tmp_path, "small").attrs["snapshot"]
    rewrite(told.replace("observed.n - observed.b, 0.0", "observed.n - observed.b + 1, 0.0"))
    with pytest.raises(StoreError, match="the code, the options or the tables of too_low differ"):
        api.run(study, tmp_path)


def test_another_engine_is_trusted_only_if_a_stored_block_comes_out_the_same(small_study, tmp_path):
    study = small_study()
    api.run(study, tmp_path)

    def spoil(digest):
        with open_ledger(tmp_path, study) as ledger:
            ledger._trusted = True  # as a driver does after its comparison
            ledger._root.attrs["environment"] = {"numpy": "0.0"}
            if digest:
                ledger._array("limit_digest")[0, 0] = 1

    spoil(digest=False)
    again = api.run(study, tmp_path)
    assert json.loads(again.attrs["environment"])["numpy"] == np.__version__
    spoil(digest=True)
    with pytest.raises(StoreError, match="other limits than the stored ones, for classical;"):
        api.run(study, tmp_path)
    assert json.loads(open_cube(tmp_path, "small").attrs["environment"]) == {"numpy": "0.0"}
    assert_same(api.run(study, tmp_path, replace=True), api.run(study, tmp_path / "fresh"))


def test_a_second_driver_is_refused_with_the_first_ones_name(small_study, tmp_path):
    with (
        open_ledger(tmp_path, small_study()),
        pytest.raises(StoreError, match=rf"another driver has this study: pid {os.getpid()} on .+ since 20"),
        open_ledger(tmp_path, small_study()),
    ):
        pass
    with open_ledger(tmp_path, small_study()):
        assert "pid" in api.driver_of(tmp_path, "small")
    assert api.driver_of(tmp_path, "small") == ""


def test_drivers_of_two_studies_share_nothing(small_study, tmp_path):
    with open_ledger(tmp_path, small_study()):
        api.run(small_study(name="other"), tmp_path)
    assert stored_studies(tmp_path) == ["other", "small"]


def test_what_is_no_store_is_refused(small_study, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "store" / "small").mkdir(parents=True)
    (tmp_path / "store" / "small" / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="file: "):
        api.run(small_study(), tmp_path / "file")
    with pytest.raises(StoreError, match="is not a store of covsvc"):
        api.run(small_study(), tmp_path / "store")
    with pytest.raises(StoreError, match="no such study in the store; stored are: none"):
        open_cube(tmp_path / "store", "small")
    api.run(small_study(), tmp_path / "good")
    with pytest.raises(StoreError, match="no snapshot 'x'"):
        open_cube(tmp_path / "good", "small", "x")


def test_an_icechunk_repository_of_others_and_a_newer_schema_are_refused(small_study, tmp_path):
    import icechunk
    import zarr

    (tmp_path / "small").mkdir()
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "small")))
    for attributes, told in (({"title": "others"}, "no cube of covsvc"), ({"schema": 99}, "schema 99, but this")):
        session = repository.writable_session("main")
        zarr.open_group(session.store, mode="a").attrs.put(attributes)
        session.commit("x")
        with pytest.raises(StoreError, match=told):
            api.run(small_study(), tmp_path)
        with pytest.raises(StoreError, match=told):
            open_cube(tmp_path, "small")


def test_failed_blocks_are_drawn_again_when_asked(small_study, tmp_path, plugins, monkeypatch):
    study = small_study(experiment="broken", methods="classical", cl=0.9)
    api.run(study, tmp_path)
    assert api.remainder(study, tmp_path).nothing
    seen = []
    api.run(study, tmp_path, retry_failed=True, progress=seen.append)
    assert seen[-1].all_toys == 9 * 5000
    told = api.status(tmp_path, "small")
    assert (told["blocks_failed"], told["blocks_done"]) == (9 * 5, 3 * 5)
    assert [(each["reason"], each["cells"]) for each in told["failures"]] == [("RuntimeError: the source is empty", 9)]
    monkeypatch.setenv("STRANGE_SIGNAL", "5")
    cube = api.run(study, tmp_path, retry_failed=True)
    assert (cube["block_status"].sel(s_true=6) == 2).all()
    assert (cube["n_toys"].sel(s_true=[0, 1, 2.5]) == 5000).all()
    assert api.status(tmp_path, "small")["failures"][0]["cells"] == 3


def test_what_a_smaller_study_leaves_out_is_still_what_the_larger_one_found(small_study, tmp_path):
    wrong = {"name": "counting", "options": {"assumed_over_true": 1.3}}
    wide = small_study(experiment=wrong, methods="feldman_cousins", cl=0.9, b=[3], s_true=[0, 2, 12])
    first = api.run(wide, tmp_path)["worst_coverage"].load()
    narrow = small_study(experiment=wrong, methods="feldman_cousins", cl=0.9, b=[3], s_true=[0, 0.1])
    after = api.run(narrow, tmp_path)
    assert_array_equal(after["worst_coverage"], first)
    assert after["worst_s_max"].item() == 12


def test_a_verdict_is_on_what_the_study_asks_for_and_status_too(small_study, tmp_path):
    wrong = {"name": "counting", "options": {"assumed_over_true": 1.5}}
    both = api.run(small_study(experiment=wrong, methods=["classical", "poisson"]), tmp_path)
    assert api.judge(api.maps_of(both)).outcome == "failed"
    one = api.run(small_study(experiment=wrong, methods=["poisson"], s_true=[1], b=[3]), tmp_path)
    assert one.sizes["limit_method"] == 2
    assert api.judge(api.maps_of(one)).outcome == "passed"
    told = api.status(tmp_path, "small")
    assert (told["blocks_done"], told["blocks"]) == (10, 10)


def test_a_grid_that_begins_far_from_zero_is_judged_on_its_own_range(small_study, tmp_path):
    cube = api.run(small_study(methods=["classical", "cls"], s_true=[36, 46], b=[0]), tmp_path)
    maps = api.maps_of(cube)
    assert (maps["worst_s_true"] >= 36).all()
    assert (maps["worst_coverage"] >= maps["cl"] - 1e-9).all()
    assert api.judge(maps).outcome == "passed"
    assert api.draw_curves(small_study(methods=["classical"], s_true=[36, 46], b=[0])) is not None


def test_a_repository_without_a_first_commit_is_gone_on_with(small_study, tmp_path):
    import icechunk

    (tmp_path / "small").mkdir()
    icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "small")))
    with pytest.raises(StoreError, match="nothing is stored yet"):
        open_cube(tmp_path, "small")
    assert_same(api.run(small_study(), tmp_path), api.run(small_study(), tmp_path / "fresh"))


def test_a_run_that_finds_no_cluster_has_a_store_to_look_at(small_study, tmp_path):
    from covsvc.errors import ClusterError

    with pytest.raises(ClusterError, match="no Dask client"):
        api.run(small_study(), tmp_path, cluster=3)
    assert api.judge(api.maps_of(open_cube(tmp_path, "small"))).outcome == "undecided"


def test_columns_that_the_study_does_not_have_are_compared_too(small_study, tmp_path):
    api.run(small_study(), tmp_path)
    with open_ledger(tmp_path, small_study()) as ledger:
        ledger._trusted = True
        ledger._root.attrs["engine"] = "older"
        ledger._array("limit_digest")[:] = 1
    with pytest.raises(
        StoreError, match="other limits than the stored ones, for classical, bayes_flat, feldman_cousins"
    ):
        api.run(small_study(methods="garwood"), tmp_path)


def test_options_are_the_same_however_they_are_spelled(small_study, tmp_path):
    spelled = [
        {"name": "bayes_jeffreys", "options": {"prior_exponent": 1}},
        {"name": "bayes_jeffreys", "options": {"prior_exponent": 1.0}},
    ]
    first, second = (small_study(methods=[each]) for each in spelled)
    assert first == second
    default = {"name": "counting", "options": {"assumed_over_true": 1}}
    assert small_study(experiment=default) == small_study()


def test_what_run_would_refuse_or_replace_is_what_the_remainder_says(small_study, tmp_path):
    api.run(small_study(), tmp_path)
    other = small_study(seed=4)
    with pytest.raises(StoreError, match="seed is 1999 there and 4 here"):
        api.remainder(other, tmp_path)
    assert api.remainder(other, tmp_path, replace=True).toys == 12 * 5000


DRIVER = """
import sys
from covsvc import api
if __name__ == "__main__":
    study = api.load_study(sys.argv[1])
    options = {"n_workers": 2, "task_toys": 1e6, "commit_seconds": 0.0}
    api.run(study, sys.argv[2], "local", progress=lambda at: print(at.toys, flush=True), **options)
"""


@pytest.mark.system
def test_kill_9_of_the_driver_loses_and_repeats_no_committed_block(small_study, tmp_path):
    changes = {"name": "killed", "toys_per_block": 10_000, "n_toys": 1_000_000, "methods": ["classical", "garwood"]}
    study = small_study(**changes)
    (tmp_path / "study.yaml").write_text(json.dumps({"experiment": "counting", **study.model_dump(mode="json")}))
    (tmp_path / "driver.py").write_text(DRIVER)
    command = [sys.executable, str(tmp_path / "driver.py"), str(tmp_path / "study.yaml"), str(tmp_path / "store")]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert driver.stdout is not None
        drawn = 0
        while drawn < 4_000_000:  # of 12 million
            drawn = int(driver.stdout.readline())
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        driver.stdout.close()
    left = api.remainder(study, tmp_path / "store")
    assert 0 < left.toys <= 12_000_000 - drawn
    resumed = api.run(study, tmp_path / "store")
    assert_same(resumed, api.run(study, tmp_path / "fresh"))
    deadline = time.monotonic() + 30
    while _alive(driver.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _alive(driver.pid), "workers outlived their driver"


def _alive(group):
    """Return the processes of a session that are left."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.Error):
            continue
    return found
