"""The question of a driver and the answer of a worker, what differs between them, and what is told of it."""

from __future__ import annotations

import copy
import json
import socket
import sys

import pytest

from covsvc import registry
from covsvc.engine.clusters.sameness import answer_to, machine, question_of
from covsvc.engine.refusals import BITS, Refusals, cure_of, told
from covsvc.engine.warm_up import run_kernels
from covsvc.fingerprint import source_of
from covsvc.version import __version__


@pytest.fixture
def question(small_study):
    """Return a question of a driver that has what is here, as a worker gets it."""
    return json.loads(json.dumps(question_of(small_study())))


def differences(question, **changes):
    """Return what a worker finds other, where a driver has other values under these keys."""
    asked = copy.deepcopy(question)
    for key, other in changes.items():
        asked[key] = {**asked[key], **other} if isinstance(other, dict) else other
    return [tuple(each) for each in answer_to(asked)["differs"]]


def test_a_worker_like_the_driver_differs_in_nothing_and_computes_its_bits(question, small_study):
    answer = answer_to(question)
    assert answer["differs"] == []
    assert answer["digest"] == run_kernels(small_study())
    assert (answer["machine"], answer["host"]) == (machine(), socket.gethostname())
    assert differences(question, digest=answer["digest"]) == []


@pytest.mark.parametrize("what", ["covsvc", "python", "numpy", "scipy", "numba", "llvmlite", "dask", "distributed"])
def test_other_versions_are_named_with_both_values(question, what):
    ours = question["versions"][what]
    assert differences(question, versions={what: "0.0.1"}) == [(what, ours, "0.0.1")]


def test_other_code_is_named_with_its_modules_and_both_fingerprints(question):
    ours = question["codes"]["method classical"]
    changes = {"codes": {"method classical": "f" * 16}, "sources": {"covsvc.methods.classical": "f" * 16}}
    expected = "the code of method classical (covsvc.methods.classical)", ours, "f" * 16
    assert differences(question, **changes) == [expected]


def test_files_that_differ_in_comments_alone_are_alike(question):
    assert differences(question, sources=dict.fromkeys(question["sources"], "f" * 16)) == []


def test_other_tables_and_a_study_that_is_refused_there_are_differences(small_study):
    study = small_study(experiment="spectrum", methods=["p_max"], cl=[0.9])
    asked = question_of(study)
    ours = asked["tables"]["the table of p_max at 0.9"]
    assert differences(asked, tables={"the table of p_max at 0.9": "x"}) == [("the table of p_max at 0.9", ours, "x")]
    ((what, there, here),) = differences(asked, study={"cl": [0.8123]})
    assert (what, here) == ("the study", "accepted")
    assert "0.8123" in there


def test_without_a_study_the_code_that_builds_tables_is_compared():
    asked = question_of(None)
    assert differences(asked) == []
    other = {"codes": {"the engine": "f" * 16}, "sources": {"covsvc.engine.table_building": "f" * 16}}
    expected = "the code of the engine (covsvc.engine.table_building)", asked["codes"]["the engine"], "f" * 16
    assert differences(asked, **other) == [expected]


def test_other_bits_are_told_with_what_differs_of_the_machines(question):
    mine, theirs = answer_to(question)["digest"], {"platform": "Plan9 m68k", "python": machine()["python"]}
    assert differences(question, digest="f" * 16, machine=theirs) == [
        (BITS, mine, "f" * 16),
        ("platform", machine()["platform"], "Plan9 m68k"),
    ]


def test_what_comes_with_others_is_compared_and_named_where_it_is_missing(small_study, plugins, monkeypatch):
    asked = question_of(small_study(experiment="drawn", methods=["too_low"]))
    assert differences(asked) == []
    assert answer_to(asked)["digest"] == ""  # nobody knows what they do
    module = plugins / "strange_plugins.py"
    module.write_text(module.read_text() + "# changed after it was loaded\n")
    other = {"sources": {"strange_plugins": "f" * 16}, "codes": {"method too_low": "f" * 16}}
    loaded = "changed on its disk since it was loaded"
    assert ("the code of method too_low (strange_plugins)", loaded, "f" * 16) in differences(asked, **other)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(plugins)])
    registry.installed.cache_clear()
    assert differences(asked, **other) == [
        (what, "not installed", "that of strange 1.0") for what in ("experiment drawn", "method too_low")
    ]


@pytest.fixture(autouse=True)
def _fresh_hashes():
    yield
    source_of.cache_clear()


@pytest.mark.parametrize(
    ("experiment", "method"),
    [("counting", "feldman_cousins"), ("on_off", "q_mu_tilde"), ("spectrum", "max_gap")],
)
def test_the_bits_of_a_study_are_the_same_each_time_and_others_for_another_method(small_study, experiment, method):
    study = small_study(experiment=experiment, methods=[method])
    assert run_kernels(study) == run_kernels(study)
    assert run_kernels(study) != run_kernels(small_study(experiment=experiment, methods=["poisson"]))


def test_a_refusal_is_told_once_for_each_reason():
    said = []
    refusals = Refusals(said.append)
    for worker, there in (("tcp://a:1", "0.1"), ("tcp://b:2", "0.1"), ("tcp://c:3", "0.2")):
        refusals.hear({"worker": worker, "host": "n1", "differs": [["covsvc", there, "0.3"]]})
    refusals.say()
    refusals.say()
    assert [line.partition(";")[0] for line in said] == [
        "a worker that joined is refused, tcp://a:1 on n1: covsvc 0.1, 0.3 here",
        "a worker that joined is refused, tcp://c:3 on n1: covsvc 0.2, 0.3 here",
    ]
    assert refusals.last == "tcp://c:3 on n1: covsvc 0.2, 0.3 here"


def test_what_differs_decides_the_cure():
    assert told([("covsvc", "0.1", __version__), ("python", "3.12", "3.11")]) == (
        f"covsvc 0.1, {__version__} here; python 3.12, 3.11 here"
    )
    assert cure_of([("numpy", "1", "2")]) == "install there what is here, and restart the workers"
    assert cure_of([(BITS, "a", "b"), ("platform", "x", "y")]).startswith("run the driver on a machine such as theirs")
