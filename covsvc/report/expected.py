"""Observed and expected limits against background."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from covsvc.report.bands import describe_arrows, draw_limits, observed, quantiles
from covsvc.report.notation import number
from covsvc.report.panels import lay_out, name_axes, put_legend, scale, spans_decades

HEIGHT = 2.5
"""Of a panel, inches."""


def draw_expected(dataset: xr.Dataset, label: str) -> Figure:
    """Draw the limits that one method is expected to set where there is no signal: a panel a confidence level.

    Parameters
    ----------
    dataset : Dataset
        ``expected`` over (limit_method, cl, b, n_sigma): the upper limits at -2 to 2 sigma, events, may be infinite;
        ``asimov`` like it and ``observed`` over (limit_method, cl, b) where there are any, NaN where there is none.
        ``observed_text``, an attribute or coordinate, says what was observed.
    label : str
        The method.
    """
    limits = dataset.sel(limit_method=label).sortby("b")
    b = np.asarray(limits["b"].to_numpy(), dtype=np.float64)
    levels = limits["cl"].to_numpy().tolist()
    names = [f"cl = {cl:.12g}" for cl in levels]
    seen = _seen(dataset)
    lines = 2 if len(levels) == 1 and (np.isfinite(quantiles(limits, "asimov")).any() or len(seen) > 16) else 1
    shown = "upper limits expected without a signal" + (", and observed" if np.isfinite(observed(limits)).any() else "")
    figure, every = lay_out(label, shown, names, HEIGHT, lines, describe_arrows(limits))
    log = bool(b.min() > 0) and spans_decades(b)
    values = np.concatenate(
        [found.ravel() for found in (quantiles(limits), quantiles(limits, "asimov"), observed(limits))]
    )
    top = 1.16 * float(max(values[np.isfinite(values)], default=1.0)) or 1.0
    handles: dict[str, Artist] = {}
    for axes, cl in zip(every, levels, strict=True):
        scale(axes, b, (-0.03 * top, top), log, False)
        handles |= draw_limits(axes, b, limits.sel(cl=cl), seen)
    name_axes(every, "background b (events)", "upper limit of s (events)")
    put_legend(figure, handles, lines)
    return figure


def describe_expected(dataset: xr.Dataset, label: str) -> str:
    """Say in a sentence what the figure of one method shows."""
    limits = dataset.sel(limit_method=label).sortby("b")
    b = limits["b"].to_numpy()
    said = [
        f"at cl = {cl:.12g} the median is {number(median[0])} events at b = {number(b[0])} and {number(median[-1])} "
        f"at b = {number(b[-1])}"
        for cl, median in ((cl, quantiles(limits.sel(cl=cl))[:, 2]) for cl in limits["cl"].to_numpy().tolist())
    ]
    return (
        f"Upper limits that {label} is expected to set without a signal, with bands of 1 and 2 sigma, against b: "
        f"{'; '.join(said)}. The tables below hold the numbers."
    )


def _seen(dataset: xr.Dataset) -> str:
    text = dataset.attrs.get("observed_text")
    if text is None and "observed_text" in dataset and dataset["observed_text"].size == 1:
        text = dataset["observed_text"].item()
    return f"Observed, {text}" if text else "Observed"
