"""Keep the counts by day and by run: the only writer of `CaseMonth`, `SuiteDay`, `ServiceDay` and `GroupRun`.

A run is counted in the transaction that ends it, and taken out in the transaction that changes what it
holds: more reports for a run that had ended, or its removal. So what a page adds up and the runs that
it lists agree at every moment. Days are days of UTC, by the run's own moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from runs.actions.locks import Lock, wait_for

_NOTABLE = {"failed": "'failed', 'errored'", "flaky": "'flaky'", "skipped": "'skipped'"}
_SUITE_COUNTS = {
    "run_count": "1",
    "failed_run_count": "(r.verdict = 'fail')::integer",
    "errored_run_count": "(r.status = 'errored')::integer",
    "timed_run_count": "(r.duration_ms IS NOT NULL)::integer",
    "duration_ms": "coalesce(r.duration_ms, 0)",
    "result_count": "r.test_count",
    "failed_count": "r.failed_count",
    "errored_count": "r.errored_count",
    "skipped_count": "r.skipped_count",
    "flaky_count": "r.flaky_count",
}

# `<day>` is the day of the month; `<step>` is + 1 to count and - 1 to take out. One statement for every case,
# and one each for those that did not pass. In the order of the cases, in which their months lie: by far the
# most of it is to find them.
_OF_RUN = """(
    SELECT case_id, (outcome = 'passed' AND duration_ms IS NOT NULL)::integer AS timed_count,
           CASE WHEN outcome = 'passed' THEN coalesce(duration_ms, 0) ELSE 0 END AS timed_ms
    FROM runs_result WHERE run_at = %(run_at)s AND run_id = %(run)s ORDER BY case_id
) r"""
_COUNT_CASES = f"""
MERGE INTO runs_casemonth m USING {_OF_RUN} ON m.case_id = r.case_id AND m.month = %(month)s
WHEN MATCHED THEN UPDATE SET
    results[<day>] = least(coalesce(m.results[<day>], 0)::integer + 1, 32767)::smallint,
    timed_count = m.timed_count + r.timed_count,
    timed_ms = m.timed_ms + r.timed_ms
WHEN NOT MATCHED THEN INSERT (case_id, month, results[<day>], timed_count, timed_ms)
VALUES (r.case_id, %(month)s, 1::smallint, r.timed_count, r.timed_ms)
"""  # noqa: S608 - of constants
_TAKE_OUT_CASES = f"""
UPDATE runs_casemonth m SET
    results[<day>] = greatest(coalesce(m.results[<day>], 0) - 1, 0)::smallint,
    timed_count = greatest(m.timed_count - r.timed_count, 0),
    timed_ms = greatest(m.timed_ms - r.timed_ms, 0)
FROM {_OF_RUN} WHERE m.case_id = r.case_id AND m.month = %(month)s
"""  # noqa: S608 - of constants
_STEP_NOTABLE = """
UPDATE runs_casemonth m
SET <column>[<day>] = least(greatest(coalesce(m.<column>[<day>], 0)::integer <step>, 0), 32767)::smallint
FROM runs_result r
WHERE r.run_at = %(run_at)s AND r.run_id = %(run)s AND r.outcome <> 'passed' AND r.outcome IN (<outcomes>)
  AND m.case_id = r.case_id AND m.month = %(month)s
"""
_STEPS_NOTABLE = {
    column: _STEP_NOTABLE.replace("<column>", column).replace("<outcomes>", outcomes)
    for column, outcomes in _NOTABLE.items()
}
_COUNT_SUITE = f"""
INSERT INTO runs_suiteday AS d (suite_id, day, is_default_branch, {", ".join(_SUITE_COUNTS)})
SELECT r.suite_id, %(day)s, r.counted_on_default, {", ".join(_SUITE_COUNTS.values())}
FROM runs_run r WHERE r.id = %(run)s
ON CONFLICT (suite_id, day, is_default_branch) DO UPDATE SET
{", ".join(f"{name} = d.{name} + excluded.{name}" for name in _SUITE_COUNTS)}
"""  # noqa: S608 - of constants
_LESS = ", ".join(f"{name} = greatest(d.{name} - {of}, 0)" for name, of in _SUITE_COUNTS.items())
_TAKE_OUT_SUITE = f"""
UPDATE runs_suiteday d SET {_LESS}
FROM runs_run r
WHERE r.id = %(run)s AND d.suite_id = r.suite_id AND d.day = %(day)s
  AND d.is_default_branch = r.counted_on_default
