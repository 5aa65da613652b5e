"""The places where stores lie."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

import icechunk

from covsvc.errors import StoreError
from covsvc.store.bucket import Bucket
from covsvc.store.folder import Folder
from covsvc.store.lock import STUDY_IS_TAKEN
from covsvc.store.objects import SERVICES, Objects

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/.*)", re.DOTALL)


class Place(Protocol):
    """Where the repositories of a store lie, and who may write to them."""

    @property
    def where(self) -> str:
        """Return what people call it: a folder or a URL."""
        ...

    def study(self, name: str) -> str:
        """Return what people call the place of a repository."""
        ...

    def storage(self, name: str) -> icechunk.Storage:
        """Return where Icechunk keeps a repository."""
        ...

    def exists(self, name: str) -> bool:
        """Tell whether there is an Icechunk repository of that name."""
        ...

    def names(self) -> list[str]:
        """Return the names of the repositories, sorted."""
        ...

    def is_foreign(self, name: str) -> bool:
        """Tell whether something else than a repository has that name."""
        ...

    def lock(
        self, name: str, held: str = STUDY_IS_TAKEN, patience: float = 1.0
    ) -> AbstractContextManager[Callable[[], None]]:
        """Hold the lock of a repository, or say who holds it after `patience` seconds.

        What is left of a repository whose making was cut short is removed.

        Yields
        ------
        callable
            Raises StoreError if the lock was lost meanwhile; to be called before every commit.

        Raises
        ------
        StoreError
            If another process holds it, or the place cannot be written.
        """
        ...

    def holder(self, name: str) -> str:
        """Return who holds the lock of a repository, empty if nobody does; leaves no trace."""
        ...

    def settle(self) -> None:
        """Let what was committed survive a loss of power."""
        ...


def place_of(store: str | Path) -> Place:
    """Return the place that a folder or a URL names.

    Raises
    ------
    StoreError
        If it is no such place, or holds a secret.
    """
    url = _URL.fullmatch(str(store))
    if url is None:
        return Folder(Path(store))
    # what stands behind the scheme may hold a secret: messages leave it out
    scheme, rest = url[1].lower(), url[2]
    if scheme == "file" and re.fullmatch(r"//(localhost)?/[^?#]*|/[^/?#][^?#]*", rest):
        return Folder(Path(unquote(re.sub("^//(localhost)?", "", rest))))
    if scheme not in SERVICES:
        known = ", ".join(f"{each}://bucket/prefix ({service})" for each, service in SERVICES.items())
        raise StoreError(f"{scheme}:...: no store is known at such URLs; a store is a folder, or {known}")
    if re.search(r"[@?#]|^//[^/]*:", rest):
        raise StoreError(
            f"{scheme}:...: the URL of a store holds no user, password, key or query; credentials, endpoint and region "
            "come from the environment, such as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_REGION"
        )
    found = re.fullmatch(r"//([A-Za-z0-9][A-Za-z0-9._-]+)((?:/[^/]+)*)/?", rest)
    if found is None:
        raise StoreError(f"{scheme}:{rest}: name a bucket and a prefix, {scheme}://bucket/prefix")
    return Bucket(Objects(scheme, found[1]), found[2].strip("/"))
