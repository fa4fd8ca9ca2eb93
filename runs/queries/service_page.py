"""One service's page: when it is blamed, on what evidence, by which tests, and what it ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Any

from django.db.models import Count, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from runs.models import Blame, Project, Run, Service, ServiceDay, TestCase
from runs.queries.blamed import BlamedFailures, KindRow, Wanted, blamed_failures, evidence_kinds
from runs.queries.services import DAYS, bounds_of, days_until

#: Tests, runs and images listed.
LISTED = 15
#: Newest runs that are asked for the image they ran.
_RUNS_LOOKED_AT = 300


@dataclass(frozen=True, slots=True)
class DayCount:
    """A day's failures: those of the service, and all that were looked at."""

    day: date
    count: int
    looked_at: int = 0


@dataclass(frozen=True, slots=True)
class BlamingTest:
    """A test and how many of its failures are held against the service."""

    case: TestCase
    count: int


@dataclass(frozen=True, slots=True)
class BlamedRun:
    """A run and how many of its failures are held against the service."""

    run: Run
    count: int

    @property
    def has_log(self) -> bool:
        """Whether the service ran in it and so may have written a log."""
        return bool(self.run.environment_facts.get("services"))


@dataclass(frozen=True, slots=True)
class ImageSpan:
    """An image and the newest runs in a row that ran it."""

    image: str
    first: int
    first_at: datetime
    last: int
    count: int


@dataclass(frozen=True, slots=True)
class ServicePage:
    """A service's page."""

    service: Service
    days: int
    choices: tuple[int, ...]
    by_day: list[DayCount]
    kinds: list[KindRow]
    failures: BlamedFailures
    tests: list[BlamingTest]
    runs: list[BlamedRun]
    images: list[ImageSpan]
    #: What the newest run with an environment says it needs, and what needs it.
    needs: list[str]
    needed_by: list[str]
    ports: list[int]

    @property
    def count(self) -> int:
        """The failures held against it in the days shown."""
        return sum(day.count for day in self.by_day)

    @property
    def looked_at(self) -> int:
        """All failures of the days shown."""
        return sum(day.looked_at for day in self.by_day)

    @property
    def counts(self) -> list[int]:
        """The failures of each day, for a drawing."""
        return [day.count for day in self.by_day]

    @property
    def last_day(self) -> DayCount | None:
        """The newest day with a failure of the service."""
        return next((day for day in reversed(self.by_day) if day.count), None)

    @property
    def most_kinds(self) -> int:
        """The failures of the most frequent kind of evidence."""
        return max((row.count for row in self.kinds), default=0)


def service_page(
    project: Project, service: Service, *, days: str = "", now: datetime | None = None
) -> ServicePage:
    """Six queries, each of a limited number of rows."""
    count = next((choice for choice in DAYS if str(choice) == days), max(DAYS))
    shown = days_until(now or timezone.now(), count)
    wanted = Wanted(project, *bounds_of(shown), service=service.name)
    facts = _facts(project, service.name)
    own = facts.get(service.name, {})
    return ServicePage(
        service=service,
        days=count,
        choices=tuple(sorted(DAYS)),
        by_day=_by_day(project, service.name, shown),
        kinds=evidence_kinds(wanted),
        failures=blamed_failures(wanted),
        tests=_tests(wanted),
        runs=_runs(wanted),
        images=_images(project, service.name),
        needs=[str(name) for name in own.get("depends_on", [])],
        needed_by=[name for name, other in facts.items() if service.name in other.get("depends_on", [])],
        ports=[int(port) for port in own.get("ports", [])],
    )


def counts_by_day(service: Service, *, days: int, now: datetime | None = None) -> list[DayCount]:
    """The failures held against the service in the last `days` days, oldest first."""
    shown = days_until(now or timezone.now(), days)
    return _by_day(service.project, service.name, shown)


def _by_day(project: Project, service: str, shown: Sequence[date]) -> list[DayCount]:
    kept = ServiceDay.objects.filter(project=project, day__range=(shown[0], shown[-1]))
    own = kept.filter(Q(is_total=True) | Q(is_total=False, service=service))
    rows = own.values_list("is_total", "day", "failure_count")
    found = {(is_total, day): count for is_total, day, count in rows}
    return [DayCount(day, found.get((False, day), 0), found.get((True, day), 0)) for day in shown]


def _tests(wanted: Wanted) -> list[BlamingTest]:
    """Those with the most failures; counted in narrow rows before any test is read."""
    held = _held(wanted)
    most = held.values("case").annotate(count=Count("pk")).order_by("-count", "case").values("case")[:LISTED]
    cases = TestCase.objects.filter(pk__in=most).annotate(count=_count(held, case=OuterRef("pk")))
    return [BlamingTest(case, case.count) for case in cases.order_by("-count", "pk")]


def _runs(wanted: Wanted) -> list[BlamedRun]:
    held = _held(wanted)
    # A blame's project and moment are its run's: so no older runs are asked for theirs.
    own = Run.objects.filter(project=wanted.project, run_at__gte=wanted.since, run_at__lt=wanted.until)
    newest = own.filter(pk__in=held.values("run")).order_by("-number").values("pk")[:LISTED]
    runs: QuerySet[Any] = Run.objects.filter(pk__in=newest).annotate(count=_count(held, run=OuterRef("pk")))
    return [BlamedRun(run, run.count) for run in runs.select_related("suite").order_by("-number")]


def _held(wanted: Wanted) -> QuerySet[Blame]:
    """The failures of that time that are held against the service."""
    return Blame.objects.filter(
        project=wanted.project,
        run_at__gte=wanted.since,
        run_at__lt=wanted.until,
        services__contains=[wanted.service],
    )


def _count(held: QuerySet[Blame], **of: OuterRef) -> Subquery:
    """How many of them there are of a test or a run."""
    own = held.filter(**of).order_by().values(*of)
    return Subquery(own.annotate(own_count=Count("pk")).values("own_count"), output_field=IntegerField())


def _images(project: Project, name: str) -> list[ImageSpan]:
    """What it ran in the newest runs, the newest first; each stretch of one image once."""
    newest = Run.objects.filter(project=project).newest_first()[:_RUNS_LOOKED_AT]
    ran = Run.objects.filter(pk__in=newest.values("pk"), environment_facts__images__has_key=name)
    rows = [
        (str(images[name]), number, run_at)
        for images, number, run_at in ran.newest_first().values_list(
            "environment_facts__images", "number", "run_at"
        )
    ]
    spans = []
    for each, stretch in groupby(rows, key=lambda row: row[0]):
        runs = list(stretch)
        _, first, first_at = runs[-1]
        spans.append(ImageSpan(each, first, first_at, runs[0][1], len(runs)))
    return spans[:LISTED]


def _facts(project: Project, name: str) -> dict[str, Any]:
    """What the newest run in which the service ran says of all services; empty when there is none."""
    newest = Run.objects.filter(project=project).newest_first()[:_RUNS_LOOKED_AT]
    run = (
        Run.objects.filter(pk__in=newest.values("pk"), environment_facts__services__has_key=name)
        .only("environment_facts")
        .newest_first()
        .first()
    )
    return dict(run.environment_facts["services"]) if run is not None else {}
