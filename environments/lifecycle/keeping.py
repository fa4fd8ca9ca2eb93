"""Keep an environment that failed for a person to look at: the row takes over from the process.

What is kept goes on as it stands and is nobody's work: no thread, no worker waits for it. Its lease is as
long as it is held, so the reaper removes it when its time is up, whatever becomes of us.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db import Error as DatabaseError

from environments.engine import ServiceStatus, WayIn
from environments.errors import EnvironmentFailedError, FailureKind
from environments.lifecycle import records
from environments.lifecycle.requests import HappeningKind, Keep
from environments.lifecycle.session import Session

logger = logging.getLogger(__name__)

#: There is nothing of it to look at, or no engine to look at it with, or keeping it would do harm.
NOT_WORTH_A_LOOK = frozenset(
    {
        FailureKind.IMAGE_MISSING,
        FailureKind.RATE_LIMITED,
        FailureKind.BUILD_FAILED,
        FailureKind.DISK,
        FailureKind.ENGINE_UNAVAILABLE,
        FailureKind.UNSUPPORTED,
        FailureKind.INTERNAL,
    }
)


def keep(session: Session, because: str) -> bool:
    """Have the environment held instead of removed, if it was asked for and there is room; says whether.

    Never raises: what cannot be kept is removed as any other, and the timeline says why.
    """
    wish = session.request.keep
    if wish is None or session.stop.is_set() or session.lost.is_set():
        return False
    try:
        return _keep(session, wish, because)
    except (EnvironmentFailedError, DatabaseError) as error:
        logger.warning("%s could not be held.", session.record.name, exc_info=error)
        session.tell(HappeningKind.NOTICE, f"The environment could not be held for a look: {error}")
        return False


def keep_failed(session: Session, error: BaseException | None) -> bool:
    """Keep it for what it failed with, where that leaves anything to look at."""
    if not isinstance(error, EnvironmentFailedError) or error.kind in NOT_WORTH_A_LOOK:
        return False
    return keep(session, str(error))


def _keep(session: Session, wish: Keep, because: str) -> bool:
    ways = _ways_in(session)
    if not ways:
        session.tell(HappeningKind.NOTICE, "The environment is not held: no service of it was created.")
        return False
    now = session.clock.now()
    until = min(now + timedelta(seconds=wish.seconds), session.record.expires_at)
    records.save_ways_in(session.record, ways)
    if refusal := records.hold(session.record, wish, until=until, because=because, now=now):
        session.tell(HappeningKind.NOTICE, f"The environment is not held for a look: {refusal}")
        return False
    session.is_kept = True
    if session.stop.is_set():
        # Asked to stop in this very moment: whoever asked has looked for held ones already, or not yet.
        records.release(session.record.pk, session.clock.now())
        session.is_kept = False
        return False
    session.tell(
        HappeningKind.HELD,
        f"Held until {until:%H:%M} UTC for a person to look at. Its page has the commands.",
        until=until.isoformat(),
        services=sorted(ways),
    )
    return True


def _ways_in(session: Session) -> dict[str, WayIn]:
    """How to get inside each service that exists."""
    found = {}
    for name, service in session.spec.services.items():
        if session.engine.inspect_service(session.ref, name).status is not ServiceStatus.GONE:
            found[name] = session.engine.way_in(session.ref, service)
    return found
