"""The only place that changes a run's status, on a real database."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import connection

from runs.actions.errors import InvalidValueError, NotPossibleError, RunLostError, TakenError
from runs.actions.results import ReportFile, keep_report, store_reports
from runs.actions.runs import (
    Claim,
    Ending,
    Renewal,
    advance_run,
    ask_for_cancel,
    cancel_run,
    claim_run,
    finish_run,
    gravest,
    held_run,
    note_facts,
    open_uploaded_run,
    queue_run,
    release_run,
    renew_lease,
    rerun_run,
    resolve_lapsed_run,
    settle_uploaded_run,
)
from runs.actions.shards import begin_shard, finish_shard, note_shard
from runs.models import Project, Report, Result, Run, Shard
from runs.vocabulary import ErrorReason, RunStatus, Trigger
from tests.factories import make_project, make_run, make_suite, make_user

pytestmark = pytest.mark.django_db


def make_shop(**values: Any) -> Project:
    return make_project(repository_url="/srv/git/shop.git", **values)


def queue(project: Project, **values: Any) -> Run:
    return queue_run(project=project, suite="checkout", trigger=Trigger.PERSON, **values)


def claimed(run: Run, owner: str = "worker-a") -> Claim:
    claim = claim_run(run.pk, owner=owner)
    assert claim is not None
    return claim


@pytest.mark.parametrize("commit", ["../../../user", "main", "abc123", "a" * 65, f"{'a' * 40}?x"])
def test_what_is_no_commit_is_not_run_as_one(commit: str) -> None:
    """It would stand in the address that a Git host is told the run's state at."""
    with pytest.raises(InvalidValueError):
        queue(make_shop(), commit=commit)

    assert not Run.objects.exists()


def let_lapse(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(lease_expires_at=datetime.now(tz=UTC) - timedelta(seconds=1))


def kinds(run: Run) -> list[str]:
    return list(run.events.order_by("pk").values_list("kind", flat=True))


def test_a_queued_run_knows_what_was_asked_for() -> None:
    project = make_shop()
    person = make_user("ada")

    run = queue(project, ref="feature/x", by=person)

    assert (run.number, run.status, run.ref, run.commit) == (1, RunStatus.QUEUED, "feature/x", "")
    assert run.suite.name == "checkout"
    assert run.requested_by == person
    assert run.run_at == run.queued_at
    assert kinds(run) == ["queued"]


def test_without_a_ref_the_default_branch_is_run() -> None:
    project = make_shop(default_branch="trunk")

    assert queue(project).ref == "trunk"
    assert queue(project, commit="a" * 40).ref == ""


def test_numbers_count_up_within_a_project() -> None:
    shop, other = make_shop(), make_shop()

    assert [queue(shop).number, queue(shop).number, queue(other).number] == [1, 2, 1]


def test_a_project_without_a_repository_cannot_be_run() -> None:
    project = make_project()

    with pytest.raises(InvalidValueError, match="no repository"):
        queue(project)

    assert not Run.objects.exists()


def test_the_same_key_is_the_same_run() -> None:
    project = make_shop()
    first = queue(project, ref="main", idempotency_key="push-1")

    again = queue(project, ref="main", idempotency_key="push-1")

    assert again == first
    assert queue(project, ref="main", idempotency_key="push-2").number == 2
    with pytest.raises(TakenError):
        queue(project, ref="other", idempotency_key="push-1")
    assert Run.objects.count() == 2


def test_the_same_key_is_another_run_in_another_project() -> None:
    assert queue(make_shop(), idempotency_key="1") != queue(make_shop(), idempotency_key="1")


@pytest.mark.django_db(transaction=True)
def test_requests_at_the_same_time_get_numbers_without_gaps_and_a_key_gets_one_run() -> None:
    project = make_shop()
    together = threading.Barrier(8)

    def one(index: int) -> int:
        try:
            together.wait()
            return queue(project, idempotency_key=f"key-{index % 4}").number
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(one, range(8)))

    assert sorted(numbers) == [1, 1, 2, 2, 3, 3, 4, 4]


