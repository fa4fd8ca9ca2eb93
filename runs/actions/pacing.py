"""Keep how long each test takes on the default branch: the only writer of `CaseDuration`.

A run's passes are put behind those before it by a handful of statements, however many they are. What the
row says follows from the durations it holds and nothing else, so the same run twice changes nothing, and
one that is stored late is put in its place. Only where the newest ones are clearly above those before
are the durations read and judged in Python (docs/decisions/0144).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.db import connection, transaction
from django.utils import timezone

from runs.actions.locks import Lock, wait_for
from runs.actions.runs import TELLING
from runs.analytics.durations import ALGORITHM_VERSION, DEFAULTS, standing_alert, step
from runs.analytics.samples import median
from runs.models import Run
from runs.queries.evidence import SuiteEvidence, evidence_of_suite

if TYPE_CHECKING:
    from django.db.backends.utils import CursorWrapper

#: Passes kept of each test.
KEPT: Final = 100
#: A rise of the medians by less, as a ratio and in milliseconds, is not worth a test of significance.
LEAST_RATIO: Final = DEFAULTS.rearm_ratio
LEAST_MS: Final = 50

# What the run says of each case beside what is kept of it. `ms` is null when it says nothing (any more):
# it did not pass, or the run does not count. A row that the run cannot change is left out.
# The table stays with the connection: one made for each run cost more than what a small run says.
_TABLE = """
CREATE TEMPORARY TABLE IF NOT EXISTS itdash_paced_1 (
    case_id bigint NOT NULL,
    ms integer,
    recent_ms integer[],
    recent_runs bigint[],
    is_new boolean NOT NULL,
    is_newest boolean
) ON COMMIT DELETE ROWS
"""
_TOUCHED = """
WITH touched AS (
INSERT INTO itdash_paced_1
SELECT r.case_id, r.ms, d.recent_ms, d.recent_runs,
       d.case_id IS NULL AS is_new,
       array_position(d.recent_runs, %(run)s::bigint) IS NULL
           AND (d.last_run_at, d.recent_runs[cardinality(d.recent_runs)]) < (%(at)s, %(run)s::bigint)
           AS is_newest
FROM (
    SELECT case_id, CASE WHEN %(counts)s AND outcome = 'passed' THEN duration_ms END AS ms
    FROM runs_result WHERE run_at = %(at)s AND run_id = %(run)s
) r
LEFT JOIN runs_caseduration d ON d.case_id = r.case_id
WHERE CASE
    WHEN d.case_id IS NULL THEN r.ms IS NOT NULL
    ELSE d.recent_ms[array_position(d.recent_runs, %(run)s::bigint)] IS DISTINCT FROM r.ms
END
RETURNING ms IS NOT NULL AND (is_new OR is_newest) AS is_plain
)
SELECT count(*), count(*) FILTER (WHERE is_plain IS NOT TRUE) FROM touched
"""
_APPENDED = """
SELECT case_id, %(at)s::timestamptz AS last_run_at,
       CASE WHEN is_new THEN ARRAY[ms]
            ELSE (recent_ms || ms)[greatest(cardinality(recent_ms) + 2 - %(kept)s, 1):] END
           AS recent_ms,
       CASE WHEN is_new THEN ARRAY[%(run)s::bigint]
            ELSE (recent_runs || %(run)s::bigint)[greatest(cardinality(recent_runs) + 2 - %(kept)s, 1):] END
           AS recent_runs
FROM itdash_paced_1 WHERE ms IS NOT NULL AND (is_new OR is_newest)
"""
# Late, changed or no longer counting: the durations are put in the order of their runs' moments again.
_PLACED = """
SELECT p.case_id, max(p.run_at) AS last_run_at,
       array_agg(p.ms ORDER BY p.run_at, p.run) AS recent_ms,
       array_agg(p.run ORDER BY p.run_at, p.run) AS recent_runs
