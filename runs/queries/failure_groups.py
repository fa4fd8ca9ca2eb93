"""Failures that are the same failure, wherever in the project they were seen.

A group is what a fingerprint names (`runs/analytics/fingerprints.py`). Its sightings are found by the index
on results with a failure; how many are looked at is bounded, and said where there were more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Min

from runs.models import Failure, Project, Run, TestCase

#: Sightings older than this are not looked for; results of that time may be gone anyway.
WINDOW = timedelta(days=90)
#: Days in the chart.
DAYS = 60
#: Sightings read for a group's page, and different texts that they are looked for by.
SIGHTING_LIMIT, TEXT_LIMIT = 20_000, 5_000
#: Rows listed on the page.
TESTS, RUNS, BRANCHES, SERVICES = 50, 25, 12, 8

_SIGHTINGS = """
SELECT s.case_id, s.run_id, s.run_at, s.outcome, run.branch, run.pull_request <> '' FROM (
    SELECT case_id, run_id, run_at, outcome FROM runs_result
    WHERE failure_id = ANY(%(failures)s) AND run_at > %(since)s ORDER BY run_at DESC LIMIT %(limit)s
) s JOIN runs_run run ON run.id = s.run_id ORDER BY s.run_at DESC, s.run_id DESC
"""
# Services that are held responsible for sightings, by the runs and cases of these; each failure counts once.
# What was found in these runs is gathered first: else PostgreSQL may read what was found in all there are.
_SERVICES = """
WITH blamed AS MATERIALIZED (
    SELECT run_id, case_id, services FROM runs_blame
    WHERE run_id = ANY(%(those)s) AND services <> '{}'
)
SELECT b.services, count(*) FROM unnest(%(runs)s::bigint[], %(cases)s::bigint[]) AS s (run_id, case_id)
JOIN blamed b ON b.run_id = s.run_id AND b.case_id = s.case_id
GROUP BY b.services ORDER BY b.services
"""
# From what is counted with the end of each run, so that a run in which a thousand tests failed alike is one.
_HISTORIES = """
WITH main AS MATERIALIZED (
    SELECT id FROM runs_run
    WHERE project_id = %(project)s AND run_at > %(since)s AND branch = %(main)s AND pull_request = ''
)
SELECT g.fingerprint, count(*), count(main.id), max(g.run_at) FILTER (WHERE main.id IS NOT NULL)
FROM runs_grouprun g LEFT JOIN main ON main.id = g.run_id
WHERE g.project_id = %(project)s AND g.fingerprint = ANY(%(fingerprints)s) AND g.run_at > %(since)s
  AND g.failed_count > 0 AND g.run_id <> %(own)s
GROUP BY g.fingerprint
"""


@dataclass(frozen=True, slots=True)
class GroupHistory:
    """Where else a group of a run was seen, in runs other than this one."""

    #: Other runs of the window that have it, and those of them on the default branch.
    run_count: int
    main_count: int
    last_main_at: datetime | None
    first_seen_at: datetime | None
    #: The default branch is another one than the run's.
    is_branch: bool

    @property
    def is_new_on_branch(self) -> bool:
        """Whether the default branch never had it."""
        return self.is_branch and not self.main_count

    @property
    def is_on_main(self) -> bool:
        """Whether the default branch has had it."""
        return self.is_branch and self.main_count > 0


@dataclass(frozen=True, slots=True)
class TestSeen:
    """A test that failed so."""

    case: TestCase
    count: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run in which tests failed so."""

    run: Run
    count: int


@dataclass(frozen=True, slots=True)
class FailureGroupPage:
    """One group: how often, since when, where, whose fault."""

    fingerprint: str
    failure: Failure
    text_count: int
    first_seen_at: datetime
    last_seen_at: datetime | None
    count: int
    #: Sightings that were not the end of it: the test passed on a later attempt.
    retried_count: int
    #: There were more than are read.
    is_cut: bool
    run_count: int
    test_count: int
    main_count: int
    tests: list[TestSeen]
    runs: list[RunSeen]
    branches: list[tuple[str, int]]
    services: list[tuple[str, int]]
    blamed_count: int
    #: Sightings by day, oldest first, to today.
    days: list[tuple[date, int]]

    @property
    def day_counts(self) -> list[int]:
        """The chart's values."""
        return [count for _, count in self.days]

    @property
    def busiest(self) -> tuple[date, int]:
        """The day with the most sightings."""
        return max(self.days, key=lambda day: day[1])

    @property
    def failing_days(self) -> int:
        """Days on which it was seen."""
        return sum(1 for count in self.day_counts if count)


