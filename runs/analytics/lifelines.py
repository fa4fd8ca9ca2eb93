"""A service's life on one clock: when it was starting, well, in trouble or disturbed on purpose.

Times are seconds since the environment was asked for. What the tests themselves did to a service (they may
stop, kill, pause and start it) is a fault made on purpose and never the service's trouble.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What is seen of a service; the environments' words (`HappeningKind`)."""

    CREATED = "service_created"
    STARTED = "service_started"
    READY = "service_ready"
    HEALTHY = "service_healthy"
    UNHEALTHY = "service_unhealthy"
    EXITED = "service_exited"
    OUT_OF_MEMORY = "service_out_of_memory"
    PAUSED = "service_paused"
    UNPAUSED = "service_unpaused"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Sighting:
    """One thing seen of a service. `action` is what the tests asked for, `exit_code` how it ended."""

    at: float
    service: str
    kind: Kind
    action: str = ""
    exit_code: int | None = None


class TroubleKind(StrEnum):
    """What went wrong with a service, the worst first."""

    OUT_OF_MEMORY = "out_of_memory"
    DIED = "died"
    UNHEALTHY = "unhealthy"
    NEVER_READY = "never_ready"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One stretch in which a service was not well, by itself; `until` is None where it did not come back."""

    kind: TroubleKind
    since: float
    until: float | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """One disturbance that the tests made; `until` is None where nobody undid it."""

    service: str
    action: str
    since: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Life:
    """One service's life, and what its stretches come to."""

    service: str
    #: (kind, start, end), in order. Kinds: wait, start, up, tests, bad, fault.
    stretches: tuple[tuple[str, float, float], ...] = ()
    troubles: tuple[Trouble, ...] = ()
    faults: tuple[Fault, ...] = ()
    #: When it was ready for the first time.
    ready_at: float | None = None

    @property
    def worst(self) -> Trouble | None:
        """The trouble to speak of; None when there was none."""
        order = list(TroubleKind)
        return min(self.troubles, key=lambda one: (order.index(one.kind), one.since), default=None)


_DISTURBING = frozenset({"stop", "kill", "pause", "disconnect", "partition"})


def life(
    service: str, sightings: Iterable[Sighting], *, end: float, is_tests: bool = False, has_check: bool = True
) -> Life:
    """Follow one service until `end`. Without a health check it is well as soon as it runs."""
    told = _Follower(service, is_tests=is_tests, has_check=has_check)
    for seen in sorted((one for one in sightings if one.service == service), key=lambda one: one.at):
        if seen.at > end:
            break
        told.take(seen)
    return told.finish(end)


@dataclass(slots=True)
class _Follower:
    service: str
    is_tests: bool
    has_check: bool
    state: str = ""
    since: float = 0.0
    stretches: list[tuple[str, float, float]] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    ready_at: float | None = None
    #: It ended as it should: being ready is then a thing of the past.
    is_done: bool = False
    #: The state to which a paused service returns.
    before_pause: str = ""

    def take(self, seen: Sighting) -> None:
        match seen.kind:
            case Kind.CONTROL:
                self._disturb(seen)
            case Kind.CREATED:
                self._turn("wait", seen.at)
            case Kind.STARTED:
                self.is_done = False
                self._turn("tests" if self.is_tests else "start" if self.has_check else "up", seen.at)
            case Kind.READY | Kind.HEALTHY:
                self._well(seen.at)
            case Kind.UNHEALTHY if not self.is_tests and self.state not in {"bad", "fault"}:
                self._trouble(TroubleKind.UNHEALTHY, seen)
            case Kind.OUT_OF_MEMORY:
                self._trouble(TroubleKind.OUT_OF_MEMORY, seen)
            case Kind.EXITED:
                self._end(seen)
            case Kind.PAUSED:
                self.before_pause = self.state
                self._turn("fault", seen.at)
            case Kind.UNPAUSED:
                self._turn(self.before_pause or "up", seen.at)
            case _:
                pass

    def finish(self, end: float) -> Life:
        self._turn("", end)
        return Life(
            service=self.service,
            stretches=tuple(self.stretches),
            troubles=tuple(self.troubles),
            faults=tuple(self.faults),
            ready_at=self.ready_at,
        )

    def _turn(self, state: str, at: float) -> None:
        if self.state and state != self.state and at > self.since:
            self.stretches.append((self.state, self.since, at))
        if state == "up":
            self.ready_at = at if self.ready_at is None else self.ready_at
            self._recover(at)
        if state in {"start", "up", "tests"}:
            self._undo(at)
        if state != self.state:
            self.state, self.since = state, at

    def _well(self, at: float) -> None:
        if self.is_done:
            self.ready_at = at if self.ready_at is None else self.ready_at
        elif not self.is_tests and self.state != "fault":
            self._turn("up", at)

    def _disturb(self, seen: Sighting) -> None:
        if seen.action in _DISTURBING:
            self.faults.append(Fault(self.service, seen.action, seen.at))
        elif seen.action in {"connect", "heal"}:
            self._undo(seen.at)

    def _undo(self, at: float) -> None:
        """The service runs again: what the tests did to it is over."""
        self.faults = [
            Fault(one.service, one.action, one.since, at) if one.until is None else one for one in self.faults
        ]

    def _recover(self, at: float) -> None:
        self.troubles = [
            Trouble(one.kind, one.since, at, one.exit_code) if one.until is None else one
            for one in self.troubles
        ]

    def _trouble(self, kind: TroubleKind, seen: Sighting) -> None:
        self.troubles.append(Trouble(kind, seen.at, exit_code=seen.exit_code))
        self._turn("bad", seen.at)

    def _end(self, seen: Sighting) -> None:
        is_on_purpose = any(one.until is None for one in self.faults)
        if self.is_tests or (seen.exit_code == 0 and not is_on_purpose):
            self.is_done = True
            self._turn("", seen.at)
        elif is_on_purpose:
            self._turn("fault", seen.at)
        elif any(one.kind is TroubleKind.OUT_OF_MEMORY and one.until is None for one in self.troubles):
            # One that dies for want of memory dies: one trouble, not two.
            self._turn("bad", seen.at)
        else:
            self._trouble(TroubleKind.DIED, seen)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a test starts (`phase` "start") or ends."""

    at: float
    test: str
    phase: str


@dataclass(frozen=True, slots=True)
class Window:
    """When a test ran; `until` is None where its end was not seen."""

    test: str
    since: float
    until: float | None


def windows(marks: Sequence[Mark]) -> list[Window]:
    """Each test's tries, in the order in which they began."""
    found: list[Window] = []
    running: dict[str, int] = {}
    for mark in sorted(marks, key=lambda one: one.at):
        if mark.phase == "start":
            running[mark.test] = len(found)
            found.append(Window(mark.test, mark.at, None))
        elif mark.test in running:
            at = running.pop(mark.test)
            found[at] = Window(mark.test, found[at].since, mark.at)
    return found


def is_named(test: str, name: str) -> bool:
    """Whether a mark speaks of the test of that name, parameters included.

    `tests/test_a.py::TestB::test_c[x]` speaks of `test_c[x]`.
    """
    return test == name or test.endswith((f"::{name}", f".{name}", f"#{name}", f" {name}"))


def overlaps(window: Window, fault: Fault, end: float) -> bool:
    """Whether a test ran while a fault was on."""
    fault_end = end if fault.until is None else fault.until
    window_end = end if window.until is None else window.until
    return window.since <= fault_end and fault.since <= window_end
