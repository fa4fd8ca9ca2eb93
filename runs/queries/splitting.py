"""How long each test of a suite takes, to deal them to slices that end together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Max

from runs.analytics.samples import median
from runs.analytics.sharding import LAST_PASSES, ShardPlan, deal_expected
from runs.ingestion.selectors import selector
from runs.models import Run, Suite, TestCase

#: Tests not seen for this long before the suite's newest are gone.
SEEN_WITHIN = timedelta(days=14)
#: Results older than this are not looked for.
PASSES_WITHIN = timedelta(days=60)
#: Of a test without kept durations so many newest results are looked at.
PASSES_AMONG = 50
TEST_LIMIT = 50_000
#: Runs that ended after the asked moment, at most: so many are left out one by one.
_LATE_LIMIT = 2_000

# The newest of the durations that the analytics keep; where some run ended too late, of those that did not.
# Only the newest thirty kept ones are looked at then: enough to find five that are old enough.
_NEWEST = """(
    SELECT nullif(d.recent_ms[greatest(cardinality(d.recent_ms) - %(passes)s + 1, 1):], '{}') AS ms
)"""
_OLD_ENOUGH = """(
    SELECT array_agg(k.ms ORDER BY k.place) AS ms FROM (
        SELECT u.ms, u.place FROM unnest(
            d.recent_ms[greatest(cardinality(d.recent_ms) - 29, 1):],
            d.recent_runs[greatest(cardinality(d.recent_runs) - 29, 1):]
        ) WITH ORDINALITY AS u (ms, run, place)
        WHERE u.run <> ALL(%(late)s::bigint[]) ORDER BY u.place DESC LIMIT %(passes)s
    ) k
)"""
_TIMES = """
SELECT c.id, c.class_name, c.name || c.parameters, c.file, kept.ms FROM runs_testcase c
LEFT JOIN runs_caseduration d ON d.case_id = c.id
LEFT JOIN LATERAL <kept> kept ON d.case_id IS NOT NULL
WHERE c.suite_id = %(suite)s AND c.same_as_id IS NULL AND c.last_seen_at >= %(seen)s
ORDER BY c.id LIMIT %(limit)s
"""
# Of those of which none are kept: their newest passes, on whatever branch. Most of these tests never pass.
_PASSES = """
SELECT c.id, ARRAY(
    SELECT n.duration_ms FROM (
        SELECT r.duration_ms, r.outcome, r.run_at FROM runs_result r
        WHERE r.case_id = c.id AND r.run_at > %(since)s AND r.run_at <= %(until)s
          AND r.run_id <> ALL(%(late)s::bigint[])
        ORDER BY r.run_at DESC LIMIT %(among)s
    ) n
    WHERE n.outcome = 'passed' AND n.duration_ms IS NOT NULL
    ORDER BY n.run_at DESC LIMIT %(passes)s
)
FROM unnest(%(cases)s::bigint[]) AS c (id)
"""


@dataclass(frozen=True, slots=True)
class TestTime:
    """A test as its tool names it, and the median seconds of its last passes; None before the first."""

    test: str
    class_name: str
    file: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Split:
    """A suite's tests, or its files, dealt to slices."""

    times: list[TestTime]
    plans: list[ShardPlan]


def times_of_tests(suite: Suite, *, now: datetime, as_of: datetime | None = None) -> list[TestTime]:
    """Every test that is still there, in the order they were first seen; four queries at most.

    With `as_of` only runs that had ended by then count, so that all who ask for it get the same answer.
    """
    newest = TestCase.objects.filter(suite=suite).aggregate(at=Max("last_seen_at"))["at"]
    if newest is None:
        return []
    late: list[int] = []
    if as_of is not None:
        ended_later = Run.objects.filter(suite=suite, finished_at__gt=as_of).newest_first()
        late = list(ended_later.values_list("pk", flat=True)[:_LATE_LIMIT])
    until = min(as_of, now) if as_of else now
    values: dict[str, Any] = {
        "late": late,
        "passes": LAST_PASSES,
        "among": PASSES_AMONG,
        "since": until - PASSES_WITHIN,
        "until": until,
        "suite": suite.pk,
        "seen": newest - SEEN_WITHIN,
        "limit": TEST_LIMIT,
    }
    with connection.cursor() as cursor:
        cursor.execute(_TIMES.replace("<kept>", _OLD_ENOUGH if late else _NEWEST), values)
        found = cursor.fetchall()
        unknown = [case for case, *_, passes in found if not passes]
        own: dict[int, list[int]] = {}
        if unknown:
            cursor.execute(_PASSES, values | {"cases": unknown})
            own = dict(cursor.fetchall())
    times = []
    for case, class_name, name, file, kept in found:
        passes = kept or own.get(case)
        seconds = median(passes) / 1000 if passes else None
        test = selector(class_name=class_name, name=name, file=file)
        times.append(TestTime(test=test, class_name=class_name, file=file, seconds=seconds))
    return times


def split_suite(times: list[TestTime], *, shards: int, by_file: bool) -> Split:
    """Deal the tests, or the files they are in (the classes, where no file is known), to slices."""
    mean = _mean(one.seconds for one in times)
    expected: dict[str, float] = {}
    for one in times:
        name = (one.file or one.class_name or one.test) if by_file else one.test
        expected[name] = expected.get(name, 0.0) + (mean if one.seconds is None else one.seconds)
    return Split(times, deal_expected(expected, shards))


def _mean(seconds: Iterable[float | None]) -> float:
    known = [one for one in seconds if one is not None]
    return sum(known) / len(known) if known else 1.0
