"""Lists of tests: narrowed and sorted by what is known of them, a page at a time.

The API and the page ask the same questions. A page goes on after a test, named by its id: where that test
stands in the order is looked up again, so the address says nothing of the order's own values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from urllib.parse import urlencode

from django.db.models import Count, F, Q, QuerySet
from django.db.models.expressions import Combinable, OrderBy

from runs.models import CaseDuration, CaseState, Project, Quarantine, Suite, TestCase
from runs.queries.flaky import named_like
from runs.queries.run_page import recent_strips
from runs.vocabulary import Flakiness, RenameStatus

PAGE_SIZE = 50
#: No bigint has as many digits.
_DIGITS = 18


class Sort(StrEnum):
    """What a list is ordered by."""

    FIRST_SEEN = "first_seen"
    RECENT = "recent"
    NAME = "name"
    FLAKY = "flaky"
    SLOW = "slow"
    SLOWER = "slower"


class State(StrEnum):
    """What a list may be narrowed to."""

    #: Suspect or worse, or broken.
    UNHEALTHY = "unhealthy"
    SUSPECT = "suspect"
    LIKELY_FLAKY = "likely_flaky"
    FLAKY = "flaky"
    BROKEN = "broken"
    QUARANTINED = "quarantined"
    SLOWER = "slower"
    HEALTHY = "healthy"


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """What is asked for. A value that cannot be is as if it had not been said."""

    q: str = ""
    state: str = ""
    suite: str = ""
    sort: Sort = Sort.RECENT
    #: The id of the last test of the page before.
    after: int = 0

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> CaseFilter:
        """Read a query string."""
        state, sort, after = query.get("state", ""), query.get("sort", ""), query.get("after", "")
        return cls(
            q=query.get("q", "").replace("\x00", "").strip()[:200],
            state=state if state in set(State) else "",
            suite=query.get("suite", "").replace("\x00", "")[:120],
            sort=Sort(sort) if sort in set(Sort) else Sort.RECENT,
            after=int(after) if after.isascii() and after.isdigit() and len(after) <= _DIGITS else 0,
        )

    @property
    def is_empty(self) -> bool:
        """Whether every test is asked for, in whatever order."""
        return replace(self, after=0, sort=Sort.RECENT) == CaseFilter()

    def query(self, **changes: str | int) -> str:
        """The query string that says this, with some of it changed; pages start over."""
        values: dict[str, str | int] = {
            "q": self.q,
            "state": self.state,
            "suite": self.suite,
            "sort": "" if self.sort is Sort.RECENT else self.sort,
        }
        return f"?{urlencode({name: value for name, value in (values | changes).items() if value})}"


@dataclass(frozen=True, slots=True)
class CaseRow:
    """A test with what is known of it and its last results, oldest first."""

    case: TestCase
    state: CaseState | None
    pace: CaseDuration | None
    quarantine: Quarantine | None
    strip: str

    @property
    def slower_ms(self) -> int | None:
        """Milliseconds that it takes longer than before; None when it is not slower."""
        pace = self.pace
        if pace is None or not pace.is_slower or pace.after_ms is None or pace.before_ms is None:
            return None
        return pace.after_ms - pace.before_ms


@dataclass(frozen=True, slots=True)
class CasePage:
    """One page of tests."""

    wanted: CaseFilter
    rows: list[CaseRow]
    suites: list[str]
    #: Query string of the next page; empty at the end.
    older: str
    #: Pairs that look like one test and wait for somebody to say so.
    renamed_count: int = 0


def case_page(project: Project, wanted: CaseFilter, *, now: datetime) -> CasePage:
    """Four queries, five on later pages: suites, where the page goes on, tests, strips, quarantines."""
    waiting = Count("renames", filter=Q(renames__status=RenameStatus.PROPOSED))
    suites = list(suites_named(project).annotate(renamed_count=waiting))
    found = cases_like(suites, wanted, now=now, limit=PAGE_SIZE + 1)
    shown = found[:PAGE_SIZE]
    ids = [case.pk for case in shown]
    strips = recent_strips(ids)
    held = {one.case_id: one for one in Quarantine.objects.in_force(now).filter(case__in=ids)} if ids else {}
    return CasePage(
        wanted=wanted,
        rows=[
            CaseRow(
                case=case,
                state=getattr(case, "state", None),
                pace=getattr(case, "pace", None),
                quarantine=held.get(case.pk),
                strip=strips.get(case.pk, ""),
            )
            for case in shown
        ],
        suites=[suite.name for suite in suites],
        older=wanted.query(after=shown[-1].pk) if len(found) > PAGE_SIZE else "",
        renamed_count=sum(suite.renamed_count for suite in suites),
    )


def suites_of(project: Project) -> list[Suite]:
    """The project's suites by name."""
    return list(suites_named(project))


