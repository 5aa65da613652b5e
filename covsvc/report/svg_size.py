"""The same drawing in fewer bytes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

_LINES = re.compile(r"[MLz\d\s.e+-]+")
_WORDS = re.compile(r"[MLz]|[-+\d.e]+")
_LONG = 100
"""Shorter path data are left as they are."""


def compact(root: ET.Element) -> None:
    """Shorten an svg element in place: groups that say nothing, spaces of styles, coordinates of long lines.

    A copy of a marker that has a style loses its own, too: that of the marker is what is drawn.
    """
    _shorten(root, {f"#{each.attrib['id']}" for each in root.iter() if {"id", "style"} <= each.attrib.keys()})


def _shorten(element: ET.Element, styled: set[str]) -> None:
    children = []
    for child in element:
        _shorten(child, styled)
        children += list(child) if child.tag == "g" and not child.attrib else [child]
    element[:] = children
    if element.attrib.get("href") in styled:
        element.attrib.pop("style", None)
    elif "style" in element.attrib:
        element.attrib["style"] = element.attrib["style"].replace(": ", ":").replace("; ", ";")
    if "d" in element.attrib:
        element.attrib["d"] = shorten_path(element.attrib["d"])


def shorten_path(data: str) -> str:
    """Return long path data of straight lines as steps, to 0.1; no step is lost, nor do their errors add up.

    Parameters
    ----------
    data : str
        Others than lines, and short ones, are returned as they are.
    """
    if len(data) < _LONG or not _LINES.fullmatch(data):
        return data
    words = iter(_WORDS.findall(data))
    said: list[str] = []
    at = start = (0, 0)
    before = ""
    for command in words:
        if command == "z":
            said.append("z")
            at, before = start, "z"
            continue
        there = (round(10 * float(next(words))), round(10 * float(next(words))))
        step = f"{_tenths(there[0] - at[0])} {_tenths(there[1] - at[1])}".replace(" -", "-")
        at = there
        if command == "M":
            start = there
            said.append(f"m{step}")
        elif before in ("M", "L"):
            said.append(step if step.startswith("-") else f" {step}")
        else:
            said.append(f"l{step}")
        before = command
    return "".join(said)


def _tenths(count: int) -> str:
    return f"{count / 10:g}".replace("0.", ".") if abs(count) < 10 else f"{count / 10:.10g}"
