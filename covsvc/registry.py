"""Names of limit methods, experiments, clusters and figures, found by entry point."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError

from covsvc.contracts import Experiment, LimitMethod
from covsvc.errors import StudyError, UnknownName


class OptionError(StudyError):
    """An option of a method or an experiment is refused; `option` names it."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


@cache
def installed(kind: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of the group ``covsvc.<kind>`` by name.

    Parameters
    ----------
    kind : str
        ``"methods"``, ``"experiments"``, ``"clusters"`` or ``"figures"``.

    Raises
    ------
    StudyError
        If two installed distributions give the same name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=f"covsvc.{kind}")):
        if entry.name in found and found[entry.name].value != entry.value:
            raise StudyError(
                f"{entry.name}: two installed {kind} have this name, {found[entry.name].value} of "
                f"{_distribution(found[entry.name])} and {entry.value} of {_distribution(entry)}; uninstall one of them"
            )
        found[entry.name] = entry
    return found


def find(kind: str, name: str) -> Any:
    """Return what is installed as `name`.

    Raises
    ------
    UnknownName
        If there is none; the message holds the installed names.
    StudyError
        If it cannot be imported, or lacks what is needed of its kind.
    """
    entry = _entry(kind, name)
    try:
        plugin = entry.load()
    except (Exception, SystemExit) as error:
        raise StudyError(
            f"{name}: {entry.value} of {_distribution(entry)} cannot be imported: {type(error).__name__}: {error}; "
            "repair it or uninstall it"
        ) from error
    lacking = [each for each in _NEEDED.get(kind, ()) if not hasattr(plugin, each)]
    if lacking:
        raise StudyError(
            f"{name}: {entry.value} of {_distribution(entry)} lacks {', '.join(lacking)}; repair it "
            "(covsvc.testing has the tests for it) or uninstall it"
        )
    return plugin


_NEEDED = {
    "methods": ("__dataclass_fields__", "reads", "sided", "promises", "limits"),
    "experiments": ("__dataclass_fields__", "gives", "toys", "observe"),
}
"""What `find` does not hand out without."""


def _entry(kind: str, name: str) -> EntryPoint:
    known = installed(kind)
    if name not in known:
        raise UnknownName.of(kind.removesuffix("s"), name, known)
    return known[name]


def method(name: str, options: Mapping[str, Any] | None = None) -> LimitMethod:
    """Return the limit method `name` with these options.

    Raises
    ------
    UnknownName
        If no such method is installed.
    OptionError
        If it has no such option, or refuses a value.
    """
    return cast("LimitMethod", build(find("methods", name), name, options or {}))


def experiment(name: str, options: Mapping[str, Any] | None = None) -> Experiment:
    """Return the experiment `name` with these options.

    Raises
    ------
    UnknownName
        If no such experiment is installed.
    OptionError
        If it has no such option, or refuses a value.
    """
    return cast("Experiment", build(find("experiments", name), name, options or {}))


def is_ours(kind: str, name: str) -> bool:
    """Tell whether a method or an experiment comes with covsvc."""
    return package_of(kind, name) == "covsvc"


def package_of(kind: str, name: str) -> str:
    """Return the top-level package in which a method or an experiment is."""
    return _entry(kind, name).module.partition(".")[0]


def origin(kind: str, name: str) -> str:
    """Return the distribution that a plug-in comes with, and its version."""
    return _distribution(_entry(kind, name))


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "no distribution"


def view_for(reads: tuple[type, ...], gives: tuple[type, ...]) -> int | None:
    """Return which view of an experiment a method reads.

    The first whose type is exactly in `reads`, else the first that is a subclass of one, else None.
    """
    exactly = (index for index, view in enumerate(gives) if view in reads)
    inherited = (index for index, view in enumerate(gives) if issubclass(view, reads))
    return next(exactly, next(inherited, None))


def build(plugin: Any, name: str, options: Mapping[str, Any]) -> Any:
    """Return a method or an experiment of the class `plugin`, which is called `name`, with these options.

    Raises
    ------
    OptionError
        If it has no such option, or refuses a value.
    """
    types = get_type_hints(plugin)
    known = {field.name: types[field.name] for field in dataclasses.fields(plugin)}
    values = {}
    for option, value in options.items():
        if option in getattr(plugin, "refuses", {}):
            raise OptionError(option, f"{option} = {value!r}: {plugin.refuses[option]}")
        if option not in known:
            raise OptionError(option, str(UnknownName.of(f"option of {name}", option, known)))
        try:
            values[option] = TypeAdapter(known[option]).validate_python(value, strict=True)
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            raise OptionError(option, f"{option} = {value!r}: {message[0].lower()}{message[1:]}") from None
    try:
        return plugin(**values)
    except ValueError as error:
        raise OptionError(next((option for option in values if option in str(error)), ""), str(error)) from None
