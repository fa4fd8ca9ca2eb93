"""Readiness, and the one way to wait: `wait_until`."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from environments.engine import ExecResult
from environments.errors import DeadlineExceededError, StoppedError
from environments.spec import EMPTY, HealthCheck

#: Pauses between two probes of a service that is coming up: 0.1 s growing by half to 1 s.
FIRST_PAUSE_SECONDS = 0.1
PAUSE_GROWTH = 1.5
LONGEST_PAUSE_SECONDS = 1.0
#: With both a `wake` and a `stop`, the longest that `stop` goes unnoticed.
STOP_NOTICED_SECONDS = 0.2
#: Probes of one process in flight at once on one engine: each costs that 40 to 70 ms of one core.
PROBES_IN_FLIGHT = 4
#: How much of a probe's output is kept as evidence.
OUTPUT_KEPT_CHARACTERS = 1024


class Clock(Protocol):
    """Time, as an argument."""

    def monotonic(self) -> float:
        """Seconds that only grow."""

    def now(self) -> datetime:
        """The moment, in UTC."""

    def pause(self, event: threading.Event, seconds: float) -> bool:
        """Let `seconds` pass or `event` be set, whichever is first; True when it was the event."""


class SystemClock:
    """The machine's own time."""

    def monotonic(self) -> float:
        """Seconds since some moment in the past."""
        return time.monotonic()

    def now(self) -> datetime:
        """The moment, in UTC."""
        return datetime.now(tz=UTC)

    def pause(self, event: threading.Event, seconds: float) -> bool:
        """Wait on the event: the only pause there is, so that everything can be woken."""
        return event.wait(seconds)


@dataclass(slots=True)
class FakeClock:
    """A clock for tests: a pause moves it and takes no time."""

    moment: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    seconds: float = 0.0
    #: Every pause asked for, in seconds.
    pauses: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        """Seconds paused so far."""
        return self.seconds

    def now(self) -> datetime:
        """The starting moment plus all pauses."""
        return self.moment + timedelta(seconds=self.seconds)

    def pause(self, event: threading.Event, seconds: float) -> bool:
        """Move on at once, unless the event is set already."""
        if event.is_set():
            return True
        self.pauses.append(seconds)
        self.seconds += seconds
        return False


SYSTEM_CLOCK = SystemClock()


def backing_off(
    first: float = FIRST_PAUSE_SECONDS,
    growth: float = PAUSE_GROWTH,
    longest: float = LONGEST_PAUSE_SECONDS,
) -> Iterator[float]:
    """Pauses in seconds that grow from `first` to `longest` and stay there."""
    pause = first
    while True:
        yield pause
        pause = min(pause * growth, longest)


def steadily(seconds: float) -> Iterator[float]:
    """The same pause for ever."""
    while True:
        yield seconds


def wait_until[T](
    check: Callable[[], T | None],
    *,
    deadline_seconds: float,
    clock: Clock = SYSTEM_CLOCK,
    pauses: Iterator[float] | None = None,
    stop: threading.Event | None = None,
    wake: threading.Event | None = None,
) -> T:
    """Ask `check` until it answers something true and return that.

    It is asked at once, then after each pause, and once more when the time is up. Setting `wake` cuts a pause
    short (and is cleared before the next question, so that no news is missed); setting `stop` ends the wait.
    Raises `StoppedError` and `DeadlineExceededError`; whatever `check` raises goes through.
    """
    pauses = backing_off() if pauses is None else pauses
    end = clock.monotonic() + deadline_seconds
    while True:
        if stop is not None and stop.is_set():
            message = "asked to stop"
            raise StoppedError(message)
        if wake is not None:
            wake.clear()
        if answer := check():
            return answer
        left = end - clock.monotonic()
        if left <= 0:
            message = f"still not so after {deadline_seconds:g} s"
            raise DeadlineExceededError(message)
        _pause(min(next(pauses), left), clock=clock, stop=stop, wake=wake)


def _pause(
    seconds: float, *, clock: Clock, stop: threading.Event | None, wake: threading.Event | None
) -> None:
    """Pause until woken, stopped or over; a stop is noticed in time even when waiting for the other."""
    if wake is None:
        clock.pause(stop or threading.Event(), seconds)
        return
    if stop is None:
        clock.pause(wake, seconds)
        return
    end = clock.monotonic() + seconds
    while (left := end - clock.monotonic()) > 0 and not stop.is_set():
        if clock.pause(wake, min(left, STOP_NOTICED_SECONDS)):
            return


