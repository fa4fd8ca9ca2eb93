from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from shop.migrate import migrate
from tests.conftest import Connection


@pytest.fixture(scope="session")
def scratch_url(database_url: str) -> Iterator[str]:
    """An empty database of our own: these tests take the schema apart."""
    name = f"scratch_{uuid4().hex}"
    with psycopg.connect(database_url, autocommit=True) as server:
        server.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        yield make_conninfo(database_url, dbname=name)
        server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture
def schema(scratch_url: str) -> Iterator[Connection]:
    """A connection to the scratch database with every migration applied, rolled back afterwards."""
    migrate(scratch_url)
    with psycopg.connect(scratch_url) as connection:
        yield connection
        connection.rollback()
