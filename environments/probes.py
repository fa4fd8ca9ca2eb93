"""Readiness, and the one way to wait: `wait_until`."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from environments.engine import ExecResult
from environments.errors import DeadlineExceededError, StoppedError
from environments.spec import HealthCheck

#: Pauses between two probes of a service that is coming up: 0.1 s growing by half to 1 s.
FIRST_PAUSE_SECONDS = 0.1
PAUSE_GROWTH = 1.5
LONGEST_PAUSE_SECONDS = 1.0
#: With both a `wake` and a `stop`, the longest that `stop` goes unnoticed.
STOP_NOTICED_SECONDS = 0.2
#: Probes of one process in flight at once: each costs the engine 40 to 70 ms of one core.
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


def successes_needed(check: HealthCheck) -> int:
    """How many probes in a row must pass before the service counts as ready.

    The official PostgreSQL image answers `pg_isready` on its Unix socket while it is still being set up, then
    restarts; asked without `-h` it needs two successes a second apart.
    """
    text = " ".join(check.test)
    asks_postgres = re.search(r"\bpg_isready\b", text) is not None
    names_host = re.search(r"\s(-h|--host)\b", text) is not None or "PGHOST" in text
    return 2 if asks_postgres and not names_host else 1


class Prober:
    """Asks services' own health checks early and often instead of waiting for the engine's first interval."""

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK, in_flight: int = PROBES_IN_FLIGHT) -> None:
        self._clock = clock
        self._turns = threading.BoundedSemaphore(in_flight)

    def until_healthy(
        self,
        check: HealthCheck,
        execute: Callable[[Sequence[str], float], ExecResult],
        *,
        give_up: threading.Event,
        heard: Callable[[ProbeOutcome], None],
    ) -> bool:
        """Probe until it passes as often as needed; False when `give_up` was set before.

        `execute` takes the command and its time-out in seconds. `heard` is told of every outcome.
        """
        command, needed = probe_command(check), successes_needed(check)
        in_a_row = 0
        pauses = backing_off()
        while not give_up.is_set():
            outcome = self._probe(command, check, execute)
            heard(outcome)
            in_a_row = in_a_row + 1 if outcome.passed else 0
            if in_a_row >= needed:
                return True
            # A check that takes long takes processor time from the service that is coming up: it gets half.
            self._clock.pause(give_up, 1.0 if in_a_row else max(next(pauses), outcome.seconds))
        return False

    def passes(self, check: HealthCheck, execute: Callable[[Sequence[str], float], ExecResult]) -> bool:
        """Probe once."""
        return self._probe(probe_command(check), check, execute).passed

    def _probe(
        self,
        command: Sequence[str],
        check: HealthCheck,
        execute: Callable[[Sequence[str], float], ExecResult],
    ) -> ProbeOutcome:
        with self._turns:
            asked_at = self._clock.monotonic()
            result = execute(command, check.timeout_seconds)
            seconds = self._clock.monotonic() - asked_at
        said = result.output.strip()[-OUTPUT_KEPT_CHARACTERS:]
        if result.timed_out:
            said = f"no answer in {check.timeout_seconds:g} s. {said}"
        has_passed = result.exit_code == 0 and not result.timed_out
        return ProbeOutcome(has_passed, said or f"exit code {result.exit_code}", seconds)
