"""The conclusion of a validation: passed, failed or undecided, why, and what to do now."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any

from covsvc.commands import replay_command
from covsvc.verdict.comparing import Comparison
from covsvc.verdict.confirming import REJECTED, UNDECIDED, Confirmation
from covsvc.verdict.exact import said_of
from covsvc.verdict.findings import (
    FAILURE,
    GONE,
    NOT_CHANGED,
    NOTE,
    UNDECIDED_FINDING,
    WARNING,
    Change,
    Discovery,
    and_others,
)
from covsvc.verdict.hypotheses import FACTOR
from covsvc.verdict.power import power_sentence
from covsvc.verdict.promises import ALPHA, MARGIN

SCHEMA = 1
"""Version of the schema of a validation."""

_SEVERITIES = (FAILURE, UNDECIDED_FINDING, WARNING, NOTE)


@dataclass(frozen=True)
class Studied:
    """A study that was compared, and what its statistics do not know of it.

    Attributes
    ----------
    candidate, snapshot, base : str
        The branch with the results, its snapshot, and the snapshot of main from which it was made.
    baseline : mapping, or None
        What is known of the baseline.
    work : mapping
        What was computed, and what was not.
    speeds : mapping of (str, float) to float
        Toys a second of columns, by label and cl.
    """

    comparison: Comparison
    store: str
    candidate: str
    snapshot: str
    base: str | None
    baseline: Mapping[str, Any] | None
    same_toys: bool
    work: Mapping[str, Any]
    speeds: Mapping[tuple[str, float], float] = field(default_factory=dict)


@dataclass(frozen=True)
class Validation:
    """What a validation of some studies found.

    Attributes
    ----------
    told : mapping
        All of it; docs/validation.schema.json describes it.
    """

    told: Mapping[str, Any]

    @property
    def outcome(self) -> str:
        """``"passed"``, ``"failed"`` or ``"undecided"``."""
        return str(self.told["outcome"])

    @property
    def sentence(self) -> str:
        """Why."""
        return str(self.told["sentence"])

    @property
    def advice(self) -> str:
        """What to do now."""
        return str(self.told["advice"])

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it: None for what is not known or not finite."""
        told: dict[str, Any] = _nameable(self.told)
        return told


def conclude(
    studies: Sequence[Studied],
    confirmations: Sequence[Confirmation],
    *,
    error: float = ALPHA,
    margin: float = MARGIN,
    strict: bool = False,
    covsvc: str,
    git_revision: str,
    git_changed: bool | None,
    written_at: str,
) -> Validation:
    """Draw the conclusion of what was compared and confirmed.

    Failed if anything fails, otherwise undecided if anything is. Notes do not change the outcome.

    Parameters
    ----------
    studies : sequence of Studied
    confirmations : sequence of Confirmation
        Of the hypotheses of all of them.
    error, margin : float
        Those of the comparison and the confirmation.
    strict : bool
        Warnings are failures.
    covsvc, git_revision, git_changed, written_at
        By what, and when.
    """
    told = [
        _study(each, [c for c in confirmations if c.hypothesis.study == each.comparison.study], margin, strict=strict)
        for each in studies
    ]
    outcome = _worst_of(each["outcome"] for each in told)
    findings = [found for each in told for found in each["findings"]]
    columns = [column for each in told for column in each["columns"]]
    return Validation(
        {
            "schema": SCHEMA,
            "outcome": outcome,
            "sentence": _sentence(outcome, columns, findings, has_baseline=any(each.baseline for each in studies)),
            "advice": _advice(outcome, columns, findings, confirmations),
            "error": error,
            "margin": margin,
            "tests": sum(each.comparison.tests for each in studies),
            "screened": len(confirmations),
            "power": power_sentence(
                [each.comparison for each in studies], error, paired=all(each.work["paired"] for each in studies)
            ),
            "covsvc": covsvc,
            "git_revision": git_revision,
            "git_changed": git_changed,
            "written_at": written_at,
            "studies": told,
        }
    )


def _study(studied: Studied, confirmations: Sequence[Confirmation], margin: float, *, strict: bool) -> dict[str, Any]:
    comparison = studied.comparison
    at, store = studied.candidate, studied.store
    found = _told_once([*comparison.findings, *_confirmed(confirmations, margin, comparison.study, store, at)])
    if strict:
        found = [replace(each, severity=FAILURE) if each.severity == WARNING else each for each in found]
    found.sort(key=lambda each: (_SEVERITIES.index(each.severity), each.limit_method or "", each.cl or 0.0, each.kind))
    columns = [
        {
            "limit_method": column.limit_method,
            "cl": column.cl,
            "state": column.state,
            "outcome": _outcome_of(column, found),
            **{key: value for key, value in asdict(column).items() if key not in ("limit_method", "cl", "state")},
            "toys_per_second": studied.speeds.get((column.limit_method, column.cl)),
        }
        for column in comparison.columns
    ]
    findings = [asdict(each) for each in found]
    outcome = _outcome(each.severity for each in found)
    return {
        "study": comparison.study,
        "store": store,
        "outcome": outcome,
        "sentence": _sentence(outcome, columns, findings, has_baseline=studied.baseline is not None),
        "candidate": at,
        "snapshot": studied.snapshot,
        "base": studied.base,
        "baseline": None if studied.baseline is None else dict(studied.baseline),
        "same_toys": studied.same_toys,
        "drift": [list(each) for each in comparison.drift],
        "work": dict(studied.work),
        "columns": columns,
        "findings": findings,
    }


