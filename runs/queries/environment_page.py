"""One environment: its services' lives on one clock, the faults made on purpose, and what to say of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from environments.engine import Health
from environments.models import Environment, EnvironmentService
from runs.analytics.lifelines import (
    Fault,
    Kind,
    Life,
    Mark,
    Sighting,
    Trouble,
    TroubleKind,
    Window,
    is_named,
    life,
    overlaps,
    windows,
)
from runs.models import Event, Result, Run
from runs.queries.axis import axis_end, ticks
from runs.queries.environment_usage import UsageView, environment_usage
from runs.queries.environments import Standing, standing, went_wrong
from runs.queries.held import Held, held_view
from runs.queries.log import LogSpan, LogView, log_view
from runs.queries.progress import MARK
from runs.vocabulary import FAILING

EVENT_LIMIT = 2_000
MARK_LIMIT = 10_000
FAILURE_LIMIT = 500
SERVICE_LIMIT = 100
#: The engine's clock and ours may differ by this much.
CLOCK_SLACK = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One service: its row as last seen, and its life."""

    service: EnvironmentService
    life: Life
    #: Code of its health, as `environment_health` of the templates knows it.
    state: str
    boot_seconds: float | None
    is_bad: bool


@dataclass(frozen=True, slots=True)
class Lane:
    """A line of the timeline."""

    name: str
    segments: Sequence[tuple[str, float, float]]
    label: str


@dataclass(frozen=True, slots=True)
class FaultView:
    """A fault with the moments of the clock, and how many failing tests ran while it was on."""

    fault: Fault
    since: datetime
    until: datetime | None
    #: None where it is not known when the failing tests ran.
    failing_count: int | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What to say of a service that was not well."""

    service: str
    kind: TroubleKind
    exit_code: int | None
    since: datetime | None
    until: datetime | None
    #: Whether it is known that it did not come back.
    is_over: bool


@dataclass(frozen=True, slots=True)
class EnvironmentPage:
    """One environment."""

    environment: Environment
    run: Run
    now: datetime
    standing: Standing
    services: list[ServiceView]
    lanes: list[Lane]
    #: Seconds that the timeline spans, and where now is on it; None once it is gone.
    span: float
    at: float | None
    faults: list[FaultView]
    findings: list[Finding]
    failing: list[Window]
    usage: UsageView
    #: None unless it is held for a person.
    held: Held | None
    log: LogView | None

    @property
    def is_live(self) -> bool:
        """Whether it may still change."""
        return self.environment.removed_at is None

    @property
    def axis(self) -> list[datetime]:
        """The moments at the timeline's marks."""
        return [self.environment.created_at + timedelta(seconds=tick) for tick in ticks(self.span)]

    @property
    def subjects(self) -> list[ServiceView]:
        """The services under test: all but the tests' own."""
        return [each for each in self.services if not each.service.is_tests]

    @property
    def has_digests(self) -> bool:
        """Whether the engine knows images by their content; the local one has none."""
        return any("sha256:" in each.service.image_digest for each in self.services)

    @property
    def ready(self) -> list[ServiceView]:
        """Those that came up."""
        return [each for each in self.subjects if each.life.ready_at is not None]

    @property
    def waiting(self) -> list[ServiceView]:
        """Those that are not ready yet."""
        return [each for each in self.subjects if each.life.ready_at is None]

    @property
    def boot_seconds(self) -> float | None:
        """From asked for to ready."""
        boot = self.environment.boot_time
        return None if boot is None else boot.total_seconds()

    @property
    def lived_ms(self) -> float:
        """Milliseconds since it was asked for, until it was removed."""
        end = self.environment.removed_at or self.now
        return (end - self.environment.created_at).total_seconds() * 1000


