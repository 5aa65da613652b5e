"""All methods of a study on the cells that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from covsvc.report.column import BoolArray, Column
from covsvc.report.notation import NOTHING, number, percent, probability


@dataclass(frozen=True)
class CommonCells:
    """What methods say of the same cells, at one confidence level.

    Attributes
    ----------
    cells : int
        In which all methods have a coverage.
    strong : int
        In which all have a finite sigma_Med/sigma_True, too.
    every : int
        Cells of the grid.
    rows : list of dict
        One a method, as text.
    """

    cells: int
    strong: int
    every: int
    rows: list[dict[str, str]]


def compare_common(columns: Sequence[Column], methods: Mapping[str, Mapping[str, Any]]) -> CommonCells | None:
    """Return what `columns`, at one cl, say of their common cells; None where fewer than two have any coverage.

    A column without any coverage is left out, and of the medians one without any finite ratio: they share no cell.
    """
    shown = [column for column in columns if column.known.any()]
    if len(shown) < 2:
        return None
    ratios = [column.sigma for column in shown]
    common: BoolArray = np.all([column.known for column in shown], axis=0)
    finite = [np.isfinite(ratio) for ratio in ratios if np.isfinite(ratio).any()]
    strong = common & np.all(finite, axis=0) if finite else np.zeros_like(common)
    rows = []
    for column, ratio in zip(shown, ratios, strict=True):
        coverage, median = column.coverage[common], ratio[strong & np.isfinite(ratio)]
        below = int(column.below[common].sum())
        lowest, middle, highest = np.quantile(coverage, [0, 0.5, 1]) if coverage.size else [np.nan] * 3
        rows.append(
            {
                "label": column.label,
                "two": "two-sided" if methods.get(column.label, {}).get("sided") == "two" else "",
                "lowest": probability(lowest, column.cl),
                "low": "low" if below else "",
                "middle": probability(middle, column.cl),
                "highest": probability(highest),
                "below": percent(below, coverage.size),
                "sigma": number(float(np.median(median)), 3) if median.size else NOTHING,
            }
        )
    return CommonCells(int(common.sum()), int(strong.sum()), common.size, rows)
