"""Locks of the database by which workers agree on who does a piece of work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import connection

_RANGE = 2**31


@contextmanager
def alone_with(kind: int, row_id: int) -> Iterator[bool]:
    """Hold the lock of this kind on a row for the block; yield False at once when somebody else has it.

    It belongs to the connection: whoever dies lets go of it.
    """
    key = [kind, row_id % _RANGE]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", key)
        [is_alone] = cursor.fetchone()
    try:
        yield is_alone
    finally:
        if is_alone:
            with suppress(Exception), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)
