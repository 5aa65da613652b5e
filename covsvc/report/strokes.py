"""How the lines of different methods are told apart."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

Dashes = tuple[float, tuple[float, ...] | None]

DOTTED, DASH_DOTTED, DASHED, SOLID = (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)), (0, (4, 1.8)), (0, None)
PAPER: dict[str, tuple[str, Dashes]] = {
    "max_gap": ("#1f5fa8", DOTTED),
    "p_max": ("#00896a", DASH_DOTTED),
    "optimum_interval": ("#c04a00", DASHED),
    "poisson": ("#000000", SOLID),
}
"""Colour and dashes of the methods that are drawn in the captions of Figs. 3 and 4 of S. Yellin, Phys. Rev. D 66
(2002) 032005; the colours are told apart by colour-blind readers, too."""
COLOURS = ("#a8327e", "#b07800", "#3a9bd1", "#6b6b6b", "#7a4a1e", "#4b3aa8")
OTHERS: tuple[Dashes, ...] = ((0, (7, 1.5, 1, 1.5, 1, 1.5)), (0, (8, 2)), (0, (2.5, 1)), (0, (1, 2.6)), SOLID)


def strokes(methods: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the style of each label's line: the paper's for the first of each of its methods, another for the rest.

    Parameters
    ----------
    methods : mapping of str to mapping
        ``name``, the method's, by label.
    """
    free = itertools.cycle((colour, dashes) for dashes in OTHERS for colour in COLOURS)
    known = dict(PAPER)
    found = {}
    for label, method in methods.items():
        name = str(method.get("name"))
        colour, dashes = known.pop(name) if name in known else next(free)
        found[label] = {"color": colour, "linestyle": dashes if dashes[1] else "-", "linewidth": 1.7}
    return found
