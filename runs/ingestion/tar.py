"""Walk a tar archive as it streams by.

The standard library's reader trusts what it reads: a name or a map of holes is held whole however long it
is, a size that cannot be keeps it busy for ever, a hole gives zeros without end, and a damaged header ends
the archive as if nothing followed. Here each header is bounded, holes are refused, and the end is marked.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, cast

from runs.ingestion.errors import MalformedReportError, ReportLimitError

BLOCK_BYTES = 512
#: Headers of an archive, and bytes of one that holds a long name.
HEADER_LIMIT = 100_000
LONG_HEADER_BYTES = 1024 * 1024

_READ_BYTES = 64 * 1024
_POSIX = b"ustar\0"
_FILES = frozenset({b"0", b"\0", b"7"})
#: Links, devices, folders and pipes: nothing follows their headers, whatever size they tell.
_WITHOUT_CONTENT = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})
_LONG_NAME = b"L"
_PAX = frozenset({b"x", b"X"})
_LONG = frozenset({b"L", b"K", b"x", b"X", b"g"})
_SPARSE = b"S"
_CHECKSUM = slice(148, 156)


class Entry(NamedTuple):
    """Something in the archive. Its content is good until the next one is asked for."""

    name: str
    is_file: bool
    content: BinaryIO


def entries(stream: BinaryIO) -> Iterator[Entry]:
    """Yield what is in the archive, up to its end mark.

    Raises:
        MalformedReportError: it is damaged, was cut, or holds a file with holes.
        ReportLimitError: it has too many headers, or too long ones.
    """
    long_name = ""
    pax: dict[str, str] = {}
    for _ in range(HEADER_LIMIT):
        block = _exactly(stream, BLOCK_BYTES, "its end mark is missing")
        if not block.strip(b"\0"):
            return
        kind, size = block[156:157], _checked_size(block)
        if kind in _LONG:
            told = _long_header(stream, size)
            if kind == _LONG_NAME:
                long_name = _text(told)
            elif kind in _PAX:
                pax = _pax_records(told)
            continue
        if kind == _SPARSE or any(key.startswith("GNU.sparse.") for key in pax):
            reason = f"{_name(block)[-200:]} is packed with holes (sparse): pack it without --sparse."
            raise MalformedReportError(reason)
        name = pax.get("path") or long_name or _name(block)
        size = 0 if kind in _WITHOUT_CONTENT else _pax_size(pax.get("size"), size)
        long_name, pax = "", {}
        content = _Content(stream, size)
        # In the oldest form a folder is a file whose name ends so.
        yield Entry(name, kind in _FILES and not name.endswith("/"), cast("BinaryIO", content))
        content.skip()
    reason = f"The archive has more than {HEADER_LIMIT:,} headers."
    raise ReportLimitError(reason)


class _Content(io.RawIOBase):
    """The bytes of one entry."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = size
        self._padding = -size % BLOCK_BYTES

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(_READ_BYTES), b""))
        data = self._stream.read(min(size, self._left)) if self._left else b""
        if not data and size and self._left:
            raise _damaged("it ends in the middle of a file")
        self._left -= len(data)
        return data

    def skip(self) -> None:
        """Read on to where the next header begins."""
        while self.read(_READ_BYTES):
            pass
        _exactly(self._stream, self._padding, "it ends in the middle of a file")


def _exactly(stream: BinaryIO, size: int, otherwise: str) -> bytes:
    data = b""
    while len(data) < size:
        piece = stream.read(size - len(data))
        if not piece:
            raise _damaged(otherwise)
        data += piece
    return data


def _long_header(stream: BinaryIO, size: int) -> bytes:
    if size > LONG_HEADER_BYTES:
        reason = f"A header of the archive has more than {LONG_HEADER_BYTES // 1024:,} KiB."
        raise ReportLimitError(reason)
    return _exactly(stream, size + -size % BLOCK_BYTES, "it ends in the middle of a header")[:size]


def _checked_size(block: bytes) -> int:
    """Return the size that a header tells.

    Raises:
        MalformedReportError: it is no header.
    """
    told = _number(block[_CHECKSUM])
    unsigned = sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" ")
    # Some old tools added signed bytes.
    signed = unsigned - 256 * (
        sum(byte > 127 for byte in block) - sum(byte > 127 for byte in block[_CHECKSUM])  # noqa: PLR2004
    )
    size = _number(block[124:136])
    if told not in {unsigned, signed} or size is None:
        raise _damaged("a header is no header")
    return size


def _number(field: bytes) -> int | None:
    """Read a number, octal or, where that has no room for it, binary; None for what is none, or negative."""
    if field[0] == 0x80:  # noqa: PLR2004 - the mark of the binary form
        return int.from_bytes(field[1:])
    digits = field.partition(b"\0")[0].strip()
    if not digits:
        return 0
    return int(digits, 8) if digits.isdigit() and not digits.strip(b"01234567") else None


def _pax_size(told: str | None, size: int) -> int:
    if told is None:
        return size
    if not (told.isascii() and told.isdecimal() and len(told) < 20):  # noqa: PLR2004 - 64 bits
        raise _damaged("a header tells a size that is none")
    return int(told)


def _pax_records(data: bytes) -> dict[str, str]:
    """Read `length key=value` lines, each as long as it says."""
    records: dict[str, str] = {}
    at = 0
    while at < len(data) and data[at : at + 1] != b"\0":
        length, space, _ = data[at : at + 20].partition(b" ")
        end = at + int(length) if length.isdigit() else at
        if not space or end <= at or end > len(data):
            raise _damaged("a header's records are no records")
        key, sign, value = data[at + len(length) + 1 : end - 1].partition(b"=")
        if not sign:
            raise _damaged("a header's records are no records")
        if key in {b"path", b"size"} or key.startswith(b"GNU.sparse."):
            records[_text(key)] = _text(value)
        at = end
    return records


def _name(block: bytes) -> str:
    name = _text(block[:100])
    prefix = _text(block[345:500]) if block[257:263] == _POSIX else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")


def _damaged(why: str) -> MalformedReportError:
    return MalformedReportError(f"The archive is damaged: {why}.")
