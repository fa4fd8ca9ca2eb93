"""Keep the month partitions of results and attempts, made before they are needed; months are in UTC."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from django.db import connection, transaction
from psycopg import sql

from runs.actions.locks import Lock, wait_for

PARTITIONED_TABLES = ("runs_result", "runs_attempt")


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


def month_of(moment: datetime) -> tuple[datetime, datetime]:
    """The first moment of the month, in UTC, and that of the next month."""
    moment = moment.astimezone(UTC)
    start = datetime(moment.year, moment.month, 1, tzinfo=UTC)
    december = 12
    if moment.month == december:
        return start, datetime(moment.year + 1, 1, 1, tzinfo=UTC)
    return start, datetime(moment.year, moment.month + 1, 1, tzinfo=UTC)


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
    names = {"table": sql.Identifier(table), "partition": sql.Identifier(partition)}
    create = sql.SQL("CREATE TABLE {partition} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    attach = sql.SQL("ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ({start}) TO ({end})")
    with connection.cursor() as cursor:
        cursor.execute(create.format(**names))
        cursor.execute(
            attach.format(**names, start=sql.Literal(start.isoformat()), end=sql.Literal(end.isoformat()))
        )
