"""What an answer means, and when to try again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runs.notify.http import Answer
from runs.notify.retries import PAUSES, TRY_LIMIT, Refusal, pause_before, refusal_of

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def refusal(status: int, text: str = "", **headers: str) -> Refusal:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    found = refusal_of(Answer(status, named, text), now=NOW)
    assert found is not None
    return found


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_what_was_taken_is_no_refusal(status: int) -> None:
    assert refusal_of(Answer(status, {}, ""), now=NOW) is None


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_some_refusals_may_heal(status: int) -> None:
    assert refusal(status).may_heal


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 405, 410, 413, 422])
def test_others_are_for_good(status: int) -> None:
    found = refusal(status, "No commit found")

    assert not found.may_heal
    assert str(status) in found.reason


def test_who_asks_for_a_pause_gets_it() -> None:
    assert refusal(429, retry_after="90").after == timedelta(seconds=90)
    assert refusal(503, retry_after="Sat, 21 Nov 2026 08:05:00 GMT").after == 5 * MINUTE
    assert refusal(503, retry_after="Sat, 21 Nov 2026 07:00:00 GMT").after == timedelta()
    assert refusal(503, retry_after="soon").after is None


def test_githubs_403_for_too_many_requests_heals() -> None:
    reset = str(int((NOW + 10 * MINUTE).timestamp()))
    limited = refusal(403, x_ratelimit_remaining="0", x_ratelimit_reset=reset)

    assert (limited.may_heal, limited.after) == (True, 10 * MINUTE)
    assert not refusal(403, x_ratelimit_remaining="12", x_ratelimit_reset=reset).may_heal
    assert refusal(403, retry_after="60").may_heal


def test_pauses_grow_and_end() -> None:
    pauses = [pause_before(tries, asked=None, chance=0.5) for tries in range(1, TRY_LIMIT)]

    assert pauses == list(PAUSES)
    assert pause_before(TRY_LIMIT, asked=None, chance=0.5) is None


def test_chance_spreads_a_pause_by_a_fifth() -> None:
    assert pause_before(3, asked=None, chance=0) == timedelta(seconds=108)
    assert pause_before(3, asked=None, chance=1) == timedelta(seconds=132)


def test_an_asked_pause_is_no_shorter_than_usual_and_has_a_limit() -> None:
    assert pause_before(3, asked=timedelta(seconds=1), chance=0.5) == 2 * MINUTE
    assert pause_before(1, asked=90 * MINUTE, chance=0.5) == 90 * MINUTE
    assert pause_before(1, asked=timedelta(days=30), chance=0.5) == timedelta(hours=3)