FROM (
    SELECT e.case_id, e.ms, e.run, u.run_at,
           row_number() OVER (PARTITION BY e.case_id ORDER BY u.run_at DESC, e.run DESC) AS place
    FROM (
        SELECT t.case_id, k.ms, k.run
        FROM itdash_paced_1 t CROSS JOIN unnest(t.recent_ms, t.recent_runs) AS k (ms, run)
        WHERE NOT (t.is_new OR t.is_newest AND t.ms IS NOT NULL) AND k.run <> %(run)s
        UNION ALL
        SELECT case_id, ms, %(run)s FROM itdash_paced_1 WHERE NOT is_new AND NOT is_newest AND ms IS NOT NULL
    ) e JOIN runs_run u ON u.id = e.run
) p
WHERE p.place <= %(kept)s
GROUP BY p.case_id
"""
_STORE = """
INSERT INTO runs_caseduration AS d
    (case_id, recent_ms, recent_runs, last_run_at, p50_ms, p95_ms, before_ms, after_ms, p_value, is_slower,
     changed_run_id, algorithm_version, judged_at)
SELECT f.case_id, f.recent_ms, f.recent_runs, f.last_run_at, round(s.p50), round(s.p95),
       round(m.before), round(m.after), NULL, false, NULL, %(version)s, %(now)s
FROM ({fresh}) f
CROSS JOIN LATERAL (
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS p50,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY ms) AS p95
    FROM unnest(f.recent_ms) AS ms
) s
LEFT JOIN LATERAL (
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FILTER (WHERE place <= n - %(recent)s) AS before,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FILTER (WHERE place > n - %(recent)s) AS after
    FROM unnest(f.recent_ms) WITH ORDINALITY AS e (ms, place), cardinality(f.recent_ms) AS n
    WHERE place > n - %(window)s
) m ON cardinality(f.recent_ms) >= %(window)s
ON CONFLICT (case_id) DO UPDATE SET
    recent_ms = excluded.recent_ms, recent_runs = excluded.recent_runs, last_run_at = excluded.last_run_at,
    p50_ms = excluded.p50_ms, p95_ms = excluded.p95_ms,
    -- A standing alert keeps what it says until it is judged again, right below.
    before_ms = CASE WHEN d.is_slower THEN d.before_ms ELSE excluded.before_ms END,
    after_ms = CASE WHEN d.is_slower THEN d.after_ms ELSE excluded.after_ms END,
    p_value = CASE WHEN d.is_slower THEN d.p_value END,
    is_slower = d.is_slower,
    changed_run_id = d.changed_run_id,
    algorithm_version = excluded.algorithm_version, judged_at = excluded.judged_at
"""
_FORGET = """
DELETE FROM runs_caseduration d USING itdash_paced_1 t
WHERE d.case_id = t.case_id AND t.ms IS NULL AND d.recent_runs = ARRAY[%(run)s::bigint]
"""
_CANDIDATES = """
SELECT d.case_id, d.recent_ms, d.recent_runs
FROM runs_caseduration d JOIN itdash_paced_1 t ON t.case_id = d.case_id
WHERE d.is_slower OR d.after_ms >= d.before_ms * %(least_ratio)s AND d.after_ms - d.before_ms >= %(least_ms)s
"""
_JUDGED = """
UPDATE runs_caseduration d
SET before_ms = v.before_ms, after_ms = v.after_ms, p_value = v.p_value, is_slower = v.is_slower,
    changed_run_id = (SELECT id FROM runs_run WHERE id = v.changed_run_id)
FROM unnest(%(cases)s::bigint[], %(before)s::integer[], %(after)s::integer[], %(p_values)s::float8[],
            %(slower)s::boolean[], %(changed)s::bigint[])
     AS v (case_id, before_ms, after_ms, p_value, is_slower, changed_run_id)
WHERE d.case_id = v.case_id
"""

# What is kept of two cases, as of one.
_JOINED = """
SELECT k.case_id, max(k.run_at) AS last_run_at,
       array_agg(k.ms ORDER BY k.run_at, k.run) AS recent_ms,
       array_agg(k.run ORDER BY k.run_at, k.run) AS recent_runs
