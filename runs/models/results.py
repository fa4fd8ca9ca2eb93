"""Test cases and what came of them.

`Result`, `Attempt` and `ResultDetails` live in month partitions by `run_at`, so that history can be dropped
as tables and a page touches only the months it shows. They carry no foreign keys: a trigger per row would
cost more than the row (docs/decisions/0003). `runs.actions.results` is their only writer and keeps them
whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from runs.models.fields import OutcomeField
from runs.models.projects import Project
from runs.models.runs import Run
from runs.models.suites import Suite

if TYPE_CHECKING:
    from django.db.models.expressions import Combinable


class TestCase(models.Model):
    """A test with an identity that survives runs."""

    __test__ = False  # not pytest's

    #: Neither checked row by row nor indexed alone: see docs/decisions/0055.
    suite = models.ForeignKey(
        Suite, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="cases"
    )
    #: 16 bytes made of everything below that tells tests apart; see `runs/ingestion/identity.py`.
    identity = models.BinaryField(max_length=16)
    #: The chain of suite names or the file, as the tool tells it.
    path = models.TextField(blank=True, default="")
    class_name = models.TextField(blank=True, default="")
    name = models.TextField()
    parameters = models.TextField(blank=True, default="")
    #: What tells variants apart: Playwright's project, a host, a matrix's values.
    variant = models.TextField(blank=True, default="")
    file = models.TextField(blank=True, default="")
    line = models.PositiveIntegerField(null=True, blank=True)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    #: Of a former name: the test that is called otherwise now. What is reported under it belongs there.
    same_as = models.ForeignKey(
        "self",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        editable=False,
        db_constraint=False,
        db_index=False,
        related_name="former_names",
    )

    class Meta:
        """An identity leads to one case of a suite."""

        constraints = (
            models.UniqueConstraint(
                fields=["suite", "identity"], name="an_identity_names_one_case_of_a_suite"
            ),
        )
        # What a suite's tests were called before; few were called otherwise, and the others are not in it.
        indexes = (
            models.Index(
                fields=["suite", "same_as"],
                name="former_names_of_suite",
                condition=Q(same_as__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return self.name


class Failure(models.Model):
    """A failure's text, kept once per project however often it is seen."""

    #: As a case's suite.
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="failures"
    )
    #: 16 bytes of the whole: type, message and text.
    digest = models.BinaryField(max_length=16)
    #: 16 bytes of what makes two failures the same failure; see `runs/analytics/fingerprints.py`.
    fingerprint = models.BinaryField(max_length=16)
    kind = models.TextField(blank=True, default="")
    message = models.TextField(blank=True, default="")
    text = models.TextField(blank=True, default="")
    first_seen_at = models.DateTimeField()

    class Meta:
        """Looked up by digest while ingesting, by fingerprint on pages."""

        constraints = (
            models.UniqueConstraint(
                fields=["project", "digest"], name="a_failure_text_is_kept_once_in_a_project"
            ),
        )
        indexes = (models.Index(fields=["fingerprint", "project"], name="failures_of_group"),)

    def __str__(self) -> str:
        return self.message[:80] or self.kind


