"""A batch system whose jobs are processes of this machine, each in a session of its own; the number is its first one's."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress

import psutil

from covsvc.engine.clusters.jobqueue import BatchSystem, start
from covsvc.engine.clusters.options import QueuedCluster

SUBMIT = """sh -c 'script=$(cat "$0"); setsid bash -c "$script" >>{log} 2>&1 </dev/null & echo $!'"""


def job():
    """Return the class of the jobs, which run a script in the background."""
    from dask_jobqueue.core import Job

    class ProcessJob(Job):
        submit_command = "sh"
        cancel_command = """sh -c 'kill -- -"$0"'"""

        def __init__(self, scheduler=None, name=None, **options):
            super().__init__(scheduler, name, **options)
            self.job_header = ""
            self.submit_command = SUBMIT.format(log=f"{self.log_directory}/log" if self.log_directory else "/dev/null")

    return ProcessJob


def system(job=job):
    """Return the batch system, with jobs of a class."""
    return BatchSystem("processes", QueuedCluster, job, lambda *_: {}, ("ps", "-e", "-o", "pid="))


def is_alive(job):
    """Tell whether any process of a job is left."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == int(job) and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def end(job):
    """End all processes of a job at once."""
    with suppress(ProcessLookupError):
        os.killpg(int(job), signal.SIGKILL)


def looking_often(monkeypatch):
    """Have queue and work looked at often."""
    from covsvc.engine.clusters import jobs

    monkeypatch.setattr(jobs, "LOOK", 0.3)
    monkeypatch.setattr(jobs, "SCALED", 0.2)


def main(options):
    """Drive: have one worker whatever the options say, tell its job, and wait until interrupted."""
    try:
        with start(system(), 1, options) as client:
            sys.stdout.write(" ".join(job.job_id for job in client.cluster.workers.values()) + "\n")
            sys.stdout.flush()
            time.sleep(600)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
