"""What keeps a service running: it can be installed, it is what its readers take, and the service takes what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pages import blocks
from test_schedules import needs, verified

from covsvc.cli.serve import serve

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "service"
UNIT = (FOLDER / "covsvc-serve.service").read_text()
DEPLOYMENT, SERVICE = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
POD = DEPLOYMENT["spec"]["template"]["spec"]
LINES = [block.strip() for block in blocks("sh", (FOLDER / "README.md").read_text())]


def parsed(arguments):
    """Return what the service makes of options."""
    return serve.make_context("serve", list(arguments)).params


def line_of(told):
    (line,) = [each for each in LINES if told in each]
    assert "\n" not in line
    return line


@needs("shellcheck")
def test_every_line_of_the_page_is_sound():
    for line in LINES:
        ended = subprocess.run(
            ["shellcheck", "--shell=sh", "-"], input=line, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, ended.stdout


# --- systemd -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path):
    """Install the unit as the page says it, where a program stands for the one of the clone."""
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"systemctl": 'echo "$@" >>"$HOME/told"', "sudo": 'exec "$@"'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    clone = tmp_path / "clone"
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/bin/covsvc").symlink_to("/bin/true")
    (clone / "deploy").symlink_to(ROOT / "deploy")
    line = line_of("systemctl daemon-reload").replace("/etc/systemd", f"{tmp_path}/etc/systemd")
    environment = {"HOME": str(tmp_path), "PATH": f"{programs}:/usr/bin:/bin"}
    for _ in range(2):
        subprocess.run(["sh", "-ec", line], cwd=clone, env=environment, check=True, timeout=60)
    return tmp_path / "etc/systemd/system/covsvc-serve.service"


@needs("systemd-analyze")
def test_the_line_of_systemd_installs_a_unit_that_is_right(installed, tmp_path):
    text = installed.read_text()
    assert "/opt/covsvc" not in text
    assert f"ExecStart={tmp_path}/clone/.venv/bin/covsvc serve " in text
    assert verified(installed, user=False) == (0, "")
    once = ["daemon-reload", "enable covsvc-serve.service", "restart covsvc-serve.service"]
    assert (tmp_path / "told").read_text().splitlines() == once * 2


@needs("systemd-analyze")
def test_what_the_unit_may_do_is_little():
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20"]
    ended = subprocess.run([*command, FOLDER / "covsvc-serve.service"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout[-200:]


def test_the_unit_may_compile_and_start_children():
    assert "MemoryDenyWriteExecute" not in UNIT  # numba writes what is executed
    assert "~@" not in UNIT  # a child bounds its own memory, which is of @resources


def test_the_command_of_the_unit_is_one_of_ours(monkeypatch):
    for line in re.findall("^Environment=(.*)$", UNIT, re.M):
        for each in line.split():
            monkeypatch.setenv(*each.split("="))
    (command,) = re.findall("^ExecStart=(.*)$", UNIT, re.M)
    program, verb, *options = command.split()
    assert (Path(program).name, verb) == ("covsvc", "serve")
    told = parsed(options)
    assert (told["host"], told["port"]) == ("127.0.0.1", 8999)
    assert (str(told["tokens"]), told["store"]) == ("/etc/covsvc/tokens", "/var/lib/covsvc/coverage-cubes")
    assert told["proxies"] == ("127.0.0.1", "::1")


def test_what_a_person_has_to_mend_is_not_tried_again():
    assert "Restart=on-failure\nRestartPreventExitStatus=2\n" in UNIT


# --- Kubernetes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_kubernetes_takes_the_manifests(version):
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version, FOLDER / "kubernetes.yaml"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (ended.stdout + ended.stderr).count("passed") == 2


def test_the_pod_runs_a_command_of_ours_with_tokens_that_can_change():
    (container,) = POD["containers"]
    program, verb, *options = container["command"]
    assert (program, verb) == ("covsvc", "serve")
    told = parsed(options)
    assert told["host"] == "0.0.0.0"
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    assert str(told["tokens"].parent) == mounts["tokens"]["mountPath"]
    assert "subPath" not in mounts["tokens"]  # which never changes
    volumes = {each["name"]: each for each in POD["volumes"]}
    assert f"generic {volumes['tokens']['secret']['secretName']} --from-file={told['tokens'].name} " in line_of(
        "secret"
    )
    assert volumes.keys() == mounts.keys()
    assert container["ports"] == [{"name": "http", "containerPort": told["port"]}]
    assert SERVICE["spec"]["ports"][0]["targetPort"] == "http"
    assert SERVICE["spec"]["selector"].items() <= DEPLOYMENT["spec"]["template"]["metadata"]["labels"].items()


def test_the_pod_is_asked_how_it_is_without_a_token_and_stopped_with_patience():
    from covsvc.service.gate import OPEN
    from covsvc.service.serving import PATIENCE

    (container,) = POD["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == "http"
        assert container[probe]["httpGet"]["path"] in OPEN
    assert POD["terminationGracePeriodSeconds"] > PATIENCE


def test_the_pod_is_not_root_and_writes_to_its_caches_only():
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["automountServiceAccountToken"] is False
    (container,) = POD["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")}
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert writable == {"/tmp", environment["XDG_CACHE_HOME"]}
    assert environment["COVSVC_STORE"].startswith("/var/lib/covsvc/")


def test_the_claim_and_the_image_are_those_of_the_nightly_job():
    claim, _ = yaml.safe_load_all((ROOT / "deploy/schedules/kubernetes/cronjob.yaml").read_text())
    (store,) = [each for each in POD["volumes"] if each["name"] == "store"]
    assert store["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (extras,) = re.findall(r"/opt/covsvc\[(.*)\]", (ROOT / "deploy/schedules/kubernetes/Containerfile").read_text())
    assert "serve" in extras.split(",")


# --- proxies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_proxies_pass_on_to_the_port_of_the_service(name):
    text = (FOLDER / name).read_text()
    assert f"127.0.0.1:{parsed([])['port']}" in text
    assert text.count("{") == text.count("}")


def test_nginx_logs_no_query_and_believes_no_client():
    text = (FOLDER / "nginx.conf").read_text()
    (logged,) = re.findall("^log_format covsvc (.*);$", text, re.M)
    assert not re.search(r"\$(request|request_uri|args|query_string|http_\w+)\b", logged)
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in text
