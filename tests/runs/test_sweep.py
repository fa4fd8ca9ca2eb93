"""The sweeper, on a real database and a real broker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import redis
from django.conf import settings
from django.db import connection, transaction

from runs.actions.runs import advance_run, claim_run, queue_run
from runs.actions.sweep import Sweep, ring_for_unjudged, sweep
from runs.dispatch import Work
from runs.models import Blame, Run, Upload
from runs.vocabulary import RunStatus, Trigger
from tests.factories import make_case, make_project, make_run

pytestmark = pytest.mark.django_db(transaction=True)


def queue() -> Run:
    project = make_project(repository_url="/srv/git/shop.git")
    return queue_run(project=project, suite="checkout", trigger=Trigger.PERSON)


def seconds_ago(seconds: float) -> datetime:
    return datetime.now(tz=UTC) - timedelta(seconds=seconds)


def test_a_bell_that_nobody_heard_is_rung_again_and_not_at_once() -> None:
    run = queue()
    assert sweep() == Sweep()

    Run.objects.update(queued_at=seconds_ago(16), rung_at=seconds_ago(16))
    broker = redis.Redis.from_url(settings.BROKER_URL)
    broker.delete(Work.EXECUTE_RUN.queue)

    assert sweep().rung_runs == (run.pk,)
    assert broker.llen(Work.EXECUTE_RUN.queue) == 1
    assert sweep().rung_runs == ()
    broker.close()


def test_a_run_that_has_waited_long_is_rung_for_less_often() -> None:
    run = queue()
    # It had waited 40 s at the last ring: the next one is due 40 s after that.
    Run.objects.update(queued_at=seconds_ago(70), rung_at=seconds_ago(30))
    assert sweep().rung_runs == ()

    Run.objects.update(queued_at=seconds_ago(81), rung_at=seconds_ago(41))
    assert sweep().rung_runs == (run.pk,)

    # Never less often than every 5 min.
    Run.objects.update(queued_at=seconds_ago(7200), rung_at=seconds_ago(301))
    assert sweep().rung_runs == (run.pk,)


def test_a_run_that_was_given_back_is_rung_for_at_once() -> None:
    run = queue()
    Run.objects.update(rung_at=None)

    assert sweep().rung_runs == (run.pk,)


def test_a_run_whose_lease_has_lapsed_is_resolved_and_one_that_is_held_is_left_alone() -> None:
    lost, kept = queue(), queue()
    for run in (lost, kept):
        claim_run(run.pk, owner="worker-a")
    Run.objects.filter(pk=lost.pk).update(lease_expires_at=seconds_ago(1))

    assert sweep().resolved == (lost.pk,)

    lost.refresh_from_db()
    kept.refresh_from_db()
    assert (lost.status, kept.status) == (RunStatus.QUEUED, RunStatus.PREPARING)


def test_a_run_whose_results_are_being_stored_is_not_taken_from_its_worker() -> None:
    run = queue()
    claim = claim_run(run.pk, owner="worker-a")
    assert claim is not None
    advance_run(claim, RunStatus.INGESTING)
    Run.objects.update(lease_expires_at=seconds_ago(1))

    def elsewhere() -> Sweep:
        try:
            return sweep()
        finally:
            connection.close()

    with transaction.atomic(), ThreadPoolExecutor(1) as pool:
        Run.objects.select_for_update().get(pk=run.pk)
        assert pool.submit(elsewhere).result().resolved == ()


def test_an_uploaded_run_without_a_lease_is_nobodys_loss() -> None:
    make_run(status=RunStatus.INGESTING, trigger=Trigger.UPLOAD)

    assert sweep().resolved == ()


def test_an_upload_that_nobody_stored_is_rung_for() -> None:
    run = make_run(status=RunStatus.INGESTING, trigger=Trigger.UPLOAD)
    old, new, done = (
        Upload.objects.create(project=run.project, run=run, content_digest="0" * 64) for _ in range(3)
    )
    Upload.objects.exclude(pk=new.pk).update(received_at=seconds_ago(20))
    Upload.objects.filter(pk=done.pk).update(status="stored")

    assert sweep().rung_uploads == (old.pk,)


def test_two_sweeps_do_not_sweep_at_once() -> None:
    def hold_and_sweep() -> Sweep:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [0x17DA5])
            with ThreadPoolExecutor(1) as pool:
                answer = pool.submit(elsewhere).result()
            cursor.execute("SELECT pg_advisory_unlock(%s)", [0x17DA5])
        return answer

    def elsewhere() -> Sweep:
        try:
            return sweep()
        finally:
            connection.close()

    assert hold_and_sweep().was_skipped
    assert not sweep().was_skipped


def test_runs_whose_failures_nobody_looked_at_are_judged_again_after_a_while() -> None:
    def ended(minutes_ago: float, status: RunStatus = RunStatus.FAILED, *, failed: int = 1) -> Run:
        moment = seconds_ago(60 * minutes_ago)
        return make_run(status=status, finished_at=moment, test_count=1, failed_count=failed)

    ended(9)
    ended(11, RunStatus.PASSED, failed=0)
    ended(11, RunStatus.ERRORED)  # says nothing about its tests
    ended(25 * 60)
    looked_at = ended(11)
    case = make_case(looked_at.suite)
    Blame.objects.create(project=looked_at.project, run=looked_at, case=case, run_at=looked_at.run_at)
    lost = ended(11)

    assert ring_for_unjudged() == (lost.pk,)
