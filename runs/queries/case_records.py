"""Test cases and their histories, as the API lists them."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q

from runs.models import Project, Result, TestCase


def cases_after(project: Project, *, suite: str, text: str, case_id: int, limit: int) -> list[TestCase]:
    """Up to `limit` cases after the one with this id, oldest first."""
    rows = TestCase.objects.filter(suite__project=project, pk__gt=case_id).select_related("suite")
    if suite:
        rows = rows.filter(suite__name=suite)
    if text:
        rows = rows.filter(Q(name__icontains=text) | Q(class_name__icontains=text))
    return list(rows.order_by("pk")[:limit])


def history_before(
    case: TestCase, *, moment: tuple[datetime, int] | None, limit: int, branch: str = ""
) -> list[Result]:
    """Up to `limit` results of a case before the one at (run's moment, run), newest first."""
    rows = Result.objects.filter(case_id=case.pk).select_related("run", "failure")
    if branch:
        rows = rows.filter(run__branch=branch)
    if moment is not None:
        at, run_id = moment
        rows = rows.filter(Q(run_at__lt=at) | Q(run_at=at, run_id__lt=run_id))
    return list(rows.order_by("-run_at", "-run_id")[:limit])
