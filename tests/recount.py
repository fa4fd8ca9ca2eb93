"""Count everything that is kept again, from the rows that it was counted from, in plain SQL.

Nothing here is taken from the code that keeps the counts: what it says and what this says can only agree
by being right. `disagreements()` holds whenever nothing is under way; `unsettled()` once every upload is
stored and every run was judged.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from django.core.files.storage import default_storage
from django.db import connection

from runs.models import Artifact, Report

FINISHED: Final = "('passed', 'failed', 'errored', 'cancelled', 'timed_out')"

#: A name for each rule, and a question that finds rows which break it. `%(since)s` is the day from which
#: counts are kept.
RULES: Final = {
    "a run's totals are those of its results": """
        SELECT u.id, u.test_count, c.* FROM runs_run u CROSS JOIN LATERAL (
            SELECT count(*) AS tests, count(*) FILTER (WHERE outcome = 'passed') AS passed,
                   count(*) FILTER (WHERE outcome = 'failed') AS failed,
                   count(*) FILTER (WHERE outcome = 'errored') AS errored,
                   count(*) FILTER (WHERE outcome = 'skipped') AS skipped,
                   count(*) FILTER (WHERE outcome = 'flaky') AS flaky
            FROM runs_result r WHERE r.run_id = u.id
        ) c
        WHERE u.results_removed_at IS NULL
          AND (u.test_count, u.passed_count, u.failed_count, u.errored_count, u.skipped_count, u.flaky_count)
              <> (c.tests, c.passed, c.failed, c.errored, c.skipped, c.flaky)
    """,
    "a shard's totals are those of its results": """
        SELECT s.run_id, s.number, s.test_count, s.failed_count, c.* FROM runs_shard s
        JOIN runs_run u ON u.id = s.run_id AND u.results_removed_at IS NULL
        CROSS JOIN LATERAL (
            SELECT count(*) AS tests, count(*) FILTER (WHERE outcome IN ('failed', 'errored')) AS failed
            FROM runs_result r WHERE r.run_id = s.run_id AND r.shard = s.number
        ) c
        WHERE (s.test_count, s.failed_count) <> (c.tests, c.failed)
    """,
    "a run whose results went has none": """
        SELECT u.id FROM runs_run u WHERE u.results_removed_at IS NOT NULL
          AND (EXISTS (SELECT FROM runs_result r WHERE r.run_id = u.id)
               OR EXISTS (SELECT FROM runs_grouprun g WHERE g.run_id = u.id))
    """,
    "a suite's day is the sum of its counted runs": """
        SELECT * FROM (
            SELECT suite_id, (run_at AT TIME ZONE 'UTC')::date AS day, counted_on_default AS on_default,
                   count(*) AS runs, count(*) FILTER (WHERE verdict = 'fail') AS failing,
                   count(*) FILTER (WHERE status = 'errored') AS erring, count(duration_ms) AS timed,
                   coalesce(sum(duration_ms), 0) AS ms, sum(test_count) AS tests, sum(failed_count) AS failed,
                   sum(errored_count) AS errored, sum(skipped_count) AS skipped, sum(flaky_count) AS flaky
            FROM runs_run WHERE counted_on_default IS NOT NULL GROUP BY 1, 2, 3
        ) w FULL JOIN runs_suiteday d
          ON d.suite_id = w.suite_id AND d.day = w.day AND d.is_default_branch = w.on_default
        WHERE coalesce(d.day, w.day) >= %(since)s
          AND (coalesce(w.runs, 0), coalesce(w.failing, 0), coalesce(w.erring, 0), coalesce(w.timed, 0),
               coalesce(w.ms, 0), coalesce(w.tests, 0), coalesce(w.failed, 0), coalesce(w.errored, 0),
               coalesce(w.skipped, 0), coalesce(w.flaky, 0))
           <> (coalesce(d.run_count, 0), coalesce(d.failed_run_count, 0), coalesce(d.errored_run_count, 0),
               coalesce(d.timed_run_count, 0), coalesce(d.duration_ms, 0), coalesce(d.result_count, 0),
               coalesce(d.failed_count, 0), coalesce(d.errored_count, 0), coalesce(d.skipped_count, 0),
               coalesce(d.flaky_count, 0))
    """,
    # Of a month whose results went, or some of them, the counts say at least what the others do.
    "a case's month is the sum of its results in counted runs": """
        WITH wanted AS (
            SELECT r.case_id, date_trunc('month', r.run_at AT TIME ZONE 'UTC')::date AS month,
                   extract(day FROM r.run_at AT TIME ZONE 'UTC')::integer AS day, count(*) AS results,
                   count(*) FILTER (WHERE outcome IN ('failed', 'errored')) AS failed,
                   count(*) FILTER (WHERE outcome = 'flaky') AS flaky,
                   count(*) FILTER (WHERE outcome = 'skipped') AS skipped
            FROM runs_result r JOIN runs_run u ON u.id = r.run_id AND u.counted_on_default IS NOT NULL
            GROUP BY 1, 2, 3
        ), kept AS (
            SELECT m.case_id, m.month, d AS day, coalesce(results[d], 0)::integer AS results,
                   coalesce(failed[d], 0)::integer AS failed, coalesce(flaky[d], 0)::integer AS flaky,
                   coalesce(skipped[d], 0)::integer AS skipped
            FROM runs_casemonth m CROSS JOIN generate_series(1, 31) AS d WHERE results[d] IS NOT NULL
               OR failed[d] IS NOT NULL OR flaky[d] IS NOT NULL OR skipped[d] IS NOT NULL
        ), held AS (
            SELECT case_id, month, day, coalesce(w.results, 0) AS w_results,
                   coalesce(k.results, 0) AS results,
                   coalesce(w.failed, 0) AS w_failed, coalesce(k.failed, 0) AS failed,
                   coalesce(w.flaky, 0) AS w_flaky, coalesce(k.flaky, 0) AS flaky,
                   coalesce(w.skipped, 0) AS w_skipped, coalesce(k.skipped, 0) AS skipped,
                   EXISTS (SELECT FROM runs_run u WHERE u.results_removed_at IS NOT NULL
                           AND date_trunc('month', u.run_at AT TIME ZONE 'UTC')::date = month) AS is_less
            FROM wanted w FULL JOIN kept k USING (case_id, month, day)
        )
        SELECT * FROM held WHERE month >= date_trunc('month', %(since)s::date) AND (
            NOT is_less AND (w_results, w_failed, w_flaky, w_skipped) <> (results, failed, flaky, skipped)
            OR w_results > results OR w_failed > failed OR w_flaky > flaky OR w_skipped > skipped)
    """,
    "a case's month has the time of its timed passes": """
        SELECT * FROM (
            SELECT r.case_id, date_trunc('month', r.run_at AT TIME ZONE 'UTC')::date AS month,
                   count(r.duration_ms) AS timed, coalesce(sum(r.duration_ms), 0) AS ms
            FROM runs_result r JOIN runs_run u ON u.id = r.run_id AND u.counted_on_default IS NOT NULL
            WHERE r.outcome = 'passed' GROUP BY 1, 2
        ) w FULL JOIN runs_casemonth m ON m.case_id = w.case_id AND m.month = w.month
        WHERE coalesce(w.month, m.month) >= date_trunc('month', %(since)s::date)
          AND (coalesce(w.timed, 0), coalesce(w.ms, 0))
           <> (coalesce(m.timed_count, 0), coalesce(m.timed_ms, 0))
          AND NOT EXISTS (SELECT FROM runs_run u WHERE u.results_removed_at IS NOT NULL
                          AND date_trunc('month', u.run_at AT TIME ZONE 'UTC')::date
                              = coalesce(w.month, m.month))
    """,
    # Both are counted with the run and outlive its results: this holds when they are gone, too.
    "what a suite's cases are counted with on a day is what the suite is": """
        SELECT suite_id, day, of_suite.*, of_cases.* FROM (
            SELECT suite_id, day, sum(result_count) AS results, sum(failed_count + errored_count) AS failed,
                   sum(flaky_count) AS flaky, sum(skipped_count) AS skipped
            FROM runs_suiteday GROUP BY 1, 2
        ) of_suite FULL JOIN (
            SELECT c.suite_id, month + d - 1 AS day, sum(results[d]) AS results, sum(failed[d]) AS failed,
                   sum(flaky[d]) AS flaky, sum(skipped[d]) AS skipped
            FROM runs_casemonth m JOIN runs_testcase c ON c.id = m.case_id
            CROSS JOIN generate_series(1, 31) AS d WHERE results[d] > 0 GROUP BY 1, 2
        ) of_cases USING (suite_id, day)
        WHERE day >= %(since)s
          AND (coalesce(of_suite.results, 0), coalesce(of_suite.failed, 0), coalesce(of_suite.flaky, 0),
               coalesce(of_suite.skipped, 0))
           <> (coalesce(of_cases.results, 0), coalesce(of_cases.failed, 0), coalesce(of_cases.flaky, 0),
               coalesce(of_cases.skipped, 0))
    """,
    "a failure group's run is the sum of its failures": """
        SELECT * FROM (
            SELECT f.project_id, f.fingerprint, r.run_at, r.run_id,
                   count(*) FILTER (WHERE r.outcome <> 'flaky') AS failed,
                   count(*) FILTER (WHERE r.outcome = 'flaky') AS flaky
            FROM runs_result r JOIN runs_failure f ON f.id = r.failure_id
            JOIN runs_run u ON u.id = r.run_id AND u.counted_on_default IS NOT NULL
            WHERE r.outcome IN ('failed', 'errored', 'flaky') GROUP BY 1, 2, 3, 4
        ) w FULL JOIN runs_grouprun g
          ON g.project_id = w.project_id AND g.fingerprint = w.fingerprint AND g.run_at = w.run_at
         AND g.run_id = w.run_id
        WHERE (coalesce(w.failed, 0), coalesce(w.flaky, 0))
           <> (coalesce(g.failed_count, 0), coalesce(g.flaky_count, 0))
    """,
    # The blames of a run go with its results; the days stay.
    "a service's day is the sum of its blames": """
        WITH each AS (
            SELECT project_id, (run_at AT TIME ZONE 'UTC')::date AS day, services FROM runs_blame
        )
        SELECT * FROM (
            SELECT project_id, day, true AS is_total, '' AS service, count(*) AS failures FROM each
            GROUP BY 1, 2
            UNION ALL
            SELECT project_id, day, false, s, count(*) FROM each
            CROSS JOIN LATERAL unnest(CASE WHEN services = '{}' THEN '{""}' ELSE services END) AS s
            GROUP BY 1, 2, 4
        ) w FULL JOIN runs_serviceday d USING (project_id, day, is_total, service)
        WHERE day >= %(since)s AND (
            coalesce(w.failures, 0) > coalesce(d.failure_count, 0)
            OR coalesce(w.failures, 0) < coalesce(d.failure_count, 0) AND NOT EXISTS (
                SELECT FROM runs_run u WHERE u.results_removed_at IS NOT NULL
                AND (u.run_at AT TIME ZONE 'UTC')::date = day))
    """,
    "a result is of a run, at its moment, and of a case of its suite": """
        SELECT r.run_id, r.case_id FROM runs_result r
        LEFT JOIN runs_run u ON u.id = r.run_id LEFT JOIN runs_testcase c ON c.id = r.case_id
        WHERE u.run_at IS DISTINCT FROM r.run_at OR u.suite_id IS DISTINCT FROM c.suite_id OR c.id IS NULL
    """,
    "an attempt and what is told of it are of a result": """
        SELECT 'attempt', run_id, case_id FROM runs_attempt a WHERE NOT EXISTS (
            SELECT FROM runs_result r
            WHERE r.case_id = a.case_id AND r.run_id = a.run_id AND r.run_at = a.run_at)
        UNION ALL
        SELECT 'details', run_id, case_id FROM runs_resultdetails a WHERE NOT EXISTS (
            SELECT FROM runs_result r
            WHERE r.case_id = a.case_id AND r.run_id = a.run_id AND r.run_at = a.run_at)
    """,
    "attempts are numbered, as many as the result says, or none of a single pass": """
        SELECT r.run_id, r.case_id, r.attempt_count, a.* FROM runs_result r CROSS JOIN LATERAL (
            SELECT count(*) AS there, coalesce(max(number), 0) AS last FROM runs_attempt a
            WHERE a.case_id = r.case_id AND a.run_id = r.run_id AND a.run_at = r.run_at
        ) a
        WHERE a.there <> a.last OR a.there <> CASE
            WHEN r.attempt_count = 1 AND r.outcome IN ('passed', 'skipped') THEN 0 ELSE r.attempt_count END
    """,
    "a text that somebody speaks of is there": """
        SELECT failure_id FROM (
            SELECT failure_id FROM runs_result UNION SELECT failure_id FROM runs_attempt
        ) s WHERE failure_id IS NOT NULL AND failure_id NOT IN (SELECT id FROM runs_failure)
    """,
    "a case was seen first and last within a day of its results": """
        SELECT c.id, c.first_seen_at, c.last_seen_at, r.* FROM runs_testcase c JOIN (
            SELECT case_id, min(run_at) AS first, max(run_at) AS last FROM runs_result GROUP BY 1
        ) r ON r.case_id = c.id
        WHERE c.first_seen_at > r.first OR c.last_seen_at < r.last - interval '1 day'
    """,
    "what is known of a test is known of one that goes by its present name": """
        SELECT 'state', case_id FROM runs_casestate WHERE case_id NOT IN (SELECT id FROM runs_testcase)
        UNION ALL
        SELECT 'month', case_id FROM runs_casemonth WHERE case_id NOT IN (SELECT id FROM runs_testcase)
        UNION ALL
        SELECT 'rename', r.id FROM runs_rename r
        JOIN runs_testcase old ON old.id = r.old_id JOIN runs_testcase new ON new.id = r.new_id
        WHERE r.status = 'confirmed' AND new.same_as_id IS NULL
    """,
}

#: What holds once nothing waits any more.
SETTLED: Final = {
    "every upload is stored": "SELECT id, status FROM runs_upload WHERE status = 'received'",
    "runs that have ended are counted, and no others": f"""
        SELECT id, status, counted_on_default FROM runs_run
        WHERE (status IN {FINISHED}) <> (counted_on_default IS NOT NULL)
    """,
    "a failure of a run that tells is looked at, and nothing else is": """
        SELECT u.id, r.case_id, r.outcome, b.case_id FROM runs_result r
        FULL JOIN runs_blame b ON b.run_id = r.run_id AND b.case_id = r.case_id
        JOIN runs_run u ON u.id = coalesce(r.run_id, b.run_id)
        WHERE u.results_removed_at IS NULL AND (
            b.case_id IS NOT NULL AND (r.case_id IS NULL OR r.outcome NOT IN ('failed', 'errored'))
            OR b.case_id IS NULL AND u.status IN ('passed', 'failed', 'timed_out')
               AND r.outcome IN ('failed', 'errored'))
    """,
    "a duration that is kept is that of a pass": """
        SELECT d.case_id, k.* FROM runs_caseduration d
        CROSS JOIN LATERAL unnest(d.recent_ms, d.recent_runs) AS k (ms, run)
        LEFT JOIN runs_run u ON u.id = k.run
        LEFT JOIN runs_result r ON r.case_id = d.case_id AND r.run_at = u.run_at AND r.run_id = u.id
        WHERE u.id IS NULL OR u.results_removed_at IS NULL
          AND (r.outcome IS DISTINCT FROM 'passed' OR r.duration_ms IS DISTINCT FROM k.ms)
    """,
    "durations are in the order of their runs, each once": """
        SELECT d.case_id, d.recent_runs FROM runs_caseduration d WHERE d.recent_runs <> ARRAY(
            SELECT k.run FROM (SELECT DISTINCT unnest(d.recent_runs) AS run) k JOIN runs_run u ON u.id = k.run
            ORDER BY u.run_at, u.id)
    """,
}


def disagreements(*, since: date = date.min) -> dict[str, list[Any]]:
    """Rows that break a rule, by the rule; nothing when all is well. Counts were removed before `since`."""
    return _broken(RULES, {"since": since})


def unsettled() -> dict[str, list[Any]]:
    """The same of what holds once every upload is stored, every run has ended and was judged."""
    return _broken(SETTLED, {})


def misplaced_files(*folders: str) -> dict[str, list[str]]:
    """Files below these folders of the storage that no row speaks of, and rows that name a missing file."""
    named: set[str] = set()
    for model in (Report, Artifact):
        named |= set(model.objects.exclude(storage_name="").values_list("storage_name", flat=True))
    there = {name for folder in folders for name in _files_below(folder)}
    found = {"without a row": sorted(there - named), "missing": sorted(named - there)}
    return {kind: names for kind, names in found.items() if names}


def _files_below(folder: str) -> list[str]:
    try:
        folders, files = default_storage.listdir(folder)
    except FileNotFoundError:
        return []
    below = [name for one in folders for name in _files_below(f"{folder}/{one}")]
    return [f"{folder}/{name}" for name in files] + below


def _broken(rules: dict[str, str], values: dict[str, Any]) -> dict[str, list[Any]]:
    broken = {}
    with connection.cursor() as cursor:
        for rule, question in rules.items():
            cursor.execute(question, values)
            if rows := cursor.fetchall():
                broken[rule] = rows[:5]
    return broken
