"""Quarantine: a test runs on and does not decide."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from itdash.cli.upload import EXIT_FAILED, exit_code
from runs.actions.errors import InvalidValueError, NotPossibleError, TakenError
from runs.actions.quarantine import lift_quarantine, quarantine_case
from runs.actions.runs import Ending, claim_run, finish_run, settle_uploaded_run
from runs.actions.uploads import ingest_upload
from runs.models import Quarantine, Run, Shard, TestCase
from runs.queries.quarantine import gate_of, quarantine_of
from runs.vocabulary import Outcome, RunStatus, Scope, Trigger, Verdict
from tests.factories import NOW, make_case, make_member, make_project, make_run, make_suite
from tests.rows import add_results
from tests.runs.api.test_access import bearer
from tests.runs.api.test_uploads import BAD, send

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
WHY = "SHOP-231: the stock service answers late"


def failed_run(*, quarantined: tuple[str, ...] = (), failing: tuple[str, ...] = ("test_refund",)) -> Run:
    """A run that is about to fail; the quarantines began the day before."""
    suite = make_suite(make_project("shop", visibility="public"), "checkout")
    for name in quarantined:
        quarantine_case(case=make_case(suite, name), reason=WHY, days=14, owner="Ada", now=NOW - DAY)
    run = make_run(suite, trigger=Trigger.API)
    add_results(run, {"test_create": Outcome.PASSED} | dict.fromkeys(failing, Outcome.FAILED))
    return run


def finish(run: Run, status: RunStatus = RunStatus.FAILED) -> Run:
    claim = claim_run(run.pk, owner="worker")
    assert claim is not None
    assert finish_run(claim, Ending(status))
    run.refresh_from_db()
    return run


def told(run: Run) -> list[str]:
    return list(run.events.filter(kind="quarantined").values_list("message", flat=True))


def test_a_run_in_which_only_quarantined_tests_failed_has_failed_and_passes() -> None:
    run = finish(failed_run(quarantined=("test_refund",)))

    assert (run.status, run.verdict) == (RunStatus.FAILED, Verdict.PASS)
    assert told(run) == [
        "Failed in quarantine, which does not decide: test_refund. Nothing failed but 1 test in quarantine."
    ]


def test_one_failure_outside_of_quarantine_decides() -> None:
    run = finish(failed_run(quarantined=("test_refund",), failing=("test_refund", "test_pay")))

    assert run.verdict == Verdict.FAIL
    assert told(run) == [
        "Failed in quarantine, which does not decide: test_refund. 1 test failed; 1 more in quarantine."
    ]


def test_nothing_is_told_where_nothing_in_quarantine_failed() -> None:
    run = finish(failed_run(quarantined=("test_create",)))

    assert run.verdict == Verdict.FAIL
    assert told(run) == []


def test_a_run_that_timed_out_fails_whatever_is_in_quarantine() -> None:
    run = finish(failed_run(quarantined=("test_refund",)), RunStatus.TIMED_OUT)

    assert run.verdict == Verdict.FAIL


def test_a_shard_that_broke_without_a_failing_test_decides() -> None:
    run = failed_run(quarantined=("test_refund",))
    Shard.objects.create(run=run, number=1, status=RunStatus.FAILED, exit_code=1, failed_count=1)
    Shard.objects.create(run=run, number=2, status=RunStatus.FAILED, exit_code=137, failed_count=0)

    finish(run)

    assert run.verdict == Verdict.FAIL
    assert gate_of(run).why == "Shard 2 failed though none of its tests did; 1 more in quarantine."


@pytest.mark.parametrize(
    ("begins", "days", "lifted", "verdict"),
    [
        (-DAY, 14, None, Verdict.PASS),
        (timedelta(0), 14, None, Verdict.PASS),
        (timedelta(seconds=1), 14, None, Verdict.FAIL),
        (-2 * DAY, 2, None, Verdict.FAIL),
        (-DAY, 14, -timedelta(hours=1), Verdict.FAIL),
        (-DAY, 14, timedelta(hours=1), Verdict.PASS),
    ],
)
def test_what_counts_is_the_runs_moment(
    begins: timedelta, days: int, lifted: timedelta | None, verdict: Verdict
) -> None:
    run = failed_run()
    case = run.suite.cases.get(name="test_refund")
    quarantine_case(case=case, reason=WHY, days=days, now=NOW + begins)
    if lifted is not None:
        lift_quarantine(case=case, now=NOW + lifted)

    assert finish(run).verdict == verdict


def test_an_upload_in_parts_is_judged_by_all_of_them_and_told_of_once() -> None:
    run = failed_run(quarantined=("test_refund",))
    for _ in range(2):
        settle_uploaded_run(run.pk)
    run.refresh_from_db()
    assert run.verdict == Verdict.PASS
    assert len(told(run)) == 1

    add_results(run, {"test_pay": Outcome.FAILED})
    Run.objects.filter(pk=run.pk).update(failed_count=2)
    settle_uploaded_run(run.pk)

    run.refresh_from_db()
    assert run.verdict == Verdict.FAIL


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"reason": "  "}, "reason"),
        ({"reason": "x" * 2001}, "reason"),
        ({"days": 0}, "days"),
        ({"days": 91}, "days"),
        ({"owner": "o" * 251}, "owner"),
        ({"owner": "A\x00da"}, "owner"),
    ],
)
def test_a_quarantine_needs_a_reason_and_an_end(values: dict[str, object], field: str) -> None:
    case = make_case(make_suite())
    asked: dict[str, object] = {"reason": WHY, "days": 90, "owner": "Ada"} | values

    with pytest.raises(InvalidValueError) as refusal:
        quarantine_case(case=case, **asked)  # type: ignore[arg-type]

    assert refusal.value.field == field
    assert not Quarantine.objects.exists()


def test_a_case_is_in_one_quarantine_until_it_ends_or_is_lifted() -> None:
    case = make_case(make_suite())
    with pytest.raises(NotPossibleError):
        lift_quarantine(case=case)
    quarantine_case(case=case, reason=WHY, days=1, now=NOW)
    with pytest.raises(TakenError):
        quarantine_case(case=case, reason=WHY, days=1, now=NOW)
    with pytest.raises(NotPossibleError):
        lift_quarantine(case=case, now=NOW + DAY)

    again = quarantine_case(case=case, reason="still", days=90, now=NOW + DAY)
    person = make_member(case.suite.project)
    lift_quarantine(case=case, by=person, now=NOW + 2 * DAY)

    assert quarantine_of(case, now=NOW + DAY) == again
    assert quarantine_of(case, now=NOW + 2 * DAY) is None
    assert list(Quarantine.objects.order_by("pk").values_list("lifted_at", "lifted_by")) == [
        (NOW + DAY, None),
        (NOW + 2 * DAY, person.pk),
    ]


def test_the_verdict_is_told_over_http_with_its_reasons(client: Client) -> None:
    run = finish(failed_run(quarantined=("test_refund",), failing=("test_refund", "test_pay")))
    cases = {case.name: case.pk for case in TestCase.objects.all()}

    assert client.get(f"/api/v1/runs/{run.pk}/verdict").json() == {
        "verdict": "fail",
        "status": "failed",
        "why": "1 test failed; 1 more in quarantine.",
        "gates": [],
        "base": None,
        "gating": {"count": 1, "tests": [{"id": cases["test_pay"], "name": "test_pay"}]},
        "quarantined": {
            "count": 1,
            "tests": [
                {
                    "id": cases["test_refund"],
                    "name": "test_refund",
                    "reason": WHY,
                    "owner": "Ada",
                    "until": "2026-12-04T08:00:00Z",
                }
            ],
        },
    }


@pytest.mark.parametrize(
    ("status", "verdict", "why"),
    [
        (RunStatus.PASSED, "pass", "No test failed."),
        (RunStatus.FAILED, "fail", "The tests' container ended with an error though no test failed."),
        (RunStatus.TIMED_OUT, "fail", "The suite's time-out had passed."),
        (RunStatus.ERRORED, "none", "The run was errored: it says nothing about the tests."),
        (RunStatus.RUNNING, "none", "The run is not finished."),
    ],
)
def test_every_verdict_has_a_reason(client: Client, status: RunStatus, verdict: str, why: str) -> None:
    run = make_run(make_suite(make_project(visibility="public")), status=status, verdict=verdict)

    answer = client.get(f"/api/v1/runs/{run.pk}/verdict").json()

    assert (answer["verdict"], answer["why"]) == (verdict, why)
    assert gate_of(run).verdict == verdict


def test_a_test_is_put_into_quarantine_over_http_and_taken_out(client: Client) -> None:
    case = make_case(make_suite(make_project("shop")))
    address = f"/api/v1/tests/{case.pk}/quarantine"
    headers = bearer(case.suite.project, Scope.MANAGE)
    wanted = {"reason": WHY, "days": 14}

    def post(values: dict[str, object]) -> int:
        return client.post(address, values, content_type="application/json", headers=headers).status_code

    assert post({**wanted, "days": 91}) == 422
    assert post(wanted) == 201
    assert post(wanted) == 409
    assert client.delete(address, headers=headers).status_code == 204
    assert client.delete(address, headers=headers).status_code == 409
    refused = client.post(
        address, wanted, content_type="application/json", headers=bearer(case.suite.project, Scope.TRIGGER)
    )
    assert refused.status_code == 403


def test_a_test_is_put_into_quarantine_on_its_page_and_the_run_shows_it(client: Client) -> None:
    run = failed_run()
    case = run.suite.cases.get(name="test_refund")
    client.force_login(make_member(run.project))
    page = f"/p/shop/tests/{case.pk}/"

    client.post(f"{page}quarantine/", {"reason": "", "days": "14"})
    assert "Say why" in client.get(page).content.decode()
    client.post(f"{page}quarantine/", {"reason": WHY, "days": "<b>"})
    assert "1 to 90 days" in client.get(page).content.decode()
    answer = client.post(f"{page}quarantine/", {"reason": WHY, "days": "14", "owner": "Ada"})

    assert answer["Location"] == page
    shown = client.get(page).content.decode()
    assert WHY in shown
    assert "Quarantined</span>" in shown
    Quarantine.objects.update(created_at=NOW - DAY)
    finish(run)
    shown = client.get("/p/shop/runs/1/").content.decode()
    assert "The verdict is pass:" in shown
    assert shown.count('<span class="tag">quarantined</span>') == 2  # in its group and among the results
    client.post(f"{page}lift/")
    assert "Quarantined</span>" not in client.get(page).content.decode()


def test_an_uploaders_pipeline_goes_green_while_the_test_is_in_quarantine(
    client: Client, tmp_path: Path, settings: Settings
) -> None:
    settings.MEDIA_ROOT = tmp_path
    project = make_project("shop")

    def uploaded() -> dict[str, object]:
        ident = send(client, project, BAD).json()["upload"]["id"]
        ingest_upload(ident)
        told: dict[str, object] = client.get(
            f"/api/v1/uploads/{ident}", headers=bearer(project, Scope.UPLOAD)
        ).json()
        return told

    assert exit_code(uploaded(), "verdict") == EXIT_FAILED
    quarantine_case(case=TestCase.objects.get(), reason=WHY, days=14)

    again = uploaded()

    assert exit_code(again, "verdict") == 0
    assert exit_code(again, "failure") == EXIT_FAILED
