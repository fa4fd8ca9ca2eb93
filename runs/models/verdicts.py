"""What the analytics judged of each test case, with the evidence it was judged by."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from runs.models.results import TestCase


class CaseState(models.Model):
    """The newest verdict on a case on its project's default branch. See `runs/analytics/flakiness.py`."""

    case = models.OneToOneField(TestCase, on_delete=models.CASCADE, related_name="state", primary_key=True)
    #: healthy, suspect, likely_flaky or flaky.
    flakiness = models.CharField(max_length=12, default="healthy")
    #: Its last commits all failed; a case can be flaky and broken.
    is_broken = models.BooleanField(default=False)
    #: Commits on which it both passed and failed.
    direct_count = models.PositiveIntegerField(default=0)
    #: Single failing commits between passing ones.
    isolated_count = models.PositiveIntegerField(default=0)
    commit_count = models.PositiveIntegerField(default=0)
    #: Reports left out because the environment, not the test, was at fault.
    masked_count = models.PositiveIntegerField(default=0)
    #: Evidence in [0, 1] and its 95 % Wilson interval.
    evidence = models.FloatField(default=0)
    evidence_low = models.FloatField(default=0)
    evidence_high = models.FloatField(default=0)
    #: Time that its failures cost, per week.
    lost_ms_per_week = models.PositiveBigIntegerField(default=0)
    median_duration_ms = models.PositiveIntegerField(null=True, blank=True)
    #: Everything else that the verdict rests on.
    inputs = models.JSONField(default=dict, blank=True)
    algorithm_version = models.PositiveSmallIntegerField(default=1)
    #: Since when it has this state.
    changed_at = models.DateTimeField()
    judged_at = models.DateTimeField()

    class Meta:
        """The flaky board reads the ones that are not healthy."""

        constraints = (
            models.CheckConstraint(
                condition=Q(flakiness__in=["healthy", "suspect", "likely_flaky", "flaky"]),
                name="a_case_has_a_known_flakiness",
            ),
        )
        indexes = (
            models.Index(
                fields=["-lost_ms_per_week"],
                name="cases_that_are_not_healthy",
                condition=~Q(flakiness="healthy"),
            ),
        )

    def __str__(self) -> str:
        return self.flakiness
