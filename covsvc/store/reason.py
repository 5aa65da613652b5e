"""What went wrong in a library of the store, in a line."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from covsvc.errors import StoreError


def reason_of(error: Exception) -> str:
    """Return the innermost reason of an error; Icechunk tells the way to it in many lines, or behind many colons."""
    if found := re.search(r"[^:]+\(os error \d+\)", str(error)):
        return re.sub(r"\s*\n[\s|]*", " ", found[0]).strip()  # long lines are broken
    lines = [line.strip(" |x") for line in str(error).splitlines()]
    causes = [line.strip("`-> ") for line in lines if line.startswith(("|->", "`->", "->"))]
    told = causes[-1] if causes else next((line for line in lines if line), type(error).__name__)
    return told.rpartition("error: ")[2]


def unwritable(where: str, error: Exception) -> StoreError:
    """Say that a store cannot be written, why, what room there is, and how to go on."""
    told = f"{where}: cannot be written: {reason_of(error)}"
    held = next((folder for folder in (Path(where), *Path(where).parents) if folder.is_dir()), None)
    if "://" not in where and held is not None:
        told += f"; {shutil.disk_usage(held).free / 1e6:,.1f} MB are free there"
    return StoreError(f"{told}. What was committed before is whole: mend that, and the same command goes on from there")
