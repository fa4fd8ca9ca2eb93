"""Failures that are the same failure, wherever in the project they were seen.

A group is what a fingerprint names (`runs/analytics/fingerprints.py`). Its sightings are found by the index
on results with a failure; how many are looked at is bounded, and said where there were more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

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

# Sightings, newest first, no more than so many. Each statement below counts the same ones.
_SEEN = """
WITH found AS MATERIALIZED (
    SELECT case_id, run_id, run_at, outcome FROM runs_result
    WHERE failure_id = ANY(%(failures)s) AND run_at > %(since)s
    ORDER BY run_at DESC, run_id DESC, case_id LIMIT %(limit)s + 1
), seen AS MATERIALIZED (
    SELECT * FROM found ORDER BY run_at DESC, run_id DESC, case_id LIMIT %(limit)s
)
"""
# Counted where they are, as twenty thousand rows would take longer to come here than to be found.
_SIGHTINGS = f"""{_SEEN}
, of_runs AS (
    SELECT run_id, count(*) AS number, count(*) FILTER (WHERE outcome = 'flaky') AS retried
    FROM seen GROUP BY run_id
), of_cases AS (
    SELECT case_id, count(*) AS number, max(run_at) AS last_at FROM seen GROUP BY case_id
)
SELECT 'run', run.id, s.number, s.retried, run.run_at, run.branch, run.pull_request <> ''
FROM of_runs s JOIN runs_run run ON run.id = s.run_id
UNION ALL
(SELECT 'case', case_id, number, 0, last_at, '', false FROM of_cases
 ORDER BY number DESC, last_at DESC, case_id LIMIT %(tests)s)
UNION ALL
SELECT 'all', (SELECT count(*) FROM of_cases), (SELECT count(*) FROM found), 0, NULL, '', false
"""  # noqa: S608 - of constants
# Services that sightings are held against; each failure counts once. What was found in these runs is gathered
# first, and they are named: else PostgreSQL may read what was found in all there are.
_SERVICES = f"""{_SEEN}
, blamed AS MATERIALIZED (
    SELECT run_id, case_id, services FROM runs_blame
    WHERE run_id = ANY(%(runs)s) AND services <> '{{}}'
)
SELECT b.services, count(*) FROM seen s
JOIN blamed b ON b.run_id = s.run_id AND b.case_id = s.case_id
GROUP BY b.services ORDER BY b.services
"""  # noqa: S608 - of constants
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
    wanted = {"failures": ids[:TEXT_LIMIT], "since": now - WINDOW, "limit": SIGHTING_LIMIT}
    seen = _sightings(wanted)
    default = project.default_branch
    services, blamed = _services(wanted, [run.id for run in seen.runs])
    return FailureGroupPage(
        fingerprint=fingerprint.hex(),
        failure=newest,
        text_count=len(ids),
        first_seen_at=first,
        last_seen_at=seen.runs[0].at if seen.runs else None,
        count=sum(run.number for run in seen.runs),
        retried_count=sum(run.retried for run in seen.runs),
        is_cut=seen.is_cut or len(ids) > TEXT_LIMIT,
        run_count=len(seen.runs),
        test_count=seen.test_count,
        main_count=sum(1 for run in seen.runs if run.branch == default and not run.is_asked),
        tests=_tests(seen.tests),
        runs=_runs(seen.runs),
        branches=Counter(run.branch for run in seen.runs if run.branch).most_common(BRANCHES),
        services=services,
        blamed_count=blamed,
        days=_days(seen.runs, now),
    )


class _OfRun(NamedTuple):
    """A run's sightings; `is_asked` when it is of a pull request."""

    id: int
    number: int
    retried: int
    at: datetime
    branch: str
    is_asked: bool


class _OfTest(NamedTuple):
    """A test's sightings."""

    id: int
    number: int
    last_at: datetime


class _Sightings(NamedTuple):
    """Runs, the newest first; the tests that failed so most often; how many tests in all."""

    runs: list[_OfRun]
    tests: list[_OfTest]
    test_count: int
    is_cut: bool


def _sightings(wanted: Mapping[str, Any]) -> _Sightings:
    """One query."""
    runs: list[_OfRun] = []
    tests: list[_OfTest] = []
    test_count, is_cut = 0, False
    with connection.cursor() as cursor:
        cursor.execute(_SIGHTINGS, {**wanted, "tests": TESTS})
        for kind, key, number, retried, at, branch, is_asked in cursor.fetchall():
            if kind == "run":
                runs.append(_OfRun(key, number, retried, at, branch, is_asked))
            elif kind == "case":
                tests.append(_OfTest(key, number, at))
            else:
                test_count, is_cut = key, number > wanted["limit"]
    runs.sort(key=lambda run: (run.at, run.id), reverse=True)
    return _Sightings(runs, tests, test_count, is_cut)


def _tests(seen: Sequence[_OfTest]) -> list[TestSeen]:
    cases = TestCase.objects.in_bulk([one.id for one in seen])
    return [TestSeen(cases[one.id], one.number, one.last_at) for one in seen if one.id in cases]


def _runs(seen: Sequence[_OfRun]) -> list[RunSeen]:
    """The newest."""
    chosen = seen[:RUNS]
    runs = Run.objects.select_related("suite").in_bulk([one.id for one in chosen])
    return [RunSeen(runs[one.id], one.number) for one in chosen if one.id in runs]


def _services(wanted: Mapping[str, Any], runs: Sequence[int]) -> tuple[list[tuple[str, int]], int]:
    """Services that these failures are held against, and how many of them any is blamed for."""
    if not runs:
        return [], 0
    counts: Counter[str] = Counter()
    blamed = 0
    with connection.cursor() as cursor:
        cursor.execute(_SERVICES, {**wanted, "runs": list(runs)})
        for services, count in cursor.fetchall():
            blamed += count
            for name in services:
                counts[name] += count
    return counts.most_common(SERVICES), blamed


def _days(seen: Iterable[_OfRun], now: datetime) -> list[tuple[date, int]]:
    counts: Counter[date] = Counter()
    for run in seen:
        counts[run.at.date()] += run.number
    first = now.date() - timedelta(days=DAYS - 1)
    return [(day, counts[day]) for day in (first + timedelta(days=index) for index in range(DAYS))]
