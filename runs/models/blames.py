"""Which services a failure is held against, with the evidence. See `runs/analytics/blame.py`."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from runs.models.projects import Project
from runs.models.results import TestCase
from runs.models.runs import Run


class Blame(models.Model):
    """What was found about one failed result: the suspects, those ruled out, those nobody watched."""

    #: Neither checked row by row nor indexed alone: a run's failures are written by the thousand.
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="blames"
    )
    run = models.ForeignKey(Run, on_delete=models.CASCADE, db_index=False, related_name="blames")
    case = models.ForeignKey(TestCase, on_delete=models.CASCADE, db_constraint=False, related_name="blames")
    #: The run's moment: the day for which the failure counts.
    run_at = models.DateTimeField()
    #: The services for which the failure counts; empty when none is blamed.
    services = ArrayField(models.TextField(), default=list)
    #: Every suspect with rank, strength and evidence, strongest first.
    suspects = models.JSONField(default=list)
    #: Services that were watched and are not suspect, each with its reasons.
    ruled_out = models.JSONField(default=list)
    #: Services of which nothing is known.
    unwatched = ArrayField(models.TextField(), default=list)
    algorithm_version = models.PositiveSmallIntegerField(default=1)

    class Meta:
        """One per failed result; read by run, and by project and time."""

        constraints = (
            models.UniqueConstraint(fields=["run", "case"], name="a_failed_result_is_blamed_once"),
        )
        indexes = (models.Index(fields=["project", "-run_at"], name="blames_newest_first"),)

    def __str__(self) -> str:
        return ", ".join(self.services) or "no service blamed"
