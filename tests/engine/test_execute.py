"""Execution: the same bits whoever does the work, in whatever order and portions."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from agreement import assert_same
from numpy.testing import assert_array_equal

from covsvc import api
from covsvc.engine.clusters import connect
from covsvc.engine.execute import execute
from covsvc.store.repository import open_cube, open_ledger
from covsvc.study import rows, tile_size
from covsvc.tally import Tally

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def two_workers():
    with connect("local", 2) as client:
        yield client


def run_reversed(study, store, task_toys):
    """Carry the tasks of a study out in reversed order, without a cluster."""
    with open_ledger(store, study, s_tile=tile_size(study, task_toys)) as ledger:
        ledger.trust_engine()
        todo = list(rows(study, ledger.missing, task_toys))[::-1]
        learnt = list(execute([type(row)(**{**vars(row), "tasks": row.tasks[::-1]}) for row in todo]))
        for each in learnt[::-1]:
            ledger.add(each) if isinstance(each, Tally) else ledger.add_exact(each)
    return open_cube(store, study.name)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    from covsvc.study import study_of

    study = study_of(
        {
            "name": "bits",
            "experiment": "counting",
            "methods": ["classical", "bayes_reciprocal", "garwood", "feldman_cousins", "crow_gardner"],
            "cl": [0.90, 0.95],
            "s_true": {"start": 0, "stop": 9, "num": 7},
            "b": [0, 3, 5.5],
            "toys_per_block": 500,
            "n_toys": 100_000,  # 200 blocks: two chunks
            "seed": 1999,
        }
    )
    return study, api.run(study, tmp_path_factory.mktemp("reference"))


def test_the_same_bits_on_two_workers(reference, two_workers, tmp_path):
    study, cube = reference
    assert_same(api.run(study, tmp_path, two_workers, task_toys=1e5), cube)


def test_the_same_bits_on_one_worker(reference, tmp_path):
    study, cube = reference
    assert_same(api.run(study, tmp_path, "local", n_workers=1, task_toys=3e5), cube)


def test_workers_that_get_nothing_to_do_are_told_of(two_workers, small_study, tmp_path):
    study = small_study(experiment="spectrum", methods="max_gap", s_true=[1, 2], b=0, n_toys=10_000_000)

    def tell(said):
        told.append(said)
        if "workers" in said:  # it would take its time
            raise KeyboardInterrupt

    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        api.run(study.model_copy(update={"toys_per_block": 100_000}), tmp_path, two_workers, tell=tell, task_seconds=60)
    assert "1 tasks for 2 workers: 1 of them have nothing to do" in told[-1]


@pytest.mark.parametrize("task_toys", [1, 1e9])
def test_the_same_bits_in_reversed_order_and_other_portions(reference, tmp_path, task_toys):
    study, cube = reference
    assert_same(run_reversed(study, tmp_path, task_toys), cube)


def test_more_toys_leave_the_first_unchanged(reference, two_workers, tmp_path):
    study, cube = reference
    half = study.model_copy(update={"n_toys": study.n_toys // 2})
    before = api.run(half, tmp_path, task_toys=1e5).load()
    assert_array_equal(before["limit_digest"], cube["limit_digest"].isel(block=slice(100)))
    assert_same(api.run(study, tmp_path, two_workers), cube)


def test_a_killed_worker_costs_nothing(reference, tmp_path):
    study, cube = reference
    with connect("local", 2) as client:
        pids = list(client.run(os.getpid).values())
        killed = []

        def kill(progress):
            if progress.toys and not killed:
                killed.append(pids[0])
                os.kill(pids[0], signal.SIGKILL)

        assert_same(api.run(study, tmp_path, client, task_toys=1e5, progress=kill), cube)
    assert killed


def test_blocks_of_an_experiment_that_raises_are_recorded_as_failed(small_study, plugins, tmp_path):
    study = small_study(experiment="broken", methods="classical", cl=0.9)
    cube = api.run(study, tmp_path)
    failed = cube["block_status"].values == 2
    assert failed[..., 1:, :].all()
    assert not failed[..., 0, :].any()
    assert "RuntimeError: the source is empty" in cube.attrs["failures"]
    maps = api.summarize(cube)
    assert_array_equal(maps["n_toys"], 5000)
    assert_array_equal(maps["p_failed"].sel(s_true=[1, 2.5, 6]), 1.0)
    assert np.isnan(maps["exact_coverage"]).all()


def test_a_scheduler_that_does_not_answer_is_a_cluster_error(small_study, tmp_path):
    from covsvc.errors import ClusterError

    with pytest.raises(ClusterError, match="no scheduler answers there"):
        api.run(small_study(), tmp_path, "tcp://127.0.0.1:9")
