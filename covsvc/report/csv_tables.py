"""The tables of the report as CSV files, with all digits."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import xarray as xr

from covsvc.files import write
from covsvc.report.column import Column, columns
from covsvc.selection import COLUMNS, rows_of
from covsvc.tally import RATES
from covsvc.worst_cells import WorstCell

FOLDER = "tables"
"""The folder of a page's tables, beside it."""

TABLES = {
    "cells.csv": "every cell of every method: coverage with its interval, median limit, rates",
    "methods.csv": "each method at each confidence level: worst coverage and where, cells below cl, median ratio",
    "worst-cells.csv": "the worst cell of each method, with the command that replays it",
    "findings.csv": "each method against its promise",
    "failures.csv": "blocks of toys, and limits, that failed, and why",
    "columns.csv": "what the columns of cells.csv are, and their units",
}
"""What the files hold."""

_FINDING = ("limit_method", "cl", "outcome", "promises", "sided", "worst_coverage", "b", "s_true", "sentence")
_FAILURE = ("limit_method", "cl", "b", "s_true", "start", "stop", "reason")


def write_tables(
    maps: xr.Dataset, verdict: Mapping[str, Any], worst: Sequence[WorstCell], folder: Path, every: Sequence[Column] = ()
) -> list[Path]:
    """Write the `TABLES` of a report and return their paths.

    A value that is not known is empty, an infinite one is ``inf``; numbers have all their digits.

    Parameters
    ----------
    maps : Dataset
        What the cube means.
    verdict : mapping
        Its ``findings`` are told.
    worst : sequence of WorstCell
    folder : Path
        That of the page.
    every : sequence of Column, optional
        The columns of the maps, if they are made already.
    """
    known = dict(zip(TABLES, _tables(maps, verdict, worst, every or list(columns(maps))), strict=True))
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    paths = []
    for name, (heads, rows) in known.items():
        paths.append(folder / FOLDER / name)
        write(paths[-1], csv_of(heads, rows))
    return paths


def csv_of(heads: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return rows as CSV, in the order of `heads`; what a row has not, or is not known, is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([_plain(row.get(head)) for head in heads] for row in rows)
    return buffer.getvalue().encode()


def method_rows(
    every: Sequence[Column], methods: Mapping[str, Mapping[str, Any]], findings: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return a row a method and confidence level: how low, how often, how strong, how often no limit."""
    outcomes = {(str(each["limit_method"]), float(each["cl"])): str(each["outcome"]) for each in findings}
    rows = []
    for column in every:
        method, worst = methods.get(column.label, {}), column.worst
        row: dict[str, Any] = {
            "limit_method": column.label,
            "cl": column.cl,
            "name": method.get("name"),
            "sided": method.get("sided"),
            "promises": method.get("promises"),
            "outcome": outcomes.get((column.label, column.cl)),
            "worst_coverage": worst.value if worst else None,
            "worst_b": worst.b if worst else None,
            "worst_s_true": worst.s_true if worst else None,
            "worst_source": worst.source if worst else None,
            "n_cells": int(column.known.sum()),
            "n_below": int(column.below.sum()),
            "n_under_significant": int((column.under & column.known).sum()),
            "median_sigma_med_over_true": column.median_sigma,
            "n_toys": int(column.values("n_toys").sum()),
        }
        for status in RATES:
            highest = column.rate(status)
            row |= {f"most_p_{status}": highest.value}
            row |= {f"most_p_{status}_{name}": at for name, at in (("b", highest.b), ("s_true", highest.s_true))}
        rows.append(row)
    return rows


def _tables(
    maps: xr.Dataset, verdict: Mapping[str, Any], worst: Sequence[WorstCell], every: Sequence[Column]
) -> list[tuple[Sequence[str], Sequence[Mapping[str, Any]]]]:
    """Return the heads and the rows of each of the `TABLES`."""
    findings = verdict.get("findings", ())
    methods = method_rows(every, json.loads(maps.attrs.get("methods", "{}")), findings)
    failed = [each for kind in ("failures", "toy_failures") for each in json.loads(maps.attrs.get(kind, "[]"))]
    units = [{"column": name, "long_name": told, "unit": unit} for name, (told, unit) in COLUMNS.items()]
    return [
        (list(COLUMNS), rows_of(maps)),
        (list(methods[0]) if methods else [], methods),
        ([field.name for field in fields(WorstCell)], [asdict(cell) for cell in worst]),
        (_FINDING, findings),
        (_FAILURE, failed),
        (("column", "long_name", "unit"), units),
    ]


def _plain(value: Any) -> Any:
    """Return a value as CSV has it: nothing for what is not known."""
    return "" if value is None or value != value else value
