"""The schema's way up, and down again without a trace."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import errors

from shop.migrate import migrate, migrations
from tests.conftest import Connection

STEPS = ["0001_users", "0002_orders", "0003_notifications", "0004_order_currency"]


@pytest.fixture
def empty(scratch_url: str) -> Iterator[Connection]:
    migrate(scratch_url, 0)
    with psycopg.connect(scratch_url, autocommit=True) as connection:
        yield connection


def columns(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema IN ('users', 'orders', 'notifications') ORDER BY 1, 2, ordinal_position"
    ).fetchall()


def test_all_migrations_go_up_and_down_without_a_trace(empty: Connection, scratch_url: str) -> None:
    assert migrate(scratch_url) == [f"up {step}" for step in STEPS]
    assert {row[0] for row in columns(empty)} == {"users", "orders", "notifications"}

    assert migrate(scratch_url, 0) == [f"down {step}" for step in reversed(STEPS)]
    assert columns(empty) == []


@pytest.mark.parametrize("version", [step.version for step in migrations()], ids=STEPS)
def test_each_migration_is_undone_by_its_counterpart(
    empty: Connection, scratch_url: str, version: int
) -> None:
    migrate(scratch_url, version - 1)
    before = columns(empty)

    migrate(scratch_url, version)
    assert columns(empty) != before

    migrate(scratch_url, version - 1)
    assert columns(empty) == before


@pytest.mark.usefixtures("empty")
def test_migrating_again_changes_nothing(scratch_url: str) -> None:
    migrate(scratch_url)

    assert migrate(scratch_url) == []


def test_rows_written_before_a_column_came_get_its_default(empty: Connection, scratch_url: str) -> None:
    migrate(scratch_url, 3)
    empty.execute("INSERT INTO orders.purchase (id, user_id, total_cents) VALUES (gen_random_uuid(), 1, 450)")

    migrate(scratch_url, 4)

    assert empty.execute("SELECT currency FROM orders.purchase").fetchall() == [("EUR",)]


def test_a_migration_that_cannot_be_applied_leaves_everything_as_it_was(
    empty: Connection, scratch_url: str
) -> None:
    migrate(scratch_url, 2)
    empty.execute("CREATE SCHEMA notifications")

    with pytest.raises(errors.DuplicateSchema):
        migrate(scratch_url)

    assert empty.execute("SELECT max(version) FROM schema_migration").fetchall() == [(2,)]
    empty.execute("DROP SCHEMA notifications")


@pytest.mark.usefixtures("empty")
def test_of_two_who_migrate_at_once_one_does_the_work(scratch_url: str) -> None:
    with ThreadPoolExecutor(max_workers=2) as people:
        done = list(people.map(migrate, [scratch_url, scratch_url]))

    assert sorted(map(len, done)) == [0, 4]
