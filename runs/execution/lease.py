"""Hold a run while working on it, and hear in time when the work is to stop."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from types import FrameType

from django.db import Error as DatabaseFault
from django.db import connection

from runs.actions.runs import Claim, Renewal, ask_for_cancel, renew_lease

logger = logging.getLogger(__name__)

#: The longest a request to cancel goes unheard.
_HEARING_SECONDS = 1.0


class StopReason(StrEnum):
    """Why the work on a run is to stop before its end."""

    CANCELLED = "cancelled"
    #: Somebody else may have the run by now: nothing may be written any more.
    LEASE_LOST = "lease_lost"
    #: This worker is being stopped: the run goes back to the queue.
    WORKER_STOPPING = "worker_stopping"


class Lease:
    """What the work looks at: `stop` is set once, with the first reason."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.stop = threading.Event()
        self.reason: StopReason | None = None
        #: Set when the work is done and the claim no longer renewed.
        self.over = threading.Event()
        self._reasons = threading.Lock()

    def end(self, reason: StopReason) -> None:
        """Ask the work to stop; only the first reason counts, but a lost lease overrules all."""
        with self._reasons:
            if self.reason is None or reason is StopReason.LEASE_LOST:
                self.reason = reason
        self.stop.set()


@contextlib.contextmanager
def held(claim: Claim, *, lease_seconds: float) -> Iterator[Lease]:
    """Renew the claim every third of the lease, from a thread, until the block is left."""
    lease = Lease(claim)
    keeper = threading.Thread(
        target=_keep, args=(lease, lease_seconds), name=f"lease-of-run-{claim.run_id}", daemon=True
    )
    keeper.start()
    try:
        with _ended_by_signals(lease):
            yield lease
    finally:
        lease.over.set()
        keeper.join(timeout=lease_seconds)


def _keep(lease: Lease, lease_seconds: float) -> None:
    try:
        held_since = time.monotonic()
        while not lease.over.wait(min(_HEARING_SECONDS, lease_seconds / 3)):
            asked_at = time.monotonic()
            is_due = asked_at - held_since >= lease_seconds / 3
            answer = _ask(lease.claim, is_due=is_due)
            if answer is Renewal.LOST or (answer is None and asked_at - held_since > lease_seconds):
                logger.warning("The lease on run %s is lost.", lease.claim.run_id)
                lease.end(StopReason.LEASE_LOST)
                return
            if answer is Renewal.CANCEL_REQUESTED:
                lease.end(StopReason.CANCELLED)
            if answer is not None and is_due:
                held_since = asked_at
    finally:
        connection.close()


def _ask(claim: Claim, *, is_due: bool) -> Renewal | None:
    """Return None when the database does not answer: it may be back before the lease is over."""
    try:
        return renew_lease(claim) if is_due else ask_for_cancel(claim)
    except DatabaseFault:
        logger.warning("The lease on run %s could not be renewed; trying again.", claim.run_id, exc_info=True)
        connection.close()
        return None


@contextlib.contextmanager
def _ended_by_signals(lease: Lease) -> Iterator[None]:
    """While the block runs, SIGTERM and SIGQUIT stop the work in good order instead of the process at once.

    The process still ends, after the block, the way it would have.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[tuple[int, FrameType | None]] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append((number, frame))
        lease.end(StopReason.WORKER_STOPPING)

    before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0][0])
