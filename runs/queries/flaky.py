"""The flaky board: which tests waste time, ranked by it, each with what it is known by.

The tests of a project that have anything to say are few beside all, so they are read narrowly and whole;
stages, ranks and shares are made of them here, and only the page that is shown is read in full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlencode

from django.db.models import Q, QuerySet

from runs.models import CaseState, Project, Quarantine, Run, Suite, TestCase
from runs.queries.run_page import recent_strips, strip_of, with_strips
from runs.vocabulary import Flakiness

PAGE_SIZE = 30
#: Tests that are ranked: the costliest of a project that has more.
BOARD_LIMIT = 5_000
#: A test's state is new for so many days …
NEW_DAYS = 3
#: … and its recovery is told for so many.
RECOVERED_DAYS = 30
#: The costliest tests are named in the verdict.
NAMED = 3
#: Ends of the scale that intervals are drawn on, 0 to 1.
SCALES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0)


class Stage(StrEnum):
    """Where a test is on its way from the first evidence to health."""

    NEW = "new"
    ACTIVE = "active"
    QUARANTINED = "quarantined"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class BoardFilter:
    """What the URL asks for. A value that cannot be is as if it had not been said."""

    stage: str = ""
    state: str = ""
    suite: str = ""
    q: str = ""
    #: The rank after which the page begins.
    after: int = 0

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> BoardFilter:
        """Read a query string."""
        stage, state, after = query.get("stage", ""), query.get("state", ""), query.get("after", "")
        return cls(
            stage=stage if stage in set(Stage) else "",
            state=state if state in set(Flakiness) - {Flakiness.HEALTHY} else "",
            suite=query.get("suite", "").replace("\x00", "")[:120],
            q=query.get("q", "").replace("\x00", "").strip()[:200],
            after=int(after) if after.isascii() and after.isdigit() and len(after) < 6 else 0,  # noqa: PLR2004 - more digits than ranks
        )

    @property
    def is_empty(self) -> bool:
        """Whether everything is asked for."""
        return replace(self, after=0) == BoardFilter()

    def query(self, **changes: str | int) -> str:
        """The query string that says this, with some of it changed; pages start over."""
        values: dict[str, str | int] = {
            "q": self.q,
            "stage": self.stage,
            "state": self.state,
            "suite": self.suite,
        }
        pairs = {name: value for name, value in (values | changes).items() if value}
        return f"?{urlencode(pairs)}"


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A test of the board, as narrowly as it is ranked by."""

    case: int
    suite: int
    stage: Stage
    flakiness: Flakiness
    is_broken: bool
    lost_ms: int


@dataclass(frozen=True, slots=True)
class BoardRow:
    """A test on the board. `rank` counts from one among what the filters leave."""

    rank: int
    case: TestCase
    stage: Stage
    #: None: quarantined, and healthy as far as is known.
    state: CaseState | None
    quarantine: Quarantine | None
    strip: str
    #: Of the time that all of them cost, 0 to 1.
    share: float

    @property
    def ident(self) -> str:
        """What the ids of its quarantine's form begin with."""
        return f"hold-{self.case.pk}"

    @property
    def lost_ms(self) -> int:
        """Milliseconds per week; none once it has recovered."""
        has_cost = self.state is not None and self.state.flakiness != Flakiness.HEALTHY
        return self.state.lost_ms_per_week if self.state and has_cost else 0

    @property
    def runs_per_week(self) -> float | None:
        """How often it runs; None when that was not counted."""
        return self.state.inputs.get("runs_per_week") if self.state else None

    @property
    def failing_streak(self) -> int:
        """Commits of the default branch that failed, up to now."""
        return int(self.state.inputs.get("failing_streak", 0)) if self.state else 0

    @property
    def passes(self) -> int:
        """Passing executions in a row."""
        return int(self.state.inputs.get("passing_executions", 0)) if self.state else 0


@dataclass(frozen=True, slots=True)
class Board:
    """The board: what it costs in all, and one page of the ranking."""

    wanted: BoardFilter
    rows: list[BoardRow]
    #: By stage, with the other filters in force.
    counts: Mapping[str, int]
    suites: list[str]
    #: Of the whole project: per week, and how many tests have a part in it.
    lost_ms: int
    costly_count: int
    named: list[BoardRow]
    #: Suspect or worse, broken ones included, in the whole project.
    unhealthy_count: int
    quarantined_count: int
    #: Query strings of the neighbouring pages; empty where there is none.
    previous: str
    following: str
    #: The end of the scale that intervals are drawn on, 0 to 1.
    scale: float

    @property
    def total(self) -> int:
        """Tests in all stages, with the other filters in force."""
        return sum(self.counts.values())

    @property
    def stages(self) -> list[tuple[Stage, int]]:
        """Every stage with its tests' number."""
        return [(stage, self.counts.get(stage, 0)) for stage in Stage]

    @property
    def last_rank(self) -> int:
        """Of the last row shown."""
        return self.rows[-1].rank

    @property
    def named_share(self) -> float:
        """The part of the cost, 0 to 1, that the named tests have."""
        return sum(row.share for row in self.named)

    @property
    def new_count(self) -> int:
        """How many of the named came into their state lately."""
        return sum(row.stage is Stage.NEW for row in self.named)

    @property
    def parts(self) -> list[tuple[str, float]]:
        """The costs side by side: the named, then the others."""
        shown: list[tuple[str, float]] = [(row.case.name, row.share) for row in self.named]
        left = self.costly_count - len(self.named)
        others = "one other" if left == 1 else f"the other {left}"
        return [*shown, (others, 1 - self.named_share)] if left else shown


