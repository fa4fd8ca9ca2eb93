"""Gitea and Forgejo: GitHub's forms, with a bare hexadecimal signature."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runs.providers.events import Event, OtherEvent, PingEvent
from runs.providers.github import pull_request, push
from runs.providers.payload import Reader
from runs.providers.signatures import check_hex


def verify(headers: Mapping[str, str], body: bytes, *, secret: str, now: datetime) -> None:  # noqa: ARG001 - Gitea signs no moment
    """Refuse a body that was not signed with the secret; raises `SignatureError`."""
    name = "X-Forgejo-Signature" if headers.get("X-Forgejo-Signature") else "X-Gitea-Signature"
    check_hex(headers, name, secret=secret, text=body)


def delivery_id(headers: Mapping[str, str]) -> str:
    """The sender's id."""
    return headers.get("X-Forgejo-Delivery", "") or headers.get("X-Gitea-Delivery", "")


def event_name(headers: Mapping[str, str], payload: Mapping[str, Any]) -> str:  # noqa: ARG001 - a header says it all
    """What Gitea calls the event."""
    return headers.get("X-Forgejo-Event", "") or headers.get("X-Gitea-Event", "")


def parse(name: str, payload: Mapping[str, Any]) -> tuple[Event, ...]:
    """What the delivery tells; raises `PayloadError`."""
    reader = Reader(payload)
    match name:
        case "ping":
            return (PingEvent(),)
        case "push":
            return (push(reader),)
        # Older versions give new commits an event of its own.
        case "pull_request" | "pull_request_sync":
            return (pull_request(reader, ref="refs/pull/{}/head"),)
    return (OtherEvent(name),)
