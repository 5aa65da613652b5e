"""The validation as JUnit XML, for what shows the tests of a pipeline."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

from covsvc.report.findings import subject, where

WHOLE = "the study as a whole"

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_BAD = {"failed": "failure", "undecided": "undecided"}
"""Outcomes that are no success, worst first, and the severity of the findings behind them."""

_SKIPPED = {"unchanged": "unchanged: not computed again", "gone": "gone: only the baseline has it"}


def junit_of(told: Mapping[str, Any]) -> str:
    """Return a validation as JUnit XML: a test suite a study, a test case a column.

    What is undecided is a failure of type ``undecided``: a pipeline must not be green. Columns that nothing was
    recomputed of are skipped. Warnings and notes are in the suite's ``system-out``.

    Parameters
    ----------
    told : mapping
        The validation, as ``docs/validation.schema.json`` describes it.
    """
    root = ET.Element("testsuites")
    for place, study in enumerate(told["studies"]):
        root.append(_suite(told, study, place))
    ET.indent(root)
    markup = _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", ET.tostring(root, encoding="unicode"))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{markup}\n'


def _suite(told: Mapping[str, Any], study: Mapping[str, Any], place: int) -> ET.Element:
    cases, suite = _cases(study), ET.Element("testsuite")
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("covsvc", told["covsvc"]),
        ("git_revision", told["git_revision"]),
        ("candidate", study["candidate"]),
        ("baseline", study["baseline"] and study["baseline"]["tag"]),
    ):
        ET.SubElement(properties, "property", name=name, value=str(value or ""))
    suite.extend(cases)
    others = [_said(finding) for finding in study["findings"] if finding["severity"] not in _BAD.values()]
    ET.SubElement(suite, "system-out").text = "\n\n".join([study["sentence"], *others])
    ET.SubElement(suite, "system-err").text = ""
    suite.attrib = {
        "name": str(study["study"]),
        "package": "covsvc",
        "id": str(place),
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": f"{study['work']['seconds'] or 0:.3f}",
        # of all dialects the strictest knows neither fractions of a second nor zones
        "timestamp": str(told["written_at"])[:19],
        "hostname": "localhost",
    }
    return suite


def _cases(study: Mapping[str, Any]) -> list[ET.Element]:
    cases, fates = [], []
    rest = [finding for finding in study["findings"] if finding["severity"] in _BAD.values()]
    for column in study["columns"]:
        mine = [finding for finding in rest if _column(finding) == _column(column)]
        rest = [finding for finding in rest if finding not in mine]
        fates.append(_worst([column["outcome"]], mine))
        cases.append(case := _case(study, subject(*_column(column))))
        if fates[-1] in _BAD:
            _fail(case, fates[-1], mine or [_finding_of(column)])
        elif column["state"] in _SKIPPED:
            ET.SubElement(case, "skipped", message=_SKIPPED[column["state"]])
    outcome = _worst([study["outcome"]] if study["outcome"] not in fates else [], rest)
    if rest or outcome in _BAD or not cases:
        cases.append(case := _case(study, WHOLE))
        if outcome in _BAD:
            _fail(case, outcome, rest or [_finding_of(study)])
    return cases


def _worst(outcomes: Sequence[str], findings: Sequence[Mapping[str, Any]]) -> str:
    """Return the worst outcome of those that are told and those that findings mean."""
    told = [*outcomes, *(outcome for finding in findings for outcome in _BAD if _BAD[outcome] == finding["severity"])]
    return next((outcome for outcome in _BAD if outcome in told), "passed")


def _column(told: Mapping[str, Any]) -> tuple[Any, Any]:
    return told["limit_method"], told["cl"]


def _finding_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands for the findings of something bad that has none."""
    sentence = told.get("sentence") or f"{subject(*_column(told))}: {told['outcome']}, {told['state']}"
    return {"kind": "", "s_true": None, "b": None, "sentence": sentence, "replay": ""}


def _case(study: Mapping[str, Any], name: str) -> ET.Element:
    return ET.Element("testcase", name=name, classname=f"covsvc.{study['study']}", time="0.000")


def _fail(case: ET.Element, outcome: str, findings: Sequence[Mapping[str, Any]]) -> None:
    message = findings[0]["sentence"] + (f" (and {len(findings) - 1} more)" if len(findings) > 1 else "")
    failure = ET.SubElement(case, "failure", message=f"{outcome}: {message}", type=outcome)
    failure.text = "\n\n".join(map(_said, findings))


def _said(finding: Mapping[str, Any]) -> str:
    """Return a finding as lines: what it is, what it says, how to see it again."""
    about = [subject(finding.get("limit_method"), finding.get("cl")), where(finding)]
    head = ": ".join(each for each in (finding["kind"], ", ".join(filter(None, about))) if each)
    return "\n".join(each for each in (head, finding["sentence"], finding["replay"]) if each)
