"""Stores in a folder of a local disk."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import icechunk

from covsvc.errors import StoreError
from covsvc.store.beginning import is_beginning
from covsvc.store.lock import STUDY_IS_TAKEN, locked, named_in


@dataclass(frozen=True)
class Folder:
    """A folder of a local disk; locks are files beside the repositories.

    Notes
    -----
    Icechunk's commits to a local disk are not safe from each other: who commits holds the lock.
    """

    path: Path

    @property
    def where(self) -> str:
        """Return the path."""
        return str(self.path)

    def study(self, name: str) -> str:
        """Return the path of a repository."""
        return str(self.path / name)

    def storage(self, name: str) -> icechunk.Storage:
        """Return where Icechunk keeps a repository."""
        return icechunk.local_filesystem_storage(self.study(name))

    def exists(self, name: str) -> bool:
        """Tell whether there is an Icechunk repository of that name."""
        return (self.path / name).is_dir() and bool(icechunk.Repository.exists(self.storage(name)))

    def names(self) -> list[str]:
        """Return the names of the repositories, sorted."""
        return sorted(each.name for each in self.path.iterdir() if self.exists(each.name)) if self.path.is_dir() else []

    def is_foreign(self, name: str) -> bool:
        """Tell whether something else than a repository has that name."""
        path = self.path / name
        return path.exists() and not self.exists(name) and (not path.is_dir() or any(path.iterdir()))

    @contextmanager
    def lock(self, name: str, held: str = STUDY_IS_TAKEN, patience: float = 1.0) -> Iterator[Callable[[], None]]:
        """Hold the lock of a repository; the folder is made if need be."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}; --store names a folder that can be written") from None
        with locked(self._lock_of(name), held, patience):
            self._clear(name)
            yield lambda: None  # the system takes no lock from a process that lives

    def holder(self, name: str) -> str:
        """Return who holds the lock of a repository, empty if nobody does."""
        path = self._lock_of(name)
        if not path.exists():
            return ""
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return named_in(file)
        return ""

    def settle(self) -> None:
        """Have what the system keeps in memory written: Icechunk does not."""
        os.sync()

    def _clear(self, name: str) -> None:
        """Remove what is left of a repository whose making was cut short."""
        path = self.path / name
        if path.is_dir() and is_beginning(str(each.relative_to(path)) for each in path.rglob("*") if not each.is_dir()):
            shutil.rmtree(path)

    def _lock_of(self, name: str) -> Path:
        return self.path / f"{name}.lock"
