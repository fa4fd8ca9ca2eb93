"""Tests over the API: narrowed, sorted, with their state and the evidence for it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from runs.actions.judging import judge_run
from runs.models import CaseDuration, CaseState, Project, TestCase
from runs.vocabulary import Outcome, RunStatus
from tests.factories import NOW, make_case, make_project, make_run, make_suite
from tests.rows import add_results
from tests.runs.api.test_access import bearer

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return make_project("shop")


def fill(project: Project) -> dict[str, TestCase]:
    """Three tests: flaky, slower, and one of which nothing is known."""
    suite = make_suite(project, "checkout")
    cases = {name: make_case(suite, name) for name in ("plain", "flaky_one", "slower_one")}
    CaseState.objects.create(
        case=cases["flaky_one"],
        flakiness="flaky",
        direct_count=2,
        evidence=0.1,
        lost_ms_per_week=90_500,
        changed_at=NOW,
        judged_at=NOW,
    )
    CaseDuration.objects.create(
        case=cases["slower_one"],
        p50_ms=2_000,
        p95_ms=2_500,
        before_ms=1_000,
        after_ms=2_000,
        is_slower=True,
        last_run_at=NOW,
        judged_at=NOW,
    )
    return cases


def test_a_list_of_tests_says_what_is_known_of_each(client: Client, project: Project) -> None:
    fill(project)

    items = client.get("/api/v1/projects/shop/tests", headers=bearer(project)).json()["items"]

    assert [item["name"] for item in items] == ["plain", "flaky_one", "slower_one"]
    assert [item["state"]["flakiness"] for item in items] == ["healthy", "flaky", "healthy"]
    assert items[1]["state"]["lost_seconds_per_week"] == 90.5
    assert items[0]["state"]["since"] is None
    assert items[0]["pace"] is None
    assert items[2]["pace"] == {
        "p50_seconds": 2.0,
        "p95_seconds": 2.5,
        "is_slower": True,
        "before_seconds": 1.0,
        "after_seconds": 2.0,
    }


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("flaky=unhealthy", ["flaky_one"]),
        ("flaky=healthy", ["plain", "slower_one"]),
        ("flaky=slower&sort=slow", ["slower_one"]),
        ("sort=name", ["flaky_one", "plain", "slower_one"]),
        ("sort=flaky", ["flaky_one"]),
        ("q=ONE&sort=name", ["flaky_one", "slower_one"]),
        ("suite=other", []),
    ],
)
def test_tests_are_narrowed_and_sorted(
    client: Client, project: Project, query: str, names: list[str]
) -> None:
    fill(project)

    items = client.get(f"/api/v1/projects/shop/tests?{query}", headers=bearer(project)).json()["items"]

    assert [item["name"] for item in items] == names


@pytest.mark.parametrize("query", ["flaky=perhaps", "sort=size"])
def test_a_word_that_means_nothing_is_refused(client: Client, project: Project, query: str) -> None:
    assert client.get(f"/api/v1/projects/shop/tests?{query}", headers=bearer(project)).status_code == 422


def test_sorted_pages_follow_each_other(client: Client, project: Project) -> None:
    fill(project)
    headers = bearer(project)

    first = client.get("/api/v1/projects/shop/tests?sort=name&limit=2", headers=headers).json()
    second = client.get(first["next"], headers=headers).json()

    assert [item["name"] for item in first["items"] + second["items"]] == ["flaky_one", "plain", "slower_one"]
    assert second["next"] is None


def test_a_test_comes_with_the_runs_that_its_state_rests_on(client: Client, project: Project) -> None:
    suite = make_suite(project, "checkout")
    calm = [f"calm_{number}" for number in range(10)]
    for index, letter in enumerate("ppfpp"):
        outcome = Outcome.FAILED if letter == "f" else Outcome.PASSED
        run = make_run(
            suite,
            status=RunStatus.FAILED if letter == "f" else RunStatus.PASSED,
            queued_at=NOW + timedelta(hours=index),
            commit=f"{index:040x}",
        )
        add_results(run, dict.fromkeys(calm, Outcome.PASSED) | {"test_race": outcome})
    judge_run(run.pk)
    case = TestCase.objects.get(name="test_race")

    answer = client.get(f"/api/v1/tests/{case.pk}", headers=bearer(project)).json()

    assert (answer["state"]["flakiness"], answer["state"]["isolated"]) == ("suspect", 1)
    why = answer["why"]
    assert (why["executions"], why["changes_hit"], why["thresholds"]["flaky_isolated"]) == (5, 1, 3)
    [isolated] = why["isolated"]
    assert [isolated["before"]["run_number"], isolated["failed"][0]["run_number"]] == [2, 3]
    assert isolated["failed"][0]["outcome"] == "failed"
    assert isolated["after"]["run_url"].endswith("/p/shop/runs/4/")
    assert why["direct"] == []


def test_a_test_of_which_nothing_is_known_says_so(client: Client, project: Project) -> None:
    case = fill(project)["plain"]

    why = client.get(f"/api/v1/tests/{case.pk}", headers=bearer(project)).json()["why"]

    assert (why["judged_at"], why["executions"], why["direct"]) == (None, 0, [])
