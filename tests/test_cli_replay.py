"""`covsvc replay`: toys of a cube, and why limits missed them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import distribution
import icechunk
import numpy as np
import pytest
import zarr
from misbehaving import install

from covsvc import api, registry

STUDY = """\
name: small
experiment: counting
methods:
  - classical
  - {name: feldman_cousins, options: {monotone_in_b: true}, label: fc98}
cl: [0.90, 0.95]
s_true: [0, 0.3, 2.5]
b: [0, 3]
toys_per_block: 500
n_toys: 1500
seed: 1999
"""

BUMP = "{name: binned, options: {signal: [2, 6, 2], backgrounds: [10, 8, 6], uncorrelated: [2, 2, 2]}}"

EXPERIMENTS = {
    "counting": ("counting", "[classical, feldman_cousins]"),
    "on_off": ("{name: on_off, options: {tau: 2}}", "[profile_likelihood, {name: cls, view: Counts}]"),
    "spectrum": ("spectrum", "[max_gap, poisson]"),
    "gaussian_flat": ("gaussian_flat", "[profile_likelihood, max_gap, classical]"),
    "cleo": ("cleo", "[profile_likelihood, significance_sideband]"),
    "binned": (BUMP, "[q_mu_tilde, {name: sampling_distribution, options: {nuisances: nominal, n_toys: 200}}]"),
}


def stored(tmp_path, text=STUDY):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return api.run(api.load_study(path), tmp_path / "coverage-cubes")


@pytest.fixture
def cube(tmp_path):
    """Return the cube of a small study, in the store of the folder in which commands work."""
    return stored(tmp_path)


LEANING = """
from dataclasses import dataclass
from covsvc.contracts import Counts, one_sided

@dataclass(frozen=True)
class Leaning:
    reads = (Counts,)
    sided = "upper"
    promises = "nothing"
    def limits(self, observed, cl):
        return one_sided(observed.n + observed.n.mean())
