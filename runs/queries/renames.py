"""Which cases of a suite are gone, which are new, and which pairs of them wait for a decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.db import connection

from runs.analytics.renames import Candidate, Twins
from runs.models import Report, Run
from runs.queries.baseline import runs_of_branch
from runs.vocabulary import RunStatus, UploadStatus

#: Cases gone, and cases new, of which twins are looked for; where more are, another suite was sent.
CASE_LIMIT: Final = 20_000
#: Of the tests of the run before, so many must be there at least: else a part of the suite ran.
LEAST_SHARE: Final = 0.5

_ONLY_IN = """
SELECT case_id FROM runs_result WHERE run_at = %(at)s AND run_id = %(run)s
EXCEPT
SELECT case_id FROM runs_result WHERE run_at = %(other_at)s AND run_id = %(other)s
LIMIT %(limit)s
"""
_CANDIDATES = """
SELECT c.id, c.name, c.parameters, c.class_name, c.file, c.path, c.variant, r.duration_ms
FROM runs_testcase c
CROSS JOIN LATERAL (
    SELECT r.duration_ms FROM runs_result r
    WHERE r.case_id = c.id AND r.run_at = %(at)s AND r.run_id + 0 = %(run)s OFFSET 0
) r
WHERE c.id = ANY(%(cases)s) AND c.same_as_id IS NULL
"""
# A test that was renamed on a branch was seen there before.
_SEEN_BEFORE = """
SELECT c.id FROM unnest(%(cases)s::bigint[]) AS c (id)
WHERE EXISTS (
    SELECT FROM (
        SELECT r.run_id FROM runs_result r WHERE r.case_id = c.id AND r.run_at <= %(at)s OFFSET 0
    ) r JOIN runs_run u ON u.id = r.run_id
    WHERE u.id <> %(run)s AND u.branch = %(branch)s AND u.pull_request = ''
)
"""
_TOGETHER = """
SELECT p.old, p.new FROM unnest(%(olds)s::bigint[], %(news)s::bigint[]) AS p (old, new)
WHERE EXISTS (
    SELECT FROM (SELECT r.run_at, r.run_id FROM runs_result r WHERE r.case_id = p.new OFFSET 0) n
    CROSS JOIN LATERAL (
        SELECT FROM runs_result o
        WHERE o.case_id = p.old AND o.run_at = n.run_at AND o.run_id + 0 = n.run_id OFFSET 0
    ) o
)
"""


def run_before(run: Run) -> Run | None:
    """The run that `run` can be compared with to find renamed tests: the one before it on the default branch.

    None unless `run` is a whole one of that branch: passed or failed, not of selected tests, every shard and
    every file in, and with at least `LEAST_SHARE` as many tests.
    """
    default = run.project.default_branch
    is_whole = (
        run.status in {RunStatus.PASSED, RunStatus.FAILED}
        and not run.selection
        and run.results_removed_at is None
        and run.shards_received >= (run.shards_expected or 0)
    )
    if not is_whole or run.pull_request or run.branch != default:
        return None
    before = next(iter(runs_of_branch(run.suite_id, default, before=run.number)), None)
    if before is None or run.test_count < LEAST_SHARE * before.test_count:
        return None
    is_read = not Report.objects.filter(run=run).exclude(status=UploadStatus.STORED).exists()
    return before if is_read else None


def gone_and_new(run: Run, before: Run) -> tuple[list[Candidate], list[Candidate]]:
    """What of the run before is missing in this one, and what was never seen on the branch until it.

    Both empty when either is, or when more than `CASE_LIMIT` are: what is gone is only looked for where
    something is new.
    """
    came = _only_in(run, before)
    new = came - _seen_before(came, run) if 0 < len(came) <= CASE_LIMIT else set()
    gone = _only_in(before, run) if new else set()
    if not gone or len(gone) > CASE_LIMIT:
        return [], []
    return _candidates(gone, before), _candidates(new, run)


def reported_together(pairs: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those of the pairs of which a run holds both: they are two tests."""
    values = {"olds": [old for old, _ in pairs], "news": [new for _, new in pairs]}
    with connection.cursor() as cursor:
        cursor.execute(_TOGETHER, values)
        return set(cursor.fetchall())


def not_together(twins: Sequence[Twins]) -> list[Twins]:
    """The pairs of which no run holds both."""
    together = reported_together([(one.old, one.new) for one in twins]) if twins else set()
    return [one for one in twins if (one.old, one.new) not in together]


def _only_in(run: Run, other: Run) -> set[int]:
    values = {"limit": CASE_LIMIT + 1, "other": other.pk, "other_at": other.run_at}
    return _ids(_ONLY_IN, _place(run) | values)


def _seen_before(cases: set[int], run: Run) -> set[int]:
    return _ids(_SEEN_BEFORE, _place(run) | {"cases": sorted(cases), "branch": run.project.default_branch})


def _candidates(cases: set[int], run: Run) -> list[Candidate]:
    with connection.cursor() as cursor:
        cursor.execute(_CANDIDATES, _place(run) | {"cases": sorted(cases)})
        return [Candidate(*row) for row in cursor.fetchall()]


def _place(run: Run) -> dict[str, Any]:
    return {"at": run.run_at, "run": run.pk}


def _ids(statement: str, values: dict[str, Any]) -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return {case for (case,) in cursor.fetchall()}
