"""Write down what is to be told of a run, in the transaction that changed it: nothing is told of what was
rolled back, and nothing is forgotten.

Of a suite on a commit each Git host has one row, and is told what is true by then (see `sending.py`): an
older state cannot overtake a newer one. Of a change each receiver of messages has one row, which holds the
message as it was when it happened.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from runs.actions.locks import Lock, wait_for
from runs.dispatch import Work, after_commit
from runs.models import Channel, Delivery, Run
from runs.notify.news import NewsEvent
from runs.providers import STATUS_HOSTS
from runs.queries.news import STANDING_OF, Standing, news_of
from runs.queries.samples import is_made_up
from runs.suitefile import Branches, objection
from runs.vocabulary import DeliveryStatus, Trigger

logger = logging.getLogger(__name__)

#: Jobs of another CI upload to the same run one by one; what the first of them says may not last.
UPLOAD_PATIENCE: Final = timedelta(seconds=20)
#: Who uploads the history of a year wants no message for each turn of it.
NEWS_LAST: Final = timedelta(days=1)


def announce_run(run_id: int) -> None:
    """Queue what the project's channels are to hear of the run as it is now; again changes nothing.

    A fault in here is logged and keeps no run from moving on.
    """
    channels = list(Channel.objects.filter(project__runs=run_id, is_active=True).order_by("pk"))
    if not channels:
        return
    try:
        with transaction.atomic():
            _announce(run_id, channels, timezone.now())
    except Exception:
        logger.exception("What happened in run %s could not be announced.", run_id)


def _announce(run_id: int, channels: Sequence[Channel], now: datetime) -> None:
    run = Run.objects.select_related("project", "suite").get(pk=run_id)
    if is_made_up(run):
        return
    meant = [channel for channel in channels if is_meant(channel, run.branch)]
    for channel in meant:
        if channel.kind in STATUS_HOSTS and run.commit:
            _ask_for_status(channel, run, now)
    receivers = [channel for channel in meant if channel.kind not in STATUS_HOSTS]
    if receivers and run.is_finished and now - run.run_at < NEWS_LAST:
        _tell(receivers, run, now)


def is_meant(channel: Channel, branch: str) -> bool:
    """Whether the channel wants news of the branch."""
    return not objection(Branches(branches=tuple(channel.branches)), branch=branch, paths=None)


def _ask_for_status(channel: Channel, run: Run, now: datetime) -> None:
    asked = {
        "channel": channel,
        "event": "commit status",
        "status": DeliveryStatus.QUEUED,
        "due_at": now + _patience(run),
        "try_count": 0,
        "handled_at": None,
        "approved_by": None,
    }
    delivery, _ = Delivery.objects.update_or_create(
        project_id=run.project_id,
        direction="sent",
        provider=channel.kind,
        key=f"status:{channel.pk}:{run.suite_id}:{run.commit}",
        defaults=asked,
        create_defaults=asked | {"payload": {"suite": run.suite_id, "commit": run.commit}},
    )
    delivery.runs.add(run)
    _ring(delivery, run)


def _tell(receivers: list[Channel], run: Run, now: datetime) -> None:
    # One at a time: two runs that end together would each not see the other.
    wait_for(Lock.NEWS, run.suite_id)
    for channel in receivers:
        news = news_of(run, told=_told(channel, run))
        if news is None:
            continue
        delivery, is_new = Delivery.objects.get_or_create(
            project_id=run.project_id,
            direction="sent",
            provider=channel.kind,
            key=f"{_key(channel, run)}{news.event}",
            defaults={
                "channel": channel,
                "event": news.event,
                "status": DeliveryStatus.QUEUED,
                "due_at": now + _patience(run),
                "payload": news.model_dump(mode="json"),
            },
        )
        if is_new:
            delivery.runs.add(run)
            _ring(delivery, run)


def _told(channel: Channel, run: Run) -> Standing | None:
    """What the channel heard of this very run before; only of an uploaded one can there be more."""
    if run.trigger != Trigger.UPLOAD:
        return None
    heard = Delivery.objects.filter(
        channel=channel, direction="sent", status=DeliveryStatus.SENT, key__startswith=_key(channel, run)
    )
    event = heard.order_by("-pk").values_list("event", flat=True).first()
    return STANDING_OF[NewsEvent(event)] if event else None


def _key(channel: Channel, run: Run) -> str:
    return f"news:{channel.pk}:{run.pk}:"


def _patience(run: Run) -> timedelta:
    return UPLOAD_PATIENCE if run.trigger == Trigger.UPLOAD else timedelta()


def _ring(delivery: Delivery, run: Run) -> None:
    """At once where it is due at once; the sweeper rings for the others when their time comes."""
    if run.trigger != Trigger.UPLOAD:
        after_commit(Work.SEND_DELIVERY, delivery.pk)
