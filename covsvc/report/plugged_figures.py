"""Figures that other distributions draw of the maps."""

from __future__ import annotations

import contextlib
import copy
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from covsvc import registry
from covsvc.errors import StudyError
from covsvc.report.stems import unique_stems

MOST_TOLD = 400
"""Letters of the reason why a figure is left out, at most."""

Put = Callable[[Callable[[], Figure], str, str], dict[str, Any]]
"""What draws a figure and writes it under a name, with the text that stands for it; returns its element."""


def plugged_figures(maps: xr.Dataset, study: Mapping[str, Any], put: Put) -> dict[str, Any]:
    """Draw every installed figure of the group ``covsvc.figures`` and return what the page says about them.

    One that cannot be drawn is left out, and said so: nothing else of a report suffers from it.

    Parameters
    ----------
    maps : Dataset
        What the page shows; each figure is given a copy.
    study : mapping
        The study, as its file says.
    put : callable
        Draws and writes a figure.

    Returns
    -------
    dict
        ``shown``: name, origin, caption and picture of each; ``missing``: sentences.
    """
    shown: list[dict[str, Any]] = []
    missing: list[str] = []
    try:
        installed = registry.installed("figures")
    except StudyError as error:
        return {"shown": shown, "missing": [str(error)]}
    for name, stem in unique_stems(installed).items():
        origin = registry.origin("figures", name)
        try:
            figure = registry.find("figures", name)
            caption, rest = _told(figure, name)
            described = " ".join([caption, rest, f"Drawn by {origin}."]).replace("  ", " ")
            picture = put(lambda figure=figure: _draw(figure, maps, study), f"plugged-{stem}", described)  # type: ignore[misc]
        except (Exception, SystemExit) as error:
            why = str(error) if isinstance(error, _NoFigure) else f"{type(error).__name__}: {error}"
            missing.append(textwrap.shorten(f"{name} of {origin}: {why}", MOST_TOLD, placeholder=" …"))
            continue
        shown.append({"name": name, "origin": origin, "caption": caption, "picture": picture})
    return {"shown": shown, "missing": missing}


class _NoFigure(Exception):
    """There is nothing to show."""


def _draw(plugin: Callable[..., Any], maps: xr.Dataset, study: Mapping[str, Any]) -> Figure:
    with contextlib.chdir("."):
        drawn = plugin(maps.copy(deep=True), copy.deepcopy(dict(study)))
    if drawn is None:
        raise _NoFigure("has nothing to show of this study")
    if not isinstance(drawn, Figure):
        raise _NoFigure(f"returned {type(drawn).__name__}, not a matplotlib Figure")
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(drawn)  # which otherwise keeps every figure
    return drawn


def _told(figure: Any, name: str) -> tuple[str, str]:
    """Return the first line of a docstring, and what follows up to its first section."""
    text = re.split(r"\n\n[^\n]+\n-{3,}", inspect.getdoc(figure) or "")[0]
    caption, _, rest = text.strip().partition("\n")
    return caption or name, " ".join(rest.split())
