"""Cases that occur again, in one report or in several of a run: their tries are read, folded and written.

Few cases do, but in a rerun of a large job all of them: so they come through a cursor of the server's, some
hundred at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.db import connection

from runs.ingestion.attempts import Folded, Try, fold_tries
from runs.vocabulary import FAILING, Outcome

if TYPE_CHECKING:
    from django.db.backends.utils import CursorWrapper

#: Tries kept of one case in one run; the count of all is kept too.
TRY_LIMIT = 200
_FOLDED_AT_ONCE = 500
_ATTEMPT_COUNT_LIMIT = 32_767

REPEATS_TABLE = """
CREATE TEMPORARY TABLE IF NOT EXISTS itdash_repeats_1 (identity bytea PRIMARY KEY) ON COMMIT DELETE ROWS
"""
_INSERT_REPEATS = """
INSERT INTO itdash_repeats_1
SELECT identity FROM itdash_staging_3 GROUP BY identity HAVING count(*) > 1
"""
INSERT_REPEATS_OF_EARLIER_REPORTS = """
INSERT INTO itdash_repeats_1
SELECT DISTINCT s.identity
FROM itdash_staging_3 s
JOIN <case>
CROSS JOIN LATERAL (
    SELECT FROM runs_result r
    WHERE r.run_at = %(run_at)s AND r.run_id + 0 = %(run)s AND r.case_id = c.id OFFSET 0
) r
ON CONFLICT DO NOTHING
"""
#: The tries of repeated cases, those of earlier reports first; a result without attempts is one of them.
SELECT_TRIES = """
WITH tries AS (
    SELECT c.id AS case_id, 1 AS source, s.position AS place, s.outcome, s.duration_ms, f.id AS failure_id,
           coalesce(s.output, '') AS output,
           coalesce(s.outcome = 'errored' AND starts_with(f.message, %(mark)s), false) AS is_teardown,
           %(shard)s::smallint AS shard, coalesce(s.services, '{}') AS services
    FROM itdash_repeats_1 p
    JOIN itdash_staging_3 s ON s.identity = p.identity
    JOIN <case>
    LEFT JOIN <failure>
    UNION ALL
    SELECT c.id, 0, coalesce(a.number::integer, r.position), coalesce(a.outcome, r.outcome::text),
           CASE WHEN a.number IS NULL THEN r.duration_ms ELSE a.duration_ms END,
           coalesce(a.failure_id, CASE WHEN a.number IS NULL THEN r.failure_id END),
           coalesce(a.output, ''), false, r.shard, coalesce(a.services, '{}')
    FROM itdash_repeats_1 s
    JOIN <case>
    CROSS JOIN LATERAL (
        SELECT * FROM runs_result r
        WHERE r.run_at = %(run_at)s AND r.run_id + 0 = %(run)s AND r.case_id = c.id OFFSET 0
    ) r
    LEFT JOIN LATERAL (
        SELECT * FROM runs_attempt a
        WHERE a.run_at = %(run_at)s AND a.run_id = %(run)s AND a.case_id = c.id OFFSET 0
    ) a ON true
), numbered AS (
    SELECT *, row_number() OVER within AS number, count(*) OVER (PARTITION BY case_id) AS total,
           first_value(shard) OVER within AS first_shard,
           min(place) FILTER (WHERE source = 1) OVER (PARTITION BY case_id) AS position
    FROM tries WINDOW within AS (PARTITION BY case_id ORDER BY source, place)
)
SELECT case_id, total, first_shard, position, outcome, duration_ms, failure_id, output, is_teardown,
       services
FROM numbered
WHERE number < %(try_limit)s OR number = total
ORDER BY case_id, number
"""
_DELETE_ATTEMPTS = """
DELETE FROM runs_attempt WHERE run_at = %(run_at)s AND run_id = %(run)s AND case_id = ANY(%(cases)s)
"""
_UPSERT_RESULTS = """
INSERT INTO runs_result (run_at, run_id, case_id, failure_id, duration_ms, position, shard, attempt_count,
                         outcome)
SELECT %(run_at)s, %(run)s, * FROM unnest(
    %(cases)s::bigint[], %(failures)s::bigint[], %(durations)s::integer[], %(positions)s::integer[],
    %(shards)s::smallint[], %(counts)s::smallint[], %(outcomes)s::runs_outcome[])
ON CONFLICT (run_at, run_id, case_id) DO UPDATE SET
    failure_id = excluded.failure_id, duration_ms = excluded.duration_ms,
    attempt_count = excluded.attempt_count, outcome = excluded.outcome
