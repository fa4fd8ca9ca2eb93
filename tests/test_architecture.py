"""The house's rules that import-linter cannot hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs.actions.locks import Lock

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["environments", "itdash", "runs"]
WRITES = {"update", "create", "get_or_create", "update_or_create", "bulk_create", "aupdate", "acreate"}


def production_modules() -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path


def root_name(node: ast.expr) -> str:
    """The name a chain of attributes and calls begins with: `Run` of `Run.objects.filter(…).update`."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else ""


def status_writes(tree: ast.AST) -> Iterator[int]:
    """Lines that write a run's `status`."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        names = {keyword.arg for keyword in node.keywords}
        if node.func.attr in WRITES and "status" in names and root_name(node.func) == "Run":
            yield node.lineno


def test_only_one_module_changes_a_runs_status() -> None:
    writers = {
        str(path.relative_to(ROOT))
        for path in production_modules()
        if any(status_writes(ast.parse(path.read_text())))
    }

    assert writers == {"runs/actions/runs.py"}


@pytest.mark.parametrize(
    "code", ["Run.objects.filter(pk=1).update(status='passed')", "Run.objects.create(status=1)"]
)
def test_the_rule_sees_what_it_forbids(code: str) -> None:
    assert list(status_writes(ast.parse(code))) == [1]


def test_no_module_is_longer_than_one_room_should_be() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in production_modules()
        if (lines := len(path.read_text().splitlines())) > 500
    }

    assert long == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    banned = {"utils", "helpers", "common", "core", "misc"}

    assert [path for path in production_modules() if path.stem in banned or path.parent.name in banned] == []


def test_every_kind_of_advisory_lock_is_taken_for_one_thing() -> None:
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in production_modules()}
    asking = {path for path, text in texts.items() if re.search(r"pg_\w*advisory", text)}
    takers = {
        name: [path for path, text in texts.items() if re.search(rf"\bLock\.{name}\b", text)]
        for name in Lock.__members__
    }

    # The environments know nothing of the runs, and have numbers of their own.
    keys = [
        int(number, 0)
        for path in asking
        for number in re.findall(r"^\w*LOCK_KEY = (\w+)$", texts[path], re.MULTILINE)
    ]

    assert {path for path in asking if not path.startswith("environments/")} == {"runs/actions/locks.py"}
    assert len(keys) >= len(asking) - 1 >= 1
    assert len({*Lock, *keys}) == len(takers) + len(keys)
    assert {name: paths for name, paths in takers.items() if len(paths) != 1} == {}
