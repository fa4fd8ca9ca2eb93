"""Strangers' JSON, read without trust: bounded, storable, and every value of the type it should have."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from runs.providers.events import PayloadError

DEPTH_LIMIT: Final = 60
_NAME_LIMIT: Final = 250
_TEXT_LIMIT: Final = 1_000
_PATH_LIMIT: Final = 20_000
_COMMIT: Final = re.compile(r"[0-9a-fA-F]{7,64}")
#: The database stores neither in JSON.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def read_json(body: bytes) -> dict[str, Any]:
    """The object that a body is, with what no database stores replaced.

    Raises:
        PayloadError: no JSON, no object, or nested deeper than `DEPTH_LIMIT`.
    """
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise PayloadError("The body is not JSON. Choose the content type application/json.") from error
    if not isinstance(value, dict):
        raise PayloadError("The body must be a JSON object.")
    storable = _storable(value, DEPTH_LIMIT)
    return storable if isinstance(storable, dict) else {}


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _storable(value: object, depth: int) -> object:
    if depth == 0:
        raise PayloadError(f"The body is nested deeper than {DEPTH_LIMIT} levels.")
    match value:
        case str():
            return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)
        case float() if not math.isfinite(value):
            raise PayloadError("The body holds a number that is too large.")
        case dict():
            return {
                _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", key): _storable(item, depth - 1)
                for key, item in value.items()
            }
        case list():
            return [_storable(item, depth - 1) for item in value]
    return value


class Reader:
    """Takes values out of a payload by their dotted place, each with its type."""

    def __init__(self, payload: Mapping[str, Any], place: str = "") -> None:
        self._payload = payload
        self._place = place

    def text(self, place: str, *, default: str | None = None) -> str:
        """A text, its first line, cut at 1,000 characters; the default where there is none or null."""
        value = self._value(place, str, default)
        return value.strip().partition("\n")[0].strip()[:_TEXT_LIMIT]

    def name(self, place: str, *, default: str | None = None) -> str:
        """A branch's or tag's name: short, printable, nothing that Git would read as an option."""
        value = self._value(place, str, default)
        if len(value) > _NAME_LIMIT or not value.isprintable() or value.startswith("-"):
            raise PayloadError(f"{self._named(place)} is not a name that Git allows.")
        return value

    def commit(self, place: str, *, default: str | None = None) -> str:
        """A commit's hash; empty for the one of zeros by which hosts say "none"."""
        value = self._value(place, str, default)
        if value and not _COMMIT.fullmatch(value):
            raise PayloadError(f"{self._named(place)} is not a commit.")
        return value.lower() if value.strip("0") else ""

    def number(self, place: str) -> int:
        """A request's number."""
        value = self._value(place, int, None)
        if isinstance(value, bool) or not 0 < value < 1 << 53:
            raise PayloadError(f"{self._named(place)} is not a number that counts something.")
        return value

    def flag(self, place: str) -> bool:
        """True or false; false where there is none."""
        return self._value(place, bool, default=False)

    def child(self, place: str) -> Reader | None:
        """The object at the place; None where there is none."""
        value = self._find(place)
        if value is None:
            return None
        return Reader(self._value(place, dict, None), self._named(place))

    def children(self, place: str) -> list[Reader]:
        """The objects of the list at the place; none where there is no list."""
        items = self._value(place, list, [])
        if not all(isinstance(item, dict) for item in items):
            raise PayloadError(f"{self._named(place)} must be a list of objects.")
        return [Reader(item, f"{self._named(place)}[{at}]") for at, item in enumerate(items)]

    def texts(self, place: str) -> list[str]:
        """The texts of the list at the place; none where there is no list."""
        items = self._value(place, list, [])
        if not all(isinstance(item, str) for item in items):
            raise PayloadError(f"{self._named(place)} must be a list of texts.")
        return items

    def has(self, place: str) -> bool:
        """Whether anything but null is there."""
        return self._find(place) is not None

    def same(self, one: str, other: str) -> bool:
        """Whether two places hold the same, and something."""
        value = self._find(one)
        return value is not None and value == self._find(other)

    def _value[T](self, place: str, kind: type[T], default: T | None) -> T:
        value = self._find(place)
        if value is None and default is not None:
            return default
        if not isinstance(value, kind):
            raise PayloadError(f"{self._named(place)} must be {_KINDS[kind]}.")
        return value

    def _find(self, place: str) -> object:
        value: object = self._payload
        for part in place.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def _named(self, place: str) -> str:
        return f"{self._place}.{place}" if self._place else place


_KINDS: Final[Mapping[type, str]] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


def changed_paths(commits: list[Reader], *, is_complete: bool) -> tuple[str, ...] | None:
    """Every path that the commits touched; None when the host left some out or names none."""
    kinds = ("added", "modified", "removed")
    paths = sorted({path for commit in commits for kind in kinds for path in commit.texts(kind)})
    return tuple(paths) if is_complete and paths and len(paths) <= _PATH_LIMIT else None


def branch_and_tag(ref: str) -> tuple[str, str]:
    """The branch or the tag that a full ref means; the other is empty."""
    if ref.startswith("refs/tags/"):
        return "", ref.removeprefix("refs/tags/")
    return ref.removeprefix("refs/heads/"), ""
