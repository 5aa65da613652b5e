"""Clusters whose workers are jobs of a batch system."""

from __future__ import annotations

import importlib
import math
import secrets
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from logging import CRITICAL
from pathlib import Path
from typing import Any, Generic, TypeVar

from covsvc.engine.clusters.encryption import Certificates
from covsvc.engine.clusters.options import (
    PBSCluster,
    QueuedCluster,
    SlurmCluster,
    read_options,
    seconds_of,
    with_workers,
)
from covsvc.engine.clusters.page import with_page
from covsvc.engine.clusters.quiet import QUIET, silenced, variable_of, without_interrupts
from covsvc.engine.clusters.run_certificates import certificates_of_run
from covsvc.engine.clusters.waiting import FIRST, Waiting
from covsvc.engine.gathering import be_patient
from covsvc.errors import ClusterError, StudyError
from covsvc.signals import uninterrupted

_ORPHANED = 60
"""Seconds after which a worker ends that finds no scheduler: its driver was killed while the job was waiting."""

_FRUITLESS = 3
"""How often each of the fewest jobs may end before its worker has joined, while none ever has."""

_MARGIN = 600
"""Seconds before the end of a job in which its workers hand back their tasks and end, at most."""

_CONFIGURATION = QUIET | {
    "distributed.comm.require-encryption": True,
    "distributed.scheduler.allowed-failures": 10,  # jobs are preempted: a task whose worker died is no bad one
    "distributed.scheduler.worker-ttl": "2 minutes",  # hosts are cut off and jobs suspended without a sign
    "distributed.deploy.lost-worker-timeout": "1000 days",  # the batch system knows better: it may requeue the job
}
"""Of Dask, in this process."""

_OF_WORKERS = ("distributed.comm.", "distributed.worker.", "distributed.admin.")
"""What of it goes with the jobs, too."""

SECTION = "covsvc"
"""Of dask-jobqueue's configuration: ours, lest a jobqueue.yaml of the user or of the site is mixed with the options."""

_UNSET = (
    *("cores", "memory", "processes", "python", "interface", "local-directory", "log-directory", "queue", "account"),
    *("project", "walltime", "resource-spec", "job-cpu", "job-mem", "disk", "shared-temp-directory"),
    *("extra", "env-extra", "job-extra", "header-skip"),
)
_SET = {
    "name": "covsvc",
    "worker-command": "distributed.cli.dask_worker",
    "shebang": "#!/usr/bin/env bash",
    "death-timeout": _ORPHANED,
    "job-extra-directives": [],
    "job-directives-skip": [],
    "submit-command-extra": [],
    "cancel-command-extra": [],
    "scheduler-options": {},
}

Options = TypeVar("Options", bound=QueuedCluster)


@dataclass(frozen=True)
class BatchSystem(Generic[Options]):
    """What one batch system has of its own.

    Attributes
    ----------
    name : str
        Of the cluster.
    options : type
        Its options.
    job : callable
        Returns the class of dask-jobqueue that submits its jobs.
    settings : callable
        Returns what that class takes for the options and the certificates, beside what all take.
    listing : tuple of str
        The command that lists the jobs of the user which wait or run, one a line, its number first.
    brings_files : bool
        Whether it brings the certificates to the folder where a job runs.
    """

    name: str
    options: type[Options]
    job: Callable[[], Any]
    settings: Callable[[Options, Certificates], Mapping[str, Any]]
    listing: tuple[str, ...]
    brings_files: bool = False


def directives(first: str, options: SlurmCluster | PBSCluster) -> list[str]:
    """Return the directives of a script: what its system needs, no logs where no folder is named, and the user's."""
    silent = ["-e /dev/null", "-o /dev/null"] if options.log_folder is None else []
    return [first, *silent, *options.directives]


@contextmanager
def start(
    system: BatchSystem[Options],
    n_workers: int | None,
    options: Mapping[str, Any],
    tell: Callable[[str], None] | None = None,
) -> Iterator[Any]:
    """Start a scheduler in this process and workers in jobs; yield their client when the first has joined.

    Parameters
    ----------
    system : BatchSystem
    n_workers : int, optional
        Instead of the workers of the options.
    options : mapping
    tell : callable, optional
        Is told in a sentence that the first worker is waited for.

    Raises
    ------
    StudyError
        If an option is refused, or this machine cannot submit jobs.
    ClusterError
        If jobs are refused, or end before a worker joins, or none joins in time.
    """
    asked = read_options(system.options, system.name, with_workers(options, n_workers))
    with_library(system.name, "dask_jobqueue", "hpc")
    _hold_submit_host(system)
    import dask
    from distributed import Client

    with ExitStack() as opened:
        certificates = opened.enter_context(certificates_of_run(Path(asked.shared_folder)))
        opened.enter_context(silenced("dask_jobqueue"))
        opened.enter_context(dask.config.set(configuration() | with_page()))
        with uninterrupted(), without_interrupts():
            try:
                cluster = opened.enter_context(_cluster(system, asked, certificates))
                client = opened.enter_context(Client(cluster))
            except (OSError, RuntimeError) as error:
                raise ClusterError(f"{system.name}: no scheduler can be started here: {error}") from error
        be_patient(client, asked.patience)
        _start_workers(system, asked, cluster, tell)
        yield client