def test_the_second_worker_to_claim_a_run_gets_nothing() -> None:
    run = queue(make_shop())

    assert claim_run(run.pk, owner="worker-a") == Claim(run.pk, "worker-a", 1)
    assert claim_run(run.pk, owner="worker-b") is None
    assert claim_run(run.pk + 1, owner="worker-a") is None

    run.refresh_from_db()
    assert (run.status, run.try_count, run.lease_owner) == (RunStatus.PREPARING, 1, "worker-a")
    assert run.started_at is not None


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_at_once_one_claims_a_run() -> None:
    run = queue(make_shop())
    together = threading.Barrier(8)

    def one(index: int) -> Claim | None:
        try:
            together.wait()
            return claim_run(run.pk, owner=f"worker-{index}")
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(one, range(8)))

    assert len([claim for claim in claims if claim]) == 1


def test_a_run_moves_on_under_its_claim_and_ends() -> None:
    run = queue(make_shop())
    claim = claimed(run)

    assert note_facts(claim, commit="b" * 40)
    assert advance_run(claim, RunStatus.RUNNING)
    assert advance_run(claim, RunStatus.INGESTING)
    assert finish_run(claim, Ending(RunStatus.FAILED, "2 tests failed."))

    run.refresh_from_db()
    assert (run.status, run.verdict, run.error_reason) == (RunStatus.FAILED, "fail", "")
    assert run.error_message == "2 tests failed."
    assert run.commit == "b" * 40
    assert run.finished_at is not None
    assert run.duration_ms is not None
    assert (run.lease_owner, run.lease_expires_at) == ("", None)
    assert kinds(run) == ["queued", "claimed", "finished"]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (RunStatus.PASSED, "pass"),
        (RunStatus.FAILED, "fail"),
        (RunStatus.TIMED_OUT, "fail"),
        (RunStatus.CANCELLED, "none"),
    ],
)
def test_a_verdict_follows_from_the_end(status: RunStatus, verdict: str) -> None:
    run = queue(make_shop())

    finish_run(claimed(run), Ending(status))

    run.refresh_from_db()
    assert run.verdict == verdict


def test_an_errored_run_says_why_and_gives_no_verdict() -> None:
    run = queue(make_shop())

    finish_run(claimed(run), Ending(RunStatus.ERRORED, "No such branch.", ErrorReason.CHECKOUT))

    run.refresh_from_db()
    assert (run.status, run.error_reason, run.verdict) == (RunStatus.ERRORED, "checkout", "none")


def test_a_stale_worker_cannot_write_anything() -> None:
    run = queue(make_shop())
    stale = claimed(run)
    let_lapse(run)
    resolve_lapsed_run(run.pk)
    fresh = claimed(run, "worker-b")

    assert fresh.fence > stale.fence
    assert renew_lease(stale) is Renewal.LOST
    assert ask_for_cancel(stale) is Renewal.LOST
    assert not note_facts(stale, commit="c" * 40)
    assert not advance_run(stale, RunStatus.RUNNING)
    assert not finish_run(stale, Ending(RunStatus.PASSED))
    assert not release_run(stale)
    assert not finish_shard(stale, 1, Ending(RunStatus.PASSED), exit_code=0)

    run.refresh_from_db()
    assert (run.status, run.commit, run.lease_owner) == (RunStatus.PREPARING, "", "worker-b")


def test_a_finished_run_does_not_end_again() -> None:
    run = queue(make_shop())
    claim = claimed(run)
    finish_run(claim, Ending(RunStatus.PASSED))

    assert not finish_run(claim, Ending(RunStatus.FAILED))
    assert renew_lease(claim) is Renewal.LOST

    run.refresh_from_db()
    assert run.status == RunStatus.PASSED


def test_renewing_moves_the_lease_on() -> None:
    run = queue(make_shop())
    claim = claimed(run)
    let_lapse(run)

    assert renew_lease(claim) is Renewal.HELD

    run.refresh_from_db()
    assert run.lease_expires_at is not None
    assert run.lease_expires_at > datetime.now(tz=UTC) + timedelta(seconds=2)


