"""What users can type, set and call is written down, and what is written down is there."""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from itdash import cli
from itdash.env import Environment
from runs.api.root import api
from runs.suitefile import read_suite_file
from tests.conftest import ROOT

DOCS = ROOT / "docs"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
#: Django's conventions, found where every project has them.
FRAMEWORK_MODULES = {"apps.py", "migrations/"}
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)


def pages() -> list[Path]:
    """Every page a reader may open."""
    found = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    return sorted(found)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def options_of(command: str) -> list[str]:
    parser = argparse.ArgumentParser(add_help=False)
    cli.load(command).add_arguments(parser)
    return list(options_in(parser))


def options_in(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from (option for option in action.option_strings if option not in {"-h", "--help"})
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from options_in(subparser)


def section(page: str, heading: str) -> str:
    """The part of a page below a second-level heading; empty when there is none."""
    parts = re.split(r"^## +(.+)$", text(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True)).get(heading, "")


@pytest.mark.parametrize("command", cli.command_names())
def test_every_command_and_each_of_its_options_is_described(command: str) -> None:
    described = section("command-line.md", f"`itdash {command}`")

    assert described, f"docs/command-line.md has no section ## `itdash {command}`"
    assert [option for option in options_of(command) if f"`{option}" not in described] == []


def test_no_command_is_described_that_is_not_there() -> None:
    described = re.findall(r"^## `itdash (\w+)`$", text("command-line.md"), flags=re.MULTILINE)

    assert sorted(described) == cli.command_names()


@pytest.mark.parametrize("field", sorted(Environment.model_fields))
def test_every_setting_is_described_with_its_default(field: str) -> None:
    variable = variable_of(field)
    rows = [line for line in text("settings.md").splitlines() if line.startswith(f"| `{variable}`")]

    assert len(rows) == 1, f"docs/settings.md needs one row for {variable}"
    default = Environment.model_fields[field].default
    assert default is None or f"`{default}`" in rows[0] or default == "", rows[0]


def variable_of(field: str) -> str:
    alias: Any = Environment.model_fields[field].validation_alias
    choices = getattr(alias, "choices", [alias] if alias else [])
    return str(choices[0]) if choices else f"ITDASH_{field.upper()}"


def calls() -> list[str]:
    schema = api.get_openapi_schema()
    return [
        f"{method.upper()} {path.removeprefix('/api/v1')}"
        for path, operations in schema["paths"].items()
        for method in operations
    ]


def as_written(call: str) -> str:
    """Parameters' names differ between code and page (`{run_id}`, `{id}`): only their place counts."""
    return re.sub(r"\{\w+\}", "{}", call)


def test_every_call_of_the_api_is_described_and_no_other() -> None:
    described = re.findall(
        r"^\| `((?:GET|POST|PUT|PATCH|DELETE) /[^`?]*)", text("api.md"), flags=re.MULTILINE
    )

    assert sorted(map(as_written, described)) == sorted(map(as_written, calls()))


@pytest.mark.parametrize("page", pages(), ids=named)
def test_every_suite_file_shown_can_be_read(page: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)

    for block in blocks:
        if re.search(r"^suites:", block, re.MULTILINE):
            assert read_suite_file(block, file=page.name).suites


@pytest.mark.parametrize("page", pages(), ids=named)
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    broken = [link for link in links_in(page) if not leads_somewhere(page, link)]

    assert broken == []


def links_in(page: Path) -> list[str]:
    prose = CODE.sub(keep_links, page.read_text(encoding="utf-8"))
    return [link for link in LINK.findall(prose) if not re.match(r"[a-z]+:", link)]


def keep_links(code: re.Match[str]) -> str:
    """A link's text may be code; a link inside code is none."""
    return "" if "](" in code[0] else "code"


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return False
    return not anchor or (target.suffix == ".md" and anchor in anchors_of(target))


def anchors_of(page: Path) -> set[str]:
    """As code hosts make them: lower case, punctuation dropped, spaces to hyphens."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.+)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_page_of_the_documentation_is_in_its_table_of_contents() -> None:
    listed = {link.partition("#")[0] for link in links_in(DOCS / "README.md")}

    assert [page.name for page in sorted(DOCS.glob("*.md")) if page.name not in {*listed, "README.md"}] == []


@pytest.mark.parametrize("package", ["itdash", "runs", "environments"])
def test_every_module_has_its_place_in_the_architecture(package: str) -> None:
    room = text("architecture.md").split(f"### `{package}/`")[1].split("\n#")[0]

    modules = [
        f"{path.name}/" if path.is_dir() else path.name
        for path in sorted((ROOT / package).iterdir())
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and not path.name.startswith("__")
    ]
    assert [
        module for module in modules if f"`{module}`" not in room and module not in FRAMEWORK_MODULES
    ] == []


def test_decisions_are_numbered_once_and_say_what_and_why() -> None:
    decisions = sorted(path for path in (DOCS / "decisions").glob("*.md") if path.name != "README.md")

    numbers = [path.name[:4] for path in decisions]
    assert len(numbers) == len(set(numbers))
    incomplete = [
        path.name
        for path in decisions
        if not all(word in path.read_text(encoding="utf-8") for word in ("**Choice.**", "**Why.**"))
    ]
    assert incomplete == []


def test_nothing_committed_names_a_folder_of_somebodys_machine() -> None:
    # Written so that this file does not match itself.
    patterns = [r"(^|[^a-z0-9_}])/(root|work/main|work/shared)[/]", r"[.]library[/]"]

    found = subprocess.run(
        ["git", "grep", "-I", "-n", "-E", "|".join(patterns), "--", ".", ":!*.lock"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.stdout.splitlines() == []
