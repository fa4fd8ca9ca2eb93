"""Partitions of results and attempts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.db import connection

from runs.actions.partitions import ensure_partition, keep_partitions_ahead, month_of

pytestmark = pytest.mark.django_db


def partitions_of(table: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", [table]
        )
        return {name for (name,) in cursor.fetchall()}


def test_a_month_gets_one_partition_of_each_table() -> None:
    made = ensure_partition(datetime(1999, 12, 31, 23, 59, tzinfo=UTC))

    assert made == ["runs_attempt_199912", "runs_result_199912", "runs_resultdetails_199912"]
    assert "runs_result_199912" in partitions_of("runs_result")
    assert "runs_attempt_199912" in partitions_of("runs_attempt")


def test_asking_again_makes_nothing() -> None:
    ensure_partition(datetime(1999, 12, 1, tzinfo=UTC))

    assert ensure_partition(datetime(1999, 12, 2, tzinfo=UTC)) == []


def test_months_are_told_in_utc() -> None:
    evening = datetime(2026, 12, 31, 20, 0, tzinfo=timezone(timedelta(hours=-5)))

    assert month_of(evening) == (datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 2, 1, tzinfo=UTC))


def test_partitions_are_kept_ahead_over_the_turn_of_the_year() -> None:
    made = keep_partitions_ahead(datetime(2001, 11, 21, tzinfo=UTC), months=2)

    assert [name for name in made if "result_" in name] == [
        "runs_result_200111",
        "runs_result_200112",
        "runs_result_200201",
    ]


def test_a_partition_has_every_index_of_its_table() -> None:
    ensure_partition(datetime(1999, 12, 1, tzinfo=UTC))

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_indexes WHERE tablename = 'runs_result'")
        of_table = cursor.fetchone()
        cursor.execute("SELECT count(*) FROM pg_indexes WHERE tablename = 'runs_result_199912'")
        assert cursor.fetchone() == of_table == (4,)
