"""Jobs of a batch system, and who keeps their number."""

from __future__ import annotations

import asyncio
import math
import re
import time
from contextlib import suppress
from typing import Any

from distributed.core import Status
from distributed.deploy.adaptive import Adaptive

SCALED = 5.0
"""Seconds between two looks at how many workers there is work for."""

LOOK, LONGEST = 30.0, 1800.0
"""Seconds between two looks at the queue, at most, while a job has no worker; while jobs end without having had one."""

_IDLE = 60.0
"""Seconds in which a worker without work keeps its job."""

_AT_ONCE = 8
"""Commands that a batch system is given at the same time."""


def job_class(of_system: type, section: str) -> type:
    """Return the class of the jobs of one cluster, which remember what became of them.

    Parameters
    ----------
    of_system : type
        A job of dask-jobqueue.
    section : str
        Of dask-jobqueue's configuration.
    """

    class Job(of_system):  # type: ignore[misc]
        config_name = section
        at_once = asyncio.Semaphore(_AT_ONCE)

        def __init__(self, *arguments: Any, security: Any = None, **options: Any) -> None:  # noqa: ARG002
            # the certificates are among the worker's arguments, by the names that they have there
            super().__init__(*arguments, **options)
            self.refusal = ""
            self.joined = False

        async def start(self) -> None:
            async with self.at_once:
                try:
                    await super().start()
                except (OSError, RuntimeError, ValueError) as error:
                    self.refusal = _first_line(str(error))
                    # for Dask it runs: it is asked for again when the queue is looked at, not before
                    self.status = Status.running

        async def close(self) -> None:
            async with self.at_once:
                with suppress(OSError):  # no command any more; without its scheduler the job ends by itself
                    await super().close()
            self.status = Status.closed

    return Job


class Keeper(Adaptive):  # type: ignore[misc]
    """Keeps as many workers as there are tasks to do, within bounds, and has ended jobs submitted again.

    Dask asks for a job once: one that ended, or was put on hold, before its workers had joined, and one of several
    workers, it takes for alive for ever. The batch system knows better, and which jobs it will start again itself, too.

    Parameters
    ----------
    cluster : dask_jobqueue.core.JobQueueCluster
    workers_per_job : int
    listing : tuple of str
        The command that lists the jobs of the user which wait or run, one a line, its number first.
    minimum, maximum : int
        Workers.
    """

    def __init__(
        self, cluster: Any, workers_per_job: int, listing: tuple[str, ...], minimum: int, maximum: int
    ) -> None:
        self._per_job, self._listing = workers_per_job, listing
        self._pause = self._next_look = 0.0
        self._lost: set[str] = set()
        self.fruitless = 0
        whole = {} if workers_per_job == 1 else {"worker_key": job_of}
        super().__init__(
            cluster,
            interval=SCALED,
            minimum=self._whole_jobs(minimum),
            maximum=self._whole_jobs(maximum),
            wait_count=math.ceil(_IDLE / SCALED),
            **whole,
        )

    async def target(self) -> int:
        """Return for how many workers there is a task: the driver submits a few more than they have in hand."""
        scheduler = self.cluster.scheduler
        waiting = len(scheduler.queued) + len(scheduler.unrunnable)
        return self._whole_jobs(waiting + sum(len(worker.processing) for worker in scheduler.workers.values()))

    async def adapt(self) -> None:
        """Forget the jobs that ended, and have as many as there should be."""
        await self._forget_ended()
        await super().adapt()

    async def _forget_ended(self) -> None:
        """Forget the jobs that the batch system does not have, which then are submitted again."""
        here = {str(worker.name) for worker in self.cluster.scheduler.workers.values()}
        missed = {}
        for name, job in list(self.cluster.workers.items()):
            present = here & self._names(name)
            job.joined |= bool(present)
            if len(present) < self._per_job:
                missed[name] = job
        lost = {name for name, job in missed.items() if job.joined}
        if not lost <= self._lost:
            self._pause = self._next_look = 0.0
        self._lost = lost
        if not missed or time.monotonic() < self._next_look:
            return
        listed = await self._listed() if any(job.job_id for job in missed.values()) else set()
        ended = {} if listed is None else {name: job for name, job in missed.items() if job.job_id not in listed}
        for name, job in ended.items():
            await job.close()  # on hold it is still there
            if self.cluster.workers.get(name) is job:
                del self.cluster.workers[name]
        in_vain = [job for job in ended.values() if not job.joined]
        self.fruitless = 0 if here else self.fruitless + sum(not job.refusal for job in in_vain)
        self._pause = min(2 * self._pause or SCALED, LONGEST if in_vain else LOOK)
        self._next_look = time.monotonic() + self._pause

    async def _listed(self) -> set[str] | None:
        """Return the numbers of the jobs that wait or run; None if that cannot be known now."""
        job = next(iter(self.cluster.workers.values()))
        try:
            told = await job._call(list(self._listing))
        except (OSError, RuntimeError):
            return None
        found = (re.match(r"\s*" + job.job_id_regexp, line) for line in told.splitlines())
        return {each["job_id"] for each in found if each}

    def _names(self, job: str) -> set[str]:
        """Return the names of the workers of a job."""
        return {job} if self._per_job == 1 else {f"{job}-{number}" for number in range(self._per_job)}

    def _whole_jobs(self, workers: int) -> int:
        return math.ceil(workers / self._per_job) * self._per_job


def job_of(worker: Any) -> str:
    """Return the name of the job of one of its several workers."""
    return str(worker.name).rpartition("-")[0]


def _first_line(told: str) -> str:
    """Return the first line of what the command of a batch system said."""
    said = told.partition("stderr:\n")[2] or told.partition("output is:\n")[2] or told
    return next((line.strip() for line in said.splitlines() if line.strip()), told.splitlines()[0])
