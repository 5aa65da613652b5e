"""The objects of a bucket: listed, read, and written on conditions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import icechunk

from covsvc.errors import StoreError

SERVICES = {"s3": "AWS S3 and what is compatible", "gs": "Google Cloud Storage", "az": "Azure Blob Storage"}
"""Schemes of URLs, and the services that they name."""

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if temporary, AWS_SESSION_TOKEN",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_KEY, or another AZURE_STORAGE_... variable",
}

_ENDPOINT = {
    "s3": "AWS_ENDPOINT_URL (unset for AWS itself) and AWS_REGION",
    "gs": "the network",
    "az": "AZURE_STORAGE_ACCOUNT_NAME",
}

_METADATA = re.compile(r"169\.254\.169\.254|/latest/|/computeMetadata/|/metadata/identity/")
"""What stands in the addresses of services that give credentials to the machines of a cloud."""

_PATIENCE: dict[str, Any] = {
    "client_options": {"connect_timeout": "4s", "timeout": "15s"},
    "retry_config": {
        "max_retries": 3,
        "retry_timeout": timedelta(seconds=15),
        "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2), "base": 2},
    },
}
"""A service that does not answer is given up within seconds."""

Version = dict[str, str]
"""What a service knows a version of an object by; empty of one that is not there."""


@dataclass(frozen=True)
class Found:
    """An object that was read."""

    content: bytes
    version: Version
    modified: datetime


@dataclass(frozen=True)
class Objects:
    """A bucket of an object store; endpoint, region and credentials come from the environment, and stay there."""

    scheme: str
    bucket: str

    @property
    def where(self) -> str:
        """Return its URL."""
        return f"{self.scheme}://{self.bucket}"

    def read(self, key: str) -> Found | None:
        """Return an object, None if there is none."""
        import obstore

        with self._reached():
            try:
                found = obstore.get(self._service(), key)
                return Found(bytes(found.bytes()), _version(found.meta), found.meta["last_modified"])
            except FileNotFoundError:
                return None

    def write(self, key: str, content: bytes, over: Version) -> Version | None:
        """Write an object over one version of it, and return the new one, None if that is not the last one."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = dict(over) or "create"
        with self._reached():
            try:
                return _version(obstore.put(self._service(), key, content, mode=mode))
            except (AlreadyExistsError, PreconditionError):
                return None

    def children(self, prefix: str) -> set[str]:
        """Return the names directly below a prefix that hold objects themselves."""
        with self._reached():
            import obstore

            listed = obstore.list_with_delimiter(self._service(), prefix or None)
        return {each.rstrip("/").rpartition("/")[2] for each in listed["common_prefixes"]}

    def below(self, prefix: str) -> list[str]:
        """Return the keys of all objects below a prefix."""
        with self._reached():
            import obstore

            return [each["path"] for each in obstore.list(self._service(), prefix).collect()]

    def remove(self, keys: list[str]) -> None:
        """Remove objects, whatever their versions."""
        with self._reached():
            import obstore

            obstore.delete(self._service(), keys)

    def storage(self, prefix: str) -> icechunk.Storage:
        """Return where Icechunk keeps a repository."""
        where: dict[str, Any] = {"prefix": prefix, "from_env": True}
        if self.scheme == "gs":
            return icechunk.gcs_storage(bucket=self.bucket, **where)
        if self.scheme == "az":
            return icechunk.azure_storage(account=_account(self.where), container=self.bucket, **where)
        endpoint = _endpoint()
        return icechunk.s3_storage(
            bucket=self.bucket,
            region=_region(),
            endpoint_url=endpoint,
            allow_http=_is_plain(endpoint),
            force_path_style=endpoint is not None,
            **where,
        )

    def _service(self) -> Any:
        from obstore.store import AzureStore, GCSStore, S3Store

        if self.scheme == "gs":
            return GCSStore(self.bucket, **_PATIENCE)
        if self.scheme == "az":
            return AzureStore(self.bucket, account_name=_account(self.where), **_PATIENCE)
        endpoint = _endpoint()
        options: Any = {**_PATIENCE["client_options"], "allow_http": _is_plain(endpoint)}
        given: Any = {"region": _region(), "endpoint": endpoint}
        given = {name: value for name, value in given.items() if value is not None}
        return S3Store(self.bucket, client_options=options, retry_config=_PATIENCE["retry_config"], **given)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Say what to do about an error of the service, in words of ours: theirs hold what nobody should see."""
        try:
            from obstore.exceptions import BaseError
        except ImportError:
            raise StoreError(f'{self.where}: object stores need a library; pip install "covsvc[s3]"') from None
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            raise StoreError(f"{self.where}: {self._cure(type(error).__name__, str(error))}") from None

    def _cure(self, kind: str, told: str) -> str:
        status = re.search(r"status code: (\d+ [A-Z][A-Za-z ]*)", told)
        if _METADATA.search(told):  # asked where the environment holds no credentials
            return f"no credentials; set {_CREDENTIALS[self.scheme]} in the environment"
        if kind in ("PermissionDeniedError", "UnauthenticatedError") or (status and status[1][:3] in ("401", "403")):
            return f"access is denied; see {_CREDENTIALS[self.scheme]} in the environment, and the bucket's policy"
        if "NoSuchBucket" in told or "ContainerNotFound" in told or (status and status[1].startswith("404")):
            return "there is no such bucket; make it, or choose another --store"
        if "redirect" in told or (status and status[1].startswith("301")):
            return "the bucket lies in another region; set AWS_REGION"
        if status:
            return f"the service answers {status[1].strip()}; try again, or see its log"
        return f"cannot be reached; see {_ENDPOINT[self.scheme]}"


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _is_plain(endpoint: str | None) -> bool:
    return endpoint is not None and endpoint.startswith("http://")


def _region() -> str | None:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return region or ("us-east-1" if _endpoint() else None)


def _account(where: str) -> str:
    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise StoreError(f"{where}: whose container? set AZURE_STORAGE_ACCOUNT_NAME in the environment")
    return account


def _version(told: Any) -> Version:
    return {name: told[name] for name in ("e_tag", "version") if told[name] is not None}
