"""The figure and the table with which a paper compares methods: limits on a toy model, and on tau -> mu gamma.

Paper: I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covsvc.contracts import FloatArray, Status
from covsvc.report.notation import NOTHING, number
from covsvc.report.panels import lay_out, legend_lines, name_axes, put_legend
from covsvc.report.strokes import DASH_DOTTED, DASHED, DOTTED, SOLID, Dashes, strokes

HEIGHT = 2.5
"""Of a panel, inches."""
NOTE = "A line begins where there is a limit. Crosses: ends of two-sided intervals; one cross: lower end 0."

STYLES: dict[str, tuple[str, Dashes]] = {
    "bayes_flat": ("#1f5fa8", SOLID),
    "bayes_jeffreys": ("#1f5fa8", DASHED),
    "bayes_reciprocal": ("#1f5fa8", DOTTED),
    "classical": ("#000000", SOLID),
    "significance_sideband": ("#000000", DOTTED),
    "likelihood_integration": ("#c04a00", SOLID),
    "mc_likelihood": ("#c04a00", DASHED),
    "profile_likelihood": ("#00896a", DASH_DOTTED),
    "feldman_cousins": ("#a8327e", SOLID),
}
"""Colour and dashes of the first line of these methods: one colour for those of a kind."""

POSITIONS = (
    "not to be reproduced: it rests on where the events lie, and on whether the fit allows s < 0, which the paper does "
    "not tell"
)
SIDEBANDS = "not to be reproduced: it rests on the events outside of the signal region, which the paper does not tell"
PEAK = "that of events which lie so far from the peak that all are background, −ln(1 − cl)"
ESTIMATE = "a rough estimate of the paper; upper end of a two-sided interval"
TABLE_1 = {
    "bayes_flat": ("3.57", ""),
    "bayes_jeffreys": ("3.30", ""),
    "bayes_reciprocal": ("3.06", ""),
    "classical": ("1.18", ""),
    "significance_sideband": ("1.03", SIDEBANDS),
    "likelihood_integration": ("2.30", PEAK),
    "mc_likelihood": ("1.37", POSITIONS),
    "feldman_cousins": ("~ 2.5", ESTIMATE),
}
"""Limits at 90 % of n = 3 over b = 5.5, as published in Table 1, and what is to be said of them."""


def draw_toy_model(limits: xr.Dataset, methods: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw Fig. 1 of the paper: limits against the events in the signal region, a panel a background.

    Parameters
    ----------
    limits : Dataset
        ``lower``, ``upper`` and ``status`` over (limit_method, b, n), ``sided`` over limit_method; attribute ``cl``.
    methods : mapping of str to mapping
        ``name``, the method's, by label.
    """
    labels = [str(label) for label in limits["limit_method"].to_numpy().tolist()]
    styles = _styles({label: str(methods.get(label, {}).get("name")) for label in labels})
    backgrounds = limits["b"].to_numpy().tolist()
    figure, panels = lay_out(
        "Toy model",
        f"limits against the events n in the signal region, cl = {limits.attrs['cl']:.12g}",
        [f"b = {b:g}" for b in backgrounds],
        HEIGHT,
        lines := legend_lines(labels, len(backgrounds) > 1),
        NOTE,
    )
    top = 1.04 * float(np.nan_to_num(_ends(limits, "upper")).max(initial=1.0))
    n = limits["n"].to_numpy()
    handles: dict[str, Artist] = {}
    for axes, b in zip(panels, backgrounds, strict=True):
        axes.set(xlim=(n[0] - 0.35, n[-1] + 0.35), ylim=(0, top), xticks=n)
        axes.grid(color="#e6e9ed", linewidth=0.6)
        for label in labels:
            here = limits.sel(limit_method=label, b=b)
            handles.setdefault(label, _draw(axes, here, styles[label]))
    name_axes(panels, "events n", "limit (events)")
    put_legend(figure, handles, lines, handlelength=2.9)
    return figure


