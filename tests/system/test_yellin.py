"""The studies of limits with an unknown background, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import covsvc

pytestmark = [pytest.mark.heavy, pytest.mark.system]

STUDIES = Path(__file__).parents[2] / "deploy" / "studies"
NAMES = ("yellin-small-a", "yellin-small-b", "yellin-small-known")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Run the small studies, with their reports."""
    folder = tmp_path_factory.mktemp("yellin")
    command = [sys.executable, "-m", "covsvc", "run", str(STUDIES / "yellin-small.yaml"), "--workers", "2"]
    ended = subprocess.run([*command, "--report", "report"], cwd=folder, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture(scope="module")
def cubes(folder):
    return {name: covsvc.open_cube(folder / "coverage-cubes", name).load() for name in NAMES}


def test_all_promises_are_kept_and_reported(folder, cubes):
    for name, cube in cubes.items():
        assert (cube["n_toys"] == json.loads(cube.attrs["study"])["n_toys"]).all()
        assert (cube["n_failed"] == 0).all()
        assert (folder / "report" / name / "index.html").is_file()


def test_what_is_stored_is_not_computed_again(folder):
    command = [sys.executable, "-m", "covsvc", "run", str(STUDIES / "yellin-small.yaml"), "--cluster", "none"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr
    assert [line.endswith("complete already, nothing to compute") for line in ended.stderr.splitlines()] == [True] * 3


def test_without_background_wrong_limits_come_as_often_as_they_may(cubes):
    # Yellin (2002), Section IV: all but Poisson make a mistake 10 % of the time; a largest gap has no atoms
    at = cubes["yellin-small-a"].sel(limit_method="max_gap", cl=0.9, b=0)
    chances = np.where(at["s_true"].values < -np.log(0.1), 1.0, 0.9)
    told = at["n_covered"].values.tolist(), at["n_toys"].values.tolist(), chances
    p = [stats.binomtest(covered, n, chance).pvalue for covered, n, chance in zip(*told, strict=True)]
    assert min(p) * len(p) > 1e-3


def test_poisson_limits_cover_as_poisson_probabilities_say(cubes):
    n = np.arange(300)
    p = []
    for name, per_signal in (("yellin-small-a", 1), ("yellin-small-b", 2)):
        at = cubes[name].sel(limit_method="poisson", cl=0.9, b=0)
        told = (at[key].values.tolist() for key in ("s_true", "n_covered", "n_toys"))
        for s_true, covered, toys in zip(*told, strict=True):
            exact = stats.poisson.pmf(n, per_signal * s_true)[stats.poisson.cdf(n, s_true) >= 0.1].sum()
            p.append(stats.binomtest(covered, toys, min(exact, 1.0)).pvalue)
    assert min(p) * len(p) > 1e-3


def test_the_toys_are_the_first_of_the_large_studies():
    for name in ("a", "b"):
        large, small = (covsvc.load_studies(STUDIES / f"yellin-{file}.yaml") for file in (f"test-{name}", "small"))
        (same,) = (study for study in small if study.name == f"yellin-small-{name}")
        assert same.source == large[0].source
        assert set(same.s_true) <= set(large[0].s_true)
        assert len(large[0].s_true) == 40
        assert large[0].n_toys == 500_000
