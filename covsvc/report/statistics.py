"""The exact distributions of test statistics beside their asymptotic ones."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from covsvc.contracts import FloatArray
from covsvc.report.notation import NOTHING, number
from covsvc.report.panels import lay_out, name_axes, put_legend, scale

HEIGHT = 2.4
"""Of a panel, inches."""
LOWEST = 1e-4
"""Where the axis of the probabilities ends."""
LEVELS = (0.6827, 0.9, 0.95, 0.99)
"""Confidence levels of the table."""
NEAR = 0.02
"""How far, as a share of 1 - cl, a node of q may be from the asymptotic value of that level."""
CURVE_NODES, MOST_NODES = 80, 300
"""Nodes that are drawn of a curve, and of a curve with all its jumps."""
NAMES = {"t": "profile likelihood ratio t"}
"""What stands for the names of some statistics."""
EXACT, ASYMPTOTIC = "#c04a00", "black"


@dataclass(frozen=True)
class Distribution:
    """One statistic: the probability that it is q or more, exact and asymptotic."""

    name: str
    q: FloatArray
    exact: FloatArray
    asymptotic: FloatArray

    def node(self, cl: float) -> int | None:
        """Return the node of q where the asymptotic probability is 1 - `cl`, None where no node is near."""
        away = np.abs(self.asymptotic - (1 - cl))
        away[~np.isfinite(away) | ~np.isfinite(self.exact)] = np.inf
        node = int(np.argmin(away))
        return node if away[node] <= NEAR * (1 - cl) else None

    def message(self, cl: float = 0.9) -> str:
        """Say how far the two are apart at `cl`, or that no node of q is near."""
        node = self.node(cl)
        if node is None:
            return f"no q at {100 * cl:g}\N{NO-BREAK SPACE}%"
        return (
            f"at q = {self.q[node]:.2f} ({100 * cl:g}\N{NO-BREAK SPACE}%): exact {self.exact[node]:.3f}, "
            f"asymptotic {self.asymptotic[node]:.3f}"
        )


def distributions(dataset: xr.Dataset) -> list[Distribution]:
    """Return the statistics of `dataset` in their order."""
    dataset = dataset.sortby("q").transpose("statistic", "q")
    q, exact, asymptotic = (
        np.asarray(dataset[name].to_numpy(), dtype=np.float64) for name in ("q", "survival", "asymptotic")
    )
    names = dataset["statistic"].to_numpy().tolist()
    return [
        Distribution(NAMES.get(name, str(name)), q, *rows) for name, *rows in zip(names, exact, asymptotic, strict=True)
    ]


def draw_statistics(dataset: xr.Dataset) -> Figure:
    """Draw exact steps and the asymptotic curve, with what lies between them shaded: a panel a statistic.

    Parameters
    ----------
    dataset : Dataset
        ``survival`` and ``asymptotic`` over (statistic, q): the probability at s_true that the statistic is q or more,
        which falls just above the values that the statistic can take; attributes ``s_true``, ``b`` and ``tau``, None or
        NaN where the background is known.
    """
    every = distributions(dataset)
    figure, panels = lay_out(
        "Test statistics, exact and asymptotic",
        f"probability of q or more at the true signal, {hypothesis(dataset)}",
        [found.name for found in every],
        HEIGHT,
    )
    shown = np.concatenate([found.asymptotic for found in every])
    low = max(LOWEST, 0.7 * float(min(shown[shown > 0], default=LOWEST)))
    handles: dict[str, Artist] = {}
    for axes, found in zip(panels, every, strict=True):
        scale(axes, found.q, (low, 1.3), False, True)
        axes.set_xlim(found.q[0], found.q[-1])
        handles |= _fill(axes, found)
    name_axes(panels, "q", "P(statistic ≥ q)")
    put_legend(figure, handles)
    return figure


def thinned(found: Distribution) -> Distribution:
    """Return some nodes of `found`, those at its jumps among them: a thousand would be most of the page."""
    last = len(found.q) - 1
    jumps = np.flatnonzero(found.exact[:-1] != found.exact[1:])
    kept = np.union1d(jumps, np.linspace(0, last, min(CURVE_NODES, last + 1)).round().astype(int))
    if len(kept) > MOST_NODES:
        kept = kept[np.linspace(0, len(kept) - 1, MOST_NODES).round().astype(int)]
    return Distribution(found.name, found.q[kept], found.exact[kept], found.asymptotic[kept])


def steps(found: Distribution) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return q, exact and asymptotic so that straight lines between them are the steps and the curve.

    P(Q >= q) is continuous from the left: each value holds from the node before to its own.
    """
    q, asymptotic = np.repeat(found.q, 2)[:-1], np.repeat(found.asymptotic, 2)[:-1]
    return q, np.repeat(found.exact, 2)[1:], asymptotic


