"""Files that are there at once, and where the user's cache is."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Write the file at once: a reader finds the old one or the new one."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def user_cache() -> Path:
    """Return the folder of the user's cache that is ours, which may not be there yet.

    Raises
    ------
    RuntimeError
        If the user has no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "covsvc"
