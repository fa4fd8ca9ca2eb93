"""Webhooks received and sent."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from runs.models.projects import Project
from runs.models.runs import Run


class Delivery(models.Model):
    """One webhook received or sent, with what came of it."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="deliveries")
    direction = models.CharField(max_length=8)
    provider = models.CharField(max_length=20)
    #: The sender's own id: a replay carries the same one.
    key = models.CharField(max_length=250)
    event = models.CharField(max_length=60, blank=True, default="")
    status = models.CharField(max_length=8, default="received")
    reason = models.TextField(blank=True, default="")
    payload = models.JSONField(default=dict, blank=True)
    runs = models.ManyToManyField(Run, blank=True, related_name="deliveries")
    created_at = models.DateTimeField(auto_now_add=True)

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
                condition=Q(status__in=["received", "accepted", "ignored", "refused", "sent", "failed"]),
                name="a_delivery_has_a_known_status",
            ),
        )
        indexes = (models.Index(fields=["project", "-created_at"], name="deliveries_newest_first"),)

    def __str__(self) -> str:
        return f"{self.provider} {self.event}"
