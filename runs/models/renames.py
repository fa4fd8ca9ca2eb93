"""Tests that seem to go on under another name, and what was decided of them."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from runs.models.results import TestCase
from runs.models.runs import Run
from runs.models.suites import Suite


class Rename(models.Model):
    """A case that was gone in a run and another that was new in it, which look like one test.

    See `runs/analytics/renames.py` for when they do; `runs.actions.renames` decides what becomes of it.
    """

    suite = models.ForeignKey(Suite, on_delete=models.CASCADE, db_index=False, related_name="renames")
    #: The case with the history. Once confirmed it has the new name, and `new` is its former name.
    old = models.ForeignKey(TestCase, on_delete=models.CASCADE, db_index=False, related_name="renames")
    new = models.ForeignKey(TestCase, on_delete=models.CASCADE, related_name="+")
    #: Where it was noticed; null when that run is gone.
    run = models.ForeignKey(Run, on_delete=models.SET_NULL, null=True, related_name="+")
    #: moved: another class, file or suites; renamed: another name, there or where others of its place went.
    kind = models.CharField(max_length=7)
    #: What speaks for it, each in [0, 1]; the pace is null where a duration is not known.
    name_likeness = models.FloatField()
    place_likeness = models.FloatField()
    pace_likeness = models.FloatField(null=True, blank=True)
    #: What changed about the place; tests of one move share both.
    old_place = models.TextField(blank=True, default="")
    new_place = models.TextField(blank=True, default="")
    status = models.CharField(max_length=9, default="proposed")
    proposed_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True, blank=True)
    #: Nobody, when a rule decided.
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    #: What it takes to part them again, from when they were joined.
    undo = models.JSONField(default=dict, blank=True, editable=False)

    class Meta:
        """A pair is proposed once; what waits for a decision is read by suite."""

        constraints = (
            models.UniqueConstraint(fields=["old", "new"], name="two_cases_are_proposed_as_one_once"),
            models.CheckConstraint(
                condition=Q(kind__in=["moved", "renamed"]), name="a_rename_is_of_a_known_kind"
            ),
            models.CheckConstraint(
                condition=Q(status__in=["proposed", "confirmed", "refused", "withdrawn", "parted"]),
                name="a_rename_has_a_known_status",
            ),
            models.CheckConstraint(
                condition=Q(status="proposed", decided_at__isnull=True)
                | (~Q(status="proposed") & Q(decided_at__isnull=False)),
                name="a_decided_rename_says_when",
            ),
        )
        indexes = (models.Index(fields=["suite", "status"], name="renames_of_suite"),)

    def __str__(self) -> str:
        return f"{self.kind}, {self.status}"
