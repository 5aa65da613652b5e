"""What a report says is to be cited."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from covsvc import registry
from covsvc.report import citing
from covsvc.report.citing import citations, references

PROVENANCE = {"covsvc": "0.0.9", "snapshot": "ZX81ABC", "written_at": "2026-11-21T20:40:00+00:00"}


def test_software_is_that_of_the_citation_file():
    told = yaml.safe_load((Path(__file__).parents[2] / "CITATION.cff").read_text())
    assert told["title"] == citing.TITLE
    assert told["license"] == citing.LICENSE
    assert told["authors"] == [{"name": citing.AUTHORS}]


def test_papers_of_the_methods_are_those_of_their_docstrings():
    assert references("methods", "garwood") == (
        "F. Garwood, Biometrika 28 (1936) 437.",
        "I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444, Eq. 11.",
    )
    assert references("methods", "not installed") == ()


@pytest.mark.parametrize("name", sorted(registry.installed("methods")))
def test_every_method_of_ours_has_a_paper(name):
    if registry.is_ours("methods", name):
        found = references("methods", name)
        assert found
        assert all("----" not in paper and len(paper) < 200 for paper in found)


def test_labels_of_one_method_share_its_papers():
    methods = {"a": {"name": "cls"}, "b": {"name": "zech"}, "c": {"name": "cls"}, "d": {"name": "not installed"}}
    cite = citations({"name": "by hand", "experiment": {"name": "counting"}}, methods, PROVENANCE)
    papers = {tuple(labels): told for labels, told in cite["papers"]}
    assert papers["a", "c"] == ["A. L. Read, CERN-OPEN-2000-205 (2000)."]
    assert papers["b",] == ["G. Zech, Nucl. Instrum. Meth. A 277 (1989) 608."]
    assert not any("d" in labels for labels in papers)


def test_numbers_are_named_by_their_snapshot():
    cite = citations({"name": "by hand"}, {}, PROVENANCE)
    assert cite["study"] == "Study by hand, snapshot ZX81ABC, stored 2026-11-21T20:40:00+00:00."
    assert cite["command"] == "covsvc report 'by hand' --at ZX81ABC"
    assert "version 0.0.9" in cite["software"]


def test_maps_without_a_store_have_no_command():
    cite = citations({}, {}, {})
    assert (cite["study"], cite["command"], cite["papers"]) == ("", "", [])
