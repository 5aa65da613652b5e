"""Comparison of cubes that were drawn and stored."""

from __future__ import annotations

import pytest

from covsvc import api
from covsvc.maps import summarize
from covsvc.verdict import Side, compare


def stored(study, folder):
    cube = api.run(study, folder)
    return Side(summarize(cube), cube)


def test_the_same_study_gives_the_same_limits(small_study, tmp_path):
    study = small_study(methods=["classical", "feldman_cousins"])
    one, other = (stored(study, tmp_path / each) for each in ("one", "other"))
    comparison = compare(study.name, one, other, same_toys=True)
    assert {each.state for each in comparison.columns} == {"unchanged"}
    assert (comparison.findings, comparison.tests) == ((), 0)


@pytest.mark.parametrize("keep", ["toys", "counts"])
def test_a_method_that_covers_less_is_seen_on_the_same_toys(plugins, small_study, tmp_path, keep):
    # n - b as an upper limit in place of the classical one
    now = small_study(experiment="drawn", methods=["too_low"], keep=keep)
    before = small_study(experiment="drawn", methods=[{"name": "classical", "label": "too_low"}], keep=keep)
    comparison = compare("small", stored(now, tmp_path / "now"), stored(before, tmp_path / "before"), same_toys=True)
    assert {each.state for each in comparison.columns} == {"changed"}
    assert min(each.p for each in comparison.hypotheses if each.kind == "promise") < 1e-100
    # without a signal 0 covers, which the classical interval may not
    assert {each.kind for each in comparison.findings} == {"coverage fell", "coverage rose", "median fell"}
    assert {each.s_true for each in comparison.findings if each.kind == "coverage rose"} == {0.0}
    assert {each.toys_rose for each in comparison.columns} == {0 if keep == "toys" else None}
