"""Sample data: sent through the real ingestion, found again, and taken away without a trace."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from environments.probes import wait_until
from runs import tasks
from runs.actions.errors import NotPossibleError
from runs.actions.quarantine import quarantine_case
from runs.actions.results import ReportFile, store_reports
from runs.actions.samples import load_samples, remove_samples, request_samples
from runs.dispatch import Work, answering
from runs.models import (
    Attempt,
    AuditEntry,
    Blame,
    CaseDuration,
    CaseState,
    Channel,
    Delivery,
    Failure,
    Project,
    Quarantine,
    Report,
    Result,
    Run,
    Service,
    Suite,
    TestCase,
    Upload,
)
from runs.queries.samples import SampleProgress, sample_progress
from runs.sample import SampleReport, history
from runs.sample.incidents import BY_ORDER, GIFT_CARDS, RETRIED, SLOWER
from runs.vocabulary import Outcome, RunStatus
from tests.factories import NOW, make_case, make_project, make_run, make_suite, make_user
from tests.rows import add_results

pytestmark = pytest.mark.django_db(transaction=True)

LEFT = (Run, Suite, TestCase, Result, Attempt, Failure, CaseState, CaseDuration, Blame, Quarantine, Upload)


@pytest.fixture(autouse=True)
def files(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def state(name: str) -> CaseState | None:
    return CaseState.objects.filter(case__name=name).first()


def test_a_project_gets_its_past_is_judged_by_it_and_loses_it_again(files: Path) -> None:
    project = make_project(is_sample=True)
    neighbour = make_run(make_suite(), status=RunStatus.PASSED)
    expected = sum(isinstance(step, SampleReport) for step in history(now=NOW))

    count = load_samples(project.pk, answer=tasks.do, now=NOW)

    assert count == expected
    runs = Run.objects.filter(project=project)
    assert runs.count() == expected
    assert set(runs.values_list("status", flat=True)) == {RunStatus.PASSED, RunStatus.FAILED}
    numbered = list(runs.order_by("number").values_list("run_at", flat=True))
    assert numbered == sorted(numbered)
    assert sample_progress(project) == SampleProgress(expected, expected)
    # Judged as any other: by retries, by isolated failures, broken, slower.
    flaky = state(RETRIED)
    assert flaky is not None
    assert flaky.flakiness == "flaky"
    assert flaky.masked_count > 0
    broken = [state(name) for name in GIFT_CARDS]
    assert [one.is_broken for one in broken if one] == [True, True]
    assert CaseDuration.objects.filter(is_slower=True, case__name=SLOWER).exists()
    assert Quarantine.objects.in_force(NOW).get().case.name == BY_ORDER
    assert runs.filter(status=RunStatus.FAILED, verdict="pass").exists()
    assert Blame.objects.filter(project=project, services=["user-service"]).exists()

    again = load_samples(project.pk, answer=tasks.do, now=NOW + timedelta(days=1))

    assert again == 0
    assert runs.count() == expected

    removed = remove_samples(project=project, by=None)

    assert removed.run_count == expected
    assert removed.result_count > 10_000
    assert Run.objects.get() == neighbour
    assert [model.objects.count() for model in LEFT] == [1, 1, *[0] * (len(LEFT) - 2)]
    assert not Service.objects.filter(project=project).exists()
    assert not [path for path in files.rglob("*") if path.is_file()]
    project.refresh_from_db()
    assert not project.is_sample


def make_samples(project: Project, count: int) -> None:
    """The first few of the past, as an interrupted load leaves them."""
    sent = 0

    class StoppedError(Exception):
        pass

    def answer(work: Work, row_id: int) -> None:
        nonlocal sent
        tasks.do(work, row_id)
        if work is Work.JUDGE_RUN:
            sent += 1
        if sent == count:
            raise StoppedError

    with pytest.raises(StoppedError):
        load_samples(project.pk, answer=answer, now=NOW)


def test_an_interrupted_past_goes_on_where_it_stopped() -> None:
    project = make_project(is_sample=True)
    make_samples(project, 3)
    first = set(Run.objects.values_list("pk", flat=True))
    assert sample_progress(project).count == 3
    assert not sample_progress(project).is_complete

    sent = []

    def answer(work: Work, row_id: int) -> None:
        sent.append(work)

    # The history is that of the first try: the later moment is not asked about.
    load_samples(project.pk, answer=answer, now=NOW + timedelta(days=5))

    assert first < set(Run.objects.values_list("pk", flat=True))
    assert len(set(Run.objects.values_list("run_key", flat=True))) == Run.objects.count()
    assert sample_progress(project).is_complete


def test_a_projects_own_runs_and_what_they_say_stay() -> None:
    project = make_project(is_sample=True)
    make_samples(project, 4)
    case = TestCase.objects.filter(suite__name="checkout", name=RETRIED).get()
    own = make_run(case.suite, status=RunStatus.PASSED, run_at=NOW, branch="main")
    add_results(own, {RETRIED: Outcome.PASSED})
    quarantine = quarantine_case(case=case, reason="Looked at.", days=3)
    alone = make_case(make_suite())

    remove_samples(project=project, by=make_user("maya"))

    assert Run.objects.get() == own
    assert Result.objects.get().case_id == case.pk
    assert set(TestCase.objects.all()) == {case, alone}
    case.refresh_from_db()
    assert case.first_seen_at == NOW
    assert Quarantine.objects.get() == quarantine
    assert not Report.objects.exists()
    entry = AuditEntry.objects.get(action="sample.removed")
    assert (entry.actor, entry.data["runs"]) == ("maya", 4)


def test_what_stays_is_judged_anew() -> None:
    project = make_project(is_sample=True)
    make_samples(project, 2)
    own = make_run(make_suite(project), status=RunStatus.FAILED)
    rung: list[tuple[Work, int]] = []

    with answering(lambda work, row_id: rung.append((work, row_id))):
        remove_samples(project=project, by=None)

    assert rung == [(Work.JUDGE_RUN, own.pk)]


def test_a_project_with_runs_of_its_own_gets_none() -> None:
    project = make_project()
    make_run(make_suite(project))

    with pytest.raises(NotPossibleError):
        request_samples(project=project, by=None)

    project.refresh_from_db()
    assert not project.is_sample
    # They may also come between asking and sending.
    Project.objects.filter(pk=project.pk).update(is_sample=True)
    assert load_samples(project.pk, answer=tasks.do) == 0
    project.refresh_from_db()
    assert not project.is_sample


def test_asking_marks_the_project_and_rings_for_it() -> None:
    project = make_project()
    rung: list[tuple[Work, int]] = []

    with answering(lambda work, row_id: rung.append((work, row_id))):
        request_samples(project=project, by=None)

    project.refresh_from_db()
    assert project.is_sample
    assert rung == [(Work.LOAD_SAMPLES, project.pk)]


def test_a_project_without_sample_data_has_none_to_remove() -> None:
    with pytest.raises(NotPossibleError):
        remove_samples(project=make_project(), by=None)


def test_nobody_is_told_of_runs_that_were_made_up() -> None:
    project = make_project(is_sample=True)
    Channel.objects.create(project=project, kind="gitea", address="https://git.example.org", repository="a/b")
    Channel.objects.create(project=project, kind="slack", address="https://hooks.example.org/1")

    make_samples(project, 3)

    assert not Delivery.objects.exists()


def test_an_old_report_ended_when_its_tests_did() -> None:
    project = make_project(is_sample=True)
    make_samples(project, 1)
    run = Run.objects.get()

    assert run.queued_at == run.run_at
    assert run.finished_at == run.run_at + timedelta(milliseconds=run.duration_ms or 0)


def test_what_only_its_people_made_stays() -> None:
    """A suite that nothing ran yet, a test of an older run and what is known of it."""
    project = make_project(is_sample=True)
    make_samples(project, 2)
    empty = make_suite(project, name="not run yet")
    old = make_run(make_suite(project, name="ours"), status=RunStatus.FAILED)
    add_results(old, {"slow": Outcome.FAILED})
    case = TestCase.objects.get(suite=old.suite)
    known = CaseState.objects.create(case=case, flakiness="suspect", changed_at=NOW, judged_at=NOW)
    make_run(old.suite, status=RunStatus.PASSED)
    Service.objects.create(project=project, name="mail")
    Blame.objects.create(project=project, run=old, case=case, run_at=old.run_at, services=["mail"])

    remove_samples(project=project, by=None)

    assert set(Suite.objects.filter(project=project)) == {empty, old.suite}
    assert CaseState.objects.get() == known
    assert [one.name for one in Service.objects.filter(project=project)] == ["mail"]


def test_reports_that_are_stored_meanwhile_are_waited_for() -> None:
    """Theirs would be results of tests that are gone: they are not seen before their end."""
    project = make_project(is_sample=True)
    make_samples(project, 1)
    made_up = Run.objects.get()
    cases = set(TestCase.objects.values_list("pk", flat=True))
    own = make_run(made_up.suite, status=RunStatus.INGESTING, run_at=NOW)
    report = next(step.content for step in history(now=NOW) if isinstance(step, SampleReport))
    is_merged, may_end = Event(), Event()

    def store() -> None:
        try:
            with transaction.atomic():
                file = ReportFile("own.xml", open=lambda: io.BytesIO(report))
                store_reports(run_id=own.pk, files=[file])
                is_merged.set()
                assert may_end.wait(20)
        finally:
            connection.close()

    def remove() -> None:
        try:
            remove_samples(project=project, by=None)
        finally:
            connection.close()

    with ThreadPoolExecutor() as pool:
        storing = pool.submit(store)
        assert is_merged.wait(20)
        removing = pool.submit(remove)
        wait_until(_somebody_waits_for_a_lock, deadline_seconds=20)
        may_end.set()
        storing.result(timeout=20)
        removing.result(timeout=20)

    assert Run.objects.get() == own
    assert set(Result.objects.values_list("case_id", flat=True)) == cases
    assert set(TestCase.objects.values_list("pk", flat=True)) == cases


def _somebody_waits_for_a_lock() -> bool | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
        [waits] = cursor.fetchone()
    return waits or None
