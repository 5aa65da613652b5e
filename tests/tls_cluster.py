"""A cluster over several hosts, which talk TLS, as the units of deploy/hosts start it."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import xarray as xr
from hosts import Host, network
from processes import SILENCE, STUDY, Bench, bench, end, told
from units import Unit

DEPLOY = Path(__file__).parents[1] / "deploy"
SCRIPT = DEPLOY / "tls" / "make-certificates.sh"

TIMES = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "10s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "15s",
}
"""In which a host is given up whose link is cut; less Dask refuses."""

LONGEST = 2.0
"""Seconds in which a service is started again at the latest, whatever its unit says."""


READ = """
import pathlib, pickle, sys
from covsvc.store.repository import open_cube
file, store, *studies = sys.argv[1:]
pathlib.Path(file).write_bytes(pickle.dumps([open_cube(store, study).load() for study in studies]))
"""


class Cluster:
    """Hosts with their certificates, on which services are started; a scheduler, and two hosts with a worker each.

    Parameters
    ----------
    made : Bench
    hosts : list of Host
        For the scheduler, two for workers, and one for drivers.
    """

    def __init__(self, made: Bench, hosts: list[Host]) -> None:
        self.made = made
        self.scheduler_host, *self.worker_hosts, self.driver_host = hosts
        self.address = f"tls://{self.scheduler_host.address}:8786"
        self.services: list[subprocess.Popen[str]] = []
        self._issue("ca", "tls", hosts)
        for host in hosts:
            etc = self.root(host) / "etc/covsvc"
            etc.mkdir(parents=True)
            shutil.copytree(made.folder / "tls" / host.name, etc / "tls")
            self.set_environment(host, "cluster", COVSVC_CLUSTER=self.address, **TIMES)
        (self.root(self.driver_host) / "etc/covsvc/studies").mkdir()
        self.name_study("faults")
        self.scheduler = self.keep(self.scheduler_host, "covsvc-scheduler")
        self.workers = [self.keep(host, "covsvc-worker@", "1") for host in self.worker_hosts]

    def root(self, host: Host) -> Path:
        """Return the folder that stands for the root of a host."""
        return self.made.folder / host.name

    def _issue(self, authority: str, folder: str, hosts: list[Host]) -> None:
        names = [f"{host.name},{host.address}" for host in hosts]
        for arguments in (("ca", authority), ("issue", "--ca", authority, "--out", folder, *names)):
            subprocess.run([SCRIPT, *arguments], cwd=self.made.folder, check=True, capture_output=True, timeout=60)

    def others(self) -> Path:
        """Return a folder of certificates for the driver's host by another CA."""
        self._issue("other-ca", "others", [self.driver_host])
        return self.made.folder / "others" / self.driver_host.name

    def set_environment(self, host: Host, name: str, **lines: str) -> None:
        """Write a file of /etc/covsvc that units read."""
        file = self.root(host) / f"etc/covsvc/{name}.env"
        file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    def name_study(self, name: str, **changes: object) -> None:
        """Put a study where the driver's unit finds it."""
        file = self.root(self.driver_host) / f"etc/covsvc/studies/{name}.yaml"
        file.write_text(json.dumps(STUDY | {"name": name} | changes))

    def store(self) -> Path:
        """Return the store of the driver's unit."""
        return self.root(self.driver_host) / "var/lib/covsvc/coverage-cubes"

    def keep(self, host: Host, unit: str, instance: str = "") -> subprocess.Popen[str]:
        """Start the service of a unit on a host, and have it started again as the unit says."""
        dask = str(Path(sys.executable).parent / "dask")
        hurried = [sys.executable, str(self.made.folder / "driver.py"), "1.0", "5000", str(SILENCE)]
        programs = {"dask": [dask], "covsvc": hurried}
        service = Unit(DEPLOY / "hosts" / f"{unit}.service", self.root(host), programs, instance)
        service.prepare()
        process = self.made.start(*host.inside(*service.kept(LONGEST)), env=service.environment())
        self.services.append(process)
        return process

    def run(self, study: str = "faults") -> subprocess.Popen[str]:
        """Start the service that drives a study."""
        return self.keep(self.driver_host, "covsvc-run@", study)

    def call(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command of Python on the driver's host."""
        return self.made.start(*self.driver_host.inside(sys.executable, *command), env=environment)

    def read(self, store: str, *studies: str, **environment: str) -> list[xr.Dataset]:
        """Return cubes from a store that the driver's host reaches."""
        ended = self.call("-c", READ, "cubes", store, *studies, **environment)
        assert ended.wait(60) == 0, told(ended)
        cubes: list[xr.Dataset] = pickle.loads((self.made.folder / "cubes").read_bytes())
        return cubes

    def wait_for(self, process: subprocess.Popen[str], sentence: str, times: int = 1, seconds: float = 60.0) -> None:
        """Wait until a service says something, so many times."""
        self.made.wait_for(lambda: told(process).count(sentence) >= times, process, seconds)

    def close(self) -> None:
        """Stop all services, the scheduler last."""
        scheduler, *others = self.services
        working = [each for each in others if each.poll() is None]
        for each in working:
            each.terminate()
        for each in working:
            each.wait(60)
        end(scheduler, seconds=60)


@contextmanager
def tls_cluster(folder: Path, seconds: float = 0.05) -> Iterator[Cluster]:
    """Yield a cluster over four hosts in an empty folder; hold that nobody is left when it ends well."""
    with ExitStack() as held:
        hosts = held.enter_context(network("scheduler", "one", "two", "driver"))
        made = held.enter_context(bench(folder, seconds))
        cluster = Cluster(made, hosts)
        yield cluster
        cluster.close()
