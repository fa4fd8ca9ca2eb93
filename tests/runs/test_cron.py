"""When schedules are due, clock changes included."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from runs.cron import CronError, next_due


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]  # year, month, day, hour, minute


def test_a_nightly_line_is_due_at_the_zones_own_two_o_clock() -> None:
    assert next_due("0 2 * * *", "Europe/Berlin", utc(2026, 11, 21, 8)) == utc(2026, 11, 22, 1)


def test_due_means_strictly_after() -> None:
    assert next_due("*/15 * * * *", "UTC", utc(2026, 11, 21, 8, 15)) == utc(2026, 11, 21, 8, 30)


def test_a_moment_that_the_clock_skips_is_due_when_the_clock_goes_on() -> None:
    # Berlin, 2026-03-29: 02:00 becomes 03:00, which is 01:00 UTC.
    assert next_due("30 2 * * *", "Europe/Berlin", utc(2026, 3, 28, 12)) == utc(2026, 3, 29, 1)


def test_a_moment_that_comes_twice_is_due_once() -> None:
    # Berlin, 2026-10-25: 03:00 becomes 02:00 again; 02:30 occurs at 00:30 and at 01:30 UTC.
    first = next_due("30 2 * * *", "Europe/Berlin", utc(2026, 10, 24, 12))
    assert first == utc(2026, 10, 25, 0, 30)
    assert next_due("30 2 * * *", "Europe/Berlin", first) == utc(2026, 10, 26, 1, 30)


@pytest.mark.parametrize(
    ("cron", "zone", "complaint"),
    [
        ("61 * * * *", "UTC", "five fields"),
        ("* * *", "UTC", "five fields"),
        ("0 0 30 2 *", "UTC", "is no cron line|is never due"),
        ("0 2 * * *", "Europe/Nowhere", "no time zone"),
        ("0 2 * * *", "../../etc/passwd", "no time zone"),
    ],
)
def test_what_cannot_be_is_refused_with_what_was_expected(cron: str, zone: str, complaint: str) -> None:
    with pytest.raises(CronError, match=complaint):
        next_due(cron, zone, utc(2026, 11, 21))
