"""How often a significance is claimed where there is no signal."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from covsvc.contracts import FloatArray
from covsvc.report.notation import number
from covsvc.report.panels import lay_out, name_axes, put_legend, scale, spans_decades

HEIGHT = 2.4
"""Of a panel, inches."""
LOWEST = 1e-2
"""Claims rarer than this share of nominal are below the axis."""
FORMULAS = {
    "p_sideband": ("sideband alone, b = n_sb / τ", "#c04a00"),
    "p_whole": ("whole region, b = N / (1 + τ)", "#1f5fa8"),
}
"""What the lines are, and their colours."""


def draw_null(dataset: xr.Dataset) -> Figure:
    """Draw the rate of claims where there is no signal, over the nominal one: a panel a threshold.

    Parameters
    ----------
    dataset : Dataset
        ``p_sideband`` and ``p_whole`` over (threshold, b): probabilities that the significance exceeds the threshold
        by Eqs. 21 and 23, and by Eq. 29, of [1]_; ``nominal`` over threshold; the attribute ``tau``, the sideband over
        the signal region.

    References
    ----------
    .. [1] I. Narsky, Nucl. Instrum. Meth. A 450 (2000) 444.
    """
    dataset = dataset.sortby("b")
    b = np.asarray(dataset["b"].to_numpy(), dtype=np.float64)
    nominal = np.asarray(dataset["nominal"].to_numpy(), dtype=np.float64)
    thresholds = dataset["threshold"].to_numpy().tolist()
    names = [f"above {sigma:g} sigma, nominal {number(p, 3)}" for sigma, p in zip(thresholds, nominal, strict=True)]
    ratios = {name: claims_over_nominal(dataset, name) for name in FORMULAS}
    every = np.concatenate([ratio.ravel() for ratio in ratios.values()])
    every = every[np.isfinite(every)]
    highest = max(float(max(every, default=1.0)), 1.0)
    # the upper quarter is for the words
    ends = (LOWEST, LOWEST * (highest / LOWEST) ** (4 / 3))
    hidden = bool((every < LOWEST).any())
    figure, panels = lay_out(
        "Significance claimed without a signal",
        f"rate of claims over the nominal rate, τ = {number(dataset.attrs['tau'])}; above 1: claimed too often",
        names,
        HEIGHT,
        note=f"Below the axis: less than {LOWEST:g} of nominal." if hidden else "",
    )
    log = bool(b.min() > 0) and spans_decades(b)
    handles: dict[str, Artist] = {}
    for row, axes in enumerate(panels):
        scale(axes, b, ends, log, True)
        axes.axhspan(1, ends[1], color="#f0f1f3", linewidth=0, zorder=0)
        said = []
        for name, (what, colour) in FORMULAS.items():
            marker = "o" if len(b) == 1 else ""
            style: dict[str, Any] = {"color": colour, "linewidth": 1.6, "marker": marker, "markersize": 4, "zorder": 3}
            if name == "p_whole":
                style["dashes"] = (5, 1.5, 1, 1.5)
            line = axes.plot(b, ratios[name][row], **style)
            handles[what] = line[0]
            said.append((_highest(ratios[name][row]), colour))
        handles["nominal (grey: too often)"] = axes.axhline(1, color="black", linewidth=0.9, dashes=(5, 3), zorder=2)
        for line_number, (text, colour) in enumerate(said):
            axes.text(
                0.97,
                0.96 - 0.08 * line_number,
                text,
                color=colour,
                fontsize=9,
                fontweight="bold",
                ha="right",
                va="top",
                transform=axes.transAxes,
                zorder=5,
            )
    name_axes(panels, "background b (events)", "claims / nominal")
    put_legend(figure, handles)
    return figure


def claims_over_nominal(dataset: xr.Dataset, name: str) -> FloatArray:
    """Return the rates `name` of claims over the nominal ones, shape (threshold, b)."""
    ratio = dataset[name].transpose("threshold", "b") / dataset["nominal"]
    return np.asarray(ratio.transpose("threshold", "b").to_numpy(), dtype=np.float64)


def null_sentences(dataset: xr.Dataset) -> list[str]:
    """Say in two sentences what the figure shows, at the threshold where each formula claims most."""
    dataset = dataset.sortby("b")
    sideband, whole = (_worst(dataset, name) for name in FORMULAS)
    return [
        f"With the background taken as known from the sideband alone, b = n_sb / τ (Narsky, Eqs. 21 and 23), a "
        f"significance above {sideband['sigma']} sigma is claimed without any signal up to {sideband['ratio']} times "
        f"as often as its nominal probability ({sideband['p']} instead of {sideband['nominal']}, at "
        f"b = {sideband['b']}).",
        f"With the background estimated from the whole region, b = N / (1 + τ) (Eqs. 25 and 29), it is at most "
        f"{whole['ratio']} times ({whole['p']} instead of {whole['nominal']}, above {whole['sigma']} sigma at "
        f"b = {whole['b']}).",
    ]


def null_cells(dataset: xr.Dataset) -> tuple[list[dict[str, str]], list[tuple[str, list[str]]]]:
    """Return the heads of the columns of a table of the rates, and its rows: b and the rates."""
    dataset = dataset.sortby("b").transpose("threshold", "b")
    heads, values = [], []
    for row, (sigma, p) in enumerate(zip(dataset["threshold"].to_numpy(), dataset["nominal"].to_numpy(), strict=True)):
        for name, formula in (("p_sideband", "sideband"), ("p_whole", "whole region")):
            heads.append({"threshold": f"> {sigma:g} sigma", "formula": formula, "nominal": number(p, 3)})
            values.append(dataset[name].to_numpy()[row].tolist())
    cells = [[number(value, 3) for value in row] for row in zip(*values, strict=True)]
    return heads, [(number(b), row) for b, row in zip(dataset["b"].to_numpy(), cells, strict=True)]


def _worst(dataset: xr.Dataset, name: str) -> dict[str, Any]:
    ratio = claims_over_nominal(dataset, name)
    if not np.isfinite(ratio).any():
        return dict.fromkeys(("sigma", "ratio", "p", "nominal", "b"), number(np.nan))
    row, node = divmod(int(np.nanargmax(ratio)), ratio.shape[1])
    at = dataset.isel(threshold=row, b=node)
    return {
        "sigma": f"{at['threshold'].item():g}",
        "ratio": number(ratio[row, node], 3),
        "p": number(at[name].item(), 3),
        "nominal": number(at["nominal"].item(), 3),
        "b": number(at["b"].item()),
    }


def _highest(ratios: FloatArray) -> str:
    highest = float(max(ratios[np.isfinite(ratios)], default=np.nan))
    return f"below {LOWEST:g} × nominal" if highest < LOWEST else f"up to {number(highest, 3)} × nominal"
