"""The provenance of commits: what was done, by whom, with what, and what it cost."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from covsvc.fingerprint import LIBRARIES, git_is_changed, git_revision, hash_of, versions
from covsvc.version import __version__

_STORING = ("xarray", "zarr", "icechunk", "dask", "distributed")
"""The libraries that carry and keep numbers, beside those that make them."""


@dataclass(frozen=True)
class Spent:
    """Toys drawn and blocks tallied, and the time which that took: CPU seconds of the kernels, seconds of the clock."""

    toys: int = 0
    blocks: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Spent:
        """Return what a commit tells."""
        return cls(**{name: told[name] for name in cls.__dataclass_fields__ if name in told})

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def told(self) -> dict[str, Any]:
        """Return it for a commit, with the toys drawn in a second of the clock."""
        rounded = {name: round(value, 3) for name, value in asdict(self).items()}
        return {**rounded, "toys_per_second": round(self.toys / self.wall_seconds, 1) if self.wall_seconds else 0.0}


class Provenance:
    """What the commits of one driver tell of themselves.

    Parameters
    ----------
    before : dict
        What the newest commit tells that is there already; empty if there is none.
    engine : str
        Fingerprint of the code that tallies.
    environment : dict
        The libraries and the processor.

    Attributes
    ----------
    what : str
        What the driver does: run, merge, import.
    workers : int, or None
        Processes that set limits, where that is known.
    """

    def __init__(self, before: Mapping[str, Any], engine: str, environment: Mapping[str, str]) -> None:
        self.what = "run"
        self.workers: int | None = None
        self._all, self._driver, self._pending = Spent.of(before.get("all", {})), Spent(), Spent()
        self._since = time.monotonic()
        self._constant = {
            "covsvc": __version__,
            "git_revision": git_revision(),
            "git_changed": git_is_changed(),
            "engine": engine,
            "environment": hash_of(environment)[:16],
            "packages": versions((*LIBRARIES, *_STORING)),
            "host": socket.gethostname(),
            "user": _user(),
            "pid": os.getpid(),
        }

    def add(self, spent: Spent) -> None:
        """Add what was spent since the last commit."""
        self._pending += spent

    def close(self, what: str = "") -> dict[str, Any]:
        """Return what the next commit tells, and count from there on."""
        now = time.monotonic()
        commit = self._pending + Spent(wall_seconds=now - self._since)
        self._since, self._pending = now, Spent()
        self._driver += commit
        self._all += commit
        costs = {"commit": commit.told(), "driver": self._driver.told(), "all": self._all.told()}
        return {"what": what or self.what, **costs, "workers": self.workers, **self._constant}


def this_user() -> str:
    """Return who does this, and on which machine."""
    return f"{_user()}@{socket.gethostname()}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that nobody has
        return str(os.getuid())
