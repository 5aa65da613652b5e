"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

STUDY = """\
name: small
experiment: counting
methods: [classical, bayes_flat, garwood]
cl: [0.90, 0.95]
s_true: [0, 1, 2.5, 6]
b: [0, 3, 5.5]
toys_per_block: 1000
n_toys: 3000
seed: 1999
observed: {n: 3, b: 5.5}
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def test_help_names_every_command_and_what_it_is_for(covsvc):
    code, told, _ = covsvc("--help")
    assert code == 0
    for command in ("run", "plan", "status", "limit", "report", "methods", "experiments"):
        assert f"\n  {command} " in told
        assert covsvc(command, "--help")[0] == 0


def test_help_does_not_wait_for_heavy_libraries():
    heavy = "numpy,numba,scipy,xarray,zarr,icechunk,dask,distributed,matplotlib,pydantic,rich"
    look = f"import sys, covsvc.cli; print([name for name in '{heavy}'.split(',') if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_limit_takes_options_levels_and_coverage(covsvc):
    # FC98: (n, b) = (0, 3) at 90 %: raw 0.953, published, monotone in b, 1.08
    arguments = ("-m", "feldman_cousins", "-m", "feldman_cousins,monotone_in_b=true", "--coverage", "--json")
    _, told, _ = covsvc("limit", "--n", 0, "--b", 3, "--cl", 0.9, *arguments)
    raw, published = json.loads(told)
    assert (raw["upper"], published["upper"]) == (pytest.approx(0.953, abs=5e-4), pytest.approx(1.08, abs=5e-3))
    assert published["worst_coverage_at_b"] >= raw["worst_coverage_at_b"] >= 0.9 - 1e-9


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--n", -1, "--b", 3), "n = -1.0: a count of events is a whole number >= 0"),
        (("--n", 3.5, "--b", 3), "n = 3.5: a count of events is a whole number >= 0"),
        (("--n", "nan", "--b", 3), "n = nan: must be finite"),
        (("--n", "inf", "--b", 3), "n = inf: must be finite"),
        (("--n", "three", "--b", 3), "'three' is not a valid float"),
        (("--n", 3, "--b", -1), "b = -1: an expected background is a number of events >= 0"),
        (("--n", 3, "--b", "nan"), "b = nan: must be finite"),
        (("--n", 3), "n, b: a count over its expected background"),
        (("--n", 3, "--b", 1, "--cl", 1), "cl = 1.0: a confidence level lies in [0.5, 1)"),
        (("--n", 3, "--b", 1, "--cl", "90%"), "'90%' is not a valid float"),
        (("--n", 3, "--b", 1, "-m", "feldman"), "feldman: unknown method, did you mean 'feldman_cousins'?"),
        (("--n", 3, "--b", 1, "-m", "feldman_cousins,monotone=1"), "monotone: unknown option of feldman_cousins"),
        (("--n", 3, "--b", 1, "-m", "feldman_cousins,monotone_in_b"), "options are given as OPTION=VALUE"),
        (("--n", 3, "--b", 1, "-m", "cls", "-m", "cls"), "'cls' stands twice"),
    ],
)
def test_limit_refuses_what_no_experiment_can_have_seen(covsvc, arguments, told):
    code, _, error = covsvc("limit", *arguments)
    assert code == 2
    assert told in error


def test_run_prints_the_limits_with_their_coverage_and_is_done_the_second_time(covsvc, study):
    code, told, error = covsvc("run", study, "--cluster", "none")
    assert code == 0
    assert "small: passed. All 6 columns that promise coverage keep it." in told
    assert "n = 3, b = 5.5" in told
    assert "< 3.5722" in told
    assert "12 cells, 6 columns; 36,000 toys and 3 rows of exact values to compute" in error
    assert "12/12 cells  36,000 toys" in error
    code, again, error = covsvc("run", study, "--cluster", "none")
    assert (code, again) == (0, told)
    assert error == "small: complete already, nothing to compute\n"


def test_run_tells_json_of_what_it_computed(covsvc, study):
    code, told, _ = covsvc("run", study, "--cluster", "none", "--json")
    (result,) = json.loads(told)
    assert code == 0
    assert result["computed"] == {"toys": 36_000, "exact_rows": 3}
    assert result["verdict"]["outcome"] == "passed"
    assert len(result["observed"]) == 6
    assert json.loads(covsvc("status", "--json")[1])[0]["snapshot"] == result["snapshot"]


def test_plan_tells_what_is_missing_and_that_a_new_method_draws_the_toys_again(covsvc, study, tmp_path):
    _, told, _ = covsvc("plan", study)
    assert "cells:            12 x 6 columns" in told
    assert "3,000 a cell; 36,000 missing" in told
    assert not (tmp_path / "coverage-cubes").exists()
    covsvc("run", study, "--cluster", "none")
    assert "nothing, the study is complete" in covsvc("plan", study)[1]
    study.write_text(STUDY.replace("garwood]", "garwood, zech]"))
    code, told, _ = covsvc("plan", study)
    assert code == 0
    assert "zech at 0.9, zech at 0.95: the toys of every cell are drawn again for them" in told
    (plan,) = json.loads(covsvc("plan", study, "--json")[1])
    assert (plan["toys"], plan["new_columns"]) == (36_000, ["zech at 0.9", "zech at 0.95"])
    assert 0 < plan["seconds"] < 60


def test_several_studies_in_a_file_are_one_run(covsvc, study):
    study.write_text(
        STUDY + "---\n" + STUDY.replace("name: small", "name: second").replace("observed: {n: 3, b: 5.5}\n", "")
    )
    code, told, _ = covsvc("run", study, "--cluster", "none")
    assert code == 0
    assert "small: passed." in told
    assert "second: passed." in told
    assert [line.split(":")[0] for line in covsvc("status")[1].splitlines() if not line.startswith(" ")] == [
        "second",
        "small",
    ]


def test_bad_studies_bad_stores_and_unknown_things_exit_2(covsvc, study, tmp_path):
    study.write_text(STUDY.replace("n_toys", "n_toy"))
    code, told, error = covsvc("run", study)
    assert (code, told) == (2, "")
    assert f"covsvc: {study}:8:1: n_toy: unknown key, did you mean 'n_toys'?" in error
    assert covsvc("run", tmp_path / "none.yaml")[0] == 2
    assert covsvc("report", "none")[0] == 2
    assert covsvc("frobnicate")[0] == 2
    study.write_text(STUDY)
    (tmp_path / "taken").write_text("")
    assert covsvc("run", study, "--store", tmp_path / "taken", "--cluster", "none")[0] == 2
    code, _, error = covsvc("run", study, "--cluster", "slurmy")
    assert code == 2
    assert "slurmy: unknown cluster" in error


def test_another_seed_is_refused_with_the_cure(covsvc, study):
    covsvc("run", study, "--cluster", "none")
    study.write_text(STUDY.replace("1999", "2000"))
    code, _, error = covsvc("run", study, "--cluster", "none")
    assert code == 2
    assert "seed is 1999 there and 2000 here" in error
    assert covsvc("run", study, "--cluster", "none", "--replace")[0] == 0


def test_a_scheduler_that_does_not_answer_exits_4(covsvc, study):
    code, _, error = covsvc("run", study, "--cluster", "tcp://127.0.0.1:9")
    assert code == 4
    assert "no scheduler answers there" in error


def test_a_gate_fails_on_a_broken_promise_only_where_it_is_asked_for(covsvc, study, plugins):
    study.write_text(STUDY.replace("garwood]", "too_low]"))
    code, told, _ = covsvc("run", study, "--cluster", "none")
    assert code == 0
    assert "small: failed. Broken promises: too_low at 0.9, too_low at 0.95." in told
    assert covsvc("report", "small")[0] == 0
    assert covsvc("report", "small", "--gate")[0] == 1


def test_a_column_without_any_result_is_undecided_and_exits_3(covsvc, study, plugins):
    study.write_text(STUDY.replace("garwood]", "raising]"))
    code, told, _ = covsvc("run", study, "--cluster", "none")
    assert code == 3
    assert "small: undecided." in told
    assert "ZeroDivisionError: no such luck (12 cells)" in covsvc("status")[1]


def test_methods_and_experiments_are_listed_with_their_options(covsvc):
    told = covsvc("methods")[1]
    assert "feldman_cousins: two-sided interval, promises at_least, reads Counts; options monotone_in_b=False" in told
    assert {each["name"] for each in json.loads(covsvc("methods", "--json")[1])} >= {"classical", "zech"}
    told = covsvc("experiments")[1]
    assert "counting: gives UncertainCounts, Counts, coverage is summed exactly; options assumed_over_true=1.0" in told
    assert "on_off: gives Sideband, OnOff, UncertainCounts, Counts, coverage is summed exactly; options tau=1.0" in told


def test_help_shows_its_examples_as_they_are_typed(covsvc):
    assert "\n    covsvc plan study.yaml  " in covsvc("--help")[1]
    assert "\n    experiment: counting\n" in covsvc("run", "--help")[1]


def test_a_reader_that_has_seen_enough_is_no_error():
    piped = f"{sys.executable} -m covsvc methods | head -1; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "0"
    assert "Error" not in ended.stderr
