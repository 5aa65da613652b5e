"""All maps of a study at a glance: small pictures without axes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.image import imsave

from covsvc.contracts import FloatArray
from covsvc.report import coverage_map, sigma_map
from covsvc.report.column import BoolArray, Column
from covsvc.report.notation import percent

SIDE = 150
"""Of a picture, pixels, about."""


def glance(columns: Sequence[Column], low: float, high: float) -> list[dict[str, str]]:
    """Return the two maps of each of `columns` as small pictures, with what stands for them.

    The first cell is at the lower left, and all cells have the same size. Cells that are significantly below cl have a
    black line around them, as on the map.

    Parameters
    ----------
    columns : sequence of Column
    low, high : float
        Ends of the colour scale of sigma_Med/sigma_True.
    """
    return [
        {
            "label": column.label,
            "coverage": _picture(
                column.coverage, coverage_map.COLOURS, Normalize(2 * column.cl - 1, 1), column.under & column.known
            ),
            "sigma": _picture(
                np.clip(column.sigma, low, high), sigma_map.COLOURS, LogNorm(low, high), np.zeros_like(column.under)
            ),
            "said": _said(column),
        }
        for column in columns
    ]


def _picture(values: FloatArray, colours: Colormap, norm: Normalize, marked: BoolArray) -> str:
    """Return a map as the data of a PNG: some pixels a cell."""
    down, across = (int(np.clip(SIDE // cells, 3, SIDE)) for cells in values.shape)
    pixels = np.kron(np.arange(values.size).reshape(values.shape), np.ones((down, across), dtype=np.int64))
    shades = colours(norm(np.ma.masked_invalid(values)), bytes=True)[..., :3].reshape(-1, 3)[pixels]
    shades[_rim(marked.ravel()[pixels])] = 0
    buffer = io.BytesIO()
    metadata: dict[str, Any] = {"Software": None}  # the same bytes every time
    imsave(buffer, np.ascontiguousarray(shades[::-1]), format="png", metadata=metadata)
    return base64.b64encode(buffer.getvalue()).decode()


def _rim(marked: BoolArray) -> BoolArray:
    """Return the pixels of `marked` that have a neighbour which is not."""
    around = np.pad(marked, 1)
    inside = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return np.asarray(marked & ~inside)


def _said(column: Column) -> str:
    name = f"{column.label} at cl = {column.cl:.12g}"
    known, below = int(column.known.sum()), int(column.below.sum())
    if not known:
        return f"{name}: no values"
    under = int((column.under & column.known).sum())
    return f"{name}: {percent(below, known)} of {known} cells below cl, {under} significantly"
