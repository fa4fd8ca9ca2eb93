"""The flaky board: which tests waste time, ranked by it, each with what it is known by.

The rows of a project that have anything to say are few beside its tests, so they are read narrowly and whole;
ranking, stages and shares are made of them here, and only the page that is shown is read in full.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from django.db.models import QuerySet

from runs.models import CaseState, Project, TestCase

PAGE_SIZE = 30
#: Tests that are ranked; the costliest of a project that has more.
BOARD_LIMIT = 5_000
#: A test's state is new for so long …
NEW_DAYS = 3
#: … and its recovery is told for so long.
RECOVERED_DAYS = 30


class Flakiness(StrEnum):
    """What may be said of a test, as the database spells it; `broken` is a column of its own."""

    SUSPECT = "suspect"
    LIKELY_FLAKY = "likely_flaky"
    FLAKY = "flaky"
    BROKEN = "broken"
    HEALTHY = "healthy"


class Stage(StrEnum):
    """Where a test is on its way from the first evidence to health."""

    NEW = "new"
    ACTIVE = "active"
    QUARANTINED = "quarantined"
    RECOVERED = "recovered"


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
