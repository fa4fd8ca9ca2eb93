"""``.env`` files: lines of ``KEY=value`` in the dialect that Compose reads."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from typing import Final, NoReturn

from environments.errors import Problem, SpecError
from environments.spec.interpolation import TemplateError, substitute

#: What may stand between two statements: blanks, line ends and comments.
_BETWEEN: Final = re.compile(r"(?:\s+|#[^\n]*)*")
_EXPORT: Final = re.compile(r"export[ \t\v\f\r]+")
_KEY: Final = re.compile(r"([\w.\-\[\] \t\v\f\r\x85\xa0]*)([=:\n])")
_BLANKS: Final = " \t\v\f\r\x85\xa0"
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def read_dotenv(text: str, *, file: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that the text sets, in its order.

    A value may use earlier ones and `variables`, which win; a bare ``KEY`` passes that variable on when it is
    set. Raises `SpecError` with the line.
    """
    return _Dotenv(f"{text.removeprefix(chr(0xFEFF))}\n", file, variables).values


def read_raw(text: str, *, file: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The ``raw`` format: everything behind the first ``=`` as it stands, line by line.

    A bare ``KEY`` passes that variable on when it is set. Raises `SpecError` with the line.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(text.removeprefix(chr(0xFEFF)).split("\n"), start=1):
        key, separator, value = line.removesuffix("\r").lstrip(" \t").partition("=")
        if key.startswith("#") or not (key or separator):
            continue
        if not key or " " in key or "\t" in key:
            message = f"{key!r} is no variable name"
            raise SpecError(Problem(message, file, number, mend="Write KEY=value; nothing is quoted here."))
        if separator:
            values[key] = value
        elif key in variables:
            values[key] = variables[key]
    return values


class _Dotenv:
    """Statements are read one after the other; a line may hold several once a value is quoted."""

    def __init__(self, text: str, file: str, variables: Mapping[str, str]) -> None:
        self._text = text
        self._file = file
        self._variables = variables
        self.values: dict[str, str] = {}
        self._known = ChainMap(dict(variables), self.values)
        position = self._statement_start(0)
        while position < len(text):
            position = self._statement_start(self._statement(position))

    def _statement_start(self, position: int) -> int:
        match = _BETWEEN.match(self._text, position)
        return match.end() if match else position

    def _statement(self, position: int) -> int:
        """Read one statement; returns where it ends."""
        if export := _EXPORT.match(self._text, position):
            position = export.end()
        match = _KEY.match(self._text, position)
        if match is None:
            unexpected = re.compile(r"[^\w.\-\[\] \t\v\f\r\x85\xa0]").search(self._text, position)
            self._refuse(
                f"unexpected character {unexpected[0] if unexpected else ''!r} in a variable name", position
            )
        key = match[1].strip()
        if " " in key:
            self._refuse(f"{key!r} is no variable name: it has a space in it", position)
        if match[2] == "\n":
            if key in self._variables:
                self.values[key] = self._variables[key]
            return match.end()
        try:
            value, end = self._value(match.end())
        except TemplateError as error:
            self._refuse(f"{key}: {error}", position)
        self.values[key] = value
        return end

    def _value(self, position: int) -> tuple[str, int]:
        text = self._text
        while text[position] in _BLANKS:
            position += 1
        quote = text[position]
        if quote not in {"'", '"'}:
            line_end = text.index("\n", position)
            return self._filled(text[position:line_end].split(" #", 1)[0].rstrip()), line_end
        end = position + 1
        while end < len(text) and text[end] != quote:
            end += 2 if text[end] == "\\" else 1
        if end >= len(text):
            message = "the quote is never closed"
            raise TemplateError(message)
        inside = text[position + 1 : end]
        if quote == "'":
            return inside.replace("\\'", "'"), end + 1
        return self._filled(_unescaped(inside)), end + 1

    def _filled(self, template: str) -> str:
        return substitute(template, self._known, unset=_quiet)

    def _refuse(self, message: str, position: int) -> NoReturn:
        line = self._text.count("\n", 0, position) + 1
        raise SpecError(Problem(message, self._file, line))


def _unescaped(inside: str) -> str:
    def plain(match: re.Match[str]) -> str:
        escape = match[1]
        if escape == "$":
            return "$$"
        if escape.startswith("0"):
            # Compose takes off the zero and wants three octal digits behind it.
            digits = escape[1:]
            is_byte = re.fullmatch(r"[0-3][0-7]{2}", digits)
            return chr(int(digits, 8)) if is_byte else f"\\{digits}"
        return _ESCAPES.get(escape, escape)

    return re.sub(r'\\([abfnrtv$"\\]|0[0-9]{0,3})', plain, inside)


def _quiet(_: str) -> None:
    """A variable that is not set is simply empty here."""
