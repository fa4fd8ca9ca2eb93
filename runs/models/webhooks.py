"""Webhooks received and sent."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from runs.models.channels import Channel
from runs.models.projects import Project
from runs.models.runs import Run


class Hook(models.Model):
    """An address at which a Git host tells the project what happened."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="hooks")
    provider = models.CharField(max_length=20)
    #: Random; the last part of the address.
    key = models.CharField(max_length=43)
    #: Shared with the Git host. Kept readable: a signature is checked by making it anew.
    secret = models.CharField(max_length=100)
    is_active = models.BooleanField(default=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """A key leads to one hook."""

        constraints = (
            models.UniqueConstraint(fields=["key"], name="a_hook_key_is_unique"),
            models.CheckConstraint(
                condition=Q(provider__in=["github", "gitlab", "gitea", "bitbucket", "generic"]),
                name="a_hook_has_a_known_provider",
            ),
        )

    def __str__(self) -> str:
        return f"{self.provider} hook of {self.project_id}"


class Delivery(models.Model):
    """One webhook received or sent, with what came of it."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="deliveries")
    #: The hook it came in by; None for one that was sent.
    hook = models.ForeignKey(
        Hook, on_delete=models.SET_NULL, null=True, blank=True, related_name="deliveries"
    )
    direction = models.CharField(max_length=8)
    provider = models.CharField(max_length=20)
    #: The sender's own id: a replay carries the same one.
    key = models.CharField(max_length=250)
    #: Where it is sent; None for one that was received.
    channel = models.ForeignKey(
        Channel, on_delete=models.SET_NULL, null=True, blank=True, related_name="deliveries"
    )
    event = models.CharField(max_length=60, blank=True, default="")
    #: `waiting`: a fork's pull request that a member has to approve.
    status = models.CharField(max_length=8, default="received")
    reason = models.TextField(blank=True, default="")
    payload = models.JSONField(default=dict, blank=True)
    runs = models.ManyToManyField(Run, blank=True, related_name="deliveries")
    created_at = models.DateTimeField(auto_now_add=True)
    handled_at = models.DateTimeField(null=True, blank=True)
    #: When it is to be sent, or sent again; only while it is queued.
    due_at = models.DateTimeField(null=True, blank=True)
    try_count = models.PositiveSmallIntegerField(default=0, db_default=0)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )

    class Meta:
        """A delivery is taken once; the page lists the newest."""

        constraints = (
            models.UniqueConstraint(
                fields=["project", "direction", "provider", "key"], name="a_delivery_is_taken_once"
            ),
            models.CheckConstraint(
                condition=Q(direction__in=["received", "sent"]), name="a_delivery_is_received_or_sent"
            ),
            models.CheckConstraint(
                condition=Q(
                    status__in=[
                        "received",
                        "accepted",
                        "ignored",
                        "refused",
                        "waiting",
                        "queued",
                        "sent",
                        "failed",
                    ]
                ),
                name="a_delivery_has_a_known_status",
            ),
        )
        indexes = (
            models.Index(fields=["project", "-created_at"], name="deliveries_newest_first"),
            # The sweeper rings again for these; handled ones, nearly all, are not in it.
            models.Index(
                fields=["created_at"], name="deliveries_not_yet_handled", condition=Q(status="received")
            ),
            # As the one above, for those that go out.
            models.Index(fields=["due_at"], name="deliveries_to_send", condition=Q(status="queued")),
        )

    def __str__(self) -> str:
        return f"{self.provider} {self.event}"
