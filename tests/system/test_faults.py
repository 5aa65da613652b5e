"""Faults: what is killed, full, frozen or taken ends in a sentence, and then in the cube of the uninterrupted run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from agreement import assert_same
from processes import BLOCKS, SILENCE, bench, end, kill_members, told, workers_of

from covsvc.store.repository import driver_of, open_cube

pytestmark = pytest.mark.system

GOES_ON = "the same command goes on from there"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Return the cube of a run that nothing happened to."""
    with bench(tmp_path_factory.mktemp("uninterrupted"), seconds=0.0) as made:
        driver = made.run("--cluster", "none")
        assert driver.wait(60) == 0, told(driver)
        assert made.blocks == BLOCKS
        return open_cube(made.store, "faults").load()


@pytest.fixture
def at_work(tmp_path):
    with bench(tmp_path) as made:
        yield made


def hold_whole(made, uninterrupted):
    """Hold that the cube is that of the uninterrupted run; say how many blocks were drawn twice."""
    assert_same(open_cube(made.store, "faults"), uninterrupted)
    sys.stdout.write(f"{made.blocks - BLOCKS} of {BLOCKS} blocks drawn again\n")


def hold_ended(driver, code, *sentences, seconds=120.0):
    """Hold that a driver ends so, and says so, and nothing of what libraries say."""
    assert driver.wait(seconds) == code, told(driver)
    for sentence in sentences:
        assert sentence in told(driver)
    assert "Traceback" not in told(driver), told(driver)
    assert "distributed." not in told(driver), told(driver)


def test_workers_killed_in_turn_are_started_again_and_all_is_done(at_work, uninterrupted):
    driver = at_work.run("--workers", "2")
    at_work.wait_for_blocks(20, driver)
    for worker in workers_of(driver):
        worker.kill()
        at_work.wait_for_blocks(at_work.blocks + 20, driver)
    hold_ended(driver, 0)
    hold_whole(at_work, uninterrupted)


def test_ctrl_c_keeps_what_is_done_tells_how_to_go_on_and_exits_130(at_work, uninterrupted):
    driver = at_work.run("--workers", "2")
    at_work.wait_for_blocks(40, driver)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to the driver and its workers
    hold_ended(driver, 130)
    assert told(driver).endswith("interrupted. What is done is stored; the same command goes on from there.\n")
    at_work.hold_nothing_left(20)
    drawn = at_work.blocks
    assert drawn < BLOCKS
    driver = at_work.run("--cluster", "none")
    hold_ended(driver, 0)
    hold_whole(at_work, uninterrupted)
    assert at_work.blocks < BLOCKS + drawn, "what was done is drawn again"


def test_workers_without_a_nanny_killed_one_after_the_other_are_replaced_by_those_that_join(at_work, uninterrupted):
    scheduler, address = at_work.scheduler()
    workers = [at_work.worker(address, "--no-nanny") for _ in range(2)]
    driver = at_work.run("--cluster", address)
    at_work.wait_for_blocks(20, driver)
    workers[0].kill()
    at_work.wait_for_blocks(at_work.blocks + 20, driver)
    workers[1].kill()  # nobody is left for a while
    workers.append(at_work.worker(address, "--no-nanny"))
    hold_ended(driver, 0)
    hold_whole(at_work, uninterrupted)
    for process in (workers[2], scheduler):
        end(process)


def test_a_killed_driver_takes_its_workers_with_it_and_what_it_stored_is_not_drawn_again(at_work, uninterrupted):
    for _ in range(2):
        driver = at_work.run("--workers", "2")
        at_work.wait_for_blocks(at_work.blocks + 60, driver)
        driver.kill()
        driver.wait()
        at_work.hold_nothing_left()
    hold_ended(at_work.run("--workers", "2"), 0)
    hold_whole(at_work, uninterrupted)
    assert at_work.blocks < BLOCKS + 60


