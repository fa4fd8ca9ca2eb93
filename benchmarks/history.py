"""Half a year of a company's test results, made by SQL in minutes: what `benchmarks/pages.py` reads back.

Outcomes follow from hashes of ids, not from chance. One test in a
hundred fails and one in five hundred is flaky, not evenly: some tests flake, some break for a while, and in
four runs of a hundred a service is down and a fifth of the suite fails of it. What ingestion derives from
results (counts by day, paces) is filled by the same expressions at once; the newest run of every suite is
judged, paced and blamed by the real actions.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import connection

if TYPE_CHECKING:
    from runs.models import Project

DAYS = 180
SERVICES = ("postgres", "orders", "payments", "gateway", "mailer", "search", "redis", "inventory")
#: Distinct failure texts of a project, of some two thousand characters each; a tenth as many groups.
FAILURE_TEXTS = 400
#: Newest runs of the first project with an environment, a timeline and logs.
RUNS_WITH_ENVIRONMENT = 60
#: Of every project: webhooks received, and changes of its settings.
DELIVERIES, AUDIT_ENTRIES = 5_000, 2_000


@dataclass(frozen=True, slots=True)
class SuiteSize:
    """A suite and its share of all results, in parts of a thousand."""

    project: str
    name: str
    cases: int
    share: int


SUITES = (
    SuiteSize("shop", "integration", 20_000, 500),
    SuiteSize("shop", "e2e", 2_000, 150),
    SuiteSize("shop", "contract", 500, 50),
    *(SuiteSize("platform", f"platform-{number}", 1_000, 38) for number in range(1, 5)),
    *(SuiteSize("libraries", f"library-{number:02d}", 100, 4) for number in range(1, 26)),
    *(SuiteSize(f"team-{number:02d}", "tests", 150, 4) for number in range(1, 13)),
)

_RUNS = """
INSERT INTO runs_run (
    project_id, suite_id, number, status, error_reason, error_message, verdict, trigger, ref, branch, commit,
    commit_message, commit_author, pull_request, ci_url, tags, environment_facts, run_at, queued_at,
    started_at, finished_at, duration_ms, engine, lease_owner, fence, try_count,
    test_count, passed_count, failed_count, errored_count, skipped_count, flaky_count)
SELECT s.project_id, s.id, row_number() OVER (PARTITION BY s.project_id ORDER BY p.at, s.id),
       'passed', '', '', 'pass', 'upload', b.branch, b.branch,
       md5(s.project_id || ' ' || p.index / 2 || b.branch) || '00000000',
       'Change number ' || p.index / 2, 'Dana Developer',
       CASE WHEN b.branch = 'main' THEN '' ELSE (p.index / 4)::text END, '', '{}', '{}',
       p.at, p.at, p.at, p.at + p.took, extract(epoch FROM p.took) * 1000, '', '', 0, 0, 0, 0, 0, 0, 0, 0
FROM unnest(%(suites)s::bigint[], %(counts)s::integer[]) AS w (suite, runs)
JOIN runs_suite s ON s.id = w.suite
CROSS JOIN LATERAL (
    SELECT index, %(since)s::timestamptz + (%(until)s::timestamptz - %(since)s::timestamptz)
                  * ((index + (hashint8(s.id) & 1023) / 1024.0) / w.runs) AS at,
           make_interval(secs => 60 + (hashint8(s.id * 7919 + index) & 1023)) AS took
    FROM generate_series(0, w.runs - 1) AS index
) p
CROSS JOIN LATERAL (
    SELECT CASE WHEN hashint8(s.id * 31 + p.index / 2) & 7 < 5 THEN 'main'
                ELSE 'feat/work-' || (p.index / 4) %% 40 END AS branch
) b
ORDER BY p.at, s.id
"""
_CASES = """
INSERT INTO runs_testcase (
    suite_id, identity, path, class_name, name, parameters, variant, file, first_seen_at, last_seen_at)
