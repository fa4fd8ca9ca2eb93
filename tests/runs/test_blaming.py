"""Which service a run's failures are held against: by events and logs, or by a report alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from environments.models import Environment, EnvironmentService
from runs.actions import blaming
from runs.actions.blaming import blame_run
from runs.models import Attempt, Blame, Event, Run, Service, ServiceDay
from runs.queries import blame_inputs
from runs.tasks import judge_run
from runs.vocabulary import Outcome, RunStatus, Trigger
from tests.factories import NOW, make_run, make_suite
from tests.rows import add_environment, add_log, add_results

pytestmark = pytest.mark.django_db

START = NOW + timedelta(seconds=10)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def watched_run(
    outcomes: dict[str, Outcome],
    *,
    services: Sequence[str] = ("orders", "users"),
    message: str = "assert 1 == 2",
) -> Run:
    """A finished run whose tests ran one after the other, a second each, from `START`."""
    run = make_run(
        status=RunStatus.FAILED,
        started_at=NOW,
        finished_at=at(100),
        environment_facts={
            "tests": "tests",
            "services": {name: {"hosts": [], "ports": [], "depends_on": []} for name in services},
        },
    )
    add_results(run, outcomes, message=message, text=message, duration_ms=1000)
    run.results.update(duration_ms=1000)
    environment = add_environment(run, dict.fromkeys(services, (0.1, 0.2, 0.5)), ready_after=1)
    EnvironmentService.objects.create(environment=environment, name="tests", is_tests=True)
    happened(run, "environment_creating", -9)
    for name in services:
        happened(run, "service_started", -8, name)
        happened(run, "service_healthy", -7, name)
    happened(run, "tests_started", 0, "tests")
    happened(run, "tests_finished", len(outcomes), "tests")
    return run


def happened(run: Run, kind: str, seconds: float, service: str = "", **data: Any) -> None:
    Event.objects.create(run=run, shard=1, kind=kind, at=at(seconds), service=service, data=data)


def marked(run: Run, *tests: str) -> None:
    """Marks of tests that ran a second each."""
    for index, test in enumerate(tests):
        happened(run, "mark", index, test=test, phase="start")
        happened(run, "mark", index + 1, test=test, phase="end")


def of(run: Run, name: str) -> Blame:
    return Blame.objects.get(run=run, case__name=name)


def details(blame: Blame) -> list[str]:
    return [one["detail"] for suspect in blame.suspects for one in suspect["evidence"]]


SUITE = {"test_a": Outcome.PASSED, "test_b": Outcome.FAILED, "test_c": Outcome.PASSED}


def test_a_service_that_died_while_the_test_ran_is_blamed_with_its_exit_code() -> None:
    run = watched_run(SUITE)
    marked(run, *SUITE)
    happened(run, "service_exited", 1.4, "orders", exit_code=137)

    assert blame_run(run.pk) == 1

    found = of(run, "test_b")
    assert (found.services, found.suspects[0]["strength"]) == (["orders"], "strong")
    assert details(found) == ["died, exit code 137"]
    assert found.suspects[0]["evidence"][0]["at"] == at(1.4).isoformat()
    assert [one["service"] for one in found.ruled_out] == ["users"]
    assert (found.run_at, found.unwatched) == (run.run_at, [])
    told = Event.objects.get(run=run, kind="blamed")
    assert told.message == "Looked for the service at fault in 1 failure: found for 1."


def test_a_service_that_died_while_another_test_ran_and_came_back_is_not_blamed() -> None:
    run = watched_run(SUITE)
    marked(run, *SUITE)
    happened(run, "service_exited", 0.1, "orders", exit_code=1)
    happened(run, "service_started", 0.2, "orders")
    happened(run, "service_healthy", 0.3, "orders")

    blame_run(run.pk)

    found = of(run, "test_b")
    assert (found.services, found.suspects) == ([], [])
    assert found.ruled_out[0]["reasons"][0] == "up and well throughout"


def test_without_marks_the_window_is_estimated_and_the_evidence_says_so() -> None:
    run = watched_run(SUITE)
    happened(run, "service_exited", 1.4, "orders", exit_code=1)

    blame_run(run.pk)

    assert details(of(run, "test_b")) == ["died, exit code 1; when the test ran is estimated"]


def test_a_service_that_the_tests_stopped_is_not_to_blame() -> None:
    run = watched_run(SUITE, message="Connection refused: http://users:8000")
    marked(run, *SUITE)
    happened(run, "control", 1.1, "users", action="stop")
    happened(run, "service_exited", 1.2, "users", exit_code=143)
    happened(run, "control", 1.5, "users", action="start")
    happened(run, "service_started", 1.6, "users")

    blame_run(run.pk)

    found = of(run, "test_b")
    assert found.services == []
    assert {one["service"]: one["reasons"][0] for one in found.ruled_out} == {
        "orders": "up and well throughout",
        "users": "disturbed on purpose",
    }


def test_error_lines_of_the_tests_time_speak_against_a_service_and_the_usual_ones_do_not() -> None:
    names = [f"test_{number}" for number in range(10)]
    run = watched_run({name: Outcome.FAILED if name == "test_5" else Outcome.PASSED for name in names})
    marked(run, *names)
    for second in range(10):
        add_log(run, "users", "ERROR the same as ever", at=at(second + 0.7))
    add_log(run, "orders", "INFO calm", "ERROR no stock", "ERROR no stock", "ERROR gave up", at=at(5.2))

    blame_run(run.pk)

    found = of(run, "test_5")
    assert found.services == ["orders"]
    assert details(found) == ["3 error lines in its log, first: ERROR no stock"]
    assert found.suspects[0]["strength"] == "moderate"
    # 1 a second, and 1.4 seconds are looked at: one or two are usual.
    assert found.ruled_out[0]["reasons"][1] == "no more error lines than usual (1)"


def test_the_tests_own_log_and_an_earlier_trys_events_say_nothing() -> None:
    run = watched_run(SUITE)
    marked(run, *SUITE)
    add_log(run, "tests", "ERROR FAILED test_b", "ERROR again", "ERROR again", at=at(1.5))
    first = Event.objects.filter(run=run).order_by("pk").first()
    assert first is not None
    Event.objects.filter(pk=first.pk).update(kind="service_exited", service="orders", data={"exit_code": 1})
    Event.objects.create(pk=first.pk - 1_000_000, run=run, shard=1, kind="environment_creating", at=at(-20))
    happened(run, "environment_creating", -9)
    for event in Event.objects.filter(run=run, pk__gt=first.pk).exclude(kind="environment_creating"):
        event.pk = None
        event.save()

    blame_run(run.pk)

    assert of(run, "test_b").services == []


def test_what_happens_when_the_environment_is_taken_down_is_no_death() -> None:
    run = watched_run({"test_a": Outcome.PASSED, "test_b": Outcome.FAILED})
    marked(run, "test_a", "test_b")
    happened(run, "environment_removing", 2.5)
    happened(run, "service_exited", 2.6, "orders", exit_code=137)

    blame_run(run.pk)

    assert of(run, "test_b").services == []


def test_an_end_that_the_engine_tells_of_a_little_late_is_still_the_tests() -> None:
    run = watched_run({"test_a": Outcome.PASSED, "test_b": Outcome.FAILED})
    marked(run, "test_a", "test_b")
    happened(run, "service_exited", 2.9, "orders", exit_code=3)
    happened(run, "service_exited", 3.1, "users", exit_code=3)

    blame_run(run.pk)

    assert of(run, "test_b").services == ["orders"]


def test_an_end_that_is_told_of_after_the_next_test_began_is_the_next_tests() -> None:
    run = watched_run({"test_a": Outcome.FAILED, "test_b": Outcome.FAILED})
    marked(run, "test_a", "test_b")
    happened(run, "service_exited", 1.1, "orders", exit_code=3)
    happened(run, "service_exited", 1.3, "users", exit_code=3)

    blame_run(run.pk)

    assert (of(run, "test_a").services, of(run, "test_b").services) == (["orders"], ["orders", "users"])


def test_hosts_and_ports_of_the_specification_are_known() -> None:
    run = watched_run(SUITE, message="dial tcp 10.0.0.7:9090: connection refused")
    run.environment_facts["services"]["users"] = {"hosts": ["accounts"], "ports": [9090]}
    run.save()

    blame_run(run.pk)

    assert of(run, "test_b").services == ["users"]


def test_an_upload_is_blamed_by_its_text_and_its_properties_alone() -> None:
    suite = make_suite()
    Service.objects.create(project=suite.project, name="payments")
    run = make_run(suite, status=RunStatus.FAILED, trigger=Trigger.UPLOAD)
    results = add_results(
        run,
        {"test_a": Outcome.FAILED, "test_b": Outcome.FAILED},
        message="payments:8080 refused the connection",
    )
    Attempt.objects.create(
        run_at=run.run_at, run=run, case=results[0].case, number=1, outcome="failed", services=["ledger"]
    )

    assert blame_run(run.pk) == 2

    first, second = of(run, "test_a"), of(run, "test_b")
    assert (first.services, second.services) == (["ledger"], ["payments"])
    assert [suspect["service"] for suspect in first.suspects] == ["ledger", "payments"]
    assert second.unwatched == []
    # From now on the ledger is known; it is no evidence by itself, and nobody watched it.
    assert Service.objects.filter(project=run.project, name="ledger").exists()
    blame_run(run.pk)
    assert of(run, "test_b").unwatched == ["ledger"]


def test_blamed_again_a_run_gets_the_same_rows_and_one_event() -> None:
    run = watched_run(SUITE)
    happened(run, "service_exited", 1.4, "orders", exit_code=1)

    judge_run(run.pk)
    before = list(Blame.objects.filter(run=run).values())
    judge_run(run.pk)

    assert list(Blame.objects.filter(run=run).values()) == before
    assert Event.objects.filter(run=run, kind="blamed").count() == 1


def test_a_result_that_turned_out_well_by_a_later_report_loses_its_blame() -> None:
    run = watched_run({"test_a": Outcome.FAILED, "test_b": Outcome.FAILED})
    blame_run(run.pk)
    run.results.filter(case__name="test_a").update(outcome=Outcome.FLAKY)
    Run.objects.filter(pk=run.pk).update(failed_count=1, flaky_count=1)

    assert blame_run(run.pk) == 1

    assert list(Blame.objects.filter(run=run).values_list("case__name", flat=True)) == ["test_b"]
    run.results.filter(case__name="test_b").update(outcome=Outcome.FLAKY)
    Run.objects.filter(pk=run.pk).update(failed_count=0, flaky_count=2)
    assert blame_run(run.pk) == 0
    assert not Blame.objects.filter(run=run).exists()


def test_a_run_that_turns_out_to_tell_nothing_of_its_tests_loses_its_blames_and_their_counts() -> None:
    run = watched_run({"test_a": Outcome.FAILED, "test_b": Outcome.FAILED})
    assert blame_run(run.pk) == 2
    assert ServiceDay.objects.get(project=run.project, is_total=True).failure_count == 2
    Run.objects.filter(pk=run.pk).update(status=RunStatus.CANCELLED)

    assert blame_run(run.pk) == 0

    assert not Blame.objects.filter(run=run).exists()
    assert ServiceDay.objects.get(project=run.project, is_total=True).failure_count == 0


def test_what_is_too_much_to_look_at_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blaming, "WATCHED_LIMIT", 1)
    monkeypatch.setattr(blaming, "FAILURE_LIMIT", 2)
    monkeypatch.setattr(blame_inputs, "ERROR_LIMIT", 1)
    run = watched_run(dict.fromkeys(["test_a", "test_b", "test_c"], Outcome.FAILED))
    happened(run, "service_exited", 0.5, "orders", exit_code=1)
    add_log(run, "users", "ERROR one", "ERROR two", at=at(0.5))

    assert blame_run(run.pk) == 2

    assert [blame.services for blame in Blame.objects.filter(run=run).order_by("case__name")] == [
        ["orders"],
        [],
    ]
    told = Event.objects.get(run=run, kind="blamed")
    only = "of the others only what they say themselves counts."
    assert told.data["notices"] == [
        f"Events and logs were held against the first 1 of 3 failures; {only}",
        "1 more failures were not looked at.",
        "users logged more than 1 errors in shard 1; the first are looked at.",
    ]
    assert told.message.endswith(told.data["notices"][-1])


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.QUEUED])
def test_a_run_that_is_not_finished_or_gone_is_left_alone(status: RunStatus) -> None:
    run = make_run(status=status)

    assert blame_run(run.pk) == 0
    assert blame_run(run.pk + 1) == 0
    assert not Event.objects.filter(run=run, kind="blamed").exists()


def test_each_shard_is_blamed_by_its_own_environment() -> None:
    run = watched_run({"test_a": Outcome.FAILED, "test_b": Outcome.FAILED})
    run.results.filter(case__name="test_b").update(shard=2)
    other = Environment.objects.get()
    other.pk, other.name, other.shard = None, "itd-other-2", 2
    other.save()
    EnvironmentService.objects.create(environment=other, name="orders")
    for kind, second in (("environment_creating", -9), ("tests_started", 0), ("tests_finished", 3)):
        Event.objects.create(run=run, shard=2, kind=kind, at=at(second))
    Event.objects.create(
        run=run, shard=2, kind="service_exited", service="orders", at=at(1), data={"exit_code": 1}
    )

    blame_run(run.pk)

    assert (of(run, "test_a").services, of(run, "test_b").services) == ([], ["orders"])
