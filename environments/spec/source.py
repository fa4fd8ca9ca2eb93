"""YAML text → plain values that remember their lines.

Stricter than a YAML library by default: duplicate keys, keys that are not strings and cycles are errors, and
text that grows through aliases or nests without end is refused before it costs anything. Scalars follow the
rules of YAML 1.2 as Compose reads them, so ``on``, ``off``, ``yes`` and ``no`` are words.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NoReturn

import yaml

from environments.errors import Problem, SpecError

#: Bounds on what one file may be; real Compose files stay far below a tenth of each.
MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 60
MAX_VALUES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value was written."""

    file: str = ""
    line: int | None = None


NOWHERE: Final = Mark()


class Map(dict[str, Any]):
    """A mapping that knows where each of its keys was written."""

    __slots__ = ("mark", "marks")

    def __init__(
        self,
        values: Iterable[tuple[str, Any]] = (),
        *,
        marks: dict[str, Mark] | None = None,
        mark: Mark = NOWHERE,
    ) -> None:
        super().__init__(values)
        self.marks: dict[str, Mark] = {} if marks is None else marks
        self.mark = mark

    def put(self, key: str, value: object, mark: Mark) -> None:
        """Set a value together with its place."""
        self[key] = value
        self.marks[key] = mark

    def place(self, key: str) -> Mark:
        """Where the key was written, or where the mapping begins."""
        return self.marks.get(key, self.mark)


class Seq(list[Any]):
    """A sequence that knows where each of its items was written."""

    __slots__ = ("mark", "marks")

    def __init__(
        self, values: Iterable[Any] = (), *, marks: Iterable[Mark] = (), mark: Mark = NOWHERE
    ) -> None:
        super().__init__(values)
        self.marks: list[Mark] = list(marks)
        self.mark = mark

    def add(self, value: object, mark: Mark) -> None:
        """Append a value together with its place."""
        self.append(value)
        self.marks.append(mark)

    def place(self, index: int) -> Mark:
        """Where the item was written, or where the sequence begins."""
        mark = self.marks[index] if index < len(self.marks) else self.mark
        return self.mark if mark.line is None else mark


@dataclass(frozen=True, slots=True)
class Reset:
    """``!reset``: take the key away, here and in what is merged below."""


@dataclass(frozen=True, slots=True)
class Override:
    """``!override``: put this in the place of what is merged below."""

    value: Any


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A bare date or time, which YAML takes for more than text; hardly ever what the author meant."""

    text: str


def place_of(tree: object, path: Iterable[str | int]) -> Mark:
    """The nearest known place to a path in the tree."""
    mark = tree.mark if isinstance(tree, Map | Seq) else NOWHERE
    for step in path:
        try:
            mark, tree = tree.place(step), tree[step]  # type: ignore[attr-defined,index] # anything else raises
        except (AttributeError, LookupError, TypeError):
            break
        tree = tree.value if isinstance(tree, Override) else tree
    return mark


def dotted(path: Iterable[str | int]) -> str:
    """A path as people write it: ``services.web.ports[0]``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


#: Letters that may be missing or too many in a word that was meant to be another.
_MAX_SLIP: Final = 4


def nearest(word: str, known: Iterable[str]) -> str:
    """The mend for a misspelt word: a question naming the closest known one, or nothing."""
    candidates = islice((other for other in known if abs(len(other) - len(word)) <= _MAX_SLIP), 500)
    matches = difflib.get_close_matches(word[:100], candidates, n=1, cutoff=0.6)
    return f"Did you mean {matches[0]!r}?" if matches else ""


