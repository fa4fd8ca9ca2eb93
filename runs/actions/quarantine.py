"""Take a test case out of the gate for a while, and put it back. It runs on; its result does not decide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import F

from runs.actions.audit import note_change
from runs.actions.errors import InvalidValueError, NotPossibleError, TakenError
from runs.actions.events import NewEvent, record_event
from runs.models import Event, Quarantine, TestCase, Token, User
from runs.queries.quarantine import Gate

DAYS_LIMIT = 90
REASON_LIMIT = 2_000
OWNER_LIMIT = 250
#: Names in an event's sentence; its data holds more.
_TOLD = 3
_NAME_LENGTH = 200
_NAMES_KEPT = 100


def quarantine_case(
    *,
    case: TestCase,
    reason: str,
    days: int,
    owner: str = "",
    by: User | None = None,
    token: Token | None = None,
    now: datetime | None = None,
) -> Quarantine:
    """Put the case into quarantine from now on; runs before are judged as they were.

    Raises:
        InvalidValueError: no reason, no one who could be the owner, or not 1 to `DAYS_LIMIT` days.
        TakenError: it is in quarantine.
    """
    reason, owner = reason.strip(), owner.strip()
    _refuse(reason=reason, owner=owner, days=days)
    moment = now or datetime.now(tz=UTC)
    with transaction.atomic():
        # One at a time: the case may be put into quarantine by two people at once.
        TestCase.objects.select_for_update(no_key=True).get(pk=case.pk)
        own = Quarantine.objects.filter(case=case, lifted_at=None)
        if own.filter(until__gt=moment).exists():
            message = "This test is in quarantine already. Lift that quarantine first to change it."
            raise TakenError(message)
        # One that ran out was never lifted by anybody; it makes room for the new one.
        own.update(lifted_at=F("until"))
        made = Quarantine.objects.create(
            case=case,
            reason=reason,
            owner=owner,
            created_by=by,
            created_at=moment,
            until=moment + timedelta(days=days),
        )
        note_change(
            case.suite.project,
            by=by,
            token=token,
            action="quarantine.begun",
            subject=case.name[:_NAME_LENGTH],
            data={"case": case.pk, "days": days, "reason": reason[:_NAME_LENGTH], "owner": owner},
        )
    return made


def lift_quarantine(
    *, case: TestCase, by: User | None = None, token: Token | None = None, now: datetime | None = None
) -> None:
    """Let the case decide again, from now on.

    Raises:
        NotPossibleError: it is not in quarantine.
    """
    moment = now or datetime.now(tz=UTC)
    held = Quarantine.objects.filter(case=case, lifted_at=None, until__gt=moment)
    with transaction.atomic():
        if not held.update(lifted_at=moment, lifted_by=by):
            message = "This test is not in quarantine."
            raise NotPossibleError(message)
        note_change(
            case.suite.project,
            by=by,
            token=token,
            action="quarantine.lifted",
            subject=case.name[:_NAME_LENGTH],
            data={"case": case.pk},
        )


def tell_spared(gate: Gate) -> None:
    """Name on the run's timeline what failed in quarantine; the same thing once, however often it is told."""
    if not gate.spared:
        return
    names = [quarantine.case.name[:_NAME_LENGTH] for quarantine in gate.spared.values()]
    told = ", ".join(names[:_TOLD]) + (f" and {len(names) - _TOLD} more" if len(names) > _TOLD else "")
    message = f"Failed in quarantine, which does not decide: {told}. {gate.why}"
    if not Event.objects.filter(run=gate.run, kind="quarantined", message=message).exists():
        data = {"tests": names[:_NAMES_KEPT], "count": len(names), "verdict": gate.verdict}
        record_event(gate.run.pk, NewEvent("quarantined", message, data=data))


def _refuse(*, reason: str, owner: str, days: int) -> None:
    if not reason or len(reason) > REASON_LIMIT or "\x00" in reason:
        message = f"Say why, in at most {REASON_LIMIT} characters: whoever lifts it must know."
        raise InvalidValueError("reason", message)
    if len(owner) > OWNER_LIMIT or (owner and not owner.isprintable()):
        message = f"An owner has up to {OWNER_LIMIT} printable characters."
        raise InvalidValueError("owner", message)
    if not 1 <= days <= DAYS_LIMIT:
        message = f"A quarantine lasts 1 to {DAYS_LIMIT} days, so that nobody forgets it."
        raise InvalidValueError("days", message)
