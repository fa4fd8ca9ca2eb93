"""The words that runs are searched by: `branch:main -trigger:schedule started:<3d coupon`.

The text is the truth: chips and tabs only write into it. A word that names nothing known is looked for as it
stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

KEYS = (
    "branch",
    "suite",
    "status",
    "trigger",
    "started",
    "duration",
    "commit",
    "test",
    "service",
    "by",
    "is",
)
TEXT_LIMIT = 500
WORD_LIMIT = 30
#: A word may be negated and its value quoted: `-branch:"release 2"`.
_WORD = re.compile(r'(-?)([a-z]+):(?:"([^"]*)"|(\S*))|"([^"]*)"|(\S+)')
_LENGTH = re.compile(r"([<>])(\d{1,6}(?:\.\d{1,3})?)(ms|s|m|h|d|w)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


@dataclass(frozen=True, slots=True)
class Word:
    """One condition; without a key it is looked for in everything that a run is known by."""

    value: str
    key: str = ""
    is_not: bool = False

    def __str__(self) -> str:
        # A quotation mark cannot be quoted; the star stands for any character, so also for it.
        value = self.value.replace('"', "*")
        value = f'"{value}"' if re.search(r"\s", value) or not value else value
        return f"{'-' if self.is_not else ''}{self.key}:{value}" if self.key else value


@dataclass(frozen=True, slots=True)
class Length:
    """A bound: less or more than so long."""

    is_less: bool
    span: timedelta


def words_of(text: str) -> list[Word]:
    """Read the words of a search."""
    found: list[Word] = []
    for minus, key, quoted, value, phrase, plain in _WORD.findall(text.replace("\x00", "")[:TEXT_LIMIT]):
        if key in KEYS and (quoted or value):
            found.append(Word((quoted or value)[:250], key, bool(minus)))
        elif phrase or plain:
            found.append(Word(phrase or plain))
        elif key and (quoted or value):
            found.append(Word(f"{minus}{key}:{quoted or value}"))
    return found[:WORD_LIMIT]


def text_of(words: Iterable[Word]) -> str:
    """Write words so that they are read as the same."""
    return " ".join(map(str, words))


def length_of(value: str, *, unit: str) -> Length | None:
    """Read `<3d` or `>12m`; a number alone is in `unit`. None for anything else."""
    match = _LENGTH.fullmatch(value)
    if match is None:
        return None
    seconds = float(match[2]) * _UNITS[match[3] or unit]
    return Length(is_less=match[1] == "<", span=timedelta(seconds=min(seconds, 10 * 365 * 86_400)))


def replaced(words: Iterable[Word], key: str, value: str) -> list[Word]:
    """The words with one of that key and value in place of those of the key; without any when it is empty."""
    others = [word for word in words if word.key != key or word.is_not]
    return [*others, Word(value, key)] if value else others
