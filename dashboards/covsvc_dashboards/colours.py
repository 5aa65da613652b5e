"""Colours of the maps, as a browser takes them."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import Colormap

from covsvc.report import coverage_map, difference_map, sigma_map
from covsvc.report.tiles import HOLE

__all__ = ["COVERAGE", "COVERAGE_CHANGE", "HOLE", "MEDIAN_RATIO", "SIGMA", "palette"]


def palette(colours: Colormap) -> tuple[str, ...]:
    """Return the colours of a map from its low to its high end, each for an equal part of the scale."""
    shades = colours(np.arange(colours.N), bytes=True)
    return tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue, _ in shades.tolist())


COVERAGE = palette(coverage_map.COLOURS)
SIGMA = palette(sigma_map.COLOURS)
COVERAGE_CHANGE = palette(difference_map.COVERAGE_COLOURS)
MEDIAN_RATIO = palette(difference_map.MEDIAN_COLOURS)
