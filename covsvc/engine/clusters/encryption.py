"""Encryption of what Dask sends: whose certificates, and where none are needed."""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from covsvc.errors import StudyError

if TYPE_CHECKING:
    from distributed import Security

VARIABLE = "COVSVC_TLS"
"""Names the folder of the certificates."""

_MAKE = f"deploy/tls/make-certificates.sh makes such a folder, and {VARIABLE} names it"


@dataclass(frozen=True)
class Certificates:
    """The files by which client, scheduler and workers know each other; one certificate serves all three.

    Attributes
    ----------
    ca : Path
        Certificate of who signed all others.
    certificate, key : Path
        Shown to the other side, and its private key.
    """

    ca: Path
    certificate: Path
    key: Path

    def security(self) -> Security:
        """Return what Dask takes: TLS in all three roles, and nothing without it."""
        from distributed import Security

        files: dict[str, Any] = {"tls_ca_file": str(self.ca)}
        for role in ("client", "scheduler", "worker"):
            files |= {f"tls_{role}_cert": str(self.certificate), f"tls_{role}_key": str(self.key)}
        return Security(require_encryption=True, **files)


def certificates() -> Certificates | None:
    """Return the certificates of the folder that COVSVC_TLS names; None where it is not set.

    Raises
    ------
    StudyError
        If a file is missing or cannot be used, or the key can be read by everybody.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    folder = Path(named)
    if not folder.is_dir():
        raise StudyError(f"{VARIABLE}={named}: no such folder; {_MAKE}")
    found = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    _hold_usable(str(found.ca), str(found.certificate), str(found.key))
    return found


def security() -> Security:
    """Return what Dask takes for TLS both ways: the certificates of COVSVC_TLS, else those of Dask's configuration.

    Raises
    ------
    StudyError
        If there are none, or they cannot be used.
    """
    from distributed import Security

    found = certificates()
    if found is not None:
        return found.security()
    told = Security(require_encryption=True)
    if not (told.tls_ca_file and told.tls_client_cert):
        raise StudyError(f"TLS needs certificates, and none are named; {_MAKE}")
    _hold_usable(told.tls_ca_file, told.tls_client_cert, told.tls_client_key)
    return told


def security_of(address: str) -> Security:
    """Return what Dask takes to talk with a scheduler: what `security` gives, or its defaults on this machine alone.

    Raises
    ------
    StudyError
        If the address needs certificates, and there are none that can be used.
    """
    from distributed import Security

    return security() if address.startswith("tls://") else Security()


def split_address(address: str) -> tuple[str, str, int]:
    """Return scheme, host and port of an address, the scheme in lower case.

    Raises
    ------
    StudyError
        If it has no port, or is no address.
    """
    try:
        parts = urlsplit(address)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        raise StudyError(f"{address}: no address; one is tls://HOST:PORT, or tls://[::1]:PORT") from None
    if "@" in parts.netloc:  # is not told: a password may stand before it
        raise StudyError(f"{scheme}://: an address of a scheduler holds no user and no password")
    if not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise StudyError(f"{address}: no address; one is tls://HOST:PORT, or tls://[::1]:PORT")
    if port is None:
        raise StudyError(f"{address}: no port; that of a scheduler is 8786, unless it was started with another")
    return scheme, host, port


def hold_safe(address: str) -> None:
    """Refuse an address with which Dask would talk in plain text beyond this machine.

    Who listens there on the way reads all, and who answers there runs what it likes: Dask sends pickles.

    Raises
    ------
    StudyError
        Unless it is one of TLS, of the loopback interface or of this process.
    """
    if address.startswith("inproc://"):
        return
    scheme, host, port = split_address(address)
    if scheme == "tls" or (scheme == "tcp" and _is_loopback(host)):
        return
    there = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if scheme != "tcp":
        raise StudyError(f"{address}: {scheme} is not spoken here; tls://{there}, or tcp://127.0.0.1:{port}")
    raise StudyError(
        f"{address}: plain text beyond this machine is refused: start scheduler and workers with TLS (deploy/tls says "
        f"how) and give tls://{there}; on this machine give tcp://127.0.0.1:{port}"
    )


def scheduler_command(address: str) -> str:
    """Return how a scheduler is started by hand."""
    return f"dask scheduler --protocol tls{_FLAGS}" if address.startswith("tls://") else "dask scheduler"


def worker_command(address: str) -> str:
    """Return how a worker is started by hand."""
    return f"dask worker {address}" + (_FLAGS if address.startswith("tls://") else "")


_FLAGS = "".join(
    f' --tls-{flag} "${VARIABLE}/{file}"'
    for flag, file in (("ca-file", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem"))
)


def _is_loopback(host: str) -> bool:
    """Tell it by the name alone: what another name means is for somebody else to say, and may change."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _hold_usable(ca: str, certificate: str, key: str | None) -> None:
    """Refuse files that no connection can be made with, before Dask finds out, or asks for a password.

    What the files hold is never told. Dask takes their content for their names, too.
    """
    for each in (ca, certificate, *([key] if key else [])):
        text = each if "\n" in each else _read(Path(each))
        if "ENCRYPTED" in text:
            told = "the key" if "\n" in each else each
            raise StudyError(f"{told}: is locked with a password, which nobody is there to give; {_MAKE}")
    held = key or certificate  # which may hold the key, too
    if "\n" not in held and Path(held).stat().st_mode & stat.S_IROTH:
        raise StudyError(f"{held}: everybody may read the key; chmod 600 {held}")
    if any("\n" in each for each in (ca, certificate, key or "")):
        return
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise StudyError(f"{ca}: holds no certificate; {_MAKE}") from None
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        others = error.reason == "KEY_VALUES_MISMATCH"
        why = "the key is of another certificate" if others else "hold no certificate and its key"
        raise StudyError(f"{certificate}, {key or 'its key'}: {why}; {_MAKE}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}; {_MAKE}") from None
