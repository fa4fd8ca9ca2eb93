"""Write although the database is away for a moment: a restart of PostgreSQL loses no run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.db import InterfaceError, OperationalError, connection

from environments.probes import backing_off
from runs.execution.lease import Lease, StopReason

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 60.0


def through_outages[T](
    write: Callable[[], T], *, lease: Lease, patience_seconds: float = PATIENCE_SECONDS
) -> T:
    """Call `write`, which is one transaction, again while the database does not answer.

    Given up when the lease is lost or patience is at its end: the database's error rises then.
    """
    end = time.monotonic() + patience_seconds
    for pause in backing_off():
        try:
            return write()
        except (OperationalError, InterfaceError):
            connection.close()
            if lease.reason is StopReason.LEASE_LOST or time.monotonic() > end:
                raise
            logger.warning("The database does not answer; trying again.", exc_info=True)
            lease.over.wait(pause)
    raise AssertionError  # the pauses never end
