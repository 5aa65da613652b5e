"""Fingerprints of the code, and of the libraries and the processor, behind a number."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "scipy", "numba", "llvmlite")
"""The libraries that make numbers."""


def code_of(*modules: str) -> str:
    """Return a hash of modules and of all that they import from their own packages and from covsvc.

    Comments, docstrings and layout are left out.

    Parameters
    ----------
    modules : str
        Dotted names.
    """
    told = hashlib.sha256()
    for name in sorted(_with_imports(modules)):
        told.update(f"{name}\n{_bare_source(name)}\n".encode())
    return told.hexdigest()[:16]


def sources_of(*modules: str) -> dict[str, str]:
    """Return a hash of the file of each module that `code_of` reads, by name: where all are equal, so is the code.

    Of a file that changes, the hash stays what it was when this process was first asked for it: about when it was
    loaded.
    """
    return {name: source_of(name) for name in _with_imports(modules)}


@cache
def source_of(name: str) -> str:
    """Return a hash of the file of a module, ``"none"`` if there is no such module."""
    return source_now(name)


def source_now(name: str) -> str:
    """Return a hash of the file of a module as it lies there now, ``"none"`` if there is no such module."""
    try:
        spec = _spec(name)
    except (ImportError, ValueError):  # a module may be there without having been imported as others are
        return "none"
    origin = Path(spec.origin or "")
    content = origin.read_bytes() if origin.is_file() else (spec.loader.get_source(name) or "").encode()
    return hashlib.sha256(content).hexdigest()[:16]


def environment() -> dict[str, str]:
    """Return the versions of what makes numbers, and the features of the processor."""
    from llvmlite import binding

    features = ",".join(sorted(name for name, has in binding.get_host_cpu_features().items() if has))
    return {
        "python": platform.python_version(),
        **versions(LIBRARIES),
        "platform": f"{platform.system()} {platform.machine()} {platform.libc_ver()[1]}",
        "cpu_features": hashlib.sha256(features.encode()).hexdigest()[:16],
    }


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return the installed versions, ``"none"`` where there is none."""
    found: dict[str, str] = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def git_revision() -> str:
    """Return the git revision of a source checkout, empty elsewhere."""
    git = Path(__file__).parent.parent / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        loose = git / reference
        if loose.exists():
            return loose.read_text().strip()
        packed = (git / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(" " + reference)), "")
    except OSError:
        return ""


@cache
def git_is_changed() -> bool | None:
    """Tell whether the code of a source checkout differs from its git revision; None where that is not known."""
    root, git = Path(__file__).parent.parent, shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    command = [git, "-C", str(root), "diff", "--quiet", "HEAD", "--", "covsvc"]
    try:
        found = subprocess.run(command, capture_output=True, timeout=5, check=False).returncode  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {0: False, 1: True}.get(found)


def _with_imports(modules: Iterable[str]) -> Mapping[str, None]:
    found: dict[str, None] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = None
            waiting += _imports_of(name)
    return found


@cache
def _imports_of(name: str) -> tuple[str, ...]:
    package = name.partition(".")[0]
    imported: set[str] = set()
    for node in _nodes_that_run(_tree(name)):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                source = importlib.util.resolve_name("." * node.level + source, _spec(name).parent)
            imported.add(source)
            imported.update(f"{source}.{alias.name}" for alias in node.names)
    ours = (each for each in imported if each.partition(".")[0] in (package, "covsvc") and _is_module(each))
    return tuple(sorted(set(ours) - {"covsvc"}))  # the top of covsvc only names what lies below


def _nodes_that_run(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those that are there for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield child
            yield from _nodes_that_run(child)


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _spec(name: str) -> Any:
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"no module named {name!r}", name=name)
    return spec


def _tree(name: str) -> ast.Module:
    # read, not imported: what is imported on the way only would slow every start
    loader = _spec(name).loader
    return ast.parse((loader.get_source(name) if loader else None) or "")


@cache
def _bare_source(name: str) -> str:
    origin = Path(_spec(name).origin or "")
    if origin.is_file() and origin.suffix != ".py":  # compiled: its bytes are all there is
        return hashlib.sha256(origin.read_bytes()).hexdigest()
    tree = _tree(name)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # a docstring of an attribute stands anywhere in a body
            kept = [each for each in body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))]
            node.body = kept or ([ast.Pass()] if body else [])  # type: ignore[attr-defined]
    return _told(tree)


def _told(node: object) -> str:
    """Write a syntax tree down, the same on every version of Python: `ast.dump` and `ast.unparse` are not."""
    if isinstance(node, ast.AST):
        fields = (value for name, value in ast.iter_fields(node) if name not in ("type_params", "type_comment", "kind"))
        return f"{type(node).__name__}({','.join(map(_told, fields))})"
    return f"[{','.join(map(_told, node))}]" if isinstance(node, list) else repr(node)


def hash_of(told: Any) -> str:
    """Return a hash of what JSON can say, shape of dicts and order of keys aside."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
