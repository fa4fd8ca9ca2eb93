"""What a suite file says of a suite, in rows that people read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class DefinitionRow:
    """One thing that the file says, as lines."""

    label: str
    lines: list[str]
    #: Whether the lines are names and commands rather than sentences.
    is_code: bool = True


def definition_rows(definition: Mapping[str, object]) -> list[DefinitionRow]:
    """The rows in the order in which docs/suite-file.md lists the keys; unknown ones are left to the YAML."""
    rows = []
    for key, label, words, is_code in _ROWS:
        if key in definition:
            lines = [line for line in words(definition[key]) if line]
            if lines:
                rows.append(DefinitionRow(label, lines, is_code))
    return rows


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _matrix(value: object) -> list[str]:
    return [f"{name}: {', '.join(_texts(values))}" for name, values in _items(value)]


def _hooks(value: object) -> list[str]:
    hooks = value if isinstance(value, list) else []
    return [f"{one.get('service', '')}: {one.get('run', '')}" for one in hooks if isinstance(one, Mapping)]


def _recipes(value: object) -> list[str]:
    return [
        f"{name} in {one.get('service', '')}: {one.get('run', '')}"
        for name, one in _items(value)
        if isinstance(one, Mapping)
    ]


def _triggers(value: object) -> list[str]:
    lines = []
    for name, words in (("push", "Pushes"), ("pull_request", "Pull requests")):
        if isinstance(value, Mapping) and name in value:
            wanted = value[name] if isinstance(value[name], Mapping) else {}
            branches, paths = wanted.get("branches"), wanted.get("paths")
            where = f" to {', '.join(_texts(branches))}" if branches else ""
            which = f" that change {', '.join(_texts(paths))}" if paths else ""
            lines.append(f"{words}{where}{which}")
    if isinstance(value, Mapping) and value.get("schedule"):
        lines.append("Its schedules, below")
    return lines


_GATES: Final = {
    "new_failures": "New failures: at most {}",
    "new_flaky": "New flaky tests: at most {}",
    "duration_increase": "Duration: at most {} longer",
}


def _gates(value: object) -> list[str]:
    return [
        _GATES[name].format(limit) if name in _GATES else f"{name}: {limit}" for name, limit in _items(value)
    ]


def _items(value: object) -> list[tuple[str, object]]:
    return [(str(name), one) for name, one in value.items()] if isinstance(value, Mapping) else []


_ROWS: Final[tuple[tuple[str, str, Callable[[object], list[str]], bool], ...]] = (
    ("compose", "Compose files", _texts, True),
    ("tests", "Tests run in", _texts, True),
    ("results", "Reports", _texts, True),
    ("artifacts", "Other files kept", _texts, True),
    ("timeout", "Ends after", _texts, False),
    ("shards", "Shards", _texts, False),
    ("matrix", "Matrix", _matrix, True),
    ("before", "Before the tests", _hooks, True),
    ("data", "Data recipes", _recipes, True),
    ("on", "Started by", _triggers, False),
    ("gates", "Gates", _gates, False),
    ("keep_on_failure", "Kept when it fails", _texts, False),
)
