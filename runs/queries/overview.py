"""A project's overview: is a branch healthy, since when, what ran, what wastes time, which service fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection

from runs.cron import CronError, in_words
from runs.models import Project, Run, Schedule
from runs.queries.durations import SlowerCase, slower_cases
from runs.queries.flaky import Costliest, costliest
from runs.queries.services import ServiceHeat, service_heat
from runs.queries.suites import SuiteRow, suite_rows
from runs.queries.weeks import Fortnight, fortnight

RECENT_RUNS: Final = 8
COSTLY_CASES: Final = 5
#: Days that the page may be asked for, and the words for them.
PERIODS: Final = {1: "24 h", 7: "7 days", 30: "30 days"}
DEFAULT_DAYS: Final = 7
HEAT_DAYS: Final = 14
SCHEDULE_LIMIT: Final = 200
NEXT_RUNS: Final = 5

_BLAMED = """
SELECT service, count(*) FROM runs_blame b JOIN runs_run r ON r.id = b.run_id, unnest(b.services) AS service
WHERE r.project_id = %(project)s AND r.number = %(number)s
GROUP BY service ORDER BY count(*) DESC, service LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class OverviewFilter:
    """What the URL asks for. A value that cannot be is as if it had not been said."""

    branch: str = ""
    days: int = DEFAULT_DAYS

    @classmethod
    def from_query(cls, query: Mapping[str, str], default_branch: str) -> OverviewFilter:
        """Read a query string."""
        branch = query.get("branch", "").replace("\x00", "").strip()[:250]
        days = query.get("days", "")
        return cls(
            branch=branch or default_branch,
            days=int(days) if days in {str(one) for one in PERIODS} else DEFAULT_DAYS,
        )


@dataclass(frozen=True, slots=True)
class NextRun:
    """A schedule that will be due, and how long its suite's run usually takes."""

    schedule: Schedule
    words: str
    branch: str
    expected_ms: int | None


@dataclass(frozen=True, slots=True)
class Blamed:
    """The service that most failures of a run are held against."""

    service: str
    count: int


@dataclass(frozen=True, slots=True)
class Overview:
    """The overview's facts."""

    wanted: OverviewFilter
    suites: list[SuiteRow]
    recent: list[Run]
    lately: Fortnight
    costly: Costliest
    slower: list[SlowerCase]
    heat: ServiceHeat
    #: The schedules of the project that are not paused, the next due first.
    schedules: list[NextRun]
    #: Of the newest run of the suite that has failed longest; None when no service is blamed.
    blamed: Blamed | None

    @property
    def red(self) -> list[SuiteRow]:
        """Suites whose newest judged run failed, the longest-failing first."""
        return _red(self.suites)

    @property
    def green_count(self) -> int:
        """Suites that were judged and are not red."""
        return sum(bool(row.judged) and not row.is_red for row in self.suites)

    @property
    def flaky(self) -> list[SuiteRow]:
        """Green suites whose newest run needed retries."""
        return [row for row in self.suites if row.judged and row.judged[-1].flaky_count and not row.is_red]

    @property
    def spared(self) -> list[SuiteRow]:
        """Green suites whose newest run failed, though its verdict is pass."""
        return [row for row in self.suites if row.judged and row.judged[-1].is_spared]

    @property
    def next_runs(self) -> list[NextRun]:
        """The next few."""
        return self.schedules[:NEXT_RUNS]

    @property
    def has_schedules(self) -> bool:
        """Whether the table of suites says when each runs."""
        return bool(self.schedules)

    @property
    def rows(self) -> list[tuple[SuiteRow, NextRun | None]]:
        """The suites, each with what it runs by next on the branch that is shown."""
        first: dict[int, NextRun] = {}
        for one in self.schedules:
            if one.branch == self.wanted.branch:
                first.setdefault(one.schedule.suite_id, one)
        return [(row, first.get(row.suite.pk)) for row in self.suites]

    @property
    def branches(self) -> list[str]:
        """To choose from, the one that is shown among them."""
        named = list(self.lately.branches)
        default = self.suites[0].suite.project.default_branch if self.suites else ""
        for one in (self.wanted.branch, default):
            if one and one not in named:
                named.insert(0, one)
        return named


def overview(project: Project, wanted: OverviewFilter, *, now: datetime) -> Overview:
    """At most ten queries, whatever the number of suites, runs and tests."""
    suites = suite_rows(project, branch=wanted.branch)
    red = _red(suites)
    newest_red = red[0].judged[-1] if red else None
    return Overview(
        wanted=wanted,
        suites=suites,
        recent=recent_runs(project),
        lately=fortnight(project, branch=wanted.branch, days=wanted.days, now=now),
        costly=costliest(project, COSTLY_CASES),
        slower=slower_cases(project, limit=COSTLY_CASES),
        heat=service_heat(project, days=HEAT_DAYS, now=now),
        schedules=_schedules(project, suites, wanted.branch),
        blamed=_blamed(project, newest_red.number) if newest_red else None,
    )


def recent_runs(project: Project) -> list[Run]:
    """The newest runs of all branches."""
    return list(Run.objects.for_project(project).select_related("suite").newest_first()[:RECENT_RUNS])


def _red(suites: list[SuiteRow]) -> list[SuiteRow]:
    return sorted((row for row in suites if row.is_red), key=lambda row: -row.row_length)


def _schedules(project: Project, suites: list[SuiteRow], shown: str) -> list[NextRun]:
    """What is usual is known of the branch that is shown."""
    usual = {(row.suite.pk, shown): row.median_ms for row in suites}
    due = Schedule.objects.filter(suite__project=project, is_paused=False, due_at__isnull=False)
    return [
        NextRun(
            schedule=schedule,
            words=_words(schedule),
            branch=schedule.branch or project.default_branch,
            expected_ms=usual.get((schedule.suite_id, schedule.branch or project.default_branch)),
        )
        for schedule in due.select_related("suite").order_by("due_at", "pk")[:SCHEDULE_LIMIT]
    ]


def _words(schedule: Schedule) -> str:
    try:
        return in_words(schedule.cron, schedule.timezone)
    except CronError:  # its zone was dropped from the database of zones since
        return schedule.cron


def _blamed(project: Project, number: int) -> Blamed | None:
    with connection.cursor() as cursor:
        cursor.execute(_BLAMED, {"project": project.pk, "number": number})
        found = cursor.fetchone()
    return Blamed(*found) if found else None