FROM (
    SELECT p.survivor AS case_id, k.ms, k.run, u.run_at,
           row_number() OVER (PARTITION BY p.survivor ORDER BY u.run_at DESC, k.run DESC) AS place
    FROM unnest(%(cases)s::bigint[], %(survivors)s::bigint[]) AS p (gone, survivor)
    JOIN runs_caseduration d ON d.case_id IN (p.gone, p.survivor)
    CROSS JOIN unnest(d.recent_ms, d.recent_runs) AS k (ms, run)
    JOIN runs_run u ON u.id = k.run
) k
WHERE k.place <= %(kept)s
GROUP BY k.case_id
"""
# What is kept of one, as of two: each has the passes that it has in those runs. Of runs whose results went,
# all stays with the survivor.
_PARTED = """
SELECT k.case_id, max(k.run_at) AS last_run_at,
       array_agg(k.ms ORDER BY k.run_at, k.run) AS recent_ms,
       array_agg(k.run ORDER BY k.run_at, k.run) AS recent_runs
FROM (
    SELECT DISTINCT coalesce(r.case_id, p.survivor) AS case_id, coalesce(r.duration_ms, k.ms) AS ms, k.run,
           u.run_at
    FROM unnest(%(cases)s::bigint[], %(survivors)s::bigint[]) AS p (gone, survivor)
    JOIN runs_caseduration d ON d.case_id = p.survivor
    CROSS JOIN unnest(d.recent_ms, d.recent_runs) AS k (ms, run)
    JOIN runs_run u ON u.id = k.run
    LEFT JOIN runs_result r ON r.case_id IN (p.gone, p.survivor) AND r.run_at = u.run_at
                           AND r.run_id + 0 = k.run AND r.outcome = 'passed' AND r.duration_ms IS NOT NULL
    WHERE r.case_id IS NOT NULL OR u.results_removed_at IS NOT NULL
) k
GROUP BY k.case_id
"""
_FORGET_PARTED = f"""
DELETE FROM runs_caseduration d WHERE d.case_id = ANY(%(survivors)s)
  AND NOT EXISTS (SELECT FROM ({_PARTED}) f WHERE f.case_id = d.case_id)
"""  # noqa: S608 - of constants
_FORGET_CASES = "DELETE FROM runs_caseduration WHERE case_id = ANY(%(cases)s)"
_CANDIDATES_OF = """
SELECT d.case_id, d.recent_ms, d.recent_runs FROM runs_caseduration d
WHERE (d.case_id = ANY(%(cases)s) OR d.case_id = ANY(%(survivors)s)) AND (
    d.is_slower OR d.after_ms >= d.before_ms * %(least_ratio)s AND d.after_ms - d.before_ms >= %(least_ms)s)
