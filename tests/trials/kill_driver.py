"""Kill the driver of the real study at random moments, run it again, and compare with the uninterrupted cube.

    python tests/trials/kill_driver.py [--kills 20] [--seed 1999]

Prints, for each kill, the toys that had been stored and those that were drawn twice. The short form in the test suite
is tests/store/test_repository.py.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from covsvc import api

STUDY = Path(__file__).parents[2] / "deploy" / "studies" / "cleo-tau-mu-gamma.yaml"

DRIVER = """
import sys
from covsvc import api
if __name__ == "__main__":
    study = api.load_study(sys.argv[1]).model_copy(update={"n_toys": 200_000})
    tell = lambda at: print(at.toys, flush=True)
    api.run(study, sys.argv[2], "local", n_workers=2, task_toys=2e6, commit_seconds=0.5, progress=tell)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1999, help="of the moments")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    study = api.load_study(STUDY).model_copy(update={"n_toys": 200_000})
    with tempfile.TemporaryDirectory() as folder:
        driver = Path(folder) / "driver.py"
        driver.write_text(DRIVER)
        whole = api.run(study, Path(folder) / "whole", "local").load()
        kill = 0
        while kill < arguments.kills:
            store = Path(folder) / f"killed{kill}"
            told = [0]
            moments = []
            while not api.remainder(study, store).nothing and kill < arguments.kills:
                moments.append(kill_once(driver, store))
                told.append(study.cells * study.n_toys - api.remainder(study, store).toys)
                kill += 1
            cube = api.run(study, store, "local").load()
            for name in whole.data_vars:
                np.testing.assert_array_equal(cube[name].values, whole[name].values, err_msg=str(name))
            for (seconds, reported), before, after in zip(moments, told[:-1], told[1:], strict=True):
                twice = (before + reported - after) // study.toys_per_block
                print(
                    f"killed after {seconds:5.2f} s: {after - before:>10,} toys stored, {twice:>4} blocks to draw again"
                )
            print(f"store {store.name}: {len(moments)} kills, resumed, equal to the uninterrupted cube bit for bit")
        print(json.dumps({"kills": kill, "seed": arguments.seed}))


def kill_once(driver: Path, store: Path) -> tuple[float, int]:
    """Start a driver, kill it at a random moment after its first task; return when, and the toys that it had."""
    command = [sys.executable, str(driver), str(STUDY), str(store)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    begun = time.monotonic()
    time.sleep(random.uniform(0.0, 4.0))
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    return time.monotonic() - begun, int(rest[-1]) if rest else 0


if __name__ == "__main__":
    main()
