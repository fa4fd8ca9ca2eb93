"""Find what fell silent and decide about it. Anything may die; this is what makes it harmless."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import Exists, F, OuterRef, Q, Value
from django.db.models.functions import Greatest, Least, Now

from runs.actions.holding import tend_held
from runs.actions.locks import Lock, alone_with
from runs.actions.runs import TELLING, resolve_lapsed_run
from runs.actions.uploads import settle_overdue
from runs.dispatch import Work, ring
from runs.models import Blame, Delivery, Run, Upload
from runs.vocabulary import DeliveryStatus, RunStatus, UploadStatus

logger = logging.getLogger(__name__)

#: How long a bell may go unanswered before it is rung again. For a run that has waited long, for a free slot
#: as likely as not, it is as long again as it has waited, so that bells do not pile up behind a busy worker.
RING_AGAIN_AFTER = timedelta(seconds=15)
RING_AGAIN_AT_LAST = timedelta(minutes=5)
#: A message that is due this long was not only just rung for.
SEND_AFTER = timedelta(seconds=2)
#: Of one sweep, so that a long queue does not flood the broker.
RING_LIMIT = 50
#: When the judging of a finished run is taken for lost, and how long it is looked for, among the newest runs.
JUDGED_AFTER = timedelta(minutes=10)
JUDGED_WITHIN = timedelta(days=1)
NEWEST_RUNS = 5_000


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one sweep did."""

    #: Another sweep was under way.
    was_skipped: bool = False
    resolved: tuple[int, ...] = ()
    #: Uploaded runs whose missing shards are waited for no longer.
    settled: tuple[int, ...] = ()
    rung_runs: tuple[int, ...] = ()
    rung_uploads: tuple[int, ...] = ()
    rung_deliveries: tuple[int, ...] = ()
    rung_messages: tuple[int, ...] = ()


def sweep() -> Sweep:
    """Resolve runs whose lease has lapsed, ring again for what waits unheard, tell of environments that are
    held no longer; one sweep at a time."""
    with alone_with(Lock.SWEEP) as is_alone:
        if not is_alone:
            return Sweep(was_skipped=True)
        tend_held(now=datetime.now(tz=UTC))
        return Sweep(
            resolved=tuple(_resolve_lapsed_runs()),
            settled=tuple(settle_overdue()),
            rung_runs=tuple(_ring_for_queued_runs()),
            rung_uploads=tuple(_ring_for_uploads()),
            rung_deliveries=tuple(_ring_for_deliveries()),
            rung_messages=tuple(_ring_for_messages()),
        )


def _resolve_lapsed_runs() -> Iterator[int]:
    lapsed = Run.objects.active().filter(lease_expires_at__lt=Now()).order_by("pk")
    for run_id in list(lapsed.values_list("pk", flat=True)):
        status = resolve_lapsed_run(run_id)
        if status is not None:
            logger.warning("Run %s lost its worker and is now %s.", run_id, status)
            yield run_id


def _ring_for_queued_runs() -> Iterator[int]:
    waited = F("rung_at") - F("queued_at")
    pause = Least(Value(RING_AGAIN_AT_LAST), Greatest(Value(RING_AGAIN_AFTER), waited))
    unheard = Q(rung_at=None) | Q(rung_at__lt=Now() - pause)
    waiting = Run.objects.filter(unheard, status=RunStatus.QUEUED).order_by("queued_at", "pk")
    for run_id in list(waiting.values_list("pk", flat=True)[:RING_LIMIT]):
        if not ring(Work.EXECUTE_RUN, run_id):
            return
        Run.objects.filter(pk=run_id, status=RunStatus.QUEUED).update(rung_at=Now())
        yield run_id


def _ring_for_uploads() -> Iterator[int]:
    unheard = Upload.objects.filter(
        status=UploadStatus.RECEIVED, received_at__lt=Now() - RING_AGAIN_AFTER
    ).order_by("received_at", "pk")
    for upload_id in list(unheard.values_list("pk", flat=True)[:RING_LIMIT]):
        if not ring(Work.INGEST_UPLOAD, upload_id):
            return
        yield upload_id


def ring_for_unjudged() -> tuple[int, ...]:
    """Ring again for runs whose failures were never looked at: who judged them died, or the bell was lost.

    A run without failures is not missed: the suite's next run judges its tests as well.
    """
    newest = Run.objects.order_by("-pk").values("pk")[:NEWEST_RUNS]
    lost = Run.objects.filter(
        Q(failed_count__gt=0) | Q(errored_count__gt=0),
        pk__in=newest,
        status__in=sorted(TELLING),
        finished_at__gt=Now() - JUDGED_WITHIN,
        finished_at__lt=Now() - JUDGED_AFTER,
        results_removed_at=None,
    ).exclude(Exists(Blame.objects.filter(run=OuterRef("pk"))))
    rung: list[int] = []
    for run_id in list(lost.order_by("pk").values_list("pk", flat=True)[:RING_LIMIT]):
        if not ring(Work.JUDGE_RUN, run_id):
            break
        rung.append(run_id)
    return tuple(rung)


def _ring_for_deliveries() -> Iterator[int]:
    unheard = Delivery.objects.filter(
        direction="received", status=DeliveryStatus.RECEIVED, created_at__lt=Now() - RING_AGAIN_AFTER
    ).order_by("pk")
    for delivery_id in list(unheard.values_list("pk", flat=True)[:RING_LIMIT]):
        if not ring(Work.HANDLE_DELIVERY, delivery_id):
            return
        yield delivery_id


def _ring_for_messages() -> Iterator[int]:
    """Those whose time has come: the next try, or the first whose bell was lost."""
    due = Delivery.objects.filter(
        direction="sent", status=DeliveryStatus.QUEUED, due_at__lt=Now() - SEND_AFTER
    ).order_by("due_at")
    for delivery_id in list(due.values_list("pk", flat=True)[:RING_LIMIT]):
        if not ring(Work.SEND_DELIVERY, delivery_id):
            return
        yield delivery_id
