"""The images and the compose file: what their readers take, and that they hold what is declared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from checkers import hold_sound, needs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pages import blocks

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "container"
README = (FOLDER / "README.md").read_text()
CONTAINERFILE = (FOLDER / "Containerfile").read_text()
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


# --- versions ----------------------------------------------------------------------------------------------------------


def pins():
    """Return the version of each package of the constraints."""
    lines = [line for line in (FOLDER / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    found = dict(line.split("==") for line in lines)
    assert len(found) == len(lines)
    assert all(name == canonicalize_name(name) for name in found)
    return found


def extras():
    (told,) = re.findall(r"/build/covsvc\[(.*?)\]", CONTAINERFILE)
    return told.split(",")


def declared():
    """Yield what pyproject.toml asks for of an image, and of a build."""
    project = PROJECT["project"]
    needed = [*project["dependencies"], *PROJECT["build-system"]["requires"]]
    for each in map(
        Requirement, needed + [each for extra in extras() for each in project["optional-dependencies"][extra]]
    ):
        if each.name != project["name"]:
            yield each


def test_constraints_name_a_version_of_each_package_that_is_declared_and_one_that_will_do():
    held = pins()
    wrong = [f"{each}: {held.get(each.name)}" for each in declared() if held.get(each.name, "0") not in each.specifier]
    assert not wrong, "give the command at the top of constraints.txt again"


def test_the_command_that_makes_the_constraints_takes_what_the_image_installs():
    (command,) = [line for line in (FOLDER / "constraints.txt").read_text().splitlines() if "uv pip compile" in line]
    assert re.findall(r"--extra (\S+)", command) == extras()
    assert f'echo "{PROJECT["build-system"]["requires"][0]}"' in command
    (python,) = re.findall(r"^ARG PYTHON=\S+/python:(\S+)-slim$", CONTAINERFILE, re.M)
    assert f"--python-version {python} " in command
    assert f"Programming Language :: Python :: {python}" in PROJECT["project"]["classifiers"]


def test_what_the_clusters_of_kubernetes_and_the_service_need_is_in_the_image():
    assert {"serve", "dashboard", "s3", "kubernetes"} <= set(extras())
    assert {"dask-kubernetes", "kr8s", "uvicorn", "bokeh", "obstore"} <= pins().keys()


# --- images ------------------------------------------------------------------------------------------------------------


def test_the_linter_has_nothing_to_say_of_the_containerfile():
    linter = Path(sys.executable).parent / "hadolint"
    command = [linter, "--no-color", "--failure-threshold", "style", FOLDER / "Containerfile"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def stages():
    """Return the instructions of each stage, one a line."""
    text = re.sub(r"\\\n\s*", "", "\n".join(line for line in CONTAINERFILE.splitlines() if not line.startswith("#")))
    found = {}
    for line in text.splitlines():
        if told := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            found[told[2]] = []
        if found and line:
            found[[*found][-1]].append(line)
    return found


def test_what_is_copied_is_there():
    for lines in stages().values():
        for line in lines:
            if line.startswith("COPY") and "--from" not in line:
                *sources, _ = [each for each in line.split()[1:] if not each.startswith("--")]
                for source in sources:
                    assert source == ".git" or (ROOT / source).exists(), source


@pytest.mark.parametrize("stage", ["covsvc", "nightly"])
def test_images_end_as_the_user_of_the_pods_and_run_what_is_ours(stage):
    from covsvc.engine.clusters.kubernetes_resources import KubernetesCluster, dask_cluster

    lines = stages()[stage]
    pod = dask_cluster("a", "b", "c", KubernetesCluster())["spec"]["worker"]["spec"]["securityContext"]
    assert [line for line in lines if line.startswith("USER")][-1] == f"USER {pod['runAsUser']}:{pod['runAsGroup']}"
    (entry,) = [line for line in lines if line.startswith("ENTRYPOINT")]
    program = yaml.safe_load(entry.removeprefix("ENTRYPOINT "))[0]
    assert program == "covsvc" or os.access(ROOT / program.removeprefix("/opt/covsvc/"), os.X_OK)


@pytest.fixture
def listener():
    """Serve an answer of well-being at /healthz, and none elsewhere."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/healthz" else 503)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("path", "code"), [("/healthz", 0), ("/other", 1), (None, 0)])
