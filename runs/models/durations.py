"""How long each test case takes, and whether that changed. See `runs/analytics/durations.py`."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from runs.models.results import TestCase
from runs.models.runs import Run


class CaseDuration(models.Model):
    """A case's newest passing durations on its project's default branch, and what they say."""

    case = models.OneToOneField(TestCase, on_delete=models.CASCADE, related_name="pace", primary_key=True)
    #: Milliseconds of the newest passes, oldest first, with the runs they are of: as long as each other.
    recent_ms = ArrayField(models.PositiveIntegerField(), default=list)
    recent_runs = ArrayField(models.BigIntegerField(), default=list)
    #: The moment of the newest run in it.
    last_run_at = models.DateTimeField()
    p50_ms = models.PositiveIntegerField()
    p95_ms = models.PositiveIntegerField()
    #: Medians before and now; null with too few passes. Of a standing alert: before it.
    before_ms = models.PositiveIntegerField(null=True, blank=True)
    after_ms = models.PositiveIntegerField(null=True, blank=True)
    #: How likely chance alone would part them so far; null where they are not apart enough to ask.
    p_value = models.FloatField(null=True, blank=True)
    #: Whether that is worth an alert; it stays one until the test is nearly as fast as it was.
    is_slower = models.BooleanField(default=False)
    #: The first run of the new pace.
    changed_run = models.ForeignKey(
        Run, on_delete=models.SET_NULL, null=True, blank=True, db_index=False, related_name="+"
    )
    algorithm_version = models.PositiveSmallIntegerField(default=1)
    judged_at = models.DateTimeField()

    class Meta:
        """The ones that became slower are few and have an index of their own."""

        constraints = (
            models.CheckConstraint(
                condition=Q(is_slower=False) | Q(before_ms__isnull=False, after_ms__isnull=False),
                name="a_slower_case_says_by_how_much",
            ),
        )
        indexes = (models.Index(fields=["case"], name="slower_cases", condition=Q(is_slower=True)),)

    def __str__(self) -> str:
        return f"{self.p50_ms} ms"
