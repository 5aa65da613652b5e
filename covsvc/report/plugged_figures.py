"""Figures of the registry: those of covsvc that belong to certain studies, and those of other distributions."""

from __future__ import annotations

import contextlib
import copy
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from covsvc import registry
from covsvc.errors import StudyError
from covsvc.report.panels import NARROW
from covsvc.report.picture import drawing, embed
from covsvc.report.section import Picture, Section
from covsvc.report.stems import unique_stems

MOST_TOLD = 400
"""Letters of the reason why a figure is left out, at most."""
LONGEST_NUMBER = 32
"""A table with a longer cell holds words, which are broken into lines."""


def plugged_figures(maps: xr.Dataset, study: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Draw every installed figure of the group ``covsvc.figures`` and return what the page says about them.

    A figure is a function of the maps and the study, which returns a matplotlib Figure, a `Section`, or None where it
    has nothing to show. One that cannot be drawn is left out, and said so: nothing else of a report suffers from it.

    Parameters
    ----------
    maps : Dataset
        What the page shows; each figure is given a copy.
    study : mapping
        The study, as its file says.
    folder : Path
        Of the page.

    Returns
    -------
    dict
        ``sections``, those of covsvc, and ``shown``, those of others: id, name, origin, title, sentences, pictures and
        tables of each; ``missing``: sentences.
    """
    found: dict[str, Any] = {"sections": [], "shown": [], "missing": []}
    try:
        installed = registry.installed("figures")
    except StudyError as error:
        return found | {"missing": [str(error)]}
    for name, stem in unique_stems(installed).items():
        origin, ours = registry.origin("figures", name), registry.is_ours("figures", name)
        here = stem if ours else f"plugged-{stem}"
        try:
            section = _call(registry.find("figures", name), name, origin, maps, study)
            if section is None and ours:
                continue
            credit = "" if ours else f"{name}, of {origin}."
            shown = _shown(_something(section), here, credit, folder)
        except (Exception, SystemExit) as error:
            why = str(error) if isinstance(error, _NoFigure) else f"{type(error).__name__}: {error}"
            found["missing"].append(textwrap.shorten(f"{name} of {origin}: {why}", MOST_TOLD, placeholder=" …"))
            continue
        found["sections" if ours else "shown"].append({"id": here, "name": name, "origin": origin} | shown)
    return found


class _NoFigure(Exception):
    """There is nothing to show."""


def _call(
    plugin: Callable[..., Any], name: str, origin: str, maps: xr.Dataset, study: Mapping[str, Any]
) -> Section | None:
    with contextlib.chdir("."), drawing():
        made = plugin(maps.copy(deep=True), copy.deepcopy(dict(study)))
    if isinstance(made, Figure):
        caption, rest = _told(plugin, name)
        said = " ".join([caption, rest, f"Drawn by {origin}."]).replace("  ", " ")
        return Section("", pictures=[Picture(made, caption if caption != name else "", said=said)])
    if made is None or isinstance(made, Section):
        return made
    raise _NoFigure(f"returned {type(made).__name__}, neither a matplotlib Figure nor a Section")


def _something(section: Section | None) -> Section:
    if section is None:
        raise _NoFigure("has nothing to show of this study")
    return section


def _shown(section: Section, here: str, credit: str, folder: Path) -> dict[str, Any]:
    """Write the pictures of a section and return what the page says about it; each caption ends with the `credit`."""
    names = [f"{here}-{picture.name}" if picture.name else here for picture in section.pictures]
    if len(set(unique_stems(names))) < len(names):
        raise _NoFigure("has pictures of the same name")
    below = "The tables below hold the numbers." if section.tables else ""
    pictures = []
    for picture, stem in zip(section.pictures, unique_stems(names).values(), strict=True):
        said = picture.said or " ".join([picture.caption, *section.sentences])
        drawn = embed(partial(getattr, picture, "figure"), stem, folder, f"{said} {below}".strip())
        wide = picture.figure.get_figwidth() > NARROW
        pictures.append({"picture": drawn, "caption": f"{picture.caption} {credit}".strip(), "wide": wide})
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close(picture.figure)  # which otherwise keeps every figure
    tables = [
        {
            "caption": table.caption,
            "heads": list(table.heads),
            "rows": [(row[0], list(row[1:])) for row in table.rows],
            "wordy": any(len(cell) > LONGEST_NUMBER for row in table.rows for cell in row[1:]),
        }
        for table in section.tables
    ]
    return {"title": section.title, "sentences": list(section.sentences), "pictures": pictures, "tables": tables}


def _told(figure: Any, name: str) -> tuple[str, str]:
    """Return the first line of a docstring, and what follows up to its first section."""
    text = re.split(r"\n\n[^\n]+\n-{3,}", inspect.getdoc(figure) or "")[0]
    caption, _, rest = text.strip().partition("\n")
    return caption or name, " ".join(rest.split())
