"""A few PostgreSQL connections shared by a service's threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

type Connection = psycopg.Connection[dict[str, Any]]


class Pool:
    def __init__(self, url: str, *, size: int = 8) -> None:
        self._url = url
        self._turns = threading.BoundedSemaphore(size)
        self._idle: list[Connection] = []

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Lend a connection for one transaction: committed at the end, rolled back on any error."""
        with self._turns:
            connection = self._idle.pop() if self._idle else self._connect()
            try:
                with connection.transaction():
                    yield connection
            finally:
                # One that broke (the server was restarted) is dropped; the next borrower dials again.
                if not connection.closed:
                    self._idle.append(connection)

    def close(self) -> None:
        """Close the connections that nobody has borrowed."""
        while self._idle:
            self._idle.pop().close()

    def _connect(self) -> Connection:
        return psycopg.connect(self._url, autocommit=True, row_factory=dict_row, connect_timeout=3)
