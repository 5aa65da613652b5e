"""The lock of a local file, and the name of who holds it."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TextIO

from covsvc.errors import StoreError
from covsvc.store.reason import unwritable

STUDY_IS_TAKEN = "another driver has this study"

_NAMELESS = 10
"""Attempts more, where a lock is held that has no name in it."""


def this_process() -> str:
    """Return who holds a lock that is taken now."""
    return f"pid {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC).isoformat(timespec='seconds')}"


@contextmanager
def locked(path: Path, held: str, patience: float = 1.0) -> Iterator[None]:
    """Hold a lock, or say who holds it after `patience` seconds.

    Raises
    ------
    StoreError
        If another process holds it, or the file cannot be written.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+")
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; choose a folder that can be written") from None
    with file:
        attempts = max(1, round(10 * patience))
        for attempt in count(1):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = named_in(file)
                # `status` may look just now, or who came first is about to write its name
                if attempt < attempts or (not holder and attempt < attempts + _NAMELESS):
                    time.sleep(0.1)
                    continue
                holder = holder or "who does not say its name"
                raise StoreError(f"{path.parent / path.stem}: {held}: {holder}") from None
        name = f"{this_process()}\n".encode()
        try:
            os.pwrite(file.fileno(), name, 0)  # over that of the last one: whoever looks finds a name
            os.ftruncate(file.fileno(), len(name))
        except OSError as error:
            raise unwritable(str(path), error) from None
        yield


def named_in(file: TextIO) -> str:
    """Return who wrote its name into a lock, empty if nobody did yet."""
    file.seek(0)
    return file.readline().strip()