def board(project: Project, wanted: BoardFilter, *, now: datetime) -> Board:
    """At most five queries: quarantines, states, suites, a search, the page's tests with their strips."""
    held = {one.case_id: one for one in _quarantines(project, now)}
    suites = dict(Suite.objects.filter(project=project).order_by("name").values_list("pk", "name"))
    ranked = _ranked(suites, held, now)
    lost_ms = sum(one.lost_ms for one in ranked)
    matching = _matching(ranked, wanted, suites)
    staged = [one for one in matching if wanted.stage in {"", one.stage}]
    shown = staged[wanted.after : wanted.after + PAGE_SIZE]
    costly = [one for one in ranked if one.lost_ms]
    named = costly[:NAMED]
    found = with_strips(TestCase.objects.select_related("suite", "state"))
    cases = found.in_bulk({one.case for one in (*shown, *named)})

    def row(one: _Ranked, rank: int) -> BoardRow:
        case = cases[one.case]
        return BoardRow(
            rank=rank,
            case=case,
            stage=one.stage,
            state=getattr(case, "state", None),
            quarantine=held.get(one.case),
            strip=strip_of(case),
            share=one.lost_ms / lost_ms if lost_ms else 0.0,
        )

    rows = [row(one, rank) for rank, one in enumerate(shown, wanted.after + 1)]
    return Board(
        wanted=wanted,
        rows=rows,
        counts=Counter(one.stage for one in matching),
        suites=list(suites.values()),
        lost_ms=lost_ms,
        costly_count=len(costly),
        named=[row(one, rank) for rank, one in enumerate(named, 1)],
        unhealthy_count=sum(one.is_broken or one.flakiness is not Flakiness.HEALTHY for one in ranked),
        quarantined_count=len(held),
        previous=wanted.query(after=max(0, wanted.after - PAGE_SIZE)) if wanted.after else "",
        following=wanted.query(after=wanted.after + PAGE_SIZE) if staged[wanted.after + PAGE_SIZE :] else "",
        scale=scale_of([one.state.evidence_high for one in rows if one.state]),
    )


def board_row(case: TestCase, *, rank: int, now: datetime) -> BoardRow:
    """One row again, after something was done to its test. Three queries."""
    state = CaseState.objects.filter(case=case).first()
    held = Quarantine.objects.in_force(now).filter(case=case).first()
    return BoardRow(
        rank=rank,
        case=case,
        stage=_stage(
            flakiness=state.flakiness if state else Flakiness.HEALTHY,
            is_broken=state.is_broken if state else False,
            changed_at=state.changed_at if state else now,
            is_held=held is not None,
            now=now,
        ),
        state=state,
        quarantine=held,
        strip=recent_strips([case.pk]).get(case.pk, ""),
        share=0.0,
    )


def has_finished_runs(project: Project) -> bool:
    """Whether anything could have been judged."""
    return Run.objects.for_project(project).filter(finished_at__isnull=False).exists()


def scale_of(highs: Collection[float], wanted: str = "") -> float:
    """The end, 0 to 1, of a scale that holds the upper bounds; or a known one that is wanted."""
    known = {str(end): end for end in SCALES}
    highest = max(highs, default=0.0)
    return known.get(wanted) or next(end for end in SCALES if highest <= end)


def _quarantines(project: Project, now: datetime) -> QuerySet[Quarantine]:
    return Quarantine.objects.in_force(now).filter(case__suite__project=project)


