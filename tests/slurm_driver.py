"""Drivers as batch jobs of SLURM, through the script that is shipped, and what is seen of their worker jobs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from processes import Bench
from slurm import Slurm

FOLDER = Path(__file__).parents[1] / "deploy" / "slurm"


class Driver:
    """A driver in the queue of SLURM.

    Parameters
    ----------
    slurm : Slurm
    made : Bench
        Its study and its store.
    options : mapping
        Of the cluster.
    arguments : sequence of str
        Of ``covsvc run``.
    asked : sequence of str
        Of ``sbatch``.

    Attributes
    ----------
    seen : dict of str to str
        Node of each worker job that was seen to run, by its number.
    most : int
        Worker jobs that were seen in the queue at a time.
    """

    def __init__(
        self,
        slurm: Slurm,
        made: Bench,
        options: Mapping[str, Any],
        arguments: tuple[str, ...] = (),
        asked: tuple[str, ...] = (),
    ) -> None:
        self.slurm, self.made = slurm, made
        written = made.folder / "slurm.yaml"
        told = {"name": "slurm", "memory": "1 GB", "shared_folder": f"{made.folder}/shared", **options}
        told["local_folder"] = f"{made.folder}/scratch"
        # jobs get no variables of the driver: neither the plug-ins, nor which processor OpenBLAS is told that this is
        handed_on = {
            name: value
            for name, value in made.environment.items()
            if name in ("PYTHONPATH", "RECORDED_SECONDS", "OPENBLAS_CORETYPE")
        }
        # blocks are counted where they were drawn
        exports = handed_on | {"RECORDED_FILE": f"{made.record}.$SLURMD_NODENAME"}
        told["setup"] = [*(f"export {name}={value}" for name, value in exports.items()), *told.get("setup", [])]
        written.write_text(json.dumps(told))
        environment = made.environment | {"SLURM_CONF": slurm.environment["SLURM_CONF"]}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        command = [FOLDER / "covsvc-run.sbatch", "study.yaml", "--cluster", written, "--store", made.store, *arguments]
        asked = ("--parsable", "--mem=1G", "--cpus-per-task=1", *asked)
        self.id = slurm.call("sbatch", *asked, *command, cwd=made.folder, env=environment).strip()
        self.log = made.folder / f"covsvc-run-{self.id}.log"
        self.seen: dict[str, str] = {}
        self.most = 0

    @property
    def told(self) -> str:
        """What it has printed so far, with that of its worker jobs."""
        return self.log.read_text() if self.log.exists() else "nothing yet"

    def look(self) -> dict[str, Any] | None:
        """Return what SLURM says of the job; take note of its workers. None: it is not in the queue."""
        jobs = self.slurm.jobs()
        workers = [job for job in jobs if job["name"] == f"covsvc-worker-{self.id}"]
        self.seen |= {job["id"]: job["node"] for job in workers if job["state"] == "RUNNING"}
        self.most = max(self.most, sum(job["state"] != "COMPLETING" for job in workers))
        return next((job for job in jobs if job["id"] == self.id), None)

    def workers(self) -> list[str]:
        """Return the numbers of the worker jobs that run now."""
        return [
            job["id"]
            for job in self.slurm.jobs()
            if job["name"] == f"covsvc-worker-{self.id}" and job["state"] == "RUNNING"
        ]

    def kill_worker(self, job: str) -> None:
        """Kill all of Python in a job: the workers, and who would start them again."""
        for process in self.slurm.processes_of(job):
            with suppress(psutil.Error):
                if "python" in process.name():
                    process.kill()

    def blocks(self) -> dict[str, int]:
        """Return how many blocks were drawn on each node."""
        files = self.made.folder.glob(f"{self.made.record.name}.n*")
        return {file.suffix[1:]: file.stat().st_size for file in files if file.suffix != ".calibrations"}

    def wait_for(self, happened: Callable[[], Any], seconds: float = 60.0) -> None:
        """Wait until something happened while the job is in the queue."""
        deadline = time.monotonic() + seconds
        while True:
            job = self.look()
            if happened():
                return
            assert job is not None, f"ended early:\n{self.told}"
            assert time.monotonic() < deadline, f"nothing for {seconds} s, {job}:\n{self.told}{self.slurm.logs()}"
            time.sleep(0.1)

    def wait_for_blocks(self, number: int) -> None:
        """Wait until so many blocks were drawn."""
        self.wait_for(lambda: sum(self.blocks().values()) >= number)

    def wait(self, seconds: float = 120.0) -> int:
        """Wait until the job has ended, and return its exit code."""
        self.wait_for(lambda: self.look() is None, seconds)
        ended = [job for job in self.slurm.completed() if job["JobId"] == self.id]
        return int(ended[-1]["ExitCode"].partition(":")[0])

    def hold_no_worker_left(self, seconds: float = 30.0) -> None:
        """Wait until no worker job is in the queue; fail if one stays."""
        deadline = time.monotonic() + seconds
        while left := [job for job in self.slurm.jobs() if job["name"] == f"covsvc-worker-{self.id}"]:
            assert time.monotonic() < deadline, f"in the queue after {seconds} s: {left}\n{self.told}"
            time.sleep(0.1)
