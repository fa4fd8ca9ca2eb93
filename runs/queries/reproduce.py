"""The command that runs one test again, where its tool can be told from what the report says of it."""

from __future__ import annotations

import re
import shlex

from runs.models import TestCase

_DOTTED = re.compile(r"[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)+")
_GO_NAME = re.compile(r"(Test|Example|Fuzz)\w*(/.+)?")
#: Nobody types more, and no shell needs it.
LIMIT = 600


def command(case: TestCase) -> str:
    """A line for a shell, quoted; empty where the tool is not known or the name would not survive a shell."""
    told = f"{case.name}{case.parameters}{case.file}"
    if len(told) > LIMIT or not told.isprintable():
        return ""
    return next((line for tool in (_pytest, _playwright, _jest, _go, _maven) if (line := tool(case))), "")


def _pytest(case: TestCase) -> str:
    python = _pytest_id(case)
    return f"pytest {shlex.quote(python)}" if python else ""


def _playwright(case: TestCase) -> str:
    if not case.file.endswith((".spec.ts", ".spec.js", ".spec.tsx", ".spec.mjs")):
        return ""
    return f"npx playwright test {shlex.quote(case.file)} -g {shlex.quote(re.escape(case.name))}"


def _jest(case: TestCase) -> str:
    if not case.file.endswith((".test.ts", ".test.js", ".test.tsx", ".test.jsx", ".test.mjs")):
        return ""
    return f"npx jest {shlex.quote(case.file)} -t {shlex.quote(re.escape(case.name))}"


def _go(case: TestCase) -> str:
    """Go's reports name the package where others name a class."""
    if not _GO_NAME.fullmatch(case.name) or "/" not in case.class_name:
        return ""
    parts = f"{case.name}{case.parameters}".split("/")
    pattern = "/".join(f"^{re.escape(part)}$" for part in parts)
    return f"go test {shlex.quote(case.class_name)} -run {shlex.quote(pattern)}"


def _maven(case: TestCase) -> str:
    if not _DOTTED.fullmatch(case.class_name) or not _is_java(case.class_name):
        return ""
    return f"mvn test -Dtest={shlex.quote(f'{case.class_name}#{case.name}')}"


def _pytest_id(case: TestCase) -> str:
    """`file::Class::name[parameters]`; empty when it is no Python test.

    pytest's reports name no file unless asked to: the dotted class then is the module, and the classes in it.
    """
    parts = case.class_name.split(".") if _DOTTED.fullmatch(case.class_name) else [case.class_name]
    modules = [at for at, part in enumerate(parts) if part.startswith("test_") or part.endswith("_test")]
    if not case.file.endswith(".py") and (case.file or not modules):
        return ""
    inner = parts[modules[-1] + 1 :] if modules else []
    file = case.file or f"{'/'.join(parts[: modules[-1] + 1])}.py"
    return "::".join([file, *inner, f"{case.name}{case.parameters}"])


def _is_java(class_name: str) -> bool:
    """A package in small letters and a class that begins with a capital one."""
    package, _, simple = class_name.rpartition(".")
    return package.islower() and simple[:1].isupper()
