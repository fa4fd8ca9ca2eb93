"""Runs over the API."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

import pytest
from django.test import Client
from pytest_django import Settings

from runs.actions.partitions import ensure_partition
from runs.models import AuditEntry, Event, Failure, Project, Result, Run
from runs.vocabulary import Outcome, RunStatus, Scope
from tests.factories import NOW, make_case, make_event, make_project, make_run, make_suite
from tests.rows import add_results
from tests.runs.api.test_access import bearer

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return make_project("shop", repository_url="/srv/shop.git")


def test_a_run_is_told_as_the_contract_has_it(client: Client, project: Project, settings: Settings) -> None:
    settings.PUBLIC_URL = "https://itdash.example"
    run = make_run(
        make_suite(project, "checkout"), status=RunStatus.FAILED, verdict="fail",
        verdict_reasons=["Fails: 1 new failure against #2 on main, at most 0 allowed."],
        test_count=5, passed_count=2, failed_count=1, errored_count=0, skipped_count=1, flaky_count=1,
    )  # fmt: skip

    assert client.get(f"/api/v1/runs/{run.pk}", headers=bearer(project)).json() == {
        "id": run.pk,
        "number": 1,
        "project": "shop",
        "suite": "checkout",
        "status": "failed",
        "error_reason": None,
        "error_message": None,
        "trigger": "person",
        "branch": "main",
        "commit": "a81f3c2" + "0" * 33,
        "pull_request": None,
        "queued_at": "2026-11-21T08:00:00Z",
        "started_at": "2026-11-21T08:00:01Z",
        "finished_at": "2026-11-21T08:01:01Z",
        "duration_seconds": 60.0,
        "totals": {"tests": 5, "passed": 2, "failed": 1, "errored": 0, "skipped": 1, "flaky": 1},
        "verdict": "fail",
        "verdict_reasons": ["Fails: 1 new failure against #2 on main, at most 0 allowed."],
        "shards": None,
        "is_pinned": False,
        "results_removed_at": None,
        "url": "https://itdash.example/p/shop/runs/1/",
    }


def test_an_errored_run_says_why(client: Client, project: Project) -> None:
    run = make_run(make_suite(project), status=RunStatus.ERRORED)

    answer = client.get(f"/api/v1/runs/{run.pk}", headers=bearer(project)).json()

    assert (answer["error_reason"], answer["error_message"]) == (
        "never_healthy",
        "postgres never became healthy",
    )


def test_runs_come_newest_first_page_by_page(client: Client, project: Project) -> None:
    suite = make_suite(project)
    for _ in range(5):
        make_run(suite)

    numbers, address = [], "/api/v1/projects/shop/runs?limit=2"
    while address:
        answer = client.get(address, headers=bearer(project)).json()
        numbers.append([run["number"] for run in answer["items"]])
        address = answer["next"]

    assert numbers == [[5, 4], [3, 2], [1]]


def test_runs_are_filtered(client: Client, project: Project) -> None:
    checkout, database = make_suite(project, "checkout"), make_suite(project, "database")
    make_run(checkout, branch="main", status=RunStatus.PASSED)
    make_run(checkout, branch="feature")
    make_run(database, branch="main", commit="f" * 40)

    def numbers(query: str) -> list[int]:
        answer = client.get(f"/api/v1/projects/shop/runs?{query}", headers=bearer(project)).json()
        return [run["number"] for run in answer["items"]]

    assert numbers("suite=checkout") == [2, 1]
    assert numbers("branch=main") == [3, 1]
    assert numbers("status=passed") == [1]
    assert numbers("commit=ffff") == [3]
    assert numbers("trigger=schedule") == []


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("status=green", "status"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("cursor=nonsense", "cursor"),
    ],
)
def test_a_value_that_cannot_be_is_named(
    client: Client, project: Project, query: str, complaint: str
) -> None:
    answer = client.get(f"/api/v1/projects/shop/runs?{query}", headers=bearer(project))

    assert answer.status_code == 422
    assert complaint in answer.json()["detail"]


def test_a_run_is_queued_for_a_ref(client: Client, project: Project) -> None:
    answer = client.post(
        "/api/v1/projects/shop/runs",
        {"suite": "checkout", "ref": "release/2"},
        content_type="application/json",
        headers=bearer(project, Scope.TRIGGER),
    )

    assert answer.status_code == 201
    assert answer.json()["status"] == "queued"
    run = Run.objects.get()
    assert (run.suite.name, run.ref, run.trigger) == ("checkout", "release/2", "api")


def test_the_same_key_twice_is_one_run(client: Client, project: Project) -> None:
    headers = bearer(project, Scope.TRIGGER) | {"Idempotency-Key": "night-7"}

    def post(suite: str) -> tuple[int, dict[str, object]]:
        answer = client.post(
            "/api/v1/projects/shop/runs", {"suite": suite}, content_type="application/json", headers=headers
        )
        return answer.status_code, answer.json()

    (first, one), (second, two), (third, three) = post("checkout"), post("checkout"), post("database")

    assert (first, second, third) == (201, 200, 409)
    assert one["id"] == two["id"]
    assert "idempotency" in str(three["detail"]).lower()
    assert Run.objects.count() == 1


def test_a_body_that_is_no_json_is_malformed(client: Client, project: Project) -> None:
    answer = client.post(
        "/api/v1/projects/shop/runs",
        "{suite: checkout",
        content_type="application/json",
        headers=bearer(project, Scope.TRIGGER),
    )

    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"


def test_a_queued_run_is_cancelled_and_a_finished_one_is_not(client: Client, project: Project) -> None:
    waiting, finished = make_run(make_suite(project)), make_run(make_suite(project), status=RunStatus.PASSED)
    headers = bearer(project, Scope.TRIGGER)

    answer = client.post(f"/api/v1/runs/{waiting.pk}/cancel", headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")

    answer = client.post(f"/api/v1/runs/{finished.pk}/cancel", headers=headers)
    assert answer.status_code == 409
    finished.refresh_from_db()
    assert finished.status == RunStatus.PASSED


def test_running_again_takes_the_same_commit(client: Client, project: Project) -> None:
    run = make_run(make_suite(project, "checkout"), status=RunStatus.FAILED, commit="c" * 40)

    # As curl -X POST sends it: without a body.
    address = f"/api/v1/runs/{run.pk}/rerun"
    answer = client.generic("POST", address, headers=bearer(project, Scope.TRIGGER))

    assert answer.status_code == 201
    again = Run.objects.get(pk=answer.json()["id"])
    assert (again.commit, again.rerun_of, again.status) == ("c" * 40, run, "queued")
    assert again.selection == []


def test_only_the_failed_tests_are_run_again_when_that_is_asked(client: Client, project: Project) -> None:
    run = make_run(make_suite(project, "checkout"), status=RunStatus.FAILED)
    results = add_results(
        run, {"test_a": Outcome.PASSED, "test_b": Outcome.FAILED, "test_c": Outcome.ERRORED}
    )
    green = make_run(run.suite, status=RunStatus.PASSED)

    def rerun(of: Run) -> tuple[int, dict[str, Any]]:
        answer = client.post(
            f"/api/v1/runs/{of.pk}/rerun",
            {"failed_only": True},
            content_type="application/json",
            headers=bearer(project, Scope.TRIGGER),
        )
        return answer.status_code, answer.json()

    status, told = rerun(run)
    assert status == 201
    assert Run.objects.get(number=told["number"]).selection == [results[1].case_id, results[2].case_id]
    assert rerun(green) == (409, ANY)
    assert Run.objects.count() == 3


def test_results_come_in_the_reports_order_and_failures_with_their_texts(
    client: Client, project: Project
) -> None:
    suite = make_suite(project)
    run = make_run(suite, status=RunStatus.FAILED)
    ensure_partition(run.run_at)
    failure = Failure.objects.create(
        project=project, digest=b"d" * 16, fingerprint=b"\x01" * 16, kind="AssertionError",
        message="402 != 201", text="Traceback …", first_seen_at=NOW,
    )  # fmt: skip
    for position, (name, outcome) in enumerate([("pays", "failed"), ("ships", "passed"), ("packs", "flaky")]):
        Result.objects.create(
            run_at=run.run_at, run=run, case=make_case(suite, name), outcome=outcome, position=position,
            duration_ms=1500, failure=failure if outcome == "failed" else None,
        )  # fmt: skip
    headers = bearer(project)

    first = client.get(f"/api/v1/runs/{run.pk}/results?limit=2", headers=headers).json()
    second = client.get(first["next"], headers=headers).json()
    assert [row["name"] for row in first["items"] + second["items"]] == ["pays", "ships", "packs"]
    assert second["next"] is None

    flaky = client.get(f"/api/v1/runs/{run.pk}/results?outcome=flaky", headers=headers).json()
    assert [row["name"] for row in flaky["items"]] == ["packs"]
    named = client.get(f"/api/v1/runs/{run.pk}/results?q=SHIP", headers=headers).json()
    assert [row["name"] for row in named["items"]] == ["ships"]

    (failed,) = client.get(f"/api/v1/runs/{run.pk}/failures", headers=headers).json()["items"]
    assert failed["duration_seconds"] == 1.5
    assert failed["failure"] == {
        "kind": "AssertionError", "message": "402 != 201", "text": "Traceback …", "fingerprint": "01" * 16,
    }  # fmt: skip


def test_events_are_followed_by_cursor(client: Client, project: Project) -> None:
    run = make_run(make_suite(project))
    Event.objects.all().delete()
    for kind in ("queued", "claimed", "finished"):
        make_event(run, kind)
    headers = bearer(project)

    first = client.get(f"/api/v1/runs/{run.pk}/events?limit=2", headers=headers).json()
    second = client.get(first["next"], headers=headers).json()

    assert [event["kind"] for event in first["items"]] == ["queued", "claimed"]
    assert [event["kind"] for event in second["items"]] == ["finished"]


def test_a_test_and_its_history_newest_first(client: Client, project: Project) -> None:
    suite = make_suite(project, "checkout")
    case = make_case(suite, "test_pays")
    runs = [make_run(suite, status=RunStatus.PASSED) for _ in range(3)]
    ensure_partition(NOW)
    for run in runs:
        Result.objects.create(run_at=run.run_at, run=run, case=case, outcome="passed")
    headers = bearer(project)

    listed = client.get("/api/v1/projects/shop/tests?q=pays", headers=headers).json()
    assert [(row["id"], row["suite"]) for row in listed["items"]] == [(case.pk, "checkout")]
    assert client.get(f"/api/v1/tests/{case.pk}", headers=headers).json()["name"] == "test_pays"

    first = client.get(f"/api/v1/tests/{case.pk}/history?limit=2", headers=headers).json()
    second = client.get(first["next"], headers=headers).json()
    assert [row["run_number"] for row in first["items"] + second["items"]] == [3, 2, 1]


def test_a_run_is_pinned_and_unpinned_and_the_audit_log_names_the_token(
    client: Client, project: Project
) -> None:
    run = make_run(make_suite(project), status=RunStatus.PASSED)
    headers = bearer(project, Scope.TRIGGER)

    for asked, is_pinned in (("pin", True), ("pin", True), ("unpin", False)):
        answer = client.post(f"/api/v1/runs/{run.pk}/{asked}", headers=headers)
        assert (answer.status_code, answer.json()["is_pinned"]) == (200, is_pinned)

    entries = list(AuditEntry.objects.filter(action__startswith="run.").order_by("pk"))
    assert [entry.action for entry in entries] == ["run.pinned", "run.unpinned"]
    assert all(entry.token is not None for entry in entries)


def test_a_run_whose_results_are_gone_says_so_and_is_not_compared(client: Client, project: Project) -> None:
    suite = make_suite(project)
    gone = make_run(suite, status=RunStatus.PASSED, test_count=3, passed_count=3, results_removed_at=NOW)
    run = make_run(suite, status=RunStatus.PASSED, test_count=3, passed_count=3)

    answer = client.get(f"/api/v1/runs/{gone.pk}", headers=bearer(project)).json()
    assert (answer["results_removed_at"], answer["totals"]["tests"]) == ("2026-11-21T08:00:00Z", 3)

    # By itself it is compared with nothing: there is no other run whose results are there.
    assert client.get(f"/api/v1/runs/{run.pk}/compare", headers=bearer(project)).status_code == 409
    answer = client.get(f"/api/v1/runs/{run.pk}/compare?with={gone.pk}", headers=bearer(project))
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith(f"The results of run {gone.pk} are not kept any more")
