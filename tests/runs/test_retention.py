"""What has outlived its term goes, what is pinned stays, and whoever stores reports loses nothing."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta
from threading import Event as Signal
from threading import Thread
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import Settings

from itdash.celery import app
from runs.actions.errors import InvalidValueError
from runs.actions.partitions import remove_month
from runs.actions.pins import pin_run, unpin_run
from runs.actions.results import ReportFile, store_reports
from runs.actions.retention import Kind, Outlived, Terms, remove_outlived
from runs.actions.runs import open_uploaded_run, settle_uploaded_run
from runs.actions.uploads import UploadFields, receive_upload
from runs.models import (
    Artifact,
    Attempt,
    AuditEntry,
    Blame,
    CaseMonth,
    CaseState,
    Event,
    Failure,
    LogChunk,
    Project,
    Report,
    Result,
    Run,
    ServiceDay,
    SuiteDay,
    TestCase,
    Upload,
)
from tests.factories import make_project, make_user
from tests.runs.test_partitions import partitions_of

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 21, 3, 29, tzinfo=UTC)
APRIL = datetime(2026, 4, 30, 23, 0, tzinfo=UTC)
MAY = datetime(2026, 5, 1, 1, 0, tzinfo=UTC)
ONLY_RESULTS = Terms(results=200)  # since 5 May: all of April is older, not all of May


@pytest.fixture(autouse=True)
def _kept_for_ever(settings: Settings) -> None:
    for kind in ("RESULTS", "TEXTS", "ARTIFACTS", "REPORTS", "LOGS", "COUNTS"):
        setattr(settings, f"KEEP_{kind}_DAYS", 0)


def report(*failing: str) -> ReportFile:
    """A file with a test that passes and tests that fail, each with a text of its own."""
    failed = "".join(
        f'<testcase classname="t" name="{name}"><failure message="{name} broke"/></testcase>'
        for name in failing
    )
    content = f'<testsuite name="s"><testcase classname="t" name="ok"/>{failed}</testsuite>'.encode()
    return ReportFile(f"{'-'.join(failing) or 'ok'}.xml", open=lambda: io.BytesIO(content))


def stored(project: Project, at: datetime, *failing: str) -> Run:
    run, _ = open_uploaded_run(project=project, suite="s", run_key=None, started_at=at, branch="main")
    store_reports(run_id=run.pk, files=[report(*failing)])
    settle_uploaded_run(run.pk, duration_ms=1_000)
    run.refresh_from_db()
    return run


def told(found: list[Outlived]) -> dict[Kind, int]:
    return {each.kind: each.count for each in found}


def test_a_month_of_results_goes_once_all_of_it_is_older_and_its_runs_keep_their_totals() -> None:
    project = make_project()
    april, may = stored(project, APRIL, "a"), stored(project, MAY, "a")

    found = remove_outlived(now=NOW, terms=ONLY_RESULTS)

    assert told(found)[Kind.RESULTS] == 2
    assert set(Result.objects.values_list("run_id", flat=True)) == {may.pk}
    assert set(Attempt.objects.values_list("run_id", flat=True)) == {may.pk}
    assert "runs_result_202604" not in partitions_of("runs_result")
    assert "runs_attempt_202604" not in partitions_of("runs_attempt")
    april.refresh_from_db()
    assert (april.test_count, april.failed_count, april.results_removed_at) == (2, 1, NOW)
    assert Run.objects.get(pk=may.pk).results_removed_at is None
    # The counts by day have a term of their own.
    assert SuiteDay.objects.get(day=date(2026, 4, 30)).failed_count == 1
    assert CaseMonth.objects.filter(month=date(2026, 4, 1)).count() == 2


def test_the_next_night_finds_nothing_left() -> None:
    stored(make_project(), APRIL, "a")
    remove_outlived(now=NOW, terms=ONLY_RESULTS)

    assert told(remove_outlived(now=NOW, terms=ONLY_RESULTS)) == {Kind.RESULTS: 0, Kind.VERDICTS: 0}


def test_without_terms_everything_is_kept() -> None:
    stored(make_project(), APRIL)

    assert remove_outlived(now=NOW, terms=Terms()) == []
    assert Result.objects.count() == 1


def test_a_pinned_run_keeps_its_results_when_its_month_goes() -> None:
    project = make_project()
    pinned, other = stored(project, APRIL, "a"), stored(project, APRIL, "a", "b")
    pin_run(run_id=pinned.pk, by=None)
    before = set(partitions_of("runs_result"))

    assert told(remove_outlived(now=NOW, terms=ONLY_RESULTS))[Kind.RESULTS] == 3

    assert list(Result.objects.values_list("run_id", "outcome").order_by("position")) == [
        (pinned.pk, "passed"),
        (pinned.pk, "failed"),
    ]
    assert list(Attempt.objects.values_list("run_id", flat=True)) == [pinned.pk]
    assert Run.objects.get(pk=pinned.pk).results_removed_at is None
    assert Run.objects.get(pk=other.pk).results_removed_at == NOW
    # The small table that took the month's place is like any other.
    assert "runs_result_202604" in before
    assert set(partitions_of("runs_result")) == before
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tablename, count(*) FROM pg_indexes WHERE tablename IN ("
            "'runs_result', 'runs_result_202604') GROUP BY 1"
        )
        counts = dict(cursor.fetchall())
    assert counts["runs_result"] == counts["runs_result_202604"]
    # … and is left alone from then on, until its last run is unpinned.
    assert told(remove_outlived(now=NOW, terms=ONLY_RESULTS))[Kind.RESULTS] == 0
    unpin_run(run_id=pinned.pk, by=None)
    assert told(remove_outlived(now=NOW, terms=ONLY_RESULTS))[Kind.RESULTS] == 2
    assert not Result.objects.exists()
    assert "runs_result_202604" not in partitions_of("runs_result")


def test_a_run_that_has_not_ended_keeps_its_results_until_it_is_counted() -> None:
    project = make_project()
    ended = stored(project, APRIL, "a")
    waits, _ = open_uploaded_run(project=project, suite="s", run_key="k", started_at=APRIL, shards=2)
    store_reports(run_id=waits.pk, files=[report("b")])

    assert told(remove_outlived(now=NOW, terms=ONLY_RESULTS))[Kind.RESULTS] == 2

    assert set(Result.objects.values_list("run_id", flat=True)) == {waits.pk}
    assert Run.objects.get(pk=ended.pk).results_removed_at == NOW
    # Ended at last, it is counted by its results; then they go as well.
    settle_uploaded_run(waits.pk, is_over=True)
    assert SuiteDay.objects.get(is_default_branch=False).result_count == 2
    assert CaseMonth.objects.get(case__name="b").failed == [1]
    assert told(remove_outlived(now=NOW, terms=ONLY_RESULTS))[Kind.RESULTS] == 2
    assert not Result.objects.exists()


def test_a_text_goes_when_no_result_and_no_attempt_speaks_of_it_any_more() -> None:
    project = make_project()
    stored(project, APRIL, "old", "both")
    stored(project, MAY, "both")
    # A retry whose second failure differs: no result refers to its text, an attempt does.
    retried, _ = open_uploaded_run(project=project, suite="s", run_key=None, started_at=MAY)
    content = (
        b'<testsuite name="s"><testcase classname="t" name="r"><failure message="last"/>'
        b'<rerunFailure message="first"/></testcase></testsuite>'
    )
    store_reports(run_id=retried.pk, files=[ReportFile("r.xml", open=lambda: io.BytesIO(content))])
    terms = Terms(results=200, texts=30)
    Failure.objects.update(first_seen_at=APRIL)

    assert told(remove_outlived(now=NOW, terms=terms))[Kind.TEXTS] == 1

    assert set(Failure.objects.values_list("message", flat=True)) == {"both broke", "first", "last"}


def test_a_text_is_kept_for_its_own_term_though_nobody_speaks_of_it() -> None:
    project = make_project()
    stored(project, APRIL, "old")
    Failure.objects.update(first_seen_at=NOW - timedelta(days=29))

    assert told(remove_outlived(now=NOW, terms=Terms(results=200, texts=30)))[Kind.TEXTS] == 0
    assert told(remove_outlived(now=NOW, terms=Terms(texts=28)))[Kind.TEXTS] == 1


def test_what_was_judged_goes_with_the_results_it_rests_on_and_the_tests_stay() -> None:
    project = make_project()
    april = stored(project, APRIL, "gone")
    stored(project, MAY)
    for case in TestCase.objects.all():
        CaseState.objects.create(case=case, changed_at=NOW, judged_at=NOW)
    gone = TestCase.objects.get(name="gone")
    TestCase.objects.filter(pk=gone.pk).update(last_seen_at=APRIL - timedelta(days=1))
    Blame.objects.create(project=project, run=april, case=gone, run_at=APRIL)

    assert told(remove_outlived(now=NOW, terms=ONLY_RESULTS))[Kind.VERDICTS] == 2

    assert [state.case.name for state in CaseState.objects.all()] == ["ok"]
    assert TestCase.objects.count() == 2
    assert not Blame.objects.exists()


def test_files_go_after_their_term_but_for_those_of_pinned_runs_and_rows_say_what_they_were() -> None:
    project = make_project()
    run, pinned = stored(project, MAY), stored(project, MAY, "p")
    pin_run(run_id=pinned.pk, by=None)
    for each in (run, pinned):
        name = default_storage.save(f"artifacts/{each.pk}/trace.zip", ContentFile(b"trace"))
        Artifact.objects.create(run=each, path="trace.zip", size=5, sha256="0" * 64, storage_name=name)
    late = Upload.objects.create(project=project, run=run, content_digest="0" * 64)
    of_late = {"run": run, "size": 1, "status": "received"}
    waiting = Report.objects.create(upload=late, name="w", sha256="1", storage_name="w", **of_late)
    # Its worker died before it was read, and the run has ended: nobody will read it any more.
    unread = Report.objects.create(name="u", sha256="2", storage_name="u", **of_late)
    Report.objects.update(created_at=NOW - timedelta(days=91))
    Artifact.objects.update(created_at=NOW - timedelta(days=31))
    names = {each.run_id: each.storage_name for each in Artifact.objects.all()}
    report_name = run.reports.exclude(pk__in=[waiting.pk, unread.pk]).get().storage_name

    found = remove_outlived(now=NOW, terms=Terms(artifacts=30, reports=90))

    assert [(each.kind, each.count) for each in found] == [(Kind.ARTIFACTS, 1), (Kind.REPORTS, 2)]
    assert found[0].size == 5
    assert not default_storage.exists(names[run.pk])
    assert default_storage.exists(names[pinned.pk])
    assert not default_storage.exists(report_name)
    assert Artifact.objects.get(run=run).storage_name == ""
    assert Artifact.objects.get(run=run).size == 5
    assert Report.objects.get(pk=waiting.pk).storage_name == "w"
    assert Report.objects.get(pk=unread.pk).storage_name == ""
    assert pinned.reports.get().storage_name != ""
    assert told(remove_outlived(now=NOW, terms=Terms(artifacts=30, reports=90))) == {
        Kind.ARTIFACTS: 0,
        Kind.REPORTS: 0,
    }


def test_a_file_that_is_gone_already_is_no_trouble() -> None:
    run = stored(make_project(), MAY)
    kept = run.reports.get()
    Report.objects.update(created_at=NOW - timedelta(days=91))
    default_storage.delete(kept.storage_name)  # as a worker does that dies before it says so

    assert told(remove_outlived(now=NOW, terms=Terms(reports=90))) == {Kind.REPORTS: 1}


def test_logs_and_events_go_after_their_term_but_for_those_of_pinned_runs() -> None:
    project = make_project()
    run, pinned = stored(project, MAY), stored(project, MAY)
    pin_run(run_id=pinned.pk, by=None)
    Event.objects.update(at=MAY)
    for each, at in ((run, MAY), (run, NOW), (pinned, MAY)):
        LogChunk.objects.create(
            run=each, service="s", first_at=at, last_at=at, line_count=1, text=f"{at.isoformat()} line"
        )
    event_count = Event.objects.filter(run=run).count()

    assert told(remove_outlived(now=NOW, terms=Terms(logs=180))) == {Kind.LOGS: event_count + 1}

    assert list(LogChunk.objects.order_by("pk").values_list("run_id", "last_at")) == [
        (run.pk, NOW),
        (pinned.pk, MAY),
    ]
    assert set(Event.objects.values_list("run_id", flat=True)) == {pinned.pk}


def test_counts_by_day_have_a_term_of_their_own() -> None:
    project = make_project()
    stored(project, APRIL, "a")
    stored(project, MAY, "a")
    for day in (APRIL.date(), MAY.date()):
        ServiceDay.objects.create(project=project, day=day, service="db", failure_count=1)

    # 203 days before is 2 May: both days are older, and the month of May is not.
    assert told(remove_outlived(now=NOW, terms=Terms(counts=203))) == {Kind.COUNTS: 2 + 2 + 2}

    assert set(CaseMonth.objects.values_list("month", flat=True)) == {date(2026, 5, 1)}
    assert not SuiteDay.objects.exists()
    assert not ServiceDay.objects.exists()
    assert Result.objects.count() == 4


def test_a_dry_run_says_what_would_go_and_leaves_it(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.KEEP_RESULTS_DAYS = 30
    settings.KEEP_REPORTS_DAYS = 30
    long_ago = timezone.now() - timedelta(days=100)
    run, _ = open_uploaded_run(project=make_project(), suite="s", run_key=None, started_at=long_ago)
    settings.KEEP_RESULTS_DAYS = 0
    store_reports(run_id=run.pk, files=[report("a")])
    settle_uploaded_run(run.pk)
    settings.KEEP_RESULTS_DAYS = 30
    Report.objects.update(created_at=long_ago, size=2048)

    call_command("apply_retention", "--dry-run")

    said = capsys.readouterr().out.splitlines()
    assert said[0] == "results: 2 would go"
    assert said[-1] == "reports: 1, 2.0 KB would go"
    assert Result.objects.count() == 2

    call_command("apply_retention")

    assert capsys.readouterr().out.splitlines()[0] == "results: 2 removed"
    assert not Result.objects.exists()


def test_the_command_says_when_everything_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("apply_retention")

    assert capsys.readouterr().out == "Everything is kept for ever: no ITDASH_KEEP_…_DAYS is set.\n"


def test_retention_rings_every_night() -> None:
    assert "runs.tasks.apply_retention" in {each["task"] for each in app.conf.beat_schedule.values()}


def test_a_report_that_is_too_old_is_refused_at_the_door(settings: Settings) -> None:
    settings.KEEP_RESULTS_DAYS = 30
    fields = UploadFields(suite="s", started_at=timezone.now() - timedelta(days=100))

    with pytest.raises(InvalidValueError, match="before the oldest results that are kept here: those of 30"):
        receive_upload(project=make_project(), fields=fields, files=[report()])

    assert not Run.objects.exists()


def test_a_late_shard_of_a_run_whose_results_went_is_refused(settings: Settings) -> None:
    project = make_project()
    run = stored(project, APRIL)
    Run.objects.filter(pk=run.pk).update(run_key="k", results_removed_at=NOW)

    with pytest.raises(InvalidValueError, match="Use another run_key"):
        receive_upload(project=project, fields=UploadFields(suite="s", run_key="k"), files=[report("a")])

    assert run.reports.count() == 1


def test_what_was_received_before_its_term_was_over_is_rejected_and_the_totals_stay() -> None:
    run = stored(make_project(), APRIL, "a")
    remove_outlived(now=NOW, terms=ONLY_RESULTS)

    came = store_reports(run_id=run.pk, files=[report("late")])

    assert came.status == "rejected"
    assert "term is over" in came.problems[0].reason
    assert (came.counts.tests, came.counts.failed) == (2, 1)
    assert not Result.objects.exists()


def test_pinning_is_noted_once_and_so_is_unpinning() -> None:
    run = stored(make_project(), MAY)
    ann = make_user("ann")

    assert pin_run(run_id=run.pk, by=ann).pinned_by == ann
    pin_run(run_id=run.pk, by=ann)
    assert unpin_run(run_id=run.pk, by=ann).pinned_at is None
    unpin_run(run_id=run.pk, by=ann)

    entries = AuditEntry.objects.order_by("pk").values_list("action", "actor", "subject")
    assert list(entries) == [
        ("run.pinned", "ann", f"Run {run.number}"),
        ("run.unpinned", "ann", f"Run {run.number}"),
    ]


@pytest.mark.django_db(transaction=True)
def test_a_month_that_somebody_writes_to_is_left_for_the_next_night() -> None:
    run = stored(make_project(), APRIL)
    is_writing, may_end = Signal(), Signal()

    def write(**values: Any) -> None:
        try:
            with transaction.atomic():
                Result.objects.filter(run_at=run.run_at, run=run.pk).update(**values)
                is_writing.set()
                may_end.wait(30)
        finally:
            connection.close()

    writer = Thread(target=write, kwargs={"duration_ms": 7})
    writer.start()
    try:
        assert is_writing.wait(30)
        assert remove_month(APRIL, now=NOW, patience_seconds=0.05) is None
        assert Result.objects.count() == 1
        assert Run.objects.get(pk=run.pk).results_removed_at is None
    finally:
        may_end.set()
        writer.join()

    removed = remove_month(APRIL, now=NOW)
    assert removed is not None
    assert (removed.run_count, removed.result_count) == (1, 1)
    assert not Result.objects.exists()
