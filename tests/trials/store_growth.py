"""Growth of a store: a real study, block by block, a commit each; what it takes before and after garbage collection.

python tests/trials/store_growth.py [--commits 1000]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np

from covsvc import api
from covsvc.engine.work import make_tables, run_task
from covsvc.store.repository import open_ledger
from covsvc.study import Row, Task

STUDY = Path(__file__).parents[2] / "deploy" / "studies" / "cleo-tau-mu-gamma.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--collect", metavar="STORE", help="only collect the garbage of this store")
    arguments = parser.parse_args()
    if arguments.collect:
        collect(Path(arguments.collect))
        return
    commits = arguments.commits
    given = api.load_study(STUDY).model_dump(mode="json")
    blocks = -(-commits // len(given["b"]))
    study = api.load_study(given | {"toys_per_block": 100, "n_toys": 100 * blocks, "observed": None})
    print(f"{study.cells} cells, {len(study.columns)} columns; a commit adds a block of {len(study.s_true)} cells")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        grow(study, store, commits)
        before = {at: read(store, study.name, at) for at in ("main", "middle")}
        for kill in range(arguments.kills):
            with tempfile.TemporaryDirectory() as other:
                shutil.copytree(store, other, dirs_exist_ok=True)
                kill_once(kill, Path(other), study.name, before)
        for keep in (100, 1):
            size = show("before", store, study.name)
            begun = time.monotonic()
            freed = api.gc(study.name, store, older_than=timedelta(0), keep=keep)
            seconds = time.monotonic() - begun
            show(f"after gc --keep {keep}", store, study.name)
            print(f"  gc took {seconds:.1f} s, freed {freed['bytes'] / 1e6:.1f} MB in {freed['files']:,} files")
            assert size - sum(f.stat().st_size for f in store.rglob("*") if f.is_file()) >= 0.9 * freed["bytes"]
            compare(store, study.name, before)
        print("main and the tag read back equal, bit for bit, after each")
        print(json.dumps(api.history(study.name, store)[0]["all"]))


def kill_once(kill: int, store: Path, name: str, before: dict[str, dict[str, np.ndarray]]) -> None:
    """Kill a garbage collection at a random moment, compare what can be read then, and once more when it is done."""
    command = [sys.executable, __file__, "--collect", str(store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as collector:
        assert collector.stdin is not None
        assert collector.stdout is not None
        collector.stdout.readline()
        files = number_of_files(store)
        collector.stdin.write("\n")
        collector.stdin.flush()
        delay = random.uniform(0.0, 1.5)
        time.sleep(delay)
        collector.kill()
        ended = "done" in collector.stdout.read()
    gone, listed = files - number_of_files(store), len(api.history(name, store))
    compare(store, name, before)
    freed = api.gc(name, store, older_than=timedelta(0), keep=1)
    compare(store, name, before)
    print(
        f"kill {kill + 1} after {delay:.2f} s{' (too late)' if ended else ''}: {gone:,} of {files:,} files gone, "
        f"{listed:,} commits listed; equal. The next deletes {freed['files']:,} files; equal",
        flush=True,
    )


def collect(store: Path) -> None:
    (name,) = api.stored_studies(store)
    print("ready", flush=True)
    sys.stdin.readline()
    api.gc(name, store, older_than=timedelta(0), keep=1)
    print("done", flush=True)


def compare(store: Path, name: str, before: dict[str, dict[str, np.ndarray]]) -> None:
    for at, variables in before.items():
        after = read(store, name, at)
        for variable, values in variables.items():
            np.testing.assert_array_equal(after[variable], values, err_msg=f"{at}: {variable}")


def number_of_files(store: Path) -> int:
    return sum(file.is_file() for file in store.rglob("*"))


def grow(study, store: Path, commits: int) -> None:
    tables = {b: make_tables(Row(study.source, study.columns, b, study.s_true)) for b in study.b}
    todo = [(b, block) for block in range(study.n_blocks) for b in study.b][:commits]
    with open_ledger(store, study, s_tile=len(study.s_true), commit_seconds=3600) as ledger:
        ledger.trust_engine()
        for b in study.b:
            ledger.missing(b)
        spent = 0.0
        for number, (b, block) in enumerate(todo, 1):
            ledger.add(run_task(Task(study.source, study.columns, b, study.s_true, block, block + 1), tables[b]))
            begun = time.monotonic()
            ledger.commit()
            spent += time.monotonic() - begun
            if number == len(todo) // 2:
                api.set_tag(study.name, "middle", store)
            if number % max(1, len(todo) // 10) == 0:
                show(f"{number:>5} commits", store, study.name)
                print(f"  {1e3 * spent / max(1, len(todo) // 10):.0f} ms a commit")
                spent = 0.0


def show(what: str, store: Path, name: str) -> int:
    """Print size, number of files, and the time to open and to list; return the size."""
    sizes = [file.stat().st_size for file in store.rglob("*") if file.is_file()]
    begun = time.monotonic()
    np.asarray(api.open_cube(store, name)["n_toys"])
    opened = time.monotonic()
    number = len(api.history(name, store))
    listed = time.monotonic()
    print(
        f"{what}: {sum(sizes) / 1e6:7.1f} MB in {len(sizes):>6,} files; open {1e3 * (opened - begun):.0f} ms, "
        f"history of {number:,} in {1e3 * (listed - opened):.0f} ms",
        flush=True,
    )
    return sum(sizes)


def read(store: Path, name: str, at: str = "main") -> dict[str, np.ndarray]:
    cube = api.open_cube(store, name, at)
    return {str(variable): np.asarray(cube[variable]) for variable in cube.variables}


if __name__ == "__main__":
    main()
