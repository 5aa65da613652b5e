"""Figures as files, and as a part of a page."""

from __future__ import annotations

import io
import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from covsvc.errors import StudyError
from covsvc.files import write
from covsvc.report.fonts import FAMILY, register
from covsvc.report.svg_size import compact

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.titley": 1.0,
    "axes.unicode_minus": True,
    "figure.facecolor": "white",
    "font.family": [FAMILY, "DejaVu Sans"],
    "font.size": 9,
    "pdf.fonttype": 42,
    "path.simplify": True,
    "savefig.bbox": "standard",
    "savefig.facecolor": "white",
    "svg.hashsalt": "covsvc",
    "svg.image_inline": True,
    "text.usetex": False,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}
PNG_DPI, SVG_DPI, PAGE_DPI = 160, 220, 120
FORMATS: dict[str, tuple[int, dict[str, None]]] = {
    ".png": (PNG_DPI, {"Software": None}),
    ".svg": (SVG_DPI, {"Date": None}),
    ".pdf": (SVG_DPI, {"CreationDate": None}),
}
"""Resolution of images, and what metadata is left out so that the bytes are the same every time."""

FIGURES = "figures"
"""The folder of a page's figures, beside it."""

_DRAWING = threading.RLock()


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the style of the report; one thread at a time, since matplotlib's style is global."""
    with _DRAWING, matplotlib.rc_context(STYLE):
        register()
        yield


def save(figure: Figure, stem: Path) -> None:
    """Write `figure` as `stem`.png, `stem`.svg and `stem`.pdf, the same bytes every time."""
    for suffix in FORMATS:
        save_as(figure, stem.with_name(stem.name + suffix))


def save_as(figure: Figure, path: Path) -> None:
    """Write `figure` in the one of the `FORMATS` that the suffix of `path` names, the same bytes every time."""
    write(path, picture(figure, path.suffix.lower()))


def picture(figure: Figure, suffix: str) -> bytes:
    """Return the file of `figure` in the one of the `FORMATS` that `suffix` names, the same bytes every time.

    It looks the same where our font is missing: an SVG has letters drawn as paths, a PDF has the font in it.
    """
    return _render(figure, suffix, *FORMATS[suffix], "path")


def write_picture(path: Path, draw: Callable[[], Figure], what: str = "picture") -> Path:
    """Write what `draw` draws as the suffix of `path` says, the same bytes every time, and return the path.

    Its folder is made where it is missing.

    Raises
    ------
    StudyError
        If the suffix is none of `FORMATS`; `what` is the name of such a picture.
    """
    if path.suffix.lower() not in FORMATS:
        raise StudyError(f"{path.name}: a {what} is written as {', '.join(FORMATS)}, not as {path.suffix or 'this'}")
    with drawing():
        figure = draw()
        path.parent.mkdir(parents=True, exist_ok=True)
        save_as(figure, path)
    return path


def embed(draw: Callable[[], Figure], name: str, folder: Path, described: str) -> dict[str, str]:
    """Draw a figure for the page in `folder`, write its files, and return its name and its svg element.

    `described` stands for the figure where it cannot be seen.
    """
    with drawing():
        figure = draw()
        save(figure, folder / FIGURES / name)
        return {"name": name, "svg": inline(figure, name, described)}


def inline(figure: Figure, name: str, described: str) -> str:
    """Return `figure` as an svg element for a page.

    Parameters
    ----------
    figure : Figure
        Its letters stay text, which is small and can be searched.
    name : str
        What the element's ids begin with; another one for each figure of the page.
    described : str
        The text that stands for the figure where it cannot be seen.
    """
    markup = _render(figure, ".svg", PAGE_DPI, FORMATS[".svg"][1], "none")
    root = ET.fromstring(markup)  # noqa: S314
    for parent in list(root.iter()):
        for child in list(parent):
            if _bare(child.tag) in ("metadata", "style"):
                parent.remove(child)
    used = set(re.findall(rb'(?:url\(#|href="#)([^")]+)', markup))
    for element in root.iter():
        element.tag = _bare(element.tag)
        element.attrib = {_bare(key): _shorten(_bare(key), value) for key, value in element.items()}
        if "id" in element.attrib and element.attrib["id"].encode() not in used:
            del element.attrib["id"]
        for key in element.attrib.keys() & {"id", "href", "clip-path", "style"}:
            element.attrib[key] = _rename(key, element.attrib[key], name)
        if element.attrib.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]
        if element.tag != "text":
            element.text = (element.text or "").strip()
        element.tail = None
    compact(root)
    root.attrib = {"role": "img", "aria-label": described, "viewBox": root.attrib["viewBox"]}
    return ET.tostring(root, encoding="unicode")


def _render(figure: Figure, suffix: str, dpi: int, metadata: dict[str, None], letters: str) -> bytes:
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": letters}):
        figure.savefig(buffer, format=suffix[1:], dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def _bare(name: str) -> str:
    return name.rpartition("}")[2]


def _shorten(key: str, value: str) -> str:
    if key == "style":
        # the page names the fonts once
        return re.sub(r"font-family:[^;]*;? *", "", value)
    if key in ("d", "x", "y"):
        value = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
    return " ".join(value.split()) if key == "d" else value.replace("\n", "")


def _rename(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return f"#{name}-{value[1:]}" if value.startswith("#") else value
    return value.replace("url(#", f"url(#{name}-")