class Turns:
    """So many at once, of all who share it; the others wait for their turn."""

    def __init__(self, most: int) -> None:
        self._free = threading.BoundedSemaphore(most)

    @contextmanager
    def taken(self, stop: threading.Event | None = None) -> Iterator[None]:
        """Wait for a turn and hold it while entered. Raises `StoppedError` when `stop` is set before."""
        while not self._free.acquire(timeout=STOP_NOTICED_SECONDS):
            if stop is not None and stop.is_set():
                message = "asked to stop"
                raise StoppedError(message)
        try:
            yield
        finally:
            self._free.release()


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """What one probe of a service said."""

    passed: bool
    output: str
    #: How long it took, once it was its turn.
    seconds: float = 0.0


def probe_command(check: HealthCheck) -> list[str]:
    """The health check as a command for `Engine.execute`."""
    kind, *words = check.test
    return ["/bin/sh", "-c", words[0]] if kind == "CMD-SHELL" else list(words)


def asks_where_setup_answers(check: HealthCheck) -> bool:
    """Whether the check would believe a server that is only being set up.

    The official PostgreSQL image answers `pg_isready` on its Unix socket while its scripts run, however long,
    then restarts. Over TCP only the real server answers.
    """
    text = " ".join(check.test)
    asks_postgres = re.search(r"\bpg_isready\b", text) is not None
    names_host = re.search(r"\s(-h|--host)\b", text) is not None or "PGHOST" in text
    return asks_postgres and not names_host


def probe_variables(check: HealthCheck) -> Mapping[str, str]:
    """What the check's command is told on top of the service's own variables, when we run it."""
    return {"PGHOST": "127.0.0.1"} if asks_where_setup_answers(check) else EMPTY


type Execute = Callable[[Sequence[str], float], ExecResult]


class Prober:
    """Asks services early and often instead of waiting for the engine's first interval.

    `turns` are shared by all who ask the same engine.
    """

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK, turns: Turns | None = None) -> None:
        self._clock = clock
        self._turns = turns or Turns(PROBES_IN_FLIGHT)

    def until_passed(
        self,
        ask: Callable[[], ProbeOutcome],
        *,
        give_up: threading.Event,
        heard: Callable[[ProbeOutcome], None],
        nudge: threading.Event | None = None,
        pauses: Iterator[float] | None = None,
    ) -> bool:
        """Ask until the answer is yes; False when `give_up` was set before.

        `heard` is told of every outcome. Setting `nudge` cuts a pause short.
        """
        pauses = pauses or backing_off()
        while not give_up.is_set():
            if nudge is not None:
                nudge.clear()
            outcome = ask()
            heard(outcome)
            if outcome.passed:
                return True
            # A check that takes long takes processor time from the service that is coming up: it gets half.
            seconds = max(next(pauses), outcome.seconds)
            _pause(seconds, clock=self._clock, stop=give_up, wake=nudge)
        return False

    def outcome(self, check: HealthCheck, execute: Execute) -> ProbeOutcome:
        """Ask a health check once, when it is its turn."""
        return self.in_turn(lambda: executed(probe_command(check), check.timeout_seconds, execute))

    def in_turn(self, ask: Callable[[], ProbeOutcome]) -> ProbeOutcome:
        """Ask once, when it is its turn, and note how long that took."""
        with self._turns.taken():
            asked_at = self._clock.monotonic()
            outcome = ask()
            seconds = self._clock.monotonic() - asked_at
        return replace(outcome, seconds=seconds)


def executed(command: Sequence[str], timeout_seconds: float, execute: Execute) -> ProbeOutcome:
    """What a command inside the service says: passed when it ends with 0 in time."""
    result = execute(command, timeout_seconds)
    said = result.output.strip()[-OUTPUT_KEPT_CHARACTERS:]
    if result.timed_out:
        said = f"no answer in {timeout_seconds:g} s. {said}"
    has_passed = result.exit_code == 0 and not result.timed_out
    return ProbeOutcome(has_passed, said or f"exit code {result.exit_code}")
