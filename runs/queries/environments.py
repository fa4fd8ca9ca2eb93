"""The environments of a project, newest first, and how each stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.conf import settings
from django.db.models import CharField, Exists, OuterRef, Value
from django.db.models.functions import Cast, Concat

from environments.engine import Health
from environments.models import Environment, EnvironmentService, EnvironmentState
from runs.models import Project, Run

RUNS_PER_PAGE = 30
_OWNER = re.compile(r"run:(\d{1,18})", re.ASCII)


class Standing(StrEnum):
    """How an environment stands, in the words of its page."""

    COMING = "coming"
    UP = "up"
    #: It failed and is held for a person to look at.
    HELD = "held"
    GOING = "going"
    #: Nobody holds it any more and it is not removed: the reaper's next work.
    ABANDONED = "abandoned"
    #: Gone, and it never was ready, or it broke.
    FAILED = "failed"
    GONE = "gone"


def standing(environment: Environment, now: datetime) -> Standing:
    """Where an environment stands, judged by its row."""
    if environment.state == EnvironmentState.REMOVED:
        return Standing.FAILED if environment.failure_kind else Standing.GONE
    if environment.lease_expires_at <= now:
        return Standing.ABANDONED
    return {
        EnvironmentState.CREATING: Standing.COMING,
        EnvironmentState.READY: Standing.UP,
        EnvironmentState.HELD: Standing.HELD,
    }.get(EnvironmentState(environment.state), Standing.GOING)


def run_id_of(owner: str) -> int | None:
    """The run that an owner stands for; None for any other owner."""
    found = _OWNER.fullmatch(owner)
    return int(found[1]) if found else None


def is_newest_try(environment: Environment) -> bool:
    """Whether no later try of the same shard has taken its place: one query."""
    later = Environment.objects.of_owner(environment.owner).filter(
        instance=environment.instance, shard=environment.shard, fence__gt=environment.fence
    )
    return not later.exists()


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """One environment of the list."""

    environment: Environment
    run: Run
    standing: Standing
    service_count: int
    #: Names of services that ran out of memory, died or were unhealthy, by their rows.
    troubled: list[str]

    @property
    def lived_ms(self) -> float | None:
        """Milliseconds from asked for to removed; None while it lives."""
        gone = self.environment.removed_at
        return None if gone is None else (gone - self.environment.created_at).total_seconds() * 1000


@dataclass(frozen=True, slots=True)
class EnvironmentList:
    """Environments by run, newest first, and the number before which the next page begins."""

    rows: list[EnvironmentRow]
    before: int | None
    is_first: bool

    @property
    def live(self) -> list[EnvironmentRow]:
        """Those that still exist."""
        gone = {Standing.GONE, Standing.FAILED}
        return [row for row in self.rows if row.standing not in gone]

    @property
    def abandoned(self) -> list[EnvironmentRow]:
        """Those that wait for the reaper."""
        return [row for row in self.rows if row.standing is Standing.ABANDONED]

    @property
    def failed(self) -> list[EnvironmentRow]:
        """Those that could not be brought up, or broke."""
        return [row for row in self.rows if row.environment.failure_kind]


def environment_list(project: Project, *, now: datetime, before: str = "") -> EnvironmentList:
    """The environments of the newest runs that had any: three queries."""
    owner = Concat(Value("run:"), Cast(OuterRef("pk"), CharField()))
    theirs = Environment.objects.filter(instance=settings.INSTANCE, owner=owner)
    found = Run.objects.for_project(project).filter(Exists(theirs)).select_related("suite").newest_first()
    is_later = before.isascii() and before.isdigit() and len(before) < 10  # noqa: PLR2004 - an integer
    runs = list((found.filter(number__lt=int(before)) if is_later else found)[: RUNS_PER_PAGE + 1])
    shown = {run.pk: run for run in runs[:RUNS_PER_PAGE]}
    environments = (
        Environment.objects.filter(instance=settings.INSTANCE, owner__in=[f"run:{pk}" for pk in shown])
        .prefetch_related("services")
        .order_by("-pk")
    )
    rows = [_row(each, shown[run_id_of(each.owner) or 0], now) for each in environments]
    rows.sort(key=lambda row: -row.run.number)  # stable: the newest try of a run first
    last = runs[RUNS_PER_PAGE - 1].number if len(runs) > RUNS_PER_PAGE else None
    return EnvironmentList(rows=rows, before=last, is_first=not is_later)


def _row(environment: Environment, run: Run, now: datetime) -> EnvironmentRow:
    services = sorted(environment.services.all(), key=lambda each: (each.position, each.name))
    return EnvironmentRow(
        environment=environment,
        run=run,
        standing=standing(environment, now),
        service_count=len(services),
        troubled=[service.name for service in services if went_wrong(service)],
    )


def went_wrong(service: EnvironmentService) -> bool:
    """Whether a service's row speaks of trouble. Tests may fail, and all are stopped at the end."""
    died = service.ready_at is None and service.exit_code not in {None, 0}
    is_bad = service.out_of_memory or service.health == Health.UNHEALTHY or service.restart_count or died
    return bool(is_bad) and not service.is_tests
