"""How long suites and tests take on the default branch, and what became slower.

Tests are read from what was judged after each run (`runs/actions/pacing.py`); a suite's trend and the levels
of a chart are few numbers and are worked out when a page asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from django.contrib.postgres.expressions import ArraySubquery
from django.db import connection
from django.db.models import F, OuterRef, Q, QuerySet
from django.db.models.functions import JSONObject

from runs.analytics.durations import (
    DEFAULTS,
    DurationAlert,
    Spread,
    Stretch,
    spread,
    standing_alert,
    stretches,
)
from runs.analytics.samples import median
from runs.analytics.trends import LISTED_P_VALUE
from runs.models import CaseDuration, Project, Result, Run, Suite, TestCase
from runs.vocabulary import Outcome, RunStatus

#: Runs of a suite that its trend is made of.
RUN_LIMIT: Final = 200
#: Passes of a test that its chart shows: as many as are kept to judge it by.
PASS_LIMIT: Final = 100
#: Values of a spark.
COURSE_LENGTH: Final = 24
#: Passes before anything is said of a rise.
LEAST_COUNT: Final = DEFAULTS.recent + DEFAULTS.base

# Tests that no longer run with their suite are left out: 14 days behind its newest run they are history.
_SLOWEST = """
WITH paced AS MATERIALIZED (
    SELECT d.case_id, c.suite_id, d.p50_ms, d.p95_ms, d.is_slower, d.last_run_at
    FROM runs_testcase c JOIN runs_caseduration d ON d.case_id = c.id WHERE c.suite_id = ANY(%(suites)s)
), kept AS MATERIALIZED (
    SELECT p.* FROM paced p
    JOIN (SELECT suite_id, max(last_run_at) AS newest FROM paced GROUP BY suite_id) s USING (suite_id)
    WHERE p.last_run_at > s.newest - interval '14 days'
), slowest AS (
    SELECT * FROM kept ORDER BY p50_ms DESC, p95_ms DESC, case_id LIMIT %(limit)s
)
SELECT s.case_id, s.p50_ms, s.p95_ms, s.is_slower, cardinality(d.recent_ms),
       (SELECT sum(p50_ms) FROM kept), (SELECT count(*) FROM kept)