def test_a_queued_run_is_cancelled_at_once() -> None:
    run = queue(make_shop())

    cancelled = cancel_run(run_id=run.pk, by=make_user("ada"))

    assert cancelled.status == RunStatus.CANCELLED
    assert cancelled.duration_ms is None
    assert cancelled.error_message == "Cancelled by ada."
    assert claim_run(run.pk, owner="worker-a") is None


def test_the_worker_of_an_active_run_hears_that_it_is_to_end() -> None:
    run = queue(make_shop())
    claim = claimed(run)

    assert cancel_run(run_id=run.pk, by=None).status == RunStatus.PREPARING
    cancel_run(run_id=run.pk, by=None)

    assert ask_for_cancel(claim) is Renewal.CANCEL_REQUESTED
    assert renew_lease(claim) is Renewal.CANCEL_REQUESTED
    assert kinds(run) == ["queued", "claimed", "cancel_requested"]


def test_a_finished_run_cannot_be_cancelled() -> None:
    run = make_run(status=RunStatus.PASSED)

    with pytest.raises(NotPossibleError):
        cancel_run(run_id=run.pk, by=None)


def test_a_released_run_waits_again_as_if_it_had_not_been_tried() -> None:
    run = queue(make_shop())

    assert release_run(claimed(run))

    run.refresh_from_db()
    assert (run.status, run.try_count, run.rung_at) == (RunStatus.QUEUED, 0, None)
    assert claimed(run).fence == 2


def test_a_lost_run_is_tried_once_more_and_then_given_up() -> None:
    run = queue(make_shop())
    claimed(run)
    let_lapse(run)

    assert resolve_lapsed_run(run.pk) is RunStatus.QUEUED
    claimed(run, "worker-b")
    assert resolve_lapsed_run(run.pk) is None
    let_lapse(run)
    assert resolve_lapsed_run(run.pk) is RunStatus.ERRORED

    run.refresh_from_db()
    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "worker_lost")
    assert run.error_message == "The worker worker-b was lost while the run was preparing. Run it again."


def test_a_lost_run_that_reported_is_not_run_again() -> None:
    run = queue(make_shop())
    claim = claimed(run)
    note_facts(claim, test_count=3)
    let_lapse(run)

    assert resolve_lapsed_run(run.pk) is RunStatus.ERRORED

    run.refresh_from_db()
    assert "What was reported until then is kept." in run.error_message


def test_a_lost_run_that_somebody_wanted_to_end_is_cancelled() -> None:
    run = queue(make_shop())
    claimed(run)
    cancel_run(run_id=run.pk, by=None)
    let_lapse(run)

    assert resolve_lapsed_run(run.pk) is RunStatus.CANCELLED


def test_a_run_whose_shards_were_all_judged_gets_its_last_word_without_its_worker() -> None:
    run = queue(make_shop())
    claim = claimed(run)
    advance_run(claim, RunStatus.INGESTING)
    for number, status in [(1, RunStatus.PASSED), (2, RunStatus.FAILED)]:
        begin_shard(claim, number, variables={})
        finish_shard(claim, number, Ending(status), exit_code=0)
    note_facts(claim, test_count=3)
    let_lapse(run)

    assert resolve_lapsed_run(run.pk) is RunStatus.FAILED


def test_a_shard_of_an_earlier_try_begins_anew() -> None:
    run = queue(make_shop())
    claim = claimed(run)
    begin_shard(claim, 1, variables={"ORDER": "1.8"})
    finish_shard(claim, 1, Ending(RunStatus.FAILED), exit_code=1)

    begin_shard(claim, 1, variables={"ORDER": "1.9"})

    shard = Shard.objects.get(run=run)
    assert (shard.status, shard.exit_code, shard.variables) == ("preparing", None, {"ORDER": "1.9"})


