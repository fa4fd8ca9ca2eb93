"""What services use, sampled while they are held and written every few seconds."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from environments.engine import Usage

#: How often samples are written; the page of a living environment is behind by as much.
FLUSH_SECONDS = 10.0
#: Samples of a service that wait while the database is away; older ones are let go.
MOST_WAITING = 3600
#: Over a longer gap nothing is said of the rate: nobody knows when in it the work was done.
LONGEST_STEP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What a service held at a moment, and how fast it has used processors since the sample before."""

    at: datetime
    memory_bytes: int
    memory_limit_bytes: int | None = None
    #: Thousandths of a processor; None where there was no sample to compare with.
    cpu_millis: int | None = None
    #: Milliseconds it was kept from running; None where that is not known.
    throttled_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Samples of one service in step, all under the same limit: one row."""

    service: str
    samples: Sequence[Sample]


@dataclass(slots=True)
class Meter:
    """Takes samples from any thread and gives them out in stretches to be written."""

    _waiting: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    _last: dict[str, Usage] = field(default_factory=dict)
    #: Bytes of memory by service, of those that run.
    _held: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, service: str, usage: Usage) -> None:
        """Take a sample; one that is not newer than the last says nothing."""
        with self._lock:
            last = self._last.get(service)
            if last is not None and usage.at <= last.at:
                return
            self._last[service] = usage
            self._held[service] = usage.memory_bytes
            waiting = self._waiting[service]
            waiting.append(sample(usage, last))
            del waiting[:-MOST_WAITING]

    def ended(self, service: str) -> None:
        """It holds no memory any more, until it is measured again."""
        with self._lock:
            self._held.pop(service, None)

    def held(self) -> dict[str, int]:
        """Bytes of memory by service, as each was last measured while it ran."""
        with self._lock:
            return dict(self._held)

    def take(self) -> list[Stretch]:
        """Give out what waits; it is the caller's to write or to put back."""
        with self._lock:
            waiting, self._waiting = self._waiting, defaultdict(list)
        return [
            Stretch(service, list(same))
            for service, samples in waiting.items()
            for _, same in groupby(samples, key=lambda one: one.memory_limit_bytes)
        ]

    def put_back(self, stretches: Sequence[Stretch]) -> None:
        """They could not be written; they wait on, before what has come since."""
        with self._lock:
            for stretch in reversed(stretches):
                waiting = self._waiting[stretch.service]
                waiting[:0] = stretch.samples
                del waiting[:-MOST_WAITING]


def sample(usage: Usage, last: Usage | None) -> Sample:
    """A sample against the one before; counters that went back belong to a new start."""
    cpu_millis = throttled_ms = None
    if last is not None:
        seconds = (usage.at - last.at).total_seconds()
        if usage.cpu_ns >= last.cpu_ns and 0 < seconds <= LONGEST_STEP_SECONDS:
            cpu_millis = round((usage.cpu_ns - last.cpu_ns) / seconds / 1e6)
            if usage.throttled_ns is not None and last.throttled_ns is not None:
                throttled_ms = max(0, usage.throttled_ns - last.throttled_ns) // 1_000_000
    return Sample(usage.at, usage.memory_bytes, usage.memory_limit_bytes, cpu_millis, throttled_ms)
