"""The lease of a repository on an object store: an object that its holder renews."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from covsvc.errors import StoreError
from covsvc.store.lock import this_process
from covsvc.store.objects import Objects, Version

_log = logging.getLogger(__name__)

BEAT = 10.0
"""Seconds between two renewals."""

EXPIRY = 60.0
"""Seconds without a renewal after which others take a lease over."""


@dataclass(frozen=True)
class Seen:
    """A lease as it was read."""

    holder: str
    """Who holds it, empty if nobody does."""

    token: str
    version: Version
    renewed: datetime


def read_lease(objects: Objects, key: str) -> Seen | None:
    """Return a lease, None if nobody ever held it."""
    found = objects.read(key)
    if found is None:
        return None
    try:
        told = json.loads(found.content)
        return Seen(told["holder"], told["token"], found.version, found.modified)
    except (ValueError, KeyError, TypeError):
        told = "is no lease of covsvc; remove this object, or choose another --store"
        raise StoreError(f"{objects.where}/{key}: {told}") from None


class Lease:
    """The right to write to a repository: taken, renewed by a thread, and given back.

    Notes
    -----
    Every write is conditional: there is no such object yet, or it is still the version that was read. Whether a holder
    is gone is told by watching: no new version for `expiry` seconds of the watcher's own clock. Clocks of two machines,
    or of the service, are never compared. No content comes twice, so that no version does. The lease is given back by
    writing, since a deletion has no condition and might hit that of another.

    A holder that was stopped for long may believe for a moment that it has what another took over. Then Icechunk, whose
    commits are conditional, too, refuses its commit.
    """

    def __init__(self, objects: Objects, key: str, where: str, *, beat: float, expiry: float) -> None:
        self._objects, self._key, self._where = objects, key, where
        self._beat, self._expiry = beat, expiry
        self._token, self._holder, self._beats = uuid.uuid4().hex, this_process(), 0
        self._version: Version = {}
        self._one_at_a_time = threading.Lock()
        self._given_back = threading.Event()

    def take(self, held: str, patience: float) -> None:
        """Take the lease, and renew it from now on.

        Raises
        ------
        StoreError
            If another process still renews it after `patience` seconds, or the store ignores conditions.
        """
        begun = since = time.monotonic()
        last: Version = {}
        told = False
        while True:
            seen = read_lease(self._objects, self._key)
            now = time.monotonic()
            version = {} if seen is None else seen.version
            if seen is not None and seen.holder and version != last:
                if last and now - begun >= patience:
                    raise StoreError(f"{self._where}: {held}: {seen.holder}")
                last, since = version, now
            elif (seen is None or not seen.holder or now - since > self._expiry) and self._write(version):
                break
            elif seen is not None and not told and now - since > 2 * self._beat:
                told = True
                left = since + self._expiry - now
                _log.warning("%s: no sign of %s; taken over in %.0f s if it stays so", self._where, seen.holder, left)
            time.sleep(self._beat / 20)
        if self._objects.write(self._key, self._content(holder=""), over={}) is not None:
            raise StoreError(
                f"{self._where}: this object store ignores the conditions of conditional writes (If-None-Match) and "
                "would lose commits; AWS, MinIO, Ceph, Cloudflare R2, Google and Azure know them"
            )
        threading.Thread(target=self._keep, name=f"lease of {self._where}", daemon=True).start()

    def confirm(self) -> None:
        """Renew the lease now; a service that is away is waited for, as long as a lease lasts.

        Raises
        ------
        StoreError
            If another process took it over meanwhile, or the service cannot be reached.
        """
        deadline = time.monotonic() + self._expiry
        while True:
            try:
                if self._renew():
                    return
                seen = read_lease(self._objects, self._key)
                break
            except StoreError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(self._beat / 20)
        other = seen.holder if seen is not None and seen.holder else "another driver, which is done"
        raise StoreError(
            f"{self._where}: lost the lease to {other}: it was not renewed for {self._expiry:g} s. What is committed "
            "is whole; the same command goes on from there"
        )

    def give_back(self) -> None:
        """Let others take the lease at once, if this process still holds it."""
        self._given_back.set()
        with self._one_at_a_time, suppress(StoreError):  # what is not given back expires
            self._holder = ""
            self._write(self._version)

    def _keep(self) -> None:
        while not self._given_back.wait(self._beat):
            with suppress(StoreError):  # the next commit says what is wrong, if it still is
                self._renew()

    def _renew(self) -> bool:
        with self._one_at_a_time:
            return self._write(self._version)

    def _write(self, over: Version) -> bool:
        """Write the next state over a version of the lease; tell whether that was the last one."""
        self._beats += 1
        version = self._objects.write(self._key, self._content(self._holder), over)
        if version is None:
            seen = read_lease(self._objects, self._key)
            if seen is None or seen.token != self._token:
                return False
            version = seen.version  # written at the first attempt, whose answer was lost
        self._version = version
        return True

    def _content(self, holder: str) -> bytes:
        return json.dumps({"holder": holder, "beats": self._beats, "token": self._token}).encode()
