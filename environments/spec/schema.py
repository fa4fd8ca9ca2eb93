"""The first gate: the official Compose schema, answering with lines, keys and the nearest valid one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any, Final

import jsonschema

from environments.errors import Problem
from environments.spec.source import Map, Override, Reset, Seq, dotted, nearest, place_of

#: The schema that Docker Compose 2.40.3 carries (compose-spec, Apache-2.0).
_FILE: Final = "compose-spec.json"
#: Lists in which an item may not be twice; from all others doubles are taken out.
NEVER_TWICE: Final = frozenset(
    {
        "depends_on",
        "device_cgroup_rules",
        "external_links",
        "extra_hosts",
        "group_add",
        "models",
        "networks",
        "security_opt",
        "volumes_from",
    }
)
_KINDS: Final = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "empty",
}


def check_schema(tree: Map, problems: list[Problem]) -> None:
    """Add a problem for everything in the tree that the schema forbids."""
    for error in _validator().iter_errors(_plain(tree)):
        problems.extend(_problems(error, tree))


def _is_told_twice_on_purpose(error: jsonschema.ValidationError) -> bool:
    """Compose takes doubles out of most lists before it judges them."""
    return error.validator == "uniqueItems" and error.absolute_path[-1] not in NEVER_TWICE


def service_keys() -> frozenset[str]:
    """Every key that a service may have."""
    return frozenset(_schema()["definitions"]["service"]["properties"])


@cache
def _schema() -> dict[str, Any]:
    text = resources.files("environments.spec").joinpath(_FILE).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


@cache
def _validator() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(_schema())


def _plain(node: object) -> Any:  # noqa: ANN401 - a tree holds anything
    """The tree without its tags, for a validator that knows only plain values."""
    if isinstance(node, Override):
        return _plain(node.value)
    if isinstance(node, Map):
        return {key: _plain(value) for key, value in node.items() if not isinstance(value, Reset)}
    if isinstance(node, Seq):
        return [_plain(value) for value in node if not isinstance(value, Reset)]
    return node


def _problems(error: jsonschema.ValidationError, tree: Map) -> Iterable[Problem]:
    if _is_told_twice_on_purpose(error):
        return
    if error.validator in {"oneOf", "anyOf"}:
        yield from _problems(_closest(error), tree) if error.context else ()
        return
    path = list(error.absolute_path)
    if error.validator == "additionalProperties":
        for key in _unknown_keys(error):
            where = [*path, key]
            mend = nearest(key, _known_keys(error))
            yield _problem(f"unknown key {key!r}{_inside(path)}", tree, where, mend)
        return
    yield _problem(f"{dotted(path) or 'the file'} {_expectation(error)}", tree, path, "")


def _problem(message: str, tree: Map, path: list[str | int], mend: str) -> Problem:
    place = place_of(tree, path)
    return Problem(message, place.file, place.line, dotted(path), mend)


def _inside(path: list[str | int]) -> str:
    return f" in {dotted(path)}" if path else " at the top of the file"


def _closest(error: jsonschema.ValidationError) -> jsonschema.ValidationError:
    """Of the alternatives that all failed, the one the author most likely meant: the one of its kind."""
    branches: dict[object, list[jsonschema.ValidationError]] = {}
    for child in error.context or ():
        branches.setdefault(child.relative_schema_path[0], []).append(child)
    by_kind = [
        children
        for children in branches.values()
        if not any(child.validator == "type" and not child.relative_path for child in children)
    ]
    if len(by_kind) != 1:
        kinds = [kind for children in branches.values() for child in children for kind in _types_of(child)]
        error.validator, error.validator_value = "type", list(dict.fromkeys(kinds)) or ["object"]
        return error
    return by_kind[0][0]


def _types_of(error: jsonschema.ValidationError) -> list[str]:
    if error.validator != "type" or error.relative_path:
        return []
    value: Any = error.validator_value
    return [value] if isinstance(value, str) else list(value)


def _expectation(error: jsonschema.ValidationError) -> str:
    value: Any = error.validator_value
    match error.validator:
        case "type":
            kinds = [value] if isinstance(value, str) else value
            text = f"must be {' or '.join(_KINDS.get(kind, kind) for kind in kinds)}"
        case "enum":
            text = f"must be one of {', '.join(map(repr, value))}"
        case "required":
            instance: Any = error.instance
            text = f"needs the key {next(key for key in value if key not in instance)!r}"
        case "uniqueItems":
            text = "has an item twice"
        case "pattern":
            text = f"does not have the form {value}"
        case "minimum" | "maximum":
            text = f"must be at {'least' if error.validator == 'minimum' else 'most'} {value}"
        case _:
            text = "is not what the Compose specification allows"
    return text


def _unknown_keys(error: jsonschema.ValidationError) -> list[str]:
    schema: Any = error.schema
    instance: Any = error.instance
    patterns = [re.compile(pattern) for pattern in schema.get("patternProperties", {})]
    return [
        key
        for key in instance
        if key not in schema.get("properties", {}) and not any(pattern.search(key) for pattern in patterns)
    ]


def _known_keys(error: jsonschema.ValidationError) -> Iterable[str]:
    schema: Any = error.schema
    return list(schema.get("properties", {}))
