"""The short way in for large reports: results of cases that are known go straight into their table.

Most of a large report is passes of cases that were there before, in a run that holds nothing yet. Their ids
are read once, by identity, and each result is copied while the report is still being read. Whatever is not
so plain, a new case, a failure, a case that comes again, takes the usual way through the staging table.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import connection
from psycopg import Cursor

from runs.ingestion.report import CaseRead

if TYPE_CHECKING:
    from runs.actions.result_rows import Place

COPY_RESULTS = """
COPY runs_result (run_at, run_id, case_id, duration_ms, position, shard, attempt_count, outcome) FROM STDIN
"""
_FIND = """
SELECT identity, id, last_seen_at < %(long_ago)s FROM runs_testcase WHERE suite_id = %(suite)s LIMIT %(limit)s
"""
_TOUCH = """
UPDATE runs_testcase SET last_seen_at = %(run_at)s WHERE id IN (
    SELECT id FROM runs_testcase WHERE id = ANY(%(cases)s) ORDER BY id FOR UPDATE SKIP LOCKED
)
"""
#: A day is how precisely the last sight of a case is kept.
_PRECISION = timedelta(days=1)


class KnownCases:
    """The cases of a suite for one transaction, each given out once."""

    def __init__(self, place: Place, ids: dict[bytes, int], stale: set[int]) -> None:
        self._before = f"{place.run_at.isoformat()}\t{place.run_id}\t"
        self._run_at = place.run_at
        self._shard = place.shard
        #: Ids by identity; negative once a result of the case was seen.
        self._ids = ids
        self._stale = stale
        self._taken: list[bytes] = []
        #: Results copied.
        self.count = 0
        self._count_before = 0

    @classmethod
    def of_suite(cls, place: Place, *, limit: int) -> KnownCases | None:
        """Read the suite's cases; None when it has none, or more than `limit`."""
        parameters = {"suite": place.suite_id, "limit": limit + 1, "long_ago": place.run_at - _PRECISION}
        connection.ensure_connection()
        # As bytes, for there may be half a million: Django's own cursor knows only text.
        with Cursor(connection.connection) as cursor:
            rows = cursor.execute(_FIND, parameters, binary=True).fetchall()
        if not rows or len(rows) > limit:
            return None
        stale = {case_id for _, case_id, is_stale in rows if is_stale}
        return cls(place, {identity: case_id for identity, case_id, _ in rows}, stale)

    def begin(self) -> None:
        """Remember this point, to come back to it."""
        self._taken = []
        self._count_before = self.count

    def forget(self) -> None:
        """Take back what was given out since `begin`; the rows go with their savepoint."""
        for identity in self._taken:
            self._ids[identity] = -self._ids[identity]
        self.count = self._count_before

    def row_of(self, case: CaseRead, position: int) -> str | None:
        """Return the result as a line of `COPY_RESULTS`; None when it has to take the usual way."""
        case_id = self._ids.get(case.identity)
        if case_id is None or case_id < 0:
            return None
        # From here on the case has been seen: should it come again, the tries are put together.
        self._ids[case.identity] = -case_id
        self._taken.append(case.identity)
        attempts = case.attempts
        if len(attempts) > 1 or attempts[0].failure is not None:
            return None
        self.count += 1
        outcome, duration, _, _ = attempts[0]
        milliseconds = r"\N" if duration is None else duration
        return f"{self._before}{case_id}\t{milliseconds}\t{position}\t{self._shard}\t1\t{outcome.value}\n"

    def touch(self) -> None:
        """Note on the cases that went this way that they were seen."""
        seen = [-case_id for case_id in self._ids.values() if case_id < 0 and -case_id in self._stale]
        if seen:
            with connection.cursor() as cursor:
                cursor.execute(_TOUCH, {"run_at": self._run_at, "cases": seen})
