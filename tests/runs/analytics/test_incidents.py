"""A service's events as incidents: what was done on purpose is no death."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runs.analytics.blame import EventKind, ServiceEvent
from runs.analytics.incidents import Recorded, service_events

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def seen(second: float, kind: str, *, action: str = "", exit_code: int | None = None) -> Recorded:
    return Recorded(kind, "users", START + timedelta(seconds=second), exit_code, action)


def told(*recorded: Recorded) -> list[tuple[EventKind, bool]]:
    return [(event.kind, event.is_fault) for event in service_events(reversed(recorded))]


def test_a_service_that_ends_by_itself_died_and_says_how() -> None:
    events = service_events([seen(0, "service_started"), seen(9, "service_exited", exit_code=137)])

    at = START + timedelta(seconds=9)
    assert events == [ServiceEvent("users", EventKind.DIED, at, is_fault=False, note="exit code 137")]


def test_a_stop_and_start_that_the_tests_asked_for_are_faults_until_it_is_back() -> None:
    assert told(
        seen(0, "service_started"),
        seen(1, "service_healthy"),
        seen(5, "control", action="stop"),
        seen(6, "service_exited", exit_code=143),
        seen(8, "control", action="start"),
        seen(9, "service_started"),
        seen(9.5, "service_unhealthy"),
        seen(10, "service_healthy"),
        seen(20, "service_exited", exit_code=1),
    ) == [
        (EventKind.HEALTHY, False),
        (EventKind.DISTURBED, True),
        (EventKind.DIED, True),
        (EventKind.RESTARTED, True),
        (EventKind.UNHEALTHY, True),
        (EventKind.HEALTHY, False),
        (EventKind.DIED, False),
    ]


@pytest.mark.parametrize(
    ("fault", "undone"), [("pause", "unpause"), ("disconnect", "connect"), ("partition", "heal")]
)
def test_frozen_or_cut_off_on_purpose_is_over_when_it_goes_on(fault: str, undone: str) -> None:
    assert told(
        seen(5, "control", action=fault),
        seen(6, "service_unhealthy"),
        seen(8, "control", action=undone),
        seen(9, "service_healthy"),
        seen(12, "service_unhealthy"),
    ) == [
        (EventKind.DISTURBED, True),
        (EventKind.UNHEALTHY, True),
        (EventKind.HEALTHY, True),
        (EventKind.HEALTHY, False),
        (EventKind.UNHEALTHY, False),
    ]


def test_a_job_that_ends_well_did_not_die_but_a_server_did() -> None:
    assert told(seen(0, "service_started"), seen(1, "service_exited", exit_code=0)) == []
    assert told(
        seen(0, "service_started"), seen(1, "service_healthy"), seen(5, "service_exited", exit_code=0)
    ) == [(EventKind.HEALTHY, False), (EventKind.DIED, False)]


def test_a_service_that_comes_back_by_itself_was_restarted() -> None:
    assert told(
        seen(0, "service_started"), seen(3, "service_exited", exit_code=1), seen(4, "service_started")
    ) == [(EventKind.DIED, False), (EventKind.RESTARTED, False)]


def test_what_says_nothing_of_a_service_is_passed_over() -> None:
    assert told(seen(0, "service_created"), seen(1, "notice"), seen(2, "control", action="dance")) == []
