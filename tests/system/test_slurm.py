"""SLURM: driver and workers as jobs of two nodes, which are killed, queued again, cancelled and refused."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest
from agreement import assert_same
from crontab import slurm_jobs
from processes import BLOCKS, Bench, bench, told
from slurm import NODES, slurm
from slurm_driver import FOLDER, Driver

from covsvc.store.repository import open_cube

pytestmark = pytest.mark.system

CELLS = {"s_true": [2.5], "b": [0.25 * n for n in range(40)]}
"""As many blocks in smaller tasks: one is five blocks of a cell."""

FEWEST, MOST = 1, 2


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with slurm(tmp_path_factory.mktemp("slurm") / "s") as made:
        yield made


@pytest.fixture
def site(running):
    """Yield SLURM without jobs, and leave it so."""
    yield running
    running.cancel_all()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Return the cube of a run on this machine."""
    with bench(tmp_path_factory.mktemp("here"), seconds=0.0, **CELLS) as made:
        driver = made.run("--cluster", "none")
        assert driver.wait(60) == 0, told(driver)
        return open_cube(made.store, "faults").load()


def test_jobs_killed_and_a_driver_queued_again_in_mid_run_give_the_cube_of_one_machine(site, tmp_path, uninterrupted):
    made = Bench(tmp_path, seconds=0.1, **CELLS)
    driver = Driver(site, made, {"workers": {"minimum": FEWEST, "maximum": MOST}})
    driver.wait_for(lambda: set(driver.blocks()) == set(NODES))
    site.call("scancel", driver.workers()[0])
    driver.wait_for_blocks(60)
    driver.kill_worker(driver.workers()[-1])
    driver.wait_for_blocks(100)
    site.call("scontrol", "requeue", driver.id)
    assert driver.wait() == 0, driver.told
    assert "restart 1: covsvc run" in driver.told
    assert_same(open_cube(made.store, "faults"), uninterrupted)
    assert set(driver.seen.values()) == set(NODES)
    assert FEWEST < driver.most <= MOST
    driver.hold_no_worker_left()
    drawn = driver.blocks()
    sys.stdout.write(f"{drawn} on the nodes, {sum(drawn.values()) - BLOCKS} of {BLOCKS} blocks drawn again\n")


def test_a_driver_whose_time_is_over_queues_itself_again_and_a_cancelled_one_takes_its_workers_along(
    site, tmp_path, uninterrupted
):
    with bench(tmp_path, seconds=0.1, **CELLS) as made:
        driver = Driver(site, made, {}, ("--workers", "2"))
        driver.wait_for_blocks(20)
        site.call("scancel", "--batch", "--signal=USR1", driver.id)  # as SLURM does it
        driver.wait_for(lambda: "its time is over; queued again" in driver.told)
        driver.wait_for(lambda: len(driver.seen) == 4)  # its workers are there again
        site.call("scancel", driver.id)
        driver.wait()
        driver.hold_no_worker_left()
        assert driver.most == 2
        assert driver.told.count("covsvc run ended with 130") == 2
        made.environment["RECORDED_SECONDS"] = "0"
        here = made.run("--cluster", "none")
        assert here.wait(60) == 0, told(here)
        assert 0 < made.blocks < BLOCKS  # what the jobs have stored is not drawn here
        assert_same(open_cube(made.store, "faults"), uninterrupted)


def test_a_partition_that_is_none_ends_the_driver_at_once_with_what_slurm_says_of_it(site, tmp_path):
    begun = time.monotonic()
    driver = Driver(site, Bench(tmp_path), {"partition": "nowhere"})
    assert driver.wait(60) == 4, driver.told
    assert "slurm: no job is taken: sbatch: error: invalid partition specified: nowhere" in driver.told
    assert "queued again" not in driver.told
    assert time.monotonic() - begun < 60


def test_the_line_of_the_scrontab_submits_a_driver_which_waits_for_the_one_before(site, tmp_path):
    ((_, command),) = slurm_jobs((FOLDER / "scrontab").read_text())
    driver = Driver(site, Bench(tmp_path), {"partition": "nowhere"}, asked=("--hold",))
    home = site.environment | {"HOME": str(tmp_path)}
    (tmp_path / "coverage").mkdir()
    (tmp_path / "coverage" / "covsvc-run.sbatch").symlink_to(FOLDER / "covsvc-run.sbatch")
    number = re.search(r"Submitted batch job (\d+)", site.call("sh", "-c", command, env=home))[1]
    told = site.call("scontrol", "show", "job", number)
    assert "Dependency=singleton" in told
    assert f"{tmp_path}/coverage/covsvc-run.sbatch study.yaml --cluster slurm.yaml" in told
    site.call("scancel", number, driver.id)


def test_where_slurm_is_not_a_run_on_it_is_refused(covsvc, monkeypatch, tmp_path):
    (tmp_path / "study.yaml").write_text(
        "{name: none, experiment: counting, methods: [classical], cl: 0.9, s_true: [1], b: [0], n_toys: 10000, seed: 1}"
    )
    monkeypatch.setenv("PATH", str(Path(tmp_path, "empty")))
    code, _, err = covsvc("run", "study.yaml", "--cluster", "slurm")
    assert code == 2
    assert "slurm: sbatch is not found: this is no machine from which jobs are submitted" in err
