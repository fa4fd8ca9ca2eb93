"""When a test fails: by hour, place in the report, shard, branch and trigger, as far as its results tell."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC

from runs.analytics.conditions import MIN_FAILURES, Condition, compare_conditions
from runs.queries.case_history import JUDGED, CaseHistory, HistoryItem, Rate
from runs.queries.marks import Mark
from runs.vocabulary import Trigger

#: Ends of the scale that intervals are drawn on.
_SCALES = (0.1, 0.25, 0.5, 1.0)
_SHARDS_NAMED = 8

type Holds = Callable[[HistoryItem], bool]


@dataclass(frozen=True, slots=True)
class Conditions:
    """The test's failures under different conditions, and how many of them there are."""

    overall: Rate
    rows: list[Condition]

    @property
    def scale(self) -> float:
        """The end of the scale, 0 to 1."""
        highest = max([self.overall.high, *(row.high for row in self.rows)])
        return next(end for end in _SCALES if highest <= end)

    @property
    def is_enough(self) -> bool:
        """Whether there are failures enough to compare."""
        return self.overall.count >= MIN_FAILURES

    @property
    def needed(self) -> int:
        """Failures that are."""
        return MIN_FAILURES


def conditions(history: CaseHistory, *, default_branch: str, masked_runs: Collection[int]) -> Conditions:
    """No query. Runs in which the environment failed are left out, skipped results too."""
    items = [item for item in history.everything if item.mark in JUDGED and item.run.pk not in masked_runs]
    failed = [item.mark is not Mark.PASSED for item in items]
    met = {name: [holds(item) for item in items] for name, holds in _tried(items, default_branch)}
    return Conditions(overall=Rate.of(items), rows=compare_conditions(failed, met))


def _tried(items: Sequence[HistoryItem], default_branch: str) -> list[tuple[str, Holds]]:
    shards = sorted({item.result.shard for item in items})
    return [
        (f"On {default_branch}", lambda item: item.run.branch == default_branch),
        ("On other branches", lambda item: item.run.branch != default_branch),
        *((name, _between(first, last)) for name, first, last in _HOURS),
        *((name, _placed(third)) for third, name in enumerate(_THIRDS)),
        *((f"In shard {shard}", _in_shard(shard)) for shard in shards[:_SHARDS_NAMED] if len(shards) > 1),
        ("Started by a schedule", lambda item: item.run.trigger == Trigger.SCHEDULE),
    ]


_HOURS = (
    ("At night, 0 to 6 UTC", 0, 6),
    ("In the morning, 6 to 12 UTC", 6, 12),
    ("In the afternoon, 12 to 18 UTC", 12, 18),
    ("In the evening, 18 to 24 UTC", 18, 24),
)
_THIRDS = ("Early in the report", "In the middle of the report", "Late in the report")


def _between(first: int, last: int) -> Holds:
    return lambda item: first <= item.run.run_at.astimezone(UTC).hour < last


def _placed(third: int) -> Holds:
    """By the test's place among those of its run; where it always is the same, nothing is compared."""

    def holds(item: HistoryItem) -> bool:
        count = max(item.run.test_count, item.result.position + 1)
        return item.result.position * len(_THIRDS) // count == third

    return holds


def _in_shard(shard: int) -> Holds:
    return lambda item: item.result.shard == shard
