"""A suite's page and what can be done with its schedules there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.test import Client

from runs.actions.schedules import sync_schedules
from runs.models import Schedule, Suite
from runs.suitefile import ScheduleSpec
from runs.vocabulary import RunStatus
from tests.factories import make_member, make_project, make_run, make_suite

pytestmark = pytest.mark.django_db

PAGE = "/p/shop/suites/checkout/api%20v2/"


def shop(**values: object) -> Suite:
    project = make_project("shop", repository_url="https://git.example.org/shop.git")
    return make_suite(project, "checkout/api v2", **values)


def text_of(client: Client, address: str = PAGE) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer.status_code
    return " ".join(answer.content.decode().split())


def test_a_suites_page_says_how_it_does_and_what_it_is(client: Client) -> None:
    suite = shop(definition={"compose": ["compose.yml"], "tests": "tests"})
    for status in (RunStatus.PASSED, RunStatus.FAILED, RunStatus.FAILED):
        make_run(suite, status=status)
    make_run(suite, status=RunStatus.PASSED, branch="feat/fix")
    client.force_login(make_member(suite.project))

    page = text_of(client)

    assert "Failing:</strong> 2 runs in a row" in page
    assert '/p/shop/runs/4/">#4' in page
    assert "compose: - compose.yml tests: tests" in page


def test_a_schedule_is_added_changed_paused_resumed_and_deleted_on_the_page(client: Client) -> None:
    suite = shop()
    client.force_login(make_member(suite.project))

    answer = client.post(
        "/p/shop/add-schedule/checkout/api%20v2/", {"cron": "0  2 * * *", "timezone": "Europe/Berlin"}
    )

    assert answer["Location"] == PAGE
    schedule = suite.schedules.get()
    page = text_of(client)
    assert "every night at 02:00 Europe/Berlin</h3>" in page
    assert page.count(", 02:00</time>") == 5
    client.post(f"/p/shop/schedules/{schedule.pk}/", {"cron": "30 14 * * 1-5", "branch": "release"})
    assert "every Monday to Friday at 14:30 UTC</h3>" in text_of(client)
    client.post(f"/p/shop/schedules/{schedule.pk}/pause/")
    page = text_of(client)
    assert ">Paused</span>" in page
    assert "14:30</time>" not in page
    client.post(f"/p/shop/schedules/{schedule.pk}/resume/")
    assert text_of(client).count(", 14:30</time>") == 5
    client.post(f"/p/shop/schedules/{schedule.pk}/delete/")
    assert not Schedule.objects.exists()


def test_what_cannot_be_a_schedule_is_said_on_the_page(client: Client) -> None:
    suite = shop()
    client.force_login(make_member(suite.project))

    client.post("/p/shop/add-schedule/checkout/api%20v2/", {"cron": "at noon", "timezone": "UTC"})

    assert "“at noon” is no cron line" in text_of(client)
    assert not Schedule.objects.exists()


def test_a_schedule_of_the_suite_file_can_be_paused_and_not_changed(client: Client) -> None:
    suite = shop()
    sync_schedules(suite, [ScheduleSpec("0 2 * * *")], now=datetime(2026, 11, 21, tzinfo=UTC))
    schedule = suite.schedules.get()
    client.force_login(make_member(suite.project))

    client.post(f"/p/shop/schedules/{schedule.pk}/delete/")
    page = text_of(client)

    assert "This schedule is written in the suite file." in page
    assert "Change the schedule" not in page
    assert suite.schedules.exists()


def test_a_schedule_and_a_suite_of_another_project_are_not_found(client: Client) -> None:
    suite = shop()
    schedule = Schedule.objects.create(suite=suite, cron="0 2 * * *")
    other = make_project("other", visibility="public")
    client.force_login(make_member(other))

    assert client.post(f"/p/other/schedules/{schedule.pk}/pause/").status_code == 404
    assert client.get("/p/other/suites/checkout/").status_code == 404


def test_whoever_may_only_look_sees_no_buttons(client: Client) -> None:
    suite = shop()
    type(suite.project).objects.update(visibility="public")
    Schedule.objects.create(suite=suite, cron="0 2 * * *")

    page = text_of(client)

    assert "every night at 02:00 UTC" in page
    assert "Pause" not in page
    assert "Add a schedule" not in page
