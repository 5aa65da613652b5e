"""What ./do says, and how it sets itself up: without a network, in a small project that builds itself."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

DO = Path(__file__).parents[2] / "do"
TOOLS = ("cat", "cksum", "dirname", "env", "flock", "grep", "id", "ln", "mkdir", "readlink", "rm", "sed", "tail")

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "covsvc"
version = "0"
"""

BACKEND = """
from pathlib import Path
from zipfile import ZipFile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    files = {
        "covsvc.pth": str(Path.cwd()),
        "covsvc-0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: covsvc\\nVersion: 0\\n",
        "covsvc-0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        "covsvc-0.dist-info/entry_points.txt": "[console_scripts]\\ncovsvc = covsvc.version:main\\n",
    }
    record = "covsvc-0.dist-info/RECORD"
    with ZipFile(Path(wheel_directory, "covsvc-0-py3-none-any.whl"), "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr(record, "".join(f"{name},,\\n" for name in [*files, record]))
    return "covsvc-0-py3-none-any.whl"
"""

MAIN = """
import sys

def main():
    print(*sys.argv[1:], sep="|")
"""


def do(*arguments, path=None, script=DO, **options):
    environment = os.environ | {"PIP_NO_INDEX": "1", "PATH": os.environ["PATH"] if path is None else str(path)}
    return subprocess.run(
        ["/bin/sh", script, *arguments], env=environment, capture_output=True, text=True, timeout=120, **options
    )


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """A PATH with what every POSIX system has, and neither Python nor uv nor apt-get."""
    folder = tmp_path_factory.mktemp("tools")
    for name in TOOLS:
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder


def write_project(folder):
    (folder / "covsvc").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "covsvc/version.py").write_text(MAIN)
    return shutil.copy(DO, folder / "do")


@pytest.fixture(scope="module")
def tools_and_python(tools, tmp_path_factory):
    if find_spec("ensurepip") is None:
        pytest.skip("this Python cannot make a venv without a network: it has no ensurepip")
    folder = tmp_path_factory.mktemp("python")
    (folder / "python3").symlink_to(Path(sys.executable).resolve())
    return f"{folder}:{tools}"


@pytest.fixture(scope="module")
def killed(tools_and_python, tmp_path_factory):
    """A project whose set-up was killed while it made the venv."""
    script = write_project(tmp_path_factory.mktemp("killed") / "a project")
    venv = script.parent / ".venv"
    with subprocess.Popen(
        ["/bin/sh", script, "run"],
        env=os.environ | {"PATH": tools_and_python},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not (venv / "bin/python").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    return script


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_every_posix_shell_can_read_it(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    command = [shell, "--posix"] if shell == "bash" else [shell]
    subprocess.run([*command, "-n", DO], check=True)


@pytest.mark.parametrize("word", ["help", "-h", "--help"])
def test_help_names_every_verb(word):
    answer = do(word)
    assert answer.returncode == 0
    assert all(f"./do {verb} " in answer.stdout for verb in ("run", "test", "lint", "help"))


@pytest.mark.parametrize("arguments", [(), ("walk",), ("walk", "run")])
def test_anything_else_is_refused_with_the_help(arguments):
    answer = do(*arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "usage: ./do run" in answer.stderr
    assert all(word in answer.stderr for word in arguments[:1])


def test_without_a_python_it_says_what_to_install(tools, tmp_path):
    answer = do("run", path=tools, script=write_project(tmp_path / "project"))
    assert answer.returncode == 2
    assert answer.stderr == (
        "do: covsvc needs Python 3.11 or newer with its venv module (found: no python3); install one, or uv\n"
    )


def test_sets_up_after_a_kill_then_is_quick_and_says_what_fails(killed, tools_and_python, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(killed)
    answer = do("run", "--seed", "a b", path=tools_and_python, script=link, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "run|deploy/studies/cleo-tau-mu-gamma.yaml|--report|report|--seed|a b\n"
    assert "do: making .venv with python3 ...\n" in answer.stderr

    again = do("run", path=tools_and_python, script=killed)
    assert (again.returncode, again.stderr) == (0, "")

    project = killed.with_name("pyproject.toml")
    project.write_text(PYPROJECT.replace("requires = []", 'requires = ["what-nobody-has"]'))
    refused = do("run", path=tools_and_python, script=killed)
    assert refused.returncode == 2
    assert "No matching distribution found for what-nobody-has" in refused.stderr
    assert refused.stderr.endswith("check the network and the log, then call ./do again\n")

    project.write_text(PYPROJECT)
    assert do("run", path=tools_and_python, script=killed).stderr == ""


TESTS = """
import pytest

@pytest.mark.parametrize("number", range(4))
def test_computes(number):
    assert number != {computes}

@pytest.mark.heavy
def test_takes_minutes():
    assert {has_room}

@pytest.mark.browser
def test_browses():
    raise AssertionError("there is no browser")
"""


@pytest.fixture(autouse=True)
def no_options_of_a_ci(monkeypatch):
    """Leave out what the environment of these tests asks of pytest and of ./do."""
    for name in ("CI", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def with_tests(killed, tools, tools_and_python):
    """A project that is set up, with the pytest of ours."""
    assert do("run", path=tools_and_python, script=killed).returncode == 0
    folder = killed.parent
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = browser\n    heavy\n")
    program = folder / ".venv/bin/pytest"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pytest -p no:cacheprovider "$@"\n')
    program.chmod(0o755)
    shutil.copy(folder / ".venv/do.ready-none", folder / ".venv/do.ready-test")

    def call(*arguments, computes=4, has_room=True):
        (folder / "test_it.py").write_text(TESTS.format(computes=computes, has_room=has_room))
        return do("test", *arguments, path=tools, script=killed, cwd=folder)

    return call


def test_all_tests_are_run_in_two_parts_and_their_options_reach_both(with_tests, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "-rP")
    answer = with_tests()
    assert answer.returncode == 0, answer.stdout
    assert re.findall("created: (.)/. worker", answer.stdout)[1] == "2"
    assert re.findall(r"(\d) passed", answer.stdout) == ["4", "1"]
    assert answer.stdout.count("= PASSES =") == answer.stdout.count("slowest 10 durations") == 2
    assert "leaving out the browser tests" in answer.stderr


@pytest.mark.parametrize("fails", [{"computes": 2}, {"has_room": False}])
def test_either_part_that_fails_fails_all_and_both_are_run(with_tests, fails):
    answer = with_tests(**fails)
    assert answer.returncode == 1
    assert len(re.findall("in [0-9.]+s", answer.stdout)) == 2
    assert answer.stdout.count("1 failed") == 1
    assert answer.stderr.endswith("some tests failed; each of the two runs of pytest names its own\n")


def test_arguments_are_those_of_one_run_of_pytest(with_tests):
    answer = with_tests("-k", "computes or takes", computes=2)
    assert answer.returncode == 1
    assert "1 failed, 4 passed, 1 deselected" in answer.stdout
    assert "worker" not in answer.stdout
