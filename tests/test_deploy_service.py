"""What keeps a service running: it can be installed, it is what its readers take, and the service takes what it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from checkers import hold_little, hold_sound, needs, verified
from pages import blocks

from covsvc.cli.dashboard import dashboard
from covsvc.cli.serve import serve

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "service"
VERBS = {"serve": (serve, 8999), "dashboard": (dashboard, 5006)}
UNITS = {verb: (FOLDER / f"covsvc-{verb}.service").read_text() for verb in VERBS}
LINES = [block.strip() for block in blocks("sh", (FOLDER / "README.md").read_text())]


def line_of(told):
    (line,) = [each for each in LINES if told in each]
    assert "\n" not in line
    return line


@needs("shellcheck")
def test_every_line_of_the_page_is_sound():
    for line in LINES:
        hold_sound(line)


# --- systemd -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=VERBS)
def verb(request):
    return request.param


@pytest.fixture
def installed(verb, tmp_path):
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
    line = line_of(f"systemctl enable covsvc-{verb}.service").replace("/etc/systemd", f"{tmp_path}/etc/systemd")
    environment = {"HOME": str(tmp_path), "PATH": f"{programs}:/usr/bin:/bin"}
    for _ in range(2):
        subprocess.run(["sh", "-ec", line], cwd=clone, env=environment, check=True, timeout=60)
    return tmp_path / f"etc/systemd/system/covsvc-{verb}.service"


@needs("systemd-analyze")
def test_the_line_of_systemd_installs_a_unit_that_is_right(verb, installed, tmp_path):
    text = installed.read_text()
    assert "/opt/covsvc" not in text
    assert f"ExecStart={tmp_path}/clone/.venv/bin/covsvc {verb} " in text
    assert verified(installed, user=False) == (0, "")
    once = ["daemon-reload", f"enable covsvc-{verb}.service", f"restart covsvc-{verb}.service"]
    assert (tmp_path / "told").read_text().splitlines() == once * 2


@needs("systemd-analyze")
def test_what_the_unit_may_do_is_little(verb):
    hold_little(FOLDER / f"covsvc-{verb}.service", 20)


def test_the_unit_may_compile_and_start_children(verb):
    assert "MemoryDenyWriteExecute" not in UNITS[verb]  # numba writes what is executed
    assert "~@" not in UNITS[verb]  # a child bounds its own memory, which is of @resources


def test_the_command_of_the_unit_is_one_of_ours(verb, monkeypatch):
    for line in re.findall("^Environment=(.*)$", UNITS[verb], re.M):
        for each in line.split():
            monkeypatch.setenv(*each.split("="))
    (line,) = re.findall("^ExecStart=(.*)$", UNITS[verb], re.M)
    program, given, *options = line.split()
    assert (Path(program).name, given) == ("covsvc", verb)
    command, port = VERBS[verb]
    told = command.make_context(verb, options).params
    assert (told["host"], told["port"]) == ("127.0.0.1", port)
    assert (str(told["tokens"]), told["store"]) == ("/etc/covsvc/tokens", "/var/lib/covsvc/coverage-cubes")
    assert told["proxies"] == ("127.0.0.1", "::1")


def test_what_a_person_has_to_mend_is_not_tried_again(verb):
    assert "Restart=on-failure\nRestartPreventExitStatus=2\n" in UNITS[verb]


# --- proxies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_proxies_pass_on_to_the_port_of_the_service(name):
    text = (FOLDER / name).read_text()
    assert f"127.0.0.1:{VERBS['serve'][1]}" in text
    assert text.count("{") == text.count("}")


def test_nginx_logs_no_query_and_believes_no_client():
    text = (FOLDER / "nginx.conf").read_text()
    (logged,) = re.findall("^log_format covsvc (.*);$", text, re.M)
    assert not re.search(r"\$(request|request_uri|args|query_string|http_\w+)\b", logged)
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in text
