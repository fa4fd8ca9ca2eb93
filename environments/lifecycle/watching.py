"""What goes on in the background while an environment is held: its lease, its events, its logs."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import Error as DatabaseError
from django.db import connection

from environments.engine import EngineEvent, EngineEventKind, LogLine
from environments.errors import EnvironmentFailedError, ServiceNotFoundError
from environments.lifecycle import records
from environments.lifecycle.board import Seen
from environments.lifecycle.requests import HappeningKind
from environments.lifecycle.session import Session

logger = logging.getLogger(__name__)

#: How often the services' rows follow what is seen, and how soon a lost lease is noticed.
WRITE_SECONDS = 0.5
#: How long a background thread may take to end once asked.
JOIN_SECONDS = 15.0

TOLD = {
    EngineEventKind.CREATED: (HappeningKind.SERVICE_CREATED, "created"),
    EngineEventKind.STARTED: (HappeningKind.SERVICE_STARTED, "started"),
    EngineEventKind.HEALTHY: (HappeningKind.SERVICE_HEALTHY, "is healthy"),
    EngineEventKind.UNHEALTHY: (HappeningKind.SERVICE_UNHEALTHY, "is unhealthy"),
    EngineEventKind.OUT_OF_MEMORY: (HappeningKind.SERVICE_OUT_OF_MEMORY, "ran out of memory"),
    EngineEventKind.PAUSED: (HappeningKind.SERVICE_PAUSED, "paused"),
    EngineEventKind.UNPAUSED: (HappeningKind.SERVICE_UNPAUSED, "goes on"),
}


@contextmanager
def held(session: Session) -> Iterator[None]:
    """Renew the lease and keep the rows true while entered, through outages of the database."""
    over = threading.Event()
    keeper = threading.Thread(
        target=_hold, args=(session, over), name=f"lease-{session.record.name}", daemon=True
    )
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join(JOIN_SECONDS)


def _hold(session: Session, over: threading.Event) -> None:
    """Beat until it is over. The row says who holds the environment; a dead process simply stops renewing."""
    clock = session.clock
    renewed_at = clock.monotonic()
    written: dict[str, Seen] = {}
    third = records.LEASE.total_seconds() / 3
    while not clock.pause(over, WRITE_SECONDS):
        try:
            if clock.monotonic() - renewed_at >= third:
                if not records.renew(session.record.pk, clock.now() + records.LEASE):
                    session.lost.set()
                    session.board.changed.set()
                    break
                renewed_at = clock.monotonic()
            news = [seen for seen in session.board.all() if seen != written.get(seen.service)]
            records.save_services(session.record, news)
            written |= {seen.service: seen for seen in news}
        except DatabaseError as error:
            logger.warning("%s: the database did not take the beat: %s", session.record.name, error)
            connection.close()
    connection.close()


@contextmanager
def watched(session: Session) -> Iterator[LogFollowers]:
    """Follow events while entered, and logs of the services that are asked for; leaving hears them out."""
    followers = LogFollowers(session)
    events = session.engine.events(session.ref, stop=session.leaving)
    listener = threading.Thread(
        target=_listen,
        args=(session, events, followers),
        name=f"events-{session.record.name}",
        daemon=True,
    )
    listener.start()
    try:
        yield followers
    finally:
        session.leaving.set()
        session.board.settle_all()
        followers.hear_out()
        listener.join(JOIN_SECONDS)


def _listen(session: Session, events: Iterator[EngineEvent], followers: LogFollowers) -> None:
    try:
        for event in events:
            if session.leaving.is_set():
                return
            session.board.note_event(event)
            if event.kind is EngineEventKind.STARTED:
                followers.started_again(event.service)
            _retell(session, event)
    except EnvironmentFailedError as error:
        if not session.leaving.is_set():
            session.tell(
                HappeningKind.NOTICE,
                f"Events of the engine are not heard any more, services are looked at instead: {error}",
            )


def _retell(session: Session, event: EngineEvent) -> None:
    if event.service not in session.spec.services:
        return
    if event.kind is EngineEventKind.DIED:
        session.tell(
            HappeningKind.SERVICE_EXITED,
            f"{event.service} ended with exit code {event.exit_code}.",
            service=event.service,
            at=event.at,
            exit_code=event.exit_code,
        )
    elif event.kind in TOLD:
        kind, words = TOLD[event.kind]
        session.tell(kind, f"{event.service} {words}.", service=event.service, at=event.at)


class LogFollowers:
    """One thread per service that hands its lines on as they come, over restarts, each line once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._followers: dict[str, _Follower] = {}
        self._lock = threading.Lock()

    def follow(self, service: str) -> None:
        """Begin with a service's first start; asked again it changes nothing."""
        with self._lock:
            if service not in self._followers:
                self._followers[service] = _Follower(self._session, service)
                self._followers[service].start()

    def started_again(self, service: str) -> None:
        """Its output goes on after an end."""
        with self._lock:
            if follower := self._followers.get(service):
                follower.again.set()

    def hear_out(self) -> None:
        """End all, then read what had not come yet: lines written in the last moment count most."""
        for follower in self._followers.values():
            follower.again.set()
        for follower in self._followers.values():
            follower.finish()

    def until_heard(self, service: str, seconds: float) -> None:
        """Wait until everything an ended service has said is handed on, at most `seconds`."""
        if follower := self._followers.get(service):
            follower.caught_up.wait(seconds)

    def tail(self, service: str) -> tuple[str, ...]:
        """The last lines that came."""
        follower = self._followers.get(service)
        return tuple(follower.last_lines) if follower else ()


class _Follower(threading.Thread):
    def __init__(self, session: Session, service: str) -> None:
        super().__init__(name=f"log-{session.record.name}-{service}", daemon=True)
        self._session = session
        self._service = service
        self._last: datetime | None = None
        #: How many lines carry the last stamp: reading again from it must leave out as many.
        self._at_last = 0
        self.again = threading.Event()
        self.caught_up = threading.Event()
        self.last_lines: deque[str] = deque(maxlen=100)

    def run(self) -> None:
        """Follow until the service ends, again after each start, until the environment is left."""
        leaving = self._session.leaving
        while not leaving.is_set():
            self.again.clear()
            self.caught_up.clear()
            self._read(follow=True)
            if not leaving.is_set():
                # The follow stream can end before the file does: what it missed is read from the file.
                self._read(follow=False)
            self.caught_up.set()
            self.again.wait()

    def finish(self) -> None:
        """Wait for the thread, then read the rest of the log."""
        self.join(JOIN_SECONDS)
        if not self.is_alive():
            self._read(follow=False)

    def _read(self, *, follow: bool) -> None:
        session = self._session
        to_skip = self._at_last
        stop = session.leaving if follow else None
        try:
            for line in session.engine.logs(
                session.ref, self._service, since=self._last, follow=follow, stop=stop
            ):
                if self._last is not None and line.at == self._last and to_skip > 0:
                    to_skip -= 1
                    continue
                if self._last is not None and line.at < self._last:
                    continue
                self._take(line)
        except ServiceNotFoundError:
            # Somebody else has removed it (a newer try, the reaper): there is nothing left to read.
            return
        except EnvironmentFailedError as error:
            if not session.leaving.is_set():
                session.tell(
                    HappeningKind.NOTICE, f"The log could not be read: {error}", service=self._service
                )

    def _take(self, line: LogLine) -> None:
        self._at_last = self._at_last + 1 if line.at == self._last else 1
        self._last = line.at
        self.last_lines.append(line.text)
        self._session.log(line)
