"""Pin runs: what is pinned outlives every term."""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from runs.actions.audit import note_change
from runs.models import Run, Token, User


def pin_run(*, run_id: int, by: User | None, token: Token | None = None) -> Run:
    """Keep all that the run still has for as long as it is pinned. One that is pinned stays as it is."""
    with transaction.atomic():
        # Waits for retention, where it is at this run: afterwards the row says what is left.
        pinned = Run.objects.filter(pk=run_id, pinned_at=None).update(pinned_at=Now(), pinned_by=by)
        run = Run.objects.select_related("project", "suite").get(pk=run_id)
        if pinned:
            note_change(run.project, by=by, token=token, action="run.pinned", subject=f"Run {run.number}")
    return run


def unpin_run(*, run_id: int, by: User | None, token: Token | None = None) -> Run:
    """Let the terms hold for the run again: what they are over for goes with the next night."""
    with transaction.atomic():
        unpinned = Run.objects.filter(pk=run_id, pinned_at__isnull=False).update(
            pinned_at=None, pinned_by=None
        )
        run = Run.objects.select_related("project", "suite").get(pk=run_id)
        if unpinned:
            note_change(run.project, by=by, token=token, action="run.unpinned", subject=f"Run {run.number}")
    return run
