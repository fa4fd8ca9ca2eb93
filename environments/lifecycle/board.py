"""What is known of an environment's services now: fed by events, probes and looks, asked by waiters."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from environments.engine import EngineEvent, EngineEventKind, Health, ServiceState, ServiceStatus
from environments.plan import Progress
from environments.probes import Clock
from environments.spec import Condition, ServiceSpec

#: A service that keeps ending is given up after so many restarts.
MOST_RESTARTS = 3
#: A service that restarts by itself must stay up so long before a passed probe counts, and longer once it has
#: restarted: a loop of starting and crashing is never ready, however readily its check passes in between.
STEADY = timedelta(seconds=1)
STEADY_AGAIN = timedelta(seconds=2)
PROBES_KEPT = 5
STATUS_AFTER = {
    EngineEventKind.CREATED: ServiceStatus.CREATED,
    EngineEventKind.STARTED: ServiceStatus.RUNNING,
    EngineEventKind.PAUSED: ServiceStatus.PAUSED,
    EngineEventKind.UNPAUSED: ServiceStatus.RUNNING,
    EngineEventKind.REMOVED: ServiceStatus.GONE,
}
_STARTED_OR_BETTER = frozenset({Progress.STARTED, Progress.READY, Progress.COMPLETED})


@dataclass(slots=True)
class Seen:
    """One service as last seen. Moments are the engine's."""

    service: str
    progress: Progress = Progress.WAITING
    status: ServiceStatus = ServiceStatus.GONE
    health: Health = Health.NONE
    exit_code: int | None = None
    out_of_memory: bool = False
    restart_count: int = 0
    #: Its published ports → where they are reached on the engine's host, since it was last started.
    published: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    image_digest: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    ready_at: datetime | None = None
    finished_at: datetime | None = None
    #: When its life before the present one ended; stays when it is started again.
    last_ended_at: datetime | None = None
    #: Ends of which an event told. The engine counts restarts by itself, but an event can be lost.
    ends_heard: int = 0
    #: Why it counts as failed; empty while it does not.
    reason: str = ""
    #: Not news: nobody waits for what a failed probe said.
    probe_outputs: deque[str] = field(default_factory=lambda: deque(maxlen=PROBES_KEPT), compare=False)
    #: Set once nobody needs to probe it any more: ready, ended, or the environment is being left.
    settled: threading.Event = field(default_factory=threading.Event, compare=False)

    def end_at(self, at: datetime, exit_code: int | None) -> None:
        """Note that it ended."""
        self.status = ServiceStatus.EXITED
        self.finished_at = self.last_ended_at = at
        self.exit_code = exit_code