def environment_page(
    environment: Environment, run: Run, *, now: datetime, source: str = "", with_log: bool = True
) -> EnvironmentPage:
    """Six queries, and two more for the log; each limited, whatever the tests did."""
    start = environment.created_at
    end = max(((environment.removed_at or now) - start).total_seconds(), 0.5)
    rows = list(environment.services.order_by("position", "name")[:SERVICE_LIMIT])
    sightings = _sightings(environment, run, rows)
    lives = {
        row.name: life(
            row.name,
            sightings,
            end=end,
            is_tests=row.is_tests,
            has_check=row.health != Health.NONE or row.ready_at != row.started_at,
        )
        for row in rows
    }
    failing = _failing(environment, run)
    faults = sorted((fault for each in lives.values() for fault in each.faults), key=lambda one: one.since)
    usage = environment_usage(environment, rows)
    stands = standing(environment, now)
    span = LogSpan(environment.shard, start - CLOCK_SLACK, environment.removed_at)
    return EnvironmentPage(
        environment=environment,
        run=run,
        now=now,
        standing=stands,
        services=[_view(row, lives[row.name], environment) for row in rows],
        lanes=_lanes(rows, lives, faults, failing or [], end),
        span=axis_end(end),
        at=end if environment.removed_at is None else None,
        faults=[_fault(fault, failing, start, end) for fault in faults],
        findings=[found for row in rows if (found := _finding(row, lives[row.name], environment))],
        failing=failing or [],
        usage=usage,
        held=held_view(environment, rows, usage, now) if stands is Standing.HELD else None,
        log=log_view(run, source, span) if with_log else None,
    )


def _sightings(environment: Environment, run: Run, rows: Sequence[EnvironmentService]) -> list[Sighting]:
    """What the run's timeline tells of the services; a row's moment stands in where the timeline has none."""
    start = environment.created_at
    events = Event.objects.filter(
        run=run, shard=environment.shard, at__gte=start - CLOCK_SLACK, kind__in=list(Kind)
    )
    if environment.removed_at is not None:
        events = events.filter(at__lte=environment.removed_at)
    told = list(
        events.order_by("at", "id").values_list("at", "service", "kind", "data__action", "data__exit_code")[
            :EVENT_LIMIT
        ]
    )
    found = [
        Sighting(_after(at, start), service, Kind(kind), str(action or ""), _whole(exit_code))
        for at, service, kind, action, exit_code in told
    ]
    known = {(one.service, one.kind) for one in found}
    for row in rows:
        moments = ((Kind.CREATED, row.created_at), (Kind.STARTED, row.started_at), (Kind.READY, row.ready_at))
        found += [
            Sighting(_after(at, start), row.name, kind)
            for kind, at in moments
            # Ready is told of once; the row says it again after each restart.
            if at is not None and (kind is Kind.READY or (row.name, kind) not in known)
        ]
        if row.finished_at is not None and (row.name, Kind.EXITED) not in known:
            at = _after(row.finished_at, start)
            if row.out_of_memory and (row.name, Kind.OUT_OF_MEMORY) not in known:
                found.append(Sighting(at, row.name, Kind.OUT_OF_MEMORY))
            # Everything is stopped when it is removed; only an end before that says something.
            if environment.removed_at is None or row.finished_at < environment.removed_at - CLOCK_SLACK:
                found.append(Sighting(at, row.name, Kind.EXITED, exit_code=row.exit_code))
    return found


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _after(at: datetime, start: datetime) -> float:
    return max(0.0, (at - start).total_seconds())


def _failing(environment: Environment, run: Run) -> list[Window] | None:
    """When the run's failing tests ran, as the tests told it; None where that is not known (yet)."""
    failing = list(
        Result.objects.filter(
            run_at=run.run_at, run=run.pk, shard=environment.shard, outcome__in=sorted(FAILING)
        )
        .order_by("position", "case_id")
        .values_list("case__name", "case__parameters")[:FAILURE_LIMIT]
    )
    if not failing:
        return [] if run.test_count else None
    names = {f"{name}{parameters}" for name, parameters in failing}
    marks = Event.objects.filter(
        run=run, shard=environment.shard, kind=MARK, at__gte=environment.created_at - CLOCK_SLACK
    )
    told = marks.order_by("at", "id").values_list("at", "data__test", "data__phase")[:MARK_LIMIT]
    tries = windows(
        [Mark(_after(at, environment.created_at), str(test), str(phase)) for at, test, phase in told]
    )
    theirs = {each.test for each in tries if _is_any(each.test, names)}
    return [each for each in tries if each.test in theirs] or None


def _is_any(test: str, names: Iterable[str]) -> bool:
    return any(is_named(test, name) for name in names)


