"""A cluster on Kubernetes: what is refused before anything is made, and the processes of its pods, which run here."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from certificates import Authority
from ports import free_ports

from covsvc.engine.clusters.kubernetes import connect
from covsvc.engine.clusters.kubernetes_api import Server
from covsvc.engine.clusters.kubernetes_resources import KubernetesCluster, dask_cluster
from covsvc.errors import ClusterError, StudyError


def refusal(options=None, n_workers=None):
    with pytest.raises(StudyError) as refused, connect(n_workers, options or {}):
        pass
    return str(refused.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"exsting": "a"}, "kubernetes: exsting: unknown option, did you mean 'existing'?"),
        ({"prefix": "My_runs"}, "kubernetes: prefix: 'My_runs': at most 53 small letters, digits and hyphens"),
        ({"prefix": "a" * 41}, "at most 40 letters"),
        ({"memory": "4"}, "kubernetes: memory: '4': a size with its unit, such as 2 GB"),
        ({"idle_seconds": -1}, "kubernetes: idle_seconds: -1: input should be greater than or equal to 0"),
        ({"idle_seconds": 600}, "kubernetes: idle_seconds: 600: a cluster that waits for workers is idle: more than"),
        ({"pod": {"hostNetwork": True}}, "hostNetwork: held by covsvc; give what places a pod, such as nodeSelector"),
        ({"existing": "a", "workers": 3}, "kubernetes: existing: a has its own workers; leave out how many there are"),
    ],
)
def test_options_are_refused_with_the_cure(options, told):
    assert told in refusal(options)


def test_a_cluster_that_stands_takes_no_number_of_workers():
    assert "a has its own workers" in refusal({"existing": "a"}, n_workers=2)


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_kubernetes.operator", None)
    told = "kubernetes: needs dask-kubernetes, which is not installed; pip install 'covsvc[kubernetes]'"
    assert refusal() == told


def test_nothing_is_made_without_certificates(monkeypatch):
    monkeypatch.delenv("COVSVC_TLS", raising=False)
    assert "deploy/tls/make-certificates.sh" in refusal()


def test_a_driver_outside_is_sent_inside(monkeypatch, tmp_path):
    monkeypatch.setenv("COVSVC_TLS", str(Authority().issue(tmp_path / "tls")))
    assert "kubernetes.default.svc is no name here: the driver has to run in the cluster" in refusal()


def test_missing_credentials_are_told(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(StudyError, match="no credentials for the API server are found here"), Server():
        pass


def test_an_api_server_that_is_not_there_is_told(monkeypatch, tmp_path):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and nobody listens
        server = f"https://127.0.0.1:{bound.getsockname()[1]}"
        config = {
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": server}}],
            "users": [{"name": "me", "user": {"token": "secret"}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        }
        (tmp_path / "config").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        with pytest.raises(ClusterError, match="the API server cannot be reached") as refused, Server():
            pass
    assert "secret" not in str(refused.value)


# --- what runs in the pods ---------------------------------------------------------------------------------------------


class Pods:
    """The containers of a cluster as processes of this machine, at other ports, with other certificates and scratch."""

    def __init__(self, folder: Path, certificates: Path) -> None:
        cluster = dask_cluster("here", "covsvc", "covsvc", KubernetesCluster(memory="1 GB"))
        self.spec = {role: cluster["spec"][role]["spec"]["containers"][0] for role in ("scheduler", "worker")}
        self.folder, self.certificates = folder, certificates
        ports = ["8786", "8787", "8788", "8789", "8790"]
        self.ports = dict(zip(ports, map(str, free_ports(len(ports))), strict=True))
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, role: str, **more: str) -> None:
        here = {"here-scheduler": "127.0.0.1", "/etc/covsvc/tls": str(self.certificates), "/tmp": str(self.folder)}
        here |= {"$(DASK_WORKER_NAME)": role} | self.ports

        def told(text):
            return re.sub("|".join(map(re.escape, here)), lambda found: here[found[0]], text)

        program, *arguments = map(told, self.spec[role]["command"])
        environment = {each["name"]: told(each["value"]) for each in self.spec[role]["env"]}
        command = [str(Path(sys.executable).parent / program), *arguments, "--host", "127.0.0.1"]
        with (self.folder / f"{role}.log").open("wb") as log:
            self.started.append(
                subprocess.Popen(
                    command,
                    env={"PATH": os.environ["PATH"]} | environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def close(self) -> None:
        for process in reversed(self.started):
            process.terminate()
        for process in self.started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)

    def ask(self, verb, path, told=None):
        """Return what the scheduler answers to the operator."""
        connection = http.client.HTTPConnection("127.0.0.1", int(self.ports["8787"]), timeout=10)
        try:
            connection.request(verb, f"/api/v1/{path}", json.dumps(told) if told is not None else None)
            answer = connection.getresponse()
            assert answer.status == 200
            return json.loads(answer.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def pods(tmp_path_factory, authority):
    folder = tmp_path_factory.mktemp("pods")
    held = Pods(folder, authority.issue(folder / "tls"))
    try:
        held.start("scheduler")
        held.start("worker")
        yield held
    finally:
        held.close()


@pytest.fixture(scope="module")
def client(pods, authority, tmp_path_factory):
    from distributed import Client

    from covsvc.engine.clusters.encryption import Certificates

    folder = authority.issue(tmp_path_factory.mktemp("driver") / "tls")
    security = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem").security()
    until = time.monotonic() + 60
    while True:
        try:
            client = Client(f"tls://127.0.0.1:{pods.ports['8786']}", security=security, timeout=5, set_as_default=False)
            break
        except OSError:
            assert time.monotonic() < until, (pods.folder / "scheduler.log").read_text()
    with client:
        client.wait_for_workers(1, timeout=60)
        yield client


def test_scheduler_and_worker_of_the_pods_work_and_talk_tls(client):
    (worker,) = client.scheduler_info()["workers"].items()
    assert worker[0].startswith("tls://")
    assert (worker[1]["name"], worker[1]["nthreads"], worker[1]["memory_limit"]) == ("worker", 1, 900_000_000)
    assert client.submit(sum, [1, 2]).result(timeout=30) == 3


def test_plain_text_is_refused_by_the_scheduler_of_the_pods(pods, client):
    from distributed import Client

    with pytest.raises(OSError, match=r"Timed out|closed|failed"):
        Client(f"tcp://127.0.0.1:{pods.ports['8786']}", timeout=2, set_as_default=False)


def test_the_operator_is_told_how_many_workers_there_should_be(pods, client):
    tasks = client.map(time.sleep, [0.5] * 3, pure=False)  # what a driver sends one worker
    until = time.monotonic() + 10
    while pods.ask("GET", "adaptive_target") != {"workers": 3}:
        assert time.monotonic() < until
        time.sleep(0.1)
    client.gather(tasks)


def test_the_operator_is_told_since_when_a_cluster_is_idle_and_may_end_a_worker(pods, client):
    until = time.monotonic() + 10
    while not (since := pods.ask("GET", "check_idle")["idle_since"]):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert since <= time.time()
    (ended,) = pods.ask("POST", "retire_workers", {"n": 1}).values()
    assert ended["name"] == "worker"  # of this name is the Deployment that the operator removes
