"""The exceptions of covsvc.

::

    CovsvcError
    ├── StudyError            a study file or a study's values are refused
    │   └── UnknownName       a method, experiment, option or key that does not exist
    ├── ObservationError      real data that no experiment can have given
    ├── TaskError             a task could not be carried out
    ├── StoreError            a store cannot be read, extended or locked
    ├── ClusterError          a cluster cannot be reached, or was lost
    └── TokenError            a file of bearer tokens is refused; of `covsvc.service.tokens`
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CovsvcError(Exception):
    """The root of all errors that covsvc raises on purpose."""


class StudyError(CovsvcError):
    """A study is refused; the message holds every reason, one a line."""


class UnknownName(StudyError):
    """A name that does not exist; the message holds the nearest known ones."""

    @classmethod
    def of(cls, what: str, name: str, known: Iterable[str]) -> UnknownName:
        """Say that `name` is no `what`, and which known name it may have meant."""
        return cls(f"{unknown(what, name, known)}; known are {', '.join(sorted(known)) or 'none'}")


class ObservationError(CovsvcError):
    """An observation has a value that no experiment can give."""


class TaskError(CovsvcError):
    """A task could not be carried out; its blocks stay missing."""


class StoreError(CovsvcError):
    """A store cannot be read, extended or locked."""


class ClusterError(CovsvcError):
    """A cluster cannot be reached, or was lost while a study ran."""


def printable(text: str, most: int | None = None) -> str:
    """Return a text that does nothing to a terminal: what is not printable is written as in Python; cut if it is long.

    Line feeds stay.
    """
    if most is not None and len(text) > most:
        text = f"{text[:most]} ... and {len(text) - most:,} characters more"
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else repr(each)[1:-1] for each in text)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return a line which names the nearest of the `known` names."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"{name}: unknown {what}" + (f", did you mean {nearest[0]!r}?" if nearest else "")
