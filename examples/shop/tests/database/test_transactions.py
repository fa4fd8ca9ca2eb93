"""All or nothing, also when two work on the same row."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from shop.database import Pool
from shop.migrate import migrate


@pytest.fixture
def pool(scratch_url: str) -> Iterator[Pool]:
    migrate(scratch_url)
    pool = Pool(scratch_url)
    with pool.transaction() as connection:
        connection.execute("TRUNCATE users.account, users.entry RESTART IDENTITY")
        connection.execute(
            "INSERT INTO users.account (email, name, balance_cents) VALUES ('ada@example.org', 'Ada', 1000)"
        )
    yield pool
    pool.close()


def balance(pool: Pool) -> int:
    with pool.transaction() as connection:
        row = connection.execute("SELECT balance_cents FROM users.account").fetchone()
    assert row is not None
    return int(row["balance_cents"])


def debit(pool: Pool, *amounts_cents: int) -> None:
    with pool.transaction() as connection:
        for amount in amounts_cents:
            connection.execute("UPDATE users.account SET balance_cents = balance_cents - %s", (amount,))


def test_an_error_in_the_middle_takes_back_what_was_done_before_it(pool: Pool) -> None:
    with pytest.raises(errors.CheckViolation):
        debit(pool, 600, 600)

    assert balance(pool) == 1000


def test_nobody_sees_what_is_not_committed(pool: Pool) -> None:
    with pool.transaction() as connection:
        connection.execute("UPDATE users.account SET balance_cents = 0")
        assert balance(pool) == 1000

    assert balance(pool) == 0


def test_a_savepoint_takes_back_its_part_only(pool: Pool) -> None:
    with pool.transaction() as connection:
        connection.execute("UPDATE users.account SET balance_cents = 700")
        with pytest.raises(errors.CheckViolation), connection.transaction():
            connection.execute("UPDATE users.account SET balance_cents = -1")

    assert balance(pool) == 700


def test_a_row_that_another_has_locked_is_skipped_by_those_who_ask_to(pool: Pool, scratch_url: str) -> None:
    query = "SELECT id FROM users.account FOR UPDATE SKIP LOCKED"
    with pool.transaction() as connection, psycopg.connect(scratch_url) as other:
        assert len(connection.execute(query).fetchall()) == 1
        assert other.execute(query).fetchall() == []


def test_a_broken_connection_is_not_lent_again(pool: Pool) -> None:
    with pytest.raises(psycopg.OperationalError), pool.transaction() as connection:
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    assert balance(pool) == 1000
