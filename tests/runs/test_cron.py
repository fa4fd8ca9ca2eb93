"""When schedules are due, clock changes included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runs.cron import CronError, Due, due_now, in_words, next_due, next_dues


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
        ("0 0 2 * * *", "UTC", "five fields"),
        ("0 0 30 2 *", "UTC", "is no cron line|is never due"),
        ("0 2 * * *", "Europe/Nowhere", "no time zone"),
        ("0 2 * * *", "../../etc/passwd", "no time zone"),
    ],
)
def test_what_cannot_be_is_refused_with_what_was_expected(cron: str, zone: str, complaint: str) -> None:
    with pytest.raises(CronError, match=complaint):
        next_due(cron, zone, utc(2026, 11, 21))


def test_next_is_later_even_in_the_hour_that_comes_twice() -> None:
    # 01:00 UTC is the second 02:00 in Berlin; the 02:30 of that night has been.
    assert next_due("30 2 * * *", "Europe/Berlin", utc(2026, 10, 25, 1)) == utc(2026, 10, 26, 1, 30)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kolkata"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "0 0 * * 0", "0 2,3 * * *", "*/20 * * * *"])
def test_what_is_due_does_not_depend_on_when_one_asks(cron: str, zone: str) -> None:
    """Asked from inside the nights on which clocks change, as from far away."""
    for begin in (utc(2026, 3, 28, 12), utc(2026, 4, 4, 10), utc(2026, 9, 5, 20), utc(2026, 10, 24, 12)):
        dues = next_dues(cron, zone, begin, 200)
        for minutes in range(0, 30 * 60, 17):
            asked = begin + timedelta(minutes=minutes)
            expected = next((due for due in dues if due > asked), None)
            assert expected is None or next_due(cron, zone, asked) == expected, asked


def test_of_what_was_missed_the_latest_is_due_now() -> None:
    since, now = utc(2026, 11, 1, 2), utc(2026, 11, 21, 8, 15)

    assert due_now("0 2 * * *", "UTC", since=since, now=now) == Due(
        moment=utc(2026, 11, 21, 2), following=utc(2026, 11, 22, 2)
    )
    assert due_now("0 2 * * *", "UTC", since=utc(2026, 11, 22, 2), now=now) is None
    assert due_now("0 0 29 2 *", "UTC", since=utc(2024, 2, 29), now=now) == Due(
        moment=utc(2024, 2, 29), following=utc(2028, 2, 29)
    )


def test_years_of_minutes_that_were_missed_are_not_counted_one_by_one() -> None:
    due = due_now("* * * * *", "UTC", since=utc(1990, 1, 1), now=utc(2026, 11, 21, 8, 15))

    assert due is not None
    assert due.moment == utc(2026, 11, 21, 8, 15)


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 2 * * *", "every night at 02:00 UTC"),
        ("30 14 * * *", "every day at 14:30 UTC"),
        ("5 6 * * 1", "every Monday at 06:05 UTC"),
        ("0 22 * * 1-5", "every Monday to Friday at 22:00 UTC"),
        ("0 22 * * mon,wed,7", "every Monday, Wednesday and Sunday at 22:00 UTC"),
        ("0 3 1 * *", "on day 1 of every month at 03:00 UTC"),
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("0 * * * *", "every hour"),
        ("20 * * * *", "every hour, 20 min past"),
        ("0 */6 * * *", "every 6 hours UTC"),
        ("30 */6 * * *", "every 6 hours, 30 min past UTC"),
        ("*/7 * * * *", "*/7 * * * * UTC"),
        ("0 2 1 * 1", "0 2 1 * 1 UTC"),
        ("0 2 * 6 *", "0 2 * 6 * UTC"),
        ("0 2 * * 5L", "0 2 * * 5L UTC"),
        ("0 2 * * 1-5/2", "0 2 * * 1-5/2 UTC"),
        ("0 2,4 * * *", "0 2,4 * * * UTC"),
    ],
)
def test_a_line_is_said_as_people_say_it_or_shown_as_it_is(cron: str, words: str) -> None:
    assert in_words(cron, "UTC") == words
