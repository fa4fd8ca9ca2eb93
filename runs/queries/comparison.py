"""What two runs of a suite say of its tests: one narrow statement for each, judged by `analytics.comparison`.

A large run is not read whole: beyond `CASE_LIMIT` tests only those are compared that did not pass in one of
the two runs, which an index knows. What cannot be told then is said (`is_partial`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import floor
from typing import Any, NamedTuple

from django.db import connection

from runs.analytics.comparison import (
    ChangeCounts,
    Comparison,
    Difference,
    Kind,
    SlowerThresholds,
    compare,
    count_changes,
    is_slower,
)
from runs.analytics.flakiness import FlakeState
from runs.models import CaseDuration, Failure, Run, TestCase
from runs.queries.baseline import base_runs, failing_cases_of, last_green, runs_of_branch
from runs.vocabulary import Outcome

#: Tests of both runs together that are read whole.
CASE_LIMIT = 120_000
#: Rows of one run that are read beyond it.
NOTABLE_LIMIT = 20_000
#: Tests that the API names.
TOLD_LIMIT = 1_000
#: One look-up takes as long as reading so many of a run's results in order.
LOOK_UP = 20
#: So many passes make a test's usual time.
USUAL_PASSES = 10

# Both runs are read whole, in the order of an index. Neither is materialized: the planner can only hash them,
# and writing them down takes as long as joining them.
_JOINED = """
WITH base AS NOT MATERIALIZED (
    SELECT case_id, outcome, duration_ms, failure_id FROM runs_result
    WHERE run_at = %(base_at)s AND run_id = %(base)s
      AND (%(selected)s::bigint[] IS NULL OR case_id = ANY(%(selected)s::bigint[]))
), head AS NOT MATERIALIZED (
    SELECT case_id, outcome, duration_ms, failure_id FROM runs_result
    WHERE run_at = %(head_at)s AND run_id = %(head)s
      AND (%(selected)s::bigint[] IS NULL OR case_id = ANY(%(selected)s::bigint[]))
), told AS MATERIALIZED (
    SELECT coalesce(b.case_id, h.case_id) AS case_id, b.outcome, b.duration_ms, b.failure_id,
           h.outcome AS head_outcome, h.duration_ms AS head_ms, h.failure_id AS head_failure
    FROM base b FULL JOIN head h ON h.case_id = b.case_id
    WHERE {wanted}
)
"""
# Those of which something may be told. The others, most, passed in both and took no longer. What is slower is
# judged in Python; a little more is let through here.
_TELLING = _JOINED.format(
    wanted="""NOT coalesce(b.outcome = 'passed' AND h.outcome = 'passed', false)
       OR h.duration_ms - b.duration_ms >= %(least_ms)s"""
)
# Those that did not pass in one of the two.
_NOT_PASSED = _JOINED.format(wanted="b.outcome <> 'passed' OR h.outcome <> 'passed'")
# The same where they are few: read once, and only what passed in the other is looked up there.
_LOOKED_UP = """
WITH base AS MATERIALIZED (
    SELECT case_id, outcome, duration_ms, failure_id FROM runs_result
    WHERE run_at = %(base_at)s AND run_id = %(base)s AND outcome <> 'passed'
      AND (%(selected)s::bigint[] IS NULL OR case_id = ANY(%(selected)s::bigint[])) LIMIT %(limit)s
), head AS MATERIALIZED (
    SELECT case_id, outcome, duration_ms, failure_id FROM runs_result
    WHERE run_at = %(head_at)s AND run_id = %(head)s AND outcome <> 'passed'
      AND (%(selected)s::bigint[] IS NULL OR case_id = ANY(%(selected)s::bigint[])) LIMIT %(limit)s
), both_runs AS MATERIALIZED (
    SELECT coalesce(b.case_id, h.case_id) AS case_id, b.outcome, b.duration_ms, b.failure_id,
           h.outcome AS head_outcome, h.duration_ms AS head_ms, h.failure_id AS head_failure
    FROM base b FULL JOIN head h ON h.case_id = b.case_id
), told AS MATERIALIZED (
    SELECT n.case_id, coalesce(n.outcome, b.outcome) AS outcome,
           coalesce(n.duration_ms, b.duration_ms) AS duration_ms,
           coalesce(n.failure_id, b.failure_id) AS failure_id,
           coalesce(n.head_outcome, h.outcome) AS head_outcome,
           coalesce(n.head_ms, h.duration_ms) AS head_ms,
           coalesce(n.head_failure, h.failure_id) AS head_failure
    FROM both_runs n
    LEFT JOIN LATERAL (
        SELECT r.outcome, r.duration_ms, r.failure_id FROM runs_result r
        WHERE n.outcome IS NULL AND r.case_id = n.case_id AND r.run_at = %(base_at)s
          AND r.run_id + 0 = %(base)s
        OFFSET 0
    ) b ON true
    LEFT JOIN LATERAL (
        SELECT r.outcome, r.duration_ms, r.failure_id FROM runs_result r
        WHERE n.head_outcome IS NULL AND r.case_id = n.case_id AND r.run_at = %(head_at)s
          AND r.run_id + 0 = %(head)s
        OFFSET 0
    ) h ON true
)
"""
# What is known of their flakiness; nothing of healthy ones. By an array, as one walk along the index.
_STATES = """
, states AS MATERIALIZED (
    SELECT case_id, flakiness FROM runs_casestate
    WHERE case_id = ANY(ARRAY(SELECT case_id FROM told)) AND flakiness <> 'healthy'
)
"""
_ROWS = f"""{_STATES}
SELECT told.*, states.flakiness FROM told LEFT JOIN states USING (case_id)
"""  # noqa: S608 - of constants
_KINDS = f"""{_STATES}
SELECT told.outcome, told.head_outcome, coalesce(states.flakiness, 'healthy'), count(*)
FROM told LEFT JOIN states USING (case_id)
GROUP BY 1, 2, 3
"""  # noqa: S608 - of constants
# The last row counts the base's tests: less those told, they are how many passed in both.
_WHOLE = f"""{_TELLING}{_ROWS}
UNION ALL
SELECT NULL, NULL, count(*), NULL, NULL, NULL, NULL, NULL FROM base
"""  # noqa: S608 - of constants
_NOTABLE = f"{_LOOKED_UP}{_ROWS}"


class Row(NamedTuple):
    """One test in one run."""

    case: int
    outcome: Outcome
    duration_ms: int | None
    failure: int | None

    @property
    def seconds(self) -> tuple[float, ...]:
        """As the analytics take it."""
        return () if self.duration_ms is None else (self.duration_ms / 1000,)


@dataclass(frozen=True, slots=True)
class RunComparison:
    """What changed from one run to another."""

    base: Run
    head: Run
    result: Comparison
    #: By case, of those that may differ.
    base_rows: Mapping[int, Row]
    head_rows: Mapping[int, Row]
    #: Only what did not pass in one of the two was compared: new, removed and slower tests are not known.
    is_partial: bool
    #: Only these tests were compared, because one of the two ran no others; None when all were.
    selected_count: int | None


def compare_runs(base: Run, head: Run, *, main: Run | None = None) -> RunComparison:
    """Compare two runs of one suite; three statements, whatever their size.

    `main` is the newest run of the default branch: what fails there too is told (`Difference.place`).
    """
    is_partial = base.test_count + head.test_count > CASE_LIMIT
    values = _values(base, head)
    # Of a large run's tests those that did not pass in one of the two; of the others nothing is known then.
    statement, limit = (
        (_NOTABLE, {"limit": NOTABLE_LIMIT}) if is_partial else (_WHOLE, {"least_ms": _LEAST_MS})
    )
    found = _read(statement, values | limit)
    result = compare(
        found.before.values(),
        found.after.values(),
        states=found.states,
        base_failing=failing_cases_of(main) if main is not None and main.pk != head.pk else None,
        slower=set() if is_partial else _beyond_usual(found.before, found.after),
    )
    result = replace(result, unchanged_count=result.unchanged_count + found.calm_count)
    selected = values["selected"]
    selected_count = len(selected) if selected else None
    return RunComparison(base, head, result, found.before, found.after, is_partial, selected_count)


def changes(base: Run, head: Run) -> ChangeCounts:
    """How many tests that did not pass in one of the two changed; one statement, counted where they are."""
    tests = base.test_count + head.test_count
    notable = tests - base.passed_count - head.passed_count
    is_read_whole = tests <= CASE_LIMIT and notable * LOOK_UP > tests
    statement = f"{_NOT_PASSED if is_read_whole else _LOOKED_UP}{_KINDS}"
    with connection.cursor() as cursor:
        cursor.execute(statement, _values(base, head) | {"limit": NOTABLE_LIMIT})
        return count_changes(
            Kind(old and _OUTCOMES[old], new and _OUTCOMES[new], FlakeState[state.upper()], number)
            for old, new, state, number in cursor.fetchall()
        )


class CaseNames(NamedTuple):
    """What a test is called."""

    class_name: str
    name: str
    parameters: str


@dataclass(frozen=True, slots=True)
class ToldComparison:
    """A comparison with what the API names of it."""

    comparison: RunComparison
    named: list[tuple[CaseNames, Difference]]
    #: In hexadecimal, by failure.
    fingerprints: Mapping[int, str]


def told_comparison(base: Run, head: Run) -> ToldComparison:
    """Compare two runs and name the first `TOLD_LIMIT` tests that differ; ten queries at most."""
    default = head.project.default_branch
    is_on_main = head.branch == default and not head.pull_request
    main = None if is_on_main else next(iter(runs_of_branch(head.suite_id, default)), None)
    found = compare_runs(base, head, main=main)
    told = found.result.differences[:TOLD_LIMIT]
    cases = TestCase.objects.filter(pk__in=[one.case for one in told])
    names = {pk: CaseNames(*own) for pk, *own in cases.values_list("pk", *CaseNames._fields)}
    failures = {row.failure for one in told if (row := found.head_rows.get(one.case)) and row.failure}
    prints = Failure.objects.filter(pk__in=failures).values_list("pk", "fingerprint")
    return ToldComparison(
        comparison=found,
        named=[(names[one.case], one) for one in told if one.case in names],
        fingerprints={pk: bytes(value).hex() for pk, value in prints},
    )


def usual_base(head: Run) -> Run | None:
    """What a run is compared with by itself: the default branch's last green one before it, else its last."""
    found = [run for run in base_runs(head) if run.number < head.number]
    base = last_green(found) or next(iter(found), None)
    if base is not None:
        base.project = head.project
    return base