FROM slowest s JOIN runs_caseduration d ON d.case_id = s.case_id
ORDER BY s.p50_ms DESC, s.p95_ms DESC, s.case_id
"""


@dataclass(frozen=True, slots=True)
class PacePoint:
    """One pass: the run it was in, and how long it took."""

    number: int
    at: datetime
    commit: str
    seconds: float


@dataclass(frozen=True, slots=True)
class LevelChange:
    """Where one level ends and the next begins; `point` is the first of the new one."""

    index: int
    point: PacePoint
    before: Stretch
    after: Stretch

    @property
    def added_seconds(self) -> float:
        """By how much the median rose; negative when it fell."""
        return self.after.median - self.before.median

    @property
    def before_ms(self) -> float:
        """Milliseconds of the median until then."""
        return self.before.median * 1000

    @property
    def after_ms(self) -> float:
        """Milliseconds of the median since."""
        return self.after.median * 1000


@dataclass(frozen=True, slots=True)
class LevelRow:
    """A level as a table lists it."""

    first: PacePoint
    last: PacePoint
    spread: Spread

    @property
    def p50_ms(self) -> float:
        """Milliseconds of its median."""
        return self.spread.p50 * 1000

    @property
    def p95_ms(self) -> float:
        """Milliseconds below which 95 % of it lie."""
        return self.spread.p95 * 1000


@dataclass(frozen=True, slots=True)
class DurationTrend:
    """Passes in order of time with what can be said of them."""

    points: list[PacePoint]
    spread: Spread | None
    alert: DurationAlert | None
    #: Empty where no chart is drawn.
    levels: list[Stretch]

    @property
    def seconds(self) -> list[float]:
        """The durations, oldest first."""
        return [point.seconds for point in self.points]

    @property
    def course(self) -> list[float]:
        """As a spark shows it; see `course_of`."""
        return course_of(self.seconds)

    @property
    def current(self) -> Spread | None:
        """What is usual now: since the standing alert began, else on the newest level, or of all."""
        if self.alert is not None:
            return spread(self.seconds[self.alert.index :])
        return spread(self.seconds[self.levels[-1].start :]) if self.levels else self.spread

    @property
    def current_since(self) -> PacePoint | None:
        """The first pass of what is usual now; None when that is all of them."""
        if self.alert is not None:
            return self.slower_since
        return self.newest_change.point if self.newest_change else None

    @property
    def newest_change(self) -> LevelChange | None:
        """From the level before to the newest one; None when nothing changed or no levels are known."""
        return self.changes[-1] if self.levels[1:] else None

    @property
    def changes(self) -> list[LevelChange]:
        """From level to level, oldest first."""
        return [
            LevelChange(index=after.start, point=self.points[after.start], before=before, after=after)
            for before, after in pairwise(self.levels)
        ]

    @property
    def level_rows(self) -> list[LevelRow]:
        """The levels with their ends and what is usual on them, oldest first."""
        rows = []
        for level in self.levels:
            points = self.points[level.start : level.end]
            known = spread([point.seconds for point in points])
            if known:
                rows.append(LevelRow(points[0], points[-1], known))
        return rows

    @property
    def is_slower(self) -> bool:
        """Whether an alert stands."""
        return self.alert is not None

    @property
    def slower_since(self) -> PacePoint | None:
        """The first pass of the standing alert."""
        return None if self.alert is None else self.points[self.alert.index]

    @property
    def p50_ms(self) -> float | None:
        """Milliseconds of the current median."""
        return None if self.current is None else self.current.p50 * 1000

    @property
    def p95_ms(self) -> float | None:
        """Milliseconds below which 95 % lie now."""
        return None if self.current is None else self.current.p95 * 1000

    @property
    def before_ms(self) -> float | None:
        """Milliseconds of the median before the standing alert."""
        return None if self.alert is None else self.alert.before * 1000

    @property
    def after_ms(self) -> float | None:
        """Milliseconds of the median since it began: the alert itself saw some of the fast ones, too."""
        return None if self.alert is None else self.p50_ms


@dataclass(frozen=True, slots=True)
class SuiteTrend:
    """A suite and how long its passed runs on the default branch took."""

    suite: Suite
    trend: DurationTrend

    @property
    def added_ms(self) -> float:
        """Milliseconds that the standing alert adds to a run; 0 without one."""
        return (self.trend.after_ms or 0.0) - (self.trend.before_ms or 0.0)


@dataclass(frozen=True, slots=True)
class SlowerCase:
    """A test whose newest passes take longer than those before; `is_slower` when it is worth an alert."""

    case: TestCase
    before_ms: int
    after_ms: int
    p50_ms: int
    p_value: float
    is_slower: bool
    #: The first run of the new pace; None when it is no alert, or the run is gone.
    since: Run | None
    recent_ms: list[int]

    @property
    def course(self) -> list[float]:
        """As a spark shows it; see `course_of`."""
        return course_of(self.recent_ms)

    @property
    def added_ms(self) -> int:
        """How much longer, in milliseconds."""
        return self.after_ms - self.before_ms

    @property
    def share(self) -> float | None:
        """How much longer, as a share of before; None when that was nothing."""
        return self.added_ms / self.before_ms if self.before_ms else None


@dataclass(frozen=True, slots=True)
class SlowCase:
    """A slow test: its usual and its slow pass in milliseconds, and its share of the time of all."""

    case: TestCase
    p50_ms: int
    p95_ms: int
    pass_count: int
    share: float
    is_slower: bool

    @property
    def parts(self) -> list[tuple[str, float]]:
        """The share as a bar draws it: this test, and the others."""
        return [("m-dur", self.share), ("m-rest", 1 - self.share)]


@dataclass(frozen=True, slots=True)
class Slowest:
    """The slowest tests of those that are measured."""

    rows: list[SlowCase]
    #: Of all that are measured.
    case_count: int
    total_ms: int

    @property
    def share(self) -> float:
        """The share of the time of all that these take."""
        return sum(row.share for row in self.rows)


@dataclass(frozen=True, slots=True)
class DurationsPage:
    """What is slow in a project, or in one suite of it."""

    suites: list[SuiteTrend]
    #: The one that the page is narrowed to.
    suite: Suite | None
    slowest: Slowest
    regressed: list[SlowerCase]

    @property
    def shown(self) -> list[SuiteTrend]:
        """The suites that the page is about."""
        return [one for one in self.suites if self.suite is None or one.suite.pk == self.suite.pk]

    @property
    def slower_suites(self) -> list[SuiteTrend]:
        """Those with a standing alert, the one that adds most first."""
        return sorted((one for one in self.shown if one.trend.is_slower), key=lambda one: -one.added_ms)

    @property
    def slower_cases(self) -> list[SlowerCase]:
        """The tests with a standing alert."""
        return [row for row in self.regressed if row.is_slower]

    @property
    def most_passes(self) -> int:
        """Of the suite that passed most often: below `LEAST_COUNT` nothing can be said."""
        return max((len(one.trend.points) for one in self.shown), default=0)


def durations_page(project: Project, *, suite_name: str = "") -> DurationsPage:
    """Four queries: the suites with their runs, the slowest tests and their names, those that rose."""
    suites = suite_trends(project, with_levels=True)
    suite = next((one.suite for one in suites if one.suite.name == suite_name), None)
    shown = [suite] if suite else [one.suite for one in suites]
    return DurationsPage(
        suites=suites,
        suite=suite,
        slowest=slowest_cases(shown),
        regressed=_regressed(shown, limit=20),
    )


def suite_trends(
    project: Project, *, suite_id: int | None = None, with_levels: bool = False
) -> list[SuiteTrend]:
    """Every suite by name, or that one, with its newest passed runs on the default branch; one query."""
    # Apart, since each of the two is read in the order of an index and no further than needed.
    named = _newest_passes(branch=project.default_branch)
    meant = _newest_passes(branch="", ref=project.default_branch)
    suites = Suite.objects.filter(project=project).annotate(named=named, meant=meant).order_by("name")
    if suite_id is not None:
        suites = suites.filter(pk=suite_id)
    found = []
    for suite in suites:
        suite.project = project
        points = [_point(facts) for facts in [*suite.named, *suite.meant]]
        points.sort(key=lambda point: (point.at, point.number))
        found.append(SuiteTrend(suite, trend_of(points[-RUN_LIMIT:], with_levels=with_levels)))
    return found


def _newest_passes(**values: str) -> ArraySubquery:
    """A suite's newest passed runs of that branch that nobody proposed, as facts."""
    runs = Run.objects.filter(
        suite=OuterRef("pk"),
        pull_request="",
        status=RunStatus.PASSED,
        duration_ms__isnull=False,
        selection=[],
        **values,
    )
    facts = JSONObject(number="number", at="run_at", commit="commit", ms="duration_ms")
    return ArraySubquery(runs.order_by("-number").values(facts=facts)[:RUN_LIMIT])


