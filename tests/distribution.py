"""Distributions of plug-ins, written as pip leaves them."""

from __future__ import annotations

from pathlib import Path


def install(folder: Path, name: str, entry_points: str, version: str = "1.0", **modules: str) -> None:
    """Put a distribution and the source of its modules, by name, into a folder."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points)
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
