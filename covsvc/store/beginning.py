"""What the making of a repository leaves when it is cut short."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FIRST = re.compile(r"(snapshots|transactions)/1CECHNKREP0F1RSTCMT0(#\d+)?|refs/branch\.main/ref\.json#\d+")
"""Icechunk's first snapshot has the same id in every repository; the branch that names it is written last. With #, the
files as they are while they are written."""


def is_beginning(files: Iterable[str]) -> bool:
    """Tell whether the files of a repository are its first snapshot, which nothing names, and no more."""
    return all(_FIRST.fullmatch(each) for each in files)
