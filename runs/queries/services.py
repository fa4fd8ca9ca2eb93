"""Failures by service and day, as blames count them, and the failures behind a cell.

A failure counts for the service with the strongest evidence against it; for each of them where several
share that place; and for none where nothing speaks against any. Days are days of UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import ceil

from django.utils import timezone

from runs.analytics.graphs import Graph, Node, laid_out
from runs.models import Project, Run, Service, ServiceDay
from runs.queries.blamed import (
    ANY,
    BlamedFailures,
    KindRow,
    Wanted,
    blamed_failures,
    evidence_kinds,
)

#: The name under which failures count for which no service is blamed.
NOBODY = ""
#: Services listed at most; those with the most failures first.
ROW_LIMIT = 60
#: Services looked at, by name, besides those with failures: names are for reports to choose.
KNOWN_LIMIT = 2_000
#: A cell of so many failures has the strongest colour, unless another has more.
FULL_HEAT = 8
HEAT_LEVELS = 4


@dataclass(frozen=True, slots=True)
class HeatCell:
    """The failures that count for a service on a day. `level`: 0 for none, else 1 to 4."""

    day: date
    count: int
    level: int

    @property
    def words(self) -> str:
        """The day as people say it."""
        return f"{self.day:%-d %B}"


@dataclass(frozen=True, slots=True)
class HeatRow:
    """One service's days, oldest first; without a name the failures for which no service is blamed."""

    service: str
    cells: list[HeatCell]
    total: int

    @property
    def is_nobody(self) -> bool:
        """Whether it is the row of failures without a service to blame."""
        return self.service == NOBODY

    @property
    def today(self) -> int:
        """The failures of the newest day."""
        return self.cells[-1].count


@dataclass(frozen=True, slots=True)
class ServiceHeat:
    """Failures by service and day. Where two services share the blame for a failure, it is in both rows."""

    days: list[date]
    #: Services with the most failures first, those without any by name; "nobody" last, when it has any.
    rows: list[HeatRow]
    #: Failures that were looked at, each once.
    failure_count: int
    #: The same of the newest day.
    today_count: int
    #: Services beyond the limit, all with no more failures than those shown.
    hidden_count: int

    @property
    def services(self) -> list[HeatRow]:
        """The rows of services alone."""
        return [row for row in self.rows if not row.is_nobody]

    @property
    def worst(self) -> HeatRow | None:
        """The service with the most failures; None when none is blamed for any."""
        first = next(iter(self.services), None)
        return first if first is not None and first.total else None


def service_heat(
    project: Project,
    *,
    days: int = 7,
    now: datetime | None = None,
    limit: int = ROW_LIMIT,
    after: tuple[int, str] | None = None,
) -> ServiceHeat:
    """The last `days` days up to today's, in two queries: `limit` services after that of (failures, name)."""
    shown = days_until(now or timezone.now(), days)
    counts, looked_at = _counts(project, shown)
    known = Service.objects.filter(project=project).order_by("name").values_list("name", flat=True)
    names = {*counts, *known[:KNOWN_LIMIT]} - {NOBODY}
    ranks = {name: (-sum(counts.get(name, {}).values()), name) for name in names}
    passed = (-after[0], after[1]) if after else None
    ordered = sorted(
        (name for name in names if passed is None or ranks[name] > passed), key=ranks.__getitem__
    )
    listed = [*ordered[:limit], NOBODY] if counts.get(NOBODY) else ordered[:limit]
    most = max((count for own in counts.values() for count in own.values()), default=0)
    return ServiceHeat(
        days=shown,
        rows=[_row(name, counts.get(name, {}), shown, most) for name in listed],
        failure_count=sum(looked_at.values()),
        today_count=looked_at.get(shown[-1], 0),
        hidden_count=max(0, len(ordered) - limit),
    )


def days_until(now: datetime, count: int) -> list[date]:
    """That many days, oldest first; today's is the last."""
    newest = now.astimezone(UTC).date()
    return [newest - timedelta(days=ago) for ago in reversed(range(count))]


def bounds_of(days: list[date]) -> tuple[datetime, datetime]:
    """The moments between which the days lie, the second one excluded."""
    return (
        datetime.combine(days[0], time(), tzinfo=UTC),
        datetime.combine(days[-1] + timedelta(days=1), time(), tzinfo=UTC),
    )


def _counts(project: Project, days: list[date]) -> tuple[dict[str, dict[date, int]], dict[date, int]]:
    """Failures by service and day, and those that were looked at by day."""
    counts: dict[str, dict[date, int]] = {}
    looked_at: dict[date, int] = {}
    kept = ServiceDay.objects.filter(project=project, day__range=(days[0], days[-1]), failure_count__gt=0)
    for service, day, is_total, count in kept.values_list("service", "day", "is_total", "failure_count"):
        if is_total:
            looked_at[day] = count
        else:
            counts.setdefault(service, {})[day] = count
    return counts, looked_at


