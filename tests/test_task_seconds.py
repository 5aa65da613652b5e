"""The length of tasks: as long as is asked for, and the same cube."""

from __future__ import annotations

import math

import pytest
from agreement import assert_same
from click.testing import CliRunner

from covsvc import api
from covsvc.cli import cli
from covsvc.errors import StudyError


@pytest.fixture(scope="module")
def study():
    return api.load_study(
        {
            "name": "cut",
            "experiment": "spectrum",  # half a million toys a second, about
            "methods": ["max_gap", "poisson"],
            "cl": 0.9,
            "s_true": {"start": 0.5, "stop": 4, "num": 8},
            "b": 0,
            "toys_per_block": 500,
            "n_toys": 65_000,  # 130 blocks: two chunks
            "seed": 2002,
        }
    )


def run(study, store, seconds):
    """Return the cube, and how many tasks it took."""
    told = []
    cube = api.run(study, store, task_seconds=seconds, progress=told.append)
    return cube.load(), len(told) - 1


@pytest.fixture(scope="module")
def usual(study, tmp_path_factory):
    return run(study, tmp_path_factory.mktemp("usual"), 1)


@pytest.mark.parametrize(("seconds", "tasks"), [(0.2, 16), (20, 2)])
def test_tasks_take_less_or_more_and_the_cube_is_the_same(study, usual, tmp_path, seconds, tasks):
    cube, number = run(study, tmp_path, seconds)
    assert number == tasks
    assert usual[1] == 4
    assert_same(cube, usual[0])


def test_a_study_that_was_begun_in_small_tasks_goes_on_in_large_ones(study, usual, tmp_path):
    run(study.model_copy(update={"n_toys": 20_000, "s_true": study.s_true[::2]}), tmp_path, 0.2)
    cube, _ = run(study, tmp_path, 20)
    assert_same(cube, usual[0])


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_what_is_no_time_is_refused(study, tmp_path, seconds):
    with pytest.raises(StudyError, match=r"task_seconds = .*above 0, for example 10"):
        api.run(study, tmp_path, task_seconds=seconds)


@pytest.mark.parametrize("seconds", ["0", "soon", "86400"])
def test_the_command_line_refuses_it_too(tmp_path, seconds):
    told = CliRunner().invoke(cli, ["run", str(tmp_path / "study.yaml"), "--task-seconds", seconds])
    assert told.exit_code == 2
    assert "--task-seconds" in told.output