"""  # noqa: S608 - of constants
# First the run's failures, which are few: joined at once, PostgreSQL may read every failure of the project.
_COUNT_GROUPS = """
WITH seen AS MATERIALIZED (
    SELECT failure_id, count(*) FILTER (WHERE outcome <> 'flaky') AS failed,
           count(*) FILTER (WHERE outcome = 'flaky') AS flaky
    FROM runs_result
    WHERE run_at = %(run_at)s AND run_id = %(run)s AND outcome <> 'passed'
      AND outcome IN ('failed', 'errored', 'flaky') AND failure_id IS NOT NULL
    GROUP BY failure_id
)
INSERT INTO runs_grouprun (project_id, fingerprint, run_at, run_id, failed_count, flaky_count)
SELECT f.project_id, f.fingerprint, %(run_at)s, %(run)s, sum(s.failed), sum(s.flaky)
FROM seen s JOIN runs_failure f ON f.id = s.failure_id
GROUP BY f.project_id, f.fingerprint ORDER BY f.project_id, f.fingerprint
ON CONFLICT (project_id, fingerprint, run_at, run_id) DO UPDATE
SET failed_count = excluded.failed_count, flaky_count = excluded.flaky_count
"""
_TAKE_OUT_GROUPS = "DELETE FROM runs_grouprun WHERE run_id = %(run)s"
#: The rows of a run's blames, by service and all together.
_BLAMED = """
SELECT project_id, (run_at AT TIME ZONE 'UTC')::date AS day, true AS is_total, '' AS service,
       count(*) AS failures
FROM runs_blame WHERE run_id = %(run)s GROUP BY 1, 2
UNION ALL
SELECT project_id, (run_at AT TIME ZONE 'UTC')::date, false, left(service, 250), count(*)
FROM runs_blame, unnest(CASE WHEN cardinality(services) = 0 THEN ARRAY[''] ELSE services END) AS service
WHERE run_id = %(run)s GROUP BY 1, 2, 4
"""
_COUNT_BLAMES = f"""
INSERT INTO runs_serviceday AS d (project_id, day, is_total, service, failure_count)
SELECT * FROM ({_BLAMED}) b ORDER BY service
ON CONFLICT (project_id, day, is_total, service) DO UPDATE
SET failure_count = d.failure_count + excluded.failure_count
"""  # noqa: S608 - of constants
_TAKE_OUT_BLAMES = f"""
UPDATE runs_serviceday d SET failure_count = greatest(d.failure_count - b.failures, 0)
FROM ({_BLAMED}) b
WHERE d.project_id = b.project_id AND d.day = b.day AND d.is_total = b.is_total AND d.service = b.service
"""  # noqa: S608 - of constants

# Months of one case on top of another's, or out of them; a day's count stays between 0 and 32,767.
_SUM = """(
    SELECT array_agg(nullif(least(greatest(
               coalesce(o.<column>[d], 0)::integer + <sign> * coalesce(n.<column>[d], 0)::integer,
           0), 32767), 0)::smallint ORDER BY d)
    FROM generate_series(1, 31) AS d
)"""
_JOIN_MONTHS = """
INSERT INTO runs_casemonth (case_id, month, results, failed, flaky, skipped, timed_count, timed_ms)
SELECT p.survivor, n.month, n.results, n.failed, n.flaky, n.skipped, n.timed_count, n.timed_ms
FROM unnest(%(cases)s::bigint[], %(survivors)s::bigint[]) AS p (gone, survivor)
JOIN runs_casemonth n ON n.case_id = p.gone
WHERE NOT EXISTS (SELECT FROM runs_casemonth o WHERE o.case_id = p.survivor AND o.month = n.month)
"""
_FORGET_MONTHS = "DELETE FROM runs_casemonth WHERE case_id = ANY(%(cases)s)"
#: Of results listed in `shifted`, of runs that are counted.
_MONTHS_OF_SHIFTED = """
INSERT INTO runs_casemonth (case_id, month, results, failed, flaky, skipped, timed_count, timed_ms)
WITH days AS (
    SELECT s.target, date_trunc('month', s.run_at AT TIME ZONE 'UTC')::date AS month,
           extract(day FROM s.run_at AT TIME ZONE 'UTC')::integer AS day,
           count(*) AS results,
           nullif(count(*) FILTER (WHERE s.outcome IN ('failed', 'errored')), 0) AS failed,
           nullif(count(*) FILTER (WHERE s.outcome = 'flaky'), 0) AS flaky,
           nullif(count(*) FILTER (WHERE s.outcome = 'skipped'), 0) AS skipped,
           count(s.duration_ms) FILTER (WHERE s.outcome = 'passed') AS timed_count,
           coalesce(sum(s.duration_ms) FILTER (WHERE s.outcome = 'passed'), 0) AS timed_ms
    FROM shifted s JOIN runs_run u ON u.id = s.run_id AND u.counted_on_default IS NOT NULL
    GROUP BY 1, 2, 3
)
SELECT m.target, m.month, array_agg(t.results::smallint ORDER BY d),
       CASE WHEN count(t.failed) > 0 THEN array_agg(t.failed::smallint ORDER BY d) END,
       CASE WHEN count(t.flaky) > 0 THEN array_agg(t.flaky::smallint ORDER BY d) END,
       CASE WHEN count(t.skipped) > 0 THEN array_agg(t.skipped::smallint ORDER BY d) END,
       sum(t.timed_count), sum(t.timed_ms)