def histories(run: Run, fingerprints: Sequence[bytes]) -> dict[bytes, GroupHistory]:
    """Where else each group was seen, from `WINDOW` before the run on; two queries, none without groups."""
    wanted = [fingerprint for fingerprint in fingerprints if fingerprint]
    if not wanted:
        return {}
    firsts = Failure.objects.filter(fingerprint__in=wanted, project=run.project_id).values_list("fingerprint")
    first = {bytes(key): at for key, at in firsts.annotate(first=Min("first_seen_at"))}
    main = run.project.default_branch
    values: dict[str, Any] = {
        "own": run.pk,
        "main": main,
        "project": run.project_id,
        "fingerprints": wanted,
        "since": run.run_at - WINDOW,
    }
    with connection.cursor() as cursor:
        cursor.execute(_HISTORIES, values)
        found = {bytes(key): (runs, on_main, last) for key, runs, on_main, last in cursor.fetchall()}
    is_branch = bool(run.pull_request) or (run.branch or run.ref) != main
    nowhere: tuple[int, int, datetime | None] = (0, 0, None)
    return {
        key: GroupHistory(*found.get(key, nowhere), first_seen_at=first.get(key), is_branch=is_branch)
        for key in wanted
    }


def group_page(project: Project, fingerprint: bytes, *, now: datetime) -> FailureGroupPage | None:
    """One group's page, or None when the project has no such failure; seven queries."""
    own = Failure.objects.filter(project=project, fingerprint=fingerprint)
    newest = own.order_by("-pk").first()
    if newest is None:
        return None
    ids = list(own.order_by("-pk").values_list("pk", flat=True)[: TEXT_LIMIT + 1])
    first = own.aggregate(first=Min("first_seen_at"))["first"] or newest.first_seen_at
    rows = _sightings(ids[:TEXT_LIMIT], since=now - WINDOW)
    seen = rows[:SIGHTING_LIMIT]
    tests = Counter(case for case, *_ in seen)
    runs = Counter(run for _, run, *_ in seen)
    default = project.default_branch
    on_main = {run for _, run, _, _, branch, is_asked in seen if branch == default and not is_asked}
    services, blamed = _services(seen)
    return FailureGroupPage(
        fingerprint=fingerprint.hex(),
        failure=newest,
        text_count=len(ids),
        first_seen_at=first,
        last_seen_at=seen[0][2] if seen else None,
        count=len(seen),
        retried_count=sum(1 for row in seen if row[3] == "flaky"),
        is_cut=len(rows) > SIGHTING_LIMIT or len(ids) > TEXT_LIMIT,
        run_count=len(runs),
        test_count=len(tests),
        main_count=len(on_main),
        tests=_tests(tests, seen),
        runs=_runs(runs),
        branches=_branches(seen),
        services=services,
        blamed_count=blamed,
        days=_days(seen, now),
    )


type _Sighting = tuple[int, int, datetime, str, str, bool]


def _sightings(failures: Sequence[int], *, since: datetime) -> list[_Sighting]:
    """Newest first: case, run, moment, outcome, branch, whether for a pull request."""
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"failures": list(failures), "since": since, "limit": SIGHTING_LIMIT + 1}
        cursor.execute(_SIGHTINGS, values)
        rows: list[_Sighting] = cursor.fetchall()
    return rows


def _tests(counts: Mapping[int, int], seen: Iterable[_Sighting]) -> list[TestSeen]:
    chosen = [case for case, _ in Counter(counts).most_common(TESTS)]
    last: dict[int, datetime] = {}
    for case, _, at, *_ in seen:
        last.setdefault(case, at)
    cases = TestCase.objects.in_bulk(chosen)
    return [TestSeen(cases[case], counts[case], last[case]) for case in chosen if case in cases]


def _runs(counts: Mapping[int, int]) -> list[RunSeen]:
    """The newest runs: sightings come newest first, and a counter keeps that order."""
    chosen = list(counts)[:RUNS]
    runs = Run.objects.select_related("suite").in_bulk(chosen)
    return [RunSeen(runs[run], counts[run]) for run in chosen if run in runs]


def _branches(seen: Iterable[_Sighting]) -> list[tuple[str, int]]:
    """Branches with the number of their runs that have it."""
    runs = {(branch, run) for _, run, _, _, branch, _ in seen}
    return Counter(branch for branch, _ in runs if branch).most_common(BRANCHES)


def _services(seen: Sequence[_Sighting]) -> tuple[list[tuple[str, int]], int]:
    """Services that these failures are held against, and how many of them any is blamed for."""
    if not seen:
        return [], 0
    wanted = list({(run, case) for case, run, *_ in seen})
    runs, cases = [run for run, _ in wanted], [case for _, case in wanted]
    values: dict[str, Any] = {"runs": runs, "cases": cases, "those": list(set(runs))}
    counts: Counter[str] = Counter()
    blamed = 0
    with connection.cursor() as cursor:
        cursor.execute(_SERVICES, values)
        for services, count in cursor.fetchall():
            blamed += count
            for name in services:
                counts[name] += count
    return counts.most_common(SERVICES), blamed


def _days(seen: Iterable[_Sighting], now: datetime) -> list[tuple[date, int]]:
    counts = Counter(at.date() for _, _, at, *_ in seen)
    first = now.date() - timedelta(days=DAYS - 1)
    return [(day, counts[day]) for day in (first + timedelta(days=index) for index in range(DAYS))]
