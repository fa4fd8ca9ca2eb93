"""What the API says of services, and of a run's failures."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from runs.actions.tokens import create_token
from runs.models import Project, Result, Service
from runs.vocabulary import Outcome, RunStatus, Scope
from tests.factories import make_project, make_run, make_suite
from tests.rows import add_blame, add_results

pytestmark = pytest.mark.django_db


def asked(client: Client, project: Project, path: str) -> Any:
    secret = create_token(project=project, scopes=[Scope.READ]).secret
    answer = client.get(path, headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 200, answer.content
    return answer.json()


def failed(project: Project, count: int = 1, *, days_ago: int = 0) -> list[Result]:
    suite = project.suites.first() or make_suite(project, "checkout")
    run = make_run(suite, status=RunStatus.FAILED, queued_at=timezone.now() - timedelta(days=days_ago))
    return add_results(run, {f"test_{number}": Outcome.FAILED for number in range(count)})


def test_services_are_listed_with_the_failures_that_count_for_them(client: Client) -> None:
    project = make_project("shop")
    first, second, third = failed(project, 3)
    add_blame(first, "orders")
    add_blame(second, "orders", "users")
    add_blame(third)
    Service.objects.filter(name="orders").update(image="orders:1.9")

    found = asked(client, project, "/api/v1/projects/shop/services?days=2")

    assert (found["failures"], found["without_service"]) == (3, 1)
    assert [(one["name"], one["image"], one["failures"]) for one in found["items"]] == [
        ("orders", "orders:1.9", 2),
        ("users", None, 1),
    ]
    today = timezone.now().astimezone(UTC).date()
    assert found["items"][0]["by_day"] == [
        {"day": (today - timedelta(days=1)).isoformat(), "failures": 0},
        {"day": today.isoformat(), "failures": 2},
    ]
    assert found["items"][0]["url"].endswith("/p/shop/services/orders/")


def test_a_long_list_of_services_comes_in_pages(client: Client) -> None:
    project = make_project("shop")
    first, second = failed(project, 2)
    add_blame(first, "orders", "users")
    add_blame(second, "users")
    Service.objects.bulk_create(Service(project=project, name=f"quiet-{number:02}") for number in range(70))

    names = []
    following: str | None = "/api/v1/projects/shop/services?limit=30&days=7"
    while following:
        found = asked(client, project, following)
        assert found["failures"] == 2
        names += [one["name"] for one in found["items"]]
        following = found["next"]

    assert names == ["users", "orders", *(f"quiet-{number:02}" for number in range(70))]


def test_a_runs_failures_come_in_pages_each_with_what_was_found(client: Client) -> None:
    project = make_project("shop")
    results = failed(project, 5)
    add_blame(results[4], "orders")
    run = results[0].run

    first = asked(client, project, f"/api/v1/runs/{run.pk}/failures?limit=3")
    second = asked(client, project, first["next"])

    assert [one["name"] for one in first["items"] + second["items"]] == [f"test_{n}" for n in range(5)]
    assert [bool(one["blame"]) for one in second["items"]] == [False, True]
    assert second["items"][1]["blame"]["services"] == ["orders"]
    assert second["next"] is None


def test_a_services_failures_come_in_pages_with_their_evidence(client: Client) -> None:
    project = make_project("shop")
    for days_ago in (2, 1, 0):
        [result] = failed(project, days_ago=days_ago)
        add_blame(result, "or/ders")

    found = asked(client, project, "/api/v1/projects/shop/services/or/ders?limit=2&days=2")

    assert (found["service"]["name"], found["service"]["failures"]) == ("or/ders", 2)
    assert [one["run_number"] for one in found["items"]] == [3, 2]
    newest = found["items"][0]
    assert (newest["test"], newest["blame"]["services"]) == ("test_0", ["or/ders"])
    [suspect] = newest["blame"]["suspects"]
    assert (suspect["rank"], suspect["strength"]) == (1, "strong")
    assert suspect["evidence"][0]["kind"] == "died"
    assert suspect["evidence"][0]["detail"] == "died, exit code 137"
    assert newest["blame"]["ruled_out"] == [{"service": "calm", "reasons": ["up and well throughout"]}]
    assert newest["blame"]["unwatched"] == ["elsewhere"]
    rest = asked(client, project, found["next"])
    assert [one["run_number"] for one in rest["items"]] == [1]
    assert rest["next"] is None


def test_a_runs_failures_carry_what_was_found_of_the_services(client: Client) -> None:
    project = make_project("shop")
    blamed, _ = failed(project, 2)
    add_blame(blamed, "orders")

    found = asked(client, project, f"/api/v1/runs/{blamed.run_id}/failures")

    assert [(one["name"], (one["blame"] or {}).get("services")) for one in found["items"]] == [
        ("test_0", ["orders"]),
        ("test_1", None),
    ]


def test_an_unknown_service_and_one_of_another_project_are_not_found(client: Client) -> None:
    project, other = make_project("shop"), make_project("other")
    Service.objects.create(project=other, name="orders")
    secret = create_token(project=project, scopes=[Scope.READ]).secret
    headers = {"Authorization": f"Bearer {secret}"}

    for path in ("shop/services/orders", "other/services/orders", "other/services", "shop/services/%00"):
        assert client.get(f"/api/v1/projects/{path}", headers=headers).status_code == 404
    assert client.get("/api/v1/projects/shop/services?days=0", headers=headers).status_code == 422
