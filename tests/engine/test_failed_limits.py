"""Limits that fail: counted, with a reason, and coverage bounded by what they might have been."""

from __future__ import annotations

import math

import pytest

from covsvc import api
from covsvc.study import study_of


@pytest.fixture
def failing(plugins, tmp_path):
    """Return the cube of a method that fails for no event over no background, which toys have with chance exp(-s)."""
    study = study_of(
        {
            "name": "failing",
            "experiment": "drawn",
            "methods": ["bayes_reciprocal", "bayes_flat"],
            "cl": [0.90],
            "s_true": [1, 2],
            "b": [0, 1],
            "toys_per_block": 1000,
            "n_toys": 2000,
            "seed": 1999,
        }
    )
    api.run(study, tmp_path)
    return tmp_path


def test_coverage_is_bounded_by_what_failed_limits_might_have_been(failing):
    maps = api.maps_of(api.open_cube(failing, "failing"))
    at = maps.sel(limit_method="bayes_reciprocal", cl=0.9, b=0, s_true=1)
    # 2000 toys, of which exp(-1) have no event: 4 standard deviations are 0.043
    assert float(at["p_failed"]) == pytest.approx(math.exp(-1.0), abs=0.043)
    assert float(at["coverage_best"]) == pytest.approx(float(at["coverage"] + at["p_failed"]), abs=1e-12)
    flat = maps.sel(limit_method="bayes_flat")
    assert (flat["coverage_best"] == flat["coverage"]).all()


def test_the_status_tells_how_many_failed_and_why(failing):
    (told,) = api.status(failing, "failing")["toy_failures"]
    assert (told["limit_method"], told["cl"], told["toys"]) == ("bayes_reciprocal", 0.9, 8000)
    assert told["failed"] > 0
    assert told["reason"] == "n = 0 over b = 0: the prior 1/s leaves no posterior that can be normalised"


def test_the_report_shows_the_reason_and_the_bound(failing, tmp_path):
    page = api.write_report(api.open_cube(failing, "failing"), tmp_path / "report").read_text()
    (told,) = api.status(failing, "failing")["toy_failures"]
    assert told["reason"] in page
    assert "if the failed limits cover" in page


def test_a_column_that_is_replaced_forgets_why_it_failed(failing):
    study = study_of(
        {
            "name": "failing",
            "experiment": "drawn",
            "methods": ["bayes_flat", {"name": "bayes_flat", "label": "bayes_reciprocal"}],
            "cl": [0.90],
            "s_true": [1, 2],
            "b": [0, 1],
            "toys_per_block": 1000,
            "n_toys": 2000,
            "seed": 1999,
        }
    )
    api.run(study, failing, replace=True)
    assert not api.status(failing, "failing")["toy_failures"]
