"""The lock of a local file, and the name of who holds it."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from covsvc.errors import StoreError
from covsvc.store.reason import unwritable

STUDY_IS_TAKEN = "another driver has this study"


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
        file = path.open("a+")
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; choose a folder that can be written") from None
    with file:
        attempts = max(1, round(10 * patience))
        for attempt in range(attempts):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt < attempts - 1:  # `status` may look just now
                    time.sleep(0.1)
                    continue
                file.seek(0)
                raise StoreError(f"{path.parent / path.stem}: {held}: {file.read().strip()}") from None
        try:
            file.truncate(0)
            os.write(file.fileno(), f"{this_process()}\n".encode())
        except OSError as error:
            raise unwritable(str(path), error) from None
        yield
