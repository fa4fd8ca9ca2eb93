"""Schedules: each due moment once, whoever asks and however often."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.db import connections
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.actions.errors import InvalidValueError, NotPossibleError, TakenError
from runs.actions.schedules import (
    SCHEDULE_LIMIT,
    change_schedule,
    create_schedule,
    delete_schedule,
    enqueue_due,
    pause_schedule,
    resume_schedule,
    sync_schedules,
)
from runs.cron import due_now, next_due, next_dues
from runs.models import Run, Schedule, Suite
from runs.suitefile.model import ScheduleSpec
from runs.vocabulary import RunStatus, Trigger
from tests.factories import make_project, make_suite

DAY = timedelta(days=1)
#: A clock that changes in spring and autumn, one that does so at midnight, one by half an hour, one never.
ZONES = ["Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kolkata"]
NIGHTLY = ScheduleSpec("0 2 * * *", "Europe/Berlin", "main")


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]  # year, month, day, hour, minute


def shop(default_branch: str = "main") -> Suite:
    project = make_project(repository_url="https://git.example.org/shop.git", default_branch=default_branch)
    return make_suite(project, "checkout")


def dues_within(cron: str, zone: str, begin: datetime, end: datetime) -> list[datetime]:
    dues = [next_due(cron, zone, begin)]
    while dues[-1] <= end:
        dues += next_dues(cron, zone, dues[-1], 100)
    return dues[: bisect_right(dues, end)]


@given(seed=st.integers(0, 2**32), zone=st.sampled_from(ZONES))
@settings(max_examples=8, deadline=None)
def test_in_a_year_of_stops_two_beats_take_each_moment_once_or_catch_up_once(seed: int, zone: str) -> None:
    """The rule that `enqueue_due` follows, against a row that is written only if it is as it was read."""
    chance = random.Random(seed)
    cron = chance.choice(["0 2 * * *", "30 2,3 * * *", "*/30 */5 * * 1-5", "15 0 1,15 * *", "0 0 * * *"])
    begin, end = utc(2026, 1, 1), utc(2027, 1, 1)
    dues = dues_within(cron, zone, begin, end)
    asks = sorted(asks_of_a_beat(chance, dues, end) + asks_of_a_beat(chance, dues, end))
    row = read = next_due(cron, zone, begin)
    taken: list[tuple[datetime, datetime]] = []
    for now in asks:
        # A beat in two reads what was there before the other wrote, and must not get the moment.
        seen = read if chance.random() < 0.5 else row
        due = due_now(cron, zone, since=seen, now=now)
        read = row
        if due is not None and seen == row:
            taken.append((due.moment, now))
            row = due.following
    moments = [moment for moment, _ in taken]
    assert all(earlier < later for earlier, later in pairwise(moments))
    assert set(moments) <= set(dues)
    assert all(moment == dues[bisect_right(dues, now) - 1] for moment, now in taken)
    answered = [begin, *(now for _, now in taken)]
    for before, now in pairwise(answered):
        missed = dues[bisect_right(dues, before) : bisect_right(dues, now) - 1]
        # Nobody asked between the first of them and the look that caught up: that was an outage. A look at
        # what another beat has changed meanwhile does nothing, so one may lie in between.
        assert not missed or bisect_left(asks, now) - bisect_left(asks, missed[0]) <= 1


def asks_of_a_beat(chance: random.Random, dues: list[datetime], end: datetime) -> list[datetime]:
    """When a beat asks: within ten seconds after each due moment, and when it is back from a stop."""
    stops = [
        (start, start + timedelta(hours=chance.uniform(0.1, 200)))
        for start in (end - timedelta(days=chance.uniform(0, 365)) for _ in range(12))
    ]
    asks = [due + timedelta(seconds=chance.uniform(0, 10)) for due in dues]
    alive = [ask for ask in asks if not any(begin <= ask < back for begin, back in stops)]
    return alive + [back for _, back in stops if back <= end]


@pytest.mark.django_db
def test_the_clock_changes_of_a_year_are_queued_once_each_by_two_beats() -> None:
    chance = random.Random(3)
    begin = utc(2026, 10, 20)
    schedules = [
        create_schedule(suite=shop(), wanted=ScheduleSpec("30 2 * * *", zone), now=begin) for zone in ZONES
    ]
    for hour in range(10 * 24):
        for _ in range(2):
            enqueue_due(begin + timedelta(hours=hour, seconds=chance.uniform(0, 10)))

    for schedule in schedules:
        last = begin + timedelta(hours=10 * 24 - 1)
        due = dues_within(schedule.cron, schedule.timezone, begin, last)
        runs = Run.objects.filter(suite=schedule.suite).order_by("number")
        assert [run.idempotency_key for run in runs] == [
            f"schedule:{schedule.pk}:{moment.isoformat()}" for moment in due
        ]
        assert len(due) in {9, 10}


@pytest.mark.django_db(transaction=True)
def test_of_beats_that_ask_at_the_same_time_one_queues_the_run() -> None:
    schedule = create_schedule(suite=shop(), wanted=NIGHTLY, now=utc(2026, 11, 21))

    def ask(_: int) -> int:
        try:
            return len(enqueue_due(utc(2026, 11, 21, 1, 0)))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as beats:
        assert sum(beats.map(ask, range(6))) == 1
    schedule.refresh_from_db()
    assert Run.objects.count() == 1
    assert (schedule.last_due_at, schedule.due_at) == (utc(2026, 11, 21, 1), utc(2026, 11, 22, 1))


@pytest.mark.django_db
def test_a_due_schedule_queues_a_run_of_its_branch() -> None:
    suite = shop(default_branch="trunk")
    create_schedule(suite=suite, wanted=ScheduleSpec("0 2 * * *"), now=utc(2026, 11, 21))
    create_schedule(suite=suite, wanted=ScheduleSpec("0 2 * * *", branch="release"), now=utc(2026, 11, 21))

    runs = enqueue_due(utc(2026, 11, 21, 2, 0))

    assert [(run.trigger, run.status, run.ref, run.branch) for run in runs] == [
        (Trigger.SCHEDULE, RunStatus.QUEUED, "trunk", "trunk"),
        (Trigger.SCHEDULE, RunStatus.QUEUED, "release", "release"),
    ]
    assert enqueue_due(utc(2026, 11, 21, 2, 0)) == []


@pytest.mark.django_db
def test_of_a_week_that_was_missed_the_latest_moment_is_caught_up() -> None:
    schedule = create_schedule(suite=shop(), wanted=ScheduleSpec("* * * * *"), now=utc(2026, 11, 1))

    assert len(enqueue_due(utc(2026, 11, 8, 9, 30))) == 1

    schedule.refresh_from_db()
    assert schedule.last_due_at == utc(2026, 11, 8, 9, 30)
    assert schedule.due_at == utc(2026, 11, 8, 9, 31)


@pytest.mark.django_db
def test_what_comes_while_a_schedule_is_paused_is_not_caught_up() -> None:
    schedule = create_schedule(suite=shop(), wanted=NIGHTLY, now=utc(2026, 11, 1))
    pause_schedule(schedule_id=schedule.pk)
    assert enqueue_due(utc(2026, 11, 8)) == []

    resume_schedule(schedule_id=schedule.pk, now=utc(2026, 11, 8))
    resume_schedule(schedule_id=schedule.pk, now=utc(2026, 12, 8))

    assert enqueue_due(utc(2026, 11, 8, 0, 59)) == []
    assert len(enqueue_due(utc(2026, 11, 8, 1, 0))) == 1


@pytest.mark.django_db
def test_a_project_that_lost_its_repository_is_asked_again_at_the_next_moment_only() -> None:
    schedule = create_schedule(suite=shop(), wanted=NIGHTLY, now=utc(2026, 11, 1))
    type(schedule.suite.project).objects.update(repository_url="")

    assert enqueue_due(utc(2026, 11, 1, 1)) == []

    schedule.refresh_from_db()
    assert schedule.due_at == utc(2026, 11, 2, 1)


@pytest.mark.django_db
def test_a_zone_that_is_no_more_stops_its_schedule_and_no_other() -> None:
    suite = shop()
    gone = create_schedule(suite=suite, wanted=ScheduleSpec("0 1 * * *"), now=utc(2026, 11, 1))
    create_schedule(suite=suite, wanted=NIGHTLY, now=utc(2026, 11, 1))
    Schedule.objects.filter(pk=gone.pk).update(timezone="Europe/Atlantis")

    assert len(enqueue_due(utc(2026, 11, 1, 2))) == 1

    gone.refresh_from_db()
    assert gone.due_at is None


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (ScheduleSpec("at noon"), "cron"),
        (ScheduleSpec("0 0 2 * * *"), "cron"),
        (ScheduleSpec("0 0 30 2 *"), "cron"),
        (ScheduleSpec("0 2 * * *", "Mars/Base"), "timezone"),
        (ScheduleSpec("0 2 * * *", "UTC", "ma\x00in"), "branch"),
        (ScheduleSpec("0 2 * * *", "UTC", "b" * 251), "branch"),
    ],
)
def test_what_cannot_be_is_refused_by_field(wanted: ScheduleSpec, field: str) -> None:
    with pytest.raises(InvalidValueError) as refusal:
        create_schedule(suite=shop(), wanted=wanted)

    assert refusal.value.field == field


@pytest.mark.django_db
def test_a_suite_without_a_repository_has_no_schedules() -> None:
    with pytest.raises(InvalidValueError, match="no repository"):
        create_schedule(suite=make_suite(), wanted=NIGHTLY)


@pytest.mark.django_db
def test_the_same_schedule_is_made_once_and_a_suite_has_not_any_number_of_them() -> None:
    suite = shop()
    create_schedule(suite=suite, wanted=NIGHTLY)
    with pytest.raises(TakenError):
        create_schedule(suite=suite, wanted=NIGHTLY)

    for minute in range(1, SCHEDULE_LIMIT):
        create_schedule(suite=suite, wanted=ScheduleSpec(f"{minute} * * * *"))
    with pytest.raises(NotPossibleError, match="at most 20"):
        create_schedule(suite=suite, wanted=ScheduleSpec("59 * * * *"))


@pytest.mark.django_db
def test_a_changed_schedule_is_due_by_its_new_line_from_now_on() -> None:
    suite = shop()
    schedule = create_schedule(suite=suite, wanted=NIGHTLY, now=utc(2026, 11, 1))
    create_schedule(suite=suite, wanted=ScheduleSpec("0 5 * * *"))

    changed = change_schedule(schedule_id=schedule.pk, wanted=ScheduleSpec("0 3 * * *"), now=utc(2026, 11, 9))

    assert (changed.due_at, changed.timezone, changed.branch) == (utc(2026, 11, 9, 3), "UTC", "")
    with pytest.raises(TakenError):
        change_schedule(schedule_id=schedule.pk, wanted=ScheduleSpec("0 5 * * *"))


@pytest.mark.django_db
def test_the_suite_file_decides_about_its_schedules_and_leaves_peoples_alone() -> None:
    suite = shop()
    own = create_schedule(suite=suite, wanted=ScheduleSpec("0 4 * * *"), now=utc(2026, 11, 1))
    weekly, hourly = ScheduleSpec("0 0 * * 0"), ScheduleSpec("0 * * * *")
    sync_schedules(suite, [NIGHTLY, weekly, NIGHTLY], now=utc(2026, 11, 1))
    nightly = suite.schedules.get(cron=NIGHTLY.cron)
    pause_schedule(schedule_id=nightly.pk)

    sync_schedules(suite, [NIGHTLY, hourly, ScheduleSpec("0 0 30 2 *")], now=utc(2026, 11, 2))

    assert set(suite.schedules.values_list("cron", "is_from_suite_file", "is_paused", "due_at")) == {
        ("0 4 * * *", False, False, own.due_at),
        ("0 2 * * *", True, True, None),
        ("0 * * * *", True, False, utc(2026, 11, 2, 1)),
    }
    for refused in (
        lambda: change_schedule(schedule_id=nightly.pk, wanted=weekly),
        lambda: delete_schedule(schedule_id=nightly.pk),
    ):
        with pytest.raises(NotPossibleError, match="written in the suite file"):
            refused()
    delete_schedule(schedule_id=own.pk)
    assert suite.schedules.count() == 2


@pytest.mark.django_db
def test_a_persons_schedule_that_the_suite_file_names_becomes_the_files() -> None:
    suite = shop()
    own = create_schedule(suite=suite, wanted=NIGHTLY, now=utc(2026, 11, 1))

    sync_schedules(suite, [NIGHTLY])

    own.refresh_from_db()
    assert own.is_from_suite_file
    assert own.due_at == utc(2026, 11, 1, 1)
