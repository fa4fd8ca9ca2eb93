"""How a run's environments came up: one lane per service, on the engine's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import QuerySet

from environments.models import Environment, EnvironmentService
from runs.queries.axis import axis_end, ticks


@dataclass(frozen=True, slots=True)
class Lane:
    """One service's life: (kind, start, end) in seconds since its environment was asked for."""

    service: EnvironmentService
    segments: list[tuple[str, float, float]]
    #: Seconds from asked for to ready; None while it is not.
    ready_after: float | None
    words: str
    is_bad: bool

    @property
    def label(self) -> str:
        """The lane in words."""
        return f"{self.service.name}: {'ready after ' if self.ready_after is not None else ''}{self.words}"


@dataclass(frozen=True, slots=True)
class Boot:
    """One environment's lanes."""

    environment: Environment
    lanes: list[Lane]
    #: Seconds that the lanes span.
    span: float
    ready_after: float | None

    @property
    def ticks(self) -> list[float]:
        """Where the time axis is marked, in seconds."""
        return ticks(self.span)


def boots(run_id: int, now: datetime) -> list[Boot]:
    """The newest environment of each shard, from the moment it is asked for: two queries."""
    found = environments_of_run(run_id).prefetch_related("services")
    return [_boot(environment, now) for environment in found]


def environments_of_run(run_id: int) -> QuerySet[Environment]:
    """The newest environment of each shard. An environment knows its run as an opaque owner."""
    tries = Environment.objects.filter(instance=settings.INSTANCE, owner=f"run:{run_id}")
    return tries.order_by("shard", "-fence").distinct("shard")


def _boot(environment: Environment, now: datetime) -> Boot:
    start = environment.created_at
    services = sorted(environment.services.all(), key=lambda each: (each.position, each.name))
    until = (environment.ready_at or environment.removed_at or now) if services else now
    # The picture is of the boot: a tenth of it after everything was ready shows that it held.
    span = axis_end(max((until - start).total_seconds() * 1.1, 0.5))
    return Boot(
        environment=environment,
        lanes=[_lane(service, start, min(span, (now - start).total_seconds())) for service in services],
        span=span,
        ready_after=_seconds(environment.ready_at, start),
    )


def _lane(service: EnvironmentService, start: datetime, span: float) -> Lane:
    """`span`: seconds after the start at which the picture, or the present, ends."""
    created, started, ready, finished = (
        _seconds(moment, start)
        for moment in (service.created_at, service.started_at, service.ready_at, service.finished_at)
    )
    end = min(span, finished) if finished is not None else span
    segments: list[tuple[str, float, float]] = []
    if created is not None:
        segments.append(("pull", 0, min(created, span)))
        segments.append(("wait", created, min(started if started is not None else end, span)))
    if started is not None and service.is_tests:
        segments.append(("tests", started, end))
    elif started is not None:
        segments.append(("start", started, min(ready if ready is not None else end, span)))
    if ready is not None and not service.is_tests:
        segments.append(("up", ready, end))
    is_bad = _went_wrong(service)
    if is_bad:
        at = end if finished is not None else span
        segments.append(("bad", max(at - span * 0.01, 0), at))
    return Lane(
        service=service,
        segments=[(kind, a, b) for kind, a, b in segments if b > a],
        ready_after=ready,
        words=_words(service, ready),
        is_bad=is_bad,
    )


def _went_wrong(service: EnvironmentService) -> bool:
    # Services are stopped by a signal when the run is over, and tests may fail: neither is their fault.
    died = service.ready_at is None and service.exit_code not in {None, 0} and not service.is_tests
    return service.out_of_memory or service.health == "unhealthy" or died


def _words(service: EnvironmentService, ready: float | None) -> str:
    if service.out_of_memory:
        return "out of memory"
    if service.is_tests and service.started_at is not None:
        return "tests" if service.exit_code is None else f"exited with {service.exit_code}"
    return f"{ready:.1f} s" if ready is not None else _words_before_ready(service)


def _words_before_ready(service: EnvironmentService) -> str:
    if service.health == "unhealthy":
        return "unhealthy"
    if service.exit_code is not None:
        return f"exited with {service.exit_code}"
    if service.started_at is not None:
        return "starting"
    return "waiting" if service.created_at is not None else "not created"


def _seconds(moment: datetime | None, start: datetime) -> float | None:
    # The engine's clock may be a little behind ours: nothing happens before it was asked for.
    return None if moment is None else max(0.0, (moment - start).total_seconds())
