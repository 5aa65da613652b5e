"""Markdown of GitHub's kind, which GitLab reads, too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MOST_LETTERS = 1000
"""Of a sentence."""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int) -> str:
    """Return a table; columns from `numbers_from` on hold numbers."""
    rule = ["---" if place < numbers_from else "---:" for place in range(len(heads))]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (heads, rule, *rows))


def fold(summary: str, text: str) -> str:
    """Return text that is shown when its `summary` is clicked."""
    return f"\n<details><summary>{summary}</summary>\n\n{text}\n</details>\n"


def bullets(lines: Iterable[str]) -> str:
    """Return a list."""
    return "".join(f"- {line}\n" for line in lines)


def block(command: str) -> str:
    """Return a command to copy."""
    fence = "`" * max(3, _longest_run(command) + 1)
    return f"{fence}sh\n{command}\n{fence}\n"


def code(value: str, in_table: bool = False) -> str:
    """Return text of others as code: nothing in it is a mention, a link or a heading."""
    value = " ".join(str(value).split()) or "–"
    fence = "`" * (_longest_run(value) + 1)
    room = " " if len(fence) > 1 else ""
    shown = f"{fence}{room}{value}{room}{fence}"
    return shown.replace("|", "\\|") if in_table else shown


def text_of(value: str, most: int = MOST_LETTERS) -> str:
    """Return a sentence in which no character is Markdown, HTML, mathematics or a mention; cut if it is long."""
    value = re.sub(r"\s+", " ", str(value))
    value = value if len(value) <= most else f"{value[: most - 1]}…"
    value = re.sub(r"([\\`*_{}\[\]<>|~&])", r"\\\1", value)
    return re.sub(r"([@#])(?=\w)", r"\1<!-- -->", value.replace("$", "<span>$</span>"))


def _longest_run(value: str) -> int:
    return max(map(len, re.findall("`+", value)), default=0)