def case_trend(case: TestCase, *, branch: str) -> DurationTrend:
    """A test's newest passes on that branch, or on all when it is empty; one query."""
    passes = Result.objects.filter(case=case, outcome=Outcome.PASSED, duration_ms__isnull=False)
    if branch:
        passes = passes.filter(run__branch=branch)
    rows = passes.order_by("-run_at", "-run_id").values_list(
        "run__number", "run_at", "run__commit", "duration_ms"
    )[:PASS_LIMIT]
    return trend_of(
        [PacePoint(number, at, commit, (ms or 0) / 1000) for number, at, commit, ms in reversed(rows)],
        with_levels=True,
    )


def trend_of(points: list[PacePoint], *, with_levels: bool) -> DurationTrend:
    """Say what can be said of passes in order of time."""
    seconds = [point.seconds for point in points]
    alert = standing_alert(seconds)
    return DurationTrend(
        points=points,
        spread=spread(seconds),
        alert=alert,
        levels=_levels(seconds, alert) if with_levels else [],
    )


def _levels(seconds: Sequence[float], alert: DurationAlert | None) -> list[Stretch]:
    """The levels, one of which begins with the standing alert.

    The alert asks of medians, which a single pass cannot move; the search for levels weighs every pass, and
    one far off can hide from it what the alert saw. A page says both, and may not deny itself.
    """
    found = stretches(seconds)
    if alert is None or any(abs(level.start - alert.index) < DEFAULTS.side for level in found[1:]):
        return found
    bounds = sorted({*(level.start for level in found), alert.index, len(seconds)})
    return [Stretch(start, end, median(seconds[start:end])) for start, end in pairwise(bounds)]