SELECT s.id, decode(md5(s.id || ' ' || index), 'hex'), '',
       'com.example.shop.module' || to_char(index / 200, 'FM000') || '.OrderTest',
       'test_order_of_' || to_char(index, 'FM00000') || '_items', '', '',
       'tests/module' || to_char(index / 200, 'FM000') || '/test_order.py', %(since)s, %(until)s
FROM unnest(%(suites)s::bigint[], %(sizes)s::integer[]) AS w (suite, cases)
JOIN runs_suite s ON s.id = w.suite
CROSS JOIN generate_series(0, w.cases - 1) AS index
ORDER BY s.id, index
"""
_FAILURES = """
INSERT INTO runs_failure (project_id, digest, fingerprint, kind, message, text, first_seen_at)
SELECT p.id, decode(md5(p.id || ' text ' || index), 'hex'), decode(md5(p.id || ' ' || index / 10), 'hex'),
       'AssertionError', 'expected status 201, got 50' || index / 10 || ' from ' || s.name,
       (SELECT string_agg('  File service_' || index || '.py, line ' || line || ', in step_' || line, E'\\n')
        FROM generate_series(1, 50) AS line) || E'\\nAssertionError: ' || s.name || ' answered 503',
       %(since)s
FROM runs_project p
CROSS JOIN generate_series(0, %(texts)s - 1) AS index
CROSS JOIN LATERAL (
    SELECT (%(services)s::text[])[1 + index / 10 %% cardinality(%(services)s::text[])] AS name
) s
ORDER BY p.id, index
"""
# `h` parts the runs, `c` the cases, `x` the results, each evenly from 0 to 999.
_RESULTS = """
INSERT INTO runs_result (
    run_at, run_id, case_id, failure_id, duration_ms, position, shard, attempt_count, outcome)
SELECT r.run_at, r.id, c.id,
       CASE WHEN o.outcome IN ('failed', 'flaky')
            THEN f.first
                 + CASE WHEN r.is_down THEN r.h ELSE hashint8(c.id) & 2147483647 END %% %(texts)s END,
       (20 + c.h + o.x / 4) * CASE WHEN c.h < 5 AND r.run_at > %(slower)s THEN 3 ELSE 1 END,
       c.position, 1, CASE o.outcome WHEN 'flaky' THEN 2 ELSE 1 END, o.outcome::runs_outcome
FROM (
    SELECT id, suite_id, project_id, run_at, (hashint8(id * 977) & 2147483647) %% 1000 AS h,
           (hashint8(id * 977) & 2147483647) %% 1000 < 40 AS is_down
    FROM runs_run WHERE run_at >= %(since)s AND run_at < %(until)s
) r
JOIN (SELECT project_id, min(id) AS first FROM runs_failure GROUP BY 1) f ON f.project_id = r.project_id
CROSS JOIN LATERAL (
    SELECT id, (row_number() OVER (ORDER BY id))::integer AS position,
           (hashint8(id * 31) & 2147483647) %% 1000 AS h
    FROM runs_testcase WHERE suite_id = r.suite_id
) c
CROSS JOIN LATERAL (
    SELECT x, CASE
        WHEN r.is_down AND c.position %% 5 = r.h %% 2 THEN 'failed'
        WHEN c.h < 20 AND x < 100 THEN 'flaky'
        WHEN c.h < 20 AND x < 140 THEN 'failed'
        WHEN c.h < 30 AND extract(epoch FROM r.run_at)::bigint / 86400 %% 60 / 6 = c.id %% 10 THEN 'failed'
        WHEN c.h BETWEEN 30 AND 39 THEN 'skipped'
        ELSE 'passed' END AS outcome
    FROM (SELECT (hashint8(r.id * 100003 + c.id) & 2147483647) %% 1000) AS h (x)
) o
ORDER BY r.id, c.id
"""
_ATTEMPTS = """
INSERT INTO runs_attempt (run_at, run_id, case_id, number, outcome, duration_ms, failure_id, output, services)
SELECT r.run_at, r.run_id, r.case_id, n,
       CASE WHEN n = r.attempt_count AND r.outcome = 'flaky' THEN 'passed' ELSE 'failed' END,
       r.duration_ms, CASE WHEN n < r.attempt_count OR r.outcome <> 'flaky' THEN r.failure_id END, '', '{}'
