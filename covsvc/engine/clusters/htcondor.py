"""A cluster of HTCondor jobs."""

from __future__ import annotations

from functools import partial
from typing import Any

from covsvc.engine.clusters.encryption import Certificates
from covsvc.engine.clusters.jobqueue import BatchSystem, start
from covsvc.engine.clusters.options import HTCondorCluster, seconds_of


def _job() -> Any:
    from dask_jobqueue.htcondor import HTCondorJob

    class Job(HTCondorJob):  # type: ignore[misc]
        executable = "/bin/bash"
        _command_template: str

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            # $(...) is for the shell on the node, not for HTCondor, which would put nothing there
            self._command_template = self._command_template.replace("$(", "$(DOLLAR)(")

    return Job


def _settings(options: HTCondorCluster, certificates: Certificates) -> dict[str, Any]:
    files = ", ".join(str(path) for path in (certificates.ca, certificates.certificate, certificates.key))
    commands = {
        "batch_name": "covsvc",
        "transfer_executable": "False",
        "should_transfer_files": "YES",
        "transfer_input_files": files,
        "encrypt_input_files": str(certificates.key),
        "transfer_output_files": '""',
        "when_to_transfer_output": "ON_EXIT",
    }
    if options.account is not None:
        commands["accounting_group"] = options.account
    if options.requirements is not None:
        commands["requirements"] = options.requirements
    if options.walltime is not None:
        commands["allowed_execute_duration"] = str(seconds_of(options.walltime))
    return {"disk": options.disk, "job_extra_directives": commands | dict(options.directives)}


HTCONDOR = BatchSystem(
    name="htcondor",
    options=HTCondorCluster,
    job=_job,
    settings=_settings,
    # on hold, removed and completed ones do not come back by themselves
    listing=("condor_q", "-constraint", "JobStatus < 3 || JobStatus > 5", "-autoformat:j", "JobStatus"),
    brings_files=True,
)

connect = partial(start, HTCONDOR)
"""Start a scheduler here and workers in jobs, with the options of `HTCondorCluster`; yield their client."""
