"""People: who signs in, and what they may do in a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.crypto import salted_hmac

from runs.vocabulary import Role

if TYPE_CHECKING:
    from runs.models.projects import Project


class User(AbstractUser):
    """Someone who signs in."""

    #: Single-key shortcuts can be turned off (WCAG 2.1.4).
    has_shortcuts = models.BooleanField(default=True)
    #: Raised to end every session of this person: a session holds a digest of it, with the password's.
    session_generation = models.PositiveIntegerField(default=0, db_default=0)

    class Meta(AbstractUser.Meta):
        """Named like the table it has."""

        db_table = "runs_user"

    @property
    def display_name(self) -> str:
        """The full name, or the sign-in name when none is known."""
        return self.get_full_name() or self.username

    def _get_session_auth_hash(self, secret: str | bytes | None = None) -> str:
        """What a session has to know: another password or another generation ends it."""
        known = f"{self.password}:{self.session_generation}"
        return salted_hmac("runs.models.User.session", known, secret=secret, algorithm="sha256").hexdigest()


class FailedSignIn(models.Model):
    """A password or a token that was wrong: enough of them, and whoever tries has to wait."""

    #: Digest of what is counted: an account, an address, or both.
    subject = models.BinaryField(max_length=32)
    failed_at = models.DateTimeField()

    class Meta:
        """The recent ones of a subject are counted; old ones are removed."""

        indexes = (
            models.Index(fields=["subject", "failed_at"], name="failed_sign_ins_of_a_subject"),
            models.Index(fields=["failed_at"], name="failed_sign_ins_by_age"),
        )

    def __str__(self) -> str:
        return f"failed at {self.failed_at}"


class Membership(models.Model):
    """A person's role in a project."""

    project: models.ForeignKey[Project, Project] = models.ForeignKey(
        "runs.Project", on_delete=models.CASCADE, related_name="memberships"
    )
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """One role per person and project."""

        constraints = (
            models.UniqueConstraint(fields=["project", "user"], name="a_member_has_one_role_in_a_project"),
            models.CheckConstraint(
                condition=models.Q(role__in=["viewer", "member", "admin"]),
                name="a_membership_has_a_known_role",
            ),
        )

    def __str__(self) -> str:
        return f"{self.user} as {Role(self.role)}"


class Invitation(models.Model):
    """A link that makes whoever opens it a member, once. Only a digest of it is kept."""

    project: models.ForeignKey[Project, Project] = models.ForeignKey(
        "runs.Project", on_delete=models.CASCADE, related_name="invitations"
    )
    role = models.CharField(max_length=10)
    #: Whom it is meant for, as a reminder; the link works for whoever has it.
    email = models.CharField(max_length=254, blank=True, default="")
    #: SHA-256 of the link's secret.
    digest = models.BinaryField(max_length=32)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """A digest leads to one invitation."""

        constraints = (
            models.UniqueConstraint(fields=["digest"], name="an_invitation_digest_is_unique"),
            models.CheckConstraint(
                condition=models.Q(role__in=["viewer", "member", "admin"]),
                name="an_invitation_has_a_known_role",
            ),
        )

    def __str__(self) -> str:
        return f"invitation as {Role(self.role)}"