class Result(models.Model):
    """The verdict on a case in a run, made of its attempts. Partitioned by `run_at`."""

    pk = models.CompositePrimaryKey("run_at", "run_id", "case_id")
    run_at = models.DateTimeField()
    run: models.ForeignKey[Run | Combinable, Run] = models.ForeignKey(
        Run, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="results"
    )
    case: models.ForeignKey[TestCase | Combinable, TestCase] = models.ForeignKey(
        TestCase, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="results"
    )
    #: The first failing attempt's text; null when nothing failed.
    failure: models.ForeignKey[Failure | Combinable | None, Failure | None] = models.ForeignKey(
        Failure,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="results",
    )
    duration_ms = models.PositiveIntegerField(null=True)
    #: Where it stood in the report, for order dependence.
    position = models.PositiveIntegerField(default=0)
    shard = models.PositiveSmallIntegerField(default=1)
    attempt_count = models.PositiveSmallIntegerField(default=1)
    outcome = OutcomeField()

    class Meta:
        """Created by hand-written SQL in migrations 0002 and 0016, as a partitioned table.

        Its primary key is (case, run_at, run) and serves a test's history too; the outcome is an enumeration
        there, of four bytes, and knows no other than these.
        """

        indexes = (
            # What a run holds. Its keys repeat, so an entry takes some six bytes.
            models.Index(fields=["run"], name="results_of_run"),
            # A run's failures; most results pass and are not in it.
            models.Index(
                fields=["run", "outcome"], name="notable_results_of_run", condition=~Q(outcome="passed")
            ),
            # Where else the same failure was seen; most results have none and are not in it.
            models.Index(
                fields=["failure", "-run_at"], name="results_of_failure", condition=Q(failure__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return f"{self.outcome} in run {self.run_id}"


class Attempt(models.Model):
    """One try of a case in a run; kept only where there is something to say: more than one, or a failure."""

    pk = models.CompositePrimaryKey("run_at", "run_id", "case_id", "number")
    run_at = models.DateTimeField()
    run: models.ForeignKey[Run | Combinable, Run] = models.ForeignKey(
        Run, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="attempts"
    )
    case: models.ForeignKey[TestCase | Combinable, TestCase] = models.ForeignKey(
        TestCase, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="attempts"
    )
    number = models.PositiveSmallIntegerField()
    outcome = models.CharField(max_length=7)
    duration_ms = models.PositiveIntegerField(null=True)
    failure: models.ForeignKey[Failure | Combinable | None, Failure | None] = models.ForeignKey(
        Failure,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="attempts",
    )
    output = models.TextField(blank=True, default="")
    #: Services that the report names for this case, in a property of it or of its suite.
    services = ArrayField(models.TextField(), default=list, db_default=[])

    class Meta:
        """Created by hand-written SQL in migration 0002, as a partitioned table."""

        constraints = (
            models.CheckConstraint(
                condition=Q(outcome__in=["passed", "failed", "errored", "skipped"]),
                name="an_attempt_has_a_known_outcome",
            ),
            models.CheckConstraint(condition=Q(number__gte=1), name="attempts_are_numbered_from_one"),
        )
        indexes = (
            # Whether anybody still speaks of a failure's text. Its keys repeat: some six bytes an entry.
            models.Index(fields=["failure"], name="attempts_of_failure", condition=Q(failure__isnull=False)),
        )

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.outcome}"


class ResultDetails(models.Model):
    """What a report tells of a case in a run besides outcomes; kept only where it tells anything."""

    pk = models.CompositePrimaryKey("case_id", "run_at", "run_id", "number")
    run_at = models.DateTimeField()
    run: models.ForeignKey[Run | Combinable, Run] = models.ForeignKey(
        Run, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="details"
    )
    case: models.ForeignKey[TestCase | Combinable, TestCase] = models.ForeignKey(
        TestCase, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="details"
    )
    #: Counts the times that reports of the run speak of the case and have something to tell.
    number = models.PositiveSmallIntegerField()
    shard = models.PositiveSmallIntegerField(default=1)
    attachment_count = models.PositiveSmallIntegerField(default=0)
    #: Properties, attachments and output, compressed; see `runs/ingestion/details.py`.
    body = models.BinaryField()

    class Meta:
        """Created by hand-written SQL in migration 0024, as a partitioned table."""

        constraints = (
            models.CheckConstraint(condition=Q(number__gte=1), name="details_are_numbered_from_one"),
        )
        indexes = (
            # Which files the reports of a run name; most details name none and are not in it.
            models.Index(fields=["run"], name="attachments_of_run", condition=Q(attachment_count__gt=0)),
        )

    def __str__(self) -> str:
        return f"details {self.number}"
