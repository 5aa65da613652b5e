"""Drivers, schedulers and workers as processes of their own, an experiment that counts what it draws, and who is left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from distribution import install

PLUGIN = '''
import os
import time
from dataclasses import dataclass
import numpy as np
from covsvc.contracts import Calibration, Counts, one_sided
from covsvc.experiments.counting import Counting

@dataclass(frozen=True)
class Known:
    """What an analyst knows of a count."""
    b: float
    @property
    def key(self):
        return f"{self.b:.12g}"

@dataclass(frozen=True)
class Recorded(Counting):
    """Counts that take their time, or much memory, and leave a line in a file for each block."""
    def draw(self, s_true, b, size, rng):
        drawn = super().draw(s_true, b, size, rng)
        with open(os.environ["RECORDED_FILE"], "a") as file:
            file.write("x")
        if s_true == 6 and b == 6:
            np.ones(int(os.environ.get("RECORDED_MB", 0)) * 125_000).sum()
        time.sleep(float(os.environ["RECORDED_SECONDS"]))
        return drawn
    def model(self, b):
        return Known(b)

@dataclass(frozen=True)
class Prepared:
    """Set the limit n + 3 after long preparations."""
    calibrates = (Counts,)
    reads = (Counts,)
    sided = "upper"
    promises = "nothing"
    def calibrate(self, known, cl):
        with open(os.environ["RECORDED_FILE"] + ".calibrations", "a") as file:
            file.write("x")
        time.sleep(float(os.environ["RECORDED_SECONDS"]))
        return Calibration({"x": np.zeros(3)}, 0.0)
    def limits(self, observed, cl):
        return one_sided(observed.n + 3.0)
'''

DRIVER = """
import functools
import sys
from covsvc import api, cli
from covsvc.engine import gathering
if __name__ == "__main__":
    api.run = functools.partial(api.run, commit_seconds=float(sys.argv[1]), task_toys=float(sys.argv[2]))
    gathering.SILENCE = float(sys.argv[3])
    cli.main(sys.argv[4:])
