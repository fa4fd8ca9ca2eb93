"""Environments that failed and are held for a person: until when, at what cost, and how to get inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from environments.engine import ServiceStatus
from environments.models import Environment, EnvironmentService
from runs.models import Project, Run
from runs.queries.environment_usage import UsageView
from runs.queries.environments import run_id_of

_LIMIT = 100


def share_of(project_id: int) -> str:
    """Whose share of the held environments a project's are."""
    return f"project:{project_id}"


def latest_end(environment: Environment) -> datetime:
    """Until when a held environment may be held at the longest."""
    began = environment.held_at or environment.created_at
    return min(began + timedelta(seconds=settings.HELD_LONGEST_SECONDS), environment.expires_at)


@dataclass(frozen=True, slots=True)
class HeldService:
    """One service that stays, and what it held when it was measured last."""

    service: EnvironmentService
    memory_bytes: int | None
    measured_at: datetime | None

    @property
    def is_running(self) -> bool:
        """It costs something, and can be entered."""
        return self.service.status in {ServiceStatus.RUNNING, ServiceStatus.PAUSED, ServiceStatus.RESTARTING}


@dataclass(frozen=True, slots=True)
class Cost:
    """What running services held when last measured, and what they may use. None where that is not known,
    or not bounded."""

    running_count: int
    memory_bytes: int | None
    measured_at: datetime | None
    memory_limit_bytes: int | None
    cpu_limit: float | None


@dataclass(frozen=True, slots=True)
class Held:
    """One held environment for its page."""

    environment: Environment
    now: datetime
    services: list[HeldService]

    @property
    def can_be_longer(self) -> bool:
        """Whether a person may have it held for longer still."""
        until = self.environment.held_until
        return until is not None and until < latest_end(self.environment)

    @property
    def cost(self) -> Cost:
        """All of its services together."""
        running = [each for each in self.services if each.is_running]
        measured = [each for each in running if each.memory_bytes is not None]
        moments = [each.measured_at for each in measured if each.measured_at is not None]
        return Cost(
            running_count=len(running),
            memory_bytes=sum(each.memory_bytes or 0 for each in measured) if measured else None,
            measured_at=max(moments, default=None),
            memory_limit_bytes=_sum([each.service.memory_limit_bytes for each in running]),
            cpu_limit=_sum([each.service.cpu_limit for each in running]),
        )


def held_view(
    environment: Environment, services: Sequence[EnvironmentService], usage: UsageView, now: datetime
) -> Held:
    """Put together what the page has read already."""
    last = {
        line.service.pk: (line.last_bytes, environment.created_at + timedelta(seconds=line.last_at))
        for line in usage.lines
    }
    entered = [service for service in services if service.commands is not None]
    return Held(
        environment=environment,
        now=now,
        services=[
            HeldService(service, *(last.get(service.pk) or (None, None)))
            # Those that go on first, the tests' last: it is inside them that people look.
            for service in sorted(entered, key=lambda one: (one.is_tests, one.position, one.name))
        ],
    )


@dataclass(frozen=True, slots=True)
class HeldRow:
    """One held environment of a project's list."""

    environment: Environment
    run: Run
    memory_limit_bytes: int | None
    running_count: int


def held_environments(project: Project, *, now: datetime) -> list[HeldRow]:
    """Those whose time ends first, first: one query where there is none, else three."""
    kept = Environment.objects.kept(now).filter(instance=settings.INSTANCE, held_for=share_of(project.pk))
    found = list(kept.prefetch_related("services").order_by("held_until", "pk")[:_LIMIT])
    if not found:
        return []
    ids = {run_id for each in found if (run_id := run_id_of(each.owner)) is not None}
    runs = Run.objects.for_project(project).select_related("suite").in_bulk(ids)
    rows = []
    for each in found:
        run = runs.get(run_id_of(each.owner) or 0)
        if run is not None:
            running = [one for one in each.services.all() if HeldService(one, None, None).is_running]
            limit = _sum([one.memory_limit_bytes for one in running])
            rows.append(HeldRow(each, run, limit, len(running)))
    return rows


def held_words(run: Run, *, now: datetime) -> str:
    """A sentence for messages about the run; empty when nothing of it is held. One query."""
    kept = Environment.objects.kept(now).of_owner(f"run:{run.pk}").filter(instance=settings.INSTANCE)
    ends = sorted(end for end in kept.values_list("held_until", flat=True) if end is not None)
    if not ends:
        return ""
    what = "Its environment is" if len(ends) == 1 else f"{len(ends)} of its environments are"
    return f"{what} held until {ends[-1]:%H:%M} UTC for a look."


def _sum[Number: (int, float)](values: Sequence[Number | None]) -> Number | None:
    """None as soon as one is not bounded: neither is the sum then."""
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known and len(known) == len(values) else None
