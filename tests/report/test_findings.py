"""What findings mean, in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import validations

from covsvc.report.findings import KINDS, SEVERITIES, accept_command, groups, outcome, reason

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/validation.schema.json").read_text())
FINDING = SCHEMA["$defs"]["finding"]["properties"]


def told_of(**finding):
    return validations.validation(validations.study(findings=[validations.finding(**finding)]))


def test_every_kind_and_severity_of_the_schema_is_explained():
    assert set(KINDS) == set(FINDING["kind"]["enum"])
    assert list(SEVERITIES) == FINDING["severity"]["enum"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_decided_is_not_said_to_be_so(kind):
    (certain,), (open_one,) = (groups(told_of(kind=kind, severity=each), each) for each in ("failure", "undecided"))
    if KINDS[kind].doubt:
        assert open_one.title.startswith("may ")
        assert open_one.meaning.startswith("If so: ")
    else:
        assert open_one.title == certain.title
        assert "may" not in certain.title


@pytest.mark.parametrize("kind", ["promise", "coverage fell"])
@pytest.mark.parametrize("severity", ["warning", "note"])
def test_a_warning_is_not_told_as_a_failure(kind, severity):
    (failure,), (mild,) = (groups(told_of(kind=kind, severity=each), each) for each in ("failure", severity))
    assert failure.meaning
    assert mild.title != failure.title
    assert not mild.meaning


def test_cells_of_a_column_are_one_group_and_other_columns_are_not():
    cells = [validations.finding(s_true=s) for s in (1.0, 2.0, 3.0)]
    told = validations.validation(
        validations.study(
            "one", findings=[*cells, validations.finding(cl=0.95), validations.finding(kind="median rose")]
        ),
        validations.study("two", findings=cells[:1]),
    )
    found = groups(told, "failure")
    assert [(group.study, group.cl, len(group.findings)) for group in found] == [
        ("one", 0.9, 3),
        ("one", 0.95, 1),
        ("one", 0.9, 1),
        ("two", 0.9, 1),
    ]
    assert found[0].others == tuple(cells[1:])


def test_warnings_stand_beside_passed_but_not_beside_failed():
    assert outcome(validations.unchanged()) == "PASSED"
    assert outcome(validations.improved()) == "PASSED, 3 warnings to look at"
    assert outcome(validations.improved() | {"outcome": "failed"}) == "FAILED"


def test_only_what_passed_and_changed_is_offered_for_acceptance():
    assert accept_command(validations.failed()) == ""
    assert accept_command(validations.undecided()) == ""
    assert accept_command(validations.unchanged()) == ""
    # one of two studies did not change: it keeps its baseline
    command = 'covsvc accept candidate.0123456789 --store coverage-cubes --tag NAME --reason "WHY"'
    assert accept_command(validations.improved()) == command
    odd = validations.validation(validations.study(columns=[validations.column(state="new")], store="it's; here"))
    assert "--store 'it'\"'\"'s; here' --tag" in accept_command(odd)


def test_the_outcome_is_not_said_twice():
    told = {"outcome": "failed", "sentence": "Failed: coverage fell. Concerned: cls at 0.9."}
    assert reason(told) == "Coverage fell. Concerned: cls at 0.9."
    assert reason({"outcome": "passed", "sentence": "Nothing failed: all is well."}) == "Nothing failed: all is well."
    assert reason({"outcome": "failed", "sentence": "cls at 0.9 fails"}) == "cls at 0.9 fails"
