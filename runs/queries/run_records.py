"""Runs, their results, failures and events, as the API lists them: keyset pages, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet

from runs.models import Event, Failure, Project, Result, Run


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What a list of runs is narrowed to; empty values narrow nothing."""

    suite: str = ""
    branch: str = ""
    commit: str = ""
    status: Sequence[str] = ()
    trigger: str = ""


class ToldRun(NamedTuple):
    """A run as the API tells it, without the models behind it: they are made by the thousand."""

    pk: int
    number: int
    project: str
    suite: str
    status: str
    error_reason: str
    error_message: str
    trigger: str
    branch: str
    commit: str
    pull_request: str
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: int | None
    test_count: int
    passed_count: int
    failed_count: int
    errored_count: int
    skipped_count: int
    flaky_count: int
    shards_expected: int | None
    shards_received: int
    verdict: str
    verdict_reasons: list[Any]
    pinned_at: datetime | None
    results_removed_at: datetime | None

    @classmethod
    def of(cls, run: Run) -> ToldRun:
        """From a run whose project and suite are loaded."""
        told = cls._make(getattr(run, name) for name in cls._fields)
        return told._replace(project=run.project.slug, suite=run.suite.name)


_RUN_TOLD = [{"project": "project__slug", "suite": "suite__name"}.get(name, name) for name in ToldRun._fields]


def runs_before(project: Project, wanted: RunFilter, *, number: int | None, limit: int) -> list[ToldRun]:
    """Up to `limit` runs with a lower number, newest first."""
    rows = Run.objects.for_project(project)
    exact = {
        "suite__name": wanted.suite,
        "branch": wanted.branch,
        "trigger": wanted.trigger,
    }
    rows = rows.filter(**{field: value for field, value in exact.items() if value})
    if wanted.commit:
        rows = rows.filter(commit__startswith=wanted.commit)
    if wanted.status:
        rows = rows.filter(status__in=wanted.status)
    if number is not None:
        rows = rows.filter(number__lt=number)
    return [ToldRun._make(row) for row in rows.newest_first().values_list(*_RUN_TOLD)[:limit]]


class ToldResult(NamedTuple):
    """A result as the API tells it, without the models behind it: they are made by the thousand."""

    case_id: int
    class_name: str
    name: str
    parameters: str
    outcome: str
    duration_ms: int | None
    attempt_count: int
    shard: int
    position: int
    failure: Failure | None

    @classmethod
    def of(cls, result: Result) -> ToldResult:
        """From a result whose case and failure are loaded."""
        case = result.case
        return cls(
            case.pk,
            case.class_name,
            case.name,
            case.parameters,
            result.outcome,
            result.duration_ms,
            result.attempt_count,
            result.shard,
            result.position,
            result.failure,
        )


_TOLD = (
    *("case_id", "case__class_name", "case__name", "case__parameters", "outcome", "duration_ms"),
    *("attempt_count", "shard", "position", "failure_id"),
)


def results_after(
    run: Run, *, outcomes: Sequence[str], text: str, position: tuple[int, int] | None, limit: int
) -> list[ToldResult]:
    """Up to `limit` results in the report's order, after the one at (position, case); two queries.

    Each failure is read once, however many results share it.
    """
    rows = results_of(run)
    if outcomes:
        rows = rows.filter(outcome__in=outcomes)
    if text:
        rows = rows.filter(Q(case__name__icontains=text) | Q(case__class_name__icontains=text))
    if position is not None:
        place, case = position
        rows = rows.filter(Q(position__gt=place) | Q(position=place, case_id__gt=case))
    found = list(_first(run, rows.order_by("position", "case_id"), limit=limit).values_list(*_TOLD))
    failures = Failure.objects.in_bulk({row[-1] for row in found if row[-1] is not None})
    return [ToldResult._make((*row[:-1], failures.get(row[-1]))) for row in found]


def first_results(run: Run, ordered: QuerySet[Result], *related: str, limit: int) -> list[Result]:
    """The first of a run's results in that order, with what is related to them."""
    return list(_first(run, ordered, limit=limit).select_related(*related))


def _first(run: Run, ordered: QuerySet[Result], *, limit: int) -> QuerySet[Result]:
    """Chosen in narrow rows before others are joined to them."""
    chosen = results_of(run).filter(case__in=ordered.values("case_id")[:limit])
    return chosen.order_by(*ordered.query.order_by)


def events_after(run: Run, *, event_id: int, limit: int) -> list[Event]:
    """The run's events in order, after the one with this id."""
    return list(Event.objects.filter(run=run, pk__gt=event_id).order_by("pk")[:limit])


def results_of(run: Run) -> QuerySet[Result]:
    """All of a run's results. The partition key is named, so that only one month's table is read."""
    return Result.objects.filter(run_at=run.run_at, run=run.pk)
