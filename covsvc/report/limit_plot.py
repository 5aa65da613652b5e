"""The limit plot: limits on a cross section or a branching fraction against a parameter of the model."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from covsvc.contracts import FloatArray
from covsvc.errors import StudyError
from covsvc.report.bands import describe_arrows, draw_limits, observed, quantiles
from covsvc.report.panels import lay_out, name_axes, put_legend, scale, spans_decades
from covsvc.report.picture import write_picture

MOST = 6
"""Methods in one figure: more panels are too small to read."""
ALONE, HEIGHT = 3.2, 2.4
"""Height of the panel of one method, and of each of several, inches."""


def draw_scan(dataset: xr.Dataset) -> Figure:
    """Draw observed and expected limits against the parameter of the model: a panel a method.

    Parameters
    ----------
    dataset : Dataset
        ``expected`` over (point, limit_method, n_sigma) and ``observed`` over (point, limit_method): upper limits of
        the quantity, may be infinite, NaN where there is none; ``asimov`` like ``expected`` where there is one; the
        coordinate ``parameter`` over point. Attributes ``parameter_name`` and ``quantity_name``, with their units;
        ``cl``; ``log_x`` and ``log_y`` where it shall not depend on the values whether an axis is logarithmic.

    Raises
    ------
    StudyError
        If there are more methods than can be shown, or a logarithmic axis is asked for without positive values.
    """
    labels = [str(label) for label in dataset["limit_method"].to_numpy().tolist()]
    if len(labels) > MOST:
        raise StudyError(f"a limit plot of {len(labels)} methods cannot be read: choose at most {MOST}")
    scan = dataset.sortby("parameter").transpose("point", ...)
    x = np.asarray(scan["parameter"].to_numpy(), dtype=np.float64)
    values = np.concatenate([found.ravel() for found in (quantiles(scan), quantiles(scan, "asimov"), observed(scan))])
    values = values[np.isfinite(values)]
    log_x, log_y = (_log(dataset, axis, shown) for axis, shown in (("log_x", x), ("log_y", values)))
    if log_x and x.min() <= 0:
        raise StudyError(f"log_x: the parameter is {x.min():g} at its lowest, and a logarithmic axis ends above 0")
    positive = values[values > 0] if (values > 0).any() else np.ones(1)
    low, high = float(positive.min()), float(positive.max())
    ends = (low / (high / low) ** 0.12 / 1.2, high * (high / low) ** 0.12 * 1.2) if log_y else (0.0, 1.16 * high)

    quantity, parameter = str(dataset.attrs["quantity_name"]), str(dataset.attrs["parameter_name"])
    height = HEIGHT if len(labels) > 1 else ALONE
    beside = textwrap.wrap(f"upper limit on {quantity}", int(14.5 * height))
    figure, every = lay_out(
        f"Upper limits on {quantity}",
        f"{100 * dataset.attrs['cl']:.10g} % confidence level; expected: without a signal",
        labels,
        height,
        note=describe_arrows(scan, log_y),
        aside=0.18 * (len(beside) - 1),
    )
    handles: dict[str, Artist] = {}
    for place, axes in enumerate(every):
        scale(axes, x, ends, log_x, log_y)
        handles |= draw_limits(axes, x, scan.isel(limit_method=place))
    name_axes(every, parameter, "\n".join(beside))
    put_legend(figure, handles)
    return figure


def write_scan(dataset: xr.Dataset, path: Path) -> Path:
    """Write the limit plot as the suffix of `path` says, the same bytes every time, and return the path.

    Its folder is made where it is missing.

    Raises
    ------
    StudyError
        If the suffix is none of .png, .svg and .pdf; or as `draw_scan` says.
    """
    return write_picture(Path(path), lambda: draw_scan(dataset), "limit plot")


def _log(dataset: xr.Dataset, axis: str, shown: FloatArray) -> bool:
    asked = dataset.attrs.get(axis)
    if asked is not None:
        return bool(asked)
    return spans_decades(shown) and (axis == "log_y" or bool(shown.min() > 0))
