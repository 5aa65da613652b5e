"""Speed-up from one worker to two, and the load of driver and scheduler where workers are many.

    python benchmarks/scaling.py workers [--pairs 3] [--studies STUDY.yaml ...]
    python benchmarks/scaling.py load [--workers 10 30 100] [--seconds 20] [--task-seconds 1] [--slower 1] [--tls]

`workers` runs studies on local clusters of one and of two workers in turn, caches warm: the time on the clock, and of
all CPU time the share of the kernels.

`load` draws some tasks of a study for real and keeps what they took and what they returned. Then a real driver has a
real scheduler, each a process of its own, carry out a study of such tasks on many real workers, which share a process:
each waits as long as its task took, uses no CPU for it, and returns what that task returned. CPU seconds of driver and
scheduler over the number of tasks are the cost of a task, and half a core each is what they may take together with
1000 workers: tasks of d seconds cost 1000 / d times as much a second. Workers that are many and a machine that is small
are busy only with tasks that take longer, which --slower makes of the same ones.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import multiprocessing
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from covsvc import api
from covsvc.api.running import task_toys_of
from covsvc.engine.clusters import connect
from covsvc.engine.condensing import run_condensed
from covsvc.engine.execute import execute
from covsvc.engine.warm_up import run_kernels
from covsvc.engine.work import Tables, make_tables, sum_exactly
from covsvc.store.repository import open_ledger
from covsvc.study import Row, Study, Task, rows, tile_size
from covsvc.tally import ExactTally, Tally

STUDIES = Path(__file__).parent.parent / "deploy" / "studies"

MANY = 1000
"""Workers for which the length of tasks is told."""

HALF = 0.5
"""CPU seconds a second that driver and scheduler may take each."""

SPENT_BY_DRIVER = "looking", "adding", "committing", "Dask's loop"
"""What its CPU seconds are told of: what is missing, tallies that enter the ledger, commits, and messages."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    workers = commands.add_parser("workers")
    workers.add_argument("--pairs", type=int, default=3)
    default = [STUDIES / "cleo-tau-mu-gamma.yaml", STUDIES / "yellin-test-a.yaml"]
    workers.add_argument("--studies", type=Path, nargs="+", default=default, help="files; of several studies the first")
    load = commands.add_parser("load")
    load.add_argument("--workers", type=int, nargs="+", default=[10, 30, 100])
    load.add_argument("--seconds", type=float, default=20, help="of the clock, about, if nothing but tasks takes time")
    load.add_argument("--of", nargs="+", default=["counts", "events", "kept"], choices=["counts", "events", "kept"])
    load.add_argument("--task-seconds", type=float, default=1, help="as `covsvc run` takes it")
    load.add_argument("--slower", type=float, default=1, help="have tasks wait so many times as long")
    load.add_argument("--tls", action="store_true", help="encrypt, with certificates made for it")
    driver = commands.add_parser("driver")
    driver.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "workers":
        for path in arguments.studies:
            compare_workers(api.load_studies(path)[0], arguments.pairs)
    elif arguments.command == "driver":
        print(json.dumps(drive(arguments.folder)))
    else:
        for what in arguments.of:
            tell_load(what, arguments)


# one worker and two


