"""What is stored, by kind: bytes now, and the pace of the last weeks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

from runs.analytics.storage import Stored

#: Days over which the pace is measured.
WINDOW_DAYS = 28

#: Partitions, their indexes and long values included.
_TABLES = """
SELECT coalesce(sum(pg_total_relation_size(coalesce(part.relid, t.oid))), 0)
FROM unnest(%s::text[]) AS name CROSS JOIN LATERAL (SELECT to_regclass(name) AS oid) t
LEFT JOIN LATERAL pg_partition_tree(t.oid) part ON true
"""
#: All there are of a kind, those that came since, and how long ago the first came, in days.
_SHARE = """
SELECT coalesce(sum({weight}), 0), coalesce(sum({weight}) FILTER (WHERE {at} >= %(since)s), 0),
       coalesce(extract(epoch FROM %(now)s - min({at})) / 86400, 0)
FROM {rows}
"""
_RESULTS = {"weight": "test_count", "at": "queued_at", "rows": "runs_run WHERE results_removed_at IS NULL"}
_TEXTS = {"weight": "1", "at": "first_seen_at", "rows": "runs_failure"}
_LOGS = {"weight": "line_count", "at": "last_at", "rows": "runs_logchunk"}
_COUNTS = {"weight": "1", "at": "day::timestamp AT TIME ZONE 'UTC'", "rows": "runs_suiteday"}
_ARTIFACTS = {"weight": "size", "at": "created_at", "rows": "runs_artifact WHERE storage_name <> ''"}
_REPORTS = {"weight": "size", "at": "created_at", "rows": "runs_report WHERE storage_name <> ''"}


def stored(now: datetime) -> list[Stored]:
    """What each kind takes; the last one is the rest of the database. A dozen queries, seconds on much data.

    The pace of rows is taken from their number: each is held to be as large as the others of its kind.
    """
    found = [
        _table(
            "results",
            ["runs_result", "runs_attempt", "runs_resultdetails"],
            _RESULTS,
            settings.KEEP_RESULTS_DAYS,
            now,
        ),
        # A text is kept for as long as a result speaks of it.
        _table("failure texts", ["runs_failure"], _TEXTS, settings.KEEP_RESULTS_DAYS, now),
        _table("logs and events", ["runs_logchunk", "runs_event"], _LOGS, settings.KEEP_LOGS_DAYS, now),
        _table(
            "counts by day",
            ["runs_casemonth", "runs_suiteday", "runs_serviceday"],
            _COUNTS,
            settings.KEEP_COUNTS_DAYS,
            now,
        ),
    ]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        [whole] = cursor.fetchone()
    rest = max(whole - sum(each.size for each in found), 0)
    return [
        *found,
        _files("artifacts", _ARTIFACTS, settings.KEEP_ARTIFACTS_DAYS, now),
        _files("reports", _REPORTS, settings.KEEP_REPORTS_DAYS, now),
        Stored("the rest of the database", rest, 0, 0),
    ]


def _table(kind: str, tables: list[str], share: Mapping[str, str], term: int, now: datetime) -> Stored:
    with connection.cursor() as cursor:
        cursor.execute(_TABLES, [tables])
        [size] = cursor.fetchone()
    everything, recent, days = _share(share, now)
    each = int(size) / everything if everything else 0
    return Stored(kind, int(size), recent * each / days, term)


def _files(kind: str, share: Mapping[str, str], term: int, now: datetime) -> Stored:
    everything, recent, days = _share(share, now)
    return Stored(kind, everything, recent / days, term, is_file=True)


def _share(share: Mapping[str, str], now: datetime) -> tuple[int, int, float]:
    """All, what came within the window, and the days that it came in: fewer than the window at first."""
    with connection.cursor() as cursor:
        since = now - timedelta(days=WINDOW_DAYS)
        cursor.execute(_SHARE.format(**share), {"now": now, "since": since})
        everything, recent, age = cursor.fetchone()
    return int(everything), int(recent), min(max(float(age), 1.0), WINDOW_DAYS)
