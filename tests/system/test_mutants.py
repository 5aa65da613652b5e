"""Mistakes in limit methods, and changes that are none, as `covsvc validate` sees them."""

from __future__ import annotations

import json

import pytest
from mistakes import MUTANTS, REFACTORINGS, ROOT, copy_of, run_in

pytestmark = pytest.mark.system

STUDY = {
    "name": "changes",
    "experiment": "counting",
    "methods": ["classical", "cls", "feldman_cousins", "bayes_flat", "poisson", "garwood"],
    "cl": [0.9],
    "s_true": [0.0, 1.0, 2.5, 4.0],
    "b": [0.0, 3.0],
    "n_toys": 1000,
    "toys_per_block": 1000,
    "seed": 1959,
}
BROKEN = {"b 2 % too large": "classical", "Feldman-Cousins on a grid of 0.05": "feldman_cousins"}
BROKEN |= {"prior exponent 1/2 for 0": "bayes_flat"}
HARMLESS = {"set for all toys, not for distinct counts": "poisson"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A folder with a study, and a copy of the sources with mistakes in three methods and another form of a fourth."""
    folder = tmp_path_factory.mktemp("mutants")
    (folder / "study.yaml").write_text(json.dumps(STUDY))
    named = [each for each in (*MUTANTS, *REFACTORINGS) if each.name in BROKEN | HARMLESS]
    assert len(named) == len(BROKEN | HARMLESS)
    copy_of(ROOT, folder / "copy", *named)
    return folder


def covsvc(sources, folder, *command):
    return run_in(sources, "-m", "covsvc", *command, cwd=folder, timeout=120)


def validate(sources, folder, store):
    done = covsvc(sources, folder, "validate", "study.yaml", "--store", store, "--cluster", "none", "--json")
    assert done.returncode in (0, 1), done.stderr
    (study,) = json.loads(done.stdout)["studies"]
    return done.returncode, study


def broken_promises(study):
    return sorted({each["limit_method"] for each in study["findings"] if each["severity"] == "failure"})


def test_mistakes_fail_and_another_form_of_the_same_does_not(bench):
    code, _ = validate(ROOT, bench, "store")
    assert code == 0
    accepted = covsvc(ROOT, bench, "accept", "changes", "--store", "store", "--tag", "before", "--reason", "the first")
    assert accepted.returncode == 0, accepted.stderr
    code, study = validate(bench / "copy", bench, "store")
    assert code == 1
    assert broken_promises(study) == sorted(BROKEN.values())
    states = {each["limit_method"]: each["state"] for each in study["columns"]}
    assert states == {
        **dict.fromkeys(BROKEN.values(), "changed"),
        "poisson": "identical",
        "cls": "unchanged",
        "garwood": "unchanged",
    }
    assert (study["work"]["recomputed"], study["work"]["skipped"]) == (4, 2)
    assert {each["limit_method"] for each in study["findings"]} == set(BROKEN.values())


def test_mistakes_that_break_a_promise_fail_without_a_baseline(bench):
    code, study = validate(bench / "copy", bench, "new store")
    assert code == 1
    assert broken_promises(study) == sorted(BROKEN.values())
    assert study["baseline"] is None
