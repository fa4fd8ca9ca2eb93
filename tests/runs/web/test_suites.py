"""A suite's page and what can be done with its schedules there."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from runs.actions.schedules import sync_schedules
from runs.actions.tokens import create_token
from runs.models import Run, Schedule, Suite
from runs.queries.suite_definition import definition_rows
from runs.suitefile import ScheduleSpec
from runs.vocabulary import Role, RunStatus, Scope
from tests.factories import NOW, make_member, make_project, make_run, make_suite

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
    assert '<dt>Compose files</dt><dd class="mono"><bdi class="line">compose.yml</bdi>' in page
    assert "1 passed run on" in page


def test_a_suites_page_draws_how_long_it_takes_and_says_since_when_it_is_slower(client: Client) -> None:
    suite = shop()
    for number in range(1, 53):
        make_run(
            suite,
            status=RunStatus.PASSED,
            queued_at=NOW + timedelta(hours=number),
            duration_ms=240_000 if number <= 40 else 300_000,
            commit=f"{number:07d}" + "a" * 33,
        )
    client.force_login(make_member(suite.project))

    page = text_of(client)

    assert 'became slower</strong>: 4m 00s until <a href="/p/shop/runs/41/">#41</a>, 5m 00s since' in page
    assert "median 5m 00s, 95% within 5m 00s" in page
    assert ">+1m 00s at 0000041a</text>" in page


def test_a_token_for_uploads_is_shown_once_filled_in_by_an_administrators_page(client: Client) -> None:
    suite = shop()
    client.force_login(make_member(suite.project, Role.ADMIN))
    assert "Bearer $ITDASH_TOKEN" in text_of(client)

    answer = client.post("/p/shop/suite-token/checkout/api%20v2/")

    assert answer["Location"] == f"{PAGE}#uploads"
    token = suite.project.tokens.get()
    assert (token.scopes, token.name) == (["upload"], "Uploads of checkout/api v2")
    page = text_of(client)
    [secret] = re.findall(r"Bearer (itd_[\w-]+)", page)
    assert secret.startswith(token.prefix)
    assert page.count(secret) == 2
    assert "-F suite=&#x27;checkout/api v2&#x27; -F branch=main" in page
    assert "http://testserver/api/v1/projects/shop/uploads" in page
    assert secret not in text_of(client)
    assert "no-store" in client.get(PAGE)["Cache-Control"]


def test_a_token_is_not_shown_on_another_suites_page(client: Client) -> None:
    suite = shop()
    make_suite(suite.project, "other")
    client.force_login(make_member(suite.project, Role.ADMIN))
    client.post("/p/shop/suite-token/checkout/api%20v2/")

    assert "itd_" not in text_of(client, "/p/shop/suites/other/").replace(
        suite.project.tokens.get().prefix, ""
    )


def test_who_may_not_make_tokens_sees_the_lines_without_one(client: Client) -> None:
    suite = shop()
    create_token(project=suite.project, scopes=[Scope.UPLOAD], name="Jenkins")
    create_token(project=suite.project, scopes=[Scope.READ], name="Reader")
    client.force_login(make_member(suite.project, Role.VIEWER))

    page = text_of(client)

    assert "Make a token" not in page
    assert "Bearer $ITDASH_TOKEN" in page
    assert "Jenkins" in page
    assert "Reader" not in page


def test_what_a_suite_file_says_is_told_in_words() -> None:
    rows = definition_rows(
        {
            "compose": "compose.yml",
            "shards": 4,
            "matrix": {"ORDER_IMAGE": ["order:1.8", "order:1.9"]},
            "before": [{"service": "db", "run": "migrate"}],
            "data": {"users": {"service": "db", "run": "seed {count}"}},
            "on": {
                "push": {"branches": ["main"], "paths": ["services/**"]},
                "pull_request": {},
                "schedule": [{"cron": "0 2 * * *"}],
            },
            "gates": {"new_failures": 0, "duration_increase": "25%"},
            "odd": 1,
        }
    )

    assert {row.label: row.lines for row in rows} == {
        "Compose files": ["compose.yml"],
        "Shards": ["4"],
        "Matrix": ["ORDER_IMAGE: order:1.8, order:1.9"],
        "Before the tests": ["db: migrate"],
        "Data recipes": ["users in db: seed {count}"],
        "Started by": [
            "Pushes to main that change services/**",
            "Pull requests",
            "Its schedules, below",
        ],
        "Gates": ["New failures: at most 0", "Duration: at most 25% longer"],
    }
    assert definition_rows({}) == []
    assert definition_rows({"matrix": "odd", "before": 1, "on": None, "gates": []}) == []


def test_the_list_says_which_fail_how_flaky_they_are_and_when_they_run_next(client: Client) -> None:
    suite = shop()
    run = make_run(suite, status=RunStatus.PASSED)
    Run.objects.filter(pk=run.pk).update(test_count=9, skipped_count=1, passed_count=6, flaky_count=2)
    red = make_suite(suite.project, "red")
    make_run(red, status=RunStatus.FAILED)
    due = NOW + timedelta(days=400)
    Schedule.objects.create(suite=suite, cron="0 2 * * *", due_at=due)
    Schedule.objects.create(suite=suite, cron="0 3 * * *", due_at=due + timedelta(hours=1))
    Schedule.objects.create(suite=red, cron="0 2 * * *", is_paused=True)
    client.force_login(make_member(suite.project))

    page = text_of(client, "/p/shop/suites/")

    assert "1 of 2 suites is failing</strong> on" in page
    # Two of the eight results that were not skipped.
    assert ">25.0%</td>" in page
    assert page.count(due.isoformat()) == 1


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
