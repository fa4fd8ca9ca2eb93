"""Where a project's news go: commit statuses to its Git host, messages to people and machines."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from runs.models.projects import Project


class Channel(models.Model):
    """One receiver of a project's news."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="channels")
    #: `github`, `gitlab`, `gitea`: commit statuses; `slack`, `email`, `webhook`: messages, on change only.
    kind = models.CharField(max_length=10)
    #: The Git host's API, the address that is posted to, or e-mail addresses with commas between them.
    address = models.CharField(max_length=2000)
    #: The repository at the Git host, as `owner/name`.
    repository = models.CharField(max_length=250, blank=True, default="")
    #: The Git host's token, or what a webhook is signed with. Kept readable: it has to be sent.
    secret = models.CharField(max_length=1000, blank=True, default="")
    #: Only news of these branches, `*` for any characters; of all when empty.
    branches = ArrayField(models.CharField(max_length=250), default=list, blank=True)
    is_active = models.BooleanField(default=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """A commit status needs a repository."""

        constraints = (
            models.CheckConstraint(
                condition=Q(kind__in=["github", "gitlab", "gitea"], repository__gt="")
                | Q(kind__in=["slack", "email", "webhook"]),
                name="a_channel_has_a_known_kind_and_what_it_needs",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} channel of {self.project_id}"
