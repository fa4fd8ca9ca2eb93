"""Quarantine: a case runs, but its result does not gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import Q

from runs.models.results import TestCase

if TYPE_CHECKING:
    from datetime import datetime


class QuarantineQuerySet(models.QuerySet["Quarantine"]):
    """Quarantines as questions are asked of them."""

    def in_force(self, moment: datetime) -> QuarantineQuerySet:
        """Begun, not over and not lifted at that moment."""
        return self.filter(created_at__lte=moment, until__gt=moment).filter(
            Q(lifted_at=None) | Q(lifted_at__gt=moment)
        )


class Quarantine(models.Model):
    """Who took a case out of the gate, why, and until when."""

    case = models.ForeignKey(TestCase, on_delete=models.CASCADE, related_name="quarantines")
    reason = models.TextField()
    owner = models.CharField(max_length=250, blank=True, default="")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField()
    until = models.DateTimeField()
    lifted_at = models.DateTimeField(null=True, blank=True)
    lifted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )

    objects = QuarantineQuerySet.as_manager()

    class Meta:
        """A quarantine has a reason and an end; at most one of a case is open."""

        constraints = (
            models.CheckConstraint(condition=Q(reason__gt=""), name="a_quarantine_has_a_reason"),
            models.CheckConstraint(
                condition=Q(until__gt=models.F("created_at")), name="a_quarantine_ends_after_it_begins"
            ),
            models.UniqueConstraint(
                fields=["case"], name="a_case_has_one_open_quarantine", condition=Q(lifted_at=None)
            ),
        )

    def __str__(self) -> str:
        return f"quarantine until {self.until:%Y-%m-%d}"
