"""The grid: a suite's tests by its last runs on a branch, so that what broke together is seen together.

Runs in which the environment failed are columns without results, told by a mark in the header: a red column
says nothing of any test. One narrow statement reads the results of the tests that are shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from django.db import connection
from django.db.models import QuerySet, TextField, Value
from django.db.models.functions import Coalesce, NullIf

from runs.analytics.flakiness import OutageReason
from runs.analytics.similarity import similar_together
from runs.models import Project, Run, Suite, TestCase
from runs.queries.evidence import outages_of, with_largest_group
from runs.queries.flaky import named_like
from runs.queries.marks import Mark
from runs.vocabulary import RunStatus

PAGE_SIZE = 200
RUNS, MOST_RUNS = 60, 100
#: Runs in which other branches are looked for.
BRANCH_SAMPLE = 500
#: Failures that are read to count and order tests by; a suite with more of them has other worries.
FAILURE_LIMIT = 50_000
#: Tests whose likeness is compared: each with each.
SIMILAR_LIMIT = 600
#: No rank has as many digits.
_DIGITS = 6

#: A cancelled run was stopped by somebody: it says nothing, not even of the environment.
_SHOWN = [RunStatus.PASSED, RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.ERRORED]

_FAILURES = """
SELECT case_id, run_id, outcome = 'flaky' FROM runs_result
WHERE run_at BETWEEN %(since)s AND %(until)s AND run_id = ANY(%(runs)s)
  AND outcome <> 'passed' AND outcome IN ('failed', 'errored', 'flaky')
LIMIT %(limit)s
"""
# By the cases; see `runs/queries/evidence.py`.
_CELLS = """
SELECT case_id, array_agg(run_id), string_agg(
    CASE outcome WHEN 'passed' THEN 'p' WHEN 'skipped' THEN 's' WHEN 'flaky' THEN 'k' ELSE 'f' END, '')
FROM runs_result
WHERE run_at BETWEEN %(since)s AND %(until)s AND case_id = ANY(%(cases)s)
  AND run_id + 0 = ANY(%(runs)s)
GROUP BY case_id
"""


class Rows(StrEnum):
    """Which tests are shown."""

    ALL = "all"
    EVER = "ever"
    NOW = "now"


class Order(StrEnum):
    """In which order they are."""

    FILE = "file"
    FAILURES = "failures"
    SIMILARITY = "similarity"


@dataclass(frozen=True, slots=True)
class GridFilter:
    """What the URL asks for. A value that cannot be is as if it had not been said."""

    suite: str = ""
    branch: str = ""
    q: str = ""
    rows: Rows = Rows.ALL
    order: Order = Order.FILE
    runs: int = RUNS
    #: Tests left out before the first that is shown.
    after: int = 0

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> GridFilter:
        """Read a query string."""
        rows, order = query.get("rows", ""), query.get("order", "")
        return cls(
            suite=query.get("suite", "").replace("\x00", "")[:120],
            branch=query.get("branch", "").replace("\x00", "")[:250],
            q=query.get("q", "").replace("\x00", "").strip()[:200],
            rows=Rows(rows) if rows in set(Rows) else Rows.ALL,
            order=Order(order) if order in set(Order) else Order.FILE,
            runs=min(_number(query.get("runs", "")) or RUNS, MOST_RUNS),
            after=_number(query.get("after", "")),
        )

    def query(self, **changes: str | int) -> str:
        """The query string that says this, with some of it changed; pages start over."""
        values: dict[str, str | int] = {
            "suite": self.suite,
            "branch": self.branch,
            "q": self.q,
            "rows": "" if self.rows is Rows.ALL else self.rows,
            "order": "" if self.order is Order.FILE else self.order,
            "runs": "" if self.runs == RUNS else self.runs,
        }
        return f"?{urlencode({name: value for name, value in (values | changes).items() if value})}"


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0


@dataclass(frozen=True, slots=True)
class Column:
    """A run of the grid."""

    run: Run
    #: Why its failures are not drawn; None for a run that is believed.
    outage: OutageReason | None = None

    @property
    def is_marked(self) -> bool:
        """Whether the header says something of it."""
        return self.outage is not None or self.run.status == RunStatus.ERRORED

    @property
    def words(self) -> str:
        """What the mark says."""
        run = self.run
        if run.status == RunStatus.ERRORED:
            return "no environment" if run.test_count == 0 else "errored"
        failed = run.failed_count + run.errored_count
        if self.outage is OutageReason.MOSTLY_FAILED:
            return f"outage: {failed} of {run.test_count} failed"
        return "outage: one cause failed many" if self.outage else ""


@dataclass(frozen=True, slots=True)
class GridRow:
    """A test with a mark for each column, oldest first."""

    case: TestCase
    marks: str

    @property
    def failed_count(self) -> int:
        """Failures that are drawn."""
        return self.marks.count(Mark.FAILED)

    @property
    def flaky_count(self) -> int:
        """Passes after a retry."""
        return self.marks.count(Mark.FLAKY)


@dataclass(frozen=True, slots=True)
class GridGroup:
    """Tests of one file or class; all of them, without a name, in another order."""

    name: str
    rows: list[GridRow]


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid's page."""

    wanted: GridFilter
    suites: list[str]
    #: The one shown; empty in a project without any.
    suite: str = ""
    branches: list[str] = field(default_factory=list)
    branch: str = ""
    columns: list[Column] = field(default_factory=list)
    groups: list[GridGroup] = field(default_factory=list)
    #: Tests by what `rows` may be.
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def row_count(self) -> int:
        """Tests shown."""
        return sum(len(group.rows) for group in self.groups)

    @property
    def row_choices(self) -> list[tuple[Rows, str, int, str]]:
        """What rows may be chosen: value, words, number, query string."""
        words = {Rows.ALL: "All", Rows.EVER: "Ever failed", Rows.NOW: "Failing now"}
        return [
            (rows, words[rows], self.counts.get(rows, 0), self.wanted.query(rows=_unless(rows, Rows.ALL)))
            for rows in Rows
        ]

    @property
    def marked(self) -> list[Column]:
        """Runs that the header marks, newest first."""
        return [column for column in reversed(self.columns) if column.is_marked]

    @property
    def labels(self) -> list[str]:
        """Run numbers, by column."""
        return [f"#{column.run.number}" for column in self.columns]

    @property
    def newest(self) -> str:
        """The number of the newest run."""
        return self.labels[-1]

    @property
    def signs(self) -> list[str]:
        """By column, what the header's mark says; empty where there is none."""
        return [column.words if column.is_marked else "" for column in self.columns]

    @property
    def previous(self) -> str:
        """Query string of the page before; empty on the first."""
        after = self.wanted.after
        return self.wanted.query(after=max(0, after - PAGE_SIZE)) if after else ""

    @property
    def following(self) -> str:
        """Query string of the next page; empty on the last."""
        after = self.wanted.after + PAGE_SIZE
        return self.wanted.query(after=after) if self.counts.get(self.wanted.rows, 0) > after else ""


