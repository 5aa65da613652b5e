"""Files that are there at once, text of bounded size, and where the user's cache is."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Write the file at once: a reader finds the old one or the new one."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until nobody else is alone in a folder, which is locked itself: what is in it may be replaced.

    Raises
    ------
    OSError
        If the folder cannot be opened or locked.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def read_text(path: str | Path, most: int) -> str:
    """Return a text in UTF-8 of so many bytes at most; of a device that never ends, no more is read.

    Raises
    ------
    OSError
        If the file cannot be read, or is larger: its strerror says so.
    UnicodeDecodeError
        If it is no such text.
    """
    with Path(path).open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"holds more than the {most / 1e6:g} MB that are read", str(path))
    return content.decode("utf-8").replace("\r\n", "\n")


def user_cache() -> Path:
    """Return the folder of the user's cache that is ours, which may not be there yet.

    Raises
    ------
    RuntimeError
        If the user has no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "covsvc"