def hypothesis(dataset: xr.Dataset) -> str:
    """Say at which true signal and background the statistics are shown."""
    said = f"s_true = {number(dataset.attrs['s_true'])}, b = {number(dataset.attrs['b'])}"
    tau = dataset.attrs.get("tau")
    return said + (" known" if tau is None or np.isnan(tau) else f", τ = {number(tau)}")


def statistics_sentences(dataset: xr.Dataset) -> list[str]:
    """Say in two sentences what the figure shows."""
    said = "; ".join(f"{found.name} {found.message()}" for found in distributions(dataset))
    return [
        f"The curves are the asymptotic distributions, by Wilks' theorem or the Asimov data, and the steps the exact "
        f"ones at {hypothesis(dataset)}: where the steps are above the curve, a limit from the curve covers less than "
        f"it says.",
        f"How far they are apart: {said}.",
    ]


def statistics_cells(dataset: xr.Dataset) -> list[dict[str, str]]:
    """Return a row a statistic and confidence level: q, and the two probabilities there."""
    rows = []
    for found in distributions(dataset):
        for cl in LEVELS:
            node = found.node(cl)
            row = {"name": found.name, "cl": number(cl), "q": NOTHING, "exact": NOTHING, "asymptotic": NOTHING}
            if node is not None:
                row |= {"q": number(found.q[node]), "exact": number(found.exact[node], 3)}
                row |= {"asymptotic": number(found.asymptotic[node], 3)}
            rows.append(row)
    return rows


def _fill(axes: Axes, found: Distribution) -> dict[str, Artist]:
    few = thinned(found)
    q, exact, asymptotic = steps(few)
    low = axes.get_ylim()[0]
    axes.fill_between(q, np.maximum(exact, low), np.maximum(asymptotic, low), color=EXACT, alpha=0.2, linewidth=0)
    handles: dict[str, Artist] = {}
    handles["exact"] = axes.plot(q, exact, color=EXACT, linewidth=1.3, zorder=3)[0]
    handles["asymptotic"] = axes.plot(few.q, few.asymptotic, color=ASYMPTOTIC, linewidth=1.1, zorder=2)[0]
    handles["difference"] = Patch(color=EXACT, alpha=0.2, linewidth=0)
    node = found.node(0.9)
    if node is not None:
        at = found.q[node]
        axes.axvline(at, color="#7a8490", linewidth=0.8, dashes=(2, 2), zorder=1)
        axes.plot([at], [found.exact[node]], marker="o", markersize=4, color=EXACT, zorder=4)
        axes.plot([at], [found.asymptotic[node]], marker="o", markersize=4, color=ASYMPTOTIC, zorder=4)
    colours = ("#525c69", EXACT, ASYMPTOTIC)
    for line, (text, colour) in enumerate(zip(re.split("[:,] ", found.message()), colours, strict=False)):
        place = 0.96 - 0.08 * line
        axes.text(0.97, place, text, color=colour, fontsize=9, ha="right", va="top", transform=axes.transAxes)
    return handles