FROM runs_result r CROSS JOIN generate_series(1, r.attempt_count) AS n
WHERE r.run_at >= %(since)s AND r.run_at < %(until)s
  AND r.outcome <> 'passed' AND r.outcome IN ('failed', 'flaky')
"""
_TOTALS = """
UPDATE runs_run r SET
    test_count = t.all, passed_count = t.passed, failed_count = t.failed, skipped_count = t.skipped,
    flaky_count = t.flaky, counted_on_default = (r.branch = 'main'),
    status = CASE WHEN t.failed > 0 THEN 'failed' ELSE 'passed' END,
    verdict = CASE WHEN t.failed > 0 THEN 'fail' ELSE 'pass' END
FROM (
    SELECT run_id, count(*) AS all, count(*) FILTER (WHERE outcome = 'passed') AS passed,
           count(*) FILTER (WHERE outcome = 'failed') AS failed,
           count(*) FILTER (WHERE outcome = 'skipped') AS skipped,
           count(*) FILTER (WHERE outcome = 'flaky') AS flaky
    FROM runs_result WHERE run_at >= %(since)s AND run_at < %(until)s GROUP BY run_id
) t WHERE t.run_id = r.id
"""
_BLAMES = """
INSERT INTO runs_blame (
    project_id, run_id, case_id, run_at, services, suspects, ruled_out, unwatched, algorithm_version)
SELECT f.project_id, r.run_id, r.case_id, r.run_at, s.names,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
            'service', name, 'rank', 1, 'strength', 'strong', 'evidence', jsonb_build_array(
                jsonb_build_object('kind', 'named', 'strength', 'strong', 'detail',
                                   'the failure names ' || name, 'at', NULL)))), '[]'::jsonb)
        FROM unnest(s.names) AS name),
       '[]', '{}', 1
FROM runs_result r
JOIN runs_failure f ON f.id = r.failure_id
CROSS JOIN LATERAL (
    SELECT CASE WHEN r.failure_id %% 4 = 0 THEN '{}'::text[]
                ELSE ARRAY[(%(services)s::text[])[1 + r.failure_id / 10 %% cardinality(%(services)s::text[])]]
           END AS names
) s
WHERE r.run_at >= %(since)s AND r.run_at < %(until)s AND r.outcome <> 'passed' AND r.outcome = 'failed'
ORDER BY r.run_id, r.case_id
"""
_CASE_MONTHS = """
INSERT INTO runs_casemonth (case_id, month, results, failed, flaky, skipped, timed_count, timed_ms)
SELECT case_id, %(month)s, array_agg(results ORDER BY day),
       CASE WHEN sum(failed) > 0 THEN array_agg(nullif(failed, 0) ORDER BY day) END,
       CASE WHEN sum(flaky) > 0 THEN array_agg(nullif(flaky, 0) ORDER BY day) END,
       CASE WHEN sum(skipped) > 0 THEN array_agg(nullif(skipped, 0) ORDER BY day) END,
       coalesce(sum(timed), 0), coalesce(sum(ms), 0)
FROM (SELECT DISTINCT case_id FROM runs_result WHERE run_at >= %(since)s AND run_at < %(until)s) k
CROSS JOIN generate_series(1, 31) AS day
LEFT JOIN (
    SELECT case_id, extract(day FROM run_at AT TIME ZONE 'UTC')::integer AS day,
           count(*)::smallint AS results,
           (count(*) FILTER (WHERE outcome = 'failed'))::smallint AS failed,
           (count(*) FILTER (WHERE outcome = 'flaky'))::smallint AS flaky,
           (count(*) FILTER (WHERE outcome = 'skipped'))::smallint AS skipped,
           count(duration_ms) FILTER (WHERE outcome = 'passed') AS timed,
           sum(duration_ms) FILTER (WHERE outcome = 'passed') AS ms
    FROM runs_result WHERE run_at >= %(since)s AND run_at < %(until)s GROUP BY 1, 2
) d USING (case_id, day)
GROUP BY case_id
"""
_SUITE_DAYS = """
INSERT INTO runs_suiteday (
    suite_id, day, is_default_branch, run_count, failed_run_count, errored_run_count, timed_run_count,
    duration_ms, result_count, failed_count, errored_count, skipped_count, flaky_count)
