"""Celery entry points. A task may run twice, late, or after its row has gone: each is normal."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime

from celery import shared_task  # noqa: TID251 - here is where tasks live
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import transaction

from runs.actions.blaming import blame_failures
from runs.actions.judging import judge_by_suite
from runs.actions.pacing import pace_by
from runs.actions.partitions import keep_partitions_ahead as keep_ahead
from runs.actions.renames import propose_renames
from runs.actions.retention import Terms, remove_outlived
from runs.actions.runs import claim_run
from runs.actions.samples import load_samples as load
from runs.actions.schedules import enqueue_due
from runs.actions.sending import forget_sent as forget
from runs.actions.sending import send_delivery as send
from runs.actions.sweep import ring_for_unjudged, sweep
from runs.actions.uploads import give_up_upload
from runs.actions.uploads import ingest_upload as ingest
from runs.actions.webhooks import handle_delivery as handle
from runs.dispatch import Work
from runs.execution.executor import execute, sweep_checkouts
from runs.models import Run

#: The largest upload takes a minute.
INGEST_LIMIT_SECONDS = 20 * 60


@shared_task(name="runs.tasks.execute_run")
def execute_run(run_id: int) -> None:
    """Execute a queued run, unless another worker has it."""
    claim = claim_run(run_id, owner=f"{socket.gethostname()}:{os.getpid()}")
    if claim is not None:
        execute(claim)


@shared_task(
    name="runs.tasks.ingest_upload",
    soft_time_limit=INGEST_LIMIT_SECONDS,
    # Code that hears nothing for so long is ended; the next try counts.
    time_limit=INGEST_LIMIT_SECONDS + 60,
)
def ingest_upload(upload_id: int) -> None:
    """Store an upload, unless it is stored. One that takes for ever is not begun again."""
    try:
        ingest(upload_id)
    except SoftTimeLimitExceeded:
        give_up_upload(upload_id, minutes=INGEST_LIMIT_SECONDS // 60)


@shared_task(name="runs.tasks.handle_delivery")
def handle_delivery(delivery_id: int) -> None:
    """Do what a webhook asks for, unless that is done."""
    handle(delivery_id)


@shared_task(name="runs.tasks.judge_run")
def judge_run(run_id: int) -> None:
    """Judge the tests that a finished run touched, how long they took, which service failed them, and what
    it shows to be renamed.

    Again changes nothing.
    """
    run = Run.objects.select_related("project").filter(pk=run_id).first()
    if run is not None and run.is_finished:
        with transaction.atomic():
            # Nobody judges the suite before both are done: the evidence holds for both.
            _, evidence = judge_by_suite(run)
            pace_by(run, evidence)
        blame_failures(run)
    propose_renames(run_id)


@shared_task(name="runs.tasks.load_samples")
def load_samples(project_id: int) -> int:
    """Give a project the past of the sample data; what is there already stays as it is."""
    return load(project_id, answer=do)


def do(work: Work, row_id: int) -> None:
    """Store or judge here and now, as a worker would; nothing else is done for sample data."""
    if work is Work.INGEST_UPLOAD:
        ingest_upload(row_id)
    elif work is Work.JUDGE_RUN:
        judge_run(row_id)


@shared_task(name="runs.tasks.send_delivery")
def send_delivery(delivery_id: int) -> None:
    """Send a message or a commit's status that is due, unless that is done."""
    send(delivery_id)


@shared_task(name="runs.tasks.forget_sent")
def forget_sent() -> None:
    """Remove what was sent long ago."""
    forget(now=datetime.now(tz=UTC), days=settings.SENT_KEPT_DAYS)


@shared_task(name="runs.tasks.apply_retention")
def apply_retention() -> None:
    """Remove what has outlived its term; the rest of it the next night."""
    remove_outlived(now=datetime.now(tz=UTC), terms=Terms.set())


@shared_task(name="runs.tasks.sweep_runs")
def sweep_runs() -> None:
    """Resolve runs whose worker fell silent, ring again for what waits, remove what they left on disk."""
    if not sweep().was_skipped:
        sweep_checkouts()


@shared_task(name="runs.tasks.judge_forgotten")
def judge_forgotten() -> None:
    """Have runs judged whose judging was lost."""
    ring_for_unjudged()


@shared_task(name="runs.tasks.queue_due_schedules")
def queue_due_schedules() -> None:
    """Queue the runs of schedules that are due."""
    enqueue_due()


@shared_task(name="runs.tasks.keep_partitions_ahead")
def keep_partitions_ahead() -> None:
    """Make the coming months' partitions of the results."""
    keep_ahead(now=datetime.now(tz=UTC))
