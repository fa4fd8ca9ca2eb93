"""The rows behind an environment: written before anything exists, leased while it lives."""

from __future__ import annotations

from datetime import datetime

from environments.models import Environment


def renew(environment_id: int, until: datetime) -> bool:
    """Hold the environment until then; False when it is no longer ours to hold (removed, or given up)."""
    return Environment.objects.live().filter(pk=environment_id).update(lease_expires_at=until) == 1
