"""Failed blocks: which, why, and what coverage may be there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from covsvc.report.notation import number, place, probability


def failure_rows(maps: xr.Dataset) -> list[dict[str, str]]:
    """Return a row a method, confidence level and reason: the blocks that failed, and the bounds of coverage there.

    A failed block counts as one whose toys may all have missed, or all have covered: the lowest coverage over its cells
    lies between the lowest that the first and the lowest that the second would give.
    """
    groups: dict[tuple[str, float, str], list[Mapping[str, Any]]] = {}
    for each in json.loads(maps.attrs.get("failures", "[]")):
        if all(each[name] in maps[name].values for name in ("limit_method", "cl", "b", "s_true")):
            groups.setdefault((each["limit_method"], each["cl"], each["reason"]), []).append(each)
    rows = []
    for (label, cl, reason), failures in groups.items():
        column = maps.sel(limit_method=label, cl=cl)
        cells = sorted({(each["b"], each["s_true"]) for each in failures})
        at = {name: xr.DataArray([cell[index] for cell in cells]) for index, name in enumerate(("b", "s_true"))}
        here = column[["coverage", "coverage_best"]].sel(at)
        worst = int(np.argmin(here["coverage"].values))
        b, s_true = cells[worst]
        rows.append(
            {
                "label": label,
                "cl": number(cl, 12),
                "reason": reason,
                "blocks": f"{sum(each['stop'] - each['start'] for each in failures):,}",
                "cells": f"{len(cells):,}",
                "if_missed": probability(float(here["coverage"].min()), cl),
                "if_covered": probability(float(here["coverage_best"].min()), cl),
                "where": place(s_true, b),
            }
        )
    return rows
