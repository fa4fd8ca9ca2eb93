"""Keep the month partitions of results, attempts and details: made before they are needed, removed when their
term is over. Months are in UTC."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import OperationalError, connection, transaction
from psycopg import sql

from runs.actions.locks import Lock, wait_for

PARTITIONED_TABLES = ("runs_result", "runs_attempt", "runs_resultdetails")
#: How long the removal of a month waits for whoever writes to it, with everybody else behind it.
REMOVAL_PATIENCE_SECONDS = 3.0
#: What PostgreSQL says when a lock was not to be had in time, and when each waits for the other.
_IN_THE_WAY = {"55P03", "40P01"}

_OLD_PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = ANY(%s::regclass[]) AND right(c.relname, 6) < %s
"""
#: A run's results stay while it is pinned, and until it is counted: what is gone cannot be counted.
STAYS = "(r.pinned_at IS NOT NULL OR r.counted_on_default IS NULL)"
_HAS_STAYING = f"""
SELECT EXISTS (SELECT FROM runs_run r WHERE r.run_at >= %s AND r.run_at < %s AND {STAYS})
"""  # noqa: S608 - of constants
_HAS_OTHERS = f"""
SELECT EXISTS (SELECT FROM {{partition}} p WHERE NOT EXISTS (
    SELECT FROM runs_run r WHERE r.id = p.run_id AND {STAYS}))
"""  # noqa: S608 - of constants
_HAS_KEPT = """
SELECT EXISTS (
    SELECT FROM runs_run r WHERE r.run_at >= %s AND r.run_at < %s AND r.results_removed_at IS NULL
    AND EXISTS (SELECT FROM {partition} p WHERE p.run_at = r.run_at AND p.run_id = r.id))
"""
_KEEP = """
INSERT INTO {kept} SELECT p.* FROM {partition} p JOIN runs_run r ON r.id = p.run_id
WHERE r.run_at >= %s AND r.run_at < %s AND r.results_removed_at IS NULL
"""
_MARK_RUNS = f"""
WITH gone AS (
    UPDATE runs_run r SET results_removed_at = %s
    WHERE run_at >= %s AND run_at < %s AND NOT {STAYS} AND results_removed_at IS NULL AND test_count > 0
    RETURNING id, test_count
), seen AS (
    DELETE FROM runs_grouprun g USING gone WHERE g.run_id = gone.id
)
SELECT count(*), coalesce(sum(test_count), 0) FROM gone
"""  # noqa: S608 - of constants


@dataclass(frozen=True, slots=True)
class RemovedMonth:
    """A month whose results went, but for those of runs that keep theirs."""

    month: datetime
    run_count: int
    result_count: int


def ensure_partition(moment: datetime) -> list[str]:
    """Make the partitions that hold `moment` where they are missing; returns the names of the new ones."""
    start, end = month_of(moment)
    wanted = {table: f"{table}_{start:%Y%m}" for table in PARTITIONED_TABLES}
    if not _missing(wanted.values()):
        return []
    with transaction.atomic():
        wait_for(Lock.PARTITIONS)
        missing = _missing(wanted.values())
        for table, partition in wanted.items():
            if partition in missing:
                _make(table, partition, start, end)
    return sorted(missing)


def keep_partitions_ahead(now: datetime, *, months: int = 3) -> list[str]:
    """Make the partitions of this month and the next ones; returns the names of the new ones."""
    made: list[str] = []
    start, _ = month_of(now)
    for _ in range(months + 1):
        made += ensure_partition(start)
        _, start = month_of(start)
    return made


def kept_since(now: datetime, *, days: int) -> datetime | None:
    """The first moment of the oldest month of which results are kept; None with 0 days, which are for ever.

    A month goes as a whole, once all of it is older.
    """
    return month_of(now - timedelta(days=days))[0] if days else None


def are_results_kept(moment: datetime) -> bool:
    """Whether results of that moment would outlive the next night, by the term that is set."""
    oldest = kept_since(datetime.now(tz=UTC), days=settings.KEEP_RESULTS_DAYS)
    return oldest is None or moment >= oldest


def months_before(oldest: datetime) -> list[datetime]:
    """Months before that have something to be removed, oldest first: results of a run that keeps none."""
    with connection.cursor() as cursor:
        cursor.execute(_OLD_PARTITIONS, [list(PARTITIONED_TABLES), f"{oldest:%Y%m}"])
        found = {name for (name,) in cursor.fetchall()}
    moments = {datetime.strptime(name[-6:], "%Y%m").replace(tzinfo=UTC) for name in found}
    return [month for month in sorted(moments) if _is_removable(month)]