def with_library(cluster: str, module: str, extra: str) -> None:
    """Import the library of a cluster.

    Raises
    ------
    StudyError
        Which says how to install it.
    """
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        importlib.import_module(module)
    except ImportError as error:
        name = (error.name or module).partition(".")[0].replace("_", "-")
        raise StudyError(f"{cluster}: needs {name}, which is not installed; pip install 'covsvc[{extra}]'") from None
    except ValueError:  # of signals in another thread
        raise StudyError(f"{cluster}: is started from the main thread of a process") from None
    finally:
        # dask-jobqueue has Ctrl-C end the process as if all were done
        if on_interrupt is not None and signal.getsignal(signal.SIGINT) is not on_interrupt:
            signal.signal(signal.SIGINT, on_interrupt)


def configuration() -> dict[str, Any]:
    """Return the configuration of Dask and dask-jobqueue while such a cluster runs."""
    return _CONFIGURATION | {f"jobqueue.{SECTION}": dict.fromkeys(_UNSET) | _SET}


def settings(system: BatchSystem[Options], options: Options, certificates: Certificates) -> dict[str, Any]:
    """Return what the jobs of a batch system take.

    Parameters
    ----------
    system : BatchSystem
    options : QueuedCluster
    certificates : Certificates
        As the workers find them.
    """
    from dask.utils import parse_bytes

    exports = [
        f"export {variable_of(key)}={value}" for key, value in _CONFIGURATION.items() if key.startswith(_OF_WORKERS)
    ]
    told = {
        "cores": options.workers_per_job,
        "processes": options.workers_per_job,
        "memory": f"{options.workers_per_job * parse_bytes(options.memory)} B",
        "python": shlex.quote(options.python),
        "log_directory": options.log_folder,
        "local_directory": None if options.local_folder is None else f'"{options.local_folder}"',
        "job_script_prologue": [*exports, *options.setup],
        "worker_extra_args": _worker_arguments(system, options, certificates),
    }
    return told | dict(system.settings(options, certificates))


def _worker_arguments(system: BatchSystem[Options], options: Options, certificates: Certificates) -> list[str]:
    """Return what a worker is told beside its scheduler."""
    files = {
        "--tls-ca-file": certificates.ca,
        "--tls-cert": certificates.certificate,
        "--tls-key": certificates.key,
    }
    arguments = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]  # where its figures are served, all the same
    for flag, path in files.items():
        arguments += [flag, path.name if system.brings_files else shlex.quote(str(path))]
    if options.walltime is not None:
        margin = min(_MARGIN, seconds_of(options.walltime) // 5)
        lifetime = seconds_of(options.walltime) - margin
        arguments += ["--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{margin // 2}s"]
    return arguments


def _hold_submit_host(system: BatchSystem[Options]) -> None:
    """Hold that the commands of the batch system are here."""
    job = system.job()
    for command in (job.submit_command, job.cancel_command, system.listing[0]):
        program = shlex.split(command)[0]
        if shutil.which(program) is None:
            raise StudyError(
                f"{system.name}: {program} is not found: this is no machine from which jobs are submitted; run it on "
                "one that is, or take another --cluster"
            )


def _cluster(system: BatchSystem[Options], options: Options, certificates: Certificates) -> Any:
    """Start the scheduler."""
    from dask_jobqueue.core import JobQueueCluster

    from covsvc.engine.clusters.jobs import job_class

    addresses = {"dashboard_address": options.dashboard, "port": options.port}
    return JobQueueCluster(
        job_cls=job_class(system.job(), SECTION),
        name=f"covsvc-{secrets.token_hex(4)}",
        security=certificates.security(),
        interface=options.interface,
        scheduler_options=addresses if options.host is None else addresses | {"host": options.host},
        silence_logs=CRITICAL,  # what happens to workers the driver says in a sentence
        **settings(system, options, certificates),
    )


def _start_workers(
    system: BatchSystem[Options], options: Options, cluster: Any, tell: Callable[[str], None] | None
) -> None:
    """Submit jobs, and wait for the first worker."""
    from covsvc.engine.clusters.jobs import Keeper

    bounds = options.workers
    keeper = cluster.adapt(
        Adaptive=partial(Keeper, workers_per_job=options.workers_per_job, listing=system.listing),
        minimum=bounds.minimum,
        maximum=bounds.maximum,
    )
    cluster.scale(bounds.minimum)
    fewest = math.ceil(bounds.minimum / options.workers_per_job)
    told = f"those in {options.log_folder} say why" if options.log_folder else "give a log_folder, which will say why"
    waiting = Waiting(FIRST, options.patience, tell)
    while not cluster.scheduler.workers:
        jobs = list(cluster.workers.values())
        if jobs and all(job.refusal for job in jobs):
            raise ClusterError(f"{system.name}: no job is taken: {jobs[0].refusal}")
        if keeper.fruitless >= _FRUITLESS * fewest:
            raise ClusterError(f"{system.name}: {keeper.fruitless} jobs ended before their workers joined; {told}")
        if waiting.left < 0:
            waited = f"{options.patience:,.0f} s"
            raise ClusterError(f"{system.name}: no worker joined within {waited}; see to the queue, or raise patience")
        waiting.say(f"{len(jobs)} jobs are in the queue of {system.name}")
        time.sleep(0.1)
