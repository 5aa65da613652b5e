"""Units of a cluster of hosts: they can be installed, may do little, and start what the page says.

That their commands work, in tests/system/test_hosts.py.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from checkers import hold_little, hold_sound, needs, verified
from pages import blocks
from units import Unit

from covsvc.cli import run
from covsvc.cli.exits import CLUSTER, GATE_FAILED, INCOMPLETE, INTERRUPTED, USAGE

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "hosts"
LINES = [block.strip() for block in blocks("sh", (FOLDER / "README.md").read_text())]
INSTANCES = {"covsvc-scheduler": [""], "covsvc-worker@": ["1", "2"], "covsvc-run@": ["narsky-toy"]}
"""Of each unit, on a machine with two cores."""

PROGRAMS = {"dask": ["dask"], "covsvc": ["covsvc"]}


@pytest.fixture(params=INSTANCES)
def name(request):
    return request.param


@pytest.fixture
def unit(name, tmp_path):
    """Return an instance of a unit on a host that has its certificates and knows where the scheduler is."""
    etc = tmp_path / "etc/covsvc"
    (etc / "tls").mkdir(parents=True)
    for file in ("ca.pem", "cert.pem", "key.pem"):
        (etc / "tls" / file).write_text(file)
    (etc / "cluster.env").write_text("COVSVC_CLUSTER=tls://scheduler:8786\n")
    return Unit(FOLDER / f"{name}.service", tmp_path, PROGRAMS, INSTANCES[name][0])


@needs("shellcheck")
def test_every_line_of_the_page_is_sound():
    for line in LINES:
        hold_sound(line)


@needs("systemd-analyze")
def test_the_line_of_systemd_installs_units_that_are_right(name, tmp_path):
    folder, programs, clone = tmp_path / "etc/systemd/system", tmp_path / "bin", tmp_path / "clone"
    for each in (folder, programs, clone / ".venv/bin"):
        each.mkdir(parents=True)
    for program, text in {"systemctl": 'echo "$@" >>"$HOME/told"', "sudo": 'exec "$@"', "nproc": "echo 2"}.items():
        (programs / program).write_text(f"#!/bin/sh\n{text}\n")
        (programs / program).chmod(0o755)
    for program in PROGRAMS:
        (clone / ".venv/bin" / program).symlink_to("/bin/true")
    (clone / "deploy").symlink_to(ROOT / "deploy")
    (line,) = [line for line in LINES if f"deploy/hosts/{name}.service" in line]
    environment = {"HOME": str(tmp_path), "PATH": f"{programs}:/usr/bin:/bin"}
    line = line.replace("/etc/systemd", f"{tmp_path}/etc/systemd")
    for _ in range(2):
        subprocess.run(["sh", "-ec", line], cwd=clone, env=environment, check=True, timeout=60)
    services = [f"{name}{instance}.service" for instance in INSTANCES[name]]
    once = ["daemon-reload", *(f"{what} {each}" for each in services for what in ("enable", "restart"))]
    assert (tmp_path / "told").read_text().splitlines() == once * 2
    installed = (folder / f"{name}.service").read_text()
    assert "/opt/covsvc" not in installed
    for service in services:
        if "@" in service:
            (folder / service).symlink_to(f"{name}.service")
    assert verified(*(folder / service for service in services), user=False) == (0, "")


@needs("systemd-analyze")
def test_what_a_unit_may_do_is_little(name):
    hold_little(FOLDER / f"{name}.service", 20)


def test_a_unit_may_compile_and_keep_what_it_compiled(unit):
    assert not unit.settings("MemoryDenyWriteExecute")  # numba writes what is executed
    assert not any("~" in line for line in unit.settings("SystemCallFilter"))
    (cache,) = unit.settings("CacheDirectory")
    assert unit.environment()["XDG_CACHE_HOME"] == f"{unit.root}/var/cache/{cache}"


def test_certificates_come_as_credentials(unit):
    unit.prepare()
    folder = unit.root / "run/credentials" / unit.name
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        each: each for each in ("ca.pem", "cert.pem", "key.pem")
    }
    if unit.instance == "narsky-toy":
        assert unit.environment()["COVSVC_TLS"] == str(folder)
    else:
        for option, file in (("--tls-ca-file", "ca.pem"), ("--tls-cert", "cert.pem"), ("--tls-key", "key.pem")):
            assert f"{option} {folder}/{file}" in " ".join(unit.command())


@pytest.mark.parametrize("name", ["covsvc-scheduler", "covsvc-worker@"], indirect=True)
def test_dask_talks_tls_only_and_shows_its_pages_to_its_own_host_only(unit):
    assert unit.environment()["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "True"
    assert "tls://scheduler:8786" in unit.command()
    assert re.search(r"--dashboard-address 127\.0\.0\.1:\d+", " ".join(unit.command()))


@pytest.mark.parametrize("name", ["covsvc-run@"], indirect=True)
def test_a_driver_goes_on_after_the_loss_of_the_cluster_and_not_after_what_is_for_a_person(unit, monkeypatch):
    for variable, value in unit.environment().items():
        monkeypatch.setenv(variable, value)
    program, verb, *options = unit.command()
    assert (program, verb) == ("covsvc", "run")
    told = run.make_context("run", options).params
    assert (told["file"], told["cluster"]) == (
        f"{unit.root}/etc/covsvc/studies/narsky-toy.yaml",
        "tls://scheduler:8786",
    )
    assert told["store"] == f"{unit.root}/var/lib/covsvc/coverage-cubes"
    assert unit.settings("Restart") == ["on-failure"]
    ends = {int(code) for code in unit.settings("RestartPreventExitStatus")[0].split()}
    assert ends == {GATE_FAILED, USAGE, INCOMPLETE}
    assert unit.settings("SuccessExitStatus") == [str(INTERRUPTED)]
    assert CLUSTER not in ends


@pytest.mark.parametrize("name", ["covsvc-scheduler", "covsvc-worker@"], indirect=True)
def test_scheduler_and_workers_are_started_again_however_and_however_often_they_end(unit):
    assert unit.settings("Restart") == ["always"]
    assert unit.settings("StartLimitIntervalSec") == ["0"]


def test_only_drivers_hear_where_the_store_is(unit):
    files = [file.rpartition("/")[2] for file in unit.settings("EnvironmentFile")]
    assert files == (["cluster.env", "run.env"] if unit.instance == "narsky-toy" else ["cluster.env"])
    assert ("COVSVC_STORE" in unit.environment()) == (unit.instance == "narsky-toy")
