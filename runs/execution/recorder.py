"""Take in what happens and what is printed, from any thread and without delay; write it in batches.

Outages of the database are waited out. What cannot be kept, because a service prints more than anyone
will read, is counted and said, never dropped in silence.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Self

from django.db import Error as DatabaseFault
from django.db import InterfaceError, OperationalError, connection

from runs.actions.artifacts import Readable
from runs.actions.events import NewEvent, NewLine, append_lines, record_events
from runs.execution.masking import Masker

logger = logging.getLogger(__name__)


class Loss(StrEnum):
    """Why a line is not kept, as the end of a sentence about it."""

    TOO_MUCH = "it prints too much"
    DATABASE_AWAY = "the database was away for too long"
    REFUSED = "the database refused it"


BATCH_SECONDS = 0.5
BATCH_BYTES = 64 * 1024
#: One statement writes so much: a burst becomes chunks that a page can read one by one.
CHUNK_BYTES = 1024 * 1024
#: Of one service in one shard; more is counted.
SERVICE_LIMIT_BYTES = 64 * 1024 * 1024
#: Waiting to be written while the database is away.
BACKLOG_LIMIT_BYTES = 64 * 1024 * 1024


class Recorder:
    """Writes one run's timeline and log. A context manager: leaving it writes all that is left."""

    def __init__(self, run_id: int, *, masker: Masker | None = None, patience_seconds: float = 60.0) -> None:
        self._run_id = run_id
        #: What is kept is masked first, so that nothing behind here ever sees a secret.
        self._masker = masker or Masker()
        #: How long the last words are tried to be written when the database is away at the end.
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._events: list[NewEvent] = []
        self._lines: list[NewLine] = []
        self._waiting_bytes = 0
        self._kept_bytes: Counter[tuple[int, str]] = Counter()
        self._lost: Counter[tuple[int, str, Loss]] = Counter()
        self._wake = threading.Event()
        self._written = threading.Condition(self._lock)
        self._is_writing = False
        self._over = False
        self._thread = threading.Thread(target=self._write_on, name=f"recorder-of-run-{run_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._over = True
        self._wake.set()
        self._thread.join()

    def event(self, event: NewEvent) -> None:
        """Keep an event; it is written within moments."""
        event = replace(event, message=self.masked(event.message), data=self._masker.data(event.data))
        with self._lock:
            self._events.append(event)
        self._wake.set()

    def line(self, line: NewLine) -> None:
        """Keep a line; it is written with others within `BATCH_SECONDS`."""
        line = replace(line, text=self.masked(line.text))
        size = _size(line)
        key = (line.shard, line.service)
        with self._lock:
            if self._kept_bytes[key] + size > SERVICE_LIMIT_BYTES:
                self._lost[*key, Loss.TOO_MUCH] += 1
                return
            if self._waiting_bytes + size > BACKLOG_LIMIT_BYTES:
                self._lost[*key, Loss.DATABASE_AWAY] += 1
                return
            self._kept_bytes[key] += size
            self._waiting_bytes += size
            self._lines.append(line)
            is_full = self._waiting_bytes >= BATCH_BYTES
        if is_full:
            self._wake.set()

    def masked(self, text: str) -> str:
        """The text without the project's secrets, for what is kept elsewhere."""
        return self._masker.text(text)

    def masked_file(self, file: Readable) -> Readable:
        """The file without the project's secrets as far as it is text, for what is kept elsewhere."""
        return self._masker.file(file)

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these too in all that comes from now on."""
        self._masker.learn(secrets)

    def flush(self, *, timeout_seconds: float = 10.0) -> bool:
        """Wait until all that was kept before is written; False when that takes too long."""
        self._wake.set()
        with self._written:
            return self._written.wait_for(
                lambda: not (self._events or self._lines or self._is_writing), timeout=timeout_seconds
            )

    def _write_on(self) -> None:
        try:
            while not self._over:
                self._wake.wait(BATCH_SECONDS)
                self._wake.clear()
                self._write()
            self._write_the_rest()
        finally:
            connection.close()

    def _write_the_rest(self) -> None:
        end = time.monotonic() + self._patience_seconds
        while not (self._write() and self._write_losses()):
            if time.monotonic() > end:
                logger.error("Run %s: the last events and lines could not be written.", self._run_id)
                return
            self._wake.clear()
            self._wake.wait(BATCH_SECONDS)

    def _write(self) -> bool:
        """Write what is waiting; False when the database did not answer and it waits on."""
        with self._lock:
            events, self._events = self._events, []
            lines, self._lines = self._lines, []
            self._is_writing = True
        try:
            # Two statements that may fail apart: what was written is not written twice.
            while batch := _first_of(lines, CHUNK_BYTES):
                self._insist(append_lines, batch)
                self._free(batch)
                lines = lines[len(batch) :]
            if events:
                self._insist(record_events, events)
                events = []
        except (OperationalError, InterfaceError):
            logger.warning("Run %s: events and lines wait for the database.", self._run_id, exc_info=True)
            connection.close()
        finally:
            with self._written:
                self._events[:0] = events
                self._lines[:0] = lines
                self._is_writing = False
                self._written.notify_all()
        return not (events or lines)

    def _insist[T](self, write: Callable[[int, Sequence[T]], object], items: Sequence[T]) -> None:
        """Write all; when the database refuses one for what it is, write the others."""
        try:
            write(self._run_id, items)
        except (OperationalError, InterfaceError):
            raise
        except DatabaseFault:
            if len(items) == 1:
                logger.exception("Run %s: the database refused %r.", self._run_id, items[0])
                if isinstance(items[0], NewLine):
                    with self._lock:
                        self._lost[items[0].shard, items[0].service, Loss.REFUSED] += 1
                return
            for item in items:
                self._insist(write, [item])

    def _free(self, lines: Sequence[NewLine]) -> None:
        with self._lock:
            self._waiting_bytes -= sum(_size(line) for line in lines)

    def _write_losses(self) -> bool:
        """Say last what was not kept: only then is its number known. False when the database is away."""
        with self._lock:
            lost, self._lost = self._lost, Counter()
            self._events += [_loss(key, count) for key, count in lost.items()]
        return self._write()


def _loss(key: tuple[int, str, Loss], count: int) -> NewEvent:
    shard, service, why = key
    lines = "more line of" if count == 1 else "more lines of"
    were = "was" if count == 1 else "were"
    return NewEvent(
        "notice",
        f"{count} {lines} {service} {were} printed and not kept: {why}.",
        shard=shard,
        service=service,
        data={"lines": count},
    )


def _first_of(lines: Sequence[NewLine], limit: int) -> list[NewLine]:
    """As many lines as fit, and one at least."""
    size = 0
    for count, line in enumerate(lines):
        size += _size(line)
        if size > limit and count:
            return list(lines[:count])
    return list(lines)


def _size(line: NewLine) -> int:
    """About what it takes, its time included."""
    return len(line.text) + 30
