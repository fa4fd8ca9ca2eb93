"""Environments and their services as rows: written before anything exists, kept after it is gone."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from environments.engine import Health, ServiceStatus
from environments.errors import FailureKind
from environments.labels import EnvironmentRef


class EnvironmentState(StrEnum):
    """Where an environment is in its life."""

    CREATING = "creating"
    READY = "ready"
    #: It failed and is kept for a person to look at: nobody works on it, its lease ends by itself.
    HELD = "held"
    REMOVING = "removing"
    REMOVED = "removed"


#: Somebody holds a lease on an environment in one of these.
LIVE = frozenset(set(EnvironmentState) - {EnvironmentState.REMOVED})


class EnvironmentQuerySet(models.QuerySet["Environment"]):
    """Filters used by the lifecycle and the reaper."""

    def live(self) -> Self:
        """Not removed, as far as the database knows."""
        return self.exclude(state=EnvironmentState.REMOVED)

    def held(self, now: datetime) -> Self:
        """Live, leased and not past its end: nobody but its owner may touch it."""
        return self.live().filter(lease_expires_at__gt=now, expires_at__gt=now)

    def kept(self, now: datetime) -> Self:
        """Failed, and held for a person to look at."""
        return self.filter(state=EnvironmentState.HELD, held_until__gt=now)

    def of_owner(self, owner: str) -> Self:
        """Every try of one owner."""
        return self.filter(owner=owner)


class Environment(models.Model):
    """One isolated set of services for one shard of one try of an owner."""

    name = models.CharField(max_length=63, unique=True)
    instance = models.CharField(max_length=63)
    #: Opaque to this package, for example ``run:17/shard:1``.
    owner = models.CharField(max_length=200)
    shard = models.PositiveIntegerField(default=1)
    #: Which try of the owner's shard it is, from 1; an older one may always be removed.
    fence = models.PositiveIntegerField()
    engine = models.CharField(max_length=20)
    state = models.CharField(
        max_length=10,
        choices=[(state.value, state.value) for state in EnvironmentState],
        default=EnvironmentState.CREATING.value,
    )
    #: Why it could not be brought up or broke; both empty while all is well.
    failure_kind = models.CharField(
        max_length=20, blank=True, choices=[(kind.value, kind.value) for kind in FailureKind]
    )
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())
    #: Everything that the tests depend on was ready.
    ready_at = models.DateTimeField(null=True)
    removed_at = models.DateTimeField(null=True)
    #: Renewed by the process that holds it; once passed, the reaper removes the environment.
    lease_expires_at = models.DateTimeField()
    #: The end in any case, also written on every object's label.
    expires_at = models.DateTimeField()
    #: Since when, until when and why it is or was held for a person; the lease is as long then.
    held_at = models.DateTimeField(null=True)
    held_until = models.DateTimeField(null=True)
    held_because = models.TextField(blank=True, db_default="")
    #: Opaque, whose share of held environments it takes: for example ``project:3``.
    held_for = models.CharField(max_length=200, blank=True, db_default="")

    objects = EnvironmentQuerySet.as_manager()

    class Meta:
        """A try is one row; the few that are not removed have an index of their own."""

        constraints = [  # noqa: RUF012 - Django's form
            models.UniqueConstraint(
                fields=["instance", "owner", "shard", "fence"], name="environment_try_is_unique"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["creating", "ready", "held", "removing", "removed"]),
                name="environment_state_is_known",
            ),
            models.CheckConstraint(
                condition=Q(state="removed", removed_at__isnull=False)
                | (~Q(state="removed") & Q(removed_at__isnull=True)),
                name="environment_is_removed_at_a_moment",
            ),
            models.CheckConstraint(
                condition=~Q(state="ready") | Q(ready_at__isnull=False),
                name="environment_ready_has_a_moment",
            ),
            models.CheckConstraint(
                condition=Q(fence__gte=1) & Q(shard__gte=1), name="environment_counts_from_one"
            ),
            models.CheckConstraint(
                condition=Q(held_at__isnull=True, held_until__isnull=True) & ~Q(state="held")
                | Q(held_at__isnull=False, held_until__isnull=False),
                name="environment_is_held_from_and_until",
            ),
            models.CheckConstraint(
                condition=Q(held_until__isnull=True) | Q(held_until__lte=F("expires_at")),
                name="environment_is_not_held_past_its_end",
            ),
        ]
        indexes = [  # noqa: RUF012 - Django's form
            # The reaper asks every few seconds for the few that are not removed, never for the history.
            models.Index(
                fields=["instance", "engine"], name="environment_live", condition=~Q(state="removed")
            ),
            # The sweeper asks for those whose time was up a while ago, to say so on their runs' timelines.
            models.Index(
                fields=["held_until"], name="environment_held", condition=Q(held_until__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def ref(self) -> EnvironmentRef:
        """What the engine needs to know of it."""
        return EnvironmentRef(
            name=self.name,
            instance=self.instance,
            owner=self.owner,
            fence=self.fence,
            expires=int(self.expires_at.timestamp()),
        )

    @property
    def boot_time(self) -> timedelta | None:
        """From the row to readiness; None when it was never ready."""
        return None if self.ready_at is None else self.ready_at - self.created_at


class EnvironmentService(models.Model):
    """One service of an environment as last seen. Moments are the engine's, not ours."""

    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="services")
    name = models.CharField(max_length=255)
    #: Where it stands in the order of starting, from 0; ties start together.
    position = models.PositiveSmallIntegerField(default=0)
    #: It is the service whose exit ends the run.
    is_tests = models.BooleanField(default=False)
    image = models.TextField(blank=True)
    image_digest = models.TextField(blank=True)
    status = models.CharField(
        max_length=10,
        choices=[(status.value, status.value) for status in ServiceStatus],
        default=ServiceStatus.GONE.value,
    )
    health = models.CharField(
        max_length=10, choices=[(health.value, health.value) for health in Health], default=Health.NONE.value
    )
    exit_code = models.IntegerField(null=True)
    out_of_memory = models.BooleanField(default=False)
    restart_count = models.PositiveIntegerField(default=0)
    #: Its published ports (``8080/tcp``) → where they are, or were, reached on the engine's host.
    published = models.JSONField(default=dict, db_default={}, blank=True)
    created_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    #: Healthy, or started where nothing more was asked, or completed where that was asked.
    ready_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    #: What it may use, and how a person gets inside it; known of one that is or was held.
    memory_limit_bytes = models.BigIntegerField(null=True)
    cpu_limit = models.FloatField(null=True)
    addresses = models.JSONField(null=True)
    #: Pairs of what a command does and the command.
    commands = models.JSONField(null=True)

    class Meta:
        """One row per service of an environment."""

        constraints = [  # noqa: RUF012 - Django's form
            models.UniqueConstraint(
                fields=["environment", "name"], name="environment_service_name_is_unique"
            ),
            models.CheckConstraint(
                condition=Q(status__in=["created", "running", "paused", "restarting", "exited", "gone"]),
                name="environment_service_status_is_known",
            ),
            models.CheckConstraint(
                condition=Q(health__in=["none", "starting", "healthy", "unhealthy"]),
                name="environment_service_health_is_known",
            ),
            models.CheckConstraint(
                condition=Q(finished_at__isnull=True)
                | Q(started_at__isnull=True)
                | Q(finished_at__gte=F("started_at")),
                name="environment_service_finishes_after_it_starts",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ServiceUsage(models.Model):
    """What a service used during some seconds: samples in step, one entry of each list per sample.

    Written once and never changed, so that an hour of a service is a few hundred small rows.
    """

    #: Its own index would be the beginning of the one below.
    service = models.ForeignKey(
        EnvironmentService, on_delete=models.CASCADE, related_name="usage", db_index=False
    )
    #: When the first sample was taken, by the engine's clock.
    began_at = models.DateTimeField()
    #: When each sample was taken, in milliseconds after `began_at`.
    offsets_ms = ArrayField(models.IntegerField())
    memory_kib = ArrayField(models.IntegerField())
    #: Thousandths of a processor since the sample before; null where there was none to compare with.
    cpu_millis = ArrayField(models.IntegerField(null=True))
    #: Milliseconds throttled since the sample before; null where that is not known.
    throttled_ms = ArrayField(models.IntegerField(null=True))
    #: What it may hold; null where nothing but the machine bounds it.
    memory_limit_bytes = models.BigIntegerField(null=True)

    class Meta:
        """A service's samples, oldest first, are one index range."""

        indexes = [  # noqa: RUF012 - Django's form
            models.Index(fields=["service", "began_at"], name="service_usage_in_order"),
        ]

    def __str__(self) -> str:
        return f"{self.service_id} from {self.began_at}"