def describe_toy_model(limits: xr.Dataset) -> list[str]:
    """Say in sentences which upper limits are the largest, and which intervals are empty."""
    one_sided = limits.isel(limit_method=(limits["sided"] == "upper").to_numpy())
    upper = _ends(one_sided, "upper")
    experiments = upper.shape[1] * upper.shape[2]
    said = []
    if upper.shape[0] > 1:
        labels = one_sided["limit_method"].to_numpy()
        # equal limits differ in their last digits
        largest = upper >= np.nan_to_num(upper).max(axis=0) * (1 - 1e-9)
        times = Counter({str(label): int(count) for label, count in zip(labels, largest.sum((1, 2)), strict=True)})
        told = [f"in {count} by {label}" for label, count in times.most_common() if count]
        if told:
            told[0] = told[0].replace(" by", f" of {experiments} experiments by", 1)
            said.append(f"The largest upper limit, or one as large, is set {', '.join(told)}.")
    empty = (limits["status"] == Status.EMPTY).sum(("b", "n"))
    counts = zip(empty["limit_method"].values, empty, strict=True)
    words = ", ".join(f"{label} {int(count)}" for label, count in counts if count)
    said.append(f"Empty intervals: {words}." if words else "No interval is empty.")
    return said


def toy_model_cells(limits: xr.Dataset) -> list[dict[str, Any]]:
    """Return a table a background: ``b``, and ``cells``, rows of n with the limits of all methods."""
    labels = limits["limit_method"].to_numpy()
    return [
        {
            "b": f"{b:g}",
            "cells": [
                (f"{n:g}", [_cell(limits.sel(limit_method=label, b=b, n=n)) for label in labels])
                for n in limits["n"].to_numpy().tolist()
            ],
        }
        for b in limits["b"].to_numpy().tolist()
    ]


def published_cells(
    observed: Sequence[Mapping[str, Any]], methods: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, str]]:
    """Return the rows of Table 1 of the paper, our limits beside the published ones.

    Parameters
    ----------
    observed : sequence of mapping
        The limits on n = 3 over b = 5.5: ``limit_method``, ``cl``, ``status`` and ``upper``.
    methods : mapping of str to mapping
        ``name``, the method's, by label.
    """
    rows = []
    for name, (published, remark) in TABLE_1.items():
        ours = {
            str(limit["limit_method"]): _word(str(limit["status"])) or f"{limit['upper']:.2f}"
            for limit in observed
            if limit["cl"] == 0.9 and methods.get(str(limit["limit_method"]), {}).get("name") == name
        }
        rows += [
            {"label": label, "published": published, "ours": found, "remark": remark}
            for label, found in (ours or {name: NOTHING}).items()
        ]
    return rows


def _styles(names: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the style of each label's line, given the name of its method."""
    free, styles = dict(STYLES), strokes({label: {} for label in names})
    for label, name in names.items():
        if name in free:
            colour, dashes = free.pop(name)
            styles[label] = {"color": colour, "linestyle": dashes if dashes[1] else "-"}
    return styles


def _draw(axes: Axes, limits: xr.Dataset, style: Mapping[str, Any]) -> Artist:
    n, upper, lower = limits["n"].to_numpy(), _ends(limits, "upper"), _ends(limits, "lower")
    if limits["sided"].item() == "upper":
        return axes.plot(n, upper, **{**style, "linewidth": 1.4})[0]
    axes.vlines(n, lower, upper, color=style["color"], linewidth=0.8, alpha=0.45)
    cross = {"color": style["color"], "marker": "x", "markersize": 5, "linestyle": "none", "clip_on": False}
    axes.plot(n, np.where(lower > 0, lower, np.nan), **cross, zorder=4)
    return axes.plot(n, upper, **cross, zorder=4)[0]


def _ends(limits: xr.Dataset, end: str) -> FloatArray:
    """Return the ends of the intervals; NaN where there is no finite one."""
    return np.asarray(limits[end].where(limits["status"] == Status.OK).to_numpy(), dtype=np.float64)


def _cell(limits: xr.Dataset) -> str:
    word = _word(Status(int(limits["status"])).name.lower())
    if word:
        return word
    upper = number(limits["upper"].item())
    return upper if limits["sided"].item() == "upper" else f"[{number(limits['lower'].item())}, {upper}]"


def _word(status: str) -> str:
    return "" if status == "ok" else status