SELECT suite_id, (run_at AT TIME ZONE 'UTC')::date, counted_on_default, count(*),
       count(*) FILTER (WHERE verdict = 'fail'), 0, count(duration_ms), sum(duration_ms), sum(test_count),
       sum(failed_count), 0, sum(skipped_count), sum(flaky_count)
FROM runs_run GROUP BY 1, 2, 3
"""
_SERVICE_DAYS = """
INSERT INTO runs_serviceday (project_id, day, is_total, service, failure_count)
SELECT project_id, (run_at AT TIME ZONE 'UTC')::date, true, '', count(*) FROM runs_blame GROUP BY 1, 2
UNION ALL
SELECT project_id, (run_at AT TIME ZONE 'UTC')::date, false, service, count(*)
FROM runs_blame, unnest(CASE WHEN cardinality(services) = 0 THEN ARRAY[''] ELSE services END) AS service
GROUP BY 1, 2, 4
"""
# The newest hundred passes on the default branch, but for those of the newest runs: these are paced for real.
_PACES = """
SELECT case_id, max(run_at) AS last_run_at, array_agg(duration_ms ORDER BY run_at, run_id) AS recent_ms,
       array_agg(run_id ORDER BY run_at, run_id) AS recent_runs
FROM (
    SELECT r.case_id, r.run_at, r.run_id, r.duration_ms,
           row_number() OVER (PARTITION BY r.case_id ORDER BY r.run_at DESC) AS place
    FROM (
        SELECT id, run_at, row_number() OVER (PARTITION BY suite_id ORDER BY number DESC) AS age
        FROM runs_run WHERE branch = 'main'
    ) u JOIN runs_result r ON r.run_id = u.id AND r.run_at = u.run_at
    WHERE u.age BETWEEN 2 AND 110 AND r.outcome = 'passed'
) p WHERE place <= 100 GROUP BY case_id
"""
_UPLOADS = """
INSERT INTO runs_upload (
    project_id, run_id, shard, status, content_digest, fields, problems, received_at, stored_at, try_count)
SELECT project_id, id, 1, 'stored', md5(id::text) || md5(id::text), '{}', '[]', run_at, finished_at, 1
FROM runs_run ORDER BY id
"""
_REPORTS = """
INSERT INTO runs_report (
    run_id, upload_id, shard, name, size, sha256, storage_name, status, case_count, problems, created_at)
SELECT u.run_id, u.id, 1, 'report.xml', r.test_count * 120, u.content_digest, 'reports/' || u.id, 'stored',
       r.test_count, '[]', u.received_at
FROM runs_upload u JOIN runs_run r ON r.id = u.run_id ORDER BY u.id
"""
# Half a year of pull requests' webhooks, and of people changing things.
_DELIVERIES = """
INSERT INTO runs_delivery (
    project_id, hook_id, direction, provider, key, event, status, reason, payload, created_at, handled_at)
SELECT h.project_id, h.id, 'received', 'github', 'd-' || n, 'push',
       (ARRAY['accepted', 'accepted', 'ignored', 'refused', 'failed'])[1 + n %% 5], 'branch main is watched',
       jsonb_build_object('ref', 'refs/heads/main', 'commits', repeat('commit ' || n || ' ', 200)),
       %(until)s::timestamptz - make_interval(secs => n * %(seconds)s / %(deliveries)s),
       %(until)s::timestamptz - make_interval(secs => n * %(seconds)s / %(deliveries)s)
FROM runs_hook h CROSS JOIN generate_series(%(deliveries)s, 1, -1) AS n ORDER BY h.project_id, n DESC
"""
_AUDIT = """
INSERT INTO runs_auditentry (project_id, at, actor, action, subject, data)
SELECT p.id, %(until)s::timestamptz - make_interval(secs => n * %(seconds)s / %(entries)s), 'dana',
       (ARRAY['token.revoked', 'member.role', 'schedule.paused'])[1 + n %% 3], 'thing ' || n,
       jsonb_build_object('before', n, 'after', n + 1)
