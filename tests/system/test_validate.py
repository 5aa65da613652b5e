"""Validations as processes: killed in the middle and given again, and two at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from distribution import install
from test_validating import ENTRY_POINTS, SOURCE

from covsvc import api

pytestmark = pytest.mark.system

SLOWLY = '''
import os, time

@dataclass(frozen=True)
class Slow(Drawn):
    """Counts that take their time, and leave a mark in a file for each block."""
    def toys(self, s_true, b, size, rng):
        with open(os.environ["MARKS"], "a") as file:
            file.write("x")
        time.sleep(float(os.environ["SECONDS_A_BLOCK"]))
        return super().toys(s_true, b, size, rng)
'''

DRIVER = """
import functools, sys
from covsvc import cli
from covsvc.api import confirming, running, validating
validating.open_ledger = functools.partial(validating.open_ledger, commit_seconds=0.1)
validating.task_toys_of = confirming.task_toys_of = running.task_toys_of = lambda study: 1.0
confirming._COMMIT_SECONDS = 0.1
cli.main(sys.argv[1:])
"""
"""The command line, which commits more often and has tasks of one block."""


class Place:
    """A folder with a study of which one method changes, and its store."""

    def __init__(self, folder):
        install(folder / "site", "shifting", ENTRY_POINTS + "slow = shifting:Slow\n", shifting=SOURCE + SLOWLY)
        self.folder, self.marks = folder, folder / "marks"
        self.marks.touch()
        (folder / "driver.py").write_text(DRIVER)

    def study(self, width):
        told = {
            "name": "six",
            "experiment": "slow",
            "methods": ["classical", {"name": "shifted", "options": {"width": width}, "label": "changing"}],
            "cl": [0.9],
            "s_true": [1, 2.5, 6],
            "b": [0, 2],
            "toys_per_block": 500,
            "n_toys": 2000,
            "seed": 7,
            "keep": "toys",
            "isolate": False,
        }
        (self.folder / "study.yaml").write_text(json.dumps(told))

    def start(self, *arguments, seconds=0.0, store="store"):
        path = os.pathsep.join([str(self.folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": path, "MARKS": str(self.marks), "SECONDS_A_BLOCK": str(seconds)}
        return subprocess.Popen(
            [sys.executable, "driver.py", *arguments, "--store", store],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def validate(self, **options):
        return self.start("validate", "study.yaml", "--cluster", "none", "--json", **options)

    def told(self, process, code):
        out, err = process.communicate(timeout=240)
        assert process.returncode == code, err
        return json.loads(out)["studies"][0] if out else err

    def accept(self, **options):
        process = self.start("accept", "six", "--tag", "v1", "--reason", "to begin with", **options)
        _, told = process.communicate(timeout=240)
        assert process.returncode == 0, told


def comparable(told):
    """Return what does not depend on when and where a validation ran."""
    work = {name: value for name, value in told["work"].items() if name != "seconds"}
    columns = [{name: value for name, value in each.items() if name != "toys_per_second"} for each in told["columns"]]
    findings = [each | {"replay": ""} for each in told["findings"]]
    return {"outcome": told["outcome"], "work": work, "columns": columns, "findings": findings}


@pytest.fixture
def place(tmp_path):
    """Return a place with a baseline in two stores alike."""
    place = Place(tmp_path)
    place.study(3.0)
    for store in ("store", "other"):
        place.told(place.validate(store=store), 0)
        place.accept(store=store)
    place.study(2.5)
    return place


def test_a_validation_killed_in_the_middle_goes_on_and_comes_to_the_same_verdict(place):
    store = place.folder / "store"
    main = api.open_cube(store, "six").attrs["snapshot"]
    whole = place.told(place.validate(store="other"), 1)
    blocks, all_blocks = place.marks.stat().st_size, 0
    screened = 3 * 2 * 4  # the blocks of the study; what is drawn beyond these is fresh
    for until in (8, screened + 20):
        before = place.marks.stat().st_size
        process = place.validate(seconds=0.05)
        while place.marks.stat().st_size < before + until - all_blocks:
            assert process.poll() is None, process.communicate()[1]
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        all_blocks += place.marks.stat().st_size - before
        assert api.open_cube(store, "six").attrs["snapshot"] == main
    before = place.marks.stat().st_size
    again = place.told(place.validate(), 1)
    all_blocks += place.marks.stat().st_size - before
    assert comparable(again) == comparable(whole)
    assert again["work"]["fresh_toys"] > 0
    # what was committed is not drawn again: less than two uninterrupted validations took
    assert all_blocks < 1.5 * blocks
    assert api.open_cube(store, "six").attrs["snapshot"] == main


def test_of_two_validations_at_once_one_runs(place):
    first = place.validate(seconds=0.05)
    marks = place.marks.stat().st_size
    while place.marks.stat().st_size == marks:
        assert first.poll() is None, first.communicate()[1]
    os.killpg(first.pid, signal.SIGSTOP)  # however slow the second one starts
    try:
        refused = place.told(place.validate(), 2)
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    assert "another driver" in refused
    assert str(first.pid) in refused
    assert place.told(first, 1)["outcome"] == "failed"


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_reader_who_has_seen_enough_does_not_change_the_verdict(place, arguments):
    process = place.start("validate", "study.yaml", "--cluster", "none", *arguments)
    process.stdout.close()
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait(240) == 1, told
    assert "Traceback" not in told
    assert "Broken pipe" not in told
