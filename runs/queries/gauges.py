"""Counts for monitoring."""

from __future__ import annotations

from django.db.models import Count

from runs.models import Run
from runs.vocabulary import RunStatus


def runs_by_status() -> list[tuple[str, int]]:
    """Every status with its count of runs, zero included."""
    counted = dict(Run.objects.values_list("status").annotate(count=Count("pk")))
    return [(status.value, counted.get(status.value, 0)) for status in RunStatus]
