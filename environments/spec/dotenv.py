"""``.env`` files: lines of ``KEY=value`` in the dialect that Compose reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from environments.errors import Problem, SpecError
from environments.spec.interpolation import TemplateError, substitute

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-\[\]]*")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def read_dotenv(text: str, *, file: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that the text sets, in its order.

    A value may use earlier lines and `variables`; a bare ``KEY`` passes that variable on when it is set.
    Raises `SpecError` with the line.
    """
    values: dict[str, str] = {}
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    position = 0
    while position < len(text):
        position = _line(text, position, file, values, variables)
    return values


def _line(text: str, position: int, file: str, values: dict[str, str], variables: Mapping[str, str]) -> int:
    line_end = text.find("\n", position)
    line_end = len(text) if line_end < 0 else line_end
    line = text[position:line_end]
    stripped = line.strip()
    if not stripped or stripped.startswith("#"):
        return line_end + 1
    start = position + len(line) - len(line.lstrip())
    if re.match(r"export\s", text[start:line_end]):
        start += len("export")
        start += len(text[start:line_end]) - len(text[start:line_end].lstrip())
    number = text.count("\n", 0, position) + 1
    match = _KEY.match(text, start)
    if match is None:
        raise SpecError(Problem(f"unexpected character {text[start]!r} in a variable name", file, number))
    key = match[0]
    rest = text[match.end() : line_end]
    separator = re.match(r"[ \t]*[=:]", rest)
    if separator is None:
        if rest.strip() and not rest.strip().startswith("#"):
            raise SpecError(Problem(f"{key}: expected '=' and a value", file, number, key))
        if key in variables:
            values[key] = variables[key]
        return line_end + 1
    value_start = match.end() + separator.end()
    while value_start < line_end and text[value_start] in " \t":
        value_start += 1
    known = {**values, **variables}
    try:
        values[key], end = _value(text, value_start, line_end, known)
    except TemplateError as error:
        raise SpecError(Problem(f"{key}: {error}", file, number, key)) from error
    return end


def _value(text: str, start: int, line_end: int, known: Mapping[str, str]) -> tuple[str, int]:
    quote = text[start : start + 1]
    if quote not in {"'", '"'}:
        raw = re.split(r"(?:^|[ \t])#", text[start:line_end], maxsplit=1)[0].strip()
        return substitute(raw, known, unset=_quiet), line_end + 1
    end = start + 1
    while end < len(text) and text[end] != quote:
        end += 2 if text[end] == "\\" else 1
    if end >= len(text):
        message = "the quote is never closed"
        raise TemplateError(message)
    inside = text[start + 1 : end]
    after = text.find("\n", end)
    after = len(text) if after < 0 else after + 1
    if quote == "'":
        return inside.replace("\\'", "'"), after
    return substitute(_unescape(inside), known, unset=_quiet), after


def _unescape(inside: str) -> str:
    def plain(match: re.Match[str]) -> str:
        character = match[1]
        if character == "$":
            return "$$"
        return _ESCAPES.get(character, character if character in '\\"' else match[0])

    return re.sub(r"\\(.)", plain, inside, flags=re.DOTALL)


def _quiet(_: str) -> None:
    """A variable that is not set is simply empty here."""


def read_raw(text: str) -> dict[str, str]:
    """The ``raw`` format: everything behind the first ``=`` as it stands."""
    lines = (line for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value for key, _, value in (line.partition("=") for line in lines)}