def test_a_killed_scheduler_ends_the_run_with_exit_4_and_another_one_completes_it(at_work, uninterrupted):
    scheduler, address = at_work.scheduler()
    workers = [at_work.worker(address) for _ in range(2)]
    driver = at_work.run("--cluster", address)
    at_work.wait_for_blocks(60, driver)
    scheduler.kill()
    hold_ended(driver, 4, "the cluster was lost; what is done is stored", GOES_ON)
    for worker in workers:
        end(worker)
    scheduler, address = at_work.scheduler()
    workers = [at_work.worker(address)]
    hold_ended(at_work.run("--cluster", address), 0)
    hold_whole(at_work, uninterrupted)
    for process in (*workers, scheduler):
        end(process)


@pytest.mark.parametrize("when", ["it draws", "it calibrates"])
def test_a_frozen_scheduler_ends_the_run_in_bounded_time(tmp_path, when):
    study = {} if when == "it draws" else {"methods": ["prepared"]}
    with bench(tmp_path, seconds=0.5, **study) as made:
        scheduler, address = made.scheduler()
        worker = made.worker(address)
        driver = made.run("--cluster", address)
        calibrations = made.record.with_suffix(".calibrations")
        made.wait_for(lambda: made.blocks if when == "it draws" else calibrations.exists(), driver)
        scheduler.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        what = "done" if when == "it draws" else "calibrated"
        answer = f"the scheduler has not answered for {SILENCE:.0f} s; what is {what} is stored"
        hold_ended(driver, 4, answer, seconds=SILENCE + 20)
        assert time.monotonic() - begun > SILENCE / 2
        scheduler.kill()
        worker.kill()
        kill_members(worker.pid)


def test_a_scheduler_killed_before_the_work_begins_ends_the_run_with_exit_4(at_work):
    scheduler, address = at_work.scheduler()
    worker = at_work.worker(address)
    driver = at_work.run("--cluster", address)
    at_work.wait_for(lambda: "covsvc-warm-up" in told(worker), driver)
    scheduler.kill()
    hold_ended(driver, 4)
    end(worker)


def test_a_scheduler_without_workers_ends_the_run_with_exit_4(at_work):
    scheduler, address = at_work.scheduler()
    driver = at_work.run("--cluster", address)
    hold_ended(driver, 4, f"{address}: no worker joined within 30 s; start one with `dask worker {address}`")
    end(scheduler)


def test_a_block_that_takes_more_memory_than_a_worker_has_fails_alone_and_a_larger_worker_draws_it(
    at_work, uninterrupted
):
    scheduler, address = at_work.scheduler()
    at_work.environment["RECORDED_MB"] = "600"
    small = [at_work.worker(address, "--memory-limit", "500MB") for _ in range(2)]
    driver = at_work.run("--cluster", address)
    hold_ended(driver, 0, seconds=120)
    status = at_work.start(sys.executable, "-m", "covsvc", "status", "--store", str(at_work.store))
    assert status.wait(60) == 0
    assert "every worker that tried it died: it crashes, or takes more memory than the 500 MB that a worker may" in (
        told(status)
    )
    cube = open_cube(at_work.store, "faults")
    failed = cube["block_status"] == 2
    assert failed.sel(s_true=6, b=6).all()
    assert failed.sum() == failed.sel(s_true=6, b=6).size
    for worker in small:
        end(worker)
    large = at_work.worker(address, "--memory-limit", "4GB")
    hold_ended(at_work.run("--cluster", address, "--retry-failed"), 0)
    hold_whole(at_work, uninterrupted)
    for process in (large, scheduler):
        end(process)


def test_a_second_driver_is_refused_and_drivers_of_two_studies_share_a_store(at_work, uninterrupted):
    first = at_work.run("--cluster", "none")
    at_work.wait_for_blocks(1, first)
    hold_ended(at_work.run("--cluster", "none"), 2, f"another driver has this study: pid {first.pid} on ")
    other = at_work.folder / "other.yaml"
    other.write_text((at_work.folder / "study.yaml").read_text().replace('"faults"', '"other"'))
    beside = at_work.start(
        sys.executable, "-m", "covsvc", "run", "other.yaml", "--store", str(at_work.store), "--cluster", "none"
    )
    for driver in (first, beside):
        hold_ended(driver, 0)
    for name in ("faults", "other"):
        assert_same(open_cube(at_work.store, name), uninterrupted)


