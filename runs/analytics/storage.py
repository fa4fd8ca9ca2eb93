"""How much room things take, how fast that grows and where it ends, from measured sizes; no database here.

Bytes and days. A forecast rests on the pace of the last weeks going on, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: Days that a forecast reaches: who knows what comes after ten years.
LOOKED_AHEAD: Final = 3_650
_UNITS: Final = (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2))


@dataclass(frozen=True, slots=True)
class Stored:
    """What one kind takes."""

    kind: str
    size: int
    #: Bytes that came with each of the last days.
    daily: float
    #: Days that it is kept; 0 is for ever.
    term: int
    #: Kept as files, beside the database.
    is_file: bool = False


def size_in(stored: Stored, days: int) -> float:
    """Bytes after so many days more.

    What has a term ends where as much goes as comes. If there is more than that now, it is held to stay: how
    old it is, and so when it goes, is not known here.
    """
    grown = stored.size + stored.daily * days
    return grown if not stored.term else min(grown, max(stored.daily * stored.term, stored.size))


def sizes_in(stored: Sequence[Stored], days: int) -> float:
    """The same of all together; 0 of nothing."""
    return sum(size_in(each, days) for each in stored)


def daily(stored: Sequence[Stored]) -> float:
    """Bytes that came with each of the last days."""
    return sum(each.daily for each in stored)


def days_left(stored: Sequence[Stored], free_bytes: int) -> int | None:
    """Whole days until all of them together have grown by more than that; None when that takes more than
    `LOOKED_AHEAD` days, or retention holds them before."""
    limit = sizes_in(stored, 0) + free_bytes
    if sizes_in(stored, LOOKED_AHEAD) <= limit:
        return None
    # They never shrink: the last day on which there is room is found by halves.
    enough, too_many = 0, LOOKED_AHEAD
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        enough, too_many = (middle, too_many) if sizes_in(stored, middle) <= limit else (enough, middle)
    return enough


def end_of_growth(stored: Sequence[Stored]) -> float | None:
    """Bytes at which retention holds it; None when something grows that is kept for ever."""
    if any(each.daily and not each.term for each in stored):
        return None
    return sum(max(each.daily * each.term, 0) if each.term else each.size for each in stored)


def told(size: float) -> str:
    """Bytes as people read them."""
    unit, length = next((pair for pair in _UNITS if size >= pair[1]), _UNITS[-1])
    return f"{size / length:,.1f} {unit}"
