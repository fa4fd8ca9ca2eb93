"""Waiting and probing, with a clock that moves by itself."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import islice

import pytest

from environments.engine import ExecResult
from environments.errors import DeadlineExceededError, StoppedError
from environments.probes import (
    Execute,
    FakeClock,
    ProbeOutcome,
    Prober,
    Turns,
    backing_off,
    probe_command,
    probe_variables,
    steadily,
    wait_until,
)
from environments.spec import HealthCheck

OVER_TCP = {"PGHOST": "127.0.0.1"}


class Service:
    """Answers probes one after the other, the last answer for ever."""

    def __init__(self, *codes: int, stop_after: int | None = None) -> None:
        self.codes = list(codes)
        self.asked: list[tuple[Sequence[str], float]] = []
        self.give_up = threading.Event()
        self.heard: list[ProbeOutcome] = []
        self._stop_after = stop_after

    def execute(self, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        self.asked.append((command, timeout_seconds))
        if len(self.asked) == self._stop_after:
            self.give_up.set()
        code = self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]
        return ExecResult(exit_code=code, output=f"said {code}")

    def probed(self, check: HealthCheck, clock: FakeClock) -> bool:
        return self.probed_by(self.execute, check, clock)

    def probed_by(self, execute: Execute, check: HealthCheck, clock: FakeClock) -> bool:
        prober = Prober(clock=clock)
        return prober.until_passed(
            lambda: prober.outcome(check, execute), give_up=self.give_up, heard=self.heard.append
        )


CHECK = HealthCheck(test=("CMD", "check", "it"), timeout_seconds=7)


def test_a_true_answer_ends_the_wait_at_once() -> None:
    clock = FakeClock()

    assert wait_until(lambda: "there", deadline_seconds=5, clock=clock) == "there"
    assert clock.pauses == []


def test_pauses_grow_by_half_from_a_tenth_to_a_second() -> None:
    pauses = [round(pause, 3) for pause in islice(backing_off(), 8)]

    assert pauses == [0.1, 0.15, 0.225, 0.338, 0.506, 0.759, 1.0, 1.0]


def test_the_last_question_is_asked_when_the_time_is_up() -> None:
    clock = FakeClock()
    asked: list[float] = []

    with pytest.raises(DeadlineExceededError, match="after 1 s"):
        wait_until(
            lambda: asked.append(clock.monotonic()), deadline_seconds=1, clock=clock, pauses=steadily(0.4)
        )

    assert [round(at, 3) for at in asked] == [0.0, 0.4, 0.8, 1.0]


def test_a_stop_ends_the_wait_before_the_next_question() -> None:
    stop = threading.Event()
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        stop.set()

    with pytest.raises(StoppedError):
        wait_until(check, deadline_seconds=5, clock=FakeClock(), stop=stop)

    assert asked == [1]


def test_what_the_question_raises_goes_through() -> None:
    def check() -> None:
        message = "broken"
        raise KeyError(message)

    with pytest.raises(KeyError):
        wait_until(check, deadline_seconds=5, clock=FakeClock())


def test_news_during_the_question_cut_the_pause_short() -> None:
    clock, wake = FakeClock(), threading.Event()
    asked: list[float] = []

    def check() -> bool:
        asked.append(clock.monotonic())
        wake.set()
        return len(asked) == 3

    wait_until(check, deadline_seconds=5, clock=clock, pauses=steadily(1.0), wake=wake)

    assert asked == [0.0, 0.0, 0.0]


def test_a_stop_is_noticed_while_waiting_for_news() -> None:
    wake, stop = threading.Event(), threading.Event()

    class StoppedOnTheWay(FakeClock):
        def pause(self, event: threading.Event, seconds: float) -> bool:
            if self.monotonic() >= 0.5:
                stop.set()
            return super().pause(event, seconds)

    clock = StoppedOnTheWay()

    with pytest.raises(StoppedError):
        wait_until(lambda: False, deadline_seconds=60, clock=clock, pauses=steadily(30), wake=wake, stop=stop)

    assert clock.monotonic() < 1.0


def test_a_service_that_answers_at_once_is_ready_without_a_pause() -> None:
    clock, service = FakeClock(), Service(0)

    assert service.probed(CHECK, clock) is True
    assert service.asked == [(["check", "it"], 7)]
    assert clock.pauses == []


def test_probes_come_early_and_then_more_seldom() -> None:
    clock, service = FakeClock(), Service(1, 1, 1, 0)

    assert service.probed(CHECK, clock) is True
    assert [round(pause, 4) for pause in clock.pauses] == [0.1, 0.15, 0.225]
    assert [outcome.passed for outcome in service.heard] == [False, False, False, True]


def test_a_check_that_takes_long_leaves_the_service_as_much_time_again() -> None:
    clock, service = FakeClock(), Service(1, 1, 0)

    def slowly(command: Sequence[str], timeout_seconds: float) -> ExecResult:
        clock.seconds += 0.4
        return service.execute(command, timeout_seconds)

    service.probed_by(slowly, CHECK, clock)

    assert [round(pause, 3) for pause in clock.pauses] == [0.4, 0.4]


def test_probing_gives_up_when_told() -> None:
    service = Service(1, stop_after=2)

    assert service.probed(CHECK, FakeClock()) is False
    assert len(service.asked) == 2


@pytest.mark.parametrize(
    ("test", "variables"),
    [
        (("CMD-SHELL", "pg_isready"), OVER_TCP),
        (("CMD", "pg_isready", "-U", "app"), OVER_TCP),
        (("CMD-SHELL", "pg_isready -h 127.0.0.1"), {}),
        (("CMD", "pg_isready", "--host", "db"), {}),
        (("CMD-SHELL", "PGHOST=127.0.0.1 pg_isready"), {}),
        (("CMD", "redis-cli", "ping"), {}),
    ],
)
def test_only_a_postgres_that_may_be_setting_itself_up_is_asked_over_tcp_instead(
    test: tuple[str, ...], variables: dict[str, str]
) -> None:
    assert probe_variables(HealthCheck(test=test)) == variables


def test_a_shell_check_runs_in_a_shell() -> None:
    assert probe_command(HealthCheck(test=("CMD-SHELL", "a && b"))) == ["/bin/sh", "-c", "a && b"]
    assert probe_command(HealthCheck(test=("CMD", "a", "b"))) == ["a", "b"]


def test_a_probe_that_hangs_says_so() -> None:
    service = Service(0)
    results = iter([ExecResult(-1, "still at it", timed_out=True), ExecResult(0, "")])

    service.probed_by(lambda *_: next(results), CHECK, FakeClock())

    assert service.heard[0] == ProbeOutcome(passed=False, output="no answer in 7 s. still at it")


def test_probes_of_many_services_take_turns() -> None:
    # Two probes in flight at most: a third service waits until one has its answer.
    prober = Prober(turns=Turns(2))
    entered, release = threading.Semaphore(0), threading.Event()
    in_flight: list[int] = []
    lock = threading.Lock()
    most = 0

    def execute(_: Sequence[str], __: float) -> ExecResult:
        nonlocal most
        with lock:
            in_flight.append(1)
            most = max(most, len(in_flight))
        entered.release()
        release.wait(5)
        with lock:
            in_flight.pop()
        return ExecResult(0, "")

    threads = [threading.Thread(target=prober.outcome, args=(CHECK, execute), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert entered.acquire(timeout=5)
    assert entered.acquire(timeout=5)
    assert not entered.acquire(timeout=0.1)
    release.set()
    for thread in threads:
        thread.join(5)

    assert most == 2
