"""The studies of every night: what is in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from covsvc import registry
from covsvc.api import load_studies

FILE = Path(__file__).parents[1] / "deploy" / "studies" / "nightly.yaml"


@pytest.fixture(scope="module")
def studies():
    return load_studies(FILE)


def ours(kind):
    return {name for name in registry.installed(kind) if registry.is_ours(kind, name)}


def read_in(studies):
    """Return which method reads which form of data."""
    return {
        (spec.name, study.experiment.build().gives[spec.view_of(study.experiment.build())])
        for study in studies
        for spec in study.methods
    }


def test_every_installed_experiment_is_in_them(studies):
    assert {study.experiment.name for study in studies} == ours("experiments")


def test_every_installed_method_is_in_them(studies):
    assert {spec.name for study in studies for spec in study.methods} == ours("methods")


def test_every_form_of_data_that_a_method_reads_is_in_them(studies):
    given = {view for study in studies for view in study.experiment.build().gives}
    readable = {
        (name, view) for name in ours("methods") for view in registry.find("methods", name).reads if view in given
    }
    assert not readable - read_in(studies)


def test_toys_are_kept_where_coverage_is_not_summed_exactly_and_nowhere_else(studies):
    assert {study.name: study.keep for study in studies} == {
        study.name: "counts" if study.is_enumerable else "toys" for study in studies
    }


def test_their_names_are_those_of_no_other_study(studies):
    others = [study.name for file in FILE.parent.glob("*.yaml") if file != FILE for study in load_studies(file)]
    names = [study.name for study in studies]
    assert len({*names, *others}) == len(names) + len(others)
