"""How much more than promised methods cover."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure


def draw_excess_coverage(maps: xr.Dataset, study: dict[str, Any]) -> Figure | None:
    """Mean coverage over the grid minus cl, by method.

    A bar to the right covers more than it needs to, on average: its limits could be stronger. One to the left covers
    less. A study of one method has nothing to compare.
    """
    labels = [str(label) for label in maps["limit_method"].values]
    if len(labels) < 2:
        return None
    excess = (maps["coverage"] - maps["cl"]).mean(["s_true", "b"]).transpose("cl", "limit_method")
    figure = Figure(figsize=(6.4, 1.2 + 0.4 * len(labels)), layout="constrained")
    axes = figure.add_subplot(title=str(study["name"]), xlabel="mean coverage - cl")
    height = 0.8 / len(excess["cl"])
    for row, cl in enumerate(excess["cl"].values):
        axes.barh(np.arange(len(labels)) + row * height, excess.values[row], height, label=f"cl = {cl:g}")
    axes.set_yticks(np.arange(len(labels)), labels)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.legend(frameon=False)
    return figure
