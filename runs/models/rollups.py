"""Counts by day, kept with every run that ends, so that no page adds up the history and counts outlive it.

`runs.actions.rollups` is their only writer.
"""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from runs.models.projects import Project
from runs.models.results import TestCase
from runs.models.runs import Run
from runs.models.suites import Suite


class CaseMonth(models.Model):
    """What came of a test case in a month, day by day.

    The arrays are indexed by the day of the month in UTC, from 1. PostgreSQL keeps them from the first day
    that has something to the last, so a day outside of them, or null within, is one without. A count that
    would exceed 32,767 on a day stays there.
    """

    pk = models.CompositePrimaryKey("case_id", "month")
    case = models.ForeignKey(
        TestCase, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="months"
    )
    #: The month's first day.
    month = models.DateField()
    #: Results, whatever their outcome.
    results = ArrayField(models.SmallIntegerField(null=True))
    #: … of those that failed or errored, passed after a failed attempt, were skipped; null where none did.
    failed = ArrayField(models.SmallIntegerField(null=True), null=True)
    flaky = ArrayField(models.SmallIntegerField(null=True), null=True)
    skipped = ArrayField(models.SmallIntegerField(null=True), null=True)
    #: Passing results whose duration is known, and their milliseconds together.
    timed_count = models.PositiveIntegerField(default=0)
    timed_ms = models.PositiveBigIntegerField(default=0)

    class Meta:
        """Read by case."""

        verbose_name = "test case's month"

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class SuiteDay(models.Model):
    """What came of a suite's runs on a day in UTC, on the project's default branch or elsewhere."""

    pk = models.CompositePrimaryKey("suite_id", "day", "is_default_branch")
    suite = models.ForeignKey(Suite, on_delete=models.CASCADE, db_index=False, related_name="days")
    day = models.DateField()
    is_default_branch = models.BooleanField()
    #: Runs that have ended, in whatever way; those whose verdict is fail; those that errored.
    run_count = models.PositiveIntegerField(default=0)
    failed_run_count = models.PositiveIntegerField(default=0)
    errored_run_count = models.PositiveIntegerField(default=0)
    #: Milliseconds of the runs together, of those whose duration is known.
    timed_run_count = models.PositiveIntegerField(default=0)
    duration_ms = models.PositiveBigIntegerField(default=0)
    #: Results of those runs, by outcome.
    result_count = models.PositiveBigIntegerField(default=0)
    failed_count = models.PositiveBigIntegerField(default=0)
    errored_count = models.PositiveBigIntegerField(default=0)
    skipped_count = models.PositiveBigIntegerField(default=0)
    flaky_count = models.PositiveBigIntegerField(default=0)

    class Meta:
        """Read by suite."""

        verbose_name = "suite's day"

    def __str__(self) -> str:
        return f"{self.day}"


class GroupRun(models.Model):
    """How often a failure group was seen in a run that has ended: a run's failures by their fingerprint."""

    pk = models.CompositePrimaryKey("project_id", "fingerprint", "run_at", "run_id")
    #: Neither checked row by row nor indexed alone: a run's failures are written by the thousand.
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="group_runs"
    )
    fingerprint = models.BinaryField(max_length=16)
    #: The run's moment.
    run_at = models.DateTimeField()
    run = models.ForeignKey(
        Run, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="group_runs"
    )
    #: Results that failed or errored so; those that passed after such a failure.
    failed_count = models.PositiveIntegerField(default=0)
    flaky_count = models.PositiveIntegerField(default=0)

    class Meta:
        """Read by group and time, and by run."""

        verbose_name = "failure group's run"
        indexes = (models.Index(fields=["run"], name="groups_of_run"),)

    def __str__(self) -> str:
        return bytes(self.fingerprint).hex()


class ServiceDay(models.Model):
    """Failures held against a service on a day in UTC; without a name, those held against none.

    A failure counts for each of the services that share the blame for it. With `is_total` it is the row of
    all failures that were looked at, each once.
    """

    pk = models.CompositePrimaryKey("project_id", "day", "is_total", "service")
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, db_index=False, related_name="service_days"
    )
    day = models.DateField()
    is_total = models.BooleanField(default=False)
    service = models.TextField(blank=True, default="")
    failure_count = models.PositiveIntegerField(default=0)

    class Meta:
        """Read by project and time; the total has no service's name."""

        verbose_name = "service's day"
        constraints = (
            models.CheckConstraint(
                condition=Q(is_total=False) | Q(service=""), name="a_total_is_of_no_service"
            ),
        )

    def __str__(self) -> str:
        return self.service or "no service blamed"
