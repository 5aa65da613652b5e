"""A SLURM of two virtual nodes on this machine, whose every file, socket and process is its own."""

from __future__ import annotations

import json
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from ports import free_ports

NODES = "n1", "n2"
CPUS = 2
"""Of each node; what the machine really has does not matter."""

ENDED = (
    *(
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
    ),
    "TIMEOUT",
)
"""States of jobs that SLURM still knows, but that are in no queue."""

PROGRAMS = "munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol"

CONFIGURATION = """\
ClusterName=covsvc
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# what is requeued waits as long as a credential may live
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
PlugStackConfig={folder}/plugstack.conf
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/completed
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=100000,bf_interval=1
ScronParameters=enable
MailProg=/bin/true
MpiDefault=none
PropagateResourceLimits=NONE
ReturnToService=2
KillWait=30
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus} RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus} RealMemory=8000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE
"""


class Slurm:
    """A running SLURM.

    Parameters
    ----------
    folder : Path
        Where all of its files and sockets are.

    Attributes
    ----------
    environment : dict of str
        What makes programs find it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        self.environment["SLURM_CONF"] = str(folder / "slurm.conf")
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self) -> None:
        """Start the daemons, and wait until both nodes take jobs."""
        for made in ("state", *NODES):
            (self.folder / made).mkdir()
        (self.folder / "plugstack.conf").touch()
        # nothing uses control groups, and they need not be there; but without this slurmd looks for them
        (self.folder / "cgroup.conf").write_text(f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={self.folder}\n")
        key = self.folder / "munge.key"
        key.touch(0o400)
        with key.open("wb") as file:
            file.write(random.randbytes(1024))
        written = {
            "host": socket.gethostname().partition(".")[0],
            "ports": free_ports(3),
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            "folder": self.folder,
            "cpus": CPUS,
        }
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(**written))
        munge = {name: self.folder / f"munge.{name}" for name in ("socket", "pid", "seed", "key")}
        options = [f"--{name}={munge[name.partition('-')[0]]}" for name in ("key-file", "pid-file", "seed-file")]
        # by force: other users could not come in, and shall not
        self._start("munged", "--foreground", "--force", f"--socket={munge['socket']}", *options)
        self._wait(munge["socket"].exists, 10)
        self._start("slurmctld", "-D")
        for node in NODES:
            self.start_node(node)
        self._wait(lambda: set(self.nodes().values()) == {"idle"}, 30)

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node, too if it was killed."""
        self._start("slurmd", "-D", "-N", node, name=node)

    def call(self, *command: Any, check: bool = True, **options: Any) -> str:
        """Return what a program of SLURM prints."""
        options = {"env": self.environment, "capture_output": True, "text": True, "timeout": 60} | options
        ended = subprocess.run([str(each) for each in command], stdin=subprocess.DEVNULL, **options)
        if check and ended.returncode:
            raise AssertionError(f"{command} ends with {ended.returncode}: {ended.stderr}{self.logs()}")
        return str(ended.stdout)

    def nodes(self) -> dict[str, str]:
        """Return the state of each node."""
        told = self.call("sinfo", "--noheader", "--Node", "--format=%N %T", check=False)
        return dict(line.split() for line in told.splitlines())

    def jobs(self) -> list[dict[str, Any]]:
        """Return the jobs in the queue, with id, name, state, node and number of restarts."""
        told = json.loads(self.call("squeue", "--json"))["jobs"]
        return [
            {
                "id": str(job["job_id"]),
                "name": job["name"],
                "state": job["job_state"],
                "node": job["nodes"],
                "restarts": job["restart_cnt"],
            }
            for job in told
            if job["job_state"] not in ENDED
        ]

    def completed(self) -> list[dict[str, str]]:
        """Return the jobs that ended, with what SLURM wrote of each: JobId, Name, JobState, NodeList ..."""
        written = self.folder / "completed"
        lines = written.read_text().splitlines() if written.exists() else []
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]

    def processes(self) -> list[psutil.Process]:
        """Return all processes of this SLURM: daemons, jobs, and what these have started."""
        mine = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError, psutil.Error):
                process = psutil.Process(int(path.parent.name))
                if mine in path.read_bytes().split(b"\0") and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return [process for process in found if process.pid != os.getpid()]

    def processes_of(self, job: str) -> list[psutil.Process]:
        """Return the processes of a job, without the one of SLURM that watches over them."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                if process.environ().get("SLURM_JOB_ID") == job:
                    found.append(process)
        return found

    def cancel_all(self) -> None:
        """End all jobs, and wait until the queue is empty."""
        self.call("scancel", "--user", pwd.getpwuid(os.geteuid()).pw_name)
        self._wait(lambda: not self.jobs(), 60)

    def end(self) -> None:
        """End jobs and daemons, and whoever does not end by itself; hold that nobody is left."""
        with suppress(AssertionError, subprocess.TimeoutExpired):
            self.cancel_all()
        for process in self.processes():
            with suppress(psutil.Error):
                process.send_signal(signal.SIGTERM)
        psutil.wait_procs(self.processes(), timeout=10)
        for _ in range(5):
            for process in self.processes():
                with suppress(psutil.Error):
                    process.kill()
            time.sleep(0.05)
        for daemon in self.daemons.values():
            daemon.wait(30)
        left = [f"{process.pid} {' '.join(process.cmdline())[:200]}" for process in self.processes()]
        assert not left, f"left running: {left}"

    def logs(self) -> str:
        """Return the last lines of what the daemons have written."""
        told = (f"\n{log.name}:\n" + "\n".join(log.read_text().splitlines()[-15:]) for log in self.folder.glob("*.log"))
        return "".join(told)

    def _start(self, program: str, *options: str, name: str = "") -> None:
        name = name or program
        with (self.folder / f"{name}.log").open("a") as told:
            self.daemons[name] = subprocess.Popen(
                [found(program), *options],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self, happened: Any, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            for name, daemon in self.daemons.items():
                assert daemon.poll() is None, f"{name} ended with {daemon.returncode}:{self.logs()}"
            assert time.monotonic() < deadline, f"nothing for {seconds} s:{self.logs()}"
            time.sleep(0.05)


@contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """Yield a running SLURM; end it with all its jobs.

    Skips the test where SLURM is not installed, but not where everything is to be tested.
    """
    missing = [program for program in PROGRAMS if found(program) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{', '.join(missing)}: not installed; apt-get install munge slurmctld slurmd slurm-client")
    assert not missing, f"{missing}: not installed"
    folder.mkdir(parents=True)
    made = Slurm(folder)
    try:
        made.begin()
        yield made
    finally:
        made.end()


def found(program: str) -> str | None:
    """Return where a program is, also one of those that are for root."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
