"""Break a run at random moments, again and again; each ends in the cube of the uninterrupted run.

    python tests/trials/faults.py --kind worker|workers|driver|scheduler|disk|memory [--times 20] [--seed 1999]
                                  [--by-hand] [--no-nanny]

Prints for each time what was broken when, and how many blocks were drawn again. `--by-hand` takes `dask scheduler` and
`dask worker` instead of a local cluster, `--no-nanny` workers that nobody starts again. `disk` mounts small file
systems, as root. The short forms are in tests/system/test_faults.py.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from agreement import assert_same
from processes import BLOCKS, Bench, bench, told, workers_of

from covsvc.store.repository import open_cube


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = {
        "worker": break_worker,
        "workers": break_workers,
        "driver": break_driver,
        "scheduler": break_scheduler,
        "disk": break_disk,
        "memory": break_memory,
    }
    parser.add_argument("--kind", choices=kinds, required=True)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1999, help="of the moments")
    parser.add_argument("--by-hand", action="store_true")
    parser.add_argument("--no-nanny", action="store_true")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    arguments.by_hand |= arguments.no_nanny or arguments.kind in ("scheduler", "memory")
    with tempfile.TemporaryDirectory() as folder:
        with bench(Path(folder) / "whole", seconds=0.0) as made:
            finish(made.run("--cluster", "none"), 0)
            whole = open_cube(made.store, "faults").load()
        again = 0
        for time_ in range(arguments.times):
            with bench(Path(folder) / str(time_)) as made:
                cluster = ByHand(made, arguments.no_nanny) if arguments.by_hand else Local(made)
                done = kinds[arguments.kind](made, cluster, moments)
                assert_same(open_cube(made.store, "faults"), whole)
                cluster.end()
            again += made.blocks - BLOCKS
            print(f"{time_ + 1}: {done}; {made.blocks - BLOCKS} of {BLOCKS} blocks drawn again, same cube", flush=True)
    print(f"{arguments.kind}: {arguments.times} times, seed {arguments.seed}, {again} blocks drawn again in all")


class Local:
    """A cluster that the driver starts."""

    def __init__(self, made: Bench) -> None:
        self._made = made

    def run(self, *options: str) -> subprocess.Popen[str]:
        return self._made.run("--workers", "2", *options)

    def workers(self, driver: subprocess.Popen[str]) -> list[int]:
        return [each.pid for each in workers_of(driver)]

    def replace(self) -> None:
        """Leave it to the nannies."""

    def end(self) -> None:
        """Have nothing to end: it ended with its driver."""


class ByHand:
    """A scheduler and two workers that were started by hand."""

    def __init__(self, made: Bench, no_nanny: bool = False, *options: str) -> None:
        self._made = made
        self._options = (*options, *(["--no-nanny"] if no_nanny else []))
        self._no_nanny = no_nanny
        self.scheduler, self.address = made.scheduler()
        self._workers = [made.worker(self.address, *self._options) for _ in range(2)]

    def run(self, *options: str) -> subprocess.Popen[str]:
        return self._made.run("--cluster", self.address, *options)

    def workers(self, driver: subprocess.Popen[str]) -> list[int]:
        if self._no_nanny:
            return [each.pid for each in self._workers if each.poll() is None]
        return [worker.pid for nanny in self._workers for worker in workers_of(nanny)]

    def replace(self) -> None:
        """Start a worker for the one that nobody starts again."""
        if self._no_nanny:
            self._workers.append(self._made.worker(self.address, *self._options))

    def end(self) -> None:
        for each in (*self._workers, self.scheduler):
            if each.poll() is None:
                each.terminate()
                each.wait(30)


def finish(driver: subprocess.Popen[str], code: int) -> None:
    """Wait for the end of a driver, and hold that it ends so, without a traceback."""
    assert driver.wait(300) == code, told(driver)
    assert "Traceback" not in told(driver), told(driver)


def kill(pid: int) -> None:
    subprocess.run(["kill", "-9", str(pid)], check=False)


def break_worker(made: Bench, cluster: Local | ByHand, moments: random.Random) -> str:
    """Kill one worker."""
    return break_workers(made, cluster, moments, most=1)


def break_workers(made: Bench, cluster: Local | ByHand, moments: random.Random, most: int = 2) -> str:
    """Kill all workers, one after the other."""
    driver, at = cluster.run(), []
    made.wait_for_blocks(1, driver)
    for worker in cluster.workers(driver)[:most]:
        time.sleep(moments.uniform(0.0, 2.0))
        at.append(made.blocks)
        kill(worker)
        cluster.replace()
    finish(driver, 0)
    return f"{len(at)} workers killed after {at} blocks"


def break_driver(made: Bench, cluster: Local | ByHand, moments: random.Random) -> str:
    """Kill the driver, at any moment of its life; run it again."""
    driver = cluster.run()
    if moments.random() < 0.8:
        made.wait_for_blocks(1, driver)
        time.sleep(moments.uniform(0.0, 5.0))
    else:
        time.sleep(moments.uniform(0.0, 8.0))
    at = made.blocks
    driver.kill()
    driver.wait()
    if isinstance(cluster, Local):
        made.hold_nothing_left()
    finish(cluster.run(), 0)
    return f"driver killed after {at} blocks"


def break_scheduler(made: Bench, cluster: Local | ByHand, moments: random.Random) -> str:
    """Kill the scheduler; run again with another."""
    assert isinstance(cluster, ByHand)
    driver = cluster.run()
    made.wait_for_blocks(1, driver)
    time.sleep(moments.uniform(0.0, 3.0))
    at = made.blocks
    cluster.scheduler.kill()
    begun = time.monotonic()
    finish(driver, 4)
    noticed = time.monotonic() - begun
    cluster.end()
    other = ByHand(made)
    finish(other.run(), 0)
    other.end()
    return f"scheduler killed after {at} blocks, exit 4 after {noticed:.1f} s"


def break_disk(made: Bench, cluster: Local | ByHand, moments: random.Random) -> str:
    """Have a disk that is full at some size; make it larger."""
    size = moments.choice([4, 8, 16, 24, 32]) if moments.random() < 0.3 else moments.randrange(36, 300, 4)
    made.store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "covsvc-trial", made.store], check=True)
    try:
        driver = cluster.run()
        code = driver.wait(300)
        assert code in (0, 2), told(driver)
        assert code == 0 or "No space left on device" in told(driver), told(driver)
        assert "Traceback" not in told(driver), told(driver)
        at = made.blocks
        subprocess.run(["mount", "-o", "remount,size=100m", made.store], check=True)
        finish(cluster.run(), 0)
        kept = made.folder / "kept"
        subprocess.run(["cp", "-r", made.store, kept], check=True)
    finally:
        made.hold_nothing_left()
        subprocess.run(["umount", made.store], check=True)
    made.store = kept
    return f"disk of {size} kB, exit {code} after {at} blocks"


def break_memory(made: Bench, cluster: Local | ByHand, moments: random.Random) -> str:
    """Give workers less memory than a block takes, then more."""
    cluster.end()
    made.environment["RECORDED_MB"] = str(moments.randrange(600, 1500, 100))
    small = ByHand(made, False, "--memory-limit", "500MB")
    finish(small.run(), 0)
    failed = int((open_cube(made.store, "faults")["block_status"] == 2).any(["limit_method", "cl"]).sum())
    assert failed == 5, failed  # of the one cell
    small.end()
    large = ByHand(made, False, "--memory-limit", "4GB")
    finish(large.run("--retry-failed"), 0)
    large.end()
    return f"{made.environment['RECORDED_MB']} MB in a worker of 500 MB: {failed} blocks failed, and were drawn later"


if __name__ == "__main__":
    main()