type _Rows = dict[int, Row]


class _Found(NamedTuple):
    """What a statement says of both runs, by case, and how many tests it leaves out."""

    before: _Rows
    after: _Rows
    states: dict[int, FlakeState]
    calm_count: int


def _read(statement: str, values: Mapping[str, Any]) -> _Found:
    """A row without a case counts the base's tests."""
    before: _Rows = {}
    after: _Rows = {}
    states: dict[int, FlakeState] = {}
    base_count = None
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        for case, old, old_ms, old_failure, new, new_ms, new_failure, state in cursor.fetchall():
            if case is None:
                base_count = old_ms
                continue
            if old is not None:
                before[case] = Row(case, _OUTCOMES[old], old_ms, old_failure)
            if new is not None:
                after[case] = Row(case, _OUTCOMES[new], new_ms, new_failure)
            if state is not None:
                states[case] = FlakeState[state.upper()]
    return _Found(before, after, states, 0 if base_count is None else base_count - len(before))


def _values(base: Run, head: Run) -> dict[str, Any]:
    """What both runs are known by, and what to compare."""
    selected = _selected(base, head)
    return {
        "base": base.pk,
        "base_at": base.run_at,
        "head": head.pk,
        "head_at": head.run_at,
        "selected": None if selected is None else sorted(selected),
    }


#: Milliseconds that a slower test takes longer, a little less.
_LEAST_MS = floor(SlowerThresholds().seconds * 1000) - 1
_OUTCOMES = {str(outcome): outcome for outcome in Outcome}


def _selected(base: Run, head: Run) -> set[int] | None:
    """The tests that both ran on purpose; None when both ran all."""
    chosen = [set(run.selection) for run in (base, head) if run.selection]
    return set.intersection(*chosen) if chosen else None


def _beyond_usual(before: Mapping[int, Row], after: Mapping[int, Row]) -> set[int]:
    """The tests that took longer than in the base, and than nearly always where that is known."""
    longer = {
        case
        for case, row in after.items()
        if row.outcome is Outcome.PASSED
        and row.duration_ms
        and (old := before.get(case))
        and row.duration_ms - (old.duration_ms or 0) > _LEAST_MS
        and is_slower(old.seconds, row.seconds)
    }
    paces = CaseDuration.objects.filter(case__in=longer, recent_ms__len__gte=USUAL_PASSES)
    usual = dict(paces.values_list("case_id", "p95_ms")) if longer else {}
    return {case for case in longer if (after[case].duration_ms or 0) > usual.get(case, 0)}
