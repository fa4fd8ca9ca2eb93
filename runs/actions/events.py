"""Write what happens in a run: events on its timeline and the lines its services print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from runs.models import Event, LogChunk
from runs.vocabulary import RunStatus

#: Longer lines and messages are cut, with a note where.
LINE_LIMIT_CHARACTERS = 16_384
MESSAGE_LIMIT_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One thing that happened. `at` is the engine's clock where the engine knows."""

    kind: str
    message: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(tz=UTC))
    #: 0 when it concerns the whole run.
    shard: int = 0
    service: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewLine:
    """One whole line that a service printed, stamped by the engine's clock."""

    at: datetime
    shard: int
    service: str
    text: str


def record_event(run_id: int, event: NewEvent) -> Event:
    """Write one event."""
    return record_events(run_id, [event])[0]


def record_events(run_id: int, events: Sequence[NewEvent]) -> list[Event]:
    """Write events, in the order given."""
    return Event.objects.bulk_create([_event(run_id, event) for event in events])


def append_lines(run_id: int, lines: Sequence[NewLine]) -> list[LogChunk]:
    """Write lines, one chunk for each service among them; their order within a service is kept."""
    by_service: dict[tuple[int, str], list[NewLine]] = {}
    for line in lines:
        by_service.setdefault((line.shard, line.service), []).append(line)
    return LogChunk.objects.bulk_create(
        [_chunk(run_id, shard, service, own) for (shard, service), own in by_service.items()]
    )


def _event(run_id: int, event: NewEvent) -> Event:
    return Event(
        run_id=run_id,
        shard=event.shard,
        at=event.at,
        kind=event.kind,
        service=_storable(event.service, 250),
        message=_storable(event.message, MESSAGE_LIMIT_CHARACTERS),
        data=_plain(event.data),
    )


def _chunk(run_id: int, shard: int, service: str, lines: Sequence[NewLine]) -> LogChunk:
    return LogChunk(
        run_id=run_id,
        shard=shard,
        service=_storable(service, 250),
        first_at=min(line.at for line in lines),
        last_at=max(line.at for line in lines),
        line_count=len(lines),
        text="".join(f"{_stamp(line.at)} {_line(line.text)}\n" for line in lines),
    )


def _stamp(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds: 27 characters, always."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def _line(text: str) -> str:
    return _storable(text.replace("\n", "↵"), LINE_LIMIT_CHARACTERS)


def _storable(text: str, limit: int) -> str:
    """PostgreSQL takes no NUL, UTF-8 no half of a surrogate pair, and a page no endless line."""
    clean = text.replace("\0", "�").encode("utf-8", "replace").decode("utf-8")
    if len(clean) <= limit:
        return clean
    note = f"… [{len(clean) - limit} characters more]"
    return clean[: limit - len(note)] + note


def _plain(value: object) -> object:
    """What JSON can hold, and PostgreSQL's: text without NUL, moments and enums as text."""
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, Mapping):
        return {_storable(str(key), 250): _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(own) for own in value]
    return _storable(str(value), MESSAGE_LIMIT_CHARACTERS)


def said(status: RunStatus) -> str:
    """Return how people say that something ended so."""
    return {
        RunStatus.PASSED: "passed",
        RunStatus.FAILED: "failed",
        RunStatus.ERRORED: "errored",
        RunStatus.CANCELLED: "was cancelled",
        RunStatus.TIMED_OUT: "ran out of time",
    }[status]
