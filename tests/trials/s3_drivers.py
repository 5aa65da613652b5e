"""Let many drivers fill as many studies of one bucket at once, kill some, and compare with cubes on disk.

    python tests/trials/s3_drivers.py [--drivers 8] [--kills 8] [--seed 1999]

Starts an S3 service on loopback. Each driver commits every second. A driver that is killed at a random moment is started
again, and goes on when its lease has expired. Prints, for each study, its commits, how long they took, and the toys
that were drawn twice. The short form in the test suite is tests/store/test_object_store.py.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from covsvc import api
from covsvc.study import Study, study_of

sys.path.append(str(Path(__file__).parents[1]))

from object_store import BUCKET, served

DRIVER = """
import sys
import time
from covsvc import api
from covsvc.store import lease
from covsvc.store.repository import Ledger
if __name__ == "__main__":
    lease.BEAT, lease.EXPIRY = 1.0, 10.0
    commit = Ledger.commit
    def timed(self):
        begun = time.monotonic()
        commit(self)
        print("commit", time.monotonic() - begun, flush=True)
    Ledger.commit = timed
    study = api.load_study(sys.argv[1])
    tell = lambda at: print("toys", at.toys, flush=True)
    api.run(study, sys.argv[2], progress=tell, task_toys=1e5, commit_seconds=1.0)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drivers", type=int, default=8)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1999, help="of the moments, and of who is killed")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    studies = [a_study(number) for number in range(arguments.drivers)]
    store = f"s3://{BUCKET}/trial"
    with served() as environment, tempfile.TemporaryDirectory() as name:
        os.environ |= environment
        folder = Path(name)
        (folder / "driver.py").write_text(DRIVER)
        begun = time.monotonic()
        running = {study.name: start(study, store, folder) for study in studies}
        try:
            for _ in range(arguments.kills):
                time.sleep(moments.uniform(2.0, 12.0))
                study = moments.choice(studies)
                if running[study.name].poll() is None:
                    os.killpg(running[study.name].pid, signal.SIGKILL)
                    running[study.name].wait()
                    running[study.name] = start(study, store, folder)
            codes = [driver.wait(600) for driver in running.values()]
        finally:
            for driver in running.values():
                if driver.poll() is None:
                    os.killpg(driver.pid, signal.SIGKILL)
                    driver.wait()
        took = time.monotonic() - begun
        assert codes == [0] * len(studies), codes
        assert api.stored_studies(store) == [study.name for study in studies]
        commits = [show(study, store, folder) for study in studies]
        median, longest = np.median(np.concatenate(commits)), max(map(max, commits))
        print(
            f"{len(studies)} drivers, {sum(map(len, commits))} commits in {took:.0f} s: median {median * 1e3:.0f} ms, "
            f"longest {longest * 1e3:.0f} ms; every cube equals the one on disk"
        )


def a_study(number: int) -> Study:
    return study_of(
        {
            "name": f"study{number}",
            "experiment": "counting",
            "methods": ["classical", "cls", "feldman_cousins"],
            "cl": [0.9, 0.95],
            "s_true": {"start": 0, "stop": 12, "num": 13},
            "b": [0, 1, 3, 5.5],
            "toys_per_block": 10_000,
            "n_toys": 100_000,
            "seed": number,
        }
    )


def start(study: Study, store: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a driver whose output goes on where that of the one before it ended."""
    (folder / f"{study.name}.yaml").write_text(json.dumps(study.model_dump(mode="json")))
    command = [sys.executable, str(folder / "driver.py"), str(folder / f"{study.name}.yaml"), store]
    with (folder / f"{study.name}.log").open("ab") as log:
        log.write(b"start\n")
        log.flush()
        return subprocess.Popen(command, stdout=log, start_new_session=True)


def show(study: Study, store: str, folder: Path) -> list[float]:
    """Compare a cube with the one on disk, and print what its drivers did; return how long commits took."""
    cube, whole = api.open_cube(store, study.name).load(), api.run(study, folder / "whole").load()
    for name in whole.data_vars:
        np.testing.assert_array_equal(cube[name].values, whole[name].values, err_msg=str(name))
    lives = [life.split("\n") for life in (folder / f"{study.name}.log").read_text().split("start\n")[1:]]
    drawn = [max([int(line[5:]) for line in life if line.startswith("toys ")], default=0) for life in lives]
    times = [float(line[7:]) for life in lives for line in life if line.startswith("commit ")]
    print(
        f"{study.name}: {len(lives) - 1} kills, {len(times)} commits of {np.median(times) * 1e3:.0f} ms, "
        f"{sum(drawn) - study.cells * study.n_toys:,} of {study.cells * study.n_toys:,} toys drawn twice"
    )
    return times


if __name__ == "__main__":
    main()
