"""Teams, projects and their tokens."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


class Team(models.Model):
    """The people who own projects."""

    slug = models.SlugField(max_length=60)
    name = models.CharField(max_length=120)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """A team's address is its own."""

        constraints = (models.UniqueConstraint(fields=["slug"], name="a_team_slug_is_taken_once"),)

    def __str__(self) -> str:
        return self.name


class Project(models.Model):
    """What is tested: owns suites, runs, tokens and schedules."""

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="projects")
    slug = models.SlugField(max_length=60)
    name = models.CharField(max_length=120)
    visibility = models.CharField(max_length=10, default="private")
    #: A local path or an https/ssh remote; empty for projects that are only fed by uploads.
    repository_url = models.CharField(max_length=1000, blank=True, default="")
    default_branch = models.CharField(max_length=250, default="main")
    #: Given to Compose interpolation and to services that pass a variable through. Never the worker's own.
    variables = models.JSONField(default=dict, blank=True)
    #: Local services are plain processes of this machine: only for code that is trusted.
    allow_local_engine = models.BooleanField(default=False)
    #: What its environments may ask of the engine's host beyond what everyone has: `environments.grants`.
    policy_grants = ArrayField(models.TextField(), default=list, db_default=[], blank=True)
    #: What differs from the usual quota of an environment: `services`, `memory_bytes`, `cpus`.
    policy_quota = models.JSONField(
        default=dict, db_default=models.Value({}, output_field=models.JSONField()), blank=True
    )
    #: Tests that moved to another class or file and changed nothing else are joined without asking.
    confirms_moves = models.BooleanField(default=False, db_default=False)
    is_sample = models.BooleanField(default=False)
    #: The number the next run gets; read and raised under this row's lock.
    next_run_number = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """A project's address is its own."""

        constraints = (
            models.UniqueConstraint(fields=["slug"], name="a_project_slug_is_taken_once"),
            models.CheckConstraint(
                condition=models.Q(visibility__in=["private", "public"]),
                name="a_project_is_private_or_public",
            ),
        )

    def __str__(self) -> str:
        return self.name


class TokenQuerySet(models.QuerySet["Token"]):
    """Tokens as questions are asked of them."""

    def usable(self) -> TokenQuerySet:
        """Neither revoked nor past their time, by the database's clock."""
        return self.filter(revoked_at=None).filter(models.Q(expires_at=None) | models.Q(expires_at__gt=Now()))


class Token(models.Model):
    """A machine's right to act in one project. Only a digest is kept; the secret is shown once."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=120)
    #: The first characters of the secret, to recognise it by.
    prefix = models.CharField(max_length=16)
    #: SHA-256 of the secret: it is long and random, so a slow hash would add nothing.
    digest = models.BinaryField(max_length=32)
    scopes = ArrayField(models.CharField(max_length=10))
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = TokenQuerySet.as_manager()

    class Meta:
        """A digest leads to one token; every scope is a known one."""

        constraints = (
            models.UniqueConstraint(fields=["digest"], name="a_token_digest_is_unique"),
            models.CheckConstraint(
                condition=models.Q(scopes__contained_by=["upload", "trigger", "read", "manage"]),
                name="a_token_has_known_scopes",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def is_expired(self, now: datetime) -> bool:
        """Whether its time has passed."""
        return self.expires_at is not None and self.expires_at <= now
