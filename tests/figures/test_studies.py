"""Which figures a study has: its own ones, and no others."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from covsvc import registry
from covsvc.report import Section

OURS = {"densities", "published", "significance", "thresholds", "toy_model"}
EVENTS = {"x": [0.1, -1.0, 4.0, 8.0]}


def shown(name, study, methods=("classical",)):
    """Return the section of a figure of maps that hold nothing but what a page tells of a study."""
    study = {"name": "made-up", "cl": [0.9], "b": [0.0, 1.0], "s_true": [0.0, 3.0], "n_toys": 100, "seed": 1} | study
    study |= {"methods": [{"name": each} for each in methods], "toys_per_block": 100}
    axes = {name: study[name] for name in ("cl", "b", "s_true")}
    told = {each: {"name": each, "sided": "upper"} for each in methods}
    attrs = {"study": json.dumps(study), "methods": json.dumps(told), "observed": "[]"}
    return registry.find("figures", name)(xr.Dataset(coords={"limit_method": list(methods)} | axes, attrs=attrs), study)


def test_five_are_found_like_those_of_anybody():
    assert {name for name in registry.installed("figures") if registry.is_ours("figures", name)} == OURS


@pytest.mark.parametrize(
    ("study", "methods", "figures"),
    [
        ({"experiment": "counting"}, ["classical"], []),
        ({"experiment": "counting", "observed": {"n": 3, "b": 5.5}}, ["classical"], ["published"]),
        ({"experiment": "counting", "observed": {"n": 3, "b": 5.5}, "cl": [0.95]}, ["classical"], []),
        ({"experiment": "counting", "observed": {"n": 3, "b": 5.4}}, ["classical"], []),
        ({"experiment": {"name": "on_off", "options": {"tau": 2.0}}}, ["classical"], ["significance"]),
        ({"experiment": "gaussian_flat"}, ["classical"], ["toy_model"]),
        ({"experiment": "gaussian_flat", "b": [0.25]}, ["classical"], []),
        ({"experiment": "gaussian_flat", "observed": EVENTS}, ["classical"], ["densities", "toy_model"]),
        ({"experiment": "spectrum"}, ["max_gap", "poisson"], []),
        ({"experiment": "spectrum"}, ["max_gap", "optimum_interval"], ["thresholds"]),
        ({"experiment": "spectrum", "cl": [0.8]}, ["p_max"], []),
    ],
    ids=str,
)
def test_a_study_has_its_own_figures(study, methods, figures):
    found = {name: section for name in OURS if (section := shown(name, study, methods)) is not None}
    assert sorted(found) == figures
    assert all(isinstance(section, Section) and section.title and section.sentences for section in found.values())


def test_claims_are_told_at_the_nodes_of_b_and_for_the_given_ratio():
    section = shown("significance", {"experiment": {"name": "on_off", "options": {"tau": 2.0}}, "b": [1.0, 30.0]})
    assert "nominal 0.159" in section.tables[0].heads[1]
    (highest,) = (text.get_text() for text in section.pictures[0].figure.texts[1:2])
    assert "τ = 2" in highest
    b = [float(row[0]) for row in section.tables[0].rows]
    assert (b[0], b[-1]) == (0.1, 30)


def test_thresholds_are_shown_for_each_method_and_level():
    section = shown("thresholds", {"experiment": "spectrum", "cl": [0.9, 0.95]}, ["optimum_interval", "p_max"])
    assert [picture.name for picture in section.pictures] == ["c_max-0.9", "p_max-0.9", "c_max-0.95", "p_max-0.95"]
    assert sum("was made with 3,000,000 toys, seed 2002" in sentence for sentence in section.sentences) == 2
    first, *_ = section.tables
    assert list(first.heads) == ["k", "t_k, CBarMax", "e_k, CBarMax", "t_k, pBarMax", "e_k, pBarMax"]
    # no events exclude from -ln(1 - cl) on
    assert [row[1] for row in first.rows[:1]] == [f"{np.log(10):.4f}"]
    assert section.tables[3].rows[0][1] == f"{np.log(20):.4f}"


def test_the_toy_model_has_a_table_for_each_background():
    section = shown("toy_model", {"experiment": "gaussian_flat"})
    assert [table.caption for table in section.tables] == [
        "Limits at cl = 0.9, b = 0, events",
        "Limits at cl = 0.9, b = 1, events",
    ]
    # 90 % upper limits of 0 to 6 events (PDG), less b
    pdg = np.array([2.303, 3.890, 5.322, 6.681, 7.994, 9.275, 10.532])
    for b, table in enumerate(section.tables):
        assert [float(row[1]) for row in table.rows] == pytest.approx(pdg - b, abs=6e-3)


def test_events_are_listed_by_their_density_ratio():
    (table,) = shown("densities", {"experiment": "gaussian_flat", "observed": EVENTS}).tables
    assert table.caption == "Events by the ratio of their densities, 4 of 4"
    assert [row[1] for row in table.rows] == ["0.1", "−1", "4", "8"]
    # a unit Gaussian over 1/20
    expected = 20 * np.exp(-(np.array([0.1, 1.0]) ** 2) / 2) / np.sqrt(2 * np.pi)
    assert [float(row[-1]) for row in table.rows[:2]] == pytest.approx(expected, rel=1e-3)
