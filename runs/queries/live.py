"""What tells a page that follows a run whether anything changed: small queries, once a second per viewer."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import OuterRef, Subquery
from django.db.models.functions import Coalesce

from environments.models import EnvironmentService
from runs.models import Event, LogChunk, Run, Shard
from runs.queries.boot import environments_of_run

#: A page waits so long after a run's end for the services to blame.
LOOKED_THROUGH_WITHIN = timedelta(seconds=20)
#: The kind of event that says that a run's failures were held against services.
BLAMED = "blamed"
_FIELDS = (
    "status",
    "error_message",
    "started_at",
    "finished_at",
    "cancel_requested_at",
    "commit",
    "test_count",
    "failed_count",
    "errored_count",
    "shards_expected",
    "shards_received",
)


@dataclass(frozen=True, slots=True)
class Pulse:
    """Equal pulses mean an unchanged page, its log aside."""

    facts: Hashable
    last_chunk: int


def is_settled(run: Run, now: datetime) -> bool:
    """Whether nothing more will come: the run is finished and its failures were held against services.

    A run that ended a while ago is not waited for: its environment failed, or nobody looks at the moment.
    """
    if not run.is_finished:
        return False
    if not (run.failed_count or run.errored_count):
        return True
    if run.finished_at is None or now - run.finished_at > LOOKED_THROUGH_WITHIN:
        return True
    return Event.objects.filter(run=run, kind=BLAMED).exists()


def pulse(run_id: int) -> Pulse | None:
    """Four narrow queries; None when the run is gone."""
    # The last id, not MAX(id): one step from the end of an index instead of all rows of the run.
    events = Event.objects.filter(run=OuterRef("pk")).order_by("-id").values("id")[:1]
    chunks = LogChunk.objects.filter(run=OuterRef("pk")).order_by("-id").values("id")[:1]
    row = (
        Run.objects.filter(pk=run_id)
        .annotate(last_event=Subquery(events), last_chunk=Coalesce(Subquery(chunks), 0))
        .values_list(*_FIELDS, "last_event", "last_chunk")
        .first()
    )
    if row is None:
        return None
    shards = list(
        Shard.objects.filter(run=run_id)
        .order_by("number")
        .values_list("number", "status", "test_count", "failed_count")
    )
    environments = list(environments_of_run(run_id).values_list("pk", "state", "ready_at"))
    services = list(
        EnvironmentService.objects.filter(environment__in=[pk for pk, _, _ in environments])
        .order_by("pk")
        .values_list("pk", "status", "health", "created_at", "started_at", "ready_at", "finished_at")
    )
    facts = (row[:-1], tuple(shards), tuple(environments), tuple(services))
    return Pulse(facts=facts, last_chunk=row[-1])