"""


@dataclass(frozen=True, slots=True)
class Pace:
    """What the newest passes of a case say of a rise; milliseconds."""

    case: int
    before_ms: int | None = None
    after_ms: int | None = None
    p_value: float | None = None
    is_slower: bool = False
    changed_run: int | None = None


def pace_run(run_id: int) -> int:
    """Put the run's passes behind those before; return how many cases' durations changed.

    Nothing happens for a run that is gone, not finished, or not on the project's default branch. Of one that
    ended in an error, or turned out to be an outage, nothing is kept: it says nothing of how long tests take.
    """
    run = Run.objects.select_related("project").filter(pk=run_id).first()
    if run is None or not run.is_finished:
        return 0
    with transaction.atomic():
        wait_for(Lock.DURATIONS, run.suite_id)
        return pace_by(run, evidence_of_suite(run.suite_id, default_branch=run.project.default_branch))


def pace_by(run: Run, evidence: SuiteEvidence) -> int:
    """The same for a finished run, by what was read of its suite since nobody else could judge it."""
    seen = evidence.runs.get(run.pk)
    tells = run.status in TELLING
    if tells and (seen is None or not seen.on_default_branch):
        return 0
    counts = tells and run.pk not in evidence.outages
    with transaction.atomic():
        # One at a time: a row is read and written behind it.
        wait_for(Lock.DURATIONS, run.suite_id)
        return _store(run.pk, run.run_at, counts=counts)


def join_paces(suite_id: int, survivors: Mapping[int, int]) -> None:
    """Put each case's durations with its survivor's; within the transaction that joins them."""
    _restore(suite_id, survivors, _JOINED, _FORGET_CASES)


def part_paces(suite_id: int, survivors: Mapping[int, int]) -> None:
    """Have the cases, of which nothing is kept, and their survivors keep what their results say by now."""
    _restore(suite_id, survivors, _PARTED, _FORGET_PARTED)


def _restore(suite_id: int, survivors: Mapping[int, int], fresh: str, forget: str) -> None:
    wait_for(Lock.DURATIONS, suite_id)
    values = _values() | {"cases": list(survivors), "survivors": list(survivors.values())}
    with connection.cursor() as cursor:
        cursor.execute(_STORE.format(fresh=fresh), values)
        cursor.execute(forget, values)
        _judge(cursor, _CANDIDATES_OF, values)


def _values() -> dict[str, Any]:
    return {
        "kept": KEPT,
        "recent": DEFAULTS.recent,
        "window": DEFAULTS.recent + DEFAULTS.base,
        "least_ratio": LEAST_RATIO,
        "least_ms": LEAST_MS,
        "version": ALGORITHM_VERSION,
        "now": timezone.now(),
    }


def _store(run_id: int, at: datetime, *, counts: bool) -> int:
    values = _values() | {"run": run_id, "at": at, "counts": counts}
    with connection.cursor() as cursor:
        cursor.execute(_TABLE)
        cursor.execute(_TOUCHED, values)
        touched, special = cursor.fetchone()
        if touched:
            cursor.execute("ANALYZE itdash_paced_1 (case_id)")
            cursor.execute(_STORE.format(fresh=_APPENDED), values)
            if special:
                cursor.execute(_FORGET, values)
                cursor.execute(_STORE.format(fresh=_PLACED), values)
            _judge(cursor, _CANDIDATES, values)
            cursor.execute("DELETE FROM itdash_paced_1")
    return int(touched)


def _judge(cursor: CursorWrapper, candidates: str, values: Mapping[str, Any]) -> None:
    """Judge those that may be slower, or were."""
    cursor.execute(candidates, values)
    paces = [judge_pace(case, ms, runs) for case, ms, runs in cursor.fetchall()]
    if paces:
        cursor.execute(_JUDGED, _columns(paces))


def judge_pace(case: int, milliseconds: Sequence[int], runs: Sequence[int]) -> Pace:
    """Judge a case by its newest passes, oldest first, and the runs they are of."""
    seconds = [value / 1000 for value in milliseconds]
    now = step(seconds)
    if now is None:
        return Pace(case)
    alert = standing_alert(seconds)
    if alert is None:
        return Pace(case, round(now.before * 1000), round(now.after * 1000), now.p_value)
    return Pace(
        case,
        before_ms=round(alert.before * 1000),
        # Since it began, not the last ten: when it is noticed, some of those are from before.
        after_ms=round(median(seconds[alert.index :]) * 1000),
        p_value=alert.p_value,
        is_slower=True,
        changed_run=runs[alert.index],
    )


def _columns(paces: Sequence[Pace]) -> dict[str, list[Any]]:
    return {
        "cases": [pace.case for pace in paces],
        "before": [pace.before_ms for pace in paces],
        "after": [pace.after_ms for pace in paces],
        "p_values": [pace.p_value for pace in paces],
        "slower": [pace.is_slower for pace in paces],
        "changed": [pace.changed_run for pace in paces],
    }
