"""The validation as JUnit XML."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
import validations

from covsvc.report.validation_junit import WHOLE, junit_of

SUITE = {"name", "package", "id", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname"}


def suites(told):
    root = ET.fromstring(junit_of(told))
    assert root.tag == "testsuites"
    return list(root)


def fates(suite):
    found = {}
    for case in suite.iter("testcase"):
        told = [child.get("type") or child.tag for child in case]
        assert len(told) <= 1
        found[case.get("name")] = told[0] if told else "passed"
    return found


@pytest.mark.parametrize("name", validations.EVERY)
def test_elements_and_attributes_are_those_of_all_dialects(name):
    """Ant's schema (JUnit.xsd of windyroad) orders the children; that of Jenkins (junit-10.xsd) types the times."""
    root = ET.fromstring(junit_of(validations.EVERY[name]()))
    assert not root.attrib
    for suite in root:
        assert suite.tag == "testsuite"
        assert set(suite.attrib) == SUITE
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp"))
        assert re.fullmatch(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]{0,3})?", suite.get("time"))
        tags = [child.tag for child in suite]
        cases = len(tags) - 3
        assert tags == ["properties", *["testcase"] * cases, "system-out", "system-err"]
        assert all(set(each.attrib) == {"name", "value"} for each in suite[0])
        for case in suite.iter("testcase"):
            assert set(case.attrib) == {"name", "classname", "time"}
            assert [child.tag for child in case] in ([], ["failure"], ["skipped"])
        counted = [
            sum(fate in kinds for fate in fates(suite).values()) for kinds in (("failed", "undecided"), ("skipped",))
        ]
        assert [int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped")] == [
            cases,
            counted[0],
            0,
            counted[1],
        ]


def test_a_case_is_a_column():
    first, second = suites(validations.failed())
    assert fates(first) == {
        "classical at cl 0.9": "skipped",
        "classical at cl 0.95": "skipped",
        f"{validations.ODD} at cl 0.9": "failed",
        f"{validations.ODD} at cl 0.95": "passed",
        "bayes_flat at cl 0.9": "passed",
    }
    assert fates(second) == {f"{validations.SCRIPT} at cl 0.9": "failed", "max_gap at cl 0.9": "undecided"}


def test_failures_say_the_numbers_and_the_command():
    failure = next(suites(validations.failed())[0].iter("failure"))
    assert failure.get("message").startswith("failed: exact coverage 0.87370 at s_true = 2.5, b = 0")
    assert failure.get("message").endswith("(and 7 more)")
    assert failure.text.count("covsvc replay counting-all --s-true 2.5 --b 3") == 8
    assert "s_true = 7, b = 3" in failure.text


def test_warnings_are_told_and_fail_nothing():
    suite = suites(validations.improved())[0]
    assert set(fates(suite).values()) == {"passed", "skipped"}
    told = suite.find("system-out").text
    assert "3.4 % weaker" in told
    assert "numpy was 2.4.5" in told


@pytest.mark.parametrize(("severity", "outcome"), [("failure", "failed"), ("undecided", "undecided")])
def test_what_is_about_no_column_is_a_case_of_its_own(severity, outcome):
    found = validations.about_study(severity, "toys", "the toys are others than they should be")
    (suite,) = suites(validations.validation(validations.study(outcome=outcome, findings=[found]), outcome=outcome))
    assert fates(suite)[WHOLE] == outcome
    assert "the toys are others" in suite.find("testcase/failure").text


@pytest.mark.parametrize("outcome", ["failed", "undecided"])
def test_a_pipeline_is_red_even_if_no_finding_says_why(outcome):
    for columns in ([], [validations.column()], [validations.column(outcome=outcome)]):
        (suite,) = suites(validations.validation(validations.study(outcome=outcome, columns=columns), outcome=outcome))
        assert list(fates(suite).values()).count(outcome) == 1
        assert suite.find("testcase/failure").text


def test_an_undecided_column_does_not_hide_a_study_that_failed():
    columns = [validations.column(outcome="undecided")]
    (suite,) = suites(validations.validation(validations.study(outcome="failed", columns=columns)))
    assert fates(suite) == {"classical at cl 0.9": "undecided", WHOLE: "failed"}


def test_characters_that_xml_has_not_are_replaced():
    found = validations.finding(sentence="a limit\x00\x1b[31m failed \ud800", label="a\x07b")
    columns = [validations.column("a\x07b", outcome="failed")]
    (suite,) = suites(validations.validation(validations.study(outcome="failed", columns=columns, findings=[found])))
    assert list(fates(suite)) == ["a\N{REPLACEMENT CHARACTER}b at cl 0.9"]
