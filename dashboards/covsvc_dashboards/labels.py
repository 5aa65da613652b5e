"""Labels of methods where there is little room."""

from __future__ import annotations


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
