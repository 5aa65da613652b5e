"""Break a run on SLURM at random moments; each ends in the cube of one machine.

    python tests/trials/slurm.py --kind breaks [--times 3] [--breaks 10] [--seed 1999]
    python tests/trials/slurm.py --kind walltime|waiting

`breaks`: worker jobs are cancelled, their processes killed with and without what starts them again, slurmstepd and
slurmd killed, the driver queued again. `walltime`: a driver of two minutes queues itself again until all is done.
`waiting`: workers do not come; the driver gives up, and queues itself again. Prints what was broken when, and how many
blocks were drawn again. Starts a SLURM of its own, as root. The short form is tests/system/test_slurm.py.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
from agreement import assert_same
from processes import Bench, bench, told
from slurm import NODES, Slurm, slurm
from slurm_driver import Driver

from covsvc.store.repository import open_cube

CELLS = {"s_true": [2.5], "b": [0.125 * n for n in range(80)], "n_toys": 20_000}
BLOCKS = 80 * 20
SECONDS = 0.1
WORKERS = {"workers": {"minimum": 1, "maximum": 3}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = {"breaks": break_all, "walltime": end_in_time, "waiting": wait_in_vain}
    parser.add_argument("--kind", choices=kinds, required=True)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--breaks", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1999, help="of the moments")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder, slurm(Path(folder) / "slurm") as site:
        with bench(Path(folder) / "whole", seconds=0.0, **CELLS) as made:
            driver = made.run("--cluster", "none")
            assert driver.wait(300) == 0, told(driver)
            whole = open_cube(made.store, "faults").load()
        for number in range(arguments.times):
            made = Bench(Path(folder) / str(number), seconds=SECONDS, **CELLS)
            begun = time.monotonic()
            if kinds[arguments.kind](site, made, moments, arguments.breaks):
                assert_same(open_cube(made.store, "faults"), whole)
                drawn = sum(file.stat().st_size for file in made.folder.glob(f"{made.record.name}.n*"))
                told_ = f"{drawn - BLOCKS} of {BLOCKS} blocks drawn again, same cube"
                print(f"{number + 1}: {time.monotonic() - begun:.0f} s; {told_}", flush=True)
            site.cancel_all()


def break_all(site: Slurm, made: Bench, moments: random.Random, breaks: int) -> bool:
    """Break something after a random number of blocks, until so much was broken; then let the run end."""
    kinds = (cancel, kill_worker, kill_job, kill_stepd, kill_slurmd, requeue)
    chosen = [*kinds, *moments.choices(kinds, k=max(0, breaks - len(kinds)))][:breaks]
    moments.shuffle(chosen)
    driver = Driver(site, made, WORKERS)
    for kind in chosen:
        goal = sum(driver.blocks().values()) + moments.randrange(20, BLOCKS // breaks - 20)
        driver.wait_for(lambda goal=goal: sum(driver.blocks().values()) >= goal and driver.workers(), 300)
        print(f"  at {sum(driver.blocks().values())} blocks: {kind(site, driver, moments)}", flush=True)
    code = driver.wait(600)
    assert code == 0, f"{code}\n{driver.told}"
    print(f"  {len(driver.seen)} worker jobs, at most {driver.most} at a time, on {sorted(set(driver.seen.values()))}")
    assert driver.most <= WORKERS["workers"]["maximum"]
    driver.hold_no_worker_left()
    return True


def cancel(site: Slurm, driver: Driver, moments: random.Random) -> str:
    job = moments.choice(driver.workers())
    site.call("scancel", job)
    return f"scancel {job}"


def kill_worker(site: Slurm, driver: Driver, moments: random.Random) -> str:
    job = moments.choice(driver.workers())
    for process in site.processes_of(job):
        with suppress(psutil.Error):
            if "spawn_main" in " ".join(process.cmdline()):
                process.kill()
    return f"kill -9 of the worker process of {job}"


def kill_job(_: Slurm, driver: Driver, moments: random.Random) -> str:
    job = moments.choice(driver.workers())
    driver.kill_worker(job)
    return f"kill -9 of all of Python in {job}"


def kill_stepd(site: Slurm, driver: Driver, moments: random.Random) -> str:
    job = moments.choice(driver.workers())
    stepds = [each for each in site.processes() if f"[{job}.batch]" in " ".join(each.cmdline())]
    for stepd in stepds:
        stepd.kill()
    return f"kill -9 of slurmstepd of {job} ({len(stepds)})"


def kill_slurmd(site: Slurm, _: Driver, moments: random.Random) -> str:
    node = moments.choice(NODES)
    site.daemons[node].kill()
    site.daemons[node].wait(30)
    site.start_node(node)
    return f"kill -9 of slurmd of {node}, started again"


def requeue(site: Slurm, driver: Driver, _: random.Random) -> str:
    site.call("scontrol", "requeue", driver.id)
    return "scontrol requeue of the driver"


def end_in_time(site: Slurm, made: Bench, _moments: random.Random, _breaks: int) -> bool:
    """Let SLURM end the driver's time."""
    driver = Driver(site, made, WORKERS, asked=("--time=2", "--signal=B:USR1@45"))
    code = driver.wait(900)
    assert code == 0, f"{code}\n{driver.told}"
    print(f"  queued itself again {driver.told.count('its time is over; queued again')} times")
    assert "its time is over; queued again" in driver.told
    assert "DUE TO TIME LIMIT" not in driver.told, driver.told
    return True


def wait_in_vain(site: Slurm, made: Bench, _moments: random.Random, _breaks: int) -> bool:
    """Have workers that do not start within a patience of a minute."""
    driver = Driver(site, made, {"patience": 65, "directives": ["--begin=now+3600"]})
    driver.wait_for(lambda: "queued again" in driver.told, 200)
    driver.wait_for(lambda: "restart 1: covsvc run" in driver.told, 60)
    print("  ".join(["", *driver.told.splitlines(keepends=True)]))
    return False


if __name__ == "__main__":
    main()