def _view(row: EnvironmentService, lived: Life, environment: Environment) -> ServiceView:
    boot = None if lived.ready_at is None or row.created_at is None else lived.ready_at
    return ServiceView(
        service=row,
        life=lived,
        state=_state(row, lived, is_gone=environment.removed_at is not None),
        boot_seconds=boot,
        is_bad=not row.is_tests and (bool(lived.troubles) or went_wrong(row)),
    )


def _state(row: EnvironmentService, lived: Life, *, is_gone: bool) -> str:
    """How a service is, or was at the end, in one word."""
    last = lived.stretches[-1][0] if lived.stretches else ""
    if row.is_tests:
        has_ended = is_gone or row.exit_code is not None
        return "ended" if has_ended else "tests" if last == "tests" else "waiting"
    if last == "fault":
        return "fault"
    if last == "bad" or row.health == Health.UNHEALTHY:
        return "out_of_memory" if row.out_of_memory else "died" if row.exit_code else "unhealthy"
    if last == "up":
        return "healthy" if row.health == Health.HEALTHY else "running"
    return _before_ready(row, last, is_gone=is_gone)


def _before_ready(row: EnvironmentService, last: str, *, is_gone: bool) -> str:
    if row.exit_code == 0 and row.finished_at is not None:
        return "completed"
    if is_gone:
        return "never_ready"
    return "starting" if last == "start" else "waiting"


def _finding(row: EnvironmentService, lived: Life, environment: Environment) -> Finding | None:
    """The worst of a service's troubles; by its row alone where the timeline tells of none."""
    if row.is_tests:
        return None
    start, is_gone = environment.created_at, environment.removed_at is not None
    worst = lived.worst
    if worst is None and row.out_of_memory:
        worst = Trouble(TroubleKind.OUT_OF_MEMORY, -1)
    if worst is None and row.health == Health.UNHEALTHY:
        worst = Trouble(TroubleKind.UNHEALTHY, -1)
    never = lived.ready_at is None and (is_gone or environment.failure_kind) and row.exit_code != 0
    if worst is None and never and environment.ready_at is None:
        worst = Trouble(TroubleKind.NEVER_READY, -1)
    if worst is None:
        return None
    return Finding(
        service=row.name,
        kind=worst.kind,
        exit_code=worst.exit_code if worst.exit_code is not None else row.exit_code,
        since=start + timedelta(seconds=worst.since) if worst.since >= 0 else None,
        until=None if worst.until is None else start + timedelta(seconds=worst.until),
        is_over=is_gone,
    )


def _lanes(
    rows: Sequence[EnvironmentService],
    lives: dict[str, Life],
    faults: Sequence[Fault],
    failing: Sequence[Window],
    end: float,
) -> list[Lane]:
    lanes = [
        Lane(name=row.name, segments=lives[row.name].stretches, label=_words(lives[row.name])) for row in rows
    ]
    if faults:
        segments = [("fault", fault.since, end if fault.until is None else fault.until) for fault in faults]
        lanes.append(Lane("Faults", segments, f"{len(faults)} made on purpose"))
    if failing:
        segments = [("bad", each.since, end if each.until is None else each.until) for each in failing]
        lanes.append(Lane("Failing tests", segments, f"{len(failing)} tries of failing tests"))
    return lanes


_LANE_WORDS = {
    "up": "well",
    "start": "starting",
    "wait": "waiting",
    "bad": "down",
    "fault": "disturbed on purpose",
}


def _words(lived: Life) -> str:
    """A lane in words, each stretch once."""
    parts = [
        f"{_LANE_WORDS.get(kind, kind)} from {begins:.1f} to {ends:.1f} s"
        for kind, begins, ends in lived.stretches
    ]
    return f"{lived.service}: {', '.join(parts[:12]) or 'nothing was seen of it'}"


def _fault(fault: Fault, failing: list[Window] | None, start: datetime, end: float) -> FaultView:
    return FaultView(
        fault=fault,
        since=start + timedelta(seconds=fault.since),
        until=None if fault.until is None else start + timedelta(seconds=fault.until),
        failing_count=None
        if failing is None
        else len({each.test for each in failing if overlaps(each, fault, end)}),
    )