class Board:
    """Thread-safe. `changed` is set on all news, for `wait_until(wake=…)`."""

    def __init__(
        self,
        services: Mapping[str, ServiceSpec],
        waited_for: Mapping[str, frozenset[Condition]],
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._services = services
        self._waited_for = waited_for
        self._seen = {name: Seen(name) for name in services}
        #: Services whose engine may call them healthy too early.
        self._doubted: set[str] = set()
        self._lock = threading.RLock()
        self.changed = threading.Event()

    def progress(self) -> dict[str, Progress]:
        """How far each service has come, for `StartPlan`."""
        with self._lock:
            return {name: seen.progress for name, seen in self._seen.items()}

    def of(self, service: str) -> Seen:
        """Return a copy of what is known of a service."""
        with self._lock:
            return replace(self._seen[service])

    def all(self) -> list[Seen]:
        """Return a copy of everything."""
        with self._lock:
            return [replace(seen) for seen in self._seen.values()]

    def note_image(self, service: str, image: str) -> None:
        """Its image is there."""
        with self._news(service) as seen:
            seen.image = image

    def note_starting(self, service: str) -> None:
        """Its start was asked for."""
        with self._news(service) as seen:
            seen.progress = Progress.STARTING

    def note_started(self, state: ServiceState) -> None:
        """Its start call has returned; it may have ended since."""
        with self._news(state.service) as seen:
            if seen.progress is Progress.STARTING:
                seen.progress = Progress.STARTED
        self.note_state(state)

    def note_state(self, state: ServiceState) -> None:
        """The engine was asked; what its events did not tell is made up for."""
        with self._news(state.service) as seen:
            seen.created_at = state.created_at or seen.created_at
            seen.started_at = state.started_at or seen.started_at
            seen.image_digest = state.image or seen.image_digest
            seen.published = state.published or seen.published
            seen.out_of_memory = seen.out_of_memory or state.out_of_memory
            self._restarted(seen, max(seen.restart_count, state.restart_count), state.exit_code)
            if state.status is ServiceStatus.EXITED:
                if seen.status is not ServiceStatus.EXITED and state.finished_at is not None:
                    self._ended(seen, state.finished_at, state.exit_code)
                return
            seen.status = state.status
            if state.health is not Health.NONE:
                seen.health = state.health
            if state.health is Health.HEALTHY and state.started_at is not None:
                self._healthy(seen, seen.ready_at or state.started_at)

    def note_event(self, event: EngineEvent) -> None:
        """Something happened to a service, by the engine's clock."""
        if event.service not in self._seen:
            return
        with self._news(event.service) as seen:
            seen.status = STATUS_AFTER.get(event.kind, seen.status)
            match event.kind:
                case EngineEventKind.CREATED:
                    seen.created_at = event.at
                case EngineEventKind.STARTED:
                    seen.started_at, seen.finished_at, seen.exit_code = event.at, None, None
                case EngineEventKind.HEALTHY:
                    self._healthy(seen, event.at)
                case EngineEventKind.UNHEALTHY:
                    self._unhealthy(seen)
                case EngineEventKind.OUT_OF_MEMORY:
                    seen.out_of_memory = True
                case EngineEventKind.DIED:
                    self._ended(seen, event.at, event.exit_code)
                case _:
                    pass

    def note_probe(self, service: str, output: str) -> None:
        """One probe of ours said this."""
        with self._lock:
            self._seen[service].probe_outputs.append(output)

    def note_ready(self, service: str, at: datetime) -> None:
        """Our own probe passed."""
        with self._news(service) as seen:
            if self._services[service].ready is None:
                seen.health = Health.HEALTHY
            self._ready(seen, at)

    def note_failed(self, service: str, reason: str) -> None:
        """It could not be started."""
        with self._news(service) as seen:
            self._failed(seen, reason)

    def note_doubted(self, service: str) -> None:
        """Its health check can be fooled when the engine asks it: our own probe alone tells."""
        with self._lock:
            self._doubted.add(service)

    def is_steady(self, service: str) -> bool:
        """Say whether a passed probe counts: not while the service may be restarting over and over."""
        with self._lock:
            return self._is_steady(self._seen[service])

    def awaiting_health(self) -> list[str]:
        """Services that run and whose health others wait for."""
        with self._lock:
            return [
                name
                for name, seen in self._seen.items()
                if seen.progress is Progress.STARTED
                and seen.status is ServiceStatus.RUNNING
                and self._needs_health(seen)
            ]

    def settle_all(self) -> None:
        """The environment is being left: nobody probes any more."""
        with self._lock:
            for seen in self._seen.values():
                seen.settled.set()
        self.changed.set()

    def _news(self, service: str) -> _News:
        return _News(self, self._seen[service], self._lock)

    def _healthy(self, seen: Seen, at: datetime) -> None:
        """The engine calls it healthy. A service with a probe of its own is ready when that passes."""
        seen.health = Health.HEALTHY
        if self._services[seen.service].ready is None and seen.service not in self._doubted:
            self._ready(seen, at)

    def _ready(self, seen: Seen, at: datetime) -> None:
        if not self._is_steady(seen):
            # Our own probes go on and will find it steady, or gone.
            return
        if seen.progress is Progress.STARTED and Condition.HEALTHY in self._waited_for[seen.service]:
            seen.progress = Progress.READY
        if seen.progress in _STARTED_OR_BETTER or seen.progress is Progress.STARTING:
            seen.ready_at = seen.ready_at or at
        if seen.progress is Progress.READY:
            seen.settled.set()

    def _is_steady(self, seen: Seen) -> bool:
        if self._services[seen.service].restart == "no" or seen.started_at is None:
            return True
        return self._clock.now() - seen.started_at >= (STEADY_AGAIN if seen.restart_count else STEADY)

    def _unhealthy(self, seen: Seen) -> None:
        seen.health = Health.UNHEALTHY
        service = self._services[seen.service]
        waits = service.ready is not None or service.extension.get("unhealthy") == "wait"
        if seen.progress is Progress.STARTED and not waits and self._needs_health(seen):
            self._failed(seen, "its health check says unhealthy")

    def _ended(self, seen: Seen, at: datetime, exit_code: int | None) -> None:
        seen.end_at(at, exit_code)
        if self._will_restart(seen.service, exit_code):
            # A look may have counted this end already: the engine's own number is not one on top of it.
            seen.ends_heard += 1
            self._restarted(seen, max(seen.restart_count, seen.ends_heard), exit_code)
            return
        if seen.progress in {Progress.READY, Progress.FAILED}:
            return
        if not self._waited_for[seen.service] & {Condition.HEALTHY, Condition.COMPLETED}:
            # Nobody asked for more than its start, and that it did: its end is an event, not a failure.
            seen.progress = Progress.STARTED
            seen.settled.set()
        elif exit_code == 0:
            seen.progress = Progress.COMPLETED
            seen.ready_at = seen.ready_at or at
            if self._needs_health(seen):
                seen.reason = "it ended with exit code 0 before it was healthy"
            seen.settled.set()
        else:
            self._failed(seen, f"it ended with exit code {exit_code}")

    def _restarted(self, seen: Seen, count: int, exit_code: int | None) -> None:
        """It ended so often by itself: not ready any more, and given up when that does not stop."""
        if count <= seen.restart_count:
            return
        seen.restart_count = count
        if count >= MOST_RESTARTS:
            last = "" if exit_code is None else f", last with exit code {exit_code}"
            self._failed(seen, f"it ended {count} times{last}")
        elif seen.progress is Progress.READY:
            seen.progress, seen.ready_at = Progress.STARTED, None
            seen.settled = threading.Event()

    def _failed(self, seen: Seen, reason: str) -> None:
        seen.progress, seen.reason = Progress.FAILED, reason
        seen.settled.set()

    def _needs_health(self, seen: Seen) -> bool:
        return Condition.HEALTHY in self._waited_for[seen.service]

    def _will_restart(self, service: str, exit_code: int | None) -> bool:
        policy = self._services[service].restart
        return policy in {"always", "unless-stopped"} or (policy.startswith("on-failure") and exit_code != 0)


@dataclass(slots=True)
class _News:
    """While entered, one service's facts may be changed; leaving tells all who wait, if anything did change.

    A look that shows nothing new stays silent: waiters look themselves and would wake each other for ever.
    """

    board: Board
    seen: Seen
    lock: threading.RLock
    before: Seen | None = None

    def __enter__(self) -> Seen:
        self.lock.acquire()
        self.before = replace(self.seen)
        return self.seen

    def __exit__(self, *_: object) -> None:
        is_news = self.seen != self.before
        self.lock.release()
        if is_news:
            self.board.changed.set()