def _told_once(found: list[Discovery]) -> list[Discovery]:
    """Leave out that a column covers less than it did if it does not cover."""
    broken = {(each.limit_method, each.cl) for each in found if (each.severity, each.kind) == (FAILURE, "promise")}
    return [
        each
        for each in found
        if each.severity == FAILURE or each.kind != "coverage fell" or (each.limit_method, each.cl) not in broken
    ]


def _confirmed(
    confirmations: Sequence[Confirmation], margin: float, study: str, store: str, at: str
) -> Iterator[Discovery]:
    """Yield what was rejected or is undecided, a column at a time: the worst cell, and how many others."""

    def key(each: Confirmation) -> tuple[str, float, str, str, str]:
        about = each.hypothesis
        return about.limit_method, about.cl, about.kind, about.direction, _severity(each, margin) or ""

    for (*_, severity), group in groupby(sorted(confirmations, key=key), key=key):
        alike = list(group)
        if not severity:
            continue
        # a pool says that something is wrong, a cell says where
        single = [each for each in alike if each.hypothesis.b is not None] or alike
        worst = max(single, key=lambda each: (abs(each.change or 0.0), each.hypothesis.cells))
        about, seen = worst.hypothesis, worst.evidence
        b, s_true = about.cells[0] if about.b is None else (about.b, about.s_true)
        numbers: dict[str, float] = {"reference": about.reference, "cells": len(single) if about.b is not None else 0}
        if seen is not None:
            numbers |= {"n_toys": seen.n, "counted": seen.x}
            numbers |= {} if seen.gained is None or seen.lost is None else {"gained": seen.gained, "lost": seen.lost}
        for name in ("p", "change", "low", "high", "toys"):
            value = getattr(worst, name)
            numbers |= {} if value is None else {name: value}
        yield Discovery(
            severity,
            about.kind,
            _sentence_of(worst, len(single)),
            about.limit_method,
            about.cl,
            about.b,
            about.s_true,
            numbers,
            replay_command(
                study, float(s_true or 0.0), float(b), limit_method=about.limit_method, cl=about.cl, store=store, at=at
            ),
        )


def _severity(confirmation: Confirmation, margin: float) -> str | None:
    may_fail = confirmation.hypothesis.may_fail
    if confirmation.outcome == REJECTED:
        # as of exact values: a fall that is certainly less than the margin does not matter; a promise is a promise
        trifle = confirmation.hypothesis.kind == "coverage fell" and (confirmation.low or -1.0) > -margin
        return FAILURE if may_fail and not trifle else WARNING
    return UNDECIDED_FINDING if confirmation.outcome == UNDECIDED and may_fail else None


def _sentence_of(confirmation: Confirmation, cells: int) -> str:
    about, seen = confirmation.hypothesis, confirmation.evidence
    if about.b is None:
        where = f"over {len(about.cells)} cells together"
    else:
        where = f"at s_true = {about.s_true:.6g}, b = {about.b:g}"
    if seen is None or seen.n == 0:
        return f"{_subject(about.kind)} {where} is suspicious, and there are no fresh toys to tell"
    share = f"{seen.x / seen.n:.5f}"
    more = and_others(cells)
    held = "the promised" if about.kind == "promise" else "the baseline's"
    change = abs(confirmation.change or 0.0)
    known = f"{_subject(about.kind)} of {seen.n:,} fresh toys {share} {where}"
    if confirmation.outcome == REJECTED:
        direction = "below" if about.direction == "fell" else "above"
        sentence = f"{known}, {direction} {held} {about.reference:.5g} by {change:.2g}"
        if seen.gained is not None and seen.lost is not None:
            sentence = (
                f"{known}: on the same toys {direction} the baseline by {change:.2g} ({seen.lost:,} toys lost it and "
                f"{seen.gained:,} gained it)"
            )
        p = confirmation.p or 0.0
        return f"{sentence}, which is not by chance ({f'p = {p:.1g}' if p > 1e-12 else 'p < 1e-12'}){more}"
    sentence = f"{known}: too close to {held} {about.reference:.5g} to tell{more}"
    if confirmation.toys is not None:
        return f"{sentence}; about {confirmation.toys:,} toys would decide it"
    return f"{sentence}; no number of new toys would decide it, since the baseline has too few"


def _subject(kind: str) -> str:
    return "coverage" if kind in ("promise", "coverage fell") else f"the share of {said_of(kind)}"


def _outcome(severities: Iterable[str]) -> str:
    held = set(severities)
    return "failed" if FAILURE in held else "undecided" if UNDECIDED_FINDING in held else "passed"


