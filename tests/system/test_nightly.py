"""The validation of every night, by the command lines of its schedules: in time, never twice at once, and resumed."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from covsvc.api import load_studies

pytestmark = [pytest.mark.heavy, pytest.mark.system, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
SCHEDULES = ROOT / "deploy" / "schedules"
NIGHTLY = SCHEDULES / "nightly.sh"
NIGHTLY_STUDIES = ROOT / "deploy" / "studies" / "nightly.yaml"

SMALL = """\
name: small
experiment: counting
methods: [classical, garwood]
cl: 0.9
s_true: [0, 1, 2]
b: [0, 3]
n_toys: 10000
seed: 1999
"""

LONG = """\
name: long
experiment: {name: on_off, options: {tau: 2}}
methods: [profile_likelihood, q_mu]
cl: 0.9
s_true: {start: 0, stop: 8, num: 17}
b: [0, 1, 3, 5, 8]
n_toys: 100000
seed: 1999
"""


def line_of_cron():
    (line,) = (SCHEDULES / "crontab").read_text().splitlines()
    return line.split(None, 5)[5]


def line_of_slurm():
    (line,) = [line for line in (SCHEDULES / "scrontab").read_text().splitlines() if not line.startswith("#")]
    return line.split(None, 5)[5]


def line_of_systemd():
    (line,) = re.findall("^ExecStart=(.*)$", (SCHEDULES / "systemd" / "covsvc-nightly.service").read_text(), re.M)
    return line


def start(line, home):
    """Start a command line as a scheduler does: a shell with next to nothing in its environment."""
    return subprocess.Popen(
        ["/bin/sh", "-c", line.replace("/opt/covsvc", str(ROOT))],
        cwd=home,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process, seconds):
    """Return exit code, output and messages of a process, of which nothing is left."""
    try:
        told, said = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, told, said


def verdicts(home):
    """Return what is in the folders of the outputs, oldest first."""
    folders = sorted((home / "covsvc-nightly" / "validations").iterdir())
    return [json.loads((folder / "verdict.json").read_text()) for folder in folders]


def wait_for(condition, seconds):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def is_locked(file):
    if not file.exists():
        return False
    with file.open("a") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def nightly(home, study):
    return start(f"exec {NIGHTLY} {shlex.quote(str(study))}", home)  # becomes the validation


def cpu_of(line, home, seconds):
    """Return the CPU time that a command line and what it starts take, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code, _, said = finish(start(line, home), seconds)
    assert code == 0, said
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_all_methods_and_experiments_take_ten_minutes_on_two_cores_and_little_when_nothing_has_changed(
    tmp_path, record_property
):
    spent = []
    assert line_of_slurm() == line_of_systemd()
    for line in (line_of_cron(), line_of_systemd()):
        spent.append(cpu_of(line, tmp_path, 1200))
        time.sleep(1)  # the outputs have the names of seconds
    record_property("CPU s", [round(each) for each in spent])
    first, later = spent
    assert first < 2 * 600
    assert later < first / 3
    told = verdicts(tmp_path)
    assert [each["outcome"] for each in told] == ["passed"] * 2
    assert {study["study"] for study in told[0]["studies"]} == {study.name for study in load_studies(NIGHTLY_STUDIES)}
    candidates = [[study["candidate"] for study in each["studies"]] for each in told]
    assert candidates == candidates[:1] * 2


def test_of_two_at_once_one_works_and_the_other_does_nothing(tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    one = nightly(tmp_path, tmp_path / "small.yaml")
    wait_for(lambda: is_locked(tmp_path / "covsvc-nightly" / "nightly.lock"), 60)
    code, told, said = finish(nightly(tmp_path, tmp_path / "small.yaml"), 60)
    assert (code, told) == (2, "")
    assert said == f"nightly.sh: another one is at work in {tmp_path}/covsvc-nightly; this one did nothing\n"
    code, _, said = finish(one, 200)
    assert code == 0, said
    (told,) = verdicts(tmp_path)
    assert told["outcome"] == "passed"


def test_what_was_killed_lets_the_next_one_go_on(tmp_path):
    (tmp_path / "long.yaml").write_text(LONG)
    one = nightly(tmp_path, tmp_path / "long.yaml")
    stored = tmp_path / "covsvc-nightly" / "coverage-cubes" / "long"
    wait_for(stored.exists, 120)
    os.kill(one.pid, signal.SIGKILL)
    finish(one, 60)
    wait_for(lambda: not is_locked(tmp_path / "covsvc-nightly" / "nightly.lock"), 60)
    time.sleep(1)  # the outputs have the names of seconds
    code, _, said = finish(nightly(tmp_path, tmp_path / "long.yaml"), 300)
    assert code == 0, said
    folders = sorted((tmp_path / "covsvc-nightly" / "validations").iterdir())
    assert [(folder / "index.html").exists() for folder in folders] == [False, True]


def test_its_exit_code_is_that_of_validate(tmp_path):
    (tmp_path / "wrong.yaml").write_text(SMALL.replace("classical", "clasical"))
    code, _, said = finish(nightly(tmp_path, tmp_path / "wrong.yaml"), 60)
    assert code == 2
    assert "clasical" in said
