"""The validation as Markdown, for the summary of a merge request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from covsvc.report.findings import READING, SEVERITIES, Group, accept_command, commands_in, every_group, outcome, reason
from covsvc.report.markdown import block, bullets, code, fold, table, text_of
from covsvc.report.validation_tables import STATES, column_rows, is_told, origin_rows, study_rows

LONGEST = 60_000
"""Bytes at most: GitHub refuses a comment of more than 65,536 characters."""
MOST_SHOWN = {"failure": 8, "undecided": 5, "warning": 5}
"""Groups of findings that stand open; the others, and all notes, are folded."""
MOST_FOLDED = 20
"""Findings that are listed in a fold."""
MOST_ROWS = 100
MOST_FOLDED_LETTERS = 240
"""Of a sentence in a fold."""

_MARKS = {"passed": "✅", "failed": "❌", "undecided": "❔", "reported": "–"}


def markdown_of(told: Mapping[str, Any]) -> str:
    """Return a validation as Markdown of GitHub's kind, which GitLab reads, too.

    The first two lines tell the outcome and what to do. What does not fit into `LONGEST` is left out, and said to be.

    Parameters
    ----------
    told : mapping
        The validation, as ``docs/validation.schema.json`` describes it.
    """
    end = "\nAll of it, with maps of what changed, is in `index.html` and `verdict.json` of this validation.\n"
    left = "\nSome of it is left out here for its length.\n"
    room = LONGEST - len((end + left).encode())
    text, cut = "", False
    for part in _parts(told):
        if len((text + part).encode()) > room:
            cut = True
            continue
        text += part
    return text + (left if cut else "") + end


def _parts(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {_MARKS[told['outcome']]} Coverage validation: {outcome(told)}\n"
    yield f"**{text_of(reason(told))}** What to do: {_advice(told['advice'])}\n"
    yield _studies(told)
    for head, advice, found in every_group(told):
        yield from _severity(head, advice, found)
    yield _columns(told)
    if command := accept_command(told):
        yield f"\nOnce this is merged, make it what later changes are compared with:\n\n{block(command)}"
    yield fold("What could have been seen", text_of(told["power"]) + "\n")
    yield fold("Where this comes from", bullets(f"{text_of(name)}: {code(value)}" for name, value in origin_rows(told)))
    yield fold("How to read this", bullets(f"*{name}*: {meaning}" for name, meaning in (*READING, *STATES.items())))


def _advice(text: str) -> str:
    return "".join(code(part) if is_command else text_of(part) for part, is_command in commands_in(text))


def _studies(told: Mapping[str, Any]) -> str:
    rows = [
        [
            code(row["study"], in_table=True),
            f"{_MARKS[row['outcome']]} {row['outcome']}",
            code(row["baseline"], in_table=True),
            row["states"],
            *(row[severity] for severity in SEVERITIES),
        ]
        for row in study_rows(told)
    ]
    heads = ["Study", "Verdict", "Compared with", "Methods", *(head for head, _ in SEVERITIES.values())]
    return "\n" + table(heads, rows, numbers_from=4)


def _severity(head: str, advice: str, found: Sequence[Group]) -> Iterator[str]:
    most = MOST_SHOWN.get(found[0].severity, 0)
    explained: set[str] = set()
    if most:
        yield f"\n### {head} ({len(found)})\n\n{advice}\n"
    for group in found[:most]:
        yield _group(group, group.kind not in explained)
        explained.add(group.kind)
    if rest := found[most:]:
        lines = [_line(group.first, group) for group in rest[:MOST_FOLDED]]
        if len(rest) > MOST_FOLDED:
            lines.append(f"and {len(rest) - MOST_FOLDED:,} more")
        yield fold(f"{len(rest):,} more {head.lower()}" if most else f"{head} ({len(rest):,})", bullets(lines))


def _group(group: Group, explain: bool) -> str:
    first, text = group.first, f"\n**{code(group.subject)}: {group.title}**"
    text += f" ({code(group.study)})\n" if group.limit_method else "\n"
    text += f"Seen: {text_of(first['sentence'])}." + (
        f" *{text_of(group.meaning)}*\n" if explain and group.meaning else "\n"
    )
    if first["replay"]:
        text += f"\nSee it for yourself:\n\n{block(first['replay'])}"
    if group.others:
        lines = [_line(finding) for finding in group.others[:MOST_FOLDED]]
        if len(group.others) > MOST_FOLDED:
            lines.append(f"and {len(group.others) - MOST_FOLDED:,} more")
        text += fold(f"{len(group.others):,} more like this", bullets(lines))
    return text


def _line(finding: Mapping[str, Any], group: Group | None = None) -> str:
    return (f"{code(group.subject)}: {group.title}; " if group else "") + text_of(
        finding["sentence"], MOST_FOLDED_LETTERS
    )


def _columns(told: Mapping[str, Any]) -> str:
    rows = [
        [
            code(study["study"], in_table=True),
            code(row["label"], in_table=True),
            row["cl"],
            row["state"],
            f"{_MARKS[row['outcome']]} {row['outcome']}",
            row["worst"],
            row["before"],
            row["median"],
            f"{row['rose']} / {row['fell']}",
        ]
        for study in told["studies"]
        for row in column_rows(filter(is_told, study["columns"]))
    ]
    if not rows:
        return ""
    heads = ["Study", "Method", "cl", "State", "Verdict", "Worst coverage", "Before", "Typical limit"]
    shown = table([*heads, "Toys whose limit rose / fell"], rows[:MOST_ROWS], numbers_from=5)
    if len(rows) > MOST_ROWS:
        shown += f"\nand {len(rows) - MOST_ROWS:,} more\n"
    return fold(f"What changed, method by method ({len(rows):,})", shown)
