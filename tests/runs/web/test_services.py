"""The services' pages: who is blamed, when, on what evidence, and one service."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from runs.models import Project, Result, Run, Service
from runs.queries.services import service_heat
from runs.vocabulary import Outcome, RunStatus
from tests.factories import NOW, make_project, make_run, make_suite
from tests.rows import add_blame, add_results

pytestmark = pytest.mark.django_db


def text_of(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def failed(
    project: Project, count: int, *, at: datetime = NOW, message: str = "expected 201"
) -> list[Result]:
    """A run with so many failures."""
    suite = project.suites.first() or make_suite(project, "checkout")
    run = make_run(suite, status=RunStatus.FAILED, queued_at=at)
    return add_results(run, {f"test_{n}": Outcome.FAILED for n in range(count)}, message=message)


def test_each_failure_counts_on_its_day_for_the_service_it_is_held_against() -> None:
    project = make_project()
    Service.objects.create(project=project, name="idle")
    first, second, third = failed(project, 3)
    add_blame(first, "orders")
    add_blame(second, "orders", "users")
    add_blame(third)
    [earlier] = failed(project, 1, at=NOW - timedelta(days=6, hours=8))
    add_blame(earlier, "users")
    [too_old] = failed(project, 1, at=NOW - timedelta(days=6, hours=8, seconds=1))
    add_blame(too_old, "orders")
    add_blame(failed(make_project(), 1)[0], "orders")

    heat = service_heat(project, days=7, now=NOW)

    assert heat.days == [date(2026, 11, day) for day in range(15, 22)]
    assert [(row.service, [cell.count for cell in row.cells], row.total) for row in heat.rows] == [
        ("orders", [0, 0, 0, 0, 0, 0, 2], 2),
        ("users", [1, 0, 0, 0, 0, 0, 1], 2),
        ("idle", [0, 0, 0, 0, 0, 0, 0], 0),
        ("", [0, 0, 0, 0, 0, 0, 1], 1),
    ]
    assert (heat.failure_count, heat.today_count, heat.hidden_count) == (4, 3, 0)
    assert heat.worst is not None
    assert heat.worst.service == "orders"
    # 2 of at least 8 are a quarter of the way: 1 of 4 levels.
    assert [cell.level for cell in heat.rows[0].cells] == [0, 0, 0, 0, 0, 0, 1]


def test_a_day_is_a_day_of_utc_wherever_the_clock_stands() -> None:
    project = make_project()
    add_blame(failed(project, 1, at=datetime(2026, 11, 20, 23, 59, tzinfo=UTC))[0], "orders")

    heat = service_heat(project, days=2, now=datetime(2026, 11, 21, 0, 1, tzinfo=UTC))

    assert [cell.count for cell in heat.rows[0].cells] == [1, 0]


def test_the_page_begins_with_who_is_blamed_today(client: Client) -> None:
    project = make_project("shop", visibility="public")
    now = timezone.now()
    results = failed(project, 3, at=now)
    add_blame(results[0], "orders")
    add_blame(results[1], "orders")
    add_blame(results[2])

    page = text_of(client, "/p/shop/services/")

    assert (
        '<strong class="bad"><bdi>orders</bdi></strong> is blamed for 2 of today\u2019s 3 failures.' in page
    )
    assert "Container died" in page
    day = now.astimezone(UTC).date().isoformat()
    assert f"?days=14&amp;service=orders&amp;day={day}#failures" in page
    assert "expected 201" in page


def test_a_cell_lists_its_failures_and_no_others(client: Client) -> None:
    project = make_project("shop", visibility="public")
    now = timezone.now()
    add_blame(failed(project, 1, at=now, message="orders broke")[0], "orders")
    add_blame(failed(project, 1, at=now, message="users broke")[0], "users")
    add_blame(failed(project, 1, at=now, message="nobody broke it")[0])
    add_blame(failed(project, 1, at=now - timedelta(days=2), message="orders broke before")[0], "orders")
    today = now.astimezone(UTC).date().isoformat()

    def listed(query: str) -> set[str]:
        page = text_of(client, f"/p/shop/services/{query}").partition('id="failures"')[2]
        known = ["orders broke</bdi>", "users broke", "nobody broke it", "orders broke before"]
        return {message.removesuffix("</bdi>") for message in known if message in page}

    assert listed("") == {"orders broke", "users broke", "orders broke before"}
    assert listed("?service=orders") == {"orders broke", "orders broke before"}
    assert listed(f"?service=orders&day={today}") == {"orders broke"}
    assert listed("?service=") == {"nobody broke it"}
    # What cannot be is as if it had not been said.
    assert listed("?service=unknown%00&day=2026-13-45&days=1e9") == listed("")


@pytest.mark.parametrize("days", [7, 14, 28])
def test_the_days_shown_are_chosen_by_the_address(client: Client, days: int) -> None:
    make_project("shop", visibility="public")
    project = Project.objects.get(slug="shop")
    add_blame(failed(project, 1, at=timezone.now())[0], "orders")

    page = text_of(client, f"/p/shop/services/?days={days}")

    assert page.partition("</thead>")[0].count('<th scope="col">') == days + 1


def test_a_project_without_services_or_failures_says_what_would_be_here(client: Client) -> None:
    project = make_project("shop", visibility="public")
    page = text_of(client, "/p/shop/services/")
    assert "No service is known yet." in page
    assert "property <code>service</code>" in page

    Service.objects.create(project=project, name="orders")
    page = text_of(client, "/p/shop/services/")
    assert "Nothing failed in the last 14 days that a service could be blamed for." in page
    add_blame(failed(project, 1, at=timezone.now())[0])
    assert "No service is blamed for any of the 1 failure of the last 14 days." in text_of(
        client, "/p/shop/services/"
    )


def test_who_needs_whom_is_drawn_by_the_newest_run_with_an_environment(client: Client) -> None:
    project = make_project("shop", visibility="public")
    suite = make_suite(project, "checkout")
    services = {
        "tests": {"depends_on": ["orders"]},
        "orders": {"depends_on": ["postgres"], "ports": [8000]},
        "postgres": {"depends_on": []},
    }
    run = make_run(
        suite,
        status=RunStatus.PASSED,
        environment_facts={"tests": "tests", "services": services, "images": {"orders": "orders:1.9"}},
    )
    make_run(suite, status=RunStatus.PASSED)

    page = text_of(client, "/p/shop/services/")

    assert f'By the Compose file of <a href="/p/shop/runs/{run.number}/">#{run.number}</a>' in page
    assert page.count('class="edge"') == 2
    assert '<th scope="row"><bdi>orders</bdi></th><td><bdi>postgres</bdi></td>' in page


def test_a_services_page_tells_when_why_and_by_which_tests_it_is_blamed(client: Client) -> None:
    project = make_project("shop", visibility="public")
    now = timezone.now()
    for days, image in ((2, "orders:1.8"), (1, "orders:1.9"), (0, "orders:1.9")):
        results = failed(project, 2, at=now - timedelta(days=days))
        add_blame(results[0], "orders")
        add_blame(results[1])
        Run.objects.filter(pk=results[0].run_id).update(
            environment_facts={
                "services": {
                    "orders": {"depends_on": ["postgres"], "ports": [8000]},
                    "gate": {"depends_on": ["orders"]},
                },
                "images": {"orders": image},
            }
        )

    page = text_of(client, "/p/shop/services/orders/")

    assert "Blamed for 3 of 6 failures</strong> in the last 28 days" in page
    assert "test_0" in page
    assert "<dt>#1</dt><dd><code><bdi>orders:1.8</bdi></code>" in page
    assert "<dt>#2\u20133</dt><dd><code><bdi>orders:1.9</bdi></code>" in page
    assert "<dt>Needs</dt><dd><bdi>postgres</bdi></dd><dt>Needed by</dt><dd><bdi>gate</bdi></dd>" in page
    assert '/p/shop/runs/3/?source=orders#log">Log' in page


@pytest.mark.parametrize("name", ["a/b c?#&é", "x" * 250, "<b>&amp;</b>", "%2e%2e"])
def test_a_service_of_any_name_has_its_page(client: Client, name: str) -> None:
    project = make_project("shop", visibility="public")
    add_blame(failed(project, 1, at=timezone.now())[0], name)

    assert client.get(reverse("service", args=["shop", name])).status_code == 200
    page = client.get("/p/shop/services/").content.decode()
    assert reverse("service", args=["shop", name]) in page.replace("&amp;", "&")
    assert "<b>&" not in page


def test_a_service_that_is_not_known_has_no_page(client: Client) -> None:
    make_project("shop", visibility="public")
    Service.objects.create(project=make_project("other", visibility="public"), name="orders")

    assert client.get("/p/shop/services/orders/").status_code == 404
    assert client.get("/p/shop/services/%00/").status_code == 404


def test_a_tests_page_names_the_services_its_failures_are_held_against(client: Client) -> None:
    project = make_project("shop", visibility="public")
    now = timezone.now()
    for days, services in ((0, ["orders"]), (1, ["orders", "users"]), (2, []), (40, ["old"])):
        [result] = failed(project, 1, at=now - timedelta(days=days))
        add_blame(result, *services)

    page = text_of(client, reverse("test", args=["shop", result.case_id]))

    rail = page.partition('id="blamed-h"')[2].partition("</section>")[0]
    assert '<dt>2 of 3</dt><dd><a href="/p/shop/services/orders/"><bdi>orders</bdi></a></dd>' in rail
    assert '<dt>1 of 3</dt><dd><a href="/p/shop/services/users/">' in rail
    assert '<dt>1 of 3</dt><dd class="soft">no service blamed</dd>' in rail
    assert "old" not in rail