def remove_month(
    month: datetime, *, now: datetime, patience_seconds: float = REMOVAL_PATIENCE_SECONDS
) -> RemovedMonth | None:
    """Remove what a month's results are made of, but for runs that are pinned or not counted; its runs keep
    their totals.

    The tables are dropped, or replaced by small ones with what stays. None, and nothing changed, while
    somebody writes to the month: to be tried again.
    """
    start, end = month_of(month)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {round(patience_seconds * 1000)}")
            wait_for(Lock.PARTITIONS)
            # First: whoever pins one of these runs at this moment is waited for, or finds its results gone.
            cursor.execute(_MARK_RUNS, [now, start, end])
            run_count, result_count = cursor.fetchone()
            for table in PARTITIONED_TABLES:
                _remove(table, start, end)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) not in _IN_THE_WAY:
            raise
        return None
    return RemovedMonth(start, run_count, result_count)


def month_of(moment: datetime) -> tuple[datetime, datetime]:
    """The first moment of the month, in UTC, and that of the next month."""
    moment = moment.astimezone(UTC)
    start = datetime(moment.year, moment.month, 1, tzinfo=UTC)
    december = 12
    if moment.month == december:
        return start, datetime(moment.year + 1, 1, 1, tzinfo=UTC)
    return start, datetime(moment.year, moment.month + 1, 1, tzinfo=UTC)


def _is_removable(month: datetime) -> bool:
    partitions = [f"{table}_{month:%Y%m}" for table in PARTITIONED_TABLES]
    there = set(partitions) - _missing(partitions)
    with connection.cursor() as cursor:
        cursor.execute(_HAS_STAYING, month_of(month))
        if cursor.fetchone() == (False,):
            return bool(there)
        for partition in there:
            cursor.execute(sql.SQL(_HAS_OTHERS).format(partition=sql.Identifier(partition)))
            if cursor.fetchone() == (True,):
                return True
    return False


def _remove(table: str, start: datetime, end: datetime) -> None:
    partition = f"{table}_{start:%Y%m}"
    if _missing([partition]):
        return
    kept = f"{partition}_kept"
    names = {"partition": sql.Identifier(partition), "kept": sql.Identifier(kept)}
    with connection.cursor() as cursor:
        # Nobody adds to it while it is looked at and copied, and everybody may read.
        cursor.execute(sql.SQL("LOCK TABLE {partition} IN SHARE MODE").format(**names))
        cursor.execute(sql.SQL(_HAS_KEPT).format(**names), [start, end])
        [is_kept] = cursor.fetchone()
        if is_kept:
            _create(table, kept)
            cursor.execute(sql.SQL(_KEEP).format(**names), [start, end])
        cursor.execute(sql.SQL("DROP TABLE {partition}").format(**names))
        if is_kept:
            cursor.execute(sql.SQL("ALTER TABLE {kept} RENAME TO {partition}").format(**names))
            _attach(table, partition, start, end)


def _missing(names: Iterable[str]) -> set[str]:
    # Read from the catalogue's table: to_regclass answers from a cache that may not know yet what another
    # maker committed while we waited for the lock.
    find = """
        SELECT relname FROM pg_class
        WHERE relname = ANY(%s)
          AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'runs_result'::regclass)
    """
    wanted = set(names)
    with connection.cursor() as cursor:
        cursor.execute(find, [list(wanted)])
        return wanted - {name for (name,) in cursor.fetchall()}


def _make(table: str, partition: str, start: datetime, end: datetime) -> None:
    """Make the table, then attach it: unlike CREATE … PARTITION OF this stops neither readers nor writers."""
    _create(table, partition)
    _attach(table, partition, start, end)


def _create(table: str, partition: str) -> None:
    create = sql.SQL("CREATE TABLE {partition} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    with connection.cursor() as cursor:
        cursor.execute(create.format(table=sql.Identifier(table), partition=sql.Identifier(partition)))


def _attach(table: str, partition: str, start: datetime, end: datetime) -> None:
    attach = sql.SQL("ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ({start}) TO ({end})")
    with connection.cursor() as cursor:
        cursor.execute(
            attach.format(
                table=sql.Identifier(table),
                partition=sql.Identifier(partition),
                start=sql.Literal(start.isoformat()),
                end=sql.Literal(end.isoformat()),
            )
        )
