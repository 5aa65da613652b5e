"""A cluster of PBS jobs."""

from __future__ import annotations

import getpass
from functools import partial
from typing import Any

from covsvc.engine.clusters.encryption import Certificates
from covsvc.engine.clusters.jobqueue import BatchSystem, directives, start
from covsvc.engine.clusters.options import PBSCluster


def _job() -> Any:
    from dask_jobqueue.pbs import PBSJob

    return PBSJob


def _settings(options: PBSCluster, _: Certificates) -> dict[str, Any]:
    return {
        "queue": options.queue,
        "account": options.account,
        "resource_spec": options.resources,
        "walltime": options.walltime,
        # the login shell of the user need not be one for which the script is written
        "job_extra_directives": directives("-S /bin/bash", options),
    }


PBS = BatchSystem(
    name="pbs",
    options=PBSCluster,
    job=_job,
    settings=_settings,
    listing=("qselect", "-u", getpass.getuser()),
)

connect = partial(start, PBS)
"""Start a scheduler here and workers in jobs, with the options of `PBSCluster`; yield their client."""
