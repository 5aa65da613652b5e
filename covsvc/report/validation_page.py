"""The page of a validation: what changed, whether it may be accepted, and how to see it again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import filterfalse
from pathlib import Path
from typing import Any

import xarray as xr

from covsvc.files import write
from covsvc.report.difference_map import (
    Difference,
    coverage_cells,
    describe_coverage_difference,
    describe_median_ratio,
    differences,
    draw_coverage_difference,
    draw_median_ratio,
    median_cells,
)
from covsvc.report.findings import READING, Group, accept_command, commands_in, every_group, outcome, reason, subject
from covsvc.report.picture import FIGURES, embed
from covsvc.report.stems import unique_stems
from covsvc.report.templates import render
from covsvc.report.validation_junit import junit_of
from covsvc.report.validation_markdown import markdown_of
from covsvc.report.validation_tables import ORDER, STATES, column_rows, is_told, origin_rows, states, study_rows

Maps = Mapping[str, tuple[xr.Dataset, xr.Dataset | None]]

MOST_DRAWN = 16
"""Columns whose maps of difference are drawn: those that failed first."""
MOST_SHOWN = 12
"""Groups of findings of a severity that stand open, the others are folded."""
_DRAWN = "difference"
"""What the names of the figures begin with."""


def write_validation(told: Mapping[str, Any], maps: Maps, folder: Path) -> Path:
    """Write a validation into `folder` and return the path of its page.

    ``verdict.json``, ``summary.md``, ``junit.xml``, ``index.html``, which holds its figures, and these in
    ``figures/`` as PNG and SVG: ``difference-coverage-<study>-<label>-<cl>`` and ``difference-median-<...>``. Those of
    an earlier validation are removed.

    Parameters
    ----------
    told : mapping
        The validation, as ``docs/validation.schema.json`` describes it.
    maps : mapping
        Of each study the maps of candidate and baseline (None where there is none), as `covsvc.maps.summarize` gives
        them.
    folder : Path
        Made where it is missing.
    """
    folder = Path(folder)
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    for earlier in (folder / FIGURES).glob(f"{_DRAWN}-*"):
        earlier.unlink()
    # the words first: whatever may happen to a figure, they are there
    write(folder / "verdict.json", f"{json.dumps(told, indent=2, allow_nan=False)}\n".encode())
    write(folder / "summary.md", markdown_of(told).encode())
    write(folder / "junit.xml", junit_of(told).encode())
    index = folder / "index.html"
    write(index, _page(told, maps, folder).encode())
    return index


def _page(told: Mapping[str, Any], maps: Maps, folder: Path) -> str:
    drawn, left = _drawn(told, maps, folder)
    return render(
        "validation.html.j2",
        told=told,
        outcome=outcome(told),
        reason=reason(told),
        advice=commands_in(told["advice"]),
        command=accept_command(told),
        severities=[
            {
                "name": found[0].severity,
                "head": head,
                "advice": advice,
                "number": len(found),
                "shown": _groups(found[:MOST_SHOWN]),
                "folded": _groups(found[MOST_SHOWN:]),
            }
            for head, advice, found in every_group(told)
        ],
        studies=study_rows(told),
        tables=[
            {
                "study": study["study"],
                "is_compared": study["baseline"] is not None,
                "told": column_rows(filter(is_told, study["columns"])),
                "calm": column_rows(filterfalse(is_told, study["columns"])),
            }
            for study in told["studies"]
        ],
        states=states(column for study in told["studies"] for column in study["columns"]),
        reading=(*READING, *STATES.items()),
        drawn=drawn,
        left=left,
        origin=origin_rows(told),
    )


def _groups(found: Iterable[Group]) -> list[dict[str, Any]]:
    """Return findings as text, one a column and kind, each with those of other cells below it."""
    explained: set[str] = set()
    shown = []
    for group in found:
        shown.append(
            {
                "study": group.study if group.limit_method else "",
                "subject": group.subject,
                "title": group.title,
                "meaning": "" if group.kind in explained else group.meaning,
                "findings": group.findings,
            }
        )
        explained.add(group.kind)
    return shown


def _drawn(told: Mapping[str, Any], maps: Maps, folder: Path) -> tuple[list[dict[str, Any]], int]:
    """Draw the columns that changed, those that failed first; return what the page says, and how many are left out."""
    changed = [
        (ORDER.index(column["outcome"]), study["study"], difference)
        for study in told["studies"]
        for difference in _differences(study, maps, told["margin"])
        for column in study["columns"]
        if (column["limit_method"], column["cl"]) == (difference.candidate.label, difference.candidate.cl)
        and column["state"] == "changed"
    ]
    changed.sort(key=lambda each: each[0])
    stems = unique_stems(dict.fromkeys(f"{study}-{each.candidate.label}" for _, study, each in changed))
    drawn = [_draw(study, each, stems, folder) for _, study, each in changed[:MOST_DRAWN]]
    return drawn, len(changed) - len(drawn)


def _differences(study: Mapping[str, Any], maps: Maps, margin: float) -> Iterator[Difference]:
    now, before = maps.get(study["study"], (None, None))
    if now is not None and before is not None:
        yield from differences(now, before, study["findings"], margin)


def _draw(study: str, difference: Difference, stems: Mapping[str, str], folder: Path) -> dict[str, Any]:
    column = difference.candidate
    end = f"{stems[f'{study}-{column.label}']}-{column.cl:.12g}"
    return {
        "study": study,
        "subject": subject(column.label, column.cl),
        "b": [f"{b:g}" for b in column.b.tolist()],
        "coverage": embed(
            partial(draw_coverage_difference, difference),
            f"{_DRAWN}-coverage-{end}",
            folder,
            describe_coverage_difference(difference),
        ),
        "coverage_cells": coverage_cells(difference),
        "median": embed(
            partial(draw_median_ratio, difference),
            f"{_DRAWN}-median-{end}",
            folder,
            describe_median_ratio(difference),
        ),
        "median_cells": median_cells(difference),
    }
