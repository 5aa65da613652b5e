"""The table of the cells in which limits cover least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from covsvc.report.notation import NOTHING, number, probability
from covsvc.worst_cells import WorstCell

MOST_SHOWN = 8
"""Cells that are shown at once; the others are folded."""


def worst_rows(cells: Sequence[WorstCell]) -> list[dict[str, str]]:
    """Return a row for each of the cells, as text."""
    return [
        {
            "label": cell.limit_method,
            "cl": number(cell.cl, 12),
            "s_true": number(cell.s_true, 12),
            "b": number(cell.b, 12),
            "counts": f"{cell.n_covered:,} of {cell.n_toys:,}",
            "coverage": probability(cell.coverage, cell.cl),
            "interval": f"{probability(cell.coverage_low)} to {probability(cell.coverage_high)}",
            "exact": probability(cell.exact_coverage, cell.cl),
            "deficit": number(cell.deficit, 3) if abs(cell.deficit) > 1e-9 else "0",
            "low": "low" if cell.deficit > 1e-9 else "",
            "p": NOTHING if np.isnan(cell.p) else number(cell.p, 2),
            "p_adjusted": "" if np.isnan(cell.p) else number(cell.p_adjusted, 2),
            "command": cell.command,
        }
        for cell in cells
    ]
