"""Study files: YAML, with the place of everything that is wrong in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from covsvc import registry
from covsvc.errors import StudyError, printable
from covsvc.files import read_text
from covsvc.study import RefusedStudy, Study, study_of


class _Loader(yaml.SafeLoader):
    """YAML as people read it: 1e6 is a number; 010, 1:30, yes and 2020-01-01 are words."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - of a type that PyYAML has declared


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?(?:0|[1-9][0-9_]*)$", "-+0123456789"),
    ("float", r"^[-+]?(?:(?:0|[1-9][0-9_]*)?\.[0-9_]*|(?:0|[1-9][0-9_]*))(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+."),
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN"),
    ("merge", r"^(?:<<)$", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), [*_first, *([""] * (_tag == "null"))]
    )


_MOST_BYTES = 100_000_000
"""Size of a file, at most."""

_MOST_VALUES = 1_000_000
"""Values of a document, at most; those that an alias names count each time."""

_MOST_CHARACTERS = 1000
"""Characters of a reason that are told."""

_MOST_REASONS = 50
"""Reasons that are told of a file, at most."""


def given_studies(given: Study | str | Path) -> tuple[Study, ...]:
    """Return the studies that are given as such or in a study file; none where the name of a stored one is given.

    Raises
    ------
    StudyError
        If the file is refused.
    """
    if isinstance(given, Study):
        return (given,)
    return read_studies(given) if Path(given).suffix in (".yaml", ".yml") else ()


def read_studies(path: str | Path) -> tuple[Study, ...]:
    """Read the studies of a YAML file.

    Raises
    ------
    StudyError
        If the file cannot be read, or anything in it is refused: all reasons at once, each with file:line:column.
    """
    path = Path(path)
    studies: list[Study] = []
    reasons: list[tuple[yaml.Mark, str]] = []
    for node in _documents(path):
        try:
            reasons += [(key.start_mark, f"{key.value}: the key stands twice") for key in _keys_twice(node, set())]
            study = study_of(_from_folder(path.parent, _Loader("").construct_document(node)))
        except RefusedStudy as refused:
            reasons += [(_locate(node, at).start_mark, message) for at, message in refused.reasons]
        except yaml.MarkedYAMLError as error:
            reasons.append((error.problem_mark or node.start_mark, str(error.problem)))
        except (ValueError, TypeError) as error:
            reasons.append((node.start_mark, f"no study: {error}"))
        except RecursionError:
            reasons.append((node.start_mark, "no study: nested too deeply"))
        else:
            if study.name in [each.name for each in studies]:
                reasons.append((node.start_mark, f"name: two studies are named {study.name!r}"))
            studies.append(study)
    if reasons:
        reasons.sort(key=lambda reason: (reason[0].line, reason[0].column))
        lines = [
            f"{path}:{mark.line + 1}:{mark.column + 1}: {printable(told, _MOST_CHARACTERS)}"
            for mark, told in reasons[:_MOST_REASONS]
        ]
        more = len(reasons) - len(lines)
        raise StudyError("\n".join([*lines, *([f"{path}: and {more:,} more"] if more else [])]))
    if not studies:
        raise StudyError(f"{path}: no study in the file; see `covsvc run --help` for one")
    return tuple(studies)


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read the one mapping of a YAML file that holds no study.

    Raises
    ------
    StudyError
        If the file cannot be read, or holds something else.
    """
    path = Path(path)
    nodes = _documents(path)
    if len(nodes) != 1 or not isinstance(nodes[0], yaml.MappingNode):
        raise StudyError(f"{path}: one mapping of keys to values is expected")
    for key in _keys_twice(nodes[0], set()):
        mark = key.start_mark
        raise StudyError(f"{path}:{mark.line + 1}:{mark.column + 1}: {key.value}: the key stands twice")
    try:
        return dict(_Loader("").construct_document(nodes[0]))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or nodes[0].start_mark
        raise StudyError(f"{path}:{mark.line + 1}:{mark.column + 1}: {error.problem}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise StudyError(f"{path}: no mapping of keys to values: {error}") from None


def _documents(path: Path) -> list[yaml.Node]:
    """Return the documents of a YAML file."""
    try:
        text = read_text(path, _MOST_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
        raise StudyError(f"{path}: {reason}") from None
    try:
        nodes = [node for node in yaml.compose_all(text, _Loader) if node is not None]
        for node in nodes:
            values = _count(node, {})
            if values > _MOST_VALUES:
                raise StudyError(
                    f"{path}:{node.start_mark.line + 1}: {values:,} values, those that aliases name counted each time, "
                    f"are more than {_MOST_VALUES:,}; give a grid as {{start, stop, num}}"
                )
        return nodes
    except RecursionError:
        raise StudyError(f"{path}: no YAML: nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        told = printable(str(error.problem or error.context), _MOST_CHARACTERS)
        raise StudyError(f"{path}{where}: no YAML: {told}") from None
    except yaml.YAMLError as error:
        raise StudyError(f"{path}: no YAML: {printable(str(error), _MOST_CHARACTERS)}") from None


def _count(node: yaml.Node, counted: dict[int, int]) -> int:
    """Return how many values a node holds once its aliases are unrolled.

    Raises
    ------
    MarkedYAMLError
        If an alias names what it stands in.
    """
    if id(node) not in counted:
        counted[id(node)] = 0
        inner = [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else node.value
        held = inner if isinstance(node, yaml.CollectionNode) else ()
        counted[id(node)] = 1 + sum(_count(each, counted) for each in held)
    elif not counted[id(node)]:
        raise yaml.MarkedYAMLError(problem="an alias names what it stands in", problem_mark=node.start_mark)
    return counted[id(node)]


def _from_folder(folder: Path, told: Any) -> Any:
    """Return what a study says, with the files that it names taken from the folder of the study file."""
    if isinstance(told, Mapping) and isinstance(cluster := told.get("cluster"), str) and "://" not in cluster:
        told = {**told, "cluster": str(folder / cluster)} if cluster.lower().endswith(".json") else told
    experiment = told.get("experiment") if isinstance(told, Mapping) else None
    if not isinstance(experiment, Mapping) or experiment.get("name") not in registry.installed("experiments"):
        return told
    files = getattr(registry.find("experiments", experiment["name"]), "files", ())
    options = experiment.get("options")
    if not files or not isinstance(options, Mapping):
        return told
    found = {name: str(folder / path) for name, path in options.items() if name in files and isinstance(path, str)}
    return {**told, "experiment": {**experiment, "options": {**options, **found}}}


def _locate(node: yaml.Node, at: Sequence[str | int]) -> yaml.Node:
    """Return the node at a path of keys and indices, or as far as the path leads; for an unknown key, the key."""
    for depth, part in enumerate(at):
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    node = key if depth == len(at) - 1 else value
                    break
            else:
                return node
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            return node
    return node


def _keys_twice(node: yaml.Node, visited: set[int]) -> Iterator[yaml.Node]:
    """Yield keys that stand twice in a mapping; a node that aliases name again is visited once."""
    if id(node) in visited:
        return
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield key
                seen.add(key.value)
            yield from _keys_twice(value, visited)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _keys_twice(value, visited)
