"""File names and anchors of labels."""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST = 80


def unique_stems(labels: Iterable[str]) -> dict[str, str]:
    """Return for each label a stem of letters, digits, ``_``, ``-`` and ``.`` that no other label has.

    Differences in case do not count: some file systems do not see them.
    """
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for label in labels:
        plain = re.sub(r"[^A-Za-z0-9_.]+", "-", label)[:LONGEST].strip("-.") or "method"
        stem, copy = plain, 1
        while stem.casefold() in taken:
            copy += 1
            stem = f"{plain}-{copy}"
        taken.add(stem.casefold())
        stems[label] = stem
    return stems