def test_containers_are_healthy_while_who_listens_there_says_so(listener, path, code):
    environment = {"COVSVC_HEALTH": listener + path} if path else {}
    command = [sys.executable, FOLDER / "healthy"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == code
    assert ended.stderr == (f"{listener}{path}: HTTP Error 503: Service Unavailable\n" if code else "")


# --- a cluster on one host ---------------------------------------------------------------------------------------------


def test_the_compose_file_is_what_its_readers_take():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    ended = subprocess.run([*command, FOLDER / "compose.yaml"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_services_may_do_little_and_name_what_is_there(name):
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    assert not {"privileged", "cap_add", "network_mode", "pid", "user"} & service.keys()
    assert service["image"] == "${COVSVC_IMAGE:-covsvc}"
    assert set(service["networks"]) <= COMPOSE["networks"].keys()
    assert set(service.get("depends_on", ())) <= COMPOSE["services"].keys()
    secrets = {each if isinstance(each, str) else each["source"] for each in service["secrets"]}
    assert secrets <= COMPOSE["secrets"].keys()
    volumes = {each.partition(":")[0] for each in service.get("volumes", ()) if each[0] not in "$./"}
    assert volumes <= COMPOSE["volumes"].keys()
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    if name != "run":
        assert service["healthcheck"]["test"] == ["CMD", "healthy"]
        assert service["environment"]["COVSVC_HEALTH"].startswith("http://127.0.0.1:")


def test_dask_talks_tls_only_and_its_workers_have_no_cubes_and_reach_nothing_else():
    from dask.config import collect_env

    for name in ("scheduler", "worker"):
        service = COMPOSE["services"][name]
        assert service["networks"] == ["dask"]
        assert "volumes" not in service
        command = service["entrypoint"]
        assert command[command.index("--protocol") + 1] == "tls"
        told = collect_env(service["environment"])["distributed"]["comm"]
        assert told["require_encryption"] is True
        targets = {f"/run/secrets/{each['target']}" for each in service["secrets"]}
        named = {path for role in ("scheduler", "worker", "client") for path in told["tls"][role].values()}
        assert named | {told["tls"]["ca_file"]} == targets
    assert COMPOSE["networks"]["dask"]["internal"] is True
    assert {each["target"] for each in COMPOSE["services"]["run"]["secrets"]} == {"ca.pem", "cert.pem", "key.pem"}


@pytest.mark.parametrize("name", ["run", "serve", "dashboard"])
def test_services_run_commands_of_ours(name, monkeypatch):
    from covsvc.cli import cli

    verb, *options = COMPOSE["services"][name]["command"]
    told = cli.commands[verb].make_context(verb, options).params
    if verb == "run":
        assert told["cluster"] == f"tls://scheduler:{COMPOSE['services']['scheduler']['entrypoint'][5]}"
    else:
        (port,) = COMPOSE["services"][name]["ports"]
        assert port.split(":")[1:] == [str(told["port"])] * 2
        assert str(told["tokens"]) == "/run/secrets/tokens"


@needs("shellcheck")
def test_every_line_of_the_page_is_sound():
    for line in blocks("sh", README):
        assert "\n" not in line.strip()
        hold_sound(line.strip())


def test_the_page_makes_certificates_where_the_compose_file_looks_for_them():
    (line,) = [block for block in blocks("sh", README) if "issue" in block]
    folder, *names = line.split("--out ")[1].split()
    files = {each["file"] for name, each in COMPOSE["secrets"].items() if name != "tokens"}
    assert {re.fullmatch(r"\$\{COVSVC_TLS:-(\S+)\}/(\w+)/\S+", file).groups() for file in files} == {
        ("./tls", name) for name in names
    }
    assert Path(folder) == Path("deploy/container/tls")
