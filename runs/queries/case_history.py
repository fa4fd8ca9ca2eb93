"""A test's history: its last results on one branch or on all, and how they failed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from runs.analytics.samples import wilson
from runs.models import Failure, Project, Result, TestCase
from runs.queries.marks import Mark, result_mark
from runs.vocabulary import Outcome

HISTORY_LENGTH = 100
LABEL_COUNT = 5
BRANCH_STRIP, BRANCH_LIMIT = 30, 8
#: Marks that say something of the test.
JUDGED = frozenset({Mark.PASSED, Mark.FAILED, Mark.FLAKY})


class RunSeen(NamedTuple):
    """A run as far as the histories of its tests tell of it."""

    pk: int
    number: int
    run_at: datetime
    branch: str
    commit: str
    commit_message: str
    trigger: str
    test_count: int


class ResultSeen(NamedTuple):
    """A result as far as a history tells of it; `group` is its failure's fingerprint, empty without one."""

    outcome: str
    duration_ms: int | None
    attempt_count: int
    shard: int
    position: int
    group: bytes


class HistoryItem(NamedTuple):
    """One result with its run."""

    result: ResultSeen
    run: RunSeen
    mark: Mark


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of results that passed or failed, with its 95 % interval."""

    count: int
    judged: int
    low: float
    high: float

    @classmethod
    def of(cls, items: Sequence[HistoryItem], marks: str = f"{Mark.FAILED}{Mark.FLAKY}") -> Rate:
        """The share of these marks; skipped results are not judged."""
        judged = [item.mark for item in items if item.mark in JUDGED]
        count = sum(mark in marks for mark in judged)
        return cls(count, len(judged), *wilson(count, len(judged)))

    @property
    def share(self) -> float | None:
        """0 to 1; None when nothing was judged."""
        return self.count / self.judged if self.judged else None

    @property
    def scale(self) -> float:
        """The end of a scale that holds the interval."""
        return next(end for end in (0.1, 0.25, 0.5, 1.0) if self.high <= end)


@dataclass(frozen=True, slots=True)
class HistoryGroup:
    """Failures of the test that are the same failure, newest first."""

    key: str
    failure: Failure | None
    items: list[HistoryItem]

    @property
    def last(self) -> HistoryItem:
        """The newest."""
        return self.items[0]


@dataclass(frozen=True, slots=True)
class BranchRow:
    """The test on one branch, oldest first."""

    name: str
    items: list[HistoryItem]

    @property
    def marks(self) -> str:
        """Its last results as a strip."""
        return "".join(item.mark for item in self.items[-BRANCH_STRIP:])

    @property
    def rate(self) -> Rate:
        """How often it failed at first."""
        return Rate.of(self.items)

    @property
    def median_ms(self) -> int | None:
        """The median duration of its passes."""
        return median_of(self.items)

    @property
    def latest(self) -> HistoryItem:
        """The newest result."""
        return self.items[-1]


@dataclass(frozen=True, slots=True)
class CaseHistory:
    """A test's page. `items` are oldest first."""

    case: TestCase
    branch: str
    branches: list[str]
    items: list[HistoryItem]
    groups: list[HistoryGroup]
    #: Of all branches, oldest first, as far as they were read.
    everything: list[HistoryItem]
    #: The newest result with all that is kept of it; None when there is none.
    newest: Result | None

    @property
    def failing_rate(self) -> Rate:
        """Failed at first, whether or not a retry passed."""
        return Rate.of(self.items)

    @property
    def hard_rate(self) -> Rate:
        """Failed for good."""
        return Rate.of(self.items, Mark.FAILED)

    @property
    def branch_rows(self) -> list[BranchRow]:
        """The branches that it ran on last, the most recently tested first."""
        found: dict[str, list[HistoryItem]] = {}
        for item in self.everything:
            found.setdefault(item.run.branch, []).append(item)
        rows = [BranchRow(name=name, items=items) for name, items in found.items()]
        return sorted(rows, key=lambda row: row.latest.run.run_at, reverse=True)[:BRANCH_LIMIT]

    @property
    def last_failure(self) -> HistoryItem | None:
        """The newest result that failed at first, on any branch."""
        marks = {Mark.FAILED, Mark.FLAKY}
        return next((item for item in reversed(self.everything) if item.mark in marks), None)

    @property
    def marks(self) -> str:
        """The history as a strip."""
        return "".join(item.mark for item in self.items)

    @property
    def newest_first(self) -> list[HistoryItem]:
        """The items as a table lists them."""
        return self.items[::-1]

    @property
    def failure_count(self) -> int:
        """Results that carry a failure, those that passed later included."""
        return sum(len(group.items) for group in self.groups)

    @property
    def latest(self) -> HistoryItem | None:
        """The newest result."""
        return self.items[-1] if self.items else None

    @property
    def last_seen_at(self) -> datetime:
        """When it ran last, on any branch; a case's own moment is precise to a day only."""
        return self.everything[-1].run.run_at if self.everything else self.case.last_seen_at

    @property
    def failed_count(self) -> int:
        """Failures that no retry turned into a pass."""
        return self.marks.count(Mark.FAILED)

    @property
    def flaky_count(self) -> int:
        """Passes after a failed attempt."""
        return self.marks.count(Mark.FLAKY)

    @property
    def judged_count(self) -> int:
        """Results that passed or failed: skipped ones say nothing."""
        return sum(self.marks.count(mark) for mark in (Mark.PASSED, Mark.FAILED, Mark.FLAKY))

    @property
    def flake_rate(self) -> float | None:
        """Flaky results as a share of those judged; None when none was."""
        return self.flaky_count / self.judged_count if self.judged_count else None

    @property
    def failing_since(self) -> HistoryItem | None:
        """The first of the unbroken row of failures at the newest end."""
        row = None
        for item in reversed(self.items):
            if item.mark is Mark.SKIPPED:
                continue
            if item.mark is not Mark.FAILED:
                break
            row = item
        return row

    @property
    def row_length(self) -> int:
        """How many failures are in that row."""
        first = self.failing_since
        if first is None:
            return 0
        return sum(item.mark is Mark.FAILED for item in self.items[self.items.index(first) :])

    @property
    def axis(self) -> list[HistoryItem]:
        """A few items at equal steps, to label the strip."""
        return [self.items[index] for index in _spread(len(self.items))]