"""
"""The command line, which commits more often, has smaller tasks and less patience."""

SILENCE = 6.0

STUDY = {
    "name": "faults",
    "experiment": "recorded",
    "methods": ["classical", "garwood"],
    "cl": [0.9],
    "s_true": [0.0, 1.0, 2.5, 6.0],
    "b": [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0],
    "toys_per_block": 1000,
    "n_toys": 5000,
    "seed": 1999,
}
BLOCKS = 4 * 10 * 5
"""Of the study; a task is one cell, of five blocks."""


class Bench:
    """A folder with a study, its store, and what plug-ins need; starts processes in sessions of their own.

    Parameters
    ----------
    folder : Path
    seconds : float
        Time that a block takes.
    """

    def __init__(self, folder: Path, seconds: float = 0.05, **changes: Any) -> None:
        site = folder / "site"
        points = (
            "[covsvc.experiments]\nrecorded = recorded_plugin:Recorded\n"
            "[covsvc.methods]\nprepared = recorded_plugin:Prepared\n"
        )
        install(site, "recorded", points, recorded_plugin=PLUGIN)
        self.folder, self.site = folder, site
        self.store, self.record = folder / "store", folder / "drawn"
        self.record.touch()
        (folder / "driver.py").write_text(DRIVER)
        (folder / "study.yaml").write_text(json.dumps(STUDY | changes))
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "RECORDED_SECONDS": str(seconds),
            "RECORDED_FILE": str(self.record),
            "NO_COLOR": "1",
        }
        self.sessions: list[int] = []
        self.started: list[subprocess.Popen[str]] = []

    @property
    def blocks(self) -> int:
        """Blocks that were drawn, those drawn twice twice."""
        return self.record.stat().st_size

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a process in a session of its own; what it prints goes to a file that `told` reads."""
        told = (self.folder / f"told{len(self.started)}").open("w")
        with told:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment | options.pop("env", {}),
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                **options,
            )
        process.told = Path(told.name)  # type: ignore[attr-defined]
        self.started.append(process)
        self.sessions.append(process.pid)
        return process

    def run(
        self, *options: str, commit_seconds: float = 0.2, task_toys: float = 5000, **process: Any
    ) -> subprocess.Popen[str]:
        """Start `covsvc run` of the study."""
        chosen = [
            str(commit_seconds),
            str(task_toys),
            str(SILENCE),
            "run",
            "study.yaml",
            "--store",
            str(self.store),
            *options,
        ]
        return self.start(sys.executable, "driver.py", *chosen, **process)

    def scheduler(self, *options: str) -> tuple[subprocess.Popen[str], str]:
        """Start a scheduler by hand; return its address, too."""
        program = Path(sys.executable).parent / "dask"
        process = self.start(
            *(str(program), "scheduler", "--host", "127.0.0.1", "--port", "0"),
            *("--dashboard-address", "127.0.0.1:0", *options),
        )
        return process, self.address_of(process)

    def address_of(self, scheduler: subprocess.Popen[str]) -> str:
        """Return the address that a scheduler tells when it is up."""
        at = re.compile(r"Scheduler at:\s+(t(?:cp|ls)://\S+)")
        self.wait_for(lambda: at.search(told(scheduler)), scheduler)
        found = at.search(told(scheduler))
        assert found
        return found[1]

    def worker(self, address: str, *options: str) -> subprocess.Popen[str]:
        """Start a worker by hand, single-threaded."""
        program = Path(sys.executable).parent / "dask"
        command = [str(program), "worker", address, "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard"]
        return self.start(*command, "--local-directory", str(self.folder / "scratch"), *options)

    def wait_for(self, happened: Any, process: subprocess.Popen[str], seconds: float = 120.0) -> None:
        """Wait until something happened while a process runs."""
        deadline = time.monotonic() + seconds
        while not happened():
            assert process.poll() is None, f"ended early with {process.returncode}:\n{told(process)}"
            assert time.monotonic() < deadline, f"nothing for {seconds} s:\n{told(process)}"
            time.sleep(0.02)

    def wait_for_blocks(self, number: int, process: subprocess.Popen[str]) -> None:
        """Wait until so many blocks were drawn."""
        self.wait_for(lambda: self.blocks >= number, process)

    def left(self) -> list[str]:
        """Return the processes that are left of all sessions that were started here."""
        return [f"{each.pid} {' '.join(each.cmdline())[:200]}" for each in members(*self.sessions)]

    def hold_nothing_left(self, seconds: float = 60.0) -> None:
        """Wait until nobody is left of what was started; fail if somebody stays."""
        deadline = time.monotonic() + seconds
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not self.left(), f"left running: {self.left()}"

    def close(self) -> None:
        """End all that was started, by its session."""
        kill_members(*self.sessions)
        for process in self.started:
            process.wait(30)


@contextmanager
def bench(folder: Path, seconds: float = 0.05, **changes: Any) -> Iterator[Bench]:
    """Yield a `Bench`; hold that nobody is left when it ends well, and end all in any case."""
    held = Bench(folder, seconds, **changes)
    try:
        yield held
        held.hold_nothing_left()
    finally:
        held.close()


def told(process: subprocess.Popen[str]) -> str:
    """Return what a process printed so far."""
    text: str = process.told.read_text()  # type: ignore[attr-defined]
    return text


def end(process: subprocess.Popen[str], signal_number: int = signal.SIGTERM, seconds: float = 30.0) -> int:
    """Send a signal to a process, and return its exit code."""
    process.send_signal(signal_number)
    return process.wait(seconds)


def members(*sessions: int) -> list[psutil.Process]:
    """Return the living processes of some sessions."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return found


def kill_members(*sessions: int) -> None:
    """Kill all processes of some sessions, those aside that end meanwhile."""
    for each in members(*sessions):
        with suppress(psutil.NoSuchProcess):
            each.kill()


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the workers that a driver or a nanny started: descendants that execute Python's spawn."""
    return [
        each for each in members(process.pid) if each.pid != process.pid and "spawn_main" in " ".join(each.cmdline())
    ]
