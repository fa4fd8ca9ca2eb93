"""Text that arrives in pieces and may have no end."""

from __future__ import annotations


class TextSink:
    """Keeps the beginning and the end of a text, with a note between them when something is missing."""

    __slots__ = ("_held", "_limit", "_pieces", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[str] = []
        #: Characters in `_pieces`, and characters that ever came.
        self._held = 0
        self._size = 0

    def add(self, piece: str) -> None:
        """Take the next piece."""
        self._pieces.append(piece)
        self._held += len(piece)
        self._size += len(piece)
        if self._held > 2 * self._limit + 1:
            self._compact()

    def text(self) -> str:
        """Return the text as far as it was kept."""
        if self._size <= self._limit:
            return "".join(self._pieces)
        self._compact()
        head, tail = self._pieces
        missing = self._size - len(head) - len(tail)
        return f"{head}\n… {missing:,} characters are only in the raw report …\n{tail}"

    def _compact(self) -> None:
        """Drop the middle. Half of the limit is kept at each end, so doing it again keeps the same head."""
        whole = "".join(self._pieces)
        half = self._limit // 2
        self._pieces = [whole[:half], whole[len(whole) - (self._limit - half) :]]
        self._held = self._limit


def shortened(text: str, limit: int) -> str:
    """Return the text, or its beginning and its end with a note between them."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return (
        f"{text[:half]}\n… {len(text) - 2 * half:,} characters are only in the raw report …\n{text[-half:]}"
    )
