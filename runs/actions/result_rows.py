"""Staged attempts become cases, failures, results and attempts, in a handful of statements.

Every attempt read is one row of a temporary table; nothing is looked up one by one, and nothing of a
report is held in this process. Cases that occur once, nearly all, go straight through; those that occur
again, in this report or in an earlier one of the run, are folded by `runs.ingestion.attempts`.

Parallel uploads cannot deadlock: an advisory lock lets one at a time merge into a run, and what several
runs share, cases and failures, is inserted in the order of its digests, cases before failures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.db import connection

from runs.actions.locks import Lock, wait_for
from runs.actions.rollups import take_run_out
from runs.analytics.fingerprints import failure_fingerprint
from runs.ingestion.attempts import TEARDOWN_MARK, Folded, Try, fold_tries
from runs.ingestion.identity import split_parameters
from runs.ingestion.report import AttemptRead, CaseRead, FailureText
from runs.vocabulary import FAILING, Outcome

if TYPE_CHECKING:
    from django.db.backends.utils import CursorWrapper

#: Tries kept of one case in one run; the count of all is kept too.
TRY_LIMIT = 200
#: Failure texts already staged, by digest: a text that ten thousand cases share is sent once.
_KNOWN_FAILURE_LIMIT = 20_000
_FOLDED_AT_ONCE = 500
_ATTEMPT_COUNT_LIMIT = 32_767

_STAGING = """
CREATE TEMPORARY TABLE IF NOT EXISTS itdash_staging_2 (
    position integer NOT NULL,
    identity bytea NOT NULL,
    outcome text NOT NULL,
    duration_ms integer,
    path text NOT NULL,
    class_name text NOT NULL,
    name text NOT NULL,
    parameters text NOT NULL,
    file text NOT NULL,
    variant text NOT NULL,
    line integer,
    digest bytea,
    fingerprint bytea,
    kind text,
    message text,
    text text,
    output text,
    services text[]
) ON COMMIT DELETE ROWS
"""
_REPEATS = """
CREATE TEMPORARY TABLE IF NOT EXISTS itdash_repeats_1 (identity bytea PRIMARY KEY) ON COMMIT DELETE ROWS
"""
#: Failure columns, output and services of an attempt that has none of them.
_NOTHING = "\t".join([r"\N"] * 7)
_COPY = "COPY itdash_staging_2 FROM STDIN"

# `<case>` and `<failure>` stand for one of two ways to find the rows that a staged attempt belongs to; see
# `_Way`.
_INSERT_CASES = """
INSERT INTO runs_testcase (suite_id, identity, path, class_name, name, parameters, file, variant, line,
                           first_seen_at, last_seen_at)
SELECT DISTINCT ON (s.identity)
       %(suite)s, s.identity, s.path, s.class_name, s.name, s.parameters, s.file, s.variant, s.line,
       %(run_at)s, %(run_at)s
FROM itdash_staging_2 s LEFT JOIN <case>
WHERE c.id IS NULL
ORDER BY s.identity, s.position
ON CONFLICT (suite_id, identity) DO NOTHING
"""
# Precise to a day, so that most runs write nothing. Rows that another run holds are left to it.
_TOUCH_CASES = """
UPDATE runs_testcase SET last_seen_at = %(run_at)s WHERE id IN (
    SELECT id FROM runs_testcase WHERE id = ANY(ARRAY(
        SELECT c.id FROM itdash_staging_2 s JOIN <case>
        WHERE c.last_seen_at < %(run_at)s - interval '1 day'
    )) ORDER BY id FOR UPDATE SKIP LOCKED
)
"""
_INSERT_FAILURES = """
INSERT INTO runs_failure (project_id, digest, fingerprint, kind, message, text, first_seen_at)
SELECT DISTINCT ON (s.digest) %(project)s, s.digest, s.fingerprint, s.kind, s.message, s.text, %(run_at)s
FROM itdash_staging_2 s
WHERE s.fingerprint IS NOT NULL
ORDER BY s.digest
ON CONFLICT (project_id, digest) DO NOTHING
"""
_INSERT_REPEATS = """
INSERT INTO itdash_repeats_1
SELECT identity FROM itdash_staging_2 GROUP BY identity HAVING count(*) > 1
"""
_INSERT_REPEATS_OF_EARLIER_REPORTS = """
INSERT INTO itdash_repeats_1
SELECT DISTINCT s.identity
FROM itdash_staging_2 s
JOIN <case>
CROSS JOIN LATERAL (
    SELECT FROM runs_result r
    WHERE r.run_at = %(run_at)s AND r.run_id = %(run)s AND r.case_id = c.id OFFSET 0
) r
ON CONFLICT DO NOTHING
"""
_INSERT_RESULTS = """
INSERT INTO runs_result (run_at, run_id, case_id, failure_id, duration_ms, position, shard, attempt_count,
                         outcome)
