"""Labels and sentences, as figures and pages take them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

from bokeh.models import PlainText

_FORMULA = re.compile(r"\$\$|\\[(\[]")


def plain(text: str) -> str | PlainText:
    """Return a text that figures show as it is, though Bokeh would take some of it for a formula."""
    # a model only where it is needed: for each new one Bokeh looks through all of the document
    return PlainText(text=text) if _FORMULA.search(text) else text


def paragraphs(sentences: Iterable[str]) -> str:
    """Return the HTML of sentences, each on its own; what is empty is left out."""
    return "".join(f"<p>{escape(each)}</p>" for each in sentences if each)


def shortened(text: str, room: int) -> str:
    """Return a text in so many letters at most, without its middle: long labels differ at their ends."""
    if len(text) <= room:
        return text
    kept = max(room - 1, 2)
    return f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"


def in_lines(text: str, room: int) -> str:
    """Return a text in two lines at most: broken before its options, if it has any, and shortened."""
    if len(text) <= room:
        return text
    stem, bracket, _ = text.partition("(")
    first = stem if bracket and 0 < len(stem) <= room else text[:room]
    return f"{first}\n{shortened(text[len(first) :], room)}"
