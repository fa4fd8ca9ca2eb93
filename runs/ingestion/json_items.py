"""Read the items of one array in a large JSON document, one at a time, without holding the document."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from runs.ingestion.errors import MalformedReportError, ReportLimitError
from runs.ingestion.formats import JSON_LOOKED_AT

CHUNK_BYTES = 128 * 1024
#: Characters of one item; one string cannot be longer either.
ITEM_LIMIT = 8 * 1024 * 1024
#: Brackets, commas, colons and strings of one item: an empty object takes three characters here and seventy
#: bytes once it is read.
SIGN_LIMIT = 500_000
DEPTH_LIMIT = 200
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MARK_BYTES = 2
_SPELLED = {"utf-16": "UTF-16", "utf-8-sig": "UTF-8"}

#: Strings and signs; a lone quote is a string whose end has not come yet. Numbers and words are between them.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},:"]', re.DOTALL)
#: The rest of such a string, as far as it has come.
_REST = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_BETWEEN_ITEMS = re.compile(r"[\s,]*")


class JsonItems:
    """The items of the array at `path`, as Python values.

    `was_found` says whether there was such an array. Outside of it only brackets, quotes and keys are
    looked at.
    """

    def __init__(self, stream: BinaryIO, path: Sequence[str]) -> None:
        self._stream = stream
        self._path = list(path)
        self.was_found = False
        #: Characters of the items given so far.
        self.given_size = 0
        #: How the document begins, once it was begun.
        self.beginning = ""
        #: What was read and is not done with, the line it begins in, how far it was looked at and dealt with.
        self._text = ""
        self._line = 1
        self._read = 0
        self._done = 0
        #: Where the item begins that has no end yet; -1 for none.
        self._item_at = -1
        self._sign_count = 0
        #: How far a string was looked through whose end has not come yet; -1 for none.
        self._string_to = -1
        #: Open containers: `[` or `{`, and the key under which the next value stands.
        self._open: list[str] = []
        self._keys: list[str] = []
        self._is_key = False
        self._ended = False

    def __iter__(self) -> Iterator[object]:
        """Yield the items.

        Raises:
            MalformedReportError: what follows is no JSON.
            ReportLimitError: too deep, or an item too long.
        """
        chunk = self._stream.read(max(CHUNK_BYTES, _MARK_BYTES))
        encoding = "utf-16" if chunk.startswith(_UTF_16) else "utf-8-sig"
        decoder = codecs.getincrementaldecoder(encoding)()
        is_last = False
        while not is_last:
            is_last = not chunk
            fault: UnicodeDecodeError | None = None
            try:
                self._text += decoder.decode(chunk, final=is_last)
            except UnicodeDecodeError as error:
                fault = error
                self._text += error.object[: error.start].decode(encoding, "ignore")
            self.beginning = self.beginning or self._text[:JSON_LOOKED_AT]
            yield from self._read_on()
            if fault is not None:  # what stood before it was read
                raise self._malformed(f"no {_SPELLED[encoding]} ({fault.reason})", len(self._text)) from fault
            self._forget_what_is_done()
            chunk = self._stream.read(CHUNK_BYTES) if not is_last else b""
        if not self._ended:
            raise self._malformed("it ends before its last bracket is closed", len(self._text))
        if self._text.strip():
            raise self._malformed("something follows after its end", 0)

    def _read_on(self) -> Iterator[object]:
        """Go on where the last reading stopped, as far as the text goes."""
        item_depth = len(self._path) + 1
        if not self._is_string_whole():
            return
        for token in _TOKEN.finditer(self._text, self._read):
            sign, place = token[0], token.start()
            if sign == '"':
                self._read, self._string_to = place, place + 1  # its end is still to come
                self._is_string_whole()
                return
            if self._ended:
                raise self._malformed("something follows after its end", place)
            if self._item_at < 0 and self._is_at_array():
                if sign not in "{,]" or not _BETWEEN_ITEMS.fullmatch(self._text, self._done, place):
                    raise self._malformed("a test is no object", place)
                if sign == "{":
                    self._item_at, self._sign_count = place, 0
            self._take(sign, place)
            self._read = token.end()
            if self._item_at < 0:
                self._done = self._read
            elif len(self._open) == item_depth:
                self.given_size += self._read - self._item_at
                yield self._item(self._item_at, self._read)
                self._item_at, self._done = -1, self._read

    def _is_string_whole(self) -> bool:
        """Look on through the string that was open; each of its characters is looked at once."""
        if self._string_to >= 0:
            rest = _REST.match(self._text, self._string_to)
            self._string_to = rest.end() if rest is not None else self._string_to
            if not self._text.startswith('"', self._string_to):
                return False
            self._string_to = -1
        return True

    def _forget_what_is_done(self) -> None:
        done = self._item_at if self._item_at >= 0 else self._done
        if len(self._text) - done > ITEM_LIMIT:
            reason = f"One test of the document has more than {ITEM_LIMIT // 2**20} million characters."
            raise ReportLimitError(reason, line=self._line_of(done))
        self._line += self._text.count("\n", 0, done)
        self._text = self._text[done:]
        self._read -= done
        self._string_to -= done if self._string_to >= 0 else 0
        self._done = 0
        self._item_at = min(self._item_at, 0)

    def _take(self, sign: str, place: int) -> None:
        self._sign_count += 1
        if self._sign_count > SIGN_LIMIT and self._item_at >= 0:
            reason = f"One test of the document has more than {SIGN_LIMIT:,} parts."
            raise ReportLimitError(reason, line=self._line_of(place))
        if sign in "[{":
            if len(self._open) >= DEPTH_LIMIT:
                reason = f"Brackets are nested deeper than {DEPTH_LIMIT}."
                raise ReportLimitError(reason, line=self._line_of(place))
            self._open.append(sign)
            self._keys.append("")
            self._is_key = sign == "{"
            self.was_found = self.was_found or self._is_at_array()
        elif sign in "]}":
            if not self._open or self._open.pop() != ("[" if sign == "]" else "{"):
                raise self._malformed(f"there is no open bracket for “{sign}”", place)
            self._keys.pop()
            self._ended = not self._open
        elif sign == ",":
            self._is_key = bool(self._open) and self._open[-1] == "{"
        elif sign == ":":
            self._is_key = False
        elif not self._open:
            raise self._malformed("it does not begin with a bracket", place)
        elif self._is_key:
            self._keys[-1] = sign[1:-1][:100]

    def _is_at_array(self) -> bool:
        """Whether the array of the items is the innermost open container."""
        depth = len(self._path)
        return (
            len(self._open) == depth + 1
            and self._open[-1] == "["
            and self._keys[:depth] == self._path
            and self._open[:-1] == ["{"] * depth
        )

    def _item(self, start: int, end: int) -> object:
        try:
            return json.loads(self._text[start:end])
        except (ValueError, RecursionError) as error:
            raise self._malformed(str(error).partition(":")[0], start) from error

    def _malformed(self, why: str, place: int) -> MalformedReportError:
        return MalformedReportError(f"Not well-formed JSON: {why}.", line=self._line_of(place))

    def _line_of(self, place: int) -> int:
        return self._line + self._text.count("\n", 0, place)
