"""Test cases' histories, as the API lists them."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q

from runs.models import Result, TestCase


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
