"""Secrets of a driver: the key of a store and that of a certificate, and where they must never be."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import obstore
import psutil
import pytest
from certificates import Authority
from distributed.protocol.pickle import dumps
from object_store import BUCKET, served
from processes import bench, end, members, told

from covsvc import api
from covsvc.api.running import missing_in
from covsvc.engine.clusters.joining import Joining
from covsvc.engine.clusters.sameness import question_of
from covsvc.store.place import place_of
from covsvc.study import rows

pytestmark = pytest.mark.system

STORE = f"s3://{BUCKET}/cubes"
LOUD_DRIVER = """
import logging, sys
from covsvc import cli
if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG)
    cli.main(sys.argv[1:])
"""
ALL_LOGS = {"DASK_LOGGING__DISTRIBUTED": "debug", "RUST_LOG": "debug"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a study on a cluster with TLS, into a bucket; yield its bench, its logs and the secrets."""
    folder = tmp_path_factory.mktemp("secrets")
    tls = Authority().issue(folder / "tls")
    flags = [
        part
        for flag, file in (("ca-file", "ca"), ("cert", "cert"), ("key", "key"))
        for part in (f"--tls-{flag}", str(tls / f"{file}.pem"))
    ]
    dask = str(Path(sys.executable).parent / "dask")
    with served() as store, bench(folder / "bench", seconds=0.0, s_true=[1.0], b=[1.0, 3.0]) as made:
        for name in store:
            made.environment.pop(name, None)
        made.environment |= ALL_LOGS
        scheduler = made.start(
            dask, "scheduler", "--protocol", "tls", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", *flags
        )
        made.wait_for(lambda: re.search(r"Scheduler at:\s+tls://\S+", told(scheduler)), scheduler)
        address = re.search(r"Scheduler at:\s+(tls://\S+)", told(scheduler))[1]
        place = ("--host", "127.0.0.1", "--no-dashboard", "--local-directory", str(folder / "scratch"))
        workers = [made.start(dask, "worker", address, "--nthreads", "1", *place, *flags) for _ in range(2)]
        (made.folder / "loud.py").write_text(LOUD_DRIVER)
        command = ("run", "study.yaml", "--store", STORE, "--cluster", address)
        driver = made.start(sys.executable, "loud.py", *command, env={**store, "COVSVC_TLS": str(tls)})
        assert driver.wait(120) == 0, told(driver)
        inside = [
            value
            for each in members(*(worker.pid for worker in workers))
            for value in psutil.Process(each.pid).environ().values()
        ]
        for process in (*workers, scheduler):
            end(process)
        key = "".join((tls / "key.pem").read_text().splitlines()[1:-1])
        yield made, store, inside, [store["AWS_SECRET_ACCESS_KEY"], key[:40], key[-40:]]


def holds(secrets, content):
    return [secret for secret in secrets if secret.encode() in content.replace(b"\n", b"").replace(b"\\n", b"")]


def test_workers_need_no_credentials_and_no_log_holds_a_secret(run):
    made, store, inside, secrets = run
    assert inside
    assert not {store["AWS_SECRET_ACCESS_KEY"], store["AWS_ENDPOINT_URL"]} & {*inside}
    logs = [told(process) for process in made.started]
    assert "DEBUG" in logs[-1]
    assert all(not holds(secrets, log.encode()) for log in logs)


def test_no_object_of_the_store_holds_a_secret(run, monkeypatch):
    _, store, _, secrets = run
    for name, value in store.items():
        monkeypatch.setenv(name, value)
    objects = place_of(STORE).objects
    contents = [objects.read(each["path"]).content for each in obstore.list(objects._service()).collect()]
    contents.append(repr(api.open_cube(STORE, "faults").attrs).encode())
    assert len(contents) > 10
    assert all(not holds(secrets, each) for each in contents)


def test_nothing_that_dask_pickles_holds_a_secret(run, small_study, monkeypatch, tmp_path):
    _, store, _, secrets = run
    for name, value in store.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COVSVC_TLS", str(tmp_path))
    study = small_study()
    todo = list(rows(study, missing_in(None, study), 1e4))
    sent = [Joining({**question_of(study), "client": "client"}), *todo, *(task for row in todo for task in row.tasks)]
    assert len(sent) > 4
    assert all(not holds([*secrets, store["AWS_ACCESS_KEY_ID"], str(tmp_path)], dumps(each)) for each in sent)