def _row(name: str, own: Mapping[date, int], days: list[date], most: int) -> HeatRow:
    cells = [HeatCell(day, own.get(day, 0), _level(own.get(day, 0), most)) for day in days]
    return HeatRow(name, cells, sum(own.values()))


def _level(count: int, most: int) -> int:
    return ceil(HEAT_LEVELS * count / max(most, FULL_HEAT))


#: How many days a page may show; the first is what it shows unasked.
DAYS = (14, 7, 28)
#: Boxes that a drawing of the dependencies may have; of more there is the table alone.
GRAPH_LIMIT = 30
#: Newest runs among which one with an environment is looked for.
_RUNS_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class Box:
    """A service in the drawing, with the failures that count for it in the days shown."""

    node: Node
    count: int
    is_tests: bool
    is_worst: bool

    @property
    def words(self) -> str:
        """What stands below its name."""
        if self.is_tests:
            return "the tests"
        return f"{self.count} blamed"


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Who needs whom by the Compose file of the newest run that had an environment."""

    run: Run
    graph: Graph | None
    boxes: list[Box]
    #: Every service with those it needs.
    needs: list[tuple[str, list[str]]]


@dataclass(frozen=True, slots=True)
class ServicesPage:
    """The services' page."""

    days: int
    choices: tuple[int, ...]
    heat: ServiceHeat
    #: The service and the day of the chosen cell; None where the URL names none that is shown.
    service: str | None
    day: date | None
    failures: BlamedFailures
    kinds: list[KindRow]
    dependencies: Dependencies | None

    @property
    def most_kinds(self) -> int:
        """The failures of the most frequent kind of evidence."""
        return max((row.count for row in self.kinds), default=0)

    @property
    def worst_today(self) -> HeatRow | None:
        """The service blamed most today; None when none is."""
        worst = max(self.heat.services, key=lambda row: row.today, default=None)
        return worst if worst is not None and worst.today else None

    @property
    def nobody_count(self) -> int:
        """Failures of the days shown for which no service is blamed."""
        return next((row.total for row in self.heat.rows if row.is_nobody), 0)

    @property
    def is_nobody(self) -> bool:
        """Whether the failures listed are those without a service to blame."""
        return self.service == NOBODY

    @property
    def period(self) -> str:
        """The query string that keeps the chosen days."""
        return f"days={self.days}"


def services_page(
    project: Project,
    *,
    days: str = "",
    service: str | None = None,
    day: str = "",
    now: datetime | None = None,
) -> ServicesPage:
    """Six queries. A value that cannot be is as if it had not been said."""
    count = next((choice for choice in DAYS if str(choice) == days), DAYS[0])
    heat = service_heat(project, days=count, now=now)
    chosen_day = next((one for one in heat.days if one.isoformat() == day), None)
    known = {row.service for row in heat.rows} | {NOBODY}
    chosen = service.replace("\x00", "") if service is not None else None
    chosen = chosen if chosen in known else None
    since, until = bounds_of([chosen_day] if chosen_day else heat.days)
    wanted = Wanted(project, since, until, ANY if chosen is None else chosen)
    everything = Wanted(project, *bounds_of(heat.days))
    return ServicesPage(
        days=count,
        choices=tuple(sorted(DAYS)),
        heat=heat,
        service=chosen,
        day=chosen_day,
        failures=blamed_failures(wanted),
        kinds=evidence_kinds(everything),
        dependencies=_dependencies(project, heat),
    )


def _dependencies(project: Project, heat: ServiceHeat) -> Dependencies | None:
    newest = Run.objects.filter(project=project).newest_first()[:_RUNS_LOOKED_AT]
    found = Run.objects.filter(pk__in=newest.values("pk"), environment_facts__has_key="services")
    run = found.select_related("suite").newest_first().first()
    if run is None:
        return None
    facts = run.environment_facts["services"]
    needs = {str(name): [str(one) for one in own.get("depends_on", [])] for name, own in facts.items()}
    graph = laid_out(needs) if 1 < len(needs) <= GRAPH_LIMIT else None
    counts = {row.service: row.total for row in heat.services}
    worst, tests = heat.worst, run.environment_facts.get("tests", "")
    boxes = [
        Box(
            node=node,
            count=counts.get(node.name, 0),
            is_tests=node.name == tests,
            is_worst=worst is not None and node.name == worst.service,
        )
        for node in (graph.nodes if graph else [])
    ]
    run.project = project
    return Dependencies(run=run, graph=graph, boxes=boxes, needs=sorted(needs.items()))