def _unless(value: str, usual: str) -> str:
    return "" if value == usual else value


def grid_page(project: Project, wanted: GridFilter) -> Grid:
    """Nine queries, whatever the number of tests and runs."""
    suites = {
        suite.name: suite for suite in Suite.objects.filter(project=project).only("name").order_by("name")
    }
    suite = suites.get(wanted.suite) or _newest_suite(project, suites.values())
    if suite is None:
        return Grid(wanted=wanted, suites=list(suites))
    branches = _branches(suite)
    branch = wanted.branch if wanted.branch in branches else _usual(branches, project.default_branch)
    columns = _columns(project, suite, branch, wanted.runs)
    counts, cases, cells = _tests(suite, columns, wanted)
    rows = [GridRow(case=case, marks=_marks(cells.get(case.pk, {}), columns)) for case in cases]
    return Grid(
        wanted=wanted,
        suites=list(suites),
        suite=suite.name,
        branches=branches,
        branch=branch,
        columns=columns,
        groups=_grouped(rows, wanted.order),
        counts=counts,
    )


def _newest_suite(project: Project, suites: Iterable[Suite]) -> Suite | None:
    """The suite that ran last; the first when none ever did."""
    newest = Run.objects.for_project(project).filter(status__in=_SHOWN).newest_first()
    ran = newest.values_list("suite_id", flat=True).first()
    return next((suite for suite in suites if suite.pk == ran), next(iter(suites), None))


def _branches(suite: Suite) -> list[str]:
    """Names of the branches it ran on lately."""
    runs = Run.objects.filter(suite=suite, status__in=_SHOWN).newest_first()
    return sorted(set(runs.values_list("branch", flat=True)[:BRANCH_SAMPLE]))


def _usual(branches: Sequence[str], default: str) -> str:
    return default if default in branches or not branches else branches[0]


def _columns(project: Project, suite: Suite, branch: str, count: int) -> list[Column]:
    found = Run.objects.filter(suite=suite, branch=branch, status__in=_SHOWN)
    runs = with_largest_group(found).newest_first()[:count]
    shown = sorted(runs, key=lambda run: run.number)
    outages = outages_of(shown, default_branch=project.default_branch)
    return [Column(run=run, outage=outages.get(run.pk)) for run in shown]


