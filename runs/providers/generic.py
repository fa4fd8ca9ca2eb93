"""Whatever can compute an HMAC: a signature over the moment, the delivery's id and the body."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runs.providers.events import (
    Event,
    OtherEvent,
    PayloadError,
    PingEvent,
    PullRequestAction,
    PullRequestEvent,
    PushEvent,
)
from runs.providers.payload import Reader
from runs.providers.signatures import SignatureError, check_hex, check_moment, hex_hmac

SIGNATURE, TIMESTAMP, DELIVERY = "X-Itdash-Signature", "X-Itdash-Timestamp", "X-Itdash-Delivery"


def verify(headers: Mapping[str, str], body: bytes, *, secret: str, now: datetime) -> None:
    """Refuse a body that was not signed with the secret in the last minutes; raises `SignatureError`."""
    for name in (TIMESTAMP, DELIVERY):
        if not headers.get(name):
            raise SignatureError(f"The header {name} is missing; it is part of what is signed.")
    stamp = headers[TIMESTAMP]
    text = _signed_text(stamp, headers[DELIVERY], body)
    check_hex(headers, SIGNATURE, secret=secret, text=text, prefix="sha256=")
    check_moment(stamp, name=TIMESTAMP, now=now)


def sign(secret: str, *, timestamp: int, delivery: str, body: bytes) -> str:
    """What the signature's header holds: ``sha256=`` and HMAC-SHA256 of `timestamp.delivery.body`."""
    return "sha256=" + hex_hmac(secret, _signed_text(str(timestamp), delivery, body))


def _signed_text(timestamp: str, delivery: str, body: bytes) -> bytes:
    return f"{timestamp}.{delivery}.".encode() + body


def delivery_id(headers: Mapping[str, str]) -> str:
    """The sender's id."""
    return headers.get(DELIVERY, "")


def event_name(headers: Mapping[str, str], payload: Mapping[str, Any]) -> str:  # noqa: ARG001 - what is signed says it
    """The body's `event`."""
    name = payload.get("event")
    return name if isinstance(name, str) else ""


def parse(name: str, payload: Mapping[str, Any]) -> tuple[Event, ...]:
    """What the delivery tells; raises `PayloadError`."""
    reader = Reader(payload)
    match name:
        case "ping":
            return (PingEvent(),)
        case "push":
            return (_push(reader),)
        case "pull_request":
            return (_pull_request(reader),)
        case "":
            raise PayloadError("event must be push, pull_request or ping.")
    return (OtherEvent(name),)


def _push(reader: Reader) -> PushEvent:
    branch, commit = reader.name("branch"), reader.commit("commit")
    if not branch or not commit:
        raise PayloadError("A push names its branch and its commit.")
    return PushEvent(
        branch=branch,
        commit=commit,
        before=reader.commit("before", default=""),
        author=reader.text("author", default=""),
        title=reader.text("title", default=""),
        changed_paths=tuple(reader.texts("paths")) if reader.has("paths") else None,
    )


def _pull_request(reader: Reader) -> PullRequestEvent:
    source = reader.name("source_branch")
    return PullRequestEvent(
        action=PullRequestAction.CHANGED,
        number=reader.number("number"),
        title=reader.text("title", default=""),
        author=reader.text("author", default=""),
        commit=reader.commit("commit"),
        source_branch=source,
        target_branch=reader.name("target_branch"),
        is_fork=reader.flag("fork"),
        ref=reader.name("ref", default=f"refs/heads/{source}"),
        changed_paths=tuple(reader.texts("paths")) if reader.has("paths") else None,
    )
