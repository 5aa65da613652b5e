"""A cluster of SLURM jobs."""

from __future__ import annotations

from functools import partial
from typing import Any

from covsvc.engine.clusters.encryption import Certificates
from covsvc.engine.clusters.jobqueue import BatchSystem, directives, start
from covsvc.engine.clusters.options import SlurmCluster


def _job() -> Any:
    from dask_jobqueue.slurm import SLURMJob

    return SLURMJob


def _settings(options: SlurmCluster, _: Certificates) -> dict[str, Any]:
    return {
        "queue": options.partition,
        "account": options.account,
        "walltime": options.walltime,
        # nothing of this environment, which may hold credentials, but what a login on the node gives
        "job_extra_directives": directives("--export=NONE", options),
    }


SLURM = BatchSystem(
    name="slurm",
    options=SlurmCluster,
    job=_job,
    settings=_settings,
    listing=("squeue", "--me", "--noheader", "--format=%A"),
)

connect = partial(start, SLURM)
"""Start a scheduler here and workers in jobs, with the options of `SlurmCluster`; yield their client."""
