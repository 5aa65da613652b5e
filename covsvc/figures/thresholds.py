"""What the statistics of the interval methods have to exceed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import xarray as xr

from covsvc.interval_tables import IntervalTable, interval_table, missing_table
from covsvc.report import Picture, Section, Table
from covsvc.report.thresholds import (
    STATISTICS,
    Statistic,
    describe_thresholds,
    draw_thresholds,
    made_by,
    threshold_cells,
    value_cells,
)

MEANING = (
    "A signal of mu expected events is excluded where a statistic of the intervals between events exceeds what it "
    "stays below in a share cl of the toys without background. The function spurts upward after each threshold "
    "t_k, from which on an interval with k events can decide; from the end e_k of an atom on, k events in the "
    "whole range exclude."
)


def show_thresholds(maps: xr.Dataset, study: dict[str, Any]) -> Section | None:  # noqa: ARG001
    """Show what the statistics of the study's interval methods have to exceed, at each cl that has a table.

    References
    ----------
    .. [1] S. Yellin, Phys. Rev. D 66 (2002) 032005, Figs. 2 and 5.
    """
    names = {method.get("name") for method in json.loads(maps.attrs["methods"]).values()}
    shown = [statistic for statistic in STATISTICS if statistic.method in names]
    levels = [cl for cl in maps["cl"].values.tolist() if missing_table(cl) is None] if shown else []
    return section_of([interval_table(cl) for cl in levels], shown) if levels else None


def section_of(tables: Sequence[IntervalTable], shown: Sequence[Statistic]) -> Section:
    """Return the section about these tables and statistics."""
    sentences, pictures, numbers = [MEANING], [], []
    heads = ["k", *(head for each in shown for head in (f"t_k, {each.name}", f"e_k, {each.name}"))]
    for table in tables:
        level = f"cl = {table.cl:.12g}"
        for statistic in shown:
            said = describe_thresholds(table, statistic)
            sentences.append(said)
            pictures.append(
                Picture(
                    draw_thresholds(table, statistic),
                    f"{statistic.name}, {level}; {made_by(table)}",
                    f"{statistic.field}-{table.cl:.12g}",
                    said,
                )
            )
        sentences.append(f"The table at {level} was made with {made_by(table)}.")
        caption = f"Thresholds t_k and atom ends e_k of k events, expected events, at {level}; – beyond the table"
        numbers.append(Table(caption, heads, [(k, *row) for k, row in threshold_cells(table, shown)]))
        for statistic in shown:
            values = [(mu, *row) for mu, row in value_cells(statistic.of(table))]
            numbers.append(Table(f"{statistic.name} at {level}, at nodes of the table", ["mu", statistic.name], values))
    return Section("Thresholds of the interval methods", sentences, pictures, numbers)
