"""Studies with a budget of toys: the same cube however they are run, what they say, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats

from covsvc import api
from covsvc.budget import OK, UNDECIDED, UNDER, Rule
from covsvc.errors import StudyError
from covsvc.study import study_of

COUNTED = (
    "n_toys", "n_covered", "n_upper_covered", "n_empty", "n_unbounded", "n_failed",
    "limit_counts", "block_status", "limit_digest", "exact_coverage", "exact_status",
)  # fmt: skip
BUDGET = {"min": 1000, "max": 16_000, "resolved": {"margin": 0.02, "error": 0.01}}


@pytest.fixture
def adaptive(small_study):
    """Return what makes a study of cells that take from 1000 to 16,000 toys, none of them enumerable."""

    def make(**changes):
        given = {
            "experiment": "spectrum",
            "methods": ["max_gap", "poisson"],
            "cl": 0.9,
            "s_true": [1, 3, 5, 20],
            "b": 0,
        }
        return small_study(**given | {"n_toys": BUDGET} | changes)

    return make


def assert_same(one, other):
    for name in COUNTED:
        assert_array_equal(one[name].values, other[name].values, err_msg=name)


def toys_of(cube):
    return cube["n_toys"].max(["limit_method", "cl"]).values.ravel().tolist()


# the same cube, whatever happens


def test_cells_take_different_numbers_of_toys_and_all_columns_of_a_cell_the_same(adaptive, tmp_path):
    study = adaptive()
    cube = api.run(study, tmp_path)
    looks = Rule.of(study.model_dump(mode="json")).looks
    assert looks == (1000, 2000, 4000, 8000, 16_000)
    toys = toys_of(cube)
    assert set(toys) <= set(looks)
    assert len(set(toys)) >= 2
    assert (cube["n_toys"] == cube["n_toys"].isel(limit_method=0)).all()
    assert api.remainder(study, tmp_path).nothing
    assert api.run(study, tmp_path).attrs["snapshot"] == cube.attrs["snapshot"]


@pytest.mark.parametrize("task_toys", [1, 3000, 1e9])
def test_the_cube_does_not_depend_on_how_tasks_are_cut(adaptive, tmp_path, task_toys):
    study = adaptive()
    cube = api.run(study, tmp_path / "cut", task_toys=task_toys, commit_seconds=0)
    assert_same(cube, api.run(study, tmp_path / "whole"))


@pytest.mark.system
def test_the_cube_does_not_depend_on_the_number_of_workers(adaptive, tmp_path):
    study = adaptive()
    here = api.run(study, tmp_path / "here")
    for workers in (1, 2):
        there = api.run(study, tmp_path / f"of{workers}", "local", n_workers=workers, task_toys=2000)
        assert_same(there, here)


@pytest.mark.parametrize("looks", [1, 2, 5, 8, 11])
def test_an_interrupted_run_goes_on_to_the_same_cube(adaptive, tmp_path, looks):
    study = adaptive()
    whole = api.run(study, tmp_path / "whole")
    told = []

    def interrupt(at):
        told.append(at)
        if len(told) == looks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.run(study, tmp_path / "again", progress=interrupt, task_toys=1, commit_seconds=0)
    assert not api.remainder(study, tmp_path / "again", task_toys=1).nothing
    assert_same(api.run(study, tmp_path / "again"), whole)


DRIVER = """
import json, sys
from covsvc import api
if __name__ == "__main__":
    study = api.load_study(json.loads(sys.argv[1]))
    tell = lambda at: print(at.toys, flush=True)
    api.run(study, sys.argv[2], "local", n_workers=1, task_toys=1, commit_seconds=0, progress=tell)
