"""The tables of the page, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from covsvc.contracts import FloatArray
from covsvc.interval_tables import IntervalTable
from covsvc.report.bands import observed, quantiles
from covsvc.report.column import BoolArray, Column
from covsvc.report.notation import NOTHING, number, percent, place, probability, rate
from covsvc.tally import RATES

SIDES = {"upper": "upper limit", "two": "two-sided, not comparable at equal cl"}
PROMISES = {"at_least": "at least cl", "asymptotic": "cl asymptotically", "nothing": "nothing"}
SOURCES = {"exact": "exact", "exact at the grid": "exact, grid only", "toys at the grid": "toys, grid only"}
DATA = ("n", "n_on", "n_off", "b", "b_error", "n_out", "n_sb", "zeta")
"""What real data are given by."""
COVERAGES = ("coverage", "worst_coverage_at_b", "worst_coverage")
"""What stands beside a limit on real data."""
MOST_POSITIONS = 12
"""So many events are told one by one."""
READ_TABLES = ("optimum_interval", "p_max", "fixed_interval_n")
"""The methods that read an `IntervalTable`."""
ORDER = ("broken", "undecided", "kept", "reported")


def summary(columns: Sequence[Column], methods: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return a row a method and confidence level: how low, how often, how strong, how often no limit."""
    rows = []
    for column in columns:
        method, worst = methods.get(column.label, {}), column.worst
        known, below = int(column.known.sum()), int(column.below.sum())
        under = int((column.under & column.known).sum())
        row = {
            "label": column.label,
            "cl": number(column.cl, 12),
            "kind": SIDES.get(str(method.get("sided")), NOTHING),
            "two": "two" if method.get("sided") == "two" else "",
            "promise": PROMISES.get(str(method.get("promises")), NOTHING),
            "worst": probability(worst.value, column.cl) if worst else NOTHING,
            "low": "low" if worst and worst.value < column.cl - 1e-9 else "",
            "where": f"{place(worst.s_true, worst.b)} ({SOURCES[worst.source]})" if worst else "",
            "at_most": probability(worst.at_most, column.cl) if worst and worst.at_most > worst.value else "",
            "below": percent(below, known),
            "cells": f"{below} of {known}" if known else "",
            "under": f"{under} of {known}" if known else "",
            "under_share": percent(under, known),
            "sigma": number(column.median_sigma, 3),
        }
        rows.append(row | {status: rate(column.rate(status).value) for status in RATES})
    return rows


def without_limit(columns: Sequence[Column], reasons: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, str]]:
    """Return a row for each method, confidence level and status that occurs: how often at most, where, and why."""
    why = {(str(each["limit_method"]), float(each["cl"])): str(each["reason"]) for each in reversed(reasons)}
    rows = []
    for column in columns:
        for status in RATES:
            highest = column.rate(status)
            if highest.value > 0:
                where = place(highest.s_true, highest.b)
                row = {"label": column.label, "cl": number(column.cl, 12), "status": status}
                reason = why.get((column.label, column.cl), "") if status == "failed" else ""
                rows.append(row | {"rate": rate(highest.value), "where": where, "reason": reason})
    return rows


def reach(
    columns: Sequence[Column], methods: Mapping[str, Mapping[str, Any]], known: Sequence[IntervalTable]
) -> list[str]:
    """Say where each of the tables ends, and how often a limit lies beyond."""
    said = []
    for table in known:
        here = [column for column in columns if column.cl == table.cl]
        here = [column for column in here if methods.get(column.label, {}).get("name") in READ_TABLES]
        if not here:
            continue
        beyond = [(column, column.rate("unbounded")) for column in here]
        column, most = max(beyond, key=lambda each: np.nan_to_num(each[1].value))
        sentence = (
            f"At cl = {number(table.cl, 12)} the table of the interval methods ends at mu = "
            f"{number(table.largest_mu)}: a limit beyond is unbounded, not extrapolated."
        )
        if most.value > 0:
            cells = sum(int((each.values("p_unbounded") > 0).sum()) for each in here)
            every = sum(int(each.known.sum()) for each in here)
            sentence += (
                f" It happens in {cells} of {every} cells, at most to {rate(most.value)} of the toys "
                f"({column.label}, {place(most.s_true, most.b)})."
            )
        else:
            sentence += " It happened to no toy."
        said.append(sentence)
    return said


