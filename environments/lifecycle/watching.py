"""What goes on in the background while an environment is held: its lease, its events, its logs."""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import Error as DatabaseError
from django.db import connection

from environments.engine import EngineEvent, EngineEventKind, LogLine, ServiceStatus
from environments.errors import EnvironmentFailedError, ServiceNotFoundError
from environments.lifecycle import records
from environments.lifecycle.board import Seen
from environments.lifecycle.journal import Journal
from environments.lifecycle.metering import FLUSH_SECONDS
from environments.lifecycle.requests import HappeningKind
from environments.lifecycle.session import Session
from environments.spec.ready import LogProbe, leaves

logger = logging.getLogger(__name__)

#: How often the services' rows follow what is seen, and how soon a lost lease is noticed.
WRITE_SECONDS = 0.5
#: How long a background thread may take to end once asked.
JOIN_SECONDS = 15.0
#: A log probe's pattern is searched for in the beginning of each line.
MATCHED_CHARACTERS = 500
#: A log stream that broke while its service goes on is taken up again after this.
RESUME_SECONDS = 0.5

TOLD = {
    EngineEventKind.CREATED: (HappeningKind.SERVICE_CREATED, "created"),
    EngineEventKind.STARTED: (HappeningKind.SERVICE_STARTED, "started"),
    EngineEventKind.HEALTHY: (HappeningKind.SERVICE_HEALTHY, "is healthy"),
    EngineEventKind.UNHEALTHY: (HappeningKind.SERVICE_UNHEALTHY, "is unhealthy"),
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
    renewed_at = flushed_at = clock.monotonic()
    written: dict[str, Seen] = {}
    third = records.LEASE.total_seconds() / 3
    while not clock.pause(over, WRITE_SECONDS):
        try:
            if clock.monotonic() - renewed_at >= third and not session.is_kept:
                if not records.renew(session.record.pk, clock.now() + records.LEASE):
                    session.lost.set()
                    session.board.changed.set()
                    break
                renewed_at = clock.monotonic()
            news = [seen for seen in session.board.all() if seen != written.get(seen.service)]
            records.save_services(session.record, news)
            written |= {seen.service: seen for seen in news}
            if clock.monotonic() - flushed_at >= FLUSH_SECONDS:
                flushed_at = clock.monotonic()
                _write_usage(session)
        except DatabaseError as error:
            logger.warning("%s: the database did not take the beat: %s", session.record.name, error)
        # Given back after each beat: a process has few connections, and a lease that waits for one is lost.
        connection.close()
    try:
        _write_usage(session)
    except DatabaseError as error:
        logger.warning("%s: the last samples could not be written: %s", session.record.name, error)
    connection.close()


def _write_usage(session: Session) -> None:
    stretches = session.meter.take()
    try:
        records.save_usage(session.record, stretches)
    except DatabaseError:
        session.meter.put_back(stretches)
        raise


@contextmanager
def watched(session: Session) -> Iterator[LogFollowers]:
    """Follow events while entered, and logs of the services that are asked for; leaving hears them out."""
    followers = LogFollowers(session)
    samplers = Samplers(session)
    events = session.engine.events(session.ref, stop=session.leaving)
    listener = threading.Thread(
        target=_listen,
        args=(session, events, followers, samplers),
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
        samplers.finish()


def _listen(
    session: Session, events: Iterator[EngineEvent], followers: LogFollowers, samplers: Samplers
) -> None:
    try:
        for event in events:
            if session.leaving.is_set():
                return
            session.board.note_event(event)
            if event.kind is EngineEventKind.STARTED:
                followers.started_again(event.service)
                samplers.started(event.service)
            elif event.kind is EngineEventKind.DIED:
                session.meter.ended(event.service)
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
    if event.kind is EngineEventKind.OUT_OF_MEMORY:
        _tell_out_of_memory(session, event)
    elif event.kind is EngineEventKind.DIED:
        if not session.board.of(event.service).out_of_memory and _was_out_of_memory(session, event.service):
            _tell_out_of_memory(session, event)
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


def _was_out_of_memory(session: Session, service: str) -> bool:
    """Ask after an end whose exit code may hide it: the engine's event of it can be lost."""
    try:
        state = session.engine.inspect_service(session.ref, service)
    except EnvironmentFailedError:
        return False
    session.board.note_state(state)
    return state.out_of_memory


def _tell_out_of_memory(session: Session, event: EngineEvent) -> None:
    """Whatever the exit code, and also when only a process that the service had started was killed."""
    limit = session.spec.services[event.service].memory_bytes
    bound = f" of {limit / 1024**2:.0f} MiB" if limit else ""
    session.tell(
        HappeningKind.SERVICE_OUT_OF_MEMORY,
        f"{event.service} ran out of memory: a process was killed at its limit{bound}.",
        service=event.service,
        at=event.at,
        **({"memory_limit_bytes": limit} if limit else {}),
    )


class LogFollowers:
    """One thread per service that hands its lines on as they come, over restarts, each line once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._followers: dict[str, _Follower] = {}
        self._nudges: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def follow(self, service: str) -> None:
        """Begin with a service's first start; asked again it changes nothing."""
        with self._lock:
            if service not in self._followers:
                nudge = self._nudges.setdefault(service, threading.Event())
                self._followers[service] = _Follower(self._session, service, nudge)
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

    def found(self, service: str, probe: LogProbe, *, since: datetime | None) -> int:
        """How often the pattern came in the lines after `since`, as far as that matters to the probe."""
        follower = self._followers.get(service)
        return follower.matches[probe].count(since) if follower else 0

    def nudge(self, service: str) -> threading.Event:
        """Set whenever a line came that the service's own log probes look for."""
        with self._lock:
            return self._nudges.setdefault(service, threading.Event())

    def tail(self, service: str) -> tuple[str, ...]:
        """The last lines that came."""
        follower = self._followers.get(service)
        return tuple(follower.last_lines) if follower else ()


class Matches:
    """When a log probe's pattern came, as often as it has to come."""

    def __init__(self, probe: LogProbe) -> None:
        self._pattern = re.compile(probe.pattern)
        self._moments: deque[datetime] = deque(maxlen=probe.times)

    def take(self, line: LogLine) -> bool:
        """Look at one more line; True when the pattern is in it."""
        if self._pattern.search(line.text[:MATCHED_CHARACTERS]) is None:
            return False
        self._moments.append(line.at)
        return True

    def count(self, since: datetime | None) -> int:
        """How often it came after `since`, where the service's life before this one ended."""
        return sum(since is None or at > since for at in list(self._moments))


class _Follower(threading.Thread):
    def __init__(self, session: Session, service: str, nudge: threading.Event) -> None:
        super().__init__(name=f"log-{session.record.name}-{service}", daemon=True)
        self._session = session
        self._service = service
        self._nudge = nudge
        #: What the service's log probes look for.
        self.matches = {
            probe: Matches(probe)
            for probe in leaves(session.spec.services[service].ready)
            if isinstance(probe, LogProbe)
        }
        self._journal = Journal()
        #: It has ended and its log was compared with what was handed on.
        self._is_reconciled = False
        self.again = threading.Event()
        self.caught_up = threading.Event()
        self.last_lines: deque[str] = deque(maxlen=100)

    def run(self) -> None:
        """Follow until the service ends, again after each start, until the environment is left."""
        leaving = self._session.leaving
        while not leaving.is_set():
            self.again.clear()
            self.caught_up.clear()
            self._is_reconciled = False
            self._read(follow=True)
            if leaving.is_set():
                return
            if self._runs():
                # The engine let go of the stream, not the service: it is taken up where it broke.
                self.again.wait(RESUME_SECONDS)
                continue
            self._reconcile()
            self.caught_up.set()
            self.again.wait()

    def finish(self) -> None:
        """Wait for the thread, then read the rest of the log."""
        self.join(JOIN_SECONDS)
        if self.is_alive():
            return
        if self._is_reconciled:
            self._read(follow=False)
        else:
            self._reconcile()

    def _runs(self) -> bool:
        try:
            state = self._session.engine.inspect_service(self._session.ref, self._service)
        except EnvironmentFailedError:
            return False
        return state.status in {ServiceStatus.RUNNING, ServiceStatus.PAUSED}

    def _read(self, *, follow: bool) -> None:
        """Hand on what comes from the last moment on, each line once."""
        since = self._journal.newest
        known = self._journal.known(since) if since else None
        for line in self._lines(since, follow=follow):
            if known is None or not known.meets(line):
                self._take(line)

    def _reconcile(self) -> None:
        """Hold the engine's log against what its stream gave, hand on what the stream left out, and say what
        the log does not hold any more."""
        heard_until, since = self._journal.newest, self._journal.since
        known = self._journal.known()
        late = 0
        is_first = True
        for line in self._lines(since, follow=False):
            is_known = known.meets(line)
            if is_first and since and not is_known and line.at > since:
                self._tell_gap(line.at)
            is_first = False
            if is_known:
                continue
            late += heard_until is not None and line.at < heard_until
            self._take(line)
        self._is_reconciled = True
        if late:
            logger.info(
                "%s: %s lines of %s were left out by the engine's stream and read from its log.",
                self._session.record.name,
                late,
                self._service,
            )

    def _tell_gap(self, until: datetime) -> None:
        """The engine keeps the end of a log that has grown too long; how much it cut off it does not say."""
        self._session.tell(
            HappeningKind.NOTICE,
            f"Lines of {self._service} before {until:%H:%M:%S} may be missing: it printed faster than they"
            " could be read, and the engine keeps only the end of so long a log. How many is not known.",
            service=self._service,
            until=until.isoformat(),
        )

    def _lines(self, since: datetime | None, *, follow: bool) -> Iterator[LogLine]:
        session = self._session
        stop = session.leaving if follow else None
        try:
            yield from session.engine.logs(session.ref, self._service, since=since, follow=follow, stop=stop)
        except ServiceNotFoundError:
            # Somebody else has removed it (a newer try, the reaper): there is nothing left to read.
            return
        except EnvironmentFailedError as error:
            if not session.leaving.is_set():
                session.tell(
                    HappeningKind.NOTICE, f"The log could not be read: {error}", service=self._service
                )

    def _take(self, line: LogLine) -> None:
        self._journal.note(line)
        self.last_lines.append(line.text)
        for match in self.matches.values():
            if match.take(line):
                self._nudge.set()
        self._session.log(line)


class Samplers:
    """One thread per service that notes what it uses, from its first start until the environment is left."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._threads: dict[str, threading.Thread] = {}
        self._judging = threading.Lock()

    def started(self, service: str) -> None:
        """Begin with a service's first start; the engine goes on over the others."""
        session = self._session
        if service in self._threads or service not in session.spec.services:
            return
        name = f"usage-{session.record.name}-{service}"
        self._threads[service] = threading.Thread(
            target=self._sample, args=(service,), name=name, daemon=True
        )
        self._threads[service].start()

    def finish(self) -> None:
        """Wait for the threads; leaving has been said."""
        for thread in self._threads.values():
            thread.join(JOIN_SECONDS)

    def _sample(self, service: str) -> None:
        session = self._session
        try:
            for usage in session.engine.usage(session.ref, service, stop=session.leaving):
                session.meter.note(service, usage)
                self._hold_to_quota()
        except EnvironmentFailedError as error:
            # Nothing is invented for the rest of its life, and the page shows none.
            if not session.leaving.is_set():
                logger.warning("%s: %s is not measured any more: %s", session.record.name, service, error)

    def _hold_to_quota(self) -> None:
        """End the service that holds most when together they hold too much: each by itself may be within its
        limit, and what the environments of others need is not theirs."""
        session = self._session
        most = session.request.most_memory_bytes
        with self._judging:
            held = session.meter.held()
            if most is None or sum(held.values()) <= most or session.leaving.is_set():
                return
            greediest = max(held, key=held.__getitem__)
            session.meter.ended(greediest)
            event = EngineEvent(session.clock.now(), greediest, EngineEventKind.OUT_OF_MEMORY)
            session.board.note_event(event)
            session.tell(
                HappeningKind.SERVICE_OUT_OF_MEMORY,
                f"{greediest} was ended: the services held {_mebibytes(sum(held.values()))} together, more"
                f" than the {_mebibytes(most)} of the project's quota, and it held most"
                f" ({_mebibytes(held[greediest])}).",
                service=greediest,
                at=event.at,
                held_bytes=held,
            )
            session.engine.kill_service(session.ref, greediest)


def _mebibytes(size: int) -> str:
    return f"{size // 1024**2} MiB"
