"""What is installed."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin, get_type_hints

from covsvc import registry
from covsvc.errors import StudyError


def readers_of(experiment: str) -> list[dict[str, Any]]:
    """Return the name of every installed method that reads what an experiment gives."""
    gives = registry.find("experiments", experiment).gives
    found = []
    for name in registry.installed("methods"):
        with suppress(StudyError):  # `describe` says which are broken
            if registry.view_for(registry.find("methods", name).reads, gives) is not None:
                found.append({"name": name})
    return found


def describe(kind: str) -> list[dict[str, Any]]:
    """Describe the installed ``"methods"`` or ``"experiments"``: name, origin, summary, options, contract.

    Of one that cannot be used name, origin, and broken: the reason.
    """
    found: list[dict[str, Any]] = []
    for name in registry.installed(kind):
        told = {"name": name, "origin": registry.origin(kind, name), "ours": registry.is_ours(kind, name)}
        try:
            plugin = registry.find(kind, name)
        except StudyError as error:
            found.append(told | {"broken": str(error)})
            continue
        told |= {
            "summary": (plugin.__doc__ or "").partition("\n")[0],
            "options": {field.name: field.default for field in dataclasses.fields(plugin)},
            "choices": {
                option: list(get_args(kind))
                for option, kind in get_type_hints(plugin).items()
                if get_origin(kind) is Literal
            },
        }
        if kind == "methods":
            told |= {
                "sided": plugin.sided,
                "promises": plugin.promises,
                "reads": [each.__name__ for each in plugin.reads],
            }
        else:
            told |= {"gives": [each.__name__ for each in plugin.gives], "enumerable": hasattr(plugin, "counts")}
        found.append(told)
    return found