def test_a_suspended_driver_keeps_its_study_and_goes_on(at_work, uninterrupted):
    driver = at_work.run("--workers", "2")
    at_work.wait_for_blocks(40, driver)
    os.killpg(driver.pid, signal.SIGSTOP)  # as Ctrl-Z does
    time.sleep(SILENCE + 2)
    assert driver_of(at_work.store, "faults").startswith(f"pid {driver.pid} ")
    os.killpg(driver.pid, signal.SIGCONT)
    hold_ended(driver, 0)
    hold_whole(at_work, uninterrupted)


def test_sigterm_stores_what_is_done_and_takes_the_workers_along(at_work, uninterrupted):
    driver = at_work.run("--workers", "2", commit_seconds=1000)
    at_work.wait_for_blocks(100, driver)
    driver.terminate()
    hold_ended(driver, 130, GOES_ON)
    at_work.hold_nothing_left()
    drawn = at_work.blocks
    hold_ended(at_work.run("--workers", "2"), 0)
    hold_whole(at_work, uninterrupted)
    assert at_work.blocks - drawn < BLOCKS - 50


@pytest.mark.parametrize("seconds", [0.2, 0.35, 0.5])
def test_ctrl_c_in_the_first_half_second_ends_quietly(at_work, seconds):
    driver = at_work.start(sys.executable, "-m", "covsvc", "run", "study.yaml")
    time.sleep(seconds)
    driver.send_signal(signal.SIGINT)
    # by the signal itself, which a shell shows as 130, if Python had not begun with ours, or made code just then
    assert driver.wait(30) in (130, -signal.SIGINT)
    assert "fault of covsvc" not in told(driver)


def is_mountable():
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """Yield a file system and what makes it larger."""
    if not is_mountable():
        pytest.skip("only root mounts a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(*options):
        subprocess.run(["mount", *options, disk], check=True)

    mount("-t", "tmpfs", "-o", "size=4k", "covsvc-test")
    try:
        yield disk, lambda size: mount("-o", f"remount,size={size}")
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("size", ["4k", "40k", "150k"])
def test_a_full_disk_ends_the_run_with_a_sentence_and_more_room_completes_it(tmp_path, small_disk, uninterrupted, size):
    disk, grow = small_disk
    with bench(tmp_path / "bench", seconds=0.0) as made:
        made.store = disk / "store"
        grow(size)
        driver = made.run("--cluster", "none", commit_seconds=0)
        where = f"{disk}/store/faults: cannot be written: No space left on device"
        hold_ended(driver, 2, where, " MB are free there. What was committed before is whole", GOES_ON)
        grow("100m")
        hold_ended(made.run("--cluster", "none"), 0)
        hold_whole(made, uninterrupted)


def test_a_disk_that_is_full_when_the_report_is_drawn_leaves_the_cube_whole(tmp_path, small_disk, uninterrupted):
    disk, grow = small_disk
    with bench(tmp_path / "bench", seconds=0.0) as made:
        grow("100k")
        driver = made.run("--cluster", "none", "--report", str(disk / "report"))
        hold_ended(driver, 2, "No space left on device; make room, and give the same command again")
        hold_whole(made, uninterrupted)
        grow("100m")
        hold_ended(made.run("--cluster", "none", "--report", str(disk / "report")), 0)
        assert made.blocks == BLOCKS


def test_a_disk_that_is_full_when_calibrations_are_kept_ends_the_run_with_a_sentence(tmp_path, small_disk):
    disk, grow = small_disk
    with bench(tmp_path / "bench", seconds=0.0, methods=["prepared"]) as made:
        made.store = disk / "store"
        grow("80k")
        driver = made.run("--cluster", "none")
        hold_ended(driver, 2, f"{disk}/store/", "No space left on device", "committed before is whole")
        grow("100m")
        hold_ended(made.run("--cluster", "none"), 0)
