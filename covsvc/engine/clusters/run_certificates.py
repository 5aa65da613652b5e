"""Certificates of one run, where its workers find them."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from covsvc.engine.clusters.encryption import Certificates, certificates
from covsvc.errors import StudyError
from covsvc.files import alone_in

_LOCK = "driver.lock"


@contextmanager
def certificates_of_run(shared_folder: Path) -> Iterator[Certificates]:
    """Yield the certificates that COVSVC_TLS names, else new ones, which are gone when the run ends.

    Parameters
    ----------
    shared_folder : Path
        Where new ones are written: nobody but the user may read it, and the workers have to see it.

    Raises
    ------
    StudyError
        If they cannot be used, made or written.
    """
    named = certificates()
    if named is not None:
        yield named
        return
    with _own_folder(shared_folder) as folder:
        yield _made_in(folder)


@contextmanager
def _own_folder(shared: Path) -> Iterator[Path]:
    """Yield a new folder of this process, after those of drivers of this host that were killed are removed."""
    host = socket.gethostname()
    folder = shared / f"{host}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        shared.mkdir(mode=0o700, parents=True, exist_ok=True)
        if shared.stat().st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
            raise StudyError(f"shared_folder: {shared}: everybody may replace what is in it; name another one")
        with alone_in(shared):  # others clear up, too: not what is just being made
            _clear(shared, host)
            folder.mkdir(mode=0o700)
            alive = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(alive, fcntl.LOCK_EX)
    except OSError as error:
        raise StudyError(f"shared_folder: {error.filename or shared}: {error.strerror}; name another one") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(alive)


def _clear(shared: Path, host: str) -> None:
    """Remove what was left by drivers of this host that are no more: nobody holds their lock."""
    for folder in shared.glob(f"{host}.*.*"):
        with suppress(OSError):  # is removed meanwhile by its driver, or locked, which lives
            lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _made_in(folder: Path) -> Certificates:
    """Make a key and a certificate which is its own authority."""
    from distributed import Security

    try:
        made = Security.temporary()
    except ImportError as error:
        raise StudyError(
            f"certificates: need {error.name or 'cryptography'}, which is not installed; pip install 'covsvc[hpc]'"
        ) from None
    paths = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    texts = (made.tls_ca_file, made.tls_worker_cert, made.tls_worker_key)
    for path, text in zip((paths.ca, paths.certificate, paths.key), texts, strict=True):
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(text)
    return paths
