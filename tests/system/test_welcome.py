"""Workers that have something else than the driver: refused by name, those that join later, too."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from distribution import install
from ports import free_ports
from processes import bench, end, told

from covsvc import registry
from covsvc.engine import gathering
from covsvc.engine.clusters import connect
from covsvc.engine.clusters.sameness import machine
from covsvc.engine.clusters.welcoming import welcome
from covsvc.engine.gathering import ask, be_patient, gather
from covsvc.engine.refusals import BITS
from covsvc.errors import ClusterError
from covsvc.study import study_of
from covsvc.version import __version__

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
ENTRY = "[covsvc.methods]\nodd = odd_plugin:Odd\n"
METHOD = '''
from dataclasses import dataclass
from covsvc.contracts import Counts, one_sided

@dataclass(frozen=True)
class Odd:
    """Set the limit n + 3."""
    reads = (Counts,)
    sided = "upper"
    promises = "nothing"
    def limits(self, observed, cl):
        return one_sided(observed.n + 3.0)
'''
OTHER_LIBC = 'import platform\nplatform.libc_ver = lambda *_: ("glibc", "9.99")\n'
OTHER_VERSION = 'import covsvc.version\ncovsvc.version.__version__ = "0.0.1"\n'
OTHER_BITS = """
from covsvc.kernels import outcomes
ours = outcomes.sum_outcomes
outcomes.sum_outcomes = lambda *arguments: ours(*arguments) * (1 + 2**-52)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Yield a bench with a method of somebody else, and the address of a scheduler."""
    folder = tmp_path_factory.mktemp("welcome")
    install(folder / "odd", "odd", ENTRY, odd_plugin=METHOD)
    sys.path.insert(0, str(folder / "odd"))
    registry.installed.cache_clear()
    try:
        with bench(folder) as started:
            scheduler, started.address = started.scheduler()
            yield started
            end(scheduler)
    finally:
        sys.path.remove(str(folder / "odd"))
        registry.installed.cache_clear()
        sys.modules.pop("odd_plugin", None)


@pytest.fixture
def start(made):
    """Return what starts a worker that finds other files before ours; all are ended."""
    workers = []

    def start_worker(*folders, plugin=True, at=("--host", "127.0.0.1"), **site):
        path = [str(each) for each in folders]
        if site:
            path.append(str(made.folder / f"site{len(made.started)}"))
            Path(path[-1]).mkdir()
            (Path(path[-1]) / "sitecustomize.py").write_text(site["customize"])
        path += [str(made.folder / "odd")] * plugin
        command = [Path(sys.executable).parent / "dask", "worker", made.address, "--nthreads", "1", "--no-nanny"]
        workers.append(
            made.start(
                *map(str, command),
                *(*at, "--no-dashboard", "--local-directory", str(made.folder / "scratch")),
                env={"PYTHONPATH": os.pathsep.join([*path, str(ROOT)])},
            )
        )
        return workers[-1]

    yield start_worker
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.wait(30)


@pytest.fixture
def study():
    return study_of(
        {
            "name": "small",
            "experiment": "counting",
            "methods": ["classical", "odd"],
            "cl": 0.9,
            "s_true": [1, 2],
            "b": 1,
            "n_toys": 1000,
            "toys_per_block": 1000,
            "seed": 1,
        }
    )


@contextmanager
def client_of(made, workers):
    """Yield a client of the scheduler, when it has so many workers."""
    from distributed import Client

    with Client(made.address, set_as_default=False) as client:
        deadline = time.monotonic() + 60
        while len(client.scheduler_info()["workers"]) != workers:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield client


def copy_of_covsvc(folder):
    """Copy the package with another line in engine/work.py."""
    shutil.copytree(ROOT / "covsvc", folder / "covsvc", ignore=shutil.ignore_patterns("__pycache__"))
    work = folder / "covsvc" / "engine" / "work.py"
    source = work.read_text()
    work.write_text(source.replace("MOST_UNANSWERED = 3", "MOST_UNANSWERED = 4"))
    assert work.read_text() != source
    return folder


def test_workers_that_differ_are_refused_by_name_with_both_values_and_the_cure(made, start, study, tmp_path):
    install(tmp_path / "other", "odd", ENTRY, odd_plugin=METHOD.replace("3.0", "3.5"))
    (tmp_path / "bare" / "covsvc").mkdir(parents=True)
    (tmp_path / "bare" / "covsvc" / "__init__.py").write_text('raise ImportError("no covsvc here")\n')
    changed = copy_of_covsvc(tmp_path)
    expected = {
        start(): None,
        start(changed): r"the code of the engine \(covsvc\.engine\.work\) [0-9a-f]{16}, [0-9a-f]{16} here$",
        start(tmp_path / "other"): r"the code of method odd \(odd_plugin\) [0-9a-f]{16}, [0-9a-f]{16} here$",
        start(tmp_path / "bare"): rf"covsvc .+ \(no covsvc here\), {__version__} here$",
        start(plugin=False): r"method odd not installed, that of odd 1\.0 here$",
        start(customize=OTHER_VERSION): rf"covsvc 0\.0\.1, {__version__} here$",
    }
    with client_of(made, len(expected)) as client:
        names = {pid: worker for worker, pid in client.run(os.getpid).items()}
        with pytest.raises(ClusterError) as refused, connect(client, study=study):
            pass
    head, *lines, cure = str(refused.value).splitlines()
    assert head == f"{made.address}: 5 of 6 workers have something else than this driver"
    assert cure == "install there what is here, and restart the workers; then run it again"
    for worker, pattern in expected.items():
        where = f"  {names[worker.pid]} on {socket.gethostname()}: "
        of_it = [line.removeprefix(where) for line in lines if line.startswith(where)]
        assert len(of_it) == (pattern is not None)
        assert all(re.match(pattern, line) for line in of_it), of_it
        assert "Traceback" not in told(worker)


def test_another_libc_is_no_reason_and_other_bits_are_one(made, start, study):
    start(customize=OTHER_LIBC)
    with client_of(made, 1) as client:
        with connect(client, study=study):
            pass
        start(customize=OTHER_LIBC + OTHER_BITS)
    with client_of(made, 2) as client, pytest.raises(ClusterError) as refused, connect(client, study=study):
        pass
    head, line, cure = str(refused.value).splitlines()
    assert head == f"{made.address}: 1 of 2 workers have something else than this driver"
    ours = re.escape(machine()["platform"])
    assert re.search(rf": {BITS} [0-9a-f]{{16}}, [0-9a-f]{{16}} here; platform .+ 9\.99, {ours} here$", line), line
    assert cure.startswith("run the driver on a machine such as theirs, or take workers such as its own")


def test_one_that_joins_later_leaves_says_why_and_the_driver_tells_once_and_again_when_it_gives_up(
    made, start, study, tmp_path, monkeypatch
):
    monkeypatch.setattr(gathering, "LOOK", 0.1)
    first = start()
    with client_of(made, 1) as client:
        said = []
        be_patient(client, 1.0)
        with connect(client, study=study, tell=said.append):
            others = [start(customize=OTHER_VERSION) for _ in range(2)]
            assert [other.wait(60) for other in others] == [0, 0]
            for other in others:
                here = f"has something else: covsvc: 0.0.1 here, {__version__} at the driver"
                assert f"This worker does not work for a driver of covsvc that {here}" in told(other)
                assert "Traceback" not in told(other)
            later = start()
            made.wait_for(lambda: len(client.nthreads()) == 2, later)
            futures = iter([(client.submit(pow, number, 2, pure=False), number) for number in range(20)])
            assert sorted(result for _, _, result in gather(futures, client, "nothing stays")) == [
                number**2 for number in range(20)
            ]
            assert len(said) == 1
            why = rf"tcp://127\.0\.0\.1:\d+ on {re.escape(socket.gethostname())}: covsvc 0\.0\.1, {__version__} here"
            cure = "install there what is here, and restart the workers"
            assert re.fullmatch(f"a worker that joined is refused, {why}; {cure}", said[0]), said
            for worker in (first, later):
                worker.kill()
            future = client.submit(pow, 2, 2, pure=False)
            last = f"has had no worker for 1 s; the last that came was refused, {why}; nothing stays$"
            with pytest.raises(ClusterError, match=last):
                list(gather(iter([(future, 0)]), client, "nothing stays"))


def test_one_that_joins_later_and_talks_in_plain_text_beyond_its_machine_leaves(made, start, study):
    start()
    with client_of(made, 1) as client:
        said = []
        with connect(client, study=study, tell=said.append):
            (port,) = free_ports(1)
            everywhere = f"tcp://0.0.0.0:{port}"
            other = start(at=("--listen-address", f"tcp://127.0.0.1:{port}", "--contact-address", everywhere))
            assert other.wait(60) == 0
            assert f"something else: its address: {everywhere} (plain text) here, TLS, or 127.0.0.1" in told(other)
            assert "Traceback" not in told(other)
            future = client.submit(pow, 2, 2, pure=False)
            assert [result for _, _, result in gather(iter([(future, 0)]), client, "nothing stays")] == [4]
            (sentence,) = said
            assert sentence.startswith(f"a worker that joined is refused, {everywhere} on {socket.gethostname()}: its")
            assert sentence.endswith(
                "; start it with TLS (deploy/tls says how), or on this machine with --host 127.0.0.1"
            )


def test_where_the_first_worker_is_refused_nobody_waits_for_another(made, start, study):
    with client_of(made, 0) as client:
        be_patient(client, 600.0)
        start(customize=OTHER_VERSION)
        with pytest.raises(ClusterError, match=rf"the first worker is refused, .*covsvc 0\.0\.1, {__version__} here"):
            welcome(client, study)


def test_what_a_driver_left_behind_binds_nobody(made, start, study):
    def plugins(dask_scheduler):
        return [name for name in dask_scheduler.worker_plugins if name.startswith("covsvc")]

    alike = start()
    with client_of(made, 1) as client:
        welcome(client, study)  # and never says goodbye, as one that is killed
        assert client.run_on_scheduler(plugins)
    other = start(customize=OTHER_VERSION)
    with client_of(made, 2) as client:
        deadline = time.monotonic() + 30
        while left := client.run_on_scheduler(plugins):
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
    assert (alike.poll(), other.poll()) == (None, None)


def test_a_scheduler_that_goes_away_while_its_workers_answer_is_lost_and_that_is_no_matter_of_usage(tmp_path):
    from distributed import Client

    with bench(tmp_path) as started:
        scheduler, address = started.scheduler()
        worker = started.worker(address, "--no-nanny")
        with Client(address, set_as_default=False, timeout=2) as client:
            client.wait_for_workers(1, timeout=60)
            ending = threading.Timer(0.5, scheduler.kill)
            ending.start()
            with pytest.raises(ClusterError, match=r"the cluster, or a worker of it, was lost .*; run it again"):
                ask(client, lambda: client.run(time.sleep, 5), "run it again")
            ending.join()
        worker.kill()
