"""Which lines of a log were handed on, so that reading it a second time finds exactly those that were not."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from environments.engine import LogLine

#: Of one service, 16 bytes each; a log that is longer is compared from here on.
MOST_LINES = 500_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class Journal:
    """The newest lines of one service. Equal lines of the same moment are told apart by their number."""

    most_lines: int = MOST_LINES
    _stamps: array[int] = field(default_factory=lambda: array("q"))
    _keys: array[int] = field(default_factory=lambda: array("q"))
    _newest: int | None = None

    @property
    def since(self) -> datetime | None:
        """The moment from which the journal knows all that was handed on; None before the first line."""
        return _moment(min(self._stamps)) if self._stamps else None

    @property
    def newest(self) -> datetime | None:
        """The latest moment of a line; None before the first."""
        return None if self._newest is None else _moment(self._newest)

    def note(self, line: LogLine) -> None:
        """A line is handed on."""
        stamp = _stamp(line.at)
        self._stamps.append(stamp)
        self._keys.append(_key(line))
        if self._newest is None or stamp > self._newest:
            self._newest = stamp
        if len(self._keys) > self.most_lines:
            del self._stamps[: self.most_lines // 2]
            del self._keys[: self.most_lines // 2]

    def known(self, since: datetime | None = None) -> Known:
        """What was handed on, all of it or from a moment on, to hold a second reading against."""
        if since is None:
            return Known(Counter(self._keys))
        first = _stamp(since)
        pairs = zip(self._stamps, self._keys, strict=True)
        return Known(Counter(key for stamp, key in pairs if stamp >= first))


@dataclass(slots=True)
class Known:
    """Lines that were handed on and have not been met again yet."""

    _keys: Counter[int]

    def meets(self, line: LogLine) -> bool:
        """Whether the line was handed on; each is met once."""
        if not self._keys:
            return False
        key = _key(line)
        count = self._keys.get(key, 0)
        if count > 1:
            self._keys[key] = count - 1
        elif count:
            del self._keys[key]
        return count > 0


def _key(line: LogLine) -> int:
    return hash((_stamp(line.at), line.is_stderr, line.text))


def _stamp(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def _moment(stamp: int) -> datetime:
    return EPOCH + stamp * MICROSECOND