def suites_named(project: Project) -> QuerySet[Suite]:
    """The project's suites by name, to be asked for more."""
    return Suite.objects.filter(project=project).order_by("name")


def cases_like(suites: Sequence[Suite], wanted: CaseFilter, *, now: datetime, limit: int) -> list[TestCase]:
    """The suites' tests asked for, with suite, state and pace: one query, two to go on after another page.

    The page is chosen by what it is sorted by alone, and only then read: sorting whole rows takes as long as
    there are tests. The suites are named by id, so that the planner knows how many tests they have. What a
    pace was worked out from is not read.
    """
    chosen = [suite.pk for suite in suites if not wanted.suite or suite.name == wanted.suite]
    cases = TestCase.objects.filter(suite__in=chosen, same_as=None)
    if wanted.q:
        cases = cases.filter(named_like(wanted.q))
    if wanted.state:
        cases = cases.filter(_in_state(State(wanted.state), now))
    cases = _told(cases, wanted.sort).annotate(sorted_by=_KEYS[wanted.sort])
    if wanted.after:
        last = cases.filter(pk=wanted.after).values_list("sorted_by", flat=True).first()
        # One that no longer belongs here leaves no place to go on from: begin again.
        cases = cases if last is None else cases.filter(_behind(wanted, last))
    order = _ORDERS[wanted.sort]
    page = TestCase.objects.filter(pk__in=cases.order_by(*order).values("pk")[:limit])
    whole = page.annotate(sorted_by=_KEYS[wanted.sort]).select_related("state", "pace")
    found: list[TestCase] = list(whole.defer(*_UNREAD).order_by(*order))
    by_id = {suite.pk: suite for suite in suites}
    for case in found:
        case.suite = by_id[case.suite_id]
    return found


#: What each order compares; with the id it is one of its own.
_KEYS: Mapping[Sort, Combinable] = {
    # Ids grow in the order in which tests are first seen.
    Sort.FIRST_SEEN: F("pk"),
    Sort.RECENT: F("last_seen_at"),
    Sort.NAME: F("name"),
    Sort.FLAKY: F("state__lost_ms_per_week"),
    Sort.SLOW: F("pace__p50_ms"),
    Sort.SLOWER: F("pace__after_ms") - F("pace__before_ms"),
}
#: Of a test in a list nobody asks for these.
_UNREAD = ("pace__recent_ms", "pace__recent_runs", "state__inputs")
_ASCENDING = {Sort.FIRST_SEEN, Sort.NAME}
_ORDERS: Mapping[Sort, tuple[OrderBy, OrderBy]] = {
    sort: (
        OrderBy(F("sorted_by"), descending=sort not in _ASCENDING),
        OrderBy(F("pk"), descending=sort not in _ASCENDING),
    )
    for sort in Sort
}


def _told(cases: QuerySet[TestCase], sort: Sort) -> QuerySet[TestCase]:
    """Only tests of which it is known what they are sorted by."""
    if sort is Sort.FLAKY:
        return cases.filter(_unhealthy())
    if sort is Sort.SLOW:
        return cases.filter(pace__isnull=False)
    return cases.filter(pace__is_slower=True) if sort is Sort.SLOWER else cases


def _behind(wanted: CaseFilter, last: object) -> Q:
    way = "gt" if wanted.sort in _ASCENDING else "lt"
    return Q(**{f"sorted_by__{way}": last}) | Q(**{"sorted_by": last, f"pk__{way}": wanted.after})


def _unhealthy() -> Q:
    return Q(state__isnull=False) & (~Q(state__flakiness=Flakiness.HEALTHY) | Q(state__is_broken=True))


def _in_state(state: State, now: datetime) -> Q:
    if state is State.UNHEALTHY:
        return _unhealthy()
    if state is State.HEALTHY:
        # Without a row there is nothing to say: healthy.
        return Q(state__isnull=True) | Q(state__flakiness=Flakiness.HEALTHY, state__is_broken=False)
    if state is State.BROKEN:
        return Q(state__is_broken=True)
    if state is State.SLOWER:
        return Q(pace__is_slower=True)
    if state is State.QUARANTINED:
        return Q(pk__in=Quarantine.objects.in_force(now).values("case"))
    return Q(state__flakiness=state)