def test_who_has_lost_a_run_begins_no_shard_of_it_and_writes_nothing_of_one() -> None:
    run = queue(make_shop())
    lost = claimed(run)
    let_lapse(run)
    resolve_lapsed_run(run.pk)
    claim = claimed(run, "worker-b")
    begin_shard(claim, 1, variables={"ORDER": "1.9"})

    note_shard(lost, 1, exit_code=7)
    with pytest.raises(RunLostError):
        begin_shard(lost, 1, variables={"ORDER": "1.8"})

    shard = Shard.objects.get(run=run)
    assert (shard.exit_code, shard.variables) == (None, {"ORDER": "1.9"})


def report(name: str) -> ReportFile:
    content = f'<testsuite name="s"><testcase name="{name}"/></testsuite>'.encode()
    return ReportFile("a.xml", open=lambda: io.BytesIO(content))


def test_reports_of_a_run_that_ended_meanwhile_are_kept_and_not_counted() -> None:
    """Somebody cancels while a shard's reports are read: the run has its end, and its counts."""
    run = queue(make_shop())
    claim = claimed(run)
    store_reports(run_id=run.pk, files=[report("in time")], is_ours=held_run(claim).exists)
    finish_run(claim, Ending(RunStatus.CANCELLED))

    with pytest.raises(RunLostError):
        store_reports(run_id=run.pk, files=[report("late")], is_ours=held_run(claim).exists)

    assert [result.case.name for result in Result.objects.all()] == ["in time"]
    run.refresh_from_db()
    assert (run.test_count, run.counted_on_default) == (1, False)
    assert set(Report.objects.values_list("status", flat=True)) == {"stored", "received"}


def test_files_of_an_earlier_try_that_nobody_read_go_with_their_rows(
    django_capture_on_commit_callbacks: Any,
) -> None:
    run = queue(make_shop())
    claim = claimed(run)
    unread = keep_report(run_id=run.pk, shard=1, file=report("unread"))

    with django_capture_on_commit_callbacks(execute=True):
        begin_shard(claim, 1, variables={})

    assert not Report.objects.exists()
    assert not default_storage.exists(unread.storage_name)


def test_the_gravest_shard_names_the_run() -> None:
    passed, failed = Ending(RunStatus.PASSED), Ending(RunStatus.FAILED)
    errored = Ending(RunStatus.ERRORED, "no", ErrorReason.DISK)
    out_of_time = Ending(RunStatus.TIMED_OUT)

    assert gravest([passed, failed]) is failed
    assert gravest([failed, out_of_time, passed]) is out_of_time
    assert gravest([out_of_time, errored]) is errored


def test_a_rerun_is_of_the_same_commit() -> None:
    run = make_run(make_suite(make_shop(), "checkout"), status=RunStatus.FAILED, ref="main")

    again = rerun_run(run_id=run.pk, by=make_user())

    assert again.rerun_of == run
    assert (again.suite, again.commit, again.branch) == (run.suite, run.commit, "main")
    assert again.status == RunStatus.QUEUED


def test_an_uploaded_run_is_not_run_again_here() -> None:
    run = make_run(status=RunStatus.PASSED, trigger=Trigger.UPLOAD)

    with pytest.raises(NotPossibleError, match="another CI"):
        rerun_run(run_id=run.pk, by=None)


def test_uploads_of_one_key_share_a_run_which_ends_by_its_totals() -> None:
    project = make_project()
    run, was_made = open_uploaded_run(project=project, suite="checkout", run_key="build-7", branch="main")
    same, was_made_again = open_uploaded_run(project=project, suite="checkout", run_key="build-7")

    assert (same, was_made, was_made_again) == (run, True, False)
    assert settle_uploaded_run(run.pk, problem="junit.xml:3: no XML") is RunStatus.ERRORED
    Run.objects.filter(pk=run.pk).update(test_count=2, passed_count=2)
    assert settle_uploaded_run(run.pk) is RunStatus.PASSED
    Run.objects.filter(pk=run.pk).update(test_count=3, failed_count=1)
    assert settle_uploaded_run(run.pk) is RunStatus.FAILED

    run.refresh_from_db()
    assert (run.trigger, run.verdict, run.error_reason) == (Trigger.UPLOAD, "fail", "")
