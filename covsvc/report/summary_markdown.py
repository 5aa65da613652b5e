"""The report in a page of Markdown, to paste where people talk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import xarray as xr

from covsvc.report.column import Column, columns
from covsvc.report.failures import failure_rows
from covsvc.report.markdown import block, bullets, code, table, text_of
from covsvc.report.notation import NOTHING
from covsvc.report.tables import summary
from covsvc.report.worst_cells import worst_rows
from covsvc.worst_cells import WorstCell

MOST_COMMANDS = 3
"""Worst cells whose commands are told."""
ORIGIN = ("snapshot", "written_at", "covsvc", "git_revision", "engine", "seed", "toys", "python", "numpy", "scipy")
"""What is told of the provenance."""
MARKS = {"passed": "✅", "failed": "❌", "undecided": "❔", "kept": "✅", "broken": "❌", "reported": "–"}


def summary_of(
    maps: xr.Dataset,
    verdict: Mapping[str, Any],
    worst: Sequence[WorstCell] = (),
    every: Sequence[Column] = (),
    page: str = "index.html",
) -> str:
    """Return the report as short Markdown: verdict, methods, worst cells, failures and where it comes from.

    Parameters
    ----------
    maps : Dataset
        What the cube means; its attributes ``study``, ``methods`` and ``provenance`` are JSON.
    verdict : mapping
        ``outcome``, ``sentence``, ``smallest_deficit_sentence`` and ``findings``.
    worst : sequence of WorstCell
        The worst cell of each column, the worst first.
    every : sequence of Column, optional
        The columns of the maps, if they are made already.
    page : str
        Where the whole report is.
    """
    return "\n".join(filter(None, _parts(maps, verdict, worst, every or list(columns(maps)), page)))


def _parts(
    maps: xr.Dataset, verdict: Mapping[str, Any], worst: Sequence[WorstCell], every: Sequence[Column], page: str
) -> Iterator[str]:
    study = json.loads(maps.attrs.get("study", "{}"))
    outcome = str(verdict["outcome"])
    yield f"# {MARKS[outcome]} Coverage of upper limits: {text_of(study.get('name', ''))} {outcome}\n"
    yield f"{text_of(verdict['sentence'])}\n"
    yield f"{text_of(verdict.get('smallest_deficit_sentence', ''))} Passing is no proof where coverage is from toys.\n"
    yield _methods(maps, verdict, every)
    yield _worst(worst)
    yield _failed(maps)
    yield f"## Where this comes from\n\n{bullets(_origin(maps))}"
    yield f"Maps, slices and all tables: [the whole report]({page}), its figures and its `tables/`.\n"


def _methods(maps: xr.Dataset, verdict: Mapping[str, Any], every: Sequence[Column]) -> str:
    findings = {(each["limit_method"], f"{each['cl']:.12g}"): each["outcome"] for each in verdict.get("findings", ())}
    rows = []
    for row in summary(every, json.loads(maps.attrs.get("methods", "{}"))):
        found = findings.get((row["label"], row["cl"]), "")
        cells = [
            code(row["label"], in_table=True),
            row["cl"],
            row["promise"],
            f"{MARKS.get(found, '')} {found}".strip(),
        ]
        worst = f"{row['worst']}, {row['where']}" if row["where"] else row["worst"]
        rows.append([*cells, worst, row["below"], row["under"], row["sigma"] + (" (two-sided)" if row["two"] else "")])
    heads = ["Method", "cl", "Promises", "Verdict", "Worst coverage", "Cells below cl", "significantly"]
    note = "The median ratio is that of the median upper limit to the true signal, over the grid; lower is stronger."
    return f"## Methods\n\n{table([*heads, 'Median ratio'], rows, numbers_from=4)}\n{note}\n"


def _worst(worst: Sequence[WorstCell]) -> str:
    below = [cell for cell in worst if cell.deficit > 1e-9]
    if not below:
        return "No cell of the grid covers less than its cl.\n" if worst else ""
    rows = worst_rows(below)[:MOST_COMMANDS]
    told = [
        f"{code(row['label'])} at cl = {row['cl']}: {row['coverage']} of the toys ({row['interval']})"
        + (f", exactly {row['exact']}" if row["exact"] != NOTHING else "")
        + f", at s_true = {row['s_true']}, b = {row['b']}\n\n{block(row['command'])}"
        for row in rows
    ]
    return "## Worst cells\n\n" + "\n".join(told)


def _failed(maps: xr.Dataset) -> str:
    rows = [
        f"{code(row['label'])} at cl = {row['cl']}: {row['blocks']} in {row['cells']} cells: {text_of(row['reason'])}"
        for row in failure_rows(maps)
    ]
    return f"## Failed blocks\n\n{bullets(rows)}" if rows else ""


def _origin(maps: xr.Dataset) -> Iterator[str]:
    known = json.loads(maps.attrs.get("provenance", "{}"))
    for name in ORIGIN:
        if known.get(name) not in ("", None):
            yield f"{name.replace('_', ' ')}: {code(str(known[name]))}"