def _tests(
    suite: Suite, columns: Sequence[Column], wanted: GridFilter
) -> tuple[dict[str, int], list[TestCase], dict[int, dict[int, str]]]:
    """How many tests there are, those of the page, and their results by run."""
    if not columns:
        return {}, [], {}
    moments = [column.run.run_at for column in columns]
    bounds = {"since": min(moments), "until": max(moments)}
    failed_in = _failures(columns, bounds)
    seen = TestCase.objects.filter(suite=suite, same_as=None, last_seen_at__gte=bounds["since"])
    if wanted.q:
        seen = seen.filter(named_like(wanted.q))
        kept = set(seen.filter(pk__in=sorted(failed_in)).values_list("pk", flat=True))
        failed_in = {case: runs for case, runs in failed_in.items() if case in kept}
    newest = next((column.run.pk for column in reversed(columns) if not column.is_marked), None)
    failing = {case: runs for case, runs in failed_in.items() if newest in runs}
    counts = {Rows.ALL: seen.count(), Rows.EVER: len(failed_in), Rows.NOW: len(failing)}
    chosen = {Rows.ALL: failed_in, Rows.EVER: failed_in, Rows.NOW: failing}[wanted.rows]
    cases = _page(seen, chosen, wanted)
    return {str(rows): count for rows, count in counts.items()}, cases, _cells(cases, columns, bounds)


def _failures(columns: Sequence[Column], bounds: Mapping[str, Any]) -> dict[int, set[int]]:
    """By test, the runs that are believed in which it failed or needed a retry."""
    believed = [column.run.pk for column in columns if not column.is_marked]
    found: defaultdict[int, set[int]] = defaultdict(set)
    with connection.cursor() as cursor:
        cursor.execute(_FAILURES, {**bounds, "runs": believed, "limit": FAILURE_LIMIT})
        for case, run, _is_flaky in cursor.fetchall():
            found[case].add(run)
    return dict(found)


def _page(seen: QuerySet[TestCase], failed_in: Mapping[int, set[int]], wanted: GridFilter) -> list[TestCase]:
    first, last = wanted.after, wanted.after + PAGE_SIZE
    place = Coalesce(
        NullIf("file", Value("")), NullIf("class_name", Value("")), "path", output_field=TextField()
    )
    by_file = seen.annotate(place=place).order_by("place", "name", "parameters", "pk")
    if wanted.order is Order.FILE:
        return list(
            (by_file if wanted.rows is Rows.ALL else by_file.filter(pk__in=sorted(failed_in)))[first:last]
        )
    ranked = sorted(failed_in, key=lambda case: (-len(failed_in[case]), case))
    if wanted.order is Order.SIMILARITY:
        like = similar_together({case: failed_in[case] for case in ranked[:SIMILAR_LIMIT]})
        ranked = like + ranked[SIMILAR_LIMIT:]
    found = seen.in_bulk(ranked[first:last])
    head = [found[case] for case in ranked[first:last] if case in found]
    if wanted.rows is not Rows.ALL or len(ranked) >= last:
        return head
    # Behind those that failed come those that did not.
    rest = by_file.exclude(pk__in=ranked)
    return head + list(rest[max(0, first - len(ranked)) : last - len(ranked)])


def _cells(
    cases: Sequence[TestCase], columns: Sequence[Column], bounds: Mapping[str, Any]
) -> dict[int, dict[int, str]]:
    """Letters of marks by test and run."""
    if not cases:
        return {}
    runs = [column.run.pk for column in columns]
    with connection.cursor() as cursor:
        cursor.execute(_CELLS, {**bounds, "cases": [case.pk for case in cases], "runs": runs})
        return {
            case: dict(zip(run_ids, letters, strict=True)) for case, run_ids, letters in cursor.fetchall()
        }


def _marks(cells: Mapping[int, str], columns: Sequence[Column]) -> str:
    # By `id`, as there are thousands of cells and `pk` is looked up in the model's description.
    return "".join(_mark(cells.get(column.run.id, Mark.MISSING), column) for column in columns)


def _mark(letter: str, column: Column) -> str:
    """What is drawn: nothing of a run that is not believed, no failure of one that is half believed."""
    if column.outage is OutageReason.MOSTLY_FAILED:
        return Mark.MISSING
    is_failure = letter in {Mark.FAILED, Mark.FLAKY}
    return Mark.MISSING if is_failure and column.is_marked else letter


def _grouped(rows: Sequence[GridRow], order: Order) -> list[GridGroup]:
    if order is not Order.FILE:
        return [GridGroup(name="", rows=list(rows))] if rows else []

    def place(row: GridRow) -> str:
        return row.case.file or row.case.class_name or row.case.path

    return [GridGroup(name=name, rows=list(members)) for name, members in groupby(rows, key=place)]
