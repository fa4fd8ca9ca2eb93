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
from typing import TYPE_CHECKING, Any

from django.db import connection

from runs.actions.copying import case_columns, escaped
from runs.actions.known_cases import COPY_BEGIN, COPY_END, COPY_RESULTS, TOUCH, KnownCases
from runs.actions.locks import Lock, is_had, wait_for
from runs.actions.repeats import REPEATS_TABLE, TRY_LIMIT, array_text, find_repeats, fold_repeats
from runs.actions.rollups import take_run_out
from runs.analytics.fingerprints import failure_fingerprint
from runs.ingestion.attempts import TEARDOWN_MARK
from runs.ingestion.details import DetailsBudget
from runs.ingestion.report import AttemptRead, CaseRead, FailureText
from runs.models import TestCase

if TYPE_CHECKING:
    from django.db.backends.utils import CursorWrapper

#: Failure texts already staged, by digest: a text that ten thousand cases share is sent once.
_KNOWN_FAILURE_LIMIT = 20_000

_STAGING = """
CREATE TEMPORARY TABLE IF NOT EXISTS itdash_staging_3 (
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
    services text[],
    attachment_count smallint,
    details bytea
) ON COMMIT DELETE ROWS
"""
#: Failure columns, output and services of an attempt that has none of them; and details.
_NOTHING = "\t".join([r"\N"] * 7)
_NO_DETAILS = "\t".join([r"\N"] * 2)
_COPY = "COPY itdash_staging_3 FROM STDIN"

# `<case>` and `<failure>` stand for one of two ways to find the rows that a staged attempt belongs to; see
# `_Way`.
# Numbered as the report tells them, for they will come in that order again: what is stored and counted of
# each then lies side by side (docs/decisions/0254). Inserted in the order of their digests, so that two who
# tell of the same new cases never wait for each other.
_INSERT_CASES = """
INSERT INTO runs_testcase (id, suite_id, identity, path, class_name, name, parameters, file, variant, line,
                           first_seen_at, last_seen_at)
SELECT t.id, %(suite)s, t.identity, t.path, t.class_name, t.name, t.parameters, t.file, t.variant, t.line,
       %(run_at)s, %(run_at)s
FROM (
    SELECT nextval((SELECT pg_get_serial_sequence('runs_testcase', 'id')::regclass)) AS id, n.*
    FROM (
        SELECT DISTINCT ON (s.identity)
               s.position, s.identity, s.path, s.class_name, s.name, s.parameters, s.file, s.variant, s.line
        FROM itdash_staging_3 s LEFT JOIN <case>
        WHERE c.id IS NULL
        ORDER BY s.identity, s.position
    ) n ORDER BY n.position
) t
ORDER BY t.identity
ON CONFLICT (suite_id, identity) DO NOTHING
"""
# The last sight is precise to a day, so that most runs write nothing.
_TOUCH_CASES = f"""
WITH seen AS (
    SELECT c.id FROM itdash_staging_3 s JOIN <case>
    WHERE c.last_seen_at < %(run_at)s - interval '1 day' OR c.first_seen_at > %(run_at)s
)
{TOUCH.replace("<cases>", "ARRAY(SELECT id FROM seen)")}
"""  # noqa: S608 - of constants
# What is reported under a former name is the test's as it is called now (docs/decisions/0226). Only where the
# report does not hold that too: then they are two, and each keeps its own.
_HAS_FORMER_NAMES = """
EXISTS (SELECT FROM runs_testcase WHERE suite_id = %(suite)s AND same_as_id IS NOT NULL)
"""
_CALL_AS_NOW = """
WITH told AS (
    UPDATE itdash_staging_3 s SET identity = c.identity
    FROM runs_testcase f JOIN runs_testcase c ON c.id = f.same_as_id
    WHERE f.suite_id = %(suite)s AND f.same_as_id IS NOT NULL AND s.identity = f.identity
      AND NOT EXISTS (SELECT FROM itdash_staging_3 o WHERE o.identity = c.identity)
      AND NOT (%(is_alone)s AND EXISTS (
          SELECT FROM runs_result r
          WHERE r.case_id = c.id AND r.run_at = %(run_at)s AND r.run_id + 0 = %(run)s))
    RETURNING f.id
)
SELECT DISTINCT id FROM told
"""
# For whoever parts them again. Locked in order, and last of all: other runs may report the same names.
_NOTE_FORMER = """
UPDATE runs_rename SET undo = jsonb_set(undo, '{former}', (undo -> 'former') || to_jsonb(%(run)s::bigint))
WHERE id IN (
    SELECT id FROM runs_rename WHERE new_id = ANY(%(names)s) AND status = 'confirmed'
      AND NOT undo -> 'former' @> to_jsonb(%(run)s::bigint)
    ORDER BY id FOR NO KEY UPDATE
)
"""
_INSERT_FAILURES = """
INSERT INTO runs_failure (project_id, digest, fingerprint, kind, message, text, first_seen_at)
SELECT DISTINCT ON (s.digest) %(project)s, s.digest, s.fingerprint, s.kind, s.message, s.text, %(run_at)s
FROM itdash_staging_3 s
WHERE s.fingerprint IS NOT NULL
ORDER BY s.digest
ON CONFLICT (project_id, digest) DO NOTHING
"""
_INSERT_RESULTS = """
INSERT INTO runs_result (run_at, run_id, case_id, failure_id, duration_ms, position, shard, attempt_count,
                         outcome)
SELECT %(run_at)s, %(run)s, c.id, f.id, s.duration_ms, s.position, %(shard)s, 1, s.outcome::runs_outcome
FROM itdash_staging_3 s
JOIN <case>
LEFT JOIN <failure>
"""
_INSERT_ATTEMPTS = """
INSERT INTO runs_attempt (run_at, run_id, case_id, number, failure_id, duration_ms, outcome, output,
                          services)
SELECT %(run_at)s, %(run)s, c.id, 1, f.id, s.duration_ms, s.outcome, coalesce(s.output, ''),
       coalesce(s.services, '{}')
FROM itdash_staging_3 s
JOIN <case>
LEFT JOIN <failure>
WHERE s.outcome IN ('failed', 'errored')
"""
# Of most cases there is nothing to tell, and of hardly any more than once.
_INSERT_DETAILS = """
INSERT INTO runs_resultdetails (run_at, run_id, case_id, number, shard, attachment_count, body)
SELECT %(run_at)s, %(run)s, t.case_id, t.number, %(shard)s, t.attachment_count, t.details FROM (
    SELECT c.id AS case_id, s.attachment_count, s.details,
           d.known + row_number() OVER (PARTITION BY c.id ORDER BY s.position) AS number
    FROM itdash_staging_3 s
    JOIN <case>
    CROSS JOIN LATERAL (
        SELECT coalesce(max(d.number), 0) AS known FROM runs_resultdetails d
        WHERE d.case_id = c.id AND d.run_at = %(run_at)s AND d.run_id + 0 = %(run)s
    ) d
    WHERE s.details IS NOT NULL
) t WHERE t.number <= %(try_limit)s
ORDER BY t.case_id
"""
_NOT_REPEATED = "NOT EXISTS (SELECT FROM itdash_repeats_1 p WHERE p.identity = s.identity)"
#: In the order of the primary key, which saves half of the time that the indexes cost.
_BY_CASE = "ORDER BY c.id"

