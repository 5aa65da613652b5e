"""Files that are there at once."""

from __future__ import annotations

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
