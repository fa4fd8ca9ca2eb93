"""Who changed what, and when: kept after the person, the token and the thing are gone."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from runs.models.projects import Project, Token


class AuditEntry(models.Model):
    """One change that somebody made."""

    #: Null for what concerns the installation.
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, null=True, blank=True, db_index=False, related_name="audit_entries"
    )
    at = models.DateTimeField(auto_now_add=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    token = models.ForeignKey(Token, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    #: As the person or the token was called then; empty when itdash itself did it.
    actor = models.CharField(max_length=250, blank=True, default="")
    #: A verb and a noun, for example `token.revoked`.
    action = models.CharField(max_length=60)
    #: What it was done to, in words.
    subject = models.CharField(max_length=500, blank=True, default="")
    #: Values before and after, never a secret.
    data = models.JSONField(default=dict, blank=True)

    class Meta:
        """Read newest first."""

        indexes = (models.Index(fields=["project", "-id"], name="audit_newest_first"),)

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"
