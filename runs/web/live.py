"""A run's page as it changes: one stream of server-sent events, and the same by asking again.

Both send the sections of the page whose markup changed, each with its id, and the log's new lines; the
script puts them in place. The cursor is the last log chunk: a stream that broke goes on from it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus

from asgiref.sync import sync_to_async
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, StreamingHttpResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from runs.models import Run
from runs.queries.live import Pulse, is_settled, pulse
from runs.queries.log import Log, log_since, recent_chunk_ids
from runs.queries.run_page import run_page
from runs.queries.shell import shell
from runs.web.access import RunAccess, run_for

#: The parts of `runs/run.html` that change, in the page's order.
SECTIONS = (
    "head",
    "progress",
    "evidence",
    "failures",
    "shards",
    "boot",
    "sources",
    "events",
    "results",
    "facts",
)
#: htmx's and our script's sign that there is no need to ask again.
STOP_POLLING = 286

TICK_SECONDS = 1.0
BEAT_SECONDS = 10.0
#: A page whose facts stand still is drawn anew this often: clocks and bars move.
REDRAW_SECONDS = 5.0
#: A run is finished a moment before its environment is gone and its last events are written.
LAST_LOOKS = 3
#: A stream ends after this long and the browser opens the next, with its rights looked at again.
STREAM_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class View:
    """What the URL of the page chose."""

    show: str = ""
    q: str = ""
    source: str = ""
    after: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> View:
        """Read the query string, as the page itself does."""
        get = request.GET.get
        return cls(show=get("show", ""), q=get("q", ""), source=get("source", ""), after=get("after", ""))


@dataclass(frozen=True, slots=True)
class Changes:
    """Markup to put in place, where the log goes on, and whether nothing more will come."""

    html: str
    cursor: int
    is_finished: bool


@dataclass(slots=True)
class Follower:
    """Follows one run for one page."""

    access: RunAccess
    view: View
    cursor: int
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = timezone.now
    _sent: dict[str, str] = field(default_factory=dict)
    _seen: set[int] | None = None
    _pulse: Pulse | None = None
    _drawn_at: float = 0.0

    def changes(self) -> Changes:
        """What changed since the last call; everything at first."""
        beat = pulse(self.access.run.pk)
        if beat is None:
            return Changes(html="", cursor=self.cursor, is_finished=True)
        html = ""
        is_still = self._pulse is not None and beat.facts == self._pulse.facts
        if not is_still or self.clock() - self._drawn_at >= REDRAW_SECONDS:
            self._read_run()
            html = self._sections()
        self._pulse = beat
        return self._with_log(html, has_lines=beat.last_chunk > 0)

    def everything(self) -> Changes:
        """All of it, for who asks once: the run is as it was when the right to it was looked at."""
        return self._with_log(self._sections())

    def _with_log(self, html: str, *, has_lines: bool = True) -> Changes:
        log = self._log() if has_lines else Log(lines=[], cursor=self.cursor)
        if log.lines:
            html += log_lines(log)
        is_finished = not log.lines and is_settled(self.access.run, self.now())
        return Changes(html=html, cursor=self.cursor, is_finished=is_finished)

    def _read_run(self) -> None:
        told = Run.objects.select_related("suite", "requested_by", "rerun_of", "pinned_by", "verdict_base")
        run = told.get(pk=self.access.run.pk)
        run.project = self.access.project
        self.access = RunAccess(project=self.access.project, role=self.access.role, run=run)

    def _sections(self) -> str:
        self._drawn_at = self.clock()
        drawn = sections(self.access, self.view, self.now())
        changed = {name: html for name, html in drawn.items() if self._sent.get(name) != html}
        self._sent |= changed
        return "".join(changed.values())

    def _log(self) -> Log:
        if self._seen is None:
            self._seen = recent_chunk_ids(self.access.run.pk, self.cursor)
        log = log_since(self.access.run.pk, self.cursor, self.view.source, self._seen or {0})
        self._seen |= log.ids
        self.cursor = max(self.cursor, log.cursor)
        return log


def sections(access: RunAccess, view: View, now: datetime) -> dict[str, str]:
    """Every section's markup, by name."""
    page = run_page(
        access.run,
        now=now,
        show=view.show,
        q=view.q,
        source=view.source,
        after=view.after,
        with_lines=False,
    )
    context = {"page": page, "run": access.run, "project": access.project, "access": access}
    drawn: dict[str, str] = {name: render_to_string(f"runs/run.html#{name}", context) for name in SECTIONS}
    count = render_to_string("components/_live_count.html", {"shell": shell(access.project)})
    return drawn | {"live_count": count}


def log_lines(log: Log) -> str:
    """The markup that is appended to the log."""
    return render_to_string("components/_log_lines.html", {"log": log, "append": True})


@never_cache
@require_GET
async def run_stream(request: HttpRequest, slug: str, number: int) -> StreamingHttpResponse:
    """The run's changes as server-sent events, until it is finished."""
    access = await sync_to_async(run_for)(request, slug, number)
    cursor = _whole(request.headers.get("Last-Event-ID", "") or request.GET.get("cursor", ""))
    follower = Follower(access=access, view=View.of(request), cursor=cursor)
    response = StreamingHttpResponse(_events(follower), content_type="text/event-stream")
    response["X-Accel-Buffering"] = "no"  # a proxy that collects would make it no stream
    return response


async def _events(follower: Follower) -> AsyncIterator[str]:
    started = beaten = time.monotonic()
    quiet_looks = 0
    yield "retry: 2000\n\n"
    while time.monotonic() - started < STREAM_SECONDS:
        changes = await sync_to_async(_look)(follower)
        if changes.html:
            yield message("sections", changes.html, changes.cursor)
            beaten = time.monotonic()
        quiet_looks = quiet_looks + 1 if changes.is_finished and not changes.html else 0
        if quiet_looks == LAST_LOOKS:
            yield message("end", "finished", changes.cursor)
            return
        if time.monotonic() - beaten >= BEAT_SECONDS:
            yield ": still here\n\n"
            beaten = time.monotonic()
        await asyncio.sleep(TICK_SECONDS)


def _look(follower: Follower) -> Changes:
    try:
        return follower.changes()
    finally:
        if not connection.in_atomic_block:
            connection.close()  # back to the pool: a stream must not hold one while it waits


def message(event: str, data: str, cursor: int) -> str:
    """One server-sent event."""
    lines = "".join(f"data: {line}\n" for line in data.splitlines())
    return f"id: {cursor}\nevent: {event}\n{lines}\n"


@require_GET
def run_live(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The same for pages that ask: 304 when nothing changed, 286 when nothing will."""
    access = run_for(request, slug, number)
    cursor = _whole(request.GET.get("cursor", ""))
    changes = Follower(access=access, view=View.of(request), cursor=cursor).everything()
    etag = f'"{hashlib.sha256(changes.html.encode()).hexdigest()[:32]}"'
    if request.headers.get("If-None-Match") == etag and not changes.is_finished:
        response: HttpResponse = HttpResponseNotModified()
    else:
        response = HttpResponse(changes.html, status=STOP_POLLING if changes.is_finished else HTTPStatus.OK)
    response["ETag"] = etag
    response["X-Cursor"] = str(changes.cursor)
    response["Cache-Control"] = "no-cache, private"
    return response


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0  # noqa: PLR2004 - a bigint