def _worst_of(outcomes: Iterable[str]) -> str:
    held = set(outcomes)
    return next((each for each in ("failed", "undecided") if each in held), "passed")


def _outcome_of(column: Change, findings: Iterable[Discovery]) -> str:
    mine = [each for each in findings if (each.limit_method, each.cl) == (column.limit_method, column.cl)]
    outcome = _outcome(each.severity for each in mine)
    unheld = column.state == GONE or (column.promises != "at_least" and column.state not in (*NOT_CHANGED, "changed"))
    return "reported" if outcome == "passed" and unheld else outcome


def _sentence(
    outcome: str, columns: Sequence[Mapping[str, Any]], findings: Sequence[Mapping[str, Any]], *, has_baseline: bool
) -> str:
    named = {
        severity: list(
            dict.fromkeys(
                f"{each['limit_method']} at {each['cl']:g}" if each["limit_method"] else "the study"
                for each in findings
                if each["severity"] == severity
            )
        )
        for severity in _SEVERITIES
    }
    if outcome == "failed":
        kinds = dict.fromkeys(each["kind"] for each in findings if each["severity"] == FAILURE)
        why = {
            "promise": "coverage is below what is promised",
            "coverage fell": "coverage fell",
            "lost": "a method fails that worked",
            "toys": "toys count more than once",
            "drift": "limits are counted otherwise",
        }
        told = " and ".join(why.get(kind, f"more {said_of(kind)}" if kind == "failed" else kind) for kind in kinds)
        return f"Failed: {told}. Concerned: {_listed(named[FAILURE])}."
    if outcome == "undecided":
        return f"Undecided: it could not be shown whether all is well. Concerned: {_listed(named[UNDECIDED_FINDING])}."
    held = [column for column in columns if column["state"] != GONE]
    same = sum(column["state"] in NOT_CHANGED for column in held)
    if not has_baseline:
        kept, reported = (sum(column["outcome"] == each for column in held) for each in ("passed", "reported"))
        told = (
            f"there is no baseline yet. Columns that keep what they promise: {kept}; that promise nothing: {reported}"
        )
    elif same == len(held):
        told = f"all {same} columns give the limits of the baseline"
    else:
        told = f"{same} of {len(held)} columns give the limits of the baseline; no failure was found in the others"
    looked_at = f" To be looked at: {_listed(named[WARNING])}." if named[WARNING] else ""
    return f"Passed: {told}.{looked_at}"


def _listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _advice(
    outcome: str,
    columns: Sequence[Mapping[str, Any]],
    findings: Sequence[Mapping[str, Any]],
    confirmations: Sequence[Confirmation],
) -> str:
    if outcome == "failed":
        return (
            "Do not merge or accept this change. Each failure names the method and the place; its replay command shows "
            "toys whose limits missed. Mend the code and validate again. If the change is meant, somebody who can "
            "answer for it accepts it with a reason: `covsvc accept ... --despite`."
        )
    if outcome == "undecided":
        return f"Do not accept yet. {_way_out(findings, confirmations)}"
    if any(each["severity"] == WARNING for each in findings):
        return (
            "No loss of coverage was found, but look at the warnings before accepting: somebody who knows the methods "
            "should say that these changes are meant. Then `covsvc accept` with the reason."
        )
    if columns and all(column["state"] in NOT_CHANGED for column in columns):
        return "Nothing has to be done: limits are those of the baseline."
    return "Nothing speaks against this change. `covsvc accept` makes it the baseline for what comes next."


def _way_out(findings: Sequence[Mapping[str, Any]], confirmations: Sequence[Confirmation]) -> str:
    """Say how what is undecided can be decided."""
    kinds = {each["kind"] for each in findings if each["severity"] == UNDECIDED_FINDING}
    ways = []
    if kinds & {"incomplete", "lost"}:
        ways.append("Some toys are missing or failed: mend what the findings say, and validate again.")
    open_ = [each for each in confirmations if each.outcome == UNDECIDED and each.hypothesis.may_fail]
    if any(each.toys is not None for each in open_):
        needed = max(_stored_toys(each) for each in open_)
        ways.append(f"More toys decide it: set n_toys of the study to {needed:,} or more, and validate again.")
    if any(each.toys is None and each.evidence is not None for each in open_):
        ways.append("The baseline has too few toys to compare with: give its code with --baseline-code.")
    if not ways:
        ways.append("The findings say what is open.")
    return " ".join(ways)


def _stored_toys(each: Confirmation) -> int:
    """Return how many toys of a cell a study has to have that fresh ones decide; 0 if no number would do."""
    fresh_for_one = FACTOR if each.hypothesis.b is not None else len(each.hypothesis.cells)
    return -(-(each.toys or 0) // fresh_for_one)


def _nameable(told: Any) -> Any:
    """Return what is told with None for numbers that are not finite, which JSON cannot name."""
    if isinstance(told, Mapping):
        return {key: _nameable(value) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return [_nameable(value) for value in told]
    return None if isinstance(told, float) and not math.isfinite(told) else told