def judged(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return a row a finding of the verdict: broken promises first."""
    rows = [
        {
            "label": str(finding["limit_method"]),
            "cl": number(finding["cl"], 12),
            "outcome": str(finding["outcome"]),
            "promise": PROMISES.get(str(finding.get("promises")), NOTHING),
            "worst": probability(finding.get("worst_coverage"), float(finding["cl"])),
            "where": place(finding.get("s_true"), finding.get("b")),
            "sentence": str(finding.get("sentence", "")),
        }
        for finding in findings
    ]
    return sorted(rows, key=lambda row: ORDER.index(row["outcome"]) if row["outcome"] in ORDER else len(ORDER))


def on_observation(observed: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return a row for each limit on the observation, with the coverage of the method beside it."""
    said = {"empty": "empty: no s ≥ 0 is accepted", "failed": "failed: no limit"}
    rows = []
    for limit in observed:
        cl, status = float(limit["cl"]), str(limit.get("status", "ok"))
        row = {
            "label": str(limit["limit_method"]),
            "cl": number(cl, 12),
            "same": "",
            "limit": said.get(status) or f"[{number(limit.get('lower'))}, {number(limit.get('upper'))}]{_error(limit)}",
            "status": "" if status == "ok" else status,
            "seen": ", ".join(
                _events(limit) + [f"{name} = {number(limit[name], 12)}" for name in DATA if name in limit]
            ),
            "b": number(limit.get("b_estimate")),
            "ensemble": str(limit.get("ensemble", "")),
            "reads": "takes the estimated background as known" if limit.get("plugged_in") else "",
            "reason": str(limit.get("reason", "")),
        }
        coverages = {name: probability(limit.get(name), cl) for name in COVERAGES}
        found = coverages["worst_coverage"] != NOTHING
        where = place(limit.get("worst_s_true"), limit.get("worst_b")) if found else ""
        rows.append(row | coverages | {"worst_where": where})
    if len({row["seen"] for row in rows}) == 1:
        rows = [row | {"same": "same"} for row in rows]
    return rows


def _events(limit: Mapping[str, Any]) -> list[str]:
    """Return how many events were observed, and where, if these are few."""
    if "u" not in limit:
        return []
    u = np.asarray(limit["u"], dtype=np.float64).ravel()
    said = f"{len(u)} event{'s' * (len(u) != 1)}"
    where = ", ".join(number(each) for each in u.tolist())
    return [f"{said} at u = {where}" if 0 < len(u) <= MOST_POSITIONS else said]


def _error(limit: Mapping[str, Any]) -> str:
    """Return the error of a limit that was found with toys."""
    error = float(limit.get("error", np.nan))
    return "" if np.isnan(error) else f" ± {number(error, 2)}"


def coverage_cells(column: Column) -> list[tuple[str, list[str]]]:
    """Return the coverage map in words: s_true and its values over b, ``*`` where under-coverage is significant."""
    stars = np.where(column.under & column.known, "*", "")
    return _rows(column, [[probability(value, column.cl) for value in row] for row in column.coverage.tolist()], stars)


def sigma_cells(column: Column) -> list[tuple[str, list[str]]]:
    """Return the map of sigma_Med/sigma_True in words."""
    return _rows(column, [[number(value, 3) for value in row] for row in column.sigma.tolist()])


def toy_cells(column: Column, rows: Sequence[int]) -> list[tuple[str, list[str]]]:
    """Return what the toys say in these rows of b, with the interval."""
    toys, low, high = (column.values(name)[rows] for name in ("coverage", "coverage_low", "coverage_high"))
    cells = [
        [f"{value:.4f} ({first:.4f}–{last:.4f})" if np.isfinite(value) else NOTHING for value, first, last in row]
        for row in np.stack([toys, low, high], axis=-1).tolist()
    ]
    return _rows(column, cells)


def equal_limits(notes: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return what each method's limits at a confidence level equal, in the words of `notes`."""
    return [
        {"label": str(note["limit_method"]), "cl": number(note["cl"], 12), "note": str(note["note"])} for note in notes
    ]


def expected_cells(limits: xr.Dataset) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return the heads of a table of the limits of one method at one cl, and its rows: b and the limits, events."""
    limits = limits.sortby("b")
    heads, values = ["−2 sigma", "−1 sigma", "Median", "+1 sigma", "+2 sigma"], [quantiles(limits)]
    for head, more in (("Asimov median", quantiles(limits, "asimov")[:, 2]), ("Observed", observed(limits))):
        if not np.isnan(more).all():
            heads.append(head)
            values.append(more[:, np.newaxis])
    cells = [[number(limit) for limit in row] for row in np.concatenate(values, axis=1).tolist()]
    return heads, [(number(b), row) for b, row in zip(limits["b"].to_numpy().tolist(), cells, strict=True)]


def describe_coverage(column: Column) -> str:
    """Say in a sentence what the coverage map shows."""
    known, under = int(column.known.sum()), int((column.under & column.known).sum())
    said = f"Map of the coverage of {column.label} at cl = {column.cl:.12g} over {_extent(column)}."
    if not known:
        return said + " It has no values."
    lowest, where = _extreme(column, column.coverage, column.known, np.argmin)
    highest, _ = _extreme(column, column.coverage, column.known, np.argmax)
    below = int(column.below.sum())
    return (
        f"{said} From {probability(lowest, column.cl)} at {where} to {probability(highest)}; {below} of {known} cells "
        f"below cl, {under} of them significantly. The table below holds the numbers."
    )


def describe_sigma(column: Column) -> str:
    """Say in a sentence what the map of sigma_Med/sigma_True shows."""
    said = f"Map of sigma_Med/sigma_True of {column.label} at cl = {column.cl:.12g} over {_extent(column)}."
    finite = np.isfinite(column.sigma)
    if not finite.any():
        return said + " It has no values."
    lowest, where = _extreme(column, column.sigma, finite, np.argmin)
    highest, there = _extreme(column, column.sigma, finite, np.argmax)
    said = f"{said} From {number(lowest, 3)} at {where} to {number(highest, 3)} at {there}."
    return f"{said} The table below holds the numbers."


def _rows(column: Column, cells: list[list[str]], marks: Any = None) -> list[tuple[str, list[str]]]:
    marked = cells if marks is None else np.char.add(np.array(cells, dtype=str), marks).tolist()
    return [(f"{s:g}", list(row)) for s, row in zip(column.s_true.tolist(), zip(*marked, strict=True), strict=True)]


def _extent(column: Column) -> str:
    s, b = column.s_true, column.b
    return f"s_true from {s[0]:g} to {s[-1]:g} and b from {b[0]:g} to {b[-1]:g}"


def _extreme(column: Column, values: FloatArray, known: BoolArray, choose: Any) -> tuple[float, str]:
    cells = np.argwhere(known)
    row, node = cells[choose(values[known])]
    return float(values[row, node]), place(column.s_true[node], column.b[row])
