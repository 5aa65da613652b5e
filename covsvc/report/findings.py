"""What the findings of a validation mean, in words for those who know no statistics."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from covsvc.report.notation import number

SEVERITIES = {
    "failure": ("Failures", "Do not accept the change while these stand."),
    "undecided": ("Undecided", "Not known yet: do not accept the change before it is."),
    "warning": (
        "Warnings",
        "No failure, but to be known before accepting: accept it only if each of these was meant, or does no harm.",
    ),
    "note": ("Notes", "For information: nothing has to be done."),
}
"""What stands over the findings of a severity, in the order in which they are read."""


@dataclass(frozen=True)
class Kind:
    """What a finding of a kind is called, and what it means.

    Attributes
    ----------
    doubt, mild : str
        What it is called where it is not decided, and where it is no failure; empty where that is the same.
    """

    name: str
    meaning: str
    doubt: str = ""
    mild: str = ""


KINDS = {
    "promise": Kind(
        "covers less than it promises",
        "In repeated experiments its intervals would miss the true signal more often than is claimed of them: a "
        "published limit would exclude too much.",
        "may cover less than it promises",
        "has a promise to look at",
    ),
    "coverage fell": Kind(
        "covers less than before",
        "Its intervals miss the true signal more often than those of the accepted version do.",
        "may cover less than before",
        "covers less than before, which is no failure",
    ),
    "coverage rose": Kind(
        "over-covers more than before",
        "Its intervals contain the true signal more often than is asked of them, and more so than before. That "
        "is safe, but such limits are longer than they need to be.",
    ),
    "median rose": Kind(
        "typical limit is weaker",
        "The upper limit of a typical experiment is higher than with the accepted version: the same data exclude less.",
    ),
    "median fell": Kind(
        "typical limit is stronger",
        "The upper limit of a typical experiment is lower than with the accepted version. That is a gain only where "
        "coverage still holds.",
    ),
    "empty": Kind(
        "another rate of empty intervals",
        "How often no signal at all is accepted, not even zero, is not what it was.",
        "may have another rate of empty intervals",
    ),
    "unbounded": Kind(
        "another rate of missing upper limits",
        "How often the data allow any signal, however large, is not what it was.",
        "may have another rate of missing upper limits",
    ),
    "failed": Kind(
        "another rate of failed limits",
        "How often the method breaks down and gives no limit is not what it was.",
        "may have another rate of failed limits",
    ),
    "end point": Kind(
        "coverage jumps by rounding",
        "The true signal lies within a millionth of an end of a limit, where the last digit decides whether it is "
        "inside. Nothing is wrong with the method there.",
    ),
    "drift": Kind(
        "other libraries or processor",
        "Numbers may have changed although the code has not, since what it runs on is not the same.",
    ),
    "toys": Kind(
        "other toys than the baseline's",
        "Limits were not compared on the same pseudo-experiments; small changes are harder to see so.",
    ),
    "gone": Kind("no longer validated", "It was accepted once. If it was not meant to go, put it back into the study."),
    "lost": Kind("lost pseudo-experiments", "Blocks of them failed while they ran: what they would say is not known."),
    "incomplete": Kind(
        "not finished",
        "Not everything that was asked for has been computed: validate again, which goes on where it stopped.",
    ),
}


READING = (
    (
        "coverage",
        "the share of repeated experiments whose interval contains the true signal. A limit at cl 0.9 should reach "
        "0.9: less is wrong, more is safe but weak.",
    ),
    (
        "toys",
        "simulated experiments, in which the true signal (s_true) and the background (b) are known. A column is a "
        "method at one confidence level (cl), a cell is one pair of s_true and b.",
    ),
    ("passed", "nothing was found. That is no proof: what could have been seen is said beside it."),
    (
        "failed",
        "coverage was summed without toys and is too low; or toys showed it twice, the second time fresh ones. It is "
        "no bad luck of a night: run it again and it fails again.",
    ),
    ("undecided", "more toys are needed, or something could not be computed; nothing bad has been shown."),
    ("reported", "the method promises no coverage in small samples: it fails only if it became worse."),
)
"""Words of the verdict, and what they mean."""


@dataclass(frozen=True)
class Group:
    """Findings of one kind on one limit method at one cl: a change shows in many cells at once."""

    severity: str
    kind: str
    study: str
    limit_method: str
    cl: float | None
    findings: tuple[Mapping[str, Any], ...]

    @property
    def subject(self) -> str:
        """What the findings are about."""
        return subject(self.limit_method, self.cl) or self.study

    @property
    def title(self) -> str:
        """What was found, in a few words."""
        kind = KINDS[self.kind]
        return (kind.doubt if self._is_in_doubt else kind.mild if self._is_mild else "") or kind.name

    @property
    def meaning(self) -> str:
        """What it means, in a sentence or two; empty where the title says all."""
        kind = KINDS[self.kind]
        if self._is_in_doubt and kind.doubt:
            return f"If so: {kind.meaning[0].lower()}{kind.meaning[1:]}"
        return "" if self._is_mild and kind.mild else kind.meaning

    @property
    def _is_in_doubt(self) -> bool:
        return self.severity == "undecided"

    @property
    def _is_mild(self) -> bool:
        return self.severity in ("warning", "note")

    @property
    def first(self) -> Mapping[str, Any]:
        """The finding that is shown first."""
        return self.findings[0]

    @property
    def others(self) -> tuple[Mapping[str, Any], ...]:
        """The other ones."""
        return self.findings[1:]


def groups(told: Mapping[str, Any], severity: str) -> list[Group]:
    """Return the findings of a validation that have this severity, in the order in which they are told."""
    found: dict[tuple[str, str, str, float | None], list[Mapping[str, Any]]] = {}
    for study in told["studies"]:
        for finding in study["findings"]:
            if finding["severity"] == severity:
                key = finding["kind"], study["study"], finding["limit_method"] or "", finding["cl"]
                found.setdefault(key, []).append(finding)
    return [Group(severity, *key, tuple(each)) for key, each in found.items()]


def every_group(told: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Group]]]:
    """Return the severities that occur: what stands over them, what to do about them, and their findings."""
    for severity, (head, advice) in SEVERITIES.items():
        if found := groups(told, severity):
            yield head, advice, found


def subject(limit_method: str | None, cl: float | None) -> str:
    """Return how a column is named; nothing where there is none."""
    if not limit_method:
        return ""
    return limit_method if cl is None else f"{limit_method} at cl {number(cl, 12)}"


def where(finding: Mapping[str, Any]) -> str:
    """Return the cell of a finding; nothing where it is about all of them."""
    told = [f"{name} = {number(finding[name], 7)}" for name in ("s_true", "b") if finding[name] is not None]
    return ", ".join(told)


def outcome(told: Mapping[str, Any]) -> str:
    """Return the outcome as a word, and how many warnings a validation that passed has."""
    word = str(told["outcome"]).upper()
    warnings = len(groups(told, "warning")) if told["outcome"] == "passed" else 0
    return f"{word}, {warnings} warning{'s' * (warnings > 1)} to look at" if warnings else word


def reason(told: Mapping[str, Any]) -> str:
    """Return the sentence of a validation or a study without its outcome, which stands before it in capitals."""
    sentence, prefix = str(told["sentence"]), f"{str(told['outcome']).capitalize()}: "
    if not sentence.startswith(prefix):
        return sentence
    sentence = sentence.removeprefix(prefix)
    return sentence[:1].upper() + sentence[1:]


def commands_in(text: str) -> list[tuple[str, bool]]:
    """Split a text of ours into words and the commands between backticks, and tell which is which."""
    return [(part, bool(place % 2)) for place, part in enumerate(text.split("`")) if part]


def accept_command(told: Mapping[str, Any]) -> str:
    """Return the command that accepts a validation that passed, to be completed; nothing where there is no need to."""
    changed = [study for study in told["studies"] if any(each["state"] != "unchanged" for each in study["columns"])]
    if told["outcome"] != "passed" or not changed:
        return ""
    words = ["covsvc", "accept", *(study["candidate"] for study in changed), "--store", changed[0]["store"]]
    return f'{shlex.join(words)} --tag NAME --reason "WHY"'
