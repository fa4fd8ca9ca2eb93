"""Gitea and Forgejo: GitHub's forms, with a bare hexadecimal signature."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from runs.providers import github
from runs.providers.events import Event, OtherEvent, PingEvent
from runs.providers.payload import Reader
from runs.providers.signatures import check_hex
from runs.providers.statuses import CommitStatus, HostCall

DESCRIPTION_LIMIT: Final = 250


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
            return (github.push(reader),)
        # Older versions give new commits an event of its own.
        case "pull_request" | "pull_request_sync":
            return (github.pull_request(reader, ref="refs/pull/{}/head"),)
    return (OtherEvent(name),)


def api_of(address: str) -> str:
    """The API's address, from the server's own."""
    address = address.rstrip("/")
    return address if address.endswith("/api/v1") else f"{address}/api/v1"


def auth_headers(token: str) -> dict[str, str]:
    """What proves who asks: an access token with *repository: read and write*."""
    return {"Authorization": f"token {token}", "Accept": "application/json"}


def status_call(status: CommitStatus, repository: str) -> HostCall:
    """Tell a commit's status, with more room for words than GitHub has; 201 when it was taken."""
    return github.status_call(status, repository, description_limit=DESCRIPTION_LIMIT)


probe_call = github.probe_call
is_repeat = github.is_repeat
