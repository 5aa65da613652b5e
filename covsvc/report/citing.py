"""What to cite: the software, the study, and the papers of its methods."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Mapping
from typing import Any

from covsvc import registry
from covsvc.errors import CovsvcError
from covsvc.version import __version__

TITLE = "covsvc: coverage validation of upper limits"
AUTHORS = "The covsvc developers"
LICENSE = "BSD-3-Clause"
"""As in CITATION.cff, which is not installed."""

_REFERENCES = re.compile(r"^References\n-+\n(.*?)(?=\n\n\S[^\n]*\n-{3,}|\Z)", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"^\.\. \[[^]]+\] ", re.MULTILINE)


def citations(
    study: Mapping[str, Any], methods: Mapping[str, Mapping[str, Any]], provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a paper that uses a report should cite.

    Parameters
    ----------
    study : mapping
        The study, as its file says.
    methods : mapping of str to mapping
        ``name``, the method's, by label.
    provenance : mapping
        Its ``covsvc``, ``snapshot`` and ``written_at``, where it has them.

    Returns
    -------
    dict
        ``software`` and ``study`` (sentences), ``command``, which draws the report again, and ``papers``: labels and
        their references.
    """
    snapshot, written_at = (str(provenance.get(name) or "") for name in ("snapshot", "written_at"))
    name = str(study.get("name") or "")
    said = ", ".join(
        [
            f"Study {name}",
            *([f"snapshot {snapshot}"] if snapshot else []),
            *([f"stored {written_at}"] if written_at else []),
        ]
    )
    asked: dict[tuple[str, str], list[str]] = {}
    for label, method in methods.items():
        asked.setdefault(("methods", str(method.get("name"))), []).append(label)
    experiment = study.get("experiment")
    experiment = str(experiment.get("name") if isinstance(experiment, Mapping) else experiment)
    asked.setdefault(("experiments", experiment), []).append(f"the experiment {experiment}")
    papers: dict[tuple[str, ...], list[str]] = {}
    for (kind, plugin), labels in asked.items():
        if found := references(kind, plugin):
            papers.setdefault(found, []).extend(labels)
    return {
        "software": f"{AUTHORS}, {TITLE}, version {provenance.get('covsvc') or __version__} ({LICENSE}).",
        "study": f"{said}." if name else "",
        "command": shlex.join(["covsvc", "report", name, "--at", snapshot]) if name and snapshot else "",
        "papers": [(labels, list(found)) for found, labels in papers.items()],
    }


def references(kind: str, name: str) -> tuple[str, ...]:
    """Return the references that the docstring of an installed plug-in gives; none where it is not installed."""
    try:
        plugin = registry.find(kind, name)
    except CovsvcError:
        return ()
    section = _REFERENCES.search(inspect.getdoc(plugin) or "")
    if section is None:
        return ()
    return tuple(" ".join(each.split()) for each in _NUMBER.split(section[1]) if each.strip())
