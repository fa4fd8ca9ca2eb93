"""The short way in for large reports: results of cases that are known go straight into their table.

Most of a large report is passes of cases that were there before, in a run that holds nothing yet. Their ids
are read once, by identity, and each result is copied while the report is still being read. Whatever is not
so plain, a new case, a failure, a case that comes again, takes the usual way through the staging table.

In a suite's first large report every case is new: its passes are numbered here, and copied too.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.db import connection
from psycopg import Cursor

from runs.actions.copying import case_columns
from runs.ingestion.details import DetailsBudget
from runs.ingestion.report import CaseRead
from runs.vocabulary import Outcome

if TYPE_CHECKING:
    from runs.actions.result_rows import Place

# The form in which PostgreSQL has the least to read: each value has its length in bytes before it, -1 for
# null (https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format").
COPY_RESULTS = """
COPY runs_result (run_at, run_id, case_id, duration_ms, position, shard, attempt_count, outcome)
FROM STDIN (FORMAT binary)
"""
#: What its rows stand between: a signature, flags and the length of an extension; a row of no columns.
COPY_BEGIN = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
COPY_END = struct.pack("!h", -1)
_COLUMN_COUNT = 8
# Of a row: column count, moment and run; the case, its duration and position; shard, attempts, outcome.
_BEFORE = struct.Struct("!hiqiqi")
_TIMED = struct.Struct("!qiiii")
_UNTIMED = struct.Struct("!qiii")
_AFTER = struct.Struct("!ihihi")
_COPY_CASES = """
COPY runs_testcase (identity, id, suite_id, first_seen_at, last_seen_at, path, class_name, name, parameters,
                    file, variant, line) FROM STDIN
"""
_COPY_DETAILS = """
COPY runs_resultdetails (run_at, run_id, case_id, number, shard, attachment_count, body) FROM STDIN
"""
_FIND = """
SELECT identity, id, last_seen_at < %(long_ago)s OR first_seen_at > %(run_at)s FROM runs_testcase
WHERE suite_id = %(suite)s AND same_as_id IS NULL LIMIT %(limit)s
"""
_NUMBERS = """
SELECT array_agg(nextval((SELECT pg_get_serial_sequence('runs_testcase', 'id')::regclass)))
FROM generate_series(1, %s)
"""
#: Numbers of new cases taken at once, and how few are too few for what may come before the next are taken.
_NUMBERS_AT_ONCE = 20_000
_NUMBERS_NEEDED = 4_000
#: Reports come in any order, and another run may have seen the case since it was read. Rows that another run
#: holds are left to it.
TOUCH = """
UPDATE runs_testcase SET first_seen_at = least(first_seen_at, %(run_at)s),
                         last_seen_at = greatest(last_seen_at, %(run_at)s)
