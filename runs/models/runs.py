"""Runs, their shards, what happened in them and what they left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse

from runs.models.projects import Project
from runs.models.suites import Suite
from runs.vocabulary import ACTIVE, FINISHED, RunStatus

if TYPE_CHECKING:
    from datetime import timedelta

_NOTHING = models.Value([], output_field=models.JSONField())
_NO_FACTS = models.Value({}, output_field=models.JSONField())


class RunQuerySet(models.QuerySet["Run"]):
    """Runs as questions are asked of them."""

    def for_project(self, project: Project) -> RunQuerySet:
        """Only this project's."""
        return self.filter(project=project)

    def unfinished(self) -> RunQuerySet:
        """Queued or active."""
        return self.exclude(status__in=sorted(FINISHED))

    def active(self) -> RunQuerySet:
        """A worker should hold a lease on these."""
        return self.filter(status__in=sorted(ACTIVE))

    def newest_first(self) -> RunQuerySet:
        """By number, which grows with time in a project."""
        return self.order_by("-number")


class Run(models.Model):
    """One execution of a suite on one commit, or one external CI upload of it."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="runs")
    suite = models.ForeignKey(Suite, on_delete=models.CASCADE, related_name="runs")
    number = models.PositiveIntegerField()
    status = models.CharField(max_length=10, default="queued")
    #: Set with status `errored`, and only then: why, as a word and as a sentence for people.
    error_reason = models.CharField(max_length=20, blank=True, default="")
    error_message = models.TextField(blank=True, default="")
    verdict = models.CharField(max_length=4, default="none")
    #: The gates of the suite as they were for this run; see `runs/analytics/gates.py`. Empty without gates.
    gates = models.JSONField(default=dict, db_default=_NO_FACTS, blank=True)
    #: The run that the gates compared this one with.
    verdict_base = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, db_index=False, related_name="+"
    )
    #: What the suite's gates said, each as a sentence; empty without gates.
    verdict_reasons = models.JSONField(default=list, db_default=_NOTHING, blank=True)
    #: Only these test cases, by id, are to be run; all when empty.
    selection = models.JSONField(default=list, db_default=_NOTHING, blank=True)
    #: How it is in the counts by day: as one of the default branch, as another; null while it is not.
    counted_on_default = models.BooleanField(null=True, blank=True, editable=False)

    trigger = models.CharField(max_length=12)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    #: What was asked for: a branch, a tag or a commit; resolved to `commit` at checkout.
    ref = models.CharField(max_length=250, blank=True, default="")
    branch = models.CharField(max_length=250, blank=True, default="")
    commit = models.CharField(max_length=64, blank=True, default="")
    commit_message = models.TextField(blank=True, default="")
    commit_author = models.CharField(max_length=250, blank=True, default="")
    pull_request = models.CharField(max_length=60, blank=True, default="")
    ci_url = models.CharField(max_length=2000, blank=True, default="")
    tags = models.JSONField(default=dict, blank=True)
    #: Facts about where it ran: engine, images by service, the CI's own variables.
    environment_facts = models.JSONField(default=dict, blank=True)
    rerun_of = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="reruns"
    )

    #: Uploads that share it are one run.
    run_key = models.CharField(max_length=250, null=True, blank=True)  # noqa: DJ001 - unknown is not empty: many runs have none
    #: How many shards its uploads are to bring; null when no sender said so.
    shards_expected = models.PositiveSmallIntegerField(null=True, blank=True)
    #: How many of them were read.
    shards_received = models.PositiveSmallIntegerField(default=0, db_default=0)
    #: The same request twice is the same run.
    idempotency_key = models.CharField(max_length=250, null=True, blank=True)  # noqa: DJ001 - unknown is not empty

    #: The run's moment, never changed: its results' partition key.
    run_at = models.DateTimeField()
    queued_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    #: From started to finished, or what the report says for an upload.
    duration_ms = models.PositiveBigIntegerField(null=True, blank=True)

    engine = models.CharField(max_length=10, blank=True, default="")
    #: Who works on it, until when, and the count of claims: a stale worker's fence no longer matches.
    lease_owner = models.CharField(max_length=120, blank=True, default="")
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    fence = models.PositiveIntegerField(default=0)
    #: Claims that began work; the environment's fault may be tried once more.
    try_count = models.PositiveSmallIntegerField(default=0)
    #: When the doorbell rang last, so that the sweeper rings again and not too often.
    rung_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)

    #: Somebody wants all of it kept: retention passes it by. When, and who.
    pinned_at = models.DateTimeField(null=True, blank=True)
    pinned_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        db_index=False,
        related_name="+",
    )
    #: Since when its results are gone: their term was over. The counts below stay.
    results_removed_at = models.DateTimeField(null=True, blank=True, editable=False)

    test_count = models.PositiveIntegerField(default=0)
    passed_count = models.PositiveIntegerField(default=0)
    failed_count = models.PositiveIntegerField(default=0)
    errored_count = models.PositiveIntegerField(default=0)
    skipped_count = models.PositiveIntegerField(default=0)
    flaky_count = models.PositiveIntegerField(default=0)

    objects = RunQuerySet.as_manager()

    class Meta:
        """The rules a run keeps and the questions asked of many."""

        constraints = (
            models.UniqueConstraint(
                fields=["project", "number"], name="a_run_number_is_taken_once_in_a_project"
            ),
            models.UniqueConstraint(fields=["suite", "run_key"], name="a_run_key_names_one_run_of_a_suite"),
            models.UniqueConstraint(
                fields=["project", "idempotency_key"], name="an_idempotency_key_names_one_run_of_a_project"
            ),
            models.CheckConstraint(
                condition=Q(
                    status__in=[
                        "queued",
                        "preparing",
                        "running",
                        "ingesting",
                        "passed",
                        "failed",
                        "errored",
                        "cancelled",
                        "timed_out",
                    ]
                ),
                name="a_run_has_a_known_status",
            ),
            models.CheckConstraint(
                condition=Q(status="errored", error_reason__gt="")
                | (~Q(status="errored") & Q(error_reason="")),
                name="an_errored_run_has_a_reason_and_no_other_has",
            ),
            models.CheckConstraint(
                condition=Q(
                    status__in=["passed", "failed", "errored", "cancelled", "timed_out"],
                    finished_at__isnull=False,
                )
                | Q(status__in=["queued", "preparing", "running", "ingesting"], finished_at__isnull=True),
                name="a_run_is_finished_when_it_has_an_end",
            ),
            models.CheckConstraint(
                condition=Q(verdict__in=["pass", "fail", "none"]), name="a_run_has_a_known_verdict"
            ),
            models.CheckConstraint(
                condition=Q(
                    trigger__in=["push", "pull_request", "schedule", "api", "person", "upload", "demo"]
                ),
                name="a_run_has_a_known_trigger",
            ),
        )
        indexes = (
            # The sweeper's and the live pages' question; finished runs are never wanted there.
            models.Index(
                fields=["queued_at"],
                name="unfinished_runs",
                condition=Q(status__in=["queued", "preparing", "running", "ingesting"]),
            ),
            # A suite's strip on one branch, newest first.
            models.Index(fields=["suite", "branch", "-number"], name="runs_of_suite_and_branch"),
            # "Runs of this commit", for reruns, statuses and same-commit evidence.
            models.Index(fields=["project", "commit"], name="runs_of_commit"),
            # The run list filtered by status.
            models.Index(fields=["project", "status", "-number"], name="runs_by_status"),
        )

    def __str__(self) -> str:
        return f"#{self.number}"

    def get_absolute_url(self) -> str:
        """The run's page."""
        return reverse("run", args=[self.project.slug, self.number])

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will come."""
        return RunStatus(self.status) in FINISHED

    @property
    def waited(self) -> timedelta | None:
        """From queued to started; None while it waits."""
        return None if self.started_at is None else self.started_at - self.queued_at


class Shard(models.Model):
    """One parallel slice of a run, in an environment of its own."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="shards")
    number = models.PositiveSmallIntegerField(default=1)
    status = models.CharField(max_length=10, default="queued")
    #: The matrix's values for this shard, empty without a matrix.
    variables = models.JSONField(default=dict, blank=True)
    #: Name of its environment, once there is one.
    environment_name = models.CharField(max_length=60, blank=True, default="")
    exit_code = models.IntegerField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    test_count = models.PositiveIntegerField(default=0)
    failed_count = models.PositiveIntegerField(default=0)

    class Meta:
        """Numbered from one within a run."""

        constraints = (
            models.UniqueConstraint(fields=["run", "number"], name="a_shard_number_is_taken_once_in_a_run"),
            models.CheckConstraint(
                condition=Q(
                    status__in=[
                        "queued",
                        "preparing",
                        "running",
                        "ingesting",
                        "passed",
                        "failed",
                        "errored",
                        "cancelled",
                        "timed_out",
                    ]
                ),
                name="a_shard_has_a_known_status",
            ),
        )

    def __str__(self) -> str:
        return f"shard {self.number}"


