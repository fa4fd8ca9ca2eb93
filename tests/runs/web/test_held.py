"""What pages say of an environment that is held for a person, and what its buttons do."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from environments.models import Environment, ServiceUsage
from runs.models import AuditEntry, Run
from runs.queries.news import news_of
from runs.templatetags.held import to_come
from runs.vocabulary import Role, RunStatus
from tests.factories import NOW, make_member, make_project, make_run, make_suite
from tests.rows import add_environment, hold_environment

pytestmark = pytest.mark.django_db


@pytest.fixture
def run() -> Run:
    project = make_project("shop", visibility="public", repository_url="https://git.example.org/shop.git")
    return make_run(make_suite(project, "checkout"), status=RunStatus.FAILED, started_at=NOW, verdict="fail")


@pytest.fixture
def held(run: Run) -> Environment:
    services: dict[str, tuple[float, float, float | None]] = {"db": (0, 0.1, 1), "api": (0, 1, 2)}
    return hold_environment(add_environment(run, services, ready_after=2), run=run, minutes=30.5)


@pytest.fixture
def member(client: Client, run: Run) -> Client:
    client.force_login(make_member(run.project, Role.MEMBER, username="ada"))
    return client


def words(client: Client, where: str) -> str:
    answer = client.get(where)
    assert answer.status_code in {200, 286}, answer.status_code
    text = " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())
    return re.sub(r" (?=[.,:])", "", text)


def address(environment: Environment, then: str = "") -> str:
    return f"/p/shop/environments/{environment.name}/{then}"


def test_its_page_says_until_when_and_why_and_what_it_costs(member: Client, held: Environment) -> None:
    measured_at = held.created_at + timedelta(seconds=5)
    for service in held.services.all():
        ServiceUsage.objects.create(
            service=service,
            began_at=measured_at,
            offsets_ms=[0, 1000],
            memory_kib=[50 * 1024, 64 * 1024],
            cpu_millis=[None, 100],
            throttled_ms=[None, 0],
            memory_limit_bytes=512 * 1024**2,
        )

    page = words(member, address(held))

    assert "It failed and is held for a look. All 2 services are as the tests left them." in page
    assert f"Held until {held.held_until:%H:%M} UTC (in 30 min) because: 1 test failed." in page
    # Two services, each with 64 MiB in its last sample and a limit of 512 MiB and one processor.
    moment = f"{measured_at + timedelta(seconds=1):%H:%M:%S}"
    assert f"2 services run, holding 128 MiB when last measured at {moment}." in page
    assert "They may use up to 1 GiB and 2 processors, held since" in page
    assert f"docker exec -it {held.name}-db sh" in page
    assert "10.213.4.2:5432" in page


def test_every_command_has_a_button_that_copies_it(member: Client, held: Environment) -> None:
    page = member.get(address(held)).content.decode()

    targets = re.findall(r'data-copy="#(held-[^"]+)"', page)
    assert len(targets) == len(set(targets)) == 4
    assert all(f'<pre id="{target}"' in page for target in targets)


def test_who_only_reads_sees_until_when_but_no_command(client: Client, held: Environment) -> None:
    page = words(client, address(held))

    assert "Held until" in page
    assert "docker exec" not in page
    assert "10.213.4.2" not in page
    assert "Let go" not in page


def test_a_held_one_is_not_asked_after_every_three_seconds(member: Client, held: Environment) -> None:
    part = member.get(address(held, "live/")).content.decode()

    assert 'id="now"' in part
    assert "hx-get" not in part
    assert "docker exec" in part


def test_a_member_lets_go_and_the_reaper_has_it(member: Client, run: Run, held: Environment) -> None:
    answer = member.post(address(held, "release/"), follow=True)

    held.refresh_from_db()
    assert held.lease_expires_at <= timezone.now()
    assert f"{held.name} is held no longer; it is removed within seconds." in answer.content.decode()
    assert "Nobody holds it any more." in answer.content.decode()
    assert AuditEntry.objects.get().action == "environment.released"
    assert f"ada let go of {held.name}." in words(member, f"/p/shop/runs/{run.number}/")


def test_letting_go_of_what_is_gone_says_so(member: Client, held: Environment) -> None:
    Environment.objects.update(state="removed", removed_at=timezone.now())

    answer = member.post(address(held, "release/"), follow=True)

    assert f"Environment {held.name} is not held any more." in answer.content.decode()
    assert not AuditEntry.objects.exists()


def test_half_an_hour_more(member: Client, held: Environment) -> None:
    before = held.held_until
    assert before is not None

    answer = member.post(address(held, "hold-longer/"), follow=True)

    held.refresh_from_db()
    assert held.held_until == before + timedelta(minutes=30)
    assert f"{held.name} is held until {held.held_until:%H:%M} UTC." in answer.content.decode()


def test_at_the_longest_there_is_no_button_for_more(
    member: Client, held: Environment, settings: Settings
) -> None:
    settings.HELD_LONGEST_SECONDS = 1800

    page = words(member, address(held))

    assert "It cannot be held for longer." in page
    assert "30 more minutes" not in page


def test_tearing_it_down_is_letting_go(member: Client, held: Environment) -> None:
    member.post(address(held, "tear-down/"))

    held.refresh_from_db()
    assert held.held_until == held.lease_expires_at
    assert AuditEntry.objects.get().action == "environment.released"


def test_the_runs_page_leads_to_it(client: Client, run: Run, held: Environment) -> None:
    page = client.get(f"/p/shop/runs/{run.number}/").content.decode()

    assert f"/p/shop/environments/{held.name}/#held" in page
    said = words(client, f"/p/shop/runs/{run.number}/")
    assert (
        f"{held.name} is held until {held.held_until:%H:%M} UTC (in 30 min) for a look: 1 test failed."
        in said
    )


def test_the_list_names_it_first_though_thirty_runs_came_after(
    client: Client, run: Run, held: Environment
) -> None:
    for _ in range(31):
        add_environment(make_run(run.suite, status=RunStatus.PASSED, started_at=NOW), {})

    page = words(client, "/p/shop/environments/")

    until = f"{held.held_until:%H:%M} UTC (in 30 min)"
    # Two services run, each with at most 512 MiB.
    assert f"{held.name} {until} 1 test failed. checkout #{run.number}, shard 1 2 1 GiB" in page
    older = words(client, f"/p/shop/environments/?before={run.number + 1}")
    assert "1 test failed." not in older


def test_the_message_of_a_failure_says_that_it_can_be_looked_at(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(number=7)
    before = make_run(run.suite, status=RunStatus.PASSED, verdict="pass", number=6, branch=run.branch)
    run.refresh_from_db()
    silent = news_of(run)
    held = hold_environment(add_environment(run, {}, ready_after=1), run=run)

    news = news_of(run)

    assert before.number == 6
    assert silent is not None
    assert news is not None
    assert silent.held == ""
    assert news.held == f"Its environment is held until {held.held_until:%H:%M} UTC for a look."
    assert news.explanation == f"{silent.explanation} {news.held}"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "over"),
        (59, "in under a minute"),
        (60, "in 1 min"),
        (23 * 60 + 59, "in 23 min"),
        (3600, "in 1 h"),
        (4800, "in 1 h 20 min"),
    ],
)
def test_how_far_away_its_end_is(seconds: float, said: str) -> None:
    assert to_come(seconds) == said
