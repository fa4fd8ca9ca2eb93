"""Error lines by the words of loggers, and what is usual while tests pass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runs.analytics.log_errors import CalmTime, is_error_line
from runs.analytics.windows import Window

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-21 08:00:01.123 UTC [27] FATAL:  terminating connection due to administrator command",
        "ERROR:    Exception in ASGI application",
        '{"level":"error","msg":"no stock"}',
        "time=08:00 level=error msg=boom",
        "Traceback (most recent call last):",
        'Exception in thread "main" java.lang.NullPointerException',
        "[error] 12#12: upstream timed out",
        "08:00:01.001 [main] SEVERE com.shop.Orders - lost",
        "CRITICAL out of stock",
    ],
)
def test_a_line_that_reports_an_error_is_known_by_its_words(line: str) -> None:
    assert is_error_line(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "GET /errors 200",
        "INFO started without errors",
        '{"level":"info","error":null}',
        "0 errors, 0 warnings",
        "the word error in a sentence",
        "LOG:  database system is ready",
        "loaded error_pages.conf",
        "x" * 500 + " ERROR far away",
    ],
)
def test_a_line_that_only_has_the_word_in_it_is_none(line: str) -> None:
    assert not is_error_line(line)


def span(start: float, end: float) -> Window:
    return Window(START + timedelta(seconds=start), START + timedelta(seconds=end))


def moments(*seconds: float) -> list[datetime]:
    return [START + timedelta(seconds=second) for second in seconds]


def test_what_is_usual_is_a_rate_over_the_time_in_which_tests_passed() -> None:
    calm = CalmTime([span(0, 4), span(3, 6), span(10, 14)], [])

    # 10 seconds of passing tests, 3 errors in them (1, 5, 12) and one between: 0.3 a second.
    assert calm.usual_count(moments(1, 5, 8, 12), 20) == pytest.approx(6.0)


def test_time_in_which_a_test_failed_is_not_calm_though_others_passed() -> None:
    calm = CalmTime([span(0, 10)], [span(2, 4), span(3, 5), span(9, 12)])

    # Calm: 0 to 2 and 5 to 9; the errors at 3 and 10 are the failing tests'.
    assert calm.usual_count(moments(1, 3, 10), 6) == pytest.approx(1.0)


@pytest.mark.parametrize("passing", [[], [span(0, 0.9)]])
def test_too_little_calm_says_nothing(passing: list[Window]) -> None:
    assert CalmTime(passing, []).usual_count(moments(0.5), 10) == 0