class Event(models.Model):
    """One thing that happened in a run, on its timeline."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events")
    #: 0 when it concerns the whole run.
    shard = models.PositiveSmallIntegerField(default=0)
    #: By the engine's clock where the engine knows, else ours.
    at = models.DateTimeField()
    kind = models.CharField(max_length=40)
    service = models.CharField(max_length=250, blank=True, default="")
    message = models.TextField(blank=True, default="")
    data = models.JSONField(default=dict, blank=True)

    class Meta:
        """Read whole and in order, or from the last one seen."""

        indexes = (models.Index(fields=["run", "id"], name="events_of_run_in_order"),)

    def __str__(self) -> str:
        return f"{self.kind} {self.message}"


class LogChunk(models.Model):
    """Some lines of one service's output, each behind the engine's time stamp (RFC 3339, UTC)."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="log_chunks")
    shard = models.PositiveSmallIntegerField(default=1)
    service = models.CharField(max_length=250)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    line_count = models.PositiveIntegerField()
    text = models.TextField()

    class Meta:
        """Followed by id; read by service."""

        indexes = (
            models.Index(fields=["run", "id"], name="log_of_run_in_order"),
            models.Index(fields=["run", "service", "id"], name="log_of_service_in_order"),
        )

    def __str__(self) -> str:
        return f"{self.line_count} lines of {self.service}"


class Artifact(models.Model):
    """A file of a run that is no report."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="artifacts")
    shard = models.PositiveSmallIntegerField(default=1)
    #: Its path in the tests' container.
    path = models.CharField(max_length=1000)
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    content_type = models.CharField(max_length=100, default="application/octet-stream")
    storage_name = models.CharField(max_length=500)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """A path is taken once in a shard."""

        constraints = (
            models.UniqueConstraint(
                fields=["run", "shard", "path"], name="an_artifact_path_is_taken_once_in_a_shard"
            ),
        )

    def __str__(self) -> str:
        return self.path
