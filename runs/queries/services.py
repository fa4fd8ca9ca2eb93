"""Failures by service and day, as blames count them, and the failures behind a cell.

A failure counts for the service with the strongest evidence against it; for each of them where several
share that place; and for none where nothing speaks against any. Days are days of UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import ceil

from django.db import connection
from django.utils import timezone

from runs.models import Project, Service

#: The name under which failures count for which no service is blamed.
NOBODY = ""
#: Services listed at most; those with the most failures first.
ROW_LIMIT = 60
#: A cell of so many failures has the strongest colour, unless another has more.
FULL_HEAT = 8
HEAT_LEVELS = 4

_COUNTS = """
SELECT NULL AS service, (run_at AT TIME ZONE 'UTC')::date AS day, count(*) AS failures
FROM runs_blame WHERE project_id = %(project)s AND run_at >= %(since)s AND run_at < %(until)s
GROUP BY day
UNION ALL
SELECT service, (run_at AT TIME ZONE 'UTC')::date, count(*)
FROM runs_blame, unnest(CASE WHEN cardinality(services) = 0 THEN ARRAY[''] ELSE services END) AS service
WHERE project_id = %(project)s AND run_at >= %(since)s AND run_at < %(until)s
GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class HeatCell:
    """The failures that count for a service on a day. `level`: 0 for none, else 1 to 4."""

    day: date
    count: int
    level: int


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
    #: Services beyond `ROW_LIMIT`, all with no more failures than those shown.
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


def service_heat(project: Project, *, days: int = 7, now: datetime | None = None) -> ServiceHeat:
    """The last `days` days up to today's, in two queries."""
    newest = (now or timezone.now()).astimezone(UTC).date()
    shown = [newest - timedelta(days=ago) for ago in reversed(range(days))]
    counts, looked_at = _counts(project, shown)
    known = Service.objects.filter(project=project).order_by("name").values_list("name", flat=True)
    names = {*counts, *known[: ROW_LIMIT * 4]} - {NOBODY}
    ordered = sorted(names, key=lambda name: (-sum(counts.get(name, {}).values()), name))
    listed = [*ordered[:ROW_LIMIT], NOBODY] if counts.get(NOBODY) else ordered[:ROW_LIMIT]
    most = max((count for own in counts.values() for count in own.values()), default=0)
    return ServiceHeat(
        days=shown,
        rows=[_row(name, counts.get(name, {}), shown, most) for name in listed],
        failure_count=sum(looked_at.values()),
        today_count=looked_at.get(newest, 0),
        hidden_count=max(0, len(ordered) - ROW_LIMIT),
    )


def bounds_of(days: list[date]) -> tuple[datetime, datetime]:
    """The moments between which the days lie, the second one excluded."""
    return (
        datetime.combine(days[0], time(), tzinfo=UTC),
        datetime.combine(days[-1] + timedelta(days=1), time(), tzinfo=UTC),
    )


def _counts(project: Project, days: list[date]) -> tuple[dict[str, dict[date, int]], dict[date, int]]:
    """Failures by service and day, and those that were looked at by day."""
    since, until = bounds_of(days)
    counts: dict[str, dict[date, int]] = {}
    looked_at: dict[date, int] = {}
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, {"project": project.pk, "since": since, "until": until})
        for service, day, count in cursor.fetchall():
            if service is None:
                looked_at[day] = count
            else:
                counts.setdefault(service, {})[day] = count
    return counts, looked_at


def _row(name: str, own: Mapping[date, int], days: list[date], most: int) -> HeatRow:
    cells = [HeatCell(day, own.get(day, 0), _level(own.get(day, 0), most)) for day in days]
    return HeatRow(name, cells, sum(own.values()))


def _level(count: int, most: int) -> int:
    return ceil(HEAT_LEVELS * count / max(most, FULL_HEAT))