FROM runs_project p CROSS JOIN generate_series(%(entries)s, 1, -1) AS n ORDER BY p.id, n DESC
"""


def build(results: int, *, until: datetime) -> None:
    """Fill the empty database with about so many results up to `until`, and make an account that sees all."""
    from runs.actions.partitions import ensure_partition  # noqa: PLC0415 - once the server is up

    suites = _projects()
    since = until - timedelta(days=DAYS)
    values: dict[str, Any] = {
        "suites": suites,
        "sizes": [suite.cases for suite in SUITES],
        "counts": [max(12, round(results * suite.share / 1000 / suite.cases)) for suite in SUITES],
        "since": since,
        "until": until,
        "slower": until - timedelta(days=10),
        "texts": FAILURE_TEXTS,
        "services": list(SERVICES),
    }
    with stage("test cases, runs and failure texts"):
        _execute(values, _CASES, _RUNS, _FAILURES, "ANALYZE")
    for start, end in _months(since, until):
        with stage(f"results of {start:%B %Y}, with their attempts, blames and counts"):
            ensure_partition(start)
            month = values | {"since": start, "until": end, "month": start.date()}
            _execute(month, _RESULTS, "ANALYZE runs_result", _ATTEMPTS, _TOTALS, _BLAMES, _CASE_MONTHS)
    with stage("days of suites and services, uploads"):
        _execute(values, _SUITE_DAYS, _SERVICE_DAYS, _UPLOADS, _REPORTS, _NEXT_NUMBERS)
    with stage("VACUUM ANALYZE"):
        _execute(values, "VACUUM ANALYZE")
    with stage("paces"):
        _pace(values)
    with stage("environments, timelines and logs"):
        _environments()
    with stage("hooks, deliveries, people and their changes"):
        add_settings(until)
    with stage("the newest runs judged, paced and blamed"):
        _derive()
    with stage("VACUUM ANALYZE"):
        _execute(values, "VACUUM ANALYZE")


_NEXT_NUMBERS = """
UPDATE runs_project p SET next_run_number = coalesce(
    (SELECT max(number) + 1 FROM runs_run r WHERE r.project_id = p.id), 1)
