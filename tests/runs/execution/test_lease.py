"""Holding a run, with real rows and real threads."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now

from environments.probes import wait_until
from runs.actions.runs import Claim, cancel_run, claim_run, queue_run
from runs.execution.lease import Lease, StopReason, held
from runs.execution.outages import through_outages
from runs.models import Run
from runs.vocabulary import Trigger
from tests.factories import make_project

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def claim() -> Claim:
    project = make_project(repository_url="/srv/git/shop.git")
    run = queue_run(project=project, suite="checkout", trigger=Trigger.PERSON)
    claim = claim_run(run.pk, owner="worker-a")
    assert claim is not None
    return claim


def is_fresh(claim: Claim) -> bool:
    return Run.objects.filter(pk=claim.run_id, lease_expires_at__gt=Now() + timedelta(seconds=10)).exists()


def test_a_lease_is_renewed_while_it_is_held(claim: Claim) -> None:
    Run.objects.update(lease_expires_at=Now())

    with held(claim, lease_seconds=0.3) as lease:
        wait_until(lambda: is_fresh(claim), deadline_seconds=5)
        assert not lease.stop.is_set()


def test_a_request_to_cancel_is_heard(claim: Claim) -> None:
    with held(claim, lease_seconds=30) as lease:
        cancel_run(run_id=claim.run_id, by=None)
        assert lease.stop.wait(5)

    assert lease.reason is StopReason.CANCELLED


def test_losing_the_run_stops_the_work_and_overrules_every_other_reason(claim: Claim) -> None:
    with held(claim, lease_seconds=0.3) as lease:
        lease.end(StopReason.CANCELLED)
        Run.objects.update(fence=2)
        wait_until(lambda: lease.reason is StopReason.LEASE_LOST, deadline_seconds=5)


def test_a_worker_told_to_end_gives_the_run_back_and_then_ends(claim: Claim) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    try:
        with held(claim, lease_seconds=30) as lease:
            os.kill(os.getpid(), signal.SIGTERM)
            assert lease.stop.wait(5)
            assert heard == []
        assert lease.reason is StopReason.WORKER_STOPPING
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def lease(claim: Claim) -> Lease:
    return Lease(claim)


def test_a_write_is_tried_again_until_the_database_is_back(lease: Lease) -> None:
    answers: Iterator[bool] = iter([False, False, True])

    def write() -> str:
        if not next(answers):
            raise OperationalError("terminating connection due to administrator command")
        return "written"

    assert through_outages(write, lease=lease) == "written"


def test_a_worker_that_lost_the_run_stops_trying_to_write(lease: Lease) -> None:
    lease.end(StopReason.LEASE_LOST)

    def write() -> None:
        raise OperationalError("the connection is closed")

    with pytest.raises(OperationalError):
        through_outages(write, lease=lease)


def test_patience_has_an_end(lease: Lease) -> None:
    def write() -> None:
        raise OperationalError("the connection is closed")

    with pytest.raises(OperationalError):
        through_outages(write, lease=lease, patience_seconds=0.2)


def test_a_connection_that_was_cut_is_made_anew(lease: Lease) -> None:
    def cut_on_the_first_try() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            [pid] = cursor.fetchone()
            if not tries:
                tries.append(pid)
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(_terminate, pid).result()
            cursor.execute("SELECT pg_backend_pid()")
            [again] = cursor.fetchone()
            return int(again)

    tries: list[int] = []

    assert through_outages(cut_on_the_first_try, lease=lease) != tries[0]


def _terminate(pid: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    connection.close()


def test_threads_leave_no_thread_behind(claim: Claim) -> None:
    with held(claim, lease_seconds=30):
        assert [thread for thread in threading.enumerate() if thread.name.startswith("lease-of-run")]

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease-of-run")]
