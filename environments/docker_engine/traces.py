"""BuildKit's account of a build, as lines of text. Plain.

It comes as messages in protocol buffers' wire format. Of those only three fields matter: the steps (1), each
with its name (3), whether it was cached (4), that it began (5), and its error (7); and what they print (3),
with the text in (4).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Final

KIND: Final = "moby.buildkit.trace"
_STEPS, _OUTPUT = 1, 3
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
#: Steps of the builder itself, which tell nobody anything.
_INTERNAL: Final = ("[internal]", "copy /context", "exporting", "[auth]")


class Trace:
    """Follows one build; every step is told once."""

    def __init__(self) -> None:
        self._told: set[bytes] = set()

    def lines(self, encoded: str) -> Iterator[str]:
        """Lines that a message adds; a message that cannot be read adds none."""
        try:
            message = list(_fields(base64.b64decode(encoded)))
        except (ValueError, IndexError, binascii.Error):
            return
        for number, value in message:
            if number == _STEPS:
                yield from self._step(dict(_fields(value)))
            elif number == _OUTPUT:
                text = dict(_fields(value)).get(4, b"").decode(errors="replace")
                yield from (line for line in text.splitlines() if line.strip())

    def _step(self, step: dict[int, bytes]) -> Iterator[str]:
        name = step.get(3, b"").decode(errors="replace")
        digest = step.get(1, b"")
        if 5 not in step or digest in self._told or name.startswith(_INTERNAL):  # noqa: PLR2004 - see above
            return
        self._told.add(digest)
        yield name


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each field; those of numbers are empty."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            _, at = _varint(message, at)
            yield number, b""
        elif wire == _BYTES:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError(size)
            yield number, message[at : at + size]
            at += size
        elif wire in {_FIXED32, _FIXED64}:
            at += 4 if wire == _FIXED32 else 8
            yield number, b""
        else:
            raise ValueError(wire)


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004 - the last one
            return value, at
