"""Webhooks of a project: its hooks, what came and went, and one of them whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from django.db.models import Max, Prefetch

from runs.models import Delivery, Hook, Project, Run
from runs.notify.news import NewsEvent
from runs.providers import PROVIDERS, PayloadError, PullRequestEvent, PushEvent
from runs.queries.channels import KINDS
from runs.queries.text import readable
from runs.vocabulary import DeliveryStatus

PAGE_LENGTH: Final = 50
#: Characters of a payload that a page shows.
_PAYLOAD_SHOWN: Final = 60_000
VIEWS: Final = {"": "Received", "waiting": "Waiting for approval", "refused": "Refused", "sent": "Sent"}
_HANDLED_AGAIN: Final = {DeliveryStatus.ACCEPTED, DeliveryStatus.IGNORED, DeliveryStatus.FAILED}
_SENT_AGAIN: Final = {DeliveryStatus.SENT, DeliveryStatus.IGNORED, DeliveryStatus.FAILED}
_SENT_WORDS: Final = {
    "commit status": "Commit status",
    NewsEvent.FAILED: "Failure",
    NewsEvent.NEW_FAILURES: "More failures",
    NewsEvent.ERRORED: "Could not be run",
    NewsEvent.PASSED: "Passes again",
    NewsEvent.TEST: "Test message",
}


@dataclass(frozen=True, slots=True)
class HookRow:
    """A hook with what it is called and where it is."""

    hook: Hook
    label: str
    #: Below the server's address.
    path: str


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery with its runs."""

    delivery: Delivery
    label: str
    runs: Sequence[Run]

    @property
    def title(self) -> str:
        """What it is about: the host's own word for what came, ours for what was sent."""
        event = self.delivery.event
        return _SENT_WORDS.get(event, event) if self.delivery.direction == "sent" else event


@dataclass(frozen=True, slots=True)
class DeliveryList:
    """A page of deliveries, newest first."""

    rows: Sequence[DeliveryRow]
    view: str
    #: The id to go on from; None on the last page.
    older: int | None


@dataclass(frozen=True, slots=True)
class Subject:
    """A push or a pull request as people speak of it."""

    #: The branch, or the number with where from and where to.
    what: str
    commit: str
    title: str
    author: str


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """One delivery whole; its payload as text, inert and cut."""

    row: DeliveryRow
    #: What it tells of, a line for each branch or pull request.
    subjects: Sequence[Subject]
    reasons: Sequence[str]
    payload: str
    waits: bool
    is_repeatable: bool
    #: Sent, not received.
    is_sent: bool


def hook_rows(project: Project) -> list[HookRow]:
    """The hooks whose address is open, the oldest first, each with the moment of its newest delivery."""
    hooks = Hook.objects.filter(project=project, is_active=True)
    return [
        HookRow(hook=hook, label=label_of(hook.provider), path=hook_path(hook))
        for hook in hooks.annotate(used_at=Max("deliveries__created_at")).order_by("pk")
    ]


def hook_path(hook: Hook) -> str:
    """A hook's address below the server's."""
    return f"/api/v1/webhooks/{hook.provider}/{hook.key}"


def label_of(provider: str) -> str:
    """A Git host, or a channel's kind, as people call it."""
    return PROVIDERS[provider].label if provider in PROVIDERS else KINDS.get(provider, provider)


def delivery_list(project: Project, *, view: str, before: int | None) -> DeliveryList:
    """The newest deliveries, or those before an id."""
    deliveries = Delivery.objects.filter(project=project).defer("payload")
    match view:
        case "sent":
            deliveries = deliveries.filter(direction="sent")
        case "waiting" | "refused":
            deliveries = deliveries.filter(direction="received", status=view)
        case _:
            view, deliveries = "", deliveries.filter(direction="received")
    if before is not None:
        deliveries = deliveries.filter(pk__lt=before)
    found = list(deliveries.prefetch_related(_runs()).order_by("-pk")[: PAGE_LENGTH + 1])
    rows = [_row(delivery) for delivery in found[:PAGE_LENGTH]]
    return DeliveryList(
        rows=rows, view=view, older=rows[-1].delivery.pk if len(found) > PAGE_LENGTH else None
    )


def delivery_facts(delivery: Delivery) -> DeliveryFacts:
    """What there is to say of one."""
    is_received = delivery.direction == "received"
    return DeliveryFacts(
        row=DeliveryRow(
            delivery=delivery,
            label=label_of(delivery.provider),
            runs=list(delivery.runs.select_related("suite").order_by("number")),
        ),
        subjects=list(_subjects(delivery)),
        reasons=delivery.reason.splitlines(),
        payload=_payload(delivery),
        waits=delivery.status == DeliveryStatus.WAITING,
        is_repeatable=delivery.status in (_HANDLED_AGAIN if is_received else _SENT_AGAIN)
        and (is_received or delivery.channel_id is not None),
        is_sent=not is_received,
    )


def _subjects(delivery: Delivery) -> Iterator[Subject]:
    provider = PROVIDERS.get(delivery.provider)
    if provider is None or delivery.direction != "received" or not delivery.payload:
        return
    with suppress(PayloadError):
        for event in provider.parse(delivery.event, delivery.payload):
            if isinstance(event, PushEvent):
                what = event.branch or f"tag {event.tag}"
                yield Subject(what=what, commit=event.commit, title=event.title, author=event.author)
            elif isinstance(event, PullRequestEvent):
                what = f"#{event.number}, {event.source_branch} → {event.target_branch}"
                yield Subject(what=what, commit=event.commit, title=event.title, author=event.author)


def _runs() -> Prefetch[str]:
    return Prefetch("runs", queryset=Run.objects.select_related("suite").order_by("number"))


def _row(delivery: Delivery) -> DeliveryRow:
    return DeliveryRow(delivery=delivery, label=label_of(delivery.provider), runs=list(delivery.runs.all()))


def _payload(delivery: Delivery) -> str:
    if not delivery.payload:
        return ""
    return readable(json.dumps(delivery.payload, indent=2, ensure_ascii=False), _PAYLOAD_SHOWN)