def compare_workers(study: Study, pairs: int) -> None:
    """Run a study on one worker and on two, one after the other, and say what two are worth."""
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for pair in range(pairs):
        for workers in (1, 2) if pair % 2 else (2, 1):
            found[workers].append(run_on(study, workers))
    for workers, runs in found.items():
        told = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        spent = told["workers"] + told["driver"] + told["loop"]
        print(
            f"{study.name}, {workers} worker{'s'[: workers > 1]}: {told['wall']:.1f} s; CPU seconds of kernels "
            f"{told['kernels']:.2f}, workers {told['workers']:.2f}, driver {told['driver']:.2f}, its loop with the "
            f"scheduler {told['loop']:.2f}: kernels are {told['kernels'] / spent:.1%} of all"
        )
    ratios = [one["wall"] / two["wall"] for one, two in zip(found[1], found[2], strict=True)]
    cpu = [two["kernels"] / one["kernels"] for one, two in zip(found[1], found[2], strict=True)]
    print(
        f"{study.name}: speed-up {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); the kernels "
        f"took {statistics.median(cpu):.2f} of the CPU ({min(cpu):.2f} to {max(cpu):.2f}); {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def run_on(study: Study, workers: int) -> dict[str, float]:
    """Run a study on a local cluster that is warm; return seconds on the clock, and CPU seconds of whom."""

    def spent() -> np.ndarray[Any, np.dtype[np.float64]]:
        mine, here = time.thread_time(), time.process_time()
        return np.array([time.perf_counter(), mine, here - mine, sum(client.run(time.process_time).values())])

    with tempfile.TemporaryDirectory() as store, connect("local", workers, study) as client:
        before = spent()
        cube = api.run(study, store, client)
        wall, driver, loop, there = spent() - before
        kernels = json.loads(cube.attrs["commit"])["driver"]["cpu_seconds"]
    return {"wall": wall, "driver": driver, "loop": loop, "workers": there, "kernels": kernels}


# many workers


@dataclass(frozen=True)
class Recording:
    """What some tasks of a study took, and what they returned, and the same of the row that they are of."""

    study: Study
    task_seconds: float
    tables: Tables
    tables_seconds: float
    exact: ExactTally | None
    exact_seconds: float
    tallies: list[Tally]

    @property
    def seconds(self) -> float:
        """Of a task, on average."""
        return statistics.mean(tally.seconds for tally in self.tallies)

    def slowed(self, times: float) -> Recording:
        """Return the same as if all had taken so many times as long."""
        tallies = [replace(tally, seconds=times * tally.seconds) for tally in self.tallies]
        seconds = {name: times * getattr(self, name) for name in ("tables_seconds", "exact_seconds")}
        return replace(self, tallies=tallies, **seconds)

    def enlarged(self, tasks: int) -> Study:
        """Return the study with so many more values of b, or of s_true where limits are set toy by toy."""
        study, tile = self.study, len(self.tallies[0].s_true)
        if self.exact is None:
            s_true = np.linspace(study.s_true[0], study.s_true[-1], tile * tasks)
            return study.model_copy(update={"s_true": tuple(float(f"{each:.12g}") for each in s_true)})
        number = math.ceil(tasks / (len(study.s_true) / tile))
        return study.model_copy(update={"b": tuple(float(f"{b:.12g}") for b in np.linspace(0, study.b[-1], number))})


def studied(what: str) -> Study:
    """Return a study of counts, of events, or of events with all toys kept."""
    if what == "counts":
        study = api.load_study(STUDIES / "cleo-tau-mu-gamma.yaml")
        return study.model_copy(update={"s_true": study.s_true[:48]})  # four tasks of one size a row
    study = api.load_study(STUDIES / "yellin-test-a.yaml")
    return study.model_copy(update={"keep": "toys" if what == "kept" else "counts"})


def recorded(study: Study, task_seconds: float) -> Recording:
    """Carry out some tasks of a study, for some ten seconds."""
    run_kernels(study)
    b = study.b[len(study.b) // 2]
    reach = study.s_true[0], study.s_true[-1]
    everything = np.ones((len(study.columns), len(study.s_true), study.n_blocks), bool)
    task_toys = task_toys_of(study, task_seconds)
    row = next(rows(study.model_copy(update={"b": (b,)}), lambda _: (everything, reach), task_toys))
    tables, tables_seconds = timed(make_tables, row)
    exact, exact_seconds = timed(sum_exactly, row, tables) if tables.table else (None, 0.0)
    size = row.tasks[0].toys
    tasks = [task for task in row.tasks if task.toys == size]
    chosen = tasks[:: math.ceil(len(tasks) / max(1, min(8, 10 / task_seconds)))]
    tallies = [run_condensed(each, tables) for each in chosen]
    return Recording(study, task_seconds, tables, tables_seconds, exact, exact_seconds, tallies)


def timed(work: Any, *given: Any) -> tuple[Any, float]:
    begun = time.thread_time()
    return work(*given), time.thread_time() - begun


def tell_load(what: str, wanted: argparse.Namespace) -> None:
    """Say what the tasks of a study cost driver and scheduler, with so many workers."""
    recording = recorded(studied(what), wanted.task_seconds).slowed(wanted.slower)
    size = len(pickle.dumps(recording.tallies[0], protocol=5)) / 1e3
    first = recording.tallies[0]
    print(
        f"{what}: tasks of {recording.seconds:.2f} s (cells {len(first.s_true)}, blocks {first.stop - first.start}, "
        f"columns {len(first.columns)}), tallies of {size:.0f} kB{', encrypted' if wanted.tls else ''}"
    )
    for number in wanted.workers:
        found = load_of(recording, number, wanted.seconds, tls=wanted.tls)
        each = {name: found[name] / found["tasks"] for name in (*SPENT_BY_DRIVER, "driver", "scheduler")}
        each["submitting and the rest"] = each["driver"] - sum(each[name] for name in SPENT_BY_DRIVER)
        told = {name: f"{name} {1e3 * value:.2f}" for name, value in each.items()}
        parts = ", ".join(told[name] for name in (*SPENT_BY_DRIVER, "submitting and the rest"))
        rate, busy = found["tasks"] / found["wall"], found["waited"] / (number * found["wall"])
        print(
            f"  {number:>4} workers: {found['tasks']:,.0f} tasks, {rate:.1f} a second; workers busy {busy:.0%}, their "
            f"process {found['workers'] / found['wall']:.0%} of a core\n"
            f"       ms of CPU a task: {told['scheduler']}; {told['driver']} ({parts})\n"
            f"       now: driver {each['driver'] * rate:.1%} of a core, {found['driver_mb']:.0f} MB; scheduler "
            f"{each['scheduler'] * rate:.1%} and {found['idle']:.1%} of heartbeats, {found['scheduler_mb']:.0f} MB"
        )
        for name, idle in (("driver", 0.0), ("scheduler", found["idle"])):
            print(
                f"       {MANY} workers: {name} {idle + MANY / recording.seconds * each[name]:.1f} cores; at this cost "
                f"half a core with tasks of {MANY * each[name] / (HALF - idle):.1f} s",
                flush=True,
            )


def load_of(recording: Recording, workers: int, seconds: float, *, tls: bool) -> dict[str, float]:
    """Have a study of recorded tasks carried out; return the load of driver and scheduler."""
    security = None
    if tls:
        from distributed import Security

        security = Security.temporary()
    tasks = math.ceil(workers * seconds / recording.seconds)
    with tempfile.TemporaryDirectory() as told, ExitStack() as opened:
        folder = Path(told)
        (folder / "recording").write_bytes(pickle.dumps((recording, recording.enlarged(tasks), security)))
        address, scheduler = opened.enter_context(process(be_scheduler, folder))
        (folder / "address").write_text(address)
        _, there = opened.enter_context(process(be_workers, folder, workers))
        before = cpu_of(scheduler)
        time.sleep(5)
        idle = (cpu_of(scheduler) - before) / 5
        before, before_there = cpu_of(scheduler), cpu_of(there)
        command = [sys.executable, str(Path(__file__).resolve()), "driver", str(folder)]
        found: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)  # noqa: S603
        spent, spent_there = cpu_of(scheduler) - before, cpu_of(there) - before_there
        memory = scheduler.memory_info().rss / 1e6
    # heartbeats, which Dask has come the less often the more workers there are, are told apart
    spent -= idle * found["wall"]
    return found | {"scheduler": spent, "workers": spent_there, "idle": idle, "scheduler_mb": memory}


def cpu_of(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


@contextmanager
def process(work: Any, *given: Any) -> Iterator[tuple[str, psutil.Process]]:
    """Start a process; yield what it tells when it is ready, and the process."""
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    started = spawning.Process(target=work, args=(theirs, *given), daemon=True)
    started.start()
    try:
        if not ours.poll(120):
            raise TimeoutError(f"{work.__name__}: not ready after 120 s")
        yield ours.recv(), psutil.Process(started.pid)
    finally:
        started.terminate()
        started.join()


def quiet() -> None:
    """Have Dask log what goes wrong only."""
    import distributed  # noqa: F401 - which sets the levels of its loggers when it is imported

    for name in ("distributed", "distributed.core", "distributed.scheduler", "distributed.worker"):
        logging.getLogger(name).setLevel(logging.ERROR)


def be_scheduler(ready: Any, folder: Path) -> None:
    """Be a scheduler on the loopback interface."""
    import asyncio

    from distributed import Scheduler

    quiet()

    *_, security = pickle.loads((folder / "recording").read_bytes())  # noqa: S301 - ours
    protocol = "tls" if security else "tcp"

    async def work() -> None:
        async with Scheduler(host="127.0.0.1", port=0, protocol=protocol, security=security, dashboard=False) as it:
            ready.send(it.address)
            await it.finished()

    asyncio.run(work())


def be_workers(ready: Any, folder: Path, number: int) -> None:
    """Be workers that wait instead of working."""
    import asyncio

    import dask
    from distributed import Worker

    from covsvc.engine import condensing, work

    quiet()
    recording, _, security = pickle.loads((folder / "recording").read_bytes())  # noqa: S301 - ours
    # what the driver sends are the names of these functions
    condensing.run_condensed, work.make_tables, work.sum_exactly = replaying(recording)
    dask.config.set({"distributed.worker.profile.enabled": False, "distributed.admin.system-monitor.interval": "1 day"})

    async def begin() -> None:
        options: dict[str, Any] = {"nthreads": 1, "memory_limit": 0, "security": security, "dashboard": False}
        address = (folder / "address").read_text()
        workers = [Worker(address, local_directory=str(folder), name=at, **options) for at in range(number)]
        for worker in workers:
            await worker
        ready.send("")
        await asyncio.gather(*(worker.finished() for worker in workers))

    asyncio.run(begin())


def replaying(recording: Recording) -> tuple[Any, Any, Any]:
    """Return what takes the place of the kernels: it waits, and returns what is recorded."""

    def replayed_task(task: Task, *_: Any) -> Tally:
        place = zlib.crc32(repr((task.b, task.s_true, task.start)).encode())
        tally = recording.tallies[place % len(recording.tallies)]
        time.sleep(tally.seconds)
        return replace(tally, columns=task.columns, b=task.b, s_true=task.s_true, start=task.start, stop=task.stop)

    def replayed_tables(_: Row) -> Tables:
        time.sleep(recording.tables_seconds)
        return recording.tables

    def replayed_exact(row: Row, *_: Any) -> ExactTally:
        if recording.exact is None:  # nothing can be summed
            return sum_exactly(row, recording.tables)
        time.sleep(recording.exact_seconds)
        return replace(recording.exact, columns=row.columns, b=row.b, s_true=row.s_true)

    return replayed_task, replayed_tables, replayed_exact


def drive(folder: Path) -> dict[str, float]:
    """Be the driver of a study of recorded tasks; return CPU seconds and the like."""
    from distributed import Client

    recording, study, security = pickle.loads((folder / "recording").read_bytes())  # noqa: S301 - ours
    task_toys = task_toys_of(recording.study, recording.task_seconds)
    waited = tasks = 0.0
    with (
        Client((folder / "address").read_text(), security=security) as client,
        open_ledger(folder / "store", study, s_tile=tile_size(study, task_toys)) as ledger,
    ):
        ledger.trust_engine()

        async def thread() -> int:
            return threading.get_native_id()

        clock = _Clock(Path(f"/proc/self/task/{client.sync(thread)}/schedstat"))
        # what a ledger does by itself, too
        ledger.commit = clock.counting("committing", ledger.commit)  # type: ignore[method-assign]
        look, add = clock.counting("looking", ledger.missing), clock.counting("adding", ledger.add)
        add_exact = clock.counting("adding", ledger.add_exact)

        begun, before, before_loop = time.perf_counter(), time.process_time(), clock.loop()
        for learnt in execute(rows(study, look, task_toys), client):
            if isinstance(learnt, ExactTally):
                add_exact(learnt)
                waited += recording.exact_seconds + recording.tables_seconds
            else:
                add(learnt)
                tasks += 1
                waited += learnt.seconds
        ledger.commit()
        wall, driver, loop_took = time.perf_counter() - begun, time.process_time() - before, clock.loop() - before_loop
    memory = psutil.Process().memory_info().rss / 1e6
    told = {
        "tasks": tasks,
        "wall": wall,
        "waited": waited,
        "driver": driver,
        "Dask's loop": loop_took,
        "driver_mb": memory,
    }
    return told | clock.spent


class _Clock:
    """Counts the CPU seconds of this process by what they are spent on, those of Dask's loop apart."""

    def __init__(self, loop: Path) -> None:
        self._loop = loop
        self._within: list[float] = []
        self.spent = {"looking": 0.0, "adding": 0.0, "committing": 0.0}

    def loop(self) -> float:
        """Return the CPU seconds of Dask's loop."""
        return int(self._loop.read_text().split()[0]) / 1e9

    def counting(self, name: str, work: Any) -> Any:
        """Return what does the same, and counts; what is counted within it is left out."""

        def counted(*given: Any) -> Any:
            begun = time.process_time() - self.loop()
            self._within.append(0.0)
            try:
                return work(*given)
            finally:
                spent = time.process_time() - self.loop() - begun
                self.spent[name] += spent - self._within.pop()
                if self._within:
                    self._within[-1] += spent

        return counted


if __name__ == "__main__":
    main()
