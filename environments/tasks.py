"""Doorbells: each may ring twice, late or never."""

from __future__ import annotations

from celery import shared_task  # noqa: TID251 - here is where tasks live
from django.utils import timezone

from environments.engines import available_engines
from environments.reaper import reap


@shared_task(name="environments.tasks.reap_environments", soft_time_limit=240, time_limit=300)
def reap_environments() -> None:
    """Remove what dead workers left on every engine that answers."""
    reap(available_engines(), now=timezone.now())
