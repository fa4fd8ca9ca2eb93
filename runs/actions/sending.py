"""Send what was written down: a delivery by one worker at a time, with pauses where the other side may heal.

A worker takes a delivery by moving its due moment on, and what it writes afterwards holds only while that
moment stands: a newer state that came in between stays queued and is sent next. Whoever is at it also
holds the delivery's lock, which dies with its worker. Sent twice is only what was taken by the other side
just before its worker died.
"""

from __future__ import annotations

import json
import logging
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import OperationalError, transaction
from django.db.models import F
from django.utils import timezone

from runs.actions.audit import note_change
from runs.actions.errors import NotPossibleError
from runs.actions.locks import Lock, alone_with
from runs.dispatch import Work, after_commit
from runs.models import Channel, Delivery, Suite, User
from runs.notify.email import send_mail
from runs.notify.errors import SendError
from runs.notify.http import Answer, HttpRequest, send
from runs.notify.news import News, NewsEvent
from runs.notify.retries import pause_before, refusal_of
from runs.notify.slack import slack_request
from runs.notify.webhook import webhook_request
from runs.providers import STATUS_HOSTS, CommitStatus, HostCall
from runs.providers.generic import DELIVERY, SIGNATURE, TIMESTAMP, sign
from runs.queries.news import STANDING_OF, commit_status, run_for_status, standing_of
from runs.vocabulary import DeliveryStatus

logger = logging.getLogger(__name__)

#: After a worker died over a delivery, until another tries it.
LEASE: Final = timedelta(minutes=2)
#: States sent by one worker in a row.
_ROUNDS: Final = 5
_FORGOTTEN_AT_ONCE: Final = 1_000
_SENT_AGAIN: Final = (DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.IGNORED)


def send_delivery(delivery_id: int) -> None:
    """Send what is due; nothing when it is not, or when somebody is at it."""
    with alone_with(Lock.DELIVERY, delivery_id) as is_alone:
        for _ in range(_ROUNDS if is_alone else 0):
            delivery = _taken(delivery_id)
            if delivery is None:
                return
            _settle(delivery, _attempt(delivery))


def resend_delivery(*, delivery_id: int, by: User) -> None:
    """Send once more: a commit's status as it is now, a message as it was.

    Raises:
        NotPossibleError: it was not sent yet, was not given up either, or its channel is gone.
    """
    again = Delivery.objects.filter(
        pk=delivery_id, direction="sent", status__in=_SENT_AGAIN, channel__isnull=False
    )
    with transaction.atomic():
        if not again.update(
            status=DeliveryStatus.QUEUED,
            due_at=timezone.now(),
            try_count=0,
            handled_at=None,
            approved_by=by,
        ):
            raise NotPossibleError(
                "Only what was sent or given up, by a channel that is there, is sent again."
            )
        delivery = Delivery.objects.select_related("project").get(pk=delivery_id)
        note_change(
            delivery.project,
            by=by,
            action="delivery.sent_again",
            subject=f"{delivery.provider} {delivery.event}",
            data={"delivery": delivery.pk},
        )
        after_commit(Work.SEND_DELIVERY, delivery_id)


def forget_sent(*, now: datetime, days: int) -> int:
    """Remove what was sent or given up more than `days` days before; return how much. What waits stays."""
    old = Delivery.objects.filter(
        direction="sent", status__in=_SENT_AGAIN, handled_at__lt=now - timedelta(days=days)
    )
    count = 0
    while True:
        with transaction.atomic():
            # Locked: what is asked for once more at this moment must not be removed with its old end.
            locked = old.select_for_update(skip_locked=True).order_by("pk")
            ids = list(locked.values_list("pk", flat=True)[:_FORGOTTEN_AT_ONCE])
            Delivery.objects.filter(pk__in=ids).delete()
        count += len(ids)
        if len(ids) < _FORGOTTEN_AT_ONCE:
            return count