def read_yaml(text: str, *, file: str) -> list[Any]:
    """The documents in the text. Raises `SpecError`, with the line, for anything it cannot take."""
    if len(text) > MAX_BYTES:
        _refuse(f"the file is larger than {MAX_BYTES // 1024} KiB", Mark(file, 1))
    try:
        return list(_Composer(text.removeprefix("\ufeff"), file).documents())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        message = " ".join(part for part in (error.context, error.problem) if part)
        raise SpecError(Problem(f"not YAML: {message}", file, line)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(Problem("not YAML: a character that may not appear in a file", file, line)) from error
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise SpecError(Problem("not text: half of a character", file, line)) from error


class _Composer:
    """Builds values from parser events, counting what it builds: the text is not to be trusted."""

    def __init__(self, text: str, file: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._file = file
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._open: set[str] = set()
        self._values = 0
        self._depth = 0

    def documents(self) -> Iterator[Any]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
                yield self._value(next(self._events))

    def _value(self, event: yaml.Event) -> Any:  # noqa: ANN401 - YAML holds anything
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        anchor = getattr(event, "anchor", None)
        before = self._values
        self._count(1, event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            _refuse(f"nested more than {MAX_DEPTH} levels deep", self._mark(event))
        if anchor:
            self._anchors.pop(anchor, None)
            self._open.add(anchor)
        value = self._node(event)
        self._depth -= 1
        if anchor:
            self._open.discard(anchor)
            self._anchors[anchor] = (value, self._values - before)
        return value

    def _node(self, event: yaml.Event) -> Any:  # noqa: ANN401 - YAML holds anything
        tag = getattr(event, "tag", None)
        value: Any
        if isinstance(event, yaml.MappingStartEvent):
            value = self._mapping(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(event)
        else:
            value = _scalar(event)
        if tag == "!reset":
            return Reset()
        return Override(value) if tag == "!override" else value

    def _alias(self, event: yaml.AliasEvent) -> Any:  # noqa: ANN401 - YAML holds anything
        name = event.anchor or ""
        if name in self._open:
            _refuse(f"cycle: the anchor {name!r} holds itself", self._mark(event))
        if name not in self._anchors:
            _refuse(f"unknown anchor {name!r}", self._mark(event), nearest(name, self._anchors))
        value, weight = self._anchors[name]
        self._count(weight, event)
        return value

    def _mapping(self, start: yaml.Event) -> Map:
        result = Map(mark=self._mark(start))
        merged: list[Map] = []
        merge_seen = False
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            mark = self._mark(event)
            is_merge = _is_merge_key(event)
            key = _untagged(self._value(event), event)
            value = self._value(next(self._events))
            if is_merge:
                if merge_seen:
                    _refuse("the key '<<' is there twice", mark, "Merge a list of mappings.", key="<<")
                merge_seen = True
                merged += _merge_sources(value, mark)
                continue
            if not isinstance(key, str):
                _refuse(f"the key {_shown(key)} is not a string", mark, "Put it in quotes.", key=_shown(key))
            if key in result:
                first = result.place(key).line
                _refuse(f"the key {key!r} is there twice; the first is in line {first}", mark, key=key)
            result.put(key, value, mark)
        for source in merged:
            for key, value in source.items():
                if key not in result:
                    result.put(key, value, source.place(key))
        return result

    def _sequence(self, start: yaml.Event) -> Seq:
        result = Seq(mark=self._mark(start))
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            result.add(self._value(event), self._mark(event))
        return result

    def _count(self, values: int, event: yaml.Event) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            _refuse(f"more than {MAX_VALUES:,} values once aliases are followed", self._mark(event))

    def _mark(self, event: yaml.Event) -> Mark:
        return Mark(self._file, event.start_mark.line + 1 if event.start_mark else None)


def _refuse(message: str, mark: Mark, mend: str = "", *, key: str = "") -> NoReturn:
    raise SpecError(Problem(message, mark.file, mark.line, key, mend))


def _is_merge_key(event: yaml.Event) -> bool:
    return (
        isinstance(event, yaml.ScalarEvent)
        and event.value == "<<"
        and (event.implicit[0] or event.tag == "tag:yaml.org,2002:merge")
    )


def _untagged(key: object, event: yaml.Event) -> object:
    """A tag on a key tags nothing."""
    return (
        _scalar(event) if isinstance(key, Reset | Override) and isinstance(event, yaml.ScalarEvent) else key
    )


def _merge_sources(value: object, mark: Mark) -> list[Map]:
    if isinstance(value, Map):
        return [value]
    if isinstance(value, Seq) and all(isinstance(item, Map) for item in value):
        return list(value)
    return _refuse("'<<' merges a mapping or a list of mappings", mark, key="<<")


def _shown(key: object) -> str:
    text = key.text if isinstance(key, Timestamp) else str(key)
    return text if len(text) <= 40 else f"{text[:40]}…"  # noqa: PLR2004 - enough to recognise it


_INT: Final = re.compile(
    r"[-+]?(?:0b(?P<bin>[01_]+)|0o(?P<oct>[0-7_]+)|0x(?P<hex>[0-9a-fA-F_]+)|(?P<old>0[0-7_]+)|(?P<dec>0|[1-9][0-9_]*))"
)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_DATE: Final = re.compile(
    r"\d{4}-\d\d?-\d\d?(?:(?:[Tt]|[ \t]+)\d\d?:\d\d:\d\d(?:\.\d*)?\s*(?:Z|[-+]\d\d?(?::?\d\d)?)?)?"
)
_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_BASES: Final = {"bin": 2, "oct": 8, "hex": 16, "old": 8, "dec": 10}


def _scalar(event: yaml.Event) -> Any:  # noqa: ANN401 - YAML holds anything
    text: str = getattr(event, "value", "")
    tag = getattr(event, "tag", None)
    is_plain = getattr(event, "style", None) in {None, ""}
    if not is_plain and tag is None:
        return text
    # A tag that YAML does not know says nothing about the value's type: it is text.
    is_known = tag is None or (tag.startswith("tag:yaml.org,2002:") and tag != "tag:yaml.org,2002:str")
    return plain_scalar(text) if is_known else text


def plain_scalar(text: str) -> Any:  # noqa: ANN401 - YAML holds anything
    """What a bare word means: nothing, a truth value, a number, a date or itself."""
    if text in _WORDS:
        return _WORDS[text]
    if not text or text[0] not in "-+.0123456789":
        return text
    if match := _INT.fullmatch(text):
        return _integer(match, text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _DATE.fullmatch(text):
        return Timestamp(text)
    return text


def _integer(match: re.Match[str], text: str) -> int | float | str:
    kind = match.lastgroup or "dec"
    digits = (match[kind] or "").replace("_", "")
    if not digits or len(digits) > 64:  # noqa: PLR2004 - no number of 64 bits is longer
        return text
    number = int(digits, _BASES[kind])
    number = -number if text.startswith("-") else number
    if -(2**63) <= number < 2**64:
        return number
    return float(number) if kind == "dec" else text
