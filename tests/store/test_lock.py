"""Locks of files: who comes second is told who came first."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import threading
from pathlib import Path

import pytest

from covsvc.errors import StoreError
from covsvc.store.lock import locked


def refused(path):
    with pytest.raises(StoreError) as error, locked(path, "held", patience=0.1):
        pass
    return str(error.value)


@pytest.fixture
def taken(tmp_path):
    """Yield a file whose lock is held, and which is empty."""
    with (tmp_path / "small.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def test_who_has_it_is_named_and_a_longer_name_before_leaves_nothing(tmp_path):
    path = tmp_path / "small.lock"
    path.write_text("x" * 500)
    with locked(path, "held"):
        said = refused(path)
    here = rf"pid {os.getpid()} on {re.escape(socket.gethostname())} since \S+"
    assert re.fullmatch(rf"{re.escape(str(tmp_path))}/small: held: {here}", said)
    assert re.fullmatch(rf"{here}\n", path.read_text())


def test_who_took_it_and_is_about_to_write_its_name_is_waited_for(taken):
    def write():
        taken.write("pid 7\n")
        taken.flush()

    later = threading.Timer(0.3, write)
    later.start()
    assert refused(Path(taken.name)).endswith(": held: pid 7")
    later.join()


def test_who_never_writes_its_name_is_given_up_on(taken):
    assert refused(Path(taken.name)).endswith(": held: who does not say its name")
