"""The format of a validation."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import validations
from jsonschema import Draft202012Validator

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/validation.schema.json").read_text())


def problems(told):
    return [error.json_path for error in Draft202012Validator(SCHEMA).iter_errors(told)]


def test_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", validations.EVERY)
def test_validations_are_as_the_schema_says(name):
    assert problems(json.loads(json.dumps(validations.EVERY[name](), allow_nan=False))) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 2),
        (("outcome",), "reported"),
        (("margin",), 0),
        (("studies", 0, "candidate"), "main"),
        (("studies", 0, "drift"), [["numpy", "2.4.6"]]),
        (("studies", 0, "work", "columns"), -1),
        (("studies", 0, "columns", 0, "state"), "other"),
        (("studies", 0, "columns", 0, "worst_coverage"), 1.5),
        (("studies", 0, "columns", 0, "toys_rose"), 0.5),
        (("studies", 0, "findings", 0, "kind"), "worse"),
        (("studies", 0, "findings", 0, "numbers"), {"coverage": "low"}),
        (("studies", 0, "baseline", "name"), None),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_what_is_not_as_the_schema_says_is_found(path, value):
    told = copy.deepcopy(validations.failed())
    place = told
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (found,) = problems(told)
    assert found.startswith("$" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path))


def nodes(schema):
    yield schema
    for key in ("properties", "$defs"):
        for each in schema.get(key, {}).values():
            yield from nodes(each)


def test_every_key_is_required_and_no_other_allowed():
    """A reader must not have to guess whether a key that is missing is not known."""
    objects = [node for node in nodes(SCHEMA) if "properties" in node]
    assert len(objects) == 6
    for node in objects:
        assert node["required"] == list(node["properties"])
        assert node["additionalProperties"] is False


def test_every_key_says_what_it_is():
    described = [node for node in nodes(SCHEMA) if "properties" in node]
    for node in described:
        for name, each in node["properties"].items():
            assert each.get("description") or "$ref" in each or "$ref" in each.get("items", {}) or "enum" in each, name
