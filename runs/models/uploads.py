"""What was sent or collected, kept as it came: nothing is lost, whatever could be read of it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from runs.models.projects import Project
from runs.models.runs import Run

STATUSES = ["received", "stored", "partial", "rejected"]


class Upload(models.Model):
    """One call of the upload endpoint."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="uploads")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="uploads")
    shard = models.PositiveSmallIntegerField(default=1)
    status = models.CharField(max_length=8, default="received")
    idempotency_key = models.CharField(max_length=250, null=True, blank=True)  # noqa: DJ001 - unknown is not empty
    #: SHA-256 over fields and files: the same key with other content is refused.
    content_digest = models.CharField(max_length=64)
    #: The form's fields as sent.
    fields = models.JSONField(default=dict, blank=True)
    #: Everything that could not be taken, each with file, line and reason.
    problems = models.JSONField(default=list, blank=True)
    received_at = models.DateTimeField(auto_now_add=True)
    stored_at = models.DateTimeField(null=True, blank=True)
    try_count = models.PositiveSmallIntegerField(default=0)

    class Meta:
        """Found again by key; the unfinished ones by the sweeper."""

        constraints = (
            models.UniqueConstraint(
                fields=["project", "idempotency_key"], name="an_idempotency_key_names_one_upload_of_a_project"
            ),
            models.CheckConstraint(condition=Q(status__in=STATUSES), name="an_upload_has_a_known_status"),
        )
        indexes = (
            models.Index(
                fields=["received_at"], name="uploads_not_yet_stored", condition=Q(status="received")
            ),
            # The project's list, newest first, and the part of it where something was not taken.
            models.Index(fields=["project", "-id"], name="uploads_newest_first"),
            models.Index(
                fields=["project", "-id"],
                name="uploads_with_losses",
                condition=Q(status__in=["partial", "rejected"]),
            ),
        )

    def __str__(self) -> str:
        return f"upload {self.pk}"


class Report(models.Model):
    """One result file, uploaded or collected."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="reports")
    #: None when itdash collected it itself.
    upload = models.ForeignKey(
        Upload, on_delete=models.CASCADE, null=True, blank=True, related_name="reports"
    )
    shard = models.PositiveSmallIntegerField(default=1)
    name = models.CharField(max_length=1000)
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    storage_name = models.CharField(max_length=500)
    status = models.CharField(max_length=8, default="received")
    #: Test cases and attempts found in it.
    case_count = models.PositiveIntegerField(default=0)
    problems = models.JSONField(default=list, blank=True)
    #: What it tells of suites, compressed; see `runs/ingestion/details.py`. Null where it tells nothing.
    suite_properties = models.BinaryField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """The same content is taken once in a shard of a run."""

        constraints = (
            models.UniqueConstraint(
                fields=["run", "shard", "name", "sha256"], name="a_report_is_taken_once_in_a_shard"
            ),
            models.CheckConstraint(condition=Q(status__in=STATUSES), name="a_report_has_a_known_status"),
        )

    def __str__(self) -> str:
        return self.name
