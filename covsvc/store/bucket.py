"""Stores in a bucket of an object store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import icechunk

from covsvc.errors import StoreError
from covsvc.store import lease
from covsvc.store.beginning import is_beginning
from covsvc.store.lock import STUDY_IS_TAKEN
from covsvc.store.objects import Objects
from covsvc.store.reason import reason_of


@dataclass(frozen=True)
class Bucket:
    """A prefix of a bucket; locks are leases, objects beside the repositories."""

    objects: Objects
    prefix: str

    @property
    def where(self) -> str:
        """Return the URL."""
        return f"{self.objects.where}/{self.prefix}".rstrip("/")

    def study(self, name: str) -> str:
        """Return the URL of a repository."""
        return f"{self.where}/{name}"

    def storage(self, name: str) -> icechunk.Storage:
        """Return where Icechunk keeps a repository."""
        return self.objects.storage(self._key(name))

    def exists(self, name: str) -> bool:
        """Tell whether there is an Icechunk repository of that name."""
        return name in self.objects.children(self.prefix) and self._is_repository(name)

    def names(self) -> list[str]:
        """Return the names of the repositories, sorted."""
        return [name for name in sorted(self.objects.children(self.prefix)) if self._is_repository(name)]

    def is_foreign(self, name: str) -> bool:
        """Tell whether objects that are no repository have that name."""
        return name in self.objects.children(self.prefix) and not self._is_repository(name)

    @contextmanager
    def lock(self, name: str, held: str = STUDY_IS_TAKEN, patience: float = 1.0) -> Iterator[Callable[[], None]]:
        """Hold the lease of a repository; that of a holder which is gone is taken over when it has expired."""
        taken = lease.Lease(self.objects, self._lease_of(name), self.study(name), beat=lease.BEAT, expiry=lease.EXPIRY)
        taken.take(held, patience)
        try:
            self._clear(name)
            yield taken.confirm
        finally:
            taken.give_back()

    def holder(self, name: str) -> str:
        """Return who holds the lease of a repository and was last heard of when, empty if nobody does."""
        seen = lease.read_lease(self.objects, self._lease_of(name))
        if seen is None or not seen.holder:
            return ""
        return f"{seen.holder}, last heard of at {seen.renewed.isoformat(timespec='seconds')}"

    def settle(self) -> None:
        """Do nothing: what an object store has taken, it keeps."""

    def _is_repository(self, name: str) -> bool:
        try:
            return bool(icechunk.Repository.exists(self.storage(name)))
        except icechunk.IcechunkError as error:
            raise StoreError(f"{self.study(name)}: cannot be read: {reason_of(error)}") from None

    def _clear(self, name: str) -> None:
        """Remove what is left of a repository whose making was cut short."""
        if self.is_foreign(name):
            key = f"{self._key(name)}/"
            left = self.objects.below(key)
            if is_beginning(each.removeprefix(key) for each in left):
                self.objects.remove(left)

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _lease_of(self, name: str) -> str:
        return self._key(f"{name}.lock")