def course_of(values: Sequence[float]) -> list[float]:
    """At most `COURSE_LENGTH` medians of neighbours, in order: a change shows, single ones do not."""
    count = min(COURSE_LENGTH, len(values))
    cuts = [round(part * len(values) / count) for part in range(count + 1)] if count else []
    return [median(values[start:end]) for start, end in pairwise(cuts)]


def slower_cases(project: Project, *, limit: int = 3) -> list[SlowerCase]:
    """The tests with a standing alert, the one that adds most first; one query."""
    return _slower(CaseDuration.objects.filter(case__suite__project=project, is_slower=True), limit)


def slowest_cases(suites: Sequence[Suite], *, limit: int = 20) -> Slowest:
    """The suites' tests with the largest medians among those that still run; two queries."""
    values: dict[str, Any] = {"suites": [suite.pk for suite in suites], "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(_SLOWEST, values)
        found = cursor.fetchall()
    if not found:
        return Slowest([], 0, 0)
    cases = TestCase.objects.select_related("suite").in_bulk([row[0] for row in found])
    total, count = int(found[0][5]), int(found[0][6])
    return Slowest(
        rows=[
            SlowCase(
                case=cases[case],
                p50_ms=p50,
                p95_ms=p95,
                pass_count=passes,
                share=p50 / total if total else 0.0,
                is_slower=is_slower,
            )
            for case, p50, p95, is_slower, passes, *_ in found
            if case in cases
        ],
        case_count=count,
        total_ms=total,
    )


def _regressed(suites: Sequence[Suite], *, limit: int) -> list[SlowerCase]:
    """Alerts, and rises that are not worth one but that chance explains less than once in a hundred."""
    risen = Q(is_slower=True) | Q(p_value__lt=LISTED_P_VALUE, after_ms__gt=F("before_ms"))
    own = CaseDuration.objects.filter(case__suite__in=[suite.pk for suite in suites])
    return _slower(own.filter(risen), limit)


def _slower(rows: QuerySet[CaseDuration], limit: int) -> list[SlowerCase]:
    """Chosen by what they are ordered by alone, and then read: sorting whole rows takes long."""
    order = ((F("after_ms") - F("before_ms")).desc(), "pk")
    chosen = CaseDuration.objects.filter(pk__in=rows.order_by(*order).values("pk")[:limit])
    ordered = chosen.select_related("case__suite", "changed_run").order_by(*order)
    return [
        SlowerCase(
            case=row.case,
            before_ms=row.before_ms or 0,
            after_ms=row.after_ms or 0,
            p50_ms=row.p50_ms,
            p_value=1.0 if row.p_value is None else row.p_value,
            is_slower=row.is_slower,
            since=row.changed_run,
            recent_ms=row.recent_ms,
        )
        for row in ordered
    ]


def _point(facts: dict[str, Any]) -> PacePoint:
    return PacePoint(
        number=int(facts["number"]),
        at=datetime.fromisoformat(facts["at"]),
        commit=str(facts["commit"]),
        seconds=int(facts["ms"]) / 1000,
    )
