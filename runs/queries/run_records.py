"""Runs, their results, failures and events, as the API lists them: keyset pages, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from runs.models import Event, Project, Result, Run


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What a list of runs is narrowed to; empty values narrow nothing."""

    suite: str = ""
    branch: str = ""
    commit: str = ""
    status: Sequence[str] = ()
    trigger: str = ""


def runs_before(project: Project, wanted: RunFilter, *, number: int | None, limit: int) -> list[Run]:
    """Up to `limit` runs with a lower number, newest first."""
    rows = Run.objects.for_project(project).select_related("project", "suite")
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
    return list(rows.newest_first()[:limit])


def results_after(
    run: Run, *, outcomes: Sequence[str], text: str, position: tuple[int, int] | None, limit: int
) -> list[Result]:
    """Up to `limit` results in the report's order, after the one at (position, case)."""
    rows = results_of(run)
    if outcomes:
        rows = rows.filter(outcome__in=outcomes)
    if text:
        rows = rows.filter(Q(case__name__icontains=text) | Q(case__class_name__icontains=text))
    if position is not None:
        place, case = position
        rows = rows.filter(Q(position__gt=place) | Q(position=place, case_id__gt=case))
    return first_results(run, rows.order_by("position", "case_id"), "case", "failure", limit=limit)


def first_results(run: Run, ordered: QuerySet[Result], *related: str, limit: int) -> list[Result]:
    """The first of a run's results in that order: chosen in narrow rows before others are joined to them."""
    chosen = results_of(run).filter(case__in=ordered.values("case_id")[:limit])
    return list(chosen.select_related(*related).order_by(*ordered.query.order_by))


def events_after(run: Run, *, event_id: int, limit: int) -> list[Event]:
    """The run's events in order, after the one with this id."""
    return list(Event.objects.filter(run=run, pk__gt=event_id).order_by("pk")[:limit])


def results_of(run: Run) -> QuerySet[Result]:
    """All of a run's results. The partition key is named, so that only one month's table is read."""
    return Result.objects.filter(run_at=run.run_at, run=run.pk)