def case_history(project: Project, case: TestCase, *, branch: str | None = None) -> CaseHistory:
    """Two queries: the results by the index of a case's history, and those of them that are shown whole.

    `branch` None means the project's default branch when the test ran there, else every branch; an empty
    one means every branch.
    """
    everything = _newest(case)
    branches = sorted({item.run.branch for item in everything if item.run.branch})
    if branch is None:
        branch = project.default_branch if project.default_branch in branches else ""
    items = [item for item in everything if not branch or item.run.branch == branch][-HISTORY_LENGTH:]
    groups = _grouped([item for item in reversed(items) if item.result.outcome in _WITH_TEXT])
    whole = _whole(case, [own[0] for own in groups.values()] + items[-1:])
    return CaseHistory(
        case=case,
        branch=branch,
        branches=branches,
        items=items,
        groups=[
            HistoryGroup(key=key.hex()[:12] or "none", failure=whole[own[0]].failure, items=own)
            for key, own in groups.items()
            if own[0] in whole
        ],
        everything=everything,
        newest=whole.get(items[-1]) if items else None,
    )


def _newest(case: TestCase) -> list[HistoryItem]:
    """Oldest first; in narrow rows, as there are hundreds of them and each run has fifty columns."""
    rows = Result.objects.filter(case=case).order_by("-run_at").values_list(*_READ)[: HISTORY_LENGTH * 4]
    return [_item(row) for row in reversed(rows)]


_READ = (
    *("outcome", "duration_ms", "attempt_count", "shard", "position", "failure__fingerprint"),
    *("run_id", "run__number", "run_at", "run__branch", "run__commit", "run__commit_message"),
    *("run__trigger", "run__test_count"),
)


def _item(row: tuple[Any, ...]) -> HistoryItem:
    outcome, duration_ms, attempt_count, shard, position, group, *run = row
    result = ResultSeen(outcome, duration_ms, attempt_count, shard, position, bytes(group or b""))
    return HistoryItem(result, RunSeen(*run), result_mark(outcome))


def _whole(case: TestCase, items: Sequence[HistoryItem]) -> dict[HistoryItem, Result]:
    """These results with their failures and runs, as far as they are still there."""
    moments = {item.run.run_at for item in items}
    found = Result.objects.filter(case=case, run_at__in=moments).select_related("run", "failure")
    by_run = {result.run_id: result for result in found} if moments else {}
    return {item: by_run[item.run.pk] for item in items if item.run.pk in by_run}


def median_of(items: Sequence[HistoryItem]) -> int | None:
    """Milliseconds: the median of the passes; a failure's duration says when it gave up."""
    known = [
        item.result.duration_ms
        for item in items
        if item.result.duration_ms is not None and item.mark in {Mark.PASSED, Mark.FLAKY}
    ]
    return round(statistics.median(known)) if known else None


_WITH_TEXT = {Outcome.FAILED, Outcome.ERRORED, Outcome.FLAKY}


def _grouped(items: Iterable[HistoryItem]) -> dict[bytes, list[HistoryItem]]:
    """Those that are the same failure, the most frequent first."""
    groups: dict[bytes, list[HistoryItem]] = {}
    for item in items:
        groups.setdefault(item.result.group, []).append(item)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def _spread(count: int) -> list[int]:
    """At most `LABEL_COUNT` indexes from first to last, at equal steps."""
    if count <= LABEL_COUNT:
        return list(range(count))
    return [round(step * (count - 1) / (LABEL_COUNT - 1)) for step in range(LABEL_COUNT)]