"""


@pytest.mark.system
def test_a_driver_that_is_killed_in_any_round_leaves_what_leads_to_the_same_cube(adaptive, tmp_path):
    study = adaptive()
    whole = api.run(study, tmp_path / "whole")
    (tmp_path / "driver.py").write_text(DRIVER)
    given = json.dumps(study.model_dump(mode="json"))
    for number, lines in enumerate((3, 8)):
        store = tmp_path / f"killed{number}"
        driver = subprocess.Popen(
            [sys.executable, str(tmp_path / "driver.py"), given, str(store)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        for _ in range(lines):
            driver.stdout.readline()
        driver.send_signal(signal.SIGKILL)
        driver.stdout.close()
        driver.wait(30)
        left = time.monotonic() + 30
        while time.monotonic() < left:  # its workers notice that it is gone
            try:
                os.killpg(driver.pid, 0)
            except ProcessLookupError:
                break
            time.sleep(0.1)
        else:
            os.killpg(driver.pid, signal.SIGKILL)
            pytest.fail("workers outlive their driver")
        assert_same(api.run(study, store), whole)


def test_what_is_missing_is_the_same_with_and_without_the_lock(adaptive, tmp_path):
    study = adaptive()
    left = []

    def look(at):
        if not at.at_most or at.toys == 0:
            return
        left.append((at, api.remainder(study, tmp_path, task_toys=1)))

    api.run(study, tmp_path, progress=look, task_toys=1, commit_seconds=0)
    assert all(at.toys <= at.all_toys for at, _ in left)
    # what the run still draws in this round is what the open cube lacks
    assert left[-1][1].nothing
    assert sum(not each.nothing for _, each in left) >= 4
    bounds = [at.all_toys for at, _ in left]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] == left[-1][0].toys


def test_the_budget_of_a_larger_study_grows_as_if_it_had_been_run_at_once(adaptive, tmp_path):
    small = adaptive(methods=["poisson"], s_true=[1, 20])
    api.run(small, tmp_path / "grown")
    steps = [
        adaptive(methods=["poisson"]),
        adaptive(),
        adaptive(n_toys=BUDGET | {"max": 24_000}),
    ]
    for number, study in enumerate(steps):
        grown = api.run(study, tmp_path / "grown")
        fresh = api.run(study, tmp_path / f"fresh{number}")
        axes = {name: fresh[name].values for name in ("limit_method", "cl", "b", "s_true")}
        assert_same(grown.sel(axes), fresh)


def test_a_study_of_fixed_size_is_topped_up_to_the_next_look_and_not_beyond_the_last(adaptive, tmp_path):
    api.run(adaptive(n_toys=3000), tmp_path / "small")
    topped_up = api.run(adaptive(), tmp_path / "small")
    assert set(toys_of(topped_up)) <= {4000, 8000, 16_000}
    large = api.run(adaptive(n_toys=20_000), tmp_path / "large")
    assert api.remainder(adaptive(), tmp_path / "large").nothing
    same = api.run(adaptive(), tmp_path / "large")
    assert_same(same, large)
    # not a look: its intervals are those of the confidence sequence, which are wider
    maps = api.maps_of(same)
    (rule,) = [Rule.of(json.loads(same.attrs["study"]))]
    x, n = maps["n_covered"].values, maps["n_toys"].values
    assert (maps["coverage_high"].values[x < n] > stats.beta.isf(rule.tail, x + 1, n - x)[x < n]).all()


# exact columns, failures


def test_columns_that_are_known_exactly_take_the_first_look(small_study, tmp_path):
    study = small_study(n_toys=BUDGET, methods=["classical", "bayes_jeffreys"], cl=0.9)
    before = api.remainder(study, tmp_path)
    assert (before.toys, before.most_toys) == (12_000, 12_000)
    cube = api.run(study, tmp_path)
    assert (cube["n_toys"] == 1000).all()
    maps = api.maps_of(cube)
    exact = maps["exact_coverage"].values
    assert_array_equal(maps["resolved"].values, np.where(exact < 0.9 - 1e-9, UNDER, OK))
    assert (maps["under_significant"] == (maps["resolved"] == UNDER)).all()
    # judged by their exact values, as ever
    assert {each.limit_method: each.outcome for each in api.judge(maps).findings} == {
        "classical": "kept",
        "bayes_jeffreys": "reported",
    }


def test_a_method_that_only_fails_does_not_take_the_whole_budget(plugins, small_study, tmp_path):
    study = small_study(n_toys=BUDGET, experiment="drawn", methods=["raising", "classical"], cl=0.9, isolate=False)
    cube = api.run(study, tmp_path)
    maps = api.maps_of(cube)
    assert (maps["n_toys"].sel(limit_method="raising") == maps["n_toys"].sel(limit_method="classical")).all()
    assert (maps["resolved"].sel(limit_method="raising") == UNDECIDED).all()
    assert set(np.unique(maps["resolved"].sel(limit_method="classical"))) <= {OK, UNDECIDED}
    assert toys_of(cube).count(16_000) < len(toys_of(cube)) / 2
    again = api.remainder(study, tmp_path, retry_failed=True)
    assert again.toys == int(maps["n_toys"].isel(limit_method=0).sum())
    # they fail again, once, and the run ends
    assert api.remainder(study, tmp_path).nothing
    retried = api.run(study, tmp_path, retry_failed=True)
    assert_same(retried, cube)


# what is said of them


def test_a_method_that_promises_too_much_is_broken_and_others_are_kept(plugins, small_study, tmp_path):
    study = small_study(n_toys=BUDGET, experiment="drawn", methods=["too_low", "classical"], cl=0.9, s_true=[1, 6])
    maps = api.maps_of(api.run(study, tmp_path))
    verdict = api.judge(maps)
    assert {each.limit_method: each.outcome for each in verdict.findings} == {"classical": "kept", "too_low": "broken"}
    assert verdict.outcome == "failed"
    assert "(adaptive)" in verdict.findings[0].sentence
    assert "toys, until coverage was known to be below cl or above cl - 0.02. Of 12 tests" in (
        verdict.smallest_deficit_sentence
    )
    # P(N <= n - 1) of a Poisson count whose mean is s + b: n - b < s where the count is below its mean
    assert (maps["resolved"].sel(limit_method="too_low") == UNDER).all()
    assert json.loads(maps.attrs["adaptive"])["tests"] == 12
    for name in ("coverage", "n_covered", "upper_coverage"):
        assert "adaptive: biased" in maps[name].attrs["long_name"]


def test_a_budget_that_is_too_small_leaves_the_verdict_undecided(adaptive, tmp_path):
    tight = {"min": 1000, "max": 2000, "resolved": {"margin": 0.001, "error": 0.01}}
    study = adaptive(n_toys=tight, s_true=[5, 20])
    maps = api.maps_of(api.run(study, tmp_path))
    assert api.remainder(study, tmp_path).nothing
    verdict = api.judge(maps)
    assert verdict.outcome == "undecided"
    assert {each.limit_method: each.outcome for each in verdict.findings}["max_gap"] == "undecided"
    assert "the budget has not shown that it is large enough" in verdict.findings[0].sentence


def test_the_maps_are_the_intervals_of_the_rule(adaptive, tmp_path):
    study = adaptive()
    maps = api.maps_of(api.run(study, tmp_path))
    tail = 0.01 / (5 * 2 * 4)
    x, n = maps["n_covered"].values, maps["n_toys"].values
    assert maps["coverage_low"].values == pytest.approx(stats.beta.ppf(tail, x, n - x + 1), rel=1e-9)
    below = x < n
    assert maps["coverage_high"].values[below] == pytest.approx(stats.beta.isf(tail, x + 1, n - x)[below], rel=1e-9)
    assert (maps["coverage_high"].values[~below] == 1).all()


def test_a_plan_says_at_least_and_at_most(adaptive, tmp_path):
    told = api.plan(adaptive(), tmp_path)
    assert (told["toys"], told["most_toys"], told["toys_per_cell"]) == (4000, 64_000, 16_000)
    assert told["budget"] == BUDGET
    assert told["seconds"] < told["most_seconds"]
    fixed = api.plan(adaptive(n_toys=16_000), tmp_path)
    assert fixed["toys"] == fixed["most_toys"] == 64_000
    assert fixed["budget"] is None
    # the price of five looks
    assert told["smallest_deficit"]["0.9"] > fixed["smallest_deficit"]["0.9"]


def test_a_part_of_a_budget_is_refused(adaptive, tmp_path):
    with pytest.raises(StudyError, match="n_toys is a budget"):
        api.run(adaptive(), tmp_path, part=(1, 2))


STUDY = """\
name: stranger
experiment: spectrum
methods: [max_gap, poisson]
cl: 0.9
s_true: [1, 5]
b: 0
toys_per_block: 1000
n_toys: {min: 1000, max: 16000, resolved: {margin: 0.02, error: 0.01}}
seed: 1999
"""


def test_the_command_line_says_how_far_a_budget_is(covsvc, tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    code, out, _ = covsvc("plan", "study.yaml")
    assert code == 0
    assert "1,000 to 16,000 a cell; 2,000 to 32,000 missing" in out
    code, out, err = covsvc("run", "study.yaml", "--cluster", "none", "--json")
    assert code == 0
    assert "2,000 to 32,000 toys to compute" in err
    assert "at most" in err
    (told,) = json.loads(out)
    code, out, _ = covsvc("status", "--json")
    (state,) = json.loads(out)
    assert told["computed"]["toys"] == state["toys"] < 32_000
    assert state["complete"]
    budget = state["budget"]
    assert (budget["cells"], budget["cells_resolved"], budget["most_toys"]) == (2, 2, 32_000)
    assert budget["above"] + budget["below"] + budget["undecided"] == budget["tests"] == 4
    code, out, _ = covsvc("status")
    assert "complete, 2 of 2 cells resolved" in out
    assert "0 undecided" in out
    code, _, err = covsvc("run", "study.yaml", "--cluster", "none")
    assert "complete already, nothing to compute" in err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min": 1500, "max": 16_000}, r"n_toys\.min: 1500 is no multiple of toys_per_block = 1000: take 2000"),
        ({"min": 1000, "max": 16_500}, r"n_toys\.max: 16500 is no multiple of toys_per_block = 1000: take 17000"),
        ({"min": 3000, "max": 2000}, r"n_toys\.min: 3000 is more than max = 2000"),
        ({"min": 1000}, r"n_toys\.max: missing"),
        ({"min": 1000, "max": 2000, "margin": 0.1}, "margin: unknown key"),
        ({"min": 1000, "max": 2000, "resolved": {"margn": 0.1}}, "margn: unknown key, did you mean 'margin'"),
        ({"min": 1000, "max": 2000, "resolved": {"margin": 0}}, r"n_toys\.resolved\.margin: 0: .* greater than 0"),
        ({"min": 1000, "max": 2000, "resolved": {"error": 0.5}}, r"n_toys\.resolved\.error: 0\.5: .* less than 0\.5"),
        ({"min": 1000, "max": 10**12}, r"n_toys\.max: .* makes more than 1,000,000 blocks of 1000"),
    ],
)
def test_a_budget_that_cannot_be_is_refused_by_name(adaptive, given, message):
    with pytest.raises(StudyError, match=message):
        adaptive(n_toys=given)


def test_a_budget_comes_back_from_the_store_as_it_was(adaptive, tmp_path):
    study = adaptive()
    assert study_of(json.loads(json.dumps(study.model_dump(mode="json")))) == study
    cube = api.run(study, tmp_path)
    assert study_of(json.loads(cube.attrs["study"])) == study
    assert (study.most_toys, study.n_blocks, study.budget.resolved.margin) == (16_000, 16, 0.02)