def _ranked(suites: Collection[int], held: Collection[int], now: datetime) -> list[_Ranked]:
    """Costliest first; among equals the surer, then the older.

    The suites are named by id, so that the planner knows how many tests they have.
    """
    # Broken and recovered ones are not in the partial index of those that are not healthy.
    told = (
        ~Q(flakiness=Flakiness.HEALTHY)
        | Q(is_broken=True)
        | Q(changed_at__gt=now - timedelta(days=RECOVERED_DAYS))
        | Q(case__in=sorted(held))
    )
    states = CaseState.objects.filter(told, case__suite__in=list(suites)).order_by("-lost_ms_per_week", "pk")
    found = [
        _Ranked(
            case=case,
            suite=suite,
            stage=_stage(
                flakiness=flakiness, is_broken=is_broken, changed_at=changed, is_held=case in held, now=now
            ),
            flakiness=Flakiness(flakiness),
            is_broken=is_broken,
            # What has recovered, or is plainly broken, is no longer run again for its flakiness.
            lost_ms=0 if flakiness == Flakiness.HEALTHY else lost_ms,
        )
        for case, suite, flakiness, is_broken, lost_ms, changed in states.values_list(
            "pk", "case__suite_id", "flakiness", "is_broken", "lost_ms_per_week", "changed_at"
        )[:BOARD_LIMIT]
    ]
    known = {one.case for one in found}
    unjudged = TestCase.objects.filter(pk__in=sorted(set(held) - known)) if set(held) - known else []
    found += [
        _Ranked(case.pk, case.suite_id, Stage.QUARANTINED, Flakiness.HEALTHY, is_broken=False, lost_ms=0)
        for case in unjudged
    ]
    found.sort(key=lambda one: (-one.lost_ms, -_SURENESS[one.flakiness], not one.is_broken, one.case))
    return found


_SURENESS = {
    Flakiness.HEALTHY: 0,
    Flakiness.SUSPECT: 1,
    Flakiness.LIKELY_FLAKY: 2,
    Flakiness.FLAKY: 3,
}


def _stage(*, flakiness: str, is_broken: bool, changed_at: datetime, is_held: bool, now: datetime) -> Stage:
    if is_held:
        return Stage.QUARANTINED
    if flakiness == Flakiness.HEALTHY and not is_broken:
        return Stage.RECOVERED
    return Stage.NEW if now - changed_at < timedelta(days=NEW_DAYS) else Stage.ACTIVE


def _matching(ranked: Sequence[_Ranked], wanted: BoardFilter, suites: Mapping[int, str]) -> list[_Ranked]:
    """What all filters but the stage leave."""
    found = list(ranked)
    if wanted.suite:
        found = [one for one in found if suites.get(one.suite) == wanted.suite]
    if wanted.state == Flakiness.BROKEN:
        found = [one for one in found if one.is_broken]
    elif wanted.state:
        found = [one for one in found if one.flakiness == wanted.state]
    if wanted.q and found:
        named = TestCase.objects.filter(pk__in=[one.case for one in found]).filter(named_like(wanted.q))
        kept = set(named.values_list("pk", flat=True))
        found = [one for one in found if one.case in kept]
    return found


def named_like(q: str) -> Q:
    """Tests with these words in their name, class, file or suite."""
    return (
        Q(name__icontains=q) | Q(class_name__icontains=q) | Q(file__icontains=q) | Q(suite__name__icontains=q)
    )


@dataclass(frozen=True, slots=True)
class CostlyCase:
    """A test and its share, 0 to 1, of the time that flaky tests cost its project."""

    case: TestCase
    state: CaseState
    share: float

    @property
    def lost_ms(self) -> int:
        """Milliseconds per week."""
        return self.state.lost_ms_per_week


@dataclass(frozen=True, slots=True)
class Costliest:
    """What flaky tests cost a project per week, and the tests that cost most."""

    rows: list[CostlyCase]
    #: Milliseconds per week, of all of the project's flaky tests.
    lost_ms: int
    #: Tests that are suspect, likely flaky or flaky.
    count: int

    @property
    def share(self) -> float:
        """The part of it, 0 to 1, that the rows cost."""
        return sum(row.share for row in self.rows)


def costliest(project: Project, limit: int = 3) -> Costliest:
    """Two queries: what every test that is not healthy costs, and the costliest of them."""
    costs = list(
        _unhealthy(project).order_by("-lost_ms_per_week", "pk").values_list("pk", "lost_ms_per_week")
    )
    lost_ms = sum(cost for _, cost in costs)
    shown = [case for case, _ in costs[:limit]]
    states = CaseState.objects.select_related("case__suite").in_bulk(shown) if shown else {}
    return Costliest(
        rows=[
            CostlyCase(
                case=states[case].case,
                state=states[case],
                share=states[case].lost_ms_per_week / lost_ms if lost_ms else 0.0,
            )
            for case in shown
            if case in states
        ],
        lost_ms=lost_ms,
        count=len(costs),
    )


def _unhealthy(project: Project) -> QuerySet[CaseState]:
    """As the partial index has them."""
    return CaseState.objects.filter(case__suite__project=project).exclude(flakiness=Flakiness.HEALTHY)
