"""Locks of the database by which workers agree on who does a piece of work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum, unique

from django.db import connection

_RANGE = 2**31


@unique
class Lock(IntEnum):
    """What is locked, by the number of it that the database knows.

    A number stays what it is: while an upgrade goes on, workers of both versions are at work.
    """

    #: Of the whole installation.
    SWEEP = 0x17DA5
    FIRST_ACCOUNT = 0x17DA5400
    PARTITIONS = 7_145_001
    RETENTION = 7_145_024
    #: Of a run.
    MERGE = 7_145_002
    BLAMES = 7_145_013
    #: Of an upload.
    UPLOAD = 7_145_003
    #: Of a suite.
    VERDICTS = 7_145_012
    DURATIONS = 7_145_015
    NEWS = 7_145_016
    SUITE_COUNTS = 7_145_022
    NEW_CASES = 7_145_025
    #: Of a message that is sent.
    DELIVERY = 7_145_014
    #: Of a project.
    SAMPLE = 7_145_020
    CASES = 7_145_021
    SERVICE_COUNTS = 7_145_023


def wait_for(lock: Lock, row_id: int | None = None, *, shared: Sequence[tuple[Lock, int]] = ()) -> None:
    """Hold the lock, on a row when one is named, until the transaction ends; wait while another has it.

    Those of `shared` are taken in the same question, at once with all who share them too.
    """
    wanted, values = _questions("pg_advisory_xact_lock", lock, row_id, shared)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(wanted)}", values)


def is_had(lock: Lock, row_id: int, *, shared: Sequence[tuple[Lock, int]] = ()) -> bool:
    """Hold the locks until the transaction ends, as `wait_for` does; return False instead of waiting."""
    wanted, values = _questions("pg_try_advisory_xact_lock", lock, row_id, shared)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {' AND '.join(wanted)}", values)
        [is_ours] = cursor.fetchone()
    return bool(is_ours)


def _questions(
    function: str, lock: Lock, row_id: int | None, shared: Sequence[tuple[Lock, int]]
) -> tuple[list[str], list[int]]:
    keys = [_key(lock, row_id), *(_key(*one) for one in shared)]
    functions = [function, *[f"{function}_shared"] * len(shared)]
    wanted = [f"{name}({_places(key)})" for name, key in zip(functions, keys, strict=True)]
    return wanted, [number for key in keys for number in key]


@contextmanager
def alone_with(lock: Lock, row_id: int | None = None) -> Iterator[bool]:
    """Hold the lock, on a row when one is named, for the block; yield False at once when another has it.

    It belongs to the connection: whoever dies lets go of it.
    """
    key = _key(lock, row_id)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_lock({_places(key)})", key)
        [is_alone] = cursor.fetchone()
    try:
        yield is_alone
    finally:
        if is_alone:
            with suppress(Exception), connection.cursor() as cursor:
                cursor.execute(f"SELECT pg_advisory_unlock({_places(key)})", key)


def _key(lock: Lock, row_id: int | None) -> list[int]:
    """One number is another lock than two: PostgreSQL keeps them apart."""
    return [lock.value] if row_id is None else [lock.value, row_id % _RANGE]


def _places(key: list[int]) -> str:
    return ", ".join(["%s"] * len(key))
