"""Keep secrets out of what a run leaves behind: its log, its timeline, its reason, its reports and files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any, Final
from urllib.parse import quote

from environments.spec import EMPTY
from runs.actions.artifacts import Readable

MASK: Final = "•••"
#: In files, whose encoding is their own; every encoding that a report comes in has it.
FILE_MASK: Final = b"***"
#: Characters. A shorter value is also an ordinary word somewhere, and its mask would say where.
SHORTEST: Final = 8
_NAME: Final = re.compile(
    r"PASS(WORD|WD|PHRASE)|(^|_)PASS(_|$)|SECRET|TOKEN|CREDENTIAL"
    r"|(API|ACCESS|PRIVATE|AUTH|SIGNING|ENCRYPTION)_?KEY",
    re.IGNORECASE,
)
#: A file with an empty byte so early is no text: to change bytes in it would break it.
_LOOKED_AT_BYTES: Final = 8192
_BLOCK_BYTES: Final = 256 * 1024


class Masker:
    """Takes the values of a project's variables that are called like secrets out of text, and what `secrets`
    of a Compose file hold.

    What the file says elsewhere is not among them: it stands in the repository for everyone to read, and
    `postgres`, which is many a test's password, would go missing from every line that speaks of PostgreSQL.
    """

    def __init__(self, variables: Mapping[str, str] = EMPTY) -> None:
        self._values = {value for name, value in variables.items() if _NAME.search(name)}
        self.learn(())

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these as well from now on."""
        self._values.update(secrets)
        known = [value for value in self._values if len(value) >= SHORTEST]
        in_text = {form for value in known for form in (value, quote(value, safe=""))}
        in_files = {form.encode() for value in known for form in _forms_in_files(value)}
        self._longest = max(map(len, in_files), default=0)
        self._secret = re.compile("|".join(map(re.escape, _longest_first(in_text)))) if known else None
        self._in_files = re.compile(b"|".join(map(re.escape, _longest_first(in_files)))) if known else None

    def text(self, text: str) -> str:
        """The text with every secret replaced, also where it is written as in an address."""
        return self._secret.sub(MASK, text) if self._secret else text

    def data(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values, however nested, with every text in them masked."""
        if self._secret is None:
            return values
        return {key: self._masked(value) for key, value in values.items()}

    def file(self, file: Readable) -> Readable:
        """The file, masked as it is read; one that is no text stays as it is, byte for byte."""
        return file if self._in_files is None else _MaskedFile(self._blocks(file, self._in_files))

    def _blocks(self, file: Readable, secret: re.Pattern[bytes]) -> Iterator[bytes]:
        held = file.read(_LOOKED_AT_BYTES)
        is_text = b"\0" not in held
        while block := file.read(_BLOCK_BYTES):
            if not is_text:
                yield held
                held = block
                continue
            # A secret may go on in the next block: what could be the beginning of one is held back.
            done, held = _masked_before(held + block, secret, reserve=self._longest - 1)
            yield done
        yield secret.sub(FILE_MASK, held) if is_text else held

    def _masked(self, value: object) -> object:
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {key: self._masked(one) for key, one in value.items()}
            case list() | tuple():
                return [self._masked(one) for one in value]
        return value


class _MaskedFile:
    """Reads blocks as a file is read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = b""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes, all that is left for a negative number; none at the end."""
        if size < 0:
            left, self._left = self._left + b"".join(self._blocks), b""
            return left
        while not self._left and (block := next(self._blocks, None)) is not None:
            self._left = block
        given, self._left = self._left[:size], self._left[size:]
        return given


def _masked_before(data: bytes, secret: re.Pattern[bytes], *, reserve: int) -> tuple[bytes, bytes]:
    """What is known to be masked, and the rest, in which a secret may have begun."""
    end = max(0, len(data) - reserve)
    done, at = [], 0
    for found in secret.finditer(data):
        if found.start() >= end:
            break
        done += [data[at : found.start()], FILE_MASK]
        at = found.end()
    cut = max(at, end)
    return b"".join([*done, data[at:cut]]), data[cut:]


def _forms_in_files(value: str) -> set[str]:
    """As it is written in plain text, in an address, in XML and in JSON."""
    sparing = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    in_json = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    return {
        value,
        quote(value, safe=""),
        sparing,
        escape(value),
        escape(value).replace("&#x27;", "'"),
    } | in_json


def _longest_first[T: (str, bytes)](forms: set[T]) -> list[T]:
    return sorted(forms, key=len, reverse=True)