"""
_INSERT_FOLDED_ATTEMPTS = """
INSERT INTO runs_attempt (run_at, run_id, case_id, number, failure_id, duration_ms, outcome, output,
                          services)
SELECT %(run_at)s, %(run)s, case_id, number, failure_id, duration_ms, outcome, output, services::text[]
FROM unnest(
    %(cases)s::bigint[], %(numbers)s::smallint[], %(failures)s::bigint[], %(durations)s::integer[],
    %(outcomes)s::varchar[], %(outputs)s::text[], %(services)s::text[]
) AS t (case_id, number, failure_id, duration_ms, outcome, output, services)
"""

#: Fills the gaps of a statement; see `runs.actions.result_rows`.
type Fit = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Repeat:
    """A repeated case and what its tries came to."""

    case_id: int
    total: int
    shard: int
    position: int
    folded: Folded


def find_repeats(cursor: CursorWrapper, fit: Fit, parameters: dict[str, Any], *, has_results: bool) -> int:
    """Note the cases that occur again, in what was staged or in the run's earlier reports; count them."""
    cursor.execute(_INSERT_REPEATS)
    repeated = int(cursor.rowcount)
    if has_results:
        cursor.execute(fit(INSERT_REPEATS_OF_EARLIER_REPORTS), parameters)
        repeated += cursor.rowcount
    if repeated:
        cursor.execute("ANALYZE itdash_repeats_1")
    return repeated


def fold_repeats(cursor: CursorWrapper, fit: Fit, parameters: dict[str, Any]) -> None:
    """Put the tries of each noted case together and write what they came to."""
    chunk: list[_Repeat] = []
    for repeat in _repeats(fit, parameters):
        chunk.append(repeat)
        if len(chunk) == _FOLDED_AT_ONCE:
            _write_repeats(cursor, parameters, chunk)
            chunk = []
    if chunk:
        _write_repeats(cursor, parameters, chunk)


def _repeats(fit: Fit, parameters: dict[str, Any]) -> Iterator[_Repeat]:
    """Read the tries through a server-side cursor: a rerun of a large job repeats every case."""
    with connection.chunked_cursor() as rows:
        rows.execute(fit(SELECT_TRIES), parameters)
        fetched = iter(lambda: rows.fetchmany(2_000), [])
        for case_id, own in groupby((row for part in fetched for row in part), key=lambda row: row[0]):
            tries = list(own)
            _, total, shard, position = tries[0][:4]
            folded = fold_tries([_try_of(row) for row in tries])
            merged_away = len(tries) - len(folded.tries)
            yield _Repeat(case_id, min(total - merged_away, _ATTEMPT_COUNT_LIMIT), shard, position, folded)


def _try_of(row: tuple[Any, ...]) -> Try:
    outcome, duration_ms, failure_id, output, is_teardown, services = row[4:10]
    return Try(Outcome(outcome), duration_ms, failure_id, output, is_teardown, tuple(services))


def _write_repeats(cursor: CursorWrapper, parameters: dict[str, Any], repeats: list[_Repeat]) -> None:
    results = {
        "cases": [one.case_id for one in repeats],
        "failures": [one.folded.failure_id for one in repeats],
        "durations": [one.folded.duration_ms for one in repeats],
        "positions": [one.position for one in repeats],
        "shards": [one.shard for one in repeats],
        "counts": [one.total for one in repeats],
        "outcomes": [one.folded.outcome.value for one in repeats],
    }
    tries = [
        (one.case_id, number, each)
        for one in repeats
        for number, each in enumerate(one.folded.tries, start=1)
        if len(one.folded.tries) > 1 or each.outcome in FAILING
    ]
    attempts = {
        "cases": [case_id for case_id, _, _ in tries],
        "numbers": [number for _, number, _ in tries],
        "failures": [each.failure_id for _, _, each in tries],
        "durations": [each.duration_ms for _, _, each in tries],
        "outcomes": [each.outcome.value for _, _, each in tries],
        "outputs": [each.output for _, _, each in tries],
        "services": [array_text(each.services) for _, _, each in tries],
    }
    cursor.execute(_DELETE_ATTEMPTS, parameters | {"cases": results["cases"]})
    cursor.execute(_UPSERT_RESULTS, parameters | results)
    cursor.execute(_INSERT_FOLDED_ATTEMPTS, parameters | attempts)


def array_text(values: tuple[str, ...]) -> str:
    """PostgreSQL's text form of an array of texts."""
    quoted = (value.replace("\\", r"\\").replace('"', r"\"") for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"
