"""A run's log: lines of all services in the order of the engine's clock, from the end or from a cursor."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

from django.db.models import QuerySet, Sum

from runs.models import LogChunk, Run
from runs.queries.text import clean_line

#: Lines shown when a page opens; the rest is one click away as plain text.
SHOWN_LINES = 400
SHOWN_CHUNKS = 60
#: Chunks sent at once to a page that follows.
FOLLOWED_CHUNKS = 50
#: Ids are given before rows are committed, so a smaller one may appear late; looked for this far back.
LATE_IDS = 64

_STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|[+-]\d\d:\d\d)) ?")
_ERROR = re.compile(r"\b(?:ERROR|FATAL|CRITICAL|PANIC|FAILED|Traceback|panic:)")
_WARNING = re.compile(r"\bWARN(?:ING)?\b")


class Line(NamedTuple):
    """One line of one service; a tuple, as they are made by the thousand."""

    stamp: str
    time: str
    service: str
    text: str
    css: str


@dataclass(frozen=True, slots=True)
class Log:
    """Some lines and the place from which to go on."""

    lines: list[Line]
    cursor: int
    #: The chunks that the lines came from.
    ids: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class LogView:
    """The end of a log, with what may be chosen."""

    log: Log
    sources: list[str]
    source: str
    line_count: int

    @property
    def left_out(self) -> int:
        """Earlier lines that are not shown."""
        return max(0, self.line_count - len(self.log.lines))


@dataclass(frozen=True, slots=True)
class LogSpan:
    """The part of a run's log that one environment wrote."""

    shard: int
    since: datetime
    until: datetime | None


def log_view(
    run: Run, source: str = "", span: LogSpan | None = None, *, chunk_limit: int = SHOWN_CHUNKS
) -> LogView:
    """The last lines, of one service or of all: two queries, one where no chunk is wanted."""
    written = _written(run, span)
    counts = dict(written.values_list("service").annotate(lines=Sum("line_count")).order_by("service"))
    source = source if source in counts else ""
    chunks = written.filter(**({"service": source} if source else {}))
    newest = list(chunks.order_by("-id")[:chunk_limit])
    log = _log(reversed(newest), limit=SHOWN_LINES)
    total = counts[source] if source else sum(counts.values())
    return LogView(log=log, sources=list(counts), source=source, line_count=total)


def _written(run: Run, span: LogSpan | None) -> QuerySet[LogChunk]:
    chunks = LogChunk.objects.filter(run=run)
    if span is None:
        return chunks
    chunks = chunks.filter(shard=span.shard, last_at__gte=span.since)
    return chunks if span.until is None else chunks.filter(first_at__lte=span.until)


def log_since(run_id: int, cursor: int, source: str = "", seen: Collection[int] = ()) -> Log:
    """What came after the cursor, late chunks included unless they are in `seen`: one query."""
    chunks = LogChunk.objects.filter(run=run_id, id__gt=cursor - (LATE_IDS if seen else 0))
    if source:
        chunks = chunks.filter(service=source)
    found = list(chunks.exclude(id__in=list(seen)).order_by("id")[:FOLLOWED_CHUNKS])
    return _log(found, cursor=cursor)


def recent_chunk_ids(run_id: int, cursor: int) -> set[int]:
    """The ids just before a cursor: what a page that stands there has seen."""
    ids = LogChunk.objects.filter(run=run_id, id__gt=cursor - LATE_IDS, id__lte=cursor)
    return set(ids.values_list("id", flat=True))


async def whole_log(run: Run, source: str = "") -> AsyncIterator[str]:
    """The stored text, chunk by chunk, each line behind its service unless one was chosen."""
    chunks = LogChunk.objects.filter(run=run, **({"service": source} if source else {})).order_by("id")
    async for chunk in chunks.aiterator(chunk_size=50):
        text = chunk.text if chunk.text.endswith("\n") else f"{chunk.text}\n"
        if source:
            yield text
        else:
            yield "".join(f"{chunk.service} | {line}\n" for line in text.split("\n")[:-1])


def _log(chunks: Iterable[LogChunk], *, limit: int | None = None, cursor: int = 0) -> Log:
    """What the chunks hold, or the last `limit` lines: the others are put in order and not looked at."""
    chunks = list(chunks)
    stamped = [line for chunk in chunks for line in _stamped(chunk)]
    stamped.sort(key=itemgetter(0))  # stable: lines of one moment stay in their order
    kept = stamped if limit is None else stamped[-limit:]
    return Log(
        lines=[_line(*line) for line in kept],
        cursor=max((chunk.pk for chunk in chunks), default=cursor) if chunks else cursor,
        ids=frozenset(chunk.pk for chunk in chunks),
    )


def _stamped(chunk: LogChunk) -> Iterable[tuple[str, str, str]]:
    """Each line's stamp, service and text; one without a stamp has that of the line before."""
    stamp = chunk.first_at.isoformat()
    for raw in chunk.text.rstrip("\n").split("\n"):
        found = _STAMPED.match(raw)
        if found:
            stamp = found[1]
            raw = raw[found.end() :]  # noqa: PLW2901 - the line without its stamp
        yield stamp, chunk.service, raw


def _line(stamp: str, service: str, raw: str) -> Line:
    text = clean_line(raw)
    return Line(stamp=stamp, time=stamp[11:23], service=service, text=text, css=_css(text))


def _css(text: str) -> str:
    if _ERROR.search(text):
        return "err-line"
    return "warn-line" if _WARNING.search(text) else ""
