"""The studies of all counting methods, as a user runs them: their toys against exact sums, and what is known of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from agreement import hold_toys_to_exact_values

import covsvc

pytestmark = [pytest.mark.heavy, pytest.mark.system, pytest.mark.timeout(900)]

STUDIES = Path(__file__).parents[2] / "deploy" / "studies"


def carry_out(name, folder):
    """Run the studies of a file on a local cluster of two; return what was printed, and their cubes by name."""
    file = STUDIES / f"{name}.yaml"
    command = [sys.executable, "-m", "covsvc", "run", str(file), "--workers", "2"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=880)
    assert ended.returncode == 0, ended.stderr
    studies = [study.name for study in covsvc.load_studies(file)]
    return ended.stdout, {study: covsvc.open_cube(folder / "coverage-cubes", study).load() for study in studies}


@pytest.fixture(scope="module")
def on_off(tmp_path_factory):
    return carry_out("on-off", tmp_path_factory.mktemp("on-off"))


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    return carry_out("counting-all", tmp_path_factory.mktemp("counting-all"))


def test_toys_on_and_off_source_agree_with_exact_coverage_in_all_cells(on_off, record_property):
    cubes = list(on_off[1].values())
    assert [cube.attrs["source"].count("on_off") for cube in cubes] == [1, 1, 1, 1]
    assert all(np.isfinite(cube["exact_coverage"]).all() and (cube["n_toys"] == 100_000).all() for cube in cubes)
    product, said = hold_toys_to_exact_values(*cubes)
    record_property("comparisons", said)
    assert product >= 1e-3, said


def test_toys_of_all_counting_methods_agree_with_exact_coverage_in_all_cells(counting, record_property):
    (cube,) = counting[1].values()
    assert np.isfinite(cube["exact_coverage"]).all()
    product, said = hold_toys_to_exact_values(cube)
    record_property("comparisons", said)
    assert product >= 1e-3, said


def test_every_method_that_reads_counts_is_in_the_study_of_all(counting):
    from covsvc import registry

    (cube,) = counting[1].values()
    gives = registry.find("experiments", "counting").gives
    readers = {
        name
        for name, entry in registry.installed("methods").items()
        if entry.value.startswith("covsvc.") and registry.view_for(entry.load().reads, gives) is not None
    }
    assert readers == {label.partition("(")[0] for label in cube["limit_method"].values.tolist()}


def test_asymptotic_limits_fail_where_they_are_known_to(counting):
    (cube,) = counting[1].values()
    worst = covsvc.summarize(cube)["worst_coverage"].sel(cl=0.90)
    # bounded, b = 0: n = 0 has the limit z^2/2 = 0.8212 (Wilks), so just above only n >= 1 covers, 1 - exp(-0.8212)
    assert worst.sel(limit_method="profile_likelihood", b=0) == pytest.approx(1 - np.exp(-0.8211872), abs=1e-6)
    # asymptotic CLs at b = 3, another program: 0.861 near s = 9.3
    assert worst.sel(limit_method="q_mu_tilde", b=3) == pytest.approx(0.861, abs=5e-4)


def test_what_keeps_its_promise_when_the_background_is_known_is_not_gated_when_it_is_estimated(on_off):
    told, cubes = on_off
    assert told.count("passed. Nothing to judge: no column promises coverage, all 30 are reported.") == 4
    for cube in cubes.values():
        worst = covsvc.summarize(cube)["worst_coverage"].sel(limit_method="classical with b = n_off/tau", cl=0.90)
        assert worst.min() < 0.9
    # the better the background is measured, the less the plug-in costs
    lowest = [
        float(covsvc.summarize(cube)["worst_coverage"].sel(limit_method="classical with b = n_off/tau", cl=0.90, b=10))
        for cube in cubes.values()
    ]
    assert lowest == sorted(lowest)
