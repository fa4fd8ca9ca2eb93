"""When suites run by themselves."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from runs.models.suites import Suite


class Schedule(models.Model):
    """A cron line with a time zone."""

    suite = models.ForeignKey(Suite, on_delete=models.CASCADE, related_name="schedules")
    cron = models.CharField(max_length=120)
    timezone = models.CharField(max_length=60, default="UTC")
    branch = models.CharField(max_length=250, blank=True, default="")
    is_paused = models.BooleanField(default=False)
    #: Written in the suite file, which then decides about it; else made by a person.
    is_from_suite_file = models.BooleanField(default=False, db_default=False)
    #: The next moment it is due; raised by conditional update, so that each is taken once.
    due_at = models.DateTimeField(null=True, blank=True)
    #: The due moment that was queued last.
    last_due_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """The due ones are found by one narrow index."""

        constraints = (
            models.UniqueConstraint(
                fields=["suite", "cron", "timezone", "branch"], name="a_schedule_is_written_once_for_a_suite"
            ),
        )
        indexes = (models.Index(fields=["due_at"], name="schedules_due", condition=Q(is_paused=False)),)

    def __str__(self) -> str:
        return f"{self.cron} ({self.timezone})"