"""


@contextmanager
def stage(what: str) -> Iterator[None]:
    """Print what is done and how long it took."""
    start = time.perf_counter()
    yield
    print(f"  {what}: {time.perf_counter() - start:.0f} s", flush=True)


def _execute(values: dict[str, Any], *statements: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("SET work_mem = '256MB'")
        cursor.execute("SET maintenance_work_mem = '512MB'")
        try:
            for statement in statements:
                cursor.execute(statement, values if "%" in statement else None)
        finally:
            cursor.execute("RESET ALL")


def _projects() -> list[int]:
    from runs.actions.projects import create_project, ensure_suite  # noqa: PLC0415 - once the server is up
    from runs.models import Service, User  # noqa: PLC0415 - as above

    User.objects.create_superuser("dana", password=secrets.token_urlsafe())
    projects: dict[str, Project] = {}
    suites = []
    for size in SUITES:
        if size.project not in projects:
            project = projects[size.project] = create_project(slug=size.project)
            Service.objects.bulk_create(Service(project=project, name=name) for name in SERVICES)
        suites.append(ensure_suite(project=projects[size.project], name=size.name).pk)
    return suites


def _months(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    from runs.actions.partitions import month_of  # noqa: PLC0415 - once the server is up

    start, end = month_of(since)
    while start < until:
        yield start, end
        start, end = month_of(end)


def _pace(values: dict[str, Any]) -> None:
    from runs.actions import pacing  # noqa: PLC0415 - once the server is up
    from runs.analytics.durations import ALGORITHM_VERSION, DEFAULTS  # noqa: PLC0415 - as above

    settings = {
        "recent": DEFAULTS.recent,
        "window": DEFAULTS.recent + DEFAULTS.base,
        "version": ALGORITHM_VERSION,
        "now": values["until"],
    }
    _execute(values | settings, pacing._STORE.format(fresh=_PACES))  # noqa: SLF001 - as it is really stored


def _environments() -> None:
    from runs.models import Run  # noqa: PLC0415 - once the server is up
    from tests.factories import make_event  # noqa: PLC0415 - as above
    from tests.rows import add_environment, add_log  # noqa: PLC0415 - as above

    newest = Run.objects.filter(project__slug=SUITES[0].project).newest_first()[:RUNS_WITH_ENVIRONMENT]
    for run in newest:
        add_environment(
            run,
            {name: (0.2 * at, 0.2 * at + 0.1, 2.0 + at) for at, name in enumerate(SERVICES)},
            ready_after=9,
        )
        for name in SERVICES:
            add_log(run, name, *(f"INFO request {line} answered in 12 ms" for line in range(300)))
            make_event(run, kind="service_ready", service=name, message=f"{name} is ready")
        needs = {name: {"depends_on": ["postgres"]} for name in SERVICES[1:]}
        facts = {"images": {}, "tests": "orders", "services": {"postgres": {"depends_on": []}, **needs}}
        Run.objects.filter(pk=run.pk).update(environment_facts=facts)


def add_settings(until: datetime) -> None:
    """In every project what its settings and webhooks name, with deliveries and changes of half a year."""
    from runs.actions.channels import add_channel  # noqa: PLC0415 - once the server is up
    from runs.actions.invitations import create_invitation  # noqa: PLC0415 - as above
    from runs.actions.tokens import create_token  # noqa: PLC0415 - as above
    from runs.actions.webhooks import create_hook  # noqa: PLC0415 - as above
    from runs.models import Project, Schedule, Suite  # noqa: PLC0415 - as above
    from runs.vocabulary import Role, Scope  # noqa: PLC0415 - as above
    from tests.factories import make_member  # noqa: PLC0415 - as above

    for project in Project.objects.order_by("pk"):
        create_hook(project=project, provider="github")
        create_token(project=project, scopes=[Scope.READ])
        create_invitation(project=project, role=Role.VIEWER)
        add_channel(project=project, kind="slack", address="https://hooks.slack.com/services/T/B/s")
        make_member(project, Role.VIEWER)
        suite = Suite.objects.filter(project=project).order_by("pk")[0]
        Schedule.objects.create(suite=suite, cron="0 2 * * *")
    seconds = timedelta(days=DAYS).total_seconds()
    values = {"until": until, "seconds": seconds, "deliveries": DELIVERIES, "entries": AUDIT_ENTRIES}
    _execute(values, _DELIVERIES, _AUDIT)


def _derive() -> None:
    from runs.actions.blaming import blame_run  # noqa: PLC0415 - once the server is up
    from runs.actions.judging import judge_run  # noqa: PLC0415 - as above
    from runs.actions.pacing import pace_run  # noqa: PLC0415 - as above
    from runs.models import Run, Suite  # noqa: PLC0415 - as above

    acts: tuple[Callable[[int], int], ...] = (pace_run, judge_run, blame_run)
    for suite in Suite.objects.order_by("pk"):
        run = Run.objects.filter(suite=suite, branch="main").newest_first().first()
        if run is not None:
            for act in acts:
                act(run.pk)


def counted() -> dict[str, int]:
    """Count the rows of the large tables, as the planner knows them."""
    tables = ("runs_result", "runs_attempt", "runs_run", "runs_testcase", "runs_blame", "runs_casemonth")
    ask = """
        SELECT coalesce(parent.relname, c.relname), sum(c.reltuples)::bigint
        FROM pg_class c
        LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class parent ON parent.oid = i.inhparent
        WHERE c.relkind = 'r' AND coalesce(parent.relname, c.relname) = ANY(%s) GROUP BY 1
    """
    with connection.cursor() as cursor:
        cursor.execute(ask, [list(tables)])
        found = dict(cursor.fetchall())
    return {table: found[table] for table in tables}


def database_bytes() -> int:
    """What the database takes on disk."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        [size] = cursor.fetchone()
    return int(size)
