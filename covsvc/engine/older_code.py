"""The code of another version of covsvc, as the history of a source checkout holds it."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from covsvc.errors import StoreError
from covsvc.files import user_cache

_ROOT = Path(__file__).parents[2]
_PACKAGE = "covsvc"
_PATIENCE = 60
"""Seconds in which git answers."""


def code_of_revision(revision: str) -> Path:
    """Return a folder that holds covsvc as it was at a git revision of this checkout.

    It is kept in the user's cache, where its compiled kernels are kept, too.

    Raises
    ------
    StoreError
        If this is no checkout, it does not know the revision, or the folder cannot be written.
    """
    if not re.fullmatch("[0-9a-f]{7,64}", revision):
        raise StoreError("the git revision of the baseline's code is not known")
    folder = user_cache() / "code" / revision
    if not (folder / _PACKAGE).is_dir():
        archive = _archive(revision)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                with tarfile.open(fileobj=io.BytesIO(archive)) as files:
                    for each in filter(tarfile.TarInfo.isfile, files):
                        path, content = Path(scratch) / each.name, files.extractfile(each)
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(content.read() if content else b"")
                folder.mkdir(exist_ok=True)
                (Path(scratch) / _PACKAGE).rename(folder / _PACKAGE)
        except OSError as error:
            if not (folder / _PACKAGE).is_dir():  # another process may have been first
                raise StoreError(f"{folder}: the code of the baseline cannot be written: {error}") from None
    return folder


def _archive(revision: str) -> bytes:
    git = shutil.which("git")
    if git is None or not (_ROOT / ".git").exists():
        raise StoreError(f"the baseline's code is revision {revision[:10]}, and here is no git checkout that holds it")
    command = [git, "-C", str(_ROOT), "archive", "--format=tar", revision, "--", _PACKAGE]
    try:
        return subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=True).stdout  # noqa: S603
    except subprocess.CalledProcessError as error:
        told = (error.stderr.decode(errors="replace").strip().splitlines() or ["git says nothing"])[0]
        raise StoreError(
            f"the baseline's code is revision {revision[:10]}, which this checkout has not: {told}"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StoreError(f"the baseline's code, revision {revision[:10]}, cannot be read: {error}") from None
