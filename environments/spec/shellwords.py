"""A command line in one string → its words, cut as Compose cuts it, which is not quite as a shell would."""

from __future__ import annotations

from typing import Final

from environments.spec.values import InvalidValueError

_BLANKS: Final = " \t\r\n"
#: Where a shell would begin something else; the words end there.
_ENDS: Final = ";&|<>"


def words(text: str) -> list[str]:
    """The words of a command line; nothing in them is expanded.

    They end at the first unquoted ``;``, ``&``, ``|``, ``<`` or ``>``. Raises `InvalidValueError`.
    """
    return _Words(text).found


def ends_early(text: str) -> bool:
    """Whether part of the line is left out, because the words end before it does."""
    return _Words(text).ends_early


#: Each kind of quote, and the kinds inside which it stands for itself; ``(`` is a command substitution.
_HIDDEN_BY: Final = {
    "'": {'"', "("},
    '"': {"'", "("},
    "`": {"'", '"', "("},
    "(": {"'", '"', "`"},
    ")": {"'", '"', "`"},
}


class _Words:
    """Reads character by character, remembering which quotes are open."""

    def __init__(self, text: str) -> None:
        self.found: list[str] = []
        self._word = ""
        self._is_word = False
        self._open: set[str] = set()
        self._is_escaped = False
        self.ends_early = not all(self._take(character) for character in text)
        if self._is_word:
            self.found.append(self._word)
        if self._open or self._is_escaped:
            message = f"a command whose quotes do not end: {_shown(text)}"
            raise InvalidValueError(message)

    def _take(self, character: str) -> bool:
        """Take one more character; False when the words end before it."""
        if self._is_escaped:
            self._add(character)
            self._is_escaped = False
        elif character == "\\" and "'" not in self._open:
            self._is_escaped = True
        elif character in _BLANKS:
            self._blank(character)
        elif character in _HIDDEN_BY and not self._open & _HIDDEN_BY[character]:
            self._quote(character)
        elif character in _ENDS and not self._open:
            return self._end(character)
        else:
            self._add(character)
        return True

    def _add(self, character: str) -> None:
        self._word += character
        self._is_word = True

    def _blank(self, character: str) -> None:
        if self._open:
            self._word += character
        elif self._is_word:
            self.found.append(self._word)
            self._word, self._is_word = "", False

    def _quote(self, character: str) -> None:
        if character in "'\"":
            self._open ^= {character}
            self._is_word = True
            return
        if character == "(" and ("(" in self._open or not self._word.endswith("$")):
            message = "a command with a bracket that opens no substitution"
            raise InvalidValueError(message, "Put it in quotes.")
        self._open ^= {"(" if character == ")" else character}
        self._add(character)

    def _end(self, character: str) -> bool:
        # A number before '>' names what is redirected; it is no word.
        if character == ">" and self._word[:1].isdecimal():
            self._is_word = False
        return False


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")  # noqa: PLR2004 - enough to recognise it
