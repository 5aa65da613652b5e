"""Compiled kernels, kept on disk until their own code or that of a kernel they call changes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
import scipy

KEPT = 3
"""Versions of a module of kernels that stay on disk."""

_LOCK = threading.Lock()  # where numba keeps compiled code is one setting of the whole process


def compiled(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Compile a kernel when it is first called, or load what an earlier process compiled.

    The cache of numba alone would not do: it looks at the file of the function, and not at those of the kernels that
    are compiled into it, so that it hands out code with old ones inside. Here each version has a folder of its own.

    Parameters
    ----------
    function : callable
        A function of a module of covsvc.kernels.
    **options
        Options of `numba.njit`.
    """
    if function is None:
        return lambda each: compiled(each, **options)
    with _LOCK:
        before = numba.config.CACHE_DIR
        folder = folder_of(Path(function.__code__.co_filename))
        try:
            numba.config.CACHE_DIR = str(folder or before)
            return numba.njit(cache=folder is not None, **options)(function)
        finally:
            numba.config.CACHE_DIR = before


@cache
def folder_of(module: Path) -> Path | None:
    """Return the folder that keeps what is compiled of a module of kernels; None where nothing can be written.

    It lies in `NUMBA_CACHE_DIR` if that is set, else beside the module, else in the user's cache.
    """
    name = f"{module.stem}-{version_of(module)}"
    for parent in _parents(module):
        folder = parent / name
        try:
            is_new = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            os.utime(folder)
        except OSError:
            continue
        if is_new:
            _prune(module, parent)
        return folder
    return None


def version_of(module: Path) -> str:
    """Return a hash of a module of kernels, of all that it imports, and of the libraries behind its constants."""
    told = hashlib.sha256(f"numpy {np.__version__}, scipy {scipy.__version__}\n".encode())
    for path in sorted(with_imports(module)):
        told.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return told.hexdigest()[:16]


def with_imports(module: Path) -> set[Path]:
    """Return the files of a module of kernels and of all kernels that it imports, be it through others."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        path = waiting.pop()
        if path not in found and path.is_file():
            found.add(path)
            # a search of the text: a parser would slow every start
            names = re.findall(r"covsvc\.kernels\.(\w+)", path.read_text(encoding="utf-8"))
            waiting += [path.with_name(f"{name}.py") for name in names]
    return found


def _parents(module: Path) -> Iterator[Path]:
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR) / "covsvc"
    yield module.parent / "__pycache__"
    with suppress(RuntimeError):  # a user without a home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "covsvc" / "kernels"


def _prune(module: Path, parent: Path) -> None:
    with suppress(OSError):  # another process may be doing the same
        versions = sorted(parent.glob(f"{module.stem}-*"), key=lambda each: each.stat().st_mtime)
        for old in versions[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