SELECT %(run_at)s, %(run)s, c.id, f.id, s.duration_ms, s.position, %(shard)s, 1, s.outcome::runs_outcome
FROM itdash_staging_2 s
JOIN <case>
LEFT JOIN <failure>
"""
_INSERT_ATTEMPTS = """
INSERT INTO runs_attempt (run_at, run_id, case_id, number, failure_id, duration_ms, outcome, output,
                          services)
SELECT %(run_at)s, %(run)s, c.id, 1, f.id, s.duration_ms, s.outcome, coalesce(s.output, ''),
       coalesce(s.services, '{}')
FROM itdash_staging_2 s
JOIN <case>
LEFT JOIN <failure>
WHERE s.outcome IN ('failed', 'errored')
"""
_NOT_REPEATED = "NOT EXISTS (SELECT FROM itdash_repeats_1 p WHERE p.identity = s.identity)"
#: In the order of the primary key, which saves half of the time that the indexes cost.
_BY_CASE = "ORDER BY c.id"

#: The tries of repeated cases, those of earlier reports first; a result without attempts is one of them.
_SELECT_TRIES = """
WITH tries AS (
    SELECT c.id AS case_id, 1 AS source, s.position AS place, s.outcome, s.duration_ms, f.id AS failure_id,
           coalesce(s.output, '') AS output,
           coalesce(s.outcome = 'errored' AND starts_with(f.message, %(mark)s), false) AS is_teardown,
           %(shard)s::smallint AS shard, coalesce(s.services, '{}') AS services
    FROM itdash_repeats_1 p
    JOIN itdash_staging_2 s ON s.identity = p.identity
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
        WHERE r.run_at = %(run_at)s AND r.run_id = %(run)s AND r.case_id = c.id OFFSET 0
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
_COUNT_RUN = """
UPDATE runs_run SET test_count = n.tests, passed_count = n.passed, failed_count = n.failed,
                    errored_count = n.errored, skipped_count = n.skipped, flaky_count = n.flaky
FROM (
    SELECT count(*) AS tests,
           count(*) FILTER (WHERE outcome = 'passed') AS passed,
           count(*) FILTER (WHERE outcome = 'failed') AS failed,
           count(*) FILTER (WHERE outcome = 'errored') AS errored,
           count(*) FILTER (WHERE outcome = 'skipped') AS skipped,
           count(*) FILTER (WHERE outcome = 'flaky') AS flaky
    FROM runs_result WHERE run_at = %(run_at)s AND run_id = %(run)s
) n
WHERE id = %(run)s
"""
_COUNT_SHARD = """
UPDATE runs_shard SET test_count = n.tests, failed_count = n.failed
FROM (
    SELECT count(*) AS tests, count(*) FILTER (WHERE outcome IN ('failed', 'errored')) AS failed
    FROM runs_result WHERE run_at = %(run_at)s AND run_id = %(run)s AND shard = %(shard)s
) n
WHERE run_id = %(run)s AND number = %(shard)s
"""


@dataclass(frozen=True, slots=True)
class _Way:
    """How staged attempts find their cases and failures.

    Left to itself PostgreSQL plans by statistics that do not know a new suite yet, and was off by a factor
    of a thousand where they were old (docs/decisions/0055). So it is not left a choice.
    """

    settings: str
    case: str
    failure: str

    def of(self, statement: str) -> str:
        """Return the statement with its two gaps filled."""
        return statement.replace("<case>", self.case).replace("<failure>", self.failure)


#: For few attempts: one by one, through the unique indexes. OFFSET 0 keeps it from becoming a join.
_BY_LOOKUP = _Way(
    settings="SET LOCAL work_mem = '8MB'",
    case="""LATERAL (
    SELECT c.id, c.last_seen_at FROM runs_testcase c
    WHERE c.suite_id = %(suite)s AND c.identity = s.identity OFFSET 0
) c ON true""",
    failure="""LATERAL (
    SELECT f.id, f.message FROM runs_failure f
    WHERE s.digest IS NOT NULL AND f.project_id = %(project)s AND f.digest = s.digest OFFSET 0
) f ON true""",
)
#: For many: by reading all cases of the suite once, a third of the work and bounded by the suite's size.
_BY_HASH = _Way(
    settings="SET LOCAL work_mem = '64MB'; SET LOCAL enable_nestloop = off",
    case="runs_testcase c ON c.suite_id = %(suite)s AND c.identity = s.identity",
    failure="runs_failure f ON f.project_id = %(project)s AND f.digest = s.digest",
)
_MANY_ATTEMPTS = 5_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where results belong."""

    run_id: int
    run_at: datetime
    suite_id: int
    project_id: int
    shard: int

    @property
    def parameters(self) -> dict[str, Any]:
        """For the statements above."""
        return {
            "run": self.run_id,
            "run_at": self.run_at,
            "suite": self.suite_id,
            "project": self.project_id,
            "shard": self.shard,
            "mark": TEARDOWN_MARK,
            "try_limit": TRY_LIMIT,
        }


class Staging:
    """The attempts of one transaction on their way in."""

    def __init__(self) -> None:
        self._position = 0
        self._staged_failures: set[bytes] = set()
        with connection.cursor() as cursor:
            cursor.execute(_STAGING)
            cursor.execute(_REPEATS)
            cursor.execute("TRUNCATE itdash_staging_2, itdash_repeats_1")

    def add(self, batches: Iterable[list[CaseRead]]) -> None:
        """Stage the cases; call it within a savepoint, since `batches` may raise half-way."""
        staged_before = set(self._staged_failures)
        try:
            with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                for batch in batches:
                    copy.write("".join(self._lines(batch)))
        except BaseException:
            self._staged_failures = staged_before
            raise

    def _lines(self, batch: list[CaseRead]) -> Iterator[str]:
        for case in batch:
            name, parameters = split_parameters(case.name)
            words = f"{case.path}\t{case.class_name}\t{name}\t{parameters}\t{case.file}\t{case.variant}"
            if "\\" in words or "\n" in words or "\r" in words or words.count("\t") != 5:  # noqa: PLR2004
                words = "\t".join(
                    map(_escaped, (case.path, case.class_name, name, parameters, case.file, case.variant))
                )
            line = r"\N" if case.line is None else str(case.line)
            # A pass at the first try says nothing: its output is in the raw report.
            is_plain = len(case.attempts) == 1 and case.attempts[0].failure is None
            for attempt in case.attempts:
                self._position += 1
                duration = r"\N" if attempt.duration_ms is None else str(attempt.duration_ms)
                yield (
                    f"{self._position}\t\\\\x{case.identity.hex()}\t{attempt.outcome.value}\t{duration}\t"
                    f"{words}\t{line}\t"
                    f"{_NOTHING if is_plain else self._failure_columns(attempt, case.services)}\n"
                )

    def _failure_columns(self, attempt: AttemptRead, services: tuple[str, ...]) -> str:
        output = _escaped(attempt.output) if attempt.output else r"\N"
        failure = attempt.failure
        if failure is None:
            return rf"\N	\N	\N	\N	\N	{output}	\N"
        output = f"{output}\t{_escaped(_array(services)) if services else r'\N'}"
        digest = failure_digest(failure)
        if digest in self._staged_failures:
            return rf"\\x{digest.hex()}	\N	\N	\N	\N	{output}"
        if len(self._staged_failures) < _KNOWN_FAILURE_LIMIT:
            self._staged_failures.add(digest)
        fingerprint = failure_fingerprint(failure.kind, failure.message, failure.text)
        texts = "\t".join(map(_escaped, failure))
        return f"\\\\x{digest.hex()}\t\\\\x{fingerprint.hex()}\t{texts}\t{output}"

    def merge(self, place: Place) -> None:
        """Make rows of what was staged, and count the run's totals anew."""
        parameters = place.parameters
        way = _BY_HASH if self._position > _MANY_ATTEMPTS else _BY_LOOKUP
        wait_for(Lock.MERGE, place.run_id, shared=(Lock.CASES, place.project_id))
        with connection.cursor() as cursor:
            has_results = take_run_out(place.run_id)
            cursor.execute(way.settings)
            # Temporary tables are never analysed by themselves.
            cursor.execute("ANALYZE itdash_staging_2 (identity)")
            cursor.execute(way.of(_INSERT_CASES), parameters)
            cursor.execute(way.of(_TOUCH_CASES), parameters)
            cursor.execute(_INSERT_FAILURES, parameters)
            repeated = _find_repeats(cursor, way, parameters, has_results=has_results)
            first_of_all = f"WHERE {_NOT_REPEATED}" if repeated else ""
            cursor.execute(f"{way.of(_INSERT_RESULTS)} {first_of_all} {_BY_CASE}", parameters)
            also = f"AND {_NOT_REPEATED}" if repeated else ""
            cursor.execute(f"{way.of(_INSERT_ATTEMPTS)} {also} {_BY_CASE}", parameters)
            if repeated:
                _fold_repeats(cursor, way, parameters)
            cursor.execute(_COUNT_RUN, parameters)
            cursor.execute(_COUNT_SHARD, parameters)
            cursor.execute("TRUNCATE itdash_staging_2, itdash_repeats_1")


def hold_back_merges(project_id: int) -> None:
    """Let nobody merge into the project's runs until this transaction ends, and wait for those who are at it.

    For who removes cases and failures: a merge has found what its rows refer to before anybody sees them.
    """
    wait_for(Lock.CASES, project_id)


def failure_digest(failure: FailureText) -> bytes:
    """Return the 16 bytes that name a failure's whole text."""
    return blake2b("\0".join(failure).encode("utf-8", "replace"), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class _Repeat:
    """A repeated case and what its tries came to."""

    case_id: int
    total: int
    shard: int
    position: int
    folded: Folded


def _find_repeats(cursor: CursorWrapper, way: _Way, parameters: dict[str, Any], *, has_results: bool) -> int:
    """Note the cases that occur again, in what was staged or in the run's earlier reports; count them."""
    cursor.execute(_INSERT_REPEATS)
    repeated = int(cursor.rowcount)
    if has_results:
        cursor.execute(way.of(_INSERT_REPEATS_OF_EARLIER_REPORTS), parameters)
        repeated += cursor.rowcount
    if repeated:
        cursor.execute("ANALYZE itdash_repeats_1")
    return repeated


def _fold_repeats(cursor: CursorWrapper, way: _Way, parameters: dict[str, Any]) -> None:
    chunk: list[_Repeat] = []
    for repeat in _repeats(way, parameters):
        chunk.append(repeat)
        if len(chunk) == _FOLDED_AT_ONCE:
            _write_repeats(cursor, parameters, chunk)
            chunk = []
    if chunk:
        _write_repeats(cursor, parameters, chunk)


def _repeats(way: _Way, parameters: dict[str, Any]) -> Iterator[_Repeat]:
    """Read the tries through a server-side cursor: a rerun of a large job repeats every case."""
    with connection.chunked_cursor() as rows:
        rows.execute(way.of(_SELECT_TRIES), parameters)
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
        "services": [_array(each.services) for _, _, each in tries],
    }
    cursor.execute(_DELETE_ATTEMPTS, parameters | {"cases": results["cases"]})
    cursor.execute(_UPSERT_RESULTS, parameters | results)
    cursor.execute(_INSERT_FOLDED_ATTEMPTS, parameters | attempts)


def _array(values: tuple[str, ...]) -> str:
    """PostgreSQL's text form of an array of texts."""
    quoted = (value.replace("\\", r"\\").replace('"', r"\"") for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\0": ""})


def _escaped(text: str) -> str:
    """Text as COPY wants it."""
    return text.translate(_ESCAPES)