FROM (SELECT DISTINCT target, month FROM days) m
CROSS JOIN generate_series(1, 31) AS d
LEFT JOIN days t ON t.target = m.target AND t.month = m.month AND t.day = d
GROUP BY 1, 2
"""


def hold_counts(suite_id: int) -> None:
    """Let no run of the suite be counted until this transaction ends, and wait for one that is."""
    wait_for(Lock.SUITE_COUNTS, suite_id)


def join_months(survivors: Mapping[int, int]) -> None:
    """Add the months of each case to those of its survivor. Needs `hold_counts`."""
    values = {"cases": list(survivors), "survivors": list(survivors.values())}
    with connection.cursor() as cursor:
        cursor.execute(_add_months(1), values)
        cursor.execute(_JOIN_MONTHS, values)
        cursor.execute(_FORGET_MONTHS, values)


def part_months(survivors: Mapping[int, int]) -> None:
    """Take what is listed in `shifted` out of the survivors' months and give it to its targets, the cases,
    which have none. Needs `hold_counts`."""
    values = {"cases": list(survivors), "survivors": list(survivors.values())}
    with connection.cursor() as cursor:
        cursor.execute(_MONTHS_OF_SHIFTED)
        cursor.execute(_add_months(-1), values)


def _add_months(sign: int) -> str:
    sums = ", ".join(
        f"{column} = CASE WHEN n.{column} IS NULL THEN o.{column} ELSE "
        + _SUM.replace("<column>", column).replace("<sign>", str(sign))
        + " END"
        for column in ("results", *_NOTABLE)
    )
    timed = ", ".join(
        f"{column} = greatest(o.{column} + {sign} * n.{column}, 0)" for column in ("timed_count", "timed_ms")
    )
    return (
        f"UPDATE runs_casemonth o SET {sums}, {timed} "  # noqa: S608 - of constants
        "FROM unnest(%(cases)s::bigint[], %(survivors)s::bigint[]) AS p (gone, survivor) "
        "JOIN runs_casemonth n ON n.case_id = p.gone "
        "WHERE o.case_id = p.survivor AND o.month = n.month"
    )


def count_run(run_id: int) -> None:
    """Count a run that has just ended; within the transaction that ends it. One that is counted is left."""
    take = """
        UPDATE runs_run r SET counted_on_default = (r.branch = p.default_branch AND r.pull_request = '')
        FROM runs_project p
        WHERE r.id = %s AND p.id = r.project_id AND r.counted_on_default IS NULL
        RETURNING r.suite_id, r.run_at, r.test_count, r.failed_count + r.errored_count, r.flaky_count,
                  r.skipped_count
    """
    with connection.cursor() as cursor:
        cursor.execute(take, [run_id])
        row = cursor.fetchone()
    if row is not None:
        suite_id, run_at, test_count, failed, flaky, skipped = row
        counting = _Counting(suite_id, run_id, run_at, step="+ 1")
        counting.execute(_COUNT_SUITE)
        if test_count:
            counting.execute(_COUNT_CASES)
            # Most runs hold nothing notable of most kinds; what the run holds was counted when it was stored.
            held = {"failed": failed, "flaky": flaky, "skipped": skipped}
            counting.execute(*(_STEPS_NOTABLE[column] for column, count in held.items() if count))
            if failed or flaky:
                counting.execute(_COUNT_GROUPS)


def count_groups(run_id: int, run_at: datetime) -> None:
    """Count by failure group what a run holds, anew."""
    with connection.cursor() as cursor:
        for statement in (_TAKE_OUT_GROUPS, _COUNT_GROUPS):
            cursor.execute(statement, {"run": run_id, "run_at": run_at})


def take_run_out(run_id: int) -> bool:
    """Undo what `count_run` did, before anything of the run changes; one that is not counted is left.

    The run's row is locked from here on. Returns whether it holds results.
    """
    find = """
        SELECT suite_id, run_at, counted_on_default,
               EXISTS (SELECT FROM runs_result r WHERE r.run_at = runs_run.run_at AND r.run_id = runs_run.id)
        FROM runs_run WHERE id = %s FOR NO KEY UPDATE
    """
    with connection.cursor() as cursor:
        cursor.execute(find, [run_id])
        row = cursor.fetchone()
    if row is None or row[2] is None:
        return row is not None and bool(row[3])
    suite_id, run_at, _, has_results = row
    counting = _Counting(suite_id, run_id, run_at, step="- 1")
    counting.execute(_TAKE_OUT_SUITE, _TAKE_OUT_CASES, *_STEPS_NOTABLE.values(), _TAKE_OUT_GROUPS)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE runs_run SET counted_on_default = NULL WHERE id = %s", [run_id])
    return bool(has_results)


def hold_blames(run_id: int) -> None:
    """Let nobody else change the run's blames until this transaction ends; before anything that counts them.

    Who holds those of several runs takes them all first: whoever has one goes on to wait for the project's.
    """
    wait_for(Lock.BLAMES, run_id)


def count_blames(run_id: int, project_id: int) -> None:
    """Count a run's blames, once they are all there."""
    wait_for(Lock.SERVICE_COUNTS, project_id)
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_BLAMES, {"run": run_id})


def take_blames_out(run_id: int, project_id: int) -> bool:
    """Undo what `count_blames` did, before any of the run's blames changes; returns whether there are any."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM runs_blame WHERE run_id = %s)", [run_id])
        [has_blames] = cursor.fetchone()
        if has_blames:
            wait_for(Lock.SERVICE_COUNTS, project_id)
            cursor.execute(_TAKE_OUT_BLAMES, {"run": run_id})
    return bool(has_blames)


class _Counting:
    """One run's statements. One run of a suite is counted at a time: rows of cases come in no order."""

    def __init__(self, suite_id: int, run_id: int, run_at: datetime, *, step: str) -> None:
        self._step = step
        self._day = run_at.astimezone(UTC).date()
        self._values: dict[str, Any] = {
            "run": run_id,
            "run_at": run_at,
            "day": self._day,
            "month": self._day.replace(day=1),
        }
        hold_counts(suite_id)

    def execute(self, *statements: str) -> None:
        """Execute in order."""
        with connection.cursor() as cursor:
            for statement in statements:
                fitted = statement.replace("<day>", str(self._day.day)).replace("<step>", self._step)
                cursor.execute(fitted, self._values)