"""


@pytest.fixture
def leaning(tmp_path, monkeypatch):
    """Install a distribution whose method lets limits depend on the other toys."""
    points = "[covsvc.methods]\nleaning = leaning_plugin:Leaning\n"
    distribution.install(tmp_path / "site", "leaning", points, leaning_plugin=LEANING)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    registry.installed.cache_clear()
    yield
    registry.installed.cache_clear()
    sys.modules.pop("leaning_plugin", None)


@pytest.fixture
def misbehaving(tmp_path, monkeypatch):
    """Install a distribution whose method crashes where it is told to."""
    install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    registry.installed.cache_clear()
    yield
    registry.installed.cache_clear()
    sys.modules.pop("misbehaving_plugin", None)


def cell(*more, study="small", s_true=2.5, b=3):
    return "replay", study, "--s-true", s_true, "--b", b, *more


def in_shell(command, folder):
    """Run a command as a user does who copies it."""
    found = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(["sh", "-c", command], cwd=folder, env=found, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", EXPERIMENTS)
def test_toys_are_those_of_the_cube_and_as_many_are_missed_as_it_counts(kind, covsvc, tmp_path):
    experiment, methods = EXPERIMENTS[kind]
    text = f"name: small\nexperiment: {experiment}\nmethods: {methods}\ncl: [0.9]\ns_true: [0, 2.5]\nb: [3]\n"
    cube = stored(tmp_path, f"{text}toys_per_block: 30\nn_toys: 90\nseed: 1999\n")
    for s_true in (0.0, 2.5):
        for label in cube["limit_method"].values.tolist():
            here = cube.sel(limit_method=label, cl=0.9, s_true=s_true, b=3.0)
            only = ("--limit-method", label, "--json")
            code, told, error = covsvc(*cell("--missed", "--most", 90, *only, s_true=s_true))
            assert (code, error) == (0, "")
            found = json.loads(told)
            assert len(found["toys"]) == int(here["n_toys"] - here["n_covered"])
            assert (found["scanned"], found["compared"], found["differing"]) == (90, 3, [])
            for missed in found["toys"][:3]:
                code, told, _ = covsvc(*cell("--toy", missed["toy"], *only, s_true=s_true))
                again = json.loads(told)
                assert code == 0
                assert (again["toys"], again["compared"], again["differing"]) == ([missed], 1, [])
                (row,) = missed["limits"]
                assert not row["covers"]
                assert row["why"]


def test_a_cell_is_summed_up_with_the_first_toy_that_each_column_missed(covsvc, cube):
    code, told, _ = covsvc(*cell("--json"))
    found = json.loads(told)
    assert code == 0
    assert (found["stored_toys"], found["snapshot"]) == (1500, cube.attrs["snapshot"])
    assert len(found["columns"]) == 4
    for row in found["columns"]:
        here = cube.sel(limit_method=row["limit_method"], cl=row["cl"], s_true=2.5, b=3.0)
        assert (row["n_toys"], row["n_covered"]) == (1500, int(here["n_covered"]))
        assert row["exact_coverage"] == float(here["exact_coverage"])
        _, told, _ = covsvc(
            *cell("--missed", "--most", 1, "--limit-method", row["limit_method"], "--cl", row["cl"], "--json")
        )
        assert json.loads(told)["toys"][0]["toy"] == row["first_missed"]
    code, told, error = covsvc(*cell())
    assert (code, error) == (0, "")
    assert "small at s_true = 2.5, b = 3: 1,500 toys, in blocks of 500\n" in told
    assert f"{int(cube.sel(limit_method='fc98', cl=0.95, s_true=2.5, b=3.0)['n_covered']):,} of 1,500" in told


def test_a_toy_is_shown_with_its_data_and_the_command_that_sets_its_limits(covsvc, cube, tmp_path):
    code, told, error = covsvc(*cell("--toy", 731))
    assert (code, error) == (0, "")
    (toy,) = json.loads(covsvc(*cell("--toy", 731, "--json"))[1])["toys"]
    n = toy["data"][1]["n"]
    assert "toy 731, which is toy 231 of block 1" in told
    assert f"  Counts: n = {n}, b = 3\n" in told
    assert f"These are the toys and limits that the cube holds (snapshot {cube.attrs['snapshot']}).\n" in told
    (command,) = toy["commands"]
    assert (
        command == f"covsvc limit --n {n} --b 3 -m classical -m feldman_cousins,monotone_in_b=true --cl 0.9 --cl 0.95"
    )
    assert f"  {command}\n" in told
    alone = json.loads(in_shell(f"{command} --json", tmp_path).stdout)
    assert [(row["lower"], row["upper"]) for row in alone] == [(row["lower"], row["upper"]) for row in toy["limits"]]


def test_missed_toys_are_listed_with_the_reason(covsvc, cube):
    code, told, _ = covsvc(*cell("--missed", "--most", 2, "--limit-method", "classical", "--cl", 0.9))
    assert code == 0
    # n = 2: the upper limit on a mean is 5.3223, 3 of it background
    assert "2 of the first" in told
    assert ": Counts: n = 2, b = 3\n  classical at 0.90: upper limit 2.322 is 0.18 below s_true = 2.5\n" in told


def test_no_toy_is_missed_where_all_are_covered(covsvc, cube):
    _, told, _ = covsvc(*cell("--missed", "--limit-method", "classical", s_true=0, b=0))
    assert "small at s_true = 0, b = 0: none of 1,500 toys missed\n" in told


def test_a_toy_beyond_the_stored_ones_is_drawn_and_is_that_of_more_toys(covsvc, cube, tmp_path):
    code, told, _ = covsvc(*cell("--toy", 2222))
    assert code == 0
    assert "Drawn anew, beyond the 1,500 stored ones: there is nothing in the cube to compare with.\n" in told
    before = json.loads(covsvc(*cell("--toy", 2222, "--json"))[1])["toys"][0]
    stored(tmp_path, STUDY.replace("n_toys: 1500", "n_toys: 3000"))
    after = json.loads(covsvc(*cell("--toy", 2222, "--json"))[1])
    assert (after["compared"], after["differing"]) == (4, [])
    assert after["toys"][0]["data"] == before["data"]
    old = covsvc(*cell("--toy", 2222, "--at", cube.attrs["snapshot"]))[1]
    assert "beyond the 1,500 stored ones" in old


def test_a_study_file_needs_nothing_stored(covsvc, cube, tmp_path):
    stored_toy = json.loads(covsvc(*cell("--toy", 3, "--json"))[1])["toys"][0]
    empty = ("--store", tmp_path / "empty")
    code, told, _ = covsvc(*cell("--toy", 3, "--json", *empty, study="study.yaml"))
    (toy,) = json.loads(told)["toys"]
    assert code == 0
    assert toy["data"] == stored_toy["data"]
    assert [row["upper"] for row in toy["limits"]] == [row["upper"] for row in stored_toy["limits"]]
    assert "not compared with a cube" in covsvc(*cell("--missed", *empty, study="study.yaml"))[1]
    code, _, error = covsvc(*cell(*empty, study="study.yaml"))
    assert (code, "holds no toys to sum up" in error) == (2, True)
    (tmp_path / "two.yaml").write_text(f"{STUDY}---\n{STUDY.replace('small', 'second')}")
    code, _, error = covsvc(*cell("--toy", 3, study="two.yaml"))
    assert (code, "two.yaml: holds several studies, small, second; give the name of one" in error) == (2, True)


def test_rounding_of_the_grid_is_forgiven(covsvc, cube):
    code, told, _ = covsvc(*cell("--cl", 0.9 + 1e-13, "--json", s_true=0.1 + 0.2))
    assert code == 0
    assert json.loads(told)["s_true"] == 0.3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (cell(study="smal"), "smal: no such study in the store; stored are: small"),
        (cell(study="none.yaml"), "none.yaml: No such file or directory"),
        (cell(s_true=2.4), "s_true = 2.4: is no value of the grid; the nearest are 0, 0.3, 2.5"),
        (cell(b=-1), "b = -1: is no value of the grid; the nearest are 0, 3"),
        (cell("--cl", 0.92), "cl = 0.92: is no value of the grid; the nearest are 0.9, 0.95"),
        (cell("--limit-method", "clasical"), "clasical: unknown limit method of small, did you mean 'classical'?"),
        (cell("--toy", -1), "toy = -1: toys are counted from 0"),
        (cell("--toy", 10**12), "toy = 1000000000000: a cell has at most 1,000,000 blocks of 500 toys"),
        (cell("--toy", 1.5), "'1.5' is not a valid integer"),
        (cell("--toy", 1, "--missed"), "toy and missed: one names a toy, the other looks for some"),
        (cell("--most", 3), "--most: how many missed toys are shown; give --missed, too"),
        (cell("--missed", "--most", 0), "0 is not in the range x>=1"),
        (cell("--at", "none"), "coverage-cubes/small: no snapshot 'none', no tag and no time"),
        (cell("--at", "v1", study="study.yaml"), "at = v1: a study file has no history"),
    ],
)
def test_what_is_not_there_is_refused_by_name(covsvc, cube, arguments, told):
    code, out, error = covsvc(*arguments)
    assert (code, out) == (2, "")
    assert told in error


def test_a_cube_without_toys_says_so_and_shows_a_toy_by_its_number(covsvc, tmp_path, plugins):
    stored(tmp_path, STUDY.replace("counting", "broken").replace("monotone_in_b: true", "monotone_in_b: false"))
    for more in ((), ("--missed",)):
        code, _, error = covsvc(*cell(*more))
        assert code == 2
        assert "small: no toys at s_true = 2.5, b = 3 are stored of classical, fc98" in error
    os.environ["STRANGE_SIGNAL"] = "9"
    try:
        code, told, error = covsvc(*cell("--toy", 7))
    finally:
        del os.environ["STRANGE_SIGNAL"]
    assert code == 0
    assert "of which none is stored in this cell" in told
    assert "block 0 of classical at 0.90 is not in the cube, it failed: RuntimeError: the source is empty" in error


def test_a_method_of_others_that_fails_does_not_keep_the_rest_from_being_shown(covsvc, tmp_path, plugins):
    stored(tmp_path, STUDY.replace("classical", "raising"))
    code, told, error = covsvc(*cell("--toy", 7, "--cl", 0.9))
    assert code == 0
    raising, fc98 = (line.split() for line in told.splitlines() if line.startswith(("raising", "fc98")))
    assert raising[3:] == ["failed", "no", "failed:", "ZeroDivisionError:", "no", "such", "luck"]
    assert fc98[-1] == "yes"
    assert "block 0 of raising at 0.90 is not in the cube, it failed: ZeroDivisionError: no such luck" in error
    code, told, error = covsvc(*cell())
    assert (code, "6 blocks failed here and hold no limits; `covsvc status` says why" in error) == (0, True)
    code, _, error = covsvc(*cell("--missed", "--limit-method", "raising"))
    assert (code, "are stored of raising; `covsvc run` stores them" in error) == (2, True)


@pytest.mark.system
def test_a_method_of_others_that_crashes_is_told_as_failed(covsvc, tmp_path, misbehaving):
    crashing = "{name: misbehaving, options: {way: segfault, from_b: 3}, label: crashing}"
    stored(tmp_path, STUDY.replace("- classical", f"- {crashing}"))
    code, told, error = covsvc(*cell("--toy", 7, "--cl", 0.9))
    assert code == 0
    crashed, fc98 = (line.split() for line in told.splitlines() if line.startswith(("crashing", "fc98")))
    assert crashed[3:] == ["failed", "no", "failed:", "killed", "by", "SIGSEGV"]
    assert fc98[-1] == "yes"
    assert "block 0 of crashing at 0.90 is not in the cube, it failed: killed by SIGSEGV" in error
    code, told, _ = covsvc(*cell("--toy", 7, "--cl", 0.9, "--limit-method", "crashing", b=0))
    assert (code, "These are the toys and limits that the cube holds" in told) == (0, True)


def test_a_limit_that_depends_on_the_other_toys_of_its_block_is_told(covsvc, tmp_path, leaning):
    text = STUDY.replace("counting", "spectrum").replace(
        "{name: feldman_cousins, options: {monotone_in_b: true}, label: fc98}", "leaning"
    )
    stored(tmp_path, text)
    code, _, error = covsvc(*cell("--toy", 7, "--cl", 0.9))
    assert code == 0
    assert "leaning at 0.90: toy 7 has another limit among the other toys of its block than alone" in error
    assert "classical" not in error


def test_toys_that_are_not_those_of_the_cube_are_told_and_exit_3(covsvc, cube, tmp_path):
    repository = icechunk.Repository.open(
        icechunk.local_filesystem_storage(str(tmp_path / "coverage-cubes" / "small")),
        icechunk.RepositoryConfig.default(),
    )
    session = repository.writable_session("main")
    root = zarr.open_group(session.store, mode="a")
    root["limit_digest"][0, 0] = root["limit_digest"][0, 0] + np.uint64(1)
    root.attrs["environment"] = dict(root.attrs["environment"]) | {"numpy": "1.0"}
    session.commit("other limits")
    code, told, error = covsvc(*cell("--toy", 1))
    assert code == 3
    assert "These are the toys" not in told
    assert "WARNING: the limits of classical at 0.90 are not those that the cube holds: numpy was 1.0, is " in error
    code, _, error = covsvc(*cell("--toy", 1, "--limit-method", "classical", "--cl", 0.9))
    assert code == 3
    assert "WARNING: these are not the toys or limits of classical at 0.90 that the cube holds" in error
    assert covsvc(*cell("--toy", 1, "--limit-method", "fc98"))[0] == 0
    assert covsvc(*cell("--missed", "--limit-method", "classical"))[0] == 3


def test_a_broken_promise_is_printed_with_the_command_that_shows_what_it_missed(covsvc, tmp_path, plugins):
    (tmp_path / "study.yaml").write_text(STUDY.replace("classical", "too_low"))
    _, told, _ = covsvc("run", "study.yaml", "--cluster", "none")
    lines = [line for line in told.splitlines() if line.startswith("What too_low at 0.90 missed: ")]
    assert len(lines) == 1
    words = lines[0].partition(": covsvc ")[2].split()
    code, told, _ = covsvc(*words)
    assert code == 0
    assert "toys missed" in told


def test_events_are_printed_up_to_30_and_all_told_in_json(covsvc, tmp_path):
    text = (
        STUDY.replace("counting", "spectrum")
        .replace("2.5]", "60]")
        .replace("{name: feldman_cousins, options: {monotone_in_b: true}, label: fc98}", "max_gap")
    )
    (tmp_path / "study.yaml").write_text(text)
    told = covsvc(*cell("--toy", 0, s_true=60, study="study.yaml"))[1]
    data = json.loads(covsvc(*cell("--toy", 0, "--json", s_true=60, study="study.yaml"))[1])["toys"][0]["data"][0]
    assert len(data["u"]) == data["n"] > 30
    line = next(each for each in told.splitlines() if each.startswith("  Events: "))
    assert f"... ({data['n'] - 30} more, told by --json)" in line