def _taken(delivery_id: int) -> Delivery | None:
    """Claim the delivery if it is due: its due moment is the claim's proof."""
    now = timezone.now()
    own = Delivery.objects.filter(
        pk=delivery_id, direction="sent", status=DeliveryStatus.QUEUED, due_at__lte=now
    )
    until = now + LEASE
    if not own.update(due_at=until, try_count=F("try_count") + 1):
        return None
    held = Delivery.objects.select_related("project", "channel").filter(pk=delivery_id, due_at=until)
    return held.first()


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of one try. `pause` is set where another follows."""

    status: DeliveryStatus
    reason: str
    pause: timedelta | None = None
    payload: dict[str, Any] = field(default_factory=dict)


def _settle(delivery: Delivery, outcome: _Outcome) -> None:
    values: dict[str, Any] = {"status": outcome.status, "reason": outcome.reason[:1_000]}
    if outcome.pause is None:
        values |= {"due_at": None, "handled_at": timezone.now()}
    else:
        values |= {"due_at": timezone.now() + outcome.pause}
    if outcome.payload:
        values |= {"payload": outcome.payload}
    Delivery.objects.filter(
        pk=delivery.pk, status=DeliveryStatus.QUEUED, due_at=delivery.due_at, try_count=delivery.try_count
    ).update(**values)


def _attempt(delivery: Delivery) -> _Outcome:
    channel = delivery.channel
    if channel is None:
        return _Outcome(DeliveryStatus.FAILED, "Its channel was removed.")
    if not channel.is_active and delivery.event != NewsEvent.TEST:
        return _Outcome(DeliveryStatus.IGNORED, "The channel is paused.")
    try:
        if channel.kind in STATUS_HOSTS:
            return _told_host(delivery, channel)
        return _told_people(delivery, channel)
    except SendError as error:
        return _refused(delivery, str(error), may_heal=error.may_heal)
    except OperationalError:
        raise
    except Exception:
        logger.exception("Delivery %s could not be sent.", delivery.pk)
        return _refused(
            delivery, "itdash failed while sending this; the worker's log says why.", may_heal=True
        )


def _refused(delivery: Delivery, reason: str, *, may_heal: bool, after: timedelta | None = None) -> _Outcome:
    is_trial = delivery.event == NewsEvent.TEST
    chance = random.random()  # noqa: S311 - spreads tries, guards nothing
    pause = (
        pause_before(delivery.try_count, asked=after, chance=chance) if may_heal and not is_trial else None
    )
    if pause is None:
        tries = f" Given up after {delivery.try_count} tries." if delivery.try_count > 1 else ""
        return _Outcome(DeliveryStatus.FAILED, f"{reason}{tries}")
    again = f" Tried {delivery.try_count} time{'s' if delivery.try_count > 1 else ''}; tried again by itself."
    return _Outcome(DeliveryStatus.QUEUED, f"{reason}{again}", pause=pause)


def _told_host(delivery: Delivery, channel: Channel) -> _Outcome:
    host = STATUS_HOSTS[channel.kind]
    if delivery.event == NewsEvent.TEST:
        answer = _call(channel, host.probe_call(channel.repository))
        return _judged(delivery, answer, f"{host.label} knows the repository and the token.{_rights(answer)}")
    status = _status_now(delivery)
    if status is None:
        return _Outcome(DeliveryStatus.IGNORED, "There is no run of this commit any more.")
    call = host.status_call(status, channel.repository)
    payload = {**delivery.payload, "request": {"path": call.path, "body": dict(call.body or {})}}
    answer = _call(channel, call)
    told = f"{status.state.capitalize()}: {status.description}"
    if host.is_repeat(status.state, answer.status, answer.text):
        return _Outcome(DeliveryStatus.SENT, told, payload=payload)
    return _judged(delivery, answer, told, payload=payload)


def _status_now(delivery: Delivery) -> CommitStatus | None:
    suite = Suite.objects.filter(project=delivery.project_id, pk=delivery.payload.get("suite", 0)).first()
    run = run_for_status(suite, delivery.payload["commit"]) if suite else None
    if run is None or suite is None:
        return None
    run.project, run.suite = delivery.project, suite
    return commit_status(run)


def _call(channel: Channel, call: HostCall) -> Answer:
    host = STATUS_HOSTS[channel.kind]
    body = None if call.body is None else json.dumps(call.body).encode()
    return _send(
        HttpRequest(
            call.method,
            f"{host.api_of(channel.address)}{call.path}",
            headers=host.auth_headers(channel.secret),
            body=body,
        )
    )


def _rights(answer: Answer) -> str:
    """What GitHub and Gitea say of the token's rights along with the repository."""
    with suppress(ValueError, TypeError, AttributeError):
        if json.loads(answer.text).get("permissions", {}).get("push") is False:
            return " But its owner may not push there, so statuses will be refused."
    return ""


def _told_people(delivery: Delivery, channel: Channel) -> _Outcome:
    news = News.model_validate(delivery.payload)
    objection = _outlived(delivery, news)
    if objection:
        return _Outcome(DeliveryStatus.IGNORED, objection)
    named = f"itdash-{delivery.pk}-{delivery.created_at:%Y%m%d%H%M%S}"
    match channel.kind:
        case "email":
            to = [part.strip() for part in channel.address.split(",") if part.strip()]
            send_mail(news, recipients=to, sender=settings.DEFAULT_FROM_EMAIL, delivery=named)
            return _Outcome(DeliveryStatus.SENT, f"{news.headline}.")
        case "slack":
            answer = _send(slack_request(news, address=channel.address))
        case _:
            request = webhook_request(
                news, address=channel.address, sign=lambda body: _proof(channel.secret, named, body)
            )
            answer = _send(request)
    return _judged(delivery, answer, f"{news.headline}.")


def _outlived(delivery: Delivery, news: News) -> str:
    """Why a message that waited is not true any more; empty when it is, or when a person wants it sent."""
    if news.event is NewsEvent.TEST or delivery.approved_by_id is not None:
        return ""
    run = delivery.runs.first()
    if run is not None and standing_of(run) is not STANDING_OF[news.event]:
        return "More of the run came before this was sent, and it does not stand like this any more."
    newer = Delivery.objects.filter(
        channel=delivery.channel_id,
        direction="sent",
        pk__gt=delivery.pk,
        payload__suite=news.suite,
        payload__branch=news.branch,
    ).exclude(status=DeliveryStatus.IGNORED)
    return "There is newer news of this suite and branch." if newer.exists() else ""


def _proof(secret: str, delivery: str, body: bytes) -> dict[str, str]:
    moment = int(timezone.now().timestamp())
    return {
        TIMESTAMP: str(moment),
        DELIVERY: delivery,
        SIGNATURE: sign(secret, timestamp=moment, delivery=delivery, body=body),
    }


def _send(request: HttpRequest) -> Answer:
    return send(request, timeout_seconds=settings.SEND_TIMEOUT_SECONDS, allowed=settings.ALLOWED_NETWORKS)


def _judged(
    delivery: Delivery, answer: Answer, told: str, *, payload: dict[str, Any] | None = None
) -> _Outcome:
    refusal = refusal_of(answer, now=timezone.now())
    if refusal is None:
        return _Outcome(DeliveryStatus.SENT, told, payload=payload or {})
    return _refused(delivery, refusal.reason, may_heal=refusal.may_heal, after=refusal.after)
