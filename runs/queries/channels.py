"""A project's channels as its settings list them; no secret, and no address that is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from django.db.models import OuterRef, Subquery

from runs.models import Channel, Delivery, Project
from runs.providers import STATUS_HOSTS
from runs.queries.text import one_line

#: What a channel can be, as people call it.
KINDS: Final = {
    **{name: host.label for name, host in STATUS_HOSTS.items()},
    "slack": "Slack",
    "email": "E-mail",
    "webhook": "Webhook",
}
_SHOWN: Final = 120


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """A channel, where it leads without its secrets, and what came of the newest that it sent."""

    channel: Channel
    label: str
    place: str
    sends_statuses: bool
    #: Status and id of the newest delivery; None before there is one.
    last_status: str | None
    last_delivery: int | None
    last_at: datetime | None


def channel_rows(project: Project) -> Sequence[ChannelRow]:
    """Every channel, the oldest first: one query."""
    newest = Delivery.objects.filter(channel=OuterRef("pk")).order_by("-pk")
    channels = Channel.objects.filter(project=project).annotate(
        last_delivery=Subquery(newest.values("pk")[:1]),
        last_status=Subquery(newest.values("status")[:1]),
        last_at=Subquery(newest.values("created_at")[:1]),
    )
    return [
        ChannelRow(
            channel=channel,
            label=KINDS[channel.kind],
            place=place_of(channel),
            sends_statuses=channel.kind in STATUS_HOSTS,
            last_status=channel.last_status,
            last_delivery=channel.last_delivery,
            last_at=channel.last_at,
        )
        for channel in channels.order_by("pk")
    ]


def label_of(channel: Channel) -> str:
    """A channel in words: `Slack, hooks.slack.com`."""
    return f"{KINDS[channel.kind]}, {place_of(channel)}"


def place_of(channel: Channel) -> str:
    """Where it leads. Of an address only the host: whoever knows all of a Slack address may post there."""
    if channel.kind == "email":
        return one_line(channel.address, _SHOWN)
    host = urlsplit(channel.address).netloc
    place = f"{channel.repository} at {host}" if channel.kind in STATUS_HOSTS else host
    return one_line(place, _SHOWN)
