"""Significance claimed where there is no signal."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from covsvc import significance
from covsvc.report import Picture, Section, Table
from covsvc.report.null_significance import draw_null, null_cells, null_sentences
from covsvc.study import ExperimentSpec


def show_significance(maps: xr.Dataset, study: dict[str, Any]) -> Section | None:
    """Show how often a significance is claimed without a signal, where the background is counted off source."""
    tau = getattr(ExperimentSpec.model_validate(study["experiment"]).build(), "tau", None)
    if tau is None:
        return None
    b = np.geomspace(0.1, max(10.0, float(maps["b"].max())), 41)
    found = significance.under_the_null(b, tau)
    over = ("threshold", "b")
    return section_of(
        xr.Dataset(
            {
                "p_sideband": (over, found.sideband),
                "p_whole": (over, found.whole_region),
                "nominal": ("threshold", found.nominal),
            },
            coords={"threshold": found.thresholds, "b": found.b},
            attrs={"tau": tau},
        )
    )


def section_of(null: xr.Dataset) -> Section:
    """Return the section about claims without a signal, as `draw_null` takes them."""
    said, (heads, cells) = " ".join(null_sentences(null)), null_cells(null)
    return Section(
        "Significance without a signal",
        [said],
        [Picture(draw_null(null), "Claims over their nominal rate.", said=said)],
        [
            Table(
                "Probability that the significance exceeds a threshold where there is no signal",
                ["b", *(f"{head['threshold']}, {head['formula']} (nominal {head['nominal']})" for head in heads)],
                [(b, *row) for b, row in cells],
            )
        ],
    )
