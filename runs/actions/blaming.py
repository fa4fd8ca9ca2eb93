"""Say which service each failure of a finished run is held against: the only writer of `Blame`.

Blamed again, a run gets the same rows: what was not recorded then is not known now. A result that turned
out well by a later report loses its row, and so do all of a run that turns out to tell nothing of its tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import batched
from typing import Any

from django.db import transaction

from runs.actions.events import NewEvent, record_event
from runs.actions.rollups import count_blames, hold_blames, take_blames_out
from runs.actions.runs import TELLING
from runs.actions.suites import remember_named_services
from runs.analytics.blame import Blame as Found
from runs.analytics.blame import FailedTest, Suspect, blame
from runs.models import Blame, Event, Run
from runs.queries.blame_inputs import (
    FailureSeen,
    ShardWatch,
    failures_of,
    known_services,
    margin_of,
    shard_watches,
)
from runs.queries.live import BLAMED

#: Failures of a run that are held against what was watched while they ran; of those beyond, only what
#: their own text and properties say.
WATCHED_LIMIT = 500
#: Failures of a run that are looked at at all.
FAILURE_LIMIT = 10_000
_ROWS_AT_ONCE = 500
_UPDATED = ["run_at", "services", "suspects", "ruled_out", "unwatched", "algorithm_version"]
#: Services listed of one failure, of each sort.
_LISTED = 60


def blame_run(run_id: int) -> int:
    """Blame the run's failed results; return how many were looked at.

    Nothing happens for a run that is gone or not finished.
    """
    run = Run.objects.filter(pk=run_id).first()
    return blame_failures(run) if run is not None and run.is_finished else 0


def blame_failures(run: Run) -> int:
    """Blame the failed results of a finished run; return how many were looked at."""
    with transaction.atomic():
        hold_blames(run.pk)
        had_blames = take_blames_out(run.pk, run.project_id)
        failing = run.failed_count + run.errored_count if run.status in TELLING else 0
        if not had_blames and not failing:
            return 0
        count = _blame(run, failing)
        count_blames(run.pk, run.project_id)
    return count


def _blame(run: Run, failing: int) -> int:
    if not failing:
        Blame.objects.filter(run=run).delete()
        return 0
    watches = shard_watches(run)
    tally = _Tally()
    named = {service.name for watch in watches.values() for service in watch.services}
    for rows in batched(_rows(run, watches, tally, named), _ROWS_AT_ONCE, strict=False):
        Blame.objects.bulk_create(
            rows, update_conflicts=True, unique_fields=["run", "case"], update_fields=_UPDATED
        )
        tally.cases |= {row.case_id for row in rows}
    Blame.objects.filter(run=run).exclude(case__in=tally.cases).delete()
    remember_named_services(run.project_id, named, at=run.run_at)
    notices = [notice for watch in watches.values() for notice in watch.notices]
    _tell(run, tally, [*_left_out(failing, tally, is_watched=bool(watches)), *notices])
    return len(tally.cases)


@dataclass(slots=True)
class _Tally:
    """What was done so far."""

    cases: set[int] = field(default_factory=set)
    blamed: int = 0


def _rows(run: Run, watches: dict[int, ShardWatch], tally: _Tally, named: set[str]) -> Iterator[Blame]:
    known = ShardWatch(services=tuple(known_services(run)))
    for index, failure in enumerate(failures_of(run, limit=FAILURE_LIMIT)):
        watch = watches.get(failure.shard, known)
        found = _found(failure, watch, is_watched=index < WATCHED_LIMIT)
        named.update(failure.services)
        tally.blamed += bool(found.blamed)
        yield _row(run, failure, found)


def _found(failure: FailureSeen, watch: ShardWatch, *, is_watched: bool) -> Found:
    window = watch.window_of(failure.case) if is_watched else None
    test = FailedTest(
        started_at=window.started_at if window else None,
        ended_at=window.ended_at if window else None,
        text=failure.text,
        property_services=failure.services,
        is_estimated=bool(window and window.is_estimated),
        lag=watch.lag_after(window),
    )
    services, errors = watch.services_in(window), watch.errors_in(window)
    return blame(test, services, watch.events, errors, margin=margin_of(window))


def _row(run: Run, failure: FailureSeen, found: Found) -> Blame:
    return Blame(
        project_id=run.project_id,
        run=run,
        case_id=failure.case,
        run_at=run.run_at,
        services=list(found.blamed)[:_LISTED],
        suspects=[_suspect(one) for one in found.suspects[:_LISTED]],
        ruled_out=[
            {"service": one.service, "reasons": list(one.reasons)} for one in found.ruled_out[:_LISTED]
        ],
        unwatched=list(found.unwatched)[:_LISTED],
        algorithm_version=found.algorithm_version,
    )


def _suspect(suspect: Suspect) -> dict[str, Any]:
    return {
        "service": suspect.service,
        "rank": suspect.rank,
        "strength": suspect.strength.name.lower(),
        "evidence": [
            {
                "kind": one.kind.value,
                "strength": one.strength.name.lower(),
                "detail": one.detail,
                "at": one.at.isoformat() if one.at else None,
            }
            for one in suspect.evidence
        ],
    }


def _left_out(failing: int, tally: _Tally, *, is_watched: bool) -> list[str]:
    """What of the failures was not looked at, as sentences."""
    said = []
    if is_watched and len(tally.cases) > WATCHED_LIMIT:
        said.append(
            f"Events and logs were held against the first {WATCHED_LIMIT} of {failing} failures; "
            "of the others only what they say themselves counts."
        )
    if failing > len(tally.cases):
        said.append(f"{failing - len(tally.cases)} more failures were not looked at.")
    return said


def _tell(run: Run, tally: _Tally, notices: list[str]) -> None:
    """Put it on the run's timeline, once however often it is done."""
    count = len(tally.cases)
    failures = "1 failure" if count == 1 else f"{count} failures"
    message = f"Looked for the service at fault in {failures}: found for {tally.blamed}."
    told = NewEvent(
        BLAMED,
        " ".join([message, *notices]),
        at=datetime.now(tz=UTC),
        data={"count": count, "blamed": tally.blamed, "notices": notices},
    )
    earlier = Event.objects.filter(run=run, kind=BLAMED)
    if earlier.exists():
        earlier.update(message=told.message, data=told.data)
    else:
        record_event(run.pk, told)