# Of the run and of its shards at once: the run's results are read once. A report of one shard may change what
# came of a test that another one told of first.
_COUNT = """
WITH counted AS MATERIALIZED (
    SELECT shard, count(*) AS tests,
           count(*) FILTER (WHERE outcome = 'passed') AS passed,
           count(*) FILTER (WHERE outcome = 'failed') AS failed,
           count(*) FILTER (WHERE outcome = 'errored') AS errored,
           count(*) FILTER (WHERE outcome = 'skipped') AS skipped,
           count(*) FILTER (WHERE outcome = 'flaky') AS flaky
    FROM runs_result WHERE run_at = %(run_at)s AND run_id = %(run)s GROUP BY shard
), own_shards AS (
    UPDATE runs_shard s SET test_count = n.tests, failed_count = n.failed + n.errored
    FROM counted n WHERE s.run_id = %(run)s AND s.number = n.shard
      AND (s.test_count, s.failed_count) <> (n.tests, n.failed + n.errored)
)
UPDATE runs_run SET test_count = n.tests, passed_count = n.passed, failed_count = n.failed,
                    errored_count = n.errored, skipped_count = n.skipped, flaky_count = n.flaky
FROM (
    SELECT coalesce(sum(tests), 0) AS tests, coalesce(sum(passed), 0) AS passed,
           coalesce(sum(failed), 0) AS failed, coalesce(sum(errored), 0) AS errored,
           coalesce(sum(skipped), 0) AS skipped, coalesce(sum(flaky), 0) AS flaky
    FROM counted
) n WHERE id = %(run)s
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


#: For few attempts: one by one, through the unique indexes. OFFSET 0 keeps it from becoming a join, and `+ 0`
#: on a run from being looked for by itself, which reads all its results.
_BY_LOOKUP = _Way(
    settings="set_config('work_mem', '8MB', true)",
    case="""LATERAL (
    SELECT c.id, c.first_seen_at, c.last_seen_at FROM runs_testcase c
    WHERE c.suite_id = %(suite)s AND c.identity = s.identity OFFSET 0
) c ON true""",
    failure="""LATERAL (
    SELECT f.id, f.message FROM runs_failure f
    WHERE s.digest IS NOT NULL AND f.project_id = %(project)s AND f.digest = s.digest OFFSET 0
) f ON true""",
)
#: For many: by reading all cases of the suite once, a third of the work and bounded by the suite's size.
_BY_HASH = _Way(
    settings="set_config('work_mem', '64MB', true), set_config('enable_nestloop', 'off', true)",
    case="runs_testcase c ON c.suite_id = %(suite)s AND c.identity = s.identity",
    failure="runs_failure f ON f.project_id = %(project)s AND f.digest = s.digest",
)
_MANY_ATTEMPTS = 5_000
#: A suite's cases are read for a report of this share of them at least.
_CASES_FOR_ONE = 4
#: Characters held back for the staging table while results are copied.
_STAGED_AT_ONCE = 8_000_000


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
    """The attempts of one transaction on their way in.

    `expected_count` is about how many cases will come, where that is known: with many the suite's cases are
    read first, and those that are merely passed again never see the staging table.
    """

    def __init__(self, place: Place, *, expected_count: int = 0) -> None:
        self._place = place
        self._position = 0
        self._staged_count = 0
        self._staged_details_count = 0
        self._staged_failures: set[bytes] = set()
        #: What is kept of what the reports tell besides outcomes, and what is cut.
        self.budget = DetailsBudget()
        with connection.cursor() as cursor:
            cursor.execute(f"{_STAGING}; {REPEATS_TABLE}")
        self._known: KnownCases | None = None
        if expected_count > _MANY_ATTEMPTS:
            self._known = self._read_known(limit=_CASES_FOR_ONE * expected_count)

    def _read_known(self, *, limit: int) -> KnownCases | None:
        """Keep the run to ourselves from here on, and read the suite's cases.

        None when this way is not open: another report of the run is being stored, or one was, or the suite
        has more cases than `limit`. Of a suite that has none yet they are added while the report is read:
        nobody else adds any meanwhile.
        """
        place = self._place
        if not is_had(Lock.MERGE, place.run_id, shared=self._shared_locks()):
            return None
        if take_run_out(place.run_id):
            return None
        is_first = not TestCase.objects.filter(suite=place.suite_id).exists()
        is_adding = is_first and is_had(Lock.NEW_CASES, place.suite_id)
        return KnownCases.of_suite(place, limit=limit, is_adding=is_adding, budget=self.budget)

    def _shared_locks(self) -> list[tuple[Lock, int]]:
        """Whoever merges lets nobody remove cases meanwhile, and nobody add them without looking."""
        return [(Lock.CASES, self._place.project_id), (Lock.NEW_CASES, self._place.suite_id)]

    def add(self, batches: Iterable[list[CaseRead]]) -> None:
        """Stage the cases; call it within a savepoint, since `batches` may raise half-way."""
        staged_before = set(self._staged_failures)
        if self._known is not None:
            self._known.begin()
        try:
            if self._known is None:
                self._stage("".join(self._lines(batch)) for batch in batches)
            else:
                self._add_to_known(batches, self._known)
        except BaseException:
            self._staged_failures = staged_before
            self.budget.notes()
            if self._known is not None:
                self._known.forget()
            raise

    def _stage(self, lines: Iterable[str]) -> None:
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for some in lines:
                copy.write(some)

    def _add_to_known(self, batches: Iterable[list[CaseRead]], known: KnownCases) -> None:
        """Copy what is plain as it is read, and write the rest whenever there is some amount of it."""
        left = iter(batches)
        is_more = True
        while is_more:
            is_more = False
            staged: list[str] = []
            staged_size = 0
            known.number_ahead()
            with connection.cursor() as cursor, cursor.copy(COPY_RESULTS) as copy:
                copy.write(COPY_BEGIN)
                for batch in left:
                    rows, others, self._position = known.split(batch, self._position)
                    copy.write(b"".join(rows))
                    for position, case in others:
                        lines = list(self._lines_of(case, position))
                        staged_size += sum(map(len, lines))
                        staged += lines
                    if staged_size + known.waiting_size > _STAGED_AT_ONCE or known.is_short_of_numbers:
                        is_more = True
                        break
                copy.write(COPY_END)
            known.write()
            if staged:
                self._stage(staged)

    def _lines(self, batch: list[CaseRead]) -> Iterator[str]:
        for case in batch:
            yield from self._lines_of(case, self._position)
            self._position += len(case.attempts)

    def _lines_of(self, case: CaseRead, position: int) -> Iterator[str]:
        """Tell a line for each attempt; `position` is the last one given."""
        columns = case_columns(case)
        # A pass at the first try fails in no way; what it printed is among the details.
        is_plain = len(case.attempts) == 1 and case.attempts[0].failure is None
        details = self._details_columns(case)
        for attempt in case.attempts:
            position += 1
            self._staged_count += 1
            duration = r"\N" if attempt.duration_ms is None else str(attempt.duration_ms)
            yield (
                f"{position}\t\\\\x{case.identity.hex()}\t{attempt.outcome.value}\t{duration}\t"
                f"{columns}\t"
                f"{_NOTHING if is_plain else self._failure_columns(attempt, case.services)}\t{details}\n"
            )
            details = _NO_DETAILS

    def _details_columns(self, case: CaseRead) -> str:
        body = self.budget.of(case)
        if body is None:
            return _NO_DETAILS
        self._staged_details_count += 1
        return f"{len(case.attachments)}\t\\\\x{body.hex()}"

    def _failure_columns(self, attempt: AttemptRead, services: tuple[str, ...]) -> str:
        output = escaped(attempt.output) if attempt.output else r"\N"
        failure = attempt.failure
        if failure is None:
            return rf"\N	\N	\N	\N	\N	{output}	\N"
        output = f"{output}\t{escaped(array_text(services)) if services else r'\N'}"
        digest = failure_digest(failure)
        if digest in self._staged_failures:
            return rf"\\x{digest.hex()}	\N	\N	\N	\N	{output}"
        if len(self._staged_failures) < _KNOWN_FAILURE_LIMIT:
            self._staged_failures.add(digest)
        fingerprint = failure_fingerprint(failure.kind, failure.message, failure.text)
        texts = "\t".join(map(escaped, failure))
        return f"\\\\x{digest.hex()}\t\\\\x{fingerprint.hex()}\t{texts}\t{output}"

    def merge(self) -> None:
        """Make rows of what was staged, and count the run's totals anew."""
        parameters = self._place.parameters
        if self._known is None:
            wait_for(Lock.MERGE, self._place.run_id, shared=self._shared_locks())
            has_results = take_run_out(self._place.run_id)
        else:
            self._known.touch()
            has_results = self._known.count > 0
        if self._staged_count or self._known is None:
            self._merge_staged(parameters, has_results=has_results)
        with connection.cursor() as cursor:
            cursor.execute(_COUNT, parameters)

    def _merge_staged(self, parameters: dict[str, Any], *, has_results: bool) -> None:
        way = _BY_HASH if self._staged_count > _MANY_ATTEMPTS else _BY_LOOKUP
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {way.settings}, {_HAS_FORMER_NAMES}", parameters)
            *_, has_former_names = cursor.fetchone()
            # Temporary tables are never analysed by themselves.
            cursor.execute("ANALYZE itdash_staging_3 (identity)")
            former = self._call_as_now(cursor, parameters) if has_former_names else []
            cursor.execute(way.of(_INSERT_CASES), parameters)
            cursor.execute(way.of(_TOUCH_CASES), parameters)
            cursor.execute(_INSERT_FAILURES, parameters)
            repeated = find_repeats(cursor, way.of, parameters, has_results=has_results)
            first_of_all = f"WHERE {_NOT_REPEATED}" if repeated else ""
            cursor.execute(f"{way.of(_INSERT_RESULTS)} {first_of_all} {_BY_CASE}", parameters)
            also = f"AND {_NOT_REPEATED}" if repeated else ""
            cursor.execute(f"{way.of(_INSERT_ATTEMPTS)} {also} {_BY_CASE}", parameters)
            if repeated:
                fold_repeats(cursor, way.of, parameters)
            if self._staged_details_count:
                cursor.execute(way.of(_INSERT_DETAILS), parameters)
            if former:
                cursor.execute(_NOTE_FORMER, parameters | {"names": former})
            # Few are removed more cheaply than tables are made anew.
            if way is _BY_HASH:
                cursor.execute("TRUNCATE itdash_staging_3, itdash_repeats_1")
            else:
                cursor.execute("DELETE FROM itdash_staging_3; DELETE FROM itdash_repeats_1")

    def _call_as_now(self, cursor: CursorWrapper, parameters: dict[str, Any]) -> list[int]:
        """Give what was staged under former names the present ones; return the rows of those names."""
        cursor.execute(_CALL_AS_NOW, parameters | {"is_alone": self._known is not None})
        return [name for (name,) in cursor.fetchall()]


def hold_back_merges(project_id: int) -> None:
    """Let nobody merge into the project's runs until this transaction ends, and wait for those who are at it.

    For who removes cases and failures: a merge has found what its rows refer to before anybody sees them.
    """
    wait_for(Lock.CASES, project_id)


def failure_digest(failure: FailureText) -> bytes:
    """Return the 16 bytes that name a failure's whole text."""
    return blake2b("\0".join(failure).encode("utf-8", "replace"), digest_size=16).digest()