WHERE id IN (SELECT id FROM runs_testcase WHERE id = ANY(<cases>) ORDER BY id FOR UPDATE SKIP LOCKED)
"""
_TOUCH = TOUCH.replace("<cases>", "%(cases)s")
#: From where PostgreSQL counts microseconds.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
#: A day is how precisely the last sight of a case is kept.
_PRECISION = timedelta(days=1)


class KnownCases:
    """The cases of a suite for one transaction, each given out once."""

    def __init__(
        self,
        place: Place,
        ids: dict[bytes, int],
        *,
        stale: set[int],
        is_adding: bool,
        budget: DetailsBudget,
    ) -> None:
        microseconds = (place.run_at - _EPOCH) // timedelta(microseconds=1)
        moment = place.run_at.isoformat()
        self._before = _BEFORE.pack(_COLUMN_COUNT, 8, microseconds, 8, place.run_id, 8)
        self._after = {
            outcome: _AFTER.pack(2, place.shard, 2, 1, len(outcome.value)) + outcome.value.encode()
            for outcome in Outcome
        }
        #: Of a line of `_COPY_DETAILS`: what stands before and after the case. Of `_COPY_CASES`: after it.
        self._details_before = f"{moment}\t{place.run_id}\t"
        self._details_after = f"\t1\t{place.shard}\t"
        self._case_after = f"\t{place.suite_id}\t{moment}\t{moment}\t"
        self._run_at = place.run_at
        self._budget = budget
        #: Lines of `_COPY_DETAILS`, of the few results that have any, and of `_COPY_CASES`; their characters.
        self._details: list[str] = []
        self._cases: list[str] = []
        self.waiting_size = 0
        #: Ids by identity of the cases of which no result was seen.
        self._ids = ids
        #: Cases whose first or last sight the run moves.
        self._stale = stale
        self._seen_stale: list[int] = []
        #: Given out since `begin`: identities, and their ids.
        self._taken: list[bytes] = []
        self._taken_ids: list[int] = []
        #: Whether cases are added here, those that were seen for the first time, and the numbers for more.
        self._is_adding = is_adding
        self._new: set[bytes] = set()
        self._new_since: list[bytes] = []
        self._numbers: list[int] = []
        #: Results copied.
        self.count = 0
        self._count_before = 0

    @classmethod
    def of_suite(
        cls, place: Place, *, limit: int, is_adding: bool, budget: DetailsBudget
    ) -> KnownCases | None:
        """Read the suite's cases; None when it has more than `limit`, or none and none are to be added here.

        With `is_adding` nobody else may add cases to the suite until the transaction ends.
        """
        parameters = {
            "suite": place.suite_id,
            "limit": limit + 1,
            "run_at": place.run_at,
            "long_ago": place.run_at - _PRECISION,
        }
        connection.ensure_connection()
        # As bytes, for there may be half a million: Django's own cursor knows only text.
        with Cursor(connection.connection) as cursor:
            rows = cursor.execute(_FIND, parameters, binary=True).fetchall()
        if len(rows) > limit or not (rows or is_adding):
            return None
        stale = {case_id for _, case_id, is_stale in rows if is_stale}
        ids = {identity: case_id for identity, case_id, _ in rows}
        return cls(place, ids, stale=stale, is_adding=is_adding, budget=budget)

    def begin(self) -> None:
        """Remember this point, to come back to it."""
        if self._stale:
            self._seen_stale += filter(self._stale.__contains__, self._taken_ids)
        self._taken, self._taken_ids, self._new_since = [], [], []
        self._count_before = self.count

    def forget(self) -> None:
        """Take back what was given out since `begin`; the rows go with their savepoint."""
        self._ids |= dict(zip(self._taken, self._taken_ids, strict=True))
        self._new.difference_update(self._new_since)
        self._taken, self._taken_ids, self._new_since = [], [], []
        self._details, self._cases, self.waiting_size = [], [], 0
        self.count = self._count_before

    @property
    def is_short_of_numbers(self) -> bool:
        """Whether `number_ahead` is to be called before more cases are split."""
        return self._is_adding and len(self._numbers) < _NUMBERS_NEEDED

    def number_ahead(self) -> None:
        """Take numbers for new cases, which cannot be done while something is being copied."""
        if self.is_short_of_numbers:
            with connection.cursor() as cursor:
                cursor.execute(_NUMBERS, [_NUMBERS_AT_ONCE])
                [numbers] = cursor.fetchone()
            self._numbers = [*reversed(numbers), *self._numbers]

    def split(
        self, batch: list[CaseRead], position: int
    ) -> tuple[list[bytes], list[tuple[int, CaseRead]], int]:
        """Tell rows of `COPY_RESULTS`, and what has to take the usual way with the position before each.

        `position` is the last one given, and the last value is the one after the batch; an attempt has one.
        """
        before, after, timed = self._before, self._after, _TIMED.pack
        take, taken, taken_id = self._ids.pop, self._taken.append, self._taken_ids.append
        rows: list[bytes] = []
        others: list[tuple[int, CaseRead]] = []
        for case in batch:
            attempts = case[6]
            identity = case[7]
            outcome, duration, failure, output = attempts[0]
            is_plain = failure is None and len(attempts) == 1
            case_id = take(identity, None)
            if case_id is not None:
                # Should it come again, the tries are put together: it is not known any more.
                taken(identity)
                taken_id(case_id)
            elif self._is_adding:
                case_id = self._add(case, is_plain=is_plain)
            if case_id is not None and is_plain:
                position += 1
                if duration is None:
                    row = _UNTIMED.pack(case_id, -1, 4, position)
                else:
                    row = timed(case_id, 4, duration, 4, position)
                rows.append(before + row + after[outcome])
                if output or case[8] or case[10] or case[11]:
                    self._tell(case_id, case)
            else:
                others.append((position, case))
                position += len(attempts)
        self.count += len(rows)
        return rows, others, position

    def _add(self, case: CaseRead, *, is_plain: bool) -> int | None:
        """Number a case that is seen for the first time; None for one that has to take the usual way."""
        identity = case.identity
        if identity in self._new:
            return None
        self._new.add(identity)
        self._new_since.append(identity)
        if not is_plain or not self._numbers:
            return None
        case_id = self._numbers.pop()
        line = f"\\\\x{identity.hex()}\t{case_id}{self._case_after}{case_columns(case)}\n"
        self._cases.append(line)
        self.waiting_size += len(line)
        return case_id

    def _tell(self, case_id: int, case: CaseRead) -> None:
        body = self._budget.of(case)
        if body is not None:
            told = f"{len(case.attachments)}\t\\\\x{body.hex()}\n"
            line = f"{self._details_before}{case_id}{self._details_after}{told}"
            self._details.append(line)
            self.waiting_size += len(line)

    def write(self) -> None:
        """Copy new cases, and details of results, that wait since the last call."""
        # Lines of cases begin with their identities: in this order their index is walked through once.
        for statement, lines in ((_COPY_CASES, sorted(self._cases)), (_COPY_DETAILS, self._details)):
            if lines:
                with connection.cursor() as cursor, cursor.copy(statement) as copy:
                    copy.write("".join(lines))
        self._details, self._cases, self.waiting_size = [], [], 0

    def touch(self) -> None:
        """Note on the cases that went this way that they were seen."""
        self.begin()
        if self._seen_stale:
            with connection.cursor() as cursor:
                cursor.execute(_TOUCH, {"run_at": self._run_at, "cases": self._seen_stale})
