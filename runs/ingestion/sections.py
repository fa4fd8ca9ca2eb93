"""Divide CDATA sections that are longer than the parser takes: a test's log may have any length.

libxml2 holds a section until it ends, and refuses one of more than ten million bytes. What is printed
between `<![CDATA[` and `]]>` is the same when the section is closed and opened again somewhere in it.
"""

from __future__ import annotations

PIECE_BYTES = 1024 * 1024
_OPEN = b"<![CDATA["
_CLOSE = b"]]>"
#: Bytes of a chunk in which a sign may end that began in the chunk before.
_SEAM = len(_OPEN) - 1
_LOOKED_AT = 4096


class Sections:
    """Takes the chunks of one document in their order.

    Whatever is not certain is left as it came: a section is only divided when no element can be in it.
    """

    def __init__(self) -> None:
        #: The last bytes of the chunk before.
        self._seam = b""
        #: Bytes since the open section began or was divided; None outside of sections.
        self._length: int | None = None
        self._is_wide: bool | None = None

    def divided(self, chunk: bytes) -> bytes:
        """Return the chunk, with a section closed and opened again in it where that has become long."""
        if self._is_wide is None:
            self._is_wide = b"\0" in chunk[:4] or chunk.startswith((b"\xff\xfe", b"\xfe\xff"))
        if self._is_wide:  # UTF-16 is hardly ever that long
            return chunk
        told = chunk
        if self._length is None:
            self._look_for_start(chunk)
        elif self._ends_in(chunk):
            self._length = None
            self._look_for_start(chunk)
        else:
            self._length += len(chunk)
            place = _place_in(chunk) if self._length >= PIECE_BYTES else 0
            if place:
                told = chunk[:place] + _CLOSE + _OPEN + chunk[place:]
                self._length = len(chunk) - place
        self._seam = chunk[-_SEAM:]
        return told

    def _look_for_start(self, chunk: bytes) -> None:
        start = chunk.rfind(_OPEN)
        if start >= 0:
            # Within a comment it is none.
            is_open = chunk.find(_CLOSE, start) < 0 and chunk.rfind(b"<!--", 0, start) < 0
        else:
            start = 0
            is_open = _OPEN in self._seam + chunk[:_SEAM] and _CLOSE not in chunk
        if is_open:
            self._length = len(chunk) - start

    def _ends_in(self, chunk: bytes) -> bool:
        """Whether the section ends here, or may not have been one."""
        return _CLOSE in chunk or _CLOSE in self._seam[-2:] + chunk[:2] or b"<testcase" in chunk


def _place_in(chunk: bytes) -> int:
    """Where no character is torn apart, in any encoding that has ASCII in it; 0 for nowhere."""
    place = chunk.find(b"\n", 0, -1) + 1
    if place:
        return place
    # A byte of ASCII ends a character, of one byte or of two.
    ends = (at + 1 for at, byte in enumerate(chunk[:_LOOKED_AT]) if byte < 128 and byte not in b"]>")  # noqa: PLR2004
    return next((at for at in ends if at < len(chunk) and chunk[at] not in b"]>"), 0)
