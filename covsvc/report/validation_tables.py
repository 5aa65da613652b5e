"""The tables of a validation, as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from covsvc.report.findings import SEVERITIES, groups, reason
from covsvc.report.notation import NOTHING, number, place, probability
from covsvc.report.tables import PROMISES

STATES = {
    "unchanged": "same code",
    "identical": "other code, same limits to the last bit",
    "equal": "same limits up to rounding",
    "changed": "other limits",
    "new": "nothing to compare with",
    "gone": "no longer there",
}
"""What the states of a column mean."""
CALM = ("unchanged", "identical", "equal")
"""States of columns whose limits did not change: they are counted, and listed only if something is wrong with them."""
ORDER = ("failed", "undecided", "passed", "reported")


def is_told(column: Mapping[str, Any]) -> bool:
    """Whether a reader wants to see this column: it changed, or something is wrong with it."""
    return column["state"] not in CALM or column["outcome"] in ("failed", "undecided")


def column_rows(columns: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return a row a column: what became of it, of its coverage and of its limits; failures first."""
    rows = [
        {
            "label": str(column["limit_method"]),
            "cl": number(column["cl"], 12),
            "state": str(column["state"]),
            "meaning": STATES[column["state"]],
            "outcome": str(column["outcome"]),
            "promise": PROMISES[column["promises"]],
            "worst": probability(column["worst_coverage"], column["cl"]),
            "low": "low" if _is_below(column) else "",
            "where": place(column["worst_s_true"], column["worst_b"]) if column["worst_coverage"] is not None else "",
            "source": "exact" if column["exact"] else "toys",
            "before": probability(column["baseline_worst_coverage"], column["cl"]),
            "median": strength(column["median_change"]),
            "median_where": _median_place(column),
            "rose": _count(column["toys_rose"]),
            "fell": _count(column["toys_fell"]),
        }
        for column in columns
    ]
    return sorted(rows, key=lambda row: ORDER.index(row["outcome"]))


def study_rows(told: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a row a study: its outcome, what it was compared with, and how much there is to read."""
    return [
        {
            "study": str(study["study"]),
            "outcome": str(study["outcome"]),
            "sentence": reason(study),
            "baseline": _baseline(study["baseline"]),
            "columns": f"{len(study['columns']):,}",
            "states": states(study["columns"]),
            "seconds": NOTHING if study["work"]["seconds"] is None else f"{study['work']['seconds']:,.0f} s",
        }
        | {severity: f"{len(groups({'studies': [study]}, severity)):,}" for severity in SEVERITIES}
        for study in told["studies"]
    ]


def states(columns: Iterable[Mapping[str, Any]]) -> str:
    """Count the columns by their states."""
    every = [column["state"] for column in columns]
    return ", ".join(f"{every.count(state):,} {state}" for state in STATES if state in every) or "none"


def origin_rows(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return where a validation comes from: names and values."""
    changed = {None: "", False: "", True: " with changes that are not committed"}[told["git_changed"]]
    rows = [
        ("covsvc", str(told["covsvc"])),
        ("source", (told["git_revision"] or "no git revision") + changed),
        ("written", str(told["written_at"])),
        (
            "error rate",
            f"at most {told['error']:g}: the probability of a failure in one validation if nothing is wrong",
        ),
        ("margin", f"{told['margin']:g}: a smaller fall of coverage is no failure of methods that promise nothing"),
        ("tests by toys", f"{told['tests']:,}, of which {told['screened']:,} were repeated on fresh toys"),
    ]
    for study in told["studies"]:
        rows += [(f"{study['study']}: {name}", value) for name, value in _origin(study)]
    return rows


def strength(change: float | None) -> str:
    """Say by how much limits became weaker or stronger, from the relative change of their median."""
    if change is None:
        return NOTHING
    if change == 0:
        return "the same"
    return f"{number(100 * abs(change), 2)} % {'weaker' if change > 0 else 'stronger'}"


def _baseline(baseline: Mapping[str, Any] | None) -> str:
    if not baseline:
        return "nothing: never accepted"
    accepted_at = baseline["accepted_at"]
    return f"{baseline['name']} of {accepted_at[:10]}" if accepted_at else f"{baseline['name']}, never accepted"


def _origin(study: Mapping[str, Any]) -> list[tuple[str, str]]:
    baseline, work = study["baseline"], study["work"]
    made_from = f", from {study['base']}" if study["base"] else ""
    rows = [("candidate", f"{study['candidate']}, snapshot {study['snapshot']}{made_from}")]
    if baseline:
        rows += [
            (
                "baseline",
                f"{baseline['tag'] or baseline['name']}, snapshot {baseline['snapshot']}, "
                f"{baseline['outcome'] or 'not judged'}",
            ),
            (
                "accepted",
                f"{baseline['accepted_at']} by {baseline['who']}: {baseline['reason']}"
                if baseline["accepted_at"]
                else "never: a commit that was named",
            ),
        ]
    else:
        rows.append(("baseline", "none: the study was never accepted; promises alone were judged"))
    rows += [
        ("store", str(study["store"])),
        ("columns", f"{work['columns']:,}; {work['recomputed']:,} recomputed, {work['skipped']:,} skipped"),
        ("toys", f"{work['toys']:,}; {work['fresh_toys']:,} fresh ones to confirm"),
    ]
    if baseline:
        rows.append(("toys of the baseline", "the same" if study["same_toys"] else "others"))
    if work["fresh_toys"]:
        paired = "the baseline's code set limits on the same ones"
        rows.append(("fresh toys", paired if work["paired"] else f"of the change alone: {work['unpaired_why']}"))
    rows += [(str(name), f"{before or NOTHING} → {now or NOTHING}") for name, before, now in study["drift"]]
    return rows


def _is_below(column: Mapping[str, Any]) -> bool:
    return column["worst_coverage"] is not None and column["worst_coverage"] < column["cl"] - 1e-9


def _median_place(column: Mapping[str, Any]) -> str:
    if not column["median_change"]:
        return ""
    return place(column["median_change_s_true"], column["median_change_b"])


def _count(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"
